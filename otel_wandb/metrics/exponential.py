"""Base-2 exponential histograms: exact to merge and to subtract, whatever their scales."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from operator import add, sub
from typing import Final, NamedTuple

from msgspec.structs import replace

from otel_wandb.metrics.buckets import LARGEST, Bucket, Spread, clip_ends, close_bins
from otel_wandb.metrics.measures import (
    InvalidPointError,
    Measured,
    check_counts,
    merge_measures,
    read_measures,
    subtract_measures,
)
from otel_wandb.records import ExponentialPoint

MIN_SCALE: Final = -10
MAX_SCALE: Final = 20
MAX_BUCKETS: Final = 640
"""Of one sign, after a merge; the SDKs keep 160, and processes that differ should keep their precision."""

_INDEX_LIMIT: Final = 2**32


class Side(NamedTuple):
    """The buckets of one sign: `counts[i]` values in `base**(offset+i) < |value| <= base**(offset+i+1)`.

    Neither the first nor the last count is zero, so that equal contents are equal.
    """

    offset: int = 0
    counts: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        """One more than the last bucket's index."""
        return self.offset + len(self.counts)


NOTHING: Final = Side()


class ExponentialHistogram(Measured, frozen=True, gc=False):
    """Counts in buckets that grow by `base = 2 ** (2 ** -scale)`; a histogram of no values is `EMPTY`.

    Values of at most `zero_threshold` from zero are counted in `zero_count`, or in buckets within it.
    """

    scale: int = MAX_SCALE
    zero_count: int = 0
    zero_threshold: float = 0.0
    positive: Side = NOTHING
    negative: Side = NOTHING

    @classmethod
    def from_point(cls, point: ExponentialPoint) -> ExponentialHistogram:
        """The histogram of a data point; raises `InvalidPointError` for one that cannot be.

        Where the point's count is not the sum of its buckets, the buckets hold.
        """
        threshold = point.zero_threshold
        if point.scale < MIN_SCALE or not 0 <= threshold <= LARGEST:
            raise InvalidPointError("invalid_buckets")
        if abs(point.positive_offset) > _INDEX_LIMIT or abs(point.negative_offset) > _INDEX_LIMIT:
            raise InvalidPointError("invalid_buckets")
        count = check_counts(point.positive_counts, point.negative_counts, (point.zero_count,))
        positive = _trim(point.positive_offset, point.positive_counts)
        negative = _trim(point.negative_offset, point.negative_counts)
        if not count:
            return EMPTY
        total, smallest, largest, tight = read_measures(point.sum, point.min, point.max)
        histogram = cls(
            count,
            total,
            smallest,
            largest,
            tight,
            point.scale,
            point.zero_count,
            threshold,
            positive,
            negative,
        )
        return histogram.downscale(MAX_SCALE)

    @property
    def relative_error(self) -> float:
        """No quantile is wrong by more than this part of itself: a value is in its bucket, wherever there."""
        return relative_error(self.scale)

    def downscale(self, scale: int) -> ExponentialHistogram:
        """The same histogram with coarser buckets; itself where it is as coarse already."""
        shift = self.scale - scale
        if shift <= 0 or not self.count:
            return self
        return replace(
            self,
            scale=scale,
            positive=_coarsen(self.positive, shift),
            negative=_coarsen(self.negative, shift),
        )

    def merge(self, other: ExponentialHistogram) -> ExponentialHistogram:
        """The histogram of the values of both, exact at the coarser of the two scales.

        Coarser still where the values of both span more than `MAX_BUCKETS`.
        """
        return merge_exponential((self, other))

    def subtract(self, earlier: ExponentialHistogram) -> ExponentialHistogram | None:
        """The values that came after `earlier`, an earlier state of this one; None where counts fell."""
        if not earlier.count:
            return self
        if not self.count:
            return None
        scale = min(self.scale, earlier.scale)
        threshold = max(self.zero_threshold, earlier.zero_threshold)
        late, early = self._align(scale, threshold), earlier._align(scale, threshold)
        positive = _subtract(late.positive, early.positive)
        negative = _subtract(late.negative, early.negative)
        zero = late.zero_count - early.zero_count
        if positive is None or negative is None or zero < 0:
            return None
        count = self.count - earlier.count
        if not count:
            return EMPTY
        total, smallest, largest = subtract_measures(self, earlier)
        return ExponentialHistogram(
            count, total, smallest, largest, False, scale, zero, late.zero_threshold, positive, negative
        )

    def scaled(self, factor: Fraction) -> ExponentialHistogram:
        """The histogram of the values times a positive factor, in another unit.

        Exact for factors that are a power of the base; else each bucket is split over the two that it falls
        into, so that a value may be counted one bucket too high or too low.
        """
        if factor == 1 or not self.count:
            return self
        by = float(factor)
        distance = math.ldexp(math.log2(by), self.scale)
        return replace(
            self,
            total=None if self.total is None else self.total * factor,
            min=None if self.min is None else self.min * by,
            max=None if self.max is None else self.max * by,
            zero_threshold=self.zero_threshold * by,
            positive=_shift(self.positive, distance),
            negative=_shift(self.negative, distance),
        )

    def spread(self) -> Spread:
        """The buckets in ascending order, ready to be asked; only for a histogram of some values."""
        return Spread(
            clip_ends(self.list_buckets(), self.min, self.max),
            self.min if self.tight else None,
            self.max if self.tight else None,
        )

    def list_buckets(self) -> list[Bucket]:
        """The buckets that hold values, in ascending order, with the ends of their scale."""
        return [bucket for bucket in self._buckets() if bucket.size]

    def to_bins(self, max_bins: int = 512) -> tuple[list[int], list[float]]:
        """Counts and their ascending finite edges, one more than counts; coarser where they are too many."""
        if not self.count:
            return [], []
        coarse = self
        while coarse.scale >= MIN_SCALE and coarse._count_bins() > max_bins:
            coarse = coarse.downscale(coarse.scale - 1)
        return coarse._bins()

    def _count_bins(self) -> int:
        return len(self.positive.counts) + len(self.negative.counts) + 1

    def _bins(self) -> tuple[list[int], list[float]]:
        zero_count, positive, negative = self._take_in()
        below = [-edge for edge in reversed(self._edges(negative))]
        above = self._edges(positive)
        counts, edges = list(reversed(negative.counts)), below if negative.counts else []
        if zero_count or (edges and positive.counts):  # what lies around zero is one bin
            edges = edges or [self._zero_low()]
            edges.append(above[0] if positive.counts else self.zero_threshold)
            counts.append(zero_count)
        if positive.counts:
            edges = [*(edges or above[:1]), *above[1:]]
            counts += positive.counts
        return close_bins(counts, edges)

    def _buckets(self) -> list[Bucket]:
        zero_count, positive, negative = self._take_in()
        buckets: list[Bucket] = []
        if negative.counts:
            edges = [-edge for edge in reversed(self._edges(negative))]
            buckets += map(Bucket, edges, edges[1:], reversed(negative.counts))
        if zero_count:
            buckets.append(Bucket(self._zero_low(), self.zero_threshold, zero_count))
        if positive.counts:
            edges = self._edges(positive)
            buckets += map(Bucket, edges, edges[1:], positive.counts)
        return buckets

    def _take_in(self) -> tuple[int, Side, Side]:
        """What counts as zero, and the sides without it: the buckets that lie wholly within the threshold."""
        if self.zero_threshold <= 0:
            return self.zero_count, self.positive, self.negative
        floor = index_of(self.zero_threshold, self.scale)
        floor += bound(floor + 1, self.scale) <= self.zero_threshold
        above, positive = _collapse(self.positive, floor)
        below, negative = _collapse(self.negative, floor)
        return self.zero_count + above + below, positive, negative

    def _edges(self, side: Side) -> list[float]:
        """The ends of its buckets, the first of which may begin within the threshold, but is no zero."""
        edges = bounds(side.offset, side.end, self.scale)
        edges[0] = max(edges[0], self.zero_threshold)
        return edges

    def _zero_low(self) -> float:
        # Where nothing negative was seen, and the smallest value is not negative, zero is an end.
        return -self.zero_threshold if self.negative.counts or (self.min or 0.0) < 0 else 0.0

    def _align(self, scale: int, threshold: float) -> ExponentialHistogram:
        """The same at that scale, where the bucket of the threshold and all below it are counted as zero."""
        coarse = self.downscale(scale)
        if threshold <= 0:
            return coarse
        floor = _floor(threshold, scale)
        zero, positive = _collapse(coarse.positive, floor)
        more, negative = _collapse(coarse.negative, floor)
        return replace(
            coarse,
            zero_count=coarse.zero_count + zero + more,
            zero_threshold=bound(floor, scale),
            positive=positive,
            negative=negative,
        )


