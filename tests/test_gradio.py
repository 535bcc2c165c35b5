"""Gradio as people use it: each kind of event through its own client, and the example into a real Weave."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer
from tests.services.applications import run_there, serving_app
from tests.services.launched import end_bridge, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # an environment of its own, and real servers

RED = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR4nGP8z4AATAxEcQAz0QEHOoQ+uAAAAABJRU5ErkJggg=="
)
RED_URI = f"data:image/png;base64,{base64.b64encode(RED).decode()}"
CALLER = 0xB7AD6B7169203331

Told = dict[str, Any]


VERSIONS = ("apps", "apps-gradio5")
"""The environments with Gradio 6 and Gradio 5."""


@pytest.fixture(scope="module", params=VERSIONS)
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What `gradio_cases` tells of each case: (what came back, spans and log records and points)."""
    here = tmp_path_factory.mktemp("gradio")
    (here / "red.png").write_bytes(RED)
    script = ("-m", "tests.services.gradio_cases", str(here / "flags"), str(here / "red.png"))
    return read_told(run_there(*script, environment=request.param))


def read_told(output: str) -> Told:
    found: Told = json.loads(next(line for line in output.splitlines() if line.startswith("TOLD"))[4:])
    return found


def use_chat(environment: str, kind: str, folder: Path) -> Told:
    """What `gradio_chats` tells: which event each like is about, and what the chats showed."""
    script = ("-m", "tests.services.gradio_chats", str(folder), kind)
    return read_told(run_there(*script, environment=environment))


