"""A service in production, in small: FastAPI under load through `otel-wandb run`, and what W&B shows then.

Two versions of it serve at once, some of the requests fail for a while, and midnight comes in the middle: the
clock is set so. What the charts say is compared with what the service noted of each request.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from otel_wandb.cli import main
from otel_wandb.datadir import DataDir
from otel_wandb.metrics.catalogue import CHARTS
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.fixtures_wandb import OneKeyPeer
from tests.peers.wandb import WandbPeer
from tests.services.launched import PYTHON, free_port, serving
from tests.services.shop import Note

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

INTERVAL_S = 5
STARTING_S = 80
"""From the start of the test to midnight."""
VERSIONS = ("1.4.2", "1.5.0-rc.1")
PRICES = {"shop-small": (1.0, 0.1, 4.0), "shop-large": (10.0, 1.0, 40.0)}
"""For a million tokens: input, those of the cache, output."""
SETTINGS: dict[str, object] = {
    "interval_s": INTERVAL_S,
    "lateness_s": 8,
    "source": "spans",
    "cost_by": "user.id",
    "table_rows": 60,
    "prices": {
        model: {"input": given, "cache_read": cached, "output": made}
        for model, (given, cached, made) in PRICES.items()
    },
    "alerts": {
        "rules": {
            "failing": {
                "title": "Answers fail",
                "key": "errors/total_rate_percent",
                "above": 25,
                "level": "error",
                "cooldown_s": 0,
            }
        }
    },
}
NOT_HERE = {
    "tokens/cache_write",  # nobody wrote to a cache
    "tokens/{}_cache_write",
    "bridge/mapping_warnings",  # nothing was misunderstood
}


@dataclass
class Day:
    """What was done, and what W&B has of it."""

    notes: list[Note]
    runs: dict[str, dict[str, Any]]
    rows: dict[str, list[dict[str, Any]]]
    """The history of each run, in the order of the days."""
    keys: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = {key for rows in self.rows.values() for row in rows for key in row if key[0] != "_"}

    def pairs(self) -> Iterator[tuple[str, dict[str, Any], list[Note]]]:
        """Each row of the shop's requests with its run, and the requests that ended in its interval."""
        by_end: dict[int, list[Note]] = defaultdict(list)
        for note in self.notes:
            by_end[(note.end_ns // (INTERVAL_S * 10**9) + 1) * INTERVAL_S].append(note)
        for run, rows in self.rows.items():
            for row in rows:
                if notes := by_end.pop(round(row["_timestamp"]), None):  # before, we looked whether it is up
                    yield run, row, notes
        assert not by_end


def shift_to_midnight(in_s: int) -> int:
    """By how many seconds clocks are set so that in so many it is midnight."""
    shift_s = -(int(time.time()) + in_s) % 86_400
    return shift_s if shift_s < 43_200 else shift_s - 86_400


def load(clients: Sequence[httpx.Client], shift_s: int, until_s: float) -> None:
    """Requests in each interval until then; in two of them, before midnight, half fail."""
    dice = np.random.default_rng(3)
    with ThreadPoolExecutor(6) as pool:
        while (now_s := time.time() + shift_s) < until_s:
            border_s = (now_s // INTERVAL_S + 1) * INTERVAL_S
            time.sleep(border_s - now_s + 0.2)
            to_midnight_s = -border_s % 86_400
            incident = to_midnight_s in (15, 20)
            sleeps_ms = dice.lognormal(3.2, 0.7, 28).astype(int).clip(2, 250).tolist()

            def ask(number: int, work_ms: int, incident: bool = incident) -> int:
                client = clients[0 if number % 4 else 1]
                asked: dict[str, str | int] = {"user": f"u{number % 3}", "question": f"Pens {number}"}
                fails = incident and number % 2 == 0
                return client.post("/chat", params={**asked, "work_ms": work_ms, "fails": fails}).status_code

            assert set(pool.map(ask, range(28), sleeps_ms)) <= {200, 503}


@pytest.fixture(scope="module")
def weave() -> Iterator[OneKeyPeer]:
    with OneKeyPeer() as peer:
        yield peer


@pytest.fixture
def day(weave: OneKeyPeer, wandb_peer: WandbPeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Day:
    """The service has served, stopped, and everything has been delivered."""
    shift_s, notes = shift_to_midnight(STARTING_S), tmp_path / "notes.jsonl"
    config = tmp_path / "otel-wandb.yaml"
    config.write_text(json.dumps(SETTINGS))
    given: dict[str, str] = {
        **weave.environment,
        **wandb_peer.environment,
        "OTEL_WANDB_PROJECT": "team/rag",
        "OTEL_WANDB_CONFIG": str(config),
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BSP_SCHEDULE_DELAY": "500",  # intervals are short here, and wait 8 s for what is late
        "SHIFT_S": str(shift_s),
        "NOTES": str(notes),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    hook = Path(__file__).parent / "services" / "shifted"
    midnight_s = time.time() + shift_s + STARTING_S
    with ExitStack() as stack:
        clients = []
        for version in VERSIONS:
            port = free_port()
            serve = f"{PYTHON} -m uvicorn tests.services.shop:app --port {port}"
            own = {"VERSION": version, "OTEL_RESOURCE_ATTRIBUTES": f"service.version={version}"}
            command = ("sh", "-c", f'PYTHONPATH="{hook}:$PYTHONPATH" exec {serve}')
            log = tmp_path / f"{version}.log"
            environ = {**os.environ, **own}
            clients.append(stack.enter_context(serving(*command, port=port, log=log, environ=environ)))
        load(clients, shift_s, midnight_s + 3.5 * INTERVAL_S)
    wait_for(lambda: not DataDir(Path(os.environ["OTEL_WANDB_DIR"])).locked(), 120)
    noted = [Note(**json.loads(line)) for line in notes.read_text().splitlines()]
    runs = dict(sorted(wandb_peer.runs().items(), key=lambda item: str(item[1]["config"]["first_day"])))
    return Day(noted, runs, {run: wandb_peer.history(run) for run in runs})


def test_a_day_and_the_next(day: Day, weave: OneKeyPeer, wandb_peer: WandbPeer) -> None:
    assert len(day.runs) == 2  # midnight began the next one
    ledger = read_status(DataDir(Path(os.environ["OTEL_WANDB_DIR"]))).ledger
    assert ledger.imbalance() == {}
    assert ledger.lines["rows"].waiting == ledger.lines["calls"].waiting == 0
    check_that_every_key_is_there(day)
    check_latency_and_errors(day)
    check_spending(day)
    check_other_instruments(day)
    check_alerts(day, wandb_peer)
    check_tables(day, weave, wandb_peer)
    check_calls(day, weave)
    check_workspace(day, wandb_peer)


def check_that_every_key_is_there(day: Day) -> None:
    missing = set()
    for chart in CHARTS:
        pattern = re.escape(chart.key).replace(re.escape("{}"), ".+")
        if chart.feed != "summary" and not any(re.fullmatch(pattern, key) for key in day.keys):
            missing.add(chart.key)
    assert missing == NOT_HERE
    assert all({"day/seconds", "alerts/failing"} <= set(row) for rows in day.rows.values() for row in rows)


def check_durations(row: dict[str, Any], prefix: str, raw: list[float], bound: float) -> None:
    assert row[f"{prefix}count"] == len(raw)
    for quantile in (50, 90, 95, 99):
        if (key := f"{prefix}p{quantile}_ms") in row:
            assert row[key] == pytest.approx(np.percentile(raw, quantile), rel=bound), key
    for key, exact in (("mean", np.mean(raw)), ("min", np.min(raw)), ("max", np.max(raw))):
        assert row.get(f"{prefix}{key}_ms", exact) == pytest.approx(exact, rel=1e-6), key
    assert row.get(f"{prefix}std_ms", np.std(raw)) == pytest.approx(np.std(raw), rel=0.05, abs=0.01)


def check_latency_and_errors(day: Day) -> None:
    for run, row, notes in day.pairs():
        bound = day.runs[run]["config"]["histogram_relative_error"]
        failed = sum(note.status >= 500 for note in notes)
        check_durations(row, "latency/", [note.took_ms for note in notes], bound)
        check_durations(row, "latency/POST_chat_", [note.took_ms for note in notes], bound)
        for span, prefix in (("retrieval", "retrieval_wares"), ("tool", "stock")):
            check_durations(row, f"latency/{prefix}_", [note.spans_ms[span] for note in notes], bound)
        for model in PRICES:
            took = [note.spans_ms["chat"] for note in notes if note.model == model]
            check_durations(row, f"latency/chat_{model.replace('-', '_')}_", took, bound)
        assert row["throughput/requests_per_second"] == len(notes) / INTERVAL_S
        assert (row["errors/total_count"], row["errors/request_count"]) == (failed, len(notes))
        assert row["errors/total_rate_percent"] == pytest.approx(100 * failed / len(notes))
        assert row.get("errors/TimeoutError_count", 0) == failed
        for version in VERSIONS if "latency/version_1_4_2_count" in row else ():
            took = [note.took_ms for note in notes if note.version == version]
            check_durations(row, f"latency/version_{re.sub(r'[^0-9a-z]', '_', version)}_", took, bound)


def cost_of(notes: Sequence[Note]) -> float:
    total = 0.0
    for note in notes:
        given, cached, made = PRICES.get(note.model, (0.0, 0.0, 0.0))
        total += (given * (note.input - note.cached) + cached * note.cached + made * note.output) / 1e6
    return total


def check_spending(day: Day) -> None:
    so_far: dict[str, list[Note]] = defaultdict(list)
    for run, row, notes in day.pairs():
        so_far[run] += notes
        for key, name in (
            ("input", "input"),
            ("output", "output"),
            ("cache_read", "cached"),
            ("reasoning", "reasoning"),
        ):
            assert row[f"tokens/{key}"] == sum(getattr(note, name) for note in notes), key
            for model in PRICES:
                exact = sum(getattr(note, name) for note in notes if note.model == model)
                assert row[f"tokens/{model.replace('-', '_')}_{key}"] == exact
        assert row["cost/total_usd"] == pytest.approx(cost_of(notes))
        assert row["cost/daily_total_usd"] == pytest.approx(cost_of(so_far[run]))
        assert row["cost/daily_requests"] == sum(bool(note.model) for note in so_far[run])
        assert row["cost/unpriced_tokens_percent"] == 0
        for model in PRICES:
            exact = cost_of([note for note in notes if note.model == model])
            assert row[f"cost/{model.replace('-', '_')}_usd"] == pytest.approx(exact)
        for user in {note.user for note in notes}:
            exact = cost_of([note for note in notes if note.user == user])
            assert row[f"cost/user_id_{user}_usd"] == pytest.approx(exact)


def check_other_instruments(day: Day) -> None:
    answered = [note for note in day.notes if note.status == 200]
    rows = [row for rows in day.rows.values() for row in rows]
    assert sum(row.get("metrics/shop_answers", 0) for row in rows) == len(answered)
    assert sum(row.get("metrics/shop_answer_words_count", 0) for row in rows) == len(answered)
    assert {row["metrics/shop_carts"] for row in rows if "metrics/shop_carts" in row} == {0}
    assert sum(row.get("metrics/gen_ai_evaluation_score_relevance_count", 0) for row in rows) == len(answered)


def check_alerts(day: Day, peer: WandbPeer) -> None:
    told = [(one["title"], one["severity"]) for one in peer.alerts() if one["delivered"]]
    assert told == [("Answers fail", "ERROR"), ("Recovered: Answers fail", "ERROR")]
    for _, row, notes in day.pairs():
        failing = 100 * sum(note.status >= 500 for note in notes) / len(notes) > 25
        assert row["alerts/failing"] == failing


def read_tables(day: Day, peer: WandbPeer, name: str) -> list[dict[str, Any]]:
    tables = [peer.table(row[name]) for rows in day.rows.values() for row in rows if name in row]
    return [dict(zip(table["columns"], cells, strict=True)) for table in tables for cells in table["data"]]


def check_tables(day: Day, weave: OneKeyPeer, peer: WandbPeer) -> None:
    requests = read_tables(day, peer, "requests")
    noted = {note.trace_id: note for note in day.notes}
    asked = [row for row in requests if row["operation"] == "POST /chat"]
    assert sum(row["weight"] for row in asked) == pytest.approx(len(noted))
    failed = sum(row["weight"] for row in asked if row["status"] == "error")
    assert failed == pytest.approx(sum(note.status >= 500 for note in day.notes))
    for row in asked:
        note = noted[row["trace_id"]]
        assert row["latency_ms"] == pytest.approx(note.took_ms)
        assert (row["tokens_in"] or 0, row["user"]) == (note.input, note.user)
    calls = {call.id for call in weave.accepted()}
    slow = read_tables(day, peer, "slow_requests")
    assert slow
    assert {row["trace_id"] for row in slow if row["operation"] in ("", "POST /chat")} <= set(noted)
    assert {row["trace"].rpartition("/")[2] for row in requests + slow} <= calls


def check_calls(day: Day, weave: OneKeyPeer) -> None:
    step_of = {note.trace_id: (run, row["_step"]) for run, row, notes in day.pairs() for note in notes}
    with weave.client("team/rag") as client:
        roots = [call for call in client.get_calls() if call.parent_id is None]
    located = [(str(call.trace_id), (str(call.wb_run_id), call.wb_run_step)) for call in roots]
    expected = {trace_id: (f"team/rag/{run}", step) for trace_id, (run, step) in step_of.items()}
    assert sorted(pair for pair in located if pair[0] in expected) == sorted(expected.items())


def check_workspace(day: Day, peer: WandbPeer) -> None:
    for said in ("was made", "is as it was"):
        done = CliRunner().invoke(main, ["dashboard", "--apply"])
        assert done.exit_code == 0, done.output
        assert said in done.output
    (view,) = peer.views()
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    panels = [panel["config"] for section in sections for panel in section["panels"]]
    shown = {key for panel in panels for key in panel.get("metrics", ())}
    patterns = [re.compile(panel["metricRegex"]) for panel in panels if panel.get("metricRegex")]
    lost = {key for key in day.keys - shown if not any(pattern.search(key) for pattern in patterns)}
    # What has no panel of its own is a lesser statistic of one operation, model or instrument.
    lesser = re.compile(
        r"latency/\w+_(p90|mean|std|min|max)_ms|latency/\w+_(count|histogram)|metrics/\w+"
        r"|tokens/\w+_(cache_read|reasoning)"
    )
    tables = {name for name in ("requests", "slow_requests") if f'"{name}"' in json.dumps(sections)}
    assert {key for key in lost if not lesser.fullmatch(key)} == {"day/seconds"} | tables
    assert len(tables) == 2
