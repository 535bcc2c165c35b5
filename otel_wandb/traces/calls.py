"""Finished traces to Weave calls: one span, one call, by the contract in `docs/architecture.md`.

Pure: the same trace gives the same calls, byte for byte. Links stand under `attributes.otel_links`, events
and log records that are no content under `attributes.otel_events` and `attributes.otel_logs`, and attributes
that nobody understood under `attributes.otel`, as they came.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

from otel_wandb.conventions.decoding import encode_text, plain
from otel_wandb.conventions.facts import Facts, Json
from otel_wandb.conventions.scores import Score, scores_of
from otel_wandb.conventions.times import iso_time
from otel_wandb.conventions.warnings import code_of_warning
from otel_wandb.metrics.from_spans import Spend, Told
from otel_wandb.metrics.pricing import Cost
from otel_wandb.metrics.spending import PriceOf, no_price
from otel_wandb.records import SPAN_KIND_CONSUMER, SPAN_KIND_SERVER, STATUS_ERROR, Span
from otel_wandb.traces.attributes import CallAttributes, shape_attributes
from otel_wandb.traces.bodies import shape_body
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.gaps import note_gaps
from otel_wandb.traces.joins import join_calls
from otel_wandb.traces.node import Node
from otel_wandb.traces.observations import tell
from otel_wandb.traces.request_samples import Found, find_requests
from otel_wandb.traces.spends import read_spend
from otel_wandb.traces.threads import thread_calls
from otel_wandb.traces.tree import Tree
from otel_wandb.traces.usage import model_of

_MAX_NAME_CHARS: Final = 128
_MAX_DISPLAY_CHARS: Final = 1024
_ENCODER: Final = msgspec.json.Encoder()


class CallSummary(msgspec.Struct, omit_defaults=True, gc=False):
    """`summary` of a call."""

    status_counts: dict[str, int]
    usage: dict[str, dict[str, int]] | None = None
    cost: Cost | None = None


class Call(msgspec.Struct, omit_defaults=True, gc=False):
    """A whole call as it is written to Weave, but for the project and the run, which the store adds.

    Names may still be too long.
    """

    id: str
    trace_id: str
    op_name: str
    started_at: str
    ended_at: str
    attributes: CallAttributes
    inputs: Json
    summary: CallSummary
    parent_id: str | None = None
    display_name: str | None = None
    output: object | None = None
    exception: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None

    @property
    def has_long_name(self) -> bool:
        """Whether a name is longer than Weave takes it: see `cut_names`."""
        return len(self.op_name) > _MAX_NAME_CHARS or len(self.display_name or "") > _MAX_DISPLAY_CHARS

    def encode(self) -> bytes:
        """JSON that starts with the id; what JSON cannot hold is replaced by the nearest that it can."""
        try:
            return _ENCODER.encode(self)
        except (UnicodeError, TypeError, RecursionError, OverflowError, ValueError):
            return _ENCODER.encode(plain(self))


@dataclass(frozen=True, slots=True)
class ShapedTrace:
    """The calls in the order of the spans, the number of spans folded away, warnings by dialect and code.

    `scores` are what the spans tell of calls, each with the id of the span that tells it; `told` is what the
    spans tell of charts, and `found` the requests.
    """

    calls: list[Call]
    folded: int
    warnings: Counter[tuple[str, str]]
    scores: list[tuple[str, Score]]
    told: list[Told]
    found: Found


def shape_trace(
    trace: FinishedTrace,
    *,
    project_of: Callable[[Placed], tuple[str, str]],
    fold_asgi: bool = True,
    price_of: PriceOf = no_price,
    cost_by: Sequence[str] = (),
) -> ShapedTrace:
    """The calls of a trace, or of a part of one. Never raises on account of what the spans hold.

    `cost_by` names the attributes that go with what is spent.
    """
    tree = Tree(trace, fold_asgi=fold_asgi)
    join_calls(tree.nodes, project_of)
    return shape_tree(tree, project_of=project_of, price_of=price_of, cost_by=cost_by)


def shape_tree(
    tree: Tree,
    *,
    project_of: Callable[[Placed], tuple[str, str]],
    price_of: PriceOf = no_price,
    cost_by: Sequence[str] = (),
    clean: Callable[[Told], Told] = lambda told: told,
) -> ShapedTrace:
    """The same for a trace whose tree is grown and whose model calls are joined. The tree is used up.

    `clean` takes secrets out of what is told of charts.
    """
    calls, spends = shape_calls(tree, project_of=project_of, price_of=price_of, cost_by=cost_by)
    warnings: Counter[tuple[str, str]] = Counter()
    scores: list[tuple[str, Score]] = []
    told: list[Told] = []
    for node, spend in zip(tree.nodes, spends, strict=True):
        if node.facts.scores:
            scores += ((node.span.span_id, score) for score in scores_of(node.facts))
        if (news := tell(node, spend)) is not None:
            told.append(clean(news))
        for warning in node.facts.warnings or ():
            warnings[node.facts.dialect or "none", code_of_warning(warning)] += 1
    found = find_requests(tree, told, scores)
    tree.release()
    return ShapedTrace(calls, len(tree.folded), warnings, scores, told, found)


def shape_calls(
    tree: Tree,
    *,
    project_of: Callable[[Placed], tuple[str, str]],
    price_of: PriceOf = no_price,
    cost_by: Sequence[str] = (),
) -> tuple[list[Call], list[Spend | None]]:
    """The calls of the tree alone, and what each of them spent: nothing is told of charts and tables."""
    trace = tree.trace
    thread_calls(tree, trace, project_of)
    calls: list[Call] = []
    spends: list[Spend | None] = []
    for node in tree.nodes:
        spend = None if node.usage is None else read_spend(node, price_of, cost_by)
        note_gaps(node)
        calls.append(_shape(node, tree, trace, spend))
        spends.append(spend)
    return calls, spends


def _shape(node: Node, tree: Tree, trace: FinishedTrace, spend: Spend | None) -> Call:
    span, facts, kind = node.span, node.facts, node.kind
    attributes = shape_attributes(node)
    inputs, output = shape_body(facts, kind)
    parent_id = tree.parent_id_of(node, trace)
    if kind in _DERIVED or (node.parent is None and _is_entrance(node, parent_id)):
        output = _derive(node, attributes, inputs, output)
    return Call(
        span.span_id,
        span.trace_id,
        _whole_name(span.name),
        iso_time(span.start_ns),
        iso_time(span.end_ns),
        attributes,
        inputs,
        CallSummary(
            {"success": node.fine, "error": node.failed},
            {model_of(facts): node.usage} if node.usage is not None else None,
            spend.price.to_cost() if spend is not None and spend.price is not None else None,
        ),
        parent_id,
        facts.display_name or None,
        output,
        _exception(span, facts) if span.status_code == STATUS_ERROR or facts.fault is not None else None,
        node.thread_id,
        node.turn_id,
    )


_DERIVED: Final = frozenset(("agent", "workflow"))


def _is_entrance(node: Node, parent_id: str | None) -> bool:
    """Whether this is where a request enters: a server's span, or a root that some code put round it all."""
    if node.kind == "http":
        return node.span.kind in (SPAN_KIND_SERVER, SPAN_KIND_CONSUMER)
    return node.kind == "other" and parent_id is None


