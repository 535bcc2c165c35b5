"""What goes wrong around us: each with the behaviour that is promised, and a message that says what to do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from otel_wandb.bridge import Bridge
from otel_wandb.cli import main
from otel_wandb.config import resolve
from otel_wandb.datadir import BridgeInfo, DataDir
from otel_wandb.ingest.sdk import WeaveSpanExporter
from otel_wandb.keeper import ProcessKeeper, ThreadKeeper
from otel_wandb.ledger import Line
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer
from tests.services.rag import make_provider, make_trace


def data_dir() -> DataDir:
    return DataDir(Path(os.environ["OTEL_WANDB_DIR"]))


def line(signal_: str = "spans") -> Line:
    return read_status(data_dir()).ledger.lines[signal_]


def run_service(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.services.rag", *arguments],
        env={**os.environ, **environment},
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )


def test_an_unusable_directory_means_memory_mode_and_one_warning(online: WeavePeer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run_service("--traces", "3", OTEL_WANDB_DIR=str(tmp_path / "file" / "data"))
    assert result.stderr.count("durable: no") == 1
    assert "set OTEL_WANDB_DIR to a writable local directory" in result.stderr
    assert len(online.accepted()) == 12
    shown = CliRunner().invoke(main, ["status", "--data-dir", str(tmp_path / "file" / "data")])
    assert "durable      no" in shown.output


def test_without_a_key_everything_stays_in_the_store() -> None:
    exporter = WeaveSpanExporter(bridge="thread")
    provider = make_provider(exporter)
    make_trace(provider.get_tracer("t"))
    provider.force_flush()
    assert exporter.force_flush(20_000)
    assert (line("calls").received, line("calls").waiting, line("calls").delivered) == (4, 4, 0)
    assert read_status(data_dir()).ledger.imbalance() == {}
    provider.shutdown()


def test_a_full_journal_refuses_counts_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    exporter = WeaveSpanExporter(bridge="thread", journal_limit_bytes=1 << 20, segment_bytes=64 << 10)
    lock = data_dir().lock()  # no bridge works the journal off
    tracer = make_provider(exporter, batch=False).get_tracer("t")
    for _ in range(70):
        tracer.start_span("large", attributes={"text": "x" * 20_000}).end()
    refused = line()
    assert refused.dropped["journal_full"] > 10
    assert refused.received == 70 == refused.waiting + refused.dropped["journal_full"]
    assert caplog.text.count("were not accepted") == 1
    lock.release()
    assert exporter.force_flush(20_000)
    tracer.start_span("there is room again").end()
    assert exporter.force_flush(20_000)
    assert line().dropped == refused.dropped
    assert line().delivered == refused.waiting + 1
    exporter.shutdown()


def test_what_no_encoding_has_is_cleaned_or_counted_and_never_raised() -> None:
    exporter = WeaveSpanExporter(bridge="thread")
    context = SpanContext(trace_id=7, span_id=8, is_remote=False, trace_flags=TraceFlags(1))
    odd = ReadableSpan(
        "odd", context, attributes={"big": 2**70, "surrogate": "a\ud800b"}, start_time=1, end_time=2
    )
    no_context = ReadableSpan("no context", None, start_time=1, end_time=2)
    assert exporter.export([odd, no_context]) is SpanExportResult.SUCCESS
    assert exporter.force_flush(20_000)
    assert (line().received, line().delivered, line().dropped) == (2, 1, {"unencodable": 1})
    exporter.shutdown()
    assert exporter.export([odd]) is SpanExportResult.FAILURE
    assert exporter.force_flush()


def test_two_bridges_cannot_work_on_one_directory(tmp_path: Path) -> None:
    directory = data_dir()
    directory.create()
    file = tmp_path / "empty.jsonl"
    file.write_text("")
    with directory.lock():
        directory.write_bridge_info(BridgeInfo.now(version="0.1.0"))
        result = CliRunner().invoke(main, ["replay", str(file)])
    assert result.exit_code == 1
    assert f"another bridge (process {os.getpid()}, version 0.1.0) works in" in result.output


def test_a_frozen_bridge_is_named_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    directory = data_dir()
    directory.create()
    keeper = ProcessKeeper(directory, resolve({}).settings)
    with directory.lock():
        long_ago_s = time.time() - 300
        directory.write_bridge_info(
            BridgeInfo(pid=4242, version="0.1.0", started_s=long_ago_s, heartbeat_s=long_ago_s)
        )
        keeper.tend()
        keeper.tend()
        shown = CliRunner().invoke(main, ["status"])
    assert caplog.text.count("`kill -9 4242` lets a new one start, and loses nothing") == 1
    assert "`kill -9 4242` lets a new one start" in shown.output


def test_a_stopped_bridge_can_be_killed_and_nothing_is_lost(online: WeavePeer) -> None:
    exporter = WeaveSpanExporter()
    tracer = make_provider(exporter, batch=False).get_tracer("t")
    tracer.start_span("first").end()
    pid = wait_for(data_dir().read_bridge_info).pid
    os.kill(pid, signal.SIGSTOP)
    tracer.start_span("second").end()
    assert not exporter.force_flush(500)
    os.kill(pid, signal.SIGKILL)
    assert exporter.force_flush(30_000)
    assert len(online.accepted()) == 2
    exporter.shutdown()


def test_a_fork_in_the_middle_loses_and_doubles_nothing(online: WeavePeer) -> None:
    run_service("--traces", "20", "--fork")
    wait_for(lambda: line("calls").waiting == 0 and line().waiting == 0)
    assert (line().received, line().delivered, line().waiting) == (20 * 4 + 9 * 4, 116, 0)
    assert len({call.id for call in online.accepted()}) == len(online.accepted()) == 116


def test_a_jump_of_the_clock_ends_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = WeaveSpanExporter(bridge="thread", linger_s=60)
    provider = make_provider(exporter, batch=False)
    make_trace(provider.get_tracer("t"))
    wait_for(lambda: line().waiting == 4 and line().received == 4)
    real_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + 86_400_000_000_000)
    time.sleep(0.5)  # several rounds of the bridge
    assert line().waiting == 4
    provider.shutdown()


@pytest.mark.slow
def test_the_exit_of_pid_1_takes_the_bridge_along_and_the_next_start_finishes(online: WeavePeer) -> None:
    online.stop()
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "tests.services.rag"]
    subprocess.run([*command, "--traces", "5", "--exit", "hard"], check=True, timeout=60)
    assert line().received + line().waiting >= 20
    assert not data_dir().locked()
    online.start()
    exporter = WeaveSpanExporter(trace_idle_s=1)
    make_provider(exporter, batch=False).get_tracer("t").start_span("wake").end()
    wait_for(lambda: exporter.force_flush(5_000) and len(online.accepted()) == 21, 60)
    assert line("calls").delivered == 21
    exporter.shutdown()


def test_a_service_is_not_held_up_by_a_server_that_is_down(online: WeavePeer) -> None:
    online.stop()
    started_s = time.monotonic()
    result = run_service(OTEL_WANDB_DRAIN_TIMEOUT_S="0.5")
    assert time.monotonic() - started_s < 20
    assert "the bridge goes on, or the next start does" in result.stderr


def test_a_bridge_whose_directory_is_removed_ends(online: WeavePeer) -> None:
    exporter = WeaveSpanExporter()
    make_provider(exporter, batch=False).get_tracer("t").start_span("hello").end()
    assert exporter.force_flush(30_000)
    pid = wait_for(data_dir().read_bridge_info).pid
    shutil.rmtree(data_dir().path)
    wait_for(lambda: not psutil.pid_exists(pid))  # ended, and reaped by the front
    exporter.shutdown()


def test_a_bridge_thread_that_died_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock must not keep the next one out."""
    keeper = ThreadKeeper(data_dir(), resolve({}).settings)
    data_dir().create()
    ended = threading.Event()
    real_run = Bridge.run

    def die(bridge: Bridge) -> None:
        ended.set()

    monkeypatch.setattr(Bridge, "run", die)
    keeper.tend()
    assert ended.wait(10)
    monkeypatch.setattr(Bridge, "run", real_run)
    keeper.tend()
    wait_for(data_dir().read_bridge_info)
    keeper.close()


def test_sigterm_drains_the_bridge_while_a_service_goes_on(online: WeavePeer) -> None:
    service = subprocess.Popen(
        [sys.executable, "-m", "tests.services.rag", "--traces", "100000", "--rate", "200"]
    )
    pid = wait_for(data_dir().read_bridge_info).pid
    wait_for(lambda: line("calls").delivered > 0)
    os.kill(pid, signal.SIGTERM)
    following = wait_for(lambda: (info := data_dir().read_bridge_info()) and info.pid != pid and info)
    assert following is not None
    service.kill()
    service.wait()
    assert read_status(data_dir()).ledger.imbalance() == {}
