"""How long it took to the first piece of an answer, whichever way the producer of the span tells it.

The attributes stay where they are in the call: this reads what there is for the charts, and nothing else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from otel_wandb.conventions.decoding import DecodeError, number, quoted_text
from otel_wandb.conventions.facts import Facts, Json
from otel_wandb.records import Span

_SECOND_NS: Final = 1_000_000_000
_MS_NS: Final = 1_000_000

_DURATIONS: Final[dict[str, int]] = {
    "gen_ai.response.time_to_first_chunk": _SECOND_NS,
    "gen_ai.client.operation.time_to_first_chunk": _SECOND_NS,  # Pydantic AI
    "gen_ai.server.time_to_first_token": _SECOND_NS,  # OpenLIT
    "gen_ai.latency.time_to_first_token": _SECOND_NS,  # vLLM
    "ai.response.msToFirstChunk": _MS_NS,  # Vercel AI SDK
    "ai.stream.msToFirstChunk": _MS_NS,
}
"""Attributes that tell it, and their unit in nanoseconds."""

_UNITS: Final[dict[tuple[str | None, str], int]] = {("strands", "gen_ai.server.time_to_first_token"): _MS_NS}
"""What a dialect measures in another unit than all others."""

_MOMENTS: Final = ("langfuse.observation.completion_start_time",)
"""Attributes that tell when it came."""

_EVENTS: Final = frozenset(("First Token Stream Event", "llm.content.completion.chunk"))
"""Span events of which the first came with it (OpenInference, OpenLLMetry)."""

_SLACK_NS: Final = 10 * _MS_NS  # it was measured by another clock than the span


def first_token_ns(span: Span, facts: Facts) -> int | None:
    """Nanoseconds from the start of the span, None where it does not tell, or what cannot be.

    What is longer than the span itself has another unit than it should, and is not believed.
    """
    # No dialect has a fact for it, so what tells it is among what nobody understood.
    told = _read_attributes(facts.rest, span, facts) if facts.rest else None
    if told is None and span.events:
        times_ns = [event.time_ns for event in span.events if event.name in _EVENTS]
        told = min(times_ns) - span.start_ns if times_ns else None
    if told is None or not 0 <= told <= span.end_ns - span.start_ns + _SLACK_NS:
        return None
    return told


def _read_attributes(attributes: Json, span: Span, facts: Facts) -> int | None:
    for key, unit_ns in _DURATIONS.items():
        if key not in attributes:
            continue
        try:
            value = number(attributes[key])
        except DecodeError:
            continue
        if value:
            return round(value * _UNITS.get((facts.dialect, key), unit_ns))
    for key in _MOMENTS:
        if key in attributes:
            return _read_moment(attributes[key], span.start_ns)
    return None


def _read_moment(value: object, start_ns: int) -> int | None:
    try:
        told = quoted_text(value)
        moment = datetime.fromisoformat(told) if told else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None:
        return None
    return round(moment.timestamp() * 1e6) * 1000 - start_ns
