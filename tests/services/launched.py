"""Runs commands as `otel-wandb run` does, and talks to what they start."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import httpx
import psutil

from otel_wandb.datadir import DataDir
from tests.deadlines import wait_for
from tests.peers.environments import CHECKOUT
from tests.peers.weave import WeavePeer

# Loading an instrumentation imports what it instruments, and some of that takes seconds.
QUICK = {
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(
        {entry_point.name for entry_point in entry_points(group="opentelemetry_instrumentor")} - {"fastapi"}
    )
}
# What ends by itself has been delivered then, however busy the machine is.
PATIENT = {"OTEL_WANDB_DRAIN_TIMEOUT_S": "60"}
LAUNCH = "import sys; from otel_wandb.launch import run_instrumented as run; run(sys.argv[1:])"
PYTHON = sys.executable


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The outcome of a command that ends by itself."""
    return subprocess.run(
        [PYTHON, "-c", LAUNCH, *command],
        env={**QUICK, **PATIENT, **os.environ, **environ},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def run_code(code: str, **environ: str) -> str:
    """What Python code prints that runs instrumented; it must end well."""
    done = run(PYTHON, "-c", code, **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_plain(code: str, **environ: str) -> None:
    """Run Python code that is not instrumented unless it does so itself; it must end well."""
    named = {"OTEL_PYTHON_DISTRO": "otel_wandb", **PATIENT, **environ}
    subprocess.run([PYTHON, "-c", code], env={**os.environ, **named}, check=True, timeout=110)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(
    *command: str, port: int, log: Path, cwd: Path = CHECKOUT, environ: Mapping[str, str] = os.environ
) -> Iterator[httpx.Client]:
    """A client of the service that the command starts; SIGTERM ends the service."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PYTHON, "-c", LAUNCH, *command], env={**QUICK, **environ}, cwd=cwd, stdout=output, stderr=output
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:

            def answers() -> bool:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(httpx.TransportError):
                    return client.get("/openapi.json").status_code == 200
                return False

            wait_for(answers, timeout_s=60)
            yield client
        process.terminate()
        process.wait(30)
    finally:
        process.kill()
        process.wait()


def end_bridge(data_dir: DataDir) -> None:
    """Take the bridge of a test away: it would deliver what still waits into the peer of the next tests."""

    def gone() -> bool:
        info = data_dir.read_bridge_info()
        if not data_dir.locked():
            return True
        if info is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(info.pid)
                if str(data_dir.path) in process.cmdline():  # not whoever has the number of an earlier one
                    process.kill()
        return False

    wait_for(gone)


def calls_of(peer: WeavePeer, project: str) -> dict[str, set[str]]:
    """The names of the calls in Weave by trace."""
    found: dict[str, set[str]] = {}
    with peer.client(project) as client:
        for call in client.get_calls():
            found.setdefault(str(call.trace_id), set()).add(str(call._op_name))
    return found
