"""The journal's reading side: every acknowledged frame once and in order, around whatever is damaged."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import google_crc32c

from otel_wandb.journal.frames import (
    FORMAT,
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    SEGMENT_HEADER_BYTES,
    SEGMENT_NAME,
    Damage,
    Frame,
    Head,
    Signal,
    read_format,
    unpack_frame_header,
)

_log = logging.getLogger("otel_wandb.journal")

_WINDOW_BYTES: Final = 1 << 20
_QUARANTINE_LIMIT_BYTES: Final = 1 << 30


@dataclass(slots=True)
class Segment:
    """One file of the journal. `alive`: its writer may still append; else `size` is final."""

    name: str
    size: int
    alive: bool


class JournalReader:
    """Reads the segments of a directory. Not thread-safe; one reader removes, others may look on."""

    def __init__(self, directory: Path, *, quarantine: Path) -> None:
        self._directory = directory
        self._quarantine = quarantine
        self._final: dict[str, int] = {}  # the sizes of those whose writers are gone
        self._sizes: dict[str, int] = {}

    def segments(self) -> list[Segment]:
        """All segments, by writer and age; what dead writers left empty is removed on the way."""
        found = []
        names = _list_names(self._directory)
        for name in reversed(names):  # see `read`: a segment was whole before its successor had anything
            if (final := self._final.get(name)) is not None:
                found.append(Segment(name, final, alive=False))
                continue
            with contextlib.suppress(FileNotFoundError), _File(self._directory, name) as file:
                alive = file.is_locked()
                size = file.measure()  # after the lock was looked at: unlocked, it is final
                if alive or size:
                    found.append(Segment(name, size, alive))
                else:
                    self.remove(name)
        self._final = {segment.name: segment.size for segment in found if not segment.alive}
        self._sizes = {segment.name: segment.size for segment in found}
        return found[::-1]

    def read(self, name: str, offset: int, *, max_bytes: int = 8 << 20) -> Iterator[Frame | Damage]:
        """What stands at `offset` (0: the start) and after, up to about `max_bytes` of the file.

        Ends at the size that `segments` gave last: who reads the segments in its order, each to that size,
        reads the frames of a writer in the order of its appends. Ends, too, where a living writer has not
        finished an append. Go on at the `end` of the last item. The first corrupt stretch of a segment brings
        a copy of it into quarantine.
        """
        with contextlib.suppress(FileNotFoundError), _File(self._directory, name) as file:
            position = offset
            size = self._sizes.get(name, sys.maxsize)
            while position - offset < max_bytes:
                item = _read_item(file, position)
                if item is None or item.end > size:
                    return
                if isinstance(item, Damage) and item.reason == "corrupt":
                    self._keep_copy(file)
                yield item
                if item.end == position:  # foreign
                    return
                position = item.end

    def remove(self, name: str) -> None:
        """Unlink the segment, if it is there."""
        (self._directory / name).unlink(missing_ok=True)
        self._final.pop(name, None)

    def _keep_copy(self, file: _File) -> None:
        copy = self._quarantine / file.name
        if copy.exists():
            return
        try:
            self._quarantine.mkdir(mode=0o700, parents=True, exist_ok=True)
            held_bytes = sum(entry.stat().st_size for entry in os.scandir(self._quarantine))
            if held_bytes + file.measure() > _QUARANTINE_LIMIT_BYTES:
                _log.warning("Segment %s is corrupt; no copy: %s is full.", file.name, self._quarantine)
                return
            part = copy.with_suffix(".part")
            file.copy_to(part)
            part.rename(copy)
            _log.warning("Segment %s is corrupt; a copy is kept in %s.", file.name, self._quarantine)
        except OSError as error:
            _log.warning("Segment %s is corrupt, and no copy can be kept: %s.", file.name, error)


def count_unread(directory: Path, offsets: Mapping[str, int]) -> dict[Signal, int]:
    """Items of each signal in frames that begin at or after their segment's offset; only headers are read."""
    counts: Counter[Signal] = Counter()
    for name in _list_names(directory):
        with contextlib.suppress(FileNotFoundError), _File(directory, name) as file:
            for head in _read_heads(file, offsets.get(name, 0)):
                signal = head.kind.signal
                if signal is not None:
                    counts[signal] += head.items
    return dict(counts)


def measure_journal(directory: Path) -> int:
    """Bytes that the segments of the directory hold."""
    held_bytes = 0
    for name in _list_names(directory):
        with contextlib.suppress(FileNotFoundError):
            held_bytes += (directory / name).stat().st_size
    return held_bytes


