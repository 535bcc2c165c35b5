"""What users ask for beyond patterns: keys by glob, a function of their own, and how much is captured.

These look at the decoded call, so they cost more than patterns, and nothing where nothing is set. A glob is
held against the end of the dotted path of a value, such as `attributes.otel.app.user.email`: `email`,
`user.email` and `inputs.*` all may match. Elements of a list have the path of the list, and JSON in a string
is looked into.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec
import re2

from otel_wandb.conventions.facts import Json
from otel_wandb.outlines import NOT_CAPTURED, outline, outline_text
from otel_wandb.own_redaction import OwnRedactor, RedactionError
from otel_wandb.redaction import Mark

Capture: TypeAlias = Literal["full", "metadata", "none"]

_MAX_PATHS: Final = 20_000
_MAX_NESTING: Final = 8
_ALWAYS: Final = re.compile(r"(?:service|telemetry\.sdk|wandb|deployment\.environment)(?:\.|$)")
"""Resource attributes that say whose a call is, and where it goes."""
_FIXED: Final = frozenset(
    (
        "id", "trace_id", "parent_id", "turn_id", "started_at", "ended_at", "summary", "attributes.kind",
        "attributes.weave",
    )
)  # fmt: skip
"""Paths of a call whose values others go by: nothing below them is touched."""
_HELD: Final = frozenset(("name", "creator", "payload", "payload.output"))
"""Paths of a score that have to be there; what is below them is looked at."""
_NONE: Final[frozenset[str]] = frozenset()
_MOMENTS: Final = ("otel_events", "otel_logs", "otel_links")
_FREE: Final = ("otel", "metadata")

_decode: Final = msgspec.json.Decoder(dict[str, object]).decode
_encode: Final = msgspec.json.encode


def is_always_kept(name: str) -> bool:
    """Whether the resource attribute says whose a call is, or where it goes."""
    return _ALWAYS.match(name) is not None


class Globs:
    """Globs over dotted paths; `*` stands for anything, dots too. Case does not matter. Linear time."""

    def __init__(self, globs: Sequence[str]) -> None:
        options = re2.Options()
        options.case_sensitive = False
        options.dot_nl = True
        told = "|".join(_translate(glob) for glob in globs)
        self._search = re2.compile(rf"(?:^|\.)(?:{told})$", options).search
        self._known: dict[str, bool] = {}

    def match(self, path: str) -> bool:
        """Whether a glob matches the path, or the end of it from a dot on."""
        known = self._known.get(path)
        if known is None:
            if len(self._known) >= _MAX_PATHS:
                self._known.clear()
            known = self._known[path] = self._search(path) is not None
        return known


def _translate(glob: str) -> str:
    special = {"*": ".*", "?": "."}
    return "".join(special.get(char) or re2.escape(char) for char in glob)


@dataclass(frozen=True, slots=True)
class Rules:
    """What is asked for. `drops`: a member whose key matches goes; else its value becomes a mark."""

    mark: Mark
    redact_keys: Globs | None = None
    keep_keys: Globs | None = None
    own: OwnRedactor | None = None
    capture: Capture = "full"
    drops: bool = False

    def change_call(self, body: bytes) -> tuple[bytes, int]:
        """The call as the rules have it, and how many values were replaced for their key."""
        call = _decode(body)
        if self.capture == "none":
            _leave_out(call)
        elif self.capture == "metadata":
            for name in ("inputs", "output"):
                if name in call:
                    call[name] = outline(call[name], name)
        if self.keep_keys is not None:
            _keep_listed(call, self.keep_keys)
        return self._change(call, closed=_FIXED, is_call=True)

    def change_feedback(self, body: bytes) -> tuple[bytes, int]:
        """The score as the rules have it."""
        told = _decode(body)
        payload = told.get("payload")
        output = payload.get("output") if isinstance(payload, dict) else None
        if self.capture != "full" and isinstance(output, dict) and isinstance(output.get("explanation"), str):
            output["explanation"] = (
                outline_text(output["explanation"]) if self.capture == "metadata" else NOT_CAPTURED
            )
        return self._change(told, held=_HELD)

    def change_attributes(self, body: bytes) -> tuple[bytes, int]:
        """A flat mapping of attributes, as the rules have it; it may be empty then."""
        return self._change(_decode(body))

    def change_texts(self, body: bytes) -> tuple[bytes, int]:
        """Any document; only the function looks at it, since its keys are none of the user's."""
        if self.own is None:
            return body, 0
        return _encode(_ask(self.own, msgspec.json.decode(body), _NONE)), 0

    def keeps(self, name: str) -> bool:
        """Whether a resource attribute stays, as far as `keep_keys` has to say."""
        return self.keep_keys is None or is_always_kept(name) or self.keep_keys.match(name)

    def _change(
        self,
        told: Json,
        *,
        closed: frozenset[str] = _NONE,
        held: frozenset[str] = _NONE,
        is_call: bool = False,
    ) -> tuple[bytes, int]:
        hits = 0
        if self.redact_keys is not None:
            walk = _KeyWalk(self.redact_keys, self.mark, closed, held, drops=self.drops)
            told = walk.change_members(told, "", 0, keep=is_call)
            hits = walk.hits
        changed = told if self.own is None else _ask(self.own, told, closed)
        return _encode(changed), hits


