"""The tools that a model was offered, in the chat-completions shape, encoded.

The same definitions come with every call of an agent and can be tens of kilobytes: they are read once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from otel_wandb.conventions.decoding import encode_text, items, parse
from otel_wandb.conventions.facts import Json

_SCHEMAS: Final = ("parameters", "inputSchema", "input_schema", "parameters_json_schema")
_MAX_REMEMBERED_CHARS: Final = 200_000


def read_tools(value: object) -> msgspec.Raw | None:
    """The definitions, encoded; `None` if there are none."""
    if isinstance(value, str) and len(value) <= _MAX_REMEMBERED_CHARS:
        return _read_once(value)
    return _read(value)


@lru_cache(maxsize=128)
def _read_once(value: str) -> msgspec.Raw | None:
    return _read(value)


def _read(value: object) -> msgspec.Raw | None:
    listed = items(value)
    return msgspec.Raw(encode_text([_tool(parse(item)) for item in listed]).encode()) if listed else None


def _tool(tool: object) -> object:
    if not isinstance(tool, dict) or "function" in tool or "name" not in tool:
        return tool
    if tool.get("type", "function") != "function":
        return tool
    function: Json = {"name": tool["name"]}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    schema = next((name for name in _SCHEMAS if tool.get(name) is not None), None)
    if schema:
        function["parameters"] = tool[schema]
    known = {"type", "name", "description", schema}
    function |= {key: item for key, item in tool.items() if key not in known and item is not None}
    return {"type": "function", "function": function}
