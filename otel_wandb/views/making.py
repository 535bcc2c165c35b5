"""What carries each kind of view out, and its share of the false alarms that all may give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from otel_wandb.config import Settings
from otel_wandb.metrics.intervals import DAY_NS, SECOND_NS
from otel_wandb.views.budget import BudgetMachine
from otel_wandb.views.compare import CompareMachine
from otel_wandb.views.definitions import (
    MAX_GROUPS,
    Budget,
    Compare,
    Degradation,
    Drift,
    Predictions,
    Slo,
    View,
)
from otel_wandb.views.degradation import DegradationMachine
from otel_wandb.views.drift import DriftMachine
from otel_wandb.views.machine import Machine
from otel_wandb.views.predictions import PredictionsMachine
from otel_wandb.views.slo import SloMachine

_CHANCE: Final = 0.5
"""Of any false alarm in `false_alarm_days`, over all views and groups."""


def make_machine(view: View, views: Iterable[View], settings: Settings) -> Machine:
    """What carries the view out; `views` are all that share the budget of false alarms."""
    if isinstance(view, Slo):
        return SloMachine(view)
    if isinstance(view, Budget):
        return BudgetMachine(view)
    if isinstance(view, Compare):
        return CompareMachine(view)
    windows = view.windows_to_false_alarm or share_budget(view, views, settings)
    if isinstance(view, Drift):
        return DriftMachine(view, windows_to_false_alarm=windows)
    if isinstance(view, Degradation):
        return DegradationMachine(view, windows_to_false_alarm=windows)
    return PredictionsMachine(view, windows_to_false_alarm=windows)


def share_budget(view: View, views: Iterable[View], settings: Settings) -> float:
    """Windows to a false alarm of the view, so that all have one in `false_alarm_days` by at most a half.

    The chance of any false alarm of M streams in T windows each is at most M T / A, whatever hangs together.
    """
    streams = sum(
        MAX_GROUPS if other.by else 1
        for other in views
        if isinstance(other, Drift | Degradation | Predictions)
    )
    window_s = view.window_s if isinstance(view, Drift) else 0.0
    if isinstance(view, Predictions):
        window_s = Drift("").window_s  # which it takes for its own
    windows = settings.false_alarm_days * (DAY_NS / SECOND_NS) / max(window_s, settings.interval_s)
    return max(2.0, streams * windows / _CHANCE)
