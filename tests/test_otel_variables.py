"""OpenTelemetry's own variables mean under `otel-wandb run` what they mean everywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from otel_wandb.cli import main
from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.services.launched import end_bridge, run_code

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SPAN = """
from opentelemetry import trace
print(type(trace.get_tracer_provider()).__name__)
for number in range(40):
    trace.get_tracer("t").start_span("hello").end()
"""


@pytest.fixture(autouse=True)
def no_bridge_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_bridge(DataDir(Path(os.environ["OTEL_WANDB_DIR"])))


def received(signal: str) -> int:
    return read_status(DataDir(Path(os.environ["OTEL_WANDB_DIR"]))).ledger.lines[signal].received


def read_calls(tmp_path: Path, count: int) -> list[dict[str, Any]]:
    """The calls in the store, once there are so many."""
    file = tmp_path / "calls.jsonl"

    def look() -> list[dict[str, Any]] | None:
        assert CliRunner().invoke(main, ["export", "--calls", str(file)]).exit_code == 0
        calls = [json.loads(line) for line in file.read_text().splitlines()]
        return calls if len(calls) >= count else None

    return wait_for(look, 60)


def test_names_and_attributes_of_the_resource(tmp_path: Path) -> None:
    run_code(
        SPAN,
        OTEL_SERVICE_NAME="shop",
        OTEL_RESOURCE_ATTRIBUTES="service.name=other,service.version=2.1,deployment.environment.name=prod%20eu",
    )
    resource = read_calls(tmp_path, 40)[0]["attributes"]["resource"]
    told = {key: resource[key] for key in ("service.name", "service.version", "deployment.environment.name")}
    assert told == {
        "service.name": "shop",
        "service.version": "2.1",
        "deployment.environment.name": "prod eu",
    }


@pytest.mark.parametrize(
    ("sampler", "argument", "least", "most"),
    [
        ("always_off", "", 0, 0),
        ("always_on", "", 40, 40),
        ("traceidratio", "0.0", 0, 0),
        ("parentbased_traceidratio", "1.0", 40, 40),
        ("traceidratio", "0.5", 3, 37),  # outside of it in one of ten million runs
    ],
)
def test_the_sampler(sampler: str, argument: str, least: int, most: int) -> None:
    run_code(SPAN, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument)
    assert least <= received("spans") <= most


def test_the_interval_of_metrics() -> None:
    code = """
import time
from opentelemetry import metrics
counter = metrics.get_meter("t").create_counter("hits")
for number in range(10):
    counter.add(1)
    time.sleep(0.2)
"""
    run_code(code, OTEL_METRIC_EXPORT_INTERVAL="100")
    assert received("metric_points") >= 5
    run_code(code, OTEL_METRIC_EXPORT_INTERVAL="60000", OTEL_WANDB_DIR=os.environ["OTEL_WANDB_DIR"] + "-slow")
    slow = read_status(DataDir(Path(os.environ["OTEL_WANDB_DIR"] + "-slow"))).ledger.lines["metric_points"]
    assert slow.received == 1  # at the end alone
    end_bridge(DataDir(Path(os.environ["OTEL_WANDB_DIR"] + "-slow")))


def test_the_sdk_disabled() -> None:
    assert run_code(SPAN, OTEL_SDK_DISABLED="true") == "ProxyTracerProvider\n"
    assert received("spans") == 0


def test_the_file_of_opentelemetry_says_everything(tmp_path: Path) -> None:
    """Our exporters have the same names in it as in `OTEL_TRACES_EXPORTER`."""
    file = tmp_path / "otel.yaml"
    resource = "resource: {attributes: [{name: service.name, value: of-the-file}]}\n"
    console = "  - simple: {exporter: {console: {}}}\n"
    file.write_text(f'file_format: "1.0"\n{resource}tracer_provider:\n  processors:\n  {console}')
    told = run_code(SPAN, OTEL_CONFIG_FILE=str(file), OTEL_TRACES_EXPORTER="weave")
    assert told.count('"name": "hello"') == 40
    assert received("spans") == 0
    with file.open("a") as more:
        more.write("    - batch: {exporter: {weave: {}}}\n")
    run_code(SPAN, OTEL_CONFIG_FILE=str(file))
    calls = read_calls(tmp_path, 40)
    assert {call["attributes"]["resource"]["service.name"] for call in calls} == {"of-the-file"}
