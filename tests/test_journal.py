"""The journal: what was acknowledged is read, once and in order, whatever happens to writer and disk."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.errors import JournalFull, JournalUnusable
from otel_wandb.journal import (
    Codec,
    Damage,
    Frame,
    FsyncMode,
    JournalReader,
    JournalWriter,
    Kind,
    Segment,
    count_unread,
    measure_journal,
)
from otel_wandb.journal.frames import Head, pack_frame_header, pack_segment_header
from otel_wandb.journal.upkeep import Disk, Writeback
from tests.deadlines import wait_for
from tests.forking import in_child

CONFIG = "0123456789abcdef"
MODES: tuple[FsyncMode, ...] = ("never", "interval", "always")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    return tmp_path / "quarantine"


@pytest.fixture
def reader(directory: Path, quarantine: Path) -> JournalReader:
    return JournalReader(directory, quarantine=quarantine)


def append(writer: JournalWriter, payload: bytes, items: int = 1) -> tuple[str, int]:
    return writer.append(payload, kind=Kind.SPANS, items=items, config=CONFIG)


def append_without_end(writer: JournalWriter, payload: bytes) -> None:
    while True:
        append(writer, payload)


def write_segment(directory: Path, payloads: list[bytes]) -> Path:
    """A finished segment with these payloads; the n-th has n + 1 items."""
    writer = JournalWriter(directory, writer_id="w")
    for index, payload in enumerate(payloads):
        append(writer, payload, items=index + 1)
    writer.close()
    (path,) = directory.iterdir()
    return path


def read_all(reader: JournalReader) -> list[Frame | Damage]:
    """Everything in the journal, as a bridge would read it: on from the last item's end, again and again."""
    items: list[Frame | Damage] = []
    for segment in reader.segments():
        offset = 0
        while more := list(reader.read(segment.name, offset, max_bytes=100)):
            items += more
            if more[-1].end == offset:
                break
            offset = more[-1].end
    return items


def read_anew(directory: Path) -> list[Frame | Damage]:
    """The same by a reader that knows nothing yet, for files that the test itself has changed."""
    return read_all(JournalReader(directory, quarantine=directory.parent / "quarantine"))


def payloads_of(items: list[Frame | Damage]) -> list[bytes]:
    return [item.payload for item in items if isinstance(item, Frame)]


def damages_of(items: list[Frame | Damage]) -> list[Damage]:
    return [item for item in items if isinstance(item, Damage)]


# Format


def test_the_format_stays_as_it_is() -> None:
    head = Head(
        5, 3, Kind.OTLP_TRACES, Codec.GZIP, bytes.fromhex(CONFIG), 1_700_000_000_000_000_000, 0xC1234567
    )
    assert pack_segment_header(version="0.1.0").hex() == (
        "4f54574a524e4c0a01000000302e312e3000000000000000000000003476c4dc"
    )
    assert pack_frame_header(head, 32).hex() == (
        "f54f570a05000000030000000b0100000123456789abcdef00002a36fe9c97172000000000000000674523c1d77aeed9"
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.SPANS, "spans"),
        (Kind.LOGS, "log_records"),
        (Kind.METRICS, "metric_points"),
        (Kind.OTLP_TRACES, "spans"),
        (Kind.OTLP_LOGS, "log_records"),
        (Kind.OTLP_METRICS, "metric_points"),
        (Kind.OTLP_TRACES_JSON, "spans"),
        (Kind.OTLP_LOGS_JSON, "log_records"),
        (Kind.OTLP_METRICS_JSON, "metric_points"),
        (Kind.FLUSH, None),
    ],
)
def test_a_kind_knows_its_signal(kind: Kind, expected: str | None) -> None:
    assert kind.signal == expected


@pytest.mark.parametrize("payload", [b"", b"x", bytearray(b"some bytes"), memoryview(b"more bytes")[1:7]])
def test_a_frame_is_read_as_it_was_written(
    directory: Path, reader: JournalReader, payload: bytes | bytearray | memoryview
) -> None:
    writer = JournalWriter(directory, writer_id="w")
    name, end = writer.append(payload, kind=Kind.OTLP_LOGS, items=7, config=CONFIG, codec=Codec.ZSTD)
    (frame,) = reader.read(name, 0)
    assert isinstance(frame, Frame)
    assert name == frame.segment == "w-00000001.seg"
    assert end == frame.end == directory.joinpath(name).stat().st_size
    assert (frame.kind, frame.items, frame.config, frame.codec) == (Kind.OTLP_LOGS, 7, CONFIG, Codec.ZSTD)
    assert frame.payload == bytes(payload)
    assert frame.written_ns > 1_700_000_000_000_000_000
    writer.close()


