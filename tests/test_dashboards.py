"""Dashboards become workspaces of W&B: exactly those, and one for each title, however often it is saved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_wandb.cli import main
from otel_wandb.delivery.credentials import Secret, WeaveTarget
from otel_wandb.delivery.dashboards import Dashboard, DashboardApi, make_spec, make_variables
from otel_wandb.metrics.panels import Panel, Section
from otel_wandb.settings import Settings
from tests.otlp_lines import make_metrics
from tests.peers.wandb import WandbPeer

READ_BACK = """
import json, sys, warnings
warnings.simplefilter("ignore")
import wandb_workspaces.workspaces as ws
workspace = ws.Workspace.from_url(sys.argv[1])
panels = {}
for section in workspace.sections:
    if section.name == "Requests":
        panels[section.name] = [panel.table_name for panel in section.panels]
        continue
    drawn = [panel._to_model().config for panel in section.panels]
    panels[section.name] = [[c.chart_title, c.x_axis, c.metrics, c.metric_regex, c.plot_type] for c in drawn]
print(json.dumps([workspace.name, workspace.runset_settings.filters, panels]))
if len(sys.argv) > 2:
    workspace.sections[0].name = sys.argv[2]
    workspace.save()
"""
"""What the package itself makes of a workspace, and what somebody does who edits it."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["dashboard", *arguments])


def planned(*arguments: str) -> list[dict[str, Any]]:
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))


def read_back(peer: WandbPeer, url: str, *rename: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK, url, *rename],
        env={**os.environ, **peer.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[0])


def filters_of(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = spec["section"]["runSets"][0]["filters"]["filters"]
    return [(one["key"]["name"], one["value"]) for one in found]


@pytest.fixture
def project(wandb_peer: WandbPeer, monkeypatch: pytest.MonkeyPatch) -> WandbPeer:
    """A peer with the project `team/rag`, and an environment that leads there."""
    for name, value in wandb_peer.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_WANDB_PROJECT", "team/rag")
    api = DashboardApi(WeaveTarget.find(Settings()), timeout_s=10)
    api.ensure_project(Secret(wandb_peer.api_key), "team", "rag")
    api.close()
    return wandb_peer


@pytest.fixture
def stored(tmp_path: Path) -> None:
    """Two services whose rows are in the store; of one of them for two days."""
    lines = [json.dumps(make_metrics(minute, service)) for service in ("rag", "billing") for minute in (0, 1)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, json.dumps(make_metrics(1500))]) + "\n")
    done = CliRunner().invoke(main, ["replay", str(tmp_path / "metrics.jsonl"), "--no-deliver"])
    assert done.exit_code == 0, done.output


class TestDocument:
    def test_a_panel_is_exactly_this(self) -> None:
        percentiles = Panel("Percentiles", ("latency/p50_ms", "latency/p95_ms"), unit="ms")
        cost = Panel("Cost", pattern="^cost/.+_usd$", stacked=True)
        days = Panel("Days", ("latency/p95_ms",), axis="day/seconds")
        dashboard = Dashboard(
            "team", "rag", "chat", "T", (Section("S", (percentiles, cost, days), open=True),)
        )
        spec: Any = make_spec(dashboard)
        (section,) = spec["section"]["panelBankConfig"]["sections"]
        assert (section["name"], section["isOpen"]) == ("S", True)
        assert section["localPanelSettings"]["xAxis"] == "_timestamp"
        common = {"viewType": "Run History Line Plot", "layout": {"x": 0, "y": 0, "w": 8, "h": 6}}
        by_service = {"groupBy": "group", "aggregate": True}
        assert section["panels"] == [
            {
                **common,
                "__id__": "ajotilv8hw3",
                "config": {
                    "chartTitle": "Percentiles",
                    "xAxis": "_timestamp",
                    "yAxisTitle": "ms",
                    "metrics": ["latency/p50_ms", "latency/p95_ms"],
                    "plotType": "line",
                    "limit": 31,
                    **by_service,
                },
            },
            {
                **common,
                "__id__": "mzlgc9qket0",
                "config": {
                    "chartTitle": "Cost",
                    "xAxis": "_timestamp",
                    "metrics": [],
                    "metricRegex": "^cost/.+_usd$",
                    "useMetricRegex": True,
                    "plotType": "stacked-area",
                    "limit": 31,
                    **by_service,
                },
            },
            {
                **common,
                "__id__": "rxggtxsqprb",
                "config": {
                    "chartTitle": "Days",
                    "xAxis": "day/seconds",
                    "metrics": ["latency/p95_ms"],
                    "plotType": "line",
                    "limit": 31,
                },
            },
        ]
        assert filters_of(spec) == [("jobType", "monitor"), ("group", "chat")]
        assert spec["section"]["settings"]["xAxis"] == "_timestamp"
        assert spec["section"]["settings"]["shouldAutoGeneratePanels"] is False

    def test_what_is_printed_is_the_same_in_every_process(self, stored: None) -> None:
        command = [sys.executable, "-m", "otel_wandb.cli", "dashboard", "--json"]
        one, two = (
            subprocess.run(
                command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
            ).stdout
            for seed in ("1", "2")
        )
        assert one == two
        assert {view["displayName"] for view in json.loads(one)} == {
            "otel-wandb: billing",
            "otel-wandb: rag",
        }

    @settings(max_examples=30)
    @given(st.text(min_size=1, max_size=20))
    @example("it's \"x\" \\ and Config('a') == 'b'")
    @example("\ud83d")
    @example("🚀")
    def test_any_name_of_a_service_is_filtered_by(self, service: str) -> None:
        dashboard = Dashboard("", "rag", service, service, (Section("S", (Panel("P", ("a/b",)),)),))
        variables: Any = make_variables(dashboard)
        assert filters_of(variables["spec"]) == [
            ("jobType", "monitor"),
            ("group", service.encode(errors="replace").decode()),
        ]
        assert 0 < len(variables["displayName"]) <= 128
        json.dumps(variables).encode("ascii")


