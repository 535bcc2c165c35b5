"""The rules and the routes of alerts, as plain immutable data, and the one text that says the same.

Only the standard library and msgspec are imported, since a front reads its settings.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from otel_wandb.alerts.finding import Level

LEVELS: Final[tuple[Level, ...]] = ("info", "warn", "error")
"""From the least."""

WANDB: Final = "wandb"
LOG: Final = "log"
"""The two routes that are there unless they are switched off."""

LATE_S: Final = 900.0
COOLDOWN_S: Final = 1800.0
TIMEOUT_S: Final = 10.0

Threshold: TypeAlias = Literal["above", "below"]
Direction: TypeAlias = Literal["rises", "falls", "changes"]


@dataclass(frozen=True, slots=True)
class Limit:
    """What one key must not do. In `key`, `*` stands for one or more characters.

    A threshold has an `amount`. A change has an `amount`, a `percent` or both, each of which has to be
    passed, and is against the median of the `against` values before.
    """

    key: str
    kind: Threshold | Direction
    amount: float | None = None
    percent: float | None = None
    against: int = 0
    recover: float | None = None
    """The threshold that has to be reached again; None: the same."""

    @property
    def is_change(self) -> bool:
        """Whether it looks at values before."""
        return self.kind not in ("above", "below")


@dataclass(frozen=True, slots=True)
class Group:
    """Several conditions of which `all` must hold, or `any`."""

    joined: Literal["all", "any"]
    parts: tuple[Condition, ...]


Condition: TypeAlias = Limit | Group


@dataclass(frozen=True, slots=True)
class Rule:
    """When an alert fires: its condition held in `needed` of the last `within` intervals with values.

    It recovers after `recover_for` intervals in a row without it, and does not fire again within `cooldown_s`
    of the last time. `routes`: where it goes; None: everywhere.
    """

    name: str
    when: Condition
    title: str
    level: Level = "warn"
    needed: int = 1
    within: int = 1
    recover_for: int = 1
    cooldown_s: float = COOLDOWN_S
    routes: tuple[str, ...] | None = None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Every limit of the condition, in its order."""
        return _limits_of(self.when)

    @property
    def digest(self) -> str:
        """16 hex digits that name what the rule watches, and not how it is told."""
        facts = [_plain_condition(self.when), self.needed, self.within, self.recover_for]
        return hashlib.blake2b(msgspec.json.encode(facts, order="sorted"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Route:
    """A way to people. A webhook has one of the three ways to its address, and perhaps a secret to sign with.

    What is a secret itself stands in a file or in a variable of the environment, which only are named here.
    """

    name: str
    level: Level = "info"
    """The least level that goes there."""
    url: str = ""
    url_file: str = ""
    url_variable: str = ""
    secret_file: str = ""
    secret_variable: str = ""
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is set about alerts. Rules and routes are in the order of their names."""

    rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = (Route(LOG), Route(WANDB))
    late_s: float = LATE_S
    """An alert that would be sent so long after its interval, or later, is not sent."""

    def routes_for(self, name: str, level: Level) -> tuple[str, ...]:
        """The names of the routes that an alert of that name and level goes to."""
        wished = next((rule.routes for rule in self.rules if rule.name == name), None)
        return tuple(
            route.name
            for route in self.routes
            if LEVELS.index(level) >= LEVELS.index(route.level) and (wished is None or route.name in wished)
        )

    def route(self, name: str) -> Route | None:
        """The route of that name."""
        return next((route for route in self.routes if route.name == name), None)


DEFAULT_PLAN: Final = Plan()


def write_plan(plan: Plan) -> str:
    """The JSON that `reading.read_plan` reads: the same plan, the same text; empty for the default one."""
    plain: dict[str, object] = {}
    if plan.rules:
        plain["rules"] = {rule.name: _plain_rule(rule) for rule in plan.rules}
    if plan.routes != DEFAULT_PLAN.routes:
        there = {route.name: _plain_route(route) for route in plan.routes}
        plain["routes"] = dict.fromkeys((LOG, WANDB), False) | there
    if plan.late_s != LATE_S:
        plain["late_s"] = plan.late_s
    return msgspec.json.encode(plain, order="sorted").decode() if plain else ""


def _limits_of(condition: Condition) -> tuple[Limit, ...]:
    if isinstance(condition, Limit):
        return (condition,)
    return tuple(limit for part in condition.parts for limit in _limits_of(part))


def _plain_condition(condition: Condition) -> dict[str, object]:
    if isinstance(condition, Group):
        return {condition.joined: [_plain_condition(part) for part in condition.parts]}
    plain: dict[str, object] = {"key": condition.key}
    if condition.is_change:
        plain["against"] = condition.against
        sizes = {f"{condition.kind}_by": condition.amount, f"{condition.kind}_by_percent": condition.percent}
        return plain | {name: size for name, size in sizes.items() if size is not None}
    plain[condition.kind] = condition.amount
    return plain if condition.recover is None else plain | {"recover": condition.recover}


def _plain_rule(rule: Rule) -> dict[str, object]:
    return {
        **_plain_condition(rule.when),
        "title": rule.title,
        "level": rule.level,
        "for": rule.needed,
        "within": rule.within,
        "recover_for": rule.recover_for,
        "cooldown_s": rule.cooldown_s,
        **({} if rule.routes is None else {"routes": list(rule.routes)}),
    }


def _plain_route(route: Route) -> dict[str, object]:
    if route.name in (LOG, WANDB):
        return {"level": route.level}
    texts = ("level", "url", "url_file", "url_variable", "secret_file", "secret_variable")
    plain: dict[str, object] = {name: text for name in texts if (text := getattr(route, name))}
    return {**plain, "timeout_s": route.timeout_s}
