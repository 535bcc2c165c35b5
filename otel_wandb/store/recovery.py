"""A new store from what can still be read of a damaged one.

Each table is walked in the order of its keys; where SQLite meets damage, the range of keys that is left is
halved until the unreadable keys stand alone. What was read is checked against types and checksums. Then the
books are put right: a call that waited and cannot be read counts as dropped, with the reason `store_corrupt`.

Nobody knows what the lost pages said last. So every call that waits is marked as in flight: it is read back
from Weave before it is sent. Where the outbox itself has holes, the calls that may have stood there wait
again; and calls from before the repair that come anew out of the journal are read back, too.
"""

# ruff: noqa: S608  only names of our own tables and columns are put into SQL

from __future__ import annotations

import shutil
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import google_crc32c

from otel_wandb.store import files
from otel_wandb.store.books import MAX_KEY, Holes, Outcome, balance_books
from otel_wandb.store.database import PAGE_BYTES, Row, beside, connect, uri
from otel_wandb.store.schema import make_schema, name_bridge

_CHUNK_ROWS: Final = 500
_PROBES: Final = 64
_PROBED_KEYS: Final = 4096
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "INTEGER": (int,),
    "REAL": (int, float),
    "TEXT": (str,),
    "BLOB": (bytes,),
}
_TORN: Final = ".torn"
_VERSIONS: Final = slice(18, 20)
_PAGE_COUNT: Final = slice(28, 32)
_FREE_PAGES: Final = slice(32, 40)


class Column:
    """A column as this version declares it."""

    def __init__(self, name: str, kind: str, *, required: bool) -> None:
        self.name = name
        self._types = _TYPES[kind]
        self._required = required

    def holds(self, value: object) -> bool:
        """Whether the value can have been written there by us."""
        return isinstance(value, self._types) or (value is None and not self._required)


def rebuild(path: Path, quarantine: Path, *, problem: str, last_call_id: int = 0) -> str:
    """Replace the store at `path` by one with all that is readable; what was kept and lost, in words.

    `last_call_id`: ids up to there are in use, whatever can be read. Raises StoreError, and can be repeated.
    """
    files.finish(path, quarantine)
    outcome = Outcome()

    def fill(target: sqlite3.Connection) -> None:
        nonlocal outcome
        make_schema(target)
        target.execute("PRAGMA journal_mode=OFF")
        target.execute("BEGIN")
        with closing(_Salvage(path, target)) as salvage:
            salvage.copy_all()
            name_bridge(target)
            now_us = time.time_ns() // 1000
            outcome = balance_books(target, salvage.holes, last_call_id=last_call_id, now_us=now_us)
        target.execute("COMMIT")

    place = files.build(path, fill, quarantine)
    return f"{problem}. {outcome.sentence()} The old files are {place}."


