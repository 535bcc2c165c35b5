"""MLflow Tracing over OTLP: every value is JSON once more; and its GenAI mode, which forgets a part of it.

`mlflow/tracing/constant.py`, `mlflow/tracing/export/genai_semconv`. In that mode `gen_ai.request.model` holds
the model that answered, and span types without an operation of their own pass as they are. What LangChain
tells of a run comes under names without a prefix, and with it the model is the one that was asked for. Of a
stream the last chunks, each an event, tell what the span does not.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.answers import take_usage
from otel_wandb.conventions.decoding import (
    flag,
    mapping,
    number,
    parse,
    quoted_text,
    strings,
    structure,
    text,
)
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.genai import provider
from otel_wandb.conventions.langchain import take_run_metadata
from otel_wandb.conventions.payloads import open_payloads, set_params
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
    row("metadata", "metadata", decode=mapping),
    row("metadata", "mlflow.traceTag.*", decode=structure),
    row("inputs.invocation_params", "invocation_params", decode=mapping),
)

_ASKED: Final = ("model", "model_name")
_LAST_CHUNKS: Final = 8
_CHUNK: Final = "mlflow.chunk.item."


def _settle(facts: Facts, span: Span) -> None:
    inputs = dict(facts.inputs or {})
    params = inputs.pop("invocation_params", None)
    facts.inputs = inputs or None
    if isinstance(params, dict):
        _take_invocation(facts, params)
    elif facts.model is not None and facts.model == facts.response_model and "model" not in span.attributes:
        facts.model = None  # OpenTelemetry's name for the requested model, with the one that answered
    answered = facts.output.get("model") if isinstance(facts.output, dict) else None
    open_payloads(facts)
    if facts.kind == "chat":
        _settle_answer(facts, answered if isinstance(answered, str) else None)
        _take_chunks(facts, span)
    take_run_metadata(facts)
    if facts.kind == "tool" and not (facts.tool or {}).get("name"):
        facts.tool = {**(facts.tool or {}), "name": span.name}


def _take_invocation(facts: Facts, params: Json) -> None:
    """LangChain's parameters of a model."""
    asked = next((name for key in _ASKED if isinstance(name := params.get(key), str) and name), None)
    if asked is not None:
        facts.model = asked
        facts.response_model = facts.response_model if facts.response_model != asked else None
    set_params(facts, params)
    known = {*_ASKED, "_type", *(facts.params or {})}
    rest: Json = {key: value for key, value in params.items() if key not in known and value is not None}
    facts.inputs = {**rest, **(facts.inputs or {})} or None


def _settle_answer(facts: Facts, answered: str | None) -> None:
    """`mlflow.llm.model` is the model that was asked for, where the answer names another, or none."""
    named = facts.response_model
    if answered is not None and named is not None and answered != named:
        facts.model, facts.response_model = facts.model or named, answered
    elif answered is None and named == facts.model:
        facts.response_model = None


def _take_chunks(facts: Facts, span: Span) -> None:
    """What the end of a stream tells: usage, the reason and the model, as OpenAI's chunks or LangChain's."""
    for event in reversed(span.events[-_LAST_CHUNKS:]):
        if event.name.startswith(_CHUNK):
            chunk = parse(event.attributes.get("mlflow.chunk.value"))
            if isinstance(chunk, dict):
                choices = chunk.get("choices")
                first = choices[0] if isinstance(choices, list) and choices else None
                _take_end(facts, chunk, first if isinstance(first, dict) else {}, chunk.get("usage"))
        elif event.name == "new_token":
            message = _kwargs(_kwargs(parse(event.attributes.get("chunk"))).get("message"))
            about = message.get("response_metadata")
            told = about if isinstance(about, dict) else {}
            _take_end(facts, told, told, message.get("usage_metadata"))


def _kwargs(value: object) -> Json:
    told = value.get("kwargs") if isinstance(value, dict) else None
    return told if isinstance(told, dict) else {}


def _take_end(facts: Facts, head: Json, choice: Json, usage: object) -> None:
    answered = head.get("model_name") or head.get("model")
    if facts.response_model is None and isinstance(answered, str):
        facts.response_model = text(answered)
    reason = choice.get("finish_reason")
    if facts.finish_reasons is None and isinstance(reason, str) and reason:
        facts.finish_reasons = [reason]
    if isinstance(usage, dict):
        take_usage(facts, usage)


DIALECT: Final = Dialect(
    name="mlflow", rank=26, rows=_ROWS, marks=("mlflow.",), scopes=("mlflow",), settle=_settle
)
