"""Which bucket edges a view needs of an instrument, so that what it says is exact.

No NumPy: the SDK's exporter asks this in the service. Exponential buckets, which the exporter asks for by
itself, are what drift is told from best: they merge exactly, and any reference of samples has their edges. A
threshold is an edge of its own, so it needs explicit ones: those of the exponential scale 3 (9 % apart)
around it, which merge with exponential buckets without a guess. A reference of other buckets needs its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Final

from otel_wandb.metrics.catalogue import MILLISECONDS
from otel_wandb.metrics.exponential import bound, index_of
from otel_wandb.views.definitions import Degradation, Drift, Predictions, Slo, View
from otel_wandb.views.reference import SCALE, Reference

_SCALE: Final = 3
_BELOW: Final = 10
_ABOVE: Final = 7
"""Octaves of edges around a threshold: from a thousandth of it to a hundred times as much."""
_KEPT: Final = 60
_TAILS: Final = (0.02, 0.05, 0.95, 0.98, 0.99, 0.995)
_CONFIDENCES: Final = tuple(i / 50 for i in range(1, 51))
_CLOSE: Final = 1e-9


def list_edges(views: Iterable[View], instrument: str, unit: str) -> tuple[float, ...]:
    """The edges that the views need of an instrument, in its unit; none where exponential buckets will do."""
    wanted = {
        edge for view in views if _fits(_instrument_of(view), instrument) for edge in _edges_of(view, unit)
    }
    return tuple(sorted(wanted))


def thin_reference(reference: Reference) -> tuple[float, ...]:
    """About 60 of the edges of a reference, at its quantiles and in its tails; all where there are fewer."""
    if len(reference.edges) <= _KEPT:
        return reference.edges
    counts = [sum(part) for part in zip(*reference.counts.values(), strict=True)]
    below = list(accumulate(counts))[:-1]
    total = max(1, sum(counts))
    parts = sorted({*_TAILS, *((i + 1) / (_KEPT + 1) for i in range(_KEPT))})
    return tuple(sorted({_edge_at(reference.edges, below, part * total) for part in parts}))


def _edges_of(view: View, unit: str) -> Sequence[float]:
    if isinstance(view, Slo) and view.threshold_s is not None:
        return _around(_in_unit(view.threshold_s, unit))
    if isinstance(view, Degradation) and view.score == "within_p95":
        return _around(_in_unit(view.baseline * (1 + view.tolerance), unit))
    if isinstance(view, Predictions) and view.low_confidence not in (0.5, 0.25):
        return [*_CONFIDENCES, view.low_confidence]
    if isinstance(view, Drift) and view.reference is not None and not _is_exponential(view.reference.edges):
        return thin_reference(view.reference)
    return ()


def _instrument_of(view: View) -> str:
    if isinstance(view, Degradation):
        return view.metric
    return view.instrument if isinstance(view, Drift | Predictions | Slo) else ""


def _around(threshold: float) -> list[float]:
    middle = index_of(threshold, _SCALE)
    low, high = middle - (_BELOW << _SCALE), middle + (_ABOVE << _SCALE)
    return [*(bound(i, _SCALE) for i in range(low, high + 1)), threshold]


def _in_unit(seconds: float, unit: str) -> float:
    """Durations of OpenTelemetry are in seconds where they tell nothing."""
    if unit not in MILLISECONDS:
        return seconds
    # By the digits that were written: 0.075 s are 75 ms, and nothing else.
    return float(Fraction(repr(seconds)) * 1000 / Fraction(MILLISECONDS[unit]))


def _is_exponential(edges: Iterable[float]) -> bool:
    """Whether all edges are of OpenTelemetry's exponential scales, so that such buckets fit them."""
    for edge in map(abs, edges):
        if edge < math.ulp(1.0):  # zero, and what tells it apart from all else
            continue
        place = math.log2(edge) * 2**SCALE
        if abs(place - round(place)) > _CLOSE * max(1.0, abs(place)):
            return False
    return True


def _edge_at(edges: Sequence[float], below: Sequence[int], count: float) -> float:
    return next((edge for edge, n in zip(edges, below, strict=True) if n >= count), edges[-1])


def _fits(pattern: str, name: str) -> bool:
    """Names of instruments are the same in upper and lower case, as the SDK has it."""
    pattern, name = pattern.lower(), name.lower()
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
