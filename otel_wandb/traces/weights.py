"""How many spans one stands for that was sampled where it was made.

The threshold of consistent probability sampling is in the `ot` member of the trace state, as `th` and up to
14 hex digits: of 2**56 equally likely values those below it were dropped, so a span stands for 1 / (1 - th).
https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from otel_wandb.records import Span
from otel_wandb.traces.joins import hash_id

MAX_WEIGHT: Final = 1_000_000
"""The trace state comes with a request, from whoever makes it: no more than this is believed."""

_ALL: Final = 1 << 56
_THRESHOLD: Final = re.compile(r"(?:^|,)\s*ot=(?:[^,;]*;)*th:([0-9a-f]{1,14})\s*(?:[,;]|$)")
_HASHES: Final = 1 << 64


def weigh(span: Span) -> int:
    """A whole number of spans, at least one, the same for a span whenever it is asked.

    Counts in histograms are whole. So of a weight such as 3.3 each span counts 3, and three of ten one more,
    chosen by a hash of their ids: the mean over many spans is the weight itself, and no sum has a bias.
    """
    kept = _read_kept(span.trace_state)
    whole, rest = divmod(_ALL, kept)
    if whole >= MAX_WEIGHT:
        return MAX_WEIGHT
    chance = hash_id(span.trace_id + span.span_id) % _HASHES
    return whole + (rest * _HASHES > chance * kept)


def read_probability(span: Span) -> float:
    """The probability with which the span was sampled where it was made; 1 where that is not told."""
    return max(_read_kept(span.trace_state) / _ALL, 1 / MAX_WEIGHT)


@lru_cache(maxsize=4096)
def _read_kept(trace_state: str) -> int:
    """How many of 2**56 were kept; all where that is not told, or cannot be."""
    found = _THRESHOLD.search(trace_state)
    return _ALL - int(found[1].ljust(14, "0"), 16) if found else _ALL
