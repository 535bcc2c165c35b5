"""Two versions side by side, such as a canary and the stable one: evidence one may look at at any time."""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from otel_wandb.statistics.distances import Counts, Figures
from otel_wandb.statistics.draws import read_counts

_PRIOR: Final = 0.5
_CEILING_LOG: Final = 600.0


class ComparisonState(msgspec.Struct):
    """What a comparison remembers; it encodes as JSON."""

    stable: list[int]
    canary: list[int]
    log_evidence: float = 0.0


class Comparison:
    """Evidence against "both versions answer alike", from counts in the same bins. Not thread-safe.

    Null hypothesis: in each interval both sides are of one distribution, whichever, given what came before.
    Guarantee: under it, the evidence ever reaches 1 / a with a probability of at most a, whenever one looks,
    and however the traffic is split. The likelihoods of two distributions against their mixture, estimated
    from the intervals before (R. Turner, A. Ly, P. Grünwald, "Generic e-variables for exact sequential
    k-sample tests that allow for optional stopping", 2024).

    It learns a share for each bin, so few bins, a dozen, find a difference sooner than many.
    """

    def __init__(self, bins: int, *, alpha: float = 0.01) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha}; it is the chance of a false alarm, between 0 and 1")
        self.alpha = alpha
        self._stable: Counts = np.zeros(bins, dtype=np.int64)
        self._canary: Counts = np.zeros(bins, dtype=np.int64)
        self._log_evidence = 0.0

    @property
    def evidence(self) -> float:
        """How many times likelier the data are with two distributions than with one."""
        return float(np.exp(min(self._log_evidence, _CEILING_LOG)))

    @property
    def alarm(self) -> bool:
        """Whether the evidence is as much as `alpha` asks for, now."""
        return self._log_evidence >= -math.log(self.alpha)

    def update(self, stable: object, canary: object) -> bool:
        """Take an interval's counts of both sides; whether there is an alarm.

        An interval in which one side has none tells nothing of a difference, but is learned from.
        """
        a, b = read_counts(stable, "stable"), read_counts(canary, "canary")
        if a.shape != self._stable.shape or b.shape != a.shape:
            raise ValueError(f"the counts have {a.shape} and {b.shape}, not {self._stable.shape}")
        n, m = int(a.sum()), int(b.sum())
        if n and m:
            p, q = _learned(self._stable), _learned(self._canary)
            mixed = (n * p + m * q) / (n + m)
            self._log_evidence += float(a @ np.log(p / mixed) + b @ np.log(q / mixed))
        self._stable, self._canary = self._stable + a, self._canary + b
        return self.alarm

    def state(self) -> ComparisonState:
        """What `restore` needs."""
        return ComparisonState(list(map(int, self._stable)), list(map(int, self._canary)), self._log_evidence)

    def restore(self, state: ComparisonState) -> None:
        """Go on where the state was taken."""
        self._stable = np.array(state.stable, dtype=np.int64)
        self._canary = np.array(state.canary, dtype=np.int64)
        self._log_evidence = state.log_evidence


def _learned(counts: Counts) -> Figures:
    filled = counts + _PRIOR
    return np.asarray(filled / filled.sum())
