"""What fires and what has recovered, row after row: a state machine for the rules of one service.

Its answers follow from the rows alone, and its state can be put away after any of them, so that a replay, a
restart between two rows and the first run all find the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from otel_wandb.alerts.conditions import Pattern, Reading, judge, read_limit
from otel_wandb.alerts.finding import Finding, Level, State
from otel_wandb.alerts.plan import Rule
from otel_wandb.alerts.wording import tell_ended, tell_firing, tell_recovered, tell_unmeasured

KEY_PREFIX: Final = "alerts/"
"""`alerts/NAME` is 1 in the rows in which the rule fires, and 0 in the others."""
_GAP_INTERVALS: Final = 10
"""After so many intervals without a value, counting begins anew."""
_FORGET_S: Final = 86_400.0
"""What fires and has had no value for so long is given up."""


class Moment(NamedTuple):
    """The row that values are of; `time_s` is the end of its interval."""

    service: str
    run: str
    step: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the row is given for the alerts, and what is worth telling."""

    flags: Mapping[str, int]
    findings: tuple[Finding, ...]


class _Memory(msgspec.Struct, array_like=True):
    """What is known of one subject of a rule."""

    seen_s: float
    window: list[tuple[float, bool]] = []
    """The last intervals with values: their ends, and whether the condition held; the first one did."""
    active: bool = False
    since_s: float = 0.0
    goods: int = 0
    history: dict[int, list[float]] = {}
    """The values before, by the number of the limit."""

    @property
    def empty(self) -> bool:
        """Whether a subject that was never seen would be the same."""
        return not (self.window or self.active or self.history)


class _Alarm(msgspec.Struct, array_like=True):
    """What is known of a rule."""

    digest: str
    title: str
    level: Level
    firing: bool = False
    fired_s: float | None = None
    memories: dict[str, _Memory] = {}


class _Watch:
    """A rule, made ready to be looked after."""

    def __init__(self, rule: Rule, interval_s: float) -> None:
        self.rule = rule
        self._interval_s = interval_s
        self._limits = [(limit, Pattern(limit.key)) for limit in rule.limits]
        self._wild = [pattern for _, pattern in self._limits if pattern.wild]

    def look(
        self, alarm: _Alarm, values: Mapping[str, float], now_s: float
    ) -> tuple[dict[str, list[Reading]], dict[str, list[Reading]]]:
        """Take the row in; the readings of the subjects that are bad now, and of those that recovered now."""
        bad: dict[str, list[Reading]] = {}
        recovered: dict[str, list[Reading]] = {}
        for subject in self._subjects(values):
            memory = alarm.memories.get(subject) or _Memory(now_s)
            readings = self._read(memory, subject, values, now_s)
            if readings is None:
                continue
            answer = judge(self.rule.when, readings)
            was_active = memory.active
            self._note(memory, answer.bad, answer.good, now_s)
            if memory.active and answer.bad:
                bad[subject] = readings
            elif was_active and not memory.active:
                recovered[subject] = readings
            if memory.empty:
                alarm.memories.pop(subject, None)
            else:
                alarm.memories[subject] = memory
        return bad, recovered

    def forget(self, alarm: _Alarm, now_s: float) -> list[str]:
        """Give up what was not seen for long; the keys of what fired."""
        given_up = []
        for subject, memory in sorted(alarm.memories.items()):
            if now_s - memory.seen_s > (_FORGET_S if memory.active else self._gap_s):
                del alarm.memories[subject]
                if memory.active:
                    given_up += [pattern.fill(subject) for _, pattern in self._limits]
        return list(dict.fromkeys(given_up))

    @property
    def _gap_s(self) -> float:
        return _GAP_INTERVALS * self._interval_s

    def _subjects(self, values: Mapping[str, float]) -> Iterable[str]:
        if not self._wild:
            return ("",)
        return sorted({subject for key in values for p in self._wild if (subject := p.bind(key))})

    def _read(
        self, memory: _Memory, subject: str, values: Mapping[str, float], now_s: float
    ) -> list[Reading] | None:
        """The readings, which the memory is brought up to; None where no value is there at all."""
        keys = [pattern.fill(subject) for _, pattern in self._limits]
        if not any(key in values for key in keys):
            return None
        if now_s - memory.seen_s > self._gap_s:
            memory.window, memory.goods, memory.history = [], 0, {}
        memory.seen_s = now_s
        readings = []
        for number, ((limit, _), key) in enumerate(zip(self._limits, keys, strict=True)):
            before = memory.history.get(number, [])
            readings.append(read_limit(limit, key, values.get(key), before))
            if limit.is_change and key in values:
                memory.history[number] = [*before, values[key]][-limit.against :]
        return readings

    def _note(self, memory: _Memory, bad: bool | None, good: bool | None, now_s: float) -> None:
        if memory.active:
            memory.goods = 0 if good is False else memory.goods + (good is True)
            if memory.goods >= self.rule.recover_for:
                memory.active, memory.goods, memory.window = False, 0, []
            return
        if bad is None:
            return
        window = [*memory.window, (now_s, bad)][-self.rule.within :]
        while window and not window[0][1]:
            del window[0]
        memory.window = window
        if sum(held for _, held in window) >= self.rule.needed:
            memory.since_s = window[0][0] - self._interval_s
            memory.active, memory.goods, memory.window = True, 0, []