def make_png(pixels: NDArray[np.uint8]) -> bytes:
    """The pixels (height, width, 3) as a PNG file."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def event_of(cases: Told, name: str) -> Told:
    """The one span of an event of the case."""
    (event,) = events_of(cases, name)
    return event


def events_of(cases: Told, name: str) -> list[Told]:
    return [span for span in cases[name][1]["spans"] if span["name"].startswith("gradio ")]


def work_of(cases: Told, name: str) -> list[Told]:
    return [span for span in cases[name][1]["spans"] if not span["name"].startswith("gradio ")]


def test_an_event_is_a_request_with_what_went_in_and_what_came_out(cases: Told) -> None:
    assert cases["greet"][0] == "hello annhello ann"
    event = event_of(cases, "greet")
    session = event["attributes"].pop("session.id")
    assert len(session) > 10
    assert event["attributes"].pop("gradio.queue.duration_s") >= 0
    assert event["attributes"] == {
        "rpc.system.name": "gradio",
        "rpc.method": "greet",
        "gradio.api_name": "greet",
        "gradio.queued": True,
        "gradio.trigger": "button.click Greet",
        "code.function.name": "__main__.make_app.<locals>.greet",
        "input.value": '{"name": "ann", "times": 2}',
        "output.value": "hello annhello ann",
    }
    assert (event["name"], event["kind"], event["parent"]) == ("gradio greet", "SERVER", None)
    assert (event["status"], event["events"], len(event["links"])) == ("UNSET", [], 1)
    assert event_of(cases, "greet_async")["attributes"]["session.id"] == session


@pytest.mark.parametrize("name", ["greet", "greet_async", "count", "direct"])
def test_the_function_works_in_the_span_of_its_event(cases: Told, name: str) -> None:
    event, work = event_of(cases, name), work_of(cases, name)
    assert work
    assert {(span["parent"], span["trace"]) for span in work} == {(event["id"], event["trace"])}


def test_a_generator_is_one_span_to_its_last_output(cases: Told) -> None:
    assert cases["count"][0] == ["x", "xx", "xxx"]
    told = event_of(cases, "count")["attributes"]
    assert (told["output.value"], told["gradio.steps"]) == ("xxx", 3)
    assert 0 <= told["gradio.time_to_first_output_s"] <= event_of(cases, "count")["seconds"]
    assert [span["name"] for span in work_of(cases, "count")] == ["piece 0", "piece 1", "piece 2"]
    told = event_of(cases, "count_async")["attributes"]
    assert (told["output.value"], told["gradio.steps"]) == ("1", 2)


@pytest.mark.parametrize(
    ("name", "kind", "output"),
    [("fail", "ValueError", None), ("fail_late", "gradio.exceptions.Error", "begun")],
)
def test_an_error_is_told_and_reaches_the_client(cases: Told, name: str, kind: str, output: str) -> None:
    assert cases[name][0] == "AppError"
    event = event_of(cases, name)
    assert (event["status"], event["events"]) == ("ERROR", ["exception"])
    assert (event["attributes"]["error.type"], event["attributes"].get("output.value")) == (kind, output)


def test_each_event_of_a_batch_has_its_own_in_and_out(cases: Told) -> None:
    assert cases["batched"][0] == ["a1", "b1", "c1"]
    events, work = events_of(cases, "batched"), work_of(cases, "batched")
    told = {(e["attributes"]["input.value"], e["attributes"]["output.value"]) for e in events}
    assert told == {(f'{{"name": "{word}", "times": 1}}', f"{word}1") for word in "abc"}
    ids = {event["id"] for event in events}
    first = {span["parent"] for span in work}
    assert first <= ids
    others = [event for event in events if event["id"] not in first]
    assert all(event["links"][-1] in first for event in others)
    assert len(work) + len(others) == 3


def test_pictures_are_content(cases: Told) -> None:
    told = event_of(cases, "turn")["attributes"]
    assert told["input.value"] == RED_URI
    assert told["output.value"].startswith("data:image/webp;base64,")


def test_a_path_of_the_browser_s_own_is_not_read(cases: Told) -> None:
    event = event_of(cases, "forged")
    assert event["attributes"]["input.value"] == '{"file": "x.png", "mime_type": "image/png"}'
    assert event["attributes"]["error.type"] == "gradio.exceptions.InvalidPathError"


def test_passwords_and_states_are_not_told(cases: Told) -> None:
    told = event_of(cases, "secret")["attributes"]
    assert told["input.value"] == '{"name": "n", "secret": "[withheld: a password]"}'


def test_the_caller_s_trace_goes_on(cases: Told) -> None:
    for event in events_of(cases, "respond"):
        assert (event["parent"], event["remote"], event["kind"]) == (CALLER, True, "SERVER")


def test_a_like_is_feedback_on_the_event_that_made_the_message(cases: Told) -> None:
    first, second = events_of(cases, "respond")
    assert second["attributes"]["session.id"] == "session-1"
    prefix = "gen_ai.evaluation"
    labels = ["like", "dislike", "Harassment"]
    told = {log["attributes"][f"{prefix}.score.label"]: log for log in cases["liked"][1]["logs"]}
    likes = [told[label] for label in labels]  # who likes does not wait until the like before has ended
    assert [event["attributes"]["input.value"][:16] for event in (first, second)] == [
        '{"message": "hi"',
        '{"message": "you',
    ]
    assert [(log["event"], log["span"]) for log in likes] == [
        ("gen_ai.evaluation.result", span["id"]) for span in (first, second, second)
    ]
    assert [log["attributes"].get(f"{prefix}.score.value") for log in likes] == [1.0, 0.0, None]
    assert len(cases["liked"][1]["logs"]) == len(labels)
    assert {log["attributes"][f"{prefix}.evaluator.type"] for log in likes} == {"human"}


@pytest.mark.parametrize("environment", VERSIONS)
def test_a_like_finds_its_answer_whatever_was_done_to_the_chat(environment: str, tmp_path: Path) -> None:
    told = use_chat(environment, "interface", tmp_path)
    assert told["shows"] == {
        "undo": ["again", "again 1"],
        "retry": ["again", "again 1", "again", "again 4"],
        "edit": ["even", "even?"],
        "clear": ["even", "even?"],
    }
    assert told["likes"] == {
        "the first": "answer 1",
        "the second": "answer 2",
        "after undo": "answer 3",
        "after retry": "answer 4",
        "what was there before the retry": "answer 3",
        "before the next retry": "answer 4",  # told when that had put answer 5 in its place
        "after edit": "answer 6",
        "after clear": "answer 7",  # which says the same as answer 6
    }
    events = ("clear", "edit", "like", "retry", "undo")
    assert told["triggers"] == [f"chatbot.{event} chat" for event in events]


@pytest.mark.parametrize("environment", VERSIONS)
def test_a_like_finds_its_chat_and_nobody_where_nobody_made_it(environment: str, tmp_path: Path) -> None:
    told = use_chat(environment, "messages", tmp_path)
    assert told["shows"] == {"chat": ["a", "a!", "c", "c!"], "other": ["welcome", "b", "b!"]}
    assert told["likes"] == {
        "the greeting": "rate 1",  # itself: no event has made the greeting
        "the greeting, later": "rate 2",
        "a": "reply 1",
        "b": "reply_1 1",
        "c, moved up": "reply 2",
        "what was said": "ask 1",
    }


def test_the_pairs_of_gradio_5_are_two_messages(tmp_path: Path) -> None:
    told = use_chat("apps-gradio5", "pairs", tmp_path)
    assert told["shows"] == {"chat": [["b", "b!"]]}
    assert told["likes"] == {"a": "reply 1", "b": "reply 2", "b, moved up": "reply 2"}


def test_a_flag_is_feedback_on_the_event_whose_output_it_shows(cases: Told) -> None:
    (judged,) = events_of(cases, "upper")
    assert [
        (log["span"], log["attributes"]["gen_ai.evaluation.score.label"]) for log in cases["flag"][1]["logs"]
    ] == [(judged["id"], "wrong"), (judged["id"], "Rude")]
    judged, _ = events_of(cases, "own_flag")
    (flag,) = cases["own_flag"][1]["logs"]
    assert (flag["span"], flag["attributes"]["gen_ai.evaluation.score.label"]) == (judged["id"], "mine")


def test_what_goes_past_the_queue_belongs_to_its_request(cases: Told) -> None:
    for event in events_of(cases, "flag"):
        assert (event["kind"], event["attributes"]["gradio.queued"]) == ("INTERNAL", False)
        assert event["parent"] is not None


def test_who_is_cancelled_has_not_failed(cases: Told) -> None:
    event = event_of(cases, "cancel")
    assert (event["status"], event["attributes"]["gradio.cancelled"]) == ("UNSET", True)


def test_twice_is_once_and_off_is_off(cases: Told) -> None:
    assert event_of(cases, "again")["attributes"]["output.value"] == "hello ann"
    assert cases["off"][0] == "hello annhello ann"
    assert events_of(cases, "off") == []


def test_without_content_all_the_rest_is_told(cases: Told) -> None:
    told = event_of(cases, "quiet")["attributes"]
    assert not {"input.value", "output.value"} & told.keys()
    assert told["gradio.trigger"] == "button.click Greet"


def test_durations_are_those_of_requests(cases: Told) -> None:
    points = cases["quiet"][1]["points"]
    calls = {
        (point["attributes"]["rpc.method"], point["attributes"].get("error.type")): point["count"]
        for point in points
        if point["name"] == "rpc.server.call.duration"
    }
    assert calls["greet", None] == 4
    assert calls["fail", "ValueError"] == 1
    assert calls["batched", None] == 3
    waits = {
        p["attributes"]["gradio.api_name"]: p["count"] for p in points if p["name"] == "gradio.queue.duration"
    }
    assert waits["greet"] == 4


@pytest.fixture
def no_bridge_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_bridge(DataDir(tmp_path / "data"))


@pytest.mark.usefixtures("no_bridge_is_left")
def test_the_example_in_weave(online: WeavePeer, tmp_path: Path) -> None:
    port, picture_file = free_port(), tmp_path / "noise.png"
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    picture_file.write_bytes(make_png(pixels))
    url = f"http://127.0.0.1:{port}"
    with serving_app(
        "examples/gradio_app.py",
        url=f"{url}/config",
        log=tmp_path / "log",
        GRADIO_SERVER_PORT=str(port),
        OTEL_PYTHON_FASTAPI_EXCLUDED_URLS="gradio_api,/config",
    ):
        seen = json.loads(run_there("tests/services/gradio_visit.py", url, str(picture_file)))
        shares = (pixels.reshape(-1, 3).mean(axis=0) / 255).round(3).tolist()
        assert list(seen["shares"].values()) == shares
    with online.client("team/rag") as client:

        def look() -> dict[str, list[Any]] | None:
            found: dict[str, list[Any]] = {}
            for call in client.get_calls(include_feedback=True):
                found.setdefault(str(call._op_name), []).append(call)
            enough = {"gradio chat", "gradio weigh_colours", "gradio Flag", "gradio rate"} <= found.keys()
            return found if enough and len(found["gradio chat"]) == 2 else None

        calls = wait_for(look, 60)
        assert not [name for name in calls if "gradio_api" in name or "/config" in name]
        said, refused = sorted(calls["gradio chat"], key=lambda call: call.started_at)
        assert said.inputs["input"] == "What is a span?"
        assert said.output["output"] == seen["said"]
        assert said.thread_id == refused.thread_id == seen["session"]
        assert json.loads(refused.exception)["type"] == "gradio.exceptions.Error"
        assert json.loads(refused.exception)["message"].strip("'\"") == seen["refused"].strip("'\"")
        (picture,) = calls["gradio weigh_colours"]
        assert picture.inputs["input"]["darker"] == 0.5
        encoded = base64.b64encode(picture_file.read_bytes()).decode()
        assert picture.inputs["input"]["picture"] == f"data:image/png;base64,{encoded}"
        assert picture.output["output"]["shade"].startswith("data:image/webp;base64,")
        assert picture.output["output"]["shares"] == seen["shares"]

        def judged() -> list[Any] | None:
            told = list(client.get_feedback())
            return told if len(told) >= 2 else None

        told = {feedback.feedback_type: feedback for feedback in wait_for(judged, 60)}
        (answered,) = calls["gradio answer"]
        assert (answered.inputs["input"]["message"], answered.thread_id) == (
            "Tell me of a trace",
            seen["session"],
        )
        about = {name: feedback.weave_ref.rpartition("/")[2] for name, feedback in told.items()}
        assert about == {"wandb.runnable.like": answered.id, "wandb.runnable.flag": picture.id}
        assert told["wandb.runnable.like"].payload["output"] == {"score": 1.0, "label": "like"}
        assert told["wandb.runnable.flag"].payload["output"] == {"label": "wrong"}
    assert read_status(DataDir(tmp_path / "data")).ledger.imbalance() == {}
