"""The demo, whole: a real service under load, and what arrives of it, against its own log and its model's."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import psutil
import pytest

from otel_wandb.demo import prepare_demo, run_demo
from otel_wandb.demo_load import Planned, send
from otel_wandb.demo_service import DemoError, check_packages, find_example, running_service, running_standin
from otel_wandb.demo_views import CallView, read_call
from otel_wandb.errors import ConfigError
from otel_wandb.store import Store
from tests.deadlines import wait_for
from tests.peers.wandb import WandbPeer
from tests.peers.weave import WeavePeer

pytestmark = pytest.mark.timeout(300)  # five processes on a busy machine

PROJECT = "team/rag"
REQUESTS = 60
RUN = (
    # As from a terminal: what runs in the background, as these tests may, begins with Ctrl-C ignored.
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "import sys; from otel_wandb.demo import prepare_demo, run_demo;"
    f"sys.exit(run_demo(prepare_demo(requests={REQUESTS}, once='--once' in sys.argv)))"
)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and traces that are finished sooner than a person needs them."""
    for name, value in (("INTERVAL_S", "2"), ("LATENESS_S", "1"), ("LINGER_S", "0.5")):
        monkeypatch.setenv(f"OTEL_WANDB_{name}", value)


def test_offline_everything_is_there_without_account_network_or_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(prepare_demo(once=True, requests=REQUESTS)) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "\x1b" not in shown.out
    assert f"All is there: {REQUESTS} requests became " in shown.out
    assert re.search(
        r"^POST /chat\S* .*\n├─ retrieval documentation .* documents\n"
        r"└─ chat \S+ .* [\d,]+ tokens in.*\n   └─ POST .*200$",
        shown.out,
        re.MULTILINE,
    )
    assert f"otel-wandb sync --data-dir {tmp_path / 'data'}" in shown.out
    calls = _read_store(tmp_path / "data")
    assert _count_statuses(calls) == _read_access_log(tmp_path / "data")
    assert sum(values.get("latency/count", 0) for values in _read_rows(tmp_path / "data")) == REQUESTS
    users = {call.attributes.user_id for call in calls if call.op_name == "POST /chat"}
    assert len(users - {""}) >= 3
    assert run_demo(prepare_demo(once=True, requests=8)) == 0  # it looks at its own calls and rows only
    assert "All is there: 8 requests became " in capsys.readouterr().out


