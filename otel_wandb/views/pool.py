"""Counts of requests in the bins of a view, kept apart by stratum or interval, and put away in few bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from otel_wandb.statistics.distances import Counts
from otel_wandb.statistics.draws import draw_requests

_SEVEN_BITS: Final = 0x7F


class PackedPool(msgspec.Struct, frozen=True):
    """A pool as it is stored: names of strata, how many rows each has, and all counts in a row of bytes."""

    names: list[str] = []
    rows: list[int] = []
    counts: bytes = b""


class Pool:
    """Counts by stratum: of all requests together, or with `by_row` a row of each interval."""

    def __init__(self, bins: int, *, by_row: bool = False) -> None:
        self.bins = bins
        self.by_row = by_row
        self._parts: dict[str, Counts] = {}

    @classmethod
    def of(cls, parts: Mapping[str, object], bins: int, *, by_row: bool = False) -> Pool:
        """A pool of these counts."""
        pool = cls(bins, by_row=by_row)
        for stratum, counts in sorted(parts.items()):
            pool._parts[stratum] = np.array(counts, dtype=np.int64)
        return pool

    @property
    def parts(self) -> dict[str, Counts]:
        """The counts by stratum, in the order of names; those of rows have two axes."""
        return dict(sorted(self._parts.items()))

    @property
    def size(self) -> int:
        """How many requests."""
        return sum(int(part.sum()) for part in self._parts.values())

    @property
    def rows(self) -> int:
        """How many intervals, where these are kept apart."""
        return sum(len(part) for part in self._parts.values()) if self.by_row else 0

    @property
    def totals(self) -> Counts:
        """The counts of all strata and intervals together."""
        total = np.zeros(self.bins, dtype=np.int64)
        for part in self._parts.values():
            total += part.sum(axis=0) if self.by_row else part
        return total

    def add(self, stratum: str, counts: Sequence[int] | Counts) -> None:
        """Add the counts of an interval."""
        new = np.asarray(counts, dtype=np.int64)
        part = self._parts.get(stratum)
        if self.by_row:
            new = new[np.newaxis]
            self._parts[stratum] = new if part is None else np.concatenate([part, new])
        else:
            self._parts[stratum] = new if part is None else part + new

    def remap(self, places: Sequence[int], bins: int) -> None:
        """Move the counts to the bins whose places are given for the old ones."""
        moves = np.zeros((len(places), bins), dtype=np.int64)
        moves[np.arange(len(places)), np.asarray(places)] = 1
        self._parts = {stratum: np.asarray(part @ moves) for stratum, part in self._parts.items()}
        self.bins = bins

    def thin(self, limit: int, rng: np.random.Generator) -> None:
        """Keep at most `limit` requests (or intervals) of each stratum, any of them with the same chance."""
        for stratum, part in self.parts.items():
            if self.by_row and len(part) > limit:
                self._parts[stratum] = part[np.sort(rng.permutation(len(part))[:limit])]
            elif not self.by_row and part.sum() > limit:
                self._parts[stratum] = np.asarray(draw_requests(part, limit, 1, rng).current[0])

    def pack(self) -> PackedPool:
        """What `unpack` needs."""
        parts = self.parts
        rows = [len(part) for part in parts.values()] if self.by_row else []
        counts = [part.ravel() for part in parts.values()]
        return PackedPool(list(parts), rows, _write(np.concatenate(counts)) if counts else b"")

    @classmethod
    def unpack(cls, packed: PackedPool, bins: int, *, by_row: bool = False) -> Pool:
        """The pool that was packed.

        Raises:
            msgspec.ValidationError: there are not as many counts as there have to be.
        """
        counts = _read(packed.counts)
        rows = packed.rows if by_row else [1] * len(packed.names)
        if len(rows) != len(packed.names) or sum(rows) * bins != len(counts):
            raise msgspec.ValidationError(f"there are {len(counts)} counts of {len(packed.names)} strata")
        parts: dict[str, Counts] = {}
        at = 0
        for stratum, size in zip(packed.names, rows, strict=True):
            part = counts[at : at + size * bins]
            parts[stratum] = part.reshape(size, bins) if by_row else part
            at += size * bins
        return cls.of(parts, bins, by_row=by_row)


def _write(counts: Counts) -> bytes:
    """Whole numbers from 0 on, seven bits a byte, the lowest first; the eighth says that more follow."""
    if not counts.size:
        return b""
    longest = max(1, -(-int(counts.max()).bit_length() // 7))
    parts = counts[:, np.newaxis] >> (7 * np.arange(longest))
    more = parts >> 7 > 0
    written = (parts & _SEVEN_BITS | more * (_SEVEN_BITS + 1)).astype(np.uint8)
    kept = np.concatenate([np.ones((len(counts), 1), dtype=bool), more[:, :-1]], axis=1)
    return bytes(written[kept])


def _read(written: bytes) -> Counts:
    parts = np.frombuffer(written, dtype=np.uint8).astype(np.int64)
    last = np.flatnonzero(parts <= _SEVEN_BITS)
    if not len(last):
        return last
    first = np.concatenate([[0], last[:-1] + 1])
    parts = parts[: last[-1] + 1]
    place = np.arange(len(parts)) - np.repeat(first, last - first + 1)
    return np.asarray(np.add.reduceat((parts & _SEVEN_BITS) << (7 * place), first))
