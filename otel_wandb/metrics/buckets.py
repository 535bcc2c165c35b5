"""Statistics of values of which only the buckets are known.

A value is anywhere in its bucket. Where one number is asked for, the values of a bucket are taken to lie
evenly in it: in proportion where the bucket is on one side of zero (as do latencies, sizes and tokens, whose
buckets grow by a factor), else in distance. What is certain, not just likely, `Spread.quantile_range` tells.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

LARGEST: Final = sys.float_info.max


class Bucket(NamedTuple):
    """`size` values in `low < value <= high`; both ends are finite, but in `list_buckets`."""

    low: float
    high: float
    size: int

    @property
    def proportional(self) -> bool:
        """Whether the values are spread by ratio: the bucket lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def at(self, share: float) -> float:
        """The value below which that share of the bucket's values is expected."""
        if self.low == self.high:
            return self.low
        if not self.proportional:
            return self.low * (1 - share) + self.high * share
        start, end = math.log(abs(self.low)), math.log(abs(self.high))
        # The last digit of exp may lead out of the bucket, and overflow at its far end.
        size = math.exp(min(start + (end - start) * share, _LOG_LARGEST))
        return min(max(math.copysign(size, self.low), self.low), self.high)

    def share_over(self, threshold: float) -> float:
        """The share of the bucket's values that is expected above the threshold."""
        if threshold >= self.high:
            return 0.0
        if threshold < self.low or self.low == self.high:
            return 1.0
        if not self.proportional:
            return (self.high / 2 - threshold / 2) / (self.high / 2 - self.low / 2)
        start, end = math.log(abs(self.low)), math.log(abs(self.high))
        if start == end:
            return 0.5
        return (end - math.log(abs(threshold))) / (end - start)


_LOG_LARGEST: Final = math.log(LARGEST)
_NARROW: Final = 1e-6
"""Relative width below which a bucket's density does not matter, and the logarithm's last digits would."""


class Spread:
    """Ascending buckets of at least one value, ready to be asked.

    `smallest` and `largest` are the extreme values themselves, where they are known. `open_low` and
    `open_high` say that the values of the first or last bucket may as well lie beyond its end.
    """

    __slots__ = ("_ends", "_largest", "_open_high", "_open_low", "_smallest", "buckets")

    def __init__(
        self,
        buckets: Sequence[Bucket],
        smallest: float | None = None,
        largest: float | None = None,
        *,
        open_low: bool = False,
        open_high: bool = False,
    ) -> None:
        self.buckets = buckets
        self._open_low = open_low
        self._open_high = open_high
        self._ends = list(accumulate(bucket.size for bucket in buckets))
        self._smallest = smallest
        self._largest = largest

    def quantile(self, q: float) -> float:
        """The q-quantile, interpolated between two values as `numpy.percentile` does."""
        below, weight = self._position(q)
        value = self._value(below)
        if not weight:
            return value
        above = self._value(below + 1)
        return value if above == value else value * (1 - weight) + above * weight

    def quantile_range(self, q: float) -> tuple[float, float]:
        """Two values between which the q-quantile of the raw values certainly lies."""
        below, weight = self._position(q)
        low, high = self._range(below)
        if not weight:
            return low, high
        next_low, next_high = self._range(below + 1)
        return low * (1 - weight) + next_low * weight, high * (1 - weight) + next_high * weight

    def share_over(self, threshold: float) -> float:
        """The share of values above the threshold; exact where the threshold is an edge of a bucket."""
        over = sum(bucket.size * bucket.share_over(threshold) for bucket in self.buckets)
        return min(1.0, over / self._ends[-1])

    def mean(self) -> float:
        """The mean, as far as the buckets tell."""
        unit = self._unit()
        return unit * self._moments(unit)[0]

    def deviation(self, mean: float | None = None) -> float:
        """The standard deviation of the population, as the buckets have it; better with the exact mean."""
        if self._ends[-1] == 1:
            return 0.0
        unit = self._unit()
        first, second = self._moments(unit, None if mean is None else mean / unit)
        widest = (self.buckets[-1].high / unit - self.buckets[0].low / unit) / 2
        return unit * min(math.sqrt(max(0.0, second - first * first)), widest)

    def _moments(self, unit: float, mean: float | None = None) -> tuple[float, float]:
        """The mean and the mean square, in that unit; extremes that are known are where they are.

        Where the mean is known, the places that the other values of one sign were given are moved to fit it.
        """
        count = self._ends[-1]
        sizes = [bucket.size for bucket in self.buckets]
        known = []
        if self._smallest is not None:
            known.append(self._smallest / unit)
            sizes[0] -= 1
        if self._largest is not None and sizes[-1] > 0:
            known.append(self._largest / unit)
            sizes[-1] -= 1
        first, second = _sum_moments(self.buckets, sizes, unit)
        if mean is not None and first > 0 and self.buckets[0].low >= 0:
            fitted = max(0.0, mean * count - sum(known))
            first, second = fitted, second * (fitted / first) ** 2
        return (first + sum(known)) / count, (second + sum(value * value for value in known)) / count

    def _unit(self) -> float:
        return max(abs(self.buckets[0].low), abs(self.buckets[-1].high)) or 1.0

    def _position(self, q: float) -> tuple[int, float]:
        last = self._ends[-1] - 1
        position = last * min(max(q, 0.0), 1.0)
        below = min(int(position), last)
        return below, (position - below if below < last else 0.0)

    def _value(self, index: int) -> float:
        if index == 0 and self._smallest is not None:
            return self._smallest
        if index == self._ends[-1] - 1 and self._largest is not None:
            return self._largest
        at = bisect_right(self._ends, index)
        bucket = self.buckets[at]
        return bucket.at((index - self._ends[at] + bucket.size + 0.5) / bucket.size)

    def _range(self, index: int) -> tuple[float, float]:
        at = bisect_right(self._ends, index)
        low, high, _ = self.buckets[at]
        if index == 0 and self._smallest is not None:
            high = low = self._smallest
        elif index == self._ends[-1] - 1 and self._largest is not None:
            low = high = self._largest
        if at == 0 and self._open_low:
            low = -math.inf
        if at == len(self.buckets) - 1 and self._open_high:
            high = math.inf
        return low, high


