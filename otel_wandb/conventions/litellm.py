"""LiteLLM's OpenTelemetry callback: a span for the request, and the raw call of the provider below it.

`litellm/integrations/opentelemetry.py`. The raw span (`llm.<provider>.*`) has the request and the answer as
Python literals. Some forty `metadata.*` are empty on most spans.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.answers import take_answer
from otel_wandb.conventions.costs import read_cost
from otel_wandb.conventions.decoding import flag, items, mapping, parse, strings, structure, text
from otel_wandb.conventions.facts import Facts, Fault, Json, Kind
from otel_wandb.conventions.genai import provider
from otel_wandb.conventions.messages import read_choices
from otel_wandb.conventions.parts import chat_call
from otel_wandb.conventions.payloads import take_request, take_vectors
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.conventions.tools import read_tools
from otel_wandb.conventions.wire_usage import read_usage
from otel_wandb.records import STATUS_ERROR, Span

_CALL_TYPES: Final[dict[str, Kind]] = {
    "completion": "chat",
    "text_completion": "chat",
    "responses": "chat",
    "anthropic_messages": "chat",
    "generate_content": "chat",
    "embedding": "embeddings",
    "rerank": "rerank",
    "image_generation": "other",
    "transcription": "other",
    "speech": "other",
    "moderation": "guardrail",
}
_RAW: Final = "raw_gen_ai_request"
_RAW_NAMES: Final = ("openai", "anthropic", "azure", "bedrock", "vertex_ai", "gemini", "mistral", "groq")
"""Providers whose names stand in the keys of raw requests; of others the scope tells."""


def _kind(value: object) -> Kind | None:
    """The type of the call; those that start with an `a` are the same, awaited."""
    name = text(value) or ""
    return _CALL_TYPES.get(name) or _CALL_TYPES.get(name.removeprefix("a"))


def _tools(value: object) -> object | None:
    functions = value if isinstance(value, list) else []
    return read_tools([{k: parse(v) for k, v in f.items() if v} for f in functions if isinstance(f, dict)])


def _user(value: object) -> str | None:
    return None if value == "None" else text(value)


def _provider(value: object) -> str | None:
    """What stands before the model; some calls tell it nowhere else."""
    before, slash, _ = (text(value) or "").partition("/")
    return provider(before) if slash else None


def _rest(value: object) -> object | None:
    """Empty strings and the word `None` say nothing."""
    return None if value in ("", "None", "{}", "[]") else structure(value)


_ROWS: Final = (
    row("kind", "llm.request.type", "gen_ai.operation.name", decode=_kind),
    row("provider", "gen_ai.provider.name", "gen_ai.system", decode=provider),
    row("provider", "litellm.provider.model", decode=_provider),
    row("outputs.raw", "llm.#", decode=mapping),
    row("choices", "gen_ai.output.messages", decode=read_choices),
    row("outputs.calls", "gen_ai.completion.#", decode=items),
    row("tools", "llm.request.functions.#", decode=_tools),
    row("params.stream", "llm.is_streaming", decode=flag),
    row("user_id", "llm.user", "metadata.user_api_key_end_user_id", decode=_user),
    row("finish_reasons", "gen_ai.response.finish_reasons", decode=strings),
    row("usage", "metadata.usage_object", decode=read_usage),
    row("metadata", "metadata.*", decode=_rest),
)


def _settle(facts: Facts, span: Span) -> None:
    outputs = dict(facts.outputs or {})
    raw = outputs.pop("raw", None)
    if raw is None and span.name == _RAW:
        facts.kind = facts.kind or "chat"  # the raw span of a stream tells nothing, and only chats stream
    _add_calls(facts, outputs.pop("calls", None))
    if isinstance(raw, dict) and span.name == _RAW:
        facts.kind = facts.kind or ("chat" if _is_chat(raw) else "embeddings" if _is_embedding(raw) else None)
        for name, told in raw.items():
            if isinstance(told, dict):
                opened: Json = {str(key): parse(value) for key, value in told.items()}
                if left := _take_raw(facts, opened):
                    outputs[name] = left
                facts.provider = facts.provider or (name if name != "None" else None)
    elif raw is not None:
        _keep_llm_keys(facts, span)
    facts.outputs = outputs or None
    metadata = (facts.metadata or {}).get("requester_metadata")
    if facts.session_id is None and isinstance(metadata, dict):
        facts.session_id = text(metadata.get("session_id"))
    if facts.fault is None and span.status_code == STATUS_ERROR:
        facts.fault = _fault(span)
    if facts.provider_cost_usd is None:
        facts.provider_cost_usd = _cost(span.attributes.get("hidden_params"))


def _add_calls(facts: Facts, told: object) -> None:
    """The tool calls of the first answer, which stand apart from it and without their ids."""
    message = facts.choices[0].get("message") if facts.choices else None
    if not isinstance(message, dict) or "tool_calls" in message or not isinstance(told, list):
        return
    calls = [item["function_call"] for item in told if isinstance(item, dict) and "function_call" in item]
    if calls:
        message["tool_calls"] = [chat_call(call) for call in calls if isinstance(call, dict)]


def _keep_llm_keys(facts: Facts, span: Span) -> None:
    for key, value in span.attributes.items():
        is_read = key in _READ or key.startswith("llm.request.functions.")
        if key.startswith("llm.") and not is_read and _rest(value) is not None:
            facts.keep(key, value)


_READ: Final = frozenset(("llm.request.type", "llm.is_streaming", "llm.user"))


def _is_chat(raw: Json) -> bool:
    return any(isinstance(told, dict) and ("messages" in told or "contents" in told) for told in raw.values())


def _is_embedding(raw: Json) -> bool:
    return any(isinstance(told, dict) and "input" in told for told in raw.values())


def _take_raw(facts: Facts, told: Json) -> Json:
    """Takes the call out of the mixture of the request's and the answer's keys; returns what is left."""
    answer: Json = {key: told.pop(key) for key in _ANSWER_KEYS if key in told}
    if facts.kind == "embeddings":
        if "data" not in told:  # without an answer the model is the one that was asked for
            facts.model = facts.model or text(answer.get("model"))
        given = told.pop("input", None)
        facts.texts = facts.texts or (given if isinstance(given, list) else [given] if given else None)
        if "data" in told:
            answer["data"] = told.pop("data")
            take_vectors(facts, answer)
        return told
    left = take_request(facts, told)
    take_answer(facts, answer)
    return left if isinstance(left, dict) else {}


_ANSWER_KEYS: Final = (
    "id",
    "object",
    "model",
    "usage",
    "choices",
    "role",
    "type",
    "content",
    "stop_reason",
    "candidates",
    "usageMetadata",
    "modelVersion",
    "output",
)


def _cost(hidden: object) -> float | None:
    """What earlier versions tell only among their parameters, which stay as they came."""
    told = parse(hidden)
    cost = told.get("response_cost") if isinstance(told, dict) else None
    return read_cost(cost) if isinstance(cost, (int, float, str)) else None


def _fault(span: Span) -> Fault | None:
    told = span.attributes
    message = told.get("error.message") or told.get("exception")
    if not isinstance(message, str):
        return None
    kind, trace = told.get("error.type"), told.get("error.stack_trace")
    return Fault(str(kind or ""), message, str(trace or ""))


DIALECT: Final = Dialect(
    name="litellm",
    rank=28,
    rows=_ROWS,
    marks=("litellm.call_id", "litellm.provider.model", *(f"llm.{name}." for name in _RAW_NAMES)),
    scopes=("litellm",),
    settle=_settle,
)