class AlertRules:
    """The rules over the rows of one service, which have to come in their order. Not thread-safe.

    Between two findings of one rule that it fires there is always one that it has recovered, and at least its
    cool-down. Costs about 10 µs a rule, and 30 µs for each key that a `*` matches.
    """

    def __init__(self, rules: Sequence[Rule], *, interval_s: float, state: bytes = b"") -> None:
        """`state` is what `state` gave, for whatever rules. Raises msgspec.DecodeError where it is not."""
        self._watches = [_Watch(rule, interval_s) for rule in rules]
        self._interval_s = interval_s
        self._alarms = msgspec.msgpack.decode(state, type=dict[str, _Alarm]) if state else {}

    @property
    def state(self) -> bytes:
        """All that is known, empty if that is nothing: equal rows, equal bytes."""
        known = {name: alarm for name, alarm in sorted(self._alarms.items()) if _is_telling(alarm)}
        return msgspec.msgpack.encode(known) if known else b""

    def evaluate(self, values: Mapping[str, float], moment: Moment) -> Verdict:
        """What the row means. `values` are the finite numbers in it; a key that is not there is not known."""
        findings: list[Finding] = []
        names = {watch.rule.name for watch in self._watches}
        for name in sorted(self._alarms.keys() - names):
            self._end(name, "taken out", moment, findings)
            del self._alarms[name]
        for watch in self._watches:
            alarm = self._alarm_of(watch.rule, moment, findings)
            if finding := self._step(watch, alarm, values, moment):
                findings.append(finding)
        flags = {f"{KEY_PREFIX}{w.rule.name}": int(self._alarms[w.rule.name].firing) for w in self._watches}
        return Verdict(flags, tuple(findings))

    def _alarm_of(self, rule: Rule, moment: Moment, findings: list[Finding]) -> _Alarm:
        """The alarm of the rule, which begins anew, but for its cool-down, where the rule was changed."""
        alarm = self._alarms.get(rule.name)
        if alarm is None or alarm.digest != rule.digest:
            self._end(rule.name, "changed", moment, findings)
            fired_s = alarm.fired_s if alarm else None
            alarm = _Alarm(rule.digest, rule.title, rule.level, fired_s=fired_s)
            self._alarms[rule.name] = alarm
        if not alarm.firing:
            alarm.title, alarm.level = rule.title, rule.level
        return alarm

    def _step(
        self, watch: _Watch, alarm: _Alarm, values: Mapping[str, float], moment: Moment
    ) -> Finding | None:
        rule, now_s = watch.rule, moment.time_s
        bad, recovered = watch.look(alarm, values, now_s)
        given_up = watch.forget(alarm, now_s)
        active = any(memory.active for memory in alarm.memories.values())
        if not alarm.firing:
            rested = alarm.fired_s is None or now_s - alarm.fired_s >= rule.cooldown_s
            if not bad or not rested:
                return None
            alarm.firing, alarm.fired_s = True, now_s
            since_s = min(alarm.memories[subject].since_s for subject in bad)
            text = tell_firing(rule, _worst_first(bad), since_s=since_s, interval_s=self._interval_s)
            return _find(rule.name, alarm, "firing", text, moment)
        if active:
            return None
        alarm.firing = False
        fired_s = alarm.fired_s or now_s
        if recovered:
            found = [readings for _, readings in sorted(recovered.items())]
            text = tell_recovered(rule, found, fired_s=fired_s, now_s=now_s, interval_s=self._interval_s)
        else:
            text = tell_unmeasured(given_up, fired_s=fired_s, now_s=now_s)
        return _find(rule.name, alarm, "recovered", text, moment)

    def _end(self, name: str, what: str, moment: Moment, findings: list[Finding]) -> None:
        alarm = self._alarms.get(name)
        if alarm is not None and alarm.firing:
            text = tell_ended(what, fired_s=alarm.fired_s or moment.time_s, now_s=moment.time_s)
            findings.append(_find(name, alarm, "recovered", text, moment))


def _find(name: str, alarm: _Alarm, state: State, text: str, moment: Moment) -> Finding:
    return Finding(
        name=name,
        title=alarm.title,
        level=alarm.level,
        text=text,
        state=state,
        service=moment.service,
        time_s=moment.time_s,
        step=moment.step,
        run=moment.run,
    )


def _worst_first(bad: Mapping[str, list[Reading]]) -> list[list[Reading]]:
    """Those of the readings that are bad, of each subject, by how far the first of them is beyond."""
    found = [(subject, [one for one in readings if one.bad]) for subject, readings in bad.items()]
    found.sort(key=lambda item: (-item[1][0].excess, item[0]))
    return [readings for _, readings in found]


def _is_telling(alarm: _Alarm) -> bool:
    return alarm.firing or alarm.fired_s is not None or bool(alarm.memories)
