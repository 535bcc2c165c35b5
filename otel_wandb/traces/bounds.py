"""The size of a call: media above a limit become a note, and a call that no request could carry is cut.

It looks at the encoded call, and only at one that is large enough for it. What is left out is told in its
place, with type, size and SHA-256 of a medium, and in `attributes.mapping_warnings`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import msgspec

from otel_wandb.conventions.facts import Json

_EMBEDDED: Final = re.compile(r"data:([^:,;\s\"'<>()]{1,200});base64,([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_BARE: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_PARTS: Final = frozenset(("image_url", "input_image", "input_audio", "file", "input_file"))
_SMALL_CHARS: Final = 64 << 10
"""A text that is cut keeps so much; shorter ones are never cut."""
_NOTE_CHARS: Final = 500
"""No note is longer, with its surroundings."""
_NOTE_START: Final = "[left out: "
_CONTENT: Final = ("inputs", "output", "exception", "attributes")
_GIVEN_UP: Final = "left out: the call is larger than a request may be"


class Bounded(NamedTuple):
    """The body that fits, and how often each kind of thing was left out."""

    body: bytes
    left_out: Counter[str]


def bound_call(body: bytes, *, media_bytes: int, call_bytes: int) -> Bounded:
    """The call with media of at most so many bytes each, and no larger than so many bytes itself."""
    left_out: Counter[str] = Counter()
    if len(body) <= min(media_bytes * 4 // 3, call_bytes):
        return Bounded(body, left_out)
    call = msgspec.json.decode(body, type=dict[str, object])
    whole = _replace(call, lambda text: _without_media(text, media_bytes, left_out))
    if left_out:
        body = _encode(whole, left_out)
    if len(body) > call_bytes:
        body = _encode(_fit(whole, len(body) - call_bytes, left_out), left_out)
    if len(body) > call_bytes:  # many small things: what the call is stays, what it says goes
        left_out["content"] += 1
        body = _encode(_give_up(whole), left_out)
    return Bounded(body, left_out)


def _encode(call: Json, left_out: Counter[str]) -> bytes:
    attributes = call.get("attributes")
    told = attributes if isinstance(attributes, dict) else {}
    warnings = told.get("mapping_warnings")
    known = warnings if isinstance(warnings, list) else []
    added = [code for kind in sorted(left_out) if (code := f"{kind}_left_out") not in known]
    return msgspec.json.encode({**call, "attributes": {**told, "mapping_warnings": [*known, *added]}})


def _replace(call: Json, change: Callable[[str], str]) -> Json:
    """The call with each long text changed; a part that held nothing but it becomes a part of text."""
    return {key: _changed(value, change) if key in _CONTENT else value for key, value in call.items()}


def _changed(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value) if len(value) > _SMALL_CHARS else value
    if isinstance(value, list):
        return [_changed(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    changed: Json = {key: _changed(item, change) for key, item in value.items()}
    kind = value.get("type")
    if isinstance(kind, str) and kind in _PARTS and (note := _note_in(changed.get(kind, changed))):
        return {"type": "text", "text": note, **{k: v for k, v in changed.items() if k not in ("type", kind)}}
    return changed


def _note_in(told: object) -> str:
    for text in told.values() if isinstance(told, dict) else (told,):
        if isinstance(text, str) and text.startswith(_NOTE_START):
            return text
    return ""


def _without_media(text: str, most_bytes: int, left_out: Counter[str]) -> str:
    def note(found: re.Match[str]) -> str:
        mime_type, encoded = (found[1], found[2]) if found.re is _EMBEDDED else ("", found[0])
        size = len(encoded.rstrip("=")) * 3 // 4
        if size <= most_bytes:
            return found[0]
        left_out["media"] += 1
        return _describe(mime_type or "base64", encoded, size)

    if len(text) <= most_bytes:
        return text
    if (bare := _BARE.fullmatch(text)) is not None:
        return note(bare)
    return _EMBEDDED.sub(note, text) if ";base64," in text.lower() else text


def _describe(mime_type: str, encoded: str, size: int) -> str:
    try:
        digest = hashlib.sha256(base64.b64decode(encoded)).hexdigest()
    except binascii.Error:  # cut off somewhere: there is only the text
        digest = hashlib.sha256(encoded.encode()).hexdigest() + " of the encoded text"
    return f"{_NOTE_START}{mime_type}, {size} bytes, sha256 {digest}]"


def _fit(call: Json, excess: int, left_out: Counter[str]) -> Json:
    """The call without its largest media, and if that is not enough with its largest texts cut."""
    for way in (_MEDIA, _TEXT):
        savings: list[int] = []
        _replace(call, partial(_measure, way=way, savings=savings))
        chosen: Counter[int] = Counter()
        for saving in sorted(savings, reverse=True):
            if excess <= 0:
                break
            chosen[saving] += 1
            excess -= saving
        if chosen:
            call = _replace(call, partial(_shorten, way=way, chosen=chosen, left_out=left_out))
    return call


class _Way(NamedTuple):
    """How texts are made shorter: what that saves at least (0: it cannot be done), and to what."""

    kind: str
    saving: Callable[[str], int]
    shorten: Callable[[str], str]


def _measure(text: str, way: _Way, savings: list[int]) -> str:
    if saving := way.saving(text):
        savings.append(saving)
    return text


def _shorten(text: str, way: _Way, chosen: Counter[int], left_out: Counter[str]) -> str:
    saving = way.saving(text)
    if not saving or chosen[saving] <= 0:
        return text
    chosen[saving] -= 1
    left_out[way.kind] += 1
    return way.shorten(text)


def _saved_by_note(text: str) -> int:
    return len(text) - _NOTE_CHARS if _EMBEDDED.fullmatch(text) is not None else 0


def _as_note(text: str) -> str:
    head, _, encoded = text.partition(",")
    return _describe(head[5:].split(";", 1)[0], encoded, len(encoded.rstrip("=")) * 3 // 4)


def _saved_by_cut(text: str) -> int:
    return max(0, len(text[_SMALL_CHARS:].encode()) - _NOTE_CHARS)


def _as_start(text: str) -> str:
    return f"{text[:_SMALL_CHARS]}… [cut from {len(text)} characters]"


_MEDIA: Final = _Way("media", _saved_by_note, _as_note)
_TEXT: Final = _Way("text", _saved_by_cut, _as_start)


def _give_up(call: Json) -> Json:
    attributes = call.get("attributes")
    told = attributes if isinstance(attributes, dict) else {}
    kept = {key: told[key] for key in ("kind", "weave", "dialect") if key in told}
    small = {key: value for key, value in call.items() if key not in _CONTENT}
    small |= {"inputs": {"note": _GIVEN_UP}, "output": {"note": _GIVEN_UP}, "attributes": kept}
    if call.get("exception"):
        small["exception"] = msgspec.json.encode({"type": "error", "message": _GIVEN_UP}).decode()
    return small
