"""Starts the process that wandb lives in, asks it to open, fill and finish runs, and takes it away.

wandb needs a process that can be thrown away: an `init` that failed leaves the id of its run "in use" there
for good, a login stays with its process, `finish` may hang, and an upload that died is only told on stderr.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import msgspec

from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.wandb_references import NamedReference
from otel_wandb.metrics.axes import axes_of
from otel_wandb.store import StoredRun

_log = logging.getLogger("otel_wandb.delivery")

_PROGRAM: Final = Path(__file__).with_name("wandb_child.py")
_AUTO_INSTRUMENTATION: Final = "opentelemetry/instrumentation/auto_instrumentation"
_START_S: Final = 60.0
_SPARE_S: Final = 10.0
"""What a command may take beyond wandb's own deadline for it."""
_LEAVE_S: Final = 2.0
_DEAD_UPLOAD: Final = "Fatal error while uploading data"
_STATUS: Final = re.compile(r"\b([45]\d\d) encountered")


class HostError(Exception):
    """The process is gone, or did not answer in time. What it held is in the store."""


class RunError(Exception):
    """wandb said no to one command; the process goes on."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What wandb is told, the same for all runs of a process."""

    base_url: str = ""
    api_key: Secret | None = None
    proxy: str = ""
    verify_tls: bool = True
    online: bool = True
    directory: Path | None = None
    """Where offline runs are written to; None: wandb's files go with the process."""
    kept: Path | None = None
    """Where offline runs stand in the end: what their logs name by its path is written there at once."""
    transmit_s: float = 15.0
    init_timeout_s: float = 20.0
    finish_timeout_s: float = 20.0


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A run as `wandb.init` is told of it."""

    id: str
    entity: str
    project: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """A row as it is logged; `values` is the JSON object that the store holds.

    `tables` are those that it takes along, by name, as the store holds them; `call_page` is what the
    addresses of calls begin with, empty where they have none. `again`: W&B has the row, and lacks files of
    its tables.
    """

    step: int
    timestamp_s: float
    values: msgspec.Raw
    tables: Mapping[str, msgspec.Raw] = field(default_factory=dict)
    call_page: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Stuck:
    """A row that could not be logged, since a table of it could not be uploaded first.

    `final`: W&B said that it does not take it.
    """

    step: int
    why: str
    final: bool


@dataclass(frozen=True, slots=True)
class Logged:
    """What became of rows: by their steps what wandb does not take for its content, and why.

    `refused` are rows, `spoiled` those of which a table is not taken. After a `stuck` one none was logged.
    """

    refused: Mapping[int, str] = field(default_factory=dict)
    spoiled: Mapping[int, str] = field(default_factory=dict)
    stuck: Stuck | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A run that is open: the first step that it takes, and where an offline one is written."""

    starting_step: int
    directory: Path


