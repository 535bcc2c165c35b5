"""Sums of whole numbers over the last minutes, hours and days, in few blocks: by event time, and exact."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.metrics.intervals import SECOND_NS

_LARGEST: Final = 2**62
"""What a sum ends at, since a state is JSON, whose numbers have 64 bits."""

Row: TypeAlias = tuple[int, ...]
"""The number of a block since 1970, and the sums in it."""


class Resolution(NamedTuple):
    """Blocks of so many seconds, of which the newest are kept."""

    block_s: int
    blocks: int


class Window(NamedTuple):
    """The newest blocks of a resolution, the last one of which is being filled; `seconds` at most."""

    resolution: int
    blocks: int
    seconds: int


class Blocks:
    """Amounts in blocks of several resolutions, each amount in all of them. Not thread-safe.

    An amount lies in the block in which its interval ends. Intervals come in their order. `rows` is what the
    attribute of that name held.
    """

    def __init__(
        self, resolutions: Sequence[Resolution], width: int, rows: Iterable[Iterable[Row]] = ()
    ) -> None:
        self._resolutions = resolutions
        self._width = width
        self.rows: list[list[Row]] = [list(level) for level in rows] or [[] for _ in resolutions]
        """All that is known, as JSON can hold it; blocks without amounts have no row."""

    def add(self, end_ns: int, amounts: Sequence[int]) -> None:
        """Count the amounts, `width` of them, of an interval that ends then."""
        if not any(amounts):
            return
        for resolution, rows in zip(self._resolutions, self.rows, strict=True):
            block = _block_of(end_ns, resolution)
            before: Row = (0,) * self._width
            if rows and rows[-1][0] == block:
                before = rows.pop()[1:]
            sums = (max(-_LARGEST, min(a + b, _LARGEST)) for a, b in zip(before, amounts, strict=True))
            rows.append((block, *sums))
            del rows[: _count_until(rows, block - resolution.blocks)]

    def sum(self, window: Window, now_ns: int) -> Row:
        """The sums over the window that ends now."""
        rows = self.rows[window.resolution]
        until = _block_of(now_ns, self._resolutions[window.resolution]) - window.blocks
        sums = tuple(map(sum, zip(*rows[_count_until(rows, until) :], strict=True)))
        return sums[1:] or (0,) * self._width

    def list_whole(self, resolution: int, since_ns: int, now_ns: int) -> list[Row]:
        """The sums of each block that began at `since_ns` or later and is over now; the oldest first."""
        block_ns = self._resolutions[resolution].block_s * SECOND_NS
        now = now_ns // block_ns
        first = max(-(-since_ns // block_ns), now - self._resolutions[resolution].blocks + 1)
        known = {row[0]: row[1:] for row in self.rows[resolution]}
        return [known.get(block, (0,) * self._width) for block in range(first, now)]


def _count_until(rows: Sequence[Row], block: int) -> int:
    """How many of the rows are of that block or earlier ones."""
    return bisect_left(rows, (block + 1,))


def _block_of(end_ns: int, resolution: Resolution) -> int:
    return (end_ns - 1) // (resolution.block_s * SECOND_NS)
