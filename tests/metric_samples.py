"""Data points for the tests of the metrics line, and the bridge's side of it in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from otel_wandb.marks import Marks
from otel_wandb.metrics.catalogue import TWINS
from otel_wandb.metrics.closed import ClosedInterval
from otel_wandb.metrics.runs import RunSeries, service_of
from otel_wandb.metrics.streams import StreamLimits, Streams
from otel_wandb.records import (
    TEMPORALITY_CUMULATIVE,
    TEMPORALITY_DELTA,
    Attributes,
    HistogramPoint,
    Metric,
    MetricBatch,
    NumberPoint,
    Point,
    Resource,
    Scope,
)

S: Final = 1_000_000_000
DAY_S: Final = 86_400
MIDNIGHT_S: Final = 20_000 * DAY_S
"""2024-10-04 00:00 UTC; times of the samples are seconds after it."""

RAG: Final = RunSeries("https://api.wandb.ai", "team", "rag", "rag-api")
EDGES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


def at(second: float) -> int:
    return MIDNIGHT_S * S + round(second * S)


def number(value: float, second: float, start: float = 0.0, **attributes: str) -> NumberPoint:
    return NumberPoint(at(start), at(second), dict(attributes), value)


def histogram(
    values: Sequence[float],
    second: float,
    start: float = 0.0,
    *,
    bounds: Sequence[float] = EDGES,
    attributes: Attributes | None = None,
) -> HistogramPoint:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[next((i for i, edge in enumerate(bounds) if value <= edge), len(bounds))] += 1
    return HistogramPoint(
        at(start),
        at(second),
        dict(attributes or {}),
        len(values),
        float(sum(Fraction(value) for value in values)),
        list(bounds),
        counts,
        min(values, default=None),
        max(values, default=None),
    )


def counter(name: str, *points: Point, cumulative: bool = False, monotonic: bool = True) -> Metric:
    temporality = TEMPORALITY_CUMULATIVE if cumulative else TEMPORALITY_DELTA
    return Metric(name, "sum", list(points), "1", "", temporality, monotonic)


def histograms(name: str, *points: Point, cumulative: bool = False, unit: str = "s") -> Metric:
    temporality = TEMPORALITY_CUMULATIVE if cumulative else TEMPORALITY_DELTA
    return Metric(name, "histogram", list(points), unit, "", temporality)


def gauge(name: str, *points: Point) -> Metric:
    return Metric(name, "gauge", list(points), "1")


def batch(
    *metrics: Metric, instance: str = "a", scope: str = "tests", service: str = "rag-api"
) -> MetricBatch:
    resource = Resource({"service.name": service, "service.instance.id": instance})
    return MetricBatch(resource, Scope(scope), list(metrics))


@dataclass(frozen=True)
class Written:
    """A frame of the journal."""

    segment: str
    offset: int
    batches: tuple[MetricBatch, ...]
    written_ns: int

    @property
    def end(self) -> int:
        return self.offset + 10

    @property
    def points(self) -> int:
        return sum(len(metric.points) for b in self.batches for metric in b.metrics)


@dataclass
class House:
    """Streams with their marks and a store, fed one frame at a time; it can be killed between two frames."""

    limits: StreamLimits = field(default_factory=StreamLimits)
    replay: bool = True

    def __post_init__(self) -> None:
        self.journal: dict[str, list[Written]] = {}
        self.stored: dict[str, bytes] = {}
        self.marks_stored: dict[str, tuple[int, int]] = {}
        self.closed: list[ClosedInterval] = []
        self.counts: Counter[str] = Counter()
        self._begin()

    def write(
        self,
        *batches: MetricBatch,
        segment: str = "a-0.seg",
        written: float = 0.0,
    ) -> None:
        """Append a frame and work it off, in one transaction."""
        frames = self.journal.setdefault(segment, [])
        frame = Written(segment, 10 * len(frames), batches, at(written))
        frames.append(frame)
        self._take(frame, again=False)
        self.counts["received"] += frame.points
        self.tick()

    def tick(self, second: float | None = None) -> list[ClosedInterval]:
        """Close what is due, and commit."""
        closed = self.streams.due(0 if second is None else at(second))
        self._commit(closed)
        return closed

    def finish(self) -> list[ClosedInterval]:
        self._commit(self.streams.finish_all())
        return self.closed

    def kill(self) -> None:
        """Forget all but the store, and read again what has to be, segment by segment."""
        self._begin()
        self.streams.restore(self.stored.items())
        for segment, (counted, assembled) in sorted(self.marks_stored.items()):
            self.marks.restore(segment, counted)
            for frame in self.journal[segment]:
                if frame.offset >= assembled and frame.end <= counted:
                    self._take(frame, again=True)
        assert not self.streams.dropped

    @property
    def rows(self) -> dict[tuple[RunSeries, int], ClosedInterval]:
        """What was closed; a second row for one interval would be an error."""
        rows = {(c.series, c.interval.end_ns): c for c in self.closed}
        assert len(rows) == len(self.closed)
        return rows

    def check_ledger(self) -> None:
        assert self.counts["received"] == (
            self.counts["delivered"] + self.counts["dropped"] + self.streams.open_points
        )

    def _begin(self) -> None:
        self.marks = Marks()
        self.streams = Streams(self.limits, self.marks, twins=TWINS, replay=self.replay)

    def _take(self, frame: Written, *, again: bool) -> None:
        self.marks.advance(frame.segment, frame.end)
        for one in frame.batches:
            self.streams.add(
                one,
                series=RAG._replace(service=service_of(one.resource.attributes)),
                config="0" * 16,
                frame=(frame.segment, frame.offset),
                written_ns=frame.written_ns,
                again=again,
            )

    def _commit(self, closed: Iterable[ClosedInterval]) -> None:
        for interval in closed:
            self.closed.append(interval)
            self.counts["delivered"] += interval.delivered
        for (_, reason), points in self.streams.dropped.items():
            self.counts["dropped"] += points
            self.counts[f"dropped {reason}"] += points
        self.streams.dropped.clear()
        for name, state in self.streams.take_states():
            if state:
                self.stored[name] = state
            else:
                self.stored.pop(name, None)
        for segment, counted, assembled in self.marks.take_changes():
            self.marks_stored[segment] = (counted, assembled)
        self.check_ledger()


def values_of(closed: ClosedInterval) -> dict[str, object]:
    """The numbers of an interval by instrument, and by attributes where there are several."""
    found: dict[str, object] = {}
    for series in closed.data:
        labels = ",".join(f"{name}={value!s}" for name, value in sorted(series.attributes.items()))
        found[f"{series.name}{{{labels}}}" if labels else series.name] = series.value
    return found
