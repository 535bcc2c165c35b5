"""Histograms with explicit bounds: exact to merge and to subtract where the bounds are the same.

Where they are not, what comes out has the bounds that both have: coarser, and exact all the same. Nothing is
ever interpolated between edges to make them fit.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from operator import sub
from typing import Final

from otel_wandb.metrics.buckets import Bucket, Spread, clip_ends, close_bins
from otel_wandb.metrics.exponential import (
    EMPTY,
    MAX_BUCKETS,
    NOTHING,
    ExponentialHistogram,
    Side,
    bound,
    index_of,
)
from otel_wandb.metrics.measures import (
    InvalidPointError,
    Measured,
    check_counts,
    merge_measures,
    read_measures,
    subtract_measures,
    to_float,
)
from otel_wandb.records import HistogramPoint

_CONVERTED_SCALE: Final = 4


class ExplicitHistogram(Measured, frozen=True, gc=False):
    """Counts in buckets with given edges: `counts[i]` values in `bounds[i-1] < value <= bounds[i]`.

    The first bucket has no lower and the last no upper end; with no bounds there is one bucket of everything.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)

    @classmethod
    def from_point(cls, point: HistogramPoint) -> ExplicitHistogram:
        """The histogram of a data point; raises `InvalidPointError` for one that cannot be.

        Where the point's count is not the sum of its buckets, the buckets hold.
        """
        bounds, counts = point.bounds, point.counts or [point.count]
        if len(counts) != len(bounds) + 1:
            raise InvalidPointError("invalid_buckets")
        count = check_counts(counts)
        if bounds and math.isinf(bounds[-1]):  # some producers write the open end down
            bounds, counts = bounds[:-1], [*counts[:-2], counts[-2] + counts[-1]]
        if not all(map(math.isfinite, bounds)) or any(low >= high for low, high in pairwise(bounds)):
            raise InvalidPointError("invalid_buckets")
        if not count:
            return EMPTY_EXPLICIT
        return cls(count, *read_measures(point.sum, point.min, point.max), tuple(bounds), tuple(counts))

    @property
    def relative_error(self) -> float:
        """The widest bucket that holds values, as a part of its lower end; infinite if that is zero."""
        return max((b.high / b.low - 1 if b.low > 0 else math.inf for b in self._buckets()), default=0.0)

    def merge(self, other: ExplicitHistogram) -> ExplicitHistogram:
        """The histogram of the values of both, exact, with the bounds that both have."""
        return merge_explicit((self, other))

    def subtract(self, earlier: ExplicitHistogram) -> ExplicitHistogram | None:
        """The values that came after `earlier`, an earlier state of this one; None where counts fell."""
        if not earlier.count:
            return self
        if not self.count:
            return None
        bounds = common_bounds((self, earlier))
        counts = tuple(map(sub, self._onto(bounds), earlier._onto(bounds)))
        if min(counts) < 0:
            return None
        count = self.count - earlier.count
        if not count:
            return EMPTY_EXPLICIT
        total, smallest, largest = subtract_measures(self, earlier)
        return ExplicitHistogram(count, total, smallest, largest, False, bounds, counts)

    def scaled(self, factor: Fraction) -> ExplicitHistogram:
        """The histogram of the values times a positive factor, in another unit; exact."""
        if factor == 1 or not self.count:
            return self
        return ExplicitHistogram(
            self.count,
            None if self.total is None else self.total * factor,
            None if self.min is None else _times(self.min, factor),
            None if self.max is None else _times(self.max, factor),
            self.tight,
            tuple(_times(edge, factor) for edge in self.bounds),
            self.counts,
        )

    def spread(self) -> Spread:
        """The buckets in ascending order, ready to be asked; only for a histogram of some values.

        An open end is closed by the smallest or largest value; where these are not known, by zero, or else
        the values are taken to lie on the last edge.
        """
        buckets = self._buckets()
        if not buckets:  # no edges, and no extremes: nothing at all is known of where the values are
            buckets = [Bucket(math.nan, math.nan, self.count)]
        return Spread(
            buckets,
            self.min if self.tight else None,
            self.max if self.tight else None,
            open_low=self.min is None and self.counts[0] > 0,
            open_high=self.max is None and self.counts[-1] > 0,
        )

    def list_buckets(self) -> list[Bucket]:
        """The buckets that hold values, in ascending order, with their own ends: the outer ones are open."""
        ends = (-math.inf, *self.bounds, math.inf)
        return [bucket for bucket in map(Bucket, ends, ends[1:], self.counts) if bucket.size]

    def to_bins(self, max_bins: int = 512) -> tuple[list[int], list[float]]:
        """Counts and their ascending finite edges, one more than counts; coarser where they are too many."""
        buckets = self._all_buckets()
        while buckets and not buckets[0].size:
            del buckets[0]
        while buckets and not buckets[-1].size:
            del buckets[-1]
        if not buckets:
            return [], []
        step = -(-len(buckets) // max_bins)
        groups = [buckets[at : at + step] for at in range(0, len(buckets), step)]
        counts = [sum(bucket.size for bucket in group) for group in groups]
        return close_bins(counts, [buckets[0].low, *(group[-1].high for group in groups)])

    def to_exponential(self) -> ExponentialHistogram:
        """An estimate with exponential buckets: the values of each bucket are spread over those it covers.

        For one chart of processes that do not agree on the kind; count, sum and extremes stay exact.
        """
        if not self.count:
            return EMPTY
        sides: dict[int, dict[int, int]] = {1: {}, -1: {}}
        zero = self.count
        buckets = self._buckets()
        if not buckets and self.total is not None:  # no edges and no extremes: the mean is all that is known
            buckets = [Bucket(self.mean, self.mean, self.count)]
        for bucket in buckets:
            for sign, part in _halves(bucket):
                zero -= part.size
                for index, count in _spread_over(part):
                    sides[sign][index] = sides[sign].get(index, 0) + count
        positive, negative = _side(sides[1]), _side(sides[-1])
        return ExponentialHistogram(
            self.count,
            self.total,
            self.min,
            self.max,
            self.tight,
            _CONVERTED_SCALE,
            zero,
            0.0,
            positive,
            negative,
        )

    def _buckets(self) -> list[Bucket]:
        """The buckets that hold something, as narrow as the extremes tell."""
        return clip_ends([bucket for bucket in self._all_buckets() if bucket.size], self.min, self.max)

    def _all_buckets(self) -> list[Bucket]:
        """The buckets between their edges, the ends closed as far as can be told."""
        edges = self.bounds
        if not edges:
            if self.min is None or self.max is None:
                return []
            return [Bucket(self.min, self.max, self.count)]
        lowest, highest = min(0.0, edges[0]), edges[-1]
        if self.min is not None:
            lowest = min(self.min, lowest)
        if self.max is not None:
            highest = max(self.max, highest)
        return list(map(Bucket, (lowest, *edges), (*edges, highest), self.counts))

    def _onto(self, bounds: Sequence[float]) -> tuple[int, ...]:
        """The counts between these bounds, which are some of its own."""
        if len(bounds) == len(self.bounds):
            return self.counts
        below = list(accumulate(self.counts))
        ends = [*(below[bisect_left(self.bounds, edge)] for edge in bounds), self.count]
        return tuple(map(sub, ends, [0, *ends]))


EMPTY_EXPLICIT: Final = ExplicitHistogram()


def merge_explicit(histograms: Sequence[ExplicitHistogram]) -> ExplicitHistogram:
    """The histogram of all values, exact, with the bounds that all have; the same in any order."""
    parts = [histogram for histogram in histograms if histogram.count]
    if len(parts) < 2:
        return parts[0] if parts else EMPTY_EXPLICIT
    bounds = common_bounds(parts)
    counts = tuple(map(sum, zip(*(part._onto(bounds) for part in parts), strict=True)))
    return ExplicitHistogram(sum(counts), *merge_measures(parts), bounds, counts)


def common_bounds(parts: Sequence[ExplicitHistogram]) -> tuple[float, ...]:
    """The bounds that all of the histograms have."""
    first = parts[0].bounds
    if all(part.bounds == first for part in parts):
        return first
    shared = set(first).intersection(*(part.bounds for part in parts))
    return tuple(sorted(shared))


def _times(value: float, factor: Fraction) -> float:
    # By the digits that were written, since 0.075 s should become 75 ms and nothing else.
    return to_float(Fraction(repr(value)) * factor)


def _halves(bucket: Bucket) -> list[tuple[int, Bucket]]:
    """The positive part of a bucket, and the mirrored negative one; values at zero are in neither."""
    low, high, count = bucket
    if low >= 0:
        return [(1, bucket)] if high > 0 else []
    if high <= 0:
        return [(-1, Bucket(-high, -low, count))]
    above = round(count * bucket.share_over(0.0))
    return [(1, Bucket(0.0, high, above)), (-1, Bucket(0.0, -low, count - above))]


def _spread_over(bucket: Bucket) -> Iterator[tuple[int, int]]:
    """(index, count) of the exponential buckets below a positive high end, from the top down."""
    left = bucket.size
    index = index_of(bucket.high, _CONVERTED_SCALE)
    for _ in range(MAX_BUCKETS):
        low = bound(index, _CONVERTED_SCALE)
        over = bucket.size if low <= bucket.low else round(bucket.size * bucket.share_over(low))
        taken = over - (bucket.size - left)
        if taken > 0:
            yield index, taken
            left -= taken
        if not left:
            return
        index -= 1
    yield index, left


def _side(counts: dict[int, int]) -> Side:
    if not counts:
        return NOTHING
    low, high = min(counts), max(counts)
    return Side(low, tuple(counts.get(index, 0) for index in range(low, high + 1)))
