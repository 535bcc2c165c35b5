"""OTLP/JSON into records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status as ProtoStatus

from otel_wandb.errors import InputError
from otel_wandb.ingest.decoded import (
    INVALID_SPAN_ID,
    INVALID_TRACE_ID,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Decoded,
    RejectionError,
    read_each,
)
from otel_wandb.ingest.json_metrics import read_metric
from otel_wandb.ingest.json_shapes import (
    Item,
    JsonDocument,
    JsonEvent,
    JsonGroup,
    JsonKeyValue,
    JsonLink,
    JsonLogRecord,
    JsonMetric,
    JsonScoped,
    JsonSpan,
    JsonStatus,
)
from otel_wandb.ingest.json_text import JsonReader, count_points
from otel_wandb.ingest.json_values import read_attributes, read_enum, read_id, read_time, read_value
from otel_wandb.records import (
    Attributes,
    Event,
    Link,
    LogBatch,
    LogRecord,
    Metric,
    MetricBatch,
    Resource,
    Scope,
    Span,
    SpanBatch,
)

_SPAN_KINDS: Final = dict(ProtoSpan.SpanKind.items())
_STATUS_CODES: Final = dict(ProtoStatus.StatusCode.items())
_SEVERITIES: Final = dict(SeverityNumber.items())
_NO_STATUS: Final = JsonStatus()

_traces: Final = JsonReader(JsonSpan, JsonDocument[JsonSpan])
_logs: Final = JsonReader(JsonLogRecord, JsonDocument[JsonLogRecord])
_metrics: Final = JsonReader(JsonMetric, JsonDocument[JsonMetric])


def read_traces(payload: bytes) -> Decoded[SpanBatch]:
    """The spans of an `ExportTraceServiceRequest`; raises `InputError` where it is none."""
    decoded: Decoded[SpanBatch] = Decoded()
    document, read = _traces.open(payload, _span)
    _refuse_other_signal(document, "resourceSpans", document.resource_spans)
    for group in document.resource_spans or ():
        resource = _resource(group)
        for scoped in group.scope_spans or ():
            spans = read_each(scoped.spans or (), read, decoded)
            if spans:
                decoded.batches.append(SpanBatch(resource, _scope(scoped), spans))
    return decoded


def read_logs(payload: bytes) -> Decoded[LogBatch]:
    """The records of an `ExportLogsServiceRequest`; raises `InputError` where it is none."""
    decoded: Decoded[LogBatch] = Decoded()
    document, read = _logs.open(payload, _log_record)
    _refuse_other_signal(document, "resourceLogs", document.resource_logs)
    for group in document.resource_logs or ():
        resource = _resource(group)
        for scoped in group.scope_logs or ():
            records = read_each(scoped.log_records or (), read, decoded)
            if records:
                decoded.batches.append(LogBatch(resource, _scope(scoped), records))
    return decoded


def read_metrics(payload: bytes) -> Decoded[MetricBatch]:
    """The metrics of an `ExportMetricsServiceRequest`; raises `InputError` where it is none."""
    decoded: Decoded[MetricBatch] = Decoded()
    document, read = _metrics.open(payload, partial(read_metric, decoded=decoded))
    _refuse_other_signal(document, "resourceMetrics", document.resource_metrics)
    for group in document.resource_metrics or ():
        resource = _resource(group)
        for scoped in group.scope_metrics or ():
            metrics = _read_metrics(scoped.metrics or (), read, decoded)
            if metrics:
                decoded.batches.append(MetricBatch(resource, _scope(scoped), metrics))
    return decoded


def _read_metrics(
    raws: Iterable[JsonMetric], read: Callable[[JsonMetric], Metric], decoded: Decoded[MetricBatch]
) -> list[Metric]:
    metrics = []
    for raw in raws:
        try:
            metrics.append(read(raw))
        except RejectionError as rejection:
            points = count_points(raw)
            decoded.items += points
            decoded.reject(rejection.reason, points)
    return metrics


def _refuse_other_signal(document: JsonDocument[Item], wanted: str, groups: object) -> None:
    if groups is not None:
        return
    others = {
        "resourceSpans": document.resource_spans,
        "resourceLogs": document.resource_logs,
        "resourceMetrics": document.resource_metrics,
    }
    for name, other in others.items():
        if other:
            raise InputError(f'expected an OTLP/JSON request with "{wanted}", not with "{name}"')


def _resource(group: JsonGroup[Item]) -> Resource:
    attributes = group.resource.attributes if group.resource else None
    return Resource(_outer_attributes(attributes), group.schema_url or "")


def _scope(scoped: JsonScoped[Item]) -> Scope:
    scope, schema_url = scoped.scope, scoped.schema_url or ""
    if scope is None:
        return Scope(schema_url=schema_url)
    return Scope(scope.name or "", scope.version or "", _outer_attributes(scope.attributes), schema_url)


def _outer_attributes(items: list[JsonKeyValue] | None) -> Attributes:
    try:
        return read_attributes(items)
    except RejectionError as rejection:
        reason = rejection.reason.replace("_", " ")
        raise InputError(f"expected attributes of a resource or scope, not one that is {reason}") from None


def _span(span: JsonSpan) -> Span:
    trace_id = read_id(span.trace_id, TRACE_ID_BYTES)
    if not trace_id:
        raise RejectionError(INVALID_TRACE_ID)
    span_id = read_id(span.span_id, SPAN_ID_BYTES)
    if not span_id:
        raise RejectionError(INVALID_SPAN_ID)
    status = span.status or _NO_STATUS
    return Span(
        trace_id,
        span_id,
        read_id(span.parent_span_id, SPAN_ID_BYTES),
        span.name or "",
        read_enum(span.kind, _SPAN_KINDS),
        read_time(span.start_time_unix_nano),
        read_time(span.end_time_unix_nano),
        read_attributes(span.attributes),
        [_event(event) for event in span.events] if span.events else [],
        [_link(link) for link in span.links] if span.links else [],
        read_enum(status.code, _STATUS_CODES),
        status.message or "",
        span.trace_state or "",
        span.flags or 0,
        span.dropped_attributes_count or 0,
        span.dropped_events_count or 0,
        span.dropped_links_count or 0,
    )


def _event(event: JsonEvent) -> Event:
    return Event(read_time(event.time_unix_nano), event.name or "", read_attributes(event.attributes))


def _link(link: JsonLink) -> Link:
    return Link(
        read_id(link.trace_id, TRACE_ID_BYTES),
        read_id(link.span_id, SPAN_ID_BYTES),
        read_attributes(link.attributes),
        link.trace_state or "",
        link.flags or 0,
    )


def _log_record(record: JsonLogRecord) -> LogRecord:
    return LogRecord(
        read_time(record.time_unix_nano),
        read_time(record.observed_time_unix_nano),
        read_enum(record.severity_number, _SEVERITIES),
        record.severity_text or "",
        record.event_name or "",
        read_value(record.body),
        read_attributes(record.attributes),
        read_id(record.trace_id, TRACE_ID_BYTES),
        read_id(record.span_id, SPAN_ID_BYTES),
        record.flags or 0,
    )
