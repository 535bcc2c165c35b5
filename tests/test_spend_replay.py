"""Files of traces and metrics become the same rows in any order of arguments, and reach W&B as they are."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest
from click.testing import CliRunner

from otel_wandb.cli import main
from tests.peers.wandb import WandbPeer
from tests.rowhouse import RowHouse
from tests.spends import MIDNIGHT_S, chat, token_metrics, traces

MINUTES = 6


def write_files(directory: Path) -> dict[str, Path]:
    """Six minutes: a model with spans and metrics, one with metrics only, a long trace, another service."""
    requests = [traces(chat(i, 7 * i + 3, given=1000 + i, made=10 * i)) for i in range(MINUTES * 8)]
    requests[9] = traces(chat(9, 66, given=5000, entrance_seconds=2)[:1])
    requests.insert(12, traces(chat(9, 66, entrance_seconds=20)[1:]))
    exports = [
        token_metrics(60 * minute + 59.5, given=given, model=model)
        for minute in range(MINUTES)
        for model, given in (("gpt-4o-mini", 50_000), ("o3", 100 + minute))
    ]
    others = [traces(chat(500 + i, 9 * i + 5), service="other") for i in range(20)]
    files = {"traces": requests, "metrics": exports, "others": others}
    paths = {}
    for name, lines in files.items():
        paths[name] = directory / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return paths


def replay(directory: Path, *files: Path) -> bytes:
    rows = directory / "rows.jsonl"
    arguments = [*map(str, files), "--no-deliver", "--rows", str(rows), "--data-dir", str(directory / "data")]
    result = CliRunner().invoke(main, ["replay", *arguments])
    assert result.exit_code == 0, result.output
    return rows.read_bytes()


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    written = set()
    for number, names in enumerate(permutations(files)):
        directory = tmp_path / str(number)
        directory.mkdir()
        written.add(replay(directory, *(files[name] for name in names)))
    (rows,) = written
    found = [json.loads(line) for line in rows.splitlines()]
    values = [row["values"] for row in found if row["run_id"].startswith("rag-")]
    spent = sum(1000 + i for i in range(MINUTES * 8)) - 1009 + 5000
    assert sum(row.get("tokens/gpt_4o_mini_input", 0) for row in values) == spent
    assert sum(row.get("tokens/o3_input", 0) for row in values) == 615
    assert sum(row["bridge/late_spans"] for row in values) == 0


def as_wandb_has_it(value: object) -> object:
    """A value of a row, of which a histogram has other names there."""
    if isinstance(value, dict):
        return {"_type": "histogram", "values": value["counts"], "bins": value["edges"]}
    return value


def test_the_rows_arrive_in_wandb_as_they_are(
    wandb_peer: WandbPeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_WANDB_PROJECT", "team/rag")
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(json.dumps(traces(chat(i, 40 * i + 30))) + "\n" for i in range(3)))
    stored = [json.loads(line) for line in replay(tmp_path, file).splitlines()]
    house = RowHouse(wandb_peer, tmp_path / "data")
    try:
        house.deliver()
    finally:
        house.close()
    (run_id,) = wandb_peer.runs()
    arrived = wandb_peer.history(run_id)
    assert [row["_step"] for row in arrived] == [0, 1]
    for row, kept in zip(arrived, stored, strict=True):
        sent = {key: as_wandb_has_it(value) for key, value in kept["values"].items()}
        assert {key: value for key, value in row.items() if "/" in key} == sent
    first, second = arrived
    assert first["_timestamp"] == MIDNIGHT_S + 60
    assert (first["cost/total_usd"], first["cost/daily_requests"]) == (0.00021, 1)
    assert (second["cost/total_usd"], second["cost/daily_total_usd"]) == (0.00042, 0.00063)
