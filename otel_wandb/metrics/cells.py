"""What one stream brought into an open interval, until the interval closes and its value is worked out.

Points are kept as they came, in any order, and looked at when nothing more can come: so the order of arrival
does not matter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.metrics.closed import Level, Value, combine, difference
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
class Notes:
    """What was noticed in closing an interval."""

    dropped: Counter[str] = field(default_factory=Counter)
    """Points that told nothing, by reason."""
    warnings: Counter[str] = field(default_factory=Counter)
    """What was put right."""


class Cell:
    """The points of one stream in one interval.

    `overflow` says that it is shown without its attributes, since the instrument has too many.
    """

    __slots__ = ("_lossy", "_merged", "overflow", "points", "stream")

    def __init__(self, stream: Stream, *, overflow: bool = False) -> None:
        self.stream = stream
        self.overflow = overflow
        self.points: dict[Key, Value | None] = {}
        """None: the value is with others in `_merged`."""
        self._merged: list[Value] = []
        self._lossy = False

    @property
    def needs_memory(self) -> bool:
        """Whether it can only be understood by what came before."""
        return self.stream.mode == "cumulative" or (
            self.stream.mode == "delta" and self.stream.instrument.family == "updown"
        )

    def add(self, key: Key, value: Value) -> bool:
        """Keep the point; False where it is there already and would count twice."""
        if self.stream.mode == "last":
            newest = next(iter(self.points), key)  # that a level is told again is no news, and no harm
            if (key[1], key[0]) >= (newest[1], newest[0]):
                self.points = {key: value}
            return True
        if key in self.points:
            return False
        self.points[key] = value
        if self.stream.mode == "delta" and len(self.points) % _MAX_VALUES == 0:
            self._pile_up()
        return True

    def pile(self, value: Value) -> None:
        """Keep an increase, whatever point it came with."""
        self._merged.append(value)
        if len(self._merged) >= _MAX_VALUES:
            self._pile_up()

    def close(self, memory: Memory, first_reach_ns: int, notes: Notes) -> Value | None:
        """What the points add to what the memory holds, which is brought up to date; None if nothing."""
        family = self.stream.instrument.family
        if self.stream.mode == "cumulative":
            self._merged = self._read_increases(memory, first_reach_ns, notes)
            if not self._merged:
                return None
            self.points.clear()
        self._pile_up()
        notes.warnings["buckets_differ"] += self._lossy
        (value,) = self._merged
        if isinstance(value, Fraction) and family in ("updown", "gauge"):
            if self.stream.mode == "delta":
                value = memory.level = memory.level + value
            return Level((value,))
        return value

    def _pile_up(self) -> None:
        values = [*self._merged, *(value for value in self.points.values() if value is not None)]
        merged, lossy = combine(values)
        self._merged = [merged]
        self._lossy |= lossy
        self.points = dict.fromkeys(self.points)

    def _read_increases(self, memory: Memory, first_reach_ns: int, notes: Notes) -> list[Value]:
        """The increases from point to point, start by start; resets are noticed, points behind dropped."""
        increases: list[Value] = []
        for start_ns, keys in groupby(sorted(self.points), key=lambda key: key[0]):
            state = memory.epochs.get(start_ns)
            for key in keys:
                time_ns, value = key[1], self.points[key]
                assert value is not None  # only those of delta streams are merged
                if state is not None and time_ns <= state.time_ns:
                    notes.dropped["out_of_order"] += 1
                    continue
                if state is not None:
                    increase = difference(value, state.value)
                    notes.warnings["reset"] += increase is None
                    increases.append(value if increase is None else increase)
                elif _is_whole(start_ns, time_ns, memory, first_reach_ns):
                    increases.append(value)
                else:
                    notes.dropped["no_baseline"] += 1
                state = memory.epochs[start_ns] = State(time_ns, value)
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
