"""How fast processes append to one journal at once, and how long a single append takes at worst.

    python benchmarks/journal.py [--writers 4] [--seconds 20] [--payload-kb 256] [--fsync never]

The writers append as fast as they can. `--keep-mb` is what the journal holds before finished segments are
removed: a bridge that is far behind, so that all of it has to go to the disk. `--read` reads all of it, too.
Run it on the disk that the data directory would be on (`--directory`). On a busy machine a writer also waits
for a processor; the figures in brackets are without that (Linux).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TypeAlias

from otel_wandb.journal import FsyncMode, JournalReader, JournalWriter, Kind, measure_journal

Outcome: TypeAlias = tuple[int, list[float], list[float]]
"""Bytes appended; each append's seconds; the same without the wait for a processor."""


def append_for(
    outcomes: SimpleQueue[Outcome],
    directory: Path,
    writer: int,
    seconds: float,
    payload_kb: int,
    fsync: FsyncMode,
) -> None:
    """Append for that long, and put the outcome into the queue."""
    payload = os.urandom(payload_kb << 10)
    journal = JournalWriter(directory, writer_id=f"writer{writer}", fsync=fsync, limit_bytes=1 << 40)
    waited_s = open_wait_clock()
    latencies_s: list[float] = []
    own_s: list[float] = []
    now_s, now_waited_s = time.perf_counter(), waited_s()
    end_s = now_s + seconds
    while now_s < end_s:
        journal.append(payload, kind=Kind.OTLP_TRACES, items=100, config="0123456789abcdef")
        before_s, before_waited_s = now_s, now_waited_s
        now_s, now_waited_s = time.perf_counter(), waited_s()
        latencies_s.append(now_s - before_s)
        own_s.append(latencies_s[-1] - (now_waited_s - before_waited_s))
    outcomes.put((len(latencies_s) * len(payload), latencies_s, own_s))
    journal.close()


def open_wait_clock() -> Callable[[], float]:
    """A function that tells how long this thread has waited for a processor."""
    try:
        fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        return lambda: 0.0
    return lambda: int(os.pread(fd, 100, 0).split()[1]) / 1e9


def keep_removing(directory: Path, keep_bytes: int, stop: threading.Event) -> None:
    """Remove finished segments, the oldest first, whenever more than that is there."""
    reader = JournalReader(directory, quarantine=directory / "quarantine")
    while not stop.wait(0.05):
        excess = measure_journal(directory) - keep_bytes
        finished = [segment for segment in reader.segments() if not segment.alive]
        for segment in sorted(finished, key=lambda segment: segment.name.partition("-")[2]):
            if excess > 0:
                reader.remove(segment.name)
                excess -= segment.size


def read_on(reader: JournalReader, offsets: dict[str, int]) -> int:
    """Read what is new, and return how many bytes that were."""
    read_bytes = 0
    for segment in reader.segments():
        for item in reader.read(segment.name, offsets.get(segment.name, 0)):
            read_bytes += item.end - item.offset
            offsets[segment.name] = item.end
    return read_bytes


def run(directory: Path, options: argparse.Namespace) -> None:
    """Measure, and print one line."""
    os.sync()
    outcomes: SimpleQueue[Outcome] = multiprocessing.SimpleQueue()
    writers = [
        multiprocessing.Process(
            target=append_for,
            args=(outcomes, directory, writer, options.seconds, options.payload_kb, options.fsync),
        )
        for writer in range(options.writers)
    ]
    for process in writers:
        process.start()
    stop = threading.Event()
    remover = threading.Thread(target=keep_removing, args=(directory, options.keep_mb << 20, stop))
    remover.start()
    reader = JournalReader(directory, quarantine=directory / "quarantine")
    offsets: dict[str, int] = {}
    read_bytes = 0
    end_s = time.perf_counter() + options.seconds
    while time.perf_counter() < end_s:
        if not options.read or not (more := read_on(reader, offsets)):
            more = 0
            time.sleep(0.05)
        read_bytes += more
    results = [outcomes.get() for _ in writers]
    for process in writers:
        process.join()
    stop.set()
    remover.join()
    report(options, results, read_bytes)


def report(options: argparse.Namespace, results: list[Outcome], read_bytes: int) -> None:
    """Print the figures."""
    total_bytes = sum(result[0] for result in results)
    latencies_ms = sorted(latency_s * 1e3 for result in results for latency_s in result[1])
    own_ms = sorted(latency_s * 1e3 for result in results for latency_s in result[2])
    read = f" ({read_bytes / options.seconds / 1e6:.0f} MB/s read)" if options.read else ""
    parts = [
        f"{options.writers} writers, {options.payload_kb} KiB, fsync {options.fsync}:"
        f" {total_bytes / options.seconds / 1e6:.0f} MB/s{read}",
        f"{len(latencies_ms)} appends",
        *(
            f"{name} {latencies_ms[int(len(own_ms) * share)]:.2f} ({own_ms[int(len(own_ms) * share)]:.2f}) ms"
            for name, share in (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999))
        ),
        f"max {latencies_ms[-1]:.1f} ({own_ms[-1]:.1f}) ms",
        f"{sum(ms > 200 for ms in latencies_ms)} ({sum(ms > 200 for ms in own_ms)}) over 200 ms",
    ]
    print(", ".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--payload-kb", type=int, default=256)
    parser.add_argument("--fsync", choices=("never", "interval", "always"), default="never")
    parser.add_argument("--keep-mb", type=int, default=4096)
    parser.add_argument("--read", action="store_true")
    parser.add_argument("--directory", type=Path, default=None)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="journal-benchmark-", dir=options.directory))
    try:
        run(directory, options)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
