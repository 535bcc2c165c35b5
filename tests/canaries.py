"""Canary secrets: each is another one, and found again whole or in part, however it is encoded.

They are planted into OTLP/JSON by walking it, so that no place is forgotten: names, values (in JSON inside
of text, too), keys, events, links, states, scopes, resources, bodies. What is left of one in any bytes tells
by its number where it was planted.
"""

from __future__ import annotations

import ast
import base64
import binascii
import json
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import zstandard

Json = dict[str, Any]
Mode: TypeAlias = Literal["content", "everything", "keys"]
"""What holds canaries: all but what a conversion goes by; every text; only keys, beside what they were."""

_WORD: Final = "CNRY"
_CARD: Final = "492977000"
_FOUND: Final = re.compile(rb"cnry(\d{5})|492977000(\d{5})")
_IN_BASE64: Final = re.compile(
    b"|".join(
        base64.b64encode(b"\0" * before + word.encode())[-(-before * 8 // 6) :][:5]
        for word in (_WORD, _WORD.lower())
        for before in range(3)
    )
)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_PACKED: Final = re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|\x78[\x01\x5e\x9c\xda]")


def _card(number: int) -> str:
    digits = f"{_CARD}{number:05}0"
    doubled = (int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(digits))
    return digits + str(-sum(d // 10 + d % 10 for d in doubled) % 10)


def _private_key(core: str) -> str:
    lines = (f"MIIEpAIBAAKCAQEA{core}{'qWe7' * 9}+/9", f"{core}{'Zx5v' * 8}==")
    return "\n".join(("-----BEGIN RSA PRIVATE KEY-----", *lines, "-----END RSA PRIVATE KEY-----"))


KINDS: Final[dict[str, Callable[[str, int], str]]] = {
    "anthropic": lambda core, _: f"sk-ant-api03-{core}x7Yz-0123456789",
    "aws": lambda core, _: f"AKIA{core}X7QWE4Z",
    "bearer": lambda core, _: f"Bearer {core}.abcdefgh0123",
    "url": lambda core, _: f"postgres://app:{core}@db.internal:5432/orders",
    "pem": lambda core, _: _private_key(core),
    "card": lambda _, number: _card(number),
    "email": lambda core, _: f"{core.lower()}@example.org",
    "jwt": lambda core, _: f"eyJ{core}0.eyJzdWIi{core}.c2ln{core}",
    "password": lambda core, _: f"password={core}-x7!",
}


class Canaries:
    """All that were planted. `planted` counts them by the kind of place."""

    def __init__(self) -> None:
        self._places: list[str] = []
        self.planted: Counter[str] = Counter()

    def __call__(self, place: str, kind: str = "") -> str:
        """A secret like no other; kinds take turns."""
        number = len(self._places)
        kind = kind or list(KINDS)[number % len(KINDS)]
        self._places.append(f"{place} ({kind})")
        self.planted[place.rsplit(" ", maxsplit=1)[-1]] += 1
        return KINDS[kind](f"{_WORD}{number:05}", number)

    def __len__(self) -> int:
        return len(self._places)

    def find(self, data: bytes) -> set[str]:
        """Where those were planted of which something is in the bytes."""
        numbers = {int(one[1] or one[2]) for part in _unfold(data) for one in _FOUND.finditer(part.lower())}
        return {self._places[number] for number in numbers if number < len(self._places)}

    def find_in_files(self, directory: Path) -> dict[str, set[str]]:
        """The same for all files below, by file; of databases also by what each cell decodes to."""
        found: dict[str, set[str]] = {}
        for path in sorted(directory.rglob("*")):
            if path.is_file() and (places := self.find_in_file(path)):
                found[str(path.relative_to(directory))] = places
        return found

    def find_in_file(self, path: Path) -> set[str]:
        """The same for one file."""
        data = path.read_bytes()
        places = self.find(data)
        if data.startswith(b"SQLite format 3"):
            for cell in _cells(path):
                places |= self.find(cell)
        return places


def _cells(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in tables:
            for row in connection.execute(f'SELECT * FROM "{name.decode()}"'):
                yield from (cell for cell in row if isinstance(cell, bytes) and len(cell) > 8)


def _unfold(data: bytes, depth: int = 3) -> Iterator[bytes]:
    """The bytes, and what is compressed, base64 or percent-encoded in them."""
    yield data
    if not depth:
        return
    for found in _PACKED.finditer(data):
        if unpacked := _unpack(memoryview(data)[found.start() :]):
            yield from _unfold(unpacked, depth - 1)
    if _IN_BASE64.search(data):
        for run in _BASE64.finditer(data):
            if _IN_BASE64.search(run[0]):
                for skipped in range(4):
                    with suppress(binascii.Error):
                        text = run[0][skipped:].translate(bytes.maketrans(b"-_", b"+/"))
                        yield binascii.a2b_base64(text[: len(text) // 4 * 4])
    if b"%" in data:
        yield unquote_to_bytes(data)


def _unpack(data: memoryview) -> bytes:
    with suppress(zlib.error, zstandard.ZstdError):
        if data[0] == 0x28:
            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
        return zlib.decompressobj(47).decompress(data)
    return b""


# ---- planting


_FIXED: Final = frozenset(
    ("traceId", "spanId", "parentSpanId", "intValue", "asInt", "count", "zeroCount", "bucketCounts")
)
_STEERS: Final = re.compile(
    r"^ids?$|spanType$|tool_?(?:call|use)[._]?id$|call\.id$|response\.id$|(?:^|[._])(?:role|type|kind|model|model_name|provider|system|operationId|object|level"
    r"|finish_?reasons?|stop_reason|status|mime_?type|block_type|encoding_formats?|method|route"
    r"|event\.name|eventName|operation\.name|service\.name|node_type|class_name|_type|output_mode)$",
    re.IGNORECASE,
)
"""What a conversion goes by, by the end of its key."""
_CODED: Final = re.compile(
    r"(?i)true|false|none|null|[-+\d.]+|\d{4}-\d\d-\d\dT[\d:.Z+-]+"
    r"|raw_gen_ai_request|OpenAI\._prepare_chat_with_tools"  # spans that are known by their names
)
_GENERIC: Final = ("metadata.note", "langfuse.trace.metadata.note", "traceloop.association.properties.note")


class Planter:
    """Plants canaries into requests of OTLP/JSON."""

    def __init__(self, canaries: Canaries, mode: Mode, name: str) -> None:
        self._canaries = canaries
        self._mode = mode
        self._name = name

    def plant(self, value: Any, key: str = "", where: str = "") -> Any:
        """The value with a canary in every text; `key` is what it stands under, `where` the kind of place."""
        if isinstance(value, dict):
            if "key" in value and "value" in value:
                return self._attribute(value, where)
            return {name: self.plant(inner, name, _place(where, name)) for name, inner in value.items()}
        if isinstance(value, list):
            found = [self.plant(item, key, where) for item in value]
            if self._mode == "keys" and key in ("attributes", "values") and value and "key" in value[0]:
                found += [self._beside(item, where) for item in value]
            return found
        if not isinstance(value, str) or key in _FIXED or key.endswith("UnixNano"):
            return value
        return self.text(value, key, where)

    def text(self, text: str, key: str, where: str) -> str:
        """The text with canaries: in each text of what is JSON, or how Python spells that."""
        for read, write in ((json.loads, json.dumps), (ast.literal_eval, repr)):
            if text[:1] in ("{", "[", '"'):
                with suppress(ValueError, SyntaxError):
                    return str(write(self._json(read(text), key, f"{where}/json")))
        if self._mode == "keys" or (self._mode == "content" and _is_code(text, key)):
            return text
        secret = self._canaries(f"{self._name} {key} {where}")
        return (f"{text} {secret}", f"{secret} {text}", f"{text} ({secret}).")[len(self._canaries) // 9 % 3]

    def secret(self, where: str, kind: str = "") -> str:
        """A canary of its own."""
        return self._canaries(f"{self._name} {where}", kind)

    def _attribute(self, told: Json, where: str) -> Json:
        kind, value = next(iter(told["value"].items()), ("", ""))
        if kind == "stringValue":
            value = self.text(value, told["key"], where)
        elif kind not in _FIXED:
            value = self.plant(value, told["key"], where)
        return {**told, "value": {kind: value} if kind else {}}

    def _beside(self, told: Json, where: str) -> Json:
        return {**told, "key": f"{told['key']}.{self._canaries(f'{self._name} {where}/key')}"}

    def _json(self, value: Any, key: str, where: str) -> Any:
        if isinstance(value, dict):
            found = {name: self._json(inner, str(name), where) for name, inner in value.items()}
            if self._mode == "keys":
                found |= {self._canaries(f"{self._name} {where}/key"): 1}
            return found
        if isinstance(value, list | tuple):
            return [self._json(item, key, where) for item in value]
        return self.text(value, key, where) if isinstance(value, str) else value


_PASSED: Final = frozenset(
    (
        "resourceSpans", "scopeSpans", "resourceLogs", "scopeLogs", "resourceMetrics", "scopeMetrics",
        "value", "stringValue", "arrayValue", "kvlistValue", "values",
    )
)  # fmt: skip


def _is_code(text: str, key: str) -> bool:
    return bool(_STEERS.search(key) or _CODED.fullmatch(text) or not text)


def _place(where: str, name: str) -> str:
    """Places are told by what they stand in, without the ways of OTLP around it."""
    return where if name in _PASSED else f"{where}.{name}".lstrip(".")


def attribute(key: str, value: str) -> Json:
    """An attribute of text."""
    return {"key": key, "value": {"stringValue": value}}


def move(value: Any, number: int, shift_ns: int, key: str = "") -> Any:
    """The request with ids of its own, by the number, and other times."""
    if isinstance(value, dict):
        return {name: move(inner, number, shift_ns, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [move(item, number, shift_ns, key) for item in value]
    if key == "traceId" and value:
        return f"{number:08x}{value[8:]}"
    if key in ("spanId", "parentSpanId") and value:
        return f"{number:08x}{value[8:]}"
    if key.endswith("UnixNano") and int(value):
        return str(int(value) + shift_ns)
    return value
