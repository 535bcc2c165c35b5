"""Python reprs of objects, which some producers send where JSON would not hold what they had.

`Call(name='f', kwargs={'a': 1})` is read as the dictionary of its arguments, an enumeration's member as its
value; what has no value (`<function f at 0x…>`) is null. The text is parsed, never run.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Final

from otel_wandb.conventions.decoding import DecodeError, plain

_MAX_CHARS: Final = 50_000
_MEMBER: Final = re.compile(r"<[A-Za-z_][\w.]*: ('[^'\n]*'|\"[^\"\n]*\"|-?\d+)>")
_OPAQUE: Final = re.compile(
    r"<(?:function|bound method|class|built-in|[\w.]+ object)[^<>\n]*(?:<[^<>\n]*>[^<>\n]*)?>"
)


_CONTENT: Final = re.compile(r"""content=('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")(?: |$)""")


def read_repr(value: str) -> object:
    """The values in the repr; raises `DecodeError` if it is none, or was cut off."""
    if len(value) > _MAX_CHARS:
        raise DecodeError
    text = _OPAQUE.sub("None", _MEMBER.sub(r"\1", value))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes, which the parser would print
            return plain(_value(ast.parse(text.strip(), mode="eval").body))
    except (SyntaxError, ValueError, MemoryError, RecursionError, TypeError):
        raise DecodeError from None


def read_message_content(value: str) -> str | None:
    """The content of a LangChain message that was turned into text (`content='…' name='…'`), or `None`."""
    found = _CONTENT.match(value)
    try:
        content = ast.literal_eval(found[1]) if found else None
    except (SyntaxError, ValueError):
        return None
    return content if isinstance(content, str) else None


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.args and not node.keywords:
            values = [_value(item) for item in node.args]
            return values[0] if len(values) == 1 else values
        return {word.arg: _value(word.value) for word in node.keywords if word.arg is not None}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(_value(key)): _value(item) for key, item in pairs if key is not None}
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [_value(item) for item in node.elts]
    return ast.literal_eval(node)
