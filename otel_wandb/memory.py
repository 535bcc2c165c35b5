"""A journal without a disk, for a directory that cannot be written to: it dies with the process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator

from otel_wandb.errors import JournalFull
from otel_wandb.journal import Codec, Damage, Frame, Kind, Segment

_LIMIT_BYTES = 64 << 20


class MemoryJournal:
    """Writer and reader of one bounded queue of frames, with the journal's interface. Thread-safe."""

    _lock: threading.Lock
    _name: str
    _frames: deque[Frame]
    _held_bytes: int
    _end: int

    def __init__(self, *, writer_id: str, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self.forget(writer_id)

    def append(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        kind: Kind,
        items: int,
        config: str,
        codec: Codec = Codec.PLAIN,
    ) -> tuple[str, int]:
        """Queue the payload; `JournalFull` where the bound is reached."""
        with self._lock:
            if self._held_bytes + len(payload) > self._limit_bytes:
                raise JournalFull(
                    f"the memory journal holds {self._held_bytes >> 20} of {self._limit_bytes >> 20} MiB; "
                    "W&B takes less than the service makes, or cannot be reached"
                )
            offset, self._end = self._end, self._end + max(1, len(payload))
            self._held_bytes += len(payload)
            self._frames.append(
                Frame(
                    segment=self._name,
                    offset=offset,
                    end=self._end,
                    kind=kind,
                    codec=codec,
                    items=items,
                    config=config,
                    written_ns=time.time_ns(),
                    payload=bytes(payload),
                )
            )
            return self._name, self._end

    def segments(self) -> list[Segment]:
        """The one segment, always alive."""
        return [Segment(name=self._name, size=self._end, alive=True)]

    def read(self, name: str, offset: int, *, max_bytes: int = 8 << 20) -> Iterator[Frame | Damage]:
        """The frames from `offset` on, which leave the queue: nobody reads them a second time."""
        taken = 0
        while name == self._name and taken < max_bytes:
            with self._lock:
                if not self._frames:
                    return
                frame = self._frames.popleft()
                self._held_bytes -= len(frame.payload)
            taken += len(frame.payload)
            if frame.offset >= offset:
                yield frame

    def remove(self, name: str) -> None:
        """Nothing: there is no file."""

    def close(self) -> None:
        """Nothing: there is no file."""

    def forget(self, writer_id: str) -> None:
        """Start empty under a new name (in a forked child: what the parent held is the parent's)."""
        self._lock = threading.Lock()
        self._name = f"{writer_id}-00000000.seg"
        self._frames = deque()
        self._held_bytes = 0
        self._end = 0
