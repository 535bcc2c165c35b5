"""Inputs and output of a call, as the contract has them for each kind.

Everything that the span says as content finds a place: what the contract names stands under its name, what a
span of this kind should not have stands beside it under the name of the fact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otel_wandb.conventions import Facts
from otel_wandb.conventions.decoding import DecodeError
from otel_wandb.conventions.documents import read_documents
from otel_wandb.conventions.facts import Json, Kind
from otel_wandb.conventions.messages import finish_reason, read_choices, read_messages

_RUNS: Final[frozenset[Kind]] = frozenset(("agent", "workflow"))


def shape_body(facts: Facts, kind: Kind) -> tuple[Json, object | None]:
    """(inputs, output); the output is `None` where the span tells of none."""
    prepare = _PREPARE.get(kind)
    if prepare is not None:
        prepare(facts)
    inputs: Json = {}
    output: Json = {}
    if kind in _RUNS:
        _add_run(facts, inputs, output)
    else:
        if facts.model is not None:
            inputs["model"] = facts.model
        if facts.messages is not None or facts.system is not None:
            inputs["messages"] = _with_system(facts)
        if facts.choices is not None or kind == "chat":
            _add_completion(output, facts)
    _add_inputs(facts, inputs)
    _add_outputs(facts, output)
    return inputs, output or None


def _add_inputs(facts: Facts, inputs: Json) -> None:
    if facts.tools is not None:
        inputs["tools"] = facts.tools
    if facts.query is not None:
        inputs["query"] = facts.query
    if facts.top_k is not None:
        inputs["top_k"] = facts.top_k
    if facts.arguments is not None:
        inputs["arguments"] = facts.arguments
    if facts.texts is not None:
        inputs["input"] = facts.texts
    if facts.input is not None:
        inputs["input"] = facts.input
    if facts.inputs:
        inputs |= {name: value for name, value in facts.inputs.items() if name not in inputs}
    if facts.params:
        inputs |= {name: value for name, value in facts.params.items() if name not in inputs}


def _add_outputs(facts: Facts, output: Json) -> None:
    if facts.documents is not None:
        output["documents"] = facts.documents
    if facts.embedding_count is not None:
        output["count"] = facts.embedding_count
    if facts.dimensions is not None:
        output["dimensions"] = facts.dimensions
    if facts.result is not None:
        output["result"] = facts.result
    if facts.output is not None:
        output["output"] = facts.output
    if facts.outputs:
        output |= {name: value for name, value in facts.outputs.items() if name not in output}


def _add_run(facts: Facts, inputs: Json, output: Json) -> None:
    """The messages of a run are what went in and what came out."""
    if facts.messages is not None:
        messages = _with_system(facts)
        if facts.input is None:
            inputs["input"] = _lone_text(messages, "user")
        else:
            inputs["messages"] = messages
    elif facts.system is not None:
        inputs["system"] = _lone_text(facts.system, "system")
    if facts.choices is not None:
        messages = [_message_of(choice) for choice in facts.choices]
        output["output" if facts.output is None else "messages"] = _lone_text(messages, "assistant")


def _add_completion(output: Json, facts: Facts) -> None:
    if facts.response_id is not None:
        output["id"] = facts.response_id
    if facts.response_model is not None:
        output["model"] = facts.response_model
    if facts.choices is not None:
        output["choices"] = _with_reasons(facts.choices, facts.finish_reasons or ())


def _with_system(facts: Facts) -> list[Json]:
    """The history, headed by the system instructions; some producers send these in both places."""
    messages, system = facts.messages or [], facts.system
    if not system or (messages and messages[0].get("content") == system[0].get("content")):
        return messages
    return [*system, *messages]


def _lone_text(messages: list[Json], role: str) -> object:
    """The text, where the messages are no more than that."""
    lone = messages[0] if len(messages) == 1 else {}
    return lone["content"] if len(lone) == 2 and lone.get("role") == role and "content" in lone else messages


def _message_of(choice: Json) -> Json:
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _with_reasons(choices: list[Json], reasons: list[str] | tuple[()]) -> list[Json]:
    """The choices with the reasons that the response gave for all of them."""
    for i, reason in enumerate(reasons[: len(choices)]):
        choice, word = choices[i], finish_reason(reason)
        if word and choice.get("finish_reason") != word:
            choices[i] = {"index": choice["index"], "finish_reason": word, "message": choice["message"]}
    return choices


def _prepare_chat(facts: Facts) -> None:
    """A model call of which only a plain input and output are known: what was asked, what was answered."""
    if facts.messages is None and facts.input is not None:
        facts.messages, facts.input = _read(read_messages, facts.input)
    if facts.choices is None and facts.output is not None:
        facts.choices, facts.output = _read(read_choices, facts.output)


def _read(read: Callable[[object], list[Json] | None], value: object) -> tuple[list[Json] | None, object]:
    if isinstance(value, str):
        value = [value]
    elif not (isinstance(value, list) and value and all(isinstance(m, dict) and "role" in m for m in value)):
        return None, value
    return read(value), None


def _prepare_tool(facts: Facts) -> None:
    if facts.arguments is None:
        facts.arguments, facts.input = facts.input, None
    if facts.result is None:
        facts.result, facts.output = facts.output, None


def _prepare_retrieval(facts: Facts) -> None:
    if facts.query is None and isinstance(facts.input, str):
        facts.query, facts.input = facts.input, None
    if facts.documents is None and facts.output is not None:
        found = facts.output.get("documents") if isinstance(facts.output, dict) else facts.output
        try:
            facts.documents = read_documents(found) if isinstance(found, list) else None
        except DecodeError:
            return
        if facts.documents is not None:
            facts.output = None


def _prepare_embeddings(facts: Facts) -> None:
    if facts.texts is None:
        if isinstance(facts.input, (str, list)):
            facts.texts, facts.input = facts.input if isinstance(facts.input, list) else [facts.input], None
        elif facts.messages is not None:
            facts.texts, facts.messages = [message.get("content") for message in facts.messages], None
    if facts.embedding_count is None and facts.texts is not None and facts.dimensions is not None:
        facts.embedding_count = len(facts.texts)


_PREPARE: Final[dict[Kind, Callable[[Facts], None]]] = {
    "chat": _prepare_chat,
    "tool": _prepare_tool,
    "retrieval": _prepare_retrieval,
    "rerank": _prepare_retrieval,
    "embeddings": _prepare_embeddings,
}
"""Plain inputs and outputs of these kinds are what their contract names."""