@pytest.mark.parametrize("config", ["", "0123", CONFIG + "00", "zzzzzzzzzzzzzzzz"])
def test_a_digest_of_another_length_is_refused(directory: Path, config: str) -> None:
    writer = JournalWriter(directory, writer_id="w")
    with pytest.raises(ValueError, match="hex"):
        writer.append(b"", kind=Kind.SPANS, items=0, config=config)
    writer.close()
    assert not directory.exists()


# Damage


def test_a_torn_tail_is_reported_once_wherever_it_is_torn(directory: Path) -> None:
    path = write_segment(directory, [b"first", b"second"])
    whole = path.read_bytes()
    ends = [item.end for item in read_anew(directory)]
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        items = read_anew(directory)
        assert payloads_of(items) == [b"first", b"second"][: sum(end <= size for end in ends)]
        assert [(damage.end, damage.reason) for damage in damages_of(items)] == (
            [] if size in ends else [(size, "torn_tail")]
        )


def test_a_torn_tail_tells_what_it_would_have_held(directory: Path, reader: JournalReader) -> None:
    path = write_segment(directory, [b"first", b"second"])
    path.write_bytes(path.read_bytes()[:-1])
    *_, damage = read_all(reader)
    assert isinstance(damage, Damage)
    assert (damage.reason, damage.items, damage.kind) == ("torn_tail", 2, Kind.SPANS)


def test_the_unfinished_tail_of_a_living_writer_is_waited_for(directory: Path, reader: JournalReader) -> None:
    path = write_segment(directory, [b"first", b"second"])
    whole = path.read_bytes()
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for size in range(len(whole)):
            os.truncate(path, 0)
            path.write_bytes(whole[:size])
            items = read_all(reader)
            assert payloads_of(items) == [b"first"][: size // (32 + 48 + len(b"first"))]
            assert not damages_of(items)
        path.write_bytes(whole)
        assert payloads_of(read_all(reader)) == [b"first", b"second"]


def test_a_corrupt_byte_anywhere_costs_one_frame(directory: Path, quarantine: Path) -> None:
    payloads = [b"first", b"the second payload", b"third"]
    path = write_segment(directory, payloads)
    whole = path.read_bytes()
    frames = [item for item in read_anew(directory) if isinstance(item, Frame)]
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        items = read_anew(directory)
        (damage,) = damages_of(items)
        hit = next((frame for frame in frames if frame.offset <= place < frame.end), None)
        assert payloads_of(items) == [frame.payload for frame in frames if frame is not hit]
        assert damage.reason == "corrupt"
        assert (damage.offset, damage.end) == ((hit.offset, hit.end) if hit else (0, 32))
        payload_was_hit = hit is not None and place >= hit.offset + 48
        assert damage.items == (hit.items if payload_was_hit and hit else None)
        assert damage.kind == (Kind.SPANS if payload_was_hit else None)
        assert (quarantine / path.name).read_bytes() == path.read_bytes()
        (quarantine / path.name).unlink()


def test_a_stretch_of_zeros_costs_what_it_covers(directory: Path, reader: JournalReader) -> None:
    path = write_segment(directory, [bytes([i]) * 100 for i in range(10)])
    with path.open("r+b") as file:
        file.seek(32 + 148 * 3 + 20)
        file.write(bytes(200))
    items = read_all(reader)
    assert payloads_of(items) == [bytes([i]) * 100 for i in (0, 1, 2, 5, 6, 7, 8, 9)]
    (damage,) = damages_of(items)
    assert (damage.offset, damage.end) == (32 + 148 * 3, 32 + 148 * 5)


def test_a_journal_inside_a_payload_is_not_read_as_one(
    directory: Path, tmp_path: Path, reader: JournalReader
) -> None:
    inner = write_segment(tmp_path / "inner", [b"must not be read"] * 3).read_bytes()
    path = write_segment(directory, [inner, b"last"])
    whole = bytearray(path.read_bytes())
    whole[40] ^= 1  # the header of the frame that holds the inner journal
    path.write_bytes(whole)
    items = read_all(reader)
    assert payloads_of(items) == [b"last"]
    assert len(damages_of(items)) == 1


def test_the_copy_in_quarantine_is_made_once_and_for_the_owner_alone(
    directory: Path, quarantine: Path, reader: JournalReader
) -> None:
    path = write_segment(directory, [b"first", b"second"])
    damaged = path.read_bytes()[:-1] + b"?"
    path.write_bytes(damaged)
    assert [item.reason for item in damages_of(read_all(reader))] == ["corrupt"]
    path.write_bytes(damaged[:-2] + b"??")
    read_all(reader)
    (copy,) = quarantine.iterdir()
    assert copy.read_bytes() == damaged
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(quarantine.stat().st_mode) == 0o700


def test_reading_goes_on_where_no_copy_can_be_kept(
    directory: Path, quarantine: Path, reader: JournalReader
) -> None:
    quarantine.write_bytes(b"a file where the directory should be")
    path = write_segment(directory, [b"first", b"second"])
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"first", b"fIrst"))
    assert payloads_of(read_all(reader)) == [b"second"]


