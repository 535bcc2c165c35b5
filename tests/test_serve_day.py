"""A day of traffic on a server, in minutes on a fast clock: flat memory, bounded disk, and nothing lost.

It takes some six minutes: four for the day, one for the night before, and W&B's time for the last tables.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_wandb.journal import measure_journal
from otel_wandb.status import read_status
from otel_wandb.store import Store
from tests.deadlines import wait_for
from tests.otlp_samples import Request
from tests.peers.fixtures_wandb import OneKeyPeer
from tests.peers.wandb import WandbPeer
from tests.services.fast_clock import FastClock
from tests.services.fast_day import HOUR_NS, MINUTE_NS, NIGHT_MINUTES, NIGHT_SPANS, SPANS, Day, make_night
from tests.serving import METHODS, PATHS, PROTOBUF, Server, bridge_of, call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RATE: Final = 360
"""A day in four minutes."""
FROM_NS: Final = 1_799_982_000_000_000_000
"""2027-01-15 03:00 UTC. The night begins at the next full hour; two thirds through the day it is midnight."""
SEGMENT_BYTES: Final = 1 << 20
STORE_BYTES: Final = 32 << 20
MARGIN: Final = 1.04
"""What memory may grow by from one third of the day to the next: 10 MB, or 2.5 KB for each of its traces."""
SETTINGS: Final = f"""
project: team/rag
lateness_s: 600
linger_s: 300
segment_bytes: {SEGMENT_BYTES}
store_limit_bytes: {STORE_BYTES}
drain_timeout_s: 60
prices:
  rag-small: {{input: 1, output: 4}}
  rag-large: {{input: 10, output: 40}}
  rag-vectors: {{input: 0.1}}
cost_by: user.id
views:
  - {{view: slo, instrument: http.server.request.duration, objective: 0.9, threshold_s: 2.5}}
  - {{view: budget, usd_per_day: 50, by: [user.id]}}
