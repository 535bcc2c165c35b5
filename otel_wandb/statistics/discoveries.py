"""Which of many findings stand together: a list at a glance that is not made of chance."""

from __future__ import annotations

from collections.abc import Mapping


def discover(evidence: Mapping[str, float], *, rate: float = 0.05) -> frozenset[str]:
    """The names whose e-values stand when at most that part of all that are named may be false, on the mean.

    Null hypothesis of each: its e-value is at most 1 on the mean. Guarantee: the false discovery rate is at
    most `rate`, whatever the dependence between them (R. Wang, A. Ramdas, "False discovery rate control with
    e-values", JRSS-B 84, 2022).
    """
    return frozenset(name for name, least in q_values(evidence).items() if least <= rate)


def q_values(evidence: Mapping[str, float]) -> dict[str, float]:
    """For each name the least rate of false discoveries at which it stands, at most 1.

    Null hypothesis, guarantee and source are those of `discover`.
    """
    ordered = sorted(evidence, key=lambda name: (-evidence[name], name))
    found: dict[str, float] = {}
    least = 1.0
    for count in range(len(ordered), 0, -1):
        value = evidence[ordered[count - 1]]
        least = min(least, len(ordered) / (count * value)) if value > 0 else least
        found[ordered[count - 1]] = least
    return {name: found[name] for name in sorted(found)}
