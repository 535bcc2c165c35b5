"""The store when its file is damaged: what can be read is kept, and what cannot is counted."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.errors import StoreError, StoreFull
from otel_wandb.ledger import Line, compose
from otel_wandb.store import Store
from otel_wandb.store.database import PAGE_BYTES
from otel_wandb.store.files import DAMAGE_NOTE
from tests.store_samples import add_calls, calls_line, new_call, quick_folder, small_disk

GARBAGE = random.Random(1).randbytes(50_000)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with quick_folder(tmp_path) as folder:
        yield folder / "store.sqlite"


def kept_calls(said: str) -> int:
    return int(said.partition(" calls were kept")[0].rpartition(" ")[2])


def make_rich_store(path: Path) -> None:
    """70 calls: 30 waiting for two projects, 39 delivered, one dead letter; and a bit of everything else."""
    with contextlib.closing(Store.open(path)) as store:
        ids = add_calls(store, 60, size=3000)
        add_calls(store, 10, size=3000, project="other")
        with store.transaction() as tx:
            tx.settle([*ids[:30], *ids[35:44]], "delivered")
            tx.bury(ids[44], 422, "no", "http_422")
            tx.begin_attempt(ids[45:50], 9.0)
            tx.set_mark("a-00000000.seg", 10, 5)
            tx.add_count("spans", "received", 100)
            tx.add_count("spans", "delivered", 70)
            tx.set_waiting("spans", 30)
            tx.add_digests([(bytes([n]) * 16, n) for n in range(100)])
            tx.remember("t", b"memory", 5)
            tx.fold_front("f.counts", {("spans", "dropped", "journal_full"): 2})
            tx.add_flush(b"t" * 16, 60)


Original = dict[str, tuple[bytes, str]]
Rich = tuple[bytes, Original]


def check_repaired(path: Path, original: Original) -> str:
    """Open a damaged copy of the rich store: whatever was damaged, this holds. Returns what it said."""
    with contextlib.closing(Store.open(path)) as store:
        reader = store.reader
        said = store.recovered or ""
        calls = {call.span_id: call for call in reader.calls()}
        for span_id, call in calls.items():
            assert call.body == original[span_id][0]
        line = calls_line(reader)
        assert line.balanced
        waited = {span_id for span_id, (_, state) in original.items() if state == "waiting"}
        waits = {span_id for span_id, call in calls.items() if call.state == "waiting"}
        queued = [call for d in reader.destinations() for call in reader.due(d.id, 1000, 1 << 30)]
        assert {call.span_id for call in queued} == waits
        if said:
            assert {call.in_flight_since_s for call in queued} <= {0.0}
            torn = said.partition("Not all could be read of: ")[2].partition(".")[0]
            if "counts" not in torn:
                assert line.dropped.get("store_corrupt", 0) == max(0, len(waited) - len(waits))
            if "outbox" not in torn:
                assert waits <= waited
            if not {"calls", "bodies"} & set(torn.split(", ")):
                assert waits >= waited
                assert len(calls) == 70
            assert list((path.parent / "quarantine").glob("store-*.sqlite"))
        seen = reader.snapshot()
        assert compose(seen.counts, seen.waiting, {}, seen.outbox, {}).balanced
        new = add_calls(store, 2)
        assert min(new) > max((call.id for call in calls.values()), default=0)
        with store.transaction() as tx:
            tx.settle([*new, *(call.id for call in queued)], "delivered")
        assert reader.outbox_size() == 0
        assert calls_line(reader).balanced
    with contextlib.closing(Store.open(path)) as store:
        assert store.recovered is None
    return said


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Original]:
    path = tmp_path_factory.mktemp("rich") / "store.sqlite"
    make_rich_store(path)
    with contextlib.closing(Store.open_for_reading(path)) as reader:
        original: Original = {call.span_id: (call.body, call.state) for call in reader.calls()}
    return path.read_bytes(), original


@pytest.mark.parametrize("kind", ["garbage", "zeros", "misdirected", "flipped"])
def test_any_page_may_be_damaged(rich: Rich, path: Path, kind: str) -> None:
    content, original = rich
    pages = len(content) // PAGE_BYTES
    repaired, kept = 0, []
    for page in range(pages):
        start = page * PAGE_BYTES
        bad = {
            "garbage": b"\xa5" * PAGE_BYTES,
            "zeros": bytes(PAGE_BYTES),
            "misdirected": content[((page + 1) % pages) * PAGE_BYTES :][:PAGE_BYTES],
            "flipped": bytes(byte ^ 0xFF for byte in content[start : start + 200])
            + content[start + 200 : start + PAGE_BYTES],
        }[kind]
        damaged = path.parent / str(page) / "store.sqlite"
        damaged.parent.mkdir()
        damaged.write_bytes(content[:start] + bad + content[start + PAGE_BYTES :])
        said = check_repaired(damaged, original)
        kept.append(kept_calls(said) if said else len(original))
        repaired += bool(said)
    assert repaired > pages * 0.8
    if kind != "misdirected":
        assert kept[0] == len(original)  # where everything is stands on the first page, and in our schema
    assert sum(calls < len(original) - 6 for calls in kept) <= 3  # the inner pages: of bodies, and of calls


def test_pages_between_damaged_ones_are_kept(rich: Rich, path: Path) -> None:
    content, original = rich
    spoilt = bytearray(content)
    for n in (10, 30, 50):
        start = content.index(new_call(n, size=3000).body) // PAGE_BYTES * PAGE_BYTES
        spoilt[start : start + PAGE_BYTES] = b"\xa5" * PAGE_BYTES
    path.write_bytes(spoilt)
    assert kept_calls(check_repaired(path, original)) >= len(original) - 3 * 6


def test_a_truncated_file_keeps_what_is_left(rich: Rich, path: Path) -> None:
    content, original = rich
    kept = []
    for size in (0, 1, 100, PAGE_BYTES, 5 * PAGE_BYTES + 17, len(content) // 2, len(content) - PAGE_BYTES):
        short = path.parent / str(size) / "store.sqlite"
        short.parent.mkdir()
        short.write_bytes(content[:size])
        said = check_repaired(short, original)
        assert said
        kept.append(kept_calls(said))
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert kept[-1] > 30


@pytest.mark.parametrize(
    "content",
    [b"not a database at all\n" * 4000, b"", b"x", GARBAGE],
    ids=["text", "empty", "short", "noise"],
)
def test_a_file_that_is_no_database_is_moved_away(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.closing(Store.open(path)) as store:
        assert store.recovered is not None
        assert "0 calls were kept" in store.recovered
        add_calls(store, 1)
        (kept,) = (path.parent / "quarantine").iterdir()
        assert kept.read_bytes() == content


def test_a_database_of_somebody_else_is_moved_away(path: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with contextlib.closing(Store.open(path, quarantine=tmp_path / "away")) as store:
        assert "not a store of otel-wandb" in (store.recovered or "")
        assert str(tmp_path / "away") in (store.recovered or "")


def test_damage_in_the_wal_costs_at_most_its_end(rich: Rich, path: Path) -> None:
    with contextlib.closing(Store.open(path)) as store:
        add_calls(store, 5)
        copy = path.parent / "copy" / path.name
        copy.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(path.with_name(path.name + suffix), copy.with_name(path.name + suffix))
    wal = copy.with_name(path.name + "-wal")
    wal.write_bytes(wal.read_bytes()[:-1000])
    with contextlib.closing(Store.open(copy)) as store:
        assert calls_line(store.reader).balanced
        assert store.reader.outbox_size() in (0, 5)


def test_a_lone_wal_does_not_spoil_the_next_store(path: Path) -> None:
    with contextlib.closing(Store.open(path)) as store:
        add_calls(store, 5)
        wal = path.with_name(path.name + "-wal")
        content = wal.read_bytes()
    path.unlink()
    wal.write_bytes(content)
    with contextlib.closing(Store.open(path)) as store:
        assert store.reader.outbox_size() == 0
        assert add_calls(store, 1) == [1]


def spoil_body(path: Path, body: bytes) -> None:
    """Change one byte inside a stored body: SQLite itself cannot see that."""
    content = bytearray(path.read_bytes())
    at = content.index(body)
    content[at + len(body) // 2] ^= 1
    path.write_bytes(content)


def test_damage_met_while_running_is_repaired_on_the_way(path: Path) -> None:
    with contextlib.closing(Store.open(path)) as store:
        add_calls(store, 50, size=3000)
    spoil_body(path, new_call(20, size=3000).body)
    with contextlib.closing(Store.open(path)) as store:
        assert store.recovered is None
        due = store.reader.due(1, 100, 1 << 30)
        assert [call.id for call in due] == [n for n in range(1, 51) if n != 20]
        assert {call.in_flight_since_s for call in due} == {0.0}
        assert "1 calls that waited are lost" in (store.recovered or "")
        assert calls_line(store.reader) == Line(received=50, dropped={"store_corrupt": 1}, waiting=49)
        assert add_calls(store, 1) == [51]


def test_damage_met_in_a_transaction_fails_it_and_the_next_one_works(path: Path) -> None:
    with contextlib.closing(Store.open(path)) as store:
        add_calls(store, 50, size=3000)
    spoil_body(path, new_call(20, size=3000).body)
    with contextlib.closing(Store.open(path)) as store:

        def write_and_read() -> None:
            with store.transaction() as tx:
                tx.add_count("spans", "received", 1)
                store.reader.due(1, 100, 1 << 30)

        with pytest.raises(StoreError, match="damaged"):
            write_and_read()
        with store.transaction() as tx:
            tx.add_count("spans", "received", 2)
        assert store.recovered is not None
        assert store.reader.counts()["spans", "received", ""] == 2


def test_a_reader_that_meets_damage_tells_the_next_bridge(path: Path) -> None:
    with contextlib.closing(Store.open(path)) as store:
        ids = add_calls(store, 50, size=3000)
        with store.transaction() as tx:
            tx.settle(ids, "delivered")
    spoil_body(path, new_call(20, size=3000).body)
    with contextlib.closing(Store.open_for_reading(path)) as reader:
        with pytest.raises(StoreError, match="the bridge repairs it when it starts next"):
            list(reader.calls())
        assert path.with_name(path.name + DAMAGE_NOTE).exists()
    with contextlib.closing(Store.open(path)) as store:
        assert "a reader found damage" in (store.recovered or "")
        assert len(list(store.reader.calls())) == 49
        assert calls_line(store.reader) == Line(received=50, delivered=50)
    assert not path.with_name(path.name + DAMAGE_NOTE).exists()


def test_calls_from_before_a_repair_are_read_back_when_they_come_again(path: Path) -> None:
    path.write_bytes(b"not a database")
    with contextlib.closing(Store.open(path)) as store, store.transaction() as tx:
        destination = tx.add_destination("c", "team", "rag")
        tx.add_call(new_call(1, destination))  # started in 1970
        tx.add_call(new_call(2, destination)._replace(started_us=4 * 10**15))  # in 2096
    with contextlib.closing(Store.open(path)) as store:
        assert [call.in_flight_since_s for call in store.reader.due(destination, 9, 1 << 20)] == [0.0, None]


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_crash_during_the_repair_changes_nothing(rich: Rich, path: Path, moved: int) -> None:
    content, original = rich
    damaged = content[: 6 * PAGE_BYTES] + b"\xa5" * PAGE_BYTES + content[7 * PAGE_BYTES :]
    if moved == 0:  # killed while the new file was being built
        path.write_bytes(damaged)
        path.with_name(path.name + ".draft").write_bytes(content[:50_000])
    else:  # killed when it was whole, before or after the old one was moved
        path.with_name(path.name + ".ready").write_bytes(content)
        if moved == 1:
            path.write_bytes(damaged)
    said = check_repaired(path, original)
    assert bool(said) == (moved == 0)
    assert {file.name for file in path.parent.iterdir()} - {"quarantine"} == {path.name}


def test_no_room_for_the_repair_is_said_and_tried_again(rich: Rich, tmp_path: Path) -> None:
    content, original = rich
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, f"{len(content) * 3 // 2 // 4096 * 4}k"):
        path = disk / "store.sqlite"
        path.write_bytes(content[: 6 * PAGE_BYTES] + b"\xa5" * PAGE_BYTES + content[7 * PAGE_BYTES :])
        filler = disk / "filler"
        filler.write_bytes(bytes(len(content) // 4))
        with pytest.raises(StoreFull):
            Store.open(path)
        assert {file.name for file in disk.iterdir()} == {"filler", "store.sqlite"}
        filler.unlink()
        small = path.read_bytes()
    target = tmp_path / "store.sqlite"
    target.write_bytes(small)
    assert check_repaired(target, original)
