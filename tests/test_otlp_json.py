"""OTLP/JSON into records: the same as from protobuf, and what producers do beside the specification."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

from otel_wandb.errors import InputError
from otel_wandb.ingest.otlp import Decoded, decode_logs, decode_metrics, decode_traces
from otel_wandb.records import HistogramPoint, Metric, NumberPoint, Span, SpanBatch
from tests.otlp_samples import (
    PARENT_ID,
    SPAN_ID,
    START_NS,
    TRACE_ID,
    attributes,
    logs,
    metrics,
    span,
    to_json,
    traces,
)

TRACE_HEX, SPAN_HEX = TRACE_ID.hex(), SPAN_ID.hex()


def span_json(**members: object) -> dict[str, object]:
    """A good span in JSON, but for what is said."""
    good = {"traceId": TRACE_HEX, "spanId": SPAN_HEX, "name": "chat", "startTimeUnixNano": str(START_NS)}
    return good | {"endTimeUnixNano": str(START_NS + 1)} | members


def document(*spans: object) -> dict[str, Any]:
    return {
        "resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "s"}, "spans": list(spans)}]}]
    }


def decode_spans(*spans: object) -> Decoded[SpanBatch]:
    return decode_traces(json.dumps(document(*spans)).encode(), json=True)


def only_span(*spans: object) -> Span:
    decoded = decode_spans(*spans)
    assert decoded.rejected == {}
    (batch,) = decoded.batches
    (kept,) = batch.spans
    return kept


def values(*items: object) -> list[object]:
    """What a span's attributes become whose values are these."""
    named = [{"key": str(number), "value": item} for number, item in enumerate(items)]
    return list(only_span(span_json(attributes=named)).attributes.values())


def test_json_and_protobuf_of_a_request_are_the_same_records() -> None:
    request = traces(
        span(
            parent_span_id=PARENT_ID,
            attributes=attributes({"t": "x", "i": 2**62, "b": b"\xff", "l": [1, None]}),
        ),
        span(trace_id=b""),
    )
    assert decode_traces(to_json(request), json=True) == decode_traces(request.SerializeToString())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRACE_HEX.upper(), TRACE_HEX),
        (base64.b64encode(TRACE_ID).decode(), TRACE_HEX),
        ("0af76519-16cd-43dd-8448-eb211c80319c", TRACE_HEX),
    ],
)
def test_trace_ids_in_other_forms(text: str, expected: str) -> None:
    assert only_span(span_json(traceId=text)).trace_id == expected


def test_span_ids_in_other_forms() -> None:
    kept = only_span(span_json(spanId="B7AD6B7169203331", parentSpanId=base64.b64encode(PARENT_ID).decode()))
    assert (kept.span_id, kept.parent_id) == (SPAN_HEX, PARENT_ID.hex())


@pytest.mark.parametrize("parent_id", ["", None, "0" * 16, "abc", "no id at all", "AAA="])
def test_no_parent_is_the_empty_string(parent_id: object) -> None:
    assert only_span(span_json(parentSpanId=parent_id)).parent_id == ""


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"traceId": None}, "invalid_trace_id"),
        ({"traceId": ""}, "invalid_trace_id"),
        ({"traceId": "0" * 32}, "invalid_trace_id"),
        ({"traceId": TRACE_HEX[:-1]}, "invalid_trace_id"),
        ({"traceId": TRACE_HEX[:16]}, "invalid_trace_id"),
        ({"traceId": "g" * 32}, "invalid_trace_id"),
        ({"traceId": "0af7651916cd-43dd-8448-eb211c80319c-"}, "invalid_trace_id"),
        ({"traceId": TRACE_HEX[:23] + "="}, "invalid_trace_id"),
        ({"traceId": "é" * 32}, "invalid_trace_id"),
        ({"spanId": ""}, "invalid_span_id"),
        ({"spanId": "0" * 16}, "invalid_span_id"),
        ({"spanId": SPAN_HEX + "0"}, "invalid_span_id"),
        ({"endTimeUnixNano": str(2**63)}, "invalid_time"),
        ({"events": [{"timeUnixNano": 2**64}]}, "invalid_time"),
        ({"startTimeUnixNano": -1}, "malformed"),
        ({"traceId": 5}, "malformed"),
        ({"name": ["a"]}, "malformed"),
        ({"attributes": {"key": "value"}}, "malformed"),
        ({"attributes": [{"key": "k", "value": {"intValue": "five"}}]}, "malformed"),
        ({"attributes": [{"key": "k", "value": {"intValue": 2**63}}]}, "malformed"),
        ({"attributes": [{"key": "k", "value": {"bytesValue": "?"}}]}, "malformed"),
        ({"kind": 2**31}, "malformed"),
    ],
)
def test_a_bad_span_is_counted_and_the_rest_kept(wrong: dict[str, object], reason: str) -> None:
    decoded = decode_spans(span_json(name="first"), span_json(**wrong), span_json(name="last"))
    assert (decoded.items, decoded.rejected) == (3, {reason: 1})
    assert [kept.name for kept in decoded.batches[0].spans] == ["first", "last"]