class RunHost:
    """One process with any number of open runs. To be used by one thread at a time."""

    def __init__(self, settings: HostSettings) -> None:
        """Start the process. Raises HostError where that fails, or where there is no wandb."""
        self.died_at_s = 0.0
        """When wandb last said that it has given up an upload (monotonic; 0: never)."""
        self.died_of: int | None = None
        """The HTTP status that it named then, if it has."""
        self.spoiled: set[str] = set()
        """Runs that can no longer be opened in this process."""
        self.open_runs: dict[str, None] = {}
        self.wandb_version = ""
        self._settings = settings
        self._buffer = b""
        self._private = tempfile.TemporaryDirectory(prefix="otel-wandb-", ignore_cleanup_errors=True)
        try:
            self._process = _start_process()
        except OSError as error:
            self._private.cleanup()
            raise HostError(f"the process for wandb cannot be started: {error}") from None
        self._watcher = threading.Thread(target=self._watch, name="otel-wandb-child", daemon=True)
        self._watcher.start()
        try:
            self.wandb_version = str(self._ask(self._hello(), _START_S).get("wandb", ""))
        except RunError as error:
            self.kill()
            raise HostError(f"{error}; `pip install wandb` in the environment of the bridge") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def open(self, run: str, spec: RunSpec, references: Sequence[NamedReference] = ()) -> Opened:
        """Open a run under a name of the caller's, or take it up where the server has it.

        That it uses the references is told to W&B beside it: no row waits for that, nor fails with it.

        Raises:
            RunError: wandb does not open it, and will not do so in this process any more.
            HostError: the process is gone.
        """
        axes = axes_of(spec.config.get("rotation"))
        told = msgspec.to_builtins(references)
        command = {"do": "open", "run": run, "axes": axes, "references": told, **_fields(spec)}
        try:
            answer = self._ask(command, self._settings.init_timeout_s + _SPARE_S)
        except RunError:
            self.spoiled.add(run)
            raise
        self.open_runs[run] = None
        return Opened(_whole(answer["starting_step"]), Path(str(answer["directory"])))

    def log(self, run: str, rows: Sequence[LoggedRow]) -> Logged:
        """Log the rows, each with its tables, which are uploaded before it."""
        command = {"do": "log", "run": run, "rows": [_fields(row) for row in rows]}
        waits = 1 + sum(1 for row in rows if row.tables)
        answer = self._demand(command, waits * self._settings.finish_timeout_s + _SPARE_S)
        return msgspec.convert(answer, Logged, str_keys=True)

    def describe(self, run: str, spec: RunSpec) -> None:
        """Bring config and tags of an open run up to date."""
        command = {"do": "describe", "run": run, "config": spec.config, "tags": spec.tags}
        self._demand(command, _SPARE_S)

    def finish(self, runs: Iterable[str]) -> None:
        """Finish the runs, which uploads what is left, as far as that can be done in time."""
        names = [run for run in runs if run in self.open_runs]
        if not names:
            return
        for name in names:
            del self.open_runs[name]
        rounds = 1 + len(names) // 8
        answer = self._ask(
            {"do": "finish", "runs": names}, rounds * self._settings.finish_timeout_s + _SPARE_S
        )
        if errors := answer.get("errors"):
            _log.info("wandb could not finish a run: %s", errors)

    def interrupt(self) -> None:
        """The process ends, and with it what another thread waits for. Any thread may call this."""
        self._process.kill()

    def kill(self) -> None:
        """Take the process away, and the uploading service of wandb with it. May be called twice."""
        self.open_runs.clear()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._watcher.join(_LEAVE_S)  # it ends with the last process that holds stderr
        self._private.cleanup()

    def _hello(self) -> dict[str, object]:
        settings = self._settings
        key = settings.api_key.reveal() if settings.api_key else ""
        private = self._private.name
        given = _fields(settings)
        places = {"directory": settings.directory or private, "kept": settings.kept or "", "private": private}
        return given | {"api_key": key} | {name: str(place) for name, place in places.items()}

    def _demand(self, command: Mapping[str, object], timeout_s: float) -> dict[str, object]:
        """Like `_ask`, for what can only fail where wandb's own service is gone."""
        try:
            return self._ask(command, timeout_s)
        except RunError as error:
            self.kill()
            raise HostError(f"wandb did not {command['do']}: {error}") from None

    def _ask(self, command: Mapping[str, object], timeout_s: float) -> dict[str, object]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(command) + b"\n")
            self._process.stdin.flush()
            line = self._read_line(time.monotonic() + timeout_s)
            answer = msgspec.json.decode(line, type=dict[str, object])
        except (OSError, ValueError, HostError, msgspec.DecodeError) as error:
            self.kill()
            raise HostError(f"the process for wandb did not {command.get('do', 'start')}: {error}") from None
        if "error" in answer:
            raise RunError(str(answer["error"]))
        return answer

    def _read_line(self, until_s: float) -> bytes:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, until_s - time.monotonic())):
                    raise HostError("it did not answer in time")
                piece = os.read(fd, 1 << 16)
                if not piece:
                    raise HostError("it has ended")
                self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _watch(self) -> None:
        """Read what wandb says beside the answers: it is the only place where it tells of a dead upload."""
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for raw in stream:
                line = raw.decode(errors="replace").strip()
                if found := _STATUS.search(line):
                    self.died_of = int(found.group(1))
                if _DEAD_UPLOAD in line:
                    self.died_at_s = time.monotonic()
                _log.debug("wandb says: %s", line)


class _Described(msgspec.Struct):
    name: str
    group: str = ""
    job_type: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, object] = {}


def read_spec(run: StoredRun) -> RunSpec:
    """What the store has of a run, for `wandb.init`."""
    said = msgspec.json.decode(run.spec, type=_Described)
    place = (run.run_id, run.entity, run.project)
    return RunSpec(*place, said.name, said.group, said.job_type, said.tags, said.config)


def _start_process() -> subprocess.Popen[bytes]:
    # -P, since a module of ours beside the program is called wandb, too.
    command = [sys.executable, "-P", str(_PROGRAM)]
    environment = {key: text for key, text in os.environ.items() if not key.startswith(("OTEL_", "WANDB_"))}
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    kept = [path for path in paths if not path.rstrip("/").endswith(_AUTO_INSTRUMENTATION)]
    environment["PYTHONPATH"] = os.pathsep.join(kept)  # wandb must not be traced by the service's agent
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
    )


def _fields(instance: HostSettings | RunSpec | LoggedRow) -> dict[str, object]:
    return {name: getattr(instance, name) for name in instance.__dataclass_fields__ if name != "api_key"}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
