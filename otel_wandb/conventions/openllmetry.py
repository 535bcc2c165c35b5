"""OpenLLMetry, Traceloop's instrumentations and SDK (`traceloop.*`), as they were (0.40) and are (0.62).

https://github.com/traceloop/openllmetry, `opentelemetry-semantic-conventions-ai`. The older ones spread
messages over `gen_ai.prompt.N` and `gen_ai.completion.N` and tell the kind by `llm.request.type`; the newer
ones speak OpenTelemetry's GenAI conventions, with operation names of their own that are not always true:
every outermost chain is an `invoke_agent`, so `traceloop.span.kind` is believed before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otel_wandb.conventions.decoding import count, flag, number, parse, strings, structure, text
from otel_wandb.conventions.facts import Facts, Kind
from otel_wandb.conventions.indexed_messages import members, read_flat_choices, read_flat_messages
from otel_wandb.conventions.langchain import FRAMEWORKS, take_run_metadata
from otel_wandb.conventions.moments import keep_moment
from otel_wandb.conventions.openllmetry_tasks import tell_task
from otel_wandb.conventions.payloads import open_payloads, unwrap_arguments
from otel_wandb.conventions.table import Dialect, Moment, row, words
from otel_wandb.conventions.tools import read_tools
from otel_wandb.records import Span

_OPERATIONS: Final[dict[str, Kind]] = {
    "chat": "chat",
    "text_completion": "chat",
    "generate_content": "chat",
    "embeddings": "embeddings",
    "rerank": "rerank",
    "execute_tool": "tool",
    "vector_db_retrieve": "retrieval",
}
"""Operations that are what they say; the span kind of these is only `task`, or none."""
_KINDS: Final[dict[str, Kind | None]] = {
    "workflow": "workflow",
    "task": "workflow",
    "agent": "agent",
    "tool": "tool",
    "unknown": None,
}
_REQUESTS: Final[dict[str, Kind | None]] = {
    "chat": "chat",
    "completion": "chat",
    "embedding": "embeddings",
    "rerank": "rerank",
    "unknown": None,
}
_PROVIDERS: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "cohere": "cohere",
    "azure": "azure.ai.openai",
    "aws": "aws.bedrock",
    "google": "gcp.gen_ai",
    "vertexai": "gcp.vertex_ai",
    "mistralai": "mistral_ai",
    "watsonx": "ibm.watsonx.ai",
    "groq": "groq",
    "ollama": "ollama",
    "huggingface": "hugging_face",
    "together": "together_ai",
    "togetherai": "together_ai",
    "replicate": "replicate",
}
"""Spellings of 0.40."""

_ENTITY: Final = "traceloop.entity"
_PROPERTY: Final = "traceloop.association.properties"


def _operation(value: object) -> object | None:
    return _OPERATIONS.get(value) if isinstance(value, str) else None


def _unsaid(known: dict[str, Kind | None]) -> Callable[[object], object | None]:
    """Words of which some say nothing."""
    decode = words({word: kind for word, kind in known.items() if kind})
    silent = {word for word, kind in known.items() if kind is None}
    return lambda value: None if value in silent else decode(value)


def _functions(tree: object) -> object | None:
    return read_tools([_opened_schema(function) for function in members(tree)])


def _opened_schema(function: object) -> object:
    if isinstance(function, dict) and isinstance(function.get("parameters"), str):
        return {**function, "parameters": parse(function["parameters"])}
    return function


def _headers(value: object) -> str | None:
    """Python's word for no headers says nothing."""
    return None if value == "None" else text(value)


_ROWS: Final = (
    row("kind", "gen_ai.operation.name", decode=_operation),
    row("kind", "traceloop.span.kind", decode=_unsaid(_KINDS)),
    row("kind", "llm.request.type", decode=_unsaid(_REQUESTS)),
    row("messages", "gen_ai.prompt.#", decode=read_flat_messages),
    row("choices", "gen_ai.completion.#", decode=read_flat_choices),
    row("tools", "llm.request.functions.#", decode=_functions),
    row("input", f"{_ENTITY}.input", "gen_ai.task.input", decode=structure),
    row("output", f"{_ENTITY}.output", "gen_ai.task.output", decode=structure),
    row("workflow", "traceloop.workflow.name"),
    row("usage.total_tokens", "gen_ai.usage.total_tokens", "llm.usage.total_tokens", decode=count),
    row(
        "usage.reasoning_tokens", "gen_ai.usage.reasoning_tokens", "llm.usage.reasoning_tokens", decode=count
    ),
    row("finish_reasons", "gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", decode=strings),
    row("finish_reasons", "llm.response.finish_reason", "llm.response.stop_reason", decode=strings),
    row("params.top_k", "gen_ai.request.top_k", "llm.top_k", decode=number),
    row(
        "params.frequency_penalty",
        "gen_ai.request.frequency_penalty",
        "llm.frequency_penalty",
        decode=number,
    ),
    row("params.presence_penalty", "gen_ai.request.presence_penalty", "llm.presence_penalty", decode=number),
    row("params.repetition_penalty", "gen_ai.request.repetition_penalty", "llm.request.repetition_penalty"),
    row("params.stop", "gen_ai.request.stop_sequences", "llm.chat.stop_sequences", decode=strings),
    row("params.max_tokens", "gen_ai.request.max_tokens", decode=count),
    row("params.max_tokens", "gen_ai.request.max_completion_tokens", decode=count),
    row("params.n", "gen_ai.request.choice.count", "gen_ai.request.n", decode=count),
    row("params.stream", "gen_ai.is_streaming", "llm.is_streaming", decode=flag),
    row("params.reasoning_effort", "gen_ai.request.reasoning_effort", "llm.request.reasoning_effort"),
    row("params.response_format", "gen_ai.request.structured_output_schema", decode=structure),
    row("tool.name", "gen_ai.tool.name", "tool.name"),
    row("tool.description", "gen_ai.tool.description", "tool.description"),
    row("arguments", "gen_ai.tool.call.arguments", "tool.arguments", decode=structure),
    row("top_k", "rerank.top_n", decode=count),
    row("user_id", f"{_PROPERTY}.user_id", "gen_ai.user", "llm.user"),
    row("session_id", f"{_PROPERTY}.session_id"),
    row(
        "conversation_id", f"{_PROPERTY}.thread_id", f"{_PROPERTY}.conversation_id", "gen_ai.conversation.id"
    ),
    row("metadata", f"{_PROPERTY}.*", decode=structure),
    row("metadata.entity_path", f"{_ENTITY}.path"),
    row("metadata.headers", "gen_ai.headers", "llm.headers", decode=_headers),
)

