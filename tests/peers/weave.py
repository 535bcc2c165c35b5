"""A real Weave trace server as a child process, with faults on demand and a record of what it accepted."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Literal, NamedTuple, Self

import httpx

from tests.peers.environments import CHECKOUT, python_of

if TYPE_CHECKING:
    from weave.trace.weave_client import WeaveClient

Backend = Literal["memory", "chdb", "sqlite"]

_ENVIRONMENTS: dict[Backend, str] = {"memory": "weave", "chdb": "weave-clickhouse", "sqlite": "weave-sqlite"}
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 15.0


class AcceptedCall(NamedTuple):
    """One call of one accepted `calls/complete`; the digest is of the bytes that were sent for it."""

    project: str
    id: str
    digest: str


class WeavePeer:
    """A trace server on a loopback port that outlives its own restarts: same port, data and record."""

    api_key = "local-dummy-key"
    default_entity = "peer-entity"

    def __init__(self, *, backend: Backend = "memory", directory: Path | None = None) -> None:
        self._own_directory = tempfile.TemporaryDirectory(prefix="weave-peer-") if directory is None else None
        self._directory = directory or Path(self._own_directory.name if self._own_directory else "")
        self._backend: Backend = backend
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
        return self._directory

    @property
    def url(self) -> str:
        """Where both the trace server and the GraphQL stand-in listen."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point wandb, weave and otel-wandb at this peer."""
        return {
            "WANDB_BASE_URL": self.url,
            "WF_TRACE_SERVER_URL": self.url,
            "WANDB_API_KEY": self.api_key,
            "WANDB_ERROR_REPORTING": "false",
            "WEAVE_USE_SERVER_CACHE": "false",
        }

    def start(self) -> None:
        """Start the server, on the port that it had before if it had one, and wait until it is ready."""
        python = python_of(_ENVIRONMENTS[self._backend])
        command = [str(python), "-m", "tests.peers.weave_server", "--port", str(self.port)]
        command += ["--backend", self._backend, "--db", str(self._directory / "data")]
        command += ["--api-key", self.api_key, "--entity", self.default_entity]
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("OTEL_", "WANDB_"))}
        log = self._directory / "stderr.txt"
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
        ready = _first_line(self._process.stdout, _START_TIMEOUT_S)
        if not ready.startswith("READY "):
            self.kill()
            raise RuntimeError(f"the Weave peer did not start: {ready!r}\n{log.read_text()}")
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

    def restart(self) -> None:
        """Stop the server and start it again on the same port, with the data that it had."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the server, whatever it does, and forget its data."""
        self._end(signal.SIGKILL)
        self._control.close()
        if self._own_directory is not None:
            self._own_directory.cleanup()

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

    def reset(self) -> None:
        """Forget all data, faults, requests and projects."""
        self._ask("POST", "reset")

    def faults(self, *rules: str) -> None:
        """Replace the fault rules, e.g. `503:count=2,path=calls/complete` (README of `weave_server`)."""
        self._ask("POST", "faults", list(rules))

    def fired(self) -> list[int]:
        """How often each fault rule has fired."""
        return [int(str(rule["fired"])) for rule in _objects(self._ask("GET", "faults")["faults"])]

    def configure_projects(
        self, *, strict: bool = True, denied: Iterable[str] = (), viewer_entity: str | None = default_entity
    ) -> None:
        """Let projects exist only once they are created, and deny the named entities."""
        wanted = {"strict": strict, "denied": list(denied), "viewer_entity": viewer_entity}
        self._ask("POST", "projects", wanted)

    def made_projects(self) -> list[str]:
        """The projects that were created over GraphQL."""
        return [str(name) for name in self._ask("GET", "projects")["made"]]

    def accepted(self) -> list[AcceptedCall]:
        """Every call of every accepted `calls/complete` in order, also of those whose answer was lost."""
        rows = self._ask("GET", "accepted")["accepted"]
        return [AcceptedCall(*map(str, row)) for row in rows if isinstance(row, list)]

    def requests(self, path: str = "") -> list[dict[str, object]]:
        """The latest requests with `path` in their path: method, path, headers, status, fault, no keys."""
        return [r for r in _objects(self._ask("GET", "requests")["requests"]) if path in str(r["path"])]

    def _ask(self, method: str, name: str, body: object = None) -> dict[str, list[object]]:
        answer = self._control.request(method, f"{self.url}/__peer__/{name}", json=body)
        answer.raise_for_status()
        found: dict[str, list[object]] = answer.json()
        return found

    @contextlib.contextmanager
    def client(self, project: str) -> Iterator[WeaveClient]:
        """Weave's own client, reading `entity/project` back from this server."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WEAVE_USE_SERVER_CACHE", "false")
        from weave.trace.context import weave_client_context
        from weave.trace.weave_client import WeaveClient
        from weave.trace_server_bindings.remote_http_trace_server import RemoteHTTPTraceServer

        entity, _, name = project.partition("/")
        server = RemoteHTTPTraceServer(self.url, should_batch=False, password=self.api_key)
        client = WeaveClient(entity, name, server, ensure_project_exists=False)
        weave_client_context.set_weave_client_global(client)
        try:
            yield client
        finally:
            client.finish()
            server._stainless_client.close()  # weave leaves its connections to the collector
            weave_client_context.set_weave_client_global(None)


def _objects(rows: list[object]) -> list[dict[str, object]]:
    return [row for row in rows if isinstance(row, dict)]


def _first_line(stream: IO[bytes], timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(stream.fileno(), 4096) if readable else b""
        if not piece:
            break
        line += piece
    return line.decode().partition("\n")[0]
