"""What a model answered, in the shapes of the model APIs and of the frameworks around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otel_wandb.conventions.decoding import DecodeError, parse
from otel_wandb.conventions.facts import Facts, Json
from otel_wandb.conventions.messages import finish_reason, read_choices
from otel_wandb.conventions.wire_messages import is_message, join_items, plain_message
from otel_wandb.conventions.wire_usage import read_usage

_MODELS: Final = ("model", "model_name", "modelVersion", "model_version", "ls_model_name")
_IDS: Final = ("id", "responseId", "response_id")
_USAGES: Final = ("usage", "usage_metadata", "usageMetadata", "token_usage")
_REASONS: Final = ("finish_reason", "stop_reason", "finishReason", "stopReason", "done_reason")
_WRAPPERS: Final = ("output", "result", "response", "answer", "text", "content", "raw")


def take_answer(facts: Facts, given: object) -> bool:
    """Fills choices, model, id and usage from an answer; tells whether it held what the model said."""
    opened = parse(given)
    if isinstance(opened, str):
        return _set_choices(facts, [(opened, None)])
    if isinstance(opened, list):
        messages = [plain_message(item) for item in opened if isinstance(item, dict) and is_message(item)]
        if not messages or len(messages) < len(opened):
            return False
        if any(item.get("type") in ("message", "function_call", "reasoning") for item in opened):
            return _set_choices(facts, [(join_items(opened), None)])
        return _set_choices(facts, [(message, None) for message in messages])
    if not isinstance(opened, dict):
        return False
    _take_head(facts, opened)
    for key, read in _SHAPES.items():
        if key in opened:
            answers = read(facts, opened)
            if answers:
                return _set_choices(facts, answers)
    for key in _WRAPPERS:
        if opened.keys() == {key} and isinstance(opened[key], (str, dict, list)):
            return take_answer(facts, opened[key])
    return False


_Answers = list[tuple[object, object]]
"""Messages, each with the reason that it ended."""


def _take_head(facts: Facts, told: Json) -> None:
    """The facts about the whole answer."""
    if facts.response_model is None:
        models = (told.get(key) for key in _MODELS)
        facts.response_model = next((model for model in models if isinstance(model, str) and model), None)
    if facts.response_id is None and not told.get("lc"):
        ids = (told.get(key) for key in _IDS)
        facts.response_id = next((given for given in ids if isinstance(given, str) and given), None)
    given = next((told[key] for key in _USAGES if isinstance(told.get(key), dict)), None)
    if given is not None:
        take_usage(facts, given)


def take_usage(facts: Facts, given: object) -> None:
    """Adds the counts that are missing, unless the object tells of other tokens than those that are known."""
    try:
        usage = read_usage(given) or {}
    except DecodeError:
        facts.warn("undecodable", "usage")
        return
    known = facts.usage or {}
    if all(usage.get(name, n) == n for name, n in known.items()):
        facts.usage = {**usage, **known} or None  # type: ignore[dict-item]  # counts by name


def _set_choices(facts: Facts, answers: _Answers) -> bool:
    if facts.choices is not None:
        return True
    messages = []
    for message, reason in answers:
        given = {"content": message} if isinstance(message, str) else message
        if isinstance(given, dict) and (reason or any(given.get(key) for key in _SAYING)):
            messages.append({**given, "finish_reason": reason} if reason else given)
    choices = read_choices(messages)
    if choices is None:
        return bool(answers)  # an answer that says nothing, as after an error
    facts.choices = choices
    reasons = [reason for _, reason in answers if isinstance(reason, str) and finish_reason(reason)]
    if facts.finish_reasons is None and reasons:
        facts.finish_reasons = reasons
    return True


def _reason(told: object) -> object:
    if not isinstance(told, dict):
        return None
    return next((told[key] for key in _REASONS if isinstance(told.get(key), str)), None)


def _read_choices(facts: Facts, told: Json) -> _Answers:
    answers: _Answers = []
    for choice in _dicts(told["choices"]):
        message = choice.get("message", choice.get("delta", choice.get("text")))
        opened = parse(message)
        answers.append((plain_message(opened) if isinstance(opened, dict) else opened, _reason(choice)))
    return answers


def _read_generations(facts: Facts, told: Json) -> _Answers:
    """LangChain: `{"generations": [[{"text", "generation_info", "message"}]], "llm_output"}`."""
    answers: _Answers = []
    groups = told["generations"]
    first = groups[0] if isinstance(groups, list) and groups else ()
    for generation in _dicts(first if isinstance(first, list) else groups):
        message = generation.get("message")
        about: object = generation.get("generation_info")
        if isinstance(message, dict):
            inner = message.get("kwargs") if isinstance(message.get("kwargs"), dict) else message
            about = _take_metadata(facts, inner) or about
            answers.append((plain_message(message), _reason(about)))
        else:
            answers.append((generation.get("text"), _reason(about)))
    whole = told.get("llm_output")
    if isinstance(whole, dict):
        _take_head(facts, whole)
    return answers


def _take_metadata(facts: Facts, message: object) -> Json | None:
    """What LangChain hangs on a message: the usage, and the answer's model, id and reason."""
    if not isinstance(message, dict):
        return None
    metadata = message.get("response_metadata")
    _take_head(facts, {"usage_metadata": message.get("usage_metadata")})
    if isinstance(metadata, dict):
        _take_head(facts, metadata)
        return metadata
    return None


def _read_candidates(facts: Facts, told: Json) -> _Answers:
    return [(one.get("content"), _reason(one)) for one in _dicts(told["candidates"])]


def _read_items(facts: Facts, told: Json) -> _Answers:
    """The Responses API."""
    items = told["output"]
    if told.get("object") != "response" or not isinstance(items, list):
        return []
    return [(join_items(items), None)]


def _read_inner(facts: Facts, told: Json) -> _Answers:
    message = parse(told["message"])
    if isinstance(message, dict):
        _take_metadata(facts, message.get("kwargs", message))
        return [(plain_message(message), _reason(told))]
    return [(message, _reason(told))] if isinstance(message, str) else []


def _read_message(facts: Facts, told: Json) -> _Answers:
    """A message by itself, or one that is the whole answer (Anthropic)."""
    if not is_message(told):
        return []
    metadata = _take_metadata(facts, told.get("kwargs", told))
    message = plain_message(told)
    kept = {key: message[key] for key in _MESSAGE_KEYS if key in message}
    return [(kept, _reason(told) or _reason(metadata))]


_SAYING: Final = ("content", "parts", "tool_calls", "refusal", "reasoning", "audio", "function_call")
_MESSAGE_KEYS: Final = ("role", "content", "parts", "tool_calls", "name", "refusal", "reasoning", "audio")


def _dicts(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, (list, tuple)) else []


_SHAPES: Final[dict[str, Callable[[Facts, Json], _Answers]]] = {
    "choices": _read_choices,
    "generations": _read_generations,
    "candidates": _read_candidates,
    "output": _read_items,
    "message": _read_inner,
    "role": _read_message,
    "lc": _read_message,
    "type": _read_message,
}
"""Readers by a key that tells the shape."""
