"""The shared reader: all dialects' tables over one span, at a few microseconds.

Spans of one instrumentation carry the same keys over and over. So the tables are looked up once for each set
of keys: the outcome, a plan, says which key holds which fact, in which order, and what nobody understands.
Reading a span is then one walk over its plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.conventions.decoding import Decode, code_of, count, text
from otel_wandb.conventions.facts import GROUPS, Facts, Json
from otel_wandb.conventions.table import Dialect, Row, Settle
from otel_wandb.records import Attributes, Value

_MAX_PLANS: Final = 4096
_MAX_KEYS: Final = 16384
_MAX_KEY_CHARS: Final = 256  # a longer one is read, but not remembered
_MAX_SHAPE: Final = 1024
_MAX_DEPTH: Final = 24

_PLACES: Final = {name: place for place, name in enumerate(Facts.__struct_fields__)}
_WIDTH: Final = len(_PLACES)
_REST: Final = _PLACES["rest"]

_DIRECT: Final[dict[Decode, tuple[type, object]]] = {text: (str, ""), count: (int, 0)}

Gather: TypeAlias = Callable[[Attributes], Value]


class _Claim(NamedTuple):
    """A row that reads a key; `order` is the trust in it: dialect, row, place in the row."""

    order: tuple[int, int, int]
    field: str
    decode: Decode
    tree: str  # the prefix of the tree that the key is a leaf of, else empty
    is_family: bool


class _Key(NamedTuple):
    speaks: frozenset[int]
    claims: tuple[_Claim, ...]


class _Source(NamedTuple):
    """Where a fact may be found: one key, or the leaves of a tree."""

    key: str
    decode: Decode
    gather: Gather | None
    keys: tuple[str, ...]


class _Member(NamedTuple):
    """A member of a group; a value of the type `direct` that is more than `nothing` needs no decoder."""

    name: str
    key: str
    decode: Decode
    direct: type | None
    nothing: object


@dataclass(frozen=True, slots=True)
class Plan:
    """How spans with one set of keys are read."""

    settles: tuple[Settle, ...]
    name: str | None
    """The dialect that the facts are said to come from."""
    texts: tuple[tuple[int, str], ...]
    """(place of the field, key): a fact that is plain text, with one key that may hold it."""
    single: tuple[tuple[int, str, Decode], ...]
    """(place of the field, key, decode): any other fact with one key."""
    groups: tuple[tuple[int, tuple[_Member, ...]], ...]
    """(place of the group, its members that have one key each)."""
    contested: tuple[tuple[str, tuple[_Source, ...]], ...]
    """Facts with several keys, or made of many."""
    unknown: tuple[str, ...]
    settled: frozenset[str] = field(default=frozenset())
    """Keys that are read whatever the contests bring."""


class Reader:
    """Reads attributes by the tables of all dialects. Thread-safe: plans are only ever added."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self.dialects = tuple(sorted(dialects, key=lambda dialect: (dialect.rank, dialect.name)))
        self.moments = {name: read for d in reversed(self.dialects) for name, read in d.moments.items()}
        self.details = frozenset[str]().union(*(d.details for d in self.dialects))
        self._always = frozenset(i for i, d in enumerate(self.dialects) if d.always)
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._keys: dict[str, _Key] = {}

    def plan(self, attributes: Attributes, scope_name: str) -> Plan:
        """The plan for these keys; made once."""
        shape = (scope_name, *attributes)
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._make_plan(attributes, scope_name)
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            if len(shape) <= _MAX_SHAPE and max(map(len, shape)) <= _MAX_KEY_CHARS:
                self._plans[shape] = plan
        return plan

    def read(self, attributes: Attributes, plan: Plan) -> Facts:
        """The facts that the attributes hold; what nobody understood is in `rest`, as it came."""
        # A list is filled and becomes the record at the end: setting fields would take four times as long.
        values: list[object] = [None] * _WIDTH
        values[0] = plan.name
        failed: _Failed = ()
        try:
            _walk(values, attributes, plan)
        except Exception:  # noqa: BLE001  whatever a decoder stumbles over costs its own fact, not the span
            failed = _walk_carefully(values, attributes, plan)
        if plan.unknown:
            values[_REST] = {key: attributes[key] for key in plan.unknown}
        facts = Facts(*values)  # type: ignore[arg-type]  # each decoder gives what its field takes
        for key, code in failed:
            facts.keep(key, attributes[key])
            facts.warn(code, key)
        if plan.contested:
            _read_contested(facts, attributes, plan)
        return facts

    def _make_plan(self, attributes: Attributes, scope_name: str) -> Plan:
        known = [(key, self._know(key)) for key in attributes]
        speaking = self._always.union(*(key.speaks for _, key in known))
        speaking |= {i for i, d in enumerate(self.dialects) if d.scopes and scope_name.startswith(d.scopes)}
        sources, unknown = _sort_claims(known, speaking)
        return _arrange([self.dialects[i] for i in sorted(speaking)], sources, unknown)

    def _know(self, key: str) -> _Key:
        known = self._keys.get(key)
        if known is None:
            known = _Key(
                frozenset(i for i, d in enumerate(self.dialects) if _is_mark(key, d.marks)),
                tuple(
                    claim
                    for i, dialect in enumerate(self.dialects)
                    for j, row in enumerate(dialect.rows)
                    for claim in _claims(key, row, (i, j))
                ),
            )
            if len(self._keys) >= _MAX_KEYS:
                self._keys.clear()
            if len(key) <= _MAX_KEY_CHARS:
                self._keys[key] = known
        return known


