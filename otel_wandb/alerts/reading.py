"""The setting `alerts` read and checked: every mistake is a sentence that names the rule, the field and the
value, and says what is allowed.

Only the standard library and msgspec are imported, since a front reads its settings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from otel_wandb.alerts.finding import Level
from otel_wandb.alerts.plan import (
    COOLDOWN_S,
    DEFAULT_PLAN,
    LATE_S,
    LEVELS,
    LOG,
    TIMEOUT_S,
    WANDB,
    Condition,
    Direction,
    Group,
    Limit,
    Plan,
    Route,
    Rule,
    Threshold,
)

T = TypeVar("T")

_MAX_RULES: Final = 50
_MAX_LIMITS: Final = 20
_MAX_INTERVALS: Final = 1000
_MAX_TITLE: Final = 50
"""W&B takes titles of less than 64 characters, and a recovery puts a word before it."""
_AGAINST: Final = 12
_MAX_AGAINST_MANY: Final = 60
"""All values before are stored with each row, and a row has up to 400 keys."""
_LEVEL_OF_RULES: Final[Level] = "warn"
_DAY_S: Final = 86_400.0
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}")
_ROUTE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,49}")
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*/[A-Za-z0-9_]*\*?[A-Za-z0-9_]*(?<!/)")
_TAKEN: Final = ("degradation_detected",)
_SHOWN: Final = 60
_UNINHERITED: Final = "OTEL_"
"""The bridge's environment has no such variables."""

Locate: TypeAlias = Callable[[str], str]
"""Makes a path absolute."""


class _Field(NamedTuple):
    """How a value is read: None where it is not `wanted`."""

    read: Callable[[object], object]
    wanted: str
    secret: bool = False
    """Whether no message may repeat it."""


def _number(at_least: float = -math.inf, at_most: float = math.inf, *, over: float | None = None) -> _Field:
    def read(value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        sound = math.isfinite(value) and at_least <= value <= at_most and (over is None or value > over)
        return float(value) if sound else None

    limits = f" from {at_least:g} to {at_most:g}" if math.isfinite(at_most) else ""
    return _Field(read, f"a number{limits if over is None else f' over {over:g}'}")


def _whole(at_least: int, at_most: int) -> _Field:
    def read(value: object) -> int | None:
        sound = isinstance(value, int) and not isinstance(value, bool) and at_least <= value <= at_most
        return cast(int, value) if sound else None

    return _Field(read, f"a whole number from {at_least} to {at_most}")


def _choice(options: Collection[str]) -> _Field:
    return _Field(lambda value: value if value in options else None, f"one of {', '.join(options)}")


def _text(wanted: str, pattern: str, *, secret: bool = False) -> _Field:
    def read(value: object) -> str | None:
        return value.strip() if isinstance(value, str) and re.fullmatch(pattern, value.strip()) else None

    return _Field(read, wanted, secret)


def _read_mapping(value: object) -> Mapping[object, object] | None:
    return value if isinstance(value, Mapping) else None


def _read_words(value: object) -> tuple[str, ...] | None:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return None
    return tuple(sorted(set(words)))


def _read_url(value: object) -> str | None:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        sound = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        return str(value) if sound and parts.port != 0 else None
    except ValueError:
        return None


def _read_variable(value: object) -> str | None:
    sound = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value)
    return str(value) if sound and not str(value).startswith(_UNINHERITED) else None


_VARIABLE: Final = _Field(
    _read_variable,
    "the name of an environment variable, which must not begin with "
    f"{_UNINHERITED}, since the bridge does not get such",
)
_FILE: Final = _text("the path of a file", r".+")
_LEVEL: Final = _choice(LEVELS)
_LIMIT_FIELDS: Final[Mapping[str, _Field]] = {
    "key": _text(
        "section/name as in the rows, such as latency/p95_ms, with at most one * in the name", _KEY.pattern
    ),
    "above": _number(),
    "below": _number(),
    "recover": _number(),
    "against": _whole(1, _MAX_INTERVALS),
    **{
        f"{direction}_by{unit}": _number(over=0)
        for direction in ("rises", "falls", "changes")
        for unit in ("", "_percent")
    },
}
_RULE_FIELDS: Final[Mapping[str, _Field]] = {
    "title": _text(f"a text of 1 to {_MAX_TITLE} characters on one line", rf".{{1,{_MAX_TITLE}}}"),
    "level": _LEVEL,
    "for": _whole(1, _MAX_INTERVALS),
    "within": _whole(1, _MAX_INTERVALS),
    "recover_for": _whole(1, _MAX_INTERVALS),
    "cooldown_s": _number(0, 7 * _DAY_S),
    "routes": _Field(_read_words, "the name of a route, or a list of names"),
}
_ROUTE_FIELDS: Final[Mapping[str, _Field]] = {
    "level": _LEVEL,
    "url": _Field(
        _read_url,
        "a URL that begins with http:// or https:// and carries no user name or password; one that is a "
        "secret belongs into a file or a variable that url_file or url_variable names",
        secret=True,
    ),
    "url_file": _FILE,
    "url_variable": _VARIABLE,
    "secret_file": _FILE,
    "secret_variable": _VARIABLE,
    "timeout_s": _number(0.1, 60),
}
_PLAN_FIELDS: Final[Mapping[str, _Field]] = {
    "rules": _Field(_read_mapping, "a mapping of rules by name"),
    "routes": _Field(_read_mapping, "a mapping of routes by name"),
    "late_s": _number(60, _DAY_S),
}
_JOINS: Final = ("all", "any")
_THRESHOLDS: Final[tuple[Threshold, ...]] = ("above", "below")
_DIRECTIONS: Final[tuple[Direction, ...]] = ("rises", "falls", "changes")


