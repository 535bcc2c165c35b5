"""What the figures of views and groups are called in rows, and no two things under one name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from otel_wandb.metrics.keys import make_identifier, make_key

Entry: TypeAlias = tuple[str, str, str]
"""A section, what has a name in it (a view and its group), and the digits behind that name, if any."""

_BARE: Final = "performance"
"""The section in which a name stands alone, too, so that another one with a field may look like it."""
_FIELDS: Final = ("clipped", "degradation", "evaluations", "high", "low", "unwatched_groups")
_MAX_ENTRIES: Final = 2_000


class ViewKeys:
    """The names of the views of a service. What comes second to a name gets one with four hex digits.

    A name stays with what had it first. Beyond 2,000 names all that come get the digits, which needs no
    memory. `entries` is what the attribute of that name held. Not thread-safe.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.changed = False
        """Whether there is something new in `entries`."""
        self._suffixes = {(section, origin): suffix for section, origin, suffix in entries}
        self._taken = {(section, _name(origin, suffix)) for section, origin, suffix in self.entries}

    @property
    def entries(self) -> list[Entry]:
        """All names, in the order in which they came."""
        return [(section, origin, suffix) for (section, origin), suffix in self._suffixes.items()]

    def key(self, section: str, view: str, group: Sequence[str], field: str) -> str:
        """The key of a figure: `drift/query_length_psi`, with a group `drift/query_length_en_psi`."""
        suffix = self._suffix(section, "\0".join([view, *group]))
        return make_key(section, "_".join([view, *group, *filter(None, (suffix, field))]))

    def name(self, section: str, view: str, group: Sequence[str]) -> str:
        """The identifier of a view and its group, such as in the name of an alert."""
        origin = "\0".join([view, *group])
        return _name(origin, self._suffix(section, origin))

    def _suffix(self, section: str, origin: str) -> str:
        """What is put behind the name; nothing for what had it first."""
        known = self._suffixes.get((section, origin))
        if known is not None:
            return known
        full = len(self._suffixes) >= _MAX_ENTRIES
        suffix, size = (_digest(origin, 2) if full else ""), 2
        while self._is_taken(section, _name(origin, suffix)):
            suffix = _digest(origin, size)
            size += 1
        if not full:
            self._suffixes[section, origin] = suffix
            self._taken.add((section, _name(origin, suffix)))
            self.changed = True
        return suffix

    def _is_taken(self, section: str, name: str) -> bool:
        looks = [name]
        if section == _BARE:
            looks += [name.removesuffix(f"_{field}") for field in _FIELDS]
            looks += [f"{name}_{field}" for field in _FIELDS]
        return any((section, look) in self._taken for look in looks)


def _name(origin: str, suffix: str) -> str:
    plain = make_identifier(origin.replace("\0", "_"))
    return f"{plain}_{suffix}" if suffix else plain


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size).hexdigest()
