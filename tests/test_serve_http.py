"""OTLP over HTTP: each class of answer of the specification, byte for byte, from a real server."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import zstandard
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from otel_wandb.ledger import Line
from tests.deadlines import wait_for
from tests.otlp_samples import START_NS, logs, metrics, to_json, traces
from tests.serving import (
    JSON,
    PATHS,
    PROTOBUF,
    Server,
    all_counted,
    is_closed,
    numbered,
    post,
    read_response,
    requests_of,
)

POINT = NumberDataPoint(time_unix_nano=START_NS, as_int=1)
GOOD: list[Message] = [
    requests_of(3),
    logs(LogRecord(time_unix_nano=START_NS), LogRecord(time_unix_nano=START_NS + 1)),
    metrics(Metric(name="queue", gauge=Gauge(data_points=[POINT]))),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("serve") / "data") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def encode(request: Message, content_type: str) -> bytes:
    return to_json(request) if content_type == JSON else request.SerializeToString()


def read_status(response: httpx.Response) -> tuple[int, str]:
    """Code and message of the `google.rpc.Status` that an error carries."""
    if response.headers["content-type"] == JSON:
        document = response.json()
        return document["code"], document["message"]
    assert response.headers["content-type"] == PROTOBUF
    status = Status.FromString(response.content)
    return status.code, status.message


@pytest.mark.parametrize("request_", GOOD, ids=lambda request: PATHS[type(request)])
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_what_is_good_is_taken_and_the_answer_says_nothing_more(
    client: httpx.Client, request_: Message, content_type: str
) -> None:
    headers = {"content-type": f"{content_type}; charset=utf-8"}
    body = encode(request_, content_type)
    response = client.post(PATHS[type(request_)], content=body, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    assert response.content == (b"{}" if content_type == JSON else b"")


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
        ("GZIP", gzip.compress),
    ],
)
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_compressed_bodies(client: httpx.Client, coding: str, compress: Any, content_type: str) -> None:
    body = compress(encode(requests_of(2), content_type))
    headers = {"content-type": content_type, "content-encoding": coding}
    assert client.post("/v1/traces", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_chunked_bodies_as_the_node_exporters_send_them(client: httpx.Client, content_type: str) -> None:
    body = encode(requests_of(2), content_type)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(body), 7):
            yield body[at : at + 7]

    response = client.post("/v1/traces", content=pieces(), headers={"content-type": content_type})
    assert response.status_code == 200


@pytest.mark.parametrize("path", PATHS.values())
@pytest.mark.parametrize(("content_type", "body"), [(PROTOBUF, b""), (JSON, b"{}")])
def test_an_empty_request_succeeds(client: httpx.Client, path: str, content_type: str, body: bytes) -> None:
    assert client.post(path, content=body, headers={"content-type": content_type}).status_code == 200


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    ("request_", "answer", "told", "rejected"),
    [
        (
            traces(numbered(1), numbered(2, trace_id=bytes(16)), numbered(3, span_id=bytes(8))),
            ExportTraceServiceResponse(),
            "rejected_spans",
            "1 invalid span id, 1 invalid trace id",
        ),
        (
            logs(LogRecord(time_unix_nano=2**63), LogRecord(time_unix_nano=START_NS)),
            ExportLogsServiceResponse(),
            "rejected_log_records",
            "1 invalid time",
        ),
        (
            metrics(
                Metric(
                    name="d",
                    histogram=Histogram(
                        data_points=[
                            HistogramDataPoint(
                                time_unix_nano=1, bucket_counts=[1, 1], explicit_bounds=[1, 2]
                            ),
                            HistogramDataPoint(time_unix_nano=1, bucket_counts=[1, 1], explicit_bounds=[1]),
                        ]
                    ),
                )
            ),
            ExportMetricsServiceResponse(),
            "rejected_data_points",
            "1 invalid buckets",
        ),
    ],
    ids=["traces", "logs", "metrics"],
)
def test_what_can_never_be_taken_is_a_partial_success(
    client: httpx.Client, request_: Message, answer: Any, told: str, rejected: str, content_type: str
) -> None:
    response = client.post(
        PATHS[type(request_)], content=encode(request_, content_type), headers={"content-type": content_type}
    )
    assert response.status_code == 200
    n = sum(int(word) for word in rejected.replace(",", "").split() if word.isdigit())
    if content_type == JSON:
        first, *rest = told.split("_")
        name = first + "".join(word.capitalize() for word in rest)
        partial = response.json()["partialSuccess"]
        assert partial[name] == str(n)
        message = partial["errorMessage"]
    else:
        answer.ParseFromString(response.content)
        assert getattr(answer.partial_success, told) == n
        message = answer.partial_success.error_message
    assert rejected in message


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"{", b'{"resourceSpans": 5}', b"\x0a\x05abc"])
def test_bytes_that_do_not_decode(client: httpx.Client, content_type: str, body: bytes) -> None:
    response = client.post("/v1/traces", content=body, headers={"content-type": content_type})
    assert response.status_code == 400
    code, message = read_status(response)
    assert code == 3
    assert message.startswith("expected ")
    assert "retry-after" not in response.headers
    if content_type == PROTOBUF:
        detail = BadRequest()
        assert Status.FromString(response.content).details[0].Unpack(detail)
        assert detail.field_violations[0].description == message


def test_another_signal_than_that_of_the_path_is_refused(client: httpx.Client) -> None:
    response = client.post("/v1/metrics", content=to_json(requests_of(1)), headers={"content-type": JSON})
    assert response.status_code == 400
    assert 'not with "resourceSpans"' in read_status(response)[1]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_compressed_bytes_that_are_none(client: httpx.Client, coding: str) -> None:
    headers = {"content-type": PROTOBUF, "content-encoding": coding}
    for body in (b"not compressed", gzip.compress(b"x" * 1000)[:-5] if coding == "gzip" else b"\x01\x02"):
        response = client.post("/v1/traces", content=body, headers=headers)
        assert (response.status_code, read_status(response)[0]) == (400, 3)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods(client: httpx.Client, method: str) -> None:
    response = client.request(method, "/v1/traces", headers={"content-type": PROTOBUF})
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert read_status(response)[0] == 12


@pytest.mark.parametrize("path", ["/", "/v1/trace", "/v1development/profiles", "/v1/traces/"])
def test_other_paths(client: httpx.Client, path: str) -> None:
    response = client.post(path, content=b"", headers={"content-type": PROTOBUF})
    assert response.status_code == 404
    assert read_status(response)[0] == 5


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "\xe4"])
def test_other_content_types(client: httpx.Client, content_type: str) -> None:
    headers = {"content-type": content_type.encode("latin-1")} if content_type else {}
    response = client.post("/v1/traces", content=b"{}", headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 415
    assert read_status(response) == (3, response.json()["message"])


def test_other_content_encodings(client: httpx.Client) -> None:
    headers = {"content-type": PROTOBUF, "content-encoding": "snappy"}
    response = client.post("/v1/traces", content=b"", headers=headers)
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate, zstd"
    assert read_status(response)[0] == 3


def test_a_query_is_no_part_of_the_path(client: httpx.Client) -> None:
    assert client.post("/v1/traces?x=1", content=b"", headers={"content-type": PROTOBUF}).status_code == 200


def test_a_connection_carries_one_request_after_the_other(server: Server) -> None:
    """Also those that are sent before the answer: in order, with what goes wrong in between."""
    good = requests_of(1).SerializeToString()
    with server.connection() as connection:
        connection.sendall(
            post("/v1/traces", good)
            + post("/v1/traces", b"\xff")
            + post("/nowhere", b"12345")
            + post("/v1/traces", good, "connection: close")
        )
        assert [read_response(connection).status for _ in range(4)] == [200, 400, 404, 200]
        assert connection.recv(1) == b""


def test_expect_100_continue(server: Server) -> None:
    body = requests_of(1).SerializeToString()
    whole = post("/v1/traces", body, "expect: 100-continue")
    head = whole[: -len(body)]
    with server.connection() as connection:
        connection.sendall(head)
        assert read_response(connection).status == 100
        connection.sendall(body)
        assert read_response(connection).status == 200
    with server.connection() as connection:
        connection.sendall(head.replace(b"/v1/traces", b"/elsewhere"))
        assert read_response(connection).status == 404  # and no word of going on


def test_an_offer_of_http_2_is_passed_over(server: Server) -> None:
    """As Java's client makes it. The parser takes all behind such a head for another protocol."""
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk")
    accepted, bad = requests_of(2).SerializeToString(), b"\xff" * 100
    with server.connection() as connection:
        for size in (40, 1 << 20):
            for body, status in ((accepted, 200), (bad, 400)):
                text = post("/v1/traces", body, *offer)
                for at in range(0, len(text), size):
                    connection.sendall(text[at : at + size])
                assert read_response(connection).status == status
        connection.sendall(post("/v1/traces", accepted, "connection: close, upgrade", "upgrade: h2c"))
        assert read_response(connection).headers["connection"] == "close"


