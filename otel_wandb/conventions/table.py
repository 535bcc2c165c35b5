"""What a dialect is: a table of the keys that hold each fact, and a few words on what no table can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from otel_wandb.conventions.decoding import Decode, DecodeError, text
from otel_wandb.conventions.facts import Facts, check_field
from otel_wandb.records import Attributes, LogRecord, Span


class Moment(NamedTuple):
    """A span event or a log record: they carry the same content, so they are read by the same code."""

    name: str
    time_ns: int
    attributes: Attributes
    record: LogRecord | None = None
    """The log record, if it is one."""


ReadMoment: TypeAlias = Callable[[Moment, Facts], None]
Settle: TypeAlias = Callable[[Facts, Span], None]


@dataclass(frozen=True, slots=True)
class Row:
    """A fact, the keys that may hold it (the most trusted first), and how their value is read.

    A key that ends in `.*` is a family: each member `prefix.NAME` that no other row claims fills
    `field.NAME` of a group. A key that ends in `.#` is a tree: all keys below the prefix are put together to
    one value of lists and objects (`prefix.0.role`), which is then decoded.
    The row of a whole group gives a dictionary; single members may still come from rows of their own.
    """

    field: str
    keys: tuple[str, ...]
    decode: Decode

    def __post_init__(self) -> None:
        is_family = any(key.endswith(".*") for key in self.keys)
        check_field(f"{self.field}.any" if is_family else self.field)


def row(fact: str, *keys: str, decode: Decode = text) -> Row:
    """A row; the decoder defaults to plain text."""
    return Row(fact, keys, decode)


def words(known: Mapping[str, str]) -> Decode:
    """A decoder that translates known words, whatever their case, and rejects all others."""

    folded = {word.lower(): meaning for word, meaning in known.items()}

    def decode(value: object) -> str | None:
        word = text(value)
        if word is None:
            return None
        meaning = known.get(word) or folded.get(word.strip('"').lower())
        if meaning is None:
            raise DecodeError("unknown_word")
        return meaning

    return decode


@dataclass(frozen=True, slots=True)
class Dialect:
    """A convention for attributes.

    Of two dialects on one span the one with the lower `rank` is read first, and each fact is taken from the
    first key that has it. A span speaks a dialect if one of its keys is in `marks` (a mark ending in a dot is
    a prefix), if its scope's name starts with one of `scopes`, or `always`.
    """

    name: str
    rank: int
    rows: tuple[Row, ...]
    marks: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    always: bool = False
    moments: Mapping[str, ReadMoment] = field(default_factory=dict)
    """Readers of span events and log records, by the event's name."""
    details: frozenset[str] = frozenset()
    """Names of events whose attributes are read like the span's own, for what the span lacks."""
    settle: Settle | None = None
    """Puts right what no row can tell, after all of them were read."""

    def __post_init__(self) -> None:
        # A dialect of someone else's may not be type-checked, and a string is a sequence of strings, too.
        lists = {"rows": Row, "marks": str, "scopes": str}
        for name, kind in lists.items():
            items = getattr(self, name)
            if not isinstance(items, tuple) or not all(isinstance(item, kind) for item in items):
                raise TypeError(f"the {name} of the dialect {self.name!r} are no tuple of {kind.__name__}")
