"""A sample of requests of fixed size, whose weights make sums over it equal sums over all requests, on
average.

It consists of three parts, and no request is in two of them:

* the slowest, a tenth of the size: all of them, each with weight 1;
* those that failed, up to a quarter: by operation, at most so many of each that all of them have room;
* the others, in what is left: by operation, too.

Within an operation and outcome (a stratum) the draw is simple random sampling: those with the smallest hashes
of their ids are taken. All of a stratum have the same weight, the number of requests in it by the number that
were taken. So the weights of a stratum add up to its exact count, and the weighted sum of anything (errors,
tokens, cost) is an unbiased estimate of the sum over all requests (Horvitz and Thompson 1952; Cochran,
Sampling Techniques, chapter 5). That needs two things, which hold at every moment: how many are taken of a
stratum depends on counts alone, never on hashes; and it never grows, so that what was once passed over is
never missed.

The outcome does not depend on the order of requests, or on how they were split into samples that were merged
(but for operations beyond `MAX_OPERATIONS`, which are one stratum: the first that come have their own).
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

MIN_ROWS: Final = 10
"""A sample of fewer rows would leave some strata without any."""

MAX_OPERATIONS: Final = 32
"""Operations that have a stratum of their own, for each outcome."""

MAX_IMAGE_BYTES: Final = 4 << 20
"""What the images of a sample may hold, as they are encoded; beyond, a request is told of without."""

OTHER: Final = ""
"""The operations beyond the limit."""


class Draw(NamedTuple):
    """What decides on a request: `order` and `tie` are independent hashes of its ids."""

    operation: str
    failed: bool
    latency_ns: int
    order: int
    tie: int


class Item(msgspec.Struct, array_like=True, gc=False):
    """A request of a sample. `row` is what a table shows of it, but for the image, which is a data URI.

    `weight` is the number of requests that it stands for itself, where others were not sampled upstream.
    """

    operation: str
    failed: bool
    latency_ns: int
    order: int
    tie: int
    time_ns: int
    row: bytes
    image: str = ""
    weight: int = 1


class Stratum(NamedTuple):
    """Requests of one operation that ended alike."""

    operation: str
    failed: bool


class Content(msgspec.Struct, array_like=True):
    """Some of a sample as it is stored: its size, the counts that came, the items, and how many of a stratum.

    `levels` are those of the others and of the failed; 0: they follow from the counts.
    """

    rows: int
    counts: list[tuple[str, bool, int]]
    items: list[Item]
    levels: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many rows each part of a sample may have."""

    rows: int

    @property
    def slowest(self) -> int:
        """The slowest, whatever they are."""
        return self.rows // 10

    @property
    def failed(self) -> int:
        """Those that failed."""
        return self.rows // 4

    @property
    def least(self) -> int:
        """What the others have in any case."""
        return self.rows - self.slowest - self.failed

    def operations(self, *, failed: bool) -> int:
        """How many operations may have a stratum, so that each of them, and the rest, has a row."""
        return min(MAX_OPERATIONS, (self.failed if failed else self.least) - 1)


def draw_numbers(trace_id: str, span_id: str) -> tuple[int, int]:
    """Two independent numbers of 63 bits, the same for the same request wherever it is seen."""
    digest = hashlib.blake2b(
        f"{trace_id}/{span_id}".encode(), digest_size=16, person=b"request table"
    ).digest()
    return int.from_bytes(digest[:8], "big") >> 1, int.from_bytes(digest[8:], "big") >> 1


