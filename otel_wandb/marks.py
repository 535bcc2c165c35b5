"""How far the journal was read, and how far it is finished: two positions for each segment.

`counted` is the end of the last frame whose effects are in the store. `assembled` is the offset of the first
frame that still holds a span or log record of an open trace: after a restart reading begins there, and
nothing at or before `counted` is counted a second time. A segment may go when both reach its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

FrameRef: TypeAlias = tuple[str, int]
"""A frame of the journal: the segment's name and the frame's offset."""


@dataclass(slots=True)
class _Segment:
    counted: int = 0
    held: dict[int, int] = field(default_factory=dict)  # offset -> holders, in the order of reading


class Marks:
    """The two positions of every segment, kept by counting who still needs a frame. Not thread-safe."""

    def __init__(self) -> None:
        self._segments: dict[str, _Segment] = {}
        self._touched: set[str] = set()

    def restore(self, segment: str, counted: int) -> None:
        """Set what an earlier bridge had counted."""
        self._segments[segment] = _Segment(counted)

    def counted(self, segment: str) -> int:
        """The end of the last counted frame of the segment (0: none)."""
        known = self._segments.get(segment)
        return known.counted if known else 0

    def assembled(self, segment: str) -> int:
        """The offset that a restart has to read from."""
        known = self._segments.get(segment)
        if known is None:
            return 0
        return next(iter(known.held), known.counted)

    def advance(self, segment: str, end: int) -> None:
        """Note that all frames up to `end` are counted."""
        known = self._segments.setdefault(segment, _Segment())
        known.counted = max(known.counted, end)
        self._touched.add(segment)

    def hold(self, frame: FrameRef) -> None:
        """Keep the frame: one more item of it belongs to an open trace."""
        held = self._segments.setdefault(frame[0], _Segment()).held
        held[frame[1]] = held.get(frame[1], 0) + 1

    def release(self, frame: FrameRef) -> None:
        """Give one item of the frame up."""
        segment, offset = frame
        held = self._segments[segment].held
        held[offset] -= 1
        if not held[offset]:
            del held[offset]
            self._touched.add(segment)

    def drop(self, segment: str) -> None:
        """Forget a segment whose file is gone."""
        self._segments.pop(segment, None)
        self._touched.discard(segment)

    def take_changes(self) -> list[tuple[str, int, int]]:
        """The (segment, counted, assembled) that moved since the last call."""
        changes = [(name, self.counted(name), self.assembled(name)) for name in sorted(self._touched)]
        self._touched.clear()
        return changes

    def names(self) -> list[str]:
        """All segments that have a position."""
        return list(self._segments)
