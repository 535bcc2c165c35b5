"""Parts of the day and week that are compared with themselves alone, by event time (UTC)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from otel_wandb.metrics.intervals import DAY_NS, SECOND_NS, Interval

Strata: TypeAlias = Literal["none", "hour_of_day", "hour_of_week"]

HOUR_NS: Final = 3600 * SECOND_NS
_MONDAY_HOURS: Final = 72
"""1970-01-01 was a Thursday."""


def stratum_of(interval: Interval, strata: Strata) -> str:
    """The stratum that the interval begins in: the hour of the day, or of the week from Monday on; from 0."""
    if strata == "none":
        return ""
    hour = interval.start_ns // HOUR_NS
    return str((hour + _MONDAY_HOURS) % 168 if strata == "hour_of_week" else hour % 24)


def cycle_ns(strata: Strata) -> int:
    """How long it takes until each stratum has come once."""
    return {"none": 0, "hour_of_day": DAY_NS, "hour_of_week": 7 * DAY_NS}[strata]
