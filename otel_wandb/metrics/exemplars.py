"""Exemplars of the SDK: single measurements beside the histograms, each with the trace that it was taken in.

They are remembered until their interval is closed, for alarms of views to name traces. What is remembered of
many follows from their hashes, so it depends neither on their order nor on repeats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from otel_wandb.metrics.intervals import Calendar
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.records import Attributes, Metric, SummaryPoint

_KEPT: Final = 64
"""Of an instrument in an interval: those with the smallest hashes, and the smallest and largest values."""
_MAX_INSTRUMENTS: Final = 256


class Seen(NamedTuple):
    """A measurement. `order` is a hash of it."""

    order: bytes
    value: float
    trace_id: str
    span_id: str
    attributes: Attributes


class Exemplars:
    """The exemplars of open intervals. Not thread-safe."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._found: dict[RunSeries, dict[int, dict[str, dict[bytes, Seen]]]] = {}
        """By the ends of intervals, and instruments."""

    def add(
        self,
        metrics: Iterable[Metric],
        series: RunSeries,
        clean: Callable[[Attributes], Attributes] = lambda attributes: attributes,
    ) -> None:
        """Remember what stands beside the points; `clean` gives the attributes that may be shown."""
        for metric in metrics:
            for point in metric.points:
                if isinstance(point, SummaryPoint) or not point.exemplars:
                    continue
                found = self._open(series, self._calendar.interval_at(point.time_ns).end_ns, metric.name)
                if found is None:
                    continue
                for one in point.exemplars:
                    if one.trace_id and one.span_id:
                        seen = _see(float(one.value), one.trace_id, one.span_id, clean(point.attributes))
                        found[seen.order] = seen
                if len(found) > 2 * _KEPT:
                    _thin(found)

    def close(self, series: RunSeries, end_ns: int) -> Mapping[str, list[Seen]]:
        """What was taken up to the end of an interval that closes, by instrument; it is forgotten."""
        intervals = self._found.get(series, {})
        closed = {end: intervals.pop(end) for end in sorted(intervals) if end <= end_ns}
        if not intervals:
            self._found.pop(series, None)
        own = closed.get(end_ns, {})
        for found in own.values():
            _thin(found)
        return {name: [found[order] for order in sorted(found)] for name, found in own.items()}

    def _open(self, series: RunSeries, end_ns: int, instrument: str) -> dict[bytes, Seen] | None:
        instruments = self._found.setdefault(series, {}).setdefault(end_ns, {})
        if instrument not in instruments and len(instruments) >= _MAX_INSTRUMENTS:
            return None
        return instruments.setdefault(instrument, {})


def find_nearest(
    found: Iterable[Seen], value: float, where: Mapping[str, str], is_wanted: Callable[[str], bool]
) -> Seen | None:
    """The one nearest in value that has these attributes, and of a trace that is wanted."""
    fitting = (
        one
        for one in found
        if is_wanted(one.trace_id)
        and all(str(one.attributes.get(name, "")) == text for name, text in where.items())
    )
    return min(fitting, key=lambda one: (_distance(one.value, value), one.order), default=None)


def _distance(value: float, wanted: float) -> tuple[float, float]:
    if abs(wanted) >= 1e300:  # the largest or smallest
        return (0.0, -value if wanted > 0 else value)
    return (abs(value - wanted), 0.0)


def _see(value: float, trace_id: str, span_id: str, attributes: Attributes) -> Seen:
    order = hashlib.blake2b(f"{trace_id}{span_id}{value!r}".encode(), digest_size=8).digest()
    return Seen(order, value, trace_id, span_id, attributes)


def _thin(found: dict[bytes, Seen]) -> None:
    by_value = sorted(found.values(), key=lambda one: (one.value, one.order))
    kept = {one.order for one in (*by_value[:4], *by_value[-4:])} | set(sorted(found)[:_KEPT])
    for order in found.keys() - kept:
        del found[order]
