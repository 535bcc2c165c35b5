"""Scores as observations of one instrument, for what watches values over time."""

from __future__ import annotations

from typing import Final, NamedTuple

from otel_wandb.conventions.scores import Score
from otel_wandb.records import Attributes

INSTRUMENT: Final = "gen_ai.evaluation.score"
_NAME: Final = "gen_ai.evaluation.name"
_LABEL: Final = "gen_ai.evaluation.score.label"
_KIND: Final = "gen_ai.evaluation.evaluator.type"


class Observation(NamedTuple):
    """One value of an instrument. It counts in the interval of its time; 0: in that of its span's end."""

    instrument: str
    attributes: Attributes
    value: float
    time_ns: int


def observe(score: Score) -> Observation | None:
    """The observation that a score is: true is one, false zero; `None` where it has no number.

    Explanations, metadata and names of judges are no attributes: each would make a series of its own.
    """
    if score.value is None:
        return None
    attributes: Attributes = {_NAME: score.name}
    if score.label is not None:
        attributes[_LABEL] = score.label
    if score.kind:
        attributes[_KIND] = score.kind
    return Observation(INSTRUMENT, attributes, float(score.value), score.time_ns)
