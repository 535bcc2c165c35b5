"""A closed interval in, the row of charts out: `catalogue` carried out.

What is fixed for a day (which subjects have charts, what they are called, what a request is) is remembered
between the rows of a service, and given out as states to be stored with them.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from otel_wandb.metrics.catalogue import CHARTS, LABEL, OTHER, Chart
from otel_wandb.metrics.closed import ClosedInterval, Series
from otel_wandb.metrics.feeds import DaySubjects, Feeds, Subject, feed_charts
from otel_wandb.metrics.figures import Bins, Durations, Figures, Shown
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.metrics.keys import KeyBook, make_key
from otel_wandb.metrics.runs import RunKey, RunSeries, series_digest
from otel_wandb.metrics.sorting import Names
from otel_wandb.metrics.sources import (
    STATE_SUFFIX,
    DaySources,
    ToldSources,
    Wanted,
    encode_sources,
    pick_data,
)
from otel_wandb.metrics.spending import DaySpending, PriceOf, no_price
from otel_wandb.metrics.subjects import Subjects
from otel_wandb.records import Attributes

__all__ = ["MAX_KEYS", "Bins", "Charts", "Row", "Shown"]

_log = logging.getLogger("otel_wandb.metrics")

MAX_KEYS: Final = 400
_PREFIX: Final = "charts/"
SOURCES_PATTERN: Final = f"{_PREFIX}*{STATE_SUFFIX}"
"""What the names of the states look like that tell from where services count (`sources.list_sources`)."""
_BINS_EVERY: Final = 10
_FIELDS: Final = frozenset(chart.key.partition("{}_")[2] for chart in CHARTS) - {""}

_Names: TypeAlias = list[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a run's history. `values` are in a fixed order, all of them finite.

    `config` names the settings, `resources` are the processes that it is of. `relative_error` bounds the
    error of latency percentiles, as a part of themselves, in all rows of the run up to this one. `left_out`
    counts keys beyond the limit.
    """

    run: RunKey
    step: int
    timestamp_s: float
    values: dict[str, Shown]
    config: str
    resources: tuple[Attributes, ...]
    relative_error: float | None
    left_out: int


class _StoredDay(msgspec.Struct, array_like=True):
    """What is fixed for a run, and what its next one begins with."""

    period_ns: int
    rows: int
    entry: int | None
    subjects: dict[str, tuple[list[str], dict[str, int]]]
    spending: DaySpending = msgspec.field(default_factory=DaySpending)
    sources: DaySources = msgspec.field(default_factory=DaySources)
    relative_error: float | None = None


class _StoredNames(msgspec.Struct, array_like=True):
    """What the subjects of a run are called."""

    period_ns: int
    names: _Names


@dataclass(slots=True)
class _Day:
    """What is fixed for a run."""

    period_ns: int
    rows: int
    subjects: DaySubjects
    book: KeyBook
    relative_error: float | None = None
    """The bound of the errors of its percentiles so far, None where there were none."""

    def note_error(self, whole: Iterable[Figures]) -> None:
        """Learn how far percentiles of these may be off."""
        filled = [f.histogram for f in whole if isinstance(f, Durations) and f.histogram.count]
        bounds = [histogram.relative_error for histogram in filled]
        if self.relative_error is not None:
            bounds.append(self.relative_error)
        self.relative_error = max(bounds, default=None)

    def follow(self, period_ns: int) -> _Day:
        """The next run, before its first row."""
        return _Day(period_ns, 0, self.subjects.follow(), self.book.follow(period_ns))


_encode = msgspec.msgpack.Encoder().encode
_decode_day = msgspec.msgpack.Decoder(_StoredDay).decode
_decode_names = msgspec.msgpack.Decoder(_StoredNames).decode


