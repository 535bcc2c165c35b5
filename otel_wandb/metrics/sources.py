"""Whether latency, throughput and errors count from metrics or from spans: never from both.

The rule, for each service and each thing that is measured (`catalogue.Measure`: HTTP requests, model calls,
tools, …): where there is a metric of it, the metric counts, and what spans tell of it does not. Which of the
two it is, is found out in the first two intervals of a run that have any of it, and then stays for the run.

- A metric that is there, or waits in a later interval, when the first of these two closes, counts at once.
  One that comes in these two while spans count, counts from the interval after that on: what a process tells
  at its end is all that its spans have told.
- The next run begins with the choice of the one before. If that was metrics, and none comes in its first two
  intervals, spans count from the second one on. If it was spans, a metric in these two takes over again.
- The setting `source` decides instead, for all of a service; when it is `auto` again, it is found out anew.

The scope of a metric is no part of the rule: a span and a metric of one thing often come from different
scopes, and to count it twice is worse than to leave out what only spans of another scope tell.

What remains: a metric tells of the time since its last export, a span of the moment in which it ended. So
where metrics take over from spans, what they tell of the end of the interval before was counted from spans
already: up to one export interval of data, once, in a service whose first metric comes later than
`lateness_s` after the end of its first interval with spans, or at the midnight after a day that spans told.
And where metrics are exported so rarely that none comes in the first two intervals of a run, spans count;
then only `source: metrics` helps.

Tokens and cost have a rule of their own, by model (`spending`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from otel_wandb.metrics.catalogue import SPLITS
from otel_wandb.metrics.closed import ClosedInterval, Series
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.metrics.sorting import find_measure

Source: TypeAlias = Literal["metrics", "spans"]
Wanted: TypeAlias = Literal["auto", "metrics", "spans"]

STATE_SUFFIX: Final = "/sources"
_ROWS_TO_CHOOSE: Final = 2
_NOT_ASKED: Final = frozenset(split.measure for split in SPLITS)
"""What the setting is not about: it is for latency, throughput and errors."""


class Choice(msgspec.Struct, array_like=True):
    """From where something counts in a run."""

    source: Source
    rows: int = 0
    """How many intervals of the run had any of it, up to those in which the choice is made."""
    seen: bool = False
    """Whether a metric of it came in them."""


class DaySources(msgspec.Struct, array_like=True):
    """The choices of a run, by what is measured."""

    chosen: dict[str, Choice] = msgspec.field(default_factory=dict)

    def follow(self) -> DaySources:
        """What the next run begins with."""
        return DaySources({measure: Choice(choice.source) for measure, choice in self.chosen.items()})

    def told(self) -> dict[str, Source]:
        """From where each thing counts, in a fixed order."""
        return {measure: choice.source for measure, choice in sorted(self.chosen.items())}


class ToldSources(msgspec.Struct, array_like=True):
    """From where a service counts, as stored for whoever asks (`status`)."""

    series: RunSeries
    period_ns: int
    sources: dict[str, Source]


encode_sources = msgspec.msgpack.Encoder().encode
decode_sources = msgspec.msgpack.Decoder(ToldSources).decode
"""Raises `msgspec.DecodeError`."""


class _Measured(NamedTuple):
    measure: str
    series: Series


def choose_data(closed: ClosedInterval, day: DaySources, wanted: Wanted) -> list[Series]:
    """The series of the interval that count, each thing once; `day` learns of it."""
    measured = [_Measured(find_measure(s.name, s.attributes), s) for s in closed.data]
    derived = [_Measured(find_measure(s.name, s.attributes), s) for s in closed.derived]
    here = closed.measured.union(measure for measure, _ in measured if measure)
    ahead = here | closed.measured_later
    for measure in sorted(here.union(measure for measure, _ in derived)):
        known = day.chosen.get(measure)
        asked = "auto" if measure in _NOT_ASKED else wanted
        day.chosen[measure] = choose(known, asked, metric=measure in ahead)
    return _pick(measured, derived, day)


def pick_data(data: Iterable[Series], derived: Iterable[Series], day: DaySources) -> list[Series]:
    """The series that count of a part of an interval, by what was chosen for the whole of it."""
    measured = [_Measured(find_measure(s.name, s.attributes), s) for s in data]
    return _pick(measured, [_Measured(find_measure(s.name, s.attributes), s) for s in derived], day)


def _pick(measured: list[_Measured], derived: list[_Measured], day: DaySources) -> list[Series]:
    return [
        *(s for measure, s in measured if not measure or _counts(day, measure, "metrics")),
        *(s for measure, s in derived if _counts(day, measure, "spans")),
    ]


def list_sources(states: Iterable[bytes]) -> list[ToldSources]:
    """From where services count, by their names; what cannot be read is left out."""
    found = []
    for state in states:
        try:
            found.append(decode_sources(state))
        except msgspec.DecodeError:
            continue
    return sorted(found, key=lambda told: told.series)


def choose(known: Choice | None, wanted: Wanted, *, metric: bool) -> Choice:
    """From where something counts in an interval that has any of it; `metric`: one of it came by now."""
    if wanted != "auto":
        return Choice(wanted)
    if known is None:
        return Choice("metrics" if metric else "spans", 1, metric)
    if known.seen:
        return Choice("metrics", _ROWS_TO_CHOOSE, seen=True)
    if known.rows >= _ROWS_TO_CHOOSE:
        return known
    rows = known.rows + 1
    if metric or rows < _ROWS_TO_CHOOSE:
        return Choice(known.source, rows, metric)
    return Choice("spans", rows)


def _counts(day: DaySources, measure: str, source: Source) -> bool:
    return day.chosen[measure].source == source
