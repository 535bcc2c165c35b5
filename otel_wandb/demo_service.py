"""The processes of `otel-wandb demo`: the example service, instrumented, and the stand-in for its model."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from otel_wandb.errors import ConfigError, OtelWandbError

SERVICE_NAME: Final = "rag-service"
NEEDED: Final = (
    "bm25s",
    "fastapi",
    "openai",
    "opentelemetry.instrumentation.fastapi",
    "opentelemetry.instrumentation.genai.openai",
    "opentelemetry.instrumentation.httpx",
    "uvicorn",
)
BRISK: Final = {
    "OTEL_BSP_SCHEDULE_DELAY": "500",
    "OTEL_METRIC_EXPORT_INTERVAL": "2000",
    "OTEL_WANDB_INTERVAL_S": "10",
    "OTEL_WANDB_LATENESS_S": "3",
    "OTEL_WANDB_LINGER_S": "2",
}
"""What makes a demonstration short; a service that runs for days has no need of it."""

_READY: Final = re.compile(r"(?:READY|Uvicorn running on) (http://\S+)")
_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 20.0
_LOG_LINES: Final = 12


class DemoError(OtelWandbError):
    """The demo cannot go on; says why."""


def find_example() -> Path:
    """The directory of the example: in a checkout as it lies there, else what the wheel carries of it.

    Raises ConfigError where an installation has left it out.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "shipped", package.parent):
        example = root / "examples" / "rag_service"
        if (example / "app.py").exists():
            return example
    raise ConfigError(f"the example service is not there: {package} was installed without it")


def check_packages() -> None:
    """Raise ConfigError if the example cannot run here, with the command that changes it."""
    missing = [name for name in NEEDED if not _is_installed(name)]
    if missing:
        raise ConfigError(
            f"the demo's service needs {', '.join(missing)}; install them by `pip install 'otel-wandb[demo]'`"
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of a parent
        return False


@contextmanager
def running_standin(example: Path, log: Path) -> Iterator[str]:
    """The address of a stand-in for the model, which lives as long as the context."""
    command = [sys.executable, str(example / "standin.py")]
    with _running(command, example, os.environ, log) as process:
        yield _await_address(process, log, "the stand-in for the model")


@contextmanager
def running_service(example: Path, environ: Mapping[str, str], log: Path) -> Iterator[str]:
    """The address of the example service, started as `otel-wandb run -- uvicorn app:app` starts it.

    It lives as long as the context. All of its telemetry is in the journal when the context has ended.
    """
    from otel_wandb.launch import make_environment  # needs what `check_packages` has checked

    command = [sys.executable, "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", "0"]
    with _running(command, example, make_environment(environ), log) as process:
        yield _await_address(process, log, "the service")


@contextmanager
def _running(
    command: Sequence[str], directory: Path, environ: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    log.touch(mode=0o600)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends them in order
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_address(process: subprocess.Popen[bytes], log: Path, who: str) -> str:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        text = log.read_text("utf-8", "replace")
        if found := _READY.search(text):
            return found[1]
        if process.poll() is not None:
            tail = "\n".join(text.splitlines()[-_LOG_LINES:])
            raise DemoError(f"{who} ended with exit code {process.returncode}:\n{tail}")
        time.sleep(0.05)
    raise DemoError(f"{who} did not start within {_START_TIMEOUT_S:g} s; its log is {log}")