@pytest.mark.parametrize("wrong", [None, 5, "span", [], True])
def test_what_is_no_span_at_all_is_malformed(wrong: object) -> None:
    decoded = decode_spans(wrong, span_json())
    assert (decoded.items, len(decoded.batches[0].spans)) == (2, 1)
    assert sum(decoded.rejected.values()) == 1


@pytest.mark.parametrize("time", [START_NS, str(START_NS)])
def test_64_bit_integers_are_strings_or_numbers(time: object) -> None:
    assert only_span(span_json(startTimeUnixNano=time)).start_ns == START_NS


def test_integers_may_be_written_as_floats() -> None:
    assert values({"intValue": 5.0}, {"intValue": "5"}, {"intValue": "-0"}) == [5, 5, 0]
    text = json.dumps(document(span_json(startTimeUnixNano="TIME"))).replace('"TIME"', "1.780000000123e18")
    assert decode_traces(text.encode(), json=True).batches[0].spans[0].start_ns == 1_780_000_000_123_000_064


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (2, 2),
        ("2", 2),
        ("SPAN_KIND_SERVER", 2),
        ("span_kind_server", 2),
        (None, 0),
        ("SPAN_KIND_NEW", 0),
        (99, 99),
    ],
)
def test_enumerations_are_numbers_or_names(kind: object, number: int) -> None:
    assert only_span(span_json(kind=kind)).kind == number


def test_enumerations_of_status_severity_and_temporality() -> None:
    failed = only_span(span_json(status={"code": "STATUS_CODE_ERROR", "message": "boom"}))
    assert (failed.status_code, failed.status_message) == (2, "boom")
    log = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityNumber": "SEVERITY_NUMBER_WARN2"}]}]}]}
    assert decode_logs(json.dumps(log).encode(), json=True).batches[0].records[0].severity_number == 14
    for temporality in ("AGGREGATION_TEMPORALITY_DELTA", 1, "1"):
        kept = only_metric({"sum": {"aggregationTemporality": temporality, "dataPoints": []}})
        assert kept.temporality == 1


def test_values_of_all_kinds() -> None:
    expected: list[tuple[object, object]] = [
        ({"stringValue": ""}, ""),
        ({"intValue": "-9223372036854775808"}, -(2**63)),
        ({"doubleValue": 1}, 1.0),
        ({"doubleValue": "-Infinity"}, float("-inf")),
        ({"boolValue": False}, False),
        ({"bytesValue": "AP8="}, b"\0\xff"),
        ({"bytesValue": "_-8"}, b"\xff\xef"),
        (
            {"arrayValue": {"values": [{"stringValue": "a"}, {}, None, {"arrayValue": {}}]}},
            ["a", None, None, []],
        ),
        (
            {"kvlistValue": {"values": [{"key": "k", "value": {"kvlistValue": {}}}, {"key": "n"}]}},
            {"k": {}, "n": None},
        ),
        ({"stringValue": None, "intValue": 1}, 1),
        ({}, None),
        (None, None),
    ]
    assert values(*[sent for sent, _ in expected]) == [kept for _, kept in expected]


def test_nan_may_be_a_string_or_bare() -> None:
    (quoted,) = values({"doubleValue": "NaN"})
    (bare,) = values({"doubleValue": float("nan")})  # Python's json writes it so
    assert repr([quoted, bare]) == "[nan, nan]"


def test_the_last_of_two_equal_keys_holds() -> None:
    twice = [{"key": "k", "value": {"intValue": 1}}, {"key": "k", "value": {"intValue": 2}}]
    assert only_span(span_json(attributes=twice)).attributes == {"k": 2}
    payload = json.dumps(document(span_json())).replace('"name": "chat"', '"name": "first", "name": "second"')
    assert decode_traces(payload.encode(), json=True).batches[0].spans[0].name == "second"


