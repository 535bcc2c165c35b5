"""Whether two histograms can be of one distribution: a Monte Carlo test of the smallest of several p-values.

The null hypothesis: requests (or, of counts by interval, the intervals) are exchangeable between both sides.
The guarantee: under it, P(p <= a) <= a for every a, at any sizes, with ties, in any bins whose edges don't
depend on the side that a request is on. Of parts (strata), exchangeability is needed within each only.

The p-value of draws: B. Phipson, G. Smyth, "Permutation p-values should never be zero", 2010.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from otel_wandb.statistics.distances import (
    Counts,
    Figures,
    Pair,
    anderson_darling,
    jensen_shannon,
    kolmogorov_smirnov,
    likelihood_ratio,
    population_stability,
    share_from,
    total_variation,
    wasserstein,
)
from otel_wandb.statistics.draws import (
    draw_intervals,
    draw_requests,
    group_bins,
    merge_bins,
    read_counts,
)

Order: TypeAlias = Literal["ordered", "categories"]
Statistic: TypeAlias = Callable[[Pair], Figures]

_TAILS: Final[Mapping[str, float]] = {"below_p5": 0.05, "above_p95": 0.95, "above_p99": 0.99}
_DECISIVE: Final[Mapping[Order, dict[str, Statistic]]] = {
    "ordered": {"anderson_darling": anderson_darling},
    "categories": {"likelihood_ratio": likelihood_ratio},
}
_SHOWN: Final[Mapping[Order, dict[str, Statistic]]] = {
    "ordered": {
        "ks": kolmogorov_smirnov,
        "likelihood_ratio": likelihood_ratio,
        "psi": population_stability,
        "jensen_shannon": jensen_shannon,
        "total_variation": total_variation,
    },
    "categories": {
        "psi": population_stability,
        "jensen_shannon": jensen_shannon,
        "total_variation": total_variation,
    },
}
_BAND: Final = 0.95


@dataclass(frozen=True, slots=True)
class Distance:
    """A statistic, its p-value by itself, and what 95 % of draws without a change don't exceed."""

    value: float
    p_value: float
    null_p95: float


@dataclass(frozen=True, slots=True)
class TwoSample:
    """The outcome of a test. `p_value` is that of all `decisive` statistics together.

    `rank` says how many of the draws were beyond what was found and how many beside it: what a uniform
    p-value is made of.
    """

    p_value: float
    n: int
    m: int
    draws: int
    rank: tuple[int, int]
    statistics: Mapping[str, Distance]
    decisive: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Stratum:
    """A part of the data within which requests are exchangeable, with its draws; row 0 is what was found."""

    pair: Pair
    tails: Mapping[str, int]
    positions: Figures


def two_sample(
    reference: object,
    current: object,
    *,
    order: Order = "ordered",
    positions: Sequence[float] | None = None,
    draws: int = 999,
    seed: int = 0,
) -> TwoSample:
    """The p-value of "both are of one distribution", and the distances with what chance makes of them.

    Counts in the same bins, with one axis (bins: requests are permuted) or two (intervals, bins: intervals
    are, which bursts need). Of `ordered` bins the test is of Anderson-Darling, the parts above p95 and p99
    and the part below p5 (of both sides together); of `categories` it is G. `positions` are where the bins
    are, for Wasserstein's distance; without them it is in bins.

    The smallest p-value is 1 / (draws + 1). Cost: some milliseconds at 999 draws and 64 bins; where there are
    more, they are grouped.

    Raises:
        ValueError: the counts are none, differ in their axes, or a side is empty.
    """
    return two_sample_strata([(reference, current)], order=order, positions=positions, draws=draws, seed=seed)


