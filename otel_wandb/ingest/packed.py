"""The MessagePack of our own records, as the SDK's front writes it to the journal, back into records.

The front encodes what the SDK gives it without a look at it, for the sake of the service's own time. So ids
and times are checked here, by the rules that hold for OTLP.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from otel_wandb.errors import InputError
from otel_wandb.ingest.decoded import (
    INVALID_SPAN_ID,
    INVALID_TIME,
    INVALID_TRACE_ID,
    MAX_TIME_NS,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Decoded,
    RejectionError,
    normalise_id,
    read_each,
)
from otel_wandb.records import LogBatch, LogRecord, MetricBatch, Point, Span, SpanBatch

_Batch = TypeVar("_Batch")

_span_batches: Final = msgspec.msgpack.Decoder(list[SpanBatch])
_log_batches: Final = msgspec.msgpack.Decoder(list[LogBatch])
_metric_batches: Final = msgspec.msgpack.Decoder(list[MetricBatch])


def read_spans(payload: bytes) -> Decoded[SpanBatch]:
    """The spans whose ids and times are good; raises `InputError` for what is no `list[SpanBatch]`."""
    decoded: Decoded[SpanBatch] = Decoded()
    for batch in _unpack(_span_batches, payload):
        spans = read_each(batch.spans, _check_span, decoded)
        if spans:
            decoded.batches.append(SpanBatch(batch.resource, batch.scope, spans))
    return decoded


def read_logs(payload: bytes) -> Decoded[LogBatch]:
    """The log records; raises `InputError` for what is no `list[LogBatch]`."""
    decoded: Decoded[LogBatch] = Decoded()
    for batch in _unpack(_log_batches, payload):
        records = read_each(batch.records, _check_log_record, decoded)
        if records:
            decoded.batches.append(LogBatch(batch.resource, batch.scope, records))
    return decoded


def read_metrics(payload: bytes) -> Decoded[MetricBatch]:
    """The metrics with the points whose times are good; raises `InputError` as the others do."""
    decoded: Decoded[MetricBatch] = Decoded()
    for batch in _unpack(_metric_batches, payload):
        metrics = [
            msgspec.structs.replace(metric, points=read_each(metric.points, _check_point, decoded))
            for metric in batch.metrics
        ]
        if metrics:
            decoded.batches.append(MetricBatch(batch.resource, batch.scope, metrics))
    return decoded


def count_spans(payload: bytes) -> int:
    """How many spans the payload holds, good or bad."""
    return sum(len(batch.spans) for batch in _unpack(_span_batches, payload))


def count_log_records(payload: bytes) -> int:
    """How many log records the payload holds."""
    return sum(len(batch.records) for batch in _unpack(_log_batches, payload))


def count_points(payload: bytes) -> int:
    """How many data points the payload holds, good or bad."""
    batches = _unpack(_metric_batches, payload)
    return sum(len(metric.points) for batch in batches for metric in batch.metrics)


def _unpack(decoder: msgspec.msgpack.Decoder[list[_Batch]], payload: bytes) -> list[_Batch]:
    try:
        return decoder.decode(payload)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected records in MessagePack: {error}") from None


def _check_span(span: Span) -> Span:
    trace_id = normalise_id(span.trace_id, TRACE_ID_BYTES)
    if not trace_id:
        raise RejectionError(INVALID_TRACE_ID)
    span_id = normalise_id(span.span_id, SPAN_ID_BYTES)
    if not span_id:
        raise RejectionError(INVALID_SPAN_ID)
    _check_times(span.start_ns, span.end_ns, *[event.time_ns for event in span.events])
    parent_id = normalise_id(span.parent_id, SPAN_ID_BYTES) if span.parent_id else ""
    if (trace_id, span_id, parent_id) == (span.trace_id, span.span_id, span.parent_id):
        return span
    return msgspec.structs.replace(span, trace_id=trace_id, span_id=span_id, parent_id=parent_id)


def _check_log_record(record: LogRecord) -> LogRecord:
    _check_times(record.time_ns, record.observed_ns)
    trace_id = normalise_id(record.trace_id, TRACE_ID_BYTES) if record.trace_id else ""
    span_id = normalise_id(record.span_id, SPAN_ID_BYTES) if record.span_id else ""
    if (trace_id, span_id) == (record.trace_id, record.span_id):
        return record
    return msgspec.structs.replace(record, trace_id=trace_id, span_id=span_id)


def _check_point(point: Point) -> Point:
    _check_times(point.start_ns, point.time_ns)
    return point


def _check_times(*times_ns: int) -> None:
    for time_ns in times_ns:
        if not 0 <= time_ns <= MAX_TIME_NS:
            raise RejectionError(INVALID_TIME)