def test_the_server_is_no_proxy(server: Server) -> None:
    with server.connection() as connection:
        connection.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n\x16\x03")
        assert read_response(connection).status == 404
        assert is_closed(connection)


def test_half_closed_connections_get_their_answer(server: Server) -> None:
    import socket

    with server.connection() as connection:
        connection.sendall(post("/v1/traces", requests_of(1).SerializeToString()))
        connection.shutdown(socket.SHUT_WR)
        assert read_response(connection).status == 200


@pytest.mark.parametrize(
    "text",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_told_so_and_the_connection_ends(server: Server, text: bytes) -> None:
    with server.connection() as connection:
        connection.sendall(text)
        response = read_response(connection)
        assert response.status == 400
        assert json.loads(response.body)["code"] == 3
        assert connection.recv(1) == b""


def test_health_and_readiness(client: httpx.Client) -> None:
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").text == "ready\n"
    assert client.head("/healthz").content == b""
    assert client.post("/healthz").status_code == 405


def test_metrics_in_the_text_format_of_prometheus(server: Server, client: httpx.Client) -> None:
    def read() -> dict[str, float]:
        response = client.get("/metrics")
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = [line for line in response.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def requests(outcome: str) -> str:
        return f'otel_wandb_serve_requests_total{{protocol="http",signal="traces",outcome="{outcome}"}}'

    items = 'otel_wandb_serve_items_total{protocol="http",signal="traces"}'
    answers = 'otel_wandb_serve_answer_seconds_count{protocol="http"}'
    before = read()
    headers = {"content-type": PROTOBUF}
    client.post("/v1/traces", content=requests_of(5).SerializeToString(), headers=headers)
    client.post("/v1/traces", content=b"\xff", headers=headers)
    after = read()
    assert after[requests("accepted")] - before[requests("accepted")] == 1
    assert after[requests("malformed")] - before[requests("malformed")] == 1
    assert after[items] - before[items] == 5
    assert after[answers] - before[answers] == 1
    assert after["otel_wandb_serve_connections"] >= 1
    assert after["otel_wandb_journal_bytes"] > 0
    assert after["otel_wandb_bridge_up"] in (0, 1)


def test_the_ledger_has_all_of_it(tmp_path: Any) -> None:
    with Server(tmp_path / "data") as server, server.client() as client:
        for content_type in (PROTOBUF, JSON):
            for request in GOOD:
                body = encode(request, content_type)
                client.post(PATHS[type(request)], content=body, headers={"content-type": content_type})
            client.post("/v1/traces", content=b"{", headers={"content-type": content_type})
        partly = traces(numbered(8), numbered(9, trace_id=b"short"))
        client.post("/v1/traces", content=partly.SerializeToString(), headers={"content-type": PROTOBUF})
        all_counted(server, 2 * 3 + 2 + 2)
        all_counted(server, 2 * 2, "log_records")
        all_counted(server, 2, "metric_points")

        def rejected(line: Line) -> dict[str, int]:
            return dict(line.rejected)

        wait_for(lambda: rejected(server.line()) == {"invalid_trace_id": 1, "malformed": 2})
