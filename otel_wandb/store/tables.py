"""Tables in the store: what a row takes along, and what became of it.

A table waits with its row, and is settled with it; only that a table could not be uploaded is told before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from otel_wandb.store.database import Database
from otel_wandb.store.feedback import Ask, Count

_ADD: Final = (
    "INSERT INTO tables (run, step, name, body, state) VALUES (?, ?, ?, ?, 'waiting')"
    " ON CONFLICT (run, step, name) DO NOTHING"
)
_OF_ROWS: Final = (
    "SELECT t.id, r.id FROM tables t JOIN rows r ON r.run = t.run AND r.step = t.step"
    " WHERE t.state = 'waiting' AND r.id = ?"
)
_SETTLE: Final = "UPDATE tables SET state = ?, reason = ? WHERE id = ? AND state = 'waiting'"
_BETWEEN: Final = (
    "SELECT step, name, body FROM tables WHERE run = ? AND step BETWEEN ? AND ?{} ORDER BY step, name"
)
_ORPHANS: Final = (
    "DELETE FROM tables WHERE NOT EXISTS"
    " (SELECT 1 FROM rows r WHERE r.run = tables.run AND r.step = tables.step)"
)


class NewTable(NamedTuple):
    """A table to be stored. `body` is JSON: see `otel_wandb.tables.columns`."""

    run: int
    step: int
    name: str
    body: bytes


class TableWriter:
    """What a transaction may write about tables."""

    def __init__(self, database: Database, count: Count) -> None:
        self._database = database
        self._count = count

    def add(self, table: NewTable, *, with_row: bool) -> None:
        """Store the table, which then waits with its row, and count it; it is dropped where that is."""
        added = with_row and self._database.run(_ADD, table)
        self._count("tables", "received", 1)
        if not added:
            self._count("tables", "dropped", 1, "repeated_step")

    def settle_of(self, row_ids: Iterable[int], outcome: str, reason: str = "") -> None:
        """The tables of the rows are `delivered`, or `rejected` for the reason, as far as they wait."""
        for row_id in row_ids:
            ids = [table_id for table_id, _ in self._database.rows(_OF_ROWS, (row_id,))]
            settled = self._database.run_many(_SETTLE, ((outcome, reason, table_id) for table_id in ids))
            self._count("tables", outcome, max(0, settled), reason)

    def prune(self) -> None:
        """Remove what belongs to no row any more."""
        self._database.run(_ORPHANS)


class TableReader:
    """What the store holds of tables."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def of(
        self, run: int, steps: Collection[int], *, waiting: bool = False
    ) -> Mapping[int, Mapping[str, bytes]]:
        """The tables of these rows of the run by their steps and names; `waiting`: only those that wait."""
        if not steps:
            return {}
        sql = _BETWEEN.format(" AND state = 'waiting'" if waiting else "")
        parameters = (run, min(steps), max(steps))
        found: dict[int, dict[str, bytes]] = {}
        for step, name, body in self._ask(lambda database: database.rows(sql, parameters)):
            found.setdefault(step, {})[name] = body
        return found


def count_waiting_tables(database: Database) -> int:
    """How many tables wait with their rows."""
    return database.number("SELECT count(*) FROM tables WHERE state = 'waiting'")