class _KeyWalk:
    """Replaces values whose path matches."""

    def __init__(
        self, globs: Globs, mark: Mark, closed: frozenset[str], held: frozenset[str], *, drops: bool
    ) -> None:
        self.hits = 0
        self._globs, self._mark, self._closed, self._held, self._drops = globs, mark, closed, held, drops

    def change_members(self, told: Json, path: str, depth: int, *, keep: bool = False) -> Json:
        changed: Json = {}
        for key, value in told.items():
            where = f"{path}.{key}" if path else key
            if where in self._closed or value is None:
                changed[key] = value
            elif where in self._held or not self._globs.match(where):
                changed[key] = self._change(value, where, depth)
            else:
                self.hits += 1
                if keep or not self._drops:
                    changed[key] = self._replace(key, value, keep=keep)
        return changed

    def _change(self, value: object, path: str, depth: int) -> object:
        if isinstance(value, dict):
            return self.change_members(value, path, depth)
        if isinstance(value, list):
            return [self._change(item, path, depth) for item in value]
        if isinstance(value, str) and value[:1] in ("{", "[") and depth < _MAX_NESTING:
            return self._look_into(value, path, depth)
        return value

    def _look_into(self, text: str, path: str, depth: int) -> str:
        before = self.hits
        try:
            told = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
        changed = self._change(told, path, depth + 1)
        return text if self.hits == before else _encode(changed).decode()

    def _replace(self, key: str, value: object, *, keep: bool) -> object:
        secret = value.encode() if isinstance(value, str) else _encode(value)
        told = (self._mark("key", secret) if not self._drops else b"[redacted:key]").decode()
        if keep and isinstance(value, dict):  # what a call has to have, in the form that it has to have
            return {"redacted": told}
        if keep and key == "exception":
            return _encode({"type": "error", "message": told}).decode()
        return told


def _ask(own: OwnRedactor, told: object, closed: frozenset[str]) -> object:
    """The document with each text of it as the function has it."""
    texts = list(_texts(told, "", closed))
    answers = own.redact(texts)
    if len(answers) != len(texts):
        raise RedactionError("not every text was answered")
    return _put(told, "", closed, iter(answers))


def _texts(told: object, path: str, closed: frozenset[str]) -> Iterator[str]:
    if isinstance(told, str):
        if path == "exception" and (inner := _decode_members(told)) is not None:
            yield from _texts(inner, "exception.", closed)
        else:
            yield told
    elif isinstance(told, list):
        for item in told:
            yield from _texts(item, path, closed)
    elif isinstance(told, dict):
        for key, value in told.items():
            if (where := f"{path}.{key}" if path else key) not in closed:
                yield from _texts(value, where, closed)


def _put(told: object, path: str, closed: frozenset[str], answers: Iterator[str]) -> object:
    if isinstance(told, str):
        if path == "exception" and (inner := _decode_members(told)) is not None:
            return _encode(_put(inner, "exception.", closed, answers)).decode()
        return next(answers)
    if isinstance(told, list):
        return [_put(item, path, closed, answers) for item in told]
    if not isinstance(told, dict):
        return told
    changed: Json = {}
    for key, value in told.items():
        where = f"{path}.{key}" if path else key
        changed[key] = value if where in closed else _put(value, where, closed, answers)
    return changed


def _decode_members(text: str) -> Json | None:
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def _leave_out(call: Json) -> None:
    """Nothing that was said stays: neither inputs nor output, nor what an error tells beside its type."""
    call["inputs"] = {}
    call.pop("output", None)
    if isinstance(told := call.get("exception"), str):
        kind = (_decode_members(told) or {}).get("type", "error")
        call["exception"] = _encode({"type": kind, "message": NOT_CAPTURED}).decode()
    attributes = call.get("attributes")
    if isinstance(attributes, dict):
        for name in ("otel", "otel_events", "otel_logs", "derived"):
            attributes.pop(name, None)


def _keep_listed(call: Json, globs: Globs) -> None:
    attributes = call.get("attributes")
    if not isinstance(attributes, dict):
        return
    for name in _FREE:
        _keep_in(attributes, name, globs.match)
    _keep_in(attributes, "resource", lambda path: is_always_kept(path) or globs.match(path))
    for name in _MOMENTS:
        moments = attributes.get(name)
        for moment in moments if isinstance(moments, list) else ():
            if isinstance(moment, dict):
                _keep_in(moment, "attributes", globs.match)


def _keep_in(around: Json, name: str, keeps: Callable[[str], bool]) -> None:
    told = around.get(name)
    if not isinstance(told, dict):
        return
    kept = _kept(told, "", keeps)
    if kept:
        around[name] = kept
    else:
        del around[name]


def _kept(told: Json, path: str, keeps: Callable[[str], bool]) -> Json:
    kept: Json = {}
    for key, value in told.items():
        where = f"{path}.{key}" if path else key
        if keeps(where):
            kept[key] = value
        elif isinstance(value, dict) and (inner := _kept(value, where, keeps)):
            kept[key] = inner
    return kept