class TestPlan:
    def test_without_a_store_there_is_one_over_all_our_runs(self) -> None:
        (view,) = planned()
        assert (view["displayName"], view["projectName"]) == ("otel-wandb", "otel-wandb")
        assert filters_of(view["spec"]) == [("jobType", "monitor")]

    def test_the_store_tells_services_projects_and_operations(
        self, stored: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_WANDB_PROJECT", "another/project")
        billing, rag = planned()
        assert [(view["displayName"], view["projectName"]) for view in (billing, rag)] == [
            ("otel-wandb: billing", "otel-wandb"),
            ("otel-wandb: rag", "otel-wandb"),
        ]
        sections = rag["spec"]["section"]["panelBankConfig"]["sections"]
        (operations,) = [one for one in sections if one["name"] == "Latency of each operation"]
        assert [panel["config"]["chartTitle"] for panel in operations["panels"]] == ["HTTP /chat"]
        assert [one["name"] for one in sections if one["isOpen"]] == [
            "Latency",
            "Errors",
            "Throughput",
            "Requests",
        ]

    def test_services_may_be_chosen_known_or_not(self, stored: None) -> None:
        names = [view["displayName"] for view in planned("--service", "rag", "--service", "new")]
        assert names == ["otel-wandb: rag", "otel-wandb: new"]

    def test_a_title_is_of_one_dashboard(self, stored: None) -> None:
        result = run("--title", "Ours")
        assert result.exit_code == 1
        assert result.output == (
            "Error: 'Ours' would be the title of 2 dashboards, of billing, rag; "
            "choose one of them with --service\n"
        )
        (view,) = planned("--title", "Ours", "--service", "rag")
        assert view["displayName"] == "Ours"

    def test_without_an_option_it_only_tells(self, stored: None) -> None:
        result = run("--service", "rag")
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[:4] == [
            "The workspace 'otel-wandb: rag' of the project otel-wandb, over the runs of rag:",
            "",
            "Latency",
            "  Percentiles        latency/p50_ms latency/p90_ms latency/p95_ms latency/p99_ms",
        ]
        assert "  Cost by model                cost/*_usd, stacked" in lines
        assert "  Cost                    cost/total_usd, over day/seconds" in lines
        assert result.stderr.startswith("\nNothing was sent")

    def test_the_package_is_only_needed_for_the_document(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
        assert run().exit_code == 0
        result = run("--json")
        assert result.exit_code == 1
        assert "pip install 'otel-wandb[dashboard]'" in result.output


class TestSaved:
    def test_saved_twice_it_is_one_workspace(self, project: WandbPeer) -> None:
        first, again = run("--apply"), run("--apply")
        assert (first.exit_code, again.exit_code) == (0, 0), first.output + again.output
        (view,) = project.views()
        (sent,) = planned()
        assert {name: view[name] for name in ("entity", "project", "type", "name", "spec")} == {
            "entity": "team",
            "project": "rag",
            "type": sent["type"],
            "name": sent["name"],
            "spec": sent["spec"],
        }
        url = f"{project.url}/team/rag?nw={sent['name'][3:-2]}"
        assert first.output == f"'otel-wandb' in team/rag was made: {url}\n"
        assert again.output == f"'otel-wandb' in team/rag is as it was: {url}\n"
        assert len(project.requests(op="UpsertView2")) == 1

    def test_what_has_changed_is_changed_in_place(
        self, project: WandbPeer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "was made" in run("--apply").output
        (before,) = project.views()
        monkeypatch.setenv("OTEL_WANDB_COST_BY", "user.id")
        assert "was changed" in run("--apply").output
        (after,) = project.views()
        assert (after["id"], after["name"]) == (before["id"], before["name"])
        assert after["spec"] != before["spec"]
        assert "was made" in run("--apply", "--title", "Another").output
        assert len(project.views()) == 2

    def test_the_package_reads_and_edits_what_we_saved(self, project: WandbPeer) -> None:
        url = run("--apply").output.split()[-1]
        name, filters, panels = read_back(project, url, "Renamed")
        assert (name, filters) == ("otel-wandb", "Metric(\"JobType\") == 'monitor'")
        assert panels["Latency"][0] == [
            "Percentiles",
            "_timestamp",
            [f"latency/{name}_ms" for name in ("p50", "p90", "p95", "p99")],
            None,
            "line",
        ]
        assert panels["Tokens and cost"][-1][3:] == ["^cost/http_route_.+_usd$", "stacked-area"]
        assert panels["Requests"] == ["requests", "slow_requests"]
        assert "Renamed" in read_back(project, url)[2]
        assert "was changed" in run("--apply").output
        assert len(project.views()) == 1
        assert "Latency" in read_back(project, url)[2]

    def test_the_entity_of_the_key_is_found(
        self, project: WandbPeer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_WANDB_PROJECT", "rag")
        result = run("--apply")
        assert result.exit_code == 1
        assert "there is no project peer-entity/rag, or the API key may not see it" in result.output
        assert project.views() == []

    def test_offline_it_is_the_wish_to_be_online(
        self, project: WandbPeer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_WANDB_MODE", "offline")
        assert run("--apply").exit_code == 0


class TestRefused:
    def test_without_a_key(self, project: WandbPeer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WANDB_API_KEY")
        monkeypatch.setenv("HOME", "/nowhere")
        result = run("--apply")
        assert result.exit_code == 1
        assert result.output.startswith(
            f"Error: the workspace cannot be saved: no API key for {project.url}; set WANDB_API_KEY"
        )

    def test_with_a_key_that_nobody_knows(self, project: WandbPeer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        result = run("--apply")
        assert result.exit_code == 1
        assert result.output == (
            f"Error: {project.url} does not know the API key found in WANDB_API_KEY (401); set another one\n"
        )
        assert "x" * 40 not in result.output

    @pytest.mark.parametrize(
        ("fault", "says"),
        [
            (
                "403:op=UpsertView2",
                "the API key found in WANDB_API_KEY may not save workspaces in team/rag (403); "
                "look up the key, the entity and the project",
            ),
            (
                '200:op=UpsertView2,body={"data":null,"errors":[{"message":"permission denied"}]}',
                "the workspace was not saved in team/rag: W&B refused: permission denied",
            ),
            ("503:op=View", "call it again, it makes no second one"),
            ("reset:phase=after,op=UpsertView2", "call it again, it makes no second one"),
        ],
    )
    def test_by_the_server(self, fault: str, says: str, project: WandbPeer) -> None:
        project.faults(fault)
        result = run("--apply")
        assert result.exit_code == 1
        assert says in result.output
        project.faults()
        assert run("--apply").exit_code == 0
        assert len(project.views()) == 1

    def test_by_a_server_that_is_away(self, project: WandbPeer) -> None:
        project.stop()
        result = run("--apply")
        assert result.exit_code == 1
        assert "cannot be reached" in result.output

    def test_by_us(self) -> None:
        result = run("--apply", "--json")
        assert result.exit_code == 2
        assert "choose one of them" in result.output
