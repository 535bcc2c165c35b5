"""Intervals of event time, counted from the start of a day or week: what makes steps functions of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

SECOND_NS: Final = 1_000_000_000
HOUR_NS: Final = 3600 * SECOND_NS
DAY_NS: Final = 24 * HOUR_NS
_MONDAY_DAYS: Final = 3
"""1970-01-01 was a Thursday."""

Rotation: TypeAlias = Literal["day", "week"]


class Interval(NamedTuple):
    """The times after `start_ns` and up to `end_ns`, which is in it, as with OTel's own data points."""

    period_ns: int
    """When the day or week began (UTC)."""
    step: int
    """The index of the interval in its day or week: the W&B step of its row."""
    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """How long it is; the last one of a day may be shorter than the others."""
        return (self.end_ns - self.start_ns) / SECOND_NS


@dataclass(frozen=True, slots=True)
class Calendar:
    """How time is cut into runs and rows."""

    interval_ns: int = 60 * SECOND_NS
    rotation: Rotation = "day"

    def interval_at(self, time_ns: int) -> Interval:
        """The interval that the time lies in; on the border of two it is the earlier one."""
        inside_ns = time_ns - 1
        day = inside_ns // DAY_NS
        days = 1
        if self.rotation == "week":
            day -= (day + _MONDAY_DAYS) % 7
            days = 7
        period_ns = day * DAY_NS
        step = (inside_ns - period_ns) // self.interval_ns
        start_ns = period_ns + step * self.interval_ns
        end_ns = min(start_ns + self.interval_ns, period_ns + days * DAY_NS)
        return Interval(period_ns, step, start_ns, end_ns)


def end_of_hour(end_ns: int) -> int:
    """The end of the hour (UTC) in which an interval ends."""
    return -(-end_ns // HOUR_NS) * HOUR_NS