def parse_plan(text: str) -> Plan:
    """The plan of a text that `write_plan` gave. Raises ValueError for another one."""
    return read_plan(msgspec.json.decode(text, type=dict[object, object])) if text else DEFAULT_PLAN


def read_plan(told: Mapping[object, object], locate: Locate = str) -> Plan:
    """The plan that the mapping tells; relative paths of files in it go through `locate`.

    Raises ValueError: a sentence for the first mistake.
    """
    found = _Told("", told, _PLAN_FIELDS)
    nothing: Mapping[object, object] = {}
    routes = _read_routes(found.get("routes", nothing), locate)
    rules = found.get("rules", nothing)
    if len(rules) > _MAX_RULES:
        raise ValueError(f"there are {len(rules)} rules; at most {_MAX_RULES} are allowed")
    names = [route.name for route in routes]
    read = [_read_rule(name, rule, names) for name, rule in rules.items()]
    return Plan(tuple(sorted(read, key=lambda rule: rule.name)), routes, found.get("late_s", LATE_S))


class _Told:
    """A mapping whose fields are read and checked as the table says."""

    def __init__(self, where: str, told: Mapping[object, object], fields: Mapping[str, _Field]) -> None:
        for name in told:
            if name not in fields:
                raise _error(where, f"there is no field {name!r}{_suggest(str(name), fields)}")
        self.where = where
        self._told = {str(name): value for name, value in told.items() if value is not None}
        self._fields = fields

    def get(self, name: str, otherwise: T) -> T:
        """The value of the field, in the type of `otherwise`, which is that of a field that is not there."""
        if name not in self._told:
            return otherwise
        field, value = self._fields[name], self._told[name]
        read = field.read(value)
        if read is None:
            shown = "not one" if field.secret else _show(value)
            raise _error(self.where, f"{name} is {shown}; it must be {field.wanted}")
        return cast(T, read)

    def number(self, name: str) -> float | None:
        """The number of that name, None where there is none."""
        return self.get(name, cast("float | None", None))

    def has(self, *names: str) -> list[str]:
        """Those of the fields that are there."""
        return [name for name in names if name in self._told]


def _read_rule(name: object, told: object, routes: Collection[str]) -> Rule:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
        wanted = "letters, digits and _, begin with a letter, and have at most 50 characters"
        wanted = f"not be {name}, which is a key of its own" if name in _TAKEN else f"consist of {wanted}"
        raise ValueError(f"rule {_show(name)}: its name must {wanted}")
    where = f"rule {name}"
    if not isinstance(told, Mapping):
        raise _error(where, f"it is {_show(told)}; it must be a mapping of fields, such as key and above")
    everything = {*_RULE_FIELDS, *_LIMIT_FIELDS, *_JOINS}
    for field in told:
        if field not in everything:
            raise _error(where, f"there is no field {field!r}{_suggest(str(field), everything)}")
    own = _Told(where, {field: told[field] for field in told if field in _RULE_FIELDS}, _RULE_FIELDS)
    when = _read_condition(where, {field: told[field] for field in told if field not in _RULE_FIELDS})
    needed: int = own.get("for", 1)
    wished = own.get("routes", cast("tuple[str, ...] | None", None))
    rule = Rule(
        name=name,
        when=when,
        title=own.get("title", name.replace("_", " ").strip().capitalize()),
        level=own.get("level", _LEVEL_OF_RULES),
        needed=needed,
        within=own.get("within", needed),
        recover_for=own.get("recover_for", needed),
        cooldown_s=own.get("cooldown_s", COOLDOWN_S),
        routes=wished,
    )
    if rule.within < needed:
        raise _error(where, f"within is {rule.within}; it must not be under for, which is {needed}")
    if len(rule.limits) > _MAX_LIMITS:
        raise _error(where, f"it has {len(rule.limits)} conditions; at most {_MAX_LIMITS} are allowed")
    for route in wished or ():
        if route not in routes:
            raise _error(where, f"routes names {route!r}; there are {', '.join(routes) or 'none'}")
    return rule


