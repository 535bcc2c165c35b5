"""Names of charts: identifiers made of free text, and no two things under one name."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

RESERVED: Final = frozenset(
    {
        "all",
        "avg",
        "avg_cost_per_request",
        "daily",
        "daily_total",
        "error_other",
        "first_token_other",
        "operation_other",
        "other",
        "per_request",
        "request",
        "retrieval_other",
        "tool_other",
        "total",
        "unpriced",
    }
)
"""Words that begin names of our own, such as `errors/total_count`."""

_MAX_PART: Final = 64
_MAX_NAMES: Final = 4_000
_NO_IDENTIFIER: Final = re.compile(r"[^A-Za-z0-9]+")


@lru_cache(maxsize=8192)
def make_key(section: str, *parts: str) -> str:
    """The key `section/part_part`, of which section and name are identifiers.

    All parts but the last are free text: a reserved word among them gets a trailing `_`. What is not a
    letter, digit or `_` becomes `_`; a name that would begin with a digit begins with `_`.
    """
    *subjects, field = parts
    words = [make_subject(subject) for subject in subjects]
    name = "_".join([*words, make_identifier(field)])
    return f"{_begin(make_identifier(section))}/{_begin(name)}"


def make_identifier(text: str) -> str:
    """Letters, digits and single `_`, at most 64; a digest of the text where little of it is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    word = _NO_IDENTIFIER.sub("_", plain).strip("_")
    if not word:
        return f"x_{_suffix(text)}"
    if len(word) > _MAX_PART:
        return f"{word[: _MAX_PART - 5].rstrip('_')}_{_suffix(text)}"
    return word


def make_subject(text: str) -> str:
    """The identifier of free text; a reserved word gets a trailing `_`, and so does what ends like a rest."""
    word = make_identifier(text)
    return word + "_" if word in RESERVED or word.endswith("_other") else word


class KeyBook:
    """The subjects of a run and what each is called in keys. What comes second to a name gets another one.

    `period_ns` is when the run began. A name that was not used in the run before is given up. `fields` are
    what may follow on a name in keys, as `_p50` does: no other name may look like that.
    """

    def __init__(
        self,
        period_ns: int,
        entries: Iterable[tuple[str, str, int]] = (),
        *,
        fields: frozenset[str] = frozenset(),
    ) -> None:
        self.changed = False
        """Whether there is something new in `entries`."""
        self._period_ns = period_ns
        self._fields = fields
        self._names = {origin: (name, period_ns) for origin, name, period_ns in entries}
        self._taken = {_place(origin, name): origin for origin, (name, _) in self._names.items()}

    def name(self, section: str, kind: str, text: str) -> str | None:
        """What a thing of some kind is called in the keys of a section; None in a full book."""
        origin = "\0".join((section, kind, text))
        known = self._names.get(origin)
        if known is not None and known[1] == self._period_ns:
            return known[0]
        if known is None and len(self._names) >= _MAX_NAMES:
            return None
        name = known[0] if known else self._free(origin, make_subject(text))
        self._names[origin] = (name, self._period_ns)
        self._taken[_place(origin, name)] = origin
        self.changed = True
        return name

    def entries(self) -> list[tuple[str, str, int]]:
        """What the constructor takes."""
        return [(origin, name, period_ns) for origin, (name, period_ns) in self._names.items()]

    def follow(self, period_ns: int) -> KeyBook:
        """The book of the next run: with the names that were used in this one."""
        used = [entry for entry in self.entries() if entry[2] == self._period_ns]
        return KeyBook(period_ns, used, fields=self._fields)

    def _free(self, origin: str, name: str) -> str:
        size, candidate = 2, name
        while self._is_taken(origin, candidate):
            candidate = f"{name}_{_suffix(origin, size)}"
            size += 1
        return candidate

    def _is_taken(self, origin: str, name: str) -> bool:
        looks = {name, *(name.removesuffix(f"_{end}") for end in self._fields)}
        looks.update(f"{name}_{end}" for end in self._fields)
        return any(self._taken.get(_place(origin, look), origin) != origin for look in looks)


def _begin(name: str) -> str:
    return f"_{name}" if name[0].isdigit() else name


def _place(origin: str, name: str) -> tuple[str, str]:
    return origin.partition("\0")[0], name


def _suffix(text: str, size: int = 2) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size).hexdigest()
