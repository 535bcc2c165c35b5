"""Where the runs of a service stand: which intervals are open, and how far they are closed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from otel_wandb.marks import FrameRef
from otel_wandb.metrics.cells import Key
from otel_wandb.metrics.intervals import SECOND_NS, Calendar, Interval, end_of_hour
from otel_wandb.metrics.opened import OpenInterval, RecentKeys
from otel_wandb.metrics.remembered import Standing, decode_keys, encode_keys, encode_standing, series_key
from otel_wandb.metrics.runs import RunSeries

_RECENT_NS: Final = 3600 * SECOND_NS
_MIN_RECENT: Final = 64
_MAX_RECENT: Final = 600
_MAX_PERIODS: Final = 32


class Service:
    """The intervals of one series of runs."""

    def __init__(self, series: RunSeries, calendar: Calendar) -> None:
        self.series = series
        self.key = series_key(series)
        """The beginning of the names of its states."""
        self.newest_ns = 0
        """The newest event time, which the watermark follows."""
        self.frame: FrameRef | None = None
        """The frame that was placed last."""
        self.open: dict[int, OpenInterval] = {}
        """The open intervals, by their ends."""
        self._calendar = calendar
        self._last = calendar.interval_at(0)
        self._read: dict[str, int] = {}
        self._standings: dict[int, Standing] = {}
        self._recent: dict[int, RecentKeys] = {}
        self._wanted: set[int] = set()
        self._wanted_for_ns = 0
        self._slots = max(_MIN_RECENT, min(_MAX_RECENT, _RECENT_NS // calendar.interval_ns))

    def restore(self, standing: Standing) -> None:
        """Take up how a run stood when its last interval was closed."""
        self._standings[standing.period_ns] = standing
        for segment, offset in standing.positions.items():
            self.read_to((segment, offset))

    def restore_recent(self, slot: int, state: bytes) -> None:
        """Take up the delta points of a closed interval; raises `msgspec.DecodeError`."""
        self._recent[slot] = decode_keys(state)

    def find_interval(self, time_ns: int, frame: FrameRef, *, again: bool) -> Interval | None:
        """The interval that a point goes into: that of its time, or else the next that is not closed.

        None where the frame is read again and the point is in a row already: the run has closed an interval
        that the point would have been in, and the frame had been read by then.
        """
        interval = self._last
        if not interval.start_ns < time_ns <= interval.end_ns:
            interval = self._last = self._calendar.interval_at(time_ns)
        while True:
            standing = self._standings.get(interval.period_ns)
            if standing is None or interval.end_ns > standing.closed_ns:
                return interval
            if again and frame[1] <= standing.positions.get(frame[0], -1):
                return None
            interval = self._calendar.interval_at(standing.closed_ns + 1)

    def own_interval(self, time_ns: int) -> Interval:
        """The interval that the time lies in, closed or not."""
        return self._calendar.interval_at(time_ns)

    def open_interval(self, interval: Interval) -> OpenInterval:
        """What the interval holds so far."""
        opened = self.open.get(interval.end_ns)
        if opened is None:
            opened = self.open[interval.end_ns] = OpenInterval(interval)
        return opened

    def want_row(self, time_ns: int) -> Interval:
        """The interval that what ended then counts in. When its hour has ended, a row comes in any case."""
        interval = self.find_interval(time_ns, ("", 0), again=False)
        assert interval is not None  # it is only for what is read again
        self._wanted.add(end_of_hour(interval.end_ns))
        self._wanted_for_ns = max(self._wanted_for_ns, interval.end_ns)
        return interval

    def open_wanted(self, until_ns: int | None) -> None:
        """Open the intervals of wanted rows that end by then; None: no row would come later."""
        if until_ns is None:
            if self._wanted and self._wanted_for_ns > max(self.open, default=0):
                self.open_interval(self.want_row(self._wanted_for_ns))
            return
        for hour_ns in sorted(self._wanted):
            interval = self._calendar.interval_at(hour_ns)
            if interval.end_ns <= until_ns:
                self.open_interval(interval)

    def look_ahead(self) -> tuple[frozenset[str], frozenset[str]]:
        """The models that spans of open intervals told of, and what points in them measure."""
        keys = (key for opened in self.open.values() for key in opened.spans.cells)
        told = frozenset(name for key in keys for name in (key.model, key.answered) if name)
        return told, frozenset().union(*(opened.measured for opened in self.open.values()))

    def read_to(self, frame: FrameRef) -> None:
        """Note that the frame was read."""
        segment, offset = frame
        self._read[segment] = max(offset, self._read.get(segment, -1))

    def is_repeat(self, stream: bytes, key: Key) -> bool:
        """Whether a delta point is in one of the recent closed intervals."""
        return any(stream in keys.get(key, ()) for keys in self._recent.values())

    def settle(self, interval: OpenInterval, segments: Iterable[str]) -> list[tuple[str, bytes]]:
        """Note that the interval is closed; the states to store. Only these segments will be read again."""
        known = set(segments)
        self._read = {name: offset for name, offset in self._read.items() if name in known}
        period_ns, end_ns = interval.interval.period_ns, interval.interval.end_ns
        self._wanted = {hour_ns for hour_ns in self._wanted if hour_ns > end_ns}
        self._standings.pop(period_ns, None)
        standing = Standing(self.series, period_ns, end_ns, dict(self._read))
        self._standings[period_ns] = standing
        states = [(self._standing_name(period_ns), encode_standing(standing))]
        if len(self._standings) > _MAX_PERIODS:
            oldest = next(iter(self._standings))
            del self._standings[oldest]
            states.append((self._standing_name(oldest), b""))
        slot = end_ns // self._calendar.interval_ns % self._slots
        keys = interval.recent_keys()
        if keys or slot in self._recent:
            self._recent[slot] = keys
            states.append((self._recent_name(slot), encode_keys(keys)))
        return states

    def state_names(self) -> list[str]:
        """The names of all its states but those of its streams."""
        standings, recent = map(self._standing_name, self._standings), map(self._recent_name, self._recent)
        return [*standings, *recent, self.clock_name]

    @property
    def clock_name(self) -> str:
        """The name of the state of its event time, which is there only if spans moved it."""
        return f"{self.key}/clock/0"

    def _standing_name(self, period_ns: int) -> str:
        return f"{self.key}/standing/{period_ns}"

    def _recent_name(self, slot: int) -> str:
        return f"{self.key}/recent/{slot}"
