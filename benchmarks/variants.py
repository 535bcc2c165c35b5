"""A service under load in one of several ways, and what it cost: processes, processors, CPU time."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from benchmarks.load import Load, make_request, put_load
from otel_wandb.datadir import DataDir
from tests.deadlines import wait_for
from tests.peers.environments import CHECKOUT
from tests.services.launched import free_port

REQUEST: Final = make_request("/chat", {"question": "When is the museum of the city open in summer?"})
SERVICE: Final = "benchmarks.service:app"
RUN: Final = (sys.executable, "-m", "otel_wandb.cli", "run", "--")
WARM_S: Final = 1.0

_STOP_S: Final = 60.0
_PRIORITY: Final = -10
_PROCESSORS: Final = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else frozenset[int]()
_UVICORN: Final = (
    sys.executable,
    "-m",
    "uvicorn",
    SERVICE,
    "--log-level",
    "error",
    "--no-access-log",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of a variant."""

    load: Load
    server_cpu_s: float
    beside_cpu_s: float

    @property
    def server_cpu_ms(self) -> float:
        """A request."""
        return self.server_cpu_s / len(self.load.answers) * 1000

    @property
    def beside_cpu_ms(self) -> float:
        """Of the bridge, a request."""
        return self.beside_cpu_s / len(self.load.answers) * 1000


@dataclass(slots=True)
class Variant:
    """A way to watch the service, its process, and what was measured of it."""

    name: str
    telemetry: str
    environ: Mapping[str, str]
    launcher: tuple[str, ...] = ()
    data_dir: DataDir | None = None
    count_arrived: Callable[[], int] | None = None
    requests: int = 0
    rounds: list[Measured] = field(default_factory=list)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self, log: Path) -> None:
        """Start the service, and return when it has answered."""
        self.port = free_port()
        environ = {**os.environ, **self.environ, "BENCHMARK_TELEMETRY": self.telemetry}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*self.launcher, *_UVICORN, "--port", str(self.port)],
                cwd=CHECKOUT,
                env=environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

        def answers() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start:\n{log.read_text()[-2000:]}")
            with contextlib.suppress(OSError):
                self.put_load(1, 0.01)
                return True
            return False

        wait_for(answers, 90)

    def rest(self) -> None:
        """Stop it until it is measured."""
        hurry(self._service())
        self.signal(signal.SIGSTOP)

    def put_load(self, concurrency: int, seconds: float) -> Load:
        load = put_load(self.port, REQUEST, concurrency=concurrency, seconds=seconds)
        self.requests += len(load.answers)
        return load

    def measure(self, concurrency: int, seconds: float) -> None:
        """Let it go on, put load on it, and stop it again."""
        self.signal(signal.SIGCONT)
        self.place()
        self.put_load(concurrency, WARM_S)
        before_s, beside_before_s = self._cpu_s(), self._beside_cpu_s()
        load = self.put_load(concurrency, seconds)
        server_s, beside_s = self._cpu_s() - before_s, self._beside_cpu_s() - beside_before_s
        self.rounds.append(Measured(load, server_s, beside_s))
        self.signal(signal.SIGSTOP)

    def signal(self, number: signal.Signals) -> None:
        for process in [self._service(), *self._bridge()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def place(self) -> None:
        """Put the service on the first processor and its bridge on the others."""
        pin(self._service(), first=True)
        for process in self._bridge():
            pin(process, first=False)

    def median(self, figure: Callable[[Measured], float]) -> float:
        """Of the rounds."""
        return statistics.median(map(figure, self.rounds))

    def stop(self) -> None:
        """Let everything go on, and ask the service to end, which has a minute for it."""
        self.signal(signal.SIGCONT)
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_S)

    def kill(self) -> None:
        """Take away whatever is left."""
        bridge = self._bridge()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for process in bridge:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _service(self) -> psutil.Process:
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def _bridge(self) -> list[psutil.Process]:
        info = self.data_dir.read_bridge_info() if self.data_dir else None
        if info is None:
            return []
        try:
            bridge = psutil.Process(info.pid)
            return [bridge, *bridge.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _cpu_s(self) -> float:
        return _cpu_of(self._service())

    def _beside_cpu_s(self) -> float:
        return sum(_cpu_of(process) for process in self._bridge())


def _cpu_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def hurry(process: psutil.Process) -> None:
    """Let a process go before others on a busy machine, where we may."""
    with contextlib.suppress(psutil.Error, OSError):
        for thread in process.threads():
            os.setpriority(os.PRIO_PROCESS, thread.id, _PRIORITY)


def pin(process: psutil.Process, *, first: bool) -> None:
    """Put a process on the first processor, or on the others, where there are several (Linux)."""
    processors = sorted(_PROCESSORS)
    if len(processors) < 2:
        return
    with contextlib.suppress(psutil.Error, OSError):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, processors[:1] if first else processors[1:])
