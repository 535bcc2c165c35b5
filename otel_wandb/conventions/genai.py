"""OpenTelemetry's own GenAI conventions, in the three generations that arrive at once.

G2 is https://github.com/open-telemetry/semantic-conventions-genai, G1 is semantic-conventions 1.37 to 1.41,
G0 what came before (messages as single events, `gen_ai.system`). Of two spellings the newer is read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from otel_wandb.conventions.decoding import count, flag, number, parse, quoted_text, strings, structure, text
from otel_wandb.conventions.documents import read_documents
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.messages import (
    append_message,
    finish_reason,
    read_choices,
    read_messages,
    read_system,
)
from otel_wandb.conventions.moments import keep_moment
from otel_wandb.conventions.table import Dialect, Moment, ReadMoment, row, words
from otel_wandb.conventions.tools import read_tools
from otel_wandb.records import Span

OPERATIONS: Final[dict[str, Kind]] = {
    "chat": "chat",
    "generate_content": "chat",
    "text_completion": "chat",
    "embeddings": "embeddings",
    "retrieval": "retrieval",
    "rerank": "rerank",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "plan": "agent",
    "invoke_workflow": "workflow",
    "search_memory": "retrieval",
    "create_memory_store": "other",
    "create_memory": "other",
    "update_memory": "other",
    "upsert_memory": "other",
    "delete_memory": "other",
    "delete_memory_store": "other",
    # in no convention, and sent all the same
    "embedding": "embeddings",
    "vector_db_retrieve": "retrieval",
    "execute_task": "workflow",
    "agent_step": "workflow",
}

_NAMES: Final = (
    *("openai", "azure.ai.openai", "azure.ai.inference", "anthropic", "aws.bedrock", "gcp.gemini"),
    *("gcp.vertex_ai", "gcp.gen_ai", "cohere", "mistral_ai", "deepseek", "groq", "perplexity", "x_ai"),
    *("ibm.watsonx.ai", "moonshot_ai"),
)
"""The values of `gen_ai.provider.name`; some write them with capitals."""

PROVIDERS: Final = {
    **{name: name for name in _NAMES},
    "az.ai.openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""Providers in the spelling of today, by that and by the deprecated spellings of `gen_ai.system`."""


def provider(value: object) -> str | None:
    """The provider in the spelling of today."""
    return _provider(value if type(value) is str else text(value))


@lru_cache(maxsize=256)
def _provider(value: str | None) -> str | None:
    name = quoted_text(value)
    return PROVIDERS.get(name.lower(), name) if name else None


def _usage(part: str, *more: str) -> tuple[str, ...]:
    return tuple(f"gen_ai.usage.{name}" for name in (part, *more))


_ROWS: Final = (
    row("kind", "gen_ai.operation.name", decode=words(OPERATIONS)),
    row("operation", "gen_ai.operation.name"),
    row("provider", "gen_ai.provider.name", "gen_ai.system", decode=provider),
    row("model", "gen_ai.request.model"),
    row("response_model", "gen_ai.response.model"),
    row("response_id", "gen_ai.response.id"),
    row("finish_reasons", "gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", decode=strings),
    row("finish_reasons", "anthropic.message.stop_reason", decode=strings),  # Anthropic's own SDK
    row("messages", "gen_ai.input.messages", decode=read_messages),
    row("choices", "gen_ai.output.messages", decode=read_choices),
    row("system", "gen_ai.system_instructions", decode=read_system),
    row("tools", "gen_ai.tool.definitions", decode=read_tools),
    row("params.temperature", "gen_ai.request.temperature", decode=number),
    row("params.top_p", "gen_ai.request.top_p", decode=number),
    row("params.top_k", "gen_ai.request.top_k", decode=number),
    row("params.max_tokens", "gen_ai.request.max_tokens", decode=count),
    row("params.frequency_penalty", "gen_ai.request.frequency_penalty", decode=number),
    row("params.presence_penalty", "gen_ai.request.presence_penalty", decode=number),
    row("params.seed", "gen_ai.request.seed", decode=number),
    row("params.stop", "gen_ai.request.stop_sequences", decode=strings),
    row("params.n", "gen_ai.request.choice.count", decode=count),
    row("params.stream", "gen_ai.request.stream", decode=flag),
    row("params.encoding_formats", "gen_ai.request.encoding_formats", decode=strings),
    row("params.reasoning_level", "gen_ai.request.reasoning.level"),
    row("params.previous_response_id", "gen_ai.request.previous_response.id"),
    row("params.output_type", "gen_ai.output.type"),
    row("usage.input_tokens", *_usage("input_tokens", "prompt_tokens"), decode=count),
    row("usage.output_tokens", *_usage("output_tokens", "completion_tokens"), decode=count),
    row("usage.total_tokens", *_usage("total_tokens"), decode=count),
    row(
        "usage.cache_read_input_tokens",
        *_usage("cache_read.input_tokens", "cache_read_input_tokens", "prompt_tokens_details.cached_tokens"),
        *_usage("input_tokens_details.cached_tokens", "details.cache_read_tokens", "cached_tokens"),
        decode=count,
    ),
    row(
        "usage.cache_creation_input_tokens",
        *_usage("cache_write.input_tokens", "cache_creation.input_tokens"),
        *_usage("cache_creation_input_tokens", "cache_write_input_tokens", "details.cache_write_tokens"),
        decode=count,
    ),
    row(
        "usage.reasoning_tokens",
        *_usage("reasoning.output_tokens", "reasoning_tokens", "details.reasoning_tokens"),
        *_usage("experimental.reasoning_tokens"),
        decode=count,
    ),
    *(
        row(f"usage.{modality}_{name}", *_usage(f"{modality}.{key}"), decode=count)
        for modality in ("text", "image", "audio")
        for name, key in (
            ("input_tokens", "input_tokens"),
            ("output_tokens", "output_tokens"),
            ("cache_read_input_tokens", "cache_read.input_tokens"),
        )
    ),
    row("dimensions", "gen_ai.embeddings.dimension.count", decode=count),
    row("query", "gen_ai.retrieval.query.text", "gen_ai.memory.query.text"),
    row("top_k", "gen_ai.retrieval.top_k", decode=count),
    row("documents", "gen_ai.retrieval.documents", "gen_ai.memory.records", decode=read_documents),
    row("metadata.data_source_id", "gen_ai.data_source.id"),
    row("tool.name", "gen_ai.tool.name"),
    row("tool.call_id", "gen_ai.tool.call.id"),
    row("tool.type", "gen_ai.tool.type"),
    row("tool.description", "gen_ai.tool.description"),
    row("arguments", "gen_ai.tool.call.arguments", decode=structure),
    row("result", "gen_ai.tool.call.result", decode=structure),
    row("agent.id", "gen_ai.agent.id"),
    row("agent.name", "gen_ai.agent.name"),
    row("agent.description", "gen_ai.agent.description"),
    row("agent.version", "gen_ai.agent.version"),
    row("workflow", "gen_ai.workflow.name"),
    row("conversation_id", "gen_ai.conversation.id"),
)

