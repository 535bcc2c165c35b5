"""Parts of a whole, such as errors of requests: intervals, exact tests, and the pace of an error budget."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from scipy.stats import binom, hypergeom, norm

MIN_EXPECTED: Final = 5
"""Events that are expected at least, before anything is said of a proportion."""


class Interval(NamedTuple):
    """From `low` to `high`."""

    low: float
    high: float


class Burn(NamedTuple):
    """How fast an error budget is spent: 1 is just what the objective allows."""

    rate: float
    p_value: float
    """That a service which just keeps its objective has so many bad events."""
    bad: int
    total: int


def wilson(events: int, total: int, *, confidence: float = 0.95) -> Interval:
    """An interval that holds the true proportion with about that confidence; all of 0 to 1 without data.

    E. B. Wilson, "Probable inference", JASA 22 (1927).
    """
    _check(events, total)
    if not total:
        return Interval(0.0, 1.0)
    z = float(norm.ppf((1 + confidence) / 2))
    share, spread = events / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread * spread / 4) / (1 + spread)
    low = 0.0 if not events else max(0.0, middle - half)
    high = 1.0 if events == total else min(1.0, middle + half)
    return Interval(low, high)


def newcombe(a: int, n: int, b: int, m: int, *, confidence: float = 0.95) -> Interval:
    """An interval for how much larger the proportion `b` of `m` is than `a` of `n`.

    R. G. Newcombe, "Interval estimation for the difference between independent proportions", 1998, method 10.
    """
    first, second = wilson(a, n, confidence=confidence), wilson(b, m, confidence=confidence)
    p, q = (a / n if n else 0.5), (b / m if m else 0.5)
    difference = q - p
    low = difference - math.hypot(q - second.low, first.high - p)
    high = difference + math.hypot(second.high - q, p - first.low)
    return Interval(max(-1.0, low), min(1.0, high))


def compare_proportions(a: int, n: int, b: int, m: int) -> float:
    """The two-sided p-value of "`a` of `n` and `b` of `m` are of one proportion"; 1 without data.

    Null hypothesis: requests are exchangeable between both sides. Guarantee: P(p <= x) <= x, at any sizes,
    as it is Fisher's exact test with the probabilities of all outcomes that are no likelier added up.
    """
    _check(a, n)
    _check(b, m)
    if not n or not m:
        return 1.0
    events, total = a + b, n + m
    first, last = max(0, events - n), min(events, m)
    law = hypergeom(total, events, m)
    observed = float(law.pmf(b))
    mode = min(max((events + 1) * (m + 1) // (total + 2), first), last)
    # Probabilities fall on both sides of the mode, so the far side is found by bisection, not by summing all.
    if b == mode:
        return 1.0
    limit = observed * (1 + 1e-7)
    if b < mode:
        low, high = mode, last + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if float(law.pmf(middle)) <= limit else (middle + 1, high)
        return min(1.0, float(law.cdf(b)) + float(law.sf(low - 1)))
    low, high = first - 1, mode
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if float(law.pmf(middle)) <= limit else (low, middle - 1)
    return min(1.0, float(law.sf(b - 1)) + float(law.cdf(low)))


def burn_rate(bad: int, total: int, *, objective: float) -> Burn:
    """How many times faster than the objective (such as 0.99 of good events) allows its budget is spent.

    The p-value is of the binomial: exact where requests fail independently.

    Raises:
        ValueError: the objective is not between 0 and 1.
    """
    _check(bad, total)
    if not 0 < objective < 1:
        raise ValueError(f"objective is {objective}; it is the share of good events, between 0 and 1")
    allowed = 1 - objective
    if not total:
        return Burn(0.0, 1.0, 0, 0)
    return Burn(bad / total / allowed, float(binom.sf(bad - 1, total, allowed)), bad, total)


def _check(events: int, total: int) -> None:
    if not 0 <= events <= total:
        raise ValueError(f"{events} of {total} is no part of a whole")
