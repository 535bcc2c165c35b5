"""The books of a store that was built up from what could be read: orphans, the outbox, the ledger."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

Holes: TypeAlias = list[tuple[int, int]]
"""Ranges of keys, both ends included, that could not be read."""

MAX_KEY: Final = (1 << 63) - 1
LOST: Final = "store_corrupt"
_ADD_COUNT: Final = (
    "INSERT INTO counts (signal, outcome, reason, n) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (signal, outcome, reason) DO UPDATE SET n = n + excluded.n"
)
_BODIES_WITHOUT_CALL: Final = "DELETE FROM bodies WHERE id NOT IN (SELECT id FROM calls)"
_ORPHANS: Final = (  # and the table that has lost a row where there are any
    ("calls", _BODIES_WITHOUT_CALL),
    ("bodies", "DELETE FROM calls WHERE id NOT IN (SELECT id FROM bodies)"),
    ("destinations", "DELETE FROM calls WHERE destination NOT IN (SELECT id FROM destinations)"),
    ("destinations", "DELETE FROM runs WHERE destination NOT IN (SELECT id FROM destinations)"),
    ("destinations", "DELETE FROM feedback WHERE destination NOT IN (SELECT id FROM destinations)"),
    ("destinations", "DELETE FROM alerts WHERE destination NOT IN (SELECT id FROM destinations)"),
    ("alerts", "DELETE FROM alert_routes WHERE alert NOT IN (SELECT id FROM alerts)"),
    ("runs", "DELETE FROM rows WHERE run NOT IN (SELECT id FROM runs)"),
    (
        "rows",
        "DELETE FROM tables WHERE NOT EXISTS"
        " (SELECT 1 FROM rows r WHERE r.run = tables.run AND r.step = tables.step)",
    ),
    ("", _BODIES_WITHOUT_CALL),
    ("", "DELETE FROM dead_letters WHERE call_id NOT IN (SELECT id FROM calls)"),
    (
        "",
        "DELETE FROM outbox WHERE call_id IN (SELECT call_id FROM dead_letters) OR NOT EXISTS"
        " (SELECT 1 FROM calls c WHERE c.id = outbox.call_id AND c.destination = outbox.destination)",
    ),
)
_LAST_ID: Final = (
    "SELECT max(ifnull((SELECT max(id) FROM calls), 0), ifnull((SELECT max(id) FROM bodies), 0),"
    " ifnull((SELECT max(call_id) FROM outbox), 0), ifnull((SELECT max(last_call_id) FROM flushes), 0),"
    " ifnull((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_call_id'), 0))"
)
_WAITING_ROWS: Final = "SELECT count(*) FROM rows WHERE state = 'waiting'"
_WAITING_ALERTS: Final = "SELECT count(*) FROM alert_routes WHERE state = 'waiting'"
_WAITING_TABLES: Final = "SELECT count(*) FROM tables WHERE state = 'waiting'"
_WAITING_FEEDBACK: Final = "SELECT count(*) FROM feedback WHERE state = 'waiting'"
_DOUBTFUL: Final = (
    "SELECT id FROM calls c WHERE destination = ? AND id BETWEEN ? AND ?"
    " AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.destination = c.destination AND o.call_id = c.id)"
    " AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.call_id = c.id)"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a repair has kept and lost."""

    kept: int = 0
    waiting: int = 0
    requeued: int = 0
    lost: int = 0
    holes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The same in words."""
        text = (
            f"{self.kept} calls were kept; {self.waiting} of them wait, to be read back before they are sent"
        )
        if self.requeued:
            text += f" ({self.requeued} of these may have been delivered)"
        if self.lost:
            text += f"; {self.lost} calls that waited are lost"
        return f"{text}. Not all could be read of: {', '.join(self.holes) or 'nothing, it seems'}."


def balance_books(
    target: sqlite3.Connection, holes: Mapping[str, Holes], *, last_call_id: int, now_us: int
) -> Outcome:
    """Make what was read agree with itself, and count what is missing. To be called once."""
    newest_id = max(last_call_id, target.execute(_LAST_ID).fetchone()[0])
    torn = {name.split()[0] for name, found in holes.items() if found}
    counted = not holes.get("counts")
    missing = not counted or _excess(target, "calls") > _count_waiting(target)
    if counted and missing:
        torn.add("outbox")  # rows are missing, whether or not anybody saw a hole
    for table, statement in _ORPHANS:
        if target.execute(statement).rowcount and table:
            torn.add(table)
    requeued = _requeue(target, holes, newest_id) if missing and "outbox" in torn else 0
    target.execute("UPDATE outbox SET in_flight_since_s = 0.0")
    lost = _settle_calls(target)
    _settle(target, "rows", _WAITING_ROWS)
    _settle(target, "feedback", _WAITING_FEEDBACK)
    _settle(target, "alerts", _WAITING_ALERTS)
    _settle(target, "tables", _WAITING_TABLES)
    if holes.get("counts") or holes.get("waiting"):
        for signal in ("spans", "log_records", "metric_points"):
            _settle(target, signal, f"SELECT n FROM waiting WHERE signal = '{signal}'")  # noqa: S608
    last_id = max(newest_id, target.execute(_LAST_ID).fetchone()[0])
    for name, value in (("last_call_id", last_id), ("doubtful_before_us", now_us)):
        target.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, str(value)))
    kept = target.execute("SELECT count(*) FROM calls").fetchone()[0]
    return Outcome(kept, _count_waiting(target), requeued, lost, tuple(sorted(torn)))


def _requeue(target: sqlite3.Connection, holes: Mapping[str, Holes], newest_id: int) -> int:
    """Let the calls wait that may have stood in the outbox's holes, under ids that nobody has passed yet."""
    requeued = 0
    known = {name: found for name, found in holes.items() if found and name.startswith("outbox ")}
    for (destination,) in target.execute("SELECT id FROM destinations ORDER BY id").fetchall():
        everywhere = [] if known else [(0, MAX_KEY)]
        for low, high in known.get(f"outbox {destination}", everywhere):
            ids = [row[0] for row in target.execute(_DOUBTFUL, (destination, low, high)).fetchall()]
            moved = [(newest_id + requeued + n, call_id) for n, call_id in enumerate(ids, 1)]
            target.executemany("UPDATE calls SET id = ? WHERE id = ?", moved)
            target.executemany("UPDATE bodies SET id = ? WHERE id = ?", moved)
            queue = [(destination, call_id) for call_id, _ in moved]
            target.executemany("INSERT INTO outbox (destination, call_id) VALUES (?, ?)", queue)
            requeued += len(ids)
    return requeued


