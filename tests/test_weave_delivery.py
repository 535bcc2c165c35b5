"""Delivery to the real Weave server: everything arrives, once, whatever the server does meanwhile."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.delivery.pacing import Pace
from otel_wandb.delivery.weave import WeaveDelivery
from tests.outbox import PATIENCE_S, PROJECT, House, bad_call, call, calls, wait_until
from tests.peers.weave import WeavePeer


@pytest.fixture
def house(weave_peer: WeavePeer, tmp_path: Path) -> Iterator[House]:
    house = House(weave_peer, tmp_path)
    yield house
    house.close()


def test_calls_arrive_byte_for_byte_and_are_read_back_by_weaves_own_client(house: House) -> None:
    bodies = [call(1, output={"answer": "Paris"}), call(2, parent_id=f"{1:016x}")]
    ids = house.queue(*bodies)
    house.deliver()
    house.assert_each_once(*ids)
    with house.peer.client(PROJECT) as client:
        found = {found.id: found for found in client.get_calls()}
    assert set(found) == set(ids)
    assert found[ids[0]].output == {"answer": "Paris"}
    assert found[ids[1]].parent_id == ids[0]
    assert house.counts() == {("calls", "received", ""): 2, ("calls", "delivered", ""): 2}


def test_a_request_says_who_sends_it(house: House) -> None:
    house.queue(call(1))
    house.deliver()
    (request,) = house.peer.requests("calls/complete")
    assert request["path"] == "/v2/team/rag/calls/complete"
    headers = request["headers"]
    assert isinstance(headers, dict)
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("otel-wandb/")
    assert headers["authorization"] == "<redacted>"
    assert "content-encoding" not in headers
    assert "x-weave-client-capabilities" not in headers


def test_the_run_and_step_of_a_chart_go_with_the_call(house: House) -> None:
    house.queue(call(1), run="run-1", step=7)
    house.deliver()
    with house.peer.client(PROJECT) as client:
        (found,) = client.get_calls()
    assert (found.wb_run_id, found.wb_run_step) == ("team/rag/run-1", 7)


def test_batches_keep_to_the_limits(house: House) -> None:
    house.configure(max_batch_calls=40, max_batch_bytes=100_000)
    ids = house.queue(*calls(50, size=100), *calls(30, first=100, size=9000))
    house.deliver()
    house.assert_each_once(*ids)
    requests = house.peer.requests("calls/complete")
    assert len(requests) > 4
    assert all(int(str(request["bytes"])) <= 100_000 for request in requests)


@pytest.mark.parametrize(
    "fault",
    [
        "503:count=2",
        "429:count=1,retry_after=1",
        "408:count=1",
        "500:count=2",
        "502:count=1",
        "504:count=1",
        "reset:count=2",
        "hang:delay=30,count=1",
        "slow:delay=0.3",
        "500:phase=after,count=1",
        "502:phase=after,count=1",
        "504:phase=after,count=1",
        "reset:phase=after,count=1",
        "hang:phase=after,delay=30,count=1",
        "200:phase=after,body=oops,count=1",
        "200:phase=after,body=[],count=1",
    ],
)
def test_a_fault_costs_nothing_and_doubles_nothing(house: House, fault: str) -> None:
    house.configure(request_timeout_s=1.0)
    house.peer.faults(f"{fault},path=calls/complete")
    ids = house.queue(*calls(5))
    house.deliver()
    assert house.peer.fired()[0] > 0
    house.assert_each_once(*ids)
    assert list(house.store.reader.dead_letters()) == []


@pytest.mark.parametrize("fault", ["503:count=2", "500:count=1", "reset:count=2", "200:count=1,body=oops"])
def test_reading_back_may_fail_too(house: House, fault: str) -> None:
    house.peer.faults("reset:phase=after,count=1,path=calls/complete", f"{fault},path=stream_query")
    ids = house.queue(*calls(5))
    house.deliver()
    assert all(house.peer.fired())
    house.assert_each_once(*ids)


def test_many_faults_at_once(house: House) -> None:
    house.configure(max_batch_calls=10, settle_s=0.05)
    house.peer.faults(
        "503:rate=0.1",
        "429:rate=0.1",
        "500:rate=0.1",
        "reset:rate=0.1",
        "reset:phase=after,rate=0.2",
        "502:phase=after,rate=0.2",
    )
    ids = house.queue(*calls(150))
    house.deliver()
    house.peer.faults()
    house.assert_each_once(*ids)
    assert house.counts() == {("calls", "received", ""): 150, ("calls", "delivered", ""): 150}


def test_a_request_that_is_too_large_is_split_and_the_limit_learned(house: House) -> None:
    house.peer.faults("413:over=200000")
    ids = house.queue(*calls(100, size=6000))
    delivery = house.deliver()
    house.assert_each_once(*ids)
    refused = house.peer.fired()[0]
    assert refused > 0
    more = house.queue(*calls(100, first=1000, size=6000))
    house.deliver(delivery)
    house.assert_each_once(*ids, *more)
    assert house.peer.fired()[0] == refused


def test_a_call_that_is_too_large_by_itself_becomes_a_dead_letter(house: House) -> None:
    house.peer.faults("413:over=200000")
    good = house.queue(*calls(5))
    (large,) = house.queue(call(99, size=300_000))
    house.deliver()
    house.assert_each_once(*good)
    (letter,) = house.store.reader.dead_letters()
    assert (letter.span_id, letter.status, letter.reason) == (large, 413, "too_large")
    assert house.counts()["calls", "rejected", "too_large"] == 1


def test_one_bad_call_among_a_thousand(house: House) -> None:
    bodies = calls(1000)
    bodies[637] = bad_call(638)
    ids = house.queue(*bodies)
    house.deliver()
    bad = ids.pop(637)
    house.assert_each_once(*ids)
    (letter,) = house.store.reader.dead_letters()
    assert (letter.span_id, letter.status, letter.reason) == (bad, 422, "http_422")
    assert "input_tokens" in letter.answer
    assert house.counts() == {
        ("calls", "received", ""): 1000,
        ("calls", "delivered", ""): 999,
        ("calls", "rejected", "http_422"): 1,
    }


def test_where_every_call_is_refused_the_address_is_doubted_and_the_rest_kept(house: House) -> None:
    house.queue(*(bad_call(number) for number in range(1, 61)))
    progress = house.delivery().deliver_due(deadline_s=PATIENCE_S)
    assert (progress.delivered, progress.rejected, progress.waiting) == (0, 20, 40)
    assert "refuses every call" in progress.problem


def test_a_call_that_the_server_fails_on_keeps_nobody_waiting(house: House) -> None:
    house.configure(settle_s=0.05)
    house.peer.faults("500:over=60000,path=calls/complete")
    good = house.queue(*calls(20))
    (poison,) = house.queue(call(50, size=60_000))
    good += house.queue(*calls(20, first=100))
    delivery = house.delivery()
    stop = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    wait_until(lambda: house.store.reader.outbox_size() == 1)
    later = house.queue(*calls(3, first=200))
    delivery.wake()
    wait_until(lambda: house.store.reader.outbox_size() == 1)
    assert {accepted.id for accepted in house.peer.accepted()} == {*good, *later}
    house.peer.faults()
    wait_until(lambda: house.store.reader.outbox_size() == 0)
    stop.set()
    thread.join()
    house.assert_each_once(*good, *later, poison)


def test_a_wrong_key_holds_everything_until_it_is_changed(house: House) -> None:
    ids = house.queue(*calls(3))
    house.environ["WANDB_API_KEY"] = "wrong"
    delivery = house.delivery()
    progress = delivery.deliver_due(deadline_s=PATIENCE_S)
    assert (progress.delivered, progress.rejected, progress.waiting) == (0, 0, 3)
    assert "401" in progress.problem
    assert "wrong" not in json.dumps(delivery.state())
    house.environ["WANDB_API_KEY"] = house.peer.api_key
    house.deliver(delivery)
    house.assert_each_once(*ids)


def test_a_refused_project_is_tried_again_after_a_while(house: House) -> None:
    house.peer.configure_projects(denied=["team"])
    ids = house.queue(*calls(3))
    delivery = house.delivery(Pace(first_s=0.05, most_s=0.5, refused_s=0.3))
    assert "403" in delivery.deliver_due(deadline_s=PATIENCE_S).problem
    stop = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    wait_until(lambda: len(house.peer.requests("calls/complete")) >= 3)
    assert house.peer.accepted() == []
    house.peer.configure_projects(denied=[])
    wait_until(lambda: house.store.reader.outbox_size() == 0)
    stop.set()
    thread.join()
    house.assert_each_once(*ids)


def test_a_project_is_made_on_first_use(house: House) -> None:
    house.peer.configure_projects(strict=True)
    ids = house.queue(*calls(3))
    house.deliver()
    assert house.peer.made_projects() == [PROJECT]
    house.assert_each_once(*ids)


def test_a_project_that_has_gone_is_made_again(house: House) -> None:
    first = house.queue(*calls(3))
    delivery = house.deliver()
    house.peer.configure_projects(strict=True)  # now only what is made exists
    second = house.queue(*calls(3, first=10))
    house.deliver(delivery)
    assert house.peer.made_projects() == [PROJECT]
    house.assert_each_once(*first, *second)


def test_the_app_may_be_out_of_reach_where_the_trace_server_is_not(house: House) -> None:
    house.configure(base_url="http://127.0.0.1:9")
    ids = house.queue(*calls(3))
    house.deliver()
    house.assert_each_once(*ids)


def test_without_an_entity_it_is_that_of_the_key(house: House) -> None:
    ids = house.queue(*calls(2), project="rag")
    house.deliver()
    house.assert_each_once(*ids, project=f"{house.peer.default_entity}/rag")
    (destination,) = house.store.reader.destinations()
    assert destination.entity == house.peer.default_entity


def test_without_any_entity_the_message_says_what_to_do(house: House) -> None:
    house.peer.configure_projects(viewer_entity=None)
    house.queue(*calls(2), project="rag")
    assert "set WANDB_ENTITY" in house.delivery().deliver_due(deadline_s=PATIENCE_S).problem
    house.environ["WANDB_ENTITY"] = "mine"
    house.restart()
    house.deliver()
    assert {accepted.project for accepted in house.peer.accepted()} == {"mine/rag"}


def test_the_server_goes_and_comes_back(house: House) -> None:
    house.peer.stop()
    ids = house.queue(*calls(3))
    delivery = house.delivery()
    progress = delivery.deliver_due(deadline_s=0.5)
    assert progress.waiting == 3
    assert "cannot be reached" in progress.problem
    house.peer.start()
    house.deliver(delivery)
    house.assert_each_once(*ids)


def test_the_server_is_killed_and_comes_back_with_what_it_had(house: House) -> None:
    first = house.queue(*calls(3))
    delivery = house.deliver()
    house.peer.kill()
    second = house.queue(*calls(3, first=10))
    assert delivery.deliver_due(deadline_s=0.3).waiting == 3
    house.peer.start()
    house.deliver(delivery)
    house.assert_each_once(*first, *second)


def test_two_projects_get_their_own_requests(house: House) -> None:
    one = house.queue(*calls(3), project="team/one")
    two = house.queue(*calls(3, first=10), project="team/two")
    house.deliver()
    accepted = {(found.project, found.id) for found in house.peer.accepted()}
    assert accepted == {("team/one", i) for i in one} | {("team/two", i) for i in two}


def test_a_slow_project_holds_up_no_other(house: House) -> None:
    house.peer.faults("hang:path=team/slow")
    slow = house.queue(*calls(3), project="team/slow")
    delivery = house.delivery()
    stop = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    wait_until(lambda: delivery_state(delivery, "slow")["requests"] == 1)
    quick = house.queue(*calls(3, first=10), project="team/quick")
    delivery.wake()
    wait_until(lambda: {accepted.id for accepted in house.peer.accepted()} == set(quick))
    assert delivery_state(delivery, "slow")["requests"] == 1
    stop.set()
    thread.join()
    assert house.store.reader.outbox_size() == len(slow)


def delivery_state(delivery: WeaveDelivery, project: str) -> dict[str, object]:
    destinations = delivery.state()["destinations"]
    assert isinstance(destinations, list)
    found = [one for one in destinations if one["project"] == project]
    return found[0] if found else {"requests": 0}


def test_offline_nothing_is_sent_and_a_key_that_appears_is_used(house: House) -> None:
    del house.environ["WANDB_API_KEY"]
    delivery = house.delivery()
    assert delivery.offline
    ids = house.queue(*calls(3))
    progress = delivery.deliver_due(deadline_s=PATIENCE_S)
    assert progress.waiting == 3
    assert "set WANDB_API_KEY" in progress.problem
    assert delivery.offline
    assert delivery_state(delivery, "rag")["state"] == "offline"
    assert house.peer.requests() == []
    house.environ["WANDB_API_KEY"] = house.peer.api_key
    house.deliver(delivery)
    assert delivery.state()["offline"] is False
    house.assert_each_once(*ids)


def test_the_mode_offline_sends_nothing_even_with_a_key(house: House) -> None:
    house.configure(mode="offline")
    house.queue(*calls(3))
    progress = house.delivery().deliver_due(deadline_s=PATIENCE_S)
    assert progress.waiting == 3
    assert house.peer.requests() == []


def test_a_key_file_that_cannot_be_read_is_named(house: House, tmp_path: Path) -> None:
    house.configure(api_key_file=str(tmp_path / "none"))
    house.queue(*calls(3))
    delivery = house.delivery()
    assert str(tmp_path / "none") in delivery.deliver_due(deadline_s=PATIENCE_S).problem
    assert not delivery.offline


def test_refusals_are_logged_once_a_minute(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.queue(call(1))
    delivery = house.deliver()
    house.queue(*(bad_call(number) for number in range(2, 8)))
    with caplog.at_level(logging.WARNING, logger="otel_wandb"):
        house.deliver(delivery)
    assert len([record for record in caplog.records if "dead letter" in record.message]) == 1
