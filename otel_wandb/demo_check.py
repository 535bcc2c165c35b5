"""Whether all that the demo's service did is there as calls: sent and answered against stored."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import msgspec

from otel_wandb.demo_load import Outcome
from otel_wandb.demo_views import CallView, Usage

Thing = TypeVar("Thing", bound=Hashable)


class ModelAnswer(msgspec.Struct, frozen=True):
    """What the stand-in has on record of one HTTP request."""

    id: str
    status: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int

    @property
    def usage(self) -> Usage:
        """The same in the words of a call."""
        return Usage(self.input_tokens, self.output_tokens, self.cached_tokens, self.reasoning_tokens)


class Record(msgspec.Struct, frozen=True):
    """The record of the stand-in."""

    answers: tuple[ModelAnswer, ...]


def count_calls(outcomes: Sequence[Outcome], record: Record | None) -> int:
    """How many calls there must be; without a record at least so many, since nobody counted the retries."""
    asked = sum(outcome.asks for outcome in outcomes)
    tries = asked if record is None else len(record.answers)
    return len(outcomes) + sum(outcome.retrieves for outcome in outcomes) + asked + tries


def find_faults(calls: Sequence[CallView], outcomes: Sequence[Outcome], record: Record | None) -> list[str]:
    """What does not agree, a sentence each; empty when every request is there once, with all that it did."""
    faults = [
        f"{o.planned.method} {o.planned.path} had no answer: {o.problem}" for o in outcomes if o.problem
    ]
    by_kind: dict[str, list[CallView]] = {}
    for call in calls:
        kind = call.attributes.kind
        by_kind.setdefault(f"{call.attributes.span_kind} http" if kind == "http" else kind, []).append(call)
    chats = by_kind.get("chat", [])
    faults += _compare(
        "requests",
        Counter[Hashable]((o.planned.method, o.planned.path, o.status) for o in outcomes if not o.problem),
        Counter[Hashable](
            (c.inputs.get("method"), c.inputs.get("path"), c.given("status_code"))
            for c in by_kind.get("server http", [])
        ),
    )
    asked, searched = sum(o.asks for o in outcomes), sum(o.retrieves for o in outcomes)
    faults += _compare("calls", Counter(chat=asked), Counter(chat=len(chats)))
    retrievals = len(by_kind.get("retrieval", []))
    faults += _compare("calls", Counter(retrieval=searched), Counter(retrieval=retrievals))
    if record is not None:
        tries = Counter[object](call.given("status_code") for call in by_kind.get("client http", []))
        faults += _compare("tries", Counter[object](answer.status for answer in record.answers), tries)
        answered = Counter((a.id, a.usage) for a in record.answers if a.status == 200)
        stored = Counter((c.attributes.response_id, c.usage) for c in chats if c.summary.usage)
        faults += _compare("answers of the model", answered, stored)
    return faults


def find_row_faults(
    rows: Sequence[Mapping[str, object]], outcomes: Sequence[Outcome], record: Record | None
) -> list[str]:
    """What does not agree between the rows of charts and what was sent; each request is in one row."""
    expected = {"latency/count": len(outcomes)}
    if record is not None:
        expected["tokens/input"] = sum(answer.input_tokens for answer in record.answers)
        expected["tokens/output"] = sum(answer.output_tokens for answer in record.answers)
    faults = []
    for key, wanted in expected.items():
        counted = sum(n for row in rows if isinstance(n := row.get(key), int | float))
        if counted != wanted:
            faults.append(f"{key} of the charts adds up to {counted:,g}, not to {wanted:,}")
    return faults


def find_cost_faults(rows: Sequence[Mapping[str, object]], calls: Sequence[CallView]) -> list[str]:
    """Whether the charts cost what the calls do; empty when they agree."""
    spent = [usd for call in calls if (usd := call.summary.cost.total_usd) is not None]
    charted = [n for row in rows if isinstance(n := row.get("cost/total_usd"), int | float)]
    wanted, found = math.fsum(spent), math.fsum(charted)
    if math.isclose(wanted, found, rel_tol=1e-9):
        return []
    return [f"cost/total_usd of the charts adds up to {found:g}, not to {wanted:g} as the calls do"]


def _compare(what: str, done: Counter[Thing], stored: Counter[Thing]) -> list[str]:
    faults = []
    for verb, left, right in (("missing", done, stored), ("too many", stored, done)):
        surplus = left - right
        if surplus:
            example, _ = min(surplus.items(), key=str)
            shown = " ".join(map(str, example)) if isinstance(example, tuple) else str(example)
            faults.append(f"{surplus.total()} {what} {verb}, such as {shown}")
    return faults
