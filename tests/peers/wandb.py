"""A stand-in for the W&B backend as a child process, with faults on demand and its history to read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from tests.peers.environments import CHECKOUT

_STOP_TIMEOUT_S = 15.0


class WandbPeer:
    """A W&B server on a loopback port that outlives its own restarts: same port, same data."""

    api_key = "dummykeyofthewandbpeer000000000000000000"  # the client refuses a shorter one
    default_entity = "peer-entity"

    def __init__(self, *, api_keys: tuple[str, ...] = (), otel_proxy: bool = False) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="wandb-peer-")
        self._keys = (self.api_key, *api_keys)
        self._otel_proxy = otel_proxy
        self._process: subprocess.Popen[bytes] | None = None
        self._control = httpx.Client(timeout=30.0, trust_env=False)
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def directory(self) -> Path:
        """Where its database and its log are."""
        return Path(self._directory.name)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point wandb and otel-wandb at this peer."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.api_key, "WANDB_ERROR_REPORTING": "false"}

    def start(self) -> None:
        """Start the server, on the port that it had before if it had one, and wait until it is ready."""
        directory = Path(self._directory.name)
        command = [sys.executable, "-m", "tests.peers.wandb_server", "--port", str(self.port)]
        command += ["--db", str(directory / "peer.sqlite"), "--entity", self.default_entity]
        for key in self._keys:
            command += ["--api-key", key]
        command += ["--otel-proxy"] if self._otel_proxy else []
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("OTEL_", "WANDB_"))}
        log = directory / "stderr.txt"
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env=clean,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline().decode()
        if not ready.startswith("READY "):
            self.kill()
            raise RuntimeError(f"the W&B peer did not start: {ready!r}\n{log.read_text()}")
        self.port = int(ready.split()[1].rpartition(":")[2])

    def ensure_running(self) -> None:
        """Start the server unless it runs."""
        if self._process is None or self._process.poll() is not None:
            self._end(signal.SIGKILL)
            self.start()

    def stop(self) -> None:
        """Let the server end by itself (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Take the server away in the middle of whatever it does (SIGKILL)."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server and forget its data."""
        self._end(signal.SIGTERM)
        self._control.close()
        self._directory.cleanup()

    def reset(self) -> None:
        """Forget all data, faults and requests."""
        self._ask("POST", "reset")

    def faults(self, *rules: str) -> None:
        """Replace the fault rules, e.g. `503:count=2,path=file_stream` (README of `wandb_server`)."""
        self._ask("POST", "faults", list(rules))

    def fired(self) -> list[int]:
        """How often each fault rule has fired."""
        return [int(rule["fired"]) for rule in self._ask("GET", "faults")]

    def runs(self) -> dict[str, dict[str, Any]]:
        """All runs by their id: entity, project, state, group, job_type, tags, config, ..."""
        return {run["id"]: run for run in self._ask("GET", "runs")}

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """The rows of a run in the order of its history; none if there is no such run."""
        answer = self._control.get(f"{self.url}/__peer__/runs/{quote(run_id)}/history")
        return list(answer.json()) if answer.status_code == 200 else []

    def steps(self, run_id: str) -> list[int]:
        """The steps of the history, with repeats if there are any."""
        return [int(row["_step"]) for row in self.history(run_id)]

    def summary(self, run_id: str) -> dict[str, Any]:
        """The summary of a run."""
        return dict(self._ask("GET", f"runs/{quote(run_id)}/summary"))

    def conflicts(self) -> list[dict[str, Any]]:
        """The lines of histories that were overwritten by another step; a sound client causes none."""
        return list(self._ask("GET", "conflicts"))

    def alerts(self) -> list[dict[str, Any]]:
        """All alerts; `delivered` is 0 where the title was sent less than its wait duration ago."""
        return list(self._ask("GET", "alerts"))

    def views(self) -> list[dict[str, Any]]:
        """All saved workspaces and reports; `spec` is the document of each."""
        return [view | {"spec": json.loads(view["spec"])} for view in self._ask("GET", "views")]

    def artifacts(self) -> list[dict[str, Any]]:
        """All artifacts with their files, tables of rows among them."""
        return list(self._ask("GET", "artifacts"))

    def file(self, run_id: str, name: str) -> bytes | None:
        """A file of a run that was uploaded."""
        answer = self._control.get(f"{self.url}/__peer__/runs/{quote(run_id)}/files/{quote(name)}")
        return answer.content if answer.status_code == 200 else None

    def table(self, value: dict[str, Any]) -> dict[str, Any]:
        """The table that a value of a history refers to, as its artifact has it."""
        return dict(json.loads(self.client_artifact(value["artifact_path"])))

    def client_artifact(self, address: str) -> bytes:
        """The file of a committed artifact at an address such as `wandb-client-artifact://ID/NAME`."""
        name = quote(address.removeprefix("wandb-client-artifact://"))
        answer = self._control.get(f"{self.url}/__peer__/client-artifacts/{name}")
        answer.raise_for_status()
        return answer.content

    def requests(self, path: str = "", *, op: str = "") -> list[dict[str, Any]]:
        """The requests of clients with `path` in their path, for the GraphQL operation `op`."""
        found = self._ask("GET", "requests")
        return [r for r in found if path in r["path"] and (not op or r["op"] == op)]

    def delete_run(self, run_id: str) -> None:
        """Delete a run, as a user does: its id can never be used again."""
        self._ask("POST", f"runs/{quote(run_id)}/delete")

    def press_stop(self, run_id: str) -> None:
        """Press the stop button of a run."""
        self._ask("POST", f"runs/{quote(run_id)}/stop")

    def _ask(self, method: str, name: str, body: object = None) -> Any:
        answer = self._control.request(method, f"{self.url}/__peer__/{name}", json=body)
        answer.raise_for_status()
        return answer.json()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()
