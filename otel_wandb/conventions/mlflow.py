"""MLflow Tracing over OTLP: every value is JSON once more; and its GenAI mode, which forgets a part of it.

`mlflow/tracing/constant.py`, `mlflow/tracing/export/genai_semconv`. In that mode `gen_ai.request.model` holds
the model that answered, and span types without an operation of their own pass as they are.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import flag, number, parse, quoted_text, strings, structure
from otel_wandb.conventions.facts import Facts, Kind
from otel_wandb.conventions.genai import provider
from otel_wandb.conventions.payloads import open_payloads
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.conventions.tools import read_tools
from otel_wandb.conventions.wire_usage import read_usage
from otel_wandb.records import Span

_TYPES: Final[dict[str, Kind]] = {
    "LLM": "chat",
    "CHAT_MODEL": "chat",
    "EMBEDDING": "embeddings",
    "RETRIEVER": "retrieval",
    "RERANKER": "rerank",
    "TOOL": "tool",
    "AGENT": "agent",
    "CHAIN": "workflow",
    "WORKFLOW": "workflow",
    "TASK": "workflow",
    "PARSER": "other",
    "MEMORY": "other",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluation",
}


def _kind(value: object) -> object | None:
    """The type of a span, which users may invent; that of most is UNKNOWN."""
    word = quoted_text(value)
    return _TYPES.get(word) if word else None


def _stop(value: object) -> list[str] | None:
    return strings(parse(value))


def _number(value: object) -> int | float | None:
    return number(parse(value))


_ROWS: Final = (
    row("kind", "mlflow.spanType", "gen_ai.operation.name", decode=_kind),
    row("input", "mlflow.spanInputs", decode=structure),
    row("output", "mlflow.spanOutputs", decode=structure),
    row("model", "model", decode=quoted_text),
    row(
        "response_model",
        "mlflow.llm.model",
        "gen_ai.response.model",
        "gen_ai.request.model",
        decode=quoted_text,
    ),
    row("provider", "mlflow.llm.provider", decode=provider),
    row("params.temperature", "temperature", decode=_number),
    row("params.top_p", "top_p", decode=_number),
    row("params.max_tokens", "max_tokens", "max_completion_tokens", decode=_number),
    row("params.seed", "seed", decode=_number),
    row("params.stop", "stop", decode=_stop),
    row("params.stream", "stream", decode=flag),
    row("tools", "mlflow.chat.tools", "tools", decode=read_tools),
    row("usage", "mlflow.chat.tokenUsage", decode=read_usage),
    row("session_id", "mlflow.trace.session", "session.id", decode=quoted_text),
    row("user_id", "mlflow.trace.user", "user.id", decode=quoted_text),
    row("metadata", "mlflow.traceTag.*", decode=structure),
)


def _settle(facts: Facts, span: Span) -> None:
    if facts.model is not None and facts.model == facts.response_model and "model" not in span.attributes:
        facts.model = None  # OpenTelemetry's name for the requested model, with the one that answered
    open_payloads(facts)
    if facts.kind == "tool" and not (facts.tool or {}).get("name"):
        facts.tool = {**(facts.tool or {}), "name": span.name}


DIALECT: Final = Dialect(
    name="mlflow", rank=26, rows=_ROWS, marks=("mlflow.",), scopes=("mlflow",), settle=_settle
)
