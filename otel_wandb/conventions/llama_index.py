"""LlamaIndex's own OpenTelemetry: spans without attributes, all that happened in their events.

`llama-index-observability-otel`; the events are those of `llama_index.core.instrumentation.events`, their
fields flattened with dots. A span's name is `Class.method`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from otel_wandb.conventions.answers import take_answer
from otel_wandb.conventions.decoding import DecodeError, as_is, count, items, parse, text
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.messages import read_messages
from otel_wandb.conventions.moments import keep_moment
from otel_wandb.conventions.payloads import find_documents, set_params, take_vectors
from otel_wandb.conventions.reprs import read_repr
from otel_wandb.conventions.table import Dialect, Moment, ReadMoment, row
from otel_wandb.conventions.wire_messages import unfold_messages
from otel_wandb.records import Attributes, Span

_SCOPE: Final = "llamaindex.opentelemetry"
_RETRIEVALS: Final = frozenset(("retrieve", "aretrieve", "_retrieve", "_aretrieve"))
_QUERIES: Final = frozenset(("query", "aquery", "_query", "_aquery", "synthesize", "asynthesize"))
_TOOL_CALLS: Final = frozenset(("call", "acall", "__call__"))
_EMBEDDINGS: Final = re.compile(r"_?a?get_(?:\w+_)?embeddings?(?:_batch)?")
_WRITTEN: Final = frozenset(("timestamp", "id_", "span_id", "class_name"))

_Take = Callable[[Facts, Json], None]


def _nest(attributes: Attributes) -> Json:
    """The fields of the event, put together again."""
    told: Json = {}
    for key, value in attributes.items():
        level = told
        *path, leaf = key.split(".")
        for part in path:
            inner = level.get(part)
            if not isinstance(inner, dict):
                inner = level[part] = {} if inner is None else {"": inner}
            level = inner
        level[leaf] = value
    return told


def _reader(kind: Kind | None, take: _Take) -> ReadMoment:
    def read(moment: Moment, facts: Facts) -> None:
        if moment.record is not None:
            keep_moment(facts, moment)
            return
        if kind is not None and facts.kind is None:
            facts.kind = kind
        take(facts, {key: value for key, value in _nest(moment.attributes).items() if key not in _WRITTEN})

    return read


def _start_chat(facts: Facts, told: Json) -> None:
    messages = unfold_messages(parse(told.get("messages")))
    if messages is not None and facts.messages is None:
        facts.messages = read_messages(messages)
    elif isinstance(prompt := told.get("prompt"), str) and facts.messages is None:
        facts.messages = read_messages([prompt])
    _take_model(facts, told)


def _take_model(facts: Facts, told: Json) -> None:
    model = told.get("model_dict")
    if isinstance(model, dict):
        facts.model = facts.model or text(model.get("model") or model.get("model_name"))
        set_params(facts, model, "temperature", "max_tokens")
    elif isinstance(told.get("model_name"), str):
        facts.model = facts.model or text(told["model_name"])


def _end_chat(facts: Facts, told: Json) -> None:
    _start_chat(facts, told)
    response = told.get("response")
    if not isinstance(response, dict):
        return
    raw = response.get("raw")
    if isinstance(raw, dict):
        raw = {key: parse(value) for key, value in raw.items()}
        told_raw = take_answer(facts, raw)
    else:
        told_raw = False
    if told_raw:
        return
    message = response.get("message")
    if isinstance(message, dict):
        take_answer(facts, {key: parse(value) for key, value in message.items()})
    elif isinstance(response.get("text"), str):
        take_answer(facts, response["text"])


def _end_predict(facts: Facts, told: Json) -> None:
    if isinstance(output := told.get("output"), str):
        take_answer(facts, output)


def _start_predict(facts: Facts, told: Json) -> None:
    given = {key: value for key, value in told.items() if key != "tags" and value is not None}
    if given and facts.inputs is None:
        facts.inputs = given


def _end_embedding(facts: Facts, told: Json) -> None:
    chunks = items(told.get("chunks"))
    if chunks and facts.texts is None:
        facts.texts = chunks
    take_vectors(facts, told.get("embeddings"))
    _take_model(facts, told)


def _start_retrieval(facts: Facts, told: Json) -> None:
    query = told.get("str_or_query_bundle", told.get("query"))
    if isinstance(query, dict):
        query = query.get("query_str")
    if isinstance(query, str) and facts.query is None:
        facts.query = query
    try:
        facts.top_k = facts.top_k or count(told.get("top_n"))
    except DecodeError:
        facts.warn("undecodable", "top_n")
    _take_model(facts, told)


def _end_retrieval(facts: Facts, told: Json) -> None:
    _start_retrieval(facts, told)
    found = find_documents(told.get("nodes"))
    if found is not None:
        facts.documents = found


def _start_run(facts: Facts, told: Json) -> None:
    for key in ("query", "query_str", "user_msg"):
        query = told.get(key)
        query = query.get("query_str") if isinstance(query, dict) else query
        if isinstance(query, str) and facts.input is None:
            facts.input = query


def _end_run(facts: Facts, told: Json) -> None:
    response = told.get("response")
    if isinstance(response, dict):
        response = response.get("response", response)
    if response is not None:
        facts.output = response
    _start_run(facts, told)


def _call_tool(facts: Facts, told: Json) -> None:
    """The agent's word that it will call a tool, on the span that does so."""
    tool = told.get("tool")
    name = tool.get("name") if isinstance(tool, dict) else None
    call: Json = {"name": name, "arguments": parse(told.get("arguments"))}
    facts.outputs = {**(facts.outputs or {}), "tool_call": call}


