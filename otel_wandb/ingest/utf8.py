"""Protobuf whose strings are not UTF-8, made readable.

The Collector forwards such strings as they come; protobuf's own parser refuses the whole request for one of
them. This is the slow way round, taken only when the parser has refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

if TYPE_CHECKING:
    from google._upb._message import Descriptor as UpbDescriptor
    from google._upb._message import FieldDescriptor as UpbFieldDescriptor
    from google.protobuf.descriptor import Descriptor

    _Descriptor = UpbDescriptor | Descriptor
    _Field = UpbFieldDescriptor | FieldDescriptor

_MAX_DEPTH: Final = 100  # as in protobuf's own parser
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}


class _BrokenError(Exception):
    """These bytes are no protobuf message."""


def mend_strings(payload: bytes, message: type[Message]) -> bytes | None:
    """The same message with U+FFFD for what is no UTF-8 in its strings; None where that would not help."""
    try:
        mended = _mend(payload, message.DESCRIPTOR, _MAX_DEPTH)
    except _BrokenError:
        return None
    return None if mended == payload else mended


def _mend(data: bytes, message: _Descriptor, depth: int) -> bytes:
    if not depth:
        raise _BrokenError
    fields = message.fields_by_number
    out = bytearray()
    at = 0
    while at < len(data):
        start = at
        tag, at = _read_varint(data, at)
        wire_type = tag & 7
        if wire_type == _BYTES:
            size, at = _read_varint(data, at)
            if at + size > len(data):
                raise _BrokenError
            content = _mend_field(data[at : at + size], fields.get(tag >> 3), depth)
            at += size
            out += _write_varint(tag) + _write_varint(len(content)) + content
            continue
        if wire_type == _VARINT:
            _, at = _read_varint(data, at)
        elif wire_type in _FIXED_SIZES:
            at += _FIXED_SIZES[wire_type]
        else:
            raise _BrokenError
        out += data[start:at]
    if at > len(data):
        raise _BrokenError
    return bytes(out)


def _mend_field(content: bytes, field: _Field | None, depth: int) -> bytes:
    if field is None:
        return content
    if field.type == FieldDescriptor.TYPE_STRING:
        return content.decode("utf-8", "replace").encode()
    if field.message_type is not None:
        return _mend(content, field.message_type, depth - 1)
    return content


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _BrokenError


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
