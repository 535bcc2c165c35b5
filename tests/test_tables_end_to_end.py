"""Requests from files into tables at W&B, whose links lead to calls at Weave: replayed, synced, exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.export import export_rows, export_wandb_dir
from otel_wandb.replay import replay_files, write_rows
from otel_wandb.settings import Settings
from otel_wandb.status import read_status
from otel_wandb.sync import sync
from tests.peers.fixtures_wandb import OneKeyPeer
from tests.peers.wandb import WandbPeer
from tests.rowhouse import BRISK, PATIENCE_S, QUICK
from tests.spends import chat, traces
from tests.test_export import wandb_cli
from tests.test_requests import asks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the real client, several times

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
REQUESTS = 40
SECRET = "sk-ant-abcdefghij0123456789"


@pytest.fixture(scope="module")
def weave_process() -> Iterator[OneKeyPeer]:
    with OneKeyPeer() as peer:
        yield peer


@pytest.fixture
def weave_peer(weave_process: OneKeyPeer) -> OneKeyPeer:
    weave_process.ensure_running()
    weave_process.reset()
    return weave_process


def write_file(directory: Path) -> Path:
    """Two hours of requests: one with an image, one with a secret, one that failed."""
    groups = []
    for i in range(REQUESTS):
        blob = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": PIXEL}
        question = [f"question {i}", *([blob] if i == 3 else [SECRET] if i == 4 else [])]
        group = chat(i, 60 + 180 * i, given=100 + i, user=f"u{i % 3}", more=asks(question, f"answer {i}"))
        if i == 5:
            group[1]["status"] = {"code": 2, "message": "no more room"}
        groups.append(traces(group))
    path = directory / "traces.jsonl"
    path.write_text("".join(json.dumps(group) + "\n" for group in groups))
    return path


class Servers:
    """Both peers, and a directory that knows of them."""

    def __init__(self, wandb: WandbPeer, weave: OneKeyPeer, directory: Path) -> None:
        self.wandb, self.weave, self.home = wandb, weave, directory
        self.data_dir = DataDir(directory / "data")
        self.data_dir.create()
        self.offline = Settings(mode="offline", project="rag", entity="team")
        self.online = Settings(
            project="rag", entity="team", base_url=wandb.url, trace_url=weave.url, request_timeout_s=5.0
        )
        self.environ = {"HOME": str(directory), "WANDB_DIR": str(directory), "WANDB_API_KEY": wandb.api_key}

    def sync(self) -> None:
        synced = sync(
            self.data_dir,
            self.online,
            environ=self.environ,
            deadline_s=2 * PATIENCE_S,
            pace=QUICK,
            timing=BRISK,
        )
        assert synced.complete, synced

    def tables(self, name: str) -> list[list[dict[str, Any]]]:
        """The tables of that name in the order of their rows; each of its rows by column."""
        found = []
        for run in sorted(self.wandb.runs()):
            for row in self.wandb.history(run):
                if name in row:
                    table = self.wandb.table(row[name]) if "artifact_path" in row[name] else None
                    table = table or json.loads(self.wandb.file(run, row[name]["path"]) or b"")
                    found.append([dict(zip(table["columns"], cells, strict=True)) for cells in table["data"]])
        return found

    def assert_told(self, *, linked: bool) -> None:
        requests = [row for table in self.tables("requests") for row in table]
        assert len(requests) == REQUESTS
        assert [row["answer"] for row in requests] == [f"answer {i}" for i in range(REQUESTS)]
        assert sum(row["tokens_in"] * row["weight"] for row in requests) == sum(range(100, 100 + REQUESTS))
        assert (requests[5]["status"], requests[5]["error"]) == ("error", "error: no more room")
        assert requests[4]["query"] == "question 4\n[redacted:anthropic_key]"
        assert "image" in json.dumps(requests[3]["image"]).lower()
        assert requests[3]["image_note"].startswith("image/png, ")
        slow = [row for table in self.tables("slow_requests") for row in table]
        assert {row["trace_id"] for row in slow} == {row["trace_id"] for row in requests}
        links = {row["trace"] for row in requests + slow}
        page = f"{self.wandb.url}/team/rag/r/call/"
        calls = {call.id for call in self.weave.accepted() if call.project == "team/rag"}
        if linked:
            assert all(link.startswith(page) for link in links)
            assert {link.removeprefix(page) for link in links} <= calls
        else:
            assert links == {""}


@pytest.fixture
def servers(wandb_peer: WandbPeer, weave_peer: OneKeyPeer, tmp_path: Path) -> Servers:
    return Servers(wandb_peer, weave_peer, tmp_path)


def test_what_was_replayed_offline_is_synced_with_tables_and_links(servers: Servers) -> None:
    replay_files([write_file(servers.home)], servers.offline, servers.data_dir, deliver=False)
    servers.sync()
    servers.assert_told(linked=True)
    assert [len(table) for table in servers.tables("requests")] == [20, 20]
    ledger = read_status(servers.data_dir).ledger
    assert ledger.balanced
    assert ledger.lines["tables"].delivered == 4
    servers.sync()
    assert sorted((made["name"], made["version"]) for made in servers.wandb.artifacts()) == sorted(
        (f"run-{run}-{name}", version)
        for run in servers.wandb.runs()
        for name in ("requests", "slow_requests")
        for version in (0, 1)
    )


def test_exported_runs_contain_the_tables(servers: Servers) -> None:
    replay_files([write_file(servers.home)], servers.offline, servers.data_dir, deliver=False)
    runs = export_wandb_dir(servers.data_dir, servers.home / "out")
    wandb_cli(servers.home, "sync", *map(str, runs), **servers.wandb.environment)
    servers.assert_told(linked=False)
    servers.sync()  # all rows are there already
    assert len(servers.tables("requests")) == 2


def test_two_replays_write_the_same_tables(tmp_path: Path) -> None:
    path, written = write_file(tmp_path), set()
    for name in ("first", "second"):
        data_dir = DataDir(tmp_path / name)
        data_dir.create()
        outcome = replay_files([path], Settings(mode="offline"), data_dir, deliver=False)
        write_rows(tmp_path / f"{name}.jsonl", data_dir, outcome.run_ids)
        written.add((tmp_path / f"{name}.jsonl").read_bytes())
        assert export_rows(data_dir, tmp_path / "rows.jsonl") > REQUESTS
        assert sorted((tmp_path / "rows.jsonl").read_bytes().splitlines()) == sorted(
            (tmp_path / f"{name}.jsonl").read_bytes().splitlines()
        )
    (rows,) = written
    with_tables = [row for line in rows.splitlines() if "tables" in (row := json.loads(line))]
    assert [sorted(row["tables"]) for row in with_tables] == [["requests", "slow_requests"]] * 2
    assert SECRET not in rows.decode()
