"""Vercel's AI SDK: `ai.*` of the versions 4 to 6, and what version 7 adds to OpenTelemetry's GenAI.

https://ai-sdk.dev/docs/ai-sdk-core/telemetry. The outer span of an operation (`ai.generateText`) repeats the
question, the answer and the sum of the tokens of the calls inside it (`ai.generateText.doGenerate`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from otel_wandb.conventions.decoding import count, items, mapping, number, parse, strings, structure, text
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.messages import read_choices, read_messages, read_system
from otel_wandb.conventions.table import Dialect, row, words
from otel_wandb.conventions.tools import read_tools
from otel_wandb.records import Span

_GENERATIONS: Final = ("ai.generateText", "ai.streamText", "ai.generateObject", "ai.streamObject")
_OPERATIONS: Final[dict[str, Kind]] = {
    **dict.fromkeys(_GENERATIONS, "agent"),
    "ai.generateText.doGenerate": "chat",
    "ai.streamText.doStream": "chat",
    "ai.generateObject.doGenerate": "chat",
    "ai.streamObject.doStream": "chat",
    "ai.workflowAgent.stream": "agent",
    "ai.embed": "embeddings",
    "ai.embed.doEmbed": "embeddings",
    "ai.embedMany": "embeddings",
    "ai.embedMany.doEmbed": "embeddings",
    "ai.rerank": "rerank",
    "ai.rerank.doRerank": "rerank",
    "ai.toolCall": "tool",
}
_STEPS: Final[dict[str, Kind]] = {"agent_step": "workflow"}
"""What version 7 says and OpenTelemetry does not know; a step is what an agent does between two answers."""

_PROVIDER: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_PROVIDERS: Final = (
    ("google.vertex", "gcp.vertex_ai"),
    ("google-vertex", "gcp.vertex_ai"),
    ("google", "gcp.gemini"),
    ("amazon-bedrock", "aws.bedrock"),
    ("bedrock", "aws.bedrock"),
    ("azure-openai", "azure.ai.openai"),
    ("azure", "azure.ai.openai"),
    ("mistral", "mistral_ai"),
    ("xai", "x_ai"),
)


@lru_cache(maxsize=256)
def _provider_of(name: str) -> str:
    for prefix, provider in _PROVIDERS:
        if name == prefix or name.startswith((prefix + ".", prefix + "-")):
            return provider
    return name.split(".", 1)[0] if _PROVIDER.fullmatch(name) else name


def _provider(value: object) -> str | None:
    """`openai.chat` is the provider and its API."""
    name = text(value)
    return _provider_of(name) if name else None


def _encoded_items(value: object) -> list[object] | None:
    """A list whose items are JSON, each by itself."""
    listed = items(value)
    return [parse(item) for item in listed] if listed else None


def _value(value: object) -> list[object] | None:
    opened = parse(value)
    return None if opened is None else [opened]


def _vectors(value: object) -> list[object]:
    told = items(value) or []
    return [told] if told and isinstance(told[0], (int, float)) else told


def _count_vectors(value: object) -> int | None:
    return len(_vectors(value)) or None


def _measure_vectors(value: object) -> int | None:
    vector = parse(next(iter(_vectors(value)), None))
    return len(vector) if isinstance(vector, list) and vector else None


def _read_history(value: object) -> list[Json] | None:
    return read_messages([_plain_message(message) for message in items(value) or ()])


def _plain_message(message: object) -> object:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [_plain_part(part) for part in message["content"]]}


def _plain_part(part: object) -> object:
    """Parts whose payload the SDK wraps, in the words of the shared reader."""
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind == "tool-result":
        output = part.get("output")
        known = ("type", "toolCallId", "toolName", "output")
        if isinstance(output, dict) and "value" in output:
            rest = {key: value for key, value in part.items() if key not in known}
            return {"type": kind, "id": part.get("toolCallId"), "result": output["value"], **rest}
        return {key: value for key, value in part.items() if key != "toolName"}
    if kind in ("image", "file"):
        data = part.get("data", part.get("image"))
        mime_type = part.get("mediaType") or part.get("mimeType") or ("image/*" if kind == "image" else "")
        if isinstance(data, str):
            modality = str(mime_type).split("/", 1)[0]
            if data.startswith(("http://", "https://")):
                return {"type": "uri", "modality": modality, "uri": data}
            return {"type": "blob", "mime_type": mime_type, "content": data}
    return part


_USAGE: Final = (
    row(
        "usage.input_tokens", "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens", decode=count
    ),
    row("usage.output_tokens", "ai.usage.outputTokens", "ai.usage.completionTokens", decode=count),
    row("usage.total_tokens", "ai.usage.totalTokens", decode=count),
    row(
        "usage.cache_read_input_tokens",
        "ai.usage.inputTokenDetails.cacheReadTokens",
        "ai.usage.cachedInputTokens",
        decode=count,
    ),
    row("usage.cache_creation_input_tokens", "ai.usage.inputTokenDetails.cacheWriteTokens", decode=count),
    row(
        "usage.reasoning_tokens",
        "ai.usage.outputTokenDetails.reasoningTokens",
        "ai.usage.reasoningTokens",
        decode=count,
    ),
)

_ROWS: Final = (
    row("kind", "ai.operationId", decode=words(_OPERATIONS)),
    row("kind", "gen_ai.operation.name", decode=lambda value: _STEPS.get(str(value))),
    row("operation", "ai.operationId"),
    row("provider", "ai.model.provider", "gen_ai.provider.name", "gen_ai.system", decode=_provider),
    row("model", "ai.model.id"),
    row("response_model", "ai.response.model"),
    row("response_id", "ai.response.id"),
    row("finish_reasons", "ai.response.finishReason", "ai.finishReason", decode=strings),
    row("messages", "ai.prompt.messages", decode=_read_history),
    row("inputs.prompt", "ai.prompt", decode=mapping),
    row("tools", "ai.prompt.tools", decode=read_tools),
    row("params.tool_choice", "ai.prompt.toolChoice", decode=structure),
    row("outputs.text", "ai.response.text", "ai.result.text"),
    row("outputs.reasoning", "ai.response.reasoning"),
    row("outputs.object", "ai.response.object", "ai.result.object"),
    row("outputs.tool_calls", "ai.response.toolCalls", "ai.result.toolCalls", decode=items),
    row("params.max_tokens", "ai.settings.maxOutputTokens", "ai.settings.maxTokens", decode=count),
    row("params.temperature", "ai.settings.temperature", decode=number),
    row("params.top_p", "ai.settings.topP", decode=number),
    row("params.top_k", "ai.settings.topK", decode=number),
    row("params.frequency_penalty", "ai.settings.frequencyPenalty", decode=number),
    row("params.presence_penalty", "ai.settings.presencePenalty", decode=number),
    row("params.seed", "ai.settings.seed", decode=number),
    row("params.stop", "ai.settings.stopSequences", decode=strings),
    *_USAGE,
    row("texts", "ai.values", decode=_encoded_items),
    row("texts", "ai.value", decode=_value),
    row("embedding_count", "ai.embeddings", decode=_count_vectors),
    row("dimensions", "ai.embeddings", decode=_measure_vectors),
    row("embedding_count", "ai.embedding", decode=_count_vectors),
    row("dimensions", "ai.embedding", decode=_measure_vectors),
    row("inputs.documents", "ai.documents", decode=_encoded_items),
    row("outputs.ranking", "ai.ranking", decode=_encoded_items),
    row("tool.name", "ai.toolCall.name"),
    row("tool.call_id", "ai.toolCall.id"),
    row("arguments", "ai.toolCall.args", decode=structure),
    row("result", "ai.toolCall.result", decode=structure),
    row("session_id", "ai.telemetry.metadata.sessionId"),
    row("user_id", "ai.telemetry.metadata.userId"),
    row("tags", "ai.telemetry.metadata.tags", decode=strings),
    row("metadata.function_id", "ai.telemetry.functionId"),
    row("metadata", "ai.telemetry.metadata.*", decode=structure),
)


def _settle(facts: Facts, span: Span) -> None:
    inputs, outputs = dict(facts.inputs or {}), dict(facts.outputs or {})
    prompt = inputs.pop("prompt", None)
    if isinstance(prompt, dict):
        _take_prompt(facts, prompt)
    if facts.choices is None:
        facts.choices = read_choices([message]) if (message := _answer(outputs)) else None
    _take_provider_usage(facts, span)
    if facts.kind == "rerank":
        _take_ranking(facts, inputs.get("documents"), outputs)
    facts.inputs, facts.outputs = inputs or None, outputs or None


def _take_provider_usage(facts: Facts, span: Span) -> None:
    """Version 4 tells of cached and reasoning tokens in the provider's own words only.

    Before version 6 the input is Anthropic's, which leaves the cached tokens out.
    """
    metadata = parse(span.attributes.get("ai.response.providerMetadata"))
    if not isinstance(metadata, dict) or not facts.usage:
        return
    usage = dict(facts.usage)
    for provider, names in _PROVIDER_USAGE.items():
        told = metadata.get(provider)
        for theirs, name in names.items() if isinstance(told, dict) else ():
            if type(tokens := told.get(theirs)) is int and tokens > 0:  # type: ignore[union-attr]  # a dictionary
                usage.setdefault(name, tokens)
    cached = usage.get("cache_read_input_tokens", 0) + usage.get("cache_creation_input_tokens", 0)
    if (
        cached
        and "anthropic" in metadata
        and "ai.usage.inputTokenDetails.noCacheTokens" not in span.attributes
    ):
        usage["input_tokens"] = usage.get("input_tokens", 0) + cached
        usage.pop("total_tokens", None)
        facts.warn("usage_input_without_cache")
    facts.usage = usage


_PROVIDER_USAGE: Final = {
    "openai": {"cachedPromptTokens": "cache_read_input_tokens", "reasoningTokens": "reasoning_tokens"},
    "anthropic": {
        "cacheReadInputTokens": "cache_read_input_tokens",
        "cacheCreationInputTokens": "cache_creation_input_tokens",
    },
}


def _take_prompt(facts: Facts, prompt: Json) -> None:
    """The outer span's `{system, prompt | messages}`."""
    if facts.system is None and prompt.get("system"):
        facts.system = read_system(prompt["system"])
    if facts.messages is None:
        given = prompt.get("messages") or prompt.get("prompt")
        facts.messages = _read_history(given) if isinstance(given, list) else read_messages([given])


