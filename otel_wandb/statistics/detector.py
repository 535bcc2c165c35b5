"""A stream of windows against a reference: alarms whose mean distance without a change is what was asked for.

The null hypothesis: requests of the reference and of all windows are exchangeable (within their stratum).
Then the p-values of windows, each against the reference and all windows before it, are independent and
uniform, or larger (conformal prediction: V. Vovk and others, "Retrain or not retrain", 2021). Bets against
them make e-values, and their Shiryaev-Roberts sum is at most, on the mean, the number of windows (J. Shin,
A. Ramdas, A. Rinaldo, "E-detectors", 2023). So, with an alarm at A, the mean number of windows to a false
alarm is at least A, and a false alarm within T windows has a probability of at most T / A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from otel_wandb.statistics.distances import Counts
from otel_wandb.statistics.draws import draw_requests, read_counts
from otel_wandb.statistics.two_sample import Order, two_sample_strata

BETS: Final = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""The exponents of the bets; each is right for another strength of change."""
_CEILING: Final = 1e300
_FIRST_DRAWS: Final = 99
_NOT_SMALL: Final = 0.1


class DetectorState(msgspec.Struct):
    """What a detector remembers; it encodes as JSON. Counts by stratum, in `rows` those of intervals."""

    bags: dict[str, list[int]]
    evidence: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(BETS))
    windows: int = 0
    """Since the beginning."""
    rows: dict[str, list[list[int]]] = {}


class Verdict(msgspec.Struct, frozen=True):
    """What a window came to. An alarm is given as long as the evidence is at least what was asked for."""

    p_value: float
    evidence: float
    alarm: bool


class DriftDetector:
    """Says of each window whether a change is by now more than chance. Not thread-safe.

    `reference` are the counts of the reference, or a dict of those of its strata (such as hours of the week).
    With two axes (intervals, bins) intervals are exchangeable, and not the requests in them, which bursts
    need. `windows_to_false_alarm` is A above. The `seed` and the number of the window alone decide the draws,
    so a replay has the same verdicts.

    Of a stratum, `bag_limit` requests (or intervals) are remembered. Which ones of more, chance decides: so
    given those that were to choose from, the last window is still any part of them, as the proof needs.
    """

    def __init__(
        self,
        reference: object,
        *,
        windows_to_false_alarm: float,
        order: Order = "ordered",
        draws: int = 999,
        seed: int = 0,
        bag_limit: int = 1_000_000,
    ) -> None:
        if not windows_to_false_alarm > 1:
            raise ValueError(f"windows_to_false_alarm is {windows_to_false_alarm}; it has to be more than 1")
        self.windows_to_false_alarm = windows_to_false_alarm
        self._order, self._draws, self._seed, self._bag_limit = order, draws, seed, bag_limit
        self._bags: dict[str, Counts] = _read_strata(reference, "reference")
        self._evidence = np.zeros(len(BETS))
        self._windows = 0

    @property
    def evidence(self) -> float:
        """The Shiryaev-Roberts sum; without a change its mean is the number of windows."""
        return float(self._evidence.mean())

    @property
    def e_value(self) -> float:
        """The evidence by the number of windows: without a change at most 1 on the mean, at any moment."""
        return self.evidence / self._windows if self._windows else 0.0

    def update(self, window: object, *, stratum: str = "") -> Verdict:
        """Take the counts of a window, of at least one request: all of one stratum, or a dict of several.

        Cost: a Monte Carlo test a stratum: about a millisecond, some where the p-value is small. The window
        is in the reference of all later ones, whatever its verdict: to choose would break the guarantee.

        Raises:
            ValueError: the counts have other bins than the reference, or are none.
        """
        counts = _read_strata(window if isinstance(window, dict) else {stratum: window}, "window")
        rng = np.random.default_rng((self._seed, self._windows))
        p_value = self._test(counts, rng)
        bets = np.array(BETS)
        gains = bets * max(p_value, 1e-12) ** (bets - 1)
        with np.errstate(over="ignore"):  # the ceiling is what it comes to
            self._evidence = np.minimum((self._evidence + 1) * gains, _CEILING)
        self._windows += 1
        for key, part in counts.items():
            self._bags[key] = self._remember(self._bags.get(key), part, rng)
        return Verdict(p_value, self.evidence, self.evidence >= self.windows_to_false_alarm)

    def reset(self, reference: object | None = None) -> None:
        """Begin anew, with another reference or the bags as they are: what an acknowledged alarm does."""
        if reference is not None:
            self._bags = _read_strata(reference, "reference")
        self._evidence = np.zeros(len(BETS))

    def state(self) -> DetectorState:
        """What `restore` needs."""
        return DetectorState(
            {key: bag.tolist() for key, bag in self._bags.items() if bag.ndim == 1},
            self._evidence.tolist(),
            self._windows,
            {key: bag.tolist() for key, bag in self._bags.items() if bag.ndim == 2},
        )

    def restore(self, state: DetectorState) -> None:
        """Go on where the state was taken."""
        bags: dict[str, object] = {**state.bags, **state.rows}
        self._bags = {key: np.array(bag, dtype=np.int64) for key, bag in bags.items()}
        self._evidence = np.array(state.evidence)
        self._windows = state.windows

    def _test(self, window: Mapping[str, Counts], rng: np.random.Generator) -> float:
        """A uniform p-value: among what is as extreme as the window itself, chance decides.

        Where a few draws say that it is not small, it is left at that (J. Besag, P. Clifford, "Sequential
        Monte Carlo p-values", 1991). So it may be larger than a uniform one, but never smaller: P(p <= x) is
        at most x below the limit since the second p-value is uniform, and above it since the first one is.
        """
        pairs = [(self._bags[key], part) for key, part in window.items() if key in self._bags]
        pairs = [(bag, part) for bag, part in pairs if bag.sum() and part.sum()]
        if not pairs:
            return float(rng.random())
        if self._draws > 2 * _FIRST_DRAWS:
            p_value = self._draw(pairs, _FIRST_DRAWS, rng)
            if p_value >= _NOT_SMALL:
                return p_value
        return self._draw(pairs, self._draws, rng)

    def _draw(self, pairs: Sequence[tuple[Counts, Counts]], draws: int, rng: np.random.Generator) -> float:
        seed = int(rng.integers(2**63))
        found = two_sample_strata(pairs, order=self._order, draws=draws, seed=seed, only_decisive=True)
        beyond, beside = found.rank
        return float(beyond + rng.random() * (beside + 1)) / (draws + 1)

    def _remember(self, bag: Counts | None, part: Counts, rng: np.random.Generator) -> Counts:
        limit = self._bag_limit
        if part.ndim == 2:
            rows = part if bag is None else np.concatenate([bag, part])
            return rows if len(rows) <= limit else rows[np.sort(rng.permutation(len(rows))[:limit])]
        counts = part if bag is None else bag + part
        if counts.sum() <= limit:
            return counts
        return np.asarray(draw_requests(counts, limit, 1, rng).current[0])


def _read_strata(counts: object, what: str) -> dict[str, Counts]:
    strata = counts if isinstance(counts, dict) else {"": counts}
    parts = {str(key): read_counts(part, what) for key, part in strata.items()}
    if len({(part.ndim, part.shape[-1]) for part in parts.values()}) != 1:
        raise ValueError(
            f"the {what} is to have one axis (bins) or two (intervals, bins), the same in each of its strata"
        )
    return parts


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
