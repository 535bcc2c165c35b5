"""Alerts to the log and to a webhook: each once, in order, signed, and none that is late."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.ledger import compose
from otel_wandb.store import QueuedAlert
from tests.alerthouse import BEGAN_S, PATIENCE_S, RUN, AlertHouse, deliver_in_a_process
from tests.deadlines import wait_for
from tests.peers.webhook import WebhookPeer

SECRET = "a secret to sign with"
REFUSED = "the webhook pager was not reached: ConnectError: [Errno 111] Connection refused"


@pytest.fixture
def peer() -> Iterator[WebhookPeer]:
    with WebhookPeer() as peer:
        yield peer


@pytest.fixture
def house(peer: WebhookPeer, tmp_path: Path) -> Iterator[AlertHouse]:
    """One route, `pager`, besides the two that are always there."""
    pager = {"url": peer.url, "secret_variable": "PAGER_SECRET", "timeout_s": 5.0}
    house = AlertHouse(tmp_path, {"routes": {"pager": pager}}, environ={"PAGER_SECRET": SECRET})
    yield house
    house.close()


def test_a_webhook_gets_an_alert_signed_and_once(house: AlertHouse, peer: WebhookPeer) -> None:
    uid = house.queue("pager")
    house.deliver()
    house.deliver()
    (posted,) = peer.posted
    assert json.loads(posted.body) == {
        "id": uid,
        "name": "slow",
        "state": "firing",
        "level": "error",
        "title": "Answers are slow",
        "text": "What slow says.",
        "service": "rag",
        "project": "team/rag",
        "run": RUN,
        "step": 3,
        "time": "2026-11-25T00:00:00.000Z",
        "url": "",
    }
    assert posted.path == "/hook"
    assert posted.headers["Content-Type"] == "application/json"
    assert posted.headers["Idempotency-Key"] == uid
    expected = hmac.new(SECRET.encode(), posted.body, hashlib.sha256).hexdigest()
    assert posted.headers["X-Otel-Wandb-Signature"] == f"sha256={expected}"
    assert house.fates() == [{"pager": ("delivered", "")}]
    assert house.counts() == {("received", ""): 1, ("delivered", ""): 1}


@pytest.mark.parametrize(
    "answers",
    [
        ["500", "503"],
        ["429 0", "408"],
        ["reset", "reset"],
        ["taken"],
        ["hang"],
        ["drip"],
        ["500", "reset", "taken", "hang", "503"],
    ],
)
def test_what_passes_is_tried_again_in_the_same_bytes(
    house: AlertHouse, peer: WebhookPeer, answers: list[str]
) -> None:
    peer.answers += answers
    uid = house.queue("pager")
    house.deliver()
    assert [posted.answer for posted in peer.posted] == [*answers, "200"]
    assert {(p.headers["Idempotency-Key"], p.body) for p in peer.posted} == {(uid, peer.posted[0].body)}
    assert len({posted.headers["X-Otel-Wandb-Signature"] for posted in peer.posted}) == 1
    assert house.fates() == [{"pager": ("delivered", "")}]
    assert house.counts() == {("received", ""): 1, ("delivered", ""): 1}


@pytest.mark.parametrize("answer", ["400", "404", "410", "302"])
def test_what_is_refused_is_not_tried_again_and_told(
    house: AlertHouse, peer: WebhookPeer, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    peer.answers.append(answer)
    house.queue("pager")
    house.queue("pager", name="next", step=4)
    house.deliver()
    assert [json.loads(posted.body)["name"] for posted in peer.posted] == ["slow", "next"]
    assert house.fates() == [{"pager": ("rejected", f"http_{answer}")}, {"pager": ("delivered", "")}]
    (refused,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    words = f"the webhook pager answered {answer}: so it is"
    assert refused.getMessage() == f"The alert slow does not go out by pager, for good: {words}"
    assert house.alerts()[0].routes["pager"].problem == words


def test_what_goes_to_one_route_keeps_its_order(house: AlertHouse, peer: WebhookPeer) -> None:
    peer.answers += ["503", "503"]
    house.queue("pager")
    house.queue("pager", state="recovered", step=4)
    house.deliver()
    states = [json.loads(posted.body)["state"] for posted in peer.posted]
    assert states == ["firing", "firing", "firing", "recovered"]
    assert json.loads(peer.posted[-1].body)["title"] == "Recovered: Answers are slow"


def test_one_that_hangs_holds_up_no_other_route(
    peer: WebhookPeer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with WebhookPeer(answers=["hang"] * 9) as slow:
        routes = {"slow": {"url": slow.url, "timeout_s": 30}, "quick": {"url": peer.url}}
        house = AlertHouse(tmp_path, {"routes": routes})
        house.queue("log", "quick", "slow")
        delivery, stop = house.delivery(), threading.Event()
        thread = threading.Thread(target=delivery.run, args=(stop,))
        thread.start()
        wait_for(lambda: house.fates()[0]["quick"] == ("delivered", ""), PATIENCE_S)
        wait_for(lambda: house.fates()[0]["log"] == ("delivered", ""), PATIENCE_S)
        assert house.fates()[0]["slow"] == ("waiting", "")
        assert delivery.waits
        stop.set()
        delivery.wake()
        thread.join()
    house.close()
    assert "What slow says." in caplog.text


# -- late ------------------------------------------------------------------------------------------------


def test_what_is_late_is_sent_to_nobody_and_stays_in_the_store(
    house: AlertHouse, peer: WebhookPeer, caplog: pytest.LogCaptureFixture
) -> None:
    house.queue("log", "pager", "wandb", time_s=BEGAN_S - 900)
    house.queue("log", "pager", step=4, time_s=BEGAN_S - 899)
    house.deliver()
    late = ("dropped", "late")
    assert house.fates() == [
        {"log": late, "pager": late, "wandb": late},
        {"log": ("delivered", ""), "pager": ("delivered", "")},
    ]
    assert len(peer.posted) == 1
    assert caplog.text.count("What slow says.") == 1
    assert house.counts() == {("received", ""): 5, ("delivered", ""): 2, ("dropped", "late"): 3}


def test_what_could_not_be_sent_in_time_is_late_then(house: AlertHouse, peer: WebhookPeer) -> None:
    peer.answers += ["503"] * 1000
    house.queue("pager")
    delivery = house.delivery()
    progress = delivery.deliver_due(deadline_s=0.3)
    assert progress.waiting == 1
    assert progress.problem == "alerts wait: the webhook pager answered 503: so it is"
    house.now_s += 900
    assert delivery.deliver_due(deadline_s=PATIENCE_S).waiting == 0
    assert house.fates() == [{"pager": ("dropped", "late")}]
    assert delivery.sentence() == ""


def test_a_recovery_is_told_only_to_those_who_were_told_before(house: AlertHouse, peer: WebhookPeer) -> None:
    house.queue("log", "pager", time_s=BEGAN_S - 901)  # late
    house.queue("log", "pager", state="recovered", step=4)
    house.queue("pager", name="other", state="recovered", step=4)  # of nothing that anybody knows
    house.deliver()
    silent = ("dropped", "unannounced")
    assert house.fates()[1:] == [{"log": silent, "pager": silent}, {"pager": silent}]
    assert peer.posted == []


# -- once, whatever is killed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "die",
    [
        "before.AlertWriter.begin_attempt",
        "after.AlertWriter.begin_attempt",
        "before.webhook.post",
        "after.webhook.post",
        "before.AlertWriter.settle",
        "after.AlertWriter.settle",
    ],
)
def test_a_kill_between_any_two_transactions_loses_nothing_and_shows_in_no_byte(
    house: AlertHouse, peer: WebhookPeer, die: str
) -> None:
    uid = house.queue("pager")
    assert deliver_in_a_process(house, die) == -signal.SIGKILL
    assert house.fates() == [{"pager": ("waiting", "")}]
    assert deliver_in_a_process(house) == 0
    assert deliver_in_a_process(house) == 0
    assert {(p.headers["Idempotency-Key"], p.body) for p in peer.taken()} == {(uid, peer.posted[0].body)}
    was_sent = die in ("after.webhook.post", "before.AlertWriter.settle", "after.AlertWriter.settle")
    assert len(peer.taken()) == 1 + was_sent
    assert house.counts() == {("received", ""): 1, ("delivered", ""): 1}


def test_what_was_begun_is_the_same_after_a_restart_though_more_is_known(
    house: AlertHouse, peer: WebhookPeer
) -> None:
    peer.answers.append("503")
    house.queue("pager")
    house.delivery().deliver_due(deadline_s=None)
    house.restart()
    house.environ["WANDB_API_KEY"] = "k" * 40  # from now on there is a link
    house.deliver()
    first, second = peer.posted
    assert first.body == second.body
    house.queue("pager", step=4)
    house.deliver()
    link = f"http://127.0.0.1:9/team/rag/runs/{RUN}"
    assert json.loads(peer.posted[-1].body)["url"] == link


def test_the_same_alert_twice_is_one(house: AlertHouse, peer: WebhookPeer) -> None:
    assert house.queue("pager") == house.queue("pager")
    house.deliver()
    assert house.queue("pager")
    house.deliver()
    assert len(peer.posted) == len(house.alerts()) == 1


def test_the_log_has_it_once(house: AlertHouse, caplog: pytest.LogCaptureFixture) -> None:
    house.queue("log")
    house.deliver()
    house.restart()
    house.deliver()
    (record,) = [one for one in caplog.records if one.name == "otel_wandb.alerts"]
    assert (record.levelname, record.getMessage()) == (
        "WARNING",
        "Answers are slow [rag, error]: What slow says.",
    )


# -- secrets ---------------------------------------------------------------------------------------------


def test_address_and_secret_are_read_at_each_use_and_told_to_nobody(
    peer: WebhookPeer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret, address = tmp_path / "secret", tmp_path / "address"
    house = AlertHouse(tmp_path, {"routes": {"pager": {"url_file": "address", "secret_file": "secret"}}})
    house.queue("pager")
    progress = house.delivery().deliver_due(deadline_s=None)
    assert progress.problem == (
        f"alerts wait: the address of the webhook pager cannot be read from {address}: "
        "No such file or directory"
    )
    address.write_text(f"{peer.url}/hidden-token\n")
    secret.write_text("first-key\n")
    house.deliver()
    secret.write_text("second-key\n")
    house.queue("pager", step=4)
    house.deliver()
    for posted, key in zip(peer.posted, (b"first-key", b"second-key"), strict=True):
        assert posted.path == "/hook/hidden-token"
        expected = hmac.new(key, posted.body, hashlib.sha256).hexdigest()
        assert posted.headers["X-Otel-Wandb-Signature"] == f"sha256={expected}"
    peer.answers.append("404")
    house.queue("pager", step=5)
    delivery = house.deliver()
    told = caplog.text + delivery.sentence() + str(house.alerts()) + house.settings.to_json().decode()
    assert "hidden-token" not in told
    assert "-key" not in told
    house.close()


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "the secret of the webhook pager is not there: S is not set where the bridge runs"),
        ({"S": "x", "U": "ftp://x"}, "the address of the webhook pager must begin with http:// or https://"),
        ({"S": "x", "U": "http://127.0.0.1:9/x"}, REFUSED),
    ],
)
def test_what_is_missing_is_told_and_waited_for(
    environ: dict[str, str], problem: str, peer: WebhookPeer, tmp_path: Path
) -> None:
    house = AlertHouse(
        tmp_path,
        {"routes": {"pager": {"url_variable": "U", "secret_variable": "S"}}},
        environ={"U": peer.url, **environ},
    )
    house.queue("pager")
    delivery = house.delivery()
    assert delivery.deliver_due(deadline_s=None).problem == f"alerts wait: {problem}"
    assert house.alerts()[0].routes["pager"].problem == problem
    house.environ.update(U=peer.url, S="x")
    delivery.deliver_due(deadline_s=PATIENCE_S)
    assert house.fates() == [{"pager": ("delivered", "")}]
    house.close()


# -- offline, and the rest -------------------------------------------------------------------------------


def test_without_a_key_webhooks_work_and_with_the_mode_offline_only_the_log(
    house: AlertHouse, peer: WebhookPeer
) -> None:
    house.queue("log", "pager", "wandb")
    delivery = house.deliver()
    done, waits = ("delivered", ""), ("waiting", "")
    assert house.fates() == [{"log": done, "pager": done, "wandb": waits}]
    assert not delivery.waits
    house.configure(mode="offline")
    house.queue("log", "pager", "wandb", step=4)
    house.deliver()
    assert house.fates()[1] == {"log": done, "pager": waits, "wandb": waits}
    assert len(peer.posted) == 1
    house.now_s += 900
    house.deliver()
    assert house.fates()[1] == {"log": done, "pager": ("dropped", "late"), "wandb": ("dropped", "late")}


def test_what_has_no_route_any_more_is_dropped(house: AlertHouse, peer: WebhookPeer) -> None:
    house.queue("chat", "pager")
    house.deliver()
    assert house.fates() == [{"chat": ("dropped", "route_gone"), "pager": ("delivered", "")}]


def test_the_ledger_balances_at_every_moment(house: AlertHouse, peer: WebhookPeer) -> None:
    house.queue("log", "pager", "wandb")
    house.queue()

    def line() -> tuple[int, int, int]:
        snapshot = house.store.reader.snapshot()
        ledger = compose(snapshot.counts, snapshot.waiting, {}, snapshot.outbox, {})
        assert ledger.imbalance() == {}
        alerts = ledger.lines["alerts"]
        return alerts.received, alerts.delivered, alerts.waiting

    assert line() == (3, 0, 3)
    house.deliver()
    assert line() == (3, 2, 1)


def test_what_waits_is_read_in_order(house: AlertHouse) -> None:
    house.queue("log", "pager")
    house.queue("pager", step=4)
    waiting: list[QueuedAlert] = house.store.reader.alerts.waiting()
    assert [(one.route, one.step) for one in waiting] == [("log", 3), ("pager", 3), ("pager", 4)]
    assert [alert.step for alert in house.store.reader.alerts.last(1)] == [4]
