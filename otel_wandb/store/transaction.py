"""What the bridge and the delivery may write, all of it or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import google_crc32c

from otel_wandb.ledger import as_received
from otel_wandb.store.alerts import AlertWriter
from otel_wandb.store.database import PAGE_BYTES, Database
from otel_wandb.store.feedback import FeedbackWriter, NewFeedback
from otel_wandb.store.shapes import Mark, NewCall, NewRow, NewRun
from otel_wandb.store.tables import TableWriter

_BUFFER_CALLS: Final = 1000
_BUFFER_BYTES: Final = 8 << 20
_PRUNE_CALLS: Final = 100
_FLUSHES_KEPT: Final = 1000
_FRONTS_KEPT: Final = 10_000
_DIGESTS_KEPT: Final = 1_000_000

_TAKE_OFF = (
    "DELETE FROM outbox WHERE destination = (SELECT destination FROM calls WHERE id = ?1) AND call_id = ?1"
)
_MARK_FLIGHT = (
    "UPDATE outbox SET in_flight_since_s = ?2"
    " WHERE destination = (SELECT destination FROM calls WHERE id = ?1) AND call_id = ?1"
)
_DELIVERED = (
    "SELECT id FROM calls c WHERE id > ?"
    " AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.destination = c.destination AND o.call_id = c.id)"
    " AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.call_id = c.id)"
    " ORDER BY id LIMIT ?"
)
_SETTLED_ROWS = "SELECT id FROM rows WHERE state <> 'waiting' ORDER BY id LIMIT 1000"
_ADD_COUNT = (
    "INSERT INTO counts (signal, outcome, reason, n) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (signal, outcome, reason) DO UPDATE SET n = n + excluded.n"
)
_SET_MARK = (
    "INSERT INTO marks (segment, counted, assembled) VALUES (?, ?, ?)"
    " ON CONFLICT (segment) DO UPDATE SET counted = excluded.counted, assembled = excluded.assembled"
)
_SET_WAITING = (
    "INSERT INTO waiting (signal, n) VALUES (?, ?) ON CONFLICT (signal) DO UPDATE SET n = excluded.n"
)
_SET_META = (
    "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_ADD_CALL = (
    "INSERT INTO calls (id, destination, trace_id, span_id, started_us, run, step)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_REMOVE_CALL = (
    "DELETE FROM calls WHERE id = ?",
    "DELETE FROM bodies WHERE id = ?",
    "DELETE FROM dead_letters WHERE call_id = ?",
)
_KEEP_FRONTS = "DELETE FROM folded_fronts WHERE rowid <= (SELECT max(rowid) FROM folded_fronts) - ?"
_KEEP_FLUSHES = "DELETE FROM flushes WHERE id <= (SELECT max(id) FROM flushes) - ?"
# Rows lie in the order of their time but for outliers, so the first young one ends the search.
_DROP_DIGESTS = (
    "DELETE FROM digests WHERE id < max((SELECT max(id) FROM digests) + 1 - ?,"
    " ifnull((SELECT id FROM digests WHERE event_ns >= ? ORDER BY id LIMIT 1), 9223372036854775807))"
)
_DROP_RECENT = _DROP_DIGESTS.replace("digests", "recent")


class _Tally:
    """What a transaction adds to the ledger.

    Those who write a part of it have this, not the transaction: that would be a circle, and transactions
    are many.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def __call__(self, signal: str, outcome: str, n: int, reason: str = "") -> None:
        self.counts[signal, outcome, reason] += n


