"""How much has moved, beside how sure one is that it did: sizes with their intervals, from counts in bins.

Intervals are about 95 %, of one look at the data. They take requests as independent; where intervals are the
unit, `match_sides` says to how many independent requests they amount.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import binom

from otel_wandb.metrics.buckets import Bucket
from otel_wandb.statistics.distances import Counts, Figures
from otel_wandb.statistics.draws import merge_bins
from otel_wandb.statistics.proportions import Interval
from otel_wandb.views.grid import Edges
from otel_wandb.views.pool import Pool

_DRAWS: Final = 199
_GROUPS: Final = 12
_FINE: Final = 1_000_000
_MEAN_OF_NORMAL: Final = math.sqrt(2 / math.pi)
"""The mean distance of a standard normal variable from zero."""


class Side(NamedTuple):
    """A distribution: the parts of 1 in each bin, and how many independent requests it is known from."""

    parts: Figures
    size: float


class Shift(NamedTuple):
    """How a quantile changed, with an interval for the change.

    A change is a ratio where both values are above zero, else a difference in standard deviations of before.
    """

    quantile: float
    before: float
    after: float
    change: float
    interval: Interval
    is_ratio: bool

    @property
    def certain(self) -> bool:
        """Whether no change at all is outside the interval."""
        return not self.interval.low <= (1.0 if self.is_ratio else 0.0) <= self.interval.high

    def exceeds(self, part: float) -> bool:
        """Whether the change is that part or more, such as 0.1, in either direction."""
        if not self.is_ratio:
            return abs(self.change) >= part
        return self.change >= 1 + part or self.change <= 1 / (1 + part)


def match_sides(reference: Pool, window: Pool) -> tuple[Side, Side] | None:
    """Both distributions, that of the reference with the strata of the window; None where a side is empty."""
    strata = [key for key, part in reference.parts.items() if part.sum() and key in window.parts]
    shares = {key: int(window.parts[key].sum()) for key in strata}
    size = sum(shares.values())
    if not size:
        return None
    before = np.zeros(window.bins)
    inverse = 0.0
    for key, share in shares.items():
        part = _sum(reference.parts[key])
        before += share / size * part / part.sum()
        inverse += (share / size) ** 2 / float(part.sum())
    after = np.sum([_sum(window.parts[key]) for key in strata], axis=0)
    spread = max(_excess(reference), _excess(window)) if window.by_row else 1.0
    return Side(before, 1 / inverse / spread), Side(after / size, size / spread)


def group_sides(before: Side, after: Side) -> tuple[Side, Side]:
    """The same in a dozen bins, of about the same mass in both together."""
    pooled = (before.parts * before.size + after.parts * after.size) / (before.size + after.size)
    starts = merge_bins(np.rint(pooled * _FINE).astype(np.int64), _GROUPS)
    first, second = (np.add.reduceat(side.parts, starts) for side in (before, after))
    return Side(first, before.size), Side(second, after.size)


def moved_part(before: Side, after: Side) -> float:
    """The part of requests that lie elsewhere: the total variation, without what chance makes of it.

    Of two samples of one distribution the total variation is well above zero, the more so the more bins there
    are; of a real change it is about the root of both squares. Zero where it is no more than chance.
    """
    return _correct(_variation(before.parts, after.parts), _chance(before, after))


def moved_range(before: Side, after: Side, *, seed: int) -> Interval:
    """About 95 % for `moved_part`, by draws from both distributions."""
    rng = np.random.default_rng(seed)
    n, m = max(1, round(before.size)), max(1, round(after.size))
    p = rng.multinomial(n, before.parts / before.parts.sum(), size=_DRAWS) / n
    q = rng.multinomial(m, after.parts / after.parts.sum(), size=_DRAWS) / m
    chance = _chance(before, after) * math.sqrt(2)  # the draws add theirs to that of the data
    found = [_correct(float(variation), chance) for variation in np.abs(p - q).sum(axis=1) / 2]
    low, high = np.quantile(found, (0.025, 0.975))
    part = moved_part(before, after)
    return Interval(min(float(low), part), max(float(high), part))


def shift_quantile(edges: Edges, before: Side, after: Side, quantile: float) -> Shift:
    """How a quantile changed; its interval is of both order statistics, by the method of recovered variances.

    G. Zou, A. Donner, "Construction of confidence limits about effect measures", 2008.
    """
    a, b = read_quantile(edges, before.parts, quantile), read_quantile(edges, after.parts, quantile)
    first, second = (_range_quantile(edges, side, quantile) for side in (before, after))
    if min(a, b, first.low, second.low) > 0:
        a, b = math.log(a), math.log(b)
        first, second = (Interval(math.log(end.low), math.log(end.high)) for end in (first, second))
        change, interval = _difference(a, first, b, second)
        ends = Interval(math.exp(interval.low), math.exp(interval.high))
        return Shift(quantile, math.exp(a), math.exp(b), math.exp(change), ends, True)
    unit = deviation(edges, before) or 1.0
    change, interval = _difference(a, first, b, second)
    ends = Interval(interval.low / unit, interval.high / unit)
    return Shift(quantile, a, b, change / unit, ends, False)


def read_quantile(edges: Edges, parts: Figures, quantile: float) -> float:
    """The value below which that share lies. Values lie evenly in their bins; open ones have no width."""
    if not edges:
        return math.nan
    below = np.cumsum(parts)
    at = int(np.searchsorted(below, quantile * below[-1], side="left"))
    at = min(at, len(edges))
    size = float(parts[at])
    inside = (quantile * float(below[-1]) - float(below[at]) + size) / size if size > 0 else 1.0
    return Bucket(edges[max(at - 1, 0)], edges[min(at, len(edges) - 1)], 1).at(min(max(inside, 0.0), 1.0))


def locate_bins(edges: Edges, before: Side) -> list[float]:
    """Where the bins are on an axis without a unit, for the distance that values moved.

    The natural logarithm where all edges are above zero, so that 0.1 is about 10 %; else standard deviations
    of `before`.
    """
    middles = _middles(edges)
    if edges and edges[0] > 0:
        return [math.log(middle) for middle in middles]
    unit = deviation(edges, before) or 1.0
    return [middle / unit for middle in middles]


def deviation(edges: Edges, side: Side) -> float:
    """The standard deviation, values being in the middle of their bins."""
    middles = np.array(_middles(edges))
    mean = float(side.parts @ middles)
    return math.sqrt(max(0.0, float(side.parts @ (middles - mean) ** 2)))


def _middles(edges: Edges) -> list[float]:
    if not edges:
        return [0.0]
    ends = (edges[0], *edges, edges[-1])
    return [Bucket(low, high, 1).at(0.5) for low, high in pairwise(ends)]


def _range_quantile(edges: Edges, side: Side, quantile: float) -> Interval:
    size = max(1, round(side.size))
    low, high = (float(binom.ppf(chance, size, quantile)) for chance in (0.025, 0.975))
    return Interval(
        read_quantile(edges, side.parts, low / size),
        read_quantile(edges, side.parts, min(1.0, (high + 1) / size)),
    )


def _difference(a: float, first: Interval, b: float, second: Interval) -> tuple[float, Interval]:
    change = b - a
    low = change - math.hypot(b - second.low, first.high - a)
    high = change + math.hypot(second.high - b, a - first.low)
    return change, Interval(low, high)


def _variation(p: Figures, q: Figures) -> float:
    return float(np.abs(p - q).sum()) / 2


def _chance(before: Side, after: Side) -> float:
    """The mean total variation of two samples of these sizes of the one distribution of both together."""
    pooled = (before.parts * before.size + after.parts * after.size) / (before.size + after.size)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / before.size + 1 / after.size))
    # Where not even one request is expected in a bin, it is mostly none.
    return float(np.minimum(_MEAN_OF_NORMAL * spread, 2 * pooled).sum()) / 2


def _correct(variation: float, chance: float) -> float:
    return math.sqrt(max(0.0, variation * variation - chance * chance))


def _sum(part: Counts) -> Counts:
    return np.asarray(part.sum(axis=0)) if part.ndim == 2 else part


def _excess(pool: Pool) -> float:
    """How much more the share below the median varies over intervals than that of independent requests."""
    rows = np.concatenate([*pool.parts.values()])
    sizes = rows.sum(axis=1)
    if len(rows) < 2 or not sizes.sum():
        return 1.0
    below = np.cumsum(rows.sum(axis=0)) / sizes.sum()
    half = int(np.abs(below - 0.5).argmin()) + 1
    share = float(below[half - 1])
    expected = sizes * share
    variance = float(((rows[:, :half].sum(axis=1) - expected) ** 2).sum())
    return max(1.0, variance / max(1e-12, float(sizes.sum()) * share * (1 - share)))
