"""Histograms as values: read from data points, merged and subtracted exactly, asked for statistics.

Both kinds are immutable and answer to `Histogram`; `merge_all` takes what a chart is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from otel_wandb.metrics.explicit import ExplicitHistogram, common_bounds, merge_explicit
from otel_wandb.metrics.exponential import ExponentialHistogram, merge_exponential
from otel_wandb.metrics.measures import InvalidPointError
from otel_wandb.records import ExponentialPoint, HistogramPoint

__all__ = [
    "AnyHistogram",
    "ExplicitHistogram",
    "ExponentialHistogram",
    "Histogram",
    "InvalidPointError",
    "merge_all",
    "needs_conversion",
    "read_histogram",
    "subtract",
]


class Histogram(Protocol):
    """What can be asked of a histogram, whatever its buckets. Of no values, statistics are NaN."""

    @property
    def count(self) -> int:
        """How many values."""
        ...

    @property
    def sum(self) -> float | None:
        """Their sum, correctly rounded; None where the producer did not tell it."""
        ...

    @property
    def min(self) -> float | None:
        """No value is smaller; the smallest value itself if `tight`."""
        ...

    @property
    def max(self) -> float | None:
        """No value is larger; the largest value itself if `tight`."""
        ...

    @property
    def tight(self) -> bool:
        """Whether `min` and `max` are values, and not mere bounds."""
        ...

    @property
    def mean(self) -> float:
        """The mean, exact where the sum is known."""
        ...

    @property
    def std(self) -> float:
        """The standard deviation of the population, as the buckets have it."""
        ...

    @property
    def relative_error(self) -> float:
        """No quantile is wrong by more than this part of itself."""
        ...

    def quantile(self, q: float) -> float:
        """The q-quantile (0 ≤ q ≤ 1), inside `quantile_range`."""
        ...

    def quantiles(self, qs: Sequence[float]) -> list[float]:
        """Several quantiles at the cost of one."""
        ...

    def quantile_range(self, q: float) -> tuple[float, float]:
        """Two values, maybe infinite, between which the q-quantile of the raw values certainly lies."""
        ...

    def share_over(self, threshold: float) -> float:
        """The share of values above the threshold, exact at an edge of a bucket."""
        ...

    def to_bins(self, max_bins: int = 512) -> tuple[list[int], list[float]]:
        """Counts and their ascending finite edges, as `wandb.Histogram(np_histogram=…)` takes them."""
        ...


AnyHistogram: TypeAlias = ExponentialHistogram | ExplicitHistogram


def read_histogram(point: HistogramPoint | ExponentialPoint) -> AnyHistogram:
    """The histogram of a data point; raises `InvalidPointError` for one that cannot be."""
    if isinstance(point, HistogramPoint):
        return ExplicitHistogram.from_point(point)
    return ExponentialHistogram.from_point(point)


def merge_all(histograms: Sequence[AnyHistogram]) -> AnyHistogram:
    """The histogram of all values.

    Exact among exponential histograms, and among explicit ones, whose common bounds are left. Where a chart
    has both kinds, the explicit ones are converted (`needs_conversion` says so): an estimate inside their
    buckets, while counts, sums and extremes stay exact.
    """
    exponential = [h for h in histograms if isinstance(h, ExponentialHistogram)]
    explicit = merge_explicit([h for h in histograms if isinstance(h, ExplicitHistogram)])
    if not any(h.count for h in exponential) and len(exponential) < len(histograms):
        return explicit
    if explicit.count:
        exponential.append(explicit.to_exponential())
    return merge_exponential(exponential)


def needs_conversion(histograms: Sequence[AnyHistogram]) -> bool:
    """Whether a merge of these loses buckets: their kinds or their explicit bounds differ."""
    filled = [h for h in histograms if h.count]
    explicit = [h for h in filled if isinstance(h, ExplicitHistogram)]
    if not explicit:
        return False
    return len(explicit) < len(filled) or len(common_bounds(explicit)) < max(len(h.bounds) for h in explicit)


def subtract(later: AnyHistogram, earlier: AnyHistogram) -> AnyHistogram | None:
    """The values that came after `earlier`, an earlier state of `later`; None where it was reset."""
    if isinstance(later, ExponentialHistogram):
        return later.subtract(earlier) if isinstance(earlier, ExponentialHistogram) else None
    return later.subtract(earlier) if isinstance(earlier, ExplicitHistogram) else None
