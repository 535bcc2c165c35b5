"""The shapes of OTLP/JSON as msgspec structs, so that its text becomes objects in C.

Every member may be null or absent. Integers may be strings (`strict=False` when decoding), enumerations
may be names, and names that are not listed here are ignored.
"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

import msgspec

Item = TypeVar("Item")

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Time = Annotated[int, msgspec.Meta(ge=0)]  # its upper limit is the decoder's, which names it
_Enum = int | str


class _Json(msgspec.Struct, rename="camel", gc=False):
    """What all shapes share: camelCase names, and no cycles for the collector to look for."""


class JsonValue(_Json):
    """`AnyValue`."""

    string_value: str | None = None
    int_value: _Int | None = None
    double_value: float | None = None
    bool_value: bool | None = None
    array_value: JsonArray | None = None
    kvlist_value: JsonKeyValueList | None = None
    bytes_value: str | None = None


class JsonArray(_Json):
    """`ArrayValue`."""

    values: list[JsonValue | None] | None = None


class JsonKeyValueList(_Json):
    """`KeyValueList`."""

    values: list[JsonKeyValue] | None = None


class JsonKeyValue(_Json):
    """`KeyValue`."""

    key: str | None = None
    value: JsonValue | None = None


class JsonStatus(_Json):
    """`Status`."""

    code: _Enum | None = None
    message: str | None = None


class JsonEvent(_Json):
    """`Span.Event`."""

    time_unix_nano: _Time | None = None
    name: str | None = None
    attributes: list[JsonKeyValue] | None = None


class JsonLink(_Json):
    """`Span.Link`."""

    trace_id: str | None = None
    span_id: str | None = None
    trace_state: str | None = None
    attributes: list[JsonKeyValue] | None = None
    flags: _Count | None = None


class JsonSpan(_Json):
    """`Span`."""

    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    kind: _Enum | None = None
    start_time_unix_nano: _Time | None = None
    end_time_unix_nano: _Time | None = None
    attributes: list[JsonKeyValue] | None = None
    events: list[JsonEvent] | None = None
    links: list[JsonLink] | None = None
    status: JsonStatus | None = None
    trace_state: str | None = None
    flags: _Count | None = None
    dropped_attributes_count: _Count | None = None
    dropped_events_count: _Count | None = None
    dropped_links_count: _Count | None = None


class JsonLogRecord(_Json):
    """`LogRecord`."""

    time_unix_nano: _Time | None = None
    observed_time_unix_nano: _Time | None = None
    severity_number: _Enum | None = None
    severity_text: str | None = None
    event_name: str | None = None
    body: JsonValue | None = None
    attributes: list[JsonKeyValue] | None = None
    trace_id: str | None = None
    span_id: str | None = None
    flags: _Count | None = None


class JsonExemplar(_Json):
    """`Exemplar`."""

    time_unix_nano: _Time | None = None
    as_double: float | None = None
    as_int: _Int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    filtered_attributes: list[JsonKeyValue] | None = None


class _JsonPoint(_Json):
    """What the data points of all kinds share."""

    start_time_unix_nano: _Time | None = None
    time_unix_nano: _Time | None = None
    attributes: list[JsonKeyValue] | None = None
    exemplars: list[JsonExemplar] | None = None
    flags: _Count | None = None


class JsonNumberPoint(_JsonPoint):
    """`NumberDataPoint`."""

    as_double: float | None = None
    as_int: _Int | None = None


class JsonHistogramPoint(_JsonPoint):
    """`HistogramDataPoint`."""

    count: _Count | None = None
    sum: float | None = None
    bucket_counts: list[_Count] | None = None
    explicit_bounds: list[float] | None = None
    min: float | None = None
    max: float | None = None


class JsonBuckets(_Json):
    """`ExponentialHistogramDataPoint.Buckets`."""

    offset: _Int | None = None
    bucket_counts: list[_Count] | None = None


class JsonExponentialPoint(_JsonPoint):
    """`ExponentialHistogramDataPoint`."""

    count: _Count | None = None
    sum: float | None = None
    scale: _Int | None = None
    zero_count: _Count | None = None
    zero_threshold: float | None = None
    positive: JsonBuckets | None = None
    negative: JsonBuckets | None = None
    min: float | None = None
    max: float | None = None


class JsonQuantile(_Json):
    """`SummaryDataPoint.ValueAtQuantile`."""

    quantile: float | None = None
    value: float | None = None


class JsonSummaryPoint(_JsonPoint):
    """`SummaryDataPoint`."""

    count: _Count | None = None
    sum: float | None = None
    quantile_values: list[JsonQuantile] | None = None


class JsonData(_Json, Generic[Item]):
    """`Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` and `Summary`, which differ in their points."""

    data_points: list[Item] | None = None
    aggregation_temporality: _Enum | None = None
    is_monotonic: bool | None = None


class JsonMetric(_Json):
    """`Metric`."""

    name: str | None = None
    unit: str | None = None
    description: str | None = None
    gauge: JsonData[JsonNumberPoint] | None = None
    sum: JsonData[JsonNumberPoint] | None = None
    histogram: JsonData[JsonHistogramPoint] | None = None
    exponential_histogram: JsonData[JsonExponentialPoint] | None = None
    summary: JsonData[JsonSummaryPoint] | None = None


class JsonResource(_Json):
    """`Resource`."""

    attributes: list[JsonKeyValue] | None = None


class JsonScope(_Json):
    """`InstrumentationScope`."""

    name: str | None = None
    version: str | None = None
    attributes: list[JsonKeyValue] | None = None


class JsonScoped(_Json, Generic[Item]):
    """`ScopeSpans`, `ScopeLogs` and `ScopeMetrics` in one; `Item` is the one wanted."""

    scope: JsonScope | None = None
    schema_url: str | None = None
    spans: list[Item] | None = None
    log_records: list[Item] | None = None
    metrics: list[Item] | None = None


class JsonGroup(_Json, Generic[Item]):
    """`ResourceSpans`, `ResourceLogs` and `ResourceMetrics` in one."""

    resource: JsonResource | None = None
    schema_url: str | None = None
    scope_spans: list[JsonScoped[Item]] | None = None
    scope_logs: list[JsonScoped[Item]] | None = None
    scope_metrics: list[JsonScoped[Item]] | None = None


class JsonDocument(_Json, Generic[Item]):
    """The export requests of all three signals in one."""

    resource_spans: list[JsonGroup[Item]] | None = None
    resource_logs: list[JsonGroup[Item]] | None = None
    resource_metrics: list[JsonGroup[Item]] | None = None


class JsonMarks(_Json):
    """As much of a span or log record as it takes to see whether it can be taken."""

    trace_id: str | None = None
    span_id: str | None = None
    time_unix_nano: _Time | None = None
    observed_time_unix_nano: _Time | None = None


class JsonPoints(_Json, Generic[Item]):
    """As much of a metric as it takes to count its points."""

    gauge: JsonData[Item] | None = None
    sum: JsonData[Item] | None = None
    histogram: JsonData[Item] | None = None
    exponential_histogram: JsonData[Item] | None = None
    summary: JsonData[Item] | None = None
