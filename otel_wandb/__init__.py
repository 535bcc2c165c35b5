"""OpenTelemetry into Weights & Biases: spans become Weave traces, metrics become W&B charts.

Everything that users import is here; it is loaded when it is first asked for, so that importing the package
costs nothing.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "WandbMetricExporter",
    "WeaveLogExporter",
    "WeaveSpanExporter",
    "__version__",
    "configure",
    "log_prediction",
    "record_feedback",
]

_HOMES = {
    "WandbMetricExporter": "otel_wandb.ingest.sdk_metrics",
    "WeaveLogExporter": "otel_wandb.ingest.sdk_logs",
    "WeaveSpanExporter": "otel_wandb.ingest.sdk",
    "configure": "otel_wandb.ingest.configure",
    "log_prediction": "otel_wandb.instrument.statements",
    "record_feedback": "otel_wandb.instrument.statements",
}

if TYPE_CHECKING:
    from otel_wandb.ingest.configure import configure as configure
    from otel_wandb.ingest.sdk import WeaveSpanExporter as WeaveSpanExporter
    from otel_wandb.ingest.sdk_logs import WeaveLogExporter as WeaveLogExporter
    from otel_wandb.ingest.sdk_metrics import WandbMetricExporter as WandbMetricExporter
    from otel_wandb.instrument.statements import log_prediction as log_prediction
    from otel_wandb.instrument.statements import record_feedback as record_feedback


def __getattr__(name: str) -> object:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'otel_wandb' has no attribute {name!r}")
