"""Runs, rows and states in the store: what goes in comes out, waits until it is settled, and is mended."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from otel_wandb.ledger import compose
from otel_wandb.store import NewRow, NewRun, Store
from otel_wandb.store.database import PAGE_BYTES
from otel_wandb.store.rows import Bins, RowValue, decode_values, encode_run, encode_values
from tests.rowhouse import Described


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store.open(path)
    yield store
    store.close()


def add(store: Store, steps: list[int], *, run: str = "day-1", config: str = "a", size: int = 0) -> int:
    with store.transaction() as tx:
        destination = tx.add_destination(config, "", "rag")
        run_id = tx.add_run(NewRun(destination, "server", run, encode_run(Described(run))))
        for step in steps:
            tx.add_row(NewRow(run_id, step, float(step), encode_values({"n" * (size or 1): step})))
    return run_id


def test_values_come_back_as_they_were() -> None:
    values: dict[str, RowValue] = {
        "b": 2,
        "a": 1.5,
        "nan": math.nan,
        "inf": -math.inf,
        "h": Bins((1, 2), (0, 0.5, 1e300)),
    }
    assert decode_values(encode_values(values)) == {"a": 1.5, "b": 2, "h": values["h"]}
    assert encode_values(values) == encode_values(dict(reversed(values.items())))
    assert encode_values({"x": np.float64(0.1)}) == b'{"x":0.1}'


def test_a_run_is_one_whatever_configuration_names_it(store: Store) -> None:
    first = add(store, [1])
    assert add(store, [2], config="b") == first
    assert add(store, [1], run="day-2") != first
    (day_1, day_2) = store.reader.runs()
    assert (day_1.config, day_1.run_id, day_1.project, day_1.waiting) == ("b", "day-1", "rag", 2)
    with store.transaction() as tx:
        tx.set_entity(day_1.destination, "team")
        tx.settle_rows([row.id for row in store.reader.due_rows(day_2.id, 9, 99)], "delivered")
    (waiting,) = store.reader.waiting_runs()
    assert (waiting.entity, waiting.run_id) == ("team", "day-1")


def test_rows_wait_in_the_order_of_their_steps_until_they_are_settled(store: Store) -> None:
    run = add(store, [5, 1, 3])
    add(store, [3])
    due = store.reader.due_rows(run, 2, 1000)
    assert [row.step for row in due] == [1, 3]
    assert len(store.reader.due_rows(run, 9, 1)) == 1
    with store.transaction() as tx:
        tx.settle_rows([due[0].id], "delivered")
        tx.settle_rows([due[1].id], "rejected", "step_passed")
    with store.transaction() as tx:
        tx.settle_rows([row.id for row in due], "delivered")  # what does not wait is not counted again
    assert [(row.step, row.state) for row in store.reader.rows(run)] == [
        (1, "delivered"),
        (3, "rejected"),
        (5, "waiting"),
    ]
    snapshot = store.reader.snapshot()
    line = compose(snapshot.counts, snapshot.waiting, {}, snapshot.outbox, {}).lines["rows"]
    assert (line.received, line.delivered, line.waiting, line.balanced) == (4, 1, 1, True)
    assert (line.rejected, line.dropped) == ({"step_passed": 1}, {"repeated_step": 1})


def test_states_are_kept_replaced_and_forgotten(path: Path) -> None:
    store = Store.open(path)
    with store.transaction() as tx:
        tx.put_state("a", b"1")
        tx.put_state("b", b"2")
    with store.transaction() as tx:
        tx.put_state("a", b"3")
        tx.put_state("b", None)
    store.close()
    store = Store.open(path)
    assert store.reader.states() == {"a": b"3"}
    store.close()


def test_pruning_takes_settled_rows_and_never_one_that_waits(store: Store) -> None:
    run = add(store, list(range(200)), size=2000)
    with store.transaction() as tx:
        tx.settle_rows([row.id for row in store.reader.due_rows(run, 150, 1 << 20)], "delivered")
    with store.transaction() as tx:
        tx.prune(1)
    assert [row.step for row in store.reader.rows(run)] == list(range(150, 200))


def test_a_damaged_store_keeps_its_rows_and_balances(path: Path) -> None:
    store = Store.open(path)
    add(store, list(range(400)), size=2000)
    store.close()
    pages = path.stat().st_size // PAGE_BYTES
    with path.open("r+b") as file:
        file.seek(pages // 2 * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES)
    store = Store.open(path)
    assert store.recovered is not None
    kept = store.reader.waiting_rows()
    assert 300 < kept < 400
    snapshot = store.reader.snapshot()
    line = compose(snapshot.counts, snapshot.waiting, {}, snapshot.outbox, {}).lines["rows"]
    assert (line.received, line.waiting, line.dropped) == (400, kept, {"store_corrupt": 400 - kept})
    store.close()
