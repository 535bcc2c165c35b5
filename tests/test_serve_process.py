"""The server as processes: workers that die, a journal that is full, an end in good order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otel_wandb.datadir import DataDir
from otel_wandb.journal import JournalReader
from tests.deadlines import wait_for
from tests.otlp_samples import traces
from tests.serving import (
    PROTOBUF,
    Server,
    all_counted,
    bridge_of,
    call,
    numbered,
    post,
    read_response,
    refusal,
    requests_of,
)

HEADERS = {"content-type": PROTOBUF}


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_it_says_where_it_listens_and_ends_in_good_order(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        assert server.ready == f"READY grpc={server.grpc} http={server.http}"
        assert not server.grpc.endswith(":0")
        (worker,), bridge = server.workers(), bridge_of(server.data_dir)
        with server.client() as client:
            body = requests_of(10).SerializeToString()
            assert client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200
        assert server.stop() == 0
        assert is_gone(worker)
        assert is_gone(bridge)
        assert not server.data_dir.locked()
        all_counted(server, 10)
        assert "10 spans wait" in server.log or server.line().waiting == 0
        assert list(server.data_dir.fronts.iterdir()) == []


def test_no_deliver_converts_and_stores(tmp_path: Path) -> None:
    with Server(tmp_path / "data", environ={"OTEL_WANDB_LINGER_S": "0"}) as server:
        with server.client() as client:
            body = requests_of(10).SerializeToString()
            assert client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200
        wait_for(lambda: server.line().delivered == 10)
        assert server.line("calls").waiting == 10


def test_requests_on_their_way_are_answered_at_the_end(tmp_path: Path) -> None:
    body = requests_of(3).SerializeToString()
    with Server(tmp_path / "data") as server, server.connection() as idle, server.connection() as busy:
        busy.sendall(post("/v1/traces", body)[:-1])
        idle.sendall(post("/v1/traces", body))
        assert read_response(idle).status == 200
        (worker,) = server.workers()
        os.kill(server.pid, signal.SIGTERM)
        assert idle.recv(1) == b""  # it has stopped to accept
        with pytest.raises(ConnectionRefusedError), server.connection():
            pass
        busy.sendall(body[-1:])
        response = read_response(busy)
        assert (response.status, response.headers["connection"]) == (200, "close")
        wait_for(lambda: is_gone(worker))
        wait_for(lambda: server.line().received == 3 + 3)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_dies_is_followed_by_another(tmp_path: Path, workers: int) -> None:
    with Server(tmp_path / "data", "--workers", str(workers)) as server:
        first = server.workers()
        assert len(first) == workers
        first[0].kill()

        def followed() -> bool:
            living = [worker for worker in server.workers() if worker.status() != psutil.STATUS_ZOMBIE]
            return len(living) == workers and first[0] not in living

        wait_for(followed)
        with server.client() as client:
            for n in range(10):
                body = requests_of(1, first=n + 1).SerializeToString()
                assert client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200

                wait_for(partial(_exported, server, body))
        wait_for(lambda: server.line().received >= 20)
        assert server.imbalance() == {}


def _exported(server: Server, body: bytes) -> bool:
    with contextlib.suppress(grpc.RpcError), server.channel() as channel:
        return call(channel, body, timeout=5) == b""
    return False


def test_workers_end_when_their_parent_is_gone(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--workers", "2") as server:
        workers = server.workers()
        os.kill(server.pid, signal.SIGKILL)
        for worker in workers:
            wait_for(lambda worker=worker: is_gone(worker))  # type: ignore[misc]
        bridge_of(server.data_dir).terminate()
        wait_for(lambda: not server.data_dir.locked())


def test_what_a_killed_worker_had_acknowledged_is_there(tmp_path: Path) -> None:
    """Read from the journal and the store: nothing that was answered with 200 is missing."""
    stop = threading.Event()
    sent: list[list[int]] = [[] for _ in range(3)]
    with Server(tmp_path / "data", "--workers", "2") as server:
        threads = [
            threading.Thread(target=_send_numbers, args=(server, stop, base, one))
            for base, one in enumerate(sent, 1)
        ]
        for thread in threads:
            thread.start()
        for _ in range(3):
            before = sum(map(len, sent))
            wait_for(lambda before=before: sum(map(len, sent)) > before + 50)  # type: ignore[misc]
            living = [worker for worker in server.workers() if worker.status() != psutil.STATUS_ZOMBIE]
            living[0].kill()
        stop.set()
        for thread in threads:
            thread.join()
        server.stop()
    acknowledged = {n for one in sent for n in one}
    found = _spans_in(server.data_dir)
    assert acknowledged <= found
    assert server.imbalance() == {}


def _send_numbers(server: Server, stop: threading.Event, base: int, acknowledged: list[int]) -> None:
    """Send spans, each with a number of its own, and note those whose request was answered with 200."""
    n = base * 1_000_000
    while not stop.is_set():
        with contextlib.suppress(httpx.TransportError), server.client() as client:
            while not stop.is_set():
                n += 1
                body = traces(numbered(n)).SerializeToString()
                if client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200:
                    acknowledged.append(n)


def _spans_in(data_dir: DataDir) -> set[int]:
    """The numbers of all spans in the journal and the store."""
    from otel_wandb.ingest.otlp import decode
    from otel_wandb.journal import Frame
    from otel_wandb.records import SpanBatch
    from otel_wandb.store import Store

    reader = JournalReader(data_dir.journal, quarantine=data_dir.quarantine)
    numbers = set()
    for segment in reader.segments():
        for frame in reader.read(segment.name, 0, max_bytes=1 << 40):
            if isinstance(frame, Frame) and frame.kind.signal:
                for batch in decode(frame.kind, frame.codec, frame.payload).batches:
                    assert isinstance(batch, SpanBatch)
                    numbers |= {int(span.span_id, 16) for span in batch.spans}
    if not data_dir.store.exists():  # the bridge had not begun yet
        return numbers
    store = Store.open_for_reading(data_dir.store)
    try:
        numbers |= {int(call.span_id, 16) for call in store.calls()}
    finally:
        store.close()
    return numbers


def test_a_full_journal_is_told_to_the_senders_until_there_is_room(tmp_path: Path) -> None:
    file = tmp_path / "otel-wandb.yaml"
    file.write_text("journal_limit_bytes: 4194304\nsegment_bytes: 1048576\nlinger_s: 0\n")
    with Server(tmp_path / "data", "--config", str(file)) as server, server.client() as client:
        bridge = bridge_of(server.data_dir)
        bridge.suspend()
        accepted = refused = 0
        for n in range(1, 200):
            body = traces(numbered(n, name=f"{n}" * 20_000)).SerializeToString()
            response = client.post("/v1/traces", content=body, headers=HEADERS)
            if response.status_code == 200:
                accepted += 1
                continue
            refused += 1
            assert response.status_code == 503
            assert response.headers["retry-after"] == "5"
            status, delay = Status.FromString(response.content), RetryInfo()
            assert status.code == 14
            assert status.details[0].Unpack(delay)
            assert delay.retry_delay.seconds == 5
        assert accepted > 10
        assert refused > 10
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        with server.channel() as channel:
            found = refusal(channel, body)
            assert found.code is grpc.StatusCode.UNAVAILABLE
            assert Status.FromString(found.status).details[0].Unpack(delay)
            assert call(channel, b"", "/grpc.health.v1.Health/Check") == b"\x08\x02"
        bridge.resume()

        def taken() -> bool:
            return client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200

        wait_for(taken)
        wait_for(lambda: client.get("/readyz").status_code == 200)
        # What was refused is with its sender, who comes again: it was neither received nor dropped.
        wait_for(lambda: server.line().delivered == accepted + 1)
        all_counted(server, accepted + 1)


def test_what_is_larger_than_the_journal_may_be_is_refused_for_good(tmp_path: Path) -> None:
    file = tmp_path / "otel-wandb.yaml"
    file.write_text("journal_limit_bytes: 1048576\nsegment_bytes: 65536\n")
    with Server(tmp_path / "data", "--config", str(file)) as server, server.client() as client:
        body = traces(numbered(1, name="x" * 1_100_000)).SerializeToString()
        response = client.post("/v1/traces", content=body, headers=HEADERS)
        assert (response.status_code, "retry-after" in response.headers) == (413, False)
        assert "at most 524208 bytes" in Status.FromString(response.content).message
        small = requests_of(1).SerializeToString()
        assert client.post("/v1/traces", content=small, headers=HEADERS).status_code == 200
        wait_for(lambda: server.line().rejected == {"too_large": 1})


def test_a_disk_that_syncs_each_request(tmp_path: Path) -> None:
    with Server(tmp_path / "data", environ={"OTEL_WANDB_FSYNC": "always"}) as server:
        with server.client() as client, server.channel() as channel:
            for n in range(20):
                body = requests_of(1, first=n + 1).SerializeToString()
                assert client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200
            assert call(channel, requests_of(2, first=100).SerializeToString()) == b""
        all_counted(server, 22)


@pytest.mark.slow
def test_a_bridge_that_dies_is_followed_by_another(tmp_path: Path) -> None:
    with Server(tmp_path / "data", environ={"OTEL_WANDB_LINGER_S": "0"}) as server, server.client() as client:
        first = bridge_of(server.data_dir)
        for n in range(10):
            body = requests_of(1, first=n + 1).SerializeToString()
            assert client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200
        first.kill()
        wait_for(lambda: bridge_of(server.data_dir).pid != first.pid)
        wait_for(lambda: server.line().delivered == 10)
        all_counted(server, 10)


@pytest.mark.slow
def test_two_directories_on_one_machine_and_one_directory_twice(tmp_path: Path) -> None:
    """Two servers may share a directory: there is one bridge behind both."""
    with Server(tmp_path / "data") as one, Server(tmp_path / "data") as two:
        for number, server in enumerate((one, two)):
            with server.client() as client:
                body = requests_of(5, first=10 * number + 1).SerializeToString()
                assert client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200
        all_counted(one, 10)
        assert one.stop() == 0
        with two.client() as client:
            body = requests_of(5, first=100).SerializeToString()
            assert client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200
        all_counted(two, 15)


def test_a_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "otel_wandb.cli", "serve", "--data-dir", str(tmp_path / "file" / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cannot be written to" in done.stderr
    assert "READY" not in done.stdout


def test_sigint_ends_it_as_well(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        assert server.stop(signal.SIGINT) == 0
