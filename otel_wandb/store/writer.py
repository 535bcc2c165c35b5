"""The store as the one process has it that writes: opened, written to, mended where it is damaged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from otel_wandb.errors import StoreError
from otel_wandb.store import files, recovery
from otel_wandb.store.database import (
    DamageError,
    Database,
    beside,
    connect,
    open_for_reading,
    open_for_writing,
    sync_path,
)
from otel_wandb.store.reader import Alone, StoreReader
from otel_wandb.store.schema import inspect, make_store, migrate
from otel_wandb.store.shapes import FsyncMode
from otel_wandb.store.transaction import Transaction

_log = logging.getLogger("otel_wandb.store")


class Store:
    """All that the bridge made, in one SQLite file. Any thread may use it; one process may write.

    What a transaction wrote survives the SIGKILL of any process, in every `fsync` mode. With `always` it
    survives a power cut, too. With `interval` and `never` a power cut may take the last transactions along
    (never the file); `sync` prevents that. With `interval` the note that a delivery began is always synced.

    Damage is repaired when the store is opened, or when it is met later: the transaction that meets it fails
    with a StoreError, and the next one finds a sound store. `recovered` says what was kept and what was lost.
    """

    def __init__(self, database: Database, *, fsync: FsyncMode, quarantine: Path) -> None:
        """Use `Store.open`."""
        self.recovered: str | None = None
        self.reader = StoreReader(_Own(self))
        self._lock = database.lock
        self._path = database.path
        self._fsync: FsyncMode = fsync
        self._quarantine = quarantine
        self._writer = database
        self._reading: Database | None = None
        self._transaction: Transaction | None = None
        self._last_call_id = 0
        self._damage: DamageError | None = None
        self._closed = False

    @classmethod
    def open(cls, path: Path | None, *, fsync: FsyncMode = "never", quarantine: Path | None = None) -> Store:
        """The store at `path`, which is made if it is not there; None: one in memory.

        A damaged one is moved to `quarantine` (default: a folder of that name beside it), and all that can
        still be read is built up anew: `recovered` tells. Raises StoreError, of which StoreFull.
        """
        lock = threading.RLock()
        if path is None:
            connection = connect(":memory:")
            make_store(connection)
            return cls(Database(connection, None, lock), fsync=fsync, quarantine=Path())
        quarantine = quarantine or path.parent / "quarantine"
        recovered = None
        files.finish(path, quarantine)
        if not path.exists():
            files.build(path, make_store, quarantine, sync=fsync != "never")
        try:
            database = _open_sound(path, fsync, lock)
        except DamageError as error:
            recovered = recovery.rebuild(path, quarantine, problem=str(error))
            database = _open_sound(path, fsync, lock)
        store = cls(database, fsync=fsync, quarantine=quarantine)
        store.recovered = recovered
        return store

    @staticmethod
    def open_for_reading(path: Path) -> StoreReader:
        """A reader beside the process that writes. Raises StoreError, also where there is no store."""
        return StoreReader(Alone(path))

    @property
    def bridge_id(self) -> str:
        """The bridge's own id, made with the store."""
        with self._lock:
            return str(self._sound_writer().value("SELECT value FROM meta WHERE name = 'bridge_id'"))

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction that is committed at the end of the block, and undone by any exception.

        Other threads wait meanwhile. Raises StoreFull where the disk is full, StoreError for everything else
        that the database may say; the store stays usable.
        """
        with self._lock:
            if self._transaction is not None:
                raise StoreError("this thread has a transaction under way already")
            database = self._sound_writer()
            try:
                database.run("BEGIN IMMEDIATE")
                self._transaction = transaction = Transaction(database)
                yield transaction
                transaction.write()
                database.run("COMMIT")
            except BaseException as error:
                database.roll_back()
                if isinstance(error, DamageError):
                    self._damage = error
                raise
            finally:
                self._transaction = None
            self._last_call_id = transaction.last_call_id
            if transaction.began_attempt and self._fsync == "interval":
                self.sync()

    def sync(self) -> None:
        """Everything committed is on the disk when this returns. Raises StoreError.

        What SQLite has moved from the `-wal` file to the main one, it has synced; this syncs the rest.
        """
        if self._path is None:
            return
        try:
            sync_path(beside(self._path, "-wal"))
            sync_path(self._path.parent)
        except OSError as error:
            raise StoreError(f"{self._path} could not be synced ({error.strerror or error})") from error

    def close(self) -> None:
        """Close all connections. May be called twice."""
        with self._lock:
            self._closed = True
            self._close_reading()
            self._writer.close()

    def _sound_writer(self) -> Database:
        if self._closed:
            raise StoreError(f"the store {self._path or 'in memory'} is closed")
        self._writer.check_process()
        if self._damage is not None and self._path is not None:
            self._close_reading()
            self._writer.close()
            self.recovered = recovery.rebuild(
                self._path, self._quarantine, problem=str(self._damage), last_call_id=self._last_call_id
            )
            _log.warning("The store was damaged: %s", self.recovered)
            self._writer = _open_sound(self._path, self._fsync, self._lock)
            self._damage = None
        return self._writer

    def _close_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None


class _Own:
    """Access for the store's own reader: a connection beside the writer's; in memory, the writer's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def database(self) -> Database:
        store = self._store
        store._writer.check_process()
        reading = store._reading
        if reading is not None and store._damage is None:
            return reading
        with store._lock:
            writer = store._sound_writer()
            if store._path is None:
                return writer
            if store._reading is None:
                store._reading = open_for_reading(store._path)
            return store._reading

    def repair(self, database: Database, error: DamageError) -> None:
        store = self._store
        with store._lock:
            if store._transaction is not None or store._path is None:
                raise error  # the transaction fails by it, and the next one repairs
            if store._reading is database:  # else another thread was first
                store._damage = error
            store._sound_writer()

    def close(self) -> None:
        with self._store._lock:
            self._store._close_reading()


def _open_sound(path: Path, fsync: FsyncMode, lock: threading.RLock) -> Database:
    if beside(path, files.DAMAGE_NOTE).exists():
        raise DamageError(f"a reader found damage in {path}")
    database = open_for_writing(path, fsync, lock)
    try:
        migrate(database)
        inspect(database)
    except BaseException:
        database.close()
        raise
    return database
