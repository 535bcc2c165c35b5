"""OTLP protobuf into records.

The cost is not parsing, which is C, but making Python objects of a dozen attributes a span: so every message
is walked once, and `string_value` is tried before anything asks which member of a value is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_wandb.errors import InputError
from otel_wandb.ingest.decoded import (
    INVALID_BUCKETS,
    INVALID_SPAN_ID,
    INVALID_TIME,
    INVALID_TRACE_ID,
    KEYS,
    MAX_TIME_NS,
    NO_RECORDED_VALUE,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Decoded,
    RejectionError,
    know_key,
    read_each,
)
from otel_wandb.ingest.utf8 import mend_strings
from otel_wandb.records import (
    Attributes,
    Event,
    Exemplar,
    ExponentialPoint,
    HistogramPoint,
    Link,
    LogBatch,
    LogRecord,
    Metric,
    MetricBatch,
    NumberPoint,
    Point,
    Resource,
    Scope,
    Span,
    SpanBatch,
    SummaryPoint,
    Value,
)

_NO_TRACE: Final = bytes(TRACE_ID_BYTES)
_NO_SPAN: Final = bytes(SPAN_ID_BYTES)

_Request = TypeVar("_Request", bound=Message)


def read_traces(payload: bytes) -> Decoded[SpanBatch]:
    """The spans of an `ExportTraceServiceRequest`; raises `InputError` where it is none."""
    decoded: Decoded[SpanBatch] = Decoded()
    for group in parse_request(ExportTraceServiceRequest, payload).resource_spans:
        resource = _resource(group.resource, group.schema_url)
        for scoped in group.scope_spans:
            spans = read_each(scoped.spans, _span, decoded)
            if spans:
                scope = _scope(scoped.scope, scoped.schema_url)
                decoded.batches.append(SpanBatch(resource, scope, spans))
    return decoded


def read_logs(payload: bytes) -> Decoded[LogBatch]:
    """The records of an `ExportLogsServiceRequest`; raises `InputError` where it is none."""
    decoded: Decoded[LogBatch] = Decoded()
    for group in parse_request(ExportLogsServiceRequest, payload).resource_logs:
        resource = _resource(group.resource, group.schema_url)
        for scoped in group.scope_logs:
            records = read_each(scoped.log_records, _log_record, decoded)
            if records:
                scope = _scope(scoped.scope, scoped.schema_url)
                decoded.batches.append(LogBatch(resource, scope, records))
    return decoded


def read_metrics(payload: bytes) -> Decoded[MetricBatch]:
    """The metrics of an `ExportMetricsServiceRequest`; raises `InputError` where it is none."""
    decoded: Decoded[MetricBatch] = Decoded()
    for group in parse_request(ExportMetricsServiceRequest, payload).resource_metrics:
        resource = _resource(group.resource, group.schema_url)
        for scoped in group.scope_metrics:
            metrics = [_metric(metric, decoded) for metric in scoped.metrics]
            if metrics:
                scope = _scope(scoped.scope, scoped.schema_url)
                decoded.batches.append(MetricBatch(resource, scope, metrics))
    return decoded


def count_spans(payload: bytes) -> int:
    """How many spans the request holds, good or bad; raises `InputError` where it is none."""
    groups = parse_request(ExportTraceServiceRequest, payload).resource_spans
    return sum(len(scoped.spans) for group in groups for scoped in group.scope_spans)


def count_log_records(payload: bytes) -> int:
    """How many log records the request holds; raises `InputError` where it is none."""
    groups = parse_request(ExportLogsServiceRequest, payload).resource_logs
    return sum(len(scoped.log_records) for group in groups for scoped in group.scope_logs)


def count_points(payload: bytes) -> int:
    """How many data points the request holds, good or bad; raises `InputError` where it is none."""
    return sum(
        len(_points(metric))
        for group in parse_request(ExportMetricsServiceRequest, payload).resource_metrics
        for scoped in group.scope_metrics
        for metric in scoped.metrics
    )


def parse_request(request: type[_Request], payload: bytes) -> _Request:
    """The message that the payload is, text that is no UTF-8 mended; raises `InputError` where it is none."""
    try:
        return request.FromString(payload)
    except DecodeError as error:
        mended = mend_strings(payload, request)
        if mended is not None:
            try:
                return request.FromString(mended)
            except DecodeError:
                pass
        raise InputError(f"expected an OTLP {request.DESCRIPTOR.name} in protobuf: {error}") from None


def _resource(resource: resource_pb2.Resource, schema_url: str) -> Resource:
    return Resource(_attributes(resource.attributes), schema_url)


def _scope(scope: common_pb2.InstrumentationScope, schema_url: str) -> Scope:
    return Scope(scope.name, scope.version, _attributes(scope.attributes), schema_url)


def _attributes(items: Sequence[common_pb2.KeyValue]) -> Attributes:
    attributes: Attributes = {}
    for item in items[:]:  # a list, made in C, is faster to go through than the container
        key, value = item.key, item.value
        told = value.string_value or value.int_value or _value(value)
        attributes[KEYS.get(key) or know_key(key)] = told
    return attributes


def _value(value: common_pb2.AnyValue) -> Value:
    member = value.WhichOneof("value")
    if member == "array_value":
        return [item.string_value or _value(item) for item in value.array_value.values]
    if member == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return _PLAIN_VALUES[member](value) if member in _PLAIN_VALUES else None


_PLAIN_VALUES: Final[dict[str | None, Callable[[common_pb2.AnyValue], Value]]] = {
    "string_value": lambda value: value.string_value,
    "bool_value": lambda value: value.bool_value,
    "int_value": lambda value: value.int_value,
    "double_value": lambda value: value.double_value,
    "bytes_value": lambda value: value.bytes_value,
}


def _id(raw: bytes, size_bytes: int) -> str:
    return raw.hex() if len(raw) == size_bytes and raw.count(0) != size_bytes else ""


def _time(time_ns: int) -> int:
    if time_ns > MAX_TIME_NS:
        raise RejectionError(INVALID_TIME)
    return time_ns


def _span(span: trace_pb2.Span) -> Span:
    trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id
    if len(trace_id) != TRACE_ID_BYTES or trace_id == _NO_TRACE:
        raise RejectionError(INVALID_TRACE_ID)
    if len(span_id) != SPAN_ID_BYTES or span_id == _NO_SPAN:
        raise RejectionError(INVALID_SPAN_ID)
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    if start_ns > MAX_TIME_NS or end_ns > MAX_TIME_NS:
        raise RejectionError(INVALID_TIME)
    events, links, status = span.events, span.links, span.status
    return Span(
        trace_id.hex(),
        span_id.hex(),
        _id(parent_id, SPAN_ID_BYTES) if parent_id else "",
        span.name,
        span.kind,
        start_ns,
        end_ns,
        _attributes(span.attributes),
        [_event(event) for event in events] if events else [],
        [_link(link) for link in links] if links else [],
        status.code,
        status.message,
        span.trace_state,
        span.flags,
        span.dropped_attributes_count,
        span.dropped_events_count,
        span.dropped_links_count,
    )


def _event(event: trace_pb2.Span.Event) -> Event:
    return Event(_time(event.time_unix_nano), event.name, _attributes(event.attributes))


def _link(link: trace_pb2.Span.Link) -> Link:
    return Link(
        _id(link.trace_id, TRACE_ID_BYTES),
        _id(link.span_id, SPAN_ID_BYTES),
        _attributes(link.attributes),
        link.trace_state,
        link.flags,
    )


def _log_record(record: logs_pb2.LogRecord) -> LogRecord:
    return LogRecord(
        _time(record.time_unix_nano),
        _time(record.observed_time_unix_nano),
        record.severity_number,
        record.severity_text,
        record.event_name,
        _value(record.body),
        _attributes(record.attributes),
        _id(record.trace_id, TRACE_ID_BYTES),
        _id(record.span_id, SPAN_ID_BYTES),
        record.flags,
    )


def _metric(metric: metrics_pb2.Metric, decoded: Decoded[MetricBatch]) -> Metric:
    kind = metric.WhichOneof("data")
    points: list[Point] = []
    temporality, monotonic = 0, False
    if kind == "gauge":
        points += read_each(metric.gauge.data_points, _number, decoded)
    elif kind == "sum":
        points += read_each(metric.sum.data_points, _number, decoded)
        temporality, monotonic = metric.sum.aggregation_temporality, metric.sum.is_monotonic
    elif kind == "histogram":
        points += read_each(metric.histogram.data_points, _histogram, decoded)
        temporality = metric.histogram.aggregation_temporality
    elif kind == "exponential_histogram":
        points += read_each(metric.exponential_histogram.data_points, _exponential, decoded)
        temporality = metric.exponential_histogram.aggregation_temporality
    elif kind == "summary":
        points += read_each(metric.summary.data_points, _summary, decoded)
    return Metric(metric.name, kind or "", points, metric.unit, metric.description, temporality, monotonic)


def _points(metric: metrics_pb2.Metric) -> list[object]:
    kind = metric.WhichOneof("data")
    return getattr(metric, kind).data_points if kind else []


def _number(point: metrics_pb2.NumberDataPoint) -> NumberPoint:
    member = point.WhichOneof("value")
    return NumberPoint(
        _time(point.start_time_unix_nano),
        _time(point.time_unix_nano),
        _attributes(point.attributes),
        point.as_int if member == "as_int" else point.as_double,
        _exemplars(point.exemplars),
        point.flags if member else point.flags | NO_RECORDED_VALUE,
    )


def _histogram(point: metrics_pb2.HistogramDataPoint) -> HistogramPoint:
    counts = list(point.bucket_counts)
    bounds = list(point.explicit_bounds) if counts else []
    if counts and len(counts) != len(bounds) + 1:
        raise RejectionError(INVALID_BUCKETS)
    return HistogramPoint(
        _time(point.start_time_unix_nano),
        _time(point.time_unix_nano),
        _attributes(point.attributes),
        point.count,
        point.sum if point.HasField("sum") else None,
        bounds,
        counts,
        point.min if point.HasField("min") else None,
        point.max if point.HasField("max") else None,
        _exemplars(point.exemplars),
        point.flags,
    )


def _exponential(point: metrics_pb2.ExponentialHistogramDataPoint) -> ExponentialPoint:
    positive, negative = point.positive, point.negative
    return ExponentialPoint(
        _time(point.start_time_unix_nano),
        _time(point.time_unix_nano),
        _attributes(point.attributes),
        point.count,
        point.sum if point.HasField("sum") else None,
        point.scale,
        point.zero_count,
        point.zero_threshold,
        positive.offset,
        list(positive.bucket_counts),
        negative.offset,
        list(negative.bucket_counts),
        point.min if point.HasField("min") else None,
        point.max if point.HasField("max") else None,
        _exemplars(point.exemplars),
        point.flags,
    )


def _summary(point: metrics_pb2.SummaryDataPoint) -> SummaryPoint:
    return SummaryPoint(
        _time(point.start_time_unix_nano),
        _time(point.time_unix_nano),
        _attributes(point.attributes),
        point.count,
        point.sum,
        [(quantile.quantile, quantile.value) for quantile in point.quantile_values],
        point.flags,
    )


def _exemplars(exemplars: Iterable[metrics_pb2.Exemplar]) -> list[Exemplar]:
    read = []
    for exemplar in exemplars:
        member = exemplar.WhichOneof("value")
        if member:  # a measurement without a value says nothing
            read.append(
                Exemplar(
                    _time(exemplar.time_unix_nano),
                    exemplar.as_int if member == "as_int" else exemplar.as_double,
                    _id(exemplar.trace_id, TRACE_ID_BYTES),
                    _id(exemplar.span_id, SPAN_ID_BYTES),
                    _attributes(exemplar.filtered_attributes),
                )
            )
    return read
