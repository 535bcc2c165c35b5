"""Whether names come less evenly than they did, as when a model predicts but one label any more."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from otel_wandb.statistics.distances import Counts, entropy
from otel_wandb.statistics.draws import draw_requests, read_counts


class EntropyChange(NamedTuple):
    """Shannon's entropy in nats before and after, and the p-value of so low a one."""

    before: float
    after: float
    p_value: float


def compare_entropy(reference: object, current: object, *, draws: int = 999, seed: int = 0) -> EntropyChange:
    """The p-value of "the names of `current` come as evenly as those of `reference`" against "less evenly".

    Counts of the same names. Null hypothesis: requests are exchangeable between both sides. Guarantee:
    P(p <= a) <= a, at any sizes; the p-value is that of draws (B. Phipson, G. Smyth, 2010). The number of
    different names, by that of requests, would depend on how many requests there are; this does not.

    Raises:
        ValueError: a side has no requests, or they have other bins.
    """
    before, after = read_counts(reference, "reference"), read_counts(current, "current")
    if before.shape != after.shape or before.ndim != 1:
        raise ValueError(
            f"the counts have the shapes {before.shape} and {after.shape}; both need the same bins"
        )
    if not before.sum() or not after.sum():
        raise ValueError("a side has no counts; there is nothing to compare")
    drawn = draw_requests(before + after, int(after.sum()), draws, np.random.default_rng(seed)).current
    found = _entropy(after)
    # Sums in another order differ in their last digits, which must not tell ties apart.
    as_low = int((np.asarray(entropy(drawn / after.sum())) <= found + 1e-9).sum())
    return EntropyChange(_entropy(before), found, (1 + as_low) / (draws + 1))


def _entropy(counts: Counts) -> float:
    return float(entropy(counts / counts.sum()))