EMPTY: Final = ExponentialHistogram()


def merge_exponential(histograms: Sequence[ExponentialHistogram]) -> ExponentialHistogram:
    """The histogram of all values, exact; the same whatever the order and grouping of merges.

    The widest threshold holds. What other parts have in buckets within it stays there, and counts as zero
    only where the histogram is read: else the scale that the values need would depend on the order.
    """
    parts = [histogram for histogram in histograms if histogram.count]
    if len(parts) < 2:
        return parts[0] if parts else EMPTY
    scale = _common_scale(parts)
    return ExponentialHistogram(
        sum(part.count for part in parts),
        *merge_measures(parts),
        scale,
        sum(part.zero_count for part in parts),
        max(part.zero_threshold for part in parts),
        _add([_coarsen(part.positive, part.scale - scale) for part in parts]),
        _add([_coarsen(part.negative, part.scale - scale) for part in parts]),
    )


def bound(index: int, scale: int) -> float:
    """The lower end of a bucket, `base ** index`; the largest float instead of infinity."""
    exponent = math.ldexp(index, -scale)
    return 2.0**exponent if exponent < 1024 else LARGEST


@lru_cache(maxsize=1024)
def _bounds(first: int, last: int, scale: int) -> tuple[float, ...]:
    return tuple(bound(index, scale) for index in range(first, last + 1))


