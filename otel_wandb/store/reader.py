"""What the store holds, read beside its writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar

import google_crc32c

from otel_wandb.errors import StoreError
from otel_wandb.store.alerts import AlertReader, count_waiting_alerts
from otel_wandb.store.database import DamageError, Database, Row, beside, open_for_reading
from otel_wandb.store.feedback import FeedbackReader, count_waiting
from otel_wandb.store.files import DAMAGE_NOTE
from otel_wandb.store.shapes import (
    Counts,
    DeadLetter,
    Destination,
    Mark,
    QueuedCall,
    QueuedRow,
    RecentTrace,
    Snapshot,
    StoredCall,
    StoredRow,
    StoredRun,
)
from otel_wandb.store.tables import TableReader, count_waiting_tables

T = TypeVar("T")

_PAGE_ROWS: Final = 20_000
_PAGE_CALLS: Final = 200
_PAGE_IDS: Final = 200_000

_DUE = (
    "SELECT o.call_id, c.trace_id, c.span_id, c.run, c.step, b.body, o.in_flight_since_s, b.crc32c"
    " FROM outbox o LEFT JOIN calls c ON c.id = o.call_id LEFT JOIN bodies b ON b.id = o.call_id"
    " WHERE o.destination = ? AND o.call_id > ? ORDER BY o.call_id LIMIT ?"
)
_CALLS = (
    "SELECT c.id, d.entity, d.project, c.trace_id, c.span_id, c.started_us, c.run, c.step, b.body, CASE"
    " WHEN EXISTS (SELECT 1 FROM outbox o WHERE o.destination = c.destination AND o.call_id = c.id)"
    " THEN 'waiting'"
    " WHEN EXISTS (SELECT 1 FROM dead_letters l WHERE l.call_id = c.id) THEN 'rejected'"
    " ELSE 'delivered' END, b.crc32c"
    " FROM calls c JOIN destinations d ON d.id = c.destination JOIN bodies b ON b.id = c.id"
)
_DEAD_LETTERS = (
    "SELECT l.call_id, d.entity, d.project, c.trace_id, c.span_id, l.status, l.answer, l.reason, b.body,"
    " b.crc32c FROM dead_letters l JOIN calls c ON c.id = l.call_id JOIN bodies b ON b.id = l.call_id"
    " JOIN destinations d ON d.id = c.destination WHERE l.call_id > ? ORDER BY l.call_id LIMIT ?"
)
_RUNS = (
    "SELECT r.id, r.destination, d.config, d.entity, d.project, r.run_id, r.spec, ifnull(w.n, 0)"
    " FROM runs r JOIN destinations d ON d.id = r.destination LEFT JOIN"
    " (SELECT run, count(*) n FROM rows WHERE state = 'waiting' GROUP BY run) w ON w.run = r.id"
    " ORDER BY r.id"
)
_WAITING_RUNS = _RUNS.replace("LEFT JOIN", "JOIN")
_DUE_ROWS = (
    "SELECT id, step, timestamp_s, body FROM rows WHERE run = ? AND state = 'waiting' ORDER BY step LIMIT ?"
)
_ROWS = (
    "SELECT d.entity, d.project, r.run_id, w.step, w.timestamp_s, w.body, w.state FROM rows w"
    " JOIN runs r ON r.id = w.run JOIN destinations d ON d.id = r.destination"
    " WHERE w.run = ? AND w.step > ? ORDER BY w.step LIMIT ?"
)
_PAGE = f"{_CALLS} WHERE c.id > ? AND c.id <= ? ORDER BY c.id"
_WANTED = (
    "SELECT id FROM calls WHERE id > ? AND id <= ?"
    " AND trace_id IN (SELECT value FROM json_each(?)) ORDER BY id"
)
_UNSETTLED = (
    "SELECT EXISTS (SELECT 1 FROM destinations d WHERE EXISTS"
    " (SELECT 1 FROM outbox o WHERE o.destination = d.id AND o.call_id <= ?))"
    " OR EXISTS (SELECT 1 FROM feedback WHERE state = 'waiting' AND id <= ?)"
)
_FLUSH = "SELECT last_call_id, last_feedback_id FROM flushes WHERE token = ?"
_DIGESTS = "SELECT id, digest, event_ns FROM digests WHERE id > ? ORDER BY id LIMIT ?"
_RECENT = "SELECT id, trace_id, memory, event_ns FROM recent WHERE id > ? ORDER BY id LIMIT ?"


class Access(Protocol):
    """How a reader comes to its connection."""

    def database(self) -> Database:
        """The connection to read from now."""

    def repair(self, database: Database, error: DamageError) -> None:
        """Make the store readable again after the error on that connection, or raise."""

    def close(self) -> None:
        """Close the connection."""


class Alone:
    """Access to a store that somebody else writes to, and repairs."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises StoreError, also where there is no store."""
        self._path = path
        try:
            self._database = open_for_reading(path)
        except DamageError as error:
            raise self._tell(error) from error

    def database(self) -> Database:
        """Always the same connection."""
        return self._database

    def repair(self, database: Database, error: DamageError) -> None:
        """Leave word for the next start of the bridge, and raise."""
        raise self._tell(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _tell(self, error: DamageError) -> StoreError:
        with suppress(OSError):
            beside(self._path, DAMAGE_NOTE).touch(mode=0o600)
        return StoreError(f"{error}; the bridge repairs it when it starts next")


class StoreReader:
    """What the store holds. Any thread may read; nothing is held open between two calls, or two items."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.feedback = FeedbackReader(self._ask)
        self.alerts = AlertReader(self._ask)
        self.tables = TableReader(self._ask)

    def marks(self) -> dict[str, Mark]:
        """The reading positions of each segment of the journal."""
        return self._ask(_read_marks)

    def counts(self) -> Counts:
        """The ledger's counters."""
        return self._ask(_read_counts)

    def waiting(self) -> dict[str, int]:
        """How many items of each signal are held in open traces, or as rows that wait for delivery."""
        return self._ask(_read_waiting)

    def outbox_size(self) -> int:
        """How many calls wait for delivery: counted, not computed (some 10 ms a million)."""
        return self._ask(_count_outbox)

    def outbox_empty(self) -> bool:
        """Whether no call waits for delivery, at no cost at any size."""
        return not self._number("SELECT EXISTS (SELECT 1 FROM outbox)")

    def folded_fronts(self) -> frozenset[str]:
        """The dead fronts whose counters are in `counts`."""
        return self._ask(_read_folded_fronts)

    def snapshot(self) -> Snapshot:
        """Marks, counts, gauges and outbox as of one moment, so that they balance."""

        def read(database: Database) -> Snapshot:
            with database.snapshot():
                return Snapshot(
                    marks=_read_marks(database),
                    counts=_read_counts(database),
                    waiting=_read_waiting(database),
                    outbox=_count_outbox(database),
                    folded_fronts=_read_folded_fronts(database),
                )

        return self._ask(read)

    def digests(self) -> Iterator[tuple[bytes, int]]:
        """The digests of requests with their event times, in the order of adding."""
        for _, digest, event_ns in self._pages(_DIGESTS):
            yield digest, event_ns

    def recent(self) -> Iterator[RecentTrace]:
        """What was remembered of recent traces, in the order of adding."""
        for _, trace_id, memory, event_ns in self._pages(_RECENT):
            yield RecentTrace(trace_id, memory, event_ns)

    def destinations(self) -> list[Destination]:
        """All destinations that calls were ever stored for."""
        rows = self._ask(_rows_of("SELECT id, config, entity, project FROM destinations ORDER BY id"))
        return [Destination(*row) for row in rows]

    def due(self, destination: int, limit: int, max_bytes: int, after_id: int = 0) -> list[QueuedCall]:
        """The oldest calls of the outbox beyond `after_id`, up to both bounds, but at least one of them."""

        def read(database: Database) -> list[QueuedCall]:
            calls: list[QueuedCall] = []
            room = max_bytes
            with database.lock, closing(database.each(_DUE, (destination, after_id, limit))) as rows:
                for *fields, crc in rows:
                    call = QueuedCall(*fields)
                    _verify(call.id, call.body, crc)
                    room -= len(call.body)
                    if room < 0 and calls:
                        break
                    calls.append(call)
            return calls

        return self._ask(read)

    def calls(self, trace_ids: Iterable[str] | None = None) -> Iterator[StoredCall]:
        """The stored calls (of these traces), oldest first. Searching reads the whole list, but no bodies."""
        last_id = self._number("SELECT max(id) FROM calls")
        start_id = self._number("SELECT min(id) FROM calls") - 1
        wanted = None if trace_ids is None else json.dumps(sorted(set(trace_ids)))
        while start_id < last_id:
            end_id = start_id + (_PAGE_CALLS if wanted is None else _PAGE_IDS)
            if wanted is None:
                yield from self._calls(
                    f"{_CALLS} WHERE c.id > ? AND c.id <= ? ORDER BY c.id", start_id, end_id
                )
            else:
                for (call_id,) in self._ask(_rows_of(_WANTED, (start_id, end_id, wanted))):
                    yield from self._calls(f"{_CALLS} WHERE c.id = ?", call_id)
            start_id = end_id

    def call(self, call_id: int) -> StoredCall:
        """One stored call. Raises StoreError if it is not there (any more)."""
        found = self._calls(f"{_CALLS} WHERE c.id = ?", call_id)
        if not found:
            raise StoreError(f"there is no call {call_id} in the store; it was delivered and pruned")
        return found[0]

    def dead_letters(self) -> Iterator[DeadLetter]:
        """The calls that Weave will never take, oldest first."""
        last_id = 0

        def read(database: Database) -> list[DeadLetter]:
            rows = database.rows(_DEAD_LETTERS, (last_id, _PAGE_CALLS))
            return [_as_letter(row) for row in rows]

        while letters := self._ask(read):
            yield from letters
            last_id = letters[-1].call_id

    def runs(self) -> list[StoredRun]:
        """All W&B runs that rows were ever stored for."""
        return [StoredRun(*row) for row in self._ask(_rows_of(_RUNS))]

    def waiting_runs(self) -> list[StoredRun]:
        """Those of them of which rows wait. Cheap: it reads an index of what waits."""
        return [StoredRun(*row) for row in self._ask(_rows_of(_WAITING_RUNS))]

    def waiting_rows(self) -> int:
        """How many rows wait for delivery."""
        return self._ask(_count_waiting_rows)

    def due_rows(self, run: int, limit: int, max_bytes: int) -> list[QueuedRow]:
        """The rows of the run that wait, by their steps, up to both bounds, but at least one of them."""

        def read(database: Database) -> list[QueuedRow]:
            rows: list[QueuedRow] = []
            room = max_bytes
            with database.lock, closing(database.each(_DUE_ROWS, (run, limit))) as found:
                for fields in found:
                    row = QueuedRow(*fields)
                    room -= len(row.values)
                    if room < 0 and rows:
                        break
                    rows.append(row)
            return rows

        return self._ask(read)

    def rows(self, run: int) -> Iterator[StoredRow]:
        """All rows of a run by their steps."""
        last_step = -1
        while page := self._ask(_rows_of(_ROWS, (run, last_step, _PAGE_CALLS))):
            yield from (StoredRow(*row) for row in page)
            last_step = page[-1][3]

    def states(self, pattern: str = "*") -> dict[str, bytes]:
        """What `put_state` has kept, under names like the pattern."""
        return dict(self._ask(_rows_of("SELECT name, value FROM states WHERE name GLOB ?", (pattern,))))

    def flush_settled(self, token: bytes) -> bool | None:
        """Whether nothing that a flush waits for waits itself; None where the flush is not known."""

        def read(database: Database) -> bool | None:
            with database.snapshot():
                rows = database.rows(_FLUSH, (token,))
                return not database.number(_UNSETTLED, rows[0]) if rows else None

        return self._ask(read)

    def size_bytes(self) -> int:
        """What the store holds: its pages without the free ones, which are used again."""

        def read(database: Database) -> int:
            with database.snapshot():
                free = database.number("PRAGMA freelist_count")
                return (database.number("PRAGMA page_count") - free) * database.number("PRAGMA page_size")

        return self._ask(read)

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self._access.close()

    def _ask(self, question: Callable[[Database], T]) -> T:
        database = self._access.database()
        try:
            return question(database)
        except StoreError as error:
            if isinstance(error, DamageError):
                self._access.repair(database, error)
            elif self._access.database() is database:
                raise
            # Else another thread has repaired the store meanwhile, and closed this connection.
        return question(self._access.database())

    def _calls(self, sql: str, *ids: int) -> list[StoredCall]:
        return self._ask(lambda database: [_as_stored(row) for row in database.rows(sql, ids)])

    def _pages(self, sql: str) -> Iterator[Row]:
        last_id = 0
        while rows := self._ask(_rows_of(sql, (last_id, _PAGE_ROWS))):
            yield from rows
            last_id = rows[-1][0]

    def _number(self, sql: str) -> int:
        return self._ask(lambda database: database.number(sql))


def _rows_of(sql: str, parameters: Sequence[object] = ()) -> Callable[[Database], list[Row]]:
    return lambda database: database.rows(sql, parameters)


def _read_marks(database: Database) -> dict[str, Mark]:
    rows = database.rows("SELECT segment, counted, assembled FROM marks")
    return {segment: Mark(counted, assembled) for segment, counted, assembled in rows}


def _read_counts(database: Database) -> Counts:
    rows = database.rows("SELECT signal, outcome, reason, n FROM counts")
    return {(signal, outcome, reason): n for signal, outcome, reason, n in rows}


def _read_waiting(database: Database) -> dict[str, int]:
    waiting = dict(database.rows("SELECT signal, n FROM waiting"))
    if rows := _count_waiting_rows(database):
        waiting["rows"] = rows
    if feedback := count_waiting(database):
        waiting["feedback"] = feedback
    if alerts := count_waiting_alerts(database):
        waiting["alerts"] = alerts
    if tables := count_waiting_tables(database):
        waiting["tables"] = tables
    return waiting


def _count_outbox(database: Database) -> int:
    return database.number("SELECT count(*) FROM outbox")


def _count_waiting_rows(database: Database) -> int:
    return database.number("SELECT count(*) FROM rows WHERE state = 'waiting'")


def _read_folded_fronts(database: Database) -> frozenset[str]:
    return frozenset(name for (name,) in database.rows("SELECT name FROM folded_fronts"))


def _as_stored(row: Row) -> StoredCall:
    *fields, crc = row
    call = StoredCall(*fields)
    _verify(call.id, call.body, crc)
    return call


def _as_letter(row: Row) -> DeadLetter:
    *fields, crc = row
    letter = DeadLetter(*fields)
    _verify(letter.call_id, letter.body, crc)
    return letter


def _verify(call_id: int, body: object, crc: object) -> None:
    # A call without its body, or with another one than was stored, must be neither sent nor passed over.
    if not isinstance(body, bytes) or google_crc32c.value(body) != crc:
        raise DamageError(f"the store is damaged (the body of call {call_id} is not what was stored)")
