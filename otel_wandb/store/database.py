"""One SQLite connection with our errors, our settings and our file permissions.

The journal mode is WAL with `synchronous=NORMAL`: what was committed is with the kernel, so the SIGKILL of
any process loses nothing, and a power cut loses the last commits but never the file. `synchronous=FULL` adds
one fsync a commit. (`OFF` would survive the SIGKILL as well, but a power cut could destroy the file.)

Nobody may open the main file or the `-shm` file by other means while SQLite has them open in the same
process: closing them again would silently drop SQLite's locks. The `-wal` file bears no locks.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from otel_wandb.errors import StoreError, StoreFull
from otel_wandb.store.shapes import FsyncMode

Row: TypeAlias = tuple[Any, ...]
"""A row as SQLite gives it; only this package sees it."""

SUFFIXES: Final = ("", "-wal", "-shm")
PAGE_BYTES: Final = 16384
"""Five calls of 3 KB to a page waste little; a transaction of one call still writes few pages."""
_CHECKPOINT_PAGES: Final = (16 << 20) // PAGE_BYTES
_WAL_KEPT_BYTES: Final = 64 << 20
_CACHE_KIB: Final = 8 << 10
_BUSY_S: Final = 10.0
_SMALLEST_BYTES: Final = 512
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NO_ACCESS: Final = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_TAKEN: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class DamageError(StoreError):
    """The file is not, or no longer, a database that can be read everywhere."""


class Database:
    """A connection that any thread may use, one at a time: `lock` is held for each statement."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None, lock: threading.RLock) -> None:
        self.lock = lock
        self.path = path
        self._connection = connection
        self._pid = os.getpid()

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows of a query."""
        with self.lock, self._ours():
            return self._connection.execute(sql, parameters).fetchall()

    def each(self, sql: str, parameters: Sequence[object] = ()) -> Generator[Row, None, None]:
        """The rows one by one. Exhaust or close it with the lock held: until then it holds a read lock."""
        with self._ours():
            cursor = self._connection.execute(sql, parameters)
            try:
                yield from cursor
            finally:
                cursor.close()

    def value(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """The first column of the first row, None if there is no row."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def number(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Like `value`, for integers; 0 if there is none."""
        return int(self.value(sql, parameters) or 0)

    def run(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Execute a statement; how many rows it changed."""
        with self.lock, self._ours():
            return self._connection.execute(sql, parameters).rowcount

    def run_many(self, sql: str, parameters: Iterable[Sequence[object]]) -> int:
        """Execute a statement for each set of parameters; how many rows all of them changed."""
        with self.lock, self._ours():
            return self._connection.executemany(sql, parameters).rowcount

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All queries inside see one moment."""
        with self.lock:
            if self._connection.in_transaction:  # in memory there is one connection: its own transaction
                yield
                return
            self.run("BEGIN")
            try:
                yield
            finally:
                self.roll_back()

    def roll_back(self) -> None:
        """Undo what was begun, if SQLite has not done so itself. Raises nothing."""
        with self.lock, suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection. May be called twice."""
        with self.lock:
            if self._pid == os.getpid():
                self._connection.close()

    def check_process(self) -> None:
        """Raises StoreError in a forked child, where neither connection nor locks are ours."""
        if self._pid != os.getpid():
            raise StoreError(f"{self.path} was opened by process {self._pid}; a forked child opens it anew")

    @contextmanager
    def _ours(self) -> Iterator[None]:
        self.check_process()
        try:
            yield
        except sqlite3.Error as error:
            raise translate(error, self.path) from error


def translate(error: sqlite3.Error, path: Path | None) -> StoreError:
    """Our error for SQLite's, saying what to do."""
    extended: int = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    where = path or "the store in memory"
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"{where} cannot grow: the disk is full. Nothing is lost; free some space")
    undecodable = isinstance(error, sqlite3.OperationalError) and "decode to UTF-8" in str(error)
    if code in _DAMAGE or extended == sqlite3.SQLITE_IOERR_READ or undecodable:
        return DamageError(f"{where} is damaged ({error})")
    if code in _NO_ACCESS:
        return StoreError(f"{where} cannot be used ({error}); its directory must be writable for this user")
    if code in _TAKEN:
        return StoreError(f"{where} is in use by another process ({error}); only one may write")
    return StoreError(f"{where}: {error}")


def open_for_writing(path: Path, fsync: FsyncMode, lock: threading.RLock) -> Database:
    """The database at `path`, which must exist. Raises StoreError, of which DamageError where it is none."""
    try:
        if path.stat().st_size < _SMALLEST_BYTES:  # SQLite would take it for an empty database
            raise DamageError(f"{path} is too short to be a store")
        _restrict(path)
        connection = connect(uri(path, "rw"))
    except (OSError, sqlite3.Error) as error:
        raise cannot_open(path, error) from error
    database = Database(connection, path, lock)
    try:
        _set_up(database)
        database.run(f"PRAGMA synchronous={'FULL' if fsync == 'always' else 'NORMAL'}")
    except BaseException:
        database.close()
        raise
    return database


def open_for_reading(path: Path) -> Database:
    """The database at `path` beside its writer. Raises StoreError, also where there is none."""
    if not path.exists():
        raise StoreError(f"there is no store at {path}: no bridge has worked there yet")
    lock = threading.RLock()
    try:
        database = Database(connect(uri(path, "ro")), path, lock)
    except sqlite3.Error as error:
        raise cannot_open(path, error) from error
    try:
        database.rows("SELECT count(*) FROM sqlite_master")
    except StoreError as error:
        database.close()
        if isinstance(error, DamageError) or _has_wal(path):
            raise
        # A directory that is read-only has no room for the `-shm` file, but nobody writes there either.
        database = Database(connect(uri(path, "ro&immutable=1")), path, lock)
    return database


def connect(uri: str) -> sqlite3.Connection:
    """A connection for any thread, without transactions of Python's own. Raises sqlite3.Error."""
    return sqlite3.connect(
        uri,
        uri=uri != ":memory:",
        timeout=_BUSY_S,
        isolation_level=None,  # transactions are begun and ended by us
        check_same_thread=False,
        cached_statements=256,
    )


def uri(path: Path, mode: str) -> str:
    """What SQLite calls the file, opened in that mode."""
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def beside(path: Path, suffix: str) -> Path:
    """The file beside a database that SQLite, or we, name by a suffix."""
    return path.with_name(path.name + suffix)


def sync_path(path: Path) -> None:
    """Bring a file or a directory to the disk; one that is gone needs nothing."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def cannot_open(path: Path, error: OSError | sqlite3.Error) -> StoreError:
    """Our error for a file that cannot be made or opened."""
    if isinstance(error, sqlite3.Error):
        return translate(error, path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"{path} cannot be made: the disk is full; free some space")
    return StoreError(f"{path} cannot be opened ({error.strerror or error})")


def _set_up(database: Database) -> None:
    mode = database.value("PRAGMA journal_mode=WAL")
    if mode != "wal":
        raise StoreError(f"{database.path} is on a file system where SQLite's WAL does not work ({mode})")
    database.run(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    database.run(f"PRAGMA journal_size_limit={_WAL_KEPT_BYTES}")
    database.run(f"PRAGMA cache_size=-{_CACHE_KIB}")
    # Debian compiles SQLite so that each deleted page is overwritten: that would double the cost of pruning.
    database.run("PRAGMA secure_delete=FAST")


def _restrict(path: Path) -> None:
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            file = beside(path, suffix)
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)


def _has_wal(path: Path) -> bool:
    with suppress(OSError):
        return beside(path, "-wal").stat().st_size > 0
    return False
