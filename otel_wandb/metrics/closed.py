"""What the streams hand over: an interval of a service that nothing more will be added to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from otel_wandb.metrics.from_spans import SpendKey, Tally
from otel_wandb.metrics.histogram import AnyHistogram, merge_all, needs_conversion, subtract
from otel_wandb.metrics.intervals import Interval
from otel_wandb.metrics.measures import sum_exactly
from otel_wandb.metrics.runs import RunKey, RunSeries
from otel_wandb.records import Attributes

OVERFLOW: Final[Attributes] = {"otel.metric.overflow": True}
"""The attributes of all that is beyond the cardinality limit (OpenTelemetry's own convention)."""


@dataclass(frozen=True, slots=True)
class Level:
    """What a gauge, or a counter that goes up and down, stood at: one value of each process, the last."""

    values: tuple[Fraction, ...]

    @property
    def total(self) -> Fraction:
        """The sum over the processes."""
        return sum(self.values, Fraction(0))


@dataclass(frozen=True, slots=True)
class Summary:
    """Count and sum of what came in, and the quantiles that its producer last told (of a time of its own)."""

    count: int
    total: Fraction
    quantiles: tuple[tuple[float, float], ...]


Value: TypeAlias = Fraction | Level | Summary | AnyHistogram
"""A counter's increase, a level, a summary, or a histogram."""

Family: TypeAlias = Literal["counter", "updown", "gauge", "summary", "histogram"]


class Series(msgspec.Struct, frozen=True):
    """The data of one instrument and one set of attributes, over all processes of the service.

    `shadowed` says that the same processes measured the same also with a newer instrument.
    """

    scope: str
    name: str
    unit: str
    family: Family
    attributes: Attributes
    key: bytes
    """Tells these attributes apart from others."""
    value: Value
    shadowed: bool = False


class Share(NamedTuple):
    """What the processes of one version of the service had of an interval."""

    data: tuple[Series, ...]
    derived: tuple[Series, ...]
    spends: Mapping[SpendKey, Tally]


@dataclass(frozen=True, slots=True)
class ClosedInterval:
    """All that a service measured in an interval, in a fixed order. It becomes one row.

    `config` is the digest of the settings named by the newest frame in it. `points` are the data points that
    it accounts for, `dropped` those among them that told nothing, by reason, and `late_points` those that
    belong to an earlier interval. `derived` is what spans and scores tell, in the shape of what metrics do;
    `spends` is what its spans spent, `spend_sizes` how many calls spent so many tokens, `spans` counts all
    that told something, `late_spans` those that ended in an earlier interval, and `mapping_warnings` what the
    dialects warned of. Of later intervals it is known what came by now: `told_later` are the models that
    spans told of. `measured` is what metrics measured in this one, `measured_later` in those
    (`sorting.find_measure`). `versions` are the shares of the versions of the service, where what tells
    none has an empty one.
    """

    series: RunSeries
    interval: Interval
    config: str
    data: tuple[Series, ...]
    resources: tuple[Attributes, ...]
    points: int
    late_points: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    spends: Mapping[SpendKey, Tally] = field(default_factory=dict)
    spend_sizes: Mapping[int, int] = field(default_factory=dict)
    late_spans: int = 0
    mapping_warnings: int = 0
    told_later: frozenset[str] = frozenset()
    derived: tuple[Series, ...] = ()
    spans: int = 0
    measured: frozenset[str] = frozenset()
    measured_later: frozenset[str] = frozenset()
    versions: Mapping[str, Share] = field(default_factory=dict)

    @property
    def delivered(self) -> int:
        """How many data points are in the row."""
        return self.points - self.dropped.total()

    @property
    def run(self) -> RunKey:
        """The run of the row."""
        return RunKey(self.series, self.interval.period_ns)


def combine(values: Sequence[Value]) -> tuple[Value, bool]:
    """The value of all of them, which are of one family, and whether buckets were lost in it."""
    first = values[0]
    if len(values) == 1:
        return first, False
    if isinstance(first, Fraction):
        return sum_exactly([v for v in values if isinstance(v, Fraction)]), False
    if isinstance(first, Level):
        return Level(tuple(sorted(x for v in values if isinstance(v, Level) for x in v.values))), False
    if isinstance(first, Summary):
        summaries = [v for v in values if isinstance(v, Summary)]
        # Quantiles of several processes have no common value; those of the busiest one are shown.
        busiest = max(summaries, key=lambda s: (s.count, s.quantiles))
        total = sum((s.total for s in summaries), Fraction(0))
        return Summary(sum(s.count for s in summaries), total, busiest.quantiles), False
    histograms = [v for v in values if not isinstance(v, Fraction | Level | Summary)]
    return merge_all(histograms), needs_conversion(histograms)


def difference(later: Value, earlier: Value) -> Value | None:
    """What came in between two states of a cumulative stream; None where it was reset in between."""
    if isinstance(later, Fraction):
        return later - earlier if isinstance(earlier, Fraction) and later >= earlier else None
    if isinstance(later, Summary):
        if not isinstance(earlier, Summary) or later.count < earlier.count:
            return None
        return Summary(later.count - earlier.count, later.total - earlier.total, later.quantiles)
    if isinstance(later, Level) or isinstance(earlier, Fraction | Level | Summary):
        return None
    return subtract(later, earlier)
