"""What keeps appends from waiting: the room is known ahead, and the disk starts before it is behind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from otel_wandb.errors import JournalError, JournalFull, JournalUnusable
from otel_wandb.journal.frames import SEGMENT_NAME

_log = logging.getLogger("otel_wandb.journal")

DEFAULT_LIMIT_BYTES: Final = 8 << 30
_GRANT_BYTES: Final = 256 << 20
_GRANT_S: Final = 5.0
_TIGHT_BYTES: Final = 1 << 20

_WRITEBACK_FROM_BYTES: Final = 64 << 20
_WRITEBACK_PIECE_BYTES: Final = 8 << 20
_PAUSE_RAMP_BYTES: Final = 192 << 20
_PAUSE_MAX_S: Final = 0.05

_LATER: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
)


class Disk:
    """The calls by which the journal is written: the seam at which tests let the disk fail."""

    def make(self, path: Path) -> int:
        """A new file, open for appending and locked. It gets its name when it is locked, not before."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        hidden = path.with_suffix(".new")
        fd = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            hidden.rename(path)
        except BaseException:
            os.close(fd)
            hidden.unlink(missing_ok=True)
            raise
        return fd

    def write(self, fd: int, parts: list[bytes]) -> int:
        """The number of bytes appended."""
        return os.writev(fd, parts)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to the size."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Return when the file's data is on the disk itself."""
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def sync_directory(self, directory: Path) -> None:
        """Return when the names in the directory are on the disk itself."""
        with opened(directory) as fd:
            os.fsync(fd)

    def free_bytes(self, directory: Path) -> int:
        """What this user may still write to the directory's disk."""
        status = os.statvfs(directory)
        return status.f_bavail * status.f_frsize


def explain(error: OSError, directory: Path) -> JournalError:
    """The error of ours that says whether it is worth to try the same again."""
    kind = JournalFull if error.errno in _LATER else JournalUnusable
    return kind(f"{directory} cannot be written to: {error.strerror or error}")


class Room:
    """What this writer may append before the directory is measured again; the caller holds the writer's lock.

    Writers share the limit and do not speak with each other. Each grants itself a small part of what is left,
    for a few seconds, so that together they pass the limit by little if at all.
    """

    def __init__(self, directory: Path, disk: Disk, *, limit_bytes: int, disk_share: float) -> None:
        self._directory = directory
        self._disk = disk
        self._limit_bytes = limit_bytes
        self._disk_share = disk_share
        self._granted = 0
        self._left = 0
        self._taken = 0
        self._until_s = 0.0

    @property
    def is_short(self) -> bool:
        """Whether it is time to measure again, beside the appends; close to the limit they do it."""
        is_late = self._left < self._granted // 2 or time.monotonic() > self._until_s - _GRANT_S / 2
        return is_late and self._granted >= _TIGHT_BYTES

    def take(self, size: int) -> None:
        """Reserve the bytes; `JournalFull` where the limit does not allow them."""
        if size > self._left or time.monotonic() > self._until_s:
            held, limit, writers = self._measure()
            if held + size > limit:
                self._left = 0
                raise JournalFull(
                    f"{self._directory} holds {held >> 20} of the {limit >> 20} MiB that its limit or share "
                    "of the disk allows: W&B takes less than the services make, or cannot be reached"
                )
            self._grant(max(size, _share(held, limit, writers)))
        self._left -= size
        self._taken += size

    def refresh(self, lock: threading.Lock) -> None:
        """Measure without keeping appends waiting."""
        taken_before = self._taken
        share = _share(*self._measure())
        with lock:
            self._grant(share, used=self._taken - taken_before)

    def _grant(self, size: int, *, used: int = 0) -> None:
        self._granted = size
        self._left = size - used
        self._until_s = time.monotonic() + _GRANT_S

    def _measure(self) -> tuple[int, int, int]:
        """Bytes held, the limit, and the number of writers."""
        held = 0
        writers = set()
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if match := SEGMENT_NAME.fullmatch(entry.name):
                    writers.add(match[1])
                    held += _size_of(entry)
        free = self._disk.free_bytes(self._directory)
        return held, min(self._limit_bytes, int(self._disk_share * (free + held))), max(1, len(writers))


def _share(held: int, limit: int, writers: int) -> int:
    return max(0, min(_GRANT_BYTES, (limit - held) // (8 * writers)))


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


class Writeback:
    """Brings full segments to the disk bit by bit, and slows appends down smoothly when the disk is behind.

    Left alone, the kernel lets gigabytes pile up and then stops whoever writes, for 200 ms and more at a
    time. A segment that is still being appended to is left alone: its blocks are allocated under a lock that
    appends need as well, and with a busy disk they would wait for it for seconds (ext4). Nothing here makes
    anything durable, unless `sync` asks for that. One thread adds, one thread steps.
    """

    def __init__(self, directory: Path, disk: Disk, *, segment_bytes: int, sync: bool) -> None:
        self._directory = directory
        self._disk = disk
        self._sync = sync
        self._start_bytes = 0 if sync else _WRITEBACK_FROM_BYTES
        self._pause_bytes = _WRITEBACK_FROM_BYTES + 2 * segment_bytes
        self._full: deque[tuple[str, int]] = deque()
        self._added_bytes = 0
        self._done_bytes = 0
        self._offset = 0

    @property
    def is_due(self) -> bool:
        """Whether there is something to bring to the disk."""
        return self._added_bytes - self._done_bytes > self._start_bytes

    def pause_s(self, current_bytes: int) -> float:
        """How long an append to a segment of that size should wait, so that the disk keeps up."""
        over = self._added_bytes - self._done_bytes + current_bytes - self._pause_bytes
        return min(_PAUSE_MAX_S, _PAUSE_MAX_S * over / _PAUSE_RAMP_BYTES) if over > 0 else 0.0

    def add(self, name: str, size: int) -> None:
        """Take a segment that is full."""
        self._full.append((name, size))
        self._added_bytes += size

    def step(self) -> None:
        """Bring the next piece to the disk, and return once it is there."""
        name, size = self._full[0]
        piece = min(_WRITEBACK_PIECE_BYTES, size - self._offset)
        try:
            with opened(self._directory / name) as fd:
                _write_out(fd, self._offset, piece)
                if self._sync and self._offset + piece >= size:
                    self._disk.sync(fd)
        except FileNotFoundError:  # read and removed already
            piece = size - self._offset
        except OSError as error:
            _log.warning("Segment %s could not be brought to the disk: %s.", name, error)
            piece = size - self._offset
        self._offset += piece
        self._done_bytes += piece
        if self._offset >= size:
            self._full.popleft()
            self._offset = 0


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """The file or directory, open for reading as long as the block runs."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _write_out(fd: int, offset: int, size: int) -> None:
    """Write a part of a file back and wait for it: what Linux does for that alone; elsewhere nothing."""
    if sys.platform != "linux":
        return
    import ctypes  # not at import: services that write little never come here

    before_write_after = 1 | 2 | 4
    libc = ctypes.CDLL(None)
    libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size), before_write_after)
