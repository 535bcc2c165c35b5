"""Langfuse SDK (`langfuse.*`): one input and one output for each observation, in whatever shape they were.

https://langfuse.com/integrations/native/opentelemetry, `langfuse/_client/attributes.py`.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import (
    DecodeError,
    count,
    mapping,
    parse,
    quoted_text,
    strings,
    structure,
    text,
)
from otel_wandb.conventions.facts import Facts, Fault, Json, Kind
from otel_wandb.conventions.genai import provider
from otel_wandb.conventions.langchain import take_run_metadata
from otel_wandb.conventions.payloads import open_payloads
from otel_wandb.conventions.table import Dialect, row, words
from otel_wandb.conventions.tools import read_tools
from otel_wandb.conventions.wire_usage import read_disjoint_usage, read_usage
from otel_wandb.records import STATUS_ERROR, Span

_TYPES: Final[dict[str, Kind]] = {
    "generation": "chat",
    "embedding": "embeddings",
    "retriever": "retrieval",
    "tool": "tool",
    "agent": "agent",
    "chain": "workflow",
    "evaluator": "evaluation",
    "guardrail": "guardrail",
}
_UNSAID: Final = frozenset(("span", "event"))
"""The types of an observation that nobody gave one."""
_MODELS: Final[frozenset[Kind]] = frozenset(("chat", "embeddings"))

_known_type = words(_TYPES)


def _kind(value: object) -> object | None:
    return None if value in _UNSAID else _known_type(value)


def _usage(value: object) -> Json | None:
    """Usage in the words of the provider, or in Langfuse's own, whose parts are beside the whole."""
    told = parse(value)
    if told is None:
        return None
    if not isinstance(told, dict):
        raise DecodeError
    return read_disjoint_usage(told) if "input" in told or "output" in told else read_usage(told)


def _params(value: object) -> Json | None:
    """The parameters of the model; what the SDK filled in without a number is none."""
    told = mapping(value) or {}
    return {name: item for name, item in told.items() if item not in (None, "Infinity", "inf", "")} or None


_METADATA: Final = "langfuse.observation.metadata."

_ROWS: Final = (
    row("kind", "langfuse.observation.type", decode=_kind),
    row("input", "langfuse.observation.input", decode=structure),
    row("output", "langfuse.observation.output", decode=structure),
    row("model", f"{_METADATA}ls_model_name", "langfuse.observation.model.name", decode=quoted_text),
    row("finish_reasons", f"{_METADATA}finish_reason", decode=strings),
    row("provider", f"{_METADATA}ls_provider", decode=provider),
    row("params", "langfuse.observation.model.parameters", decode=_params),
    row("usage", "langfuse.observation.usage_details", decode=_usage),
    row("user_id", "langfuse.user.id", "user.id", f"{_METADATA}langfuse_user_id", decode=quoted_text),
    row(
        "session_id",
        "langfuse.session.id",
        "session.id",
        f"{_METADATA}langfuse_session_id",
        decode=quoted_text,
    ),
    row("tags", "langfuse.trace.tags", f"{_METADATA}langfuse_tags", decode=strings),
    row("metadata.trace_name", "langfuse.trace.name"),
    row("metadata.environment", "langfuse.environment"),
    row("metadata.release", "langfuse.release"),
    row("metadata.version", "langfuse.version"),
    row("metadata.prompt_name", "langfuse.observation.prompt.name"),
    row("metadata.prompt_version", "langfuse.observation.prompt.version"),
    row("metadata", "langfuse.trace.metadata", "langfuse.observation.metadata", decode=structure),
    row("metadata", "langfuse.trace.metadata.*", f"{_METADATA}*", decode=structure),
)


def _settle(facts: Facts, span: Span) -> None:
    _take_tools(facts)
    if facts.kind == "embeddings":
        _take_measure(facts)
    open_payloads(facts)
    if facts.kind == "tool" and not (facts.tool or {}).get("name"):
        facts.tool = {**(facts.tool or {}), "name": span.name}
    if facts.kind in _MODELS:
        _sort_model(facts, span)
    take_run_metadata(facts)
    message = text(span.attributes.get("langfuse.observation.status_message"))
    if span.status_code == STATUS_ERROR and message and facts.fault is None:
        facts.fault = Fault(message=message)


def _sort_model(facts: Facts, span: Span) -> None:
    """The model of an observation is the one asked for, until an answer names the one that answered."""
    named = text(span.attributes.get("langfuse.observation.model.name"))
    answered = facts.choices is not None or facts.usage is not None
    if not named or not answered or facts.response_model is not None:
        return
    if f"{_METADATA}ls_model_name" not in span.attributes:
        facts.response_model = named
        if facts.kind == "chat":
            facts.model = None
    elif named != facts.model:  # else a stream, whose chunks did not tell
        facts.response_model = named


def _take_measure(facts: Facts) -> None:
    """What the OpenAI wrapper tells of vectors instead of them."""
    told = facts.output
    if isinstance(told, dict) and told.keys() == {"dimensions", "count"}:
        facts.dimensions, facts.embedding_count = count(told["dimensions"]), count(told["count"])
        facts.output = None


def _take_tools(facts: Facts) -> None:
    """The LangChain handler appends the tools on offer to the messages, as messages of a tool."""
    if facts.kind != "chat" or not isinstance(facts.input, list):
        return
    tools: list[object] = []
    messages: list[object] = []
    for item in facts.input:
        content = item.get("content") if isinstance(item, dict) else None
        is_tool = isinstance(content, dict) and item.get("role") == "tool" and "tool_call_id" not in item
        (tools if is_tool else messages).append(content if is_tool else item)
    if tools:
        facts.tools = facts.tools or read_tools(tools)
        facts.input = messages


DIALECT: Final = Dialect(
    name="langfuse", rank=22, rows=_ROWS, marks=("langfuse.",), scopes=("langfuse-sdk",), settle=_settle
)
