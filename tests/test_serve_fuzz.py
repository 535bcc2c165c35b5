"""Mutated requests over real sockets: the right class of answer, no crash, and a ledger that balances."""

from __future__ import annotations

import contextlib
import gzip
import socket
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import grpc
import httpx
import pytest
import zstandard
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_wandb.errors import InputError
from otel_wandb.ingest.otlp import decode
from otel_wandb.journal import Codec, Kind
from tests.deadlines import wait_for
from tests.otlp_samples import Request, to_json
from tests.otlp_strategies import requests
from tests.serving import JSON, METHODS, PATHS, PROTOBUF, Server, call, post, refusal, requests_of
from tests.test_otlp_fuzz import JSON as JSON_KINDS
from tests.test_otlp_fuzz import PROTOBUF as PROTOBUF_KINDS

SIZED = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
COMPRESSORS: Final[dict[Codec, Callable[[bytes], bytes]]] = {
    Codec.PLAIN: bytes,
    Codec.GZIP: gzip.compress,
    Codec.DEFLATE: zlib.compress,
    Codec.ZSTD: zstandard.ZstdCompressor().compress,
}
CODINGS: Final = {
    Codec.PLAIN: "identity",
    Codec.GZIP: "gzip",
    Codec.DEFLATE: "deflate",
    Codec.ZSTD: "zstd",
}


class Expected:
    """What the ledger of the server must come to."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.received: Counter[str] = Counter()

    def add(self, kind: Kind, codec: Codec, body: bytes) -> bool:
        """Whether the request decodes; its items are received either way."""
        signal = kind.signal
        assert signal is not None
        try:
            decoded = decode(kind, codec, body)
        except InputError:
            self.received[signal] += 1
            return False
        self.received[signal] += decoded.items
        return True


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Expected]:
    with Server(tmp_path_factory.mktemp("serve") / "data") as server:
        expected = Expected(server)
        yield expected
        check_ledger(expected)


@pytest.fixture(scope="module")
def client(expected: Expected) -> Iterator[httpx.Client]:
    with expected.server.client() as client:
        yield client


@pytest.fixture(scope="module")
def channel(expected: Expected) -> Iterator[grpc.Channel]:
    with expected.server.channel() as channel:
        yield channel


def mutate(payload: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(payload)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(changed)))
        until = data.draw(st.integers(at, min(len(changed), at + 4)))
        changed[at:until] = data.draw(st.binary(max_size=4))
    return bytes(changed)


@SIZED
@given(request=requests, json=st.booleans(), codec=st.sampled_from(list(Codec)), data=st.data())
def test_bodies_over_http(
    expected: Expected, client: httpx.Client, request: Request, json: bool, codec: Codec, data: st.DataObject
) -> None:
    plain = mutate(to_json(request) if json else request.SerializeToString(), data)
    body = COMPRESSORS[codec](plain)
    if data.draw(st.integers(0, 4)) == 0:
        body = mutate(body, data)
    kinds = JSON_KINDS if json else PROTOBUF_KINDS
    to = data.draw(st.sampled_from([*PATHS]))
    headers = {"content-type": JSON if json else PROTOBUF, "content-encoding": CODINGS[codec]}
    response = client.post(PATHS[to], content=body, headers=headers)
    good = expected.add(kinds[to], codec, body)
    assert response.status_code == (200 if good else 400), response.text
    assert response.headers["content-type"] == headers["content-type"]
    if not good and not json:
        assert Status.FromString(response.content).code == 3


@SIZED
@given(request=requests, data=st.data())
def test_bodies_over_grpc(
    expected: Expected, channel: grpc.Channel, request: Request, data: st.DataObject
) -> None:
    body = mutate(request.SerializeToString(), data)
    to = data.draw(st.sampled_from([*METHODS]))
    compression = data.draw(st.sampled_from([*grpc.Compression]))
    good = expected.add(PROTOBUF_KINDS[to], Codec.PLAIN, body)
    if good:
        call(channel, body, METHODS[to], compression=compression)
        return
    found = refusal(channel, body, METHODS[to], compression=compression)
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT
    assert Status.FromString(found.status).code == 3


@SIZED
@given(data=st.data(), chunked=st.booleans())
def test_whole_requests(expected: Expected, client: httpx.Client, data: st.DataObject, chunked: bool) -> None:
    """Heads and framing, too: an answer of HTTP that fits, or the end of the connection."""
    body = requests_of(1).SerializeToString()
    text = post("/nowhere", body, "content-encoding: gzip", "expect: 100-continue")
    if chunked:
        head = text[: -len(body)].replace(
            f"content-length: {len(body)}".encode(), b"transfer-encoding: chunked"
        )
        text = head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    with expected.server.connection() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(mutate(text, data))
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    if answer:
        assert answer.split()[1] in (b"100", b"400", b"404", b"405", b"408", b"413", b"415", b"431")
    assert client.get("/healthz").status_code == 200


def check_ledger(expected: Expected) -> None:
    """What the answers said is what was counted, and nothing crashed on the way."""
    server = expected.server
    for signal in ("spans", "log_records", "metric_points"):
        wait_for(lambda signal=signal: server.line(signal).received == expected.received[signal])  # type: ignore[misc]
    wait_for(lambda: server.imbalance() == {})
    (worker,) = server.workers()
    assert worker.is_running()
    assert "Traceback" not in server.log
    assert "ended with" not in server.log
