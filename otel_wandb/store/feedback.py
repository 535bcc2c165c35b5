"""Feedback in the store: scores that wait for the delivery of their call, and what became of them.

A piece of feedback is due once its call is no longer in the outbox. There is no index from spans to calls, so
each piece remembers the youngest call of its time: when all up to that one are gone, its own is gone, too.
While some are stuck, and few enough to look at, their spans tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

from otel_wandb.store.database import Database, Row

T = TypeVar("T")

_FEW_CALLS: Final = 2000
_PAGE: Final = 500
_RESPONSES_KEPT: Final = 30_000
_SEARCHED_CALLS: Final = 500_000

_ADD: Final = (
    "INSERT INTO feedback (destination, uid, trace_id, span_id, scored_by, body, after_call_id, state)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting') ON CONFLICT (uid) DO NOTHING"
)
_DUE: Final = (
    "SELECT after_call_id, id, uid, trace_id, span_id, scored_by, body, in_flight_since_s FROM feedback"
    " WHERE destination = ? AND state = 'waiting' AND id > ? ORDER BY id LIMIT ?"
)
_OLDEST_CALL: Final = "SELECT min(call_id) FROM outbox WHERE destination = ?"
_CALLS_LEFT: Final = (
    "SELECT c.trace_id, c.span_id FROM outbox o JOIN calls c ON c.id = o.call_id"
    " WHERE o.destination = ? ORDER BY o.call_id LIMIT ?"
)
_ALL: Final = (
    "SELECT f.id, d.entity, d.project, f.uid, f.trace_id, f.span_id, f.scored_by, f.body, f.state, f.status,"
    " f.answer, f.reason FROM feedback f JOIN destinations d ON d.id = f.destination"
    " WHERE f.id > ? ORDER BY f.id LIMIT ?"
)
_BURIED: Final = _ALL.replace(" WHERE", " WHERE f.state = 'rejected' AND")
_FLIGHT: Final = "UPDATE feedback SET in_flight_since_s = ? WHERE id = ? AND state = 'waiting'"
_SETTLE: Final = (
    "UPDATE feedback SET state = ?, in_flight_since_s = NULL, status = ?, answer = ?, reason = ?"
    " WHERE id = ? AND state = 'waiting'"
)
_RESPONSES: Final = (
    "SELECT r.response, r.trace_id, r.span_id, d.config, d.asked_entity, d.project FROM responses r"
    " JOIN destinations d ON d.id = r.destination ORDER BY r.id"
)
_SETTLED: Final = "SELECT id FROM feedback WHERE state <> 'waiting' ORDER BY id LIMIT 1000"


class NewFeedback(NamedTuple):
    """Feedback to be stored. `body` is the JSON that is sent, without what names the project and the call."""

    destination: int
    uid: str
    trace_id: str
    span_id: str
    scored_by: str
    body: bytes


class QueuedFeedback(NamedTuple):
    """Feedback that waits. In flight: as with calls."""

    id: int
    uid: str
    trace_id: str
    span_id: str
    scored_by: str
    body: bytes
    in_flight_since_s: float | None

    @property
    def weave_id(self) -> str:
        """What Weave calls it."""
        return self.uid


class StoredFeedback(NamedTuple):
    """Feedback, and what became of it; where Weave will never take it, what it said."""

    id: int
    entity: str
    project: str
    uid: str
    trace_id: str
    span_id: str
    scored_by: str
    body: bytes
    state: Literal["waiting", "delivered", "rejected"]
    status: int
    answer: str
    reason: str


class StoredResponse(NamedTuple):
    """The call that a response belongs to, and where that goes."""

    response: int
    trace_id: str
    span_id: str
    config: str
    entity: str
    project: str


class Ask(Protocol):
    """How a reader asks its database."""

    def __call__(self, question: Callable[[Database], T]) -> T:
        """The answer."""


class Count(Protocol):
    """Adds to the ledger."""

    def __call__(self, signal: str, outcome: str, n: int, reason: str = "") -> None:
        """Count `n` more."""


class FeedbackWriter:
    """What a transaction may write about feedback."""

    def __init__(self, database: Database, count: Count) -> None:
        self._database = database
        self._count = count

    def add(self, feedback: NewFeedback, after_call_id: int) -> bool:
        """Store the feedback, which then waits, and count it; False if its id is there already."""
        added = self._database.run(_ADD, (*feedback, after_call_id))
        self._count("feedback", "received", 1)
        if not added:
            self._count("feedback", "dropped", 1, "duplicate")
        return bool(added)

    def begin_attempt(self, ids: Sequence[int], at_s: float) -> None:
        """Mark the feedback as in flight: a restart waits that out before it looks what came of it."""
        self._database.run_many(_FLIGHT, ((at_s, one) for one in ids))

    def release(self, ids: Sequence[int]) -> None:
        """Take the mark off again: it is known that Weave has not taken the feedback."""
        self._database.run_many(_FLIGHT, ((None, one) for one in ids))

    def settle(self, ids: Sequence[int]) -> None:
        """The feedback is delivered; what does not wait changes nothing."""
        taken = self._database.run_many(_SETTLE, (("delivered", 0, "", "", one) for one in ids))
        self._count("feedback", "delivered", max(0, taken))

    def bury(self, one: int, status: int, answer: str, reason: str) -> None:
        """Weave will never take the feedback, for the reason."""
        if self._database.run(_SETTLE, ("rejected", status, answer, reason, one)):
            self._count("feedback", "rejected", 1, reason)

    def bury_of_call(self, call_id: int) -> None:
        """The call was refused for good, and what waits for it has nothing to be about."""
        of_call = (
            "SELECT f.id FROM feedback f JOIN calls c ON c.destination = f.destination"
            " AND c.trace_id = f.trace_id AND c.span_id = f.span_id WHERE c.id = ? AND f.state = 'waiting'"
        )
        for (one,) in self._database.rows(of_call, (call_id,)):
            self.bury(one, 0, "its call was refused", "call_rejected")

    def add_responses(self, responses: Iterable[tuple[int, str, str, int]]) -> None:
        """Remember which calls responses belong to: (response, trace id, span id, destination) of each."""
        sql = "INSERT INTO responses (response, trace_id, span_id, destination) VALUES (?, ?, ?, ?)"
        self._database.run_many(sql, responses)

    def forget_responses(self) -> None:
        """Forget all but the youngest."""
        sql = "DELETE FROM responses WHERE id <= (SELECT max(id) FROM responses) - ?"
        self._database.run(sql, (_RESPONSES_KEPT,))

    def find_destination(self, trace_id: str, span_id: str) -> int | None:
        """The destination of the call, if there are several, and it is among the youngest half million."""
        if self._database.number("SELECT count(*) FROM destinations") < 2:
            return None
        sql = (
            "SELECT destination FROM calls WHERE id > (SELECT max(id) FROM calls) - ?"
            " AND span_id = ? AND trace_id = ? LIMIT 1"
        )
        return self._database.number(sql, (_SEARCHED_CALLS, span_id, trace_id)) or None

    def last_id(self) -> int:
        """The id of the youngest feedback."""
        return self._database.number("SELECT max(id) FROM feedback")

    def prune(self) -> int:
        """Remove a thousand of the oldest that are settled; how many there were."""
        found = self._database.rows(_SETTLED)
        self._database.run_many("DELETE FROM feedback WHERE id = ?", found)
        return len(found)


class FeedbackReader:
    """What the store holds of feedback."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def waiting(self) -> int:
        """How much of it waits for delivery."""
        return self._ask(count_waiting)

    def waiting_destinations(self) -> frozenset[int]:
        """The destinations that it waits for."""
        rows = self._rows("SELECT DISTINCT destination FROM feedback WHERE state = 'waiting'", ())
        return frozenset(destination for (destination,) in rows)

    def due(self, destination: int, limit: int, max_bytes: int, after_id: int = 0) -> list[QueuedFeedback]:
        """The oldest beyond `after_id` whose call has left the outbox, up to both bounds, at least one."""

        def read(database: Database) -> list[QueuedFeedback]:
            with database.lock:
                return _read_due(database, destination, limit, max_bytes, after_id)

        return self._ask(read)

    def all(self) -> Iterator[StoredFeedback]:
        """All of it in the order of its storing."""
        yield from self._pages(_ALL)

    def dead_letters(self) -> Iterator[StoredFeedback]:
        """What Weave will never take."""
        yield from self._pages(_BURIED)

    def responses(self) -> Iterator[StoredResponse]:
        """Which calls the youngest responses belong to, the oldest first."""
        for row in self._rows(_RESPONSES, ()):
            yield StoredResponse(*row)

    def _pages(self, sql: str) -> Iterator[StoredFeedback]:
        last_id = 0
        while rows := self._rows(sql, (last_id, _PAGE)):
            yield from (StoredFeedback(*row) for row in rows)
            last_id = rows[-1][0]

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[Row]:
        return self._ask(lambda database: database.rows(sql, parameters))


