"""What an alert says: what happened to which key, by how much, and since when. Times are event times, UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from otel_wandb.alerts.conditions import Reading
from otel_wandb.alerts.plan import Rule

_NAMED: Final = 5
"""So many subjects are told of; the others are counted."""
_MAX_TEXT: Final = 2000
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


def tell_firing(rule: Rule, found: Sequence[Sequence[Reading]], *, since_s: float, interval_s: float) -> str:
    """Why the alert fires: the readings of each subject that is meant, the worst first."""
    sentences = [f"{' and '.join(map(_tell_bad, readings))}." for readings in found[:_NAMED]]
    if len(found) > _NAMED:
        sentences.append(f"{len(found) - _NAMED} more are like that.")
    sentences.append(_tell_count(rule, interval_s, since_s))
    return _cut(" ".join(sentences))


def tell_recovered(
    rule: Rule, found: Sequence[Sequence[Reading]], *, fired_s: float, now_s: float, interval_s: float
) -> str:
    """That the alert is over: the readings of the subjects that recovered last."""
    shown = [[one for one in readings if one.good] or readings for readings in found]
    sentences = [f"{' and '.join(map(_tell_good, readings))}." for readings in shown[:_NAMED]]
    if len(found) > _NAMED:
        sentences.append(f"{len(found) - _NAMED} more are like that.")
    if rule.recover_for > 1:
        sentences.append(f"In {rule.recover_for} intervals of {_tell_s(interval_s)} in a row.")
    return _cut(" ".join([*sentences, _tell_fired(fired_s, now_s)]))


def tell_unmeasured(keys: Sequence[str], *, fired_s: float, now_s: float) -> str:
    """That the alert ends since what it was about is not measured any more."""
    named = ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
    return _cut(f"{named}: not measured for a day, so the alert ends. {_tell_fired(fired_s, now_s)}")


def tell_ended(what: str, *, fired_s: float, now_s: float) -> str:
    """That the alert ends since its rule was changed, or taken out."""
    return f"The rule was {what} while it fired, so the alert ends. {_tell_fired(fired_s, now_s)}"


def tell_time(time_s: float) -> str:
    """A time as in 2026-11-25 10:02 UTC, with seconds where it has some."""
    moment = datetime.fromtimestamp(time_s, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC" if moment.second else "%Y-%m-%d %H:%M UTC")


def tell_number(number: float) -> str:
    """A number with six significant digits, and all of them before the point."""
    text = f"{number:,.0f}" if abs(number) >= 100_000 else f"{number:,.6g}"
    return "0" if text == "-0" else text


def _tell_bad(reading: Reading) -> str:
    limit, value = reading.limit, reading.value or 0.0
    if reading.base is None:
        return f"{reading.key} is {tell_number(value)}, {limit.kind} {tell_number(limit.amount or 0.0)}"
    sizes = ((limit.amount, ""), (limit.percent, " %"))
    allowed = " and ".join(f"{tell_number(size)}{unit}" for size, unit in sizes if size is not None)
    return f"{_tell_change(reading)}; {allowed} would be allowed"


def _tell_good(reading: Reading) -> str:
    limit, value = reading.limit, reading.value
    if value is None:
        return f"{reading.key} has no value now"
    if reading.base is not None:
        return _tell_change(reading)
    if limit.is_change:
        return f"{reading.key} is {tell_number(value)}"
    back = limit.amount if limit.recover is None else limit.recover
    again = "not " + limit.kind if reading.good else ("above" if value > (back or 0.0) else "below")
    return f"{reading.key} is {tell_number(value)}, {again} {tell_number(back or 0.0)}"


def _tell_change(reading: Reading) -> str:
    base, value = reading.base or 0.0, reading.value or 0.0
    median = f"the median of the {reading.limit.against} values before"
    if value == base:
        return f"{reading.key} is {tell_number(value)}, as {median}"
    percent = f" ({abs(value - base) / abs(base) * 100:,.0f} %)" if base else ""
    change = f"{tell_number(abs(value - base))}{percent} {'more' if value >= base else 'less'}"
    return f"{reading.key} is {tell_number(value)}, {change} than {tell_number(base)}, {median}"


def _tell_count(rule: Rule, interval_s: float, since_s: float) -> str:
    intervals = f"intervals of {_tell_s(interval_s)}"
    if rule.within > rule.needed:
        return f"In {rule.needed} of {rule.within} {intervals}, since {tell_time(since_s)}."
    if rule.needed > 1:
        return f"In {rule.needed} {intervals} in a row, since {tell_time(since_s)}."
    return f"Since {tell_time(since_s)}."


def _tell_fired(fired_s: float, now_s: float) -> str:
    return f"It fired at {tell_time(fired_s)}, {_tell_s(now_s - fired_s)} before."


def _tell_s(seconds: float) -> str:
    if seconds >= 2 * _HOUR_S:
        return f"{seconds / _HOUR_S:.1f} h"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds >= 2 * _MINUTE_S else f"{seconds:g} s"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