class _Salvage:
    """Copies what it can read from the database at `path`."""

    def __init__(self, path: Path, target: sqlite3.Connection) -> None:
        self.holes: dict[str, Holes] = defaultdict(list)
        self._target = target
        self._torn = beside(path, _TORN)
        self._source = self._open(path)

    def close(self) -> None:
        """Close the source, and remove the copy that may have been made."""
        self._source.close()
        files.remove(self._torn)

    def copy_all(self) -> None:
        """Copy every table of this version."""
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        tables = [name for (name,) in self._target.execute(sql)]
        for table in tables:
            if table not in ("outbox", "migrations"):
                names = ", ".join(column.name for column in self._columns(table))
                where = f"{table} NOT INDEXED WHERE rowid"
                self._insert(table, self._walk(f"rowid, {names}", where, "rowid", self.holes[table]))
        self._copy_destinations_of_index()
        self._copy_outbox()

    def _open(self, path: Path) -> sqlite3.Connection:
        source = _open_patiently(path)
        with suppress(sqlite3.Error):
            if source.execute("SELECT count(*) FROM sqlite_master WHERE name = 'outbox'").fetchone() == (1,):
                return source
        source.close()
        # The first page is gone, which says where everything is. In a fresh store everything is there, too.
        files.remove(self._torn)
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(beside(path, suffix), beside(self._torn, suffix))
        if not _transplant_first_page(self._torn):
            files.remove(self._torn)
        return _open_patiently(self._torn)

    def _copy_outbox(self) -> None:
        known = "SELECT id FROM destinations UNION SELECT DISTINCT destination FROM calls ORDER BY 1"
        for (destination,) in self._target.execute(known).fetchall():
            where = f"outbox WHERE destination = {destination:d} AND call_id"
            columns = "call_id, destination, call_id, in_flight_since_s"
            self._insert("outbox", self._walk(columns, where, "call_id", self.holes[f"outbox {destination}"]))

    def _copy_destinations_of_index(self) -> None:
        # The unique index holds all but the resolved entity, on another page than the table.
        columns = "id, id, config, asked_entity, project, asked_entity"
        with suppress(sqlite3.Error):
            rows = self._source.execute(f"SELECT {columns} FROM destinations WHERE config >= ''").fetchall()
            self._insert("destinations", iter(rows))

    def _walk(self, columns: str, where: str, key: str, holes: Holes) -> Iterator[Row]:
        """All rows that can be read, in the order of their keys, the key in front."""
        sql = f"SELECT {columns} FROM {where} BETWEEN ? AND ? ORDER BY {key}"
        last, known = self._last_key(where, key)
        ranges = [(0, last)]
        while ranges:
            low, high = ranges.pop()
            try:
                for row in self._source.execute(sql, (low, high)):
                    if not isinstance(row[0], int) or row[0] < low:
                        raise sqlite3.DatabaseError("keys go backwards")
                    low = row[0] + 1
                    yield row
            except sqlite3.Error:
                if low >= high or self._is_hopeless(where, low, high):
                    _add_hole(holes, low, high)
                    continue
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]
        if not known:
            _add_hole(holes, last + 1, MAX_KEY)

    def _last_key(self, where: str, key: str) -> tuple[int, bool]:
        """The last key; where it cannot be read, a key beyond all that can, and False."""
        sql = f"SELECT {key} FROM {where} >= 0 ORDER BY {key} DESC LIMIT 1"
        with suppress(sqlite3.Error, TypeError, ValueError):
            row = self._source.execute(sql).fetchone()
            return (int(row[0]) if row else 0), True
        last = 1
        while last < MAX_KEY // 2 and self._is_readable(where, last):
            last *= 2
        return last, False

    def _is_hopeless(self, where: str, low: int, high: int) -> bool:
        # An unreadable inner page hides thousands of keys: they are not tried one by one.
        step = (high - low) // _PROBES
        return step * _PROBES >= _PROBED_KEYS and not any(
            self._is_readable(where, key) for key in range(low, high, step)
        )

    def _is_readable(self, where: str, key: int) -> bool:
        try:
            self._source.execute(f"SELECT 1 FROM {where} = ?", (key,)).fetchone()
        except sqlite3.Error:
            return False
        return True

    def _columns(self, table: str) -> list[Column]:
        rows = self._target.execute(f"PRAGMA table_info({table})").fetchall()
        return [
            Column(name, kind, required=bool(notnull or primary))
            for _, name, kind, notnull, _, primary in rows
        ]

    def _insert(self, table: str, rows: Iterator[Row]) -> None:
        """Insert the rows, whose key stands in front, as far as they can be what we wrote."""
        columns = self._columns(table)
        names, marks = ", ".join(c.name for c in columns), ", ".join("?" * len(columns))
        sql = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"
        chunk: list[Row] = []
        for key, *row in rows:
            if not all(column.holds(value) for column, value in zip(columns, row, strict=True)) or (
                table == "bodies" and google_crc32c.value(row[2]) != row[1]
            ):
                _add_hole(self.holes[table], key, key)
                continue
            chunk.append(tuple(row))
            if len(chunk) >= _CHUNK_ROWS:
                self._target.executemany(sql, chunk)
                chunk.clear()
        self._target.executemany(sql, chunk)


def _add_hole(holes: Holes, low: int, high: int) -> None:
    if holes and holes[-1][1] + 1 >= low >= holes[-1][0]:
        holes[-1] = (holes[-1][0], max(high, holes[-1][1]))
    else:
        holes.append((low, high))


def _open_patiently(path: Path) -> sqlite3.Connection:
    if not path.exists():
        return connect(":memory:")
    source = connect(uri(path, "ro"))
    source.execute("PRAGMA writable_schema=ON")  # else a truncated file cannot be read at all
    source.execute("PRAGMA cell_size_check=ON")
    source.text_factory = _decode
    return source


def _decode(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None  # which no column of text may hold


def _transplant_first_page(path: Path) -> bool:
    """Give the database the first page of a fresh one; False where it is too small to be one."""
    if not path.exists() or path.stat().st_size < 2 * PAGE_BYTES:
        return False
    with closing(connect(":memory:")) as fresh:
        make_schema(fresh)
        page = bytearray(fresh.serialize()[:PAGE_BYTES])
    page[_VERSIONS] = b"\2\2"  # WAL
    page[_PAGE_COUNT] = (path.stat().st_size // PAGE_BYTES).to_bytes(4, "big")
    page[_FREE_PAGES] = bytes(8)
    with path.open("r+b") as file:
        file.write(page)
    return True
