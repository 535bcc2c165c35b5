"""How fast calls are stored, and whether that falls as the store grows.

    python benchmarks/store.py
    python benchmarks/store.py --rows 0 500000 2000000 --dir /var/tmp

At each size a window of calls is added as the bridge adds them: a thousand in a transaction, with their
reading position, counters, a digest and a memory of each trace. Printed are calls a second by the wall clock
and by the CPU of this process, the longest transaction, and what reading costs at that size.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from otel_wandb.store import NewCall, Store

_BATCH_CALLS = 1000
_SPANS_A_TRACE = 5


class Feed:
    """Calls with bodies that are all different, as fast as they can be made."""

    def __init__(self, store: Store, size_bytes: int) -> None:
        self.stored = 0
        self._store = store
        self._size = size_bytes
        self._noise = random.Random(1).randbytes(4 * size_bytes)
        with store.transaction() as tx:
            self._destination = tx.add_destination("c" * 16, "team", "rag")

    def add(self, calls: int) -> float:
        """Store the calls; the seconds that the longest transaction took."""
        longest_s = 0.0
        for _ in range(0, calls, _BATCH_CALLS):
            started_s = time.perf_counter()
            with self._store.transaction() as tx:
                for _ in range(_BATCH_CALLS):
                    tx.add_call(self._make())
                for trace in range(0, _BATCH_CALLS, _SPANS_A_TRACE):
                    tx.remember(f"{trace:032x}", b"m" * 17 * _SPANS_A_TRACE, self.stored)
                tx.add_digests([(os.urandom(16), self.stored)])
                tx.add_count("spans", "received", _BATCH_CALLS)
                tx.add_count("spans", "delivered", _BATCH_CALLS)
                tx.set_waiting("spans", 100)
                tx.set_mark("a-00000000.seg", self.stored, self.stored)
            longest_s = max(longest_s, time.perf_counter() - started_s)
        return longest_s

    def _make(self) -> NewCall:
        self.stored += 1
        n = self.stored
        start = n * 7919 % (3 * self._size)
        return NewCall(
            destination=self._destination,
            trace_id=f"{n // _SPANS_A_TRACE:032x}",
            span_id=f"{n:016x}",
            started_us=1_700_000_000_000_000 + n,
            run="",
            step=None,
            body=self._noise[start : start + self._size],
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[0, 50_000, 150_000], help="sizes to measure at"
    )
    parser.add_argument("--window", type=int, default=30_000, help="calls to add at each size")
    parser.add_argument("--bytes", type=int, default=3000, help="size of a body")
    parser.add_argument("--fsync", choices=["never", "interval", "always"], default="never")
    parser.add_argument(
        "--dir", type=Path, default=None, help="where to put the store (default: a new directory)"
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.dir))
    try:
        with contextlib.closing(Store.open(folder / "store.sqlite", fsync=options.fsync)) as store:
            measure(store, options.rows, options.window, options.bytes)
    finally:
        shutil.rmtree(folder)


def measure(store: Store, sizes: list[int], window: int, body_bytes: int) -> None:
    feed = Feed(store, body_bytes)
    print("rows stored  calls/s  calls/CPU-s  longest  outbox size  due(1000)  one trace  held")
    for size in sorted(sizes):
        feed.add(max(0, size - feed.stored))
        before = feed.stored
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        longest_s = feed.add(window)
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
        count_s, due_s, search_s = time_reads(store, feed.stored)
        print(
            f"{before:11,}  {window / wall_s:7,.0f}  {window / cpu_s:11,.0f}  {longest_s * 1000:4.0f} ms"
            f"  {count_s * 1000:8.1f} ms  {due_s * 1000:6.1f} ms  {search_s * 1000:6.0f} ms"
            f"  {store.reader.size_bytes() >> 20:,} MiB",
            flush=True,
        )


def time_reads(store: Store, last_id: int) -> tuple[float, float, float]:
    """Seconds for the count of the outbox, for a full batch of it, and for the calls of one trace."""
    reader = store.reader
    moments_s = [time.perf_counter()]
    assert reader.outbox_size() == last_id
    moments_s.append(time.perf_counter())
    assert len(reader.due(1, 1000, 31 << 20, after_id=last_id // 2)) == 1000
    moments_s.append(time.perf_counter())
    assert len(list(reader.calls([f"{last_id // 2 // _SPANS_A_TRACE:032x}"]))) == _SPANS_A_TRACE
    moments_s.append(time.perf_counter())
    first, second, third = (end - start for start, end in pairwise(moments_s))
    return first, second, third


if __name__ == "__main__":
    main()
