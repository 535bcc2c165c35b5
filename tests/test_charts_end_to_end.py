"""Histograms go from a real MeterProvider through journal and bridge into rows, and into W&B runs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from otel_wandb.store import Store
from otel_wandb.store.rows import decode_values
from tests.deadlines import wait_for
from tests.peers.wandb import WandbPeer

WORKERS = {400: 1, 500: 2}
"""Requests of each worker, with its seed: a row tells by its count whose requests it holds."""


@pytest.fixture
def metered(monkeypatch: pytest.MonkeyPatch) -> DataDir:
    monkeypatch.setenv("OTEL_WANDB_INTERVAL_S", "3")
    monkeypatch.setenv("OTEL_WANDB_LATENESS_S", "1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "metered")
    monkeypatch.setenv("OTEL_WANDB_PROJECT", "team/rag")
    monkeypatch.setenv("OTEL_WANDB_DRAIN_TIMEOUT_S", "2")
    return DataDir(Path(os.environ["OTEL_WANDB_DIR"]))


def run_workers(directory: Path) -> dict[int, list[float]]:
    """The raw milliseconds of each worker, by its number of requests."""
    processes = []
    for requests, seed in WORKERS.items():
        arguments = [
            "--requests",
            str(requests),
            "--seed",
            str(seed),
            "--record",
            str(directory / f"{requests}"),
        ]
        processes.append(subprocess.Popen([sys.executable, "-m", "tests.services.metered", *arguments]))
    for process in processes:
        assert process.wait(90) == 0
    return {n: [float(x) * 1000 for x in (directory / f"{n}").read_text().split()] for n in WORKERS}


def whose(count: int) -> list[int]:
    return [n for n in WORKERS if count in (n, sum(WORKERS))]


def check_rows(rows: list[dict[str, object]], raw: dict[int, list[float]]) -> None:
    seen = [row for row in rows if "latency/count" in row]
    assert sum(int(str(row["latency/count"])) for row in seen) == sum(WORKERS)
    for row in seen:
        values = np.concatenate([raw[n] for n in whose(int(str(row["latency/count"])))])
        for quantile in (50, 90, 95, 99):
            exact = np.percentile(values, quantile)
            assert row[f"latency/p{quantile}_ms"] == pytest.approx(exact, rel=0.03)
        assert row["latency/mean_ms"] == pytest.approx(values.mean())
        assert row["latency/max_ms"] == pytest.approx(values.max())
        assert row["latency/min_ms"] == pytest.approx(values.min())
        assert row["latency/POST_chat_count"] == len(values)
        assert row["errors/total_count"] == len(values) / 20
        assert row["errors/total_rate_percent"] == pytest.approx(5)


def stored_rows(data_dir: DataDir) -> list[dict[str, object]]:
    reader = Store.open_for_reading(data_dir.store)
    try:
        runs = reader.runs()
        assert len({run.run_id for run in runs}) <= 1, "one run for the service and day, whatever the workers"
        return [dict(decode_values(row.values)) for run in runs for row in reader.rows(run.id)]
    finally:
        reader.close()


def test_two_workers_become_one_run_with_exact_counts(metered: DataDir, tmp_path: Path) -> None:
    raw = run_workers(tmp_path)
    wait_for(lambda: read_status(metered).ledger.lines["metric_points"].waiting == 0, 60)
    check_rows(stored_rows(metered), raw)
    ledger = read_status(metered).ledger
    assert ledger.imbalance() == {}
    assert ledger.lines["metric_points"].dropped == ledger.lines["metric_points"].rejected == {}
    assert ledger.lines["rows"].waiting == ledger.lines["rows"].received > 0


def test_the_rows_arrive_in_the_run_of_the_day(
    metered: DataDir, wandb_peer: WandbPeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in wandb_peer.environment.items():
        monkeypatch.setenv(name, value)
    raw = run_workers(tmp_path)
    wait_for(lambda: read_status(metered).ledger.lines["rows"].delivered > 0, 60)
    wait_for(lambda: read_status(metered).ledger.lines["rows"].waiting == 0, 60)
    assert read_status(metered).ledger.imbalance() == {}
    (run_id,) = wandb_peer.runs()
    check_rows(wandb_peer.history(run_id), raw)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_of_the_bridge_cost_and_double_no_request(
    metered: DataDir, wandb_peer: WandbPeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty SIGKILLs of the bridge while service after service measures: every request in one row, once."""
    for name, value in wandb_peer.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_WANDB_DRAIN_TIMEOUT_S", "0.2")
    dice, kills, requests = random.Random(1), 0, 0
    while kills < 50:
        record = tmp_path / str(requests)
        arguments = ["--requests", "100", "--seed", str(requests), "--record", str(record)]
        service = subprocess.Popen([sys.executable, "-m", "tests.services.metered", *arguments])
        while service.poll() is None:
            time.sleep(dice.uniform(0.05, 0.6))
            info = metered.read_bridge_info()
            if info is not None and metered.locked():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(info.pid, signal.SIGKILL)
                kills += 1
        assert service.returncode == 0
        requests += 100
    monkeypatch.setenv("OTEL_WANDB_DRAIN_TIMEOUT_S", "60")
    run_workers(tmp_path)
    requests += sum(WORKERS)
    wait_for(lambda: read_status(metered).ledger.lines["metric_points"].waiting == 0, 120)
    wait_for(lambda: read_status(metered).ledger.lines["rows"].waiting == 0, 120)
    ledger = read_status(metered).ledger
    assert ledger.imbalance() == {}
    assert ledger.lines["metric_points"].dropped == ledger.lines["rows"].dropped == {}
    history = [row for run_id in wandb_peer.runs() for row in wandb_peer.history(run_id)]
    assert sum(row.get("latency/count", 0) for row in history) == requests
    for run_id in wandb_peer.runs():
        steps = wandb_peer.steps(run_id)
        assert len(steps) == len(set(steps))
    assert len(history) == ledger.lines["rows"].delivered