@pytest.fixture
def weave(wandb_peer: WandbPeer, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeavePeer]:
    """Weave and W&B as two peers that take the same key, with an environment that leads to both."""
    peer = WeavePeer()
    peer.api_key = wandb_peer.api_key
    with peer:
        for name, value in {**peer.environment, **wandb_peer.environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_WANDB_PROJECT", PROJECT)
        yield peer


def test_online_both_sides_have_what_service_and_model_did(
    weave: WeavePeer,
    wandb_peer: WandbPeer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running_standin(find_example(), tmp_path / "model.log") as model_url:
        monkeypatch.setenv("OPENAI_BASE_URL", model_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        assert run_demo(prepare_demo(once=True, requests=REQUESTS)) == 0
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{model_url.removesuffix('/v1')}/record", timeout=10) as answer:
            answers = json.loads(answer.read())["answers"]
    assert f"{wandb_peer.url}/{PROJECT}/weave/traces" in capsys.readouterr().out
    _check_rows(wandb_peer, answers)
    _check_calls(weave, tmp_path / "data", answers)


def _check_rows(peer: WandbPeer, answers: list[dict[str, Any]]) -> None:
    rows = [row for run_id in peer.runs() for row in peer.history(run_id)]
    assert sum(row.get("latency/count", 0) for row in rows) == REQUESTS
    for key, name in (("tokens/input", "input_tokens"), ("tokens/output", "output_tokens")):
        assert sum(row.get(key, 0) for row in rows) == sum(answer[name] for answer in answers)


def _check_calls(peer: WeavePeer, data_dir: Path, answers: list[dict[str, Any]]) -> None:
    with peer.client(PROJECT) as client:
        calls = list(client.get_calls())
    assert len(calls) == len(peer.accepted()) == len(_read_store(data_dir))
    servers = [call for call in calls if call.attributes.get("span_kind") == "server"]
    assert Counter(
        (call.inputs["method"], call.inputs["path"], call.output["status_code"]) for call in servers
    ) == _read_access_log(data_dir)
    tries = Counter(call.output["status_code"] for call in calls if call._op_name == "POST")
    assert tries == Counter(answer["status"] for answer in answers)
    assert min(tries) == 200 < max(tries)  # some did fail
    spent = {
        call.attributes["response_id"]: next(iter(call.summary["usage"].values()))
        for call in calls
        if call.attributes.get("kind") == "chat" and call.summary.get("usage")
    }
    assert {name: (usage["input_tokens"], usage["output_tokens"]) for name, usage in spent.items()} == {
        answer["id"]: (answer["input_tokens"], answer["output_tokens"])
        for answer in answers
        if answer["status"] == 200
    }


@pytest.mark.slow
def test_without_once_the_service_goes_on_until_ctrl_c(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        last = "The service goes on until you press Ctrl-C. Ask it something:\n"
        told = "".join(iter(demo.stdout.readline, last))
        _, url, *_, question = shlex.split(demo.stdout.readline())
        address, _, path = url.rpartition("/")
        assert send(Planned("POST", f"/{path}", "", json.loads(question), "ada"), address).status == 200
        demo.send_signal(signal.SIGINT)
        try:
            demo.communicate(timeout=60)
        finally:
            demo.kill()
    assert f"All is there: {REQUESTS} requests became " in told
    assert demo.returncode == 0


def test_the_stand_in_settles_everything_by_the_seed_and_the_question() -> None:
    decide = runpy.run_path(str(find_example() / "standin.py"))["decide"]
    asked = [_ask(f"What is {number}?") for number in range(400)]
    answers = [decide(request, seed=7, retry=0) for request in asked]
    assert answers == [decide(request, seed=7, retry=0) for request in asked]
    assert answers != [decide(request, seed=8, retry=0) for request in asked]
    assert {answer.status for answer in answers} == {200, 429, 500}
    again = [decide(request, seed=7, retry=1) for request in asked]
    statuses = {
        (before.status == 200, after.status == 200) for before, after in zip(answers, again, strict=True)
    }
    assert statuses == {(True, True), (False, False), (False, True)}  # some recover, none falls ill
    assert min(answer.latency_s for answer in answers) < 0.1 < 1 < max(answer.latency_s for answer in answers)


def _ask(question: str) -> dict[str, object]:
    documents = "The front appends to the journal, and it does nothing else. " * 9
    messages = [{"role": "system", "content": documents}, {"role": "user", "content": question}]
    return {"model": "gpt-4o", "messages": messages, "stream": False}


@pytest.mark.slow
def test_sigterm_leaves_no_process_of_the_demo(tmp_path: Path) -> None:
    log = tmp_path / "data" / "demo" / "service.log"
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE) as demo:
        wait_for(lambda: log.exists() and "POST /chat" in log.read_text())
        children = psutil.Process(demo.pid).children()
        assert len(children) == 2
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=60)
    assert demo.returncode == 128 + signal.SIGTERM
    assert [child for child in children if child.is_running()] == []


def test_a_service_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise RuntimeError('out of luck')\n")
    with (
        pytest.raises(DemoError, match=r"(?s)the service ended with exit code 1:.*out of luck"),
        running_service(tmp_path, os.environ, tmp_path / "service.log"),
    ):
        pass


def test_missing_packages_are_named_with_the_command_that_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ConfigError, match=r"needs bm25s; install .*pip install 'otel-wandb\[demo\]'"):
        check_packages()


def test_the_settings_of_the_users_own_telemetry_are_left_out(tmp_path: Path) -> None:
    environ = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_SDK_DISABLED": "true",
        "OTEL_WANDB_INTERVAL_S": "30",
        "OPENAI_API_KEY": "a key",
    }
    demo = prepare_demo(data_dir=tmp_path / "elsewhere", environ=environ)
    assert not {"OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"} & set(demo.environ)
    assert demo.settings.interval_s == 30
    assert demo.data_dir.path == tmp_path / "elsewhere"
    assert (demo.real_model, demo.requests) == (True, 30)


def _read_store(data_dir: Path) -> list[CallView]:
    with closing(Store.open_for_reading(data_dir / "store.sqlite")) as reader:
        return [read_call(call.body) for call in reader.calls()]


def _read_rows(data_dir: Path) -> list[dict[str, float]]:
    with closing(Store.open_for_reading(data_dir / "store.sqlite")) as reader:
        bodies = [row.values for run in reader.runs() for row in reader.rows(run.id)]
    return [json.loads(body) for body in bodies]


def _count_statuses(calls: list[CallView]) -> Counter[tuple[object, ...]]:
    return Counter(
        (call.inputs["method"], call.inputs["path"], call.given("status_code"))
        for call in calls
        if call.attributes.span_kind == "server"
    )


def _read_access_log(data_dir: Path) -> Counter[tuple[object, ...]]:
    lines = re.findall(r'"(\w+) ([^ ?]+)\S* HTTP/1.1" (\d+)', (data_dir / "demo" / "service.log").read_text())
    assert lines
    return Counter((method, path, int(status)) for method, path, status in lines)