def _derive(node: Node, attributes: CallAttributes, inputs: Json, output: object) -> object:
    """Gives a run or an entrance that shows no content the question and the answer of the calls below it."""
    derived = []
    if node.question is not None and "input" not in inputs and "messages" not in inputs:
        question = _last_said(node.question.messages or [])
        if question is not None:
            inputs["input"] = question
            derived.append("input")
    told = output if isinstance(output, dict) else {}
    if node.answer is not None and "output" not in told and "choices" not in told:
        message = (node.answer.choices or [{}])[0].get("message")
        output = {**told, "output": message.get("content") if isinstance(message, dict) else None}
        derived.append("output")
    attributes.derived = derived or None
    return output


def _last_said(messages: list[Json]) -> object | None:
    """What the user said last before the first model call: earlier messages are history."""
    for message in reversed(messages):
        if message.get("role") == "user" and message.get("content"):
            return message["content"]
    return None


def _exception(span: Span, facts: Facts) -> str:
    """JSON of what went wrong: the recorded exception, else the status, else the error's type."""
    fault = facts.fault
    kind = (fault.type if fault else "") or facts.error_type or "error"
    message = (fault.message if fault else "") or span.status_message or facts.error_type or kind
    told = {"type": kind, "message": message}
    if fault is not None and fault.traceback:
        told["traceback"] = fault.traceback
    return encode_text(told)


def cut_names(body: bytes) -> bytes:
    """The encoded call with names that are no longer than Weave takes them.

    To be done behind the redaction: half a secret is found by no pattern.
    """
    call = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for member, cut in (("op_name", op_name), ("display_name", _cut_display_name)):
        if member in call:
            name = msgspec.json.decode(call[member], type=str)
            call[member] = msgspec.Raw(_ENCODER.encode(cut(name)))
    return _ENCODER.encode(call)


def _cut_display_name(name: str) -> str:
    return name[:_MAX_DISPLAY_CHARS]


def _whole_name(name: str) -> str:
    return f"span {name}" if name.startswith("weave://") else name or "unnamed"


@lru_cache(maxsize=1024)
def op_name(name: str) -> str:
    """The span's name as Weave takes it: not empty, at most 128 characters, and never read as a reference."""
    name = _whole_name(name)
    if len(name) <= _MAX_NAME_CHARS:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{name[: _MAX_NAME_CHARS - len(digest) - 1]}~{digest}"
