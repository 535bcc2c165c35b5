"""Which labels have keys of their own, and what they are called there: the same ones all day long."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from otel_wandb.metrics.keys import make_subject
from otel_wandb.views.bins import Names, cut_name

MAX_LABELS: Final = 20
_COUNTED: Final = 64


class LabelKeysState(msgspec.Struct, omit_defaults=True):
    """The labels that are shown, what they are called, and how often each came in the run so far."""

    period_ns: int = 0
    shown: dict[str, str] = {}
    counts: dict[str, int] = {}


class LabelKeys:
    """The labels of a run that are shown: the most frequent ones of the run before, then what comes first."""

    def __init__(self, state: LabelKeysState | None = None) -> None:
        self._state = state or LabelKeysState()

    def name_all(self, period_ns: int, counts: Names) -> dict[str, str]:
        """What each label that is shown is called, after an interval's counts; `period_ns` is the run's.

        Names are identifiers, none twice, at most `MAX_LABELS`.
        """
        state = self._state
        if period_ns != state.period_ns:
            ranked = sorted(state.counts, key=lambda label: (-state.counts[label], label))
            kept = {label: state.shown[label] for label in ranked[:MAX_LABELS] if label in state.shown}
            state = self._state = LabelKeysState(period_ns, kept)
        for label in sorted(counts, key=lambda label: (-counts[label], label)):
            cut = cut_name(label)
            if cut in state.counts or len(state.counts) < _COUNTED:
                state.counts[cut] = state.counts.get(cut, 0) + counts[label]
            if cut not in state.shown and len(state.shown) < MAX_LABELS:
                state.shown[cut] = _find_name(cut, set(state.shown.values()))
        return dict(state.shown)

    def state(self) -> LabelKeysState:
        """What the constructor takes."""
        return self._state


def _find_name(label: str, taken: set[str]) -> str:
    name = make_subject(label)
    if name not in taken:
        return name
    return f"{name}_{hashlib.blake2b(label.encode(errors='surrogatepass'), digest_size=2).hexdigest()}"