def bounds(first: int, last: int, scale: int) -> list[float]:
    """The lower ends of the buckets from `first` to `last`."""
    return list(_bounds(first, last, scale))


def index_of(value: float, scale: int) -> int:
    """The bucket that a positive value belongs to."""
    mantissa, exponent = math.frexp(value)
    near = math.floor(math.ldexp(math.log2(mantissa) + exponent, scale))
    # Below the normal floats many bounds are one number, and the logarithm tells little.
    reach = 4 if exponent > -1020 else 4 << max(scale, 0)
    candidates = range(near - reach, near + reach)
    return candidates[bisect_left(candidates, value, key=lambda index: bound(index + 1, scale))]


def relative_error(scale: int) -> float:
    """The width of a bucket, as a part of its lower end."""
    exponent = math.ldexp(1.0, -scale)
    return math.expm1(exponent * math.log(2)) if exponent < 1024 else LARGEST


def _common_scale(parts: Sequence[ExponentialHistogram]) -> int:
    scale = min(part.scale for part in parts)
    for sides in ([(p.positive, p.scale) for p in parts], [(p.negative, p.scale) for p in parts]):
        spans = [(side, own) for side, own in sides if side.counts]
        if not spans:
            continue
        low = min(side.offset >> (own - scale) for side, own in spans)
        high = max((side.end - 1) >> (own - scale) for side, own in spans)
        while high - low >= MAX_BUCKETS:
            low, high, scale = low >> 1, high >> 1, scale - 1
    return scale


def _trim(offset: int, counts: Sequence[int]) -> Side:
    start, end = 0, len(counts)
    while start < end and not counts[start]:
        start += 1
    while end > start and not counts[end - 1]:
        end -= 1
    return Side(offset + start, tuple(counts[start:end])) if start < end else NOTHING


def _coarsen(side: Side, shift: int) -> Side:
    offset, counts = side
    if not shift or not counts:
        return side
    for _ in range(shift):  # two and two, which is the fastest way there is without a library
        if offset & 1:
            counts = (0, *counts)
        if len(counts) & 1:
            counts = (*counts, 0)
        offset, counts = offset >> 1, tuple(map(add, counts[::2], counts[1::2]))
    return Side(offset, counts)


def _add(sides: Sequence[Side]) -> Side:
    filled = [side for side in sides if side.counts]
    if len(filled) < 2:
        return filled[0] if filled else NOTHING
    low = min(side.offset for side in filled)
    high = max(side.end for side in filled)
    columns = [(0,) * (side.offset - low) + side.counts + (0,) * (high - side.end) for side in filled]
    return Side(low, tuple(map(sum, zip(*columns, strict=True))))


def _subtract(side: Side, earlier: Side) -> Side | None:
    if not earlier.counts:
        return side
    at = earlier.offset - side.offset
    end = at + len(earlier.counts)
    if at < 0 or end > len(side.counts):
        return None  # a bucket that had values has none
    left = list(side.counts)
    left[at:end] = map(sub, left[at:end], earlier.counts)
    return None if min(left) < 0 else _trim(side.offset, left)


def _shift(side: Side, distance: float) -> Side:
    if not side.counts:
        return side
    whole = math.floor(distance)
    part = distance - whole
    # What lies below each new edge, rounded there: so the counts stay whole, and their sum what it was.
    before = [0, *accumulate(side.counts)]
    below = [end - round(Fraction(part) * count) for end, count in zip(before[1:], side.counts, strict=True)]
    steps = [later - earlier for earlier, later in zip([0, *below], [*below, before[-1]], strict=True)]
    return _trim(side.offset + whole, steps)


def _collapse(side: Side, floor: int) -> tuple[int, Side]:
    """What lies in buckets below the index, and the rest."""
    cut = floor - side.offset
    if not side.counts or cut <= 0:
        return 0, side
    return sum(side.counts[:cut]), _trim(floor, side.counts[cut:])


def _floor(threshold: float, scale: int) -> int:
    """The index of the first bucket that lies wholly above the threshold."""
    return index_of(threshold, scale) + 1
