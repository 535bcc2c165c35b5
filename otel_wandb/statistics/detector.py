"""A stream of windows against a reference: alarms whose mean distance without a change is what was asked for.

The null hypothesis: requests of the reference and of all windows are exchangeable (within their stratum).
Then the p-values of windows, each against the reference and all windows before it, are independent and
uniform (conformal prediction: V. Vovk and others, "Retrain or not retrain", 2021). Bets against them make
e-values, and their Shiryaev-Roberts sum is at most, on the mean, the number of windows (J. Shin, A. Ramdas,
A. Rinaldo, "E-detectors", 2023). So, with an alarm at A, the mean number of windows to a false alarm is at
least A, and a
false alarm within T windows has a probability of at most T / A.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from otel_wandb.statistics.distances import Counts
from otel_wandb.statistics.draws import read_counts
from otel_wandb.statistics.two_sample import Order, two_sample_strata

BETS: Final = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""The exponents of the bets; each is right for another strength of change."""
_CEILING: Final = 1e300


class DetectorState(msgspec.Struct):
    """What a detector remembers; it encodes as JSON. `bags` are counts by stratum, with keys as text."""

    bags: dict[str, list[int]]
    evidence: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(BETS))
    windows: int = 0
    """Since the last reset."""


class Verdict(msgspec.Struct, frozen=True):
    """What a window came to. An alarm is given as long as the evidence is at least what was asked for."""

    p_value: float
    evidence: float
    alarm: bool


class DriftDetector:
    """Says of each window whether a change is by now more than chance. Not thread-safe.

    `reference` are the counts of the reference, or of each of its strata (such as hours of the week), which
    are named by the `stratum` of a window. `windows_to_false_alarm` is A above. The `seed` and the number of
    the window alone decide the draws, so a replay has the same verdicts.
    """

    def __init__(
        self,
        reference: object,
        *,
        windows_to_false_alarm: float,
        order: Order = "ordered",
        draws: int = 999,
        seed: int = 0,
    ) -> None:
        if not windows_to_false_alarm > 1:
            raise ValueError(f"windows_to_false_alarm is {windows_to_false_alarm}; it has to be more than 1")
        strata = reference if isinstance(reference, dict) else {"": reference}
        bags = {str(key): read_counts(counts, "reference") for key, counts in strata.items()}
        if any(bag.ndim != 1 for bag in bags.values()) or len({len(bag) for bag in bags.values()}) != 1:
            raise ValueError("the reference is to have one axis (bins), the same in each of its strata")
        self.windows_to_false_alarm = windows_to_false_alarm
        self._order, self._draws, self._seed = order, draws, seed
        self._bags: dict[str, Counts] = bags
        self._evidence = np.zeros(len(BETS))
        self._windows = 0

    @property
    def evidence(self) -> float:
        """The Shiryaev-Roberts sum; without a change its mean is the number of windows."""
        return float(self._evidence.mean())

    def update(self, window: object, *, stratum: str = "") -> Verdict:
        """Take the counts of a window, of at least one request, all of one stratum.

        Cost: a Monte Carlo test, some milliseconds. The window is in the reference of all later ones,
        whatever its verdict: to choose among windows would break the guarantee.

        Raises:
            ValueError: the counts have other bins than the reference, or are none.
        """
        counts = read_counts(window, "window")
        bag = self._bags.get(stratum)
        if bag is None:
            bag = self._bags[stratum] = np.zeros_like(counts)
        rng = np.random.default_rng((self._seed, self._windows))
        p_value = self._test(bag, counts, rng)
        bets = np.array(BETS)
        gains = bets * max(p_value, 1e-12) ** (bets - 1)
        self._evidence = np.minimum((self._evidence + 1) * gains, _CEILING)
        self._windows += 1
        self._bags[stratum] = bag + counts
        return Verdict(p_value, self.evidence, self.evidence >= self.windows_to_false_alarm)

    def reset(self, reference: object | None = None) -> None:
        """Begin anew, with another reference or the bags as they are: what an acknowledged alarm does."""
        if reference is not None:
            strata = reference if isinstance(reference, dict) else {"": reference}
            self._bags = {str(key): read_counts(counts, "reference") for key, counts in strata.items()}
        self._evidence = np.zeros(len(BETS))

    def state(self) -> DetectorState:
        """What `restore` needs."""
        bags = {key: [int(count) for count in bag] for key, bag in self._bags.items()}
        return DetectorState(bags, [float(value) for value in self._evidence], self._windows)

    def restore(self, state: DetectorState) -> None:
        """Go on where the state was taken."""
        self._bags = {key: np.array(bag, dtype=np.int64) for key, bag in state.bags.items()}
        self._evidence = np.array(state.evidence)
        self._windows = state.windows

    def _test(self, bag: Counts, counts: Counts, rng: np.random.Generator) -> float:
        """A uniform p-value: among what is as extreme as the window itself, chance decides."""
        if not bag.sum() or not counts.sum():
            return float(rng.random())
        found = two_sample_strata(
            [(bag, counts)],
            order=self._order,
            draws=self._draws,
            seed=int(rng.integers(2**63)),
            only_decisive=True,
        )
        beyond, beside = found.rank
        return float(beyond + rng.random() * (beside + 1)) / (found.draws + 1)


def split_reference(
    windows: Sequence[object], *, windows_to_false_alarm: float, seed: int = 0
) -> Verdict | None:
    """The first alarm of a reference against itself: its first half, then window after window; None without.

    An alarm says that the reference is not stable by itself, so that drift from it cannot be told: bursts
    need a longer window, daily cycles strata.
    """
    counts = [read_counts(window, "window") for window in windows]
    half = len(counts) // 2
    if not half:
        return None
    first = np.sum(counts[:half], axis=0)
    detector = DriftDetector(first, windows_to_false_alarm=windows_to_false_alarm, seed=seed)
    verdicts = (detector.update(window) for window in counts[half:] if window.sum())
    return next((verdict for verdict in verdicts if verdict.alarm), None)
