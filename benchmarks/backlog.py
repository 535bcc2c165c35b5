"""A backlog that the bridge works off: how fast, in how many processes, in how much memory, without a loss.

    python -m benchmarks.backlog [--spans N] [--processes 0 2] [--budget TRACES] [--rounds N]

RAG traces of four spans in requests of 256 spans, 267 KB of protobuf each, are written into a journal as the
server would; then a real bridge process reads it, as it does when it was away for a while. The rate is that
between the first commit and four fifths of all, so neither its start nor the seconds that the last traces
linger are in it. Rounds of different numbers of processes take turns. `--budget` samples traces as well.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.journal import JournalWriter, Kind
from otel_wandb.status import read_status
from tests.peers.otlp.payloads import SPANS_PER_TRACE, build_traces, freshen

_TRACES = 64
_SPANS = _TRACES * SPANS_PER_TRACE
_LOOK_S = 0.2
_DONE = "SELECT total(n) FROM counts WHERE signal = 'spans' AND outcome IN ('delivered', 'sampled_out')"
_JOURNAL_BYTES = 64 << 30


class Seen(NamedTuple):
    """A look at the bridge."""

    at_s: float
    done: int
    """Spans that are stored, or left out by sampling."""
    cpu_s: float
    own_cpu_s: float
    memory_bytes: int
    """Of the bridge and of its processes together."""


class Worked(NamedTuple):
    """What a backlog came to."""

    spans_per_s: float
    cpu_us: float
    """Of a span, in all processes."""
    own_cpu_us: float
    """The same in the bridge's own."""
    peak_bytes: int
    slowing: float
    """The rate towards the end to that at the beginning."""


def write_backlog(data_dir: DataDir, settings: Settings, requests: int) -> None:
    """The journal of a server that has taken so many requests."""
    data_dir.create()
    data_dir.write_config(settings.to_json(), settings.digest)
    writer = JournalWriter(data_dir.journal, writer_id="bench", limit_bytes=_JOURNAL_BYTES)
    template = build_traces(_TRACES, 2048, 1).SerializeToString()
    for number in range(1, requests + 1):
        body = freshen(template, number)
        writer.append(body, kind=Kind.OTLP_TRACES, items=_SPANS, config=settings.digest)
    writer.close()


def look(bridge: psutil.Process, data_dir: DataDir) -> Seen:
    """What the bridge has done so far, and what it has used."""
    processes = [bridge, *bridge.children(recursive=True)]
    times = []
    memory_bytes = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            user, system, *_ = process.cpu_times()
            times.append(user + system)
            memory_bytes += process.memory_info().rss
    return Seen(time.perf_counter(), count_done(data_dir), sum(times), times[0], memory_bytes)


def count_done(data_dir: DataDir) -> int:
    """How many spans are stored, or left out: a look at the store alone, for `status` reads the journal."""
    with (
        contextlib.suppress(sqlite3.OperationalError),
        sqlite3.connect(f"file:{data_dir.store}?mode=ro", uri=True) as store,
    ):
        return int(store.execute(_DONE).fetchone()[0])
    return 0


def work_off(spans: int, processes: int, budget: int) -> Worked:
    """The work of one bridge on a fresh backlog. Raises AssertionError where something was lost."""
    requests = spans // _SPANS
    with tempfile.TemporaryDirectory() as directory:
        data_dir = DataDir(Path(directory))
        settings = Settings(mode="offline", conversion_processes=processes, traces_per_minute=budget)
        write_backlog(data_dir, settings, requests)
        command = [sys.executable, "-m", "otel_wandb.bridge_process", "--no-deliver"]
        command += ["--data-dir", directory, "--settings", settings.digest]
        seen: list[Seen] = []
        with subprocess.Popen(command) as bridge:
            process = psutil.Process(bridge.pid)
            while not seen or seen[-1].done < requests * _SPANS:
                time.sleep(_LOOK_S)
                seen.append(look(process, data_dir))
            bridge.terminate()
        ledger = read_status(data_dir).ledger
    line = ledger.lines["spans"]
    assert ledger.imbalance() == {}, ledger
    assert line.received == requests * _SPANS == line.delivered + line.sampled_out, line
    assert ledger.lines["calls"].received == line.delivered, ledger
    changes = [one for before, one in itertools.pairwise(seen) if one.done != before.done]
    first = changes[0]
    early, late, last = (
        next(one for one in changes if one.done >= line.received * share) for share in (0.3, 0.5, 0.8)
    )
    done = last.done - first.done
    return Worked(
        _rate(first, last),
        (last.cpu_s - first.cpu_s) / done * 1e6,
        (last.own_cpu_s - first.own_cpu_s) / done * 1e6,
        max(one.memory_bytes for one in seen),
        _rate(late, last) / _rate(first, early),
    )


def _rate(begin: Seen, end: Seen) -> float:
    return (end.done - begin.done) / (end.at_s - begin.at_s)


def main() -> None:
    """Print a line for each number of processes; ratios are to the first of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--budget", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"load average beforehand: {os.getloadavg()[0]:.1f}; {os.cpu_count()} processors")
    found: dict[int, list[Worked]] = {}
    for _ in range(options.rounds):
        for processes in options.processes:
            found.setdefault(processes, []).append(work_off(options.spans, processes, options.budget))
    rates = {
        processes: statistics.median(one.spans_per_s for one in all_) for processes, all_ in found.items()
    }
    for processes, all_ in found.items():
        cpu_us = statistics.median(one.cpu_us for one in all_)
        own_us = statistics.median(one.own_cpu_us for one in all_)
        peak = max(one.peak_bytes for one in all_) >> 20
        slowing = statistics.median(one.slowing for one in all_)
        print(
            f"{processes} processes: {rates[processes]:>8,.0f} spans/s "
            f"({rates[processes] / rates[options.processes[0]]:.2f}), CPU {cpu_us:.0f} us a span, "
            f"{own_us:.0f} of them in the bridge's own; memory {peak} MB; at the end {slowing:.2f} of the "
            "beginning; nothing lost"
        )


if __name__ == "__main__":
    main()
