"""What a front refused, counted where a full disk cannot stop it and a SIGKILL cannot lose it.

Each front process has one small file `fronts/{writer_id}.counts`. All of it is written when it is made, so
that its blocks are there when the disk is full; from then on the same bytes are written over. It is written
with `pwrite` and not mapped, because a store into a mapped page that has no room kills the process by SIGBUS,
where a write only fails. The file's lock is held while the front lives: who gets it knows that the front is
gone, and the bridge then takes the counts into the ledger and removes the file.

The file names its own counters, so a bridge of another version reads them.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import threading
import time
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from otel_wandb import __version__

_log = logging.getLogger("otel_wandb.fronts")

Signal: TypeAlias = Literal["spans", "log_records", "metric_points"]
Counter: TypeAlias = tuple[str, str, str]
"""Signal, outcome, reason: a line of the ledger."""

SIGNALS: Final[tuple[Signal, ...]] = ("spans", "log_records", "metric_points")
REASONS: Final = (
    ("dropped", "journal_full"),
    ("dropped", "disk_full"),
    ("dropped", "journal_unusable"),
    ("dropped", "unencodable"),
    ("dropped", "other"),
    ("rejected", "malformed"),
    ("rejected", "foreign"),
    ("rejected", "too_large"),
    ("rejected", "other"),
    ("sdk_lost", ""),
)
"""What a front counts for each signal. `sdk_lost` stands beside the ledger: the SDK's own queue lost it."""

_COUNTERS: Final[tuple[Counter, ...]] = tuple((signal, *reason) for signal in SIGNALS for reason in REASONS)
_SLOTS: Final = {counter: slot for slot, counter in enumerate(_COUNTERS)}
_SUFFIX: Final = ".counts"
_MAGIC: Final = b"OTWFRNT1"
_HEAD: Final = struct.Struct("<8sI")  # magic, length of the JSON that follows
_TABLE_AT: Final = 4096
_FILE_BYTES: Final = 8192
_TABLE: Final = struct.Struct(f"<{len(_COUNTERS)}Q")


class _Head(msgspec.Struct, frozen=True):
    pid: int
    version: str
    started_s: float
    counters: list[Counter]


class FrontReport(msgspec.Struct, frozen=True):
    """One front's file as it was read. `name` is the file's, `alive` whether its process still is."""

    name: str
    pid: int
    version: str
    started_s: float
    alive: bool
    counts: dict[Counter, int]


class FrontCounters:
    """The counters of this process. Thread-safe, never raises; counts in memory where no file can be."""

    _fd: int

    def __init__(self, directory: Path | None, *, writer_id: str) -> None:
        """Make the file `{writer_id}.counts` in `directory` (None: count in memory only)."""
        self._directory = directory
        self._reset(writer_id)
        self.open()

    @property
    def on_disk(self) -> bool:
        """Whether the counts would survive this process."""
        return self._fd >= 0 and not self._stale

    @property
    def counts(self) -> dict[Counter, int]:
        """What was counted so far, without the zeros."""
        return {counter: n for counter, n in zip(_COUNTERS, self._values, strict=True) if n}

    def open(self) -> bool:
        """Make the file unless it is there, with all that was counted so far; False if that failed."""
        with self._lock:
            self._tried = True
            if self._fd < 0 and self._directory is not None and not self._closed:
                self._fd = self._make_file(self._directory)
                self._stale = False
        return self.on_disk

    def add(self, signal: Signal, outcome: str, reason: str, n: int) -> None:
        """Count `n` more. An outcome and reason that have no counter of their own are counted as `other`."""
        slot = _SLOTS.get((signal, outcome, reason))
        if slot is None:
            _log.debug("There is no counter for %s %s %s.", signal, outcome, reason)
            slot = _SLOTS[signal, "rejected" if outcome == "rejected" else "dropped", "other"]
        if self._fd < 0 and not self._tried:
            self.open()
        with self._lock:
            self._values[slot] += n
            self._write()

    def close(self) -> None:
        """Leave the file to the bridge, or remove it if nothing was counted. May be called twice."""
        with self._lock:
            self._closed = True
            if self._fd < 0:
                return
            if not any(self._values):
                self._path.unlink(missing_ok=True)
            fd, self._fd = self._fd, -1
            os.close(fd)  # and with it the lock

    def forget(self, writer_id: str) -> None:
        """In a forked child: leave the parent's file alone and count from zero, in a file of its own.

        That file is made by the first `open` or `add`, so that a child which does nothing leaves nothing.
        """
        if self._fd >= 0:
            os.close(self._fd)  # without unlocking: the lock is the parent's
        self._reset(writer_id)

    def _reset(self, writer_id: str) -> None:
        self._writer_id = writer_id
        self._values = [0] * len(_COUNTERS)
        self._lock = threading.Lock()
        self._fd = -1
        self._tried = False
        self._stale = False
        self._closed = False

    @property
    def _path(self) -> Path:
        assert self._directory is not None  # only with a file
        return self._directory / (self._writer_id + _SUFFIX)

    def _make_file(self, directory: Path) -> int:
        draft = directory / f".{self._writer_id}{_SUFFIX}"
        fd = -1
        try:
            fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(fd, _file_content(self._values))
            draft.rename(self._path)  # visible only now, so that an unlocked file is always a dead one
        except OSError as error:
            _log.warning("The counters of this process are kept in memory only: %s.", error)
            if fd >= 0:
                os.close(fd)
                _unlink(draft)
            return -1
        return fd

    def _write(self) -> None:
        if self._fd < 0:
            return
        try:
            # The whole table each time: a write that failed is made good by the next one.
            os.pwrite(self._fd, _TABLE.pack(*self._values), _TABLE_AT)
            self._stale = False
        except OSError as error:
            if not self._stale:
                _log.warning("The counters of this process could not be written, but are kept: %s.", error)
            self._stale = True


