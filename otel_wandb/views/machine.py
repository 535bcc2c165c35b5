"""The seam between views and rows: what a view is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from otel_wandb.alerts.finding import Finding
from otel_wandb.metrics.closed import ClosedInterval, Series
from otel_wandb.records import Attributes
from otel_wandb.views.definitions import MAX_GROUPS, View
from otel_wandb.views.examples import Examples, NoExamples
from otel_wandb.views.view_keys import ViewKeys

Group: TypeAlias = tuple[str, ...]
"""The values of the attributes of `by`; empty without."""


@dataclass(frozen=True, slots=True)
class Look:
    """An interval as a view sees it: its data, what spans told of it among them, and the row that it becomes.

    `spent_usd` is what it cost, by the values of attributes: (attribute, value) -> USD; the whole is under
    two empty texts. `versions` are the data by version of the service, where it is told. `keys` names what
    the views add to the row, and `examples` knows traces of it.
    """

    closed: ClosedInterval
    service: str
    run: str
    series: Sequence[Series]
    spent_usd: Mapping[tuple[str, str], float] = field(default_factory=dict)
    versions: Mapping[str, Sequence[Series]] = field(default_factory=dict)
    keys: ViewKeys = field(default_factory=ViewKeys, compare=False)
    examples: Examples = field(default_factory=NoExamples, compare=False)

    @property
    def step(self) -> int:
        """The step of the row."""
        return self.closed.interval.step

    @property
    def time_s(self) -> float:
        """The end of the interval, Unix time."""
        return self.closed.interval.end_ns / 1e9


@dataclass(slots=True)
class Outcome:
    """What a view adds to a row, under the names that `keys` gives, and what it has found."""

    keys: ViewKeys = field(default_factory=ViewKeys, compare=False, repr=False)
    values: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


class Machine(Protocol):
    """A view at work, for one service. Pure: its answers follow from the intervals alone.

    `state` is JSON; a machine that restores it goes on as if nothing had happened.
    """

    def update(self, look: Look) -> Outcome:
        """Take an interval; those of a service come in their order."""
        ...

    def state(self) -> bytes:
        """What `restore` needs."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on from there; raises `msgspec.MsgspecError` for a state of another shape."""
        ...


def select(
    series: Iterable[Series], instrument: str, where: Mapping[str, str], by: Sequence[str]
) -> dict[Group, list[Series]]:
    """The series of instruments of that name (with `*` at its end: that beginning), by their groups, sorted.

    Of a process that measures the same by an older name too, the newer counts.
    """
    matches = matcher(instrument)
    conditions = [(name, matcher(value)) for name, value in where.items()]
    found: dict[Group, list[Series]] = {}
    for one in series:
        if one.shadowed or not matches(one.name):
            continue
        attributes = one.attributes
        if all(name in attributes and fits(str(attributes[name])) for name, fits in conditions):
            found.setdefault(_group(attributes, by), []).append(one)
    return dict(sorted(found.items()))


def name_attributes(view: View, group: Group) -> dict[str, str]:
    """The attributes that data of the group have for certain."""
    exact = {name: value for name, value in view.where.items() if not value.endswith("*")}
    return {**exact, **dict(zip(view.by, group, strict=True))}


def admit(known: Iterable[Group], groups: Iterable[Group]) -> set[Group]:
    """The groups that are watched: those that were, and the first of the others, in their order."""
    admitted = set(known)
    for group in sorted(groups):
        if len(admitted) < MAX_GROUPS:
            admitted.add(group)
    return admitted


def matcher(pattern: str) -> Callable[[str], bool]:
    """What tells whether a text is the pattern, or begins like it where it has a `*` at its end."""
    if pattern.endswith("*"):
        beginning = pattern[:-1]
        return lambda text: text.startswith(beginning)
    return lambda text: text == pattern


def _group(attributes: Attributes, by: Sequence[str]) -> Group:
    return tuple(str(attributes.get(name, "")) for name in by)
