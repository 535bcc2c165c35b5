"""Metrics of OTLP/JSON into records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from otel_wandb.ingest.decoded import (
    INVALID_BUCKETS,
    NO_RECORDED_VALUE,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Decoded,
    RejectionError,
    read_each,
)
from otel_wandb.ingest.json_shapes import (
    JsonBuckets,
    JsonExemplar,
    JsonExponentialPoint,
    JsonHistogramPoint,
    JsonMetric,
    JsonNumberPoint,
    JsonSummaryPoint,
)
from otel_wandb.ingest.json_values import read_attributes, read_enum, read_id, read_time
from otel_wandb.records import (
    Exemplar,
    ExponentialPoint,
    HistogramPoint,
    Metric,
    MetricBatch,
    NumberPoint,
    Point,
    SummaryPoint,
)

_TEMPORALITIES: Final = dict(AggregationTemporality.items())
_NO_BUCKETS: Final = JsonBuckets()


def read_metric(metric: JsonMetric, decoded: Decoded[MetricBatch]) -> Metric:
    """The metric with the points that could be read; the others are counted as rejected."""
    for kind, has_temporality, read_point in _KINDS:  # noqa: B007  used after the break
        data = getattr(metric, kind)
        if data is not None:
            break
    else:
        return Metric(metric.name or "", "", [], metric.unit or "", metric.description or "")
    temporality = read_enum(data.aggregation_temporality, _TEMPORALITIES) if has_temporality else 0
    return Metric(
        metric.name or "",
        kind,
        read_each(data.data_points or (), read_point, decoded),
        metric.unit or "",
        metric.description or "",
        temporality,
        kind == "sum" and bool(data.is_monotonic),
    )


def _number(point: JsonNumberPoint) -> NumberPoint:
    value = point.as_double if point.as_int is None else point.as_int
    flags = point.flags or 0
    return NumberPoint(
        read_time(point.start_time_unix_nano),
        read_time(point.time_unix_nano),
        read_attributes(point.attributes),
        0.0 if value is None else value,
        _exemplars(point.exemplars),
        flags | NO_RECORDED_VALUE if value is None else flags,
    )


def _histogram(point: JsonHistogramPoint) -> HistogramPoint:
    counts = point.bucket_counts or []
    bounds = (point.explicit_bounds or []) if counts else []
    if counts and len(counts) != len(bounds) + 1:
        raise RejectionError(INVALID_BUCKETS)
    return HistogramPoint(
        read_time(point.start_time_unix_nano),
        read_time(point.time_unix_nano),
        read_attributes(point.attributes),
        point.count or 0,
        point.sum,
        bounds,
        counts,
        point.min,
        point.max,
        _exemplars(point.exemplars),
        point.flags or 0,
    )


def _exponential(point: JsonExponentialPoint) -> ExponentialPoint:
    positive, negative = point.positive or _NO_BUCKETS, point.negative or _NO_BUCKETS
    return ExponentialPoint(
        read_time(point.start_time_unix_nano),
        read_time(point.time_unix_nano),
        read_attributes(point.attributes),
        point.count or 0,
        point.sum,
        point.scale or 0,
        point.zero_count or 0,
        point.zero_threshold or 0.0,
        positive.offset or 0,
        positive.bucket_counts or [],
        negative.offset or 0,
        negative.bucket_counts or [],
        point.min,
        point.max,
        _exemplars(point.exemplars),
        point.flags or 0,
    )


def _summary(point: JsonSummaryPoint) -> SummaryPoint:
    quantiles = point.quantile_values or ()
    return SummaryPoint(
        read_time(point.start_time_unix_nano),
        read_time(point.time_unix_nano),
        read_attributes(point.attributes),
        point.count or 0,
        point.sum or 0.0,
        [(quantile.quantile or 0.0, quantile.value or 0.0) for quantile in quantiles],
        point.flags or 0,
    )


def _exemplars(exemplars: list[JsonExemplar] | None) -> list[Exemplar]:
    read = []
    for exemplar in exemplars or ():
        value = exemplar.as_double if exemplar.as_int is None else exemplar.as_int
        if value is not None:  # a measurement without a value says nothing
            read.append(
                Exemplar(
                    read_time(exemplar.time_unix_nano),
                    value,
                    read_id(exemplar.trace_id, TRACE_ID_BYTES),
                    read_id(exemplar.span_id, SPAN_ID_BYTES),
                    read_attributes(exemplar.filtered_attributes),
                )
            )
    return read


_KINDS: Final[tuple[tuple[str, bool, Callable[[Any], Point]], ...]] = (
    ("gauge", False, _number),
    ("sum", True, _number),
    ("histogram", True, _histogram),
    ("exponential_histogram", True, _exponential),
    ("summary", False, _summary),
)
"""Member of the metric, whether it has a temporality, how to read a point."""
