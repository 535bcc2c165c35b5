"""How fast an error budget is spent, over several windows at once, in event time.

A request is good if it has no `error.type` and no status of 500 and above, or, with `threshold_s`, if it
took no longer than that. The objective is the share of good ones; what may be bad is the budget, of 30 days.
A burn rate of 1 spends just all of it. Source: B. Beyer and others, "The Site Reliability Workbook", 2018,
chapter 5.

An alert fires when two windows, a long and a short one, both burn at its rate or faster, at least `min_bad`
of the long window are bad, and a service that just keeps its objective has so many with a probability below
0.01 (binomial, so exact where requests fail independently). That is a rule for pages, not a bound on false
alarms. It recovers when the short window has burned slower for as long as it is.

All of a bucket that lies across the threshold counts as good here, so that binning never wakes anybody; the
keys with `_high` (and `_low`, of the good ones) count it as bad, and are there only where there is such a
bucket. A finding asks for an edge at the threshold as soon as that makes a difference.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NamedTuple

import msgspec

from otel_wandb.alerts.finding import Finding, Level, State
from otel_wandb.alerts.wording import tell_number
from otel_wandb.metrics.closed import Series
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.statistics.proportions import burn_rate
from otel_wandb.views.blocks import Blocks, Resolution, Row, Window
from otel_wandb.views.definitions import Slo, name_view
from otel_wandb.views.examples import LARGEST, Example
from otel_wandb.views.machine import Group, Look, Outcome, admit, name_attributes, select
from otel_wandb.views.requests import Requests, count_failed, count_slow
from otel_wandb.views.telling import make_finding, name_subject, tell_duration, tell_fired

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_RESOLUTIONS: Final = (
    Resolution(_MINUTE_S, 60),
    Resolution(5 * _MINUTE_S, 72),
    Resolution(_HOUR_S, 72),
    Resolution(_DAY_S, 30),
)
_5_MIN: Final = Window(0, 5, 5 * _MINUTE_S)
_30_MIN: Final = Window(0, 30, 30 * _MINUTE_S)
_1_H: Final = Window(0, 60, _HOUR_S)
_6_H: Final = Window(1, 72, 6 * _HOUR_S)
_3_D: Final = Window(2, 72, 3 * _DAY_S)
_30_D: Final = Window(3, 30, 30 * _DAY_S)
_SHOWN: Final = {"1h": _1_H, "6h": _6_H, "3d": _3_D}
_MAX_P_VALUE: Final = 0.01


class _Policy(NamedTuple):
    """When an alert fires."""

    kind: str
    title: str
    level: Level
    rate: Fraction
    long: Window
    short: Window


_POLICIES: Final = (
    _Policy("burn_1h", "burns its error budget very fast", "error", Fraction("14.4"), _1_H, _5_MIN),
    _Policy("burn_6h", "burns its error budget fast", "error", Fraction(6), _6_H, _30_MIN),
    _Policy("burn_3d", "burns more than its error budget", "warn", Fraction(1), _3_D, _6_H),
)
_EDGE: Final = "bucket_edge"


class _Counts(NamedTuple):
    """Of a window."""

    total: int
    bad: int
    undecided: int


class _Alert(msgspec.Struct, array_like=True):
    """What fires."""

    fired_s: float
    calm_s: float | None = None
    """Since when the short window has been slower."""


class _Memory(msgspec.Struct):
    """What is known of a group; it encodes as JSON."""

    first_ns: int
    """Where the first interval began."""
    rows: list[list[Row]] = []
    alerts: dict[str, _Alert] = {}


class _State(msgspec.Struct):
    groups: list[tuple[Group, _Memory]]


class _Watch:
    """A group at work."""

    def __init__(self, memory: _Memory) -> None:
        self.first_ns = memory.first_ns
        self.blocks = Blocks(_RESOLUTIONS, 3, memory.rows)
        self.alerts = memory.alerts

    def count(self, window: Window, now_ns: int) -> _Counts:
        """What is in the window that ends now."""
        return _Counts(*self.blocks.sum(window, now_ns))


class SloMachine:
    """An `Slo` at work: see the module. Not thread-safe.

    Keys, of each group: `slo/{view}_burn_rate_1h`, `_6h` and `_3d`; `_good_percent` of the interval;
    `_budget_left_percent` of the budget of the last 30 days (below 0: overspent; days before the first
    interval count as good ones with as many requests); `_threshold_gap`, the share of the interval's requests
    in a bucket across the threshold. `alerts/{view}` is 1 while a burn alert fires. Costs about half a
    millisecond a group.
    """

    def __init__(self, definition: Slo) -> None:
        self._view = definition
        self._name = name_view(definition)
        self._allowed = 1 - Fraction(repr(definition.objective))
        self._groups: dict[Group, _Watch] = {}

    def update(self, look: Look) -> Outcome:
        """Take an interval."""
        outcome = Outcome(keys=look.keys)
        view = self._view
        found = select(look.series, view.instrument, view.where, view.by)
        now_ns = look.closed.interval.end_ns
        for group in sorted(admit(self._groups, found)):
            watch = self._groups.get(group)
            if watch is None:
                watch = self._groups[group] = _Watch(_Memory(look.closed.interval.start_ns))
            requests = self._read(found.get(group, []))
            watch.blocks.add(now_ns, requests[:3])
            self._show(watch, group, requests, now_ns, outcome)
            for policy in _POLICIES:
                self._judge(watch, policy, group, look, outcome)
            if view.threshold_s is not None:
                self._judge_edge(watch, requests, group, look, outcome)
            if not watch.alerts and not watch.count(_30_D, now_ns).total:
                del self._groups[group]
        unwatched = len(found.keys() - self._groups.keys())
        if unwatched:
            outcome.values[outcome.keys.key("slo", self._name, (), "unwatched_groups")] = float(unwatched)
        firing = any(watch.alerts.keys() - {_EDGE} for watch in self._groups.values())
        outcome.values[outcome.keys.key("alerts", self._name, (), "")] = float(firing)
        return outcome

    def state(self) -> bytes:
        """What `restore` needs."""
        groups = [(group, _Memory(w.first_ns, w.blocks.rows, w.alerts)) for group, w in self._groups.items()]
        return msgspec.json.encode(_State(groups))

    def restore(self, state: bytes) -> None:
        """Go on from there; raises `msgspec.MsgspecError` for a state of another shape."""
        groups = msgspec.json.decode(state, type=_State).groups
        self._groups = {group: _Watch(memory) for group, memory in groups}

    def _read(self, series: list[Series]) -> Requests:
        threshold_s = self._view.threshold_s
        return count_failed(series) if threshold_s is None else count_slow(series, threshold_s)

    def _show(self, watch: _Watch, group: Group, requests: Requests, now_ns: int, outcome: Outcome) -> None:
        shown: dict[str, float | Fraction] = {}
        for word, window in _SHOWN.items():
            total, bad, undecided = watch.count(window, now_ns)
            if total:
                shown[f"burn_rate_{word}"] = self._rate(bad, total)
            if undecided:
                shown[f"burn_rate_{word}_high"] = self._rate(bad + undecided, total)
        if watch.count(_30_D, now_ns).total:
            shown["budget_left_percent"] = 100 * self._left(watch, now_ns)
        total, bad, undecided, _ = requests
        if total:
            shown["good_percent"] = Fraction(100 * (total - bad), total)
            if self._view.threshold_s is not None:
                shown["threshold_gap"] = Fraction(undecided, total)
        if undecided:
            shown["good_percent_low"] = Fraction(100 * (total - bad - undecided), total)
        for field, value in shown.items():
            outcome.values[outcome.keys.key("slo", self._name, group, field)] = float(value)

    def _judge(self, watch: _Watch, policy: _Policy, group: Group, look: Look, outcome: Outcome) -> None:
        now_ns, now_s = look.closed.interval.end_ns, look.time_s
        short = watch.count(policy.short, now_ns)
        fast = self._rate(short.bad, short.total) >= policy.rate
        alert = watch.alerts.get(policy.kind)
        if alert is None:
            long = watch.count(policy.long, now_ns)
            if fast and self._is_certain(long, policy):
                watch.alerts[policy.kind] = _Alert(now_s)
                text = self._tell_burning(policy, long, short, self._left(watch, now_ns))
                outcome.findings.append(self._find(policy, "firing", text, group, look))
            return
        if fast:
            alert.calm_s = None
            return
        alert.calm_s = now_s if alert.calm_s is None else alert.calm_s
        if now_s - alert.calm_s >= policy.short.seconds:
            del watch.alerts[policy.kind]
            text = self._tell_calm(policy, short, alert, now_s)
            outcome.findings.append(self._find(policy, "recovered", text, group, look))

    def _judge_edge(
        self, watch: _Watch, requests: Requests, group: Group, look: Look, outcome: Outcome
    ) -> None:
        """Ask for an edge at the threshold where the undecided alone would spend the budget."""
        total, _, undecided = watch.count(_6_H, look.closed.interval.end_ns)
        rate, alert = self._rate(undecided, total), watch.alerts.get(_EDGE)
        policy = _Policy(_EDGE, "needs a bucket edge at its threshold", "info", Fraction(1), _6_H, _6_H)
        threshold = f"{self._view.threshold_s:g} s"
        if alert is None and rate >= 1 and undecided >= self._view.min_bad:
            watch.alerts[_EDGE] = _Alert(look.time_s)
            between = ""
            if requests.across is not None:
                low, high = requests.across
                between = f" (from {low:.4g} s to {high:.4g} s)"
            text = (
                f"{undecided:,} of {total:,} requests in the last 6 h are in a bucket across the threshold "
                f"of {threshold}{between}, so nobody knows whether they are good; they count as good. "
                f"Give the histogram a bucket edge at {threshold}."
            )
            outcome.findings.append(self._find(policy, "firing", text, group, look))
        elif alert is not None and rate < Fraction(1, 2):
            del watch.alerts[_EDGE]
            text = f"{undecided:,} of {total:,} requests in the last 6 h are in a bucket across {threshold}."
            text = f"{text} {tell_fired(alert.fired_s, look.time_s)}"
            outcome.findings.append(self._find(policy, "recovered", text, group, look))

    def _is_certain(self, long: _Counts, policy: _Policy) -> bool:
        if long.bad < self._view.min_bad or self._rate(long.bad, long.total) < policy.rate:
            return False
        return burn_rate(long.bad, long.total, objective=self._view.objective).p_value < _MAX_P_VALUE

    def _rate(self, bad: int, total: int) -> Fraction:
        """Exactly, so that 14.4 is 14.4."""
        return Fraction(bad, total) / self._allowed if total else Fraction(0)

    def _left(self, watch: _Watch, now_ns: int) -> Fraction:
        """What part of the budget of 30 days is left, where all days bring as many requests."""
        month = watch.count(_30_D, now_ns)
        known_ns = min(now_ns - watch.first_ns, _30_D.seconds * SECOND_NS)
        return 1 - self._rate(month.bad, month.total) * Fraction(known_ns, _30_D.seconds * SECOND_NS)

    def _find(self, policy: _Policy, state: State, text: str, group: Group, look: Look) -> Finding:
        examples: list[Example] = []
        if state == "firing" and self._view.threshold_s is not None:
            where = name_attributes(self._view, group)
            examples = look.examples.find(self._view.instrument, LARGEST, where)
        return make_finding(
            look,
            kind=f"slo_{policy.kind}",
            view=self._name,
            group=group,
            title=policy.title,
            level=policy.level,
            text=f"{name_subject(self._name, group)}: {text}",
            state=state,
            examples=examples,
        )

    def _tell_burning(self, policy: _Policy, long: _Counts, short: _Counts, left: Fraction) -> str:
        view = self._view
        rate = self._rate(long.bad, long.total)
        how = "failed" if view.threshold_s is None else f"took longer than {view.threshold_s:g} s"
        rest = "The budget of 30 days is used up."
        if left > 0:
            lasts_s = float(left / rate) * _30_D.seconds
            rest = (
                f"{float(100 * left):.3g} % of the budget of 30 days is left, "
                f"and gone in {tell_duration(lasts_s)} at this rate."
            )
        return (
            f"{long.bad:,} of {long.total:,} requests in the last {tell_duration(policy.long.seconds)} "
            f"{how}, "
            f"{tell_number(round(float(rate), 2))} times what the objective of {view.objective * 100:g} % "
            f"allows; in the last {tell_duration(policy.short.seconds)} "
            f"{tell_number(round(float(self._rate(short.bad, short.total)), 2))} times. {rest}"
        )

    def _tell_calm(self, policy: _Policy, short: _Counts, alert: _Alert, now_s: float) -> str:
        window = tell_duration(policy.short.seconds)
        rate = tell_number(round(float(self._rate(short.bad, short.total)), 2))
        return (
            f"in the last {window} the budget burned at {rate} times what the objective allows, and for "
            f"{window} not at {tell_number(float(policy.rate))} times or faster. "
            f"{tell_fired(alert.fired_s, now_s)}"
        )
