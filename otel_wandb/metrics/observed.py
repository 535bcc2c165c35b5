"""Single values that spans and scores tell, as histograms: the streams that a meter would have kept of them.

A value goes into a base-2 exponential histogram of its instrument and attributes, at one scale for all, so
that parts of it merge exactly in any order. What came since the last transaction is kept as it came, and only
counted into buckets when that is stored: a stored part costs what came since, not what there is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from operator import sub
from typing import Final, TypeAlias

import msgspec

from otel_wandb.metrics.exponential import (
    MAX_BUCKETS,
    NOTHING,
    ExponentialHistogram,
    Side,
    index_of,
)

MAX_SERIES: Final = 2_000
"""Sets of attributes of an instrument in an interval. All beyond are one, `OVERFLOW_LABELS`."""

OVERFLOW_LABELS: Final = (("otel.metric.overflow", "true"),)
"""Stands for the attributes of all that is beyond the limit."""

SCALE: Final = 6
"""Buckets grow by 1.09 %, over three decades; of values that span more a closed histogram is coarser."""

_PER_OCTAVE: Final = 1 << SCALE
_BILLION: Final = 1_000_000_000
_BILLIONTH_PLACE: Final = math.log2(_BILLION) * _PER_OCTAVE
_NEAR: Final = 1e-9  # further from an edge than this, the logarithm tells the bucket for certain
_FAR: Final = 1 - _NEAR

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values of attributes, in a fixed order."""

StreamKey: TypeAlias = tuple[str, str, Labels]
"""Instrument, unit and attributes."""

Amount: TypeAlias = int | float
"""A value: an int counts billionths of the unit (nanoseconds, of seconds), a float is in the unit."""


class Source:
    """A stream that is known: told apart by identity, which costs less than by what its key holds."""

    __slots__ = ("key",)

    def __init__(self, key: StreamKey) -> None:
        self.key = key

    def __reduce__(self) -> tuple[Callable[[StreamKey], Source], tuple[StreamKey]]:
        return find_source, (self.key,)


@lru_cache(maxsize=20_000)
def find_source(key: StreamKey) -> Source:
    """The stream of that key, mostly the same object for the same key."""
    return Source(key)


class Observation(msgspec.Struct, gc=False):
    """A value, and what was measured."""

    source: Source
    value: Amount

    @property
    def stream(self) -> StreamKey:
        """Instrument, unit and attributes."""
        return self.source.key


class Part(msgspec.Struct, array_like=True):
    """Some values of a stream, counted: of each sign by the index of their bucket.

    `total` is their exact sum in billionths of the unit, as text: it may have more than 64 bits.
    """

    count: int = 0
    total: str = "0"
    smallest: float = math.inf
    largest: float = -math.inf
    zeros: int = 0
    positive: dict[int, int] = msgspec.field(default_factory=dict)
    negative: dict[int, int] = msgspec.field(default_factory=dict)

    def merge(self, more: Part) -> None:
        """Count the values of the other, too."""
        self.total = _add_totals(self.total, more.total) if self.count else more.total
        self.count += more.count
        self.smallest = min(self.smallest, more.smallest)
        self.largest = max(self.largest, more.largest)
        self.zeros += more.zeros
        for mine, theirs in ((self.positive, more.positive), (self.negative, more.negative)):
            if not mine:
                mine.update(theirs)
                continue
            for index, count in theirs.items():
                mine[index] = mine.get(index, 0) + count

    def to_histogram(self) -> ExponentialHistogram:
        """The same as an immutable histogram, as fine as its number of buckets allows."""
        shift = max(_find_shift(self.positive), _find_shift(self.negative))
        return ExponentialHistogram(
            self.count,
            _read_total(self.total),
            self.smallest,
            self.largest,
            True,
            SCALE - shift,
            self.zeros,
            0.0,
            _to_side(self.positive, shift),
            _to_side(self.negative, shift),
        )


