"""`otel-wandb demo`: a RAG service at work, and what arrives of it. Needs no account, network or key."""

from __future__ import annotations

import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn
from urllib.request import ProxyHandler, build_opener

import click
import msgspec

from otel_wandb.config import Settings, resolve
from otel_wandb.datadir import DataDir
from otel_wandb.delivery.credentials import WeaveTarget
from otel_wandb.demo_check import Record, count_calls, find_cost_faults, find_faults, find_row_faults
from otel_wandb.demo_load import Outcome, plan_requests, send_all
from otel_wandb.demo_service import (
    BRISK,
    SERVICE_NAME,
    check_packages,
    find_example,
    running_service,
    running_standin,
)
from otel_wandb.demo_views import CallView, draw_rows, draw_talk, draw_tree, read_call
from otel_wandb.ledger import render
from otel_wandb.status import Status, read_status
from otel_wandb.store import Store
from otel_wandb.store.rows import RowValue, decode_values

REQUESTS: Final = 300
REQUESTS_OF_A_REAL_MODEL: Final = 30
SEED: Final = 7

_ARRIVAL_TIMEOUT_S: Final = 100.0
_QUIET_S: Final = 4.0
"""When a service has ended, its bridge gives out a last row with the tables after a moment of quiet."""

_LOOK_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo as it was asked for."""

    data_dir: DataDir
    settings: Settings
    environ: Mapping[str, str]
    """Of the service; the model is the stand-in where it names none."""
    requests: int
    once: bool

    @property
    def real_model(self) -> bool:
        """Whether the environment leads to a model of the user's."""
        return bool(self.environ.get("OPENAI_API_KEY") or self.environ.get("OPENAI_BASE_URL"))


@dataclass(frozen=True, slots=True)
class Arrived:
    """What is in the store of a demo."""

    calls: list[CallView]
    rows: list[tuple[float, dict[str, RowValue]]]
    status: Status


