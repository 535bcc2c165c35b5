"""Dialects of other packages, by the entry point group `otel_wandb_conventions`. Only the bridge loads them.

An entry point names a `Dialect` (`docs/conventions.md`). What cannot be loaded is logged and named to the
caller, and costs no span: it is read by the dialects that there are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final, NamedTuple

from otel_wandb.conventions import BUILT_IN, Reader, make_reader
from otel_wandb.conventions.table import Dialect

GROUP: Final = "otel_wandb_conventions"
_log = logging.getLogger("otel_wandb.bridge")


class Loaded(NamedTuple):
    """A reader of all dialects, and the names of the entry points that gave none."""

    reader: Reader
    broken: tuple[str, ...] = ()


def load_dialects(found: Iterable[EntryPoint] | None = None) -> Loaded:
    """The reader with the dialects of all installed packages."""
    taken = {dialect.name for dialect in BUILT_IN.dialects}
    more: list[Dialect] = []
    broken: list[str] = []
    # In the order of their names: which of two of one name wins must not depend on the order of a directory.
    for point in sorted(entry_points(group=GROUP) if found is None else found):
        try:
            dialect = _load(point, taken)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever another package's import raises
            _log.warning("The dialect %s (%s) is left out: %s", point.name, point.value, error)
            broken.append(point.name)
        else:
            taken.add(dialect.name)
            more.append(dialect)
    return Loaded(make_reader(more) if more else BUILT_IN, tuple(broken))


def _load(point: EntryPoint, taken: set[str]) -> Dialect:
    dialect = point.load()
    if not isinstance(dialect, Dialect):
        raise TypeError(f"it is a {type(dialect).__name__}, not a Dialect")
    if dialect.name in taken:
        raise ValueError(f"there is a dialect {dialect.name!r} already")
    return dialect
