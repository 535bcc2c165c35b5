"""Requests in, by the interval in which they count; tables out, with the row that ends an hour.

What comes in an interval is sampled at once. When the row of the interval is made, its sample is merged into
that of the hour, and the traces behind the points of the row are chosen. The row that ends the hour takes the
tables along; so does one at which they are asked for (`flush`, at an alert), and the last one of all. What
comes late belongs to a later interval, as it does in the charts, and so to the next table.

What is collected is among the states at once, like what spans tell of charts (`metrics.from_spans`): one for
each transaction and interval, stored with the calls that it is of; one in their place when the interval is
merged; and all are removed with the row that takes the tables. A restart merges them in their order, and the
outcome is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from otel_wandb.conventions.times import iso_time
from otel_wandb.metrics.intervals import Interval, end_of_hour
from otel_wandb.metrics.runs import RunSeries, series_digest
from otel_wandb.tables.columns import Cell, RequestRow, Table, decode_row, encode_points, encode_requests
from otel_wandb.tables.nearest import Candidate, IsKept, Nearest, keep_all
from otel_wandb.tables.sampling import Content, Draw, Item, Sample, draw_numbers
from otel_wandb.traces.request_samples import RequestSample

_log = logging.getLogger("otel_wandb.tables")

PREFIX: Final = "tables/"
_ENDS: Final = "table_ends/"
_POINTS_AN_HOUR: Final = 1000
_LEAST_POINTS: Final = 4
_MERGED: Final = "merged"
_MAX_FLUSHES: Final = 4
"""Tables that one hour may give beyond its own."""


class ChartPoint(NamedTuple):
    """A point of a latency chart: of which operation (None: of all), which statistic, and its value."""

    operation: str | None
    name: str
    value_ms: float


class _Part(msgspec.Struct, array_like=True):
    """What is stored: what a transaction brought in an interval, or what is left of merged intervals."""

    series: RunSeries
    end_ns: int
    content: Content | None = None
    candidates: list[Candidate] = []
    points: list[list[Cell]] = []
    flushes: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Part).decode
_decode_end = msgspec.msgpack.Decoder(tuple[RunSeries, int, int]).decode


@dataclass(slots=True)
class _Open:
    """An interval that requests still come into."""

    sample: Sample
    nearest: Nearest = field(default_factory=Nearest)
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Hour:
    """What was merged since the last table, and the names of the states behind it."""

    sample: Sample | None = None
    due_ns: int = 0
    points: list[list[Cell]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    flushes: int = 0


@dataclass(slots=True)
class _Book:
    """The requests of a series."""

    series: RunSeries
    key: str
    asked: bool = False
    open: dict[int, _Open] = field(default_factory=dict)
    hour: _Hour = field(default_factory=_Hour)


class Tables:
    """The requests of all services, until a row takes them along. Not thread-safe.

    `is_kept` is asked before a chart's point is linked to a trace.
    """

    def __init__(self, is_kept: IsKept = keep_all) -> None:
        self._is_kept = is_kept
        self._books: dict[RunSeries, _Book] = {}
        self._fresh: set[tuple[RunSeries, int]] = set()
        self._states: dict[str, bytes] = {}
        self._ends: dict[RunSeries, tuple[int, int]] = {}
        """The hour of the last requests that were given out before its end, and how often."""

    def end_early(self) -> bool:
        """Whether requests wait that may be given out before their hour has ended; that is counted.

        A process asks this when it ends, and may do so a few times an hour only: a service that starts and
        ends all the time would have a table each time.
        """
        found = False
        for series, book in self._books.items():
            ends_ns = [end_of_hour(end_ns) for end_ns in book.open]
            hour_ns = max(
                [*ends_ns, *([book.hour.due_ns] if book.hour.sample is not None else [])], default=0
            )
            known_ns, times = self._ends.get(series, (0, 0))
            times = times + 1 if known_ns == hour_ns else 1
            if hour_ns and times <= _MAX_FLUSHES:
                found, self._ends[series] = True, (hour_ns, times)
                self._states[_ENDS + series_digest(series)] = _encode((series, hour_ns, times))
        return found

    def restore(self, states: Iterable[tuple[str, bytes]]) -> list[tuple[RunSeries, int]]:
        """Take up what `take_states` gave; the intervals, by their ends, for which a row has to come.

        States of others are passed over; one that cannot be read is logged and left out.
        """
        ours = [(name, state) for name, state in states if name.startswith((PREFIX, _ENDS)) and state]
        wanted: dict[tuple[RunSeries, int], None] = {}
        for name, state in sorted(ours):
            try:
                if name.startswith(_ENDS):
                    series, *told = _decode_end(state)
                    self._ends[series] = (told[0], told[1])
                    continue
                part = _decode(state)
            except msgspec.DecodeError as error:
                _log.warning("The stored state %s cannot be read (%s); it is left out.", name, error)
                continue
            self._restore_part(name, part)
            wanted[part.series, part.end_ns] = None
        return list(wanted)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs; to be stored with the calls of the requests, and with the rows closed for."""
        for series, end_ns in sorted(self._fresh):
            book = self._books.get(series)
            opened = book.open.get(end_ns) if book is not None else None
            if book is None or opened is None:
                continue  # it is merged already
            if (content := opened.sample.take_content()) is not None:
                part = _Part(series, end_ns, content, opened.nearest.take_fresh())
                name = f"{book.key}/{end_ns}-{len(opened.names):06}"
                opened.names.append(name)
                self._states[name] = _encode(part)
        self._fresh.clear()
        states, self._states = self._states, {}
        return list(states.items())

    def add(
        self,
        request: RequestSample,
        *,
        series: RunSeries,
        interval: Interval,
        rows: int,
        make_item: Callable[[Draw], Item],
        kept: bool = True,
    ) -> None:
        """Count a request in the interval; `make_item` is asked for what a table shows of it, if it may be in
        it.

        `rows`: how many a table may have. `kept`: there are calls of it, which a point may be linked to.
        """
        book = self._book(series)
        opened = book.open.get(interval.end_ns)
        if opened is None:
            opened = book.open[interval.end_ns] = _Open(Sample(rows))
        order, tie = draw_numbers(request.trace_id, request.span_id)
        draw = Draw(request.operation, request.failed, request.latency_ns, order, tie)
        opened.sample.add(draw, make_item)
        if kept:
            opened.nearest.add(
                Candidate(request.operation, request.latency_ns, order, request.trace_id, request.span_id)
            )
        self._fresh.add((series, interval.end_ns))

    def is_kept(self, trace_id: str) -> bool:
        """Whether a link to the trace resolves."""
        return self._is_kept(trace_id)

    def find_request(self, series: RunSeries, interval: Interval, latency_ns: float) -> Candidate | None:
        """The kept request nearest in latency, of an interval that is not closed yet."""
        book = self._books.get(series)
        opened = book.open.get(interval.end_ns) if book is not None else None
        return None if opened is None else opened.nearest.choose(None, latency_ns, self._is_kept)

    def flush(self, series: RunSeries) -> None:
        """Let the next row that is closed take along what there is by then; at most a few times an hour."""
        if series in self._books:
            self._books[series].asked = True

    def close(
        self, series: RunSeries, interval: Interval, points: Sequence[ChartPoint], *, last: bool = False
    ) -> list[Table]:
        """The tables that the row of the interval takes along, mostly none. Rows have to come in their order.

        `points` are those of the row's latency charts. `last`: there is no further row to take them.
        """
        book = self._books.get(series)
        if book is None:
            return []
        self._merge(book, interval, points)
        hour, asked = book.hour, book.asked
        book.asked = False
        ended = bool(hour.due_ns) and (last or interval.end_ns >= hour.due_ns)
        if not ended and not (asked and hour.sample is not None and hour.flushes < _MAX_FLUSHES):
            return []
        self._states.update((name, b"") for name in hour.names)
        book.hour = _Hour()
        if not ended:
            self._keep_flush(book, interval, hour)
        elif not book.open:
            del self._books[series]
        return _make_tables(hour)

    def _merge(self, book: _Book, interval: Interval, points: Sequence[ChartPoint]) -> None:
        """Move what has come by the end of the interval into the hour."""
        hour, kept, counts = book.hour, dict[int, Item](), list[tuple[str, bool, int]]()
        ends_ns = sorted(end_ns for end_ns in book.open if end_ns <= interval.end_ns)
        if not ends_ns:
            return
        own = book.open.get(interval.end_ns)
        chosen = self._choose(own.nearest, interval, points) if own else []
        for end_ns in ends_ns:
            opened = book.open.pop(end_ns)
            if hour.sample is None:
                hour.sample = Sample(opened.sample.budget.rows)
            before = dict(hour.sample.counts)
            kept.update((id(item), item) for item in hour.sample.merge(opened.sample))
            counts += [
                (*stratum, n - before.get(stratum, 0))
                for stratum, n in hour.sample.counts.items()
                if n > before.get(stratum, 0)
            ]
            hour.due_ns = min(hour.due_ns or end_of_hour(end_ns), end_of_hour(end_ns))
            self._states.update((name, b"") for name in opened.names)
        hour.points += chosen
        assert hour.sample is not None
        held = {id(item) for item in hour.sample.items()}
        items = [item for key, item in kept.items() if key in held]
        content = Content(hour.sample.budget.rows, counts, items, hour.sample.levels)
        self._store_merged(
            book, _Part(book.series, ends_ns[-1], content, points=chosen, flushes=hour.flushes)
        )

    def _store_merged(self, book: _Book, part: _Part) -> None:
        name = f"{book.key}/{part.end_ns}-{_MERGED}"
        book.hour.names.append(name)
        self._states[name] = _encode(part)

    def _keep_flush(self, book: _Book, interval: Interval, hour: _Hour) -> None:
        """Remember that the hour has begun, so that it ends with a row as it would without the flush."""
        book.hour.flushes, book.hour.due_ns = hour.flushes + 1, hour.due_ns
        self._store_merged(book, _Part(book.series, interval.end_ns, flushes=book.hour.flushes))

    def _choose(self, nearest: Nearest, interval: Interval, points: Sequence[ChartPoint]) -> list[list[Cell]]:
        """The rows of the traces behind the points: of all requests first, then of the slowest operations."""
        room = max(_LEAST_POINTS, int(_POINTS_AN_HOUR * interval.seconds / 3600))
        found: list[list[Cell]] = []
        for point in sorted(points, key=_by_importance(points)):
            one = nearest.choose(point.operation, point.value_ms * 1e6, self._is_kept)
            if one is not None and len(found) < room:
                told = (iso_time(interval.end_ns), point.operation, point.name, point.value_ms)
                found.append([*told, one.latency_ns / 1e6, one.trace_id, one.span_id])
        return found

    def _restore_part(self, name: str, part: _Part) -> None:
        book = self._book(part.series)
        if name.endswith(_MERGED):
            hour = book.hour
            hour.names.append(name)
            hour.points += part.points
            hour.flushes = max(hour.flushes, part.flushes)
            hour.due_ns = min(hour.due_ns or end_of_hour(part.end_ns), end_of_hour(part.end_ns))
            if part.content is not None:
                hour.sample = hour.sample or Sample(part.content.rows)
                hour.sample.restore(part.content)
            return
        opened = book.open.get(part.end_ns)
        if part.content is None:
            return
        if opened is None:
            opened = book.open[part.end_ns] = _Open(Sample(part.content.rows))
        opened.names.append(name)
        opened.sample.restore(part.content)
        opened.nearest.restore(part.candidates)

    def _book(self, series: RunSeries) -> _Book:
        book = self._books.get(series)
        if book is None:
            book = self._books[series] = _Book(series, PREFIX + series_digest(series))
        return book


def _make_tables(hour: _Hour) -> list[Table]:
    rows: list[tuple[RequestRow, str, float]] = []
    for item, weight in hour.sample.weigh() if hour.sample else ():
        row = decode_row(item.row)
        rows.append((row, item.image, weight))
    tables = [encode_requests(rows)] if rows else []
    return [*tables, encode_points(hour.points)] if hour.points else tables


def _by_importance(points: Sequence[ChartPoint]) -> Callable[[ChartPoint], tuple[bool, float, str, int]]:
    slowest: dict[str | None, float] = {}
    for point in points:
        slowest[point.operation] = max(point.value_ms, slowest.get(point.operation, 0.0))
    places = {id(point): place for place, point in enumerate(points)}
    return lambda point: (
        point.operation is not None,
        -slowest[point.operation],
        point.operation or "",
        places[id(point)],
    )
