"""The OTLP server: what it takes, what its journal costs, how fast the bridge follows, in how much memory.

    python -m benchmarks.serve [--seconds S] [--rounds N] [--spans N]

Requests of 64 RAG traces (256 spans, 267 KB protobuf) and of 4 (16 spans), by the load generator of the tests
over loopback. `parse` is the same engine, which reads and parses the request and answers; `journal` is the
server's own process, without a bridge, so that nothing else runs. Both take turns. Then the bridge alone
works off a journal of such requests, with a profile by room; and the whole server, bridge included, has half
of what was measured offered to it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import os
import pstats
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import psutil

from otel_wandb.bridge import open_bridge
from otel_wandb.config import resolve
from otel_wandb.datadir import DataDir
from otel_wandb.ingest.grpc_engine import GrpcLimits, GrpcServer
from otel_wandb.ingest.http_answers import Site
from otel_wandb.ingest.http_engine import HttpLimits, HttpServer
from otel_wandb.ingest.otlp import count_items
from otel_wandb.ingest.server import Receipt, Receiver
from otel_wandb.ingest.tallies import Tally, make_tally_file
from otel_wandb.ingest.tokens import Tokens
from otel_wandb.journal import Codec, JournalWriter, Kind, Signal
from otel_wandb.serve_worker import JournalDesk, run_loop
from tests.peers.otlp.payloads import SPANS_PER_TRACE, build_traces, freshen
from tests.serving import Server

_LOAD = [sys.executable, "-m", "tests.peers.otlp.otlp_load", "--connections", "4"]
_SIZES = (64, 4)
_PROTOCOLS = ("http", "http-json", "grpc")
_ENGINES = ("parse", "never", "interval")


class _NoDesk:
    """Takes everything and keeps nothing."""

    slow = False

    def append(self, payload: bytes, *, kind: Kind, items: int, codec: Codec) -> None:
        """Nothing."""

    def reject(self, signal: Signal, items: int, *, reason: str) -> None:
        """Nothing."""


class _Parser(Receiver):
    """Reads and parses, and does nothing else."""

    def receive_quickly(self, kind: Kind, codec: Codec, body: bytes) -> Receipt | None:
        return Receipt(items=count_items(kind, codec, body))


def serve(engine: str, directory: str) -> None:
    """Be the server of a measurement, until SIGTERM."""

    async def run() -> None:
        settings = resolve(
            {"data_dir": directory, "fsync": "never" if engine == "parse" else engine}
        ).settings
        data_dir = DataDir(Path(directory))
        data_dir.create()
        desk = None if engine == "parse" else JournalDesk(data_dir, settings, digest=settings.digest)
        receiver = Receiver(desk) if desk is not None else _Parser(_NoDesk())
        tally, tokens = Tally(make_tally_file(1), 0), Tokens({}, None)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        with ThreadPoolExecutor(2) as pool, socket.create_server(("127.0.0.1", 0)) as listening:
            http = HttpServer(Site(receiver, tokens, show_metrics=tally.render), tally, HttpLimits(), pool)
            rpc = GrpcServer(receiver, tokens, tally, GrpcLimits(), pool)
            port = await rpc.start("127.0.0.1:0", None)
            listening.setblocking(False)
            await http.start(listening, None)
            print(f"READY {port} {listening.getsockname()[1]}", flush=True)
            await stop.wait()
            await asyncio.gather(http.stop(1), rpc.stop(1))
        if desk is not None:
            desk.close()

    run_loop(run())


@contextlib.contextmanager
def engine_running(engine: str) -> Iterator[tuple[int, str, str]]:
    """The process, and the gRPC and HTTP addresses, of a server of that kind."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "benchmarks.serve", "--engine", engine, "--directory", directory]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            select.select([process.stdout], [], [], 30)
            _, rpc, http = process.stdout.readline().split()
            try:
                yield process.pid, f"127.0.0.1:{int(rpc)}", f"127.0.0.1:{int(http)}"
            finally:
                process.terminate()


