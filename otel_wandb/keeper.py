"""Who looks after the bridge from inside a service: start it, notice when it is gone or frozen, ask it.

The bridge is a process of its own (`ProcessKeeper`). Where none can be started, or where a test asks for it,
it is a thread (`ThreadKeeper`); where there is no usable directory, a thread over memory (`MemoryKeeper`).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from otel_wandb.config import HASH_KEY_VARIABLE, Settings
from otel_wandb.datadir import DataDir
from otel_wandb.errors import BridgeRunning, OtelWandbError
from otel_wandb.memory import MemoryJournal

if TYPE_CHECKING:
    from otel_wandb.bridge import Bridge

_log = logging.getLogger("otel_wandb.front")

_FROZEN_AFTER_S = 60.0
_BACKOFF_MAX_S = 60.0
_QUICK_S = 5.0
_TRIES = 3
_END_POLL_S = 0.02


class Keeper(Protocol):
    """Looks after the one bridge that finishes what this process appends."""

    def tend(self) -> None:
        """See to it that a bridge runs. Called once a second, and while a flush waits."""

    def flush_settled(self, token: bytes) -> bool:
        """Whether all that was appended before the flush frame was delivered or, offline, stored."""

    def for_child(self) -> Keeper:
        """What a forked child uses instead."""

    def close(self) -> None:
        """Let go; a bridge process goes on without us."""


def open_keeper(data_dir: DataDir, settings: Settings) -> Keeper:
    """The keeper that the settings ask for."""
    return (
        ThreadKeeper(data_dir, settings) if settings.bridge == "thread" else ProcessKeeper(data_dir, settings)
    )


class ProcessKeeper:
    """Starts `python -m otel_wandb.bridge_process` whenever nobody holds the directory's lock."""

    def __init__(self, data_dir: DataDir, settings: Settings, *, deliver: bool = True) -> None:
        self._data_dir = data_dir
        self._settings = settings
        self._deliver = deliver
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._started_s = 0.0
        self._next_start_s = 0.0
        self._failures = 0
        self._warned_s = -_FROZEN_AFTER_S
        self._thread: ThreadKeeper | None = None

    def tend(self) -> None:
        """Reap, start, or complain; falls back to a thread when the process will not start."""
        with self._lock:
            if self._thread is not None:
                self._thread.tend()
                return
            self._reap()
            if self._data_dir.locked():
                self._look_for_frost()
            elif self._pid is None and time.monotonic() >= self._next_start_s:
                self._start()

    def flush_settled(self, token: bytes) -> bool:
        """Read from the store, beside the bridge."""
        return _flush_settled(self._data_dir, token)

    def for_child(self) -> Keeper:
        """A fresh one: the parent's child process is not ours to reap."""
        return ProcessKeeper(self._data_dir, self._settings, deliver=self._deliver)

    def close(self) -> None:
        """Reap if it has ended already; else it is adopted by init."""
        with self._lock:
            self._reap()
            if self._thread is not None:
                self._thread.close()

    def end(self, timeout_s: float) -> bool:
        """Have the bridge that was started here drain and end; whether none of ours is left in time."""
        deadline_s = time.monotonic() + timeout_s
        with self._lock:
            self._reap()
            if self._pid is not None:
                os.kill(self._pid, signal.SIGTERM)
            while self._pid is not None and time.monotonic() < deadline_s:
                time.sleep(_END_POLL_S)
                self._reap()
            return self._pid is None

    def _start(self) -> None:
        try:
            self._pid = spawn_bridge(self._data_dir, self._settings, deliver=self._deliver)
            self._started_s = time.monotonic()
        except OSError as error:
            self._fail(f"it could not be started ({error.strerror or error})")

    def _reap(self) -> None:
        if self._pid is None:
            return
        try:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
        except ChildProcessError:  # somebody else (a server's SIGCHLD handler) has reaped it
            pid, status = self._pid, 0
        if pid == 0:
            return
        self._pid = None
        code = os.waitstatus_to_exitcode(status)
        if code in (0, -signal.SIGTERM):
            self._failures = 0
        elif time.monotonic() - self._started_s < _QUICK_S:
            self._fail(f"it ended with exit code {code}; its log is {self._data_dir.log}")

    def _fail(self, why: str) -> None:
        self._failures += 1
        self._next_start_s = time.monotonic() + min(_BACKOFF_MAX_S, 2.0**self._failures)
        if self._failures >= _TRIES:
            _log.warning("The bridge process does not run: %s. A thread of this process does it now.", why)
            self._thread = ThreadKeeper(self._data_dir, self._settings, deliver=self._deliver)

    def _look_for_frost(self) -> None:
        info = self._data_dir.read_bridge_info()
        if info is None:
            return
        silent_s = time.time() - info.heartbeat_s
        now_s = time.monotonic()
        if silent_s > _FROZEN_AFTER_S and now_s - self._warned_s > _FROZEN_AFTER_S:
            self._warned_s = now_s
            _log.warning(
                "The bridge (process %d) has not moved for %.0f s. Telemetry is safe in %s, not delivered; "
                "`kill -9 %d` lets a new one start, and loses nothing.",
                info.pid,
                silent_s,
                self._data_dir.path,
                info.pid,
            )


