"""Streamlit as people use it: each kind of run through its own tester, and the example in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.chromium import chromium_path
from tests.peers.weave import WeavePeer
from tests.services.applications import run_there, serving_app
from tests.services.launched import end_bridge, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # an environment of its own, and a real browser

Told = dict[str, Any]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What `streamlit_cases` tells of each case: (what the page shows, spans and log records and points)."""
    output = run_there("-m", "tests.services.streamlit_cases", str(tmp_path_factory.mktemp("streamlit")))
    found: Told = json.loads(next(line for line in output.splitlines() if line.startswith("TOLD"))[4:])
    return found


def runs_of(cases: Told, name: str) -> list[Told]:
    return [span for span in cases[name][1]["spans"] if span["name"].startswith("streamlit ")]


def run_of(cases: Told, name: str) -> Told:
    (run,) = runs_of(cases, name)
    return run


def test_a_run_is_a_request_of_its_session(cases: Told) -> None:
    run = run_of(cases, "start")
    path = run["attributes"].pop("code.file.path")
    assert path.endswith("tests/services/streamlit_script.py")
    assert run["attributes"] == {
        "rpc.system.name": "streamlit",
        "rpc.method": "streamlit_script",
        "session.id": "test session id",
        "streamlit.trigger": "start",
    }
    assert (run["name"], run["kind"], run["parent"]) == ("streamlit streamlit_script", "SERVER", None)
    assert (run["status"], run["events"]) == ("UNSET", [])


def test_script_and_callbacks_work_in_the_span_of_the_run(cases: Told) -> None:
    run = run_of(cases, "button")
    work = {s["name"]: (s["parent"], s["trace"]) for s in cases["button"][1]["spans"] if s["id"] != run["id"]}
    assert work == dict.fromkeys(("callback", "work"), (run["id"], run["trace"]))


@pytest.mark.parametrize(
    ("name", "trigger", "typed", "events"),
    [
        (
            "button",
            "button Greet",
            '{"Name": "ann", "Secret": "[withheld: a password]"}',
            ["streamlit.action"],
        ),
        ("slider", "slider Size", "7", []),
        ("form", "form Order", "tea", ["streamlit.action"]),
        ("chat", "chat_input", "hi there", ["streamlit.action"]),
        ("fail", "button Fail", None, ["streamlit.action", "exception"]),
        ("stop", "button Stop", None, ["streamlit.action"]),
        ("twice", "rerun", None, []),
        ("quiet", "text_input Name", None, []),
        ("broken", "compile", None, ["exception"]),
    ],
)
def test_what_set_a_run_off(
    cases: Told, name: str, trigger: str, typed: str | None, events: list[str]
) -> None:
    run = run_of(cases, name)
    assert run["attributes"]["streamlit.trigger"] == trigger
    assert run["attributes"].get("input.value") == typed
    assert run["events"] == events


@pytest.mark.parametrize(
    ("name", "kind"), [("fail", "ValueError"), ("part", "KeyError"), ("broken", "SyntaxError")]
)
def test_an_exception_is_told_wherever_streamlit_catches_it(cases: Told, name: str, kind: str) -> None:
    run = run_of(cases, name)
    assert (run["status"], run["attributes"]["error.type"]) == ("ERROR", kind)


def test_stopping_and_running_again_are_no_errors(cases: Told) -> None:
    stopped = run_of(cases, "stop")
    assert (stopped["status"], stopped["attributes"]["streamlit.stopped"]) == ("UNSET", True)
    first, second = runs_of(cases, "again")
    assert (first["status"], first["attributes"]["streamlit.reruns"]) == ("UNSET", True)
    assert second["attributes"]["streamlit.trigger"] == "rerun"


def test_stars_are_feedback_on_the_run_before(cases: Told) -> None:
    (log,) = cases["feedback"][1]["logs"]
    assert (log["event"], log["span"]) == ("gen_ai.evaluation.result", run_of(cases, "part")["id"])
    assert log["attributes"] == {
        "gen_ai.evaluation.name": "stars",
        "gen_ai.evaluation.evaluator.type": "human",
        "gen_ai.evaluation.score.value": 4.0,
        "gen_ai.evaluation.score.label": "4 of 5",
    }


def test_off_is_off(cases: Told) -> None:
    assert runs_of(cases, "off") == []
    assert [span["name"] for span in cases["off"][1]["spans"]] == ["work"]


def test_durations_are_those_of_requests(cases: Told) -> None:
    points = {
        (point["attributes"]["rpc.method"], point["attributes"].get("error.type")): point["count"]
        for point in cases["broken"][1]["points"]
        if point["name"] == "rpc.server.call.duration"
    }
    assert points["streamlit_script", "ValueError"] == 1
    assert points["streamlit_script", None] > 5


@pytest.fixture
def no_bridge_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_bridge(DataDir(tmp_path / "data"))


@pytest.mark.usefixtures("no_bridge_is_left")
def test_the_example_in_a_browser_and_in_weave(online: WeavePeer, tmp_path: Path) -> None:
    browser, port = chromium_path(), free_port()
    url = f"http://127.0.0.1:{port}"
    command = ("-m", "streamlit", "run", "examples/streamlit_app.py", "--server.headless", "true")
    where = ("--server.port", str(port), "--server.address", "127.0.0.1")
    with serving_app(*command, *where, url=f"{url}/_stcore/health", log=tmp_path / "log"):
        run_there("tests/services/streamlit_visit.py", url, str(browser), str(tmp_path / "page.png"))
    with online.client("team/rag") as client:

        def look() -> list[Any] | None:
            runs = [call for call in client.get_calls() if call._op_name == "streamlit streamlit_app"]
            return runs if len(runs) == 4 else None

        runs = sorted(wait_for(look, 60), key=lambda call: call.started_at)
        triggers = [call.attributes["otel"]["streamlit.trigger"] for call in runs]
        assert triggers == ["start", "form Ask", "feedback helpful", "form Ask"]
        first, asked, _, failed = runs
        assert len({call.thread_id for call in runs}) == 1
        assert first.thread_id
        assert (asked.inputs["input"], failed.inputs["input"]) == ("What is a span?", "What is love?")
        assert json.loads(failed.exception)["type"] == "LookupError"
        assert json.loads(failed.exception)["message"] == "nothing is known of 'What is love?'"
        (feedback,) = wait_for(lambda: list(client.get_feedback()), 60)
        assert feedback.weave_ref.rpartition("/")[2] == asked.id
        assert feedback.feedback_type == "wandb.runnable.helpful"
        assert feedback.payload["output"] == {"score": 1.0, "label": "up"}
    assert read_status(DataDir(tmp_path / "data")).ledger.imbalance() == {}