def _settle_calls(target: sqlite3.Connection) -> int:
    """Make the line of the calls balance; how many that waited are lost."""
    excess = _excess(target, "calls") - _count_waiting(target)
    if excess >= 0:
        target.execute(_ADD_COUNT, ("calls", "dropped", LOST, excess))
        return excess
    # More wait than should: these were counted as delivered once, and will be again, or were never counted.
    delivered = _totals(target, "calls")["delivered"]
    again = min(delivered, -excess)
    target.execute(_ADD_COUNT, ("calls", "delivered", "", -again))
    target.execute(_ADD_COUNT, ("calls", "received", "", -excess - again))
    return 0


def _settle(target: sqlite3.Connection, signal: str, waiting: str) -> None:
    row = target.execute(waiting).fetchone()
    excess = _excess(target, signal) - (row[0] if row else 0)
    if excess > 0:
        target.execute(_ADD_COUNT, (signal, "dropped", LOST, excess))
    elif excess < 0:
        target.execute(_ADD_COUNT, (signal, "received", "", -excess))


def _excess(target: sqlite3.Connection, signal: str) -> int:
    """How many should wait, by the counters."""
    totals = _totals(target, signal)
    return totals["received"] - sum(
        totals[outcome] for outcome in ("delivered", "sampled_out", "rejected", "dropped")
    )


def _totals(target: sqlite3.Connection, signal: str) -> defaultdict[str, int]:
    sql = "SELECT outcome, sum(n) FROM counts WHERE signal = ? GROUP BY outcome"
    return defaultdict(int, target.execute(sql, (signal,)).fetchall())


def _count_waiting(target: sqlite3.Connection) -> int:
    return int(target.execute("SELECT count(*) FROM outbox").fetchone()[0])
