"""Data points in, closed intervals out: every point counted once, in the interval that it belongs to.

A point belongs to the interval of its run in which its time lies. The interval closes when the watermark, the
newest event time less `lateness`, has passed its end; live, when the wall clock has. What comes later is put
into the next one. Repeats are dropped, cumulative streams are taken apart into what came in between, and what
several processes measured is merged exactly.

A crash costs nothing: the frames of the points of an open interval are held, and come again. Which of their
points are in a row already follows from what was stored with that row: how far the intervals were closed, and
how far the journal was read. Intervals close between two frames only, so a restart there changes nothing.

What spans told (`from_spans`) is in the same intervals. Its frames do not come again, so it is among the
states at once, and not only with its row.

Pure: the caller brings the time and the frames, and stores what `take_states` gives.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from otel_wandb.marks import FrameRef, Marks
from otel_wandb.metrics.cells import Memory
from otel_wandb.metrics.closed import ClosedInterval
from otel_wandb.metrics.from_spans import Clock, Told, decode_clock, decode_totals, encode_clock
from otel_wandb.metrics.histogram import InvalidPointError
from otel_wandb.metrics.intervals import DAY_NS, SECOND_NS, Calendar, Interval
from otel_wandb.metrics.memories import Memories
from otel_wandb.metrics.opened import MeasureOf, OpenInterval, Twin, measure_nothing
from otel_wandb.metrics.points import (
    SHOW_ALL,
    Digests,
    Kind,
    Shown,
    Stream,
    digest_resource,
    encode_attributes,
    read_kind,
    read_stream,
    read_value,
)
from otel_wandb.metrics.remembered import PREFIX, decode_standing
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.metrics.service import Service
from otel_wandb.records import Metric, MetricBatch, Point, Resource

_log = logging.getLogger("otel_wandb.metrics")

_OTHER_SERVICE: Final = "other"
_IDLE_NS: Final = 2 * DAY_NS
_NO_FRAME: Final[FrameRef] = ("", 0)


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How time is cut, how long is waited, and how much may be open at once. Times in nanoseconds."""

    calendar: Calendar = field(default_factory=Calendar)
    lateness_ns: int = 15 * SECOND_NS
    grace_ns: int = SECOND_NS
    """How much longer than `lateness_ns` an interval waits on the wall clock."""
    future_ns: int = 3600 * SECOND_NS
    """Live, points further ahead of the clock than this are dropped."""
    first_reach_ns: int = 600 * SECOND_NS
    """A cumulative stream that is first seen so soon after its start counts from there."""
    max_series: int = 2_000
    """Sets of attributes of an instrument in an interval; all beyond are one, `otel.metric.overflow`."""
    max_streams: int = 100_000
    """Streams in open intervals, and cumulative streams that are remembered."""
    max_services: int = 1_000
    """Services; the data of all beyond go to one that is called `other`."""


@dataclass(slots=True)
class _Placing:
    """What is the same for all points of a batch."""

    service: Service
    batch: MetricBatch
    resource: bytes
    config: str
    frame: FrameRef
    written_ns: int
    again: bool
    shown: Shown
    times_ns: list[int] = field(default_factory=list)


