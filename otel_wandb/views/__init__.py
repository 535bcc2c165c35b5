"""Metric views: they watch a stream, add keys to its rows, and say what is worth an alert.

    from otel_wandb.views import Budget, Degradation, Drift, Predictions, Reference, Slo

Definitions are data; what carries them out (`drift`, `degradation`, …) is imported by the bridge alone.
"""

from otel_wandb.views.definitions import Budget, Compare, Degradation, Drift, Predictions, Slo, View
from otel_wandb.views.reference import Reference

__all__ = ["Budget", "Compare", "Degradation", "Drift", "Predictions", "Reference", "Slo", "View"]
