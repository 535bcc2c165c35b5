"""Days and months (UTC) in which money is counted, and what will be spent at their end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from scipy.special import stdtrit

from otel_wandb.metrics.intervals import DAY_NS, SECOND_NS

CONFIDENCE: Final = 0.90
"""Of the interval of a forecast."""


class Period(NamedTuple):
    """A day or a month; a time is in it that is at `start_ns` or later, and before `end_ns`."""

    start_ns: int
    end_ns: int

    @property
    def size_ns(self) -> int:
        """How long it is."""
        return self.end_ns - self.start_ns

    @property
    def name(self) -> str:
        """As in 2026-11-23, and 2026-11 for a month."""
        moment = datetime.fromtimestamp(self.start_ns // SECOND_NS, UTC)
        return moment.strftime("%Y-%m" if self.size_ns > DAY_NS else "%Y-%m-%d")


class Forecast(NamedTuple):
    """What it will come to. The ends of the interval are None where nothing tells them."""

    amount: float
    low: float | None = None
    high: float | None = None


def find_period(time_ns: int, *, monthly: bool) -> Period:
    """The day or the month that the time is in."""
    day = time_ns // DAY_NS
    if not monthly:
        return Period(day * DAY_NS, (day + 1) * DAY_NS)
    moment = datetime.fromtimestamp(day * DAY_NS // SECOND_NS, UTC)
    year, month = divmod(12 * moment.year + moment.month, 12)
    first = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    following = datetime(year, month + 1, 1, tzinfo=UTC)
    return Period(int(first.timestamp()) * SECOND_NS, int(following.timestamp()) * SECOND_NS)


def forecast(spent: float, blocks: Sequence[float], remaining: float, *, otherwise: float) -> Forecast:
    """What is spent when the remaining blocks, which need not be whole ones, are over.

    Each of them is expected to be the mean of `blocks` (0 where it is less), or `otherwise` where these are
    fewer than two. The interval is Student's for a sum of new values, right for blocks that are alike,
    independent and normal.
    """
    count = len(blocks)
    if count < 2:
        return Forecast(spent + otherwise * remaining)
    mean = max(0.0, math.fsum(blocks) / count)
    variance = math.fsum((block - mean) ** 2 for block in blocks) / (count - 1)
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    half = quantile * math.sqrt(variance * (remaining + remaining**2 / count))
    amount = spent + mean * remaining
    return Forecast(amount, max(spent, amount - half), amount + half)
