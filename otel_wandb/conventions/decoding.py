"""Decoders: from the value of an attribute to a fact, leniently and never by guessing.

A decoder returns `None` where the attribute says nothing (an empty string), and raises `DecodeError` where it
says something that cannot be what it should be. Producers send structures as JSON strings, as JSON strings of
JSON strings, as Python literals and as they are; all of these are read.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

Decode: TypeAlias = Callable[[object], object | None]

_decode_json = msgspec.json.Decoder().decode
_MAX_LITERAL_CHARS: Final = 20_000
_MAX_INT: Final = 2**63
_MAX_DEPTH: Final = 100  # servers refuse what is nested much deeper, some by failing
_BRACKETS: Final = re.compile(r"[^\[\]{}]+")
_LITERAL_STARTS: Final = frozenset("{[(")
_JSON_STARTS: Final = frozenset('{["')
_LENIENT_MARKS: Final = ("NaN", "Infinity", "\\u")
_LITERAL_MARKS: Final = ("'", "None", "True", "False", "(")


class DecodeError(ValueError):
    """A value that is there, and is not what its key promises; the message is the code of the warning."""

    def __init__(self, code: str = "undecodable") -> None:
        super().__init__(code)
        self.code = code


def code_of(error: Exception) -> str:
    """The code of the warning that an error in a decoder becomes."""
    return error.code if isinstance(error, DecodeError) else "undecodable"


def as_is(value: object) -> object | None:
    """The value itself; an empty string says nothing."""
    return None if value == "" else value


def text(value: object) -> str | None:
    """A string; numbers are spelled out."""
    if type(value) is str:
        return value or None
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise DecodeError


def quoted_text(value: object) -> str | None:
    """A string, also one that was encoded as JSON once more."""
    if isinstance(value, str) and value.startswith('"'):
        value = parse(value)
    return text(value)


def count(value: object) -> int | None:
    """A whole number that is not negative."""
    if type(value) is int:
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str):
        if not value.strip():
            return None
        try:
            number = int(value)
        except ValueError:
            raise DecodeError from None
    elif value is None:
        return None
    else:
        raise DecodeError
    if 0 <= number < _MAX_INT:
        return number
    raise DecodeError


def number(value: object) -> int | float | None:
    """A finite number, also one that was sent as a string."""
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = float(value) if "." in value or "e" in value.lower() else int(value)
        except ValueError:
            raise DecodeError from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if value is None:
            return None
        raise DecodeError
    if math.isfinite(value):
        return value
    raise DecodeError


def flag(value: object) -> bool | None:
    """True or false, also as a word."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "false"):
            return word == "true"
        if not word:
            return None
    if value is None:
        return None
    raise DecodeError


def strings(value: object) -> list[str] | None:
    """A list of strings, from a list, from JSON of one, or from a single string."""
    if type(value) is str:
        value = parse(value)
    if isinstance(value, str):
        return [value] if value else None
    if type(value) is list and len(value) == 1 and type(value[0]) is str:
        return value
    if isinstance(value, (list, tuple)):
        return [item if isinstance(item, str) else encode_text(item) for item in value] or None
    if value is None:
        return None
    raise DecodeError


def structure(value: object) -> object | None:
    """Whatever the value holds, opened up if it is encoded; an empty string says nothing."""
    return parse(value) if type(value) is str else value


def mapping(value: object) -> dict[str, object] | None:
    """An object with names, opened up if it is encoded."""
    opened = parse(value)
    if isinstance(opened, dict):
        return dict(opened) or None
    if opened is None:
        return None
    raise DecodeError


def items(value: object) -> list[object] | None:
    """A list, opened up if it is encoded."""
    opened = parse(value)
    if isinstance(opened, (list, tuple)):
        return list(opened) or None
    if opened is None:
        return None
    raise DecodeError


def parse(value: object) -> object:
    """What a string holds as JSON or as a Python literal, opened up to three times; else the value itself."""
    for _ in range(3):
        if type(value) is not str:
            return value
        if not value:
            return None
        start = value[0] if value[0] not in " \t\r\n" else value.lstrip()[:1]
        if start not in _JSON_STARTS and start not in _LITERAL_STARTS:
            return value
        try:
            value = _open(value)
        except DecodeError:
            return value
    return value


def _open(value: str) -> object:
    try:
        return decode_json(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _open_leniently(value)


def decode_json(value: str) -> object:
    """What a string holds as JSON, nested no deeper than servers take; raises what msgspec raises."""
    opened: object = _decode_json(value)
    if value.count("[") + value.count("{") > _MAX_DEPTH and _may_be_deep(value):
        return plain(opened)
    return opened


def _may_be_deep(value: str) -> bool:
    """False only if nothing is nested too deeply; brackets inside strings may make it true."""
    brackets = _BRACKETS.sub("", value)
    for _ in range(_MAX_DEPTH):
        fewer = brackets.replace("[]", "").replace("{}", "")  # the innermost pairs
        if len(fewer) in (0, len(brackets)):
            return bool(fewer)
        brackets = fewer
    return True


def _open_leniently(value: str) -> object:
    if any(mark in value for mark in _LENIENT_MARKS):
        try:
            return plain(json.loads(value))  # takes NaN and lone surrogates, which others write
        except (ValueError, RecursionError):
            pass
    return _open_literal(value)


def _open_literal(value: str) -> object:
    if len(value) > _MAX_LITERAL_CHARS or not any(mark in value for mark in _LITERAL_MARKS):
        raise DecodeError
    try:
        return plain(ast.literal_eval(value.strip()))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise DecodeError from None


def plain(value: object, depth: int = 0) -> object:
    """The nearest that JSON has to any Python value: names become strings, sets lists, the too deep text."""
    if value is None or isinstance(value, (str, bool, int, float, bytes)):
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
    if depth > _MAX_DEPTH:
        return "[nested too deeply]"
    if isinstance(value, dict):
        return {str(plain(key)): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, msgspec.Raw):
        return plain(_decode_json(bytes(value)), depth)
    if isinstance(value, msgspec.Struct):
        told = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return {name: plain(item, depth + 1) for name, item in told if item is not None}
    return str(value)


def encode_text(value: object) -> str:
    """JSON of any value that telemetry can hold."""
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeError, RecursionError, TypeError, OverflowError):
        return msgspec.json.encode(plain(value)).decode()
