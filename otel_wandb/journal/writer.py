"""The journal's writing side: one append is one `writev`, and nothing else that could keep it waiting."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import Final, Literal, TypeAlias

import google_crc32c

from otel_wandb.errors import JournalError, JournalFull, JournalUnusable
from otel_wandb.journal.frames import (
    FRAME_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    SEGMENT_HEADER_BYTES,
    Codec,
    Head,
    Kind,
    pack_frame_header,
    pack_segment_header,
)
from otel_wandb.journal.segment import OpenSegment
from otel_wandb.journal.upkeep import DEFAULT_LIMIT_BYTES, Disk, Room, Writeback, explain, opened

FsyncMode: TypeAlias = Literal["never", "interval", "always"]

_log = logging.getLogger("otel_wandb.journal")

_SEGMENT_HEADER: Final = pack_segment_header()
_SYNC_IN_PLACE_BYTES: Final = 1 << 20
_CLOSE_WAIT_S: Final = 2.0
_FORK_WAIT_S: Final = 1.0
_SEGMENT_AGE_S: Final = 600.0
_DIGEST_BYTES: Final = 8
_RETRY_S: Final = 1.0
_NOBODY: Final = -1


class JournalWriter:
    """Appends frames to segments of its own. Thread-safe.

    Appends never wait for the file system's directory or its journal: a thread of this writer opens the next
    segment when the current one is half full, and until it is there the current one grows beyond its size.
    Full segments are synced, written back and closed by the same thread.

    A forked child lets go of its parent's files by itself, and may append after `forget`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        writer_id: str,
        fsync: FsyncMode = "never",
        fsync_interval_s: float = 1.0,
        segment_bytes: int = 64 << 20,
        limit_bytes: int | None = None,
        limit_disk_share: float = 0.2,
        disk: Disk | None = None,
    ) -> None:
        self._directory = directory
        self._fsync = fsync
        self._fsync_interval_s = fsync_interval_s
        self._segment_bytes = segment_bytes
        self._limit_bytes = DEFAULT_LIMIT_BYTES if limit_bytes is None else limit_bytes
        self._limit_disk_share = limit_disk_share
        self._disk = disk or Disk()
        self._closed = False
        self._reset(writer_id)
        _writers.add(self)

    def _reset(self, writer_id: str) -> None:
        self._writer_id = writer_id
        self._pid = os.getpid()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # appends, one after the other
        self._files = threading.Lock()  # making and closing files; never held by one who waits for `_lock`
        self._held: set[OpenSegment] = set()
        self._current: OpenSegment | None = None
        self._next: OpenSegment | None = None
        self._retired: deque[OpenSegment] = deque()
        self._room = Room(
            self._directory, self._disk, limit_bytes=self._limit_bytes, disk_share=self._limit_disk_share
        )
        self._writeback = Writeback(
            self._directory, self._disk, segment_bytes=self._segment_bytes, sync=self._fsync == "interval"
        )
        self._wake = threading.Event()
        self._tender: threading.Thread | None = None
        self._sync_at_s = time.monotonic() + self._fsync_interval_s

    def append(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        kind: Kind,
        items: int,
        config: str,
        codec: Codec = Codec.PLAIN,
    ) -> tuple[str, int]:
        """The segment and the end of the new frame: it is acknowledged, as durably as `fsync` says.

        Raises:
            JournalFull: the limit or the disk is reached. Nothing was kept; the same may succeed later.
            JournalUnusable: the directory cannot be written to, or the writer is closed. Nothing was kept.
        """
        data = payload if isinstance(payload, bytes) else bytes(payload)  # the checksum takes nothing else
        if len(data) > MAX_PAYLOAD_BYTES:
            raise JournalUnusable(f"{len(data)} bytes are more than a frame holds ({MAX_PAYLOAD_BYTES})")
        checksum = google_crc32c.value(data)
        digest = bytes.fromhex(config)
        if len(digest) != _DIGEST_BYTES:
            raise ValueError(f"a configuration's digest has 16 hexadecimal digits, not {config!r}")
        if os.getpid() != self._pid:
            raise JournalUnusable("this process was forked and has no writer id of its own yet: `forget`")
        try:
            with self._lock:
                segment = self._make_ready(FRAME_HEADER_BYTES + len(data))
                head = Head(len(data), items, kind, codec, digest, time.time_ns(), checksum)
                is_first = segment.end == 0
                self._write(segment, head, data)
                end = segment.end
                if is_first or self._is_work_due(segment):
                    self._rouse()
            if self._fsync == "always":
                self._commit(segment, end)
        except OSError as error:
            raise explain(error, self._directory) from error
        if pause_s := self._writeback.pause_s(end):
            time.sleep(pause_s)
        return segment.name, end

    def sync(self) -> None:
        """Return when all that was appended before is on the disk itself, whatever `fsync` says."""
        try:
            for path in sorted(self._directory.glob(f"{self._writer_id}-*.seg")):
                with contextlib.suppress(FileNotFoundError), opened(path) as fd:
                    self._disk.sync(fd)
            if self._directory.exists():
                self._disk.sync_directory(self._directory)
        except OSError as error:
            raise explain(error, self._directory) from error

    def tend(self) -> None:
        """Do what is due beside the appends. The writer's own thread calls this."""
        now_s = time.monotonic()
        if (current := self._current) is not None:
            if current.end > self._segment_bytes // 2:
                self._open_ahead()
            if self._fsync == "interval" and now_s >= self._sync_at_s:
                self._sync_at_s = now_s + self._fsync_interval_s
                self._sync(current)
            if now_s >= current.old_at_s:
                self._replace(current)
        self._finish_retired()
        if self._room.is_short:
            self._room.refresh(self._lock)
        if self._writeback.is_due:
            self._writeback.step()

    def close(self) -> None:
        """Let the files go; a reader then takes them for final. May be called twice."""
        with self._lock:
            self._closed = True
            self._retire()
        with self._files:
            ahead, self._next = self._next, None
        if ahead is not None:
            self._retired.append(ahead)
        self._wake.set()
        if self._tender is not None:
            self._tender.join(_CLOSE_WAIT_S)
        self._finish_retired()
        if self._fsync == "interval":
            try:
                self.sync()
            except JournalError as error:
                _log.warning("The last appends could not be synced: %s.", error)

    def forget(self, writer_id: str) -> None:
        """In a forked child: start anew under an id of its own; the parent's files are left alone."""
        self._let_go()
        self._reset(writer_id)

    def _is_work_due(self, segment: OpenSegment) -> bool:
        wants_next = self._next is None and segment.end > self._segment_bytes // 2
        return wants_next or self._tender is None or self._room.is_short

    def _make_ready(self, size: int) -> OpenSegment:
        """The segment that takes `size` more bytes."""
        if self._closed:
            raise JournalUnusable("the journal's writer is closed")
        segment = self._current
        if segment is None or segment.is_spoiled:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._room.take(size)
        except JournalFull:
            self._retire()  # a reader cannot remove, and so make room of, what may still grow
            raise
        while segment is None or segment.is_spoiled or self._is_full(segment, size):
            self._retire()
            segment = self._current = self._take_next()
        return segment

    def _is_full(self, segment: OpenSegment, size: int) -> bool:
        full = segment.end > 0 and segment.end + size > self._segment_bytes
        return full and (self._next is not None or self._tender is None)  # else it grows

    def _write(self, segment: OpenSegment, head: Head, data: bytes) -> None:
        """Append the whole frame, or nothing."""
        offset = segment.end or SEGMENT_HEADER_BYTES
        parts = [pack_frame_header(head, offset), data]
        if segment.end == 0:
            parts.insert(0, _SEGMENT_HEADER)
        end = offset + FRAME_HEADER_BYTES + len(data)
        if segment.end == 0:
            segment.old_at_s = time.monotonic() + _SEGMENT_AGE_S
        segment.is_torn = True  # until the frame stands: nothing is ever appended to a part
        missing = end - segment.end
        try:
            missing -= self._disk.write(segment.fd, parts)
            while missing:  # cut short by a signal, or by the last free block: then the next write says why
                missing -= self._disk.write(segment.fd, [b"".join(parts)[-missing:]])
        except OSError:
            self._retire()  # the part is cut off when it is closed; then a reader can make its room free
            raise
        segment.end = end
        segment.is_torn = False

    def _commit(self, segment: OpenSegment, end: int) -> None:
        try:
            segment.commit(end, self._disk)
        except OSError:
            with self._lock:  # nobody appends meanwhile, and nobody will: the segment is spoiled
                segment.undo(self._disk)
            raise

    def _take_next(self) -> OpenSegment:
        if (segment := self._next) is None:
            with self._files:
                if (segment := self._next) is None:
                    return self._make_segment()
        self._next = None
        return segment

    def _make_segment(self) -> OpenSegment:
        path = self._directory / f"{self._writer_id}-{next(self._numbers):08d}.seg"
        while path.exists():
            path = self._directory / f"{self._writer_id}-{next(self._numbers):08d}.seg"
        segment = OpenSegment(path.name, self._disk.make(path))
        self._held.add(segment)
        try:
            if self._fsync != "never":
                self._disk.sync_directory(self._directory)
        except OSError:
            self._drop(segment)
            raise
        return segment

    def _retire(self) -> None:
        """Take the current segment out of use; the caller holds the lock."""
        segment, self._current = self._current, None
        if segment is None:
            return
        self._retired.append(segment)
        if self._fsync != "always":
            self._writeback.add(segment.name, segment.end)
        self._rouse()

    def _rouse(self) -> None:
        """Have the writer's thread look at what is due."""
        if self._tender is None and not self._closed:
            tender = threading.Thread(
                target=self._run, name=f"otel-wandb-journal-{self._writer_id}", daemon=True
            )
            try:
                tender.start()
            except RuntimeError:  # no more threads, or the interpreter ends: appends do what cannot be left
                self._finish_retired()
                while self._writeback.is_due:
                    self._writeback.step()
                return
            self._tender = tender
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            try:
                self.tend()
            except Exception:  # noqa: BLE001  appends go on without it; it is tried again
                _log.exception("The journal's upkeep stumbled.")
                self._wake.wait(_RETRY_S)
            if not self._writeback.is_due:
                self._wake.wait(self._idle_s())
            self._wake.clear()

    def _idle_s(self) -> float | None:
        """How long there will be nothing to do, unless somebody says so."""
        current = self._current
        if current is None or current.end == 0:
            return None
        at_s = min(current.old_at_s, self._sync_at_s if self._fsync == "interval" else math.inf)
        return max(0.0, at_s - time.monotonic())

    def _open_ahead(self) -> None:
        with self._files:
            if not self._closed and self._next is None:
                try:
                    self._next = self._make_segment()
                except OSError as error:  # the current one goes on growing
                    _log.debug("No next segment can be opened: %s.", error)

    def _replace(self, segment: OpenSegment) -> bool:
        """Whether appends go to another segment from now on; False where none can be opened."""
        self._open_ahead()
        with self._lock:
            if self._next is None or self._current is not segment:
                return False
            self._retire()
            self._current = self._take_next()
            return True

    def _sync(self, segment: OpenSegment) -> None:
        # Appends to a file whose blocks are being written wait for the file system: better take another one.
        if segment.end - segment.synced > _SYNC_IN_PLACE_BYTES and self._replace(segment):
            return
        try:
            segment.commit(segment.end, self._disk)
        except OSError as error:
            _log.warning("Segment %s could not be synced: %s. Another one is begun.", segment.name, error)
            self._replace(segment)

    def _finish_retired(self) -> None:
        while True:
            try:
                segment = self._retired.popleft()
            except IndexError:
                return
            try:
                if self._fsync == "always":
                    segment.commit(segment.end, self._disk)
            except OSError:  # those who wait for it raise
                segment.undo(self._disk)
            with self._files:
                self._drop(segment)

    def _drop(self, segment: OpenSegment) -> None:
        """Close the segment, and remove it if it is empty; the caller holds `_files`."""
        segment.close(self._disk)
        self._held.discard(segment)
        if segment.end == 0:
            with contextlib.suppress(OSError):
                (self._directory / segment.name).unlink(missing_ok=True)

    def _let_go(self) -> None:
        """In a forked child: close the files. The parent has them, too, and its locks with them."""
        for segment in self._held:
            with contextlib.suppress(OSError):
                os.close(segment.fd)
        self._reset(self._writer_id)
        self._pid = _NOBODY


_writers: Final[weakref.WeakSet[JournalWriter]] = weakref.WeakSet()
_paused: Final[list[threading.Lock]] = []


def _pause_files() -> None:
    """No file may be made or closed while the process forks: the child would not know what it has."""
    for writer in list(_writers):
        if writer._files.acquire(timeout=_FORK_WAIT_S):
            _paused.append(writer._files)


def _resume_files() -> None:
    while _paused:
        _paused.pop().release()


def _let_files_go() -> None:
    _paused.clear()
    for writer in list(_writers):
        writer._let_go()


os.register_at_fork(before=_pause_files, after_in_parent=_resume_files, after_in_child=_let_files_go)
