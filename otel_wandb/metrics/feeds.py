"""What the charts of an interval are drawn from: its data, by the subjects that have charts this day."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.metrics.catalogue import LABEL, VERSION, Feed, Pool
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
from otel_wandb.metrics.from_spans import Tally
from otel_wandb.metrics.shares import MOST_SHOWN, Learnt, ShareFigures, find_rest, find_shares, split
from otel_wandb.metrics.sorting import Names, Sorted, sort_data
from otel_wandb.metrics.sources import DaySources, Wanted, choose_data
from otel_wandb.metrics.spending import (
    DaySpending,
    PriceOf,
    Spending,
    cost_amounts,
    dollars,
    settle_spending,
    size_percentile,
    to_rank,
    token_amounts,
)
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
    """What has charts this day, what a request is, from where it counts, and what was spent."""

    entry: int | None = None
    kinds: defaultdict[str, Subjects] = field(default_factory=lambda: defaultdict(Subjects))
    spending: DaySpending = field(default_factory=DaySpending)
    sources: DaySources = field(default_factory=DaySources)

    def labels(self) -> list[str]:
        """The attributes by whose values there are charts."""
        return [kind.removeprefix(LABEL) for kind in self.kinds if kind.startswith(LABEL)]

    def follow(self) -> DaySubjects:
        """The next day, before anything has come."""
        kinds = {kind: subjects.follow() for kind, subjects in self.kinds.items() if kind != VERSION}
        return DaySubjects(None, defaultdict(Subjects, kinds), self.spending.follow(), self.sources.follow())


def feed_charts(
    closed: ClosedInterval,
    day: DaySubjects,
    names: Names,
    *,
    price_of: PriceOf,
    with_bins: bool,
    source: Wanted = "auto",
) -> Feeds:
    """What the charts show of the interval; `day` learns of its subjects.

    `source` says whether metrics or spans count, where there are both.
    """
    found = sort_data(choose_data(closed, day.sources, source), names)
    durations = {
        place: {name: merge_durations(parts) for name, parts in by_name.items()}
        for place, by_name in found.durations.items()
    }
    feeds: Feeds = defaultdict(list)
    whole = _feed_whole(feeds, durations, day)
    _feed_parts(feeds, durations, day)
    _feed_errors(feeds, durations, day, whole)
    spending = settle_spending(closed, found.tokens, day.spending, price_of)
    _feed_spending(feeds, spending, day)
    learnt = Learnt(names, day.entry, day.sources, day.spending, price_of)
    shares = find_shares(closed, ShareFigures(whole, spending.whole), learnt)
    _feed_versions(feeds, shares, spending.whole, day)
    feeds["call_tokens"].append((None, size_percentile(closed.spend_sizes, 95)))
    if found.active.amounts:
        feeds["active"].append((None, found.active))
    feeds["interval"].append((None, _count_interval(closed)))
    _feed_others(feeds, found, day)
    for shown in feeds.values():
        for _, figures in shown:
            if isinstance(figures, Durations):
                figures.seconds, figures.with_bins = closed.interval.seconds, with_bins
    return feeds


def _count_interval(closed: ClosedInterval) -> Amounts:
    late = Amounts({"late_points": Fraction(closed.late_points)})
    if closed.spans:
        late.add("late_spans", Fraction(closed.late_spans))
    if closed.mapping_warnings:
        late.add("mapping_warnings", Fraction(closed.mapping_warnings))
    return late


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


def _feed_spending(feeds: Feeds, spending: Spending, day: DaySubjects) -> None:
    subjects = day.kinds["model"]
    tokens = {model: tally.size for model, tally in spending.models.items()}
    subjects.choose({model: n for model, n in tokens.items() if model})
    seen = subjects.seen()
    if not seen and not any(tokens.values()):
        return
    feeds["tokens"].append((None, token_amounts(spending.whole)))
    feeds["cost"].append((None, cost_amounts(spending, day.spending)))
    rest = Tally()
    for model, tally in spending.models.items():
        if model is None or (model and model not in subjects.chosen):
            rest.add(tally)
    shown = [(Subject("model", model), spending.models.get(model, Tally())) for model in seen]
    if rest.size:
        shown.append((Subject("model"), rest))
    feeds["model"] += [(subject, token_amounts(tally)) for subject, tally in shown]
    feeds["model_cost"] += [
        (subject, dollars(tally.units))
        for subject, tally in shown
        if tally.unpriced_tokens < tally.tokens or not tally.tokens
    ]
    _feed_labels(feeds, spending, day)


def _feed_labels(feeds: Feeds, spending: Spending, day: DaySubjects) -> None:
    """The cost by values of attributes; what has no chart of its own, or no value, is the rest."""
    for name in sorted({*spending.labels, *day.labels()}):
        subjects, units = day.kinds[f"{LABEL}{name}"], spending.labels[name]
        subjects.choose({value: to_rank(cost) for value, cost in units.items()})
        rest = spending.whole.units
        for value in subjects.seen():
            feeds["label_cost"].append(
                (Subject(f"{LABEL}{name}", f"{name}={value}"), dollars(units.get(value, 0)))
            )
            rest -= units.get(value, 0)
        if rest and subjects.seen():
            feeds["label_cost"].append((Subject(f"{LABEL}{name}"), dollars(rest)))


def _feed_versions(feeds: Feeds, shares: Mapping[str, ShareFigures], spent: Tally, day: DaySubjects) -> None:
    """Each version of the service, from the first row of the day on in which there are two."""
    subjects = day.kinds[VERSION]
    subjects.choose({version: figures.size for version, figures in shares.items() if version})
    shown = subjects.seen()[:MOST_SHOWN]
    if len(shown) < 2:
        return
    mine, others = split(shares, shown)
    figures = [(Subject(VERSION, f"{VERSION} {version}"), found) for version, found in mine.items()]
    rest = find_rest(spent, mine.values(), others)
    if rest.size:
        figures.append((Subject(VERSION), rest))
    for subject, (durations, tally) in figures:
        if day.entry is not None:
            feeds["version"].append((subject, durations))
        if day.kinds["model"].seen():
            feeds["version_tokens"].append((subject, token_amounts(tally)))
            if tally.unpriced_tokens < tally.tokens or not tally.tokens:
                feeds["version_cost"].append((subject, dollars(tally.units)))


def _feed_others(feeds: Feeds, found: Sorted, day: DaySubjects) -> None:
    for other, values in sorted(found.others.items(), key=lambda item: item[0]):
        value, _ = combine(values)
        if other.family == "updown" and isinstance(value, Level):
            value = value.total
        feeds[other.family].append((Subject(f"{other.family} {other.unit}", other.name), _figure(value)))
    for (other, kind), by_text in sorted(found.split.items(), key=lambda item: item[0]):
        subjects, rest = day.kinds[kind], list[Value]()
        subjects.choose({text: _amount(values) for text, values in by_text.items() if text})
        for text, values in sorted(by_text.items()):
            if text in subjects.chosen:
                subject = Subject(f"{other.family} {other.unit}", f"{other.name} {text}")
                feeds[other.family].append((subject, _figure(combine(values)[0])))
            else:
                rest += values
        if rest:
            feeds[other.family].append((Subject(kind), _figure(combine(rest)[0])))


def _amount(values: list[Value]) -> int:
    """By what subjects are ranked: how many values, where that is known."""
    return sum(getattr(value, "count", 1) for value in values)


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
