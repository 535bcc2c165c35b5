"""Which of many findings stand together: a list at a glance that is not made of chance."""

from __future__ import annotations

from collections.abc import Mapping


def discover(evidence: Mapping[str, float], *, rate: float = 0.05) -> frozenset[str]:
    """The names whose e-values stand when at most that part of all that are named may be false, on the mean.

    Null hypothesis of each: its e-value is at most 1 on the mean. Guarantee: the false discovery rate is at
    most `rate`, whatever the dependence between them (R. Wang, A. Ramdas, "False discovery rate control with
    e-values", JRSS-B 84, 2022).
    """
    ordered = sorted(evidence, key=lambda name: (-evidence[name], name))
    found = 0
    for count, name in enumerate(ordered, 1):
        if evidence[name] * count * rate >= len(ordered):
            found = count
    return frozenset(ordered[:found])