class Charts:
    """Rows of closed intervals; those of a service have to come in their order. Not thread-safe."""

    def __init__(self) -> None:
        self._days: dict[str, _Day] = {}
        self._names = Names()
        self._states: dict[str, bytes] = {}
        self._told: dict[str, bytes] = {}
        """From where services count, as it was stored last."""

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what `take_states` gave before a restart; states of others are passed over.

        One that cannot be read is logged and left out.
        """
        names: dict[str, _StoredNames] = {}
        days: dict[str, _StoredDay] = {}
        for name, state in states:
            if not name.startswith(_PREFIX) or not state:
                continue
            key, _, kind = name.removeprefix(_PREFIX).partition("/")
            try:
                if kind == "day":
                    days[key] = _decode_day(state)
                elif kind == "names":
                    names[key] = _decode_names(state)
                elif name.endswith(STATE_SUFFIX):
                    self._told[name] = state
            except msgspec.DecodeError as error:
                _log.warning("The stored state %s cannot be read (%s); it is left out.", name, error)
        for key, day in days.items():
            kinds = {kind: Subjects(*stored) for kind, stored in day.subjects.items()}
            subjects = DaySubjects(day.entry, defaultdict(Subjects, kinds), day.spending, day.sources)
            book = KeyBook(day.period_ns, names[key].names if key in names else (), fields=_FIELDS)
            self._days[key] = _Day(day.period_ns, day.rows, subjects, book, day.relative_error)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, as of the rows built, to be stored with them; each replaces its older one."""
        states, self._states = self._states, {}
        return list(states.items())

    def build_row(self, closed: ClosedInterval, price_of: PriceOf = no_price, source: Wanted = "auto") -> Row:
        """The row of the interval.

        `price_of` gives the prices by which tokens of metrics are counted; `source` says whether metrics or
        spans count, where there are both.
        """
        key = series_digest(closed.series)
        day = self._day(key, closed.interval.period_ns)
        with_bins = day.rows % _BINS_EVERY == 0
        feeds = feed_charts(
            closed, day.subjects, self._names, price_of=price_of, with_bins=with_bins, source=source
        )
        values, left_out = _show(feeds, day.book)
        day.rows += 1
        day.note_error(figures for _, figures in feeds["whole"])
        self._store(key, day)
        self._tell_sources(key, closed.series, day)
        return Row(
            run=closed.run,
            step=closed.interval.step,
            timestamp_s=closed.interval.end_ns / SECOND_NS,
            values=values,
            config=closed.config,
            resources=closed.resources,
            relative_error=day.relative_error,
            left_out=left_out,
        )

    def counted(self, closed: ClosedInterval) -> list[Series]:
        """What the row of the interval was made of, each thing once: of metrics and spans, what counts."""
        return pick_data(
            closed.data, closed.derived, self._days[series_digest(closed.series)].subjects.sources
        )

    def counted_by_version(self, closed: ClosedInterval) -> dict[str, list[Series]]:
        """The same of each version of the service; what tells none has an empty one."""
        sources = self._days[series_digest(closed.series)].subjects.sources
        return {
            version: pick_data(share.data, share.derived, sources)
            for version, share in closed.versions.items()
        }

    def legend(self, series: RunSeries) -> dict[str, str]:
        """What the names in the keys of the newest run stand for, where they are not the same."""
        day = self._days.get(series_digest(series))
        entries = day.book.entries() if day else []
        texts = {name: origin.split("\0", 2)[2] for origin, name, _ in entries}
        return {name: text for name, text in sorted(texts.items()) if name != text}

    def _day(self, key: str, period_ns: int) -> _Day:
        day = self._days.get(key)
        if day is None:
            day = self._days[key] = _Day(period_ns, 0, DaySubjects(), KeyBook(period_ns, fields=_FIELDS))
        elif day.period_ns != period_ns:
            day = self._days[key] = day.follow(period_ns)
        return day

    def _store(self, key: str, day: _Day) -> None:
        kinds = {kind: (s.chosen, s.totals) for kind, s in day.subjects.kinds.items() if s.totals or s.chosen}
        subjects = day.subjects
        stored = _StoredDay(
            day.period_ns,
            day.rows,
            subjects.entry,
            kinds,
            subjects.spending,
            subjects.sources,
            day.relative_error,
        )
        self._states[f"{_PREFIX}{key}/day"] = _encode(stored)
        if day.book.changed:
            names = _StoredNames(day.period_ns, day.book.entries())
            self._states[f"{_PREFIX}{key}/names"] = _encode(names)
            day.book.changed = False

    def _tell_sources(self, key: str, series: RunSeries, day: _Day) -> None:
        sources = day.subjects.sources.told()
        name = f"{_PREFIX}{key}{STATE_SUFFIX}"
        state = encode_sources(ToldSources(series, day.period_ns, sources))
        if sources and self._told.get(name) != state:
            self._told[name] = self._states[name] = state


def _show(feeds: Feeds, book: KeyBook) -> tuple[dict[str, Shown], int]:
    """The values under their keys, and how many keys were left out."""
    found: list[tuple[int, str, Shown]] = []
    left_out = 0
    for chart in CHARTS:
        for subject, figures in feeds[chart.feed]:
            value = figures.statistic(chart.statistic)
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                continue
            key = _make_key(chart, subject, book)
            if key is None:
                left_out += 1
            else:
                found.append((chart.order, key, value))
    found.sort(key=lambda item: item[0])
    values: dict[str, Shown] = {}
    for _, key, value in found:
        if len(values) < MAX_KEYS and key not in values:
            values[key] = value
        else:
            left_out += 1
    return values, left_out


def _make_key(chart: Chart, subject: Subject | None, book: KeyBook) -> str | None:
    section, _, name = chart.key.partition("/")
    if subject is None:
        return make_key(section, name)
    field = name.removeprefix("{}").removeprefix("_")
    if not subject.text:
        rest = OTHER.get(subject.kind) or f"{subject.kind.removeprefix(LABEL)}_other"
        return make_key(section, f"{rest}_{field}")
    called = book.name(section, subject.kind, subject.text)
    if called is None:
        return None
    return make_key(section, called, field) if field else make_key(section, called)
