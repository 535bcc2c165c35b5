"""Bad days of the server: a disk that is full, and a bridge that is killed under load, again and again."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.otlp_samples import traces
from tests.serving import PROTOBUF, Server, all_counted, bridge_of, numbered, requests_of
from tests.test_disk_full import small_disk

__all__ = ["small_disk"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HEADERS = {"content-type": PROTOBUF}


def test_a_full_disk_is_told_to_the_senders_until_there_is_room(small_disk: Path) -> None:
    environ = {
        "OTEL_WANDB_LINGER_S": "0",
        "OTEL_WANDB_JOURNAL_DISK_SHARE": "1",
        "OTEL_WANDB_SEGMENT_BYTES": "65536",
    }
    with Server(small_disk / "data", environ=environ) as server, server.client() as client:
        bridge = bridge_of(server.data_dir)
        bridge.suspend()
        statuses = []
        for n in range(1, 500):
            body = traces(numbered(n, name=f"{n}" * 8_000)).SerializeToString()
            response = client.post("/v1/traces", content=body, headers=HEADERS)
            statuses.append(response.status_code)
        assert set(statuses) == {200, 503}
        assert response.headers["retry-after"] == "5"
        accepted = statuses.count(200)
        assert accepted > 50

        subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
        bridge.resume()
        wait_for(lambda: client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200)
        wait_for(lambda: server.line().delivered == accepted + 1, 60)
        all_counted(server, accepted + 1)


def test_kills_of_the_bridge_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    environ, over, accepted = {"OTEL_WANDB_LINGER_S": "0"}, threading.Event(), list[int]()
    numbers = itertools.count(1, 5)

    def send(server: Server) -> None:
        with httpx.Client(base_url=f"http://{server.http}", trust_env=False, timeout=30) as client:
            while not over.is_set():
                first = next(numbers)
                body = requests_of(5, first=first).SerializeToString()
                if client.post("/v1/traces", content=body, headers=HEADERS).status_code == 200:
                    accepted.append(first)
                time.sleep(0.005)

    with Server(tmp_path / "data", "--workers", "2", environ=environ) as server:
        senders = [threading.Thread(target=send, args=(server,)) for _ in range(4)]
        for sender in senders:
            sender.start()
        try:
            for _ in range(2):  # after a third such death a thread of the server takes over
                known = bridge_of(server.data_dir)
                time.sleep(0.5)
                with contextlib.suppress(psutil.NoSuchProcess):
                    known.kill()
                    known.wait(10)
        finally:
            over.set()
            for sender in senders:
                sender.join(60)
        assert len(accepted) > 100
        wait_for(lambda: server.line().delivered == 5 * len(accepted), 120)
        all_counted(server, 5 * len(accepted))
        ledger = read_status(server.data_dir).ledger
        assert ledger.imbalance() == {}
        assert ledger.lines["calls"].waiting == 5 * len(accepted)
