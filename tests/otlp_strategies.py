"""Hypothesis strategies for OTLP requests of all signals, good and bad, and for arbitrary JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

texts = st.text(max_size=6)
times = st.integers(0, 2**63 - 1) | st.integers(0, 2**64 - 1)
counts = st.integers(0, 2**63 - 1)
small = st.integers(0, 2**32 - 1)
floats = st.floats(allow_nan=False)
good_trace_ids = st.integers(1, 2**128 - 1).map(lambda number: number.to_bytes(16))
good_span_ids = st.integers(1, 2**64 - 1).map(lambda number: number.to_bytes(8))
trace_ids = good_trace_ids | good_trace_ids | st.sampled_from([b"\x05" * 16, b"", bytes(16), b"\x01" * 12])
span_ids = good_span_ids | good_span_ids | st.sampled_from([b"\x05" * 8, b"", bytes(8), b"\x01" * 5])


def named(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    whole = st.builds(KeyValue, key=texts, value=values)
    return st.lists(whole | st.builds(KeyValue, key=texts), max_size=3)


any_values = st.recursive(
    st.builds(AnyValue)
    | st.builds(AnyValue, string_value=texts)
    | st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1))
    | st.builds(AnyValue, double_value=floats)
    | st.builds(AnyValue, bool_value=st.booleans())
    | st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
    lambda inner: (
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=3)))
        | st.builds(AnyValue, kvlist_value=st.builds(KeyValueList, values=named(inner)))
    ),
    max_leaves=5,
)


attributes = named(any_values)
resources = st.builds(Resource, attributes=attributes)
scopes = st.builds(InstrumentationScope, name=texts, version=texts, attributes=attributes)

spans = st.builds(
    trace_pb2.Span,
    trace_id=trace_ids,
    span_id=span_ids,
    parent_span_id=span_ids,
    name=texts,
    kind=st.sampled_from([0, 1, 2, 5, 77, -1]),
    start_time_unix_nano=times,
    end_time_unix_nano=times,
    attributes=attributes,
    events=st.lists(
        st.builds(trace_pb2.Span.Event, time_unix_nano=times, name=texts, attributes=attributes), max_size=2
    ),
    links=st.lists(
        st.builds(
            trace_pb2.Span.Link, trace_id=trace_ids, span_id=span_ids, flags=small, attributes=attributes
        ),
        max_size=2,
    ),
    status=st.none() | st.builds(trace_pb2.Status, code=st.sampled_from([0, 1, 2]), message=texts),
    trace_state=texts,
    flags=small,
    dropped_attributes_count=small,
    dropped_events_count=small,
    dropped_links_count=small,
)
records = st.builds(
    logs_pb2.LogRecord,
    time_unix_nano=times,
    observed_time_unix_nano=times,
    severity_number=st.sampled_from([0, 9, 24, 99]),
    severity_text=texts,
    event_name=texts,
    body=st.none() | any_values,
    attributes=attributes,
    trace_id=trace_ids,
    span_id=span_ids,
    flags=small,
)
exemplars = st.lists(
    st.builds(metrics_pb2.Exemplar, as_double=floats, time_unix_nano=times, trace_id=trace_ids)
    | st.builds(
        metrics_pb2.Exemplar, as_int=st.integers(-5, 5), span_id=span_ids, filtered_attributes=attributes
    )
    | st.builds(metrics_pb2.Exemplar),
    max_size=2,
)
common: dict[str, st.SearchStrategy[Any]] = {
    "start_time_unix_nano": times,
    "time_unix_nano": times,
    "attributes": attributes,
    "flags": small,
}
maybe = st.none() | floats
numbers = st.lists(
    st.builds(
        metrics_pb2.NumberDataPoint, as_int=st.integers(-(2**63), 2**63 - 1), exemplars=exemplars, **common
    )
    | st.builds(metrics_pb2.NumberDataPoint, as_double=floats, **common)
    | st.builds(metrics_pb2.NumberDataPoint, **common),
    max_size=3,
)
histograms = st.lists(
    st.builds(
        metrics_pb2.HistogramDataPoint,
        count=counts,
        sum=maybe,
        min=maybe,
        max=maybe,
        bucket_counts=st.lists(counts, max_size=3),
        explicit_bounds=st.lists(floats, max_size=3),
        exemplars=exemplars,
        **common,
    ),
    max_size=3,
)
buckets = st.builds(
    metrics_pb2.ExponentialHistogramDataPoint.Buckets,
    offset=st.integers(-(2**31), 2**31 - 1),
    bucket_counts=st.lists(counts, max_size=3),
)
exponentials = st.lists(
    st.builds(
        metrics_pb2.ExponentialHistogramDataPoint,
        count=counts,
        sum=maybe,
        scale=st.integers(-10, 20),
        zero_count=counts,
        zero_threshold=floats,
        positive=st.none() | buckets,
        negative=st.none() | buckets,
        min=maybe,
        exemplars=exemplars,
        **common,
    ),
    max_size=2,
)
summaries = st.lists(
    st.builds(
        metrics_pb2.SummaryDataPoint,
        count=counts,
        sum=floats,
        quantile_values=st.lists(
            st.builds(metrics_pb2.SummaryDataPoint.ValueAtQuantile, quantile=floats, value=floats), max_size=2
        ),
        **common,
    ),
    max_size=2,
)
temporality = st.sampled_from([0, 1, 2])
named_metric: dict[str, st.SearchStrategy[Any]] = {"name": texts, "unit": texts, "description": texts}
instruments = (
    st.builds(metrics_pb2.Metric, **named_metric)
    | st.builds(metrics_pb2.Metric, gauge=st.builds(metrics_pb2.Gauge, data_points=numbers), **named_metric)
    | st.builds(
        metrics_pb2.Metric,
        sum=st.builds(
            metrics_pb2.Sum,
            data_points=numbers,
            aggregation_temporality=temporality,
            is_monotonic=st.booleans(),
        ),
    )
    | st.builds(
        metrics_pb2.Metric,
        histogram=st.builds(
            metrics_pb2.Histogram, data_points=histograms, aggregation_temporality=temporality
        ),
    )
    | st.builds(
        metrics_pb2.Metric,
        exponential_histogram=st.builds(
            metrics_pb2.ExponentialHistogram, data_points=exponentials, aggregation_temporality=temporality
        ),
    )
    | st.builds(metrics_pb2.Metric, summary=st.builds(metrics_pb2.Summary, data_points=summaries))
)


def several(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(items, max_size=2)


trace_requests = st.builds(
    ExportTraceServiceRequest,
    resource_spans=several(
        st.builds(
            trace_pb2.ResourceSpans,
            resource=st.none() | resources,
            schema_url=texts,
            scope_spans=several(
                st.builds(
                    trace_pb2.ScopeSpans, scope=st.none() | scopes, spans=several(spans), schema_url=texts
                )
            ),
        )
    ),
)
log_requests = st.builds(
    ExportLogsServiceRequest,
    resource_logs=several(
        st.builds(
            logs_pb2.ResourceLogs,
            resource=st.none() | resources,
            scope_logs=several(
                st.builds(logs_pb2.ScopeLogs, scope=st.none() | scopes, log_records=several(records))
            ),
        )
    ),
)
metric_requests = st.builds(
    ExportMetricsServiceRequest,
    resource_metrics=several(
        st.builds(
            metrics_pb2.ResourceMetrics,
            resource=st.none() | resources,
            scope_metrics=several(
                st.builds(metrics_pb2.ScopeMetrics, scope=st.none() | scopes, metrics=several(instruments))
            ),
        )
    ),
)
requests = trace_requests | log_requests | metric_requests
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("9" * 400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