def count_waiting(database: Database) -> int:
    """How much feedback waits for delivery."""
    return database.number("SELECT count(*) FROM feedback WHERE state = 'waiting'")


def _read_due(
    database: Database, destination: int, limit: int, room: int, after_id: int
) -> list[QueuedFeedback]:
    found: list[QueuedFeedback] = []
    blocked = _Blocked(database, destination)
    while page := database.rows(_DUE, (destination, after_id, _PAGE)):
        for after_call_id, *fields in page:
            one = QueuedFeedback(*fields)
            after_id = one.id
            if blocked.tells(one, after_call_id):
                if blocked.by_many:
                    return found  # and so is all that follows
                continue
            room -= len(one.body)
            if found and (room < 0 or len(found) >= limit):
                return found
            found.append(one)
    return found


class _Blocked:
    """Which feedback has to wait for calls of its destination that are still in the outbox."""

    def __init__(self, database: Database, destination: int) -> None:
        self.by_many = False
        self._database = database
        self._destination = destination
        self._oldest = database.value(_OLDEST_CALL, (destination,))
        self._spans: set[Row] | None = None

    def tells(self, one: QueuedFeedback, after_call_id: int) -> bool:
        """Whether the feedback has to wait."""
        if self._oldest is None or after_call_id < self._oldest:
            return False
        if self._spans is None:
            rows = self._database.rows(_CALLS_LEFT, (self._destination, _FEW_CALLS + 1))
            self.by_many = len(rows) > _FEW_CALLS
            self._spans = set(rows)
        return self.by_many or (one.trace_id, one.span_id) in self._spans