def list_fronts(directory: Path) -> list[Path]:
    """The counter files of all fronts, dead and alive, in the order of their names."""
    try:
        return sorted(path for path in directory.iterdir() if path.suffix == _SUFFIX and path.name[0] != ".")
    except FileNotFoundError:
        return []


def alive(path: Path) -> bool:
    """Whether the front that made the file still runs."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return _is_locked(fd)
    finally:
        os.close(fd)


def read_counts(path: Path) -> dict[Counter, int]:
    """The counts of a front as lines of the ledger, without zeros; empty if the file is gone or damaged.

    What was refused here never came to the journal, so it stands as `received`, too. `sdk_lost` does not.
    """
    report = _read_front(path)
    return report.counts if report else {}


def read_fronts(directory: Path) -> list[FrontReport]:
    """All fronts whose files can be read, dead and alive, in the order of their names."""
    return [report for path in list_fronts(directory) if (report := _read_front(path)) is not None]


def _read_front(path: Path) -> FrontReport | None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        content = os.pread(fd, _FILE_BYTES, 0)
        is_alive = _is_locked(fd)
    finally:
        os.close(fd)
    try:
        head, values = _parse(content)
    except (ValueError, struct.error, msgspec.MsgspecError) as error:
        _log.warning("The counters in %s cannot be read: %s.", path, error)
        return None
    return FrontReport(
        name=path.name,
        pid=head.pid,
        version=head.version,
        started_s=head.started_s,
        alive=is_alive,
        counts=_as_ledger(head.counters, values),
    )


def _as_ledger(counters: list[Counter], values: tuple[int, ...]) -> dict[Counter, int]:
    counts: dict[Counter, int] = {}
    for (signal, outcome, reason), n in zip(counters, values, strict=True):
        if n:
            counts[signal, outcome, reason] = n
            if outcome != "sdk_lost":
                counts[signal, "received", ""] = counts.get((signal, "received", ""), 0) + n
    return counts


def _file_content(values: list[int]) -> bytes:
    head = msgspec.json.encode(_Head(os.getpid(), __version__, time.time(), list(_COUNTERS)))
    content = _HEAD.pack(_MAGIC, len(head)) + head
    assert len(content) <= _TABLE_AT
    return (content.ljust(_TABLE_AT, b"\0") + _TABLE.pack(*values)).ljust(_FILE_BYTES, b"\0")


def _parse(content: bytes) -> tuple[_Head, tuple[int, ...]]:
    magic, length = _HEAD.unpack_from(content)
    if magic != _MAGIC:
        raise ValueError("it does not begin as such a file does")
    head = msgspec.json.decode(content[_HEAD.size : _HEAD.size + length], type=_Head)
    return head, struct.unpack_from(f"<{len(head.counters)}Q", content, _TABLE_AT)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.debug("%s was left behind: %s", path, error)