"""
ENDING_S: Final = 300.0
"""A run has a row with tables for each hour, and each waits for the one before, on the real clock."""


class Sample(NamedTuple):
    """What processes and files took at a time of the fast clock."""

    at_ns: int
    worker_bytes: int
    bridge_bytes: int
    journal_bytes: int
    store_bytes: int


@contextmanager
def watch(server: Server, clock: FastClock) -> Iterator[list[Sample]]:
    """The samples, one each half second, as long as the block runs."""
    samples: list[Sample] = []
    stop = threading.Event()
    (worker,), bridge = server.workers(), bridge_of(server.data_dir)

    def look() -> None:
        while not stop.wait(0.5):
            sample = Sample(
                clock.now_ns(),
                worker_bytes=worker.memory_info().rss,
                bridge_bytes=bridge.memory_info().rss,
                journal_bytes=measure_journal(server.data_dir.journal),
                store_bytes=server.data_dir.store.stat().st_size,
            )
            samples.append(sample)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
    assert worker.is_running()
    assert bridge.is_running()


def live(server: Server, clock: FastClock, night_ns: int, day: Day) -> None:
    """Send each minute of the night and the day when it has passed; what is refused for now comes again."""
    with server.client() as client, server.channel() as channel:

        def send(request: Request) -> bool:
            body, kind = request.SerializeToString(), type(request)
            if isinstance(request, ExportTraceServiceRequest):
                with suppress(grpc.RpcError):
                    return call(channel, body, METHODS[kind]) == b""
                return False
            answer = client.post(PATHS[kind], content=body, headers={"content-type": PROTOBUF})
            assert answer.status_code in (200, 503)
            return answer.status_code == 200

        for end_ns, requests in chain(make_night(night_ns), day.minutes()):
            clock.sleep_until(end_ns)
            for request in requests:
                wait_for(lambda request=request: send(request))  # type: ignore[misc]


@pytest.fixture(scope="module")
def weave() -> Iterator[OneKeyPeer]:
    with OneKeyPeer() as peer:
        yield peer


def test_a_day(weave: OneKeyPeer, wandb_peer: WandbPeer, tmp_path: Path) -> None:
    config = tmp_path / "otel-wandb.yaml"
    config.write_text(SETTINGS)
    clock = FastClock.begin(FROM_NS, RATE)
    environ = {**weave.environment, **wandb_peer.environment, **clock.environ(tmp_path / "hook")}
    with Server(tmp_path / "data", "--config", str(config), environ=environ, deliver=True) as server:
        night_ns = (clock.now_ns() // HOUR_NS + 1) * HOUR_NS
        day = Day(night_ns + NIGHT_MINUTES * MINUTE_NS)
        with watch(server, clock) as samples:
            live(server, clock, night_ns, day)
            wait_for(lambda: not waiting(server), ENDING_S)
        check_ledger(server, day)
        check_store(server, day)
    check_memory(samples, day)
    check_disk(samples, day)
    check_calls(weave, day)
    check_rows(wandb_peer, day)


def waiting(server: Server) -> dict[str, int]:
    lines = read_status(server.data_dir).ledger.lines
    return {signal: line.waiting for signal, line in lines.items() if line.waiting}


def check_memory(samples: Sequence[Sample], day: Day) -> None:
    """The last third of the day takes no more than the second, which has the same load.

    What is remembered by number, such as the youngest model calls, has been full since the night.
    """
    third_ns = (day.end_ns - day.begin_ns) // 3
    thirds: dict[int, list[Sample]] = {}
    for sample in samples:
        thirds.setdefault((sample.at_ns - day.begin_ns) // third_ns, []).append(sample)
    for process in ("worker_bytes", "bridge_bytes"):
        second, last = (max(getattr(sample, process) for sample in thirds[n]) for n in (1, 2))
        assert last <= second * MARGIN, (process, second, last)


def check_disk(samples: Sequence[Sample], day: Day) -> None:
    """What is finished goes: the journal stays at a few segments, the store at what it has room for."""
    journal = [sample.journal_bytes for sample in samples if sample.at_ns >= day.begin_ns]
    assert max(journal) <= 16 * SEGMENT_BYTES
    assert journal[-1] <= SEGMENT_BYTES
    assert samples[-1].store_bytes <= 2 * STORE_BYTES  # it may pass its limit by what is read at once
    assert samples[-1].store_bytes <= MARGIN * max(
        s.store_bytes for s in samples if s.at_ns < day.begin_ns + HOUR_NS
    )


def check_ledger(server: Server, day: Day) -> None:
    """All is in it that was sent, and all of it became something."""
    ledger = read_status(server.data_dir).ledger
    assert ledger.imbalance() == {}
    sent = {**day.sent, "spans": day.sent["spans"] + NIGHT_SPANS}
    assert {signal: ledger.lines[signal].received for signal in sent} == sent
    assert ledger.lines["spans"].delivered == ledger.lines["calls"].delivered == sent["spans"]
    assert ledger.lines["log_records"].delivered == day.sent["log_records"]
    assert ledger.lines["feedback"].delivered == day.judged
    assert ledger.lines["rows"].delivered == ledger.lines["rows"].received
    assert ledger.lines["tables"].delivered == ledger.lines["tables"].received
    assert ledger.lines["metric_points"].dropped == {"no_baseline": day.unfounded}


def check_store(server: Server, day: Day) -> None:
    """What keeps repeats out is forgotten after an hour: less than a tenth of the day is left."""
    store = Store.open_for_reading(server.data_dir.store)
    try:
        assert len(list(store.digests())) < day.requests / 10
        assert len(list(store.recent())) < len(day.asked) / 10
    finally:
        store.close()


def check_calls(weave: OneKeyPeer, day: Day) -> None:
    """Every span once."""
    calls = Counter(call.id for call in weave.accepted())
    assert set(calls.values()) == {1}
    ids = {one.span_id(place).hex() for one in day.asked for place in range(SPANS)}
    assert ids <= calls.keys()
    assert len(calls) == len(ids) + NIGHT_SPANS


def check_rows(peer: WandbPeer, day: Day) -> None:
    """Each interval has one row at most, and in it is what happened then, but for what came late."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for run_id, run in peer.runs().items():
        assert peer.steps(run_id) == sorted(set(peer.steps(run_id)))
        rows.setdefault(str(run["group"]), []).extend(peer.history(run_id))
    assert rows.keys() == {"gateway", "rag", "jobs", "batch"}
    assert len(peer.runs()) == 7  # midnight began the next ones, but for that of the night
    assert peer.conflicts() == []
    for found in rows.values():
        assert len({row["_timestamp"] for row in found}) == len(found)
    gateway, rag, jobs = (rows[name] for name in ("gateway", "rag", "jobs"))
    assert total(gateway, "latency/count") == total(gateway, "errors/request_count") == day.measured
    assert total(rag, "latency/rag_count") == total(rag, "latency/retrieval_wares_count") == len(day.asked)
    assert total(jobs, "metrics/jobs_done") == day.jobs
    ends_s = {end_ns // 10**9 for end_ns in range(day.begin_ns + MINUTE_NS, day.end_ns + 1, MINUTE_NS)}
    missing = ends_s - {round(row["_timestamp"]) for row in jobs}
    assert len(missing) <= total(jobs, "bridge/late_points")
    ended = Counter(one.minute_end_s for one in day.asked)
    told = Counter({round(row["_timestamp"]): row.get("latency/rag_count", 0) for row in rag})
    assert (ended - told).total() <= total(rag, "bridge/late_spans")
    for found in (gateway, rag):
        check_tables(peer, found, day)


def check_tables(peer: WandbPeer, rows: Sequence[dict[str, Any]], day: Day) -> None:
    """A table an hour, and all requests in them by their weights."""
    hours = [row for row in rows if "requests" in row]
    assert len(hours) == 24
    weights = 0.0
    for row in hours:
        table = peer.table(row["requests"])
        weights += sum(cells[table["columns"].index("weight")] for cells in table["data"])
    assert weights == pytest.approx(len(day.asked))


def total(rows: Sequence[dict[str, Any]], key: str) -> float:
    return sum(float(row.get(key, 0)) for row in rows)
