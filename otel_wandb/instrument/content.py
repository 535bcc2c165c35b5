"""What users give an application and get from it, as JSON text for an attribute: bounded, with media inside.

A file is told as Gradio tells it: an object with `path` and the mark `gradio.FileData`. Images, sound and
films that are small enough become data URIs, of which Weave makes content; any other file becomes a note.
Only files in the folders that are named are read, since a path in what a browser sent may be any.
"""

from __future__ import annotations

import base64
import json
import math
import mimetypes
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""OpenTelemetry's switch for what models are asked and answer; what users type is of the same kind."""

MAX_MEDIA_BYTES: Final = 1 << 20
MAX_TEXT_CHARS: Final = 100_000
MAX_VALUES: Final = 20_000
MAX_DEPTH: Final = 40

_NO: Final = frozenset(("false", "no_content", "none", "0"))
_MEDIA: Final = ("image/", "audio/", "video/")
_FILE: Final = "gradio.FileData"


def captures_content(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether content is told: unless the variable says no."""
    return environ.get(CAPTURE, "").strip().lower() not in _NO


class ContentReader:
    """Turns values into JSON text. Not thread-safe; made for one event.

    Args:
        folders: where files may be read.
        max_media_bytes: how large all media of the event may be together.
    """

    def __init__(self, folders: Iterable[str] = (), *, max_media_bytes: int = MAX_MEDIA_BYTES) -> None:
        self._folders = [os.path.realpath(folder) for folder in folders if folder]
        self._bytes_left = max_media_bytes
        self._values_left = MAX_VALUES

    def encode(self, value: object) -> str:
        """The value as text: a string as it is, anything else as JSON."""
        told = self.tell(value)
        return told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)

    def tell(self, value: object, depth: int = 0) -> object:
        """The value in what JSON knows; what is too much is cut and says so."""
        self._values_left -= 1
        if self._values_left < 0 or depth > MAX_DEPTH:
            return "[left out: too many values]"
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, str):
            return _cut(value)
        if isinstance(value, Mapping):
            return self._tell_mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return [self.tell(item, depth + 1) for item in list(value)[: max(self._values_left, 0) + 1]]
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return self.tell(dump(), depth + 1)
        return _cut(str(value))

    def _tell_mapping(self, value: Mapping[object, object], depth: int) -> object:
        if _is_file(value):
            return self._tell_file(value)
        if value.get("__type__") == "update":
            return self.tell(value.get("value"), depth + 1)
        inner = value.get("file")
        if value.get("type") == "file" and isinstance(inner, Mapping) and _is_file(inner):
            return self._tell_part(inner)
        return {str(key): self.tell(item, depth + 1) for key, item in value.items()}

    def _tell_part(self, file: Mapping[object, object]) -> object:
        """A file in a message, as the chat-completions shape has it."""
        told = self._tell_file(file)
        if isinstance(told, str) and told.startswith("data:image/"):
            return {"type": "image_url", "image_url": {"url": told}}
        return {"type": "file", "file": told}

    def _tell_file(self, file: Mapping[object, object]) -> object:
        path, name = str(file.get("path") or ""), str(file.get("orig_name") or "")
        name = name or path.rpartition(os.sep)[2] or str(file.get("url") or "file")
        kind = str(
            file.get("mime_type") or mimetypes.guess_type(name)[0] or mimetypes.guess_type(path)[0] or ""
        )
        if kind.startswith(_MEDIA) and (content := self._read(path)) is not None:
            return f"data:{kind};base64,{base64.b64encode(content).decode()}"
        note: dict[str, object] = {"file": _cut(name)}
        if kind:
            note["mime_type"] = kind
        if isinstance(size := file.get("size"), int):
            note["size"] = size
        return note

    def _read(self, path: str) -> bytes | None:
        """The file, if it is in one of the folders and small enough."""
        real = os.path.realpath(path)
        if not path or not any(os.path.commonpath((real, folder)) == folder for folder in self._folders):
            return None
        try:
            if not 0 < Path(real).stat().st_size <= self._bytes_left:
                return None
            with Path(real).open("rb") as file:
                content = file.read(self._bytes_left)
        except OSError:
            return None
        self._bytes_left -= len(content)
        return content


def _is_file(value: Mapping[object, object]) -> bool:
    meta = value.get("meta")
    return isinstance(meta, Mapping) and meta.get("_type") == _FILE and "path" in value


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARS:
        return text
    if text.startswith("data:"):  # cut, it would be no picture any more
        kind = text[:100].partition(",")[0]
        return text if len(text) <= 2 * MAX_MEDIA_BYTES else f"[left out: {kind}, {len(text)} characters]"
    return f"{text[:MAX_TEXT_CHARS]}… [cut, {len(text)} characters]"
