"""What findings of views have in common: their names, and the words for groups and times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_wandb.alerts.finding import Finding, Level, State
from otel_wandb.alerts.wording import tell_number, tell_time
from otel_wandb.views.examples import Example, tell_examples
from otel_wandb.views.machine import Group, Look

_MAX_GROUP: Final = 80
_ALL_DOUBT: Final = 1e12
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400


def name_subject(view: str, group: Group) -> str:
    """The view in a sentence, with its group: `score (en, gpt-4o)`."""
    words = ", ".join(group)
    if len(words) > _MAX_GROUP:
        words = f"{words[: _MAX_GROUP - 1]}…"
    return f"{view} ({words})" if group else view


def make_finding(
    look: Look,
    *,
    kind: str,
    view: str,
    group: Group,
    title: str,
    level: Level,
    text: str,
    state: State,
    examples: Sequence[Example] = (),
) -> Finding:
    """A finding in the row of this interval; `title` says what is the case with the view, without numbers.

    The text names the `examples`, if there are any.
    """
    return Finding(
        name=f"{kind}_{look.keys.name(kind, view, group)}",
        title=f"{name_subject(view, group)} {title}",
        level=level,
        text=" ".join(filter(None, (text, tell_examples(examples)))),
        state=state,
        service=look.service,
        time_s=look.time_s,
        step=look.step,
        run=look.run,
    )


def tell_evidence(evidence: float) -> str:
    """Evidence with three digits; where it is beyond all doubt, no more than that."""
    if evidence > _ALL_DOUBT:
        return f"more than {tell_number(_ALL_DOUBT)}"
    return tell_number(float(f"{evidence:.3g}"))


def tell_fired(fired_s: float, now_s: float) -> str:
    """When an alert fired that is over now."""
    return f"It fired at {tell_time(fired_s)}, {tell_duration(now_s - fired_s)} before."


def tell_duration(seconds: float) -> str:
    """A duration with about two digits, as in 25 min."""
    for unit_s, word in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 2 * unit_s:
            amount = seconds / unit_s
            digits = 1 if amount < 10 and unit_s > _MINUTE_S else 0
            return f"{round(amount, digits):g} {word}"
    return f"{seconds:.3g} s"
