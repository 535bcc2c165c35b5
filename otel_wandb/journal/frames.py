"""The journal's format, to the byte. No I/O.

.. code-block:: text

    segment   header, frame, frame, …                              integers are little-endian
    header    magic 8  format u16  0 u16  package version 16  crc32c of these 28 bytes u32
    frame     magic 4  length u32  items u32  kind u8  codec u8  0 u16
              configuration digest 8  written_ns u64  offset u64
              crc32c of the payload u32  crc32c of these 44 bytes u32
              payload

The header of a frame has a checksum of its own, so that its length and its number of items can be believed
where the payload is damaged, and names its own offset in the segment, so that what a payload contains (a
journal, say) is never taken for a frame.

Every later format keeps the first 32 bytes of a segment as they are: by them alone a reader tells a newer
file from a damaged one. A new kind, codec or field is a new format.
"""

from __future__ import annotations

import enum
import re
import struct
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

import google_crc32c

from otel_wandb import __version__

Signal: TypeAlias = Literal["spans", "log_records", "metric_points"]

FORMAT: Final = 1
SEGMENT_NAME: Final = re.compile(r"([a-z0-9]+)-(\d{8,})\.seg")
MAX_PAYLOAD_BYTES: Final = 1 << 30

_SEGMENT_MAGIC: Final = b"OTWJRNL\n"
_SEGMENT: Final = struct.Struct("<8sHH16s")
SEGMENT_HEADER_BYTES: Final = 32

FRAME_MAGIC: Final = b"\xf5OW\n"  # 0xf5 stands in no UTF-8 text
_FRAME: Final = struct.Struct("<4sIIBBH8sQQI")
FRAME_HEADER_BYTES: Final = 48


class Kind(enum.IntEnum):
    """What a payload is."""

    SPANS = 1
    LOGS = 2
    METRICS = 3
    OTLP_TRACES = 11
    OTLP_LOGS = 12
    OTLP_METRICS = 13
    OTLP_TRACES_JSON = 21
    OTLP_LOGS_JSON = 22
    OTLP_METRICS_JSON = 23
    FLUSH = 30
    """Sixteen random bytes that name a flush; no items."""

    @property
    def signal(self) -> Signal | None:
        """The signal that the items belong to; None where there are none."""
        return _SIGNALS.get(self % 10)


_SIGNALS: Final[dict[int, Signal]] = {1: "spans", 2: "log_records", 3: "metric_points"}


class Codec(enum.IntEnum):
    """How the payload came; the journal itself neither compresses nor decompresses."""

    PLAIN = 0
    GZIP = 1
    ZSTD = 2
    DEFLATE = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """One acknowledged payload. `config` is the digest of the configuration that it was written under."""

    segment: str
    offset: int
    end: int
    kind: Kind
    codec: Codec
    items: int
    config: str
    written_ns: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a segment that holds no frame.

    `torn_tail`: an append that its writer did not live to finish, and so never acknowledged. `corrupt`: bytes
    that are not what was written; `items` and `kind` are known if only the payload was hit. `foreign`: the
    segment has another format and nothing of it was read (`end` equals `offset`): leave it alone.
    """

    segment: str
    offset: int
    end: int
    items: int | None
    reason: Literal["torn_tail", "corrupt", "foreign"]
    kind: Kind | None


class Head(NamedTuple):
    """The header of a frame whose checksum holds."""

    length: int
    items: int
    kind: Kind
    codec: Codec
    config: bytes
    written_ns: int
    checksum: int


def pack_segment_header(*, version: str = __version__, format_: int = FORMAT) -> bytes:
    """The bytes that a segment begins with."""
    packed = _SEGMENT.pack(_SEGMENT_MAGIC, format_, 0, version.encode()[:16])
    return packed + _checksum(packed)


def read_format(header: bytes) -> int | None:
    """The format that a segment's first 32 bytes name; None where they are damaged or nothing of ours."""
    packed, checksum = header[:28], int.from_bytes(header[28:], "little")
    if len(header) != SEGMENT_HEADER_BYTES or google_crc32c.value(packed) != checksum:
        return None
    magic, format_, _, _ = _SEGMENT.unpack(packed)
    return int(format_) if magic == _SEGMENT_MAGIC else None


def pack_frame_header(head: Head, offset: int) -> bytes:
    """The bytes that the frame at `offset` begins with; the payload follows."""
    length, items, kind, codec, config, written_ns, checksum = head
    packed = _FRAME.pack(FRAME_MAGIC, length, items, kind, codec, 0, config, written_ns, offset, checksum)
    return packed + _checksum(packed)


def unpack_frame_header(header: bytes, offset: int) -> Head | None:
    """The header of the frame at `offset`; None where these 48 bytes are none."""
    packed, checksum = header[:44], int.from_bytes(header[44:], "little")
    if len(header) != FRAME_HEADER_BYTES or google_crc32c.value(packed) != checksum:
        return None
    magic, length, items, kind, codec, _, config, written_ns, own_offset, payload_checksum = _FRAME.unpack(
        packed
    )
    if magic != FRAME_MAGIC or own_offset != offset:
        return None
    try:
        return Head(length, items, Kind(kind), Codec(codec), config, written_ns, payload_checksum)
    except ValueError:
        return None


def _checksum(packed: bytes) -> bytes:
    return int(google_crc32c.value(packed)).to_bytes(4, "little")