def two_sample_strata(
    strata: Sequence[tuple[object, object]],
    *,
    order: Order = "ordered",
    positions: Sequence[float] | None = None,
    draws: int = 999,
    seed: int = 0,
    only_decisive: bool = False,
) -> TwoSample:
    """As `two_sample`, of data in parts, such as hours of the week: only within a part is anything permuted.

    The statistics are means over the parts, weighted by their current counts. Parts with one empty side tell
    nothing, and are left out. With `only_decisive`, what the p-value is not made of is left out, at half the
    cost.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; at least 1 is needed, and 999 are usual")
    rng = np.random.default_rng(seed)
    pairs = [(read_counts(a, "reference"), read_counts(b, "current")) for a, b in strata]
    found = [_draw(a, b, order, positions, draws, rng) for a, b in pairs if a.sum() and b.sum()]
    if not found:
        raise ValueError("a side has no counts; there is nothing to compare")
    statistics = _measure(found, order, only_decisive=only_decisive)
    decisive = (*_DECISIVE[order], *(_TAILS if order == "ordered" else ()))
    ranks = np.stack([_upper_ranks(statistics[name]) for name in decisive])
    smallest = ranks.min(axis=0)
    beyond, beside = int((smallest[1:] < smallest[0]).sum()), int((smallest[1:] == smallest[0]).sum())
    return TwoSample(
        p_value=(1 + beyond + beside) / (draws + 1),
        n=sum(int(part.pair.n[0]) for part in found),
        m=sum(int(part.pair.m[0]) for part in found),
        draws=draws,
        rank=(beyond, beside),
        statistics={name: _distance(values) for name, values in statistics.items()},
        decisive=decisive,
    )


def _draw(
    reference: Counts,
    current: Counts,
    order: Order,
    positions: Sequence[float] | None,
    draws: int,
    rng: np.random.Generator,
) -> _Stratum:
    if reference.shape[-1] != current.shape[-1] or reference.ndim != current.ndim:
        raise ValueError(
            f"reference has the shape {reference.shape}, current {current.shape}; both need the same bins"
        )
    places = (
        np.arange(reference.shape[-1], dtype=np.float64)
        if positions is None
        else np.asarray(positions, float)
    )
    if places.shape != reference.shape[-1:]:
        raise ValueError(f"there are {len(places)} positions for {reference.shape[-1]} bins")
    rows = np.atleast_2d(np.concatenate([np.atleast_2d(reference), np.atleast_2d(current)]))
    pooled = rows.sum(axis=0)
    starts = merge_bins(pooled)
    rows, pooled, places = (
        group_bins(rows, starts),
        group_bins(pooled, starts),
        _centres(places, pooled, starts),
    )
    size = len(np.atleast_2d(current))
    now = rows[-size:].sum(axis=0)
    if reference.ndim == 2:
        sides = draw_intervals(rows, size, draws, rng)
    else:
        sides = draw_requests(pooled, int(now.sum()), draws, rng)
    first = ((pooled - now, sides.reference), (now, sides.current))
    pair = Pair(*(np.concatenate([found[np.newaxis], drawn]) for found, drawn in first))
    return _Stratum(pair, _find_tails(pooled) if order == "ordered" else {}, places)


def _centres(places: Figures, pooled: Counts, starts: Sequence[int]) -> Figures:
    if len(starts) == len(places):
        return places
    weights = np.maximum(pooled, 1e-9)
    return np.asarray(np.add.reduceat(places * weights, starts) / np.add.reduceat(weights, starts))


def _find_tails(pooled: Counts) -> Mapping[str, int]:
    """The bin in which each tail begins, by both sides together; the edge nearest to the share asked for."""
    below = np.concatenate([[0.0], np.cumsum(pooled) / pooled.sum()])
    return {name: int(np.abs(below - share).argmin()) for name, share in _TAILS.items()}


def _measure(parts: Sequence[_Stratum], order: Order, *, only_decisive: bool) -> dict[str, Figures]:
    statistics = _DECISIVE[order] if only_decisive else _DECISIVE[order] | _SHOWN[order]
    found = {
        name: _combine(parts, [function(p.pair) for p in parts]) for name, function in statistics.items()
    }
    if order == "ordered":
        for name in _TAILS:
            shifts = [share_from(p.pair, p.tails[name]) for p in parts]
            found[name] = np.abs(_combine(parts, shifts))
        if not only_decisive:
            found["wasserstein"] = _combine(parts, [wasserstein(p.pair, p.positions) for p in parts])
    return found


def _combine(parts: Sequence[_Stratum], values: Sequence[Figures]) -> Figures:
    weights = np.array([float(part.pair.m[0]) for part in parts])
    return np.asarray(np.tensordot(weights / weights.sum(), np.stack(values), axes=1))


def _upper_ranks(values: Figures) -> Counts:
    """How many of all are at least as large, for each."""
    # Sums in another order differ in their last digits, which must not tell ties apart.
    rounded = np.round(values / (float(np.abs(values).max()) or 1.0), 12)
    ascending = np.sort(rounded)
    return np.asarray(len(values) - np.searchsorted(ascending, rounded, side="left"))


def _distance(values: Figures) -> Distance:
    ranks = _upper_ranks(values)
    return Distance(float(values[0]), float(ranks[0]) / len(values), _find_band(values[1:]))


def _find_band(drawn: Figures) -> float:
    """The quantile of the draws as `numpy.quantile` has it, at a fifth of its cost."""
    place = _BAND * (len(drawn) - 1)
    below = min(int(place), len(drawn) - 1)
    above = min(below + 1, len(drawn) - 1)
    ordered = np.partition(drawn, (below, above))
    low, high = float(ordered[below]), float(ordered[above])
    return low + (high - low) * (place - below)