@dataclass(slots=True)
class ObservedTotals:
    """What was observed in an interval so far. Not thread-safe."""

    parts: dict[StreamKey, Part] = field(default_factory=dict)
    """All but what is fresh."""
    _fresh: dict[tuple[Source, int], list[Amount]] = field(default_factory=dict)
    """By source and weight."""
    _sizes: Counter[str] = field(default_factory=Counter)
    """Sets of attributes of each instrument."""

    def add(self, observation: Observation, weight: int = 1) -> None:
        """Count a value `weight` times."""
        key = (observation.source, weight)
        fresh = self._fresh.get(key)
        if fresh is None:
            self._fresh[key] = [observation.value]
        else:
            fresh.append(observation.value)

    def take_fresh(self) -> list[tuple[StreamKey, Part]]:
        """What came since the last call, in the order in which streams came."""
        fresh = [
            (self._admit(source.key), count_values(amounts, weight))
            for (source, weight), amounts in self._fresh.items()
        ]
        self._fresh = {}
        for stream, part in fresh:
            self._merge(stream, part)
        return fresh

    def restore(self, stored: Iterable[tuple[StreamKey, Part]]) -> None:
        """Take up what `take_fresh` gave before a restart; in the same order."""
        for stream, part in stored:
            self._merge(self._admit(stream), part)

    def merge(self, more: ObservedTotals) -> None:
        """Count what is in the other, too."""
        more.take_fresh()
        for stream, part in sorted(more.parts.items()):
            self._merge(self._admit(stream), part)

    def histograms(self) -> Mapping[StreamKey, ExponentialHistogram]:
        """The histogram of each stream, in a fixed order."""
        self.take_fresh()
        return {stream: part.to_histogram() for stream, part in sorted(self.parts.items())}

    def _merge(self, stream: StreamKey, part: Part) -> None:
        known = self.parts.get(stream)
        if known is None:
            known = self.parts[stream] = Part()
        known.merge(part)

    def _admit(self, stream: StreamKey) -> StreamKey:
        """The stream, or the one that it is a part of beyond the limit. To be asked when it comes first."""
        instrument, unit, labels = stream
        if stream in self.parts or labels == OVERFLOW_LABELS:
            return stream
        if self._sizes[instrument] >= MAX_SERIES:
            return instrument, unit, OVERFLOW_LABELS
        self._sizes[instrument] += 1
        self.parts[stream] = Part()
        return stream


def count_values(amounts: Sequence[Amount], weight: int = 1) -> Part:
    """The values, each of which counts so often."""
    smallest, largest = min(amounts), max(amounts)
    if smallest <= 0 or set(map(type, amounts)) != {int}:
        return _count_any(amounts, weight)
    log2 = math.log2
    places = [log2(amount) * _PER_OCTAVE - _BILLIONTH_PLACE for amount in amounts]
    indexes = list(map(math.floor, places))
    near = [i for i, part in enumerate(map(sub, places, indexes)) if not _NEAR < part < _FAR]
    for i in near:
        indexes[i] = index_of(amounts[i] / _BILLION, SCALE)
    counts: dict[int, int] = Counter(indexes)
    if weight != 1:
        counts = {index: count * weight for index, count in counts.items()}
    total = str(sum(amounts) * weight)
    return Part(len(amounts) * weight, total, smallest / _BILLION, largest / _BILLION, 0, dict(counts), {})


def _count_any(amounts: Sequence[Amount], weight: int) -> Part:
    # What was written as decimal digits is added up as that.
    exact = [a if isinstance(a, int) else Fraction(repr(a)) * _BILLION for a in amounts]
    values = [a / _BILLION if isinstance(a, int) else a for a in amounts]
    positive: Counter[int] = Counter()
    negative: Counter[int] = Counter()
    for value in values:
        if value:
            side = positive if value > 0 else negative
            side[index_of(abs(value), SCALE)] += weight
    return Part(
        len(values) * weight,
        str(sum(exact, Fraction(0)) * weight),
        min(values),
        max(values),
        values.count(0) * weight,
        dict(positive),
        dict(negative),
    )


def _add_totals(one: str, other: str) -> str:
    try:
        return str(int(one) + int(other))
    except ValueError:  # they are not whole
        return str(Fraction(one) + Fraction(other))


def _read_total(text: str) -> Fraction:
    try:
        return Fraction(int(text), _BILLION)
    except ValueError:
        return Fraction(text) / _BILLION


def _find_shift(buckets: Mapping[int, int]) -> int:
    shift = 0
    if buckets:
        low, high = min(buckets), max(buckets)
        while (high >> shift) - (low >> shift) >= MAX_BUCKETS:
            shift += 1
    return shift


def _to_side(buckets: Mapping[int, int], shift: int) -> Side:
    if not buckets:
        return NOTHING
    offset = min(buckets) >> shift
    counts = [0] * ((max(buckets) >> shift) - offset + 1)
    for index, count in buckets.items():
        counts[(index >> shift) - offset] += count
    return Side(offset, tuple(counts))
