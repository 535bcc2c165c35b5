"""OTLP protobuf into records: every member, and what is done about what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_wandb.errors import InputError
from otel_wandb.ingest.otlp import decode_logs, decode_metrics, decode_traces
from otel_wandb.records import (
    Event,
    Exemplar,
    ExponentialPoint,
    HistogramPoint,
    Link,
    LogRecord,
    Metric,
    NumberPoint,
    Resource,
    Scope,
    Span,
    SummaryPoint,
)
from tests.otlp_samples import (
    PARENT_ID,
    SPAN_ID,
    START_NS,
    TRACE_ID,
    any_value,
    attributes,
    logs,
    metrics,
    span,
    traces,
)

EVERY_VALUE: dict[str, Any] = {
    "text": "Grüße",
    "empty": "",
    "zero": 0,
    "negative": -(2**63),
    "ratio": 0.5,
    "nothing": 0.0,
    "no": False,
    "raw": b"\x00\xff",
    "list": ["a", "", 1, [True, None]],
    "map": {"inner": {"deep": 1}, "none": None},
    "unset": None,
}
EVENT = trace_pb2.Span.Event(time_unix_nano=START_NS + 1, name="token", attributes=attributes({"n": 1}))


def test_a_span_keeps_every_member() -> None:
    sent = span(
        parent_span_id=PARENT_ID,
        trace_state="ot=th:8",
        flags=0x301,
        attributes=attributes(EVERY_VALUE),
        events=[EVENT],
        links=[trace_pb2.Span.Link(trace_id=TRACE_ID, span_id=PARENT_ID, trace_state="a=b", flags=1)],
        status=trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message="boom"),
        dropped_attributes_count=1,
        dropped_events_count=2,
        dropped_links_count=3,
    )
    decoded = decode_traces(traces(sent).SerializeToString())
    assert (decoded.items, decoded.rejected, len(decoded.batches)) == (1, {}, 1)
    batch = decoded.batches[0]
    assert batch.resource == Resource({"service.name": "rag"})
    assert batch.scope == Scope("openai", "1.2")
    assert batch.spans == [
        Span(
            trace_id="0af7651916cd43dd8448eb211c80319c",
            span_id="b7ad6b7169203331",
            parent_id="00f067aa0ba902b7",
            name="chat",
            kind=3,
            start_ns=START_NS,
            end_ns=START_NS + 5_000_000,
            attributes=EVERY_VALUE,
            events=[Event(START_NS + 1, "token", {"n": 1})],
            links=[Link("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", {}, "a=b", 1)],
            status_code=2,
            status_message="boom",
            trace_state="ot=th:8",
            flags=0x301,
            dropped_attributes=1,
            dropped_events=2,
            dropped_links=3,
        )
    ]
    types = {key: type(value) for key, value in batch.spans[0].attributes.items()}
    assert (types["zero"], types["nothing"], types["no"]) == (int, float, bool)


def test_the_last_of_two_equal_keys_holds() -> None:
    twice = [KeyValue(key="k", value=any_value(1)), KeyValue(key="k", value=any_value(2))]
    decoded = decode_traces(traces(span(attributes=twice)).SerializeToString())
    assert decoded.batches[0].spans[0].attributes == {"k": 2}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"trace_id": b""}, "invalid_trace_id"),
        ({"trace_id": bytes(16)}, "invalid_trace_id"),
        ({"trace_id": TRACE_ID[:15]}, "invalid_trace_id"),
        ({"trace_id": TRACE_ID[:8]}, "invalid_trace_id"),
        ({"span_id": b""}, "invalid_span_id"),
        ({"span_id": bytes(8)}, "invalid_span_id"),
        ({"span_id": SPAN_ID + b"\x01"}, "invalid_span_id"),
        ({"end_time_unix_nano": 2**63}, "invalid_time"),
        ({"start_time_unix_nano": 2**64 - 1}, "invalid_time"),
        ({"events": [trace_pb2.Span.Event(time_unix_nano=2**63)]}, "invalid_time"),
    ],
)
def test_a_bad_span_is_counted_and_the_rest_kept(wrong: dict[str, object], reason: str) -> None:
    decoded = decode_traces(traces(span(name="first"), span(**wrong), span(name="last")).SerializeToString())
    assert (decoded.items, decoded.rejected) == (3, {reason: 1})
    assert [kept.name for kept in decoded.batches[0].spans] == ["first", "last"]


def test_a_batch_of_bad_spans_only_is_no_batch() -> None:
    decoded = decode_traces(traces(span(span_id=b""), span(span_id=b"")).SerializeToString())
    assert (decoded.items, decoded.rejected, decoded.batches) == (2, {"invalid_span_id": 2}, [])


@pytest.mark.parametrize("parent_id", [b"", bytes(8), b"\x01\x02"])
def test_no_parent_is_the_empty_string(parent_id: bytes) -> None:
    decoded = decode_traces(traces(span(parent_span_id=parent_id)).SerializeToString())
    assert decoded.batches[0].spans[0].parent_id == ""


def test_a_span_that_ends_before_it_starts_is_kept() -> None:
    decoded = decode_traces(traces(span(end_time_unix_nano=START_NS - 1)).SerializeToString())
    assert decoded.batches[0].spans[0].end_ns == START_NS - 1


def test_an_empty_request_holds_nothing() -> None:
    for decoded in (decode_traces(b""), decode_logs(b""), decode_metrics(b"")):
        assert (decoded.batches, decoded.items, decoded.rejected) == ([], 0, {})


def test_log_records_keep_every_member_and_need_no_ids() -> None:
    sent = logs(
        logs_pb2.LogRecord(
            time_unix_nano=START_NS,
            observed_time_unix_nano=START_NS + 1,
            severity_number=logs_pb2.SEVERITY_NUMBER_INFO,
            severity_text="INFO",
            event_name="gen_ai.user.message",
            body=any_value({"content": "hi"}),
            attributes=attributes({"gen_ai.system": "openai"}),
            trace_id=TRACE_ID,
            span_id=SPAN_ID,
            flags=1,
        ),
        logs_pb2.LogRecord(body=any_value("plain")),
        logs_pb2.LogRecord(trace_id=b"\x01", span_id=bytes(8)),
        logs_pb2.LogRecord(time_unix_nano=2**63),
    )
    decoded = decode_logs(sent.SerializeToString())
    assert (decoded.items, decoded.rejected) == (4, {"invalid_time": 1})
    assert decoded.batches[0].records == [
        LogRecord(
            time_ns=START_NS,
            observed_ns=START_NS + 1,
            severity_number=9,
            severity_text="INFO",
            event_name="gen_ai.user.message",
            body={"content": "hi"},
            attributes={"gen_ai.system": "openai"},
            trace_id="0af7651916cd43dd8448eb211c80319c",
            span_id="b7ad6b7169203331",
            flags=1,
        ),
        LogRecord(time_ns=0, body="plain"),
        LogRecord(time_ns=0),
    ]


START, END = START_NS, START_NS + 60
TIMES: dict[str, Any] = {"start_time_unix_nano": START, "time_unix_nano": END}
DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA


def decode_metric(**data: Any) -> Metric:
    sent = metrics(metrics_pb2.Metric(name="m", unit="1", description="d", **data))
    decoded = decode_metrics(sent.SerializeToString())
    assert (decoded.items, decoded.rejected) == (1, {})
    return decoded.batches[0].metrics[0]


def test_a_gauge_with_exemplars() -> None:
    exemplar = metrics_pb2.Exemplar(
        time_unix_nano=START + 30,
        as_double=1.5,
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        filtered_attributes=attributes({"user": "u"}),
    )
    without_value = metrics_pb2.Exemplar(time_unix_nano=START)
    point = metrics_pb2.NumberDataPoint(as_double=0.0, exemplars=[exemplar, without_value], **TIMES)
    kept = Exemplar(START + 30, 1.5, TRACE_ID.hex(), SPAN_ID.hex(), {"user": "u"})
    metric = decode_metric(gauge=metrics_pb2.Gauge(data_points=[point]))
    assert metric == Metric("m", "gauge", [NumberPoint(START, END, {}, 0.0, [kept])], "1", "d")


def test_a_sum() -> None:
    point = metrics_pb2.NumberDataPoint(as_int=7, attributes=attributes({"model": "m"}), **TIMES)
    total = metrics_pb2.Sum(data_points=[point], aggregation_temporality=DELTA, is_monotonic=True)
    kept = NumberPoint(START, END, {"model": "m"}, 7)
    assert decode_metric(sum=total) == Metric("m", "sum", [kept], "1", "d", 1, True)


def test_a_histogram() -> None:
    point = metrics_pb2.HistogramDataPoint(
        count=3, sum=4.5, min=0.5, max=2.5, explicit_bounds=[1, 2], bucket_counts=[1, 0, 2], **TIMES
    )
    histogram = metrics_pb2.Histogram(data_points=[point], aggregation_temporality=DELTA)
    kept = HistogramPoint(START, END, {}, 3, 4.5, [1.0, 2.0], [1, 0, 2], 0.5, 2.5)
    assert decode_metric(histogram=histogram) == Metric("m", "histogram", [kept], "1", "d", 1)


def test_an_exponential_histogram() -> None:
    point = metrics_pb2.ExponentialHistogramDataPoint(
        count=4, scale=3, zero_count=1, zero_threshold=1e-9, **TIMES
    )
    point.positive.offset, point.negative.offset = -2, 5
    point.positive.bucket_counts.extend([1, 0, 2])
    sent = metrics_pb2.ExponentialHistogram(data_points=[point], aggregation_temporality=DELTA)
    kept = ExponentialPoint(START, END, {}, 4, None, 3, 1, 1e-9, -2, [1, 0, 2], 5, [])
    metric = decode_metric(exponential_histogram=sent)
    assert metric == Metric("m", "exponential_histogram", [kept], "1", "d", 1)


def test_a_summary() -> None:
    point = metrics_pb2.SummaryDataPoint(count=2, sum=3.0, **TIMES)
    point.quantile_values.add(quantile=0.5, value=1.25)
    kept = SummaryPoint(START, END, {}, 2, 3.0, [(0.5, 1.25)])
    metric = decode_metric(summary=metrics_pb2.Summary(data_points=[point]))
    assert metric == Metric("m", "summary", [kept], "1", "d")


def test_a_metric_without_data_is_kept_and_nothing_rejected() -> None:
    decoded = decode_metrics(metrics(metrics_pb2.Metric(name="lost", unit="s")).SerializeToString())
    assert decoded.batches[0].metrics == [Metric("lost", "", [], "s")]
    assert (decoded.items, decoded.rejected) == (0, {})


def test_a_point_without_a_value_is_marked_as_a_gap() -> None:
    gauge = metrics_pb2.Gauge(data_points=[metrics_pb2.NumberDataPoint(time_unix_nano=START_NS)])
    decoded = decode_metrics(metrics(metrics_pb2.Metric(name="g", gauge=gauge)).SerializeToString())
    assert decoded.batches[0].metrics[0].points == [NumberPoint(0, START_NS, {}, 0.0, flags=1)]


def test_buckets_that_do_not_fit_their_bounds_are_rejected() -> None:
    points = [
        metrics_pb2.HistogramDataPoint(count=1, explicit_bounds=[1, 2], bucket_counts=[1, 0]),
        metrics_pb2.HistogramDataPoint(count=2, bucket_counts=[2]),
        metrics_pb2.HistogramDataPoint(count=3, explicit_bounds=[1, 2]),
    ]
    sent = metrics(metrics_pb2.Metric(name="h", histogram=metrics_pb2.Histogram(data_points=points)))
    decoded = decode_metrics(sent.SerializeToString())
    assert (decoded.items, decoded.rejected) == (3, {"invalid_buckets": 1})
    one_bucket, without_buckets = decoded.batches[0].metrics[0].points
    assert isinstance(one_bucket, HistogramPoint)
    assert isinstance(without_buckets, HistogramPoint)
    assert (one_bucket.bounds, one_bucket.counts) == ([], [2])
    assert (without_buckets.bounds, without_buckets.counts) == ([], [])


def test_strings_that_are_no_utf8_are_mended() -> None:
    """The Collector forwards them; protobuf's own parser refuses the request."""
    good = traces(span(attributes=attributes({"key": "cut here: ZZZZ", "other": "whole"})), span(name="next"))
    payload = good.SerializeToString().replace(b"ZZZZ", b"\xff\xfe\xe2Z")
    decoded = decode_traces(payload)
    assert [kept.name for kept in decoded.batches[0].spans] == ["chat", "next"]
    assert decoded.batches[0].spans[0].attributes == {
        "key": "cut here: \ufffd\ufffd\ufffdZ",
        "other": "whole",
    }
    assert decoded.batches[0].spans[0].start_ns == START_NS