def put_load(target: str, protocol: str, traces: int, seconds: float, rate: float = 0) -> dict[str, Any]:
    """What the load generator reports."""
    command = [*_LOAD, "--target", target, "--protocol", protocol, "--batch-traces", str(traces)]
    command += ["--seconds", str(seconds), "--rate", str(rate)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    if report["error_total"]:
        print(f"  {report['errors']} of {report['requests_ok']}", file=sys.stderr)
    return report


class Taken(NamedTuple):
    """What a server took: requests a second, and what one of them cost it."""

    requests_per_s: float
    cpu_us: float


Medians: TypeAlias = dict[tuple[str, int, str], Taken]


def measure_accepting(seconds: float, rounds: int) -> Medians:
    """By protocol, traces in a request, and engine: the median of the rounds.

    All engines run all the time, and take turns of some seconds, since the machine may not be ours alone.
    """
    found: dict[tuple[str, int, str], list[Taken]] = {}
    with contextlib.ExitStack() as stack:
        engines = {engine: stack.enter_context(engine_running(engine)) for engine in _ENGINES}
        for _ in range(rounds):
            for protocol in _PROTOCOLS:
                for size in _SIZES:
                    for engine, (pid, rpc, http) in engines.items():
                        target = rpc if protocol == "grpc" else http
                        taken = measure_one(pid, target, protocol, size, seconds)
                        found.setdefault((protocol, size, engine), []).append(taken)
    return {
        key: Taken(*(statistics.median(figures) for figures in zip(*taken, strict=True)))
        for key, taken in found.items()
    }


def measure_one(pid: int, target: str, protocol: str, size: int, seconds: float) -> Taken:
    """What the server that is this process takes of one kind of request."""
    before = psutil.Process(pid).cpu_times()
    report = put_load(target, protocol, size, seconds)
    after = psutil.Process(pid).cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return Taken(report["requests_per_s"], cpu_s / report["requests_ok"] * 1e6)


def print_accepting(medians: Medians) -> None:
    """A line for each kind of request; the ratios are those of `parse` to the server with its journal."""
    engines = "".join(f"{name:>10}{'CPU us':>8}" for name in _ENGINES)
    print(f"{'requests a second':22}{engines}{'never':>8}{'by CPU':>8}{'interval':>10}{'by CPU':>8}")
    for protocol in _PROTOCOLS:
        for size in _SIZES:
            taken = [medians[protocol, size, engine] for engine in _ENGINES]
            parse = taken[0]
            figures = "".join(f"{one.requests_per_s:>10,.0f}{one.cpu_us:>8,.0f}" for one in taken)
            ratios = "".join(
                f"{one.requests_per_s / parse.requests_per_s:>{width}.2f}{parse.cpu_us / one.cpu_us:>8.2f}"
                for one, width in zip(taken[1:], (8, 10), strict=True)
            )
            print(f"{protocol:10}{size * SPANS_PER_TRACE:4} spans  {figures}{ratios}")


class Drained(NamedTuple):
    """What working off a journal came to."""

    spans: int
    wall_s: float
    cpu_s: float
    peak_bytes: int


def measure_draining(spans: int, *, profile: bool) -> Drained:
    """Journal to store, in this process, with as many spans as wanted in requests of 256."""
    with tempfile.TemporaryDirectory() as directory:
        data_dir = DataDir(Path(directory))
        data_dir.create()
        settings = resolve({"data_dir": directory, "mode": "offline"}).settings
        writer = JournalWriter(data_dir.journal, writer_id="bench")
        template = build_traces(64, 2048, 1).SerializeToString()
        each = 64 * SPANS_PER_TRACE
        for number in range(1, spans // each + 1):
            fresh = freshen(template, number)
            writer.append(fresh, kind=Kind.OTLP_TRACES, items=each, config=settings.digest)
        writer.close()
        bridge = open_bridge(data_dir, settings, replay=True, deliver=False)
        profiler = cProfile.Profile()
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        if profile:
            profiler.enable()
        bridge.finish_input()
        profiler.disable()
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        bridge.close()
    if profile:
        print_rooms(profiler)
    return Drained(spans // each * each, wall_s, cpu_s, psutil.Process().memory_info().rss)


def print_rooms(profiler: cProfile.Profile) -> None:
    """The time by room of the house; what C does counts for the room that calls it."""
    rooms: Counter[str] = Counter()
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for (file, _, _), (_, _, own_s, _, callers) in stats.items():
        if room := _room_of(file):
            rooms[room] += own_s
            continue
        for (caller, _, _), (_, _, called_s, _) in callers.items():
            rooms[_room_of(caller) or "other"] += called_s
    total_s = sum(rooms.values())
    print("the bridge's time by room:")
    for room, own_s in rooms.most_common(12):
        print(f"  {room:28}{own_s / total_s:>6.0%}")


def _room_of(file: str) -> str:
    _, found, inner = file.partition("otel_wandb/")
    if not found:
        return ""
    room, slash, module = inner.partition("/")
    return f"{room}/{module.removesuffix('.py')}" if slash and room == "ingest" else room.removesuffix(".py")


def measure_whole(rate_http: float, rate_grpc: float, seconds: float) -> None:
    """The server as it runs, with half of what it takes offered to it: latency of an answer, and memory."""
    with tempfile.TemporaryDirectory() as directory, Server(Path(directory) / "data") as server:
        peaks: Counter[str] = Counter()
        stop = threading.Event()
        watching = threading.Thread(target=_watch_memory, args=(server, peaks, stop))
        watching.start()
        print("half of that offered, bridge at work:")
        for protocol, target, rate in (("http", server.http, rate_http), ("grpc", server.grpc, rate_grpc)):
            report = put_load(target, protocol, 64, seconds, rate / 2)
            latency = report["latency_ms"]
            print(
                f"  {protocol:5} {report['spans_per_s']:>8,} spans/s   p50 {latency['p50']:>6.1f} ms   "
                f"p99 {latency['p99']:>6.1f} ms"
            )
        time.sleep(2)
        stop.set()
        watching.join()
        print(f"  peak memory: worker {peaks['worker'] >> 20} MB, bridge {peaks['bridge'] >> 20} MB")
        with contextlib.suppress(psutil.NoSuchProcess):
            info = server.data_dir.read_bridge_info()
            if info is not None:
                psutil.Process(info.pid).kill()  # a backlog of minutes is not what is measured here


def _watch_memory(server: Server, peaks: Counter[str], stop: threading.Event) -> None:
    while not stop.wait(0.1):
        info = server.data_dir.read_bridge_info()
        with contextlib.suppress(psutil.NoSuchProcess):
            for worker in server.workers():
                peaks["worker"] = max(peaks["worker"], worker.memory_info().rss)
            if info is not None:
                peaks["bridge"] = max(peaks["bridge"], psutil.Process(info.pid).memory_info().rss)


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--engine", choices=_ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        serve(options.engine, options.directory)
        return
    print(f"load average beforehand: {os.getloadavg()[0]:.1f}")
    medians = measure_accepting(options.seconds, options.rounds)
    print_accepting(medians)
    each = 64 * SPANS_PER_TRACE
    http, rpc = (medians[protocol, 64, "never"].requests_per_s * each for protocol in ("http", "grpc"))
    measure_whole(http, rpc, options.seconds)
    drained = measure_draining(options.spans, profile=False)
    print(
        f"drained: {drained.spans:,} spans, {drained.spans / drained.wall_s:,.0f} a second, "
        f"{drained.spans / drained.cpu_s:,.0f} a second of CPU; memory {drained.peak_bytes >> 20} MB"
    )
    measure_draining(options.spans // 4, profile=True)


if __name__ == "__main__":
    main()