def _read_condition(where: str, told: Mapping[object, object]) -> Condition:
    joined = [name for name in _JOINS if name in told]
    if not joined:
        return _read_limit(where, told)
    others = [str(name) for name in told if name != joined[0]]
    if others:
        raise _error(where, f"{others[0]} stands beside {joined[0]}; it belongs into one of its conditions")
    parts = told[joined[0]]
    if not isinstance(parts, list | tuple) or not parts:
        raise _error(where, f"{joined[0]} is {_show(parts)}; it must be a list of conditions")
    read = []
    for number, part in enumerate(parts, 1):
        place = f"{where}, condition {number} of {joined[0]}"
        if not isinstance(part, Mapping):
            raise _error(place, f"it is {_show(part)}; it must be a mapping of fields, such as key and above")
        read.append(_read_condition(place, part))
    return Group(cast(Literal["all", "any"], joined[0]), tuple(read))


def _read_limit(where: str, told: Mapping[object, object]) -> Limit:
    fields = _Told(where, told, _LIMIT_FIELDS)
    key = fields.get("key", "")
    if not key:
        raise _error(where, "it has no key; name one of the rows, such as latency/p95_ms")
    changes = [kind for kind in _DIRECTIONS if fields.has(f"{kind}_by", f"{kind}_by_percent")]
    kinds = [*fields.has(*_THRESHOLDS), *changes]
    if len(kinds) != 1:
        options = ", ".join([*_THRESHOLDS, *(f"{kind}_by" for kind in _DIRECTIONS)])
        has = f"it has {' and '.join(kinds)}" if kinds else "it has no limit"
        raise _error(where, f"{has}; it must have one of {options} (each _by also as _by_percent)")
    recover = fields.number("recover")
    if changes:
        if recover is not None:
            raise _error(where, "recover belongs to above or below; a change recovers when it is over")
        amount, percent = fields.number(f"{changes[0]}_by"), fields.number(f"{changes[0]}_by_percent")
        against = fields.get("against", _AGAINST)
        if "*" in key and against > _MAX_AGAINST_MANY:
            wanted = f"it must not be over {_MAX_AGAINST_MANY} where the key has a *"
            raise _error(where, f"against is {against}; {wanted}")
        return Limit(key, changes[0], amount, percent, against)
    if fields.has("against"):
        raise _error(where, "against belongs to a change, such as rises_by; above and below need none")
    kind: Threshold = "above" if fields.has("above") else "below"
    amount = fields.number(kind)
    if recover is not None and amount is not None and recover != amount:
        side = "over" if kind == "above" else "under"
        if (recover > amount) == (kind == "above"):
            raise _error(where, f"recover is {recover:g}; it must not be {side} {kind}, which is {amount:g}")
    return Limit(key, kind, amount, recover=recover)


def _read_routes(told: Mapping[object, object], locate: Locate) -> tuple[Route, ...]:
    routes = {LOG: Route(LOG), WANDB: Route(WANDB)}
    for name, fields in told.items():
        if not isinstance(name, str) or not _ROUTE_NAME.fullmatch(name):
            wanted = "letters, digits, _ and -, begin with a letter, and have at most 50 characters"
            raise ValueError(f"route {_show(name)}: its name must consist of {wanted}")
        if fields is False:
            routes.pop(name, None)
        elif name in routes:
            routes[name] = _read_own_route(name, {} if fields is True else fields)
        else:
            routes[name] = _read_webhook(name, fields, locate)
    return tuple(sorted(routes.values(), key=lambda route: route.name))


def _read_own_route(name: str, told: object) -> Route:
    if not isinstance(told, Mapping):
        raise _error(
            f"route {name}", f"it is {_show(told)}; it must be true, false or a mapping with a level"
        )
    fields = _Told(f"route {name}", told, {"level": _LEVEL})
    return Route(name, level=fields.get("level", LEVELS[0]))


def _read_webhook(name: str, told: object, locate: Locate) -> Route:
    where = f"route {name}"
    if not isinstance(told, Mapping):
        raise _error(where, "it must be a mapping of fields, such as url and secret_file")
    fields = _Told(where, told, _ROUTE_FIELDS)
    addresses = fields.has("url", "url_file", "url_variable")
    if len(addresses) != 1:
        has = f"it has {' and '.join(addresses)}" if addresses else "it has no address"
        raise _error(where, f"{has}; it must have one of url, url_file, url_variable")
    if len(fields.has("secret_file", "secret_variable")) > 1:
        raise _error(where, "it has secret_file and secret_variable; it may have one of them")
    files = {file: fields.get(file, "") for file in ("url_file", "secret_file")}
    return Route(
        name,
        level=fields.get("level", LEVELS[0]),
        url=fields.get("url", ""),
        url_file=files["url_file"] and locate(files["url_file"]),
        url_variable=fields.get("url_variable", ""),
        secret_file=files["secret_file"] and locate(files["secret_file"]),
        secret_variable=fields.get("secret_variable", ""),
        timeout_s=fields.get("timeout_s", TIMEOUT_S),
    )


def _error(where: str, sentence: str) -> ValueError:
    return ValueError(f"{where}: {sentence}" if where else sentence)


def _show(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


def _suggest(name: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "; docs/alerts.md lists all"