def prepare_demo(
    *,
    once: bool = False,
    requests: int | None = None,
    data_dir: Path | None = None,
    config_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Demo:
    """A demo that can run here. Raises ConfigError where it cannot, with what to do about it."""
    check_packages()
    service = {**BRISK, **{name: value for name, value in environ.items() if not _is_foreign(name)}}
    service["OTEL_SERVICE_NAME"] = SERVICE_NAME
    if config_file is not None:
        service["OTEL_WANDB_CONFIG"] = str(config_file.absolute())
    if data_dir is not None:
        service["OTEL_WANDB_DIR"] = str(data_dir.absolute())
    settings = resolve(environ=service).settings
    demo = Demo(DataDir(Path(settings.data_dir)), settings, service, requests or REQUESTS, once)
    if requests is None and demo.real_model:
        return Demo(demo.data_dir, settings, service, REQUESTS_OF_A_REAL_MODEL, once)
    return demo


def _is_foreign(name: str) -> bool:
    """Whether it is about the user's own telemetry, which the demo leaves alone."""
    return name.startswith("OTEL_") and not name.startswith("OTEL_WANDB_")


def run_demo(demo: Demo) -> int:
    """Run it and show everything; the exit code. Raises DemoError if a process does not start."""
    with ExitStack() as stack, _ending_on_sigterm():
        service, model_url, url = _start(demo, stack)
        click.echo(_describe_start(demo, url, model_url))
        baseline = read_status(demo.data_dir).ledger.lines["calls"].received
        started = datetime.now(UTC)
        outcomes = _send(demo, url)
        record = _read_record(model_url) if model_url else None
        if demo.once:
            service.close()

        def find_missing_rows() -> list[str]:
            rows = [values for _, values in _read_rows(demo, started.timestamp())]
            return find_row_faults(rows, outcomes, record) if _has_charts() else []

        _await_arrival(demo, baseline, count_calls(outcomes, record), find_missing_rows)
        arrived = Arrived(
            calls=_read_calls(demo, started),
            rows=_read_rows(demo, started.timestamp()),
            status=read_status(demo.data_dir, demo.settings),
        )
        click.echo(_describe(demo, arrived))
        faults = find_faults(arrived.calls, outcomes, record)
        faults += find_missing_rows()
        if _has_charts():
            faults += find_cost_faults([values for _, values in arrived.rows], arrived.calls)
        faults += _find_delivery_faults(demo, arrived.status)
        for fault in faults:
            click.echo(f"Not as it should be: {fault}.", err=True)
        if not faults:
            click.echo(f"All is there: {len(outcomes)} requests became {len(arrived.calls)} calls.")
        if not demo.once:
            _wait_for_the_user(url)
    return 1 if faults else 0


def _start(demo: Demo, stack: ExitStack) -> tuple[ExitStack, str, str]:
    """The service as a stack of its own, the address of the model ("" for the user's) and of the service."""
    demo.data_dir.create()
    example, logs, environ = find_example(), demo.data_dir.path / "demo", dict(demo.environ)
    model_url = ""
    if not demo.real_model:
        model_url = stack.enter_context(running_standin(example, logs / "model.log"))
        environ |= {"OPENAI_BASE_URL": model_url, "OPENAI_API_KEY": "not-needed"}
        for name in ("NO_PROXY", "no_proxy"):  # the stand-in is on this machine, whatever the user's proxy
            environ[name] = ",".join(filter(None, [environ.get(name), "127.0.0.1"]))
    service = stack.enter_context(ExitStack())
    return service, model_url, service.enter_context(running_service(example, environ, logs / "service.log"))


def _has_charts() -> bool:
    """Whether metrics come to us: an installation may be older than the code, and not register it."""
    return bool(entry_points(group="opentelemetry_metrics_exporter", name="wandb"))


def _find_delivery_faults(demo: Demo, status: Status) -> list[str]:
    faults = [f"{signal} does not balance: {n:+}" for signal, n in status.ledger.imbalance().items()]
    if not _find_target(demo).offline:
        faults += [
            f"{status.ledger.lines[signal].waiting} {signal} were not delivered; {status.bridge_sentence}"
            for signal in ("calls", "rows")
            if status.ledger.lines[signal].waiting
        ]
    if status.dead_letters:
        faults.append(f"{status.dead_letters} calls were refused by W&B")
    return faults


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that no process of it is left."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _send(demo: Demo, url: str) -> list[Outcome]:
    plan = plan_requests(demo.requests, seed=SEED, **({"models": ()} if demo.real_model else {}))
    outcomes: list[Outcome] = []
    with click.progressbar(length=len(plan), label="requests answered", width=30) as bar:
        for outcome in send_all(plan, url):
            outcomes.append(outcome)
            bar.update(1)
    return outcomes


def _read_record(model_url: str) -> Record:
    opener = build_opener(ProxyHandler({}))  # it is on this machine, whatever the proxy of the user
    with opener.open(f"{model_url.removesuffix('/v1')}/record", timeout=10) as answer:
        return msgspec.json.decode(answer.read(), type=Record)


def _await_arrival(
    demo: Demo, baseline: int, expected: int, find_missing_rows: Callable[[], list[str]]
) -> None:
    """Return when all is in the store and, online, delivered; at the latest after some time."""
    deadline_s = time.monotonic() + _ARRIVAL_TIMEOUT_S
    quiet_since_s = math.inf
    seen = 0
    with click.progressbar(length=expected, label="calls that arrive", width=30) as bar:
        while True:
            status = read_status(demo.data_dir, demo.settings)
            arrived = min(status.ledger.lines["calls"].received - baseline, expected)
            bar.update(arrived - seen)
            seen = arrived
            now_s = time.monotonic()
            quiet_since_s = min(quiet_since_s, now_s) if _is_settled(demo, status) else math.inf
            is_quiet = now_s - quiet_since_s >= (_QUIET_S if demo.once else 0)
            if is_quiet and (demo.once or (seen >= expected and not find_missing_rows())):
                return
            if now_s > deadline_s:
                return
            time.sleep(_LOOK_EVERY_S)


def _is_settled(demo: Demo, status: Status) -> bool:
    """Whether all that was received went its way. Of a service that has ended, nothing more is to come."""
    waiting = {signal: line.waiting for signal, line in status.ledger.lines.items()}
    held = waiting["spans"]
    if demo.once:
        held += waiting["metric_points"] + waiting["log_records"]
    if not _find_target(demo).offline:
        held += waiting["calls"] + waiting["rows"]
    return held == 0


def _read_calls(demo: Demo, started: datetime) -> list[CallView]:
    """The calls of the service since then, oldest first."""
    started_us = int(started.timestamp() * 1_000_000)
    with closing(Store.open_for_reading(demo.data_dir.store)) as reader:
        calls = [read_call(call.body) for call in reader.calls() if call.started_us >= started_us]
    return [call for call in calls if call.attributes.resource.get("service.name") == SERVICE_NAME]


def _read_rows(demo: Demo, started_s: float) -> list[tuple[float, dict[str, RowValue]]]:
    """The rows of charts of the service whose intervals ended since then, in their order."""
    with closing(Store.open_for_reading(demo.data_dir.store)) as reader:
        runs = [
            run for run in reader.runs() if msgspec.json.decode(run.spec, type=_Run).group == SERVICE_NAME
        ]
        rows = [row for run in runs for row in reader.rows(run.id) if row.timestamp_s > started_s]
    return sorted((row.timestamp_s, decode_values(row.values)) for row in rows)


class _Run(msgspec.Struct):
    group: str = ""


def _find_target(demo: Demo) -> WeaveTarget:
    return WeaveTarget.find(demo.settings, demo.environ)


def _describe_start(demo: Demo, url: str, model_url: str) -> str:
    real = demo.environ.get("OPENAI_BASE_URL") or "OpenAI"
    model = (
        "a stand-in for its model"
        if model_url
        else f"a model of {real} (without OPENAI_API_KEY and OPENAI_BASE_URL it has a stand-in)"
    )
    return (
        f"A RAG service runs at {url} with {model}.\n"
        f"It is instrumented by OpenTelemetry alone, as `otel-wandb run` does it.\n"
        f"It gets {demo.requests} requests; what arrives of them is kept in {demo.data_dir.path}.\n"
    )


def _describe(demo: Demo, arrived: Arrived) -> str:
    parts = ["", render(arrived.status.ledger)]
    if arrived.rows:
        parts += ["", f"The charts, a row every {demo.settings.interval_s:g} s:", "", draw_rows(arrived.rows)]
    chosen = choose_trace(arrived.calls)
    if chosen:
        parts += ["", f"The slowest answer, trace {chosen[0].trace_id}:", "", draw_talk(chosen)]
        parts += ["", draw_tree(chosen)]
    return "\n".join([*parts, "", _describe_next(demo), ""])


def choose_trace(calls: Sequence[CallView]) -> list[CallView]:
    """The calls of the slowest trace in which a model answered and nothing failed; empty without one."""
    traces: dict[str, list[CallView]] = {}
    for call in calls:
        traces.setdefault(call.trace_id, []).append(call)
    answered = [
        trace
        for trace in traces.values()
        if any(call.summary.usage for call in trace) and not any(call.exception for call in trace)
    ]
    return max(answered, key=lambda trace: max(call.seconds for call in trace), default=[])


def _describe_next(demo: Demo) -> str:
    target = _find_target(demo)
    where = f" --data-dir {shlex.quote(str(demo.data_dir.path))}"
    if target.offline:
        return (
            "Nothing was sent: there is no API key, or the mode is offline. Where to look next:\n"
            f"  otel-wandb status{where}\n"
            f"  otel-wandb export{where} --wandb-dir charts && wandb leet run charts   # in the terminal\n"
            f"  otel-wandb sync{where}   # sends all of it, once there is a key: `wandb login`"
        )
    with closing(Store.open_for_reading(demo.data_dir.store)) as reader:
        destinations = reader.destinations()
    page = target.base_url.replace("://api.", "://", 1)
    lines = ["Where to look next:"]
    for entity, project in dict.fromkeys((d.entity, d.project) for d in destinations if d.entity):
        lines += [f"  {page}/{entity}/{project}/weave/traces", f"  {page}/{entity}/{project}"]
    return "\n".join([*lines, f"  otel-wandb status{where}"])


def _wait_for_the_user(url: str) -> None:
    question = '{"question": "What survives a SIGKILL?"}'
    try:
        click.echo(
            f"The service goes on until you press Ctrl-C. Ask it something:\n"
            f"  curl {url}/chat -H 'content-type: application/json' -d '{question}'"
        )
        while True:  # not `signal.pause`: a signal just before it would be heeded at the next one only
            time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        click.echo()
