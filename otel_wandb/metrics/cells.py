"""What one stream brought into an open interval, until the interval closes and its value is worked out.

Points are kept as they came, in any order, and looked at when nothing more can come: so the order of arrival
does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.metrics.closed import Level, Value, combine, difference
from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.points import Stream

Key: TypeAlias = tuple[int, int]
"""Start and time of a point: what tells it apart from all others of its stream."""

_MAX_EPOCHS: Final = 8
_MAX_VALUES: Final = 16


class State(NamedTuple):
    """The last that was seen of a cumulative stream since one of its starts."""

    time_ns: int
    value: Value


@dataclass(slots=True)
class Memory:
    """What must be known of a stream when its interval is closed: all that it said up to there."""

    epochs: dict[int, State] = field(default_factory=dict)
    """By start time, since processes that share an identity differ in that."""
    level: Fraction = Fraction(0)

    def trim(self) -> None:
        """Forget all but the newest starts."""
        while len(self.epochs) > _MAX_EPOCHS:
            del self.epochs[min(self.epochs, key=lambda start_ns: self.epochs[start_ns].time_ns)]


@dataclass(slots=True)
class Outcome:
    """What a cell came to. `value` is None where its points told nothing."""

    value: Value | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    changed: bool = False
    """Whether the memory has to be stored."""


@dataclass(slots=True)
class Cell:
    """The points of one stream in one interval."""

    stream: Stream
    overflow: bool = False
    """Whether it is shown without its attributes, since the instrument has too many."""
    keys: set[Key] = field(default_factory=set)
    """Of the points of a delta stream; their values need not be kept apart."""
    points: dict[Key, Value] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)

    def add(self, key: Key, value: Value) -> bool:
        """Keep the point; False where it is there already and would count twice."""
        if self.stream.mode == "delta":
            if key in self.keys:
                return False
            self.keys.add(key)
            self.pile(value)
            return True
        if self.stream.mode == "cumulative":
            return key not in self.points and self.points.setdefault(key, value) is value
        newest = next(iter(self.points), key)  # that a level is told again is no news, and no harm
        if (key[1], key[0]) >= (newest[1], newest[0]):
            self.points = {key: value}
        return True

    def pile(self, value: Value) -> None:
        """Keep an increase, whatever point it came with."""
        self.values.append(value)
        # Explicit buckets stay apart: that their bounds differ is noticed when the interval closes.
        if len(self.values) >= _MAX_VALUES and not isinstance(value, ExplicitHistogram):
            self.values = [combine(self.values)[0]]

    def close(self, memory: Memory, first_reach_ns: int) -> Outcome:
        """What the points add to what the memory holds, which is brought up to date."""
        outcome = Outcome()
        family = self.stream.instrument.family
        if self.stream.mode == "last":
            outcome.value = next(iter(self.points.values()))
        elif self.stream.mode == "delta":
            outcome.value = _combine(self.values, outcome)
            if family == "updown" and isinstance(outcome.value, Fraction):
                memory.level += outcome.value
                outcome.value, outcome.changed = memory.level, True
        else:
            increases = _read_increases(self.points, memory, first_reach_ns, outcome)
            outcome.value = _combine(increases, outcome) if increases else None
        if family in ("updown", "gauge") and isinstance(outcome.value, Fraction):
            outcome.value = Level((outcome.value,))
        return outcome


def _combine(values: Sequence[Value], outcome: Outcome) -> Value:
    value, lossy = combine(values)
    if lossy:
        outcome.warnings["buckets_differ"] += 1
    return value


def _read_increases(
    points: dict[Key, Value], memory: Memory, first_reach_ns: int, outcome: Outcome
) -> list[Value]:
    """The increases from point to point, start by start; resets are noticed, and points behind dropped."""
    increases: list[Value] = []
    for start_ns, keys in groupby(sorted(points), key=lambda key: key[0]):
        state = memory.epochs.get(start_ns)
        for key in keys:
            time_ns, value = key[1], points[key]
            if state is not None and time_ns <= state.time_ns:
                outcome.dropped["out_of_order"] += 1
                continue
            if state is not None:
                increase = difference(value, state.value)
                if increase is None:
                    outcome.warnings["reset"] += 1
                increases.append(value if increase is None else increase)
            elif _is_whole(start_ns, time_ns, memory, first_reach_ns):
                increases.append(value)
            else:
                outcome.dropped["no_baseline"] += 1
            state = memory.epochs[start_ns] = State(time_ns, value)
            outcome.changed = True
    memory.trim()
    return increases


def _is_whole(start_ns: int, time_ns: int, memory: Memory, first_reach_ns: int) -> bool:
    """Whether the first state seen since a start is all new.

    It is after a restart, and when the stream began a short while ago. A service that has counted for days
    when we first hear of it must not have all of that in one row; nor one that does not say since when.
    """
    if not 0 < start_ns < time_ns:
        return False
    if time_ns - start_ns <= first_reach_ns:
        return True
    return any(begin < start_ns and state.time_ns <= start_ns for begin, state in memory.epochs.items())
