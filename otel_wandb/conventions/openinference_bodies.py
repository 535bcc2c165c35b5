"""What `input.value` and `output.value` of OpenInference add to the keys that name each fact.

They hold the whole request and answer in the form of the framework: JSON of its objects, or no more than
their Python reprs. What only repeats the named facts is given up; all else stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from otel_wandb.conventions.answers import take_answer
from otel_wandb.conventions.decoding import parse
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.indexed_messages import join_choices
from otel_wandb.conventions.langchain import take_run_metadata
from otel_wandb.conventions.payloads import find_documents, open_payloads, set_params
from otel_wandb.records import Span

_NO_CALLS: Final = ("._prepare_chat_with_tools",)
"""LlamaIndex marks these as model calls, though they only prepare one."""
_REQUEST: Final = frozenset(("messages", "input", "prompts", "contents", "system", "instructions"))
_REPEATS: Final = frozenset(("_type", "model_name", "extra_headers", "timeout", "messages", "kwargs"))
_TEXTS: Final = ("query", "text", "texts", "queries", "documents", "input")


def settle(facts: Facts, span: Span) -> None:
    """Completes the facts of a span by its kind."""
    if facts.kind is None and facts.choices and facts.response_model:
        facts.kind = "chat"
    if facts.kind == "chat" and span.name.endswith(_NO_CALLS):
        facts.kind = "other"
    take_run_metadata(facts)
    settle_kind = _SETTLE.get(facts.kind) if facts.kind else None
    if settle_kind is not None:
        settle_kind(facts, span)
    else:
        _settle_run(facts, span)
    if facts.inputs:
        facts.inputs = {name: value for name, value in facts.inputs.items() if value is not None} or None


def _settle_run(facts: Facts, span: Span) -> None:
    _settle_models(facts, span, Facts())
    if facts.input is not None:
        facts.messages = None  # frameworks repeat the input of a run as messages
    if facts.output is not None:
        facts.choices = None


def _settle_chat(facts: Facts, span: Span) -> None:
    answer = Facts()
    if facts.output is not None:
        _read_answer(facts, answer)
    _settle_models(facts, span, answer)
    facts.finish_reasons = facts.finish_reasons or answer.finish_reasons
    facts.response_id = facts.response_id or answer.response_id
    _take_usage(facts, answer)
    if facts.input is not None:
        _read_request(facts)


def _take_usage(facts: Facts, answer: Facts) -> None:
    known = facts.usage or {}
    if answer.usage and all(answer.usage.get(name, tokens) == tokens for name, tokens in known.items()):
        facts.usage = {**answer.usage, **known}


def _read_request(facts: Facts) -> None:
    """Takes what is missing from the request, and gives up what is not."""
    given = facts.input
    asked = facts.messages is not None
    if isinstance(given, dict) and isinstance(given.get("kwargs"), dict):
        set_params(facts, given["kwargs"], "tool_choice", "parallel_tool_calls")
    if asked and isinstance(given, str):
        facts.input = None
    elif asked or (isinstance(given, dict) and _holds_messages(given)) or isinstance(given, list):
        open_payloads(facts)
    if asked and facts.inputs:
        told = {name: value for name, value in facts.inputs.items() if name not in _REPEATS}
        facts.inputs = told or None


def _holds_messages(given: Json) -> bool:
    """Whether the messages are more than reprs of some template."""
    return any(isinstance(parse(given.get(name)), list) for name in _REQUEST)


def _read_answer(facts: Facts, answer: Facts) -> None:
    """Reads the whole answer for what no other key says, and gives it up if it only repeats the rest."""
    output = facts.output
    told = take_answer(answer, output)
    if isinstance(output, dict) and "replies" in output:
        told = _read_replies(output, facts, answer) or told
    if facts.choices is None:
        facts.choices = answer.choices
    elif len(facts.choices) > 1 and _is_one_response(output):
        facts.choices = join_choices(facts.choices)
    if facts.choices is not None and (told or isinstance(output, str)):
        facts.output = None


def _is_one_response(output: object) -> bool:
    """The Responses API answers with several items where chat completions have several choices."""
    return isinstance(output, dict) and isinstance(output.get("output"), list) and "choices" not in output


_META: Final = re.compile(r"\b_?meta=(?=\{)")
_CALL: Final = re.compile(r"\bToolCall\(tool_name='([^']*)', arguments=.*?, id='([^']*)'")


def _read_replies(output: Json, facts: Facts, answer: Facts) -> bool:
    """Haystack: `{"replies": [message], "meta": […]}`, where a message may be no more than its repr."""
    replies = output.get("replies")
    for told in (replies, output.get("meta")):
        first = told[0] if isinstance(told, list) and told else None
        meta: object = first
        if isinstance(first, dict) and ("content" in first or "_content" in first):
            meta = first.get("meta") or first.get("_meta")
        elif isinstance(first, str) and (found := _META.search(first)):
            meta = parse(first[found.end() :].rstrip().removesuffix(")"))
        _take_meta(meta, answer)
    if isinstance(replies, list):
        _take_call_ids(facts, _CALL.findall(" ".join(reply for reply in replies if isinstance(reply, str))))
    return facts.choices is not None


def _take_meta(meta: object, answer: Facts) -> None:
    if not isinstance(meta, dict):
        return
    take_answer(answer, {key: meta[key] for key in ("model", "usage", "id") if key in meta})
    reason = meta.get("finish_reason") or meta.get("stop_reason")
    if isinstance(reason, str) and answer.finish_reasons is None:
        answer.finish_reasons = [reason]


def _take_call_ids(facts: Facts, found: list[tuple[str, str]]) -> None:
    """The ids of tool calls, where the calls are told without them and in the same order."""
    calls = list(_calls(facts))
    names = [call["function"].get("name") for call in calls if isinstance(call.get("function"), dict)]  # type: ignore[attr-defined]  # a dictionary, as was just seen
    if names == [name for name, _ in found]:
        for call, (_, call_id) in zip(calls, found, strict=True):
            call.setdefault("id", call_id)


def _calls(facts: Facts) -> Iterable[Json]:
    for choice in facts.choices or ():
        message = choice.get("message")
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        yield from (call for call in calls or () if isinstance(call, dict))


def _settle_models(facts: Facts, span: Span, answer: Facts) -> None:
    """Tells the model that was asked for from the one that answered, of which most producers name one."""
    named = facts.response_model
    if "llm.response.model_name" in span.attributes:
        return
    if named is not None and answer.response_model != named:
        if facts.model is None:
            facts.model, facts.response_model = named, answer.response_model
        elif facts.model == named:
            facts.response_model = answer.response_model  # it repeats the request
    facts.response_model = facts.response_model or answer.response_model


def _settle_embeddings(facts: Facts, span: Span) -> None:
    answer, named = Facts(), facts.response_model
    if isinstance(facts.output, dict):
        _take_meta(facts.output, answer)
        _take_meta(facts.output.get("meta"), answer)  # Haystack
    _settle_models(facts, span, answer)
    facts.model = facts.model or named  # these models have no aliases: it answers under the name it has
    _take_usage(facts, answer)
    if facts.texts is not None:
        facts.input = None  # the request: the texts and the model, both of which are known
    elif isinstance(facts.input, dict):
        given = next((facts.input[name] for name in _TEXTS if facts.input.get(name)), None)
        if isinstance(given, (str, list)):
            facts.input = given
    if facts.embedding_count is None and facts.texts is not None and facts.dimensions is not None:
        facts.embedding_count = len(facts.texts)
    open_payloads(facts)


_NODE: Final = re.compile(r"<NodeWithScore\(node=\w+\(id_=([^)]+)\), score=([^)]+)\)>")


def _settle_retrieval(facts: Facts, span: Span) -> None:
    _settle_models(facts, span, Facts())
    if isinstance(facts.output, list) and all(isinstance(item, str) for item in facts.output):
        facts.output = [_node(str(item)) for item in facts.output]
    if facts.documents is not None and facts.output is not None:
        found = find_documents(facts.output) or []
        if len(found) == len(facts.documents):
            facts.documents = [_completed(*pair) for pair in zip(facts.documents, found, strict=True)]
        facts.output = None  # the same documents in the framework's form
    if facts.query is not None:
        facts.input = None
    elif isinstance(facts.input, dict) and facts.input.keys() == {"query_bundle"}:
        facts.input = facts.input["query_bundle"]
    open_payloads(facts)


def _node(given: str) -> object:
    """A node of LlamaIndex of which there is only the repr: its id and score, and no content."""
    found = _NODE.fullmatch(given)
    return {"id": found[1], "score": _score(found[2])} if found else given


def _score(given: str) -> object:
    try:
        return float(given)
    except ValueError:
        return None


def _completed(document: Json, other: Json) -> Json:
    """The document with the id and score that the same one has in the framework's form."""
    if document.get("content") != other.get("content"):
        return document
    more: Json = {name: other[name] for name in ("id", "score") if name in other}
    return {**more, **document}


def _settle_tool(facts: Facts, span: Span) -> None:
    if facts.input is not None:
        facts.messages = None
    if isinstance(facts.input, dict) and facts.input.keys() == {"kwargs"}:
        facts.input = facts.input["kwargs"]
    output = facts.output
    if isinstance(output, dict) and "raw_output" in output and "tool_name" in output:  # LlamaIndex
        facts.output = output["raw_output"] if not output.get("is_error") else output
    if facts.arguments is not None:
        facts.input = None if facts.input == facts.arguments else facts.input
    open_payloads(facts)


_SETTLE: Final[dict[Kind, Callable[[Facts, Span], None]]] = {
    "chat": _settle_chat,
    "embeddings": _settle_embeddings,
    "retrieval": _settle_retrieval,
    "rerank": _settle_retrieval,
    "tool": _settle_tool,
}
