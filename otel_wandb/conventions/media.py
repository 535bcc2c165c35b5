"""Images, sound and documents in messages: the shapes that producers give them, and the data URI they become.

Weave's server makes content of data URIs. What is an address or the id of a file stays one. A declared media
type is believed if it can be one, else the first bytes tell; bytes that are no base64 stay as they came.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias

from otel_wandb.conventions.facts import Json

Where: TypeAlias = Literal["file_data", "file_url", "file_id"]

_UNKNOWN: Final = "application/octet-stream"
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,60}/[a-z0-9][a-z0-9.+_-]{0,60}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_DATA_URI: Final = re.compile(r"data:([^,;\s\"]{0,200})(?:;[^,;\s\"]{0,200}){0,9};base64,", re.IGNORECASE)
_URL_SAFE: Final = str.maketrans("-_", "+/")
_BREAKS: Final = (" ", "\n", "\r", "\t")
_MAX_HEAD: Final = 1300
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_DOCUMENTS: Final = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
}


class Media(NamedTuple):
    """A medium of a message: what kind it is, where it is (in `url`, or there), what else is said."""

    modality: str
    where: Where
    url: str
    rest: Json


def read_media(part: Json) -> Media | None:
    """The medium that the part is, in any of the usual shapes; `None` where it is none, or unreadable."""
    kind = part.get("type")
    reader = _TYPED.get(kind) if isinstance(kind, str) else None
    if reader is None and kind is None:
        reader = next((_NAMED[name] for name in part if name in _NAMED), None)
    return reader(part) if reader is not None else None


def data_uri(data: object, mime_type: object = None) -> str | None:
    """The data URI of bytes in any form in which telemetry has them; `None` if they cannot be that."""
    if isinstance(data, (dict, list, tuple)):
        data = _listed_bytes(data)
    if isinstance(data, bytes):
        encoded = base64.b64encode(data).decode()
        return f"data:{_media_type(mime_type, data[:16])};base64,{encoded}"
    if not isinstance(data, str):
        return None
    head = _DATA_URI.match(data[:_MAX_HEAD])
    if head is not None:
        mime_type, data = head[1] or mime_type, data[head.end() :]
    elif data[:5].lower() == "data:":
        return data if len(data) > len("data:,") else None  # not base64: Weave keeps it as it is
    encoded_or_none = _plain_base64(data)
    if not encoded_or_none:
        return None
    return f"data:{_media_type(mime_type, _first_bytes(encoded_or_none))};base64,{encoded_or_none}"


def _plain_base64(data: str) -> str | None:
    """The text in the standard alphabet, padded and without breaks; `None` if it is no base64."""
    if not data.isascii():
        return None
    for mark in _BREAKS:
        if mark in data:
            data = data.replace(mark, "")
    if "-" in data or "_" in data:
        data = data.translate(_URL_SAFE)
    if _BASE64.fullmatch(data) is None:
        return None
    data = data.rstrip("=")
    return None if len(data) % 4 == 1 else data + "=" * (-len(data) % 4)


def _first_bytes(encoded: str) -> bytes:
    start = encoded[:24]
    return base64.b64decode(start) if len(start) % 4 == 0 else b""


def _media_type(declared: object, start: bytes) -> str:
    """The declared type without its parameters, if it is one and no pattern; else what the bytes say."""
    word = declared.split(";", 1)[0].strip().lower() if isinstance(declared, str) else ""
    if _MEDIA_TYPE.fullmatch(word):
        return word
    for magic, found in _MAGIC:
        if start.startswith(magic):
            return found
    if start.startswith(b"RIFF"):
        return _RIFF.get(start[8:12], _UNKNOWN)
    return "video/mp4" if start[4:8] == b"ftyp" else _UNKNOWN


def _listed_bytes(data: dict[str, object] | list[object] | tuple[object, ...]) -> bytes | None:
    """Bytes as JavaScript writes them: a Buffer, an array of numbers, or an object of numbered members."""
    numbers = data
    if isinstance(numbers, dict):
        inner = numbers.get("data")
        if numbers.get("type") == "Buffer" and isinstance(inner, list):
            numbers = inner
        elif "0" in numbers:
            numbers = list(numbers.values())
    if not isinstance(numbers, (list, tuple)):
        return None
    try:
        return bytes(numbers) or None  # type: ignore[arg-type]  # it raises for what is no byte
    except (TypeError, ValueError):
        return None


def _first(part: Json, *names: str) -> object:
    return next((part[name] for name in names if part.get(name) is not None), None)


def _rest(part: Json, *known: str) -> Json:
    return {key: value for key, value in part.items() if key not in known and value is not None}


def _modality(given: object, url: str) -> str:
    """What kind of medium it is: as the part says, else as its media type begins."""
    if isinstance(given, str) and given in ("image", "audio", "video", "document", "file"):
        return given
    return url[5:].split("/", 1)[0] if url[:5] == "data:" else ""


def _bytes_media(modality: object, data: object, mime_type: object, rest: Json) -> Media | None:
    url = data_uri(data, mime_type)
    return None if url is None else Media(_modality(modality, url), "file_data", url, rest)


def _address(modality: object, url: object, mime_type: object, rest: Json) -> Media | None:
    if not isinstance(url, str) or not url:
        return None
    if url[:5].lower() == "data:":
        return _bytes_media(modality, url, mime_type, rest)
    if isinstance(mime_type, str) and mime_type:
        rest = {**rest, "mime_type": mime_type}
        modality = modality or mime_type.split("/", 1)[0]
    return Media(_modality(modality, url), "file_url", url, rest)


def _blob(part: Json) -> Media | None:
    data, mime_type = _first(part, "content", "data"), _first(part, "mime_type", "media_type")
    rest = _rest(part, "type", "content", "data", "mime_type", "media_type")
    return _bytes_media(part.get("modality"), data, mime_type, rest)


def _uri(part: Json) -> Media | None:
    rest = _rest(part, "type", "uri", "mime_type")
    return _address(part.get("modality"), part.get("uri"), part.get("mime_type"), rest)


def _file_id(part: Json) -> Media | None:
    file_id = part.get("file_id")
    if not isinstance(file_id, str):
        return None
    modality = _modality(part.get("modality") or str(part.get("mime_type") or "").split("/", 1)[0], "")
    return Media(modality, "file_id", file_id, _rest(part, "type", "file_id"))


_TYPE_KEYS: Final = ("mime_type", "media_type", "mediaType", "mimeType")


def _typed(part: Json) -> Media | None:
    """`{"type": "image", …}`: Anthropic's source, LangChain's blocks, the AI SDK's files."""
    kind, source, mime_type = part["type"], part.get("source"), _first(part, *_TYPE_KEYS)
    if isinstance(source, dict):
        rest = _rest(part, "type", "source")
        if (data := source.get("data")) is not None and source.get("type") != "text":
            return _bytes_media(kind, data, _first(source, *_TYPE_KEYS), rest)
        if (url := source.get("url")) is not None:
            return _address(kind, url, None, rest)
        return _file_id({"type": kind, "modality": kind, "file_id": source.get("file_id"), **rest})
    rest = _rest(part, "type", "source_type", "base64", "data", "url", "file_uri", *_TYPE_KEYS)
    data = _first(part, "base64", "data")
    if isinstance(kind, str) and data is None:
        data = part.get(kind) if kind in ("image", "audio", "video") else None
        rest.pop(kind, None)
    if isinstance(data, str) and data.startswith(("http://", "https://")):
        return _address(kind, data, mime_type, rest)
    if data is not None:
        modality = kind if kind in ("image", "audio", "video") else None
        return _bytes_media(modality, data, mime_type, rest)
    if (url := _first(part, "url", "file_uri")) is not None:
        return _address(kind, url, mime_type, rest)
    return _file_id(part)


