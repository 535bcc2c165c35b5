"""The values of a row against the limits of a rule: three answers, since a value may not be there.

`bad` says whether the condition holds, `good` whether it is clearly over; between a threshold and that of
recovery it is neither. None: the values that are missing would decide. Missing values are never guessed, and
a condition of several is decided by those that are there wherever logic allows (Kleene).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.alerts.plan import Condition, Limit

Answer: TypeAlias = bool | None

_SIGNS: Final = {"rises": 1, "falls": -1}


class Pattern:
    """A key, or many: one `*` in it stands for one or more characters, which are its *subject*."""

    def __init__(self, key: str) -> None:
        self._prefix, star, self._suffix = key.partition("*")
        self.wild = bool(star)
        """Whether there is a `*`."""

    def bind(self, key: str) -> str:
        """What the `*` stands for in the key; empty where it does not match."""
        begin, end = len(self._prefix), len(key) - len(self._suffix)
        fits = self.wild and key.startswith(self._prefix) and key.endswith(self._suffix)
        return key[begin:end] if fits and begin < end else ""

    def fill(self, subject: str) -> str:
        """The key of a subject."""
        return f"{self._prefix}{subject}{self._suffix}" if self.wild else self._prefix


class Reading(NamedTuple):
    """A value against its limit; `base` is what a change is measured from."""

    limit: Limit
    key: str
    value: float | None
    base: float | None
    bad: Answer
    good: Answer

    @property
    def excess(self) -> float:
        """How far beyond the limit it is, in the unit of the key."""
        if self.value is None:
            return 0.0
        return abs(self.value - (self.base if self.base is not None else self.limit.amount or 0.0))


class Judgement(NamedTuple):
    """What a condition says as a whole."""

    bad: Answer
    good: Answer


def read_limit(limit: Limit, key: str, value: float | None, before: Sequence[float]) -> Reading:
    """The value against its limit. `before` are the values of the intervals before, the last one at the end.

    A change is not known until there are as many as it asks for, nor in percent of 0.
    """
    if value is None:
        return Reading(limit, key, None, None, None, None)
    if not limit.is_change:
        above, amount = limit.kind == "above", limit.amount or 0.0
        back = amount if limit.recover is None else limit.recover
        bad, good = (value > amount, value <= back) if above else (value < amount, value >= back)
        return Reading(limit, key, value, None, bad, good)
    if len(before) < limit.against:
        return Reading(limit, key, value, None, None, None)
    base = median(before[-limit.against :])
    changed = _is_changed(limit, value, base)
    return Reading(limit, key, value, base, changed, None if changed is None else not changed)


def judge(condition: Condition, readings: Iterable[Reading]) -> Judgement:
    """What the condition says, given the readings of its limits in their order."""
    return _judge(condition, iter(readings))


def _is_changed(limit: Limit, value: float, base: float) -> Answer:
    sign = _SIGNS.get(limit.kind)
    change = abs(value - base) if sign is None else (value - base) * sign
    answers: list[Answer] = []
    if limit.amount is not None:
        answers.append(change > limit.amount)
    if limit.percent is not None:
        answers.append(100 * change > limit.percent * abs(base) if base else None)
    return _all(answers)


def _judge(condition: Condition, readings: Iterator[Reading]) -> Judgement:
    if isinstance(condition, Limit):
        reading = next(readings)
        return Judgement(reading.bad, reading.good)
    parts = [_judge(part, readings) for part in condition.parts]
    bad, good = [part.bad for part in parts], [part.good for part in parts]
    if condition.joined == "all":
        return Judgement(_all(bad), _any(good))
    return Judgement(_any(bad), _all(good))


def _all(answers: Iterable[Answer]) -> Answer:
    answers = list(answers)
    if False in answers:
        return False
    return None if None in answers else True


def _any(answers: Iterable[Answer]) -> Answer:
    answers = list(answers)
    if True in answers:
        return True
    return None if None in answers else False