def test_null_is_absent_everywhere() -> None:
    members = ["kind", "attributes", "events", "links", "status", "traceState", "flags", "droppedLinksCount"]
    assert only_span(span_json(**dict.fromkeys(members))) == only_span(span_json())
    empty: dict[str, object] = {
        "resourceSpans": [{"resource": None, "scopeSpans": [{"scope": None, "spans": None}]}]
    }
    nothings: list[dict[str, object]] = [empty, {"resourceSpans": None}, {"resourceSpans": [{}]}, {}]
    for nothing in nothings:
        decoded = decode_traces(json.dumps(nothing).encode(), json=True)
        assert (decoded.items, decoded.batches, decoded.rejected) == (0, [], {})


def test_unknown_names_are_ignored() -> None:
    extended = document(span_json(futureMember={"deep": [1, {"traceId": "x"}]}))
    extended["profileHints"] = [1]
    extended["resourceSpans"][0]["entityRefs"] = None
    decoded = decode_traces(json.dumps(extended).encode(), json=True)
    assert decoded.batches[0].spans == [only_span(span_json())]


def test_snake_case_is_taken_too() -> None:
    request = traces(
        span(parent_span_id=PARENT_ID, attributes=attributes({"a_b": "c_d", "n": 1, "l": ["x"]}))
    )
    text = to_json(request).decode()
    for camel, snake in {
        "resourceSpans": "resource_spans",
        "scopeSpans": "scope_spans",
        "traceId": "trace_id",
        "spanId": "span_id",
        "parentSpanId": "parent_span_id",
        "startTimeUnixNano": "start_time_unix_nano",
        "endTimeUnixNano": "end_time_unix_nano",
        "stringValue": "string_value",
        "intValue": "int_value",
        "arrayValue": "array_value",
    }.items():
        mixed = text.replace(f'"{camel}"', f'"{snake}"')
        assert mixed != text
        assert decode_traces(mixed.encode(), json=True) == decode_traces(request.SerializeToString())
        text = mixed if camel != "resourceSpans" else text
    assert decode_traces(text.encode(), json=True) == decode_traces(request.SerializeToString())


def test_text_that_looks_like_a_name_in_snake_case_is_left_alone() -> None:
    content = '{"trace_id": "x", "string_value": 1}'
    assert values({"stringValue": content}) == [content]
    assert values({"stringValue": content}, {"doubleValue": float("inf")}) == [content, float("inf")]


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    """JavaScript cuts strings between the halves, and writes the half that is left as an escape."""
    payload = json.dumps(document(span_json(name="NAME"))).replace(
        "NAME", r"caf\u00e9 \ud83d, whole: \ud83d\ude00"
    )
    decoded = decode_traces(payload.encode(), json=True)
    assert decoded.batches[0].spans[0].name == "café \ufffd, whole: \U0001f600"


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    payload = json.dumps(document(span_json(name="NAME"))).encode().replace(b"NAME", b"caf\xe9")
    assert decode_traces(payload, json=True).batches[0].spans[0].name == "caf\ufffd"


def test_a_byte_order_mark_is_no_error() -> None:
    payload = b"\xef\xbb\xbf" + json.dumps(document(span_json())).encode()
    assert decode_traces(payload, json=True).items == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        "null",
        "[]",
        "5",
        '{"resourceSpans": 5}',
        '{"resourceSpans": [{"scopeSpans": {}}]}',
        "{} {}",
    ],
)
def test_what_is_no_request_is_an_error_that_says_what_was_expected(text: str) -> None:
    with pytest.raises(InputError, match="expected an OTLP/JSON request"):
        decode_traces(text.encode(), json=True)


def test_a_request_of_another_signal_is_an_error() -> None:
    payload = to_json(metrics(metrics_pb2.Metric(name="m")))
    with pytest.raises(InputError, match='with "resourceSpans", not with "resourceMetrics"'):
        decode_traces(payload, json=True)


def nested(levels: int) -> object:
    value: object = {"stringValue": "core"}
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
    return value


def test_a_value_that_is_nested_too_deeply_costs_its_span() -> None:
    deep = span_json(attributes=[{"key": "k", "value": nested(100)}])
    decoded = decode_spans(deep, span_json())
    assert (decoded.items, decoded.rejected, len(decoded.batches[0].spans)) == (2, {"too_deep": 1}, 1)
    assert values(nested(30)) != [None]


