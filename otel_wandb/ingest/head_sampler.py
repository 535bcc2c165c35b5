"""A sampler for services that must not even record: consistent probability sampling at the root of a trace.

`OTEL_TRACES_SAMPLER=otel_wandb` and `OTEL_TRACES_SAMPLER_ARG=0.1`. What it keeps says in its trace state how
much it stands for (`ot=th:…`), so that charts made of spans count right.
https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

_log = logging.getLogger("otel_wandb")

_ALL: Final = 1 << 56
_DIGITS: Final = 4
"""Hex digits of precision: a ratio is met to a part in 65,536 of itself, or closer."""


class ConsistentSampler(Sampler):
    """Keeps a ratio of the traces that begin here, and follows the decision of the caller in all others.

    Which ones follows from the trace id alone, so samplers of different ratios keep parts of each other's.
    Raises ValueError for a ratio that is not above 0 and at most 1.
    """

    def __init__(self, ratio: float) -> None:
        if not 0 < ratio <= 1:
            raise ValueError(f"the ratio is {ratio!r}; it must be above 0 and at most 1")
        self._ratio = ratio
        self._threshold = round_threshold(ratio)
        self._told = f"th:{self._threshold:014x}".rstrip("0") if self._threshold else "th:0"

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The decision on a span that is about to start; see `Sampler`."""
        parent = get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            decision = Decision.RECORD_AND_SAMPLE if parent.trace_flags.sampled else Decision.DROP
            return SamplingResult(decision, attributes, parent.trace_state)
        if trace_id % _ALL < self._threshold:
            return SamplingResult(Decision.DROP, None, trace_state)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, self._tell(trace_state))

    def get_description(self) -> str:
        """The name of the sampler, with its ratio."""
        return f"ConsistentSampler{{{self._ratio}}}"

    def _tell(self, trace_state: TraceState | None) -> TraceState:
        state = trace_state if trace_state is not None else TraceState()
        others = [part for part in (state.get("ot") or "").split(";") if part and not part.startswith("th:")]
        told = ";".join([self._told, *others])
        return state.update("ot", told) if "ot" in state else state.add("ot", told)


def make_sampler(argument: str | float | None) -> Sampler:
    """The sampler that `OTEL_TRACES_SAMPLER_ARG` asks for; of what is no ratio it keeps every trace, and says
    so.
    """
    try:
        return ConsistentSampler(float(argument) if argument not in (None, "") else 1.0)
    except ValueError:
        _log.warning(
            "OTEL_TRACES_SAMPLER_ARG is %r; it must be a number above 0 and at most 1. Every trace is kept.",
            argument,
        )
        return ConsistentSampler(1.0)


def round_threshold(ratio: float) -> int:
    """Of 2**56 equally likely values, how many are dropped: with few hex digits, and never all."""
    kept = max(1, round(ratio * _ALL))
    zeros = max(0, 14 - _DIGITS - max(0, math.floor(-math.log(kept / _ALL, 16))))
    unit: int = 1 << 4 * zeros
    return min(_ALL - kept + unit // 2, _ALL - 1) // unit * unit
