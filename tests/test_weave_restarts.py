"""Delivery that is killed, closed or disturbed by its store: what it left is read back, and not doubled."""

from __future__ import annotations

import logging
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outbox import PATIENCE_S, PROJECT, House, calls, start_delivery_process, wait_until, wire_of
from tests.peers.weave import WeavePeer


@pytest.fixture
def house(weave_peer: WeavePeer, tmp_path: Path) -> Iterator[House]:
    house = House(weave_peer, tmp_path)
    yield house
    house.close()


def test_what_a_dead_process_left_in_flight_is_read_back_first(house: House) -> None:
    ids = house.queue(*calls(4))
    with house.store.transaction() as tx:
        queued = house.store.reader.due(1, 10, 1 << 20)
        tx.begin_attempt([one.id for one in queued[:3]], 0.0)
    post_behind_our_back(house.peer, calls(2))
    house.restart()
    house.deliver()
    house.assert_each_once(*ids)
    kinds = [str(request["path"]).rpartition("/")[2] for request in house.peer.requests()]
    assert kinds.index("stream_query") > kinds.index("complete")


def post_behind_our_back(peer: WeavePeer, bodies: list[bytes]) -> None:
    import httpx

    batch = b",".join(wire_of(body, PROJECT) for body in bodies)
    url = f"{peer.url}/v2/{PROJECT}/calls/complete"
    content = b'{"batch":[' + batch + b"]}"
    httpx.post(url, content=content, auth=("api", peer.api_key), trust_env=False).raise_for_status()


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_kill_while_the_answer_is_awaited_doubles_nothing(house: House, phase: str) -> None:
    ids = house.queue(*calls(5))
    house.peer.faults(f"hang:phase={phase},delay=60,path=calls/complete")
    process = start_delivery_process(house)
    if phase == "after":
        wait_until(lambda: len(house.peer.accepted()) == 5)
    else:
        wait_until(lambda: house.peer.fired() == [1])
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    house.peer.faults()
    house.restart()
    house.deliver()
    house.assert_each_once(*ids)


@pytest.mark.parametrize("where", ["begin_attempt", "settle"])
def test_a_kill_around_the_commit_doubles_nothing(house: House, where: str) -> None:
    ids = house.queue(*calls(5))
    process = start_delivery_process(house, f"Transaction.{where}")
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert len(house.peer.accepted()) == (5 if where == "settle" else 0)
    house.restart()
    house.deliver()
    house.assert_each_once(*ids)


def test_a_store_that_cannot_note_the_outcome_doubles_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from otel_wandb.errors import StoreError
    from otel_wandb.store import Transaction

    settle = Transaction.settle
    full = [True]

    def settle_or_not(tx: Transaction, *arguments: object) -> None:
        if full:
            full.pop()
            raise StoreError("the disk is full")
        settle(tx, *arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Transaction, "settle", settle_or_not)
    ids = house.queue(*calls(5))
    with caplog.at_level(logging.CRITICAL):
        house.deliver()
    assert not full
    house.assert_each_once(*ids)


@pytest.mark.parametrize("in_memory", [False, True])
def test_calls_may_be_added_while_others_are_sent(
    weave_peer: WeavePeer, tmp_path: Path, in_memory: bool
) -> None:
    house = House(weave_peer, tmp_path, in_memory=in_memory)
    house.configure(max_batch_calls=7)
    delivery = house.delivery()
    stop = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    ids: list[str] = []
    for first in range(0, 200, 10):
        ids += house.queue(*calls(10, first=first + 1))
        delivery.wake()
    house.deliver(delivery)  # from this thread too, at the same time
    stop.set()
    thread.join()
    house.assert_each_once(*ids)
    house.close()


def test_closing_in_the_middle_leaves_the_rest_for_the_next_start(house: House) -> None:
    house.peer.faults("hang:phase=after,delay=60,count=1,path=calls/complete")
    ids = house.queue(*calls(5))
    delivery = house.delivery()
    stop = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    wait_until(lambda: len(house.peer.accepted()) == 5)
    stop.set()
    thread.join()
    house.restart()
    assert house.store.reader.outbox_size() == 5
    house.deliver()
    house.assert_each_once(*ids)


@pytest.mark.slow
def test_on_clickhouse_a_call_whose_answer_was_lost_is_one_row(tmp_path: Path) -> None:
    with WeavePeer(backend="chdb") as peer:
        house = House(peer, tmp_path)
        peer.faults("reset:phase=after,count=1,path=calls/complete")
        ids = house.queue(*calls(5))
        house.deliver()
        house.assert_each_once(*ids)
        post_behind_our_back(peer, calls(1))  # the same call twice would be seen
        with peer.client(PROJECT) as client:
            rows = Counter(found.id for found in client.get_calls())
        house.close()
    assert rows == {**dict.fromkeys(ids, 1), ids[0]: 2}
