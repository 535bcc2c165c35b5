"""What an alarm of drift says: what moved, by how much, since when, and what the alarm is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_wandb.alerts.wording import tell_number, tell_time
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.statistics.proportions import Interval, newcombe
from otel_wandb.views.effects import Shift, Side
from otel_wandb.views.examples import Example, tell_examples
from otel_wandb.views.judging import Window
from otel_wandb.views.prediction_words import tell_promise
from otel_wandb.views.telling import tell_fired

MOVERS: Final = 3
"""So many names are told of, those whose share changed most."""


def tell_drift(
    subject: str,
    window: Window,
    *,
    part: float,
    interval: Interval,
    changes: Sequence[str],
    windows_to_false_alarm: float,
    reference: str,
    examples: Sequence[Example] = (),
) -> str:
    """Why the alarm fires. `examples` are traces that show the change, where some are known."""
    windows = "1 window" if window.since_windows == 1 else f"{window.since_windows:,} windows"
    sentences = [
        f"{subject} is no longer as in its reference ({reference}): {'; '.join(changes)}.",
        f"About {_percent(part)} ({_percent(interval.low)} to {_percent(interval.high)}) of requests lie "
        f"elsewhere, since about {_time(window.since_ns)} ({windows}).",
        tell_promise(window, windows_to_false_alarm),
    ]
    if examples:
        sentences.append(tell_examples(examples))
    return " ".join(sentences)


def tell_recovered(subject: str, window: Window, *, fired_ns: int) -> str:
    """That the stream is as it was."""
    fired = tell_fired(fired_ns / SECOND_NS, window.end_ns / SECOND_NS)
    return f"The last windows of {subject} are as its reference again; evidence begins anew. {fired}"


def tell_small(subject: str, window: Window) -> str:
    """That the reference has few requests."""
    n, m = (window.test.n, window.test.m) if window.test else (0, window.size)
    return (
        f"The reference of {subject} has {n:,} requests, a window {m:,}. False alarms stay as rare as they "
        "should be, but small changes are found late: take a reference of at least twice a window."
    )


def tell_buckets(subject: str) -> str:
    """That the buckets changed."""
    return (
        f"The histograms of {subject} have other buckets than before, which share almost no edges with them. "
        "As counts are never guessed, its windows begin anew."
    )


def tell_shift(shift: Shift, *, of: str = "the reference") -> str:
    """How a quantile changed: `p95 is 1.05, 1.31 times (1.22 to 1.4) the 0.8 of the reference`."""
    name = f"p{shift.quantile * 100:g}"
    low, high = (tell_number(_round(end)) for end in shift.interval)
    change = tell_number(_round(shift.change))
    before, after = tell_number(_round(shift.before)), tell_number(_round(shift.after))
    if shift.is_ratio:
        return f"{name} is {after}, {change} times ({low} to {high}) the {before} of {of}"
    return f"{name} is {after}, {change} ({low} to {high}) standard deviations from the {before} of {of}"


def tell_movers(labels: Sequence[str], before: Side, after: Side) -> list[str]:
    """The names whose shares changed most: `timeout: 6 % instead of 1 % (+4.1 to +6 points)`."""
    changes = after.parts - before.parts
    order = sorted(range(len(labels)), key=lambda i: (-abs(float(changes[i])), i))[:MOVERS]
    return [_tell_mover(labels[i], i, before, after) for i in order if changes[i]]


def _tell_mover(label: str, at: int, before: Side, after: Side) -> str:
    n, m = max(1, round(before.size)), max(1, round(after.size))
    a, b = round(float(before.parts[at]) * n), round(float(after.parts[at]) * m)
    low, high = newcombe(a, n, b, m)
    shares = f"{_percent(float(after.parts[at]))} instead of {_percent(float(before.parts[at]))}"
    return f"{label or '(none)'}: {shares} ({100 * low:+.2g} to {100 * high:+.2g} points)"


def _percent(part: float) -> str:
    return f"{100 * part:.3g} %"


def _round(number: float) -> float:
    return float(f"{number:.3g}")


def _time(time_ns: int) -> str:
    return tell_time(time_ns / SECOND_NS)