class Streams:
    """The open intervals of all services. Not thread-safe.

    `twins` are the instruments that measure the same under an older and a newer name; `measure_of` tells
    what points measure; `replay` says that the newest event time is the only clock.
    """

    def __init__(
        self,
        limits: StreamLimits,
        marks: Marks,
        *,
        twins: Sequence[Twin] = (),
        measure_of: MeasureOf = measure_nothing,
        replay: bool = False,
    ) -> None:
        self.dropped: Counter[tuple[str, str]] = Counter()
        """(signal, reason) -> points dropped since the caller last cleared it."""
        self.open_points = 0
        """How many points wait in open intervals."""
        self.open_spans = 0
        """How many spans, of those that tell something of charts."""
        self._limits = limits
        self._marks = marks
        self._twins = twins
        self._measure_of = measure_of
        self._replay = replay
        self._services: dict[RunSeries, Service] = {}
        self._memories = Memories(limits.max_streams)
        self._known: dict[tuple[bytes, bytes, bytes, str], Stream] = {}
        self._digests = Digests()
        self._open_cells = 0
        self._ready: list[ClosedInterval] = []
        self._fresh: dict[tuple[RunSeries, int], OpenInterval] = {}
        self._clocks: set[RunSeries] = set()
        self._pending: dict[str, bytes] = {}
        self._states: dict[str, bytes] = {}

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what `take_states` gave; states of others are passed over, unreadable ones logged."""
        ours = [(name, state) for name, state in states if name.startswith(PREFIX) and state]
        keys: dict[str, Service] = {}
        # Where a service stands is read before its other states, and those in the order of their making.
        for name, state in sorted(ours, key=lambda item: ("/standing/" not in item[0], item[0])):
            try:
                _, key, kind, which = name.split("/")
                if kind == "standing":
                    standing = decode_standing(state)
                    keys[key] = self._service(standing.series)
                    keys[key].restore(standing)
                elif kind == "recent" and key in keys:
                    keys[key].restore_recent(int(which), state)
                elif kind == "clock":
                    clock = decode_clock(state)
                    self._service(clock.series).newest_ns = clock.newest_ns
                elif kind == "spans":
                    self._restore_spans(name, state)
                elif kind == "stream":
                    self._memories.restore(name, bytes.fromhex(which), state)
            except (msgspec.DecodeError, ValueError, ArithmeticError) as error:
                _log.warning("The stored state %s cannot be read (%s); it is left out.", name, error)

    def add(
        self,
        batch: MetricBatch,
        *,
        series: RunSeries,
        config: str,
        frame: FrameRef,
        written_ns: int,
        again: bool = False,
        shown: Shown = SHOW_ALL,
    ) -> None:
        """Place each point in its interval; repeats, and points that say nothing, are dropped.

        `written_ns` is when the frame was written. `again` says that it was counted before a restart: what is
        in a row is passed over, and nothing is counted as dropped twice. `shown` says what may be stored.
        """
        service = self._enter(series, frame, again=again)
        resource = digest_resource(service.key, batch.resource)
        placing = _Placing(service, batch, resource, config, frame, written_ns, again, shown)
        for metric in batch.metrics:
            self._add_metric(placing, metric)
        service.read_to(frame)
        if placing.times_ns:
            # The median, and live no later than it was: a clock that is wrong must not end what is right.
            event_ns = sorted(placing.times_ns)[len(placing.times_ns) // 2]
            if not self._replay:
                event_ns = min(event_ns, written_ns)
            service.newest_ns = max(service.newest_ns, event_ns)

    def add_spans(
        self, told: Iterable[Told], *, series: RunSeries, config: str, resource: Resource, newest_ns: int
    ) -> None:
        """Place what spans told, once; a time that is none, or too far ahead, counts as `newest_ns`."""
        service = self._service(series)
        digest = self._digests.look_up(service.key, resource)
        horizon_ns = newest_ns + self._limits.future_ns
        start_ns = end_ns = 0
        for one in told:
            if not 0 < one.end_ns <= horizon_ns:
                one.end_ns = max(newest_ns, 1)
            if not start_ns < one.end_ns <= end_ns:
                opened = self._open_for_span(service, one.end_ns)
                totals = opened.note_spans((one.end_ns, config), digest, resource.attributes)
                start_ns, end_ns = opened.interval.start_ns, opened.interval.end_ns
            own_end_ns = service.own_interval(one.end_ns).end_ns if one.end_ns <= start_ns else 0
            totals.add(one, own_end_ns)
            self.open_spans += 1

    def see_spans(self, event_ns: int, *, series: RunSeries, frame: FrameRef, again: bool) -> None:
        """Note on replay how far the spans of a service have come: its intervals close by that, too."""
        service = self._enter(series, frame, again=again)
        if event_ns > service.newest_ns:
            service.newest_ns = event_ns
            self._clocks.add(service.series)

    def want_row(self, series: RunSeries, time_ns: int) -> tuple[RunSeries, Interval]:
        """Whose and in which interval what ended then counts; when its hour has ended, a row comes for it."""
        service = self._service(series)
        return service.series, service.want_row(time_ns)

    def due(self, read_until_ns: int) -> list[ClosedInterval]:
        """The intervals that are closed by now, by their ends.

        Live, `read_until_ns` says up to when all that was written has been read: the wall clock where nothing
        is unread, else the time of the first frame that is, whatever its segment. On replay it does not
        matter: the watermark alone closes intervals, frame by frame, so that the outcome does not depend on
        how often this is called.
        """
        limits = self._limits
        for service in self._services.values():
            until_ns = service.newest_ns - limits.lateness_ns
            if not self._replay:
                until_ns = min(until_ns, read_until_ns - limits.lateness_ns)
                until_ns = max(until_ns, read_until_ns - limits.lateness_ns - limits.grace_ns)
            self._close_until(service, until_ns)
        return self._take_ready()

    def finish_all(self) -> list[ClosedInterval]:
        """All that is open, closed: the input has ended."""
        for service in self._services.values():
            self._close_until(service, None)
        return self._take_ready()

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, as of the intervals given out; to be stored with their rows.

        A state replaces the one of the same name; empty bytes delete it.
        """
        for (series, _), opened in self._fresh.items():
            state = opened.take_span_state(series, self._services[series].key)
            if state is not None:
                self._states[state[0]] = state[1]
        self._fresh.clear()
        for series in self._clocks & self._services.keys():
            service = self._services[series]
            self._states[service.clock_name] = encode_clock(Clock(series, service.newest_ns))
        self._clocks.clear()
        states, self._states = self._states, {}
        return list(states.items())

    def _enter(self, series: RunSeries, frame: FrameRef, *, again: bool) -> Service:
        """The service, of which a frame is placed now; on replay, intervals close between two frames."""
        service = self._service(series)
        if self._replay and not again and service.frame != frame:
            self._close_until(service, service.newest_ns - self._limits.lateness_ns)
        service.frame = frame
        return service

    def _open_for_span(self, service: Service, end_ns: int) -> OpenInterval:
        interval = service.find_interval(end_ns, _NO_FRAME, again=False)
        assert interval is not None  # it is only for what is read again
        opened = self._fresh[service.series, interval.end_ns] = service.open_interval(interval)
        return opened

    def _restore_spans(self, name: str, state: bytes) -> None:
        stored = decode_totals(state)
        opened = self._open_for_span(self._service(stored.series), stored.end_ns)
        self.open_spans += opened.restore_spans(name, stored)

    def _service(self, series: RunSeries) -> Service:
        service = self._services.get(series)
        if service is None:
            if len(self._services) >= self._limits.max_services and not self._forget_service():
                series = series._replace(service=_OTHER_SERVICE)
                service = self._services.get(series)
            if service is None:
                service = self._services[series] = Service(series, self._limits.calendar)
        return service

    def _forget_service(self) -> bool:
        """Make room: forget the service that was quiet for longest, if that is for two days."""
        newest_ns = max(service.newest_ns for service in self._services.values())
        idle = [service for service in self._services.values() if not service.open]
        oldest = min(idle, key=lambda service: service.newest_ns, default=None)
        if oldest is None or oldest.newest_ns > newest_ns - _IDLE_NS:
            return False
        del self._services[oldest.series]
        self._pending.update((name, b"") for name in oldest.state_names())
        return True

    def _add_metric(self, placing: _Placing, metric: Metric) -> None:
        try:
            kind = read_kind(placing.batch.scope, metric)
        except InvalidPointError as error:
            self._drop(placing, error.reason, len(metric.points))
            return
        for point in metric.points:
            try:
                self._add_point(placing, kind, point)
            except InvalidPointError as error:
                self._drop(placing, error.reason, 1)

    def _add_point(self, placing: _Placing, kind: Kind, point: Point) -> None:
        service, time_ns = placing.service, point.time_ns
        if time_ns <= 0:
            raise InvalidPointError("no_time")
        if not self._replay and time_ns > placing.written_ns + self._limits.future_ns:
            raise InvalidPointError("future")
        placing.times_ns.append(time_ns)
        value = read_value(kind, point)
        interval = service.find_interval(time_ns, placing.frame, again=placing.again)
        if interval is None:
            return
        stream = self._stream(placing, kind, point)
        key = (point.start_ns, time_ns)
        late = time_ns <= interval.start_ns
        if late and service.is_repeat(stream.digest, key):
            raise InvalidPointError("duplicate")
        opened = service.open_interval(interval)
        cells = len(opened.cells)
        has_room = self._open_cells < self._limits.max_streams
        if not opened.place(stream, key, value, max_series=self._limits.max_series, has_room=has_room):
            raise InvalidPointError("duplicate")
        if len(opened.cells) > cells:
            self._open_cells += len(opened.cells) - cells
            if measure := self._measure_of(stream.instrument.name, stream.attributes):
                opened.measured.add(measure)
        self.open_points += 1
        opened.note(
            placing.config, placing.resource, placing.shown.show(placing.batch.resource), time_ns, late=late
        )
        if placing.frame not in opened.frames:
            opened.frames.add(placing.frame)
            self._marks.hold(placing.frame)

    def _stream(self, placing: _Placing, kind: Kind, point: Point) -> Stream:
        told, resource = point.attributes, placing.resource
        key = (resource, kind.text, encode_attributes(told), placing.config)
        stream = self._known.get(key)
        if stream is None:
            if len(self._known) >= self._limits.max_streams:
                self._known.clear()
            stream = self._known[key] = read_stream(kind, resource, key[2], told, placing.shown)
        return stream

    def _drop(self, placing: _Placing, reason: str, points: int) -> None:
        if points and not placing.again:
            self.dropped["metric_points", reason] += points

    def _close_until(self, service: Service, until_ns: int | None) -> None:
        service.open_wanted(until_ns)
        while service.open:
            end_ns = min(service.open)
            if until_ns is not None and end_ns > until_ns:
                return
            self._close(service, end_ns)

    def _close(self, service: Service, end_ns: int) -> None:
        interval = service.open.pop(end_ns)
        memories: dict[bytes, Memory] = {}

        def memory_of(digest: bytes) -> Memory:
            memory = memories[digest] = self._memories.look_up(digest)
            return memory

        closed = interval.close(
            service.series,
            memory_of=memory_of,
            twins=self._twins,
            first_reach_ns=self._limits.first_reach_ns,
        )
        told, measured = service.look_ahead()
        closed = replace(closed, told_later=told, measured_later=measured)
        for digest, memory in memories.items():
            name = f"{service.key}/stream/{digest.hex()}"
            self._pending.update(self._memories.keep(digest, memory, name))
        self._open_cells -= len(interval.cells)
        self.open_points -= interval.points
        self.open_spans -= interval.spans.count
        self._fresh.pop((service.series, end_ns), None)
        self._pending.update((name, b"") for name in interval.spans.names)
        for reason, points in closed.dropped.items():
            self.dropped["metric_points", reason] += points
        for frame in interval.frames:
            self._marks.release(frame)
        self._pending.update(service.settle(interval, self._marks.names()))
        self._ready.append(closed)

    def _take_ready(self) -> list[ClosedInterval]:
        ready = sorted(self._ready, key=lambda closed: (closed.interval.end_ns, closed.series))
        self._ready.clear()
        self._states.update(self._pending)
        self._pending.clear()
        return ready
