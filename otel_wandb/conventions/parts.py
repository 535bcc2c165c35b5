"""The parts of a message to what chat completions have for them; the rest stays in the content as it came."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from otel_wandb.conventions.decoding import encode_text
from otel_wandb.conventions.facts import Json
from otel_wandb.conventions.media import MEDIA_NAMES, MEDIA_TYPES, read_media


def split_message(chats: list[Json], role: str, parts: object) -> None:
    """Adds to `chats` the message that these parts make, or the several of them."""
    draft = _Draft(chats, role)
    before = len(chats)
    for part in parts if isinstance(parts, (list, tuple)) else [parts]:
        if isinstance(part, dict):
            _read_part(draft, part)
        elif part is not None:
            text = part if isinstance(part, str) else encode_text(part)
            draft.content.append({"type": "text", "text": text})
    if draft.content or draft.calls or draft.reasoning or len(chats) == before:
        draft.flush()


def chat_call(part: Json) -> Json:
    """A tool call of any shape as `{"id", "type": "function", "function": {"name", "arguments"}}`."""
    function = part.get("function")
    told = function if isinstance(function, dict) else part
    arguments = _first(told, _CALL_ARGUMENTS)
    if arguments is not None and type(arguments) is not str:
        arguments = encode_text(arguments)
    call: Json = {}
    if (call_id := _first(part, _CALL_IDS)) is not None:
        call["id"] = call_id
    call["type"] = "function"
    call["function"] = {"name": _first(told, _CALL_NAMES), "arguments": arguments}
    if len(part) > 3:
        call |= _extras(part, _CALL_KEYS)
    return call


class _Draft:
    """A message in the making."""

    __slots__ = ("calls", "chats", "content", "reasoning", "role")

    def __init__(self, chats: list[Json], role: str) -> None:
        self.chats = chats
        self.role = role
        self.content: list[object] = []
        self.reasoning: list[str] = []
        self.calls: list[Json] = []

    def add_result(self, call_id: object, content: object, extras: Json) -> None:
        if self.content or self.calls or self.reasoning:
            self.flush()
        chat: Json = {"role": "tool", "content": _result(content)}
        if call_id is not None:
            chat["tool_call_id"] = call_id
        self.chats.append(chat | extras)

    def flush(self) -> None:
        chat: Json = {"role": self.role, "content": _simplest(self.content)}
        if self.reasoning:
            chat["reasoning"] = "\n".join(self.reasoning)
        if self.calls:
            chat["tool_calls"] = self.calls
        self.chats.append(chat)
        self.content, self.reasoning, self.calls = [], [], []


_ReadPart: TypeAlias = Callable[[_Draft, Json], bool]
"""Tells whether the part found its place; one that did not is kept as it is."""


def _read_part(draft: _Draft, part: Json) -> None:
    kind = part.get("type")
    reader: _ReadPart | None = None
    if type(kind) is str:
        reader = _TYPED.get(kind)
    elif kind is None:
        reader = next((_NAMED[name] for name in part if name in _NAMED), None)
    if reader is None or not reader(draft, part):
        draft.content.append(part)


def _first(part: Json, names: Iterable[str]) -> object:
    for name in names:
        value = part.get(name)
        if value is not None:
            return value
    return None


def _extras(part: Json, known: frozenset[str]) -> Json:
    return {key: value for key, value in part.items() if key not in known and value is not None}


def _simplest(content: list[object]) -> object:
    """A lone text as a string, several parts as a list, nothing as null."""
    part = content[0] if len(content) == 1 else None
    if isinstance(part, dict) and len(part) == 2 and part.get("type") == "text":
        text = part.get("text")
        if isinstance(text, str):
            return text
    return content or None


_TEXT_KEYS: Final = frozenset(("type", "content", "text"))


def _text(draft: _Draft, part: Json) -> bool:
    text = _first(part, ("content", "text"))
    if text is None:
        return part.keys() <= _TEXT_KEYS  # a text that is null says nothing
    if not isinstance(text, str):
        return False
    draft.content.append({"type": "text", "text": text, **_extras(part, _TEXT_KEYS)})
    return True


_REASONING_KEYS: Final = ("content", "text", "thinking", "reasoning")


def _reasoning(draft: _Draft, part: Json) -> bool:
    text = _first(part, _REASONING_KEYS)
    if not isinstance(text, str) or part.keys() - {"type", *_REASONING_KEYS}:
        return False  # with a signature or the like it stays whole
    draft.reasoning.append(text)
    return True


_CALL_IDS: Final = ("id", "toolCallId", "tool_call_id", "call_id", "toolUseId")
_CALL_NAMES: Final = ("name", "toolName")
_CALL_ARGUMENTS: Final = ("arguments", "args", "input")
_CALL_KEYS: Final = frozenset(("type", "function", *_CALL_IDS, *_CALL_NAMES, *_CALL_ARGUMENTS))


def _tool_call(draft: _Draft, part: Json) -> bool:
    draft.calls.append(chat_call(part))
    return True


_RESULTS: Final = ("response", "result", "output", "content")
_RESULT_IDS: Final = (*_CALL_IDS, "tool_use_id")
_RESULT_KEYS: Final = frozenset(("type", *_RESULTS, *_RESULT_IDS))


def _tool_result(draft: _Draft, part: Json) -> bool:
    draft.add_result(_first(part, _RESULT_IDS), _first(part, _RESULTS), _extras(part, _RESULT_KEYS))
    return True


def _result(content: object) -> object:
    """What a tool gave back, as text or as text parts; any other structure becomes its JSON."""
    if content is None or type(content) is str:
        return content or ""
    if isinstance(content, list) and content:
        texts = [_lone_text(part) for part in content]
        if None not in texts:
            return _simplest([{"type": "text", "text": text} for text in texts])
    return encode_text(content)


def _lone_text(part: object) -> str | None:
    if isinstance(part, dict) and part.keys() <= _TEXT_KEYS:
        part = _first(part, ("text", "content"))
    return part if isinstance(part, str) else None


def _media(draft: _Draft, part: Json) -> bool:
    medium = read_media(part)
    if medium is None:
        return False
    modality, where, url, rest = medium
    told: Json
    if modality == "image" and where != "file_id":
        told = {"type": "image_url", "image_url": {"url": url}}
    elif modality == "audio" and where == "file_data":
        told = {"type": "input_audio", "input_audio": {"data": url}}
    else:
        told = {"type": "file", "file": {where: url}}
    draft.content.append(told | rest)
    return True


def _inside(name: str, reader: _ReadPart) -> _ReadPart:
    """Reads what stands under the part's only name, as in `{"toolUse": {…}}`."""

    def read(draft: _Draft, part: Json) -> bool:
        inner = part[name]
        return len(part) == 1 and isinstance(inner, dict) and reader(draft, inner)

    return read


_TYPED: Final[dict[str, _ReadPart]] = {
    **dict.fromkeys(("text", "input_text", "output_text"), _text),
    **dict.fromkeys(("reasoning", "thinking"), _reasoning),
    **dict.fromkeys(("tool_call", "tool_use", "tool-call", "toolCall", "function_call"), _tool_call),
    **dict.fromkeys(("tool_call_response", "tool_result", "tool-result"), _tool_result),
    "function_call_output": _tool_result,
    **dict.fromkeys(MEDIA_TYPES, _media),
}
_NAMED: Final[dict[str, _ReadPart]] = {
    "text": _text,
    "toolUse": _inside("toolUse", _tool_call),
    "toolResult": _inside("toolResult", _tool_result),
    "functionCall": _inside("functionCall", _tool_call),
    "functionResponse": _inside("functionResponse", _tool_result),
    **dict.fromkeys(MEDIA_NAMES, _media),
}
"""Parts without a type, told by the name of what they hold."""
