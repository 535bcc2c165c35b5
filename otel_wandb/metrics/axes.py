"""Axes on which runs lie over each other: where in its day, or week, a row is. Pure functions of time."""

from __future__ import annotations

from typing import Final, TypeAlias

from otel_wandb.metrics.intervals import DAY_NS, SECOND_NS, Interval

DAY_SECONDS: Final = "day/seconds"
"""Seconds since 00:00 UTC, 86,400 for what ends at midnight: it belongs to the day before."""

WEEK_SECONDS: Final = "week/seconds"
"""Seconds since Monday 00:00 UTC. Only in runs of a week, whose line would go back at every midnight."""

Axes: TypeAlias = tuple[str, ...]
"""Keys that each row of a run has. The first is the one on which runs of one length lie over each other."""

_DAILY: Final[Axes] = (DAY_SECONDS,)
_WEEKLY: Final[Axes] = (WEEK_SECONDS, DAY_SECONDS)


def axes_of(rotation: object) -> Axes:
    """The axes of a run by its rotation, as its config names it; those of a day where that is unknown."""
    return _WEEKLY if rotation == "week" else _DAILY


def place_on_axes(interval: Interval, rotation: object) -> dict[str, int | float]:
    """Where the end of the interval is on each axis, in seconds."""
    since_ns = {
        DAY_SECONDS: (interval.end_ns - 1) % DAY_NS + 1,
        WEEK_SECONDS: interval.end_ns - interval.period_ns,
    }
    return {axis: _to_seconds(since_ns[axis]) for axis in axes_of(rotation)}


def _to_seconds(time_ns: int) -> int | float:
    return time_ns / SECOND_NS if time_ns % SECOND_NS else time_ns // SECOND_NS
