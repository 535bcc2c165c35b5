"""OTLP out of files, request by request, in the order of the file.

What is read: OTLP/JSON, one request a line (as the Collector's and the SDKs' file exporters write it) or as
documents over many lines (as `jq` or an editor leaves them), and the binary forms that `binary_files.py`
knows; each of them under gzip, too. What cannot be read is given out as `Unreadable` with its place, and
the rest of the file is read on.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec

from otel_wandb.errors import InputError
from otel_wandb.ingest.binary_files import count_protobuf, looks_binary, split_messages
from otel_wandb.ingest.json_text import WANTED, count_by_signal
from otel_wandb.journal import Kind, Signal

_CHUNK_BYTES: Final = 1 << 18
_GZIP_CHUNK_BYTES: Final = 1 << 14
_MAX_DOCUMENT_BYTES: Final = 256 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SHOWN_NAMES, _SHOWN_CHARACTERS = 3, 40
_BLANK: Final = b" \t\r\n\v\f\0"  # a file system that lost power leaves zeros behind

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?')  # an open one goes to the end
_REQUEST_START: Final = re.compile(rb'\s*\{\s*"resource_?(?:spans|logs|metrics)"', re.IGNORECASE)
_SIGNAL_KEY: Final = re.compile(rb'"resource_?(spans|logs|metrics)"', re.IGNORECASE)
_SIGNAL_WORD: Final = re.compile(r"(?<![a-z])(trace|span|log|metric)s?(?![a-z])", re.IGNORECASE)

_SIGNALS: Final[dict[str, Signal]] = {
    "trace": "spans",
    "span": "spans",
    "spans": "spans",
    "log": "log_records",
    "logs": "log_records",
    "metric": "metric_points",
    "metrics": "metric_points",
}
_JSON_KINDS: Final[dict[Signal, Kind]] = {
    "spans": Kind.OTLP_TRACES_JSON,
    "log_records": Kind.OTLP_LOGS_JSON,
    "metric_points": Kind.OTLP_METRICS_JSON,
}
_PROTOBUF_KINDS: Final[dict[Signal, Kind]] = {
    "spans": Kind.OTLP_TRACES,
    "log_records": Kind.OTLP_LOGS,
    "metric_points": Kind.OTLP_METRICS,
}


@dataclass(frozen=True, slots=True)
class Request:
    """One export request. `place` is file and line (of a binary file: the number of the message)."""

    kind: Kind
    payload: bytes
    items: int
    place: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What is no OTLP: where, what was expected there, and of which signal it may have been."""

    place: str
    expected: str
    signal: Signal | None = None


def read_requests(path: Path) -> Iterator[Request | Unreadable]:
    """What stands in the file, in its order, without holding more of it than one document in memory.

    A document with several signals gives a request for each. Raises `InputError` where the file cannot be
    opened or the disk fails.
    """
    try:
        with path.open("rb") as file:
            chunks = _read_chunks(file)
            try:
                head = next(chunks, b"")
            except InputError as error:
                yield _unreadable(str(path), 1, error)
                return
            read = _read_binary if looks_binary(head) else _read_text
            yield from read(str(path), chain([head], chunks))
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read: {error.strerror}") from None


def _read_chunks(file: BufferedReader) -> Iterator[bytes]:
    if file.peek(2)[:2] == _GZIP_MAGIC:
        yield from _gunzip(iter(partial(file.read, _GZIP_CHUNK_BYTES), b""))
    else:
        yield from iter(partial(file.read, _CHUNK_BYTES), b"")


def _gunzip(raw: Iterable[bytes]) -> Iterator[bytes]:
    """What is in a gzip file; `InputError` after what could be read of a damaged one."""
    stream = None
    for piece in raw:
        data = piece
        while data:
            if stream is None:
                data = data.lstrip(b"\0")  # padding between the members
                if not data:
                    break
                stream = zlib.decompressobj(31)
            try:
                # In small steps, since an error takes the output of its step with it.
                chunk = stream.decompress(data, _GZIP_CHUNK_BYTES)
            except zlib.error as error:
                raise InputError(f"expected gzip data that is not damaged: {error}") from None
            if chunk:
                yield chunk
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
            stream = None if stream.eof else stream
    if stream is not None:
        yield stream.flush()
        raise InputError("expected the rest of a gzip file: it is cut off here")


def _read_binary(name: str, chunks: Iterable[bytes]) -> Iterator[Request | Unreadable]:
    number = 0
    try:
        for number, message in enumerate(split_messages(chunks), 1):
            try:
                yield from _read_message(name, number, message)
            except InputError as error:
                yield _unreadable(name, number, error)
    except InputError as error:
        yield _unreadable(name, number + 1, error)


def _read_message(name: str, number: int, message: bytes) -> list[Request | Unreadable]:
    if not message:  # a request that is empty
        return []
    if message.startswith((b"{", b"[")):
        return _read_document(name, number, message)
    signal, items = count_protobuf(message)
    return [Request(_PROTOBUF_KINDS[signal], message, items, f"{name}:{number}")]


def _read_text(name: str, chunks: Iterable[bytes]) -> Iterator[Request | Unreadable]:
    reader = _TextReader(name)
    number = 0
    try:
        for number, line in enumerate(_split_lines(chunks), 1):
            yield from reader.take(number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line)
    except InputError as error:
        if reader.inside:
            yield from reader.give_up(error)
        else:
            yield _unreadable(name, number, error)
    else:
        if reader.inside:
            yield from reader.give_up(InputError("expected the rest of a JSON document: it is cut off"))


