"""Messages that were spread over numbered attributes, put together again.

OpenInference nests names (`llm.input_messages.0.message.tool_calls.0.tool_call.function.name`), OpenLLMetry
does not (`gen_ai.prompt.0.tool_calls.0.name`). The reader gathers the leaves; here they become what
`messages` reads.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import DecodeError, parse
from otel_wandb.conventions.facts import Json
from otel_wandb.conventions.messages import read_choices, read_messages

_PART_TYPES: Final = frozenset(
    (
        "text",
        "image_url",
        "image",
        "input_audio",
        "file",
        "document",
        "tool_use",
        "tool_result",
        "tool_call",
        "thinking",
        "redacted_thinking",
        "reasoning",
        "input_text",
        "output_text",
        "input_image",
        "input_file",
        "refusal",
    )
)


def members(tree: object) -> list[object]:
    """The members of a numbered tree in their order; names between the numbers are passed over."""
    if isinstance(tree, dict):
        numbered = (name for name in tree if name.isascii() and name.isdigit())
        return [tree[name] for name in sorted(numbered, key=int)]
    if isinstance(tree, (list, tuple)):
        return list(tree)
    raise DecodeError


def read_nested_messages(tree: object) -> list[Json] | None:
    """The history as OpenInference writes it."""
    return read_messages([_nested(item) for item in members(tree)])


def read_nested_choices(tree: object) -> list[Json] | None:
    """The answers as OpenInference writes them: one choice for each message."""
    return read_choices([_nested(item) for item in members(tree)])


def read_flat_messages(tree: object) -> list[Json] | None:
    """The history as OpenLLMetry writes it."""
    return read_messages([_flat(item) for item in members(tree)])


def read_flat_choices(tree: object) -> list[Json] | None:
    """The answers as OpenLLMetry writes them."""
    return read_choices([_flat(item) for item in members(tree)])


def read_prompts(tree: object) -> list[Json] | None:
    """The prompts of a text completion: what the user said."""
    return read_messages([_lone(item, "prompt") for item in members(parse(tree))])


def read_completions(tree: object) -> list[Json] | None:
    """The texts of a text completion, one choice each."""
    return read_choices([_lone(item, "completion") for item in members(parse(tree))])


def join_choices(choices: list[Json]) -> list[Json]:
    """The one choice that several output items of one response make."""
    messages = [choice["message"] for choice in choices if isinstance(choice.get("message"), dict)]
    if len(messages) < len(choices) or any(_role(message) != "assistant" for message in messages):
        return choices
    joined: Json = {"role": "assistant"}
    contents = [content for message in messages if (content := _content(message)) is not None]
    joined["content"] = contents[0] if len(contents) == 1 else _parts(contents) or None
    for message in messages:
        for name, value in message.items() if isinstance(message, dict) else ():
            if name in ("role", "content"):
                continue
            earlier = joined.get(name)
            if isinstance(earlier, list) and isinstance(value, list):
                joined[name] = [*earlier, *value]
            elif name == "reasoning" and isinstance(earlier, str):
                joined[name] = f"{earlier}\n{value}"
            else:
                joined.setdefault(name, value)
    reason = next((choice["finish_reason"] for choice in choices if "finish_reason" in choice), None)
    return [{"index": 0, **({"finish_reason": reason} if reason else {}), "message": joined}]


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def _content(message: object) -> object:
    return message.get("content") if isinstance(message, dict) else None


def _parts(contents: list[object]) -> list[object]:
    parts: list[object] = []
    for content in contents:
        parts.extend(content if isinstance(content, list) else [{"type": "text", "text": content}])
    return parts


def _lone(item: object, name: str) -> object:
    told = item.get(name, item) if isinstance(item, dict) else item
    return {"content": told.get("text")} if isinstance(told, dict) and "text" in told else {"content": told}


def _nested(item: object) -> object:
    told = item.get("message", item) if isinstance(item, dict) else item
    if not isinstance(told, dict):
        return {"content": told}
    message = {key: value for key, value in told.items() if key not in _NESTED}
    parts = [_part(part) for part in members(told["contents"])] if told.get("contents") else []
    if told.get("tool_calls"):  # some tell each call a second time, among the parts
        parts = [part for part in parts if part.get("type") not in _CALL_TYPES]
    text = told.get("content")
    if not parts:
        message["content"] = text
    else:  # some write the text a second time, beside its parts
        texts = [part["text"] for part in parts if part.get("type") == "text" and "text" in part]
        repeats = text is None or text in (*texts, "\n".join(map(str, texts)), "".join(map(str, texts)))
        message["content"] = parts if repeats else [{"type": "text", "text": text}, *parts]
    calls = [_nested_call(call) for call in members(told["tool_calls"])] if told.get("tool_calls") else []
    if "function_call_name" in told:
        arguments = told.get("function_call_arguments_json")
        calls.append({"name": told["function_call_name"], "arguments": arguments})
    if calls:
        message["tool_calls"] = calls
    return message


_NESTED: Final = frozenset(
    ("content", "contents", "tool_calls", "function_call_name", "function_call_arguments_json")
)


_CALL_TYPES: Final = frozenset(("tool_use", "tool_call", "function_call"))


def _nested_call(item: object) -> Json:
    told = item.get("tool_call", item) if isinstance(item, dict) else {}
    return dict(told) if isinstance(told, dict) else {}


def _flat_call(call: Json) -> Json:
    function = call.get("function")
    return {**call, **function} if isinstance(function, dict) else call


def _part(item: object) -> Json:
    told = item.get("message_content", item) if isinstance(item, dict) else {"type": "text", "text": item}
    part: Json = dict(told) if isinstance(told, dict) else {"text": told}
    if isinstance(item, dict) and "tool_call" in item:
        return {**_flat_call(_nested_call(item)), "type": "tool_call"}
    for media in ("image", "audio", "video", "document"):
        inner = part.get(media)
        if isinstance(inner, dict):
            about = inner.get(media, inner)
            return _media(part, media, about if isinstance(about, dict) else {"url": about})
    if "type" not in part and "text" in part:
        part["type"] = "text"
    return part


def _media(part: Json, media: str, about: Json) -> Json:
    url = about.get("url")
    rest = {key: value for key, value in part.items() if key not in ("type", media)}
    if isinstance(url, str):
        rest |= {key: value for key, value in about.items() if key != "url"}
        if media == "image":
            return {"type": "image_url", "image_url": {"url": url}, **rest}
        return {"type": "uri", "modality": media, "uri": url, **rest}
    return {"type": media, media: about, **rest}


def _flat(item: object) -> object:
    if not isinstance(item, dict):
        return {"content": item}
    message = dict(item)
    if "content" not in message and "role" not in message and "user" in message:
        message["content"] = message.pop("user")  # the prompt of a text completion
    if message.get("content") == '""':
        message["content"] = None  # nothing, encoded
    opened = parse(message.get("content"))
    if isinstance(opened, list) and opened and all(map(_is_part, opened)):
        message["content"] = opened
    if message.get("tool_calls"):
        message["tool_calls"] = members(message["tool_calls"])
    return message


def _is_part(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") in _PART_TYPES
