"""What senders may cost the server: sizes, times and numbers, each with its answer."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
import zstandard

from otel_wandb.config import Settings
from otel_wandb.journal import Kind
from otel_wandb.serve_plan import RequestRoom
from tests.deadlines import wait_for
from tests.otlp_samples import traces
from tests.serving import (
    JSON,
    PROTOBUF,
    Server,
    all_counted,
    is_closed,
    numbered,
    post,
    read_response,
    refusal,
    requests_of,
)

LIMIT = 4 << 20
SETTINGS = f"""
serve_max_request_bytes: {LIMIT}
serve_max_buffered_bytes: {2 * LIMIT}
serve_max_connections: 20
serve_head_timeout_s: 1
serve_body_timeout_s: 2
serve_idle_timeout_s: 3
"""
BOMB = bytes(256 << 20)
BOMBS = {
    "gzip": lambda: gzip.compress(BOMB, 1),
    "deflate": lambda: zlib.compress(BOMB, 1),
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compress(BOMB),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("config") / "otel-wandb.yaml"
    file.write_text(SETTINGS)
    with Server(tmp_path_factory.mktemp("serve") / "data", "--config", str(file)) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def good(client: httpx.Client) -> bool:
    body = requests_of(1).SerializeToString()
    return client.post("/v1/traces", content=body, headers={"content-type": PROTOBUF}).status_code == 200


def peak_bytes(server: Server) -> int:
    (worker,) = server.workers()
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb_is_stopped_at_the_limit(server: Server, client: httpx.Client, coding: str) -> None:
    body = BOMBS[coding]()
    assert len(body) < LIMIT
    headers = {"content-type": PROTOBUF, "content-encoding": coding}
    response = client.post("/v1/traces", content=body, headers=headers)
    assert response.status_code == 413
    assert "retry-after" not in response.headers
    assert good(client)
    if psutil.LINUX:
        assert peak_bytes(server) < 256 << 20


def test_a_bomb_over_grpc(server: Server) -> None:
    with server.channel(grpc.Compression.Gzip) as channel:
        found = refusal(channel, BOMB[: 128 << 20])
    assert found.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert b"RetryInfo" not in found.status


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_a_body_over_the_limit_is_refused_by_its_length_alone(server: Server, content_type: str) -> None:
    with server.connection() as connection:
        head = post("/v1/traces", b"", content_type=content_type).replace(b"length: 0", b"length: 999999999")
        connection.sendall(head)
        response = read_response(connection)
        assert response.status == 413
        assert response.headers["content-type"] == content_type
        assert is_closed(connection)


def test_a_chunked_body_over_the_limit(client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(80):
            yield bytes(64 << 10)

    response = client.post("/v1/traces", content=pieces(), headers={"content-type": PROTOBUF})
    assert response.status_code == 413
    assert good(client)


def test_a_body_just_under_the_limit(client: httpx.Client) -> None:
    body = traces(numbered(1, name="x" * (LIMIT - 1000))).SerializeToString()
    assert LIMIT - 1000 < len(body) <= LIMIT
    assert client.post("/v1/traces", content=body, headers={"content-type": PROTOBUF}).status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        b"x-long: " + b"x" * (1 << 20),
        b"\r\n".join(b"x-%d: y" % n for n in range(100_000)),
    ],
    ids=["one", "many"],
)
def test_a_head_over_the_limit(server: Server, head: bytes) -> None:
    with server.connection() as connection:
        text = post("/v1/traces", b"").replace(b"\r\n\r\n", b"\r\n" + head + b"\r\n\r\n")
        threading.Thread(target=_send_all, args=(connection, text)).start()
        assert read_response(connection).status == 431
        assert is_closed(connection)


def _send_all(connection: Any, text: bytes) -> None:
    try:
        connection.sendall(text)
    except OSError:
        pass  # the server has had enough


def test_a_path_over_the_limit(server: Server) -> None:
    with server.connection() as connection:
        connection.sendall(b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert read_response(connection).status == 431


def test_slow_heads_do_not_keep_others_out(server: Server, client: httpx.Client) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(server.connection()) for _ in range(15)]
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.2):
                for connection in slow:
                    _send_all(connection, b"x")

        for connection in slow:
            connection.sendall(b"POST /v1/traces HTTP/1.1\r\nx-")
        dripping = threading.Thread(target=drip)
        dripping.start()
        assert good(client)
        answers = [read_response(connection).status for connection in slow]
        stop.set()
        dripping.join()
    assert answers == [408] * 15


def test_a_slow_body_may_come_again(server: Server) -> None:
    body = requests_of(1).SerializeToString()
    with server.connection() as connection:
        connection.sendall(post("/v1/traces", body)[:-1])
        response = read_response(connection)
        assert response.status == 503
        assert response.headers["retry-after"] == "5"
        assert response.headers["content-type"] == PROTOBUF
        assert is_closed(connection)


def test_an_idle_connection_is_closed(server: Server) -> None:
    with server.connection() as fresh, server.connection() as used:
        used.sendall(post("/v1/traces", b""))
        assert read_response(used).status == 200
        assert is_closed(fresh)
        assert is_closed(used)


def test_more_connections_than_may_be(server: Server, client: httpx.Client) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(server.connection()) for _ in range(20)]
        for connection in held:
            connection.sendall(b"POST ")
        with server.connection() as late:
            response = read_response(late)
            assert response.status == 503
            assert response.headers["retry-after"] == "5"
            assert is_closed(late)
    assert wait_for(lambda: good(client))


def test_more_bodies_on_their_way_than_may_be(server: Server, client: httpx.Client) -> None:
    body = traces(numbered(1, name="x" * (LIMIT - 1000))).SerializeToString()
    with ExitStack() as stack:
        held = [stack.enter_context(server.connection()) for _ in range(2)]
        for connection in held:
            connection.sendall(post("/v1/traces", body)[:-1])
        with server.connection() as late:
            threading.Thread(target=_send_all, args=(late, post("/v1/traces", body))).start()
            response = read_response(late)
        assert response.status == 503
        for connection in held:
            connection.sendall(body[-1:])
        assert [read_response(connection).status for connection in held] == [200, 200]
    assert good(client)


def test_a_client_that_reads_no_answers_is_not_read_for_ever(server: Server, client: httpx.Client) -> None:
    import socket

    with server.connection(5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        sent = 0
        text = post("/nowhere", b"") * 1000
        try:
            while sent < 200 << 20:
                sent += connection.send(text)
        except (BlockingIOError, ConnectionError):
            pass
    assert sent < 200 << 20
    assert good(client)


def test_what_is_refused_for_good_is_in_the_ledger(tmp_path: Path) -> None:
    file = tmp_path / "otel-wandb.yaml"
    file.write_text("serve_max_request_bytes: 1024\n")
    with Server(tmp_path / "data", "--config", str(file)) as server, server.client() as client:
        headers = {"content-type": PROTOBUF}
        assert client.post("/v1/traces", content=bytes(2000), headers=headers).status_code == 413
        packed = {**headers, "content-encoding": "gzip"}
        assert client.post("/v1/logs", content=gzip.compress(bytes(2000)), headers=packed).status_code == 413
        all_counted(server, 1)
        all_counted(server, 1, "log_records")
        assert server.line().rejected == {"too_large": 1}
        assert server.line("log_records").rejected == {"too_large": 1}


@pytest.mark.parametrize(
    ("workers", "limit", "segment", "request_bytes", "segment_bytes"),
    [
        (1, 8 << 30, 64 << 20, 64 << 20, 64 << 20),  # the defaults
        (64, 8 << 30, 64 << 20, 64 << 20, 64 << 20),
        (1, 100 << 20, 64 << 20, (50 << 20) - 80, 50 << 20),
        (3, 100 << 20, 1 << 20, (25 << 20) - 80, 1 << 20),
        (64, 1 << 20, 1 << 20, 16_131 - 80, 16_131),
    ],
)
def test_how_the_journal_is_shared_out(
    workers: int, limit: int, segment: int, request_bytes: int, segment_bytes: int
) -> None:
    settings = Settings(serve_workers=workers, journal_limit_bytes=limit, segment_bytes=segment)
    assert RequestRoom.plan(settings) == RequestRoom(request_bytes, segment_bytes)


def test_what_may_come_again_finds_room_beside_all_open_segments(tmp_path: Path) -> None:
    """Nothing is answered with 503 for ever: what workers keep open leaves room for the largest request."""
    part = 1_000_000
    most = part - 80  # less the headers of a segment and a frame
    file = tmp_path / "otel-wandb.yaml"
    file.write_text(f"journal_limit_bytes: {3 * part}\nsegment_bytes: {2 * part}\nlinger_s: 0\n")
    with Server(tmp_path / "data", "--config", str(file), "--workers", "2") as server:
        assert f"A request may have at most {most} bytes" in server.log
        writers = {f"{worker.pid:x}x" for worker in server.workers()}

        def all_hold_something() -> bool:
            with server.client() as fresh:  # another connection each time, so that both workers get some
                assert good(fresh)
            names = [path.name for path in server.data_dir.journal.glob("*.seg") if path.stat().st_size]
            return all(any(name.startswith(writer) for name in names) for writer in writers)

        wait_for(all_hold_something)
        with server.client() as client:

            def send(size: int, number: int) -> httpx.Response:
                around = len(body_of("x" * size, number)) - size
                body = body_of("x" * (size - around), number)
                assert len(body) == size
                return client.post("/v1/traces", content=body, headers={"content-type": PROTOBUF})

            for number in range(5):  # each worker has its segment open, with the largest request in it
                wait_for(lambda number=number: send(most, number).status_code == 200)  # type: ignore[misc]
            for size in (most + 1, 2 * part, 3 * part - 1):
                refused = send(size, 9)
                assert (refused.status_code, "retry-after" in refused.headers) == (413, False)
            packed = gzip.compress(body_of("x" * (4 * part), 10))  # it is kept as it comes
            headers = {"content-type": PROTOBUF, "content-encoding": "gzip"}
            assert client.post("/v1/traces", content=packed, headers=headers).status_code == 200


def body_of(name: str, number: int) -> bytes:
    return traces(numbered(number + 1, name=name)).SerializeToString()


def test_the_kinds_that_are_served_are_those_that_the_bridge_reads() -> None:
    from otel_wandb.ingest.http_answers import _KINDS

    assert {kind for kinds in _KINDS.values() for kind in kinds.values()} == {
        kind for kind in Kind if kind.name.startswith("OTLP_")
    }
