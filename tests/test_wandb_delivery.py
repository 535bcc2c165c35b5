"""Rows to W&B runs with the real client: every row once, whatever the server or we do meanwhile."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from otel_wandb.delivery.wandb import WandbDelivery
from otel_wandb.store.rows import Bins, RowValue
from tests.deadlines import wait_for
from tests.peers.environments import CHECKOUT
from tests.peers.wandb import WandbPeer
from tests.rowhouse import BRISK, PATIENCE_S, Described, RowHouse, values_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the real client waits for what it waits for

SEED = int(os.environ.get("CHAOS_SEED", "1"))


@pytest.fixture
def house(wandb_peer: WandbPeer, tmp_path: Path) -> Iterator[RowHouse]:
    house = RowHouse(wandb_peer, tmp_path)
    yield house
    house.close()


@contextmanager
def running(delivery: WandbDelivery) -> Iterator[WandbDelivery]:
    """The delivery as the bridge has it: in a thread of its own."""
    stop = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    try:
        yield delivery
    finally:
        stop.set()
        thread.join()


def wait_until_delivered(house: RowHouse) -> None:
    wait_for(lambda: house.store.reader.waiting_rows() == 0, PATIENCE_S)


def wandb_processes() -> list[psutil.Process]:
    """The processes of wandb that this one has started."""
    return [p for p in psutil.Process().children(recursive=True) if is_wandb(p)]


def is_wandb(process: psutil.Process) -> bool:
    try:
        return "wandb_child" in " ".join(process.cmdline()) or "wandb-core" in process.name()
    except psutil.NoSuchProcess:  # it has just ended
        return False


def test_a_run_arrives_as_it_was_described(house: RowHouse) -> None:
    described = Described("rag-2026-11-25", config={"resource": {"service.name": "rag"}, "interval_s": 60.0})
    steps = house.queue([3, 7, 10], described=described)
    house.deliver()
    house.assert_each_once(steps)
    run = house.peer.runs()["run-1"]
    assert (run["entity"], run["project"]) == ("team", "rag")
    assert (run["display_name"], run["group"], run["job_type"]) == ("rag-2026-11-25", "rag", "monitor")
    assert run["program"] == "otel-wandb"
    assert (run["tags"], run["config"], run["state"]) == (["prod"], described.config, "finished")
    histogram = house.peer.history("run-1")[2]["latency/histogram"]
    assert histogram == {"_type": "histogram", "values": [1, 2], "bins": [0, 1, 5.5]}
    assert house.counts() == {("rows", "received", ""): 3, ("rows", "delivered", ""): 3}


def test_wandb_stays_out_of_this_process_and_sends_nothing_else(
    house: RowHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer of-another-vendor")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_RUN_ID", "the-users-own")
    imported = set(sys.modules)
    steps = house.queue([1])
    house.deliver()
    house.assert_each_once(steps)
    assert "wandb" not in set(sys.modules) - imported
    assert {r["path"].split("/")[1] for r in house.peer.requests()} == {"graphql", "files", "storage"}
    files = {r["path"] for r in house.peer.requests("/storage/")}
    assert len(files) == 2  # config and summary: no code, no requirements, no console
    house.close()
    assert wandb_processes() == []


def test_a_run_stays_open_while_rows_come_and_its_description_grows(house: RowHouse) -> None:
    with running(house.delivery()) as delivery:
        house.queue([0])
        wait_until_delivered(house)
        assert house.peer.runs()["run-1"]["state"] == "running"
        grown = Described("run-1", tags=("prod", "v2"), config={"interval_s": 60, "versions": ["v1", "v2"]})
        house.queue([1, 2], described=grown)
        wait_until_delivered(house)
        assert (
            len(house.peer.requests(op="RunResumeStatus")) == 2
        )  # ours before the run is opened, and wandb's
        assert "1 W&B runs open" in delivery.sentence()
    house.close()
    run = house.peer.runs()["run-1"]
    assert run["state"] == "finished"
    assert run["tags"] == ["prod", "v2"]
    assert run["config"] == grown.config
    house.assert_each_once([0, 1, 2])


@pytest.mark.parametrize(
    "fault",
    [
        "503:count=2",
        "429:count=1,retry_after=1",
        "reset:count=2",
        "reset:phase=after,count=1",
        "502:phase=after,count=1",
        "slow:delay=0.5,count=3",
    ],
)
def test_what_passes_loses_and_doubles_nothing(house: RowHouse, fault: str) -> None:
    house.peer.faults(f"{fault},path=file_stream")
    with running(house.delivery()):
        steps = [*house.queue(range(3)), *house.queue(range(5, 8))]
        wait_until_delivered(house)
    house.assert_each_once(steps)
    assert house.peer.fired()[0] > 0


@pytest.mark.parametrize("status", [401, 404, 413])
def test_an_upload_that_died_is_noticed_and_its_rows_are_brought_in(house: RowHouse, status: int) -> None:
    with running(house.delivery()):
        house.queue([0])
        wait_until_delivered(house)
        house.peer.faults(f"{status}:count=1,path=file_stream")
        house.queue([1, 2])
        wait_until_delivered(house)
        house.queue([3])
        wait_until_delivered(house)
    assert house.peer.fired() == [1]
    house.assert_each_once(range(4))


def test_a_server_that_is_down_is_waited_for(house: RowHouse) -> None:
    house.peer.stop()
    steps = house.queue(range(3))
    delivery = house.delivery()
    progress = delivery.deliver_due(deadline_s=0.5)
    assert progress.waiting == 3
    assert "cannot be reached" in progress.problem
    assert wandb_processes() == []  # nothing is started for a server that does not answer
    with running(delivery):
        house.peer.start()
        wait_until_delivered(house)
        house.peer.kill()
        house.queue([5])
        house.peer.start()
        wait_until_delivered(house)
    house.assert_each_once([*steps, 5])


def test_a_refused_key_is_told_and_the_next_one_is_used(
    house: RowHouse, caplog: pytest.LogCaptureFixture
) -> None:
    house.environ["WANDB_API_KEY"] = "a" * 40
    steps = house.queue([1])
    delivery = house.delivery()
    progress = delivery.deliver_due(deadline_s=20)
    assert (progress.waiting, progress.delivered) == (1, 0)
    assert "answered 401" in progress.problem
    house.environ["WANDB_API_KEY"] = house.peer.api_key
    house.deliver(delivery)
    house.assert_each_once(steps)
    assert "a" * 40 not in caplog.text
    assert house.peer.api_key not in caplog.text + str(delivery.state())


def test_a_key_that_changes_while_a_run_is_open_is_used_from_then_on(tmp_path: Path) -> None:
    second = "b" * 40
    with WandbPeer(api_keys=(second,)) as peer:
        house = RowHouse(peer, tmp_path)
        with running(house.delivery()):
            house.queue([0])
            wait_until_delivered(house)
            house.environ["WANDB_API_KEY"] = second
            house.queue([1])
            wait_until_delivered(house)
        house.assert_each_once([0, 1])
        house.close()


def test_offline_nothing_is_started_or_sent(house: RowHouse) -> None:
    del house.environ["WANDB_API_KEY"]
    house.queue(range(3))
    delivery = house.delivery()
    assert delivery.offline
    assert delivery.deliver_due(deadline_s=10).waiting == 3
    assert house.peer.requests() == []
    assert wandb_processes() == []


def test_the_rows_of_a_deleted_run_are_rejected_and_other_runs_go_on(house: RowHouse) -> None:
    with running(house.delivery(timing=replace(BRISK, init_timeout_s=4.0))):
        house.queue([0], run="deleted")
        house.queue([0], run="kept")
        wait_until_delivered(house)
        house.peer.delete_run("deleted")
        house.queue([1, 2], run="deleted")
        house.queue([1], run="kept")
        wait_until_delivered(house)
        house.queue([3], run="deleted")
        wait_until_delivered(house)
    house.assert_each_once([0, 1], run="kept")
    assert house.counts() == {
        ("rows", "received", ""): 6,
        ("rows", "delivered", ""): 3,
        ("rows", "rejected", "run_deleted"): 3,
    }


def test_a_row_behind_the_last_one_of_its_run_is_rejected(house: RowHouse) -> None:
    house.queue([1, 2, 9])
    house.deliver()
    house.queue([2, 5, 10])  # two comes again, five comes too late
    house.deliver()
    house.assert_each_once([1, 2, 9, 10])
    assert house.counts() == {
        ("rows", "received", ""): 6,
        ("rows", "delivered", ""): 4,
        ("rows", "dropped", "repeated_step"): 1,
        ("rows", "rejected", "step_passed"): 1,
    }


def test_a_row_that_wandb_does_not_take_keeps_no_other_one_back(house: RowHouse) -> None:
    house.queue([1])
    house.queue([2], values={"latency/histogram": Bins((1, 2), (0.0, 1.0))})
    house.queue([3], values={"latency/histogram": Bins((1,) * 513, tuple(range(514)))})
    house.queue([4])
    house.deliver()
    house.assert_each_once([1, 4])
    assert house.counts()["rows", "rejected", "malformed"] == 2


def test_a_row_that_no_upload_survives_is_found_and_rejected(house: RowHouse) -> None:
    house.peer.faults("413:over=9000,path=file_stream")  # as a proxy does that allows small bodies only
    big: dict[str, RowValue] = {
        "latency/histogram": Bins((123_456,) * 512, tuple(x + 0.12345 for x in range(513)))
    }
    house.queue(range(3))
    house.queue([3], values=values_of(3) | big)
    house.queue(range(4, 7))
    house.queue(range(3), run="run-2")
    house.deliver()
    house.assert_each_once([0, 1, 2, 4, 5, 6])
    house.assert_each_once([0, 1, 2], run="run-2")
    assert house.counts()["rows", "rejected", "http_413"] == 1


def test_more_runs_than_may_be_open_take_turns(house: RowHouse) -> None:
    names = [f"run-{number}" for number in range(6)]
    with running(house.delivery(timing=replace(BRISK, max_open_runs=2))) as delivery:
        for step in range(2):
            for name in names:
                house.queue([step], run=name, described=Described(name, group=name))
            wait_until_delivered(house)
            runs = delivery.state()["runs"]
            assert isinstance(runs, list)
            assert sum(run["open"] for run in runs) <= 2
    for name in names:
        house.assert_each_once([0, 1], run=name)


def test_the_run_of_the_day_before_is_finished_when_the_next_day_begins(house: RowHouse) -> None:
    with running(house.delivery()):
        house.queue([1439], run="day-1")
        wait_until_delivered(house)
        house.queue([0], run="day-2")
        wait_until_delivered(house)
        wait_for(lambda: house.peer.runs()["day-1"]["state"] == "finished")
        assert house.peer.runs()["day-2"]["state"] == "running"
    house.assert_each_once([1439], run="day-1")
    house.assert_each_once([0], run="day-2")


def test_the_death_of_wandbs_processes_loses_and_doubles_nothing(house: RowHouse) -> None:
    with running(house.delivery()):
        for step, name in enumerate(["wandb_child", "wandb-core", "wandb_child"]):
            house.queue([2 * step])
            wait_until_delivered(house)
            (victim,) = [p for p in wandb_processes() if name in " ".join(p.cmdline())]
            victim.kill()
            house.queue([2 * step + 1])
            wait_until_delivered(house)
    house.assert_each_once(range(6))


def test_the_stop_button_stops_nothing_here(house: RowHouse) -> None:
    with running(house.delivery()):
        house.queue([0])
        wait_until_delivered(house)
        house.peer.press_stop("run-1")
        for step in range(1, 4):
            house.queue([step])
            wait_until_delivered(house)
    house.assert_each_once(range(4))


def test_closing_waits_for_no_server(house: RowHouse) -> None:
    house.queue([0])
    delivery = house.delivery()
    with running(delivery):
        wait_until_delivered(house)
        house.peer.faults("hang:path=file_stream")
        house.queue([1])
        wait_for(lambda: house.peer.fired() != [0])
    delivery.close(deadline_s=0.5)
    assert house.store.reader.waiting_rows() == 1
    house.peer.kill()
    house.peer.start()
    house.deliver()
    house.assert_each_once([0, 1])


def test_without_wandb_the_rows_wait_and_it_is_told(
    house: RowHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "wandb.py").write_text("raise ImportError('No module named wandb')")
    steps = house.queue([1])
    delivery = house.delivery()
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
        progress = delivery.deliver_due(deadline_s=0.1)
        wait_for(lambda: "pip install wandb" in caplog.text)
    assert progress.waiting == 1
    house.deliver(delivery)
    house.assert_each_once(steps)


def test_rows_of_the_default_entity_find_it(house: RowHouse) -> None:
    steps = house.queue([0, 1], project="rag")
    house.deliver()
    house.assert_each_once(steps)
    assert house.peer.runs()["run-1"]["entity"] == WandbPeer.default_entity


@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_sigkills_lose_and_double_nothing(wandb_peer: WandbPeer, tmp_path: Path, kills: int) -> None:
    dice = random.Random(SEED)
    command = [sys.executable, "-m", "tests.rowhouse", str(tmp_path), wandb_peer.url, wandb_peer.api_key]

    def uploads() -> int:
        return len(wandb_peer.requests("file_stream"))

    for number in range(kills):
        before = uploads()
        process = subprocess.Popen([*command, "1000000"], cwd=CHECKOUT)
        deadline_s = time.monotonic() + PATIENCE_S
        while number % 2 and uploads() == before:  # every other one dies while it uploads
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        time.sleep(dice.uniform(0.0, 2.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run([*command, "0"], cwd=CHECKOUT, timeout=100, check=False).returncode == 0
    house = RowHouse(wandb_peer, tmp_path)
    rows = len(list(house.store.reader.rows(1)))
    assert rows > 10 * kills
    house.assert_each_once(range(rows))
    assert house.counts() == {("rows", "received", ""): rows, ("rows", "delivered", ""): rows}
    house.close()
