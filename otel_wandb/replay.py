"""OTLP files through the whole house, with event time as the clock: the same files give the same outcome."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from otel_wandb.alert_report import encode_stored_alert
from otel_wandb.bridge import Bridge, open_bridge
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.errors import InputError, JournalFull
from otel_wandb.export import encode_rows, encode_stored_call, encode_stored_feedback, write_lines
from otel_wandb.fronts import FrontCounters
from otel_wandb.ingest.files import Request, Unreadable, read_requests
from otel_wandb.ingest.otlp import decode
from otel_wandb.journal import Codec, JournalWriter
from otel_wandb.metrics.intervals import DAY_NS
from otel_wandb.metrics.runs import service_of
from otel_wandb.records import LogBatch, Resource, SpanBatch
from otel_wandb.store import StoreReader

_STEP_BYTES = 8 << 20


@dataclass(slots=True)
class Replay:
    """What a replay did: the traces that it met, what it could not read, and whether all was delivered."""

    trace_ids: set[str] = field(default_factory=set)
    run_ids: set[str] = field(default_factory=set)
    unreadable: list[Unreadable] = field(default_factory=list)
    delivered: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, order=True)
class _Item:
    event_ns: int
    tie: bytes
    """What comes first at one time: the same, in whatever order the files were given."""
    content: Request | Unreadable = field(compare=False)
    trace_ids: frozenset[str] = field(default=frozenset(), compare=False)
    moments: frozenset[tuple[str, int]] = field(default=frozenset(), compare=False)
    """(service, time) of its data points, and of the days of its spans and log records."""


def replay_files(
    paths: Sequence[Path],
    settings: Settings,
    data_dir: DataDir,
    *,
    deliver: bool = True,
    deliver_timeout_s: float = 60.0,
) -> Replay:
    """Replay the files, interleaved in event time where there are several, and finish every trace.

    Raises `BridgeRunning` where a bridge works on the directory, `InputError` for a file that is not there,
    `JournalFull` where the directory has no room even for what is being worked off.
    """
    outcome = Replay()
    bridge = open_bridge(data_dir, settings, replay=True, deliver=deliver)
    try:
        data_dir.write_config(settings.to_json(), settings.digest)
        writer_id = f"{os.getpid():x}x{os.urandom(6).hex()}"
        journal = JournalWriter(data_dir.journal, writer_id=writer_id, fsync=settings.fsync)
        counters = FrontCounters(data_dir.fronts, writer_id=writer_id)
        try:
            for item in _merge([_read(path) for path in paths]):
                _feed(item, journal, counters, bridge, settings.digest, outcome)
        finally:
            journal.close()
            counters.close()
        bridge.finish_input()
        if deliver:
            outcome.problem = bridge.deliver_due(deliver_timeout_s)
            outcome.delivered = not outcome.problem
        return outcome
    finally:
        bridge.close()


def merge_requests(paths: Sequence[Path]) -> Iterator[Request]:
    """The requests of all files in event time, as `replay_files` takes them; what is no OTLP is left out."""
    for item in _merge([_read(path) for path in paths]):
        if isinstance(item.content, Request):
            yield item.content


def _read(path: Path) -> Iterator[_Item]:
    newest_ns = 0  # a file keeps its own order, also where its times go back
    for content in read_requests(path):
        if isinstance(content, Unreadable):
            yield _Item(newest_ns, content.place.encode(), content)
            continue
        item = _look_at(content)
        newest_ns = max(newest_ns, item.event_ns)
        yield replace(item, event_ns=newest_ns)


def _merge(files: Sequence[Iterable[_Item]]) -> Iterator[_Item]:
    """All items in event time: records and spans of a trace come together though their files are two."""
    return heapq.merge(*files)


def _look_at(request: Request) -> _Item:
    try:
        batches = decode(request.kind, Codec.PLAIN, request.payload).batches
    except InputError:
        return _Item(0, request.payload, request)  # the bridge rejects and counts it
    times_ns = [0]
    trace_ids: set[str] = set()
    moments: set[tuple[str, int]] = set()
    for batch in batches:
        if isinstance(batch, SpanBatch):
            times_ns += [span.end_ns for span in batch.spans]
            trace_ids.update(span.trace_id for span in batch.spans)
            moments.update(_days_of(batch.resource, [span.end_ns for span in batch.spans]))
        elif isinstance(batch, LogBatch):
            trace_ids.update(record.trace_id for record in batch.records if record.trace_id)
            told_ns = [record.time_ns or record.observed_ns for record in batch.records]
            times_ns += told_ns
            moments.update(_days_of(batch.resource, told_ns))  # of scores there are rows
        else:
            points_ns = [point.time_ns for metric in batch.metrics for point in metric.points]
            times_ns += points_ns
            moments.update((service_of(batch.resource.attributes), time_ns) for time_ns in points_ns)
    median_ns = sorted(times_ns)[len(times_ns) // 2]
    return _Item(median_ns, request.payload, request, frozenset(trace_ids), frozenset(moments))


def _days_of(resource: Resource, times_ns: Iterable[int]) -> Iterator[tuple[str, int]]:
    service = service_of(resource.attributes)
    yield from ((service, day * DAY_NS + 1) for day in {(time_ns - 1) // DAY_NS for time_ns in times_ns})


def _feed(
    item: _Item,
    journal: JournalWriter,
    counters: FrontCounters,
    bridge: Bridge,
    digest: str,
    outcome: Replay,
) -> None:
    content = item.content
    if isinstance(content, Unreadable):
        outcome.unreadable.append(content)
        counters.add(content.signal or "spans", "rejected", "malformed", 1)
        return
    outcome.trace_ids |= item.trace_ids
    outcome.run_ids |= {bridge.locate_run(service, time_ns) for service, time_ns in item.moments}
    while True:
        try:
            journal.append(content.payload, kind=content.kind, items=content.items, config=digest)
            break
        except JournalFull:
            if not bridge.step():
                raise
    if bridge.backlog_bytes() >= _STEP_BYTES:
        while bridge.step():
            pass


def write_rows(path: Path, data_dir: DataDir, run_ids: set[str]) -> None:
    """Write the stored rows of these runs, one JSON object a line, by project, run and step."""

    def lines(reader: StoreReader) -> Iterator[bytes]:
        runs = [run for run in reader.runs() if run.run_id in run_ids]
        for run in sorted(runs, key=lambda run: (run.entity, run.project, run.run_id)):
            yield from encode_rows(reader, run)

    write_lines(data_dir, path, lines)


def write_alerts(path: Path, data_dir: DataDir, run_ids: set[str]) -> None:
    """Write the stored alerts of these runs, one JSON object a line, by project, time, service and name."""

    def lines(reader: StoreReader) -> Iterator[bytes]:
        alerts = [alert for alert in reader.alerts.all() if alert.run in run_ids]
        alerts.sort(key=lambda one: (one.entity, one.project, one.time_s, one.service, one.name, one.state))
        yield from map(encode_stored_alert, alerts)

    write_lines(data_dir, path, lines)


def write_feedback(path: Path, data_dir: DataDir, trace_ids: set[str]) -> None:
    """Write the stored feedback on calls of these traces, one JSON object a line, by trace, call and id."""

    def lines(reader: StoreReader) -> Iterator[bytes]:
        found = [one for one in reader.feedback.all() if one.trace_id in trace_ids]
        found.sort(key=lambda one: (one.trace_id, one.span_id, one.uid))
        yield from map(encode_stored_feedback, found)

    write_lines(data_dir, path, lines)


def write_calls(path: Path, data_dir: DataDir, trace_ids: set[str]) -> None:
    """Write the stored calls of these traces, one JSON object a line, by start, trace and id.

    A call that an earlier replay stored is among them, so that two replays of one file write the same.
    """

    def lines(reader: StoreReader) -> Iterator[bytes]:
        # In order without all bodies in memory: their places first.
        places = sorted((c.started_us, c.trace_id, c.span_id, c.id) for c in reader.calls(trace_ids))
        for _, _, _, call_id in places:
            yield encode_stored_call(reader.call(call_id))

    write_lines(data_dir, path, lines)
