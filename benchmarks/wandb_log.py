"""What a request pays, and what a run becomes: `wandb.log` on every request against OpenTelemetry and us.

    python -m benchmarks.wandb_log [--requests N]

Both sides are told the same requests (route, latency, error, tokens) by one thread, and both write to the W&B
backend of the tests. By hand: a row a request, as is usual. Ours: the instruments that a published
instrumentation has (a duration and two token counts), which the exporter reads into the journal, and the
bridge makes a row a minute of. Printed are the microseconds of CPU that the request's thread spends, the
least of the rounds (OpenTelemetry's own part of it alone, too), the rows that W&B has in the end, and what
they add up to.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from otel_wandb import WandbMetricExporter
from otel_wandb.datadir import DataDir
from tests.deadlines import wait_for
from tests.peers.wandb import WandbPeer

_ROUNDS = 10
_ROUTES = ("/chat", "/search", "/health")
_SUMS = ("requests", "errors", "tokens in", "tokens out")


class Request(NamedTuple):
    """What is told of a request."""

    route: str
    latency_s: float
    failed: bool
    tokens_in: int
    tokens_out: int


class Side(NamedTuple):
    """What one way of telling came to."""

    request_us: float
    rows: int
    sums: Sequence[int]


def make_requests(number: int) -> list[Request]:
    """Requests with heavy-tailed latencies, the same each time."""
    rng = random.Random(1)
    return [
        Request(
            rng.choice(_ROUTES),
            rng.lognormvariate(-1.5, 1),
            rng.random() < 0.02,
            rng.randrange(100, 4000),
            rng.randrange(1, 500),
        )
        for _ in range(number)
    ]


def least_us(tell: Callable[[Request], None], requests: Sequence[Request]) -> float:
    """Microseconds of the thread's time a request, in the least disturbed of the rounds."""
    size = len(requests) // _ROUNDS
    best_s = float("inf")
    for begin in range(0, size * _ROUNDS, size):
        started_s = time.thread_time()
        for request in requests[begin : begin + size]:
            tell(request)
        best_s = min(best_s, time.thread_time() - started_s)
        time.sleep(0.2)  # both sides have threads that work on what was told
    return best_s / size * 1e6


def by_hand(requests: Sequence[Request], peer: WandbPeer, directory: Path) -> Side:
    """`run.log` on each request."""
    import wandb

    run = wandb.init(project="by-hand", dir=directory, settings=wandb.Settings(console="off", silent=True))

    def tell(request: Request) -> None:
        run.log(
            {
                "latency_ms": request.latency_s * 1000,
                f"{request.route.strip('/')}/latency_ms": request.latency_s * 1000,
                "error": int(request.failed),
                "tokens_in": request.tokens_in,
                "tokens_out": request.tokens_out,
            }
        )

    request_us = least_us(tell, requests)
    run.finish()
    rows = peer.history(run.id)
    return Side(
        request_us, len(rows), [len(rows), *(_add(rows, key) for key in ("error", "tokens_in", "tokens_out"))]
    )


def with_us(requests: Sequence[Request], peer: WandbPeer, directory: Path) -> Side:
    """The instruments of an instrumentation, and the exporter that brings them to W&B."""
    exporter = WandbMetricExporter(project="with-us", data_dir=str(directory / "ours"))
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=2000)
    provider = MeterProvider([reader], resource=Resource({"service.name": "api"}))
    request_us = least_us(_instrument(provider), requests)
    provider.shutdown()
    data_dir = DataDir(directory / "ours")
    wait_for(lambda: not data_dir.locked(), timeout_s=150)  # the bridge ends when the last interval has
    (rows,) = (peer.history(run) for run, told in peer.runs().items() if told["project"] == "with-us")
    keys = ("latency/count", "errors/total_count", "tokens/input", "tokens/output")
    return Side(request_us, len(rows), [_add(rows, key) for key in keys])


def _instrument(provider: MeterProvider) -> Callable[[Request], None]:
    """What an instrumentation does on each request."""
    meter = provider.get_meter("benchmark")
    durations = meter.create_histogram("http.server.request.duration", "s")
    usage = meter.create_histogram("gen_ai.client.token.usage", "{token}")
    model = {"gen_ai.request.model": "gpt-4o-mini", "gen_ai.provider.name": "openai"}
    given, made = ({**model, "gen_ai.token.type": kind} for kind in ("input", "output"))
    labels = {
        (route, failed): {
            "http.request.method": "POST",
            "http.route": route,
            **({"error.type": "500"} if failed else {}),
        }
        for route in _ROUTES
        for failed in (False, True)
    }

    def tell(request: Request) -> None:
        durations.record(request.latency_s, labels[request.route, request.failed])
        usage.record(request.tokens_in, given)
        usage.record(request.tokens_out, made)

    return tell


def _add(rows: Sequence[dict[str, Any]], key: str) -> int:
    return sum(int(row.get(key, 0)) for row in rows)


def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    requests = make_requests(parser.parse_args().requests)
    with WandbPeer() as peer, tempfile.TemporaryDirectory() as directory:
        os.environ.update(peer.environment)
        hand, ours = (side(requests, peer, Path(directory)) for side in (by_hand, with_us))
    idle = MeterProvider([InMemoryMetricReader()])
    alone_us = least_us(_instrument(idle), requests)
    print(f"{'':12}{'us a request':>14}{'rows':>9}" + "".join(f"{name:>13}" for name in _SUMS))
    for name, side in (("wandb.log", hand), ("ours", ours)):
        print(f"{name:12}{side.request_us:>14.2f}{side.rows:>9,}" + "".join(f"{n:>13,}" for n in side.sums))
    told = (
        len(requests),
        sum(request.failed for request in requests),
        sum(request.tokens_in for request in requests),
        sum(request.tokens_out for request in requests),
    )
    print(f"{'OTel alone':12}{alone_us:>14.2f}")
    print(f"{'as told':12}{'':>23}" + "".join(f"{n:>13,}" for n in told))
    print(
        f"{hand.request_us / ours.request_us:.0f} times less time in the request, "
        f"{hand.rows / ours.rows:,.0f} times fewer rows"
    )


if __name__ == "__main__":
    main()
