"""What `otel-wandb demo` draws: a trace as a tree, rows of charts as a table. Pure functions of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

_NAME_WIDTH: Final = 44
_TEXT_WIDTH: Final = 100
_SECONDS: Final = 1_000_000


class CallAttributes(msgspec.Struct, frozen=True):
    """What the demo reads of a call's attributes."""

    kind: str = "other"
    span_kind: str = ""
    response_id: str = ""
    user_id: str = ""
    resource: Mapping[str, object] = {}


class Usage(msgspec.Struct, frozen=True):
    """The tokens that a call spent."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in Usage.__struct_fields__))


class Cost(msgspec.Struct, frozen=True):
    """What a call cost."""

    total_usd: float | None = None


class Summary(msgspec.Struct, frozen=True):
    """What the demo reads of a call's summary."""

    usage: Mapping[str, Usage] = {}
    cost: Cost = Cost()


class CallView(msgspec.Struct, frozen=True):
    """A call as the demo reads it from the store."""

    id: str
    trace_id: str
    op_name: str
    started_at: datetime
    ended_at: datetime
    parent_id: str | None = None
    attributes: CallAttributes = CallAttributes()
    inputs: Mapping[str, object] = {}
    output: object = None
    summary: Summary = Summary()
    exception: str | None = None

    @property
    def usage(self) -> Usage:
        """All tokens of the call, whatever the model."""
        return sum(self.summary.usage.values(), Usage())

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_at - self.started_at).total_seconds()

    def given(self, name: str) -> object:
        """A member of the output, None where there is none."""
        return self.output.get(name) if isinstance(self.output, dict) else None


def read_call(body: bytes) -> CallView:
    """The view of a stored call. Raises msgspec.ValidationError if it is not one."""
    return msgspec.json.decode(body, type=CallView)


def draw_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows, the first of them the head, under each other: the first column to the left, numbers right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


_COLUMNS: Final = (
    ("req/s", "throughput/requests_per_second", ",.1f"),
    ("p50 ms", "latency/p50_ms", ",.0f"),
    ("p95 ms", "latency/p95_ms", ",.0f"),
    ("p99 ms", "latency/p99_ms", ",.0f"),
    ("errors %", "errors/total_rate_percent", ",.1f"),
    ("tokens in", "tokens/input", ",.0f"),
    ("tokens out", "tokens/output", ",.0f"),
    ("cost USD", "cost/total_usd", ",.4f"),
)


def draw_rows(rows: Sequence[tuple[float, Mapping[str, object]]]) -> str:
    """A line for each row of charts, given by the end of its interval and its values.

    A column that nobody fed is left out.
    """
    shown = [column for column in _COLUMNS if any(column[1] in values for _, values in rows)]
    table = [["until (UTC)", *(title for title, _, _ in shown)]]
    for timestamp_s, values in rows:
        until = datetime.fromtimestamp(timestamp_s, UTC).strftime("%H:%M:%S")
        table.append([until, *(_format(values.get(key), form) for _, key, form in shown)])
    return draw_table(table)


def _format(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"


def draw_tree(calls: Sequence[CallView]) -> str:
    """One trace: what called what, when it began and how long it took, its tokens and its cost."""
    ids = {call.id for call in calls}
    children: dict[str | None, list[CallView]] = {}
    for call in sorted(calls, key=lambda call: (call.started_at, call.id)):
        children.setdefault(call.parent_id if call.parent_id in ids else None, []).append(call)
    roots = children.get(None, [])
    if not roots:
        return ""
    origin = roots[0].started_at
    lines: list[str] = []

    def add(call: CallView, first: str, rest: str) -> None:
        begins_s = (call.started_at - origin).total_seconds()
        name = f"{first}{call.op_name}"
        times = f"{begins_s:+8.3f} s  {call.seconds:7.3f} s"
        lines.append(f"{_cut(name, _NAME_WIDTH):{_NAME_WIDTH}}{times}  {_remark(call)}".rstrip())
        below = children.get(call.id, [])
        for number, child in enumerate(below):
            last = number == len(below) - 1
            add(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))

    for root in roots:
        add(root, "", "")
    return "\n".join(lines)


def draw_talk(calls: Sequence[CallView]) -> str:
    """The question and the answer of a trace, as they stand at its root; empty where there is none."""
    roots = [call for call in calls if call.parent_id is None]
    lines = []
    for root in roots[:1]:
        for title, text in (("question", root.inputs.get("input")), ("answer", root.given("output"))):
            if isinstance(text, str):
                lines.append(f"{title:9} {_cut(' '.join(text.split()), _TEXT_WIDTH)}")
    return "\n".join(lines)


def _remark(call: CallView) -> str:
    parts = []
    status, documents = call.given("status_code"), call.given("documents")
    if status is not None:
        parts.append(str(status))
    if isinstance(documents, list):
        parts.append(f"{len(documents)} documents")
    if call.summary.usage:
        parts.append(_describe(call.usage))
    if call.summary.cost.total_usd is not None:
        parts.append(f"${call.summary.cost.total_usd:.6f}")
    if call.exception:
        parts.append("failed")
    return ", ".join(parts)


def _describe(usage: Usage) -> str:
    cached = f" ({usage.cache_read_input_tokens:,} cached)" if usage.cache_read_input_tokens else ""
    thought = f" ({usage.reasoning_tokens:,} reasoning)" if usage.reasoning_tokens else ""
    return f"{usage.input_tokens:,} tokens in{cached}, {usage.output_tokens:,} out{thought}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
