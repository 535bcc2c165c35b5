"""Predictions: how confident a model is, and how varied what it predicts.

Beside the charts, the share of predictions with low confidence and the shares of labels are watched, each
against the first that came (`watch`). Three alarms come of it, each only with as much evidence as was asked
for: confidence is low more often; labels come in other shares; and predictions collapse, which is that labels
come much less evenly. The number of different labels by the number of predictions is a chart and no alarm: it
depends on how many predictions there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from otel_wandb.alerts.finding import Finding
from otel_wandb.metrics.closed import Series
from otel_wandb.metrics.histogram import AnyHistogram, merge_all
from otel_wandb.metrics.intervals import Interval
from otel_wandb.statistics.draws import seed_of
from otel_wandb.views.answer import Action
from otel_wandb.views.bins import Names, cut_name
from otel_wandb.views.definitions import Drift, Predictions, name_view
from otel_wandb.views.evidence import Stream
from otel_wandb.views.examples import SMALLEST, Example
from otel_wandb.views.followed import read_names, read_values
from otel_wandb.views.label_keys import MAX_LABELS, LabelKeys, LabelKeysState
from otel_wandb.views.machine import Group, Look, Outcome, admit, name_attributes, select
from otel_wandb.views.prediction_alarms import Alarm, ConfidenceWatch, LabelWatch
from otel_wandb.views.telling import make_finding, name_subject
from otel_wandb.views.watch import WatchState

_QUARTILES: Final = {"confidence_p25": 0.25, "confidence_median": 0.5, "confidence_p75": 0.75}


class GroupState(msgspec.Struct, frozen=True):
    """What is remembered of a group; it encodes as JSON."""

    confidence: WatchState
    labels: WatchState
    keys: LabelKeysState
    collapsed_ns: int | None = None


class PredictionsState(msgspec.Struct, frozen=True):
    """What the machine remembers; it encodes as JSON."""

    groups: list[tuple[Group, GroupState]]


class _Group:
    """What is at work for a group."""

    def __init__(self, view: Predictions, seed: int, threshold: float) -> None:
        plan = Drift(instrument=view.instrument, order="categories", category=view.label)
        self.confidence = ConfidenceWatch(plan, view.low_confidence, seed=seed, threshold=threshold)
        self.labels = LabelWatch(plan, seed=seed, threshold=threshold)
        self.keys = LabelKeys()

    def state(self) -> GroupState:
        return GroupState(
            self.confidence.watch.state(),
            self.labels.watch.state(),
            self.keys.state(),
            self.labels.collapsed_ns,
        )

    def restore(self, state: GroupState) -> None:
        self.confidence.watch.restore(state.confidence)
        self.labels.watch.restore(state.labels)
        self.labels.collapsed_ns = state.collapsed_ns
        self.keys = LabelKeys(state.keys)


class PredictionsMachine:
    """A `Predictions` view at work, for one service. Not thread-safe.

    Keys, of each group and interval with predictions: `predictions/{view}_confidence_mean`,
    `_confidence_std`, `_confidence_p25`, `_confidence_median`, `_confidence_p75`; `_low_confidence_rate`, the
    percent of predictions whose confidence is at most `low_confidence`. Where they have labels:
    `_unique_count` of different ones, `_diversity_ratio` of these to predictions, `_entropy` in nats;
    `_{label}_share` (0 to 1) of the 20 labels that are shown that day, and `_other_share` of all others.
    `_low_confidence_detected`, `_drift_detected` (of labels) and `_collapse_detected` are 1 while an alarm
    lasts.

    Half of the false alarms that may be are for confidence, half for labels. State and cost are those of two
    drift views.
    """

    def __init__(self, definition: Predictions, *, windows_to_false_alarm: float) -> None:
        self._view = definition
        self._name = name_view(definition)
        self._threshold = 2 * windows_to_false_alarm
        self._groups: dict[Group, _Group] = {}

    def update(self, look: Look) -> Outcome:
        """Take an interval; those of a service come in their order."""
        view, outcome = self._view, Outcome(keys=look.keys)
        found = select(look.series, view.instrument, view.where, view.by)
        groups = (group for group, series in found.items() if read_values(series))
        for group in admit(self._groups, groups):
            if group not in self._groups:
                seed = seed_of(look.service, self._name, *group)
                self._groups[group] = _Group(view, seed, self._threshold)
        for group in sorted(self._groups):
            self._take(look, outcome, group, found.get(group, ()))
        return outcome

    def explain(self) -> dict[Group, str]:
        """What each group is about: learning, or so many requests of a window."""
        return {group: one.confidence.watch.explain() for group, one in sorted(self._groups.items())}

    def list_evidence(self) -> list[Stream]:
        """Its streams, as they stand after the last interval."""
        found = (
            (group, f"{word}_q_value", watched.watch.e_value)
            for group, one in sorted(self._groups.items())
            for word, watched in (("confidence", one.confidence), ("labels", one.labels))
        )
        return [Stream("predictions", group, field, e) for group, field, e in found if e is not None]

    def list_alarms(self) -> dict[Group, int]:
        """The groups with an alarm that is not over, and since when (Unix time in ns)."""
        fired = {group: _list_fired(one) for group, one in sorted(self._groups.items())}
        return {group: min(times_ns) for group, times_ns in fired.items() if times_ns}

    def answer(self, action: Action, group: Group, look: Look) -> Outcome:
        """Do as somebody said, of confidence and labels. Raises `KeyError` for an unknown group."""
        outcome, one = Outcome(keys=look.keys), self._groups[group]
        subject = name_subject(self._name, group)
        alarms = [
            *one.confidence.answer(action, subject, look),
            *one.labels.answer(action, subject, look),
        ]
        outcome.findings += [self._find(look, group, alarm) for alarm in alarms]
        return outcome

    def state(self) -> bytes:
        """What `restore` needs."""
        return msgspec.json.encode(
            PredictionsState([(group, one.state()) for group, one in sorted(self._groups.items())])
        )

    def restore(self, state: bytes) -> None:
        """Go on from there; raises `msgspec.MsgspecError` for a state of another shape."""
        told = msgspec.json.decode(state, type=PredictionsState)
        groups: dict[Group, _Group] = {}
        for group, one in told.groups:
            groups[group] = _Group(self._view, one.confidence.seed, self._threshold)
            groups[group].restore(one)
        self._groups = groups

    def _take(self, look: Look, outcome: Outcome, group: Group, series: Sequence[Series]) -> None:
        one, interval = self._groups[group], look.closed.interval
        histograms = read_values(series)
        counts = {name: count for name, count in read_names(series, self._view.label).items() if name}
        if histograms:
            self._draw(outcome, group, interval, histograms, counts)
        subject = name_subject(self._name, group)
        alarms = [
            *one.confidence.take(interval, histograms, subject),
            *one.labels.take(interval, counts, subject),
        ]
        for alarm in alarms:
            outcome.findings.append(self._find(look, group, alarm))
        for field, detected in _list_flags(one):
            outcome.values[self._key(outcome, group, field)] = float(detected)

    def _draw(
        self,
        outcome: Outcome,
        group: Group,
        interval: Interval,
        histograms: Sequence[AnyHistogram],
        counts: dict[str, int],
    ) -> None:
        figures = dict(list_confidence(histograms, self._view.low_confidence))
        if counts:
            figures.update(list_variety(counts))
            names = self._groups[group].keys.name_all(interval.period_ns, counts)
            figures.update(list_shares(counts, names))
        outcome.values.update({self._key(outcome, group, field): value for field, value in figures.items()})

    def _find(self, look: Look, group: Group, alarm: Alarm) -> Finding:
        return make_finding(
            look,
            kind=f"predictions_{alarm.kind}",
            view=self._name,
            group=group,
            title=alarm.title,
            level="warn",
            text=alarm.text,
            state=alarm.state,
            examples=self._find_examples(look, group, alarm),
        )

    def _find_examples(self, look: Look, group: Group, alarm: Alarm) -> list[Example]:
        if alarm.state != "firing" or alarm.kind != "confidence":
            return []
        where = name_attributes(self._view, group)
        return look.examples.find(self._view.instrument, SMALLEST, where)

    def _key(self, outcome: Outcome, group: Group, field: str) -> str:
        return outcome.keys.key("predictions", self._name, group, field)


def list_confidence(histograms: Sequence[AnyHistogram], low_confidence: float) -> Iterator[tuple[str, float]]:
    """What a histogram of confidences says, by the ends of keys."""
    merged = merge_all(histograms)
    yield "confidence_mean", merged.mean
    yield "confidence_std", merged.std
    yield from zip(_QUARTILES, merged.quantiles(list(_QUARTILES.values())), strict=True)
    yield "low_confidence_rate", 100 * (1 - merged.share_over(low_confidence))


def list_variety(counts: Names) -> Iterator[tuple[str, float]]:
    """How varied the labels are, by the ends of keys."""
    total = sum(counts.values())
    yield "unique_count", float(len(counts))
    yield "diversity_ratio", len(counts) / total
    yield "entropy", -sum(count / total * math.log(count / total) for count in sorted(counts.values()))


def list_shares(counts: Names, names: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """The shares of the labels that are shown under these names, and of all others where there are some."""
    total = rest = sum(counts.values())
    shown = dict.fromkeys(names.values(), 0)
    for label, count in counts.items():
        name = names.get(cut_name(label))
        if name is not None:
            shown[name] += count
            rest -= count
    for name, count in shown.items():
        yield f"{name}_share", count / total
    if rest or len(names) == MAX_LABELS:
        yield "other_share", rest / total


def _list_fired(one: _Group) -> list[int]:
    times_ns = (one.confidence.watch.firing_ns, one.labels.watch.firing_ns, one.labels.collapsed_ns)
    return [time_ns for time_ns in times_ns if time_ns is not None]


def _list_flags(one: _Group) -> Iterator[tuple[str, bool]]:
    confidence, labels = one.confidence, one.labels
    if confidence.watch.reference is not None:
        yield "low_confidence_detected", confidence.watch.firing_ns is not None
    if labels.watch.reference is not None:
        yield "drift_detected", labels.watch.firing_ns is not None
        yield "collapse_detected", labels.collapsed_ns is not None