def _is_mark(key: str, marks: tuple[str, ...]) -> bool:
    return any(key == mark or (mark.endswith(".") and key.startswith(mark)) for mark in marks)


def _claims(key: str, row: Row, place: tuple[int, int]) -> Iterable[_Claim]:
    for k, wanted in enumerate(row.keys):
        order = (*place, k)
        if wanted.endswith(".*"):
            if key.startswith(wanted[:-1]) and len(key) > len(wanted) - 1:
                yield _Claim(order, f"{row.field}.{key[len(wanted) - 1 :]}", row.decode, "", is_family=True)
        elif wanted.endswith(".#"):
            if key.startswith(wanted[:-1]):
                yield _Claim(order, row.field, row.decode, wanted[:-1], is_family=False)
        elif key == wanted:
            yield _Claim(order, row.field, row.decode, "", is_family=False)


_Sources: TypeAlias = dict[str, list[tuple[tuple[int, int, int], _Source]]]


def _sort_claims(known: Sequence[tuple[str, _Key]], speaking: frozenset[int]) -> tuple[_Sources, list[str]]:
    sources: _Sources = {}
    trees: dict[tuple[str, str], tuple[_Claim, list[str]]] = {}
    unknown: list[str] = []
    for key, (_, claims) in known:
        live = [claim for claim in claims if claim.order[0] in speaking]
        exact = [claim for claim in live if not claim.is_family]
        if not live:
            unknown.append(key)
        for claim in exact or live:
            if claim.tree:
                trees.setdefault((claim.field, claim.tree), (claim, []))[1].append(key)
            else:
                source = _Source(key, claim.decode, None, (key,))
                sources.setdefault(claim.field, []).append((claim.order, source))
    for (name, prefix), (claim, keys) in trees.items():
        source = _Source(prefix + "#", claim.decode, _gatherer(prefix, keys), tuple(keys))
        sources.setdefault(name, []).append((claim.order, source))
    return sources, unknown


def _arrange(dialects: Sequence[Dialect], sources: _Sources, unknown: Sequence[str]) -> Plan:
    texts: list[tuple[int, str]] = []
    single: list[tuple[int, str, Decode]] = []
    groups: dict[int, list[_Member]] = {}
    contested: list[tuple[str, tuple[_Source, ...]]] = []
    settled: set[str] = set()
    for name, found in sources.items():
        found.sort(key=lambda item: item[0])
        first = found[0][1]
        group, _, member = name.partition(".")
        place = _PLACES[group]
        if len(found) > 1 or first.gather:
            contested.append((name, tuple(source for _, source in found)))
            continue
        settled.add(first.key)
        if member:
            direct = _DIRECT.get(first.decode, (None, None))
            groups.setdefault(place, []).append(_Member(member, first.key, first.decode, *direct))
        elif first.decode is text:
            texts.append((place, first.key))
        else:
            single.append((place, first.key, first.decode))
    return Plan(
        tuple(dialect.settle for dialect in dialects if dialect.settle),
        _name(dialects) if sources else None,
        tuple(texts),
        tuple(single),
        tuple((place, tuple(members)) for place, members in groups.items()),
        tuple(contested),
        tuple(unknown),
        frozenset(settled),
    )


