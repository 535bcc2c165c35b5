"""The text of OTLP/JSON into its shapes: in C where it is as specified, else leniently and slowly.

What producers do beside the specification is taken too: snake_case names, bare NaN and Infinity, large
integers in exponent form, halves of surrogate pairs (a JavaScript string that was cut in the middle of one),
bytes that are no UTF-8, a byte order mark. One malformed span does not take the others with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from otel_wandb.errors import InputError
from otel_wandb.ingest.decoded import MALFORMED, RejectionError
from otel_wandb.ingest.json_shapes import Item, JsonDocument, JsonPoints
from otel_wandb.journal import Signal

_Record = TypeVar("_Record")

_EXACT_FLOAT_LIMIT: Final = 2**53
_INT_LIMIT: Final = 2**64

_SNAKE_CASE: Final = re.compile(rb'"[a-z]+(?:_[a-z]+)+"\s*:')
"""A name in snake_case. Text inside a string cannot match, since its quotes are escaped."""
_HEAD_BYTES: Final = 4096  # who writes snake_case begins with it: searching all costs half a decoding

WANTED: Final = 'an OTLP/JSON request (an object with "resourceSpans", "resourceLogs" or "resourceMetrics")'


class JsonReader(Generic[Item]):
    """Reads the documents of one signal, whose items have the shape `item`."""

    def __init__(self, item: type[Item], document: type[JsonDocument[Item]]) -> None:
        self._item = item
        self._decoder = msgspec.json.Decoder(document, strict=False)

    def open(
        self, payload: bytes, read: Callable[[Item], _Record]
    ) -> tuple[JsonDocument[Item], Callable[[Item], _Record]]:
        """The document, and how to read its items; reading one may raise `RejectionError`.

        Raises `InputError` where no document can be made of the text.
        """
        document = decode_canonical(payload, self._decoder)
        if document is not None:
            return document, read
        loose = cast("JsonDocument[Item]", _decode_loosely(payload))
        return loose, lambda raw: read(_convert(raw, self._item))


def decode_canonical(payload: bytes, decoder: msgspec.json.Decoder[_Record]) -> _Record | None:
    """The document in one go, or None where the text must be looked at more closely."""
    if _SNAKE_CASE.search(payload, 0, _HEAD_BYTES):
        return None
    try:
        return decoder.decode(payload)
    except RecursionError:
        raise InputError(f"expected {WANTED}: it is nested too deeply") from None
    except ValueError:  # malformed, of another shape, or no UTF-8
        return None


def count_by_signal(payload: bytes) -> dict[Signal, int]:
    """How many items of which signals the document holds; raises `InputError` where it is none."""
    document: JsonDocument[Any] | None = decode_canonical(payload, _COUNTING)
    if document is None:
        document = _decode_loosely(payload)
    counts: dict[Signal, int] = {}
    if document.resource_spans is not None:
        scopes = [scope for group in document.resource_spans for scope in group.scope_spans or ()]
        counts["spans"] = sum(len(scope.spans or ()) for scope in scopes)
    if document.resource_logs is not None:
        scopes = [scope for group in document.resource_logs for scope in group.scope_logs or ()]
        counts["log_records"] = sum(len(scope.log_records or ()) for scope in scopes)
    if document.resource_metrics is not None:
        scopes = [scope for group in document.resource_metrics for scope in group.scope_metrics or ()]
        counts["metric_points"] = sum(count_points(m) for scope in scopes for m in scope.metrics or ())
    return counts


def count_points(metric: object) -> int:
    """How many data points a metric holds; one where it has not even the shape of a metric."""
    if not isinstance(metric, JsonPoints):
        try:
            metric = msgspec.convert(metric, JsonPoints[object], strict=False)
        except (ValueError, RecursionError):
            return 1
    data = (metric.gauge, metric.sum, metric.histogram, metric.exponential_histogram, metric.summary)
    return sum(len(kind.data_points or ()) for kind in data if kind)


_COUNTING: Final = msgspec.json.Decoder(JsonDocument[JsonPoints[msgspec.Raw]], strict=False)


def _decode_loosely(payload: bytes) -> JsonDocument[object]:
    try:
        # "utf-8-sig" takes a byte order mark away; `strict=False` takes line breaks inside strings.
        value = _tidy(json.loads(payload.decode("utf-8-sig", "replace"), strict=False))
        return msgspec.convert(value, JsonDocument[object], strict=False)
    except RecursionError:
        raise InputError(f"expected {WANTED}: it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InputError(f"expected {WANTED}: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:  # what msgspec raises
        raise InputError(f"expected {WANTED}: {error}") from None


def _convert(raw: object, item: type[Item]) -> Item:
    try:
        return msgspec.convert(raw, item, strict=False)
    except (ValueError, RecursionError):
        raise RejectionError(MALFORMED) from None


def _tidy(value: object) -> object:
    if isinstance(value, str):
        return value if value.isascii() else _join_surrogates(value)
    if isinstance(value, dict):
        return {_camel_case(name): _tidy(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if isinstance(value, float) and _EXACT_FLOAT_LIMIT <= abs(value) < _INT_LIMIT:
        return int(value)  # an integer in exponent form; where a float is meant, it becomes one again
    return value


def _join_surrogates(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@lru_cache(maxsize=256)
def _camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)
