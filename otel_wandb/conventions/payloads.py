"""Whole calls of model APIs as one value: the keyword arguments that went in, the object that came out.

Tracers that know no convention for messages (Langfuse, LangSmith, MLflow, LiteLLM) record a call's arguments
and its result. `open_payloads` takes out of them what the contract of the span's kind names, fills only what
is still missing, and leaves the rest where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otel_wandb.conventions.answers import take_answer
from otel_wandb.conventions.decoding import DecodeError, count, number, parse
from otel_wandb.conventions.documents import read_documents
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.messages import read_messages, read_system
from otel_wandb.conventions.tools import read_tools
from otel_wandb.conventions.wire_messages import unfold_messages

_PARAMS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "seed": "seed",
    "stop": "stop",
    "stop_sequences": "stop",
    "n": "n",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "stream": "stream",
}
_NUMBERS: Final = frozenset(_PARAMS.values()) - {"stop", "stream"}
_MESSAGES: Final = ("messages", "input", "prompt", "prompts", "contents")
_SYSTEMS: Final = ("system", "instructions")
_QUERIES: Final = (
    *("query", "question", "input", "text", "search_query", "query_str", "str_or_query_bundle"),
    "query_bundle",
)
_TOP_KS: Final = ("top_k", "k", "n_results", "limit")
_FOUND: Final = ("documents", "nodes", "output", "outputs", "result", "results", "matches")


def open_payloads(facts: Facts) -> None:
    """Moves what the span's kind has names for out of `input` and `output`; all else stays there."""
    if facts.input is not None:
        facts.input = unwrap_arguments(facts.input)
    opener = _OPENERS.get(facts.kind) if facts.kind else None
    if opener is not None:
        opener(facts)


def unwrap_arguments(value: object) -> object:
    """The arguments of a call that were recorded as `{"args", "kwargs"}`: by name, or the only one."""
    opened = parse(value)
    if not isinstance(opened, dict) or opened.keys() != {"args", "kwargs"}:
        return opened
    args, kwargs = opened["args"], opened["kwargs"]
    if not args:
        return kwargs or None
    if kwargs or not isinstance(args, list):
        return opened
    return args[0] if len(args) == 1 else args


def set_params(facts: Facts, given: Json, *names: str) -> None:
    """Adds parameters of the request that the facts lack; only numbers, flags and words count as such."""
    params = facts.params or {}
    for key in names or _PARAMS:
        value = given.get(key)
        if value is not None and value != "Infinity" and isinstance(value, (int, float, str, list)):
            name = _PARAMS.get(key, key)
            params.setdefault(name, _number(value) if name in _NUMBERS else value)
    facts.params = params or None


def _number(value: object) -> object:
    """The number that was sent as a string; anything else as it is."""
    try:
        return number(value) if isinstance(value, str) else value
    except DecodeError:
        return value


def take_request(facts: Facts, given: object) -> object:
    """Fills messages, tools and parameters from the arguments of a model call; returns what is left."""
    opened = parse(given)
    if isinstance(opened, str):
        if facts.messages is not None:
            return opened
        if opened[:2] in ("{'", '{"', "[{"):
            return {"request": opened}  # a structure that was cut off, or a repr: nobody said that
        facts.messages = read_messages([opened])
        return None
    messages = unfold_messages(opened)
    if messages is not None:
        facts.messages = facts.messages or read_messages(messages)
        return None
    if not isinstance(opened, dict):
        return opened
    rest = dict(opened)
    _take_history(facts, rest)
    for key in ("tools", "functions"):
        if isinstance(rest.get(key), list):
            facts.tools = facts.tools or read_tools(rest.pop(key))
    if isinstance(rest.get("model"), str):
        facts.model = facts.model or str(rest["model"])
        del rest["model"]
    set_params(facts, rest)
    return {key: value for key, value in rest.items() if key not in _PARAMS and value is not None} or None


def _take_history(facts: Facts, rest: Json) -> None:
    for key in _MESSAGES:
        told = parse(rest.get(key))
        if isinstance(told, list) and all(isinstance(item, str) for item in told) and key == "prompts":
            messages: list[object] | None = list(told)
        else:
            messages = [told] if isinstance(told, str) else unfold_messages(told)
        if messages:
            facts.messages = facts.messages or read_messages(messages)
            del rest[key]
            break
    for key in _SYSTEMS:
        if isinstance(rest.get(key), (str, list)):
            facts.system = facts.system or read_system(rest.pop(key))


def _open_chat(facts: Facts) -> None:
    if facts.input is not None:
        left = take_request(facts, facts.input)
        facts.input = None
        if isinstance(left, dict):
            facts.inputs = {**left, **(facts.inputs or {})}
        else:
            facts.input = left
    if facts.output is not None and take_answer(facts, facts.output):
        facts.output = None


