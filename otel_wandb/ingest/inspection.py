"""A first look at a request: whether it decodes, how many items it holds, and how many can never be taken.

It costs little more than the parse. Only where something looks doubtful (an id of a wrong length, say) is the
request decoded as the bridge will decode it, so that what the sender is told is what the ledger will say.
Items that are refused for what is deep inside them, such as the time of an event, are found by the bridge
alone: the ledger has them, the answer does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from otel_wandb.ingest.decoded import (
    MAX_TIME_NS,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    RejectionError,
    normalise_id,
)
from otel_wandb.ingest.json_shapes import (
    Item,
    JsonDocument,
    JsonGroup,
    JsonMarks,
    JsonMetric,
    JsonScoped,
)
from otel_wandb.ingest.json_text import decode_canonical
from otel_wandb.ingest.json_values import read_attributes
from otel_wandb.ingest.otlp import decode
from otel_wandb.ingest.otlp_proto import parse_request
from otel_wandb.journal import Codec, Kind

_NO_TRACE: Final = bytes(TRACE_ID_BYTES)
_NO_SPAN: Final = bytes(SPAN_ID_BYTES)
_TRACE_ID_SIZES: Final = frozenset((TRACE_ID_BYTES,))
_SPAN_ID_SIZES: Final = frozenset((SPAN_ID_BYTES,))

_MARKS: Final = msgspec.json.Decoder(JsonDocument[JsonMarks], strict=False)
_METRICS: Final = msgspec.json.Decoder(JsonDocument[JsonMetric], strict=False)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a request holds. `items` counts good and bad; `rejected` are the bad ones by reason."""

    items: int
    rejected: dict[str, int]


def inspect_request(kind: Kind, plain: bytes) -> Inspection:
    """What the decompressed request holds; raises `InputError` where it cannot be read as a whole."""
    items, sound = _LOOKS[kind](plain)
    if sound:
        return Inspection(items, {})
    decoded = decode(kind, Codec.PLAIN, plain)
    return Inspection(decoded.items, decoded.rejected)


def _look_at_traces(payload: bytes) -> tuple[int, bool]:
    items, sound = 0, True
    for group in parse_request(ExportTraceServiceRequest, payload).resource_spans:
        for scoped in group.scope_spans:
            spans = scoped.spans[:]  # a list, made in C, is faster to go through than the container
            items += len(spans)
            trace_ids, span_ids = [span.trace_id for span in spans], [span.span_id for span in spans]
            sound = (
                sound
                and {*map(len, trace_ids)} <= _TRACE_ID_SIZES
                and {*map(len, span_ids)} <= _SPAN_ID_SIZES
                and _NO_TRACE not in trace_ids
                and _NO_SPAN not in span_ids
            )
    return items, sound


def _look_at_logs(payload: bytes) -> tuple[int, bool]:
    items, sound = 0, True
    for group in parse_request(ExportLogsServiceRequest, payload).resource_logs:
        for scoped in group.scope_logs:
            items += len(scoped.log_records)
            sound = sound and all(
                record.time_unix_nano <= MAX_TIME_NS and record.observed_time_unix_nano <= MAX_TIME_NS
                for record in scoped.log_records
            )
    return items, sound


def _look_at_metrics(payload: bytes) -> tuple[int, bool]:
    items, sound = 0, True
    for group in parse_request(ExportMetricsServiceRequest, payload).resource_metrics:
        for scoped in group.scope_metrics:
            for metric in scoped.metrics:
                points, is_sound = _look_at_metric(metric)
                items += points
                sound = sound and is_sound
    return items, sound


def _look_at_metric(metric: Metric) -> tuple[int, bool]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return 0, True
    points = getattr(metric, kind).data_points
    sound = all(point.time_unix_nano <= MAX_TIME_NS for point in points)
    if sound and kind == "histogram":
        sound = all(_fits(point.bucket_counts, point.explicit_bounds) for point in points)
    return len(points), sound


def _fits(counts: Any, bounds: Any) -> bool:  # repeated fields and lists alike
    return not counts or len(counts) == len(bounds) + 1


def _look_at_json_traces(payload: bytes) -> tuple[int, bool]:
    document = decode_canonical(payload, _MARKS)
    if document is None or document.resource_spans is None:
        return 0, False
    groups = document.resource_spans
    scopes = [scoped for group in groups for scoped in group.scope_spans or ()]
    spans = [span for scoped in scopes for span in scoped.spans or ()]
    sound = _are_readable(groups, scopes) and all(
        normalise_id(span.trace_id or "", TRACE_ID_BYTES) and normalise_id(span.span_id or "", SPAN_ID_BYTES)
        for span in spans
    )
    return len(spans), sound


def _look_at_json_logs(payload: bytes) -> tuple[int, bool]:
    document = decode_canonical(payload, _MARKS)
    if document is None or document.resource_logs is None:
        return 0, False
    groups = document.resource_logs
    scopes = [scoped for group in groups for scoped in group.scope_logs or ()]
    records = [record for scoped in scopes for record in scoped.log_records or ()]
    sound = _are_readable(groups, scopes) and all(
        (record.time_unix_nano or 0) <= MAX_TIME_NS and (record.observed_time_unix_nano or 0) <= MAX_TIME_NS
        for record in records
    )
    return len(records), sound


def _look_at_json_metrics(payload: bytes) -> tuple[int, bool]:
    document = decode_canonical(payload, _METRICS)
    if document is None or document.resource_metrics is None:
        return 0, False
    groups = document.resource_metrics
    scopes = [scoped for group in groups for scoped in group.scope_metrics or ()]
    items, sound = _count_json_points(scopes)
    return items, sound and _are_readable(groups, scopes)


def _are_readable(groups: Iterable[JsonGroup[Item]], scopes: Iterable[JsonScoped[Item]]) -> bool:
    """Whether what describes resources and scopes can be read; where not, nothing of the request can."""
    try:
        for group in groups:
            read_attributes(group.resource.attributes if group.resource else None)
        for scoped in scopes:
            read_attributes(scoped.scope.attributes if scoped.scope else None)
    except RejectionError:
        return False
    return True


def _count_json_points(scopes: Iterable[JsonScoped[JsonMetric]]) -> tuple[int, bool]:
    items, sound = 0, True
    for metric in (metric for scoped in scopes for metric in scoped.metrics or ()):
        kinds = (metric.gauge, metric.sum, metric.histogram, metric.exponential_histogram, metric.summary)
        data = [kind.data_points or () for kind in kinds if kind]
        items += sum(map(len, data))
        histograms = metric.histogram.data_points or () if metric.histogram else ()
        sound = (
            sound
            and len(data) <= 1
            and all((point.time_unix_nano or 0) <= MAX_TIME_NS for points in data for point in points)
            and all(_fits(point.bucket_counts or (), point.explicit_bounds or ()) for point in histograms)
        )
    return items, sound


_LOOKS: Final[dict[Kind, Callable[[bytes], tuple[int, bool]]]] = {
    Kind.OTLP_TRACES: _look_at_traces,
    Kind.OTLP_LOGS: _look_at_logs,
    Kind.OTLP_METRICS: _look_at_metrics,
    Kind.OTLP_TRACES_JSON: _look_at_json_traces,
    Kind.OTLP_LOGS_JSON: _look_at_json_logs,
    Kind.OTLP_METRICS_JSON: _look_at_json_metrics,
}