def _end_step(facts: Facts, told: Json) -> None:
    """What a step of a workflow gave, as a repr, often cut off."""
    if facts.output is None and isinstance(output := told.get("output"), str):
        facts.output = output


def _pass(facts: Facts, told: Json) -> None:
    """Chunks of a stream: its end tells the whole."""


_MOMENTS: Final[dict[str, ReadMoment]] = {
    "LLMChatStartEvent": _reader("chat", _start_chat),
    "LLMChatInProgressEvent": _reader("chat", _pass),
    "LLMChatEndEvent": _reader("chat", _end_chat),
    "LLMCompletionStartEvent": _reader("chat", _start_chat),
    "LLMCompletionInProgressEvent": _reader("chat", _pass),
    "LLMCompletionEndEvent": _reader("chat", _end_chat),
    "LLMPredictStartEvent": _reader("chat", _start_predict),
    "LLMPredictEndEvent": _reader("chat", _end_predict),
    "LLMStructuredPredictStartEvent": _reader("chat", _start_predict),
    "EmbeddingStartEvent": _reader("embeddings", _take_model),
    "EmbeddingEndEvent": _reader("embeddings", _end_embedding),
    "RetrievalStartEvent": _reader("retrieval", _start_retrieval),
    "RetrievalEndEvent": _reader("retrieval", _end_retrieval),
    "ReRankStartEvent": _reader("rerank", _start_retrieval),
    "ReRankEndEvent": _reader("rerank", _end_retrieval),
    "QueryStartEvent": _reader("workflow", _start_run),
    "QueryEndEvent": _reader("workflow", _end_run),
    "SynthesizeStartEvent": _reader("workflow", _start_run),
    "SynthesizeEndEvent": _reader("workflow", _end_run),
    "GetResponseStartEvent": _reader("workflow", _start_run),
    "GetResponseEndEvent": _reader("workflow", _pass),
    "AgentChatWithStepStartEvent": _reader("agent", _start_run),
    "AgentChatWithStepEndEvent": _reader("agent", _end_run),
    "step.output": _reader("workflow", _end_step),
    "workflow.output": _reader(None, _end_step),
    "AgentToolCallEvent": _reader(None, _call_tool),
}


def _settle(facts: Facts, span: Span) -> None:
    owner, _, method = span.name.rpartition(".")
    if facts.kind is None:
        if method in _RETRIEVALS:
            facts.kind = "retrieval"
        elif method in _TOOL_CALLS and owner.endswith("Tool"):
            facts.kind = "tool"
        elif _EMBEDDINGS.fullmatch(method):
            facts.kind = "embeddings"
        elif method == "run" and owner.endswith("Agent"):
            facts.kind = "agent"
        elif method in _QUERIES or method == "run":
            facts.kind = "workflow"
    if facts.kind == "tool":
        _take_call(facts, span)
    if facts.dialect is None and span.name:
        facts.dialect = DIALECT.name


def _take_call(facts: Facts, span: Span) -> None:
    """The call that the workflow passes to the tool, on the tool's span as a repr."""
    summary = span.attributes.get("llamaindex.step.input_summary")
    if not isinstance(summary, str) or not summary.startswith("ToolCall("):
        return
    try:
        call = read_repr(summary)
    except DecodeError:
        return
    if isinstance(call, dict):
        told = {"name": call.get("tool_name"), "call_id": call.get("tool_id")}
        facts.tool = {**{name: v for name, v in told.items() if isinstance(v, str)}, **(facts.tool or {})}
        facts.arguments = call.get("tool_kwargs") if facts.arguments is None else facts.arguments


DIALECT: Final = Dialect(
    name="llama-index",
    rank=30,
    rows=(row("metadata", "llamaindex.*", decode=as_is),),
    marks=("llamaindex.",),
    scopes=(_SCOPE,),
    moments=_MOMENTS,
    settle=_settle,
)
