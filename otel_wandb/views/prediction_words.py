"""What alarms about predictions say."""

from __future__ import annotations

from collections.abc import Sequence

from otel_wandb.alerts.wording import tell_number, tell_time
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.statistics.concentration import EntropyChange
from otel_wandb.statistics.proportions import Interval
from otel_wandb.views.judging import Window
from otel_wandb.views.telling import tell_evidence, tell_fired


def tell_low(
    subject: str,
    window: Window,
    *,
    limit: float,
    before: float,
    after: float,
    interval: Interval,
    p_value: float,
    promise: float,
) -> str:
    """That confidence is low more often."""
    return (
        f"{100 * after:.3g} % of the predictions of {subject} have a confidence of {limit:g} or less, not "
        f"{100 * before:.3g} % as in the reference: {100 * interval.low:+.2g} to {100 * interval.high:+.2g} "
        f"points (p-value of this window alone: {p_value:.2g}). "
        f"{_tell_since(window)} {tell_promise(window, promise)}"
    )


def tell_labels(
    subject: str, window: Window, *, part: float, interval: Interval, movers: Sequence[str], promise: float
) -> str:
    """That labels come in other shares."""
    return (
        f"{subject} predicts labels in other shares than in its reference: {'; '.join(movers)}. About "
        f"{100 * part:.3g} % ({100 * interval.low:.3g} % to {100 * interval.high:.3g} %) of the predictions "
        f"are others. {_tell_since(window)} {tell_promise(window, promise)}"
    )


def tell_collapse(
    subject: str, window: Window, *, change: EntropyChange, label: str, share: float, promise: float
) -> str:
    """That labels come much less evenly."""
    return (
        f"{100 * share:.3g} % of the predictions of {subject} are {label!r}: the entropy of its labels is "
        f"{change.after:.3g} nats, it was {change.before:.3g} in the reference (p-value of this window "
        f"alone: {change.p_value:.2g}). {_tell_since(window)} {tell_promise(window, promise)}"
    )


def tell_over(subject: str, what: str, window: Window, *, fired_ns: int) -> str:
    """That an alarm is over: `what` is as it was."""
    fired = tell_fired(fired_ns / SECOND_NS, window.end_ns / SECOND_NS)
    return f"{what} of {subject} is as in the reference again. {fired}"


def tell_promise(window: Window, promise: float) -> str:
    """What the alarm is worth."""
    return (
        f"Evidence is {tell_evidence(window.evidence)}; without a change it reaches "
        f"{tell_number(promise)} once in as many windows at most, on the mean."
    )


def _tell_since(window: Window) -> str:
    count = "1 window" if window.since_windows == 1 else f"{window.since_windows:,} windows"
    return f"Since about {tell_time(window.since_ns / SECOND_NS)} ({count})."
