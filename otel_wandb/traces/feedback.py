"""A score as Weave's feedback: its id, its type, and what is said in it.

Weave shows feedback of the type `wandb.runnable.NAME` as the score NAME of a call, with a column for each
member of `payload.output`. Members have the same names in every score, so that one filter finds them all.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import msgspec

from otel_wandb.conventions.decoding import encode_text
from otel_wandb.conventions.facts import Json
from otel_wandb.conventions.scores import Score
from otel_wandb.conventions.times import iso_time

TYPE_PREFIX: Final = "wandb.runnable."
_MAX_NAME_CHARS: Final = 128
_DIGEST_CHARS: Final = 8
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._]+")
_RUNS: Final = re.compile(r"[._-]{2,}")
_NOTE: Final = "withheld: the redaction of this score failed"


_CUT: Final = "… [cut]"
_NAME_CHARS: Final = 500
_LABEL_CHARS: Final = 1000
_EXPLANATION_CHARS: Final = 50_000
_Limits: TypeAlias = dict[str, "int | _Limits"]
_LIMITS_CHARS: Final[_Limits] = {
    "name": _NAME_CHARS,
    "creator": _NAME_CHARS,
    "payload": {
        "output": {"label": _LABEL_CHARS, "explanation": _EXPLANATION_CHARS, "error": _LABEL_CHARS},
        "name": _NAME_CHARS,
        "value_text": _LABEL_CHARS,
        "kind": _NAME_CHARS,
        "evaluator": _NAME_CHARS,
    },
}
"""How long texts of a score may be. They are cut behind the redaction, which would not know half a secret."""


class Cleaned(NamedTuple):
    """What a redactor gives back of a document, and whether it had to give up."""

    body: bytes
    withheld: bool


Clean = Callable[[bytes], Cleaned]


def feedback_id(score: Score, trace_id: str, span_id: str) -> str:
    """The id of the score in Weave: the same one for the same score, whenever and wherever it is read.

    The ids are those that the telemetry names, and not those of the call that is found for them.
    """
    return str(uuid.UUID(bytes=score.digest(trace_id, span_id), version=5))


def encode_feedback(score: Score, uid: str, clean: Clean) -> bytes:
    """The feedback as JSON, cleaned, without what names the project and the call; it starts with the id."""
    told: Json = {"name": score.name, "creator": _creator(score), "payload": _payload(score)}
    encoded = encode_text(told).encode()
    cleaned = clean(encoded)
    if cleaned.withheld:
        told = {"name": "withheld", "creator": None, "payload": _withheld(score)}
    elif cleaned.body is not encoded:
        told = msgspec.json.decode(cleaned.body, type=dict[str, object])
    told = _cut(told, _LIMITS_CHARS)
    document: Json = {"id": uid, "feedback_type": TYPE_PREFIX + object_name(str(told["name"]))}
    if told["creator"] is not None:
        document["creator"] = told["creator"]
    return encode_text({**document, "payload": told["payload"]}).encode()


def _cut(told: Json, limits: _Limits) -> Json:
    cut: Json = {}
    for name, value in told.items():
        limit = limits.get(name)
        if isinstance(limit, dict):
            cut[name] = _cut(value, limit) if isinstance(value, dict) else value
        elif limit is not None and isinstance(value, str) and len(value) > limit:
            cut[name] = value[: limit - len(_CUT)] + _CUT
        else:
            cut[name] = value
    return cut


def object_name(name: str) -> str:
    """The name as Weave allows one: letters, digits, dots, dashes and underscores, at most 128 of them.

    Spaces and punctuation become dashes, as in weave itself; where more than that is lost, a hash tells such
    names apart.
    """
    plain = _RUNS.sub("-", _STRANGE.sub("-", name)).strip("-_.")
    if plain and len(plain) <= _MAX_NAME_CHARS and name.isascii():
        return plain
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=_DIGEST_CHARS // 2).hexdigest()
    return f"{plain[: _MAX_NAME_CHARS - _DIGEST_CHARS - 1] or 'score'}-{digest}"


def _payload(score: Score) -> Json:
    output: Json = {"score": score.value}
    output |= _told(label=score.label, explanation=score.explanation, error=score.error_type)
    if score.value is None and score.value_text is None:
        del output["score"]
    payload: Json = {"output": output, "name": score.name}
    payload |= _told(
        value_text=score.value_text,
        kind=score.kind,
        evaluator=score.evaluator,
        scope=score.scope if score.scope != "span" else None,
        time=iso_time(score.time_ns) if score.time_ns else None,
        metadata=score.metadata,
    )
    return payload


def _told(**members: object) -> Json:
    return {name: value for name, value in members.items() if value not in (None, "")}


def _creator(score: Score) -> str | None:
    return score.evaluator or score.kind.lower() or None


def _withheld(score: Score) -> Json:
    return {"output": {"score": score.value}, "name": "withheld", "withheld": _NOTE}
