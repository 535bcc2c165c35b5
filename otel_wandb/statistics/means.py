"""Means of values between 0 and 1, such as scores: bounds that hold at every moment, and a watch for a fall.

Bets on the mean: for each possible mean m a fortune is wagered on "values are larger" (or smaller) with
fixed parts of it. If m is the true mean, the fortune is no more than 1 on the mean, and beyond 1/a ever with
a probability of at most a (Ville). The means with smaller fortunes are the confidence sequence.
I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 86 (2024).

Fixed parts, mixed, instead of ones that follow the data, so that counts are all that is needed: the order of
values doesn't matter, nor in which interval or process they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from otel_wandb.statistics.distances import Figures
from otel_wandb.statistics.proportions import Interval

_PARTS: Final = np.geomspace(0.002, 0.95, 24)
"""The parts of the fortune that are wagered, of the largest that cannot lose all."""
_STEPS: Final = 40
_CEILING: Final = 1e300


def mean_sequence(counts: Mapping[float, int], *, confidence: float = 0.95) -> Interval:
    """An interval that holds the true mean at all times at once, with that confidence; 0 to 1 without data.

    `counts` are how often each value between 0 and 1 came. Null hypothesis of each m: the mean of each value,
    given those before it, is m. One may look as often as one likes.
    """
    values, weights = _read(counts)
    if not weights.sum():
        return Interval(0.0, 1.0)
    limit = float(np.log(2 / (1 - confidence)))
    mean = float(values @ weights / weights.sum())
    low = _bisect(0.0, mean, lambda m: _fortune(values - m, weights, m) < limit)
    high = 1 - _bisect(0.0, 1 - mean, lambda m: _fortune((1 - values) - m, weights, m) < limit)
    return Interval(low, high)


class FallState(msgspec.Struct):
    """What `FallDetector` remembers; it encodes as JSON."""

    evidence: list[float]
    batches: int


class FallDetector:
    """Says when the mean of values between 0 and 1 has fallen below a limit. Not thread-safe.

    Null hypothesis: the mean of each value, given those before it, is at least `limit`. Guarantee: the mean
    number of batches to a false alarm is at least `batches_to_false_alarm` (a Shiryaev-Roberts e-detector,
    as in `detector`).
    """

    def __init__(self, limit: float, *, batches_to_false_alarm: float) -> None:
        if not 0 < limit <= 1:
            raise ValueError(f"limit is {limit}; it has to be above 0 and at most 1")
        self.limit = limit
        self.batches_to_false_alarm = batches_to_false_alarm
        self._evidence: Figures = np.zeros(len(_PARTS))
        self._batches = 0

    @property
    def evidence(self) -> float:
        """The Shiryaev-Roberts sum; without a fall its mean is at most the number of batches."""
        return float(self._evidence.mean())

    @property
    def e_value(self) -> float:
        """The evidence by the number of batches: without a fall at most 1 on the mean, at any one moment."""
        return self.evidence / self._batches if self._batches else 0.0

    @property
    def alarm(self) -> bool:
        """Whether the evidence is as much as was asked for."""
        return self.evidence >= self.batches_to_false_alarm

    def update(self, counts: Mapping[float, int]) -> bool:
        """Take a batch, how often each value came; whether there is an alarm."""
        values, weights = _read(counts)
        if weights.sum():
            gains = (
                np.log1p(np.outer(_PARTS / max(1 - self.limit, 1e-9) * (1 - 1e-9), self.limit - values))
                @ weights
            )
            with np.errstate(over="ignore"):  # the ceiling is what it comes to
                grown = (self._evidence + 1) * np.exp(np.minimum(gains, 600.0))
            self._evidence = np.minimum(grown, _CEILING)
            self._batches += 1
        return self.alarm

    def reset(self) -> None:
        """Begin anew."""
        self._evidence = np.zeros(len(_PARTS))

    def state(self) -> FallState:
        """What `restore` needs."""
        return FallState([float(value) for value in self._evidence], self._batches)

    def restore(self, state: FallState) -> None:
        """Go on where the state was taken."""
        self._evidence, self._batches = np.array(state.evidence), state.batches


def _fortune(gains: Figures, weights: Figures, mean: float) -> float:
    """The logarithm of the mixed fortune of bets that values are larger than the mean."""
    logs = np.log1p(np.outer(_PARTS / max(mean, 1e-12) * (1 - 1e-9), gains)) @ weights
    top = float(logs.max())
    return top + float(np.log(np.exp(logs - top).mean()))


def _bisect(rejected: float, kept: float, keeps: Callable[[float], bool]) -> float:
    for _ in range(_STEPS):
        middle = (rejected + kept) / 2
        if keeps(middle):
            kept = middle
        else:
            rejected = middle
    return rejected


def _read(counts: Mapping[float, int]) -> tuple[Figures, Figures]:
    values: Sequence[float] = sorted(counts)
    if values and (values[0] < 0 or values[-1] > 1):
        raise ValueError(f"values lie between {values[0]} and {values[-1]}; they have to lie between 0 and 1")
    weights = [counts[value] for value in values]
    if any(weight < 0 for weight in weights):
        raise ValueError("a value came less than 0 times")
    return np.array(values, dtype=float), np.array(weights, dtype=float)
