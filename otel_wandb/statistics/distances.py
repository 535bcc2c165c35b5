"""How far two distributions are apart, from their counts in the same bins.

Counts are arrays whose last axis is the bins in their order; each function returns an array of the remaining
axes, so that a thousand draws cost little more than one. Units don't matter, but for `wasserstein`, which is
in those of the positions that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

Counts: TypeAlias = NDArray[np.int64]
Figures: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Counts of a reference and of what is compared with it, in the same bins; neither side may be empty."""

    reference: Counts
    current: Counts

    @cached_property
    def n(self) -> Counts:
        """How many values the reference has."""
        return np.asarray(self.reference.sum(axis=-1))

    @cached_property
    def m(self) -> Counts:
        """How many the other has."""
        return np.asarray(self.current.sum(axis=-1))

    @cached_property
    def q(self) -> Figures:
        """The reference as parts of 1."""
        return np.asarray(self.reference / self.n[..., np.newaxis])

    @cached_property
    def p(self) -> Figures:
        """The other as parts of 1."""
        return np.asarray(self.current / self.m[..., np.newaxis])

    @cached_property
    def gaps(self) -> Figures:
        """The difference of the two distribution functions at the upper edge of each bin."""
        return np.asarray(np.cumsum(self.p - self.q, axis=-1))

    @cached_property
    def p_entropy(self) -> Figures:
        """The entropy of what is compared."""
        return entropy(self.p)

    @cached_property
    def q_entropy(self) -> Figures:
        """The entropy of the reference."""
        return entropy(self.q)


def kolmogorov_smirnov(pair: Pair) -> Figures:
    """The largest difference of the two distribution functions at a bin's edge, from 0 to 1.

    A lower bound of the statistic of the raw values, which is higher by at most the mass of one bin.
    """
    return np.asarray(np.abs(pair.gaps).max(axis=-1))


def anderson_darling(pair: Pair) -> Figures:
    """The squared differences of the distribution functions, weighted up where both are near 0 or 1.

    The statistic of two samples with ties: F. W. Scholz, M. A. Stephens, "K-sample Anderson-Darling tests",
    JASA 82 (1987), without their constants. Weights need one pooled distribution for all draws.
    """
    pooled = (pair.reference + pair.current).reshape(-1, pair.current.shape[-1])[0]
    pooled = pooled / pooled.sum()
    below = np.cumsum(pooled)
    spread = below * (1 - below)
    weight = np.divide(pooled, spread, out=np.zeros(spread.shape), where=spread > 1e-12)
    return np.asarray(pair.n * pair.m / (pair.n + pair.m) * (pair.gaps**2 @ weight))


def likelihood_ratio(pair: Pair) -> Figures:
    """G: twice the log-likelihood ratio of two distributions against one. Blind to the order of the bins."""
    pooled = (pair.n + pair.m) * entropy((pair.reference + pair.current) / (pair.n + pair.m)[..., np.newaxis])
    return np.asarray(2 * np.maximum(pooled - pair.m * pair.p_entropy - pair.n * pair.q_entropy, 0.0))


def population_stability(pair: Pair) -> Figures:
    """PSI: the two relative entropies, one each way, with half a count added to each bin (Jeffreys).

    Without any drift it is about `(1/n + 1/m)` times chi-square of K - 1 degrees of freedom (B. Yurdakul,
    "Statistical properties of population stability index", 2018), so no fixed limit means anything.
    """
    half = 0.5 * pair.current.shape[-1]
    p = (pair.current + 0.5) / (pair.m + half)[..., np.newaxis]
    q = (pair.reference + 0.5) / (pair.n + half)[..., np.newaxis]
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def jensen_shannon(pair: Pair) -> Figures:
    """The Jensen-Shannon divergence in nats, from 0 to ln 2."""
    return np.asarray(np.maximum(entropy((pair.p + pair.q) / 2) - (pair.p_entropy + pair.q_entropy) / 2, 0.0))


def total_variation(pair: Pair) -> Figures:
    """The part of one distribution that would have to move to make it the other, from 0 to 1."""
    return np.asarray(np.abs(pair.p - pair.q).sum(axis=-1) / 2)


def wasserstein(pair: Pair, positions: Figures) -> Figures:
    """How far values moved on average, in the units of the positions of the bins.

    As values may lie elsewhere in their bins, it is wrong by at most the mean width of a bin.
    """
    return np.asarray(np.abs(pair.gaps[..., :-1]) @ np.diff(positions))


def share_from(pair: Pair, first: int) -> Figures:
    """How much larger the part of the values in the bins from `first` on is; below zero where smaller."""
    return -pair.gaps[..., first - 1] if first else np.zeros(pair.gaps.shape[:-1])


def entropy(parts: Figures) -> Figures:
    """Shannon's entropy of parts of 1, in nats."""
    return np.asarray(-xlogy(parts, parts).sum(axis=-1))
