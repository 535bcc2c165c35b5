"""The parts that all signals of OTLP/JSON share: attributes and their values, ids, times, enumerations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from otel_wandb.ingest.decoded import (
    INVALID_TIME,
    KEYS,
    MALFORMED,
    MAX_TIME_NS,
    TOO_DEEP,
    RejectionError,
    decode_base64,
    know_key,
    normalise_id,
)
from otel_wandb.ingest.json_shapes import JsonKeyValue, JsonValue
from otel_wandb.records import Attributes, Value

_MAX_DEPTH: Final = 47  # levels of values in values: as many as protobuf's parser lets through in a span


def read_attributes(items: list[JsonKeyValue] | None, depth: int = 0) -> Attributes:
    """The attributes; where a key stands twice, the last one holds, as everywhere in OpenTelemetry."""
    attributes: Attributes = {}
    for item in items or ():
        name, value = item.key or "", item.value
        key = KEYS.get(name) or know_key(name)
        if value is None:
            attributes[key] = None
        elif (text := value.string_value) is not None:
            attributes[key] = text
        else:
            attributes[key] = read_value(value, depth)
    return attributes


def read_value(value: JsonValue | None, depth: int = 0) -> Value:
    """The plain value; None where none is set. Raises `RejectionError` where it cannot be read."""
    if value is None:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return value.int_value
    if value.double_value is not None:
        return value.double_value
    if value.bool_value is not None:
        return value.bool_value
    return _read_composite(value, depth + 1)


def _read_composite(value: JsonValue, depth: int) -> Value:
    if depth > _MAX_DEPTH:
        raise RejectionError(TOO_DEEP)
    if value.array_value is not None:
        return [read_value(item, depth) for item in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return read_attributes(value.kvlist_value.values, depth)
    if value.bytes_value is None:
        return None
    content = decode_base64(value.bytes_value)
    if content is None:
        raise RejectionError(MALFORMED)
    return content


def read_id(text: str | None, size_bytes: int) -> str:
    """The id in lower-case hex; empty where it is absent or no id."""
    return normalise_id(text, size_bytes) if text else ""


def read_time(time_ns: int | None) -> int:
    """The time, 0 where absent; raises `RejectionError` beyond the year 2262."""
    if time_ns and time_ns > MAX_TIME_NS:
        raise RejectionError(INVALID_TIME)
    return time_ns or 0


def read_enum(value: int | str | None, numbers: Mapping[str, int]) -> int:
    """The number of an enumerator, given as number or name; 0 (unspecified) for an unknown name."""
    number = _read_enumerator(value, numbers) if isinstance(value, str) else value or 0
    if not -(2**31) <= number < 2**31:
        raise RejectionError(MALFORMED)
    return number


def _read_enumerator(text: str, numbers: Mapping[str, int]) -> int:
    try:
        return int(text)
    except ValueError:
        return numbers.get(text.upper(), 0)
