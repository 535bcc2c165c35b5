"""`otel-wandb serve` as a process, and clients that say every byte themselves."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import grpc
import httpx
import psutil
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_wandb.datadir import DataDir
from otel_wandb.ledger import Line
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.otlp_samples import span, traces
from tests.peers.environments import CHECKOUT

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
METHODS: Mapping[type, str] = {
    ExportTraceServiceRequest: TRACES,
    ExportLogsServiceRequest: LOGS,
    ExportMetricsServiceRequest: METRICS,
}
PATHS: Mapping[type, str] = {
    ExportTraceServiceRequest: "/v1/traces",
    ExportLogsServiceRequest: "/v1/logs",
    ExportMetricsServiceRequest: "/v1/metrics",
}

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0


class Server:
    """A server on loopback ports of its own."""

    def __init__(
        self, directory: Path, *options: str, environ: Mapping[str, str] | None = None, deliver: bool = False
    ) -> None:
        self.data_dir = DataDir(directory)
        self._options = options if deliver else (*options, "--no-deliver")
        ours = ("OTEL_", "WANDB_", "WEAVE_", "WF_")
        inherited = {name: text for name, text in os.environ.items() if deliver or not name.startswith(ours)}
        self._environ = {**inherited, **(environ or {})}
        self._log = directory.with_name(f"{directory.name}-serve.log")
        self._process: subprocess.Popen[bytes] | None = None
        self.ready = ""
        self.http = ""
        self.grpc = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "otel_wandb.cli", "serve", "--data-dir", str(self.data_dir.path)]
        addresses = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *addresses, *self._options],
                cwd=CHECKOUT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        self.ready = _read_line(self._process.stdout)
        if not self.ready.startswith("READY "):
            self.kill()
            raise RuntimeError(f"the server did not begin: {self.log}")
        self.grpc, self.http = (word.partition("=")[2] for word in self.ready.split()[1:])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.kill()

    @property
    def log(self) -> str:
        """What parent and workers said."""
        return self._log.read_text()

    @property
    def pid(self) -> int:
        """The parent's."""
        assert self._process is not None
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit code after SIGTERM."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(_STOP_TIMEOUT_S)

    def kill(self) -> None:
        """Take the parent away; its workers end by themselves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_TIMEOUT_S)
            if self._process.stdout is not None:
                self._process.stdout.close()

    def workers(self) -> list[psutil.Process]:
        """The processes that take requests."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children()
            return [child for child in children if _is_worker(child)]
        return []

    def line(self, signal_: str = "spans") -> Line:
        """A line of the ledger, now."""
        return read_status(self.data_dir).ledger.lines[signal_]

    def imbalance(self) -> object:
        """What of the ledger does not balance."""
        return read_status(self.data_dir).ledger.imbalance()

    @contextlib.contextmanager
    def client(self, **more: object) -> Iterator[httpx.Client]:
        """A client of the HTTP side."""
        with httpx.Client(base_url=f"http://{self.http}", trust_env=False, timeout=30, **more) as client:  # type: ignore[arg-type]
            yield client

    @contextlib.contextmanager
    def channel(self, compression: grpc.Compression | None = None) -> Iterator[grpc.Channel]:
        """A channel to the gRPC side."""
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.grpc, options, compression) as channel:
            yield channel

    @contextlib.contextmanager
    def connection(self, timeout_s: float = 20.0) -> Iterator[socket.socket]:
        """A bare connection to the HTTP side."""
        host, _, port = self.http.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
            yield connection


class Response(NamedTuple):
    """An answer of HTTP, as it stands on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


def read_response(connection: socket.socket) -> Response:
    """The next answer on a bare connection; ConnectionError where it is closed before the answer's end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _receive(connection, 1)
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body, length = b"", int(headers.get("content-length", "0"))
    while len(body) < length:
        body += _receive(connection, length - len(body))
    return Response(int(first.split()[1]), headers, body)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, without a word more."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def post(path: str, body: bytes, *headers: str, content_type: str = PROTOBUF) -> bytes:
    """The bytes of a request."""
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-type: {content_type}"]
    lines += [f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def numbered(n: int, **fields: object) -> Span:
    """A span like no other, by its number."""
    return span(**{"trace_id": n.to_bytes(16), "span_id": n.to_bytes(8), "name": f"span {n}", **fields})


def requests_of(spans: int, *, first: int = 1) -> ExportTraceServiceRequest:
    """A request with so many spans, numbered from `first` on."""
    return traces(*(numbered(n) for n in range(first, first + spans)))


class Refusal(NamedTuple):
    """An error of gRPC; `status` is the `google.rpc.Status` that stands beside it, empty where none does."""

    code: grpc.StatusCode
    message: str
    status: bytes


def call(channel: grpc.Channel, body: bytes, method: str = TRACES, **more: Any) -> bytes:
    """The answer to one message."""
    export: Any = channel.unary_unary(method)
    return bytes(export(body, **({"timeout": 60} | more)))


def refusal(channel: grpc.Channel, body: bytes, method: str = TRACES, **more: Any) -> Refusal:
    """The error that answers one message; AssertionError where it was taken."""
    try:
        answer = call(channel, body, method, **more)
    except grpc.RpcError as error:
        return read_refusal(error)
    raise AssertionError(f"it was taken: {answer!r}")


def read_refusal(error: Any) -> Refusal:
    """What an error of gRPC says."""
    details = [value for name, value in error.trailing_metadata() if name == "grpc-status-details-bin"]
    return Refusal(error.code(), error.details(), details[0] if details else b"")


def all_counted(server: Server, items: int, signal_: str = "spans") -> None:
    """Wait until the ledger has so many as received, and see that it balances."""
    wait_for(lambda: server.line(signal_).received >= items)
    assert server.line(signal_).received == items
    assert server.imbalance() == {}


def bridge_of(data_dir: DataDir) -> psutil.Process:
    """The bridge, once it is there."""

    def living() -> psutil.Process | None:
        info = data_dir.read_bridge_info()
        with contextlib.suppress(psutil.NoSuchProcess):
            if info is not None and data_dir.locked():
                return psutil.Process(info.pid)
        return None

    return wait_for(living)


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "otel_wandb.serve_worker" in process.cmdline()
    return False


def _receive(connection: socket.socket, size: int) -> bytes:
    data = connection.recv(size)
    if not data:
        raise ConnectionError("closed by the server")
    return data


def _read_line(stream: IO[bytes]) -> str:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        readable, _, _ = select.select([stream], [], [], 0.1)
        if readable:
            return stream.readline().decode().strip()
    return ""
