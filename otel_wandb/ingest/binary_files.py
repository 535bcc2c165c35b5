"""Files of OTLP that are not text: what their bytes tell about them, and the messages in them.

The Collector's file exporter, with `format: proto` or any `compression`, writes each message behind its
length in four bytes, most significant first. A file may also hold a single protobuf request and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from otel_wandb.errors import InputError
from otel_wandb.ingest.compression import MAX_REQUEST_BYTES, decompress
from otel_wandb.ingest.decoded import INVALID_SPAN_ID, INVALID_TRACE_ID, B, Decoded
from otel_wandb.ingest.otlp_proto import read_logs, read_metrics, read_traces
from otel_wandb.journal import Codec, Signal

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_LENGTH_BYTES: Final = 4
_HEAD_BYTES: Final = 4096
_PROTO_START: Final = b"\x0a"  # field 1, a message: how every OTLP request begins; a line break to a text
_JSON_STARTS: Final = (b"{", b"[")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def looks_binary(head: bytes) -> bool:
    """Whether a file that begins so is no text."""
    if head.startswith((_ZSTD_MAGIC, *_UTF16_MARKS)):
        return True
    if head.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(_JSON_STARTS):
        return False
    return b"\0" in head[:_HEAD_BYTES] or (
        head.startswith(_PROTO_START) and _CONTROL.search(head, 0, 64) is not None
    )


def split_messages(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The messages of a binary file, decompressed.

    Raises `InputError` where the file is none that we know, damaged or cut off, after what was good.
    """
    source = _Source(chunks)
    head = source.peek(8)
    if head.startswith(_ZSTD_MAGIC):
        raise InputError(
            "expected OTLP that is not compressed with zstd as a whole: `zstd -d` the file first"
        )
    if head.startswith(_UTF16_MARKS):
        raise InputError("expected text in UTF-8, not in UTF-16: `iconv -f UTF-16 -t UTF-8` the file first")
    if head.startswith(_PROTO_START):
        yield source.read_all()
        return
    if int.from_bytes(head[:_LENGTH_BYTES]) > MAX_REQUEST_BYTES or not head[_LENGTH_BYTES:].startswith(
        (_PROTO_START, _ZSTD_MAGIC, *_JSON_STARTS)
    ):
        raise InputError("expected OTLP as JSON or protobuf, not some other kind of binary file")
    while prefix := source.read(_LENGTH_BYTES):
        size = int.from_bytes(prefix)
        if size > MAX_REQUEST_BYTES:
            raise InputError("expected a message behind its length: the file is damaged from here on")
        message = source.read(size)
        if len(prefix) < _LENGTH_BYTES or len(message) < size:
            raise InputError("expected a message to its end: the file is cut off here")
        yield _plain(message)


def count_protobuf(message: bytes) -> tuple[Signal, int]:
    """Which signal a protobuf request is of, and how many items it holds.

    Protobuf does not say; the ids, times and names do, which the requests have in different places. Raises
    `InputError` where it is neither.
    """
    traces = _try(read_traces, message)
    # The items of all signals have the same path: an envelope without any is empty, whatever it was for.
    if traces and not traces.rejected.keys() & {INVALID_TRACE_ID, INVALID_SPAN_ID}:
        return "spans", traces.items
    logs = _try(read_logs, message)
    if logs and logs.items and all(r.time_ns or r.observed_ns for b in logs.batches for r in b.records):
        return "log_records", logs.items
    metrics = _try(read_metrics, message)
    if metrics and metrics.batches and all(m.name for b in metrics.batches for m in b.metrics):
        return "metric_points", metrics.items
    raise InputError("expected an OTLP request of traces, logs or metrics in protobuf")


def _try(read: Callable[[bytes], Decoded[B]], message: bytes) -> Decoded[B] | None:
    try:
        return read(message)
    except InputError:
        return None


def _plain(message: bytes) -> bytes:
    return decompress(Codec.ZSTD, message) if message.startswith(_ZSTD_MAGIC) else message


class _Source:
    """Bytes that come in chunks, read by number."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = bytearray()

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        while len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._buffer += chunk
        return bytes(self._buffer[:size])

    def read(self, size: int) -> bytes:
        """The same, and goes on behind them."""
        content = self.peek(size)
        del self._buffer[:size]
        return content

    def read_all(self) -> bytes:
        """All that is left."""
        return self.read(len(self._buffer)) + b"".join(self._chunks)
