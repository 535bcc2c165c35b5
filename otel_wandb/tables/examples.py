"""Traces that show what a value of an interval is about: exemplars of the SDK, and sampled requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from otel_wandb.metrics.catalogue import MILLISECONDS
from otel_wandb.metrics.closed import Series
from otel_wandb.metrics.exemplars import Seen, find_nearest
from otel_wandb.tables.nearest import Candidate
from otel_wandb.views.examples import Example, accept_all

_REQUESTS: Final = ("http.server.request.duration", "http.server.duration", "rpc.server.duration")
"""What measures the requests that are sampled."""
_MILLISECOND_NS: Final = 1_000_000


class IntervalExamples:
    """The traces of an interval. `find_request` gives the kept request nearest in latency (ns)."""

    def __init__(
        self,
        exemplars: Mapping[str, Sequence[Seen]],
        series: Sequence[Series],
        find_request: Callable[[float], Candidate | None],
        is_kept: Callable[[str], bool],
    ) -> None:
        self._exemplars = exemplars
        self._series = series
        self._find_request = find_request
        self._is_kept = is_kept

    def find(
        self,
        instrument: str,
        values: Sequence[float],
        where: Mapping[str, str] = {},
        accepts: Callable[[float], bool] = accept_all,
    ) -> list[Example]:
        """For each value the nearest that the instrument measured, if it is accepted; no trace twice.

        Exemplars are told apart by attributes, sampled requests are not: they are asked only where durations
        of all requests are meant.
        """
        found: dict[str, Example] = {}
        seen = [
            one
            for name, exemplars in sorted(self._exemplars.items())
            if _fits(instrument, name)
            for one in exemplars
            if accepts(one.value)
        ]
        for value in values:
            one = find_nearest(seen, value, where, lambda trace: trace not in found and self._is_kept(trace))
            if one is not None:
                found[one.trace_id] = Example(one.trace_id, one.span_id)
        factor = None if where else self._find_factor(instrument)
        if found or factor is None:
            return list(found.values())
        for value in values:
            request = self._find_request(value * factor)
            if request is not None and accepts(request.latency_ns / factor):
                found.setdefault(request.trace_id, Example(request.trace_id, request.span_id))
        return list(found.values())

    def _find_factor(self, instrument: str) -> float | None:
        """How many ns the unit of the instrument has, where it measures requests."""
        if instrument not in _REQUESTS:
            return None
        unit = next((one.unit for one in self._series if one.name == instrument), "")
        return float(MILLISECONDS.get(unit, MILLISECONDS["s"])) * _MILLISECOND_NS


def _fits(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
