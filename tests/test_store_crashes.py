"""The store when its process is killed, and when its disk is full."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.errors import StoreFull
from otel_wandb.ledger import Line
from otel_wandb.store import Store
from otel_wandb.store.shapes import FsyncMode
from tests.store_samples import (
    FSYNC_MODES,
    add_calls,
    calls_line,
    limit_pages,
    quick_folder,
    small_disk,
)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with quick_folder(tmp_path) as folder:
        yield folder / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(path)) as store:
        yield store


_WRITER = """
import sys
from pathlib import Path
from otel_wandb.store import NewCall, Store

store = Store.open(Path(sys.argv[1]), fsync=sys.argv[2])
n = 0
while True:
    with store.transaction() as tx:
        destination = tx.add_destination("c", "team", "rag")
        calls = [NewCall(destination, "t", f"{n + i:016x}", n, "", None, b"x" * 3000) for i in range(40)]
        ids = [tx.add_call(call) for call in calls]
        tx.set_mark("a-00000000.seg", n, n)
        tx.add_count("spans", "received", 40)
        tx.set_waiting("spans", n + 40)
    with store.transaction() as tx:
        tx.begin_attempt(ids[:20], 1.0)
    with store.transaction() as tx:
        tx.settle(ids[:10], "delivered")
    n += 40
    print(n, flush=True)
"""


@pytest.mark.parametrize("fsync", FSYNC_MODES)
def test_sigkill_loses_nothing_that_was_committed(path: Path, fsync: str) -> None:
    seen = 0
    for kill_after in (1, 3, 25):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path), fsync], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        with writer.stdout:
            said = [int(writer.stdout.readline()) for _ in range(kill_after)][-1]
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            said = max([said, *(int(line) for line in writer.stdout if line.endswith(b"\n"))])
        with contextlib.closing(Store.open(path)) as store:
            assert store.recovered is None
            counts, reader = store.reader.counts(), store.reader
            received = counts["calls", "received", ""]
            assert counts["spans", "received", ""] == received
            assert received % 40 == 0
            assert received - seen >= said
            assert calls_line(reader).balanced
            bodies = {call.body for call in reader.due(1, 10**6, 1 << 40)}
            assert bodies == {b"x" * 3000}
            assert reader.marks()["a-00000000.seg"].counted == reader.waiting()["spans"] - 40
            seen = received


def test_a_full_disk_undoes_the_transaction_and_leaves_the_store_usable(store: Store) -> None:
    ids = add_calls(store, 20, size=3000)
    limit_pages(store, spare=3)
    with pytest.raises(StoreFull, match="disk is full"):
        add_calls(store, 100, size=3000)
    assert store.reader.outbox_size() == 20
    with store.transaction() as tx:  # what needs no room goes on
        tx.begin_attempt(ids, 1.0)
        tx.settle(ids, "delivered")
    limit_pages(store, spare=1000)
    assert add_calls(store, 100, size=3000) == list(range(21, 121))
    assert calls_line(store.reader) == Line(received=120, delivered=20, waiting=100)


def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "4m"):
        path = disk / "store.sqlite"
        with contextlib.closing(Store.open(path)) as store:
            with pytest.raises(StoreFull):
                add_for_ever(store)
            stored = store.reader.outbox_size()
            assert stored > 0
            assert stored % 50 == 0
            assert calls_line(store.reader).balanced
            with pytest.raises(StoreFull):
                Store.open(disk / "second.sqlite")
            assert not (disk / "second.sqlite").exists()
        with contextlib.closing(Store.open(path)) as store:
            assert store.reader.outbox_size() == stored


@pytest.mark.parametrize("fsync", FSYNC_MODES)
def test_what_is_synced_when(path: Path, monkeypatch: pytest.MonkeyPatch, fsync: FsyncMode) -> None:
    synced: list[int] = []
    fsync_file = os.fsync

    def note(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        fsync_file(fd)

    monkeypatch.setattr(os, "fsync", note)
    with contextlib.closing(Store.open(path, fsync=fsync)) as store:
        ids = add_calls(store, 1)
        synced.clear()
        wal = path.with_name(path.name + "-wal").stat().st_ino
        with store.transaction() as tx:
            tx.begin_attempt(ids, 1.0)
        assert (wal in synced) == (fsync == "interval")  # with `always` SQLite itself syncs each commit
        synced.clear()
        store.sync()
        assert synced == [wal, path.parent.stat().st_ino]
        assert store._writer.number("PRAGMA synchronous") == (2 if fsync == "always" else 1)


def test_a_store_in_memory_has_nothing_to_sync() -> None:
    with contextlib.closing(Store.open(None)) as store:
        store.sync()


def add_for_ever(store: Store) -> None:
    while True:
        add_calls(store, 50, size=3000)
