"""What a producer itself says that a call cost: kept as it is told, apart from our own price."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import DecodeError, mapping, number

COST_KEYS: Final = (
    "operation.cost",  # Pydantic AI, Logfire
    "gen_ai.cost.total_cost",  # LiteLLM
    "gen_ai.usage.cost",  # OpenLIT
    "llm.cost.total",  # OpenInference
    "langfuse.observation.cost_details",
    "mlflow.llm.cost",
)
_TOTALS: Final = ("total", "total_cost")


def read_cost(value: object) -> float | None:
    """The whole in USD, of a number or of an object with a total; 0 is told where nothing is known."""
    try:
        told: object = number(value)
    except DecodeError:
        parts = mapping(value) or {}
        told = next((number(parts[name]) for name in _TOTALS if parts.get(name) is not None), None)
    return float(told) if isinstance(told, int | float) and told > 0 else None