def test_damage_in_front_of_a_living_writer_is_reported_when_something_follows(
    directory: Path, reader: JournalReader
) -> None:
    writer = JournalWriter(directory, writer_id="w")
    name, end = append(writer, b"first")
    with (directory / name).open("r+b") as file:
        file.seek(end - 1)
        file.write(b"?")
    assert read_all(reader) == []
    append(writer, b"second")
    items = read_all(reader)
    assert payloads_of(items) == [b"second"]
    assert [damage.reason for damage in damages_of(items)] == ["corrupt"]
    writer.close()


def test_a_segment_of_another_format_is_left_alone(
    directory: Path, quarantine: Path, reader: JournalReader
) -> None:
    path = write_segment(directory, [b"first"])
    newer = pack_segment_header(format_=2) + path.read_bytes()[32:]
    path.write_bytes(newer)
    assert list(reader.read(path.name, 0)) == [Damage(path.name, 0, 0, None, "foreign", None)]
    assert count_unread(directory, {}) == {}
    assert path.read_bytes() == newer
    assert not quarantine.exists()


def test_a_file_that_is_no_segment_at_all_is_corrupt(
    directory: Path, quarantine: Path, reader: JournalReader
) -> None:
    directory.mkdir()
    path = directory / "w-00000001.seg"
    path.write_bytes(b"\xf5OW\n" * 100)
    assert read_all(reader) == [Damage(path.name, 0, 400, None, "corrupt", None)]
    assert (quarantine / path.name).exists()


# Segments


def test_segments_are_sorted_by_writer_and_age_and_know_who_lives(
    directory: Path, reader: JournalReader
) -> None:
    assert reader.segments() == []
    write_segment(directory, [b"dead"])
    writers = [JournalWriter(directory, writer_id=writer_id) for writer_id in ("zz", "aa")]
    for writer in writers:
        append(writer, b"alive")
    (directory / "notes.txt").write_text("not a segment")
    (directory / "w-00000002.new").touch()
    size = 32 + 48
    assert reader.segments() == [
        Segment("aa-00000001.seg", size + 5, alive=True),
        Segment("w-00000001.seg", size + 4, alive=False),
        Segment("zz-00000001.seg", size + 5, alive=True),
    ]
    assert measure_journal(directory) == 3 * size + 14
    for writer in writers:
        writer.close()
    assert [segment.alive for segment in reader.segments()] == [False, False, False]


def test_what_a_dead_writer_left_empty_is_removed(directory: Path, reader: JournalReader) -> None:
    directory.mkdir()
    left, held = directory / "a-00000001.seg", directory / "b-00000001.seg"
    left.touch()
    with held.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert reader.segments() == [Segment(held.name, 0, alive=True)]
    assert not left.exists()
    assert held.exists()


def test_a_removed_segment_reads_as_nothing(directory: Path, reader: JournalReader) -> None:
    path = write_segment(directory, [b"first"])
    reader.remove(path.name)
    reader.remove(path.name)
    assert list(reader.read(path.name, 0)) == []
    assert reader.segments() == []


def test_reading_stops_at_about_the_size_asked_for_and_goes_on_at_any_end(
    directory: Path, reader: JournalReader
) -> None:
    payloads = [os.urandom(1000) for _ in range(20)]
    path = write_segment(directory, payloads)
    first = list(reader.read(path.name, 0, max_bytes=3000))
    assert payloads_of(first) == payloads[:3]
    assert payloads_of(list(reader.read(path.name, first[1].end))) == payloads[2:]
    assert payloads_of(list(reader.read(path.name, first[0].end, max_bytes=1))) == payloads[1:2]


