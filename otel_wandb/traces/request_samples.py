"""What a finished trace tells of the requests in it: which there are, and what each of them did and spent.

A request is where a service is entered: a span of kind SERVER or CONSUMER, unless its parent is in the same
process, a span whose parent belongs to another service, or the root of a trace. Whatever is below it belongs
to it, up to the next entrance. So requests of a service add up to what its charts say, in however many
traces.

Of a trace that is given out in parts, the first parts have no entrance yet. What they tell waits for it
(`Found.parts`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Final

from otel_wandb.conventions.scores import Score
from otel_wandb.metrics.closed import Series
from otel_wandb.metrics.from_spans import Spend, Told, read_tally
from otel_wandb.metrics.observed import StreamKey
from otel_wandb.metrics.runs import service_of
from otel_wandb.metrics.sorting import find_duration, name_operation
from otel_wandb.records import STATUS_ERROR, Attributes, Span
from otel_wandb.traces.node import Node
from otel_wandb.traces.tree import Tree, is_local_parent

CONFIDENCE: Final = "prediction.confidence"
"""The attribute that tells how sure a prediction is."""

_MAX_MEMBERS: Final = 200
_MAX_SCORES: Final = 8
_ERRORS: Final = frozenset(("error.type", "http.response.status_code"))
"""Attributes that tell in charts of an error."""
_WHOLE: Final = frozenset(("ended", "end"))
"""Why a trace was given out when no entrance is to come any more."""


@dataclass(slots=True)
class RequestSample:
    """A request, or a part of one whose entrance has not come: then `span_id` is empty, and no time is told.

    `where` is a span of it, by whose process it is known whose request it is. `members` are the calls of it
    that may tell question and answer, in the order of time, the entrance first; `user_at` and `session_at`
    those that name user and session. `units` is the cost as in `rates`, None where nothing has a price.
    """

    trace_id: str
    span_id: str
    where: str
    operation: str = ""
    failed: bool = False
    start_ns: int = 0
    end_ns: int = 0
    weight: int = 1
    tokens_in: int = 0
    tokens_out: int = 0
    units: int | None = None
    confidence: float | None = None
    sure: bool = False
    """The entrance itself told the confidence."""
    scores: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    user_at: str = ""
    session_at: str = ""

    @property
    def latency_ns(self) -> int:
        """How long it took; 0 where its times contradict each other."""
        return max(0, self.end_ns - self.start_ns)


@dataclass(frozen=True, slots=True)
class Found:
    """The requests that entered here, and what waits for an entrance; if `late`, it may have come before."""

    requests: Sequence[RequestSample] = ()
    parts: Sequence[RequestSample] = ()
    late: bool = False


def find_requests(tree: Tree, told: Sequence[Told], scores: Sequence[tuple[str, Score]]) -> Found:
    """The requests of the tree, which must not be released.

    `told` is what its spans tell of charts, `scores` what they tell of calls.
    """
    news = {one.span_id: one for one in told}
    judged: dict[str, list[Score]] = {}
    for span_id, score in scores:
        judged.setdefault(span_id, []).append(score)
    owners: dict[int, RequestSample] = {}
    requests: list[RequestSample] = []
    parts: dict[str, RequestSample] = {}
    for node in tree.descending:
        owner = owners.get(id(node.parent)) if node.parent is not None else None
        span_id = node.span.span_id
        if _enters(node, tree):
            owner = _open(node, news.get(span_id))
            requests.append(owner)
        elif owner is None:
            service = service_of(node.placed.resource.attributes)
            owner = parts.get(service)
            if owner is None:
                owner = parts[service] = RequestSample(node.span.trace_id, "", span_id)
        owners[id(node)] = owner
        if (one := news.get(span_id)) is not None and one.spend is not None:
            _add_spend(owner, one.spend)
        _add(owner, node)
        _add_confidence(owner, node.span, judged.get(span_id, ()))
    waiting = [] if tree.trace.reason in _WHOLE else list(parts.values())
    return Found(requests, waiting, late=tree.trace.reason == "late")


def _enters(node: Node, tree: Tree) -> bool:
    parent = node.parent
    if parent is None:
        return not is_local_parent(node.span) or tree.parent_id_of(node, tree.trace) is None
    mine, its = node.placed.resource, parent.placed.resource
    if mine is not its and service_of(mine.attributes) != service_of(its.attributes):
        return True
    return not is_local_parent(node.span)


def _open(node: Node, told: Told | None) -> RequestSample:
    span = node.span
    return RequestSample(
        span.trace_id,
        span.span_id,
        span.span_id,
        name_request(span, told),
        _has_failed(span, told),
        span.start_ns,
        span.end_ns,
        told.weight if told is not None else 1,
    )


def name_request(span: Span, told: Told | None) -> str:
    """What charts call the operation, such as `POST /chat`; where they have none for it, the span's name."""
    named = _name_stream(told.observations[0].stream) if told is not None and told.observations else ""
    return named or span.name or "unnamed"


def _has_failed(span: Span, told: Told | None) -> bool:
    """Whether charts count it among the errors."""
    if told is None or not told.observations:
        return span.status_code == STATUS_ERROR
    return any(name in _ERRORS for name, _ in told.observations[0].stream[2])


@lru_cache(maxsize=4096)
def _name_stream(stream: StreamKey) -> str:
    instrument, unit, labels = stream
    attributes: Attributes = {**dict(labels)}
    duration = find_duration(instrument, attributes)
    if duration is None:
        return ""
    return (
        name_operation(duration, Series("", instrument, unit, "histogram", attributes, b"", Fraction(0)))
        or ""
    )


def _add_spend(request: RequestSample, spend: Spend) -> None:
    tally = read_tally(spend.usage, spend.price)
    request.tokens_in += tally.input
    request.tokens_out += tally.output
    if spend.price is not None:
        request.units = (request.units or 0) + tally.units


def _add(request: RequestSample, node: Node) -> None:
    span_id, facts = node.span.span_id, node.facts
    tells = node.kind in _TELLS_CONTENT or span_id == request.span_id
    if tells and len(request.members) < _MAX_MEMBERS:
        request.members.append(span_id)
    if not request.user_at and facts.user_id:
        request.user_at = span_id
    if not request.session_at and (facts.session_id or facts.conversation_id):
        request.session_at = span_id


def _add_confidence(request: RequestSample, span: Span, scores: Sequence[Score]) -> None:
    sure = _read_number(span.attributes.get(CONFIDENCE)) if CONFIDENCE in span.attributes else None
    for score in scores:
        if sure is None and "confidence" in score.name.lower():
            sure = _read_number(score.value)
        if len(request.scores) < _MAX_SCORES and (text := _spell(score)):
            request.scores.append(text)
    if sure is not None and (request.confidence is None or not request.sure):
        # What the entrance says itself goes before, else what is said last.
        request.confidence, request.sure = sure, span.span_id == request.span_id


_TELLS_CONTENT: Final = frozenset(("chat", "agent", "workflow"))


def _read_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _spell(score: Score) -> str:
    value = score.value if score.value is not None else score.label or score.value_text
    return "" if value is None else f"{score.name}: {value}"
