"""What the charts of an interval are drawn from: its data, by the subjects that have charts this day."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.metrics.catalogue import Feed, Pool
from otel_wandb.metrics.closed import ClosedInterval, Level, Summary, Value, combine
from otel_wandb.metrics.figures import (
    Amounts,
    Durations,
    Errors,
    Figures,
    Gauges,
    Summaries,
    merge_durations,
)
from otel_wandb.metrics.sorting import Names, sort_data
from otel_wandb.metrics.subjects import Subjects

_POOLS: Final[tuple[Pool, ...]] = ("request", "operation", "tool", "retrieval", "first_token")
_SERVED: Final = frozenset({"request", "operation"})


class Subject(NamedTuple):
    """Something that has charts. An empty text: all of that kind that have none of their own."""

    kind: str
    text: str = ""


Feeds: TypeAlias = defaultdict[Feed, list[tuple[Subject | None, Figures]]]
"""By feed, what is shown of each subject; None is the whole."""

_Places: TypeAlias = Mapping[tuple[Pool, int | None], Mapping[str | None, Durations]]


@dataclass(slots=True)
class DaySubjects:
    """What has charts this day, and what a request is: both only ever grow."""

    entry: int | None = None
    kinds: defaultdict[str, Subjects] = field(default_factory=lambda: defaultdict(Subjects))

    def follow(self) -> DaySubjects:
        """The next day, before anything has come."""
        kinds = {kind: subjects.follow() for kind, subjects in self.kinds.items()}
        return DaySubjects(None, defaultdict(Subjects, kinds))


def feed_charts(closed: ClosedInterval, day: DaySubjects, names: Names, *, with_bins: bool) -> Feeds:
    """What the charts show of the interval; `day` learns of its subjects."""
    found = sort_data(closed.data, names)
    durations = {
        place: {name: merge_durations(parts) for name, parts in by_name.items()}
        for place, by_name in found.durations.items()
    }
    feeds: Feeds = defaultdict(list)
    whole = _feed_whole(feeds, durations, day)
    _feed_parts(feeds, durations, day)
    _feed_errors(feeds, durations, day, whole)
    _feed_tokens(feeds, found.tokens, day)
    if found.active.amounts:
        feeds["active"].append((None, found.active))
    late = Amounts({"late_points": Fraction(closed.late_points)})
    feeds["interval"].append((None, late))
    for other, values in sorted(found.others.items(), key=lambda item: item[0]):
        value, _ = combine(values)
        if other.family == "updown" and isinstance(value, Level):
            value = value.total
        feeds[other.family].append((Subject(f"{other.family} {other.unit}", other.name), _figure(value)))
    for shown in feeds.values():
        for _, figures in shown:
            if isinstance(figures, Durations):
                figures.seconds, figures.with_bins = closed.interval.seconds, with_bins
    return feeds


def _feed_whole(feeds: Feeds, durations: _Places, day: DaySubjects) -> Durations:
    entries = [
        entry
        for (_, entry), by_name in durations.items()
        if entry is not None and any(part.histogram.count for part in by_name.values())
    ]
    if day.entry is not None:
        entries.append(day.entry)
    if not entries:
        return Durations()
    day.entry = min(entries)
    whole = merge_durations(
        [part for place, by_name in durations.items() if place[1] == day.entry for part in by_name.values()]
    )
    feeds["whole"].append((None, whole))
    return whole


def _feed_parts(feeds: Feeds, durations: _Places, day: DaySubjects) -> None:
    for pool in _POOLS:
        parts: defaultdict[str | None, list[Durations]] = defaultdict(list)
        for place, by_name in durations.items():
            if place[0] == pool:
                for name, part in by_name.items():
                    parts[name].append(part)
        subjects = day.kinds[pool]
        subjects.choose({name: _count(found) for name, found in parts.items() if name is not None})
        shown = [(Subject(pool, name), merge_durations(parts.get(name, []))) for name in subjects.seen()]
        rest = merge_durations(
            [part for name, found in parts.items() if name not in subjects.chosen for part in found]
        )
        if rest.histogram.count:
            shown.append((Subject(pool), rest))
        feeds["part"] += shown
        if pool != "first_token":
            feeds["attempt"] += shown
        if pool in _SERVED:
            feeds["served"] += shown


def _feed_errors(feeds: Feeds, durations: _Places, day: DaySubjects, whole: Durations) -> None:
    """Each type where it occurred most: the same error passes through a tool, a model call and a request."""
    places = [_sum_errors(list(by_name.values())) for by_name in durations.values()]
    subjects = day.kinds["error"]
    highest: Counter[str] = Counter()
    for errors, _ in places:
        highest |= errors
    subjects.choose(highest)
    found: dict[str, tuple[int, int]] = {}
    for errors, attempts in places:
        folded: Counter[str] = Counter()
        for error, count in errors.items():
            folded[error if error in subjects.chosen else ""] += count
        for error, count in folded.items():
            found[error] = max(found.get(error, (0, 0)), (count, attempts))
    for error in subjects.seen():
        count, attempts = found.get(error, (0, whole.histogram.count))
        feeds["error"].append((Subject("error", error), Errors(count, attempts)))
    if "" in found:
        feeds["error"].append((Subject("error"), Errors(*found[""])))


def _feed_tokens(feeds: Feeds, tokens: Mapping[str | None, Amounts], day: DaySubjects) -> None:
    subjects = day.kinds["model"]
    subjects.choose({model: _tokens(amounts) for model, amounts in tokens.items() if model})
    seen = subjects.seen()
    if not seen and not any(_tokens(amounts) for amounts in tokens.values()):
        return
    whole, rest = _no_tokens(), _no_tokens()
    for model, amounts in tokens.items():
        whole.update(amounts)
        if model is None or (model and model not in subjects.chosen):
            rest.update(amounts)
    feeds["tokens"].append((None, whole))
    for model in seen:
        shown = _no_tokens()
        shown.update(tokens.get(model, Amounts()))
        feeds["model"].append((Subject("model", model), shown))
    if _tokens(rest):
        feeds["model"].append((Subject("model"), rest))


def _figure(value: Value) -> Figures:
    if isinstance(value, Fraction):
        return Amounts({"amount": value})
    if isinstance(value, Summary):
        return Summaries(value)
    return Gauges(value) if isinstance(value, Level) else Durations(value)


def _sum_errors(parts: list[Durations]) -> tuple[Counter[str], int]:
    errors = Counter[str]()
    for part in parts:
        if part.errors:
            errors.update(part.errors)
    return errors, _count(parts)


def _count(parts: list[Durations]) -> int:
    return sum(part.histogram.count for part in parts)


def _tokens(amounts: Amounts) -> int:
    return int(sum(amounts.amounts.values()))


def _no_tokens() -> Amounts:
    return Amounts({"input": Fraction(0), "output": Fraction(0)})
