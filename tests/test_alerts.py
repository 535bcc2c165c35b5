"""Metrics become rows, and rows alerts: in the store, in the rows, and with the people whom they are for."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from otel_wandb.alert_line import AlertLine
from otel_wandb.alert_report import list_alerts
from otel_wandb.alert_settings import read_alerts
from otel_wandb.alerts.engine import Moment
from otel_wandb.alerts.finding import Finding
from otel_wandb.boundary import Boundaries
from otel_wandb.cli import main
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.ingest.sdk_metrics import WandbMetricExporter
from otel_wandb.metrics.charts import MAX_KEYS
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.redaction import Pattern, Redactor
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.wandb import WandbPeer
from tests.peers.webhook import WebhookPeer

MIDNIGHT_S = 1_795_564_800
"""2026-11-25 00:00 UTC."""
DEEP = {"deep_queue": {"key": "metrics/queue_depth", "above": 10, "for": 2, "title": "The queue is deep"}}
SERIES = RunSeries("https://api.wandb.ai", "team", "rag", "rag")


def gauge(value: float, second: float, service: str = "rag", **labels: str) -> dict[str, object]:
    """OTLP/JSON of one data point."""
    attributes = [{"key": name, "value": {"stringValue": text}} for name, text in labels.items()]
    point = {"timeUnixNano": str(round(second * 1e9)), "asDouble": value, "attributes": attributes}
    metric = {"name": "queue.depth", "gauge": {"dataPoints": [point]}}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}


def write_minutes(path: Path, depths: Sequence[float], first_s: float = MIDNIGHT_S) -> Path:
    """A file with a value in each of consecutive minutes."""
    lines = [json.dumps(gauge(depth, first_s + 60 * n + 30)) for n, depth in enumerate(depths)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "otel-wandb.yaml"
    file.write_text(yaml.safe_dump({"alerts": {"rules": DEEP}}))
    monkeypatch.setenv("OTEL_WANDB_CONFIG", str(file))
    return file


def replay(directory: Path, *files: Path) -> tuple[bytes, bytes]:
    """Rows and alerts of the files, in a data directory of that place."""
    directory.mkdir(exist_ok=True)
    rows, alerts = directory / "rows.jsonl", directory / "alerts.jsonl"
    data = directory / "data"
    run("replay", *files, "--no-deliver", "--rows", rows, "--alerts", alerts, "--data-dir", data)
    return rows.read_bytes(), alerts.read_bytes()


@pytest.mark.usefixtures("config")
def test_a_replay_gives_the_same_alerts_in_any_directory_and_in_any_pieces(tmp_path: Path) -> None:
    depths = [5, 50, 60, 70, 1, 2, 3]
    file = write_minutes(tmp_path / "all.jsonl", depths)
    rows, alerts = replay(tmp_path / "a", file)
    assert replay(tmp_path / "b", file) == (rows, alerts)
    assert replay(tmp_path / "a", file) == (rows, alerts)
    for minute, line in enumerate(file.read_text().splitlines()):  # each by a process of its own
        piece = tmp_path / f"{minute}.jsonl"
        piece.write_text(line + "\n")
        pieces = replay(tmp_path / "c", piece)
    assert pieces == (rows, alerts)
    values = [json.loads(line)["values"] for line in rows.splitlines()]
    assert [(row["metrics/queue_depth"], row["alerts/deep_queue"]) for row in values] == [
        (5, 0),
        (50, 0),
        (60, 1),
        (70, 1),
        (1, 1),
        (2, 0),
        (3, 0),
    ]
    fired, recovered = map(json.loads, alerts.splitlines())
    assert fired == {
        "project_id": "otel-wandb",
        "run_id": json.loads(rows.splitlines()[0])["run_id"],
        "step": 2,
        "time_s": MIDNIGHT_S + 180.0,
        "service": "rag",
        "id": fired["id"],
        "name": "deep_queue",
        "state": "firing",
        "level": "warn",
        "title": "The queue is deep",
        "text": "metrics/queue_depth is 60, above 10. In 2 intervals of 60 s in a row, "
        "since 2026-11-25 00:01 UTC.",
    }
    assert (recovered["state"], recovered["step"], recovered["title"]) == (
        "recovered",
        5,
        "Recovered: The queue is deep",
    )
    assert recovered["id"] != fired["id"]


@pytest.mark.usefixtures("config")
def test_services_have_alerts_of_their_own(tmp_path: Path) -> None:
    lines = []
    for minute in range(3):
        second = MIDNIGHT_S + 60 * minute + 30
        lines += [gauge(50, second, "rag"), gauge(50 if minute else 1, second, "chat")]
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, alerts = replay(tmp_path / "a", file)
    found = [json.loads(line) for line in alerts.splitlines()]
    assert [(one["service"], one["step"]) for one in found] == [("rag", 1), ("chat", 2)]


def test_rows_of_a_service_without_rules_are_as_they_were(tmp_path: Path) -> None:
    file = write_minutes(tmp_path / "all.jsonl", [50, 50, 50])
    rows, alerts = replay(tmp_path / "a", file)
    assert b"alerts/" not in rows
    assert alerts == b""


def test_what_is_replayed_is_late_and_told_to_nobody(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with WebhookPeer() as peer:
        routes = {"pager": {"url": peer.url}}
        config.write_text(yaml.safe_dump({"alerts": {"rules": DEEP, "routes": routes}}))
        run("replay", write_minutes(tmp_path / "all.jsonl", [50, 50, 1, 1]))
        assert peer.posted == []
    assert "The queue is deep" not in caplog.text
    ledger = read_status(DataDir(tmp_path / "data")).ledger
    assert ledger.imbalance() == {}
    alerts = ledger.lines["alerts"]
    assert (alerts.received, alerts.dropped, alerts.waiting) == (6, {"late": 6}, 0)


def test_what_has_just_happened_is_told_everywhere_once(
    config: Path,
    wandb_peer: WandbPeer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The rows arrive by the real client, in the run whose alert W&B is told."""
    for name, value in wandb_peer.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_WANDB_PROJECT", "team/rag")
    began_s = (int(time.time()) // 60 - 4) * 60
    file = write_minutes(tmp_path / "now.jsonl", [50, 50, 1, 1], began_s)
    with WebhookPeer(answers=["503"]) as peer:
        routes = {"pager": {"url": peer.url, "level": "warn"}}
        config.write_text(yaml.safe_dump({"alerts": {"rules": DEEP, "routes": routes}}))
        assert "Not everything" not in run("replay", file, "--timeout", 90).output
        run("replay", file, "--timeout", 90)
        states = [json.loads(posted.body)["state"] for posted in peer.taken()]
        (firing, _) = (json.loads(posted.body) for posted in peer.taken())
    assert states == ["firing", "recovered"]
    assert firing["url"] == f"{wandb_peer.url}/team/rag/runs/{firing['run']}"
    heard = [(one["title"], one["severity"]) for one in wandb_peer.alerts()]
    assert heard == [("The queue is deep", "WARN"), ("Recovered: The queue is deep", "WARN")]
    assert wandb_peer.alerts()[0]["run_id"] == firing["run"] in wandb_peer.runs()
    rows = [row for run_id in wandb_peer.runs() for row in wandb_peer.history(run_id)]  # two near midnight
    rows.sort(key=lambda row: row["_timestamp"])
    assert [row["alerts/deep_queue"] for row in rows] == [0, 1, 1, 0]
    said = [one.getMessage() for one in caplog.records if one.name == "otel_wandb.alerts"]
    assert [text.split(" [")[0] for text in said] == ["The queue is deep", "Recovered: The queue is deep"]
    alerts = read_status(DataDir(tmp_path / "data")).ledger.lines["alerts"]
    assert (alerts.received, alerts.delivered, alerts.waiting) == (6, 6, 0)


# -- what is seen of it ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("config")
def test_the_command_lists_what_fired_and_status_the_last_of_it(tmp_path: Path) -> None:
    assert run("alerts").output == "No alert has fired.\n"
    file = write_minutes(tmp_path / "all.jsonl", [50, 50, 1, 1, 50, 50])
    run("replay", file, "--no-deliver")
    assert run("alerts").output == (
        "2026-11-25 00:02 UTC  warn   firing     rag  The queue is deep\n"
        "    metrics/queue_depth is 50, above 10. In 2 intervals of 60 s in a row, "
        "since 2026-11-25 00:00 UTC.\n"
        "    log waiting, wandb waiting\n"
        "2026-11-25 00:04 UTC  warn   recovered  rag  Recovered: The queue is deep\n"
        "    metrics/queue_depth is 1, not above 10. In 2 intervals of 60 s in a row. "
        "It fired at 2026-11-25 00:02 UTC, 2 min before.\n"
        "    log waiting, wandb waiting\n"
        "Firing now: nothing.\n"
    )
    shown = json.loads(run("alerts", "--json").output)
    assert [(one["name"], one["state"], one["routes"]["log"]["state"]) for one in shown] == [
        ("deep_queue", "firing", "waiting"),
        ("deep_queue", "recovered", "waiting"),
    ]
    assert "alert        2026-11-25 00:04 UTC  warn recovered: Recovered: The queue is deep (rag)\n" in (
        run("status").output
    )
    document = json.loads(run("status", "--json").output)
    assert [one["state"] for one in document["last_alerts"]] == ["firing", "recovered"]
    assert document["alerts"]["waiting"] == 4


def test_rules_can_be_tried_on_the_rows_that_are_there(config: Path, tmp_path: Path) -> None:
    config.write_text("{}")
    run("replay", write_minutes(tmp_path / "all.jsonl", [50, 50, 1, 1]), "--no-deliver")
    wrong = {"typo": {"key": "metrics/queue_depht", "above": 10}, "slow": {"key": "x/*_p95_ms", "above": 1}}
    config.write_text(yaml.safe_dump({"alerts": {"rules": {**DEEP, **wrong}}}))
    assert run("alerts", "--try").output == (
        "2026-11-25 00:02 UTC  warn   firing     rag  The queue is deep\n"
        "    metrics/queue_depth is 50, above 10. In 2 intervals of 60 s in a row, "
        "since 2026-11-25 00:00 UTC.\n"
        "2026-11-25 00:04 UTC  warn   recovered  rag  Recovered: The queue is deep\n"
        "    metrics/queue_depth is 1, not above 10. In 2 intervals of 60 s in a row. "
        "It fired at 2026-11-25 00:02 UTC, 2 min before.\n"
        "slow: no row has x/*_p95_ms\n"
        "typo: no row has metrics/queue_depht; did you mean metrics/queue_depth?\n"
        "1 alert in 4 rows; nothing was sent or stored.\n"
    )
    assert run("alerts").output == "No alert has fired.\n"


def test_without_rules_there_is_nothing_to_try(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["alerts", "--try"])
    assert done.exit_code == 1
    assert done.output == "Error: there are no rules to try; set `alerts` (docs/alerts.md)\n"


# -- the line of the bridge ------------------------------------------------------------------------------


def line(alerts: Mapping[str, object], redactor: Redactor | None = None, *, redact: bool = True) -> AlertLine:
    told = Settings(alerts=read_alerts(alerts), redact=redact)
    boundaries = Boundaries(lambda _: told, redactor or Redactor())
    return AlertLine(settings_of=lambda _: told, boundaries=boundaries, interval_s=60.0)


def moment(step: int) -> Moment:
    return Moment("rag", "run", step, MIDNIGHT_S + 60.0 * (step + 1))


def test_a_full_row_makes_room_for_the_alerts() -> None:
    rules = {f"r{n}": {"key": "a/b399", "above": 1} for n in range(3)}
    values = {f"a/b{n}": n for n in range(MAX_KEYS)}
    marked = line({"rules": rules}).mark(values, moment(0), series=SERIES, config="c")
    assert list(marked) == [*list(values)[:397], "alerts/r0", "alerts/r1", "alerts/r2"]
    assert marked["alerts/r0"] == 1  # what it is about may itself have had to go


def test_what_is_no_finite_number_is_passed_over() -> None:
    alerts = line({"rules": {"a": {"key": "a/b", "above": 1, "for": 1}}})
    for step, value in enumerate((float("nan"), float("inf"), 9)):
        alerts.mark({"a/b": value}, moment(step), series=SERIES, config="c")
    assert [one.finding.step for one in alerts.take_ready()] == [2]


def test_states_are_put_away_and_taken_up_and_a_broken_one_begins_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rules = {"rules": {"a": {"key": "a/b", "above": 1, "for": 2}}}
    first, second, third = line(rules), line(rules), line(rules)
    first.mark({"a/b": 9}, moment(0), series=SERIES, config="c")
    states = first.take_states()
    assert first.take_states() == []
    second.restore([("charts/x", b"\xff"), *states])
    second.mark({"a/b": 9}, moment(1), series=SERIES, config="c")
    assert len(second.take_ready()) == 1
    third.restore([(states[0][0], b"\xff")])
    with caplog.at_level(logging.WARNING):
        third.mark({"a/b": 9}, moment(1), series=SERIES, config="c")
    assert third.take_ready() == []
    assert "cannot be read" in caplog.text
    assert "the alerts begin anew" in caplog.text


def test_secrets_in_texts_are_replaced_and_doubtful_texts_withheld() -> None:
    secrets = ("api_key=sk-abcdef0123456789abcdef01", "ghp_" + "a" * 36)
    found = Finding("view", secrets[0], "warn", secrets[1], "firing", "rag", 1, 1, "r")
    for redact, told in (
        (True, ("api_key=[redacted:openai_key]", "[redacted:github_token]")),
        (False, secrets),
    ):
        alerts = line({}, redact=redact)
        alerts.take([found], series=SERIES, config="c")
        (shaped,) = alerts.take_ready()
        assert (shaped.finding.title, shaped.finding.text) == told
        assert shaped.routes == ("log", "wandb")

    def fail(match: str) -> bool:
        raise ValueError(match)

    alerts = line({}, Redactor([Pattern("broken", "ghp", fail)]))
    alerts.take([found], series=SERIES, config="c")
    (shaped,) = alerts.take_ready()
    withheld = "withheld: the redaction of this alert failed"
    assert (shaped.finding.title, shaped.finding.text) == ("view", withheld)
    assert alerts.counts == {("alerts", "withheld", "redactor_failed"): 1}


# -- live ------------------------------------------------------------------------------------------------


def test_a_bridge_that_is_killed_while_it_tells_is_followed_by_one_that_tells_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_WANDB_INTERVAL_S", "1")
    monkeypatch.setenv("OTEL_WANDB_LATENESS_S", "0")
    data_dir = DataDir(tmp_path / "data")
    with WebhookPeer(answers=["hang"]) as peer:
        rules = {"busy": {"key": "metrics/queue_depth", "above": 10}}
        exporter = WandbMetricExporter(alerts={"rules": rules, "routes": {"pager": {"url": peer.url}}})
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=200)
        provider = MeterProvider([reader], resource=Resource({"service.name": "rag"}))
        provider.get_meter("tests").create_gauge("queue.depth").set(50)
        wait_for(lambda: peer.posted, 60)
        info = wait_for(data_dir.read_bridge_info)
        os.kill(info.pid, signal.SIGKILL)
        wait_for(peer.taken, 60)
        wait_for(lambda: list_alerts(data_dir)[0].routes["pager"].state == "delivered", 60)
        provider.shutdown()
        (hung, taken) = peer.posted
    assert (hung.headers["Idempotency-Key"], hung.body) == (taken.headers["Idempotency-Key"], taken.body)
    (alert,) = list_alerts(data_dir)
    assert {route: fate.state for route, fate in alert.routes.items()} == {
        "log": "delivered",
        "pager": "delivered",
        "wandb": "waiting",
    }
    said = "WARNING otel_wandb.alerts: Busy [rag, warn]: metrics/queue_depth is 50"
    assert data_dir.log.read_text().count(said) == 1
