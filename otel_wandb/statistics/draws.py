"""What counts could have been if nothing had changed: draws of one side from both together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from otel_wandb.statistics.distances import Counts, Pair

MAX_BINS: Final = 64
_LARGEST_POOL: Final = 900_000_000
"""NumPy draws without replacement from less than 10^9."""


def seed_of(*parts: object) -> int:
    """A seed that is a function of the parts' texts alone, the same in every process."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def read_counts(counts: object, what: str) -> Counts:
    """The counts as an array of one axis (bins), or two (intervals, bins).

    Raises:
        ValueError: they are no whole numbers from zero, or have other axes.
    """
    array = np.asarray(counts)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"{what} has the shape {array.shape}; counts have one axis (bins) or two (intervals, bins)"
        )
    whole = array.astype(np.int64)
    if not np.array_equal(whole, array) or (whole < 0).any():
        raise ValueError(f"{what} is to hold whole numbers from 0 on, since draws are made of requests")
    return whole


def merge_bins(pooled: Counts, limit: int = MAX_BINS) -> list[int]:
    """The first bin of each group, of at most `limit` groups, of about the same mass in both sides together.

    Depends on the pooled counts alone, so that a test on the groups is as exact as one on the bins. The outer
    twentieths get a share of the groups of their own, since that is where slow requests are.
    """
    total = int(pooled.sum())
    if len(pooled) <= limit or not total:
        return list(range(len(pooled)))
    middle = np.linspace(0.05, 0.95, limit - 2 * (limit // 6) + 1)
    tail = 0.05 * 0.6 ** np.arange(1, limit // 6)
    wanted = np.unique(np.concatenate([tail, middle, 1 - tail])) * total
    below = np.cumsum(pooled)
    starts = {0, *(int(i) + 1 for i in np.searchsorted(below, wanted))}
    return sorted(start for start in starts if start < len(pooled))[:limit]


def group_bins(counts: Counts, starts: Sequence[int]) -> Counts:
    """The counts of the groups that begin with those bins."""
    return np.asarray(np.add.reduceat(counts, list(starts), axis=-1))


def draw_requests(pooled: Counts, size: int, draws: int, rng: np.random.Generator) -> Pair:
    """Pairs of which any choice of `size` requests was as likely: the multivariate hypergeometric.

    Beyond 900 million requests in all it is the multinomial, whose variance is larger by `size / total`.
    """
    if int(pooled.sum()) > _LARGEST_POOL:
        current = rng.multinomial(size, pooled / pooled.sum(), size=draws)
    else:
        current = rng.multivariate_hypergeometric(pooled, size, size=draws, method="marginals")
    return Pair(np.maximum(pooled - current, 0), current)


def draw_intervals(rows: Counts, size: int, draws: int, rng: np.random.Generator) -> Pair:
    """Pairs of which any choice of `size` of the intervals (rows of counts) was as likely.

    What the requests of an interval have in common, such as a load, is in both sides then.
    """
    ranks = rng.random((draws, len(rows))).argpartition(size - 1, axis=1)[:, :size]
    chosen = np.zeros((draws, len(rows)), dtype=np.int64)
    np.put_along_axis(chosen, ranks, 1, axis=1)
    current = chosen @ rows
    return Pair(rows.sum(axis=0) - current, current)
