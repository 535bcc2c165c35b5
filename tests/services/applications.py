"""Applications of other frameworks, run instrumented in the environment of the peer `apps`, or another."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.deadlines import wait_for
from tests.peers.environments import CHECKOUT, python_of
from tests.services.launched import LAUNCH, PATIENT


def run_there(*arguments: str, environment: str = "apps", timeout_s: float = 110, **environ: str) -> str:
    """What a script prints there that ends well by itself; it is not instrumented."""
    done = subprocess.run(
        [str(python_of(environment)), *arguments],
        env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "0", **environ},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def serving_app(*arguments: str, url: str, log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """An application as `otel-wandb run -- python ARGUMENTS` starts it, once the address answers."""
    python = str(python_of("apps"))
    quiet = {"GRADIO_ANALYTICS_ENABLED": "0", "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-c", LAUNCH, python, *arguments],
            env={**PATIENT, **os.environ, **quiet, **environ},
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url, trust_env=False, timeout=10).status_code == 200
        return False

    try:
        wait_for(answers, timeout_s=90)
        yield process
        process.terminate()
        process.wait(90)
    finally:
        process.kill()
        process.wait()