@pytest.mark.parametrize("cut", [1, 40, 100])
def test_a_request_that_is_cut_off_is_an_error_that_says_what_was_expected(cut: int) -> None:
    payload = traces(span(attributes=attributes({"key": "value" * 50}))).SerializeToString()[:-cut]
    with pytest.raises(InputError, match="expected an OTLP ExportTraceServiceRequest in protobuf"):
        decode_traces(payload)


def test_values_nested_a_thousand_deep_are_an_error_not_a_crash() -> None:
    payload = b""  # the encoding is written from inside out: protobuf's own classes refuse to build it
    for _ in range(1000):
        payload = _field(5, _field(1, payload))  # an AnyValue with an ArrayValue around it
    request = _field(1, _field(2, _field(2, _field(9, _field(1, b"key") + _field(2, payload)))))
    with pytest.raises(InputError):
        decode_traces(request)
    shallow = AnyValue(string_value="core")
    for _ in range(30):
        shallow = AnyValue(array_value=ArrayValue(values=[shallow]))
    kept = decode_traces(traces(span(attributes=[KeyValue(key="k", value=shallow)])).SerializeToString())
    assert repr(kept.batches[0].spans[0].attributes["k"]) == "[" * 30 + "'core'" + "]" * 30


def test_members_of_a_later_version_are_ignored() -> None:
    request = traces(span())
    payload = request.SerializeToString() + _field(1000, b"something new")
    assert decode_traces(payload).batches == decode_traces(request.SerializeToString()).batches
    assert ExportTraceServiceRequest.FromString(payload) != request


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