def _list_names(directory: Path) -> list[str]:
    try:
        matches = [match for path in directory.iterdir() if (match := SEGMENT_NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return []
    return [match[0] for match in sorted(matches, key=lambda match: (match[1], int(match[2])))]


class _File:
    """An open segment, read through a window."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._fd = os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC)
        self._window = b""
        self._start = 0

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)

    def is_locked(self) -> bool:
        """Whether the writer lives."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False

    def measure(self) -> int:
        """The size now."""
        return os.fstat(self._fd).st_size

    def refresh(self) -> None:
        """Forget what was read: the writer may have undone an append and made another in its place."""
        self._window = b""

    def take(self, offset: int, size: int) -> bytes:
        """The bytes at `offset`, fewer than `size` where the file ends."""
        at = offset - self._start
        if at < 0 or at + size > len(self._window):
            self._window = self._pread(offset, max(size, _WINDOW_BYTES))
            self._start, at = offset, 0
        return self._window[at : at + size]

    def peek(self, offset: int, size: int) -> bytes:
        """The same past the window, for those who skip from header to header."""
        return self._pread(offset, size)

    def find_head(self, offset: int) -> int | None:
        """Where the first frame header at or after `offset` stands."""
        while True:
            part = self._pread(offset, _WINDOW_BYTES)
            at = part.find(FRAME_MAGIC)
            while at >= 0:
                header = self._pread(offset + at, FRAME_HEADER_BYTES)
                if unpack_frame_header(header, offset + at) is not None:
                    return offset + at
                at = part.find(FRAME_MAGIC, at + 1)
            if len(part) < _WINDOW_BYTES:
                return None
            offset += len(part) - len(FRAME_MAGIC) + 1

    def copy_to(self, path: Path) -> None:
        """Write all of it to `path`, for the owner alone."""
        path.touch(mode=0o600)
        with path.open("wb") as copy:
            offset = 0
            while part := self._pread(offset, _WINDOW_BYTES):
                copy.write(part)
                offset += len(part)

    def _pread(self, offset: int, size: int) -> bytes:
        part = os.pread(self._fd, size, offset)
        while len(part) < size and (more := os.pread(self._fd, size - len(part), offset + len(part))):
            part += more
        return part


def _read_item(file: _File, offset: int) -> Frame | Damage | None:
    """What stands at the offset; None at the end, and where a living writer may be amid an append."""
    item = _look(file, offset)
    if isinstance(item, Frame):
        return item
    # It may have been an append in the making. Look again, and if the writer was dead by then, that is final.
    alive = file.is_locked()
    size = file.measure()  # before the look: what is written meanwhile must not make a tail seem torn
    file.refresh()
    item = _look(file, offset)
    if alive and isinstance(item, Damage) and (item.reason == "torn_tail" or item.end >= size):
        return None if item.reason != "foreign" else item
    return item


def _look(file: _File, offset: int) -> Frame | Damage | None:
    start = offset
    if offset == 0:
        header = file.take(0, SEGMENT_HEADER_BYTES)
        if len(header) < SEGMENT_HEADER_BYTES:
            return Damage(file.name, 0, len(header), None, "torn_tail", None) if header else None
        format_ = read_format(header)
        if format_ is None:
            return _skip(file, 0)
        if format_ != FORMAT:
            return Damage(file.name, 0, 0, None, "foreign", None)
        offset = SEGMENT_HEADER_BYTES
    header = file.take(offset, FRAME_HEADER_BYTES)
    if len(header) < FRAME_HEADER_BYTES:
        end = offset + len(header)
        return Damage(file.name, start, end, None, "torn_tail", None) if end > start else None
    head = unpack_frame_header(header, offset)
    if head is None:
        return _skip(file, offset)
    payload = file.take(offset + FRAME_HEADER_BYTES, head.length)
    end = offset + FRAME_HEADER_BYTES + len(payload)
    if len(payload) < head.length:
        return Damage(file.name, offset, end, head.items, "torn_tail", head.kind)
    if google_crc32c.value(payload) != head.checksum:
        return Damage(file.name, offset, end, head.items, "corrupt", head.kind)
    return Frame(
        file.name, offset, end, head.kind, head.codec, head.items, head.config.hex(), head.written_ns, payload
    )


def _skip(file: _File, offset: int) -> Damage:
    """The corrupt stretch up to the next frame, or to the end."""
    end = file.find_head(offset + 1)
    if end is None:
        end = file.measure()
    return Damage(file.name, offset, end, None, "corrupt", None)


def _read_heads(file: _File, offset: int) -> Iterator[Head]:
    size = file.measure()
    if offset < SEGMENT_HEADER_BYTES:
        format_ = read_format(file.peek(0, SEGMENT_HEADER_BYTES))
        if format_ is not None and format_ != FORMAT:
            return
        offset = SEGMENT_HEADER_BYTES
    while offset + FRAME_HEADER_BYTES <= size:
        head = unpack_frame_header(file.peek(offset, FRAME_HEADER_BYTES), offset)
        if head is None:
            found = file.find_head(offset + 1)
            if found is None:
                return
            offset = found
            continue
        offset += FRAME_HEADER_BYTES + head.length
        if offset <= size:
            yield head
