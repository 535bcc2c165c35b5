"""The files of a store: made whole before they get their name, and moved out of the way when damaged.

A new database is built as ``store.sqlite.draft`` and then named ``store.sqlite.ready``. From there on a crash
changes nothing: `finish` moves what is in the way to the quarantine and gives the new file its name.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from otel_wandb.errors import StoreError
from otel_wandb.store.database import SUFFIXES, beside, cannot_open, connect, sync_path, translate, uri

DAMAGE_NOTE: Final = ".damaged"
"""The suffix of the file by which a reader tells the next bridge that it met damage."""
DRAFT: Final = ".draft"
_READY: Final = ".ready"


def build(
    path: Path, fill: Callable[[sqlite3.Connection], None], quarantine: Path, *, sync: bool = True
) -> Path | None:
    """Put a new database at `path`; where what was there before lies now, None if there was nothing.

    `sync`: so that it outlives the machine. Raises StoreError, and leaves what is there as it is.
    """
    draft = beside(path, DRAFT)
    try:
        remove(draft)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(connect(uri(draft, "rw"))) as connection:
            connection.execute("PRAGMA synchronous=OFF")  # it is synced as a whole
            fill(connection)
            connection.execute("PRAGMA journal_mode=WAL")
        if sync:
            sync_path(draft)
        draft.rename(beside(path, _READY))
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            remove(draft)
        raise _cannot_build(path, error) from error
    place = finish(path, quarantine)
    if sync:
        sync_path(path.parent)
    return place


def finish(path: Path, quarantine: Path) -> Path | None:
    """Complete what a crash may have interrupted; where the files that were in the way lie now."""
    ready = beside(path, _READY)
    place: Path | None = None
    try:
        if ready.exists() or not path.exists():
            place = _move_away(path, quarantine)  # without a store, too: a lone WAL would spoil the next one
        if ready.exists():
            beside(path, DAMAGE_NOTE).unlink(missing_ok=True)
            ready.rename(path)
    except OSError as error:
        raise cannot_open(path, error) from error
    return place


def remove(path: Path) -> None:
    """Remove a database with all that SQLite may have laid beside it. Raises OSError."""
    for suffix in (*SUFFIXES, "-journal"):
        beside(path, suffix).unlink(missing_ok=True)


def _move_away(path: Path, quarantine: Path) -> Path | None:
    files = [suffix for suffix in SUFFIXES if beside(path, suffix).exists()]
    if not files:
        return None
    quarantine.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (f"{path.stem}-{stamp}{f'-{n}' if n else ''}{path.suffix}" for n in range(1000))
    place = next(place for name in names if not (place := quarantine / name).exists())
    for suffix in files:
        shutil.move(beside(path, suffix), beside(place, suffix))  # also to another file system
    return place


def _cannot_build(path: Path, error: OSError | sqlite3.Error) -> StoreError:
    return translate(error, path) if isinstance(error, sqlite3.Error) else cannot_open(path, error)
