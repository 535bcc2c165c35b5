"""OTLP over gRPC: each class of answer of the specification, from a real server."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint

from tests.otlp_samples import START_NS, logs, metrics, traces
from tests.serving import (
    METHODS,
    TRACES,
    Server,
    all_counted,
    call,
    numbered,
    read_refusal,
    refusal,
    requests_of,
)

POINT = NumberDataPoint(time_unix_nano=START_NS, as_int=1)
GOOD: list[Message] = [
    requests_of(3),
    logs(LogRecord(time_unix_nano=START_NS), LogRecord(time_unix_nano=START_NS + 1)),
    metrics(Metric(name="queue", gauge=Gauge(data_points=[POINT]))),
]
SERVICES = ["", *(method[1:].rpartition("/")[0] for method in METHODS.values())]
SERVING, NOT_SERVING, UNKNOWN_SERVICE = b"\x08\x01", b"\x08\x02", b"\x08\x03"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("config") / "otel-wandb.yaml"
    file.write_text("serve_max_request_bytes: 1000000\nserve_body_timeout_s: 0.5\n")
    with Server(tmp_path_factory.mktemp("serve") / "data", "--config", str(file)) as server:
        yield server


def refused(channel: grpc.Channel, body: bytes, **more: Any) -> tuple[grpc.StatusCode, Status]:
    """The code of an error, and the `google.rpc.Status` that stands beside it, which must say the same."""
    found = refusal(channel, body, **more)
    status = Status.FromString(found.status)
    assert status.code == found.code.value[0]
    assert status.message == found.message
    return found.code, status


@pytest.mark.parametrize("request_", GOOD, ids=lambda request: METHODS[type(request)])
@pytest.mark.parametrize("compression", [*grpc.Compression])
def test_what_is_good_is_taken(server: Server, request_: Message, compression: grpc.Compression) -> None:
    with server.channel(compression) as channel:
        assert call(channel, request_.SerializeToString(), METHODS[type(request_)]) == b""


@pytest.mark.parametrize("method", METHODS.values())
def test_an_empty_request_succeeds(server: Server, method: str) -> None:
    with server.channel() as channel:
        assert call(channel, b"", method) == b""


def test_what_can_never_be_taken_is_a_partial_success(server: Server) -> None:
    request = traces(numbered(1), numbered(2, trace_id=bytes(16)), numbered(3, span_id=b"short"))
    with server.channel() as channel:
        answer = ExportTraceServiceResponse.FromString(call(channel, request.SerializeToString()))
    assert answer.partial_success.rejected_spans == 2
    assert "1 invalid span id, 1 invalid trace id" in answer.partial_success.error_message


@pytest.mark.parametrize(
    "body", [b"\xff\xff\xff", b"\x0a\x05abc", gzip.compress(b"\xff", mtime=0), zlib.compress(b"\xff")]
)
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_bytes_that_do_not_decode(server: Server, body: bytes, compression: grpc.Compression) -> None:
    with server.channel(compression) as channel:
        code, status = refused(channel, body)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.message.startswith("expected ")
    detail = BadRequest()
    assert status.details[0].Unpack(detail)
    assert detail.field_violations[0].description == status.message


@pytest.mark.parametrize("compression", [*grpc.Compression])
def test_what_is_too_large_is_refused_for_good(server: Server, compression: grpc.Compression) -> None:
    """RESOURCE_EXHAUSTED without RetryInfo: clients do not come again."""
    large = requests_of(1, first=1)
    large.resource_spans[0].scope_spans[0].spans[0].name = "x" * 2_000_000
    with server.channel(compression) as channel:
        found = refusal(channel, large.SerializeToString())
        assert found.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert b"RetryInfo" not in found.status
        assert call(channel, requests_of(1).SerializeToString()) == b""


def test_other_methods(server: Server) -> None:
    method = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
    with server.channel() as channel:
        assert refusal(channel, b"", method).code is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_without_a_message(server: Server) -> None:
    with server.channel() as channel:
        export: Any = channel.stream_unary(TRACES)
        with pytest.raises(grpc.RpcError) as raised:
            export(iter(()), timeout=30)
    assert read_refusal(raised.value).code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_that_does_not_come_in_time_may_come_again(server: Server) -> None:
    never = threading.Event()

    def wait() -> Iterator[bytes]:
        never.wait(60)
        yield b""

    with server.channel() as channel:
        export: Any = channel.stream_unary(TRACES)
        with pytest.raises(grpc.RpcError) as raised:
            export(wait(), timeout=60)
        never.set()
        found = read_refusal(raised.value)
        assert found.code is grpc.StatusCode.UNAVAILABLE
        assert b"RetryInfo" in found.status
        assert call(channel, requests_of(1).SerializeToString()) == b""


@pytest.mark.parametrize("service", SERVICES)
def test_health(server: Server, service: str) -> None:
    text = b"\x0a" + bytes([len(service)]) + service.encode() if service else b""
    with server.channel() as channel:
        assert call(channel, text, "/grpc.health.v1.Health/Check") == SERVING
        watching: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        watch = watching(text, timeout=30)
        assert next(watch) == SERVING
        watch.cancel()


def test_health_of_what_is_not_there(server: Server) -> None:
    text = b"\x0a\x01x"
    with server.channel() as channel:
        code = refusal(channel, text, "/grpc.health.v1.Health/Check").code
        assert code is grpc.StatusCode.NOT_FOUND
        watching: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        watch = watching(text, timeout=30)
        assert next(watch) == UNKNOWN_SERVICE
        watch.cancel()


def test_many_calls_at_once_on_one_connection(server: Server) -> None:
    body = requests_of(1).SerializeToString()
    with server.channel() as channel:
        export: Any = channel.unary_unary(TRACES)
        calls = [export.future(body, timeout=60) for _ in range(200)]
        assert {one.result() for one in calls} == {b""}


def test_the_ledger_has_all_of_it(tmp_path: Any) -> None:
    with Server(tmp_path / "data") as server:
        for n, compression in enumerate(grpc.Compression):
            with server.channel(compression) as channel:
                call(channel, requests_of(3, first=10 * n + 1).SerializeToString())
                call(channel, traces(numbered(100 + n), numbered(200 + n, span_id=b"")).SerializeToString())
                refused(channel, b"\xff")
        all_counted(server, 3 * (3 + 2 + 1))
