"""Messages in any of the usual shapes to the chat-completions shape, without loss.

The shapes: GenAI parts (`{"role", "parts": [{"type": "text", "content"}]}`), chat-completions itself, and the
content blocks of Anthropic, Bedrock, Gemini and the AI SDK. A message that holds tool results becomes one
`tool` message for each of them, in place.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec

from otel_wandb.conventions.decoding import DecodeError, decode_json, encode_text, parse
from otel_wandb.conventions.facts import Json
from otel_wandb.conventions.parts import chat_call, split_message

_ROLES: Final = {"human": "user", "ai": "assistant", "model": "assistant", "function": "tool"}
_MESSAGE_KEYS: Final = frozenset(("role", "parts", "content"))

_WORDS: Final = re.compile(r"[A-Za-z_. -]{1,40}")
"""Anything else is no reason that a producer gives, and stays as it came: it may hold a secret."""
_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "tooluse": "tool_calls",
    "function_call": "tool_calls",
    "safety": "content_filter",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


def finish_reason(value: object) -> str | None:
    """The reason in the words of chat completions (stop, length, tool_calls, content_filter), or as it is."""
    return _reason(value) if type(value) is str and value else None


@lru_cache(maxsize=256)
def _reason(value: str) -> str:
    if _WORDS.fullmatch(value) is None:
        return value
    word = value.rsplit(".", 1)[-1].replace("-", "_").lower()
    return _FINISH.get(word, word)


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    content: str


class _TextMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The usual message: one text. Most are no more than that, and are read in half the time."""

    role: Annotated[str, msgspec.Meta(min_length=1)]
    parts: tuple[_Text]
    name: None = None


class _TextAnswer(_TextMessage, forbid_unknown_fields=True, gc=False):
    finish_reason: str | None = None


_decode_texts = msgspec.json.Decoder(list[_TextMessage]).decode
_decode_answers = msgspec.json.Decoder(list[_TextAnswer]).decode


def read_messages(value: object) -> list[Json] | None:
    """The history; a plain string is what the user said."""
    if type(value) is str:
        try:
            return [
                {"role": _ROLES.get(message.role, message.role), "content": message.parts[0].content}
                for message in _decode_texts(value)
            ] or None
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass
    return _read(value, "user")


def read_choices(value: object) -> list[Json] | None:
    """One choice for each message; a plain string is what the assistant said."""
    if type(value) is str:
        try:
            return [_answer(i, answer) for i, answer in enumerate(_decode_answers(value))] or None
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass
    choices: list[Json] = []
    for message in _listed(value):
        chats: list[Json] = []
        append_message(chats, message, "assistant")
        reason = finish_reason(message.get("finish_reason")) if type(message) is dict else None
        for chat in chats:
            chat.pop("finish_reason", None)
            if reason is not None and chat is chats[-1]:
                choices.append({"index": len(choices), "finish_reason": reason, "message": chat})
            else:
                choices.append({"index": len(choices), "message": chat})
    return choices or None


def _answer(index: int, answer: _TextAnswer) -> Json:
    message = {"role": _ROLES.get(answer.role, answer.role), "content": answer.parts[0].content}
    reason = finish_reason(answer.finish_reason)
    if reason is None:
        return {"index": index, "message": message}
    return {"index": index, "finish_reason": reason, "message": message}


def read_system(value: object) -> list[Json] | None:
    """System instructions: messages, parts, strings, or one string."""
    listed = _listed(value)
    if listed and isinstance(listed[0], dict) and "role" in listed[0]:
        return _read(listed, "system")
    chats: list[Json] = []
    append_message(chats, {"parts": [{"text": i} if isinstance(i, str) else i for i in listed]}, "system")
    return chats if any(chat.get("content") for chat in chats) else None


def _read(value: object, role: str) -> list[Json] | None:
    chats: list[Json] = []
    for message in _listed(value):
        append_message(chats, message, role)
    return chats or None


def _listed(value: object) -> list[object]:
    if type(value) is str:
        if value[:1] == "[":
            try:
                value = decode_json(value)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                value = parse(value)
        else:
            value = parse(value)
    if type(value) is list:
        return value
    if isinstance(value, tuple):
        return list(value)
    if value is None:
        return []
    if isinstance(value, dict) or (isinstance(value, str) and value[:1] not in "[{"):
        return [value]
    raise DecodeError  # a number, or a structure that was cut off


def append_message(chats: list[Json], message: object, default_role: str) -> None:
    """Adds a message to `chats`; it may become several, or none if it is `None`."""
    if type(message) is not dict:
        if message is not None:
            content = message if isinstance(message, str) else encode_text(message)
            chats.append({"role": default_role, "content": content})
        return
    given = message.get("role")
    role = _ROLES.get(given, given) if type(given) is str and given else default_role
    body = message.get("parts")
    if body is None:
        body = message.get("content")
    lone = body[0] if type(body) is list and len(body) == 1 else None
    if type(lone) is dict and len(lone) == 2 and lone.get("type") == "text":
        text = lone.get("content")
        body = text if type(text) is str else body
    first = len(chats)
    if body is None or type(body) is str:
        chats.append({"role": role, "content": body})
    else:
        split_message(chats, role, body)
    if not message.keys() <= _MESSAGE_KEYS and len(chats) > first:
        _add_extras(chats[-1], message)


def _add_extras(chat: Json, message: Json) -> None:
    for key, value in message.items():
        if value is None or key in _MESSAGE_KEYS:
            continue
        if key == "tool_calls" and isinstance(value, list):
            calls = [chat_call(call) for call in value if isinstance(call, dict)]
            earlier = chat.get(key)
            if isinstance(earlier, list):  # some tell each call a second time, among the parts
                ids = {call.get("id") for call in earlier} - {None}
                calls = [*earlier, *(call for call in calls if call.get("id") not in ids)]
            if calls:
                chat[key] = calls
        else:
            chat.setdefault(key, value)
