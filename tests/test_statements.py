"""Predictions and feedback that a service tells by itself, through the bridge: charts, views, feedback."""

from __future__ import annotations

import json
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

VIEWS = json.dumps(
    [
        {"view": "predictions", "instrument": "prediction.confidence"},
        {
            "view": "degradation",
            "metric": "gen_ai.evaluation.score",
            "where": {"gen_ai.evaluation.name": "helpful"},
            "baseline": 0.9,
            "name": "helpful",
        },
    ]
)

CODE = """
import otel_wandb
from opentelemetry import trace
tracer = trace.get_tracer("t")
for number in range(40):
    with tracer.start_as_current_span("classify") as span:
        otel_wandb.log_prediction("cat" if number % 4 else "dog", confidence=0.25 if number % 4 else 0.75)
    otel_wandb.record_feedback(number % 2 == 0, name="helpful", about=span.get_span_context())
"""


@pytest.fixture(autouse=True)
def no_bridge_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_bridge(DataDir(tmp_path / "data"))


def export(tmp_path: Path, kind: str) -> list[dict[str, Any]]:
    file = tmp_path / f"{kind}.jsonl"
    done = CliRunner().invoke(main, ["export", f"--{kind}", str(file)])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_views_and_feedback_see_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_WANDB_VIEWS", VIEWS)
    monkeypatch.setenv("OTEL_WANDB_INTERVAL_S", "5")
    monkeypatch.setenv("OTEL_WANDB_LATENESS_S", "1")
    run_code(CODE, OTEL_SERVICE_NAME="cats")
    calls = wait_for(lambda: [c for c in export(tmp_path, "calls") if c["op_name"] == "classify"], 60)
    assert len(calls) == 40
    assert {call["attributes"]["otel"]["prediction.label"] for call in calls} == {"cat", "dog"}
    feedback = wait_for(lambda: export(tmp_path, "feedback"), 60)
    assert len(feedback) == 40
    by_id = {call["id"]: call["attributes"]["otel"]["prediction.label"] for call in calls}
    assert {entry["weave_ref"].rpartition("/")[2] for entry in feedback} == by_id.keys()
    assert sorted(entry["payload"]["output"]["score"] for entry in feedback) == [0.0] * 20 + [1.0] * 20

    def look() -> list[dict[str, Any]] | None:
        found = [row["values"] for row in export(tmp_path, "rows")]
        keys = {key for row in found for key in row}
        return (
            found
            if {"predictions/prediction_confidence_confidence_mean", "performance/helpful"} <= keys
            else None
        )

    rows = wait_for(look, 60)
    (predictions,) = [row for row in rows if "predictions/prediction_confidence_confidence_mean" in row]
    told = {name.rpartition("prediction_confidence_")[2]: predictions[name] for name in predictions}
    assert told["confidence_mean"] == pytest.approx(0.375)
    assert told["low_confidence_rate"] == pytest.approx(75.0)
    assert (told["cat_share"], told["dog_share"]) == (0.75, 0.25)
    scores = [row["performance/helpful"] for row in rows if "performance/helpful" in row]
    assert scores  # one, or two where an interval ended in between
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert read_status(DataDir(tmp_path / "data")).ledger.imbalance() == {}
