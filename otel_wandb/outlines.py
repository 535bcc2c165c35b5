"""The outline of what a call was given and gave: its shape, and of each text how long it is.

Roles, types of parts, names of tools and ids that tools are called by stay where messages and tools have
them, and only where they are words that such places hold. What is inside of arguments and results is the
user's, whatever its keys are called.
"""

from __future__ import annotations

import re
from typing import Final

NOT_CAPTURED: Final = "[not captured]"

_NAME: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,128}\Z")
_WORDS: Final = {
    "role": frozenset(("system", "user", "assistant", "tool", "developer", "function", "model")),
    "type": frozenset(
        (
            "text", "image", "image_url", "input_image", "input_text", "output_text", "input_audio", "audio",
            "video", "file", "input_file", "document", "function", "tool", "tool_call", "tool_use",
            "tool_result", "tool_call_response", "server_tool_call", "blob", "uri", "refusal", "reasoning",
            "thinking", "message", "custom", "object", "array", "string", "number", "integer", "boolean",
        )
    ),
    "finish_reason": frozenset(
        ("stop", "length", "tool_calls", "content_filter", "error", "function_call")
    ),
}  # fmt: skip
_NAMES: Final = {
    "name": frozenset(("function", "tools", "tool_calls")),
    "id": frozenset(("tool_calls",)),
    "model": frozenset(("inputs", "output")),
    "tool_call_id": frozenset(("messages", "message")),
}
"""Members that are names, by what they stand in."""
_OPEN: Final = frozenset(
    (
        "inputs", "output", "input", "messages", "message", "choices", "content", "parts", "tools",
        "tool_calls", "function", "parameters",
    )
)  # fmt: skip
"""What messages and tools are made of; below anything else there is only content."""


def outline(told: object, where: str) -> object:
    """The value with each text replaced by `[N characters]`; numbers stay, and so do keys.

    `where` is the key that it stands under: `inputs` or `output`, for all of it.
    """
    if isinstance(told, str):
        return outline_text(told)
    if isinstance(told, list):
        return [outline(item, where) for item in told]
    if not isinstance(told, dict):
        return told
    return {key: _outline_member(key, value, where) for key, value in told.items()}


def outline_text(text: str) -> str:
    """How long the text is."""
    return f"[{len(text)} characters]"


def _outline_member(key: str, value: object, where: str) -> object:
    if isinstance(value, str) and where in _OPEN:
        known = _WORDS.get(key)
        if known is not None and value in known:
            return value
        if where in _NAMES.get(key, ()) and _NAME.match(value):
            return value
    return outline(value, key if where in _OPEN and key in _OPEN else "")