def _sum_moments(buckets: Sequence[Bucket], sizes: Sequence[int], unit: float) -> tuple[float, float]:
    """The expected sum of so many values of each bucket, and of their squares, measured in `unit`."""
    first = second = 0.0
    for (low, high, _), size in zip(buckets, sizes, strict=True):
        low, high = low / unit, high / unit  # noqa: PLW2901  nothing else is needed of them
        width = math.log(high / low) if low and 0 < high / low < math.inf else 0.0
        if abs(width) > _NARROW:
            mean = (high - low) / width
            first += size * mean
            second += size * mean * (low + high) / 2
        else:
            first += size * (low + high) / 2
            second += size * (low * low + low * high + high * high) / 3
    return first, second


def clip_ends(buckets: list[Bucket], smallest: float | None, largest: float | None) -> list[Bucket]:
    """The buckets, of which the first and last are cut to where values can be."""
    if buckets and smallest is not None:
        low, high, size = buckets[0]
        buckets[0] = Bucket(max(low, min(smallest, high)), high, size)
    if buckets and largest is not None:
        low, high, size = buckets[-1]
        buckets[-1] = Bucket(low, min(high, max(largest, low)), size)
    return buckets


def leave_whole(edges: Sequence[float], buckets: Iterable[Bucket]) -> tuple[float, ...]:
    """The edges, which ascend, that lie in none of the buckets."""
    inside: set[float] = set()
    for low, high, _ in buckets:
        inside.update(edges[bisect_right(edges, low) : bisect_left(edges, high)])
    return tuple(edge for edge in edges if edge not in inside)


def close_bins(counts: Sequence[int], edges: Sequence[float]) -> tuple[list[int], list[float]]:
    """The same bins with edges that ascend: one without a width is counted in its neighbour."""
    closed, kept, carried = [], [edges[0]], 0
    for count, edge in zip(counts, edges[1:], strict=True):
        if edge > kept[-1]:
            closed.append(count + carried)
            kept.append(edge)
            carried = 0
        elif closed:
            closed[-1] += count
        else:
            carried += count
    if closed:
        return closed, kept
    half = max(0.5, abs(kept[0]) / 2)  # all values are one
    return [carried], [max(kept[0] - half, -LARGEST), min(kept[0] + half, LARGEST)]
