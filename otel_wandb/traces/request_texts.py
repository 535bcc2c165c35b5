"""What was asked and answered in a request, as its calls tell that are stored: redacted, and cut where too
large.

The calls are read as they were encoded for Weave. Content may be absent anywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from otel_wandb.conventions.decoding import encode_text
from otel_wandb.conventions.facts import Json
from otel_wandb.traces.request_samples import RequestSample

MAX_IMAGE_BYTES: Final = 256 << 10
"""A larger image is only described."""

_MAX_NODES: Final = 2000
_IMAGE: Final = re.compile(r"data:(image/(?:png|jpeg|gif|webp|bmp));base64,([A-Za-z0-9+/]+={0,2})")
_LEFT_OUT: Final = "[left out: image/"
_URL_PARTS: Final = ("image_url", "input_image", "image")
_MAX_NOTE: Final = 300

BodyOf: TypeAlias = Callable[[str], bytes | None]
"""The encoded call of a span; None where it is not known."""


class RequestText(NamedTuple):
    """What is known of a request in words; what is not told is empty.

    `image` is a data URI, and `image_note` says what it is, or where, if it is not shown.
    """

    question: str = ""
    answer: str = ""
    image: str = ""
    image_note: str = ""
    error: str = ""
    user: str = ""
    session: str = ""


class _Names(msgspec.Struct):
    user_id: str | None = None
    session_id: str | None = None


class _Body(msgspec.Struct):
    inputs: Json = {}
    output: object = None
    exception: str | None = None
    attributes: _Names = msgspec.field(default_factory=_Names)


class _Fault(msgspec.Struct):
    type: str = ""
    message: str = ""


_decode = msgspec.json.Decoder(_Body).decode
_decode_fault = msgspec.json.Decoder(_Fault).decode


def read_texts(request: RequestSample, body_of: BodyOf) -> RequestText:
    """The texts of a request. Never raises on account of what the calls hold."""
    calls = _Calls(body_of)
    asked = next(_find(calls, request.members, _question_of), None)
    answered = next(_find(calls, _answer_order(request), _answer_of), None)
    image, note = _find_image(asked)
    entrance = calls.get(request.span_id)
    named = calls.get(request.user_at), calls.get(request.session_at)
    return RequestText(
        _to_text(asked),
        _to_text(answered),
        image,
        note,
        _read_error(entrance),
        (named[0].attributes.user_id if named[0] else None) or "",
        (named[1].attributes.session_id if named[1] else None) or "",
    )


class _Calls:
    """The calls of a request, decoded once each."""

    def __init__(self, body_of: BodyOf) -> None:
        self._body_of = body_of
        self._known: dict[str, _Body | None] = {}

    def get(self, span_id: str) -> _Body | None:
        """The call of the span; None where there is none, or where it cannot be read."""
        if span_id not in self._known:
            body = self._body_of(span_id) if span_id else None
            try:
                self._known[span_id] = None if body is None else _decode(body)
            except msgspec.MsgspecError:
                self._known[span_id] = None
        return self._known[span_id]


def _answer_order(request: RequestSample) -> Sequence[str]:
    """The entrance first, then what came last."""
    if request.members and request.members[0] == request.span_id:
        return [request.span_id, *reversed(request.members[1:])]
    return request.members[::-1]


def _find(calls: _Calls, span_ids: Sequence[str], read: Callable[[_Body], object]) -> Iterator[object]:
    for span_id in span_ids:
        body = calls.get(span_id)
        if body is not None and (found := read(body)) not in (None, "", [], {}):
            yield found


def _question_of(body: _Body) -> object:
    inputs = body.inputs
    for name in ("query", "input"):
        if inputs.get(name) not in (None, ""):
            return _last_said(inputs[name], "user")
    if "messages" in inputs:
        return _last_said(inputs["messages"], "user")
    return inputs.get("arguments", inputs.get("withheld"))


def _answer_of(body: _Body) -> object:
    output = body.output
    if not isinstance(output, dict):
        return output
    if output.get("output") not in (None, ""):
        return _last_said(output["output"], "assistant")
    choices = output.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        return message.get("content") if isinstance(message, dict) else None
    return output.get("result")


def _last_said(value: object, role: str) -> object:
    """Of messages, what that role said last; anything else as it is."""
    if not (isinstance(value, list) and value and all(isinstance(m, dict) and "role" in m for m in value)):
        return value
    said = [message.get("content") for message in value if message.get("role") == role]
    return next((content for content in reversed(said) if content), None)


def _to_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, dict) and "type" in part for part in value):
        texts = [part["text"] for part in value if isinstance(part.get("text"), str)]
        return "\n".join(text for text in texts if not text.startswith(_LEFT_OUT))
    return _IMAGE.sub("[image]", encode_text(value))


def _find_image(value: object) -> tuple[str, str]:
    """The first image in what was asked, as a data URI if it is here, and what it is, or where."""
    for key, text in _walk(value):
        if (found := _IMAGE.match(text)) is not None:
            size = len(found[2].rstrip("=")) * 3 // 4
            digest = hashlib.sha256(found[2].encode()).hexdigest()[:12]
            note = f"{found[1]}, {size} bytes, {digest}"
            return (found[0] if size <= MAX_IMAGE_BYTES else ""), note
        if text.startswith(_LEFT_OUT):
            return "", text[len("[left out: ") :].rstrip("]")[:_MAX_NOTE]
        if key in _URL_PARTS and text.startswith(("http://", "https://", "gs://", "s3://")):
            return "", text[:_MAX_NOTE]
    return "", ""


def _walk(value: object) -> Iterator[tuple[str, str]]:
    """The texts in the value in their order, each with the name of what it is in; of many the first."""
    stack: list[tuple[str, object]] = [("", value)]
    for _ in range(_MAX_NODES):
        if not stack:
            return
        key, item = stack.pop()
        if isinstance(item, str):
            yield key, item
        elif isinstance(item, dict):
            stack += [(key if name == "url" else name, inner) for name, inner in reversed(item.items())]
        elif isinstance(item, list):
            stack += [(key, inner) for inner in reversed(item)]


def _read_error(body: _Body | None) -> str:
    if body is None or not body.exception:
        return ""
    try:
        fault = _decode_fault(body.exception)
    except msgspec.MsgspecError:
        return body.exception
    if not fault.message or fault.message == fault.type:
        return fault.type
    return f"{fault.type}: {fault.message}" if fault.type else fault.message