def _open_embeddings(facts: Facts) -> None:
    given = facts.input
    if isinstance(given, dict):
        rest = dict(given)
        if isinstance(rest.get("model"), str):
            facts.model = facts.model or str(rest.pop("model"))
        for key in ("input", "inputs", "texts", "text", "values", "query", "queries"):
            if isinstance(rest.get(key), (str, list)):
                given = rest.pop(key)
                facts.inputs = {**rest, **(facts.inputs or {})} or None
                break
    if facts.texts is None and isinstance(given, (str, list)):
        facts.texts, facts.input = given if isinstance(given, list) else [given], None
    if facts.output is not None:
        take_vectors(facts, facts.output)


def take_vectors(facts: Facts, told: object) -> None:
    """Number and size of the vectors in an answer, which itself is cut: vectors are of no use to a reader."""
    opened = parse(told)
    if isinstance(opened, dict):
        take_answer(facts, {key: opened[key] for key in ("id", "model", "usage") if key in opened})
        opened = next((opened[k] for k in ("data", "embeddings", "embedding") if k in opened), None)
    vectors = [item.get("embedding") if isinstance(item, dict) else item for item in opened or ()]  # type: ignore[attr-defined]  # a list, or not read
    if vectors and all(isinstance(x, (int, float)) for x in vectors):
        vectors = [vectors]
    if not vectors or not all(isinstance(vector, (list, str)) for vector in vectors):
        return
    facts.embedding_count = facts.embedding_count or len(vectors)
    if isinstance(vectors[0], list):
        facts.dimensions = facts.dimensions or len(vectors[0])
    facts.output = None


def _open_retrieval(facts: Facts) -> None:
    given = facts.input
    if isinstance(given, dict):
        rest = dict(given)
        for key in _QUERIES:
            told = parse(rest.get(key))
            told = told.get("query_str") if isinstance(told, dict) else told
            if isinstance(told, str):
                facts.query = facts.query or told
                del rest[key]
                break
        for key in _TOP_KS:
            if type(rest.get(key)) is int:
                facts.top_k = facts.top_k or count(rest.pop(key))
        if facts.query is not None:
            facts.input, facts.inputs = None, {**rest, **(facts.inputs or {})} or None
    elif isinstance(given, str) and facts.query is None:
        facts.query, facts.input = given, None
    if facts.documents is None and facts.output is not None:
        facts.documents = find_documents(facts.output)
        if facts.documents is not None:
            facts.output = None


def find_documents(told: object) -> list[Json] | None:
    """The documents of a list, or of an object that holds one under a usual name."""
    opened = parse(told)
    if isinstance(opened, dict):
        opened = next((parse(opened[key]) for key in _FOUND if opened.get(key)), None)
    if not isinstance(opened, list) or not opened:
        return None
    try:
        return read_documents([_plain_document(item) for item in opened])
    except DecodeError:
        return None


_WRAPPING: Final = frozenset(
    (
        "lc",
        "type",
        "id_",
        "class_name",
        "embedding",
        "excluded_embed_metadata_keys",
        "excluded_llm_metadata_keys",
        "metadata_template",
        "metadata_separator",
        "metadata_seperator",
        "text_template",
        "mimetype",
        "start_char_idx",
        "end_char_idx",
        "hash",
    )
)
"""What belongs to the class of a document and not to what it says."""


def _plain_document(item: object) -> object:
    """Documents of LangChain (also as constructors) and nodes of LlamaIndex, without their wrapping."""
    told = parse(item)
    if not isinstance(told, dict):
        return item
    score = told.get("score")
    for key in ("kwargs", "node", "document"):
        if isinstance(inner := told.get(key), dict):
            told = inner
    plain = {key: value for key, value in told.items() if key not in _WRAPPING and value is not None}
    for key, value in (("id", told.get("id_")), ("score", score)):
        if value is not None:
            plain.setdefault(key, value)
    return plain


def _open_tool(facts: Facts) -> None:
    given = facts.input
    if isinstance(given, dict) and given.keys() == {"input"}:
        inner = parse(given["input"])  # LangChain puts what the model said into a string
        given = inner if isinstance(inner, (dict, str)) else given
    if facts.arguments is None and given is not None:
        facts.arguments, facts.input = given, None
    if facts.result is None and facts.output is not None:
        facts.result, facts.output = _result(facts, parse(facts.output)), None


def _result(facts: Facts, told: object) -> object:
    if isinstance(told, dict) and told.keys() == {"output"}:
        told = parse(told["output"])
    messages = unfold_messages(told) or ()
    message = messages[0] if len(messages) == 1 else None
    if not isinstance(message, dict) or message.get("role") != "tool" or message.get("content") is None:
        return told
    if isinstance(call_id := message.get("tool_call_id"), str):
        facts.tool = {"call_id": call_id, **(facts.tool or {})}
    return message["content"]


_OPENERS: Final[dict[Kind, Callable[[Facts], None]]] = {
    "chat": _open_chat,
    "embeddings": _open_embeddings,
    "retrieval": _open_retrieval,
    "rerank": _open_retrieval,
    "tool": _open_tool,
}