class Sample:
    """Requests as they come, of which at most `rows` are kept. Not thread-safe."""

    def __init__(self, rows: int) -> None:
        self.budget = Budget(max(MIN_ROWS, rows))
        self.counts: dict[Stratum, int] = {}
        """How many requests came, by stratum, in the order in which the strata came."""
        self._top: list[tuple[int, int, int, Item]] = []
        """A heap: latency, tie, what tells two of the same apart, the item."""
        self._in_top: Counter[Stratum] = Counter()
        self._kept: dict[Stratum, list[Item]] = {}
        self._levels = [self.budget.rows, self.budget.rows]
        self._image_bytes = 0
        self._fresh: list[Item] = []
        self._fresh_counts: dict[Stratum, int] = {}

    def __len__(self) -> int:
        """How many requests came."""
        return sum(self.counts.values())

    @property
    def levels(self) -> tuple[int, int]:
        """How many of a stratum are kept at most: of the others, and of those that failed."""
        return self._levels[0], self._levels[1]

    def add(self, draw: Draw, make: Callable[[Draw], Item]) -> None:
        """Count a request, and keep it if it belongs to the sample: only then `make` is asked for it."""
        stratum = self._admit(Stratum(draw.operation, draw.failed))
        self._count(stratum, 1)
        self._fresh_counts[stratum] = self._fresh_counts.get(stratum, 0) + 1
        if self._wants(stratum, draw):
            item = make(draw)
            item.operation = stratum.operation
            self._limit_image(item)
            self._fresh.append(item)
            self._place(item)
            self._settle()

    def merge(self, other: Sample) -> list[Item]:
        """Take in all that the other one has seen; which of its items are kept. The other is used up."""
        self._shrink(other.budget.rows)
        self._levels = [min(own, its) for own, its in zip(self._levels, other._levels, strict=True)]
        names: dict[Stratum, Stratum] = {}
        for stratum, n in other.counts.items():
            names[stratum] = self._admit(stratum)
            self._count(names[stratum], n)
        for item in other.items():
            item.operation = names[Stratum(item.operation, item.failed)].operation
            self._limit_image(item)
            self._place(item)
        self._settle()
        held = {id(item) for item in self.items()}
        return [item for item in other.items() if id(item) in held]

    def restore(self, content: Content) -> None:
        """Take up what was stored, in the order of the storing."""
        self._shrink(content.rows)
        for operation, failed, n in content.counts:
            self._count(self._admit(Stratum(operation, failed)), n)
        for i, level in enumerate(content.levels):
            self._levels[i] = min(self._levels[i], level or self._levels[i])
        for item in content.items:
            self._image_bytes += len(item.image)
            self._place(item)
        self._settle()

    def take_content(self) -> Content | None:
        """What came since the last call, and is still kept; None if nothing came."""
        if not self._fresh_counts:
            return None
        held = {id(item) for item in self.items()}
        items = [item for item in self._fresh if id(item) in held]
        counts = [(*stratum, n) for stratum, n in self._fresh_counts.items()]
        self._fresh, self._fresh_counts = [], {}
        return Content(self.budget.rows, counts, items)

    def items(self) -> list[Item]:
        """All that is kept."""
        return [entry[-1] for entry in self._top] + [item for kept in self._kept.values() for item in kept]

    def weigh(self) -> list[tuple[Item, float]]:
        """All that is kept in the order of time, each with its weight."""
        weighed = [(entry[-1], float(entry[-1].weight)) for entry in self._top]
        for stratum, kept in self._kept.items():
            weighed += [(item, item.weight * self._size(stratum) / len(kept)) for item in kept]
        return sorted(weighed, key=lambda pair: (pair[0].time_ns, pair[0].order, pair[0].tie))

    def _admit(self, stratum: Stratum) -> Stratum:
        """The stratum, or where there are too many that of all further operations."""
        if stratum in self.counts or stratum.operation == OTHER:
            return stratum
        own = sum(1 for known in self.counts if known.failed == stratum.failed and known.operation != OTHER)
        if own < self.budget.operations(failed=stratum.failed):
            return stratum
        return stratum._replace(operation=OTHER)

    def _count(self, stratum: Stratum, n: int) -> None:
        self.counts[stratum] = self.counts.get(stratum, 0) + n

    def _size(self, stratum: Stratum) -> int:
        """How many requests a stratum has, without the slowest."""
        return self.counts[stratum] - self._in_top[stratum]

    def _wants(self, stratum: Stratum, draw: Draw) -> bool:
        if len(self._top) < self.budget.slowest or (draw.latency_ns, draw.tie) > self._top[0][:2]:
            return True
        kept = self._kept.get(stratum, [])
        return len(kept) < self._levels[stratum.failed] or draw.order < kept[-1].order

    def _place(self, item: Item) -> None:
        entry = (item.latency_ns, item.tie, id(item), item)
        if len(self._top) < self.budget.slowest:
            heapq.heappush(self._top, entry)
            self._in_top[Stratum(item.operation, item.failed)] += 1
            return
        if entry[:2] > self._top[0][:2]:
            self._in_top[Stratum(item.operation, item.failed)] += 1
            item = heapq.heapreplace(self._top, entry)[-1]
            self._in_top[Stratum(item.operation, item.failed)] -= 1
        stratum = Stratum(item.operation, item.failed)
        kept = self._kept.setdefault(stratum, [])
        insort(kept, item, key=lambda one: one.order)
        self._trim(kept, self._levels[stratum.failed])

    def _settle(self) -> None:
        """Lower the levels as far as the counts say."""
        failed = [stratum for stratum in self._kept if stratum.failed]
        self._lower(failed, self.budget.failed, failed=True)
        taken = len(self._top) + min(self.budget.failed, sum(map(self._size, failed)))
        others = [stratum for stratum in self._kept if not stratum.failed]
        self._lower(others, self.budget.rows - taken, failed=False)

    def _lower(self, strata: Sequence[Stratum], room: int, *, failed: bool) -> None:
        if sum(len(self._kept[stratum]) for stratum in strata) > room:
            level = find_level([self._size(stratum) for stratum in strata], room)
            self._levels[failed] = min(level, self._levels[failed])
        for stratum in strata:
            self._trim(self._kept[stratum], self._levels[failed])

    def _trim(self, kept: list[Item], level: int) -> None:
        while len(kept) > level:
            self._image_bytes -= len(kept.pop().image)

    def _shrink(self, rows: int) -> None:
        """Of two samples of different sizes the smaller one is the size of both."""
        if rows >= self.budget.rows:
            return
        self.budget = Budget(max(MIN_ROWS, rows))
        top, self._top = self._top, []
        self._in_top.clear()
        for entry in top:
            self._place(entry[-1])
        self._settle()

    def _limit_image(self, item: Item) -> None:
        if self._image_bytes + len(item.image) > MAX_IMAGE_BYTES:
            item.image = ""
        self._image_bytes += len(item.image)


def find_level(sizes: Iterable[int], room: int) -> int:
    """The largest number such that so many of each, or all where there are fewer, have room together."""
    left = sorted(sizes)
    for i, size in enumerate(left):
        if size * (len(left) - i) > room:
            return room // (len(left) - i)
        room -= size
    return left[-1] if left else room