_MODELS: Final = frozenset(("chat", "embeddings", "rerank"))


def _settle(facts: Facts, span: Span) -> None:
    _settle_names(facts)
    take_run_metadata(facts)
    given, told = facts.input, facts.output
    facts.input, facts.output = _unwrap_input(facts, given), _unwrap_output(told)
    if facts.kind == "workflow":
        tell_task(facts, given, span.attributes.get(f"{_ENTITY}.name"))
    if facts.kind == "tool":
        _settle_tool(facts, span, given, told)
    elif facts.kind == "agent" and not (facts.agent or {}).get("name"):
        _name(facts, span, "agent")
    elif facts.kind == "chat":
        _settle_chat(facts)
    if facts.kind not in _MODELS or facts.messages is None:
        open_payloads(facts)


def _settle_names(facts: Facts) -> None:
    """Puts right what stands where a name should: frameworks are no providers, `unknown` is no model."""
    if facts.provider is not None:
        known = _PROVIDERS.get(facts.provider.lower(), facts.provider)
        facts.provider = None if known.lower() in FRAMEWORKS else known
    for name in ("model", "response_model"):
        if getattr(facts, name) == "unknown":
            setattr(facts, name, None)


_HANDLER: Final = frozenset(("tags", "metadata", "kwargs"))
"""What LangChain's handler records beside the input of a run; all of it stands elsewhere."""
_OWN_TAGS: Final = ("seq:step:", "map:key:", "graph:step:", "condition:", "langsmith:")


def _unwrap_input(facts: Facts, given: object) -> object:
    """The input without what the callback handler or the decorator wrapped it in."""
    if isinstance(given, dict) and "inputs" in given and given.keys() - {"inputs", "input_str"} == _HANDLER:
        _take_tags(facts, given.get("tags"))
        return given["inputs"] if given["inputs"] is not None else parse(given.get("input_str"))
    if isinstance(given, dict) and "query" in given and given.keys() - {"query"} == _HANDLER:
        _take_tags(facts, given.get("tags"))
        return given["query"]
    return unwrap_arguments(given)


def _take_tags(facts: Facts, given: object) -> None:
    """The user's tags, without those that LangChain hangs on every step."""
    if facts.tags is None and isinstance(given, list):
        tags = [tag for tag in given if isinstance(tag, str) and not tag.startswith(_OWN_TAGS)]
        facts.tags = tags or None


def _unwrap_output(told: object) -> object:
    if isinstance(told, dict) and told.keys() in ({"outputs", "kwargs"}, {"output", "kwargs"}):
        return told.get("outputs", told.get("output"))
    return told


def _settle_tool(facts: Facts, span: Span, given: object, told: object) -> None:
    if facts.arguments == given:
        facts.arguments = None
    if facts.result == told:
        facts.result = None
    if isinstance(given, dict) and isinstance(given.get("kwargs"), dict):
        call_id = given["kwargs"].get("tool_call_id")
        if isinstance(call_id, str) and call_id:
            facts.tool = {"call_id": call_id, **(facts.tool or {})}
    if not (facts.tool or {}).get("name"):
        _name(facts, span, "tool")


def _name(facts: Facts, span: Span, group: str) -> None:
    name = span.attributes.get(f"{_ENTITY}.name")
    if isinstance(name, str) and name:
        setattr(facts, group, {**(getattr(facts, group) or {}), "name": name})


def _settle_chat(facts: Facts) -> None:
    """A task that turned out to be a model call (LlamaIndex): its messages say what the task's input does."""
    if facts.messages is not None:
        facts.input = None
    if facts.choices is not None:
        facts.output = None
    if facts.provider == "anthropic" and (facts.params or {}).get("stream") is True:
        facts.counts_starts_twice = True


_CHUNKS: Final = ("llm.content.completion.chunk", "gen_ai.content.completion.chunk")


def _read_chunk(moment: Moment, facts: Facts) -> None:
    """Of the chunks of a stream, each an event that says nothing but when, the first is of use."""
    if moment.attributes or not any(event.get("name") in _CHUNKS for event in facts.events or ()):
        keep_moment(facts, moment)


DIALECT: Final = Dialect(
    name="openllmetry",
    rank=42,
    rows=_ROWS,
    marks=(
        "traceloop.",
        "llm.request.type",
        "llm.is_streaming",
        "gen_ai.is_streaming",
        "gen_ai.prompt.",
        "gen_ai.completion.",
        "gen_ai.task.",
        "llm.request.functions.",
    ),
    moments=dict.fromkeys(_CHUNKS, _read_chunk),
    settle=_settle,
)
