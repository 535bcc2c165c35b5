"""What was stored is written to files that wandb and anybody else can read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.errors import ConfigError, StoreError
from otel_wandb.export import export_calls, export_rows, export_wandb_dir
from otel_wandb.settings import Settings
from otel_wandb.store import NewCall, NewRow, NewRun, Store
from otel_wandb.store.rows import encode_run, encode_values
from otel_wandb.sync import sync
from tests.outbox import call
from tests.peers.wandb import WandbPeer
from tests.rowhouse import BRISK, DAY_S, QUICK, Described, values_of

STEPS = [0, 1, 10]


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path / "data")
    data_dir.create()
    store = Store.open(data_dir.store)
    with store.transaction() as tx:
        destination = tx.add_destination("", "team", "rag")
        tx.add_call(NewCall(destination, "1" * 32, f"{1:016x}", 1, "day-1", 10, call(1)))
        for day in ("day-1", "day-2"):
            tx.add_run(NewRun(destination, "", day, encode_run(Described(day))))
    store.close()
    add_rows(data_dir, STEPS)
    return data_dir


def add_rows(data_dir: DataDir, steps: list[int]) -> None:
    store = Store.open(data_dir.store)
    with store.transaction() as tx:
        for run in (1, 2):
            for step in steps:
                tx.add_row(NewRow(run, step, DAY_S + 60.0 * (step + 1), encode_values(values_of(step))))
    store.close()


def wandb_cli(directory: Path, *arguments: str, **environment: str) -> str:
    own = {"HOME": str(directory), "WANDB_ERROR_REPORTING": "false", "WANDB_CONFIG_DIR": str(directory / "c")}
    done = subprocess.run(
        [sys.executable, "-m", "wandb", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **own, **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_calls_and_rows_as_lines_of_json(data_dir: DataDir, tmp_path: Path) -> None:
    assert export_calls(data_dir, tmp_path / "calls.jsonl") == 1
    (line,) = (tmp_path / "calls.jsonl").read_text().splitlines()
    written = json.loads(line)
    assert written == {
        "project_id": "team/rag",
        "wb_run_id": "team/rag/day-1",
        "wb_run_step": 10,
        **json.loads(call(1)),
    }
    assert export_rows(data_dir, tmp_path / "rows.jsonl") == 6
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["run_id"], row["step"]) for row in rows] == [
        (d, s) for d in ("day-1", "day-2") for s in STEPS
    ]
    assert rows[2] == {
        "project_id": "team/rag",
        "run_id": "day-1",
        "step": 10,
        "timestamp_s": DAY_S + 660.0,
        "values": {
            "latency/count": 10,
            "latency/histogram": {"counts": [1, 2], "edges": [0.0, 1.0, 5.5]},
            "latency/p50_ms": 15.0,
        },
    }


def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        export_rows(DataDir(tmp_path / "none"), tmp_path / "rows.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_wandb_shows_the_exported_runs(data_dir: DataDir, tmp_path: Path) -> None:
    first, second = export_wandb_dir(data_dir, tmp_path / "out")
    assert (first.name.split("-", 3)[3], second.name.split("-", 3)[3]) == ("day-1", "day-2")
    lines = wandb_cli(tmp_path, "leet", "inspect", "--json", str(first)).splitlines()
    records = [json.loads(line) for line in lines]
    history = [r for r in records if "latency/p50_ms" in json.dumps(r) and "_step" in json.dumps(r)]
    assert len(history) >= len(STEPS)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["wandb"]  # nothing is left of the drafts


@pytest.mark.slow
def test_what_wandb_sync_uploaded_is_not_uploaded_again(
    data_dir: DataDir, wandb_peer: WandbPeer, tmp_path: Path
) -> None:
    runs = export_wandb_dir(data_dir, tmp_path / "out")
    wandb_cli(tmp_path, "sync", *map(str, runs), **wandb_peer.environment)
    assert wandb_peer.steps("day-1") == wandb_peer.steps("day-2") == STEPS
    add_rows(data_dir, [12])
    again = export_wandb_dir(data_dir, tmp_path / "out")
    assert sorted((tmp_path / "out" / "wandb").glob("offline-run-*")) == sorted(again)
    wandb_cli(tmp_path, "sync", *map(str, again), **wandb_peer.environment)
    assert wandb_peer.steps("day-1") == wandb_peer.steps("day-2") == STEPS
    synced = sync(
        data_dir,
        Settings(base_url=wandb_peer.url, trace_url="http://127.0.0.1:9", request_timeout_s=2.0),
        environ={"HOME": str(tmp_path), "WANDB_API_KEY": wandb_peer.api_key},
        deadline_s=20.0,
        pace=QUICK,
        timing=BRISK,
    )
    assert synced.rows.waiting == 0
    for day in ("day-1", "day-2"):
        assert wandb_peer.steps(day) == [*STEPS, 12]
        assert [row["_timestamp"] for row in wandb_peer.history(day)] == [
            DAY_S + 60.0 * (step + 1) for step in [*STEPS, 12]
        ]
    assert wandb_peer.conflicts() == []
    delivered = export_wandb_dir(data_dir, tmp_path / "elsewhere")
    wandb_cli(tmp_path, "sync", *map(str, delivered), **wandb_peer.environment)
    assert wandb_peer.steps("day-1") == [*STEPS, 12]


def test_without_wandb_it_says_so(data_dir: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "wandb.py").write_text("raise ImportError('No module named wandb')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    with pytest.raises(ConfigError, match="pip install wandb"):
        export_wandb_dir(data_dir, tmp_path / "out")
