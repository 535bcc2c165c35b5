"""The SDK's metrics and log records to our MessagePack. See `packing`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource

from otel_wandb.ingest.packing import attributes, resource, scope

_UNSPECIFIED = 0


def log_batch(item: ReadableLogRecord) -> object:
    """A batch of one log record, as `records.LogBatch`."""
    record = item.log_record
    return (
        resource(item.resource or Resource.get_empty()),
        scope(item.instrumentation_scope),
        [
            (
                record.timestamp or 0,
                record.observed_timestamp or 0,
                record.severity_number.value if record.severity_number else 0,
                record.severity_text or "",
                record.event_name or "",
                record.body,
                attributes(record.attributes),
                format(record.trace_id, "032x") if record.trace_id else "",
                format(record.span_id, "016x") if record.span_id else "",
                int(record.trace_flags or 0),
            )
        ],
    )


def metric_batches(data: MetricsData) -> list[tuple[ResourceMetrics, ScopeMetrics]]:
    """The parts of an export, each of one resource and scope."""
    return [(each, scoped) for each in data.resource_metrics for scoped in each.scope_metrics]


def metric_batch(part: tuple[ResourceMetrics, ScopeMetrics]) -> object:
    """One part as `records.MetricBatch`."""
    of, scoped = part
    return (resource(of.resource), scope(scoped.scope), [_metric(metric) for metric in scoped.metrics])


def count_points(part: tuple[ResourceMetrics, ScopeMetrics]) -> int:
    """How many data points the part holds."""
    return sum(len(metric.data.data_points) for metric in part[1].metrics)


def _metric(metric: Metric) -> tuple[object, ...]:
    data = metric.data
    kind, temporality, monotonic = "gauge", _UNSPECIFIED, False
    points: list[tuple[object, ...]]
    if isinstance(data, ExponentialHistogram):
        kind, temporality = "exponential_histogram", int(data.aggregation_temporality)
        points = [_exponential(point) for point in data.data_points]
    elif isinstance(data, Histogram):
        kind, temporality = "histogram", int(data.aggregation_temporality)
        points = [_histogram(point) for point in data.data_points]
    else:
        assert isinstance(data, Sum | Gauge)  # the SDK makes no other
        if isinstance(data, Sum):
            kind, temporality, monotonic = "sum", int(data.aggregation_temporality), data.is_monotonic
        points = [_number(point) for point in data.data_points]
    return (metric.name, kind, points, metric.unit or "", metric.description or "", temporality, monotonic)


def _number(point: NumberDataPoint) -> tuple[object, ...]:
    return ("n", *_times(point), point.value, list(_exemplars(point.exemplars)))


def _histogram(point: HistogramDataPoint) -> tuple[object, ...]:
    return (
        "h",
        *_times(point),
        point.count,
        point.sum,
        point.explicit_bounds,
        point.bucket_counts,
        point.min if point.count else None,
        point.max if point.count else None,
        list(_exemplars(point.exemplars)),
    )


def _exponential(point: ExponentialHistogramDataPoint) -> tuple[object, ...]:
    return (
        "e",
        *_times(point),
        point.count,
        point.sum,
        point.scale,
        point.zero_count,
        0.0,
        point.positive.offset,
        point.positive.bucket_counts,
        point.negative.offset,
        point.negative.bucket_counts,
        point.min if point.count else None,
        point.max if point.count else None,
        list(_exemplars(point.exemplars)),
    )


def _times(
    point: NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint,
) -> tuple[object, ...]:
    return (point.start_time_unix_nano or 0, point.time_unix_nano or 0, attributes(point.attributes))


def _exemplars(exemplars: Sequence[Exemplar]) -> Iterator[tuple[object, ...]]:
    for exemplar in exemplars:
        yield (
            exemplar.time_unix_nano,
            exemplar.value,
            format(exemplar.trace_id, "032x") if exemplar.trace_id else "",
            format(exemplar.span_id, "016x") if exemplar.span_id else "",
            attributes(exemplar.filtered_attributes),
        )
