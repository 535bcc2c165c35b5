"""Tables in the store: they wait with their row, are settled and removed with it, and balance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.ledger import compose
from otel_wandb.store import NewRow, NewRun, NewTable, Store
from otel_wandb.store.database import PAGE_BYTES
from otel_wandb.store.recovery import rebuild
from otel_wandb.store.rows import encode_run
from tests.rowhouse import Described


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store.open(path)
    yield store
    store.close()


def add(store: Store, steps: list[int], *names: str, size: int = 1) -> int:
    with store.transaction() as tx:
        destination = tx.add_destination("a", "", "rag")
        run_id = tx.add_run(NewRun(destination, "server", "day-1", encode_run(Described("day-1"))))
        for step in steps:
            added = tx.add_row(NewRow(run_id, step, float(step), b"{}"))
            for name in names:
                tx.tables.add(NewTable(run_id, step, name, name.encode() * size), with_row=added)
    return run_id


def settle(store: Store, steps: list[int], outcome: str, reason: str = "") -> None:
    rows = store.reader.due_rows(1, 1000, 1 << 20)
    with store.transaction() as tx:
        tx.settle_rows([row.id for row in rows if row.step in steps], outcome, reason)


def balance(store: Store) -> tuple[int, int, int]:
    """Delivered, waiting, and what does not balance."""
    snapshot = store.reader.snapshot()
    ledger = compose(snapshot.counts, snapshot.waiting, {}, snapshot.outbox, {})
    line = ledger.lines["tables"]
    return line.delivered, line.waiting, line.excess


def test_tables_come_back_with_the_steps_of_their_rows(store: Store) -> None:
    run_id = add(store, [1, 3], "requests", "slow")
    add(store, [2])
    tables = store.reader.tables
    both = {"requests": b"requests", "slow": b"slow"}
    assert tables.of(run_id, [1, 2, 3]) == {1: both, 3: both}
    assert tables.of(run_id, [2]) == tables.of(run_id, []) == tables.of(run_id + 1, [1]) == {}
    assert balance(store) == (0, 4, 0)
    assert store.reader.waiting()["tables"] == 4


def test_tables_are_settled_with_their_row(store: Store) -> None:
    run_id = add(store, [1, 2, 3], "requests")
    settle(store, [1], "delivered")
    settle(store, [2], "rejected", "run_deleted")
    assert balance(store) == (1, 1, 0)
    assert set(store.reader.tables.of(run_id, [1, 2, 3], waiting=True)) == {3}
    with store.transaction() as tx:
        row = store.reader.due_rows(run_id, 10, 1 << 20)[0]
        tx.tables.settle_of([row.id], "rejected", "not_uploaded")
    assert store.reader.waiting_rows() == 1, "the row goes without it"
    settle(store, [3], "delivered")
    counts = store.reader.counts()
    assert counts["tables", "rejected", "not_uploaded"] == counts["tables", "rejected", "run_deleted"] == 1
    assert balance(store) == (1, 0, 0)


def test_the_tables_of_a_repeated_row_are_dropped_as_it_is(store: Store) -> None:
    run_id = add(store, [1], "requests")
    add(store, [1], "slow")
    assert store.reader.tables.of(run_id, [1]) == {1: {"requests": b"requests"}}
    assert store.reader.counts()["tables", "dropped", "repeated_step"] == 1
    assert balance(store) == (0, 1, 0)


def test_tables_go_with_their_rows_when_the_store_is_full(store: Store) -> None:
    run_id = add(store, list(range(50)), "requests", size=PAGE_BYTES)
    settle(store, list(range(40)), "delivered")
    with store.transaction() as tx:
        tx.prune(0)
    assert set(store.reader.tables.of(run_id, range(50))) == set(range(40, 50))


def test_a_repair_keeps_tables_and_balances_what_is_lost(path: Path, tmp_path: Path) -> None:
    store = Store.open(path)
    run_id = add(store, list(range(30)), "requests", size=PAGE_BYTES // 4)
    with store.transaction() as tx:  # as if the page with these rows had been lost
        tx._database.run("DELETE FROM rows WHERE step < 10")
    store.close()
    rebuild(path, tmp_path / "quarantine", problem="a test")
    store = Store.open(path)
    assert set(store.reader.tables.of(run_id, range(30))) == set(range(10, 30))
    assert balance(store) == (0, 20, 0)
    assert store.reader.counts()["tables", "dropped", "store_corrupt"] == 10
    store.close()
