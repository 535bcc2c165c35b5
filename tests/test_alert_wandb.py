"""Alerts of W&B's runs: each arrives once and recovers, whatever the server or we do meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.alerthouse import PROJECT, RUN, AlertHouse, deliver_in_a_process
from tests.deadlines import wait_for
from tests.peers.wandb import WandbPeer
from tests.rowhouse import RowHouse

MUTATION = "NotifyScriptableRunAlert"


@pytest.fixture
def house(wandb_peer: WandbPeer, tmp_path: Path) -> Iterator[AlertHouse]:
    """A store whose alerts go to W&B alone."""
    house = AlertHouse(
        tmp_path,
        {"routes": {"log": False}},
        base_url=wandb_peer.url,
        environ={"WANDB_API_KEY": wandb_peer.api_key},
    )
    yield house
    house.close()


def make_run(peer: WandbPeer) -> None:
    """Make the run as the client does, without a row."""
    entity, _, project = PROJECT.rpartition("/")
    variables = {"entity": entity, "project": project, "name": RUN}
    asked = {"operationName": "UpsertBucket", "query": "", "variables": variables}
    answer = httpx.post(f"{peer.url}/graphql", json=asked, auth=("api", peer.api_key), trust_env=False)
    answer.raise_for_status()


def bring_rows(house: AlertHouse, peer: WandbPeer) -> None:
    """Store a row, and let the real client take it to the run."""
    house.queue_row(3)
    house.store.close()
    rows = RowHouse(peer, house.path.parent)
    rows.deliver()
    rows.close()
    assert peer.steps(RUN) == [3]
    house.restart()


def heard(peer: WandbPeer) -> list[tuple[str, str, str]]:
    """(run, title, level) of what people were told."""
    return [(one["run_id"], one["title"], one["severity"]) for one in peer.alerts() if one["delivered"]]


def test_an_alert_arrives_in_the_run_once_and_so_does_its_recovery(
    house: AlertHouse, wandb_peer: WandbPeer
) -> None:
    bring_rows(house, wandb_peer)
    house.queue("wandb")
    house.deliver()
    house.restart()
    house.deliver()
    house.queue("wandb", state="recovered", step=4)
    house.deliver()
    house.restart()
    house.deliver()
    assert heard(wandb_peer) == [
        (RUN, "Answers are slow", "ERROR"),
        (RUN, "Recovered: Answers are slow", "ERROR"),
    ]
    assert len(wandb_peer.requests(op=MUTATION)) == 2
    (first, _) = wandb_peer.alerts()
    assert (first["entity"], first["project"], first["text"]) == ("team", "rag", "What slow says.")
    assert house.counts() == {("received", ""): 2, ("delivered", ""): 2}


def test_traces_that_it_names_are_links_to_their_calls(house: AlertHouse, wandb_peer: WandbPeer) -> None:
    make_run(wandb_peer)
    house.queue("wandb", text=f"It moved. Examples: {'a' * 32}/{'b' * 16}.")
    house.deliver()
    (told,) = wandb_peer.alerts()
    assert told["text"] == f"It moved. Examples: {wandb_peer.url}/team/rag/r/call/{'b' * 16}."


def test_it_waits_until_the_run_is_there(house: AlertHouse, wandb_peer: WandbPeer) -> None:
    house.queue("wandb")
    delivery = house.deliver(deadline_s=0.5)
    assert house.fates() == [{"wandb": ("waiting", "")}]
    assert delivery.sentence() == ""  # which is no problem
    assert wandb_peer.requests(op=MUTATION) == []
    bring_rows(house, wandb_peer)
    house.deliver()
    assert heard(wandb_peer) == [(RUN, "Answers are slow", "ERROR")]


@pytest.mark.parametrize(
    "fault",
    [
        "503:count=2",
        "429:count=1,retry_after=0",
        "reset:count=2",
        "reset:phase=after,count=1",
        "502:phase=after,count=2",
    ],
)
def test_what_passes_makes_no_second_alert(house: AlertHouse, wandb_peer: WandbPeer, fault: str) -> None:
    make_run(wandb_peer)
    wandb_peer.faults(f"{fault},op={MUTATION}")
    house.queue("wandb")
    house.deliver()
    assert wandb_peer.fired()[0] > 0
    assert heard(wandb_peer) == [(RUN, "Answers are slow", "ERROR")]
    assert house.fates() == [{"wandb": ("delivered", "")}]


@pytest.mark.parametrize("die", ["before", "after"])
def test_a_kill_while_it_is_sent_makes_no_second_alert(
    house: AlertHouse, wandb_peer: WandbPeer, die: str
) -> None:
    make_run(wandb_peer)
    house.queue("wandb")
    assert deliver_in_a_process(house, f"{die}.WandbCarrier.send") == -signal.SIGKILL
    assert house.fates() == [{"wandb": ("waiting", "")}]
    house.now_s += 30
    assert deliver_in_a_process(house) == 0
    assert house.fates() == [{"wandb": ("delivered", "")}]
    assert heard(wandb_peer) == [(RUN, "Answers are slow", "ERROR")]
    assert len(wandb_peer.alerts()) == 1 + (die == "after")


def test_a_second_alert_of_a_title_is_heard_however_soon_it_comes(
    house: AlertHouse, wandb_peer: WandbPeer
) -> None:
    make_run(wandb_peer)
    for step in (3, 4):
        house.queue("wandb", step=step)
        house.deliver()
    assert len(heard(wandb_peer)) == 2


def test_a_server_that_hangs_holds_up_alerts_and_no_row(house: AlertHouse, wandb_peer: WandbPeer) -> None:
    make_run(wandb_peer)
    wandb_peer.faults(f"hang:delay=2,count=1,op={MUTATION}")
    house.queue("wandb")
    delivery = house.delivery()
    delivery.deliver_due(deadline_s=0.1)
    wait_for(lambda: wandb_peer.fired() == [1])
    other = house.path.parent / "other"
    other.mkdir()
    rows = RowHouse(wandb_peer, other)
    rows.queue([0], run="other-run")
    rows.deliver()
    rows.close()
    assert wandb_peer.steps("other-run") == [0]
    assert house.fates() == [{"wandb": ("waiting", "")}]


def test_offline_then_late_and_never_sent(house: AlertHouse, wandb_peer: WandbPeer) -> None:
    key = house.environ.pop("WANDB_API_KEY")
    house.queue("wandb")
    delivery = house.deliver()
    assert (delivery.waits, house.fates()) == (False, [{"wandb": ("waiting", "")}])
    house.environ["WANDB_API_KEY"] = key
    house.now_s += 900
    make_run(wandb_peer)
    house.deliver()
    assert house.fates() == [{"wandb": ("dropped", "late")}]
    assert wandb_peer.alerts() == []


def test_a_refused_key_is_told_and_the_next_one_is_used(house: AlertHouse, wandb_peer: WandbPeer) -> None:
    make_run(wandb_peer)
    house.environ["WANDB_API_KEY"] = "a" * 40
    house.queue("wandb")
    delivery = house.delivery()
    assert "answered 401" in delivery.deliver_due(deadline_s=None).problem
    house.environ["WANDB_API_KEY"] = wandb_peer.api_key
    delivery.deliver_due(deadline_s=10)
    assert heard(wandb_peer) == [(RUN, "Answers are slow", "ERROR")]
