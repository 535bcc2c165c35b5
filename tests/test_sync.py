"""What was stored offline is uploaded once, by any number of syncs that end in any way."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.errors import BridgeRunning
from otel_wandb.settings import Settings
from otel_wandb.status import read_status
from otel_wandb.store import NewCall, NewRow, NewRun, Store
from otel_wandb.store.rows import encode_run, encode_values
from otel_wandb.sync import Synced, sync
from tests.outbox import call
from tests.peers.environments import CHECKOUT
from tests.peers.fixtures_wandb import OneKeyPeer
from tests.peers.wandb import WandbPeer
from tests.peers.weave import WeavePeer
from tests.rowhouse import BRISK, DAY_S, PATIENCE_S, QUICK, Described, values_of

CALLS, ROWS = 120, 90


class Offline:
    """A data directory that a service has filled offline, and the two servers that know nothing of it."""

    def __init__(self, weave: WeavePeer, wandb: WandbPeer, directory: Path) -> None:
        self.weave, self.wandb = weave, wandb
        self.home = directory
        self.data_dir = DataDir(directory / "data")
        self.data_dir.create()
        self.stored = Settings(mode="offline", project="rag", entity="team")
        self.given = Settings(base_url=wandb.url, trace_url=weave.url, settle_s=0.3, request_timeout_s=5.0)
        self.data_dir.write_config(self.stored.to_json(), self.stored.digest)
        self.environ = {"HOME": str(directory), "WANDB_DIR": str(directory), "WANDB_API_KEY": wandb.api_key}
        with Store.open(self.data_dir.store).transaction() as tx:
            destination = tx.add_destination(self.stored.digest, "team", "rag")
            for number in range(1, CALLS + 1):
                new = NewCall(destination, "1" * 32, f"{number:016x}", 1, "", None, call(number))
                tx.add_call(new)
            for day in ("day-1", "day-2"):
                run = tx.add_run(NewRun(destination, "", day, encode_run(Described(day))))
                for step in range(ROWS):
                    tx.add_row(NewRow(run, step, DAY_S + 60.0 * (step + 1), encode_values(values_of(step))))

    def sync(self, deadline_s: float = PATIENCE_S) -> Synced:
        return sync(
            self.data_dir, self.given, environ=self.environ, deadline_s=deadline_s, pace=QUICK, timing=BRISK
        )

    def assert_uploaded_once(self) -> None:
        wanted = {("team/rag", f"{number:016x}"): 1 for number in range(1, CALLS + 1)}
        assert Counter((c.project, c.id) for c in self.weave.accepted()) == wanted
        for day in ("day-1", "day-2"):
            assert self.wandb.steps(day) == list(range(ROWS))
            assert self.wandb.runs()[day]["state"] == "finished"
        assert self.wandb.conflicts() == []
        ledger = read_status(self.data_dir).ledger
        assert ledger.balanced
        assert (ledger.lines["calls"].delivered, ledger.lines["rows"].delivered) == (CALLS, 2 * ROWS)


@pytest.fixture(scope="module")
def one_key_process() -> Iterator[OneKeyPeer]:
    with OneKeyPeer() as peer:
        yield peer


@pytest.fixture
def offline(one_key_process: OneKeyPeer, wandb_peer: WandbPeer, tmp_path: Path) -> Offline:
    one_key_process.ensure_running()
    one_key_process.reset()
    return Offline(one_key_process, wandb_peer, tmp_path)


def test_two_syncs_upload_everything_once(offline: Offline) -> None:
    first = offline.sync()
    assert (first.calls.delivered, first.rows.delivered) == (CALLS, 2 * ROWS)
    assert (first.complete, first.problem) == (True, "")
    requests = len(offline.wandb.requests()), len(offline.weave.requests())
    second = offline.sync()
    assert (second.calls.delivered, second.rows.delivered, second.complete) == (0, 0, True)
    assert (len(offline.wandb.requests()), len(offline.weave.requests())) == requests
    offline.assert_uploaded_once()


def test_a_sync_without_a_key_says_what_to_do(offline: Offline) -> None:
    del offline.environ["WANDB_API_KEY"]
    synced = offline.sync()
    assert (synced.calls.waiting, synced.rows.waiting, synced.complete) == (CALLS, 2 * ROWS, False)
    assert "set WANDB_API_KEY" in synced.problem
    assert offline.wandb.requests() == []


def test_a_sync_that_meets_a_dead_server_can_be_repeated(offline: Offline) -> None:
    offline.wandb.stop()
    synced = offline.sync(deadline_s=1.0)
    assert not synced.complete
    assert "cannot be reached" in synced.problem
    offline.wandb.start()
    assert offline.sync().complete
    offline.assert_uploaded_once()


def test_beside_a_bridge_it_refuses(offline: Offline) -> None:
    advice = r"only one can\. Given a key it uploads by itself, and `otel-wandb status` tells what waits"
    with offline.data_dir.lock(), pytest.raises(BridgeRunning, match=advice):
        offline.sync()


def test_killed_anywhere_it_goes_on(offline: Offline) -> None:
    code = (
        "import sys; from pathlib import Path; from otel_wandb.datadir import DataDir;"
        "from otel_wandb.settings import Settings; from otel_wandb.sync import sync;"
        "from tests.rowhouse import BRISK, QUICK;"
        "sync(DataDir(Path(sys.argv[1])), Settings.from_json(sys.argv[2].encode()), pace=QUICK, timing=BRISK)"
    )
    command = [sys.executable, "-c", code, str(offline.data_dir.path), offline.given.to_json().decode()]
    dice = random.Random(1)
    for _ in range(4):
        process = subprocess.Popen(command, cwd=CHECKOUT, env={"PATH": "/usr/bin", **offline.environ})
        time.sleep(dice.uniform(0.5, 5.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert offline.sync().complete
    offline.assert_uploaded_once()