def test_unread_items_are_counted_by_headers_alone(directory: Path) -> None:
    writer = JournalWriter(directory, writer_id="w")
    for kind, items in ((Kind.SPANS, 3), (Kind.OTLP_TRACES, 4), (Kind.LOGS, 5), (Kind.FLUSH, 0)):
        name, end = writer.append(b"payload", kind=kind, items=items, config=CONFIG)
    assert count_unread(directory, {}) == {"spans": 7, "log_records": 5}
    assert count_unread(directory, {name: 32 + 55}) == {"spans": 4, "log_records": 5}
    assert count_unread(directory, {name: end}) == {}
    writer.close()
    path = directory / name
    damaged = bytearray(path.read_bytes())
    damaged[32 + 55 + 8] ^= 1  # the items of the second frame
    path.write_bytes(damaged[:-1])
    assert count_unread(directory, {}) == {"spans": 3, "log_records": 5}
    assert count_unread(directory / "absent", {}) == {}


# Writing


def test_files_are_the_owner_s_alone(directory: Path) -> None:
    before = os.umask(0)
    try:
        path = write_segment(directory / "deeper", [b"secret"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_writer_that_appends_nothing_makes_nothing(directory: Path) -> None:
    JournalWriter(directory, writer_id="w").close()
    assert not directory.exists()


@pytest.mark.parametrize("fsync", MODES)
def test_full_segments_are_followed_by_others(
    directory: Path, reader: JournalReader, fsync: FsyncMode
) -> None:
    writer = JournalWriter(directory, writer_id="w", segment_bytes=10_000, fsync=fsync, fsync_interval_s=0.01)
    payloads = []

    def append_more() -> bool:
        payloads.append(os.urandom(900))
        append(writer, payloads[-1])
        return len({segment.name for segment in reader.segments() if segment.size}) >= 3

    wait_for(append_more)
    writer.close()
    segments = reader.segments()
    assert [segment.name for segment in segments] == [f"w-{n:08d}.seg" for n in range(1, len(segments) + 1)]
    assert payloads_of(read_all(reader)) == payloads


def test_a_used_writer_id_goes_on_after_its_old_segments(directory: Path, reader: JournalReader) -> None:
    for payload in (b"first", b"second"):
        writer = JournalWriter(directory, writer_id="w")
        append(writer, payload)
        writer.close()
    assert [segment.name for segment in reader.segments()] == ["w-00000001.seg", "w-00000002.seg"]
    assert payloads_of(read_all(reader)) == [b"first", b"second"]


def test_after_close_nothing_is_appended(directory: Path) -> None:
    writer = JournalWriter(directory, writer_id="w")
    append(writer, b"first")
    writer.close()
    writer.close()
    with pytest.raises(JournalUnusable, match="closed"):
        append(writer, b"second")


def test_threads_append_at_once(directory: Path, reader: JournalReader) -> None:
    writer = JournalWriter(directory, writer_id="w", segment_bytes=50_000)
    barrier = threading.Barrier(8)

    def work(thread: int) -> None:
        barrier.wait()
        for n in range(100):
            append(writer, b"%d:%d:" % (thread, n) + bytes(n * 5))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    read = [payload.split(b":")[:2] for payload in payloads_of(read_all(reader))]
    for thread_no in range(8):
        assert [int(n) for thread, n in read if int(thread) == thread_no] == list(range(100))
    assert len(read) == 800


def test_reading_beside_writing_sees_each_frame_once_and_whole(
    directory: Path, reader: JournalReader
) -> None:
    writer = JournalWriter(directory, writer_id="w", segment_bytes=200_000)
    done = threading.Event()

    def work() -> None:
        for n in range(1500):
            append(writer, n.to_bytes(4, "big") * (1 + n % 300))
        writer.close()
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    offsets: dict[str, int] = {}
    read: list[int] = []
    finished = False
    while not finished:
        finished = done.is_set()
        for segment in reader.segments():
            for item in reader.read(segment.name, offsets.get(segment.name, 0)):
                assert isinstance(item, Frame)
                n = int.from_bytes(item.payload[:4], "big")
                assert item.payload == n.to_bytes(4, "big") * (1 + n % 300)
                read.append(n)
                offsets[segment.name] = item.end
    thread.join()
    assert read == list(range(1500))


def test_sync_covers_all_segments_of_the_writer(directory: Path) -> None:
    disk = CountingDisk()
    writer = JournalWriter(directory, writer_id="w", disk=disk)
    writer.sync()
    append(writer, b"first")
    assert disk.synced == set()
    writer.sync()
    assert disk.synced == {(directory / "w-00000001.seg").stat().st_ino}
    writer.close()


# Limits


def test_at_the_limit_appends_are_refused_until_there_is_room(directory: Path, reader: JournalReader) -> None:
    writer = JournalWriter(directory, writer_id="w", segment_bytes=10_000, limit_bytes=50_000)
    with pytest.raises(JournalFull, match="limit"):
        append_without_end(writer, bytes(5_000))
    assert 45_000 <= measure_journal(directory) <= 50_000
    with pytest.raises(JournalFull):
        append(writer, bytes(5_000))
    append(writer, b"small enough")
    (first, *_) = wait_for(lambda: [segment for segment in reader.segments() if not segment.alive])
    reader.remove(first.name)
    append(writer, bytes(5_000))
    writer.close()
    assert payloads_of(read_all(reader))[-2:] == [b"small enough", bytes(5_000)]


@pytest.mark.parametrize("segment_bytes", [1_000, 64 << 20])
@pytest.mark.parametrize(("limit_bytes", "room"), [(10_000, 1 << 40), (1 << 40, 10_000)])
def test_what_fills_the_journal_can_be_removed_while_its_writer_lives(
    directory: Path, reader: JournalReader, segment_bytes: int, limit_bytes: int, room: int
) -> None:
    disk = FullDisk()
    disk.room = room
    writer = JournalWriter(
        directory, writer_id="w", segment_bytes=segment_bytes, limit_bytes=limit_bytes, disk=disk
    )
    with pytest.raises(JournalFull):
        append_without_end(writer, bytes(900))
    wait_for(lambda: not any(segment.alive and segment.size for segment in reader.segments()))
    for segment in reader.segments():
        reader.remove(segment.name)
    disk.room = 1 << 40
    append(writer, b"welcome")
    writer.close()
    assert payloads_of(read_all(reader)) == [b"welcome"]


def test_a_segment_that_is_old_is_given_up(
    directory: Path, reader: JournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_wandb.journal.writer._SEGMENT_AGE_S", 0.05)
    writer = JournalWriter(directory, writer_id="w")
    for payload in (b"first", b"second"):
        append(writer, payload)
        (old,) = wait_for(lambda: [segment for segment in reader.segments() if not segment.alive])
        assert payloads_of(read_all(reader)) == [payload]
        reader.remove(old.name)
    writer.close()
    assert reader.segments() == []


def test_writers_share_the_limit(directory: Path) -> None:
    writers = [JournalWriter(directory, writer_id=f"w{n}", limit_bytes=1_000_000) for n in range(4)]
    refused = 0
    while refused < 20:
        for writer in writers:
            try:
                append(writer, bytes(10_000))
            except JournalFull:
                refused += 1
    assert 980_000 <= measure_journal(directory) <= 1_050_000
    for writer in writers:
        writer.close()


def test_the_limit_is_a_share_of_the_free_disk(directory: Path) -> None:
    disk = CountingDisk()
    disk.free = 100_000
    writer = JournalWriter(directory, writer_id="w", disk=disk, limit_disk_share=0.5)
    append(writer, bytes(40_000))
    disk.free = 60_000
    with pytest.raises(JournalFull):
        append(writer, bytes(20_000))
    disk.free = 100_000
    append(writer, bytes(20_000))
    writer.close()


# A disk that fails


class CountingDisk(Disk):
    """Notes what is synced; says how much is free."""

    def __init__(self) -> None:
        self.synced: set[int] = set()
        self.syncs = 0
        self.free = 1 << 40

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self.syncs += 1
        self.synced.add(os.fstat(fd).st_ino)

    def free_bytes(self, directory: Path) -> int:
        return self.free


class FullDisk(CountingDisk):
    """Takes no more than `room` bytes."""

    room = 1 << 40
    error = errno.ENOSPC

    def write(self, fd: int, parts: list[bytes]) -> int:
        data = b"".join(parts)[: self.room]
        if not data:
            raise OSError(self.error, os.strerror(self.error))
        written = super().write(fd, [data])
        self.room -= written
        return written


def test_a_full_disk_leaves_no_part_of_a_frame_wherever_it_ends(
    directory: Path, reader: JournalReader
) -> None:
    disk = FullDisk()
    writer = JournalWriter(directory, writer_id="w", disk=disk)
    expected = []
    for room in range(48 + 10):
        disk.room = room
        with pytest.raises(JournalFull, match="No space left"):
            append(writer, b"ten  bytes")
        disk.room = 1 << 40
        expected.append(b"payload %d" % room)
        append(writer, expected[-1])
        assert payloads_of(read_all(reader)) == expected
    writer.close()
    assert payloads_of(read_all(reader)) == expected
    assert not damages_of(read_all(reader))


def test_a_disk_that_is_full_at_first_is_used_later(directory: Path, reader: JournalReader) -> None:
    disk = FullDisk()
    disk.room = 40
    writer = JournalWriter(directory, writer_id="w", disk=disk)
    with pytest.raises(JournalFull):
        append(writer, b"refused")
    disk.room = 1 << 40
    append(writer, b"taken")
    writer.close()
    assert payloads_of(read_all(reader)) == [b"taken"]


def test_a_disk_that_fails_for_good_makes_the_journal_unusable(directory: Path) -> None:
    disk = FullDisk()
    disk.room, disk.error = 0, errno.EIO
    writer = JournalWriter(directory, writer_id="w", disk=disk)
    with pytest.raises(JournalUnusable, match=r"journal cannot be written to: Input/output error"):
        append(writer, b"refused")
    writer.close()
    assert list(directory.iterdir()) == []


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = JournalWriter(tmp_path / "file" / "journal", writer_id="w")
    with pytest.raises(JournalUnusable, match="Not a directory"):
        append(writer, b"refused")
    writer.close()


def test_a_part_that_cannot_be_cut_off_is_left_behind(directory: Path, reader: JournalReader) -> None:
    class StubbornDisk(FullDisk):
        def truncate(self, fd: int, size: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    disk = StubbornDisk()
    writer = JournalWriter(directory, writer_id="w", disk=disk)
    append(writer, b"first")
    disk.room = 20
    with pytest.raises(JournalFull):
        append(writer, b"refused")
    disk.room = 1 << 40
    append(writer, b"second")
    writer.close()
    items = read_all(reader)
    assert payloads_of(items) == [b"first", b"second"]
    assert [damage.reason for damage in damages_of(items)] == ["torn_tail"]


def test_an_append_that_is_interrupted_spoils_nothing(directory: Path, reader: JournalReader) -> None:
    class InterruptedDisk(CountingDisk):
        interrupt = False

        def write(self, fd: int, parts: list[bytes]) -> int:
            written = super().write(fd, parts)
            if self.interrupt:
                raise KeyboardInterrupt
            return written

    disk = InterruptedDisk()
    writer = JournalWriter(directory, writer_id="w", disk=disk)
    append(writer, b"first")
    disk.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        append(writer, b"interrupted")
    disk.interrupt = False
    append(writer, b"second")
    writer.close()
    assert payloads_of(read_all(reader)) == [b"first", b"second"]


def test_a_journal_that_somebody_removes_is_begun_anew(directory: Path, reader: JournalReader) -> None:
    writer = JournalWriter(directory, writer_id="w")
    append(writer, b"removed")
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    append(writer, b"kept")
    writer.close()
    assert payloads_of(read_all(reader)) == [b"kept"]


# A disk that is slow


def make_writeback(directory: Path, disk: Disk, *, sync: bool) -> Writeback:
    directory.mkdir()
    return Writeback(directory, disk, segment_bytes=1 << 20, sync=sync)


def test_full_segments_are_brought_to_the_disk_piece_by_piece_and_synced_at_the_end(directory: Path) -> None:
    disk = CountingDisk()
    writeback = make_writeback(directory, disk, sync=True)
    size = 20 << 20
    (directory / "w-00000001.seg").write_bytes(bytes(size))
    writeback.add("w-00000001.seg", size)
    steps = 0
    while writeback.is_due:
        assert disk.syncs == 0
        writeback.step()
        steps += 1
    assert steps == 3
    assert disk.synced == {(directory / "w-00000001.seg").stat().st_ino}


def test_little_is_left_to_the_kernel(directory: Path) -> None:
    writeback = make_writeback(directory, Disk(), sync=False)
    writeback.add("w-00000001.seg", 60 << 20)
    due = [writeback.is_due]
    writeback.add("w-00000002.seg", 60 << 20)
    due.append(writeback.is_due)
    writeback.step()  # the first is read and removed already
    due.append(writeback.is_due)
    assert due == [False, True, False]


def test_appends_pause_the_longer_the_more_the_disk_is_behind(directory: Path) -> None:
    writeback = make_writeback(directory, Disk(), sync=False)
    pauses_s = []
    for _ in range(40):
        pauses_s.append(writeback.pause_s(current_bytes=0))
        writeback.add("w-00000001.seg", 10 << 20)
    assert pauses_s[:7] == [0.0] * 7
    assert pauses_s == sorted(pauses_s)
    assert 0 < pauses_s[10] < pauses_s[20] < pauses_s[39] == 0.05
    while writeback.is_due:
        writeback.step()
    assert writeback.pause_s(current_bytes=0) == 0


# Durability


class GatedDisk(CountingDisk):
    """Syncs only when the gate is open, and fails if told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.writes = 0
        self.entered = threading.Event()
        self.fails = False

    def write(self, fd: int, parts: list[bytes]) -> int:
        self.writes += 1
        return super().write(fd, parts)

    def sync(self, fd: int) -> None:
        self.entered.set()
        assert self.gate.wait(30)
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(fd)


def test_always_syncs_once_for_all_who_wait(directory: Path, reader: JournalReader) -> None:
    disk = GatedDisk()
    writer = JournalWriter(directory, writer_id="w", fsync="always", disk=disk)
    first = threading.Thread(target=append, args=(writer, b"first"))
    first.start()
    assert disk.entered.wait(30)
    others = [threading.Thread(target=append, args=(writer, b"other")) for _ in range(7)]
    for thread in others:
        thread.start()
    wait_for(lambda: disk.writes == 8)
    disk.gate.set()
    for thread in (first, *others):
        thread.join()
    assert disk.syncs == 2
    writer.close()
    assert payloads_of(read_all(reader)) == [b"first", *[b"other"] * 7]


def test_always_refuses_what_could_not_be_synced(directory: Path, reader: JournalReader) -> None:
    disk = GatedDisk()
    writer = JournalWriter(directory, writer_id="w", fsync="always", disk=disk)
    disk.gate.set()
    append(writer, b"first")
    disk.gate.clear()
    disk.entered.clear()
    outcomes: list[BaseException | None] = []

    def work() -> None:
        try:
            append(writer, b"refused")
            outcomes.append(None)
        except JournalUnusable as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: disk.writes == 5)
    disk.fails = True
    disk.gate.set()
    for thread in threads:
        thread.join()
    assert [type(outcome) for outcome in outcomes] == [JournalUnusable] * 4
    disk.fails = False
    append(writer, b"second")
    writer.close()
    assert payloads_of(read_all(reader)) == [b"first", b"second"]


def test_interval_syncs_by_itself(directory: Path) -> None:
    disk = CountingDisk()
    writer = JournalWriter(directory, writer_id="w", fsync="interval", fsync_interval_s=0.02, disk=disk)
    append(writer, b"first")
    wait_for(lambda: disk.syncs == 1)
    append(writer, b"second")
    wait_for(lambda: disk.syncs == 2)
    writer.close()


def test_interval_takes_another_segment_when_there_is_much_to_sync(
    directory: Path, reader: JournalReader
) -> None:
    disk = CountingDisk()
    writer = JournalWriter(directory, writer_id="w", fsync="interval", fsync_interval_s=0.02, disk=disk)
    payload = os.urandom(2 << 20)
    name, _ = append(writer, payload)
    wait_for(lambda: (directory / name).stat().st_ino in disk.synced)
    assert append(writer, payload)[0] != name
    writer.close()
    assert payloads_of(read_all(reader)) == [payload] * 2


def test_a_failed_sync_of_interval_is_survived(directory: Path, reader: JournalReader) -> None:
    disk = GatedDisk()
    disk.gate.set()
    disk.fails = True
    writer = JournalWriter(directory, writer_id="w", fsync="interval", fsync_interval_s=0.02, disk=disk)
    name, _ = append(writer, b"first")
    assert disk.entered.wait(30)
    wait_for(lambda: append(writer, b"more")[0] != name)
    disk.fails = False
    writer.close()
    assert payloads_of(read_all(reader))[:2] == [b"first", b"more"]


_KILLED_WRITER = """
import sys, threading
from pathlib import Path
from otel_wandb.journal import JournalWriter, Kind
writer = JournalWriter(
    Path(sys.argv[1]), writer_id="w", fsync=sys.argv[2], fsync_interval_s=0.01, segment_bytes=100_000
)
lock = threading.Lock()
def work(thread):
    n = 0
    while True:
        payload = b"%d %d " % (thread, n) + bytes(n % 3000)
        writer.append(payload, kind=Kind.SPANS, items=1, config="0123456789abcdef")
        with lock:
            sys.stdout.write(f"{thread} {n}\\n")
            sys.stdout.flush()
        n += 1
for thread in range(3):
    threading.Thread(target=work, args=(thread,)).start()
"""


@pytest.mark.parametrize("fsync", MODES)
@pytest.mark.parametrize("acknowledged", [1, 100, 700])
def test_sigkill_loses_nothing_acknowledged(
    directory: Path, reader: JournalReader, fsync: FsyncMode, acknowledged: int
) -> None:
    command = [sys.executable, "-c", _KILLED_WRITER, str(directory), fsync]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.kill()
        lines += [line for line in process.stdout if line.endswith("\n")]
    assert not any(segment.alive for segment in reader.segments())
    items = read_all(reader)
    assert {damage.reason for damage in damages_of(items)} <= {"torn_tail"}
    read = [tuple(map(int, payload.split(b" ")[:2])) for payload in payloads_of(items)]
    for thread in range(3):
        numbers = [n for by, n in read if by == thread]
        acked = [int(line.split()[1]) for line in lines if int(line.split()[0]) == thread]
        assert numbers == list(range(len(numbers)))
        assert acked == list(range(len(acked)))
        assert 0 <= len(numbers) - len(acked) <= 1  # the one whose acknowledgement was on its way


# Forks


def test_a_forked_child_opens_its_own_segment(directory: Path, reader: JournalReader) -> None:
    writer = JournalWriter(directory, writer_id="parent", segment_bytes=4_000)
    append(writer, bytes(3_000))
    wait_for(lambda: len(list(directory.glob("parent-*.seg"))) == 2)  # the next one is open, too

    def child() -> bool:
        with pytest.raises(JournalUnusable, match="fork"):
            append(writer, b"refused")
        writer.forget("child")
        append(writer, b"from the child")
        writer.close()
        return True

    assert in_child(child) == 0
    assert [segment.alive for segment in reader.segments()] == [False, True, True]
    append(writer, b"from the parent")
    writer.close()
    assert payloads_of(read_all(reader)) == [b"from the child", bytes(3_000), b"from the parent"]


def test_a_child_that_does_nothing_leaves_the_parent_s_files_alone(
    directory: Path, reader: JournalReader
) -> None:
    writer = JournalWriter(directory, writer_id="parent")
    append(writer, b"first")

    def child() -> bool:
        writer.close()
        return True

    assert in_child(child) == 0
    assert [segment.alive for segment in reader.segments()] == [True]
    append(writer, b"second")
    writer.close()
    assert payloads_of(read_all(reader)) == [b"first", b"second"]


def test_a_living_child_does_not_keep_a_dead_parent_s_lock(directory: Path, reader: JournalReader) -> None:
    child_ready, parent_says = os.pipe()
    child_waits, test_says = os.pipe()
    parent = os.fork()
    if parent == 0:
        os.close(test_says)
        writer = JournalWriter(directory, writer_id="parent", segment_bytes=4_000)
        append(writer, bytes(3_000))
        wait_for(lambda: len(list(directory.glob("parent-*.seg"))) == 2)
        child = os.fork()
        if child == 0:
            os.read(child_waits, 1)  # until the test closes its end
            os._exit(0)
        os.write(parent_says, b"%d" % child)
        signal.pause()
    child = int(os.read(child_ready, 20))
    for fd in (child_ready, parent_says, child_waits):
        os.close(fd)
    assert reader.segments()[0].alive
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    os.kill(child, 0)  # it lives
    assert reader.segments() == [Segment("parent-00000001.seg", 3_080, alive=False)]
    os.close(test_says)


@pytest.mark.parametrize("fsync", MODES)
def test_forks_amid_appends_of_many_threads(directory: Path, reader: JournalReader, fsync: FsyncMode) -> None:
    writer = JournalWriter(
        directory, writer_id="parent", segment_bytes=20_000, fsync=fsync, fsync_interval_s=0.01
    )
    stop = threading.Event()
    counts = [0, 0, 0]

    def work(thread: int) -> None:
        while not stop.is_set():
            append(writer, b"%d:%d" % (thread, counts[thread]) + bytes(500))
            counts[thread] += 1

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(3)]
    for started in threads:
        started.start()

    def child(number: int) -> bool:
        writer.forget(f"child{number}")
        append(writer, b"child")
        writer.close()
        return True

    try:
        for number in range(10):
            assert in_child(lambda number=number: child(number)) == 0  # type: ignore[misc]  # bound at once
    finally:
        stop.set()
        for started in threads:
            started.join()
        writer.close()
    items = read_all(reader)
    assert not damages_of(items)
    payloads = payloads_of(items)
    assert payloads.count(b"child") == 10
    for thread in range(3):
        prefix = b"%d:" % thread
        numbers = [int(p.rstrip(b"\0")[2:]) for p in payloads if p.startswith(prefix)]
        assert numbers == list(range(counts[thread]))


# Imports


def test_the_journal_imports_little() -> None:
    code = "import sys; old = set(sys.modules); import otel_wandb.journal; print(*set(sys.modules) - old)"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    heavy = {
        "ctypes",
        "shutil",
        "subprocess",
        "asyncio",
        "sqlite3",
        "msgspec",
        "opentelemetry",
        "http",
        "socket",
    }
    assert not {name.partition(".")[0] for name in output.split()} & heavy


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [t.name for t in threading.enumerate() if t.name.startswith("otel-wandb-journal")]