def _name(dialects: Sequence[Dialect]) -> str | None:
    """The most trusted instrumentation's; W&B's own keys and the fallbacks name only themselves."""
    ranked = sorted(dialects, key=lambda dialect: (dialect.always or dialect.rank <= 0, dialect.rank))
    return ranked[0].name if ranked else None


_Failed: TypeAlias = Sequence[tuple[str, str]]
"""Keys that could not be read, each with the code of its warning."""


def _walk(values: list[object], attributes: Attributes, plan: Plan) -> None:
    for place, key in plan.texts:
        value: object = attributes[key]
        values[place] = value if type(value) is str and value else text(value)
    for place, key, decode in plan.single:
        values[place] = decode(attributes[key])
    for place, members in plan.groups:
        group: Json = {}
        for name, key, decode, direct, nothing in members:
            value = attributes[key]
            if type(value) is not direct or not value > nothing:  # type: ignore[operator]  # of one type
                value = decode(value)
                if value is None:
                    continue
            group[name] = value
        if group:
            whole = values[place]
            values[place] = {**whole, **group} if isinstance(whole, dict) else group


def _walk_carefully(values: list[object], attributes: Attributes, plan: Plan) -> _Failed:
    """The same walk, one step at a time."""
    failed: list[tuple[str, str]] = []

    def attempt(key: str, decode: Decode) -> object | None:
        try:
            return decode(attributes[key])
        except Exception as error:  # noqa: BLE001  as above
            failed.append((key, code_of(error)))
            return None

    for place, key in plan.texts:
        values[place] = attempt(key, text)
    for place, key, decode in plan.single:
        values[place] = attempt(key, decode)
    for place, members in plan.groups:
        told = ((member.name, attempt(member.key, member.decode)) for member in members)
        group: Json = {name: value for name, value in told if value is not None}
        whole = values[place]
        values[place] = {**whole, **group} if isinstance(whole, dict) else group or None
    return failed


def _read_contested(facts: Facts, attributes: Attributes, plan: Plan) -> None:
    """The first source that has the fact wins; one that says the same is done with, any other is kept."""
    read = set(plan.settled)
    lost: list[str] = []
    for name, sources in plan.contested:
        winner: Value = None
        for source in sources:
            raw = source.gather(attributes) if source.gather else attributes[source.key]
            if winner is not None:
                (read.update if raw == winner else lost.extend)(source.keys)
                continue
            try:
                value = source.decode(raw)
            except Exception as error:  # noqa: BLE001  as above
                if source is sources[-1]:
                    facts.warn(code_of(error), source.key)
                lost.extend(source.keys)
                continue
            read.update(source.keys)
            if value is not None:
                winner = raw
                _put(facts, name, value)
    for key in lost:
        if key not in read:
            facts.keep(key, attributes[key])


def _put(facts: Facts, name: str, value: object) -> None:
    group, _, member = name.partition(".")
    if member:
        value = {**(getattr(facts, group) or {}), member: value}
    elif name in GROUPS and isinstance(value, dict):
        value = {**value, **(getattr(facts, name) or {})}
    setattr(facts, group, value)


class _Level(dict[str, Value]):
    """A level of a tree in the making, told apart from an object that is the value of a leaf."""


def _gatherer(prefix: str, keys: Sequence[str]) -> Gather:
    """Puts the leaves of a tree together; a level of which all names are numbers becomes a list."""
    paths = [(key, key[len(prefix) :].split(".", _MAX_DEPTH)) for key in keys]

    def gather(attributes: Attributes) -> Value:
        root = _Level()
        for key, path in paths:
            level = root
            for part in path[:-1]:
                deeper = level.get(part)
                if not isinstance(deeper, _Level):
                    deeper = level[part] = _Level() if deeper is None else _Level({"": deeper})
                level = deeper
            leaf = level.get(path[-1])
            if isinstance(leaf, _Level):
                leaf[""] = attributes[key]
            else:
                level[path[-1]] = attributes[key]
        return _listed(root)

    return gather


def _listed(level: _Level) -> Value:
    for name, value in level.items():
        if isinstance(value, _Level):
            level[name] = _listed(value)
    if level and all(name.isascii() and name.isdigit() for name in level):
        return [level[name] for name in sorted(level, key=int)]
    return dict(level)
