"""What the decoders of all encodings share: their result, and the rules for ids and times."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from otel_wandb.records import LogBatch, MetricBatch, SpanBatch

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8

MAX_TIME_NS: Final = 2**63 - 1
"""The year 2262. Later times are no times, and neither SQLite nor Weave could hold them."""

NO_RECORDED_VALUE: Final = 1
"""The flag of a data point that stands for a gap (opentelemetry-proto, `DataPointFlags`)."""

INVALID_TRACE_ID: Final = "invalid_trace_id"
INVALID_SPAN_ID: Final = "invalid_span_id"
INVALID_TIME: Final = "invalid_time"
INVALID_BUCKETS: Final = "invalid_buckets"
MALFORMED: Final = "malformed"
TOO_DEEP: Final = "too_deep"

KEYS: Final[dict[str, str]] = {}
"""Keys of attributes, each by itself: spans have the same ones, and one text of each saves memory."""

_MAX_KEYS: Final = 4096
_MAX_KEY_CHARS: Final = 128

B = TypeVar("B", SpanBatch, LogBatch, MetricBatch)
_Raw = TypeVar("_Raw")
_Record = TypeVar("_Record")


def know_key(key: str) -> str:
    """The key, which is in `KEYS` from now on, unless there are too many or it is long."""
    if len(KEYS) < _MAX_KEYS and len(key) <= _MAX_KEY_CHARS:
        KEYS[key] = key
    return key


class RejectionError(Exception):
    """One item cannot be taken; the rest of its request can. Never leaves the decoders."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Decoded(Generic[B]):
    """What stood in one request. `items` counts spans, log records or data points, rejected ones too."""

    batches: list[B] = field(default_factory=list)
    items: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    def reject(self, reason: str, items: int = 1) -> None:
        """Count items that stood in the request and are in no batch."""
        if items:
            self.rejected[reason] = self.rejected.get(reason, 0) + items


def read_each(raws: Collection[_Raw], read: Callable[[_Raw], _Record], decoded: Decoded[B]) -> list[_Record]:
    """The records that could be read; the others are counted as rejected."""
    decoded.items += len(raws)
    records = []
    for raw in raws:
        try:
            records.append(read(raw))
        except RejectionError as rejection:
            decoded.reject(rejection.reason)
    return records


_NO_IDS: Final = (bytes(TRACE_ID_BYTES), bytes(SPAN_ID_BYTES))


def normalise_id(text: str, size_bytes: int) -> str:
    """Lower-case hex of `size_bytes` bytes, or the empty string where the text is no such id.

    Besides hex of either case it takes what cannot be mistaken for it: padded Base64 (an id as plain
    protobuf-JSON writes it) and a UUID with dashes.
    """
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = _read_other_form(text)
    return raw.hex() if len(raw) == size_bytes and raw not in _NO_IDS else ""


def decode_base64(text: str) -> bytes | None:
    """The bytes of standard or URL-safe Base64, padded or not; None where it is neither."""
    try:
        return base64.b64decode(text.translate(_URL_SAFE) + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None


_URL_SAFE: Final = str.maketrans("-_", "+/")


def _read_other_form(text: str) -> bytes:
    if len(text) == 36 and text[8] == text[13] == text[18] == text[23] == "-":
        try:
            return bytes.fromhex(text.replace("-", ""))
        except ValueError:
            return b""
    return (decode_base64(text) or b"") if text.endswith("=") else b""