class ThreadKeeper:
    """Runs the bridge as a daemon thread of this process whenever nobody holds the directory's lock."""

    def __init__(self, data_dir: DataDir, settings: Settings, *, deliver: bool = True) -> None:
        self._data_dir = data_dir
        self._settings = settings
        self._deliver = deliver
        self._bridge: Bridge | None = None
        self._lock = threading.Lock()

    def tend(self) -> None:
        """Start the thread if no bridge runs."""
        with self._lock:
            if self._bridge is None or not self._bridge.running:
                from otel_wandb.bridge import open_bridge

                if self._bridge is not None:  # its thread died: give back the lock that it holds
                    self._bridge.close()
                    self._bridge = None
                try:
                    self._bridge = open_bridge(self._data_dir, self._settings, deliver=self._deliver)
                except BridgeRunning:
                    return
                self._bridge.start()

    def flush_settled(self, token: bytes) -> bool:
        """Read from the store, beside the thread."""
        return _flush_settled(self._data_dir, token)

    def for_child(self) -> Keeper:
        """The parent's thread reads what a child appends; the child starts one when the parent is gone."""
        return ThreadKeeper(self._data_dir, self._settings, deliver=self._deliver)

    def close(self) -> None:
        """Stop the thread after the transaction that it is in."""
        with self._lock:
            if self._bridge is not None:
                self._bridge.close()
                self._bridge = None


class MemoryKeeper:
    """Runs the bridge as a thread over a memory journal and a store in memory."""

    def __init__(self, journal: MemoryJournal, settings: Settings) -> None:
        self._journal = journal
        self._settings = settings
        self._bridge: Bridge | None = None
        self._lock = threading.Lock()

    def tend(self) -> None:
        """Start the thread once."""
        with self._lock:
            if self._bridge is None:
                from otel_wandb.bridge import open_memory_bridge

                self._bridge = open_memory_bridge(self._journal, self._settings)
                self._bridge.start()

    def flush_settled(self, token: bytes) -> bool:
        """Ask the thread's own store."""
        return self._bridge is not None and self._bridge.flush_settled(token)

    def for_child(self) -> Keeper:
        """The child has a queue of its own, and a thread of its own for it."""
        return MemoryKeeper(self._journal, self._settings)

    def close(self) -> None:
        """Stop the thread."""
        with self._lock:
            if self._bridge is not None:
                self._bridge.close()


def spawn_bridge(data_dir: DataDir, settings: Settings, *, deliver: bool = True) -> int:
    """The process id of a new bridge: own session, no stdio, and none of our OpenTelemetry environment."""
    python = _interpreter()
    null_in = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    null_out = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    arguments = [
        python,
        "-m",
        "otel_wandb.bridge_process",
        "--data-dir",
        str(data_dir.path),
        "--settings",
        settings.digest,
        *([] if deliver else ["--no-deliver"]),
    ]
    return os.posix_spawn(python, arguments, _clean_environment(), file_actions=[null_in, *null_out])


def _interpreter() -> str:
    # Embedding servers (uWSGI) put their own name into sys.executable.
    if sys.executable and "python" in Path(sys.executable).name:
        return sys.executable
    return str(Path(sys.prefix) / "bin" / "python3")


def _clean_environment() -> dict[str, str]:
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("OTEL_") or key == HASH_KEY_VARIABLE
    }
    # `opentelemetry-instrument` works through a sitecustomize on this path; the bridge must not trace itself.
    paths = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
    paths = [
        p for p in paths if not p.rstrip("/").endswith("opentelemetry/instrumentation/auto_instrumentation")
    ]
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *_own_path()])
    return environment


def _own_path() -> list[str]:
    # The service may have found us by a changed sys.path, which a new interpreter does not know.
    root = str(Path(__file__).resolve().parent.parent)
    return [] if "site-packages" in root else [root]


def _flush_settled(data_dir: DataDir, token: bytes) -> bool:
    from otel_wandb.store import Store

    try:
        reader = Store.open_for_reading(data_dir.store)
    except OtelWandbError:
        return False
    try:
        return bool(reader.flush_settled(token))
    finally:
        reader.close()
