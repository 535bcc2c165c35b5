"""Scores: what somebody, or something, thought of a call.

They come as `gen_ai.evaluation.result` events (OpenTelemetry GenAI, OpenLIT, Pydantic Evals), as annotations
and evaluations of OpenInference, and in the case spans of Pydantic Evals. A value that is no number is never
made one: true and false stay what they are, words become the label, and what JSON has no number for (NaN,
infinities, more digits than a double holds) is told as text.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from otel_wandb.conventions.decoding import encode_text, parse, plain
from otel_wandb.conventions.facts import Facts, Json
from otel_wandb.conventions.indexed_messages import members
from otel_wandb.conventions.moments import keep_moment
from otel_wandb.conventions.table import Dialect, Moment, row

RESULT_EVENT: Final = "gen_ai.evaluation.result"

Scope: TypeAlias = Literal["span", "trace", "session"]
"""What a score is about: the call, its whole trace, or the conversation."""

_PREFIX: Final = "gen_ai.evaluation."
_MAX_METADATA_CHARS: Final = 50_000
_EXACT_INT: Final = 2**53
_MAX_SCORES: Final = 1000


class Score(NamedTuple):
    """One judgement; what it does not tell is `None` or empty. `response_id` may name the call."""

    name: str
    value: int | float | bool | None = None
    value_text: str | None = None
    """The value where it is no number, and not the label either."""
    label: str | None = None
    explanation: str | None = None
    error_type: str | None = None
    kind: str = ""
    """Who judged: HUMAN, LLM, CODE or a producer's own word."""
    evaluator: str | None = None
    metadata: Json | None = None
    response_id: str | None = None
    scope: Scope = "span"
    time_ns: int = 0

    @property
    def tells(self) -> bool:
        """Whether there is any result, or the reason why there is none."""
        return not (
            self.value is None
            and self.value_text is None
            and not (self.label or self.explanation or self.error_type)
        )

    def digest(self, *about: str) -> bytes:
        """Sixteen bytes that are the same for the same judgement of the same thing, whenever it was sent.

        The time is not in it: some producers send one score as an event of the span and as a log record.
        """
        value = self.value if isinstance(self.value, bool) or self.value is None else float(self.value)
        told = [*about, *self._replace(value=value)[:-1]]
        return hashlib.blake2b(encode_text(told).encode(), digest_size=16).digest()


def read_result(attributes: Mapping[str, object], time_ns: int, body: object = None) -> Score | None:
    """The score that a `gen_ai.evaluation.result` event tells of; `None` if it tells of no result."""
    rest = {key: value for key, value in attributes.items() if value not in (None, "")}
    rest.pop("event.name", None)
    value, value_text, label = _read_value(
        rest.pop(f"{_PREFIX}score.value", None), rest.pop(f"{_PREFIX}score.label", None)
    )
    evaluator = _evaluator(rest)
    score = Score(
        name=_text(rest.pop(f"{_PREFIX}name", None)) or "unnamed",
        value=value,
        value_text=value_text,
        label=label,
        explanation=_text(rest.pop(f"{_PREFIX}explanation", None)),
        error_type=_text(rest.pop("error.type", None)),
        kind=_kind(rest.pop(f"{_PREFIX}evaluator.type", None)),
        evaluator=evaluator,
        response_id=_text(rest.pop("gen_ai.response.id", None)),
        time_ns=time_ns,
    )
    if not score.tells:
        return None
    if score.error_type and score.explanation is None:
        score = score._replace(explanation=_text(parse(body)))
    return score._replace(metadata=_metadata({key.removeprefix(_PREFIX): v for key, v in rest.items()}))


def read_annotations(scope: Scope, tree: object) -> list[Score] | None:
    """The scores of an OpenInference list (`annotations.N.annotation.*`, `evaluations.N.evaluation.*`)."""
    scores = []
    for item in members(tree)[:_MAX_SCORES]:
        told = item
        if isinstance(item, dict) and len(item) == 1:
            told = item.get("annotation", item.get("evaluation", item))
        if isinstance(told, dict) and (score := _annotation(dict(told), scope)) is not None:
            scores.append(score)
    return scores or None


