from __future__ import annotations

import logging
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from otel_wandb import __version__, fronts
from otel_wandb.fronts import REASONS, SIGNALS, FrontCounters, alive, list_fronts, read_counts, read_fronts
from tests.forking import in_child

COUNTING_CHILD = """
import sys, time
from pathlib import Path
from otel_wandb.fronts import FrontCounters
counters = FrontCounters(Path(sys.argv[1]), writer_id="child")
counters.add("spans", "dropped", "journal_full", 7)
print("counted", flush=True)
sys.stdin.read()
"""


def allow_files_of(size: int) -> None:
    """From here on this process cannot let a file grow beyond `size`, as if the disk were full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_counts_are_read_back_as_lines_of_the_ledger(tmp_path: Path) -> None:
    counters = FrontCounters(tmp_path, writer_id="a1")
    assert counters.on_disk
    counters.add("spans", "dropped", "journal_full", 3)
    counters.add("spans", "dropped", "journal_full", 2)
    counters.add("spans", "rejected", "malformed", 1)
    counters.add("log_records", "sdk_lost", "", 9)
    (file,) = list_fronts(tmp_path)
    assert file.name == "a1.counts"
    assert read_counts(file) == {
        ("spans", "dropped", "journal_full"): 5,
        ("spans", "rejected", "malformed"): 1,
        ("spans", "received", ""): 6,
        ("log_records", "sdk_lost", ""): 9,
    }
    assert counters.counts == {
        ("spans", "dropped", "journal_full"): 5,
        ("spans", "rejected", "malformed"): 1,
        ("log_records", "sdk_lost", ""): 9,
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    counters.close()


def test_every_counter_has_a_place_of_its_own(tmp_path: Path) -> None:
    counters = FrontCounters(tmp_path, writer_id="a")
    expected = {}
    for i, (name, (outcome, reason)) in enumerate((s, r) for s in SIGNALS for r in REASONS):
        counters.add(name, outcome, reason, i + (1 << 40))
        expected[name, outcome, reason] = i + (1 << 40)
    read = read_counts(tmp_path / "a.counts")
    assert {counter: n for counter, n in read.items() if counter[1] != "received"} == expected
    counters.close()


def test_an_unknown_reason_is_counted_all_the_same(tmp_path: Path) -> None:
    counters = FrontCounters(tmp_path, writer_id="a")
    counters.add("spans", "dropped", "gremlins", 2)
    counters.add("spans", "rejected", "gremlins", 1)
    assert counters.counts == {("spans", "dropped", "other"): 2, ("spans", "rejected", "other"): 1}
    counters.close()


def test_a_front_is_alive_until_it_closes(tmp_path: Path) -> None:
    counters = FrontCounters(tmp_path, writer_id="a")
    counters.add("spans", "dropped", "other", 1)
    (file,) = list_fronts(tmp_path)
    assert alive(file)
    (report,) = read_fronts(tmp_path)
    assert (report.name, report.pid, report.version, report.alive) == (
        "a.counts",
        os.getpid(),
        __version__,
        True,
    )
    counters.close()
    counters.close()
    assert not alive(file)
    assert not read_fronts(tmp_path)[0].alive
    assert read_counts(file)[("spans", "dropped", "other")] == 1


def test_a_front_that_counted_nothing_leaves_nothing(tmp_path: Path) -> None:
    counters = FrontCounters(tmp_path, writer_id="a")
    assert list_fronts(tmp_path)
    counters.close()
    assert list(tmp_path.iterdir()) == []


def test_a_sigkill_loses_no_count_and_frees_the_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNTING_CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "counted\n"
        file = tmp_path / "child.counts"
        assert alive(file)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not alive(file)
    assert read_counts(file) == {("spans", "dropped", "journal_full"): 7, ("spans", "received", ""): 7}


def test_a_forked_child_counts_for_itself(tmp_path: Path) -> None:
    counters = FrontCounters(tmp_path, writer_id="parent")
    counters.add("spans", "dropped", "journal_full", 1)

    def work() -> bool:
        counters.forget("kid")
        before = [path.name for path in list_fronts(tmp_path)]
        counters.add("spans", "dropped", "journal_full", 10)
        return (
            before == ["parent.counts"]
            and alive(tmp_path / "kid.counts")
            and alive(tmp_path / "parent.counts")
        )

    assert in_child(work) == 0
    assert alive(tmp_path / "parent.counts")
    assert not alive(tmp_path / "kid.counts")
    counters.add("spans", "dropped", "journal_full", 1)
    assert read_counts(tmp_path / "parent.counts")["spans", "dropped", "journal_full"] == 2
    assert read_counts(tmp_path / "kid.counts")["spans", "dropped", "journal_full"] == 10
    counters.close()


def test_a_child_that_forgot_does_not_keep_its_parents_lock(tmp_path: Path) -> None:
    counters = FrontCounters(tmp_path, writer_id="parent")
    counters.add("spans", "dropped", "journal_full", 1)
    go, ready = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        counters.forget("kid")
        os.close(go[1])
        os.write(ready[1], b"x")
        os.read(go[0], 1)  # until the parent closes its end
        os._exit(0)
    try:
        os.read(ready[0], 1)
        assert alive(tmp_path / "parent.counts")
        counters.close()
        assert not alive(tmp_path / "parent.counts")
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    finally:
        for fd in (*go, *ready):
            os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_fork_under_a_held_lock_does_not_hang_the_child(tmp_path: Path) -> None:
    counters = FrontCounters(tmp_path, writer_id="parent")

    def work() -> bool:
        counters.forget("kid")
        counters.add("spans", "dropped", "other", 1)
        return counters.on_disk

    with counters._lock:
        assert in_child(work) == 0
    counters.close()


def test_threads_lose_no_count(tmp_path: Path) -> None:
    counters = FrontCounters(tmp_path, writer_id="a")
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(500):
            counters.add("metric_points", "dropped", "unencodable", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_counts(tmp_path / "a.counts")["metric_points", "dropped", "unencodable"] == 2000
    counters.close()


def test_without_a_directory_it_counts_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counters = FrontCounters(None, writer_id="a")
    counters.add("spans", "dropped", "other", 1)
    assert not counters.on_disk
    assert counters.counts == {("spans", "dropped", "other"): 1}
    assert caplog.records == []
    counters.close()


def test_what_was_counted_in_memory_gets_a_file_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "fronts"
    with caplog.at_level(logging.WARNING, logger="otel_wandb.fronts"):
        counters = FrontCounters(folder, writer_id="a")
        counters.add("spans", "dropped", "disk_full", 4)
    assert not counters.on_disk
    assert len(caplog.records) == 1
    assert "kept in memory only" in caplog.text
    folder.mkdir()
    assert counters.open()
    counters.add("spans", "dropped", "disk_full", 1)
    assert read_counts(folder / "a.counts")["spans", "dropped", "disk_full"] == 5
    counters.close()


def test_a_disk_that_fills_up_later_stops_no_count(tmp_path: Path) -> None:
    def work() -> bool:
        counters = FrontCounters(tmp_path, writer_id="a")
        size = (tmp_path / "a.counts").stat().st_size
        allow_files_of(size)
        with pytest.raises(OSError, match="File too large"), (tmp_path / "a.counts").open("ab") as file:
            file.write(b"x")
        counters.add("spans", "dropped", "disk_full", 6)
        return counters.on_disk

    assert in_child(work) == 0
    assert read_counts(tmp_path / "a.counts")["spans", "dropped", "disk_full"] == 6


def test_a_write_that_fails_is_made_good_by_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> bool:
        counters = FrontCounters(tmp_path, writer_id="a")
        allow_files_of(0)
        counters.add("spans", "dropped", "disk_full", 1)
        counters.add("log_records", "dropped", "disk_full", 1)
        failed = not counters.on_disk and len(caplog.records) == 1
        allow_files_of(resource.RLIM_INFINITY)
        counters.add("spans", "dropped", "disk_full", 1)
        return failed and counters.on_disk

    assert in_child(work) == 0
    counts = read_counts(tmp_path / "a.counts")
    assert counts["spans", "dropped", "disk_full"] == 2
    assert counts["log_records", "dropped", "disk_full"] == 1


def test_a_file_that_cannot_be_completed_is_not_seen(tmp_path: Path) -> None:
    def work() -> bool:
        allow_files_of(100)
        counters = FrontCounters(tmp_path, writer_id="a")
        return not counters.on_disk

    assert in_child(work) == 0
    assert list(tmp_path.iterdir()) == []


def test_another_versions_counters_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = (*fronts._COUNTERS, ("profiles", "dropped", "journal_full"))
    content = fronts._file_content([1] * len(fronts._COUNTERS))
    head = msgspec.structs.replace(fronts._parse(content)[0], counters=list(newer), version="99.0")
    encoded = msgspec.json.encode(head)
    content = (fronts._HEAD.pack(b"OTWFRNT1", len(encoded)) + encoded).ljust(4096, b"\0")
    content += struct.pack(f"<{len(newer)}Q", *range(1, len(newer) + 1))
    (tmp_path / "new.counts").write_bytes(content)
    (report,) = read_fronts(tmp_path)
    assert report.version == "99.0"
    assert report.counts["profiles", "dropped", "journal_full"] == len(newer)
    assert report.counts["profiles", "received", ""] == len(newer)


@pytest.mark.parametrize(
    "content",
    [b"", b"OTWFRNT1", b"\0" * 8192, b"OTWFRNT1\xff\xff\xff\x7f{}", b"OTWFRNT1\x02\x00\x00\x00{}"],
)
def test_a_damaged_file_counts_nothing_and_is_named(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "x.counts"
    file.write_bytes(content)
    assert read_counts(file) == {}
    assert read_fronts(tmp_path) == []
    assert str(file) in caplog.text


def test_nothing_where_nothing_is(tmp_path: Path) -> None:
    assert list_fronts(tmp_path / "none") == []
    assert read_counts(tmp_path / "none.counts") == {}
    assert not alive(tmp_path / "none.counts")
    (tmp_path / ".draft.counts").touch()
    (tmp_path / "notes.txt").touch()
    assert list_fronts(tmp_path) == []
