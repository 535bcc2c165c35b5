"""What is watched of predictions: how often confidence is low, and which labels come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from otel_wandb.alerts.finding import State
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.metrics.intervals import Interval
from otel_wandb.statistics.concentration import EntropyChange, compare_entropy
from otel_wandb.statistics.draws import seed_of
from otel_wandb.statistics.proportions import Interval as ShareRange
from otel_wandb.statistics.proportions import compare_proportions, newcombe
from otel_wandb.views.answer import Action, tell_answered
from otel_wandb.views.bins import NamedBins, Names
from otel_wandb.views.definitions import Drift
from otel_wandb.views.drift_words import tell_movers
from otel_wandb.views.effects import Side, moved_part, moved_range
from otel_wandb.views.judging import Window
from otel_wandb.views.machine import Look
from otel_wandb.views.prediction_words import tell_collapse, tell_labels, tell_low, tell_over
from otel_wandb.views.watch import Watch, limits_of

LOW: Final = "low"
SURE: Final = "sure"

_PART: Final = 0.05
"""Of predictions: a change that matters."""
_MORE: Final = 1.5
"""So many times as often matters too, where it is rare."""
_FALL: Final = 0.75
_RECOVERED: Final = 0.85
"""Of the entropy of the reference: below the first predictions have collapsed, above the second no more."""
_LEVEL: Final = 0.01
_UNSURE: Final = "is less confident"
_COLLAPSE: Final = "predicts fewer labels"
_SHARES: Final = "predicts other labels"


class Alarm(NamedTuple):
    """What is to be told. `kind` and `title` stay the same."""

    kind: str
    title: str
    text: str
    state: State


class _Rate(NamedTuple):
    """How often something was, and is."""

    a: int
    n: int
    b: int
    m: int


class ConfidenceWatch:
    """How often confidence is at most `limit`, against the first predictions."""

    def __init__(self, plan: Drift, limit: float, *, seed: int, threshold: float) -> None:
        self._limit, self._threshold = limit, threshold
        self._bins = NamedBins(limits_of(plan).bins)
        self.watch = Watch[Names](plan, lambda _: self._bins, seed=seed_of(seed, LOW))

    def take(self, interval: Interval, histograms: Sequence[AnyHistogram], subject: str) -> list[Alarm]:
        """Take an interval; what is to be told."""
        low = sum(round(h.count * (1 - h.share_over(self._limit))) for h in histograms)
        total = sum(h.count for h in histograms)
        window = self.watch.take(interval, {LOW: low, SURE: total - low} if total else {})
        self.watch.notices.clear()  # small references are what a view without one begins with
        if window is None:
            return []
        fired_ns = self.watch.firing_ns
        rate = self._read(window.shifted if fired_ns is None else window.sides)
        now = self._read(window.sides)
        turn = self.watch.settle(window, moved=_is_raised(rate), threshold=self._threshold)
        if turn == "fires" and rate is not None and now is not None:
            text = tell_low(
                subject,
                window,
                limit=self._limit,
                before=rate.a / rate.n,
                after=rate.b / rate.m,
                interval=newcombe(*rate),
                p_value=compare_proportions(*now),
                promise=self._threshold,
            )
            return [Alarm("confidence", _UNSURE, text, "firing")]
        if turn == "recovers":
            text = tell_over(subject, "The share of low confidence", window, fired_ns=fired_ns or 0)
            return [Alarm("confidence", _UNSURE, text, "recovered")]
        return []

    def answer(self, action: Action, subject: str, look: Look) -> list[Alarm]:
        """Do as somebody said; what ends with it."""
        fired_ns = self.watch.firing_ns
        answer_watch(self.watch, action)
        if fired_ns is None:
            return []
        text = tell_answered(subject, action, fired_ns=fired_ns, look=look)
        return [Alarm("confidence", _UNSURE, text, "recovered")]

    def _read(self, sides: tuple[Side, Side] | None) -> _Rate | None:
        if sides is None:
            return None
        at = self._bins.labels.index(LOW)
        (n, a), (m, b) = ((round(side.size), float(side.parts[at])) for side in sides)
        return _Rate(round(a * n), n, round(b * m), m)


class LabelWatch:
    """Which labels come, against the first predictions."""

    def __init__(self, plan: Drift, *, seed: int, threshold: float) -> None:
        self._threshold = threshold
        self._bins = NamedBins(limits_of(plan).bins)
        self.watch = Watch[Names](plan, lambda _: self._bins, seed=seed_of(seed, "labels"))
        self.collapsed_ns: int | None = None
        """When the collapse was told that is not over."""

    def take(self, interval: Interval, labels: Names, subject: str) -> list[Alarm]:
        """Take an interval; what is to be told."""
        window = self.watch.take(interval, labels)
        self.watch.notices.clear()
        if window is None or window.sides is None:
            return []
        change = self._compare(window, window.sides)
        if self.collapsed_ns is None:
            if window.evidence >= self._threshold and _has_collapsed(change):
                self.collapsed_ns = window.end_ns
                return [*self._settle(window, subject), self._tell_collapse(window, change, subject)]
        elif change.after >= _RECOVERED * change.before:
            text = tell_over(subject, "The variety of labels", window, fired_ns=self.collapsed_ns)
            self.collapsed_ns = None
            if self.watch.firing_ns is None:
                self.watch.keep()
            return [Alarm("collapse", _COLLAPSE, text, "recovered")]
        return self._settle(window, subject)

    def answer(self, action: Action, subject: str, look: Look) -> list[Alarm]:
        """Do as somebody said; what ends with it."""
        kinds = ("labels", _SHARES, self.watch.firing_ns), ("collapse", _COLLAPSE, self.collapsed_ns)
        answer_watch(self.watch, action)
        self.collapsed_ns = None
        return [
            Alarm(kind, title, tell_answered(subject, action, fired_ns=fired_ns, look=look), "recovered")
            for kind, title, fired_ns in kinds
            if fired_ns is not None
        ]

    def _settle(self, window: Window, subject: str) -> list[Alarm]:
        fired_ns = self.watch.firing_ns
        sides = window.shifted if fired_ns is None else window.sides
        # A collapse is a change of shares, too; it is told once.
        moved = self.collapsed_ns is None and sides is not None and self._has_moved(window, sides, fired_ns)
        turn = self.watch.settle(window, moved=moved, threshold=self._threshold)
        if turn == "fires" and sides is not None:
            text = tell_labels(
                subject,
                window,
                part=moved_part(*sides),
                interval=_range(window, sides),
                movers=tell_movers(self._bins.labels, *sides),
                promise=self._threshold,
            )
            return [Alarm("labels", _SHARES, text, "firing")]
        if turn == "recovers":
            text = tell_over(subject, "The mix of labels", window, fired_ns=fired_ns or 0)
            return [Alarm("labels", _SHARES, text, "recovered")]
        return []

    def _has_moved(self, window: Window, sides: tuple[Side, Side], fired_ns: int | None) -> bool:
        if fired_ns is not None:
            return moved_part(*sides) >= _PART
        return window.evidence >= self._threshold and _range(window, sides).high >= _PART

    def _compare(self, window: Window, sides: tuple[Side, Side]) -> EntropyChange:
        before, after = (np.rint(side.parts * side.size).astype(np.int64) for side in sides)
        return compare_entropy(before, after, seed=seed_of("entropy", window.start_ns))

    def _tell_collapse(self, window: Window, change: EntropyChange, subject: str) -> Alarm:
        parts = window.sides[1].parts if window.sides else np.zeros(1)
        top = int(parts.argmax())
        text = tell_collapse(
            subject,
            window,
            change=change,
            label=self._bins.labels[top],
            share=float(parts[top]),
            promise=self._threshold,
        )
        return Alarm("collapse", _COLLAPSE, text, "firing")


def answer_watch(watch: Watch[Names], action: Action) -> None:
    """Keep the reference of the watch, or let it learn another one."""
    (watch.keep if action == "keep" else watch.accept)()


def _has_collapsed(change: EntropyChange) -> bool:
    return change.p_value <= _LEVEL and change.after < _FALL * change.before


def _is_raised(rate: _Rate | None) -> bool:
    if rate is None:
        return False
    before, after = rate.a / rate.n, rate.b / rate.m
    matters = after >= before + _PART or after >= _MORE * before
    return matters and newcombe(*rate).low > 0


def _range(window: Window, sides: tuple[Side, Side]) -> ShareRange:
    return moved_range(*sides, seed=seed_of("labels", window.start_ns))
