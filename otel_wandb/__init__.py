"""OpenTelemetry into Weights & Biases: spans become Weave traces, metrics become W&B charts.

Everything that users import is here; it is loaded when it is first asked for, so that importing the package
costs nothing.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["WeaveSpanExporter", "__version__"]

_HOMES = {"WeaveSpanExporter": "otel_wandb.ingest.sdk"}

if TYPE_CHECKING:
    from otel_wandb.ingest.sdk import WeaveSpanExporter as WeaveSpanExporter


def __getattr__(name: str) -> object:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'otel_wandb' has no attribute {name!r}")
