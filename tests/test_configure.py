"""`configure` sets up all three signals, and joins what the service has set up itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from otel_wandb.store import Store
from otel_wandb.store.rows import decode_values
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer

PRELUDES = {
    "nothing set": "",
    "all set by the service": """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk._logs import LoggerProvider
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider())
_logs.set_logger_provider(LoggerProvider())
""",
}

SERVICE = """
import json
from opentelemetry import _logs, metrics, trace
{prelude}
before = trace.get_tracer_provider()
import otel_wandb
configured = otel_wandb.configure(project="team/rag")
if {joined}:
    assert trace.get_tracer_provider() is before
message = {{"role": "user", "parts": [{{"type": "text", "content": "Who?"}}]}}
attributes = {{"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}}
with trace.get_tracer("t").start_as_current_span("chat m", attributes=attributes):
    _logs.get_logger("t").emit(
        event_name="gen_ai.client.inference.operation.details",
        attributes={{"gen_ai.input.messages": json.dumps([message])}},
    )
metrics.get_meter("t").create_counter("things").add(3)
metrics.get_meter("t").create_histogram("latency", unit="s").record(0.25)
assert configured.force_flush(20_000)
"""


@pytest.mark.parametrize("prelude", PRELUDES.values(), ids=PRELUDES)
def test_three_signals_of_a_service_arrive(online: WeavePeer, prelude: str) -> None:
    code = SERVICE.format(prelude=prelude, joined=bool(prelude))
    environment = {**os.environ, "OTEL_WANDB_DRAIN_TIMEOUT_S": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    with online.client("team/rag") as client:
        (call,) = client.get_calls()
        assert [dict(message) for message in call.inputs["messages"]] == [{"role": "user", "content": "Who?"}]
        assert str(call.wb_run_id).startswith("team/rag/")
    ledger = read_status(DataDir(Path(os.environ["OTEL_WANDB_DIR"]))).ledger
    assert ledger.imbalance() == {}
    assert ledger.lines["log_records"].delivered == 1
    assert ledger.lines["metric_points"].received >= 2


def test_a_provider_that_cannot_be_joined_is_an_error_that_names_it() -> None:
    code = """
from opentelemetry import trace
class Own(trace.TracerProvider):
    def get_tracer(self, *args, **kwargs):
        return trace.NoOpTracer()
trace.set_tracer_provider(Own())
import otel_wandb
try:
    otel_wandb.configure()
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("ConfigError the global tracer provider is a __main__.Own")


def test_under_otel_wandb_run_nothing_is_exported_twice() -> None:
    code = """
from opentelemetry import metrics, trace
import otel_wandb
otel_wandb.configure()
metrics.get_meter("t").create_counter("things").add(3)
trace.get_tracer("t").start_span("hello").end()
"""
    done = subprocess.run(
        [sys.executable, "-m", "otel_wandb.cli", "run", "--", sys.executable, "-c", code],
        env={**os.environ, "OTEL_SERVICE_NAME": "twice", "OTEL_WANDB_INTERVAL_S": "1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.count("configure() adds nothing there") == 3
    data_dir = DataDir(Path(os.environ["OTEL_WANDB_DIR"]))
    wait_for(lambda: read_status(data_dir).ledger.lines["rows"].received > 0)
    reader = Store.open_for_reading(data_dir.store)
    values = [decode_values(row.values) for run in reader.runs() for row in reader.rows(run.id)]
    reader.close()
    assert sum(int(str(row.get("metrics/things", 0))) for row in values) == 3
    assert read_status(data_dir).ledger.lines["spans"].dropped == {}