def read_case(value: object) -> list[Score] | None:
    """The scores of one kind in a case of Pydantic Evals: an object of results by their names."""
    told = parse(value)
    if not isinstance(told, dict):
        return None
    scores = []
    for name, result in list(told.items())[:_MAX_SCORES]:
        given = result if isinstance(result, dict) else {"value": result}
        source = given.get("source")
        number, text, label = _read_value(given.get("value"), None)
        score = Score(
            name=_text(given.get("name") or name) or "unnamed",
            value=number,
            value_text=text,
            label=label,
            explanation=_text(given.get("reason")),
            evaluator=_text(source.get("name") if isinstance(source, dict) else source),
            metadata=_metadata({k: v for k, v in given.items() if k not in ("name", "value", "reason")}),
        )
        if score.tells:
            scores.append(score)
    return scores or None


def scores_of(facts: Facts) -> Iterable[Score]:
    """The scores that a span tells of, each once."""
    found: dict[bytes, Score] = {}
    for scores in (facts.scores or {}).values():
        for score in scores if isinstance(scores, list) else ():
            found.setdefault(score.digest(), score)
    return found.values()


def _annotation(told: Json, scope: Scope) -> Score | None:
    metadata = parse(told.pop("metadata", None))
    number, text, label = _read_value(told.pop("score", None), told.pop("label", None))
    identifier = _text(told.pop("identifier", None))
    score = Score(
        name=_text(told.pop("name", None)) or "unnamed",
        value=number,
        value_text=text,
        label=label,
        explanation=_text(told.pop("explanation", None)),
        kind=_kind(told.pop("annotator_kind", None)),
        evaluator=identifier,
        scope=scope,
    )
    rest: Json = {key: value for key, value in told.items() if value not in (None, "")}
    if metadata is not None:
        rest |= metadata if isinstance(metadata, dict) else {"metadata": metadata}
    return score._replace(metadata=_metadata(rest)) if score.tells else None


def _read_value(
    value: object, given_label: object
) -> tuple[int | float | bool | None, str | None, str | None]:
    """(value, what it is where it is no number, label)."""
    label = _text(given_label)
    number = _number(value)
    if number is not None or value is None:
        return number, None, label
    word = _text(value)
    if isinstance(value, str) and label is None and _as_float(value) is None:
        return None, None, word
    return None, word, label


def _number(value: object) -> int | float | bool | None:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "false"):
            return word == "true"
        value = _as_float(value)
        if value is not None and value.is_integer() and abs(value) < _EXACT_INT:
            value = int(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) < _EXACT_INT:
            return value
        try:
            value = float(value)
        except OverflowError:
            return None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _as_float(value: str) -> float | None:
    if len(value) > 400 or "_" in value:  # longer than any double is written
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _kind(value: object) -> str:
    word = _text(value) or ""
    return {"human": "HUMAN", "llm": "LLM", "code": "CODE", "rule": "CODE"}.get(word.lower(), word)


def _evaluator(rest: Json) -> str | None:
    """Who judged; of Pydantic Evals' source the name, while its arguments stay among the rest."""
    for key in ("evaluator.name", "evaluator"):
        if (name := _text(rest.pop(_PREFIX + key, None))) is not None:
            return name
    source = parse(rest.get(f"{_PREFIX}evaluator.source"))
    return _text(source.get("name") if isinstance(source, dict) else source)


def _metadata(rest: Json) -> Json | None:
    opened = {str(key): plain(parse(value)) for key, value in sorted(rest.items())}
    if not opened:
        return None
    size = len(encode_text(opened))
    return opened if size <= _MAX_METADATA_CHARS else {"cut": f"metadata of {size} characters"}


def _text(value: object) -> str | None:
    """The value as text, whole: what is stored of it is cut behind the redaction."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else _spell(value)


def _spell(value: object) -> str:
    if isinstance(value, float):
        return str(value)  # NaN and the infinities have no JSON
    if isinstance(value, int) and abs(value) >= 2**64:
        return f"an integer of {value.bit_length()} bits"
    return encode_text(value)


def _read_moment(moment: Moment, facts: Facts) -> None:
    body = None if moment.record is None else moment.record.body
    score = read_result(moment.attributes, moment.time_ns, body)
    if score is None:
        keep_moment(facts, moment)
        return
    known = facts.scores or {}
    events = known.get("events")
    facts.scores = {**known, "events": [*(events if isinstance(events, list) else ()), score]}


DIALECT: Final = Dialect(
    name="pydantic-evals",
    rank=46,
    rows=(
        row("scores.assertions", "assertions", decode=read_case),
        row("scores.scores", "scores", decode=read_case),
        row("scores.labels", "labels", decode=read_case),
    ),
    scopes=("pydantic-evals",),
    moments={RESULT_EVENT: _read_moment},
)