def _answer(outputs: Json) -> Json | None:
    """The one message that the pieces of an answer make."""
    parts: list[object] = []
    if reasoning := outputs.pop("reasoning", None):
        parts.append({"type": "reasoning", "content": reasoning})
    told = outputs.pop("text", None), outputs.pop("object", None)
    parts.extend({"type": "text", "content": content} for content in told if content is not None)
    calls = outputs.pop("tool_calls", None)
    for call in calls if isinstance(calls, list) else ():
        opened = parse(call)
        known = ("toolCallType", "providerExecuted", "dynamic", "type")
        if isinstance(opened, dict):
            told_call = {key: value for key, value in opened.items() if key not in known}
            parts.append({"type": "tool-call", **told_call})
    return {"role": "assistant", "parts": parts} if parts else None


def _take_ranking(facts: Facts, given: object, outputs: Json) -> None:
    """The documents in the order of the ranking, which names them by their place."""
    ranking = outputs.get("ranking")
    if facts.documents is not None or not isinstance(ranking, list) or not isinstance(given, list):
        return
    documents: list[Json] = []
    for place in ranking:
        index = place.get("index", place.get("originalIndex")) if isinstance(place, dict) else None
        if not isinstance(index, int) or not 0 <= index < len(given):
            return
        document: Json = {"content": given[index]}
        score = place.get("relevanceScore", place.get("score"))
        documents.append(document if score is None else {**document, "score": score})
    facts.documents = documents
    del outputs["ranking"]


DIALECT: Final = Dialect(
    name="vercel-ai",
    rank=21,
    rows=_ROWS,
    marks=("ai.operationId", "ai.model.", "ai.response.", "ai.prompt.", "ai.toolCall.", "ai.telemetry."),
    scopes=("gen_ai",),  # version 7; the others name themselves by their keys
    settle=_settle,
)