def _sound(part: Json) -> Media | None:
    """OpenAI's `input_audio`: bare base64 with a format beside it."""
    told = part.get("input_audio")
    if not isinstance(told, dict):
        return None
    sound = told.get("format")
    mime_type = f"audio/{sound}" if isinstance(sound, str) else "audio/*"
    return _bytes_media("audio", told.get("data"), mime_type, _rest(part, "type", "input_audio"))


def _google(part: Json) -> Media | None:
    """Gemini's `inline_data` and `file_data`, in both spellings."""
    names = ("inline_data", "inlineData", "file_data", "fileData")
    told = _first(part, *names)
    if not isinstance(told, dict):
        return None
    rest = _rest(part, *names)
    if (url := _first(told, "file_uri", "fileUri")) is not None:
        return _address(None, url, _first(told, *_TYPE_KEYS), rest)
    return _bytes_media(None, told.get("data"), _first(told, *_TYPE_KEYS), rest)


def _bedrock(part: Json) -> Media | None:
    """Converse's `{"image": {"format", "source": {"bytes"}}}`; sound, films and documents are alike."""
    kind = next(name for name in ("image", "audio", "video", "document") if name in part)
    told = part[kind]
    source = told.get("source") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(source, dict):
        return None
    rest = {**_rest(part, kind), **_rest(told, "format", "source")}
    word = str(told.get("format") or "")
    if kind == "document":
        mime_type = _DOCUMENTS.get(word, f"application/{word}")
    else:
        mime_type = f"{kind}/{word}" if word else f"{kind}/*"
    if (data := source.get("bytes")) is not None:
        if isinstance(data, dict) and "__bytes__" in data:
            data = data["__bytes__"]
        return _bytes_media(kind, data, mime_type, rest)
    place = source.get("s3Location")
    return _address(kind, place.get("uri") if isinstance(place, dict) else None, mime_type, rest)


def _pydantic_url(part: Json) -> Media | None:
    kind = str(part["type"]).removesuffix("-url")
    return _address(kind, part.get("url"), part.get("media_type"), _rest(part, "type", "url", "media_type"))


_Reader: TypeAlias = Callable[[Json], "Media | None"]

_TYPED: Final[dict[str, _Reader]] = {
    **dict.fromkeys(("blob", "binary"), _blob),
    "uri": _uri,
    **dict.fromkeys(("image", "audio", "video", "document", "media", "file"), _typed),
    "input_audio": _sound,
    **dict.fromkeys(("image-url", "audio-url", "video-url", "document-url"), _pydantic_url),
}
_NAMED: Final[dict[str, _Reader]] = {
    **dict.fromkeys(("inline_data", "inlineData", "file_data", "fileData"), _google),
    **dict.fromkeys(("image", "audio", "video", "document"), _bedrock),
}
"""Parts without a type, told by the name of what they hold."""

MEDIA_TYPES: Final = tuple(_TYPED)
MEDIA_NAMES: Final = tuple(_NAMED)
"""By what a part shows that it may be a medium: its type, and where it has none, a member."""
