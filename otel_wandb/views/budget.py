"""What is spent of a budget in the day or month (UTC), how fast, and what it will come to.

An interval counts in the period in which it begins. Amounts are whole billionths of a dollar. One below zero
corrects intervals before it; what it has more than was spent in this period corrects the period before, and
is left out.

Findings, of the whole or, with `by`, of each value of the attribute:

- 50, 80 and 100 % are spent: once a period each, and only the highest of those that are passed at once. Only
  the last one recovers, when another period begins.
- 3 times the pace that the budget allows, in the last hour; 1.2 times, in the last day. Both only where the
  rest of the budget would not last to the end of the period at that pace: a busy hour of a thrifty day wakes
  nobody. The first recovers at 1.5 times the pace, the second at just the pace.

The forecast is what was spent, and for each hour that remains (of a month: each day) the mean of the last 24
(28) that are over, of this period or before. Its interval (90 %) is from how much these differ, so it needs
two of them; it is right where they are alike and independent, and too wide where they follow the time of day.

With `by`, the 20 that spent most are watched; who is, stays until another one spent a quarter more, or its
alert is over. Sums are kept of 500. Beyond, the smallest sums are dropped, and begin at nothing where they
come again; `_untracked_usd` is all that was dropped, and so the most that any sum may lack.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Final, NamedTuple

import msgspec

from otel_wandb.alerts.finding import Finding, Level, State
from otel_wandb.alerts.wording import tell_number, tell_time
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.views.blocks import Blocks, Resolution, Row, Window
from otel_wandb.views.definitions import MAX_GROUPS, Budget, name_view
from otel_wandb.views.machine import Look, Outcome, matcher
from otel_wandb.views.periods import CONFIDENCE, Forecast, Period, find_period, forecast
from otel_wandb.views.telling import make_finding, name_subject, tell_fired

MAX_SPENDERS: Final = 500
"""Values of an attribute whose sums are kept."""

_UNIT: Final = 1_000_000_000
"""Of a dollar."""
_LARGEST: Final = 2**62
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_RESOLUTIONS: Final = (Resolution(60, 60), Resolution(_HOUR_S, 25), Resolution(_DAY_S, 29))
_1_H: Final = Window(0, 60, _HOUR_S)
_1_D: Final = Window(1, 24, _DAY_S)


class _Step(NamedTuple):
    """A part of the budget that is worth telling."""

    percent: int
    title: str
    level: Level


class _Pace(NamedTuple):
    """How fast is too fast."""

    kind: str
    title: str
    level: Level
    factor: Fraction
    calm: Fraction
    """How slow it has to be again."""
    window: Window
    word: str


_STEPS: Final = (
    _Step(50, "has spent half of its budget", "info"),
    _Step(80, "has spent most of its budget", "warn"),
    _Step(100, "has spent its budget", "error"),
)
_PACES: Final = (
    _Pace(
        "1h", "spends much faster than its budget allows", "error", Fraction(3), Fraction("1.5"), _1_H, "hour"
    ),
    _Pace("1d", "spends faster than its budget allows", "warn", Fraction("1.2"), Fraction(1), _1_D, "day"),
)


class _Spender(msgspec.Struct, array_like=True):
    """What was spent in the period, and the highest step that was told."""

    spent: int = 0
    told: int = 0


class _Memory(msgspec.Struct):
    """What else is known of one that is watched."""

    first_ns: int
    """When it began to be watched."""
    rows: list[list[Row]]
    fired_s: dict[str, float] = {}
    """When the paces fired that are too fast."""


class _State(msgspec.Struct):
    period: Period | None = None
    spenders: dict[str, _Spender] = {}
    watched: dict[str, _Memory] = {}
    dropped: int = 0
    """All that was spent in this period by those whose sums were dropped."""


class _Watch:
    """One that is watched, at work."""

    def __init__(self, memory: _Memory) -> None:
        self.first_ns = memory.first_ns
        self.blocks = Blocks(_RESOLUTIONS, 1, memory.rows)
        self.fired_s = memory.fired_s

    def pace(self, pace: _Pace, now_ns: int) -> int:
        """What was spent in its window; not below zero."""
        return max(0, self.blocks.sum(pace.window, now_ns)[0])


class BudgetMachine:
    """A `Budget` at work: see the module. Not thread-safe.

    Keys, of the whole or of each one that is watched: `budget/{view}_spent_usd` and `_spent_percent` in the
    period so far, as far as it was watched; `_burn`, which is 1 where just the part of the budget is spent
    that the time so far is of the period; `_forecast_usd`, `_forecast_low_usd` and `_forecast_high_usd` at
    its end. With `by`, also `_unwatched_groups` and `_groups_over_budget`. `alerts/{view}` is 1 while a
    budget is spent, or spent too fast. Costs about 0.1 ms a group.
    """

    def __init__(self, definition: Budget) -> None:
        """Raises ValueError for a budget without an amount."""
        usd = definition.usd_per_day or definition.usd_per_month
        if not usd:
            raise ValueError("a budget needs usd_per_day or usd_per_month")
        self._view = definition
        self._name = name_view(definition)
        self._monthly = not definition.usd_per_day
        self._budget = max(1, _to_units(usd))
        self._attribute = next(iter((*definition.by, *definition.where)), "")
        self._fits = matcher(definition.where.get(self._attribute, "*"))
        self._state = _State()
        self._watched: dict[str, _Watch] = {}

    def update(self, look: Look) -> Outcome:
        """Take an interval."""
        outcome = Outcome(keys=look.keys)
        interval = look.closed.interval
        self._turn(find_period(interval.start_ns, monthly=self._monthly), look, outcome)
        amounts = self._read(look)
        self._spend(amounts)
        self._choose(interval.start_ns, interval.end_ns)
        spenders = self._state.spenders
        for value, watch in sorted(self._watched.items()):
            watch.blocks.add(interval.end_ns, (amounts.get(value, 0),))
            spender = spenders.get(value, _Spender())
            forecast = self._forecast(spender, watch, interval.end_ns)
            self._show(value, spender, forecast, interval.end_ns, outcome)
            self._judge_steps(value, spender, forecast, look, outcome)
            for pace in _PACES:
                self._judge_pace(value, spender, pace, look, outcome)
        self._count(outcome)
        told = any(spender.told >= _STEPS[-1].percent for spender in spenders.values())
        firing = told or any(watch.fired_s for watch in self._watched.values())
        outcome.values[outcome.keys.key("alerts", self._name, (), "")] = float(firing)
        return outcome

    def state(self) -> bytes:
        """What `restore` needs."""
        watched = {v: _Memory(w.first_ns, w.blocks.rows, w.fired_s) for v, w in self._watched.items()}
        return msgspec.json.encode(msgspec.structs.replace(self._state, watched=watched))

    def restore(self, state: bytes) -> None:
        """Go on from there; raises `msgspec.MsgspecError` for a state of another shape."""
        self._state = msgspec.json.decode(state, type=_State)
        self._watched = {value: _Watch(memory) for value, memory in self._state.watched.items()}

    def _read(self, look: Look) -> dict[str, int]:
        """What was spent, by the values of the attribute; the whole, and what has no `by`, has no name."""
        if not self._attribute:
            return {"": _to_units(look.spent_usd.get(("", ""), 0.0))}
        amounts = {
            value: _to_units(usd)
            for (attribute, value), usd in sorted(look.spent_usd.items())
            if attribute == self._attribute and value and self._fits(value)
        }
        return amounts if self._view.by else {"": sum(amounts.values())}

    def _turn(self, period: Period, look: Look, outcome: Outcome) -> None:
        """Begin another period where it is one."""
        state, last = self._state, _STEPS[-1]
        if state.period is not None and state.period != period:
            for value, spender in sorted(state.spenders.items()):
                if spender.told >= last.percent:
                    text = (
                        f"another {self._word} has begun. In that of {state.period.name}, "
                        f"{self._money(spender.spent)} of {self._money(self._budget)} USD were spent."
                    )
                    finding = self._find(value, f"{last.percent}_percent", last, "recovered", text, look)
                    outcome.findings.append(finding)
        if state.period != period:
            state.period, state.spenders, state.dropped = period, {}, 0

    def _spend(self, amounts: Mapping[str, int]) -> None:
        spenders = self._state.spenders
        for value, amount in amounts.items():
            if amount > 0 or value in spenders:
                spender = spenders.setdefault(value, _Spender())
                spender.spent = min(max(0, spender.spent + amount), _LARGEST)
        excess = len(spenders) - MAX_SPENDERS
        if excess > 0:
            for value in sorted(spenders, key=lambda value: (spenders[value].spent, value))[:excess]:
                dropped = self._state.dropped + spenders.pop(value).spent
                self._state.dropped = min(dropped, _LARGEST)

    def _choose(self, start_ns: int, end_ns: int) -> None:
        """Watch the whole, or those that spent most."""
        chosen = self._rank(end_ns)[:MAX_GROUPS] if self._view.by else [""]
        self._watched = {value: self._watched.get(value) or _Watch(_Memory(start_ns, [])) for value in chosen}

    def _rank(self, now_ns: int) -> list[str]:
        spenders, watched = self._state.spenders, self._watched

        def rank(value: str) -> tuple[bool, int, str]:
            spent = spenders[value].spent if value in spenders else 0
            watch = watched.get(value)
            if watch is None:
                return True, -4 * spent, value
            return not watch.fired_s, -5 * spent, value

        alive = {value for value, watch in watched.items() if watch.fired_s or watch.pace(_PACES[-1], now_ns)}
        return sorted(alive.union(value for value, spender in spenders.items() if spender.spent), key=rank)

    def _forecast(self, spender: _Spender, watch: _Watch, now_ns: int) -> Forecast:
        period = self._state.period
        assert period is not None  # since it has begun
        number = 2 if self._monthly else 1
        block_ns = _RESOLUTIONS[number].block_s * SECOND_NS
        whole = [float(row[0]) for row in watch.blocks.list_whole(number, watch.first_ns, now_ns)]
        known_ns = max(1, now_ns - max(watch.first_ns, period.start_ns))
        remaining = max(0, period.end_ns - now_ns) / block_ns
        return forecast(spender.spent, whole, remaining, otherwise=spender.spent * block_ns / known_ns)

    def _show(self, value: str, spender: _Spender, expected: Forecast, now_ns: int, outcome: Outcome) -> None:
        period = self._state.period
        assert period is not None
        elapsed_ns = max(1, now_ns - period.start_ns)
        shown: dict[str, float | None] = {
            "spent_usd": spender.spent / _UNIT,
            "spent_percent": 100 * spender.spent / self._budget,
            "burn": spender.spent * period.size_ns / (self._budget * elapsed_ns),
            "forecast_usd": expected.amount / _UNIT,
            "forecast_low_usd": None if expected.low is None else expected.low / _UNIT,
            "forecast_high_usd": None if expected.high is None else expected.high / _UNIT,
        }
        for field, number in shown.items():
            if number is not None:
                outcome.values[outcome.keys.key("budget", self._name, self._group(value), field)] = number

    def _judge_steps(
        self, value: str, spender: _Spender, expected: Forecast, look: Look, outcome: Outcome
    ) -> None:
        passed = [
            step
            for step in _STEPS
            if step.percent > spender.told and 100 * spender.spent >= step.percent * self._budget
        ]
        if not passed:
            return
        step, period = passed[-1], self._state.period
        assert period is not None
        spender.told = step.percent
        elapsed = (look.closed.interval.end_ns - period.start_ns) / period.size_ns
        text = (
            f"{self._money(spender.spent)} of {self._money(self._budget)} USD are spent "
            f"({100 * spender.spent / self._budget:.1f} %), after {100 * elapsed:.1f} % of the {self._word} "
            f"({period.name}, UTC). At its end it will be about {self._money(expected.amount)} USD"
        )
        if expected.low is not None and expected.high is not None:
            bounds = f"{self._money(expected.low)} to {self._money(expected.high)}"
            text = f"{text} ({bounds} with {100 * CONFIDENCE:.0f} % confidence)"
        finding = self._find(value, f"{step.percent}_percent", step, "firing", f"{text}.", look)
        outcome.findings.append(finding)

    def _judge_pace(self, value: str, spender: _Spender, pace: _Pace, look: Look, outcome: Outcome) -> None:
        period, watch = self._state.period, self._watched[value]
        assert period is not None
        now_ns, window_ns = look.closed.interval.end_ns, pace.window.seconds * SECOND_NS
        spent = watch.pace(pace, now_ns)
        rate = Fraction(spent * period.size_ns, self._budget * window_ns)
        fired_s = watch.fired_s.get(pace.kind)
        text = (
            f"{self._money(spent)} USD were spent in the last {pace.word}, {float(rate):.2f} times what "
            f"{self._money(self._budget)} USD a {self._word} allow."
        )
        if fired_s is None and rate >= pace.factor:
            left = max(0, self._budget - spender.spent)
            gone_ns = now_ns + left * window_ns // spent
            if gone_ns < period.end_ns:
                end = (
                    f"would be used up at {tell_time(gone_ns // SECOND_NS // 60 * 60)}"
                    if left
                    else "is used up"
                )
                watch.fired_s[pace.kind] = look.time_s
                text = f"{text} At this pace the budget of {period.name} {end}."
                outcome.findings.append(self._find(value, f"pace_{pace.kind}", pace, "firing", text, look))
        elif fired_s is not None and rate <= pace.calm:
            del watch.fired_s[pace.kind]
            text = f"{text} {tell_fired(fired_s, look.time_s)}"
            outcome.findings.append(self._find(value, f"pace_{pace.kind}", pace, "recovered", text, look))

    def _count(self, outcome: Outcome) -> None:
        """Say what is known of all."""
        if not self._view.by:
            return
        spenders = self._state.spenders
        over = sum(spender.spent >= self._budget for spender in spenders.values())
        shown: dict[str, float] = {
            "groups_over_budget": over,
            "unwatched_groups": len(spenders.keys() - self._watched.keys()),
            "untracked_usd": self._state.dropped / _UNIT,
        }
        for field, number in shown.items():
            if number or field == "groups_over_budget":
                outcome.values[outcome.keys.key("budget", self._name, (), field)] = float(number)

    def _find(
        self, value: str, kind: str, told: _Step | _Pace, state: State, text: str, look: Look
    ) -> Finding:
        group = self._group(value)
        return make_finding(
            look,
            kind=f"budget_{kind}",
            view=self._name,
            group=group,
            title=told.title,
            level=told.level,
            text=f"{name_subject(self._name, group)}: {text}",
            state=state,
        )

    def _group(self, value: str) -> tuple[str, ...]:
        return (value,) if self._view.by else ()

    @property
    def _word(self) -> str:
        return "month" if self._monthly else "day"

    @staticmethod
    def _money(units: float) -> str:
        usd = units / _UNIT
        return f"{usd:,.2f}" if abs(usd) >= 1 else tell_number(round(usd, 6))


def _to_units(usd: float) -> int:
    return round(max(-_LARGEST, min(usd * _UNIT, _LARGEST))) if math.isfinite(usd) else 0
