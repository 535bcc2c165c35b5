"""`otel-wandb run` before the servers that people use: every request becomes a trace in a real Weave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.errors import ConfigError
from otel_wandb.launch import find_program, make_environment, run_instrumented
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer
from tests.services.launched import LAUNCH, PYTHON, calls_of, end_bridge, free_port, run, run_code, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # real servers with real workers

PROJECT = "team/rag"
NOT_OURS = {"GET /openapi.json"}


@pytest.fixture(autouse=True)
def no_bridge_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_bridge(DataDir(tmp_path / "data"))


def ask(client: httpx.Client, number: int) -> dict[str, object]:
    answer = client.get(f"/ask/{number}")
    assert answer.status_code == 200
    found: dict[str, object] = answer.json()
    assert found["ours"] == []
    return found


def arrived(online: WeavePeer, traces: set[str]) -> dict[str, set[str]]:
    """The calls of all traces of requests, once there are as many as were made."""

    def look() -> dict[str, set[str]] | None:
        calls = {key: names for key, names in calls_of(online, PROJECT).items() if not names <= NOT_OURS}
        return calls if set(calls) >= traces else None

    return wait_for(look, 60)


# uvicorn kills workers that need more than 5 seconds to start, as they may on a busy machine.
QUIET = ("--log-level", "warning", "--timeout-worker-healthcheck", "60", "--port")
UVICORN = (PYTHON, "-m", "uvicorn", "tests.services.web:app", *QUIET)


@pytest.mark.parametrize("workers", [1, 2])
def test_uvicorn(online: WeavePeer, tmp_path: Path, workers: int) -> None:
    port = free_port()
    with serving(*UVICORN, str(port), "--workers", str(workers), port=port, log=tmp_path / "log") as client:
        traces = {str(ask(client, number)["trace_id"]) for number in range(20)}
    calls = arrived(online, traces)
    assert set(calls) == traces
    assert all(names == {"GET /ask/{number}", "think"} for names in calls.values()), calls
    status = read_status(DataDir(tmp_path / "data"))
    assert status.ledger.imbalance() == {}


def test_uvicorn_reload(online: WeavePeer, tmp_path: Path) -> None:
    port = free_port()
    app = tmp_path / "app" / "reloaded.py"
    app.parent.mkdir()
    app.write_text("from tests.services.web import app\n")
    command = (PYTHON, "-m", "uvicorn", "reloaded:app", "--reload", *QUIET)
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    log = tmp_path / "log"
    with serving(*command, str(port), port=port, log=log, cwd=app.parent, environ=environ) as client:
        first = ask(client, 1)
        app.write_text("from tests.services.web import app\n\nanother = 1\n")

        def reloaded() -> dict[str, object] | None:
            try:
                answer = ask(client, 2)
            except httpx.TransportError:
                return None
            traces.add(str(answer["trace_id"]))
            return answer if answer["pid"] != first["pid"] else None

        traces = {str(first["trace_id"])}
        wait_for(reloaded, 60)
    assert arrived(online, traces).keys() >= traces


@pytest.mark.parametrize("worker_class", ["asgi", "uvicorn.workers.UvicornWorker"])
def test_gunicorn_forks_its_workers(online: WeavePeer, tmp_path: Path, worker_class: str) -> None:
    port = free_port()
    command = (PYTHON, "-m", "gunicorn", "tests.services.web:app", "--workers", "2", "--preload")
    worker = ("--worker-class", worker_class, "--bind", f"127.0.0.1:{port}", "--no-control-socket")
    with serving(*command, *worker, port=port, log=tmp_path / "log") as client:
        traces = {str(ask(client, number)["trace_id"]) for number in range(20)}
        if (
            worker_class != "asgi"
        ):  # uvicorn's takes all handlers of SIGTERM away: a fifth of a second is lost
            arrived(online, traces)
    calls = arrived(online, traces)
    assert set(calls) == traces
    assert all(names == {"GET /ask/{number}", "think"} for names in calls.values()), calls


@pytest.mark.timeout(240)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(online: WeavePeer, tmp_path: Path, method: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing, sys\n"
        "from opentelemetry import trace\n"
        "def work(number):\n"
        "    with trace.get_tracer('t').start_as_current_span(f'work {number}'):\n"
        "        pass\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context(sys.argv[1])\n"
        "    with trace.get_tracer('t').start_as_current_span('parent'):\n"
        "        pass\n"
        "    children = [context.Process(target=work, args=(n,)) for n in range(3)]\n"
        "    [child.start() for child in children]\n"
        "    [child.join() for child in children]\n"
        "    assert [child.exitcode for child in children] == [0, 0, 0]\n"
    )
    done = run(PYTHON, str(program), method)
    assert done.returncode == 0, done.stderr
    # Acknowledged in the journal by the end of each process, however late the bridge comes to deliver it.
    assert read_status(DataDir(tmp_path / "data")).ledger.lines["spans"].received == 4, done.stderr
    wanted = {"parent", "work 0", "work 1", "work 2"}
    assert wait_for(lambda: {n for s in calls_of(online, PROJECT).values() for n in s} == wanted, 90)


def test_what_sigterm_interrupts_is_exported_and_it_still_kills(online: WeavePeer, tmp_path: Path) -> None:
    code = (
        "import os, signal, time\n"
        "from opentelemetry import trace\n"
        "trace.get_tracer('t').start_span('last words').end()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(60)\n"
    )
    done = run(PYTHON, "-c", code, OTEL_BSP_SCHEDULE_DELAY="100000")
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert read_status(DataDir(tmp_path / "data")).ledger.lines["spans"].received == 1, done.stderr
    assert wait_for(lambda: calls_of(online, PROJECT), 90)


def test_a_handler_of_the_service_stays_the_only_one(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert run(PYTHON, "-c", code).returncode == 7


def test_the_command_takes_the_place_of_the_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [PYTHON, "-c", LAUNCH, PYTHON, "-c", "import os; print(os.getpid()); raise SystemExit(3)"],
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert (int(output), process.returncode) == (process.pid, 3)


def test_the_data_directory_goes_to_the_command(tmp_path: Path) -> None:
    environment = make_environment({"PYTHONPATH": "/a"}, Path("here"))
    assert environment["OTEL_WANDB_DIR"] == str(Path.cwd() / "here")
    hook, *rest = environment["PYTHONPATH"].split(os.pathsep)
    assert hook.endswith("opentelemetry/instrumentation/auto_instrumentation")
    assert rest == [str(Path.cwd()), "/a"]
    assert make_environment(environment, None) == environment


def test_a_program_beside_our_python_is_found_where_the_environment_is_not_active(tmp_path: Path) -> None:
    beside = str(Path(sys.executable).with_name("uvicorn"))
    code = "import sys; from otel_wandb.launch import run_instrumented as run; run(['uvicorn', '--version'])"
    done = subprocess.run(
        [PYTHON, "-c", code],
        env={**os.environ, "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("Running uvicorn ")
    assert find_program("uvicorn", str(tmp_path)) == beside
    ours = tmp_path / "uvicorn"
    ours.write_text("#!/bin/sh\n")
    ours.chmod(0o700)
    assert find_program("uvicorn", str(tmp_path)) == str(ours)  # PATH goes first


def test_what_cannot_be_run_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="there is nothing to run"):
        run_instrumented([])
    with pytest.raises(ConfigError, match="there is no program 'no-such-program'"):
        run_instrumented(["no-such-program"])
    monkeypatch.setenv("OTEL_WANDB_PROJET", "team/rag")
    with pytest.raises(ConfigError, match="OTEL_WANDB_PROJECT"):
        run_instrumented([sys.executable])


@pytest.mark.parametrize("trouble", ["is down", "never answers"])
def test_a_server_in_trouble_holds_the_end_once_for_all_signals(
    online: WeavePeer, tmp_path: Path, trouble: str
) -> None:
    if trouble == "is down":
        online.stop()
    else:
        online.faults("hang:delay=100", "hang:delay=100,path=graphql")
    code = (
        "from opentelemetry import _logs, metrics, trace\n"
        "metrics.get_meter('t').create_counter('hits').add(1)\n"
        "with trace.get_tracer('t').start_as_current_span('hello'):\n"
        "    _logs.get_logger('t').emit(body='a record')\n"
    )
    done = run(PYTHON, "-c", code, OTEL_WANDB_DRAIN_TIMEOUT_S="1")
    assert done.returncode == 0
    assert done.stderr.count("Not everything was delivered within 1 s") == 1
    lines = read_status(DataDir(tmp_path / "data")).ledger.lines
    # All of it is in the journal, whatever the bridge has done of it by now.
    assert [lines[s].received for s in ("spans", "log_records", "metric_points")] == [1, 1, 1]


def test_a_dead_server_does_not_hold_the_end(online: WeavePeer, tmp_path: Path) -> None:
    online.stop()
    code = "from opentelemetry import trace\ntrace.get_tracer('t').start_span('hello').end()\nprint('ran')\n"
    done = run(PYTHON, "-c", code, OTEL_WANDB_DRAIN_TIMEOUT_S="1")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "Not everything was delivered within 1 s" in done.stderr
    status = read_status(DataDir(tmp_path / "data"))
    assert status.ledger.imbalance() == {}
    assert run_code("print('again')", OTEL_WANDB_DRAIN_TIMEOUT_S="1") == "again\n"
    wait_for(DataDir(tmp_path / "data").locked)  # the bridge may still be on its way
