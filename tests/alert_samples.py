"""Rules of alerts for tests: written in YAML, or drawn."""

from __future__ import annotations

import yaml
from hypothesis import strategies as st

from otel_wandb.alerts.plan import LEVELS, Direction, Group, Limit, Plan, Rule, Threshold
from otel_wandb.alerts.reading import read_plan


def plan(text: str) -> Plan:
    return read_plan(yaml.safe_load(text))


def rule(text: str, name: str = "a") -> Rule:
    """The rule with these fields, written in YAML's short form."""
    (only,) = plan(f"rules: {{{name}: {{{text}}}}}").rules
    return only


KEYS = (
    "latency/p95_ms",
    "latency/a_p95_ms",
    "latency/b_p95_ms",
    "errors/a_rate_percent",
    "errors/total_count",
)
NUMBERS = st.sampled_from((0.0, 1.0, 3.0, 5.0, 6.0, 9.0)) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    key = draw(st.sampled_from((*KEYS, "latency/*_p95_ms", "errors/*_rate_percent")))
    if draw(st.booleans()):
        kind: Threshold = draw(st.sampled_from(("above", "below")))
        gap = draw(st.sampled_from((None, 0.0, 2.0)))
        recover = None if gap is None else 5 - gap if kind == "above" else 5 + gap
        return Limit(key, kind, 5.0, recover=recover)
    sizes = draw(st.sampled_from(((2.0, None), (None, 50.0), (2.0, 50.0))))
    change: Direction = draw(st.sampled_from(("rises", "falls", "changes")))
    return Limit(key, change, *sizes, against=draw(st.integers(1, 3)))


CONDITIONS = st.recursive(
    limits(),
    lambda parts: st.builds(
        Group, st.sampled_from(("all", "any")), st.lists(parts, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=4,
)


@st.composite
def any_rules(draw: st.DrawFn) -> list[Rule]:
    rules = []
    for name in draw(st.sampled_from((["a"], ["a", "b"]))):
        needed = draw(st.integers(1, 3))
        rules.append(
            Rule(
                name=name,
                when=draw(CONDITIONS),
                title=name,
                level=draw(st.sampled_from(LEVELS)),
                needed=needed,
                within=needed + draw(st.integers(0, 2)),
                recover_for=draw(st.integers(1, 3)),
                cooldown_s=draw(st.sampled_from((0.0, 120.0, 600.0))),
            )
        )
    return rules
