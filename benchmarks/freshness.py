"""How long after a request has ended its trace can be read: in our store, and in a Weave server.

`python -m benchmarks.freshness [--requests N] [--per-second R] [--goal-s S]`

The service (`benchmarks/service.py`) runs under `otel-wandb run` with the default settings and answers
requests at a steady rate. Two readers ask for what they do not have yet: one reads the store, one asks a real
trace server (its data in memory) by `calls/stream_query`. A trace counts when its root is read.
Exits 1 where p95 in Weave is beyond the goal.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import httpx

from benchmarks.variants import RUN, Variant
from otel_wandb.datadir import DataDir
from otel_wandb.errors import StoreError
from otel_wandb.store import Store
from tests.peers.fixtures_wandb import OneKeyPeer
from tests.peers.wandb import WandbPeer

_PROJECT: Final = "team/fresh"
_TIMEOUT_S: Final = 60.0
_GOAL_S: Final = 15.0
_STORE_EVERY_S: Final = 0.1
_WEAVE_EVERY_S: Final = 0.25

Ends = dict[str, float]
"""When the request of each trace ended; of the monotonic clock."""


async def send(port: int, ends: Ends, *, requests: int, per_second: float) -> None:
    """Send the requests at their times, whether or not those before are answered, and note their ends."""
    begin_s = time.monotonic()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:

        async def ask(number: int) -> None:
            await asyncio.sleep(max(0.0, begin_s + number / per_second - time.monotonic()))
            answer = await client.post("/chat", json={"question": f"When is museum {number} open?"})
            ends[str(answer.raise_for_status().json()["trace_id"])] = time.monotonic()

        await asyncio.gather(*map(ask, range(requests)))


async def watch(
    read: Callable[[set[str]], Iterable[str]], ends: Ends, *, requests: int, every_s: float
) -> list[float]:
    """Seconds from the end of each request to when its trace was read, for those that were in time."""
    seen: Ends = {}
    last_s = time.monotonic()
    while len(seen) < requests and time.monotonic() < last_s + _TIMEOUT_S:
        wanted = ends.keys() - seen.keys()
        if wanted:
            found = await asyncio.to_thread(read, wanted)
            seen |= dict.fromkeys(wanted.intersection(found), time.monotonic())
        last_s = max(ends.values(), default=last_s)
        await asyncio.sleep(every_s)
    return sorted(at_s - ends[trace_id] for trace_id, at_s in seen.items())


def read_store(data_dir: DataDir, wanted: set[str]) -> Iterable[str]:
    """The wanted traces whose calls are in the store."""
    try:
        with closing(Store.open_for_reading(data_dir.store)) as reader:
            return {call.trace_id for call in reader.calls(sorted(wanted))}
    except StoreError:  # not there yet
        return ()


def read_weave(client: httpx.Client, wanted: set[str]) -> Iterable[str]:
    """The wanted traces whose root Weave shows."""
    query = {
        "project_id": _PROJECT,
        "filter": {"trace_ids": sorted(wanted), "trace_roots_only": True},
        "columns": ["id", "trace_id"],
    }
    answer = client.post("/calls/stream_query", json=query)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return ()
    return {json.loads(line)["trace_id"] for line in answer.raise_for_status().text.splitlines() if line}


def report(place: str, ages_s: list[float], requests: int) -> float:
    """Print a line; p95, infinite where not all were seen."""
    if not ages_s:
        print(f"{place:16}nothing arrived")
        return float("inf")
    p50, p95 = (ages_s[min(len(ages_s) - 1, int(len(ages_s) * q))] for q in (0.5, 0.95))
    times = f"p50 {p50:5.2f} s   p95 {p95:5.2f} s   max {ages_s[-1]:5.2f} s"
    print(f"{place:16}{len(ages_s):6} of {requests}   {times}")
    return p95 if len(ages_s) == requests else float("inf")


async def measure(
    variant: Variant, weave: OneKeyPeer, data_dir: DataDir, options: argparse.Namespace
) -> float:
    """p95 of the ages in Weave, in seconds."""
    ends: Ends = {}
    with httpx.Client(base_url=weave.url, auth=("api", weave.api_key), trust_env=False, timeout=30) as client:
        _, stored, shown = await asyncio.gather(
            send(variant.port, ends, requests=options.requests, per_second=options.per_second),
            watch(
                lambda wanted: read_store(data_dir, wanted),
                ends,
                requests=options.requests,
                every_s=_STORE_EVERY_S,
            ),
            watch(
                lambda wanted: read_weave(client, wanted),
                ends,
                requests=options.requests,
                every_s=_WEAVE_EVERY_S,
            ),
        )
    print("from the end of a request until its trace can be read:")
    report("in the store", stored, options.requests)
    return report("in Weave", shown, options.requests)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--per-second", type=float, default=15.0)
    parser.add_argument("--goal-s", type=float, default=_GOAL_S, help="p95 in Weave, in seconds")
    options = parser.parse_args()
    busy_before = os.getloadavg()[0]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        weave, wandb = stack.enter_context(OneKeyPeer()), stack.enter_context(WandbPeer())
        data_dir = DataDir(directory / "data")
        environ = {**weave.environment, **wandb.environment, "OTEL_WANDB_PROJECT": _PROJECT}
        environ["OTEL_WANDB_DIR"] = str(data_dir.path)
        variant = Variant("otel-wandb run", "outside", environ, launcher=RUN, data_dir=data_dir)
        stack.callback(variant.kill)
        variant.start(directory / "log")
        met = asyncio.run(measure(variant, weave, data_dir, options)) <= options.goal_s
        with contextlib.suppress(ProcessLookupError):
            variant.stop()
    print(
        f"{options.per_second:g} requests a second, default settings, {os.cpu_count()} processors; "
        f"load average before: {busy_before:.1f}.\n"
        f"Goal: p95 in Weave <= {options.goal_s:g} s: {'met' if met else 'NOT MET'}"
    )
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