@pytest.mark.parametrize(
    "opened", ['{"arrayValue":{"values":[', '{"kvlistValue":{"values":[{"key":"k","value":', "["]
)
def test_nesting_without_end_is_an_error_not_a_crash(opened: str) -> None:
    closing = {"{": "}", "[": "]"}
    closed = "".join(closing[char] for char in reversed(opened) if char in closing)
    for levels in (1_000, 100_000):
        attribute = f'[{{"key":"k","value":{opened * levels}{closed * levels}}}]'
        payload = json.dumps(document(span_json(attributes="HERE"))).replace('"HERE"', attribute)
        with pytest.raises(InputError, match="nested too deeply"):
            decode_traces(payload.encode(), json=True)


def test_a_bad_resource_is_an_error() -> None:
    bad = document(span_json())
    bad["resourceSpans"][0]["resource"] = {"attributes": [{"key": "k", "value": {"bytesValue": "?"}}]}
    with pytest.raises(InputError, match="attributes of a resource or scope"):
        decode_traces(json.dumps(bad).encode(), json=True)


def only_metric(members: dict[str, object]) -> Metric:
    whole = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", **members}]}]}]}
    decoded = decode_metrics(json.dumps(whole).encode(), json=True)
    assert decoded.rejected == {}
    return decoded.batches[0].metrics[0]


def test_numbers_of_points_are_numbers_or_strings() -> None:
    points = [{"asInt": "7"}, {"asInt": 7}, {"asDouble": 7}, {"asDouble": "Infinity"}, {}, {"flags": 1}]
    kept = only_metric({"gauge": {"dataPoints": points}}).points
    assert kept == [
        NumberPoint(0, 0, {}, 7),
        NumberPoint(0, 0, {}, 7),
        NumberPoint(0, 0, {}, 7.0),
        NumberPoint(0, 0, {}, float("inf")),
        NumberPoint(0, 0, {}, 0.0, flags=1),
        NumberPoint(0, 0, {}, 0.0, flags=1),
    ]
    assert [type(point.value) for point in kept if isinstance(point, NumberPoint)][:3] == [int, int, float]


def test_histogram_counts_are_numbers_or_strings() -> None:
    for counts in (["1", "2"], [1, 2], [1.0, "2"]):
        point = {"count": "3", "sum": 4, "bucketCounts": counts, "explicitBounds": ["1.5"]}
        kept = only_metric({"histogram": {"aggregationTemporality": 2, "dataPoints": [point]}})
        assert kept.points == [HistogramPoint(0, 0, {}, 3, 4.0, [1.5], [1, 2])]


def test_metrics_without_data_are_kept() -> None:
    without_data: list[dict[str, object]] = [{}, {"gauge": None}, {"newKind": {"dataPoints": [1]}}]
    for members in without_data:
        assert only_metric(members) == Metric("m", "", [])
    assert only_metric({"gauge": {}}) == Metric("m", "gauge", [])


def test_members_that_another_kind_of_metric_has_are_ignored() -> None:
    members = {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": []}
    assert only_metric({"gauge": members}) == Metric("m", "gauge", [])
    assert only_metric({"histogram": members}) == Metric("m", "histogram", [], temporality=1)
    assert only_metric({"sum": members}) == Metric("m", "sum", [], temporality=1, monotonic=True)


def test_a_malformed_metric_costs_its_points_only() -> None:
    bad = {"name": "bad", "sum": {"dataPoints": [{"asInt": "seven"}, {"asInt": 7}]}}
    good = {"name": "good", "gauge": {"dataPoints": [{"asInt": 1}]}}
    whole = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [bad, 5, good]}]}]}
    decoded = decode_metrics(json.dumps(whole).encode(), json=True)
    assert (decoded.items, decoded.rejected) == (4, {"malformed": 3})
    assert [metric.name for metric in decoded.batches[0].metrics] == ["good"]


def test_logs_and_metrics_are_the_same_records_as_from_protobuf() -> None:
    record = logs_pb2.LogRecord(time_unix_nano=START_NS, body=AnyValue(int_value=0), trace_id=TRACE_ID)
    log_request = logs(record, logs_pb2.LogRecord())
    assert decode_logs(to_json(log_request), json=True) == decode_logs(log_request.SerializeToString())
    point = metrics_pb2.NumberDataPoint(as_int=-1, attributes=[KeyValue(key="k")])
    request = metrics(metrics_pb2.Metric(name="m", gauge=metrics_pb2.Gauge(data_points=[point])))
    assert decode_metrics(to_json(request), json=True) == decode_metrics(request.SerializeToString())
