"""What every histogram knows besides its buckets: how many values, their exact sum, what they lie between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import msgspec

from otel_wandb.metrics.buckets import Spread

_MAX_COUNT: Final = 2**64 - 1


class InvalidPointError(Exception):
    """A data point says what cannot be. Never leaves the metrics line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Measured(msgspec.Struct, frozen=True, gc=False):
    """How many values there are, and what was measured of all of them.

    Sums are fractions, since floats would add up differently in another order. No value is smaller than
    `min` or larger than `max`, where these are known; `tight` says that the two are values themselves.
    """

    count: int = 0
    total: Fraction | None = Fraction(0)
    min: float | None = None
    max: float | None = None
    tight: bool = False

    @property
    def sum(self) -> float | None:
        """The sum of all values, correctly rounded; None where the producer did not tell it."""
        return None if self.total is None else to_float(self.total)

    @property
    def mean(self) -> float:
        """The mean: exact where the sum is known, else as the buckets have it; NaN of no values."""
        if not self.count:
            return math.nan
        if self.total is not None:
            return to_float(self.total / self.count)
        return self.spread().mean()

    @property
    def std(self) -> float:
        """The standard deviation of the population, as the buckets have it; NaN of no values."""
        if not self.count:
            return math.nan
        return self.spread().deviation(None if self.total is None else self.mean)

    def quantile(self, q: float) -> float:
        """The q-quantile (0 ≤ q ≤ 1), inside `quantile_range`; NaN of no values."""
        return self.spread().quantile(q) if self.count else math.nan

    def quantiles(self, qs: Sequence[float]) -> list[float]:
        """Several quantiles at the cost of one."""
        if not self.count:
            return [math.nan] * len(qs)
        spread = self.spread()
        return [spread.quantile(q) for q in qs]

    def quantile_range(self, q: float) -> tuple[float, float]:
        """Two values, maybe infinite, between which the raw quantile certainly lies; NaN of no values."""
        return self.spread().quantile_range(q) if self.count else (math.nan, math.nan)

    def share_over(self, threshold: float) -> float:
        """The share of values above the threshold, exact at an edge of a bucket; NaN of no values."""
        return self.spread().share_over(threshold) if self.count else math.nan

    def spread(self) -> Spread:
        """The buckets in ascending order, ready to be asked; only for a histogram of some values."""
        raise NotImplementedError


def read_measures(
    total: float | None, smallest: float | None, largest: float | None
) -> tuple[Fraction | None, float | None, float | None, bool]:
    """The measures of a data point; what is not finite, or contradicts itself, is not known."""
    if smallest is not None and not math.isfinite(smallest):
        smallest = None
    if largest is not None and not math.isfinite(largest):
        largest = None
    if smallest is not None and largest is not None and smallest > largest:
        smallest = largest = None
    exact = None if total is None or not math.isfinite(total) else Fraction(total)
    return exact, smallest, largest, smallest is not None and largest is not None


def merge_measures(
    parts: Sequence[Measured],
) -> tuple[Fraction | None, float | None, float | None, bool]:
    """The measures of the values of all parts; what one part does not know, nobody knows."""
    totals = [part.total for part in parts if part.total is not None]
    lows = [part.min for part in parts if part.min is not None]
    highs = [part.max for part in parts if part.max is not None]
    return (
        sum_exactly(totals) if len(totals) == len(parts) else None,
        min(lows) if len(lows) == len(parts) else None,
        max(highs) if len(highs) == len(parts) else None,
        all(part.tight for part in parts),
    )


def subtract_measures(
    later: Measured, earlier: Measured
) -> tuple[Fraction | None, float | None, float | None]:
    """The sum of what came in between, and the bounds that hold for it as for everything."""
    total = None if later.total is None or earlier.total is None else later.total - earlier.total
    return total, later.min, later.max


def check_counts(*sides: Sequence[int]) -> int:
    """The sum of all counts; raises `InvalidPointError` where one is negative, or the sum none of 64 bits."""
    total = 0
    for counts in sides:
        if counts and min(counts) < 0:
            raise InvalidPointError("invalid_buckets")
        total += sum(counts)
    if total > _MAX_COUNT:
        raise InvalidPointError("invalid_buckets")
    return total


def sum_exactly(numbers: Sequence[Fraction]) -> Fraction:
    """The sum; fast for what were floats, whose denominators are powers of two."""
    widest = max((number.denominator for number in numbers), default=1)
    if any(widest % number.denominator for number in numbers):
        return sum(numbers, Fraction(0))
    return Fraction(sum(number.numerator * (widest // number.denominator) for number in numbers), widest)


def to_float(number: Fraction | int) -> float:
    """The nearest float; infinity beyond the largest."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
