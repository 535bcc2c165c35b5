"""What a data point says, without regard to any other: the stream that it belongs to, and its value."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from otel_wandb.metrics.closed import Family, Summary, Value
from otel_wandb.metrics.histogram import InvalidPointError, read_histogram
from otel_wandb.records import (
    TEMPORALITY_CUMULATIVE,
    TEMPORALITY_DELTA,
    Attributes,
    Metric,
    NumberPoint,
    Point,
    Resource,
    Scope,
    SummaryPoint,
)

NO_RECORDED_VALUE: Final = 1
"""The flag of a data point that stands for a gap (opentelemetry-proto, `DataPointFlags`)."""

Mode: TypeAlias = Literal["delta", "cumulative", "last"]

_TEMPORALITIES: Final[dict[int, Mode]] = {
    TEMPORALITY_DELTA: "delta",
    TEMPORALITY_CUMULATIVE: "cumulative",
}

_encoder: Final = msgspec.msgpack.Encoder(order="sorted")


class Instrument(NamedTuple):
    """What several streams have in common: they can be merged if their attributes are the same, too."""

    scope: str
    name: str
    unit: str
    family: Family


@dataclass(frozen=True, slots=True)
class Kind:
    """A metric's instrument, and how its points follow on each other."""

    instrument: Instrument
    mode: Mode
    monotonic: bool
    text: bytes
    """Tells the metric apart from all others of its resource."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a batch may be stored and shown: attributes of its resource, and what `clean` gives back."""

    resource: Attributes | None = None
    """None: all of them."""
    clean: Callable[[Attributes], Attributes] = lambda attributes: attributes

    def show(self, resource: Resource) -> Attributes:
        """The attributes of the resource."""
        return resource.attributes if self.resource is None else self.resource

    def clean_instrument(self, instrument: Instrument) -> Instrument:
        """The instrument, of whose names nobody knows what they hold."""
        told = {"scope": instrument.scope, "name": instrument.name, "unit": instrument.unit}
        cleaned = self.clean(dict(told))
        if cleaned == told:
            return instrument
        scope, name, unit = (str(cleaned.get(key, "")) for key in told)
        return Instrument(scope, name, unit, instrument.family)


SHOW_ALL: Final = Shown()


class Stream(msgspec.Struct, frozen=True):
    """One process's points of one instrument and one set of attributes."""

    digest: bytes
    instrument: Instrument
    mode: Mode
    attributes: Attributes
    attribute_key: bytes
    resource: bytes


def digest_resource(series_key: str, resource: Resource) -> bytes:
    """Eight bytes that tell the resource apart: a process from its neighbour, and from itself elsewhere."""
    facts = _encoder.encode((series_key, resource.attributes))
    return hashlib.blake2b(facts, digest_size=8).digest()


class Digests:
    """`digest_resource`, which costs nothing for the resource of the last time. Not thread-safe."""

    def __init__(self) -> None:
        self._last: tuple[str, Resource, bytes] | None = None

    def look_up(self, series_key: str, resource: Resource) -> bytes:
        """The digest of the resource in that series."""
        last = self._last
        if last is None or last[1] is not resource or last[0] != series_key:
            last = self._last = series_key, resource, digest_resource(series_key, resource)
        return last[2]


def read_kind(scope: Scope, metric: Metric) -> Kind:
    """How the points of the metric are to be read; raises `InvalidPointError` where nobody can tell."""
    family, mode = _classify(metric)
    text = _encoder.encode((scope.name, metric.name, metric.unit, metric.kind, mode, metric.monotonic))
    return Kind(Instrument(scope.name, metric.name, metric.unit, family), mode, metric.monotonic, text)


def encode_attributes(attributes: Attributes) -> bytes:
    """Bytes that tell sets of attributes apart, whatever their values are."""
    return _encoder.encode(attributes)


def read_stream(kind: Kind, resource: bytes, key: bytes, attributes: Attributes, shown: Shown) -> Stream:
    """The stream of the points with these attributes, of which `key` is what `encode_attributes` gives.

    What tells it apart is all of them, what is told of it only what may be shown: streams that differ in
    nothing else are added up.
    """
    digest = hashlib.blake2b(b"\0".join((resource, kind.text, key)), digest_size=12).digest()
    told = shown.clean(attributes)
    if told is not attributes:
        key = encode_attributes(told)
    return Stream(digest, shown.clean_instrument(kind.instrument), kind.mode, told, key, resource)


def read_value(kind: Kind, point: Point) -> Value:
    """The value of a point; raises `InvalidPointError` where it has none that could be counted."""
    if point.flags & NO_RECORDED_VALUE:
        raise InvalidPointError("no_value")
    if isinstance(point, NumberPoint):
        if not math.isfinite(point.value):
            raise InvalidPointError("not_finite")
        if kind.monotonic and point.value < 0:
            raise InvalidPointError("invalid_value")
        return Fraction(point.value)
    if isinstance(point, SummaryPoint):
        if not math.isfinite(point.sum) or point.count < 0:
            raise InvalidPointError("invalid_value")
        quantiles = tuple((q, value) for q, value in point.quantiles if math.isfinite(value))
        return Summary(point.count, Fraction(point.sum), quantiles)
    return read_histogram(point)


def _classify(metric: Metric) -> tuple[Family, Mode]:
    if metric.kind == "gauge":
        return "gauge", "last"
    if metric.kind == "summary":
        return "summary", "cumulative"
    mode = _TEMPORALITIES.get(metric.temporality)
    if mode is None:
        raise InvalidPointError("no_temporality")
    if metric.kind != "sum":
        return "histogram", mode
    if metric.monotonic:
        return "counter", mode
    return "updown", "last" if mode == "cumulative" else "delta"
