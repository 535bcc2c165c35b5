"""What verdicts are worth: false alarms, changes found, delay."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from benchmarks.drift_streams import AFTER, Group

Alarms: TypeAlias = Sequence[Sequence[int]]
"""Of each stream, the windows that were called different."""


class Method(NamedTuple):
    """Who says so, and what it has to be given."""

    name: str
    needs_raw: bool
    """Whether single values have to leave the service; else a summary of each window is enough."""
    alarms: Mapping[str, Alarms]
    """By the name of the group; groups that it is not made for are not in it."""
    seconds: float = 0.0
    """Of CPU, for all of them."""


class Score(NamedTuple):
    """A method on a group. What cannot be said of the group is None."""

    false_per_1000: float | None
    """Alarms in 1,000 windows without a change."""
    disturbed: float | None
    """The part of streams with an alarm in any of its windows without a change."""
    found: float | None
    """The part of the changes after which there was an alarm."""
    delay: float | None
    """The median of the windows that an alarm took, of those that came; 1 is the first changed window."""


def score(group: Group, alarms: Alarms) -> Score:
    """What the alarms of a group's streams come to."""
    change = group.windows if group.change is None else group.change
    early = [[alarm for alarm in stream if alarm < change] for stream in alarms]
    late = [[alarm for alarm in stream if alarm >= change] for stream in alarms]
    false = disturbed = found = delay = None
    if group.null_windows:
        false = 1000 * sum(map(len, early)) / group.null_windows
        disturbed = sum(map(bool, early)) / len(alarms)
    if group.change is not None:
        delays = [stream[0] - change + 1 for stream in late if stream]
        found = len(delays) / len(alarms)
        delay = statistics.median(delays) if delays else None
    return Score(false, disturbed, found, delay)


def score_all(groups: Sequence[Group], methods: Sequence[Method]) -> dict[str, dict[str, Score]]:
    """By method and group."""
    return {
        method.name: {
            group.name: score(group, method.alarms[group.name])
            for group in groups
            if group.name in method.alarms
        }
        for method in methods
    }


class Overall(NamedTuple):
    """A method over groups, each of which has the same weight."""

    false_per_1000: float
    disturbed: float
    found: float
    windows: int
    """That it judged in all, of these groups."""

    @property
    def by_chance(self) -> float:
        """The part of changes that so many false alarms find in as many windows as are looked at."""
        return 1 - (1 - min(self.false_per_1000 / 1000, 1)) ** AFTER


def overall(groups: Sequence[Group], scores: Mapping[str, Score]) -> Overall:
    """The means over the groups that it was on."""
    judged = [(group, scores[group.name]) for group in groups if group.name in scores]
    return Overall(
        _mean([score.false_per_1000 for _, score in judged]),
        _mean([score.disturbed for _, score in judged]),
        _mean([score.found for _, score in judged]),
        sum(group.windows * len(group.values) for group, _ in judged),
    )


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else 0.0


class Win(NamedTuple):
    """A group on which other methods were better than ours."""

    group: str
    ours: Score
    others: dict[str, Score]


def wins(groups: Sequence[Group], scores: Mapping[str, Mapping[str, Score]], own: str) -> list[Win]:
    """Where others found more, or as much and sooner."""
    won = []
    for group in groups:
        mine = scores[own].get(group.name)
        if mine is None or mine.found is None:
            continue
        others = {
            name: by_group[group.name]
            for name, by_group in scores.items()
            if group.name in by_group and not name.startswith("ours")
        }
        better = {name: theirs for name, theirs in others.items() if _rank(theirs) > _rank(mine)}
        if better:
            won.append(Win(group.name, mine, better))
    return won


def _rank(score: Score) -> tuple[float, float]:
    return (score.found or 0.0, -(score.delay or 0.0))
