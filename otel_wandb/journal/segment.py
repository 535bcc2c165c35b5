"""A segment while it is written: one open file, and how much of it is on the disk itself."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from dataclasses import dataclass, field

from otel_wandb.journal.upkeep import Disk


@dataclass(slots=True, eq=False)
class OpenSegment:
    """A segment that this process holds: what stands in it, and how much of that is on the disk itself."""

    name: str
    fd: int
    end: int = 0
    synced: int = 0
    old_at_s: float = math.inf
    is_torn: bool = False
    is_closed: bool = False
    is_syncing: bool = False
    failure: OSError | None = None
    turn: threading.Condition = field(default_factory=threading.Condition)

    @property
    def is_spoiled(self) -> bool:
        """Whether nothing may be appended any more; also if somebody has removed the file."""
        return self.is_torn or self.failure is not None or os.fstat(self.fd).st_nlink == 0

    def commit(self, end: int, disk: Disk) -> None:
        """Return when all up to `end` is on the disk itself; one call syncs for all who wait."""
        with self.turn:
            while self.synced < end and self.is_syncing:
                self.turn.wait()
            if self.synced >= end:
                return
            if self.failure is not None:  # the kernel tells of it once, and forgets what it could not write
                raise OSError(self.failure.errno, self.failure.strerror)
            if self.is_closed:
                return
            self.is_syncing = True
        target, synced = self.end, 0
        try:
            disk.sync(self.fd)
            synced = target
        except OSError as error:
            self.failure = error
            raise
        finally:
            with self.turn:
                self.is_syncing = False
                self.synced = max(self.synced, synced)
                self.turn.notify_all()

    def undo(self, disk: Disk) -> None:
        """Cut off what could not be synced, unless that is done or the file is closed."""
        with self.turn:
            if not self.is_closed:
                with contextlib.suppress(OSError):
                    disk.truncate(self.fd, self.synced)

    def close(self, disk: Disk) -> None:
        """Close the file, and with it give up the lock; a part of a frame is cut off first."""
        with self.turn:
            while self.is_syncing:
                self.turn.wait()
            if self.is_torn:
                with contextlib.suppress(OSError):
                    disk.truncate(self.fd, self.end)
            self.is_closed = True
            os.close(self.fd)
