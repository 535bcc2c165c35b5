"""Haystack's own tracer: components by their class, with inputs and outputs as JSON where content is traced.

https://docs.haystack.deepset.ai/docs/tracing. The class tells what a component does: `OpenAIChatGenerator`,
`InMemoryEmbeddingRetriever` and so on are named by Haystack's rule.
"""

from __future__ import annotations

from typing import Final

import msgspec

from otel_wandb.conventions.answers import take_usage
from otel_wandb.conventions.decoding import DecodeError, items, parse, structure, text
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.messages import read_choices
from otel_wandb.conventions.payloads import open_payloads
from otel_wandb.conventions.reprs import read_repr
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.conventions.tools import read_tools
from otel_wandb.records import Span

_CLASSES: Final[tuple[tuple[str, Kind], ...]] = (
    ("Generator", "chat"),
    ("Retriever", "retrieval"),
    ("Embedder", "embeddings"),
    ("Ranker", "rerank"),
    ("ToolInvoker", "tool"),
    ("Agent", "agent"),
    ("Evaluator", "evaluation"),
)
_SPANS: Final[dict[str, Kind]] = {
    "haystack.pipeline.run": "workflow",
    "haystack.async_pipeline.run": "workflow",
    "haystack.agent.run": "agent",
    "haystack.agent.step": "workflow",
    "haystack.agent.step.llm": "chat",
    "haystack.agent.step.tool": "tool",
    "haystack.chat_generator.run": "chat",
    "haystack.component.run": "workflow",
}
_STEP: Final = "haystack.agent.step."


def _kind(value: object) -> Kind | None:
    name = text(value) or ""
    return next((kind for suffix, kind in _CLASSES if name.endswith(suffix)), None)


def _opened(value: object) -> object | None:
    """JSON, or the repr that the tracer falls back to where there is none (a function among the tools)."""
    opened = structure(value)
    if isinstance(opened, str) and opened[:1] in "{[":
        try:
            return read_repr(opened)
        except DecodeError:
            return opened
    return opened


_ROWS: Final = (
    row("kind", "haystack.component.type", decode=_kind),
    row("operation", "haystack.component.type"),
    row(
        "input",
        "haystack.component.input",
        "haystack.pipeline.input_data",
        f"{_STEP}llm.input",
        f"{_STEP}tool.input",
        "haystack.agent.input",
        decode=_opened,
    ),
    row(
        "output",
        "haystack.component.output",
        "haystack.pipeline.output_data",
        f"{_STEP}llm.output",
        f"{_STEP}tool.output",
        "haystack.agent.output",
        decode=_opened,
    ),
    row("tool.name", "haystack.tool.name"),
    row("tool.description", "haystack.tool.description"),
    row("tool.call_id", "haystack.tool.call.id"),
    row("metadata.component", "haystack.component.name"),
)


def _settle(facts: Facts, span: Span) -> None:
    if facts.kind is None:
        facts.kind = _SPANS.get(span.name)
    if facts.kind == "chat":
        _open_generator(facts)
    elif facts.kind == "embeddings" and isinstance(facts.input, dict):
        documents = items(facts.input.get("documents")) if "documents" in facts.input else None
        if documents:
            contents = [document.get("content") for document in documents if isinstance(document, dict)]
            facts.texts, facts.input = contents, None
    _take_meta(facts, facts.output.get("meta") if isinstance(facts.output, dict) else None)
    open_payloads(facts)


def _open_generator(facts: Facts) -> None:
    given, made = facts.input, facts.output
    if isinstance(given, dict):
        messages = given.get("messages")
        kept = {key: value for key, value in given.items() if value is not None and key != "tools"}
        facts.tools = facts.tools or _read_tools(given.get("tools"))
        if isinstance(messages, list):
            kept["messages"] = [_plain_message(message) for message in messages]
        options = kept.pop("generation_kwargs", None)
        facts.input = {**kept, **(options if isinstance(options, dict) else {})}
    replies = made.get("replies") if isinstance(made, dict) else None
    if not isinstance(made, dict) or not isinstance(replies, list):
        return
    plain = [_plain_message(parse(reply)) for reply in replies]
    for reply, message in zip(replies, plain, strict=True):
        meta = reply.get("meta", reply.get("_meta")) if isinstance(reply, dict) else None
        _take_meta(facts, meta)
        if isinstance(meta, dict) and isinstance(message, dict) and meta.get("finish_reason"):
            message["finish_reason"] = meta["finish_reason"]
    metas = made.get("meta")
    for meta in metas if isinstance(metas, list) else ():
        _take_meta(facts, meta)
    facts.choices = facts.choices or read_choices(
        [{"content": reply} if isinstance(reply, str) else reply for reply in plain]
    )
    rest = {key: value for key, value in made.items() if key not in ("replies", "meta") and value}
    facts.output = rest or None


def _take_meta(facts: Facts, meta: object) -> None:
    if not isinstance(meta, dict):
        return
    facts.response_model = facts.response_model or text(meta.get("model"))
    if facts.finish_reasons is None and isinstance(reason := meta.get("finish_reason"), str) and reason:
        facts.finish_reasons = [reason]
    if isinstance(meta.get("usage"), dict) and facts.usage is None:
        take_usage(facts, meta["usage"])


def _plain_message(message: object) -> object:
    """`ChatMessage.to_dict`, of today and with the underscores of before."""
    if not isinstance(message, dict):
        return message
    role = message.get("role", message.get("_role"))
    content = message.get("content", message.get("_content"))
    plain: Json = {"role": role, "content": content}
    if name := message.get("name", message.get("_name")):
        plain["name"] = name
    if isinstance(content, list):
        plain["content"] = [_plain_part(part) for part in content]
    return plain


def _plain_part(part: object) -> object:
    if not isinstance(part, dict):
        return part
    name, told = next(iter(part.items())) if len(part) == 1 else (_name_of(part), part)
    if name == "tool_call" and isinstance(told, dict):
        call_name, arguments = told.get("tool_name"), told.get("arguments")
        return {"type": "tool_call", "id": told.get("id"), "name": call_name, "arguments": arguments}
    if name == "tool_call_result" and isinstance(told, dict):
        origin = told.get("origin")
        call_id = origin.get("id") if isinstance(origin, dict) else None
        return {"type": "tool_call_response", "id": call_id, "response": told.get("result")}
    if name == "reasoning" and isinstance(told, dict):
        return {"type": "reasoning", "content": told.get("reasoning_text")}
    return part


def _name_of(part: Json) -> str:
    """What a part is, whose class was lost in a repr."""
    if "tool_name" in part:
        return "tool_call"
    if "origin" in part:
        return "tool_call_result"
    return "reasoning" if "reasoning_text" in part else ""


def _read_tools(given: object) -> msgspec.Raw | None:
    """Tools, as they are or in the envelope of their serialisation."""
    listed = given if isinstance(given, list) else []
    tools = [tool.get("data", tool) for tool in listed if isinstance(tool, dict)]
    known = ("name", "description", "parameters")
    told = [{key: tool[key] for key in known if key in tool} for tool in tools if isinstance(tool, dict)]
    return read_tools(told) if told else None


DIALECT: Final = Dialect(
    name="haystack", rank=29, rows=_ROWS, marks=("haystack.",), scopes=("haystack",), settle=_settle
)
