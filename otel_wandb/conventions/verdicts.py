"""A score as a number, where it clearly is one."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.scores import Score

_VERDICTS: Final = {"pass": 1.0, "passed": 1.0, "fail": 0.0, "failed": 0.0}


def score_number(score: Score) -> float | None:
    """The value; 1 for true and `pass`, 0 for false and `fail`; None of any other word, and of no result."""
    if score.value is not None:
        return float(score.value)
    word = score.value_text or score.label or ""
    return _VERDICTS.get(word.strip().lower())