class Transaction:
    """One transaction under way; `Store.transaction` makes it and ends it. Nothing of it is seen before."""

    def __init__(self, database: Database) -> None:
        self.began_attempt = False
        self._database = database
        self._tally = _Tally()
        self.feedback = FeedbackWriter(database, self._tally)
        self.alerts = AlertWriter(database, self._tally)
        self.tables = TableWriter(database, self._tally)
        self._marks: dict[str, Mark | None] = {}
        self._waiting: dict[str, int] = {}
        self._calls: list[tuple[int, int, str, str, int, str, int | None]] = []
        self._bodies: list[tuple[int, int, bytes]] = []
        self._queue: list[tuple[int, int, float | None]] = []
        self._buffered_bytes = 0
        self._first_id = self._last_id = self._read_number("last_call_id")
        self._doubtful_before_us = self._read_number("doubtful_before_us")

    @property
    def last_call_id(self) -> int:
        """The id of the youngest call, stored now or ever; 0 before the first."""
        return self._last_id

    def set_mark(self, segment: str, counted: int, assembled: int) -> None:
        """Move the reading positions of a segment."""
        self._marks[segment] = Mark(counted, assembled)

    def drop_mark(self, segment: str) -> None:
        """Forget a segment whose file is gone."""
        self._marks[segment] = None

    def add_count(self, signal: str, outcome: str, n: int, reason: str = "") -> None:
        """Add to the ledger. A correction may be negative."""
        self._tally(signal, outcome, n, reason)

    def set_waiting(self, signal: str, n: int) -> None:
        """Set how many items of the signal are held in open traces."""
        self._waiting[signal] = n

    def add_digests(self, digests: Iterable[tuple[bytes, int]]) -> None:
        """Add digests of requests, each with the newest event time when it was seen, in that order."""
        self._database.run_many("INSERT INTO digests (digest, event_ns) VALUES (?, ?)", digests)

    def drop_digests(self, before_ns: int, keep: int = _DIGESTS_KEPT) -> None:
        """Forget the oldest: up to the first that is not older than that, and all but the youngest `keep`."""
        self._database.run(_DROP_DIGESTS, (keep, before_ns))

    def remember(self, trace_id: str, memory: bytes, event_ns: int) -> None:
        """Add to what is known of a trace that was given out."""
        self.remember_all([(trace_id, memory, event_ns)])

    def remember_all(self, memories: Iterable[tuple[str, bytes, int]]) -> None:
        """The same for many traces at once."""
        sql = "INSERT INTO recent (trace_id, memory, event_ns) VALUES (?, ?, ?)"
        self._database.run_many(sql, memories)

    def forget_traces(self, before_ns: int, keep: int) -> None:
        """Forget the oldest memories, as `drop_digests` does with digests."""
        self._database.run(_DROP_RECENT, (keep, before_ns))

    def add_destination(self, config: str, entity: str, project: str) -> int:
        """The id of the destination, which is made at the first call."""
        self._database.run(
            "INSERT INTO destinations (config, asked_entity, project, entity) VALUES (?1, ?2, ?3, ?2)"
            " ON CONFLICT (config, asked_entity, project) DO NOTHING",
            (config, entity, project),
        )
        sql = "SELECT id FROM destinations WHERE config = ? AND asked_entity = ? AND project = ?"
        return self._database.number(sql, (config, entity, project))

    def set_entity(self, destination: int, entity: str) -> None:
        """Note what the empty entity of a destination stands for."""
        self._database.run("UPDATE destinations SET entity = ? WHERE id = ?", (entity, destination))

    def add_call(self, call: NewCall) -> int:
        """The id of the call, which is stored, queued for delivery and counted as received."""
        self._last_id += 1
        call_id = self._last_id
        destination, trace_id, span_id, started_us, run, step, body = call
        self._calls.append((call_id, destination, trace_id, span_id, started_us, run, step))
        self._bodies.append((call_id, google_crc32c.value(body), body))
        # After damage nobody knows what became of older calls that come again: they are read back first.
        doubtful = started_us < self._doubtful_before_us
        self._queue.append((destination, call_id, 0.0 if doubtful else None))
        self._buffered_bytes += len(body)
        if len(self._calls) >= _BUFFER_CALLS or self._buffered_bytes >= _BUFFER_BYTES:
            self._write_calls()
        return call_id

    def begin_attempt(self, call_ids: Sequence[int], at_s: float) -> None:
        """Mark the calls as in flight: from here on a restart reads back before it sends them again."""
        self._mark_flight(call_ids, at_s)
        self.began_attempt = True

    def settle(self, call_ids: Sequence[int], outcome: str, reason: str = "") -> None:
        """Take the calls off the outbox and count them; one that is not there (any more) changes nothing."""
        self._write_calls()
        taken = self._database.run_many(_TAKE_OFF, ((call_id,) for call_id in call_ids))
        self.add_count("calls", outcome, max(0, taken), reason)

    def release(self, call_ids: Sequence[int]) -> None:
        """Take the mark off again: it is known that Weave has not taken the calls."""
        self._mark_flight(call_ids, None)

    def bury(self, call_id: int, status: int, answer: str, reason: str) -> None:
        """Move the call from the outbox to the dead letters, and count it as rejected for the reason."""
        self._write_calls()
        if self._database.run(_TAKE_OFF, (call_id,)):
            sql = "INSERT OR REPLACE INTO dead_letters (call_id, status, answer, reason) VALUES (?, ?, ?, ?)"
            self._database.run(sql, (call_id, status, answer, reason))
            self.add_count("calls", "rejected", 1, reason)
            self.feedback.bury_of_call(call_id)

    def add_feedback(self, feedback: NewFeedback) -> bool:
        """Store the feedback, which waits until its call is delivered; False if its id is there already."""
        return self.feedback.add(feedback, self._last_id)

    def find_destination(self, trace_id: str, span_id: str) -> int | None:
        """The destination of the call, where there are several to choose from."""
        self._write_calls()
        return self.feedback.find_destination(trace_id, span_id)

    def add_run(self, run: NewRun) -> int:
        """The id of the run, which is made at the first call, and described anew at the others."""
        asked = "SELECT asked_entity, project FROM destinations WHERE id = ?"
        ((entity, project),) = self._database.rows(asked, (run.destination,))
        key = (run.server, entity, project, run.run_id)
        self._database.run(
            "INSERT INTO runs (server, entity, project, run_id, destination, spec) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (server, entity, project, run_id)"
            " DO UPDATE SET destination = excluded.destination, spec = excluded.spec",
            (*key, run.destination, run.spec),
        )
        sql = "SELECT id FROM runs WHERE server = ? AND entity = ? AND project = ? AND run_id = ?"
        return self._database.number(sql, key)

    def add_row(self, row: NewRow) -> bool:
        """Store the row, which then waits for delivery, and count it as received; whether it was stored.

        A step that its run has already is dropped and counted: W&B would not take it either.
        """
        added = self._database.run(
            "INSERT INTO rows (run, step, timestamp_s, body, state) VALUES (?, ?, ?, ?, 'waiting')"
            " ON CONFLICT (run, step) DO NOTHING",
            row,
        )
        self.add_count("rows", "received", 1)
        if not added:
            self.add_count("rows", "dropped", 1, "repeated_step")
        return bool(added)

    def settle_rows(self, row_ids: Collection[int], outcome: str, reason: str = "") -> None:
        """The rows are `delivered`, or `rejected`: count them; one that does not wait changes nothing.

        The tables that they take along are so, too, as far as they wait.
        """
        self.tables.settle_of(row_ids, outcome, reason)
        sql = "UPDATE rows SET state = ? WHERE id = ? AND state = 'waiting'"
        settled = self._database.run_many(sql, ((outcome, row_id) for row_id in row_ids))
        self.add_count("rows", outcome, max(0, settled), reason)

    def put_state(self, name: str, value: bytes | None) -> None:
        """Keep a state under its name until the next one, or forget it (None)."""
        if value is None:
            self._database.run("DELETE FROM states WHERE name = ?", (name,))
        else:
            self._database.run("INSERT OR REPLACE INTO states (name, value) VALUES (?, ?)", (name, value))

    def fold_front(self, name: str, counts: Mapping[tuple[str, str, str], int]) -> None:
        """Take the counters of a dead front into the ledger, once for each name."""
        sql = "INSERT INTO folded_fronts (name) VALUES (?) ON CONFLICT (name) DO NOTHING"
        if self._database.run(sql, (name,)):
            self._tally.counts.update(as_received(counts))
            self._database.run(_KEEP_FRONTS, (_FRONTS_KEPT,))

    def add_flush(self, token: bytes, last_call_id: int, last_feedback_id: int = 0) -> None:
        """Note a flush: it is settled once neither a call nor feedback up to those ids waits."""
        sql = "INSERT OR REPLACE INTO flushes (token, last_call_id, last_feedback_id) VALUES (?, ?, ?)"
        self._database.run(sql, (token, last_call_id, last_feedback_id))
        self._database.run(_KEEP_FLUSHES, (_FLUSHES_KEPT,))

    def prune(self, keep_bytes: int) -> int:
        """How many calls were removed to hold no more: the oldest delivered, then the oldest dead letters.

        If that is not enough, the oldest feedback, rows and alerts that are delivered or given up go, too.
        What waits is never removed, so the store may stay larger. The file does not shrink; its free pages
        are used again.
        """
        self._write_calls()
        removed = 0
        for chunk in self._prunable():
            if self._used_bytes() <= keep_bytes:
                break
            for sql in _REMOVE_CALL:
                self._database.run_many(sql, chunk)
            removed += len(chunk)
        while self._used_bytes() > keep_bytes and self.feedback.prune():
            pass
        while self._used_bytes() > keep_bytes and (chunk := self._database.rows(_SETTLED_ROWS)):
            self._database.run_many("DELETE FROM rows WHERE id = ?", chunk)
            self.tables.prune()
        while self._used_bytes() > keep_bytes and self.alerts.prune():
            pass
        return removed

    def write(self) -> None:
        """Hand over to SQLite what was only collected so far."""
        self._write_calls()
        counts = [(*key, n) for key, n in self._tally.counts.items() if n]
        self._database.run_many(_ADD_COUNT, counts)
        marks = [(segment, *mark) for segment, mark in self._marks.items() if mark]
        self._database.run_many(_SET_MARK, marks)
        gone = [(segment,) for segment, mark in self._marks.items() if not mark]
        self._database.run_many("DELETE FROM marks WHERE segment = ?", gone)
        self._database.run_many(_SET_WAITING, self._waiting.items())
        if self._last_id != self._first_id:
            self._database.run(_SET_META, ("last_call_id", str(self._last_id)))

    def _read_number(self, name: str) -> int:
        return self._database.number("SELECT value FROM meta WHERE name = ?", (name,))

    def _mark_flight(self, call_ids: Sequence[int], since_s: float | None) -> None:
        self._write_calls()
        self._database.run_many(_MARK_FLIGHT, ((call_id, since_s) for call_id in call_ids))

    def _write_calls(self) -> None:
        if not self._calls:
            return
        calls, bodies, queue = self._calls, self._bodies, self._queue
        self._calls, self._bodies, self._queue, self._buffered_bytes = [], [], [], 0
        self.add_count("calls", "received", len(calls))
        self._database.run_many(_ADD_CALL, calls)
        self._database.run_many("INSERT INTO bodies (id, crc32c, body) VALUES (?, ?, ?)", bodies)
        sql = "INSERT INTO outbox (destination, call_id, in_flight_since_s) VALUES (?, ?, ?)"
        self._database.run_many(sql, queue)

    def _prunable(self) -> Iterator[list[tuple[int]]]:
        last_id = 0
        while chunk := self._database.rows(_DELIVERED, (last_id, _PRUNE_CALLS)):
            last_id = chunk[-1][0]
            yield chunk
        while chunk := self._database.rows("SELECT call_id FROM dead_letters ORDER BY call_id LIMIT 100"):
            yield chunk

    def _used_bytes(self) -> int:
        free = self._database.number("PRAGMA freelist_count")
        return (self._database.number("PRAGMA page_count") - free) * PAGE_BYTES
