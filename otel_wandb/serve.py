"""`otel-wandb serve`: the parent of the processes that take OTLP, and of the bridge behind them.

The parent opens the ports, starts the workers and starts anew one that dies, looks after the bridge, and at
the end stops them in the order of the data: workers first, then the bridge, which drains. The socket for HTTP
is one that all workers accept from; that for gRPC each opens itself (SO_REUSEPORT), and the parent keeps the
port by one that does not listen.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.errors import ConfigError, JournalUnusable
from otel_wandb.fronts import FrontCounters
from otel_wandb.ingest.tallies import make_tally_file
from otel_wandb.ingest.tokens import Tokens
from otel_wandb.keeper import ProcessKeeper
from otel_wandb.serve_plan import Address, RequestRoom, check_exposure, read_tls
from otel_wandb.status import read_status

_log = logging.getLogger("otel_wandb.serve")

_START_TIMEOUT_S = 60.0
_TEND_S = 1.0
_POLL_S = 0.1
_QUICK_S = 5.0
_BACKOFF_MAX_S = 30.0
_END_GRACE_S = 5.0
_BACKLOG = 512


@dataclass(slots=True)
class _Worker:
    """A place for a process that takes requests, and the one that has it."""

    part: int
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    failures: int = 0
    next_start_s: float = 0.0


@dataclass(slots=True)
class _Ports:
    """The sockets that the parent keeps."""

    http: socket.socket
    grpc: socket.socket
    http_address: Address
    grpc_address: Address


@dataclass(slots=True)
class _Signals:
    """How often somebody asked us to end."""

    asked: int = 0
    before: dict[int, object] = field(default_factory=dict)


def serve(
    settings: Settings,
    data_dir: DataDir,
    *,
    deliver: bool = True,
    insecure: bool = False,
    announce: Callable[[str], None] = print,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. `announce` is told when requests are accepted.

    Raises `ConfigError` for what the settings have wrong, an address that cannot be had included, and
    `JournalUnusable` where the data directory cannot be written to.
    """
    grpc_address, http_address = check_plan(settings, insecure=insecure)
    unusable = data_dir.writable()
    if unusable:
        raise JournalUnusable(f"{unusable}; name a local directory by --data-dir")
    data_dir.write_config(settings.to_json(), settings.digest, sync=settings.fsync != "never")
    with _catch_signals() as signals, _open_ports(grpc_address, http_address) as ports:
        server = _Server(settings, data_dir, ports, signals, deliver=deliver)
        try:
            server.start()
            announce(f"READY grpc={ports.grpc_address} http={ports.http_address}")
            server.run()
        finally:
            server.stop()
    return 0


def check_plan(settings: Settings, *, insecure: bool) -> tuple[Address, Address]:
    """The addresses for gRPC and HTTP, when all that is set of the server is right; raises `ConfigError`."""
    import importlib.util

    missing = [name for name in ("grpc", "httptools") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"serving needs {' and '.join(missing)}: pip install 'otel-wandb[serve]'")
    grpc_address = Address.parse(settings.serve_grpc, "serve_grpc")
    http_address = Address.parse(settings.serve_http, "serve_http")
    tokens = Tokens(os.environ, Path(settings.serve_tokens_file) if settings.serve_tokens_file else None)
    tls = read_tls(settings)
    for address in (grpc_address, http_address):
        check_exposure(address, guarded=bool(tokens), insecure=insecure)
        if not address.is_local and tokens and tls is None:
            _log.warning("Tokens come to %s unencrypted; set serve_tls_cert and serve_tls_key.", address)
    room = RequestRoom.plan(settings)
    if room.request_bytes < settings.serve_max_request_bytes:
        _log.warning(
            "A request may have at most %d bytes, not the %d of serve_max_request_bytes: journal_limit_bytes "
            "(%d) leaves no more room beside the open segments of the workers (%d).",
            room.request_bytes,
            settings.serve_max_request_bytes,
            settings.journal_limit_bytes,
            settings.serve_workers,
        )
    return grpc_address, http_address


