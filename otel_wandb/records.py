"""The one shape that every ingest is turned into: spans, log records and metric points as plain data.

All structs are immutable, carry no behaviour, and encode to MessagePack arrays, so that the SDK front can
write them to the journal and the bridge can read them back at a few microseconds a span. Ids are lower-case
hex; an absent id is the empty string. Times are Unix nanoseconds. Enumerations keep the integers of
opentelemetry-proto (https://github.com/open-telemetry/opentelemetry-proto).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    Value: TypeAlias = (
        "str | bool | int | float | bytes | list[Value] | tuple[Value, ...] | dict[str, Value] | None"
    )
else:  # msgspec cannot follow a recursive alias; the decoders only build these types
    Value = Any

Attributes: TypeAlias = dict[str, Value]

SPAN_KIND_INTERNAL: Final = 1
SPAN_KIND_SERVER: Final = 2
SPAN_KIND_CLIENT: Final = 3
SPAN_KIND_PRODUCER: Final = 4
SPAN_KIND_CONSUMER: Final = 5

STATUS_UNSET: Final = 0
STATUS_OK: Final = 1
STATUS_ERROR: Final = 2

FLAG_SAMPLED: Final = 0x01
FLAG_HAS_IS_REMOTE: Final = 0x100
"""The producer says whether the parent is remote (opentelemetry-proto, `SpanFlags`)."""
FLAG_IS_REMOTE: Final = 0x200
"""The parent span lives in another process."""

TEMPORALITY_UNSPECIFIED: Final = 0
TEMPORALITY_DELTA: Final = 1
TEMPORALITY_CUMULATIVE: Final = 2


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What all records share: immutable, array-encoded, and no cycles for the collector to look for."""


class Resource(Record, frozen=True):
    """What produced the telemetry: a service, its version, its instance."""

    attributes: Attributes = {}
    schema_url: str = ""


class Scope(Record, frozen=True):
    """The instrumentation library that made the records."""

    name: str = ""
    version: str = ""
    attributes: Attributes = {}
    schema_url: str = ""


class Event(Record, frozen=True):
    """A moment inside a span."""

    time_ns: int
    name: str
    attributes: Attributes = {}


class Link(Record, frozen=True):
    """A span of the same or another trace that this one refers to."""

    trace_id: str
    span_id: str
    attributes: Attributes = {}
    trace_state: str = ""
    flags: int = 0


class Span(Record, frozen=True):
    """One ended span. `parent_id` is empty at the root; `flags` may tell that the parent is remote."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes = {}
    events: list[Event] = []
    links: list[Link] = []
    status_code: int = STATUS_UNSET
    status_message: str = ""
    trace_state: str = ""
    flags: int = 0
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0


class LogRecord(Record, frozen=True):
    """One log record; `trace_id` and `span_id` are empty where it belongs to no span."""

    time_ns: int
    observed_ns: int = 0
    severity_number: int = 0
    severity_text: str = ""
    event_name: str = ""
    body: Value = None
    attributes: Attributes = {}
    trace_id: str = ""
    span_id: str = ""
    flags: int = 0


class Exemplar(Record, frozen=True):
    """A single measurement kept beside the aggregate, with the trace that it was taken in."""

    time_ns: int
    value: int | float
    trace_id: str = ""
    span_id: str = ""
    attributes: Attributes = {}


class NumberPoint(Record, frozen=True, tag="n"):
    """A point of a gauge or a sum."""

    start_ns: int
    time_ns: int
    attributes: Attributes
    value: int | float
    exemplars: list[Exemplar] = []
    flags: int = 0


class HistogramPoint(Record, frozen=True, tag="h"):
    """A point of an explicit-bounds histogram: `len(counts) == len(bounds) + 1`, or both are empty."""

    start_ns: int
    time_ns: int
    attributes: Attributes
    count: int
    sum: float | None = None
    bounds: list[float] = []
    counts: list[int] = []
    min: float | None = None
    max: float | None = None
    exemplars: list[Exemplar] = []
    flags: int = 0


class ExponentialPoint(Record, frozen=True, tag="e"):
    """A point of a base-2 exponential histogram; bucket i holds (base**(offset+i), base**(offset+i+1)]."""

    start_ns: int
    time_ns: int
    attributes: Attributes
    count: int
    sum: float | None
    scale: int
    zero_count: int
    zero_threshold: float = 0.0
    positive_offset: int = 0
    positive_counts: list[int] = []
    negative_offset: int = 0
    negative_counts: list[int] = []
    min: float | None = None
    max: float | None = None
    exemplars: list[Exemplar] = []
    flags: int = 0


class SummaryPoint(Record, frozen=True, tag="s"):
    """A point of a summary: quantiles that somebody else computed, as (quantile, value) pairs."""

    start_ns: int
    time_ns: int
    attributes: Attributes
    count: int
    sum: float
    quantiles: list[tuple[float, float]] = []
    flags: int = 0


Point: TypeAlias = NumberPoint | HistogramPoint | ExponentialPoint | SummaryPoint


class Metric(Record, frozen=True):
    """One instrument's points. `kind` is gauge, sum, histogram, exponential_histogram, summary, or empty."""

    name: str
    kind: str
    points: list[Point] = []
    unit: str = ""
    description: str = ""
    temporality: int = TEMPORALITY_UNSPECIFIED
    monotonic: bool = False


class SpanBatch(Record, frozen=True):
    """Spans of one resource and scope."""

    resource: Resource
    scope: Scope
    spans: list[Span]


class LogBatch(Record, frozen=True):
    """Log records of one resource and scope."""

    resource: Resource
    scope: Scope
    records: list[LogRecord]


class MetricBatch(Record, frozen=True):
    """Metrics of one resource and scope."""

    resource: Resource
    scope: Scope
    metrics: list[Metric]
