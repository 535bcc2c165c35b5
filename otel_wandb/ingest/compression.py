"""Compressed request bodies, decompressed within a limit."""

from __future__ import annotations

import importlib
import zlib
from typing import Final

from otel_wandb.errors import InputError, InputTooLarge
from otel_wandb.journal import Codec

MAX_REQUEST_BYTES: Final = 64 << 20
"""What OTLP recommends as the limit of one request after decompression."""

_ZSTD_STEP_BYTES: Final = 1024  # 4 bytes may stand for 128 KiB, and the library knows no limit

_GZIP_BITS, _ZLIB_BITS, _RAW_DEFLATE_BITS = 31, 15, -15


def decompress(codec: Codec, payload: bytes, *, max_bytes: int = MAX_REQUEST_BYTES) -> bytes:
    """The payload as it was before compression; never more than `max_bytes` of memory for it.

    Raises `InputError` where it is cut off, damaged, larger than the limit, or needs what is not installed.
    A plain payload is returned as it is, whatever its size: it is in memory already.
    """
    match codec:
        case Codec.PLAIN:
            return payload
        case Codec.GZIP:
            return _inflate(payload, _GZIP_BITS, max_bytes)
        case Codec.DEFLATE:
            # HTTP means zlib by "deflate"; some senders leave its two bytes of header out.
            has_header = payload[:1] and payload[0] & 0x0F == 8 and int.from_bytes(payload[:2]) % 31 == 0
            return _inflate(payload, _ZLIB_BITS if has_header else _RAW_DEFLATE_BITS, max_bytes)
        case Codec.ZSTD:
            return _decompress_zstd(payload, max_bytes)


def _inflate(payload: bytes, window_bits: int, max_bytes: int) -> bytes:
    name = "gzip" if window_bits == _GZIP_BITS else "deflate"
    parts: list[bytes] = []
    left = max_bytes
    while True:
        stream = zlib.decompressobj(window_bits)
        try:
            parts.append(stream.decompress(payload, left + 1))
        except zlib.error as error:
            raise InputError(f"expected {name} data: {error}") from None
        left -= len(parts[-1])
        if left < 0:
            raise _too_large(max_bytes)
        if not stream.eof:
            raise InputError(f"expected {name} data to its end: it is cut off")
        payload = stream.unused_data.lstrip(b"\0")  # padding, or further members of a gzip file
        if not payload or window_bits != _GZIP_BITS:
            return b"".join(parts)


def _decompress_zstd(payload: bytes, max_bytes: int) -> bytes:
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        raise InputError(
            "expected no zstd data: the package that reads it is not installed (pip install zstandard; "
            "or set the sender's compression to gzip)"
        ) from None
    parts: list[bytes] = []
    left = max_bytes
    while payload:
        stream = zstandard.ZstdDecompressor().decompressobj()
        for start in range(0, len(payload), _ZSTD_STEP_BYTES):
            try:
                parts.append(stream.decompress(payload[start : start + _ZSTD_STEP_BYTES]))
            except zstandard.ZstdError as error:
                raise InputError(f"expected zstd data: {error}") from None
            left -= len(parts[-1])
            if left < 0:
                raise _too_large(max_bytes)
            if stream.eof:
                break
        if not stream.eof:
            raise InputError("expected zstd data to its end: it is cut off")
        payload = stream.unused_data + payload[start + _ZSTD_STEP_BYTES :]
    return b"".join(parts)


def _too_large(max_bytes: int) -> InputTooLarge:
    return InputTooLarge(f"expected a request of at most {max_bytes} bytes after decompression")