class _Server:
    """The workers and the bridge. For one thread."""

    def __init__(
        self, settings: Settings, data_dir: DataDir, ports: _Ports, signals: _Signals, *, deliver: bool
    ) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._ports = ports
        self._signals = signals
        self._workers = [_Worker(part) for part in range(settings.serve_workers)]
        self._tally_fd = make_tally_file(len(self._workers))
        self._keeper = ProcessKeeper(data_dir, settings, deliver=deliver)
        # While this file is locked the bridge knows that more may come.
        self._counters = FrontCounters(data_dir.fronts, writer_id=f"{os.getpid():x}x{os.urandom(6).hex()}")

    def start(self) -> None:
        """Return when every worker accepts. Raises `ConfigError` where one does not."""
        for worker in self._workers:
            self._spawn(worker)
            if not self._wait_ready(worker):
                raise ConfigError(
                    f"the server does not begin on grpc {self._ports.grpc_address}, "
                    f"http {self._ports.http_address}; what it said stands above"
                )
        self._keeper.tend()

    def run(self) -> None:
        """Look after workers and bridge until somebody asks us to end."""
        tended_s = time.monotonic()
        while not self._signals.asked:
            time.sleep(_POLL_S)
            for worker in self._workers:
                self._look_after(worker)
            if time.monotonic() - tended_s >= _TEND_S:
                tended_s = time.monotonic()
                try:
                    self._keeper.tend()
                except Exception:  # noqa: BLE001  a failing look-after must not end the looking-after
                    _log.exception("Looking after the bridge failed; the next try follows.")

    def stop(self) -> None:
        """Workers first, then the bridge; says in one line what is left."""
        self._ports.http.close()
        processes = [worker.process for worker in self._workers if worker.process is not None]
        for process in processes:
            process.terminate()
        self._wait_for_end(processes, self._settings.serve_stop_timeout_s + _END_GRACE_S)
        self._counters.close()
        os.close(self._tally_fd)
        drained = self._keeper.end(self._settings.drain_timeout_s + _END_GRACE_S)
        self._keeper.close()
        self._tell_rest(drained=drained)

    def _spawn(self, worker: _Worker) -> None:
        http_fd = self._ports.http.fileno()
        command = [sys.executable, "-m", "otel_wandb.serve_worker"]
        command += ["--data-dir", str(self._data_dir.path), "--settings", self._settings.digest]
        command += ["--part", str(worker.part), "--tally-fd", str(self._tally_fd)]
        command += ["--http-fd", str(http_fd), "--grpc", str(self._ports.grpc_address)]
        worker.started_s = time.monotonic()
        worker.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # never written to: its end tells the worker that we are gone
            stdout=subprocess.PIPE,
            pass_fds=(http_fd, self._tally_fd),
        )

    def _wait_ready(self, worker: _Worker) -> bool:
        process = worker.process
        assert process is not None
        assert process.stdout is not None
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline_s and not self._signals.asked:
            readable, _, _ = select.select([process.stdout], [], [], _POLL_S)
            if readable:
                return process.stdout.readline().startswith(b"READY ")
        return bool(self._signals.asked)

    def _look_after(self, worker: _Worker) -> None:
        process, now_s = worker.process, time.monotonic()
        if process is None:
            if now_s >= worker.next_start_s:
                self._spawn(worker)
            return
        code = process.poll()
        if code is None:
            return
        _release(process)
        worker.process = None
        worker.failures = worker.failures + 1 if now_s - worker.started_s < _QUICK_S else 0
        pause_s = min(_BACKOFF_MAX_S, 2.0**worker.failures) if worker.failures > 1 else 0.0
        worker.next_start_s = now_s + pause_s
        _log.warning(
            "Worker %d (process %d) ended with %d; another one begins.", worker.part + 1, process.pid, code
        )

    def _wait_for_end(self, processes: list[subprocess.Popen[bytes]], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        asked = self._signals.asked
        while any(process.poll() is None for process in processes):
            if time.monotonic() > deadline_s or self._signals.asked > max(1, asked):
                for process in processes:
                    process.kill()
            time.sleep(_POLL_S / 10)
        for process in processes:
            _release(process)

    def _tell_rest(self, *, drained: bool) -> None:
        lines = read_status(self._data_dir).ledger.lines
        waiting = {signal: line.waiting for signal, line in lines.items() if line.waiting}
        if not waiting:
            return
        rest = ", ".join(f"{n} {signal.replace('_', ' ')}" for signal, n in sorted(waiting.items()))
        why = "" if drained else " (the bridge still works)"
        _log.warning("%s wait in %s%s; the next start goes on with them.", rest, self._data_dir.path, why)


def _release(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


@contextlib.contextmanager
def _catch_signals() -> Iterator[_Signals]:
    signals = _Signals()

    def note(_signal: int, _frame: object) -> None:
        signals.asked += 1

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _open_ports(grpc_address: Address, http_address: Address) -> Iterator[_Ports]:
    with contextlib.ExitStack() as stack:
        http = stack.enter_context(_listen(http_address))
        # Without SO_REUSEPORT first, so that nobody else's port is shared by mistake.
        with _listen(grpc_address) as probe:
            grpc_address = grpc_address.with_port(probe.getsockname()[1])
        grpc = stack.enter_context(_keep_port(grpc_address))
        yield _Ports(http, grpc, http_address.with_port(http.getsockname()[1]), grpc_address)


def _listen(address: Address) -> socket.socket:
    family = _family(address)
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(f"{address} cannot be listened on: {error.strerror or error}") from None


def _keep_port(address: Address) -> socket.socket:
    kept = socket.socket(_family(address))
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind((address.host, address.port))
    except OSError as error:
        kept.close()
        raise ConfigError(f"{address} cannot be listened on: {error.strerror or error}") from None
    return kept


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET
