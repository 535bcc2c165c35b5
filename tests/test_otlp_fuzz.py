"""Whatever comes in: records, rejections or `InputError`, and the same from protobuf as from JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_wandb.errors import InputError
from otel_wandb.ingest.otlp import AnyDecoded, count_items, decode
from otel_wandb.journal import Codec, Kind
from otel_wandb.records import LogBatch, MetricBatch, SpanBatch
from tests.otlp_samples import Request, to_document, to_json
from tests.otlp_strategies import json_values, requests, trace_requests

SIZED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KINDS = [kind for kind in Kind if kind.signal]
PROTOBUF = {
    ExportTraceServiceRequest: Kind.OTLP_TRACES,
    ExportLogsServiceRequest: Kind.OTLP_LOGS,
    ExportMetricsServiceRequest: Kind.OTLP_METRICS,
}
JSON = {
    ExportTraceServiceRequest: Kind.OTLP_TRACES_JSON,
    ExportLogsServiceRequest: Kind.OTLP_LOGS_JSON,
    ExportMetricsServiceRequest: Kind.OTLP_METRICS_JSON,
}


def check(kind: Kind, payload: bytes, codec: Codec = Codec.PLAIN) -> AnyDecoded | None:
    """Decode, and hold the result to what is promised of it."""
    try:
        decoded = decode(kind, codec, payload, max_bytes=1 << 20)
    except InputError:
        return None
    kept = sum(items_of(batch) for batch in decoded.batches)
    assert kept + sum(decoded.rejected.values()) == decoded.items
    msgspec.msgpack.encode(decoded.batches)  # nothing in them that the journal and the store could not hold
    return decoded


def items_of(batch: SpanBatch | LogBatch | MetricBatch) -> int:
    if isinstance(batch, SpanBatch):
        return len(batch.spans)
    if isinstance(batch, LogBatch):
        return len(batch.records)
    return sum(len(metric.points) for metric in batch.metrics)


@SIZED
@given(requests)
def test_protobuf_and_json_of_a_request_are_the_same_records(request: Request) -> None:
    protobuf, text = request.SerializeToString(), to_json(request)
    decoded = check(PROTOBUF[type(request)], protobuf)
    assert decoded is not None
    assert check(JSON[type(request)], text) == decoded
    assert count_items(PROTOBUF[type(request)], Codec.PLAIN, protobuf) == decoded.items
    assert count_items(JSON[type(request)], Codec.PLAIN, text) == decoded.items


@SIZED
@given(requests)
def test_the_slow_way_through_json_gives_the_same_records(request: Request) -> None:
    """A member in snake_case sends the whole document there."""
    document = to_document(request)
    slow = check(JSON[type(request)], json.dumps({"some_name": 1} | document).encode())
    assert slow == check(JSON[type(request)], json.dumps(document).encode())


@SIZED
@given(trace_requests, st.booleans())
def test_records_survive_the_journal_s_own_encoding(request: ExportTraceServiceRequest, text: bool) -> None:
    decoded = check(Kind.OTLP_TRACES, request.SerializeToString())
    assert decoded is not None
    again = check(Kind.SPANS, msgspec.msgpack.encode(decoded.batches))
    assert again is not None
    assert again.batches == decoded.batches


@settings(SIZED, max_examples=100)
@given(st.sampled_from(KINDS), st.sampled_from(list(Codec)), st.binary(max_size=80))
def test_arbitrary_bytes(kind: Kind, codec: Codec, payload: bytes) -> None:
    check(kind, payload, codec)


@pytest.mark.parametrize("kinds", [PROTOBUF, JSON])
@settings(SIZED, max_examples=60)
@given(request=requests, data=st.data())
def test_mutated_requests(kinds: dict[type[Request], Kind], request: Request, data: st.DataObject) -> None:
    encode: Callable[[Request], bytes] = to_json if kinds is JSON else lambda sent: sent.SerializeToString()
    payload = bytearray(encode(request))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload)))
        until = data.draw(st.integers(at, min(len(payload), at + 4)))
        payload[at:until] = data.draw(st.binary(max_size=4))
    kind = data.draw(st.sampled_from([*kinds.values()]))
    check(kind, bytes(payload))


@settings(SIZED, max_examples=100)
@given(requests, st.data())
def test_arbitrary_json_anywhere_in_a_document(request: Request, data: st.DataObject) -> None:
    document: Any = to_document(request)
    places = list(walk(document, []))
    path = data.draw(st.sampled_from(places)) if places else []
    replaced = replace(document, path, data.draw(json_values))
    decoded = check(JSON[type(request)], json.dumps(replaced).encode())
    if decoded is not None:
        assert count_items(JSON[type(request)], Codec.PLAIN, json.dumps(replaced).encode()) >= 0


@SIZED
@given(st.sampled_from([*JSON.values()]), json_values)
def test_arbitrary_json(kind: Kind, value: object) -> None:
    check(kind, json.dumps(value).encode())


@SIZED
@given(st.sampled_from([Kind.SPANS, Kind.LOGS, Kind.METRICS]), json_values)
def test_arbitrary_messagepack(kind: Kind, value: object) -> None:
    try:
        payload = msgspec.msgpack.encode(value)
    except OverflowError:
        payload = msgspec.msgpack.encode(str(value))
    check(kind, payload)


def walk(node: object, path: list[str | int]) -> Any:
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, member in members:
        yield [*path, key]
        yield from walk(member, [*path, key])


def replace(node: Any, path: list[str | int], value: object) -> Any:
    if not path:
        return value
    replace_in = dict(node) if isinstance(node, dict) else list(node)
    replace_in[path[0]] = replace(node[path[0]], path[1:], value)  # type: ignore[index]  # a key or an index, as the path says
    return replace_in