def _split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines without their ends; before a failure of the source, what there is of the last one."""
    parts: list[bytes] = []
    size = 0
    try:
        for chunk in chunks:
            *lines, rest = chunk.split(b"\n")
            if lines:
                yield b"".join([*parts, lines[0]])
                yield from lines[1:]
                parts.clear()
                size = 0
            parts.append(rest)
            size += len(rest)
            if size > _MAX_DOCUMENT_BYTES:
                raise InputError(
                    f"expected a line of at most {_MAX_DOCUMENT_BYTES} bytes; the rest is not read"
                )
    except InputError:
        yield b"".join(parts)
        raise
    yield b"".join(parts)


class _TextReader:
    """Documents out of lines: one a line, or one over many lines until its brackets are closed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._block: list[bytes] = []
        self._start = 0
        self._depth = 0
        self._size = 0

    @property
    def inside(self) -> bool:
        """Whether the lines so far end in the middle of a document."""
        return bool(self._block)

    def take(self, number: int, line: bytes) -> Iterator[Request | Unreadable]:
        """What the line completes, if anything."""
        if not self._block:
            yield from self._take_first(number, line)
        elif self._begins_anew(line):
            yield from self.give_up(InputError("expected the rest of a JSON document: it is cut off"))
            yield from self._take_first(number, line)
        else:
            self._block.append(line)
            self._depth += _nesting(line)
            self._size += len(line)
            if self._depth <= 0:
                yield from self._close()
            elif self._size > _MAX_DOCUMENT_BYTES:
                yield from self.give_up(InputError(f"expected at most {_MAX_DOCUMENT_BYTES} bytes of JSON"))

    def give_up(self, error: InputError) -> Iterator[Request | Unreadable]:
        """The open document as unreadable, and the requests that stand on single lines of it."""
        block, self._block = self._block, []
        yield _unreadable(self._name, self._start, error, block[0])
        for number, line in enumerate(block[1:], self._start + 1):
            text = line.strip(_BLANK).rstrip(b",")
            if _REQUEST_START.match(text):
                try:
                    yield from _read_document(self._name, number, text)
                except InputError as line_error:
                    yield _unreadable(self._name, number, line_error, text)

    def _take_first(self, number: int, line: bytes) -> Iterator[Request | Unreadable]:
        text = line.strip(_BLANK)
        if not text:
            return
        try:
            yield from _read_document(self._name, number, text)
        except InputError as error:
            depth = _nesting(text) if text.startswith((b"{", b"[")) else 0
            if depth > 0:
                self._block, self._start, self._depth, self._size = [text], number, depth, len(text)
            else:
                yield _unreadable(self._name, number, error, text)

    def _begins_anew(self, line: bytes) -> bool:
        if self._block[0].startswith(b"[") or not line.rstrip(_BLANK).endswith(b"}"):
            return False
        return bool(_REQUEST_START.match(line)) and _nesting(line) == 0

    def _close(self) -> Iterator[Request | Unreadable]:
        try:
            requests = _read_document(self._name, self._start, b"\n".join(self._block).strip(_BLANK))
        except InputError as error:
            yield from self.give_up(error)
        else:
            self._block = []
            yield from requests


def _nesting(line: bytes) -> int:
    """How many more brackets the line opens than it closes, those inside strings aside."""
    bare = _STRING.sub(b"", line)
    return bare.count(b"{") + bare.count(b"[") - bare.count(b"}") - bare.count(b"]")


def _read_document(name: str, number: int, text: bytes) -> list[Request | Unreadable]:
    """A request for each signal in the document, or in each document of an array."""
    if not text.startswith(b"["):
        return list(_read_object(name, number, text))
    try:
        elements = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected {WANTED}: {error}") from None
    read: list[Request | Unreadable] = []
    for element in map(bytes, elements):
        try:
            read += _read_object(name, number, element)
        except InputError as error:
            read.append(_unreadable(name, number, error, element))
    return read


def _read_object(name: str, number: int, text: bytes) -> list[Request]:
    counts = count_by_signal(text)
    nothing_to_say = text.translate(None, _BLANK) == b"{}"
    if not counts and not nothing_to_say:
        raise InputError(f"expected {WANTED}, not {_describe(text)}")
    return [Request(_JSON_KINDS[signal], text, items, f"{name}:{number}") for signal, items in counts.items()]


def _describe(text: bytes) -> str:
    try:
        names = list(msgspec.json.decode(text, type=dict[str, msgspec.Raw]))
    except (ValueError, RecursionError):
        return "another object"
    shown = ", ".join(f'"{name[:_SHOWN_CHARACTERS]}"' for name in names[:_SHOWN_NAMES])
    return f"one with {shown}" + (" and more" if len(names) > _SHOWN_NAMES else "")


def _unreadable(name: str, number: int, error: InputError, text: bytes = b"") -> Unreadable:
    return Unreadable(f"{name}:{number}", str(error).removeprefix("expected "), _guess_signal(name, text))


def _guess_signal(name: str, text: bytes) -> Signal | None:
    key = _SIGNAL_KEY.search(text, 0, _CHUNK_BYTES)
    if key:
        return _SIGNALS[key[1].decode().lower()]
    word = _SIGNAL_WORD.search(Path(name).name)
    return _SIGNALS[word[1].lower()] if word else None
