"""Drift: whether values, or shares of names, have moved away from their reference.

Values are those of histograms. Names are the values of an attribute, counted by counters or by histograms;
data without the attribute count as a name of their own, so with `category="error.type"` the share of requests
without an error is watched, too.

An alarm fires where there is evidence and a change that may matter: the interval for the part of requests
that lie elsewhere reaches up to `min_effect`, or p95 or p99 has certainly changed by twice that part (for
0.05, by 10 %). Both are of all that came since evidence began to rise. See `watch` for when it is over, and
`statistics.detector` for what it promises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from otel_wandb.alerts.finding import Level, State
from otel_wandb.alerts.wording import tell_time
from otel_wandb.metrics.closed import Series
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.statistics.draws import seed_of
from otel_wandb.views.answer import Action, tell_answered
from otel_wandb.views.definitions import Drift, name_view
from otel_wandb.views.drift_words import tell_buckets, tell_drift, tell_recovered, tell_small
from otel_wandb.views.effects import moved_part, moved_range
from otel_wandb.views.evidence import Stream
from otel_wandb.views.followed import Followed, follow, read_names, read_values
from otel_wandb.views.judging import Window
from otel_wandb.views.machine import Group, Look, Outcome, admit, name_attributes, select
from otel_wandb.views.telling import make_finding, name_subject
from otel_wandb.views.watch import WatchState

_SHOWN: Final = {
    "ks": "ks_statistic",
    "psi": "psi",
    "wasserstein": "wasserstein",
    "total_variation": "total_variation",
}


class DriftState(msgspec.Struct, frozen=True):
    """What the machine remembers; it encodes as JSON."""

    groups: list[tuple[Group, WatchState]]


class DriftMachine:
    """A `Drift` view at work, for one service. Not thread-safe.

    Keys, of each group, in the row in which a window closes: `drift/{view}_p_value` of that window against
    the reference, `_ks_statistic`, `_psi`, `_wasserstein` (in natural logarithms, so 0.1 is about 10 %, or in
    standard deviations where values may be zero) and `_total_variation`, each as it is, and `_psi_null_p95`,
    which 95 of 100 windows without a change don't exceed; `_effect`, the total variation without what chance
    makes of it, which is what `min_effect` is compared with; `_mean`, `_std`; and `_evidence` of all windows.
    Names have neither `_ks_statistic` nor `_wasserstein`, `_mean` and `_std`. `_drift_detected` is in each
    row since the reference is complete: 1 while an alarm lasts.

    Each group has less than 16 KB of state. An interval costs some tenths of a millisecond a group, one that
    closes a window some milliseconds more.
    """

    def __init__(self, definition: Drift, *, windows_to_false_alarm: float) -> None:
        self._view = definition
        self._name = name_view(definition)
        self._threshold = windows_to_false_alarm
        self._groups: dict[Group, Followed] = {}

    def update(self, look: Look) -> Outcome:
        """Take an interval; those of a service come in their order."""
        view, outcome = self._view, Outcome(keys=look.keys)
        found = select(look.series, view.instrument, view.where, view.by)
        for group in admit(self._groups, (group for group, series in found.items() if self._reads(series))):
            if group not in self._groups:
                self._groups[group] = follow(view, seed=seed_of(look.service, self._name, *group))
        for group, followed in sorted(self._groups.items()):
            window = followed.take(look.closed.interval, found.get(group, ()))
            self._tell_notices(look, outcome, group, window)
            if window is not None:
                self._tell_window(look, outcome, group, window)
            if followed.watch.reference is not None:
                alarm = float(followed.watch.firing_ns is not None)
                outcome.values[outcome.keys.key("drift", self._name, group, "drift_detected")] = alarm
        return outcome

    def explain(self) -> dict[Group, str]:
        """What each group is about: learning, or so many requests of a window."""
        return {group: followed.watch.explain() for group, followed in sorted(self._groups.items())}

    def keep(self, group: Group = ()) -> None:
        """Acknowledge the alarm of a group and keep its reference. Raises `KeyError` for an unknown group."""
        self._groups[group].watch.keep()

    def accept(self, group: Group = ()) -> None:
        """Acknowledge the alarm of a group: what came since the change is the reference from now on.

        It is completed by what comes next, where that is less than `learn_requests`. Raises `KeyError` for an
        unknown group.
        """
        self._groups[group].watch.accept()

    def list_evidence(self) -> list[Stream]:
        """Its streams, as they stand after the last interval."""
        found = ((group, followed.watch.e_value) for group, followed in sorted(self._groups.items()))
        return [Stream("drift", group, "q_value", value) for group, value in found if value is not None]

    def list_alarms(self) -> dict[Group, int]:
        """The groups whose alarm is not over, and since when (Unix time in ns)."""
        fired = {group: followed.watch.firing_ns for group, followed in sorted(self._groups.items())}
        return {group: fired_ns for group, fired_ns in fired.items() if fired_ns is not None}

    def answer(self, action: Action, group: Group, look: Look) -> Outcome:
        """Do as somebody said, before the interval is taken. Raises `KeyError` for an unknown group."""
        outcome, fired_ns = Outcome(keys=look.keys), self._groups[group].watch.firing_ns
        (self.keep if action == "keep" else self.accept)(group)
        if fired_ns is not None:
            text = tell_answered(name_subject(self._name, group), action, fired_ns=fired_ns, look=look)
            self._find(look, outcome, group, "drift", "has drifted", text, level="warn", state="recovered")
        return outcome

    def state(self) -> bytes:
        """What `restore` needs."""
        groups = [(group, followed.watch.state()) for group, followed in sorted(self._groups.items())]
        return msgspec.json.encode(DriftState(groups))

    def restore(self, state: bytes) -> None:
        """Go on from there; raises `msgspec.MsgspecError` for a state of another shape."""
        told = msgspec.json.decode(state, type=DriftState)
        groups: dict[Group, Followed] = {}
        for group, one in told.groups:
            groups[group] = follow(self._view, seed=one.seed)
            groups[group].watch.restore(one)
        self._groups = groups

    def _reads(self, series: Sequence[Series]) -> bool:
        if self._view.order == "ordered":
            return bool(read_values(series))
        return bool(read_names(series, self._view.category))

    def _tell_notices(self, look: Look, outcome: Outcome, group: Group, window: Window | None) -> None:
        notices, subject = self._groups[group].watch.notices, name_subject(self._name, group)
        if "buckets" in notices:
            self._find(look, outcome, group, "drift_buckets", "has other buckets now", tell_buckets(subject))
        if "small" in notices and window is not None:
            text = tell_small(subject, window)
            self._find(look, outcome, group, "drift_reference", "has a small reference", text)
        notices.clear()

    def _tell_window(self, look: Look, outcome: Outcome, group: Group, window: Window) -> None:
        followed, subject = self._groups[group], name_subject(self._name, group)
        for field, value in list_figures(window):
            outcome.values[outcome.keys.key("drift", self._name, group, field)] = value
        if window.sides is not None:
            effect = moved_part(*followed.simplify(window.sides))
            outcome.values[outcome.keys.key("drift", self._name, group, "effect")] = effect
        fired_ns = followed.watch.firing_ns
        moved = self._may_matter(followed, window) if fired_ns is None else self._matters(followed, window)
        turn = followed.watch.settle(window, moved=moved, threshold=self._threshold)
        if turn == "fires":
            text = self._tell_alarm(look, group, window)
            self._find(look, outcome, group, "drift", "has drifted", text, level="warn")
        elif turn == "recovers":
            text = tell_recovered(subject, window, fired_ns=fired_ns or 0)
            self._find(look, outcome, group, "drift", "has drifted", text, level="warn", state="recovered")

    def _may_matter(self, followed: Followed, window: Window) -> bool:
        """Whether the change since evidence began to rise is not certainly too small to matter."""
        sides, effect = window.shifted, self._view.min_effect
        if sides is None or window.evidence < self._threshold:
            return False
        high = moved_range(*followed.simplify(sides), seed=seed_of(self._name, window.start_ns)).high
        return high >= effect or followed.exceeds(2 * effect, sides)

    def _matters(self, followed: Followed, window: Window) -> bool:
        """Whether a change that matters is to be seen in this window alone."""
        sides, effect = window.sides, self._view.min_effect
        if sides is None:
            return False
        return moved_part(*followed.simplify(sides)) >= effect or followed.exceeds(2 * effect, sides)

    def _tell_alarm(self, look: Look, group: Group, window: Window) -> str:
        followed, subject = self._groups[group], name_subject(self._name, group)
        sides = window.shifted or window.sides
        if sides is None:  # nothing has moved then, and no alarm fires
            return subject
        where = name_attributes(self._view, group)
        return tell_drift(
            subject,
            window,
            part=moved_part(*followed.simplify(sides)),
            interval=moved_range(*followed.simplify(sides), seed=seed_of(self._name, window.start_ns)),
            changes=followed.tell_changes(sides),
            windows_to_false_alarm=self._threshold,
            reference=self._tell_reference(followed),
            examples=followed.find_examples(sides, look.examples, where),
        )

    def _tell_reference(self, followed: Followed) -> str:
        reference, learnt_ns = followed.watch.reference, followed.watch.learnt_ns
        size = f"{reference.size if reference else 0:,} requests"
        if learnt_ns is not None:
            first, last = (tell_time(time_ns / SECOND_NS) for time_ns in learnt_ns)
            return f"{size}, learnt from {first} to {last}"
        given = self._view.reference
        return f"{size}, {given.source}" if given and given.source else size

    def _find(
        self,
        look: Look,
        outcome: Outcome,
        group: Group,
        kind: str,
        title: str,
        text: str,
        *,
        level: Level = "info",
        state: State = "firing",
    ) -> None:
        finding = make_finding(
            look, kind=kind, view=self._name, group=group, title=title, level=level, text=text, state=state
        )
        outcome.findings.append(finding)


def list_figures(window: Window) -> Iterator[tuple[str, float]]:
    """The figures of a window, by the ends of their keys."""
    yield "evidence", window.evidence
    if window.moments is not None:
        yield "mean", window.moments.mean
        yield "std", window.moments.std
    if window.test is None:
        return
    yield "p_value", window.test.p_value
    for name, field in _SHOWN.items():
        if name in window.test.statistics:
            yield field, window.test.statistics[name].value
    yield "psi_null_p95", window.test.statistics["psi"].null_p95
