"""What telemetry costs a FastAPI service under load, in one run: nothing, OpenTelemetry, OTLP, us, weave.op.

`python -m benchmarks.overhead [--full] [--rounds N] [--seconds S] [--concurrency N]`

The service (`benchmarks/service.py`, one uvicorn worker) answers the same request in every variant, and the
same things are recorded of it. Rounds of the variants alternate; whoever's turn it is not is stopped, its
bridge included, so that each does its background work in its own rounds. Where there are several processors,
the service has the first for itself; service and client go before other processes where that is allowed.
Medians of the rounds. Each has the instrumentation of FastAPI and no other.

`arrived` is what was at the other end a minute after the last request at the latest: the sink of the OTLP
exporter, our store offline, or Weave. That is a real trace server with its data in memory, on the processor
of the client; who keeps what it cannot take yet, and who drops it, is seen there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.request import ProxyHandler, build_opener

import httpx
import psutil

from benchmarks.service import SPANS_A_REQUEST
from benchmarks.variants import RUN, SERVICE, Variant, hurry, pin
from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from tests.peers.environments import CHECKOUT
from tests.peers.fixtures_wandb import OneKeyPeer
from tests.peers.wandb import WandbPeer
from tests.services.launched import QUICK

_ARRIVAL_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.5


def make_variants(stack: ExitStack, directory: Path) -> list[Variant]:
    """Everyone who takes part, with the servers that they talk to."""
    sink_port = _start_sink(stack)
    weave, wandb = stack.enter_context(OneKeyPeer()), stack.enter_context(WandbPeer())
    peers = {**weave.environment, **wandb.environment, "WANDB_SILENT": "true", "WANDB_DIR": str(directory)}
    semantics = {"OTEL_SEMCONV_STABILITY_OPT_IN": "http"}
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink_port}"}
    offline, online = DataDir(directory / "offline"), DataDir(directory / "online")
    return [
        Variant("nothing", "none", {}),
        Variant("OpenTelemetry, no exporter", "otel", semantics),
        Variant(
            "official OTLP exporter",
            "otlp",
            semantics | endpoint,
            count_arrived=lambda: _count_in_sink(sink_port),
        ),
        Variant(
            "otel-wandb run, offline",
            "outside",
            {**QUICK, "OTEL_WANDB_DIR": str(offline.path), "OTEL_WANDB_MODE": "offline"},
            launcher=RUN,
            data_dir=offline,
            count_arrived=lambda: read_status(offline).ledger.lines["calls"].received,
        ),
        Variant(
            "otel-wandb run, to Weave",
            "outside",
            {**QUICK, **peers, "OTEL_WANDB_DIR": str(online.path), "OTEL_WANDB_PROJECT": "team/ours"},
            launcher=RUN,
            data_dir=online,
            count_arrived=lambda: _count_in_weave(weave, "team/ours"),
        ),
        Variant(
            "@weave.op",
            "weave",
            {**peers, "BENCHMARK_PROJECT": "team/op"},
            count_arrived=lambda: _count_in_weave(weave, "team/op"),
        ),
    ]


def _start_sink(stack: ExitStack) -> int:
    """The port of an OTLP receiver that lives as long as the stack."""
    command = [sys.executable, "-m", "benchmarks.otlp_sink"]
    sink = stack.enter_context(subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True))
    stack.callback(sink.kill)
    assert sink.stdout is not None
    return int(sink.stdout.readline().split()[1])


def _count_in_sink(port: int) -> int:
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/count", timeout=30) as answer:
        return int(answer.read())


def _count_in_weave(peer: OneKeyPeer, project: str) -> int:
    answer = httpx.post(
        f"{peer.url}/calls/query_stats",
        json={"project_id": project},
        auth=("api", peer.api_key),
        trust_env=False,
        timeout=60,
    )
    return int(answer.json()["count"]) if answer.status_code == 200 else 0


def place_everything_else() -> None:
    """Put this process and its servers on the other processors; the services have the first."""
    me = psutil.Process()
    hurry(me)
    for process in [me, *me.children(recursive=True)]:
        if SERVICE not in process.cmdline():
            pin(process, first=False)


def count_arrived(variant: Variant, deadline_s: float) -> int | None:
    """Spans at the other end when all are there or the time is up; None where there is no other end."""
    look: Callable[[], int] | None = variant.count_arrived
    if look is None:
        return None
    while (seen := look()) < variant.requests * SPANS_A_REQUEST and time.monotonic() < deadline_s:
        time.sleep(_LOOK_EVERY_S)
    return seen


def report(variants: list[Variant], arrived: dict[str, int | None]) -> None:
    """Print the table, and whether the client had time to spare."""
    names = ("requests/s", "of nothing", "p50 ms", "p99 ms", "CPU ms", "more us", "beside ms", "arrived")
    print(f"{'':28}" + "".join(f"{name:>12}" for name in names))
    base = variants[0]
    base_rate, base_cpu_ms = (
        base.median(lambda m: m.load.requests_per_second),
        base.median(lambda m: m.server_cpu_ms),
    )
    for variant in variants:
        rate, cpu_ms = (
            variant.median(lambda m: m.load.requests_per_second),
            variant.median(lambda m: m.server_cpu_ms),
        )
        seen = arrived[variant.name]
        share = "" if seen is None else f"{seen / (variant.requests * SPANS_A_REQUEST):.1%}"
        beside_ms = variant.median(lambda m: m.beside_cpu_ms)
        print(
            f"{variant.name:28}{rate:12,.0f}{rate / base_rate:12.2f}"
            f"{variant.median(lambda m: m.load.latency_ms(0.5)):12.1f}"
            f"{variant.median(lambda m: m.load.latency_ms(0.99)):12.1f}"
            f"{cpu_ms:12.2f}{(cpu_ms - base_cpu_ms) * 1000:12.0f}"
            f"{f'{beside_ms:.2f}' if beside_ms else '':>12}{share:>12}"
        )
    rounds = [measured for variant in variants for measured in variant.rounds]
    print(
        "CPU: of the service, a request; more: than with nothing; beside: of the bridge. Busy: the service "
        f"for {statistics.median(m.server_cpu_s / m.load.wall_s for m in rounds):.0%} of the median round, "
        f"the client for {max(m.load.client_cpu_s / m.load.wall_s for m in rounds):.0%} of a round at most."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="7 rounds of 15 s instead of 3 of 3 s")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    rounds = options.rounds or (7 if options.full else 3)
    seconds = options.seconds or (15.0 if options.full else 3.0)
    busy_before = os.getloadavg()[0]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        variants = make_variants(stack, directory)
        for number, variant in enumerate(variants):
            stack.callback(variant.kill)
            variant.start(directory / f"{number}.log")
            variant.rest()
        place_everything_else()
        for _ in range(rounds):
            for variant in variants:
                variant.measure(options.concurrency, seconds)
        for variant in variants:
            variant.stop()
        deadline_s = time.monotonic() + _ARRIVAL_S
        arrived = {variant.name: count_arrived(variant, deadline_s) for variant in variants}
    report(variants, arrived)
    print(
        f"{rounds} rounds of {seconds:g} s a variant, {options.concurrency} requests at once, "
        f"{os.cpu_count()} processors; load average before: {busy_before:.1f}"
    )


if __name__ == "__main__":
    main()
