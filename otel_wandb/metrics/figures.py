"""The numbers behind a chart, and the statistics that charts show of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from otel_wandb.metrics.buckets import Spread
from otel_wandb.metrics.closed import Level, Summary
from otel_wandb.metrics.explicit import EMPTY_EXPLICIT, ExplicitHistogram
from otel_wandb.metrics.histogram import AnyHistogram, merge_all
from otel_wandb.metrics.measures import to_float

_QUANTILES: Final = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}


class Bins(msgspec.Struct, frozen=True):
    """A histogram as W&B takes it: `np_histogram=(counts, edges)`, with one edge more than counts."""

    counts: list[int]
    edges: list[float]


Number: TypeAlias = int | float
Shown: TypeAlias = Number | Bins


NO_ERRORS: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass
class Durations:
    """How long things took, and which of them failed. `scale` makes milliseconds of the histogram's unit."""

    histogram: AnyHistogram = EMPTY_EXPLICIT
    scale: Fraction = Fraction(1)
    errors: Mapping[str, int] = field(default_factory=lambda: NO_ERRORS)
    seconds: float = 1.0
    with_bins: bool = False

    def statistic(self, name: str) -> Shown | None:
        """count, per_second, errors, error_rate, bins; p50…p99, mean, std, min, max, sum (in ms)."""
        count = self.histogram.count
        if name == "count":
            return count
        if name == "per_second":
            return count / self.seconds
        if name == "errors":
            return sum(self.errors.values())
        if not count:
            return None
        if name == "error_rate":
            return 100 * sum(self.errors.values()) / count
        if name == "bins":
            return self._bins() if self.with_bins else None
        total = self.histogram.total
        if name in ("mean", "sum"):
            if total is not None:
                return to_float(total * self.scale / (count if name == "mean" else 1))
            return scale_by(self._spread.mean(), self.scale) if name == "mean" else None
        return scale_by(self._measure(name), self.scale)

    def _measure(self, name: str) -> float:
        if name == "std":
            total = self.histogram.total
            return self._spread.deviation(None if total is None else self.histogram.mean)
        return self._spread.quantile(_QUANTILES[name])

    @cached_property
    def _spread(self) -> Spread:
        return self.histogram.spread()

    def _bins(self) -> Bins | None:
        if isinstance(self.histogram, ExplicitHistogram):
            counts, edges = self.histogram.scaled(self.scale).to_bins()
        else:
            counts, edges = self.histogram.to_bins()
            edges = [edge * float(self.scale) for edge in edges]
        usable = all(map(math.isfinite, edges)) and all(low < high for low, high in pairwise(edges))
        return Bins(counts, edges) if counts and usable else None


@dataclass
class Errors:
    """How often an error type occurred, of how many attempts."""

    count: int = 0
    attempts: int = 0

    def statistic(self, name: str) -> Shown | None:
        """count, or rate (percent)."""
        if name == "count":
            return self.count
        return 100 * self.count / self.attempts if self.attempts else None


@dataclass
class Amounts:
    """Sums by their names, such as the tokens of each kind."""

    amounts: dict[str, Fraction] = field(default_factory=dict)

    def add(self, name: str, amount: Fraction) -> None:
        """Add to the sum of that name."""
        self.amounts[name] = self.amounts.get(name, Fraction(0)) + amount

    def update(self, more: Amounts) -> None:
        """Add all sums of the other."""
        for name, amount in more.amounts.items():
            self.add(name, amount)

    def statistic(self, name: str) -> Shown | None:
        """The sum of that name, None where nothing was added to it."""
        return to_number(self.amounts[name]) if name in self.amounts else None


@dataclass
class Gauges:
    """The last values of a gauge, of all attributes and processes."""

    level: Level

    def statistic(self, name: str) -> Shown | None:
        """mean; and where there are several, min and max."""
        values = self.level.values
        if name == "mean":
            return to_number(self.level.total / len(values))
        if len(values) < 2:
            return None
        return to_number(min(values) if name == "min" else max(values))


@dataclass
class Summaries:
    """What a summary says."""

    summary: Summary

    def statistic(self, name: str) -> Shown | None:
        """count, sum, or a quantile that the producer told."""
        if name == "count":
            return self.summary.count
        if name == "sum":
            return to_number(self.summary.total)
        return dict(self.summary.quantiles).get(_QUANTILES[name])


Figures: TypeAlias = Durations | Errors | Amounts | Gauges | Summaries


def merge_durations(parts: Sequence[Durations]) -> Durations:
    """All of them in one; in the unit of all, or where they differ in milliseconds."""
    if len(parts) == 1 and parts[0].histogram.count:  # most are, and there may be thousands
        return replace(parts[0])
    filled = [part for part in parts if part.histogram.count]
    errors = Counter[str]()
    for part in parts:
        if part.errors:
            errors.update(part.errors)
    scale = filled[0].scale if filled else Fraction(1)
    if all(part.scale == scale for part in filled):
        histograms: Iterable[AnyHistogram] = (part.histogram for part in filled)
    else:
        histograms, scale = (part.histogram.scaled(part.scale) for part in filled), Fraction(1)
    return Durations(merge_all(list(histograms)), scale, errors)


def to_number(number: Fraction) -> Number:
    """An int where it is whole, else the nearest float."""
    return number.numerator if number.denominator == 1 else to_float(number)


def scale_by(value: float, scale: Fraction) -> float:
    """The product, by the digits that were written: 0.07 s are 70 ms."""
    if scale == 1 or not math.isfinite(value):
        return value
    return to_float(Fraction(repr(value)) * scale)