_SAID: Final = ("role", "tool_calls", "tool_call_id", "name")
_KNOWN: Final = frozenset(
    (
        "content",
        "id",
        "index",
        "finish_reason",
        "message",
        "event.name",
        "gen_ai.system",
        *_SAID,
    )
)


def _said(moment: Moment) -> object:
    """What a G0 event says: the body of a log record, or the attributes of a span event."""
    body = None if moment.record is None else parse(moment.record.body)
    return moment.attributes if body is None else body


def _keep_rest(moment: Moment, facts: Facts) -> None:
    rest = {key: value for key, value in moment.attributes.items() if key not in _KNOWN}
    if rest:
        keep_moment(facts, Moment(moment.name, moment.time_ns, rest))


def _message(moment: Moment, body: object) -> object:
    """The message of an event; what a log record's body has beyond the usual goes with it."""
    if not isinstance(body, dict):
        return {"content": body}
    is_record = body is not moment.attributes
    message: Json = {key: body[key] for key in body if key in _SAID or (is_record and key not in _KNOWN)}
    content = body.get("content")
    opened = parse(content)
    message["content"] = opened if isinstance(opened, list) else content
    if "tool_calls" in message:
        message["tool_calls"] = parse(message["tool_calls"])
    return message


def _message_reader(role: str) -> ReadMoment:
    def read(moment: Moment, facts: Facts) -> None:
        body = _said(moment)
        said = facts.said_messages or []
        before = len(said)
        append_message(said, _message(moment, body), role)
        if isinstance(body, dict) and body.get("id") and said[-1]["role"] == "tool":
            said[-1].setdefault("tool_call_id", body["id"])
        # Some tell what a tool gave back twice: as its message, and within one of the user's.
        said[before:] = [chat for chat in said[before:] if not _is_told(chat, said, before)]
        facts.said_messages = said
        _keep_rest(moment, facts)

    return read


def _is_told(chat: Json, said: list[Json], before: int) -> bool:
    if chat["role"] != "tool" or chat.get("tool_call_id") is None:
        return False
    keys = ("tool_call_id", "content")
    return any(all(chat.get(key) == said[i].get(key) for key in keys) for i in range(before))


def _read_choice(moment: Moment, facts: Facts) -> None:
    body = _said(moment)
    given = parse(body["message"]) if isinstance(body, dict) and "message" in body else body
    message = given if isinstance(given, dict) else {"content": given}
    if isinstance(body, dict) and "tool_calls" in body and "tool_calls" not in message:
        message = {**message, "tool_calls": parse(body["tool_calls"])}  # OpenLLMetry's place for them
    said = facts.said_choices or []
    for choice in read_choices([message]) or ():
        choice["index"] = len(said)
        reason = finish_reason(body.get("finish_reason")) if isinstance(body, dict) else None
        said.append(choice | {"finish_reason": reason} if reason else choice)
    facts.said_choices = said
    _keep_rest(moment, facts)


def _settle(facts: Facts, span: Span) -> None:
    if facts.kind is None and facts.operation is None:
        facts.kind = OPERATIONS.get(span.name.split(" ", 1)[0])
        if facts.kind is None and facts.model and facts.choices:
            facts.kind = "chat"
    if facts.kind == "retrieval" and facts.params and facts.top_k is None:
        facts.top_k = facts.params.pop("top_k", None)  # type: ignore[assignment]  # G1's place for it; a number


DIALECT: Final = Dialect(
    name="otel-genai",
    rank=50,
    rows=_ROWS,
    marks=("gen_ai.",),
    moments={
        **{
            f"gen_ai.{role}.message": _message_reader(role)
            for role in ("system", "user", "assistant", "tool")
        },
        "gen_ai.choice": _read_choice,
    },
    details=frozenset(("gen_ai.client.inference.operation.details",)),
    settle=_settle,
)
