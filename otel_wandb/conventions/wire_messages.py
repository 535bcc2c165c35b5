"""Messages as LangChain, LlamaIndex and the Responses API write them, to what `messages` reads."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import parse
from otel_wandb.conventions.facts import Json

_LANGCHAIN_ROLES: Final = {
    "human": "user",
    "humanmessage": "user",
    "humanmessagechunk": "user",
    "ai": "assistant",
    "aimessage": "assistant",
    "aimessagechunk": "assistant",
    "system": "system",
    "systemmessage": "system",
    "tool": "tool",
    "toolmessage": "tool",
    "function": "tool",
    "functionmessage": "tool",
    "chatmessage": "user",
}
_ITEM_ROLES: Final = {
    "function_call": "assistant",
    "reasoning": "assistant",
    "function_call_output": "tool",
    "tool_result": "tool",
}
_CALL_PARTS: Final = frozenset(("tool_use", "tool_call", "function_call"))


def is_message(value: object) -> bool:
    """Whether this is a message of one of the known shapes."""
    if not isinstance(value, dict):
        return False
    if "role" in value and (value.keys() & {"content", "parts", "tool_calls", "blocks"}):
        return True
    return _is_langchain(value) or ("role" not in value and value.get("type") in _ITEM_ROLES)


def unfold_messages(value: object) -> list[object] | None:
    """The messages of a list of them, or of a batch of one, each in a shape that `messages` reads."""
    if is_message(value):
        value = [value]
    if isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], (list, tuple)):
        value = value[0]
    if not isinstance(value, (list, tuple)) or not value:
        return None
    opened = [parse(item) for item in value]
    if not all(is_message(item) for item in opened):
        return None
    return [plain_message(item) for item in opened if isinstance(item, dict)]


def plain_message(message: Json) -> Json:
    """The message with a role and content of its own; what it does not know stays."""
    if _is_langchain(message):
        return _from_langchain(message)
    if "role" not in message and (role := _ITEM_ROLES.get(str(message.get("type")))):
        return {"role": role, "content": [_item(message)]}
    if "blocks" in message and "content" not in message:
        message = _from_blocks(message)
    return _without_extras(message)


def _is_langchain(value: Json) -> bool:
    if value.get("lc") and isinstance(value.get("kwargs"), dict):
        return _langchain_role(value) is not None
    told = value.get("content", value.get("data"))
    return "role" not in value and told is not None and _langchain_role(value) is not None


def _langchain_role(value: Json) -> str | None:
    kwargs = value.get("kwargs")
    names: list[object] = [kwargs.get("type")] if isinstance(kwargs, dict) else []
    path = value.get("id")
    names += [path[-1]] if isinstance(path, list) and path else []
    names.append(value.get("type"))
    for name in names:
        if isinstance(name, str) and (role := _LANGCHAIN_ROLES.get(name.lower())):
            return role
    return None


def _from_langchain(message: Json) -> Json:
    told = message
    for inner in (message.get("kwargs"), message.get("data")):
        if isinstance(inner, dict):
            told = inner
    role = told.get("role") or _langchain_role(message)
    kept = ("content", "tool_calls", "tool_call_id", "name", "additional_kwargs")
    return _without_extras({"role": role} | {key: told[key] for key in kept if told.get(key)})


def _without_extras(message: Json) -> Json:
    """Tool calls from where they are hidden, once."""
    plain = {key: value for key, value in message.items() if key not in ("additional_kwargs", "blocks")}
    extras = message.get("additional_kwargs")
    if isinstance(extras, dict):
        for key, value in extras.items():
            name = "reasoning" if key == "reasoning_content" else key
            if value and not plain.get(name) and name in ("tool_calls", "tool_call_id", "name", "reasoning"):
                plain[name] = value
    if not plain.get("invalid_tool_calls", True):
        del plain["invalid_tool_calls"]
    content = plain.get("content")
    if plain.get("tool_calls") and isinstance(content, list):
        plain["content"] = [part for part in content if not _is_call(part)] or None
    return plain


def _is_call(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in _CALL_PARTS


def _from_blocks(message: Json) -> Json:
    """LlamaIndex: `{"role", "blocks": [{"block_type", …}], "additional_kwargs"}`."""
    blocks = parse(message.get("blocks"))
    parts = []
    for block in blocks if isinstance(blocks, list) else []:
        if isinstance(block, dict) and "block_type" in block:
            part = {key: value for key, value in block.items() if key != "block_type" and value is not None}
            part["type"] = block["block_type"]
            if "tool_kwargs" in part:
                part = {
                    "type": "tool_call",
                    "id": part.get("tool_call_id"),
                    "name": part.get("tool_name"),
                    "arguments": part["tool_kwargs"],
                }
            parts.append(part)
        elif block is not None:
            parts.append(block)
    return {**message, "content": parts or None}


def _item(item: Json) -> Json:
    """An item of the Responses API as a part."""
    if item.get("type") == "function_call":
        call_id = item.get("call_id") or item.get("id")
        name, arguments = item.get("name"), item.get("arguments")
        return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}
    if item.get("type") == "reasoning":
        texts = [part.get("text") for part in item.get("summary") or () if isinstance(part, dict)]  # type: ignore[attr-defined]  # a list, or nothing is found
        return {"type": "reasoning", "content": "\n".join(text for text in texts if isinstance(text, str))}
    return {key: value for key, value in item.items() if key not in ("id", "status")}


def join_items(items: list[object]) -> Json:
    """The one message that the output items of a response make."""
    parts: list[object] = []
    for item in items:
        if isinstance(item, dict):
            content = item.get("content")
            if item.get("type") == "message" and isinstance(content, list):
                parts.extend(content)
            elif item.get("type") != "reasoning" or item.get("summary"):
                parts.append(_item(item))
    return {"role": "assistant", "content": parts}
