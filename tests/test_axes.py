"""Every row tells where in its day it is, so that days can be laid over each other."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from otel_wandb.cli import main
from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.wandb_host import HostSettings, LoggedRow, RunHost, RunSpec
from otel_wandb.metrics.axes import axes_of, place_on_axes
from otel_wandb.metrics.intervals import DAY_NS, SECOND_NS, Calendar
from tests.otlp_lines import make_metrics
from tests.peers.wandb import WandbPeer

MONDAY_NS = 4 * DAY_NS
"""1970-01-05."""
HIDDEN, DEFINED = 2, 3
"""What wandb calls the options of a metric in the config that it sends."""


@pytest.mark.parametrize(
    ("time_s", "day_s"),
    [(0.001, 60), (60, 60), (60.001, 120), (86_340.5, 86_400), (86_400, 86_400), (86_400.001, 60)],
)
def test_a_day_begins_after_midnight_and_ends_with_it(time_s: float, day_s: int) -> None:
    interval = Calendar().interval_at(MONDAY_NS + round(time_s * SECOND_NS))
    assert place_on_axes(interval, "day") == {"day/seconds": day_s}


def test_in_a_run_of_a_week_the_week_is_the_first_axis_and_the_day_another() -> None:
    weekly = Calendar(rotation="week")
    places = [
        place_on_axes(weekly.interval_at(MONDAY_NS + seconds * SECOND_NS), weekly.rotation)
        for seconds in (1, 86_400, 86_401, 7 * 86_400, 7 * 86_400 + 1)
    ]
    assert [tuple(place) for place in places] == [axes_of("week")] * 5
    assert [place["week/seconds"] for place in places] == [60, 86_400, 86_460, 604_800, 60]
    assert [place["day/seconds"] for place in places] == [60, 86_400, 60, 86_400, 60]


def test_intervals_that_do_not_fill_a_day_end_with_it() -> None:
    calendar = Calendar(interval_ns=7 * 3600 * SECOND_NS + SECOND_NS // 2)
    ends = [calendar.interval_at(MONDAY_NS + hour * 3600 * SECOND_NS) for hour in (1, 8, 24)]
    assert [place_on_axes(end, "day")["day/seconds"] for end in ends] == [25_200.5, 50_401, 86_400]


def test_of_an_interval_over_midnight_the_end_counts() -> None:
    weekly = Calendar(interval_ns=7 * 3600 * SECOND_NS, rotation="week")
    place = place_on_axes(weekly.interval_at(MONDAY_NS + 25 * 3600 * SECOND_NS), "week")
    assert place == {"week/seconds": 28 * 3600, "day/seconds": 4 * 3600}


@pytest.mark.parametrize(("rotate", "axes"), [("day", {"day"}), ("week", {"day", "week"})])
def test_stored_and_exported_rows_have_them(
    rotate: str, axes: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_WANDB_ROTATE", rotate)
    (tmp_path / "metrics.jsonl").write_text(json.dumps(make_metrics(0)) + "\n")
    out, rows = tmp_path / "replayed.jsonl", tmp_path / "exported.jsonl"
    replayed = CliRunner().invoke(
        main, ["replay", str(tmp_path / "metrics.jsonl"), "--no-deliver", "--rows", str(out)]
    )
    assert replayed.exit_code == 0, replayed.output
    assert CliRunner().invoke(main, ["export", "--rows", str(rows)]).exit_code == 0
    assert rows.read_bytes() == out.read_bytes()
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert written
    for row in written:
        ends = {key.partition("/")[0] for key in row["values"] if key.endswith("/seconds")}
        assert ends == axes
        assert row["values"]["day/seconds"] == (row["timestamp_s"] - 1) % 86_400 + 1


@pytest.mark.parametrize("rotation", ["day", "week"])
def test_wandb_knows_the_axes_and_shows_no_charts_of_them(
    rotation: str, wandb_peer: WandbPeer, tmp_path: Path
) -> None:
    settings = HostSettings(base_url=wandb_peer.url, api_key=Secret(wandb_peer.api_key), transmit_s=0.5)
    spec = RunSpec("run-1", "team", "rag", "rag", "rag", "monitor", (), {"rotation": rotation})
    axes = axes_of(rotation)
    values = msgspec.json.encode({"latency/p95_ms": 1.5, **dict.fromkeys(axes, 60)})
    with RunHost(settings) as host:
        for step in (0, 1):  # and the same when it is taken up
            host.open("r", spec)
            host.log("r", [LoggedRow(step, 60.0, msgspec.Raw(values))])
            host.finish(["r"])
    run = wandb_peer.runs()["run-1"]
    *named, every = run["metric_definitions"]
    assert {d["1"]: set(d["6"]) for d in named} == {key: {HIDDEN, DEFINED} for key in axes}
    assert every["2"] == "*"
    assert named[every["5"] - 1]["1"] == axes[0]
    assert [row["_step"] for row in wandb_peer.history("run-1")] == [0, 1]
