"""The code of README.md runs, its commands do what it says, and what it shows is what is printed."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from otel_wandb.cli import main
from otel_wandb.datadir import DataDir
from otel_wandb.demo_views import draw_rows
from otel_wandb.ledger import render
from otel_wandb.status import read_status
from otel_wandb.store import Store
from tests.deadlines import wait_for
from tests.otlp_lines import make_metrics, make_request
from tests.peers.environments import CHECKOUT
from tests.peers.fixtures_wandb import OneKeyPeer
from tests.peers.wandb import WandbPeer
from tests.services.launched import QUICK, end_bridge, free_port

README = (CHECKOUT / "README.md").read_text()
BRISK = {"OTEL_WANDB_INTERVAL_S": "1", "OTEL_WANDB_LATENESS_S": "0", "OTEL_WANDB_LINGER_S": "0.5"}


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert {name for name, _ in fenced} == {"sh", "python", "text"}
    return [text for name, text in fenced if name == language]


def test_the_python_blocks_run(tmp_path: Path) -> None:
    codes = blocks("python")
    assert len(codes) == 3
    for code in codes:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "OTEL_WANDB_DIR": str(tmp_path), "OTEL_WANDB_MODE": "offline"},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    spans = sum("start_as_current_span" in code for code in codes)
    assert read_status(DataDir(tmp_path)).ledger.lines["spans"].delivered == spans == 2
    end_bridge(DataDir(tmp_path))


def test_every_command_that_is_named_exists() -> None:
    named = re.findall(r"`(otel-wandb [a-z][^`]*)`", README)
    lines = [line for text in blocks("sh") for line in text.splitlines() if line.startswith("otel-wandb ")]
    assert len(lines) >= 8
    for line in [*lines, *named]:
        words = shlex.split(line, comments=True)[1:]
        command = words[: 2 if words[0] == "config" else 1]
        result = CliRunner().invoke(main, [*command, "--help"])
        assert result.exit_code == 0, (line, result.output)


def test_the_targets_of_make_that_are_named_exist() -> None:
    targets = re.findall(r"\bmake ([a-z-]+)", README)
    assert {"demo", "test", "help", "bench-overhead", "bench-freshness"} <= set(targets)
    for target in targets:
        done = subprocess.run(
            ["make", "-n", target], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        for module in re.findall(r"-m benchmarks\.(\w+)", done.stdout):
            assert (CHECKOUT / "benchmarks" / f"{module}.py").exists(), target


def test_the_demo_is_shown_as_it_prints(tmp_path: Path) -> None:
    (shown,) = blocks("text")
    status = read_status(DataDir(tmp_path))
    ledger = [line.split()[0] for line in render(status.ledger).splitlines()]
    assert [line for line in ledger if line not in shown] == []
    keys = ("latency/p50_ms", "latency/p95_ms", "latency/p99_ms", "tokens/input", "tokens/output")
    more = ("throughput/requests_per_second", "errors/total_rate_percent", "cost/total_usd")
    header = draw_rows([(0.0, dict.fromkeys((*keys, *more), 1.0))]).splitlines()[0]
    assert header.split() in [line.split() for line in shown.splitlines()]
    counts = re.search(
        r"^calls +([\d,]+) .*?^All is there: \d+ requests became (\d+) calls\.$", shown, re.S | re.M
    )
    assert counts is not None
    assert counts[1].replace(",", "") == counts[2]


@contextlib.contextmanager
def running(command: str, environ: Mapping[str, str], directory: Path) -> Iterator[None]:
    """The command that a reader has typed into another terminal; SIGTERM ends it."""
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=directory, env=environ, stdout=log, stderr=log
        )
    try:
        yield
        process.terminate()
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def write_otlp(directory: Path) -> None:
    """The files of a Collector."""
    (directory / "traces.jsonl").write_text(json.dumps(make_request(3)) + "\n")
    (directory / "metrics.jsonl").write_text(json.dumps(make_metrics(0)) + "\n")
    with gzip.open(directory / "logs.jsonl.gz", "wt") as logs:
        logs.write(json.dumps({"resourceLogs": []}) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_reader_who_types_every_command_gets_through(tmp_path: Path, wandb_peer: WandbPeer) -> None:
    data_dir, here, port = DataDir(tmp_path / "data"), tmp_path / "here", free_port()
    here.mkdir()
    (app,) = [code for code in blocks("python") if code.startswith("# app.py")]
    (here / "app.py").write_text(app)
    write_otlp(here)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, **QUICK, **BRISK, "PATH": path, "UVICORN_PORT": str(port)}

    def call_it() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/hello/you", trust_env=False).status_code == 200
        return False

    def type_in(line: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", line],
            cwd=here,
            env=environ | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout + done.stderr

    told: dict[str, str] = {}
    with OneKeyPeer() as weave:
        online = {**weave.environment, **wandb_peer.environment, "OTEL_WANDB_PROJECT": "team/rag"}
        for line in "".join(blocks("sh")).splitlines():
            words = shlex.split(line, comments=True)
            match words[:2]:
                case ["make", _]:
                    pass  # another test looks at them
                case ["pip", "install"]:
                    assert words[2:] == [".[demo]"]
                case ["otel-wandb", "run"]:
                    with running(line, environ, here):
                        wait_for(call_it, 60)
                    wait_for(lambda: not data_dir.locked(), 60)
                case ["otel-wandb", "serve"]:
                    ports = {"OTEL_WANDB_SERVE_GRPC": "127.0.0.1:0", "OTEL_WANDB_SERVE_HTTP": "127.0.0.1:0"}
                    with running(line, environ | ports, here):
                        wait_for(lambda: "READY grpc=" in (here / "log").read_text(), 60)
                    wait_for(lambda: not data_dir.locked(), 60)
                case ["otel-wandb", "sync"]:
                    told[line] = type_in(line, **online)
                    assert len(weave.accepted()) == read_status(data_dir).ledger.lines["calls"].delivered > 0
                    assert wandb_peer.runs()
                case _:
                    told[line] = type_in(line)
                    wait_for(lambda: not data_dir.locked(), 60)
    with closing(Store.open_for_reading(data_dir.store)) as reader:
        names = {json.loads(call.body)["op_name"] for call in reader.calls()}
    assert names == {"GET /hello/{name}", "otel-wandb doctor"}
    said = "\n".join(told.values())
    assert "BAD" not in said
    assert "12 spans received, 12 became calls" in said
    assert len((here / "calls.jsonl").read_text().splitlines()) >= 2
    assert list((here / "charts").rglob("*.wandb"))
    assert read_status(data_dir).ledger.imbalance() == {}
