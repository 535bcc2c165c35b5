"""The store: what it keeps, who may read it meanwhile, and what its files are like."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.errors import StoreError
from otel_wandb.ledger import Line
from otel_wandb.store import Destination, Mark, RecentTrace, Store, StoredCall
from otel_wandb.store.database import PAGE_BYTES
from tests.store_samples import add_calls, calls_line, new_call, quick_folder, read_only

SIDES = ("", "-wal", "-shm")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with quick_folder(tmp_path) as folder:
        yield folder / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(path)) as store:
        yield store


@pytest.fixture(params=["file", "memory"])
def any_store(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(path if request.param == "file" else None)) as store:
        yield store


def test_everything_written_is_read_back(any_store: Store) -> None:
    with any_store.transaction() as tx:
        tx.set_mark("aa-00000000.seg", 100, 40)
        tx.set_mark("bb-00000000.seg", 7, 7)
        tx.add_count("spans", "received", 5)
        tx.add_count("spans", "dropped", 2, "duplicate")
        tx.set_waiting("spans", 3)
        tx.add_digests([(b"1" * 16, 10), (b"2" * 16, 20)])
        tx.remember("t1", b"abc", 10)
        tx.remember("t1", b"def", 11)
    with any_store.transaction() as tx:
        tx.drop_mark("bb-00000000.seg")
        tx.set_mark("aa-00000000.seg", 120, 120)
        tx.add_count("spans", "received", -1)
        tx.set_waiting("spans", 2)
    reader = any_store.reader
    assert reader.marks() == {"aa-00000000.seg": Mark(120, 120)}
    assert reader.counts() == {("spans", "received", ""): 4, ("spans", "dropped", "duplicate"): 2}
    assert reader.waiting() == {"spans": 2}
    assert list(reader.digests()) == [(b"1" * 16, 10), (b"2" * 16, 20)]
    assert list(reader.recent()) == [RecentTrace("t1", b"abc", 10), RecentTrace("t1", b"def", 11)]
    assert len(any_store.bridge_id) == 32


def test_a_transaction_is_all_or_nothing(any_store: Store) -> None:
    def write_half() -> None:
        with any_store.transaction() as tx:
            tx.add_call(new_call(1, tx.add_destination("c", "team", "rag")))
            tx.add_count("spans", "received", 1)
            tx.set_mark("a", 1, 1)
            tx.remember("t", b"", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    reader = any_store.reader
    assert (reader.counts(), reader.marks(), reader.outbox_size(), list(reader.recent())) == ({}, {}, 0, [])
    assert reader.destinations() == []
    assert add_calls(any_store, 2) == [1, 2]


def test_a_transaction_in_a_transaction_is_refused(any_store: Store) -> None:
    with any_store.transaction() as tx:
        tx.add_count("spans", "received", 1)
        with pytest.raises(StoreError, match="under way"), any_store.transaction():
            pytest.fail("it was allowed")
    assert any_store.reader.counts() == {("spans", "received", ""): 1}


def test_it_is_there_after_closing(path: Path) -> None:
    with contextlib.closing(Store.open(path)) as store:
        ids = add_calls(store, 3)
        bridge_id = store.bridge_id
    with contextlib.closing(Store.open(path)) as store:
        assert store.bridge_id == bridge_id
        assert store.recovered is None
        assert store.reader.outbox_size() == 3
        assert add_calls(store, 1) == [ids[-1] + 1]


def test_a_destination_is_one_however_often_it_is_added(any_store: Store) -> None:
    with any_store.transaction() as tx:
        first = tx.add_destination("c", "", "rag")
        assert tx.add_destination("c", "", "rag") == first
        assert tx.add_destination("d", "", "rag") != first
        tx.set_entity(first, "team")
        assert tx.add_destination("c", "", "rag") == first
        assert tx.add_destination("c", "team", "rag") != first
    assert any_store.reader.destinations()[0] == Destination(first, "c", "team", "rag")


def test_old_digests_and_memories_are_forgotten_from_the_front(any_store: Store) -> None:
    with any_store.transaction() as tx:
        tx.add_digests([(bytes([n]), n) for n in range(10)])
        for n in range(10):
            tx.remember(str(n), b"", n)
    with any_store.transaction() as tx:
        tx.drop_digests(4)
        tx.forget_traces(4, keep=3)
    assert [event_ns for _, event_ns in any_store.reader.digests()] == [4, 5, 6, 7, 8, 9]
    assert [trace.trace_id for trace in any_store.reader.recent()] == ["7", "8", "9"]
    with any_store.transaction() as tx:
        tx.drop_digests(100)
        tx.forget_traces(100, keep=100)
    assert list(any_store.reader.digests()) == []
    assert list(any_store.reader.recent()) == []


def test_a_dead_front_is_folded_once(any_store: Store) -> None:
    counts = {
        ("spans", "dropped", "journal_full"): 3,
        ("spans", "received", ""): 3,
        ("spans", "sdk_lost", ""): 1,
    }
    for _ in range(2):
        with any_store.transaction() as tx:
            tx.fold_front("a.counts", counts)
    with any_store.transaction() as tx:
        tx.fold_front("b.counts", {("spans", "rejected", "malformed"): 1})
    assert any_store.reader.folded_fronts() == {"a.counts", "b.counts"}
    assert any_store.reader.counts() == {
        ("spans", "received", ""): 4,
        ("spans", "dropped", "journal_full"): 3,
        ("spans", "rejected", "malformed"): 1,
        ("spans", "sdk_lost", ""): 1,
    }


def test_due_keeps_to_the_bounds_but_gives_at_least_one(any_store: Store) -> None:
    ids = add_calls(any_store, 10, size=1000)
    other = add_calls(any_store, 2, project="other")
    due = any_store.reader.due
    assert [call.id for call in due(1, 4, 1 << 20)] == ids[:4]
    assert [call.id for call in due(1, 4, 1 << 20, after_id=ids[3])] == ids[4:8]
    assert [call.id for call in due(1, 100, 2500)] == ids[:2]
    assert [call.id for call in due(1, 100, 1)] == ids[:1]
    assert [call.id for call in due(2, 100, 1 << 20)] == other
    call = due(1, 1, 1)[0]
    assert call[1:] == (*new_call(1, size=1000)[1:3], "run", 1, new_call(1, size=1000).body, None)


def test_attempts_are_marked_released_settled_and_buried(any_store: Store) -> None:
    ids = add_calls(any_store, 6)
    with any_store.transaction() as tx:
        tx.begin_attempt(ids, 17.5)
    assert {call.in_flight_since_s for call in any_store.reader.due(1, 100, 1 << 20)} == {17.5}
    with any_store.transaction() as tx:
        tx.release(ids[:2])
        tx.settle(ids[2:5], "delivered")
        tx.settle(ids[2:5], "delivered")
        for _ in range(2):
            tx.bury(ids[5], 422, "no such model", "http_422")
    waiting = any_store.reader.due(1, 100, 1 << 20)
    assert [(call.id, call.in_flight_since_s) for call in waiting] == [(1, None), (2, None)]
    assert calls_line(any_store.reader) == Line(received=6, delivered=3, rejected={"http_422": 1}, waiting=2)
    (letter,) = any_store.reader.dead_letters()
    assert (letter.call_id, letter.project, letter.status, letter.answer) == (6, "rag", 422, "no such model")
    assert letter.body == new_call(6).body
    assert [call.state for call in any_store.reader.calls()] == [
        *["waiting"] * 2, *["delivered"] * 3, "rejected"
    ]  # fmt: skip


def test_calls_are_found_by_trace(any_store: Store) -> None:
    add_calls(any_store, 700)
    found = list(any_store.reader.calls([f"{3:032x}", f"{5:032x}"]))
    assert [call.id for call in found] == [n for n in range(1, 701) if n % 7 in (3, 5)]
    assert found[0].body == new_call(3).body
    assert len(list(any_store.reader.calls())) == 700
    assert list(any_store.reader.calls([])) == []


def test_a_flush_is_settled_when_what_came_before_it_is(any_store: Store) -> None:
    ids = add_calls(any_store, 3)
    with any_store.transaction() as tx:
        tx.add_flush(b"t" * 16, tx.last_call_id)
        tx.add_flush(b"o" * 16, 0)
    more = add_calls(any_store, 1, project="other")
    reader = any_store.reader
    assert reader.flush_settled(b"?" * 16) is None
    assert not reader.outbox_empty()
    assert reader.flush_settled(b"o" * 16) is True
    assert reader.flush_settled(b"t" * 16) is False
    with any_store.transaction() as tx:
        tx.settle(ids[:2], "delivered")
        tx.settle(more, "delivered")
    assert reader.flush_settled(b"t" * 16) is False
    with any_store.transaction() as tx:
        tx.bury(ids[2], 400, "", "http_400")
    assert reader.flush_settled(b"t" * 16) is True
    assert reader.outbox_empty()


def test_pruning_takes_the_oldest_delivered_and_never_one_that_waits(store: Store) -> None:
    ids = add_calls(store, 400, size=3000)
    kept, delivered = ids[:50], ids[50:]
    with store.transaction() as tx:
        tx.bury(delivered[-1], 400, "", "http_400")
        tx.settle(delivered[:-1], "delivered")
    before = store.reader.size_bytes()
    with store.transaction() as tx:
        assert tx.prune(before) == 0
        assert tx.prune(before - 40 * PAGE_BYTES) > 0
    assert store.reader.size_bytes() <= before - 40 * PAGE_BYTES
    states = [call.state for call in store.reader.calls()]
    assert states.count("waiting") == 50
    assert 0 < states.count("delivered") < 349
    assert next(call.id for call in store.reader.calls() if call.state == "delivered") > delivered[0]
    with store.transaction() as tx:
        tx.prune(0)
    assert [call.id for call in store.reader.calls()] == kept
    assert list(store.reader.dead_letters()) == []
    assert calls_line(store.reader).balanced
    assert add_calls(store, 1) == [ids[-1] + 1]


def test_pruning_everything_frees_no_id(path: Path) -> None:
    with contextlib.closing(Store.open(path)) as store:
        ids = add_calls(store, 5)
        with store.transaction() as tx:
            tx.settle(ids, "delivered")
            tx.prune(0)
    with contextlib.closing(Store.open(path)) as store:
        assert add_calls(store, 1) == [6]


def test_files_are_for_their_owner_only(path: Path) -> None:
    old_umask = os.umask(0)
    try:
        with contextlib.closing(Store.open(path)) as store:
            add_calls(store, 1)
            store.reader.outbox_size()
            assert {
                suffix: (path.parent / (path.name + suffix)).stat().st_mode & 0o777 for suffix in SIDES
            } == dict.fromkeys(SIDES, 0o600)
        path.chmod(0o644)
        with contextlib.closing(Store.open(path)) as store:
            add_calls(store, 1)
            assert path.stat().st_mode & 0o777 == 0o600
            assert path.with_name(path.name + "-wal").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(old_umask)


def test_closing_leaves_one_file(path: Path) -> None:
    with contextlib.closing(Store.open(path)) as store:
        add_calls(store, 3)
        store.reader.outbox_size()
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_without_a_store_is_told_so(path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store at .*no bridge has worked there"):
        Store.open_for_reading(path)
    assert not path.exists()


def test_a_reader_of_a_copy_in_a_read_only_directory(store: Store, path: Path, tmp_path: Path) -> None:
    add_calls(store, 3)
    store.close()
    folder = tmp_path / "copy"
    folder.mkdir()
    shutil.copy(path, folder)
    with read_only(folder), contextlib.closing(Store.open_for_reading(folder / path.name)) as reader:
        assert reader.outbox_size() == 3
        with pytest.raises(StoreError):
            Store.open(folder / "new.sqlite")


def test_a_reader_sees_commits_and_nothing_else(store: Store, path: Path) -> None:
    add_calls(store, 1)
    with contextlib.closing(Store.open_for_reading(path)) as reader:
        with store.transaction() as tx:
            tx.add_call(new_call(2))
            tx.write()
            assert reader.outbox_size() == store.reader.outbox_size() == 1
        assert reader.outbox_size() == store.reader.outbox_size() == 2


def test_a_snapshot_balances_while_a_writer_writes(store: Store, path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        for _ in range(60):
            ids = add_calls(store, 5)
            with store.transaction() as tx:
                tx.settle(ids[:3], "delivered")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    looks = 0
    with contextlib.closing(Store.open_for_reading(path)) as reader:
        while not done.is_set() or looks == 0:
            assert calls_line(reader).balanced
            looks += 1
    thread.join()
    assert calls_line(store.reader) == Line(received=300, delivered=180, waiting=120)


def test_threads_write_and_read_at_once(any_store: Store) -> None:
    errors: list[BaseException] = []

    def work(project: str) -> None:
        try:
            for _ in range(20):
                ids = add_calls(any_store, 3, project=project)
                with any_store.transaction() as tx:
                    tx.begin_attempt(ids, 1.0)
                any_store.reader.due(1, 10, 1 << 20)
                with any_store.transaction() as tx:
                    tx.settle(ids[:2], "delivered")
        except BaseException as error:  # noqa: BLE001  it is looked at below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert calls_line(any_store.reader) == Line(received=240, delivered=160, waiting=80)


def test_readers_do_not_let_the_wal_grow(store: Store, path: Path) -> None:
    wal = path.with_name(path.name + "-wal")
    largest = 0
    begun: list[Iterator[StoredCall]] = []
    with contextlib.closing(Store.open_for_reading(path)) as reader:
        for round_number in range(30):
            add_calls(store, 1000, size=3000)
            begun.append(reader.calls())  # and never exhausted: that must not hold the WAL
            next(begun[-1])
            assert reader.outbox_size() == (round_number + 1) * 1000
            largest = max(largest, wal.stat().st_size)
    assert largest < 40 << 20
    assert path.stat().st_size > 60 << 20


def test_a_forked_child_is_kept_out(store: Store) -> None:
    add_calls(store, 1)
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            try:
                store.reader.outbox_size()
            except StoreError:
                code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert add_calls(store, 1) == [2]


def test_a_closed_store_says_so(any_store: Store) -> None:
    any_store.close()
    any_store.close()
    with pytest.raises(StoreError, match="closed"), any_store.transaction():
        pytest.fail("it was allowed")
    with pytest.raises(StoreError, match="closed"):
        any_store.reader.outbox_size()


def test_a_newer_store_is_left_alone(path: Path) -> None:
    Store.open(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer otel-wandb .* 99.*upgrade"):
        Store.open(path)
    assert path.read_bytes() == before
    assert not (path.parent / "quarantine").exists()
