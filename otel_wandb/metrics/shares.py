"""What each version of a service had of an interval, to read an A/B or a roll-out from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from otel_wandb.metrics.closed import ClosedInterval, Share
from otel_wandb.metrics.figures import Durations, merge_durations
from otel_wandb.metrics.from_spans import Tally
from otel_wandb.metrics.sorting import Names, sort_data
from otel_wandb.metrics.sources import DaySources, pick_data
from otel_wandb.metrics.spending import DaySpending, PriceOf, spend_share

MOST_SHOWN: Final = 5
"""Versions with charts of their own in a day: the first that came, the most frequent first."""


class ShareFigures(NamedTuple):
    """The requests of a version, and what it spent."""

    durations: Durations
    tally: Tally

    @property
    def size(self) -> int:
        """By what versions are ranked: requests, or else model calls and tokens of metrics."""
        return self.durations.histogram.count or self.tally.requests or self.tally.size


class Learnt(NamedTuple):
    """What was found out for the whole of an interval, and holds for each share of it."""

    names: Names
    entry: int | None
    """What a request of the service is."""
    sources: DaySources
    spending: DaySpending
    price_of: PriceOf


def find_shares(closed: ClosedInterval, whole: ShareFigures, learnt: Learnt) -> dict[str, ShareFigures]:
    """By version what it had of the interval; an empty one is what tells none."""
    if len(closed.versions) == 1:
        return dict.fromkeys(closed.versions, whole)
    return {version: _read_share(closed, share, learnt) for version, share in closed.versions.items()}


def _read_share(closed: ClosedInterval, share: Share, learnt: Learnt) -> ShareFigures:
    found = sort_data(pick_data(share.data, share.derived, learnt.sources), learnt.names)
    parts = [
        part
        for (_, entry), by_name in found.durations.items()
        if entry is not None and entry == learnt.entry
        for durations in by_name.values()
        for part in durations
    ]
    tally = spend_share(closed, share.spends, found.tokens, learnt.spending, learnt.price_of)
    return ShareFigures(merge_durations(parts), tally)


def find_rest(whole: Tally, shown: Iterable[ShareFigures], others: Iterable[ShareFigures]) -> ShareFigures:
    """What is in none of the charts of versions: `others`, and of the tokens and the cost all that is left.

    Spans that came late may have corrected what metrics had counted: that is in the whole alone.
    """
    tally = Tally()
    tally.add(whole)
    for figures in shown:
        tally.subtract(figures.tally)
    return ShareFigures(merge_durations([figures.durations for figures in others]), tally)


def split(
    shares: Mapping[str, ShareFigures], shown: Iterable[str]
) -> tuple[dict[str, ShareFigures], list[ShareFigures]]:
    """Those that have charts of their own, also where they had nothing, and the others."""
    mine = {version: shares.get(version, ShareFigures(Durations(), Tally())) for version in shown}
    return mine, [figures for version, figures in shares.items() if version not in mine]
