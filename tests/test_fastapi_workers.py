"""A FastAPI service with two workers, instrumented from outside: offline first, then uploaded, twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from otel_wandb.cli import main
from otel_wandb.datadir import DataDir
from otel_wandb.settings import Settings
from otel_wandb.status import read_status
from otel_wandb.sync import Synced, sync
from tests.deadlines import wait_for
from tests.otlp_lines import make_metrics
from tests.peers.fixtures_wandb import OneKeyPeer
from tests.peers.wandb import WandbPeer
from tests.rowhouse import BRISK, QUICK
from tests.services.launched import PYTHON, free_port, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

REQUESTS = 600


@pytest.fixture
def weave(tmp_path: Path) -> Iterator[OneKeyPeer]:
    with OneKeyPeer() as peer:
        yield peer


def upload(data_dir: DataDir, weave: OneKeyPeer, wandb: WandbPeer) -> Synced:
    given = Settings(base_url=wandb.url, trace_url=weave.url, settle_s=0.3, request_timeout_s=5.0)
    home = str(data_dir.path.parent)
    environ = {"HOME": home, "WANDB_DIR": home, "WANDB_API_KEY": wandb.api_key}
    return sync(data_dir, given, environ=environ, deadline_s=150, pace=QUICK, timing=BRISK)


def test_two_workers_offline_then_uploaded_twice(
    weave: OneKeyPeer, wandb_peer: WandbPeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, notes = DataDir(Path(os.environ["OTEL_WANDB_DIR"])), tmp_path / "durations.txt"
    monkeypatch.setenv("OTEL_WANDB_PROJECT", "team/rag")
    monkeypatch.setenv("OTEL_WANDB_INTERVAL_S", "20")
    monkeypatch.setenv("OTEL_WANDB_SOURCE", "metrics")  # the histograms of two workers are merged
    monkeypatch.setenv("OTEL_SERVICE_NAME", "fastapi")
    monkeypatch.setenv("DURATIONS", str(notes))
    port = free_port()
    command = (
        PYTHON,
        "-m",
        "uvicorn",
        "tests.services.fastapi_app:app",
        "--port",
        str(port),
        "--workers",
        "2",
    )
    arguments = ("--timeout-worker-healthcheck", "60")
    sleeps_ms = np.random.default_rng(1).lognormal(3, 0.8, REQUESTS).astype(int).clip(1, 400).tolist()
    with (
        serving(*command, *arguments, port=port, log=tmp_path / "log.txt") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        # A connection a request, so that both workers get some.
        close = {"Connection": "close"}
        answers = list(pool.map(lambda ms: client.get(f"/sleep/{ms}", headers=close).status_code, sleeps_ms))
    raw: dict[str, list[float]] = {}
    for line in notes.read_text().splitlines():
        worker, duration_ms = line.split()
        raw.setdefault(worker, []).append(float(duration_ms))
    assert len(raw) == 2
    assert sum(map(len, raw.values())) == REQUESTS

    wait_for(lambda: not data_dir.locked(), 90)  # the bridge ends when the last interval has closed
    calls = read_status(data_dir).ledger.lines["calls"]
    assert calls.received >= REQUESTS
    for _ in range(2):
        done = upload(data_dir, weave, wandb_peer)
        assert done.complete, done.problem
    accepted = Counter(call.id for call in weave.accepted())
    assert len(accepted) == calls.received
    assert set(accepted.values()) == {1}

    (run_id,) = wandb_peer.runs()
    bound = wandb_peer.runs()[run_id]["config"]["histogram_relative_error"]
    assert bound < 0.025
    history = [row for row in wandb_peer.history(run_id) if row.get("latency/GET_sleep_ms_count")]
    assert sum(row["latency/GET_sleep_ms_count"] for row in history) == REQUESTS
    assert len(wandb_peer.steps(run_id)) == len(set(wandb_peer.steps(run_id)))
    errors = sum(status == 503 for status in answers)
    assert sum(row.get("errors/total_count", 0) for row in history) == errors
    assert read_status(data_dir).ledger.imbalance() == {}
    for row in history:  # of both workers, or of the one whose last export fell into its interval
        workers = [[*raw], *([worker] for worker in raw)]
        counts = {sum(len(raw[worker]) for worker in some): some for some in workers}
        values = np.concatenate([raw[worker] for worker in counts[row["latency/GET_sleep_ms_count"]]])
        for quantile in (50, 90, 95, 99):
            shown = row[f"latency/GET_sleep_ms_p{quantile}_ms"]
            # What lies outside of the instrumentation takes up to a millisecond more.
            assert shown == pytest.approx(np.percentile(values, quantile), rel=bound, abs=1.0)


def test_a_hundred_services_in_one_directory(
    weave: OneKeyPeer, wandb_peer: WandbPeer, tmp_path: Path
) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = (make_metrics(minute, f"service-{n}") for minute in range(3) for n in range(100))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data_dir = DataDir(Path(os.environ["OTEL_WANDB_DIR"]))
    done = CliRunner().invoke(main, ["replay", str(file), "--no-deliver"])
    assert done.exit_code == 0, done.output
    assert read_status(data_dir).ledger.lines["rows"].waiting == 300
    for _ in range(2):
        synced = upload(data_dir, weave, wandb_peer)
        assert synced.complete, synced.problem
    runs = wandb_peer.runs()
    assert len(runs) == 100
    assert all(wandb_peer.steps(run_id) == [0, 1, 2] for run_id in runs)
    assert read_status(data_dir).ledger.imbalance() == {}
