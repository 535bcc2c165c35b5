"""Stores for tests: calls to put into them, and disks to put them on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.ledger import Line, compose
from otel_wandb.store import NewCall, Store, StoreReader
from otel_wandb.store.shapes import FsyncMode

FSYNC_MODES: tuple[FsyncMode, ...] = ("never", "interval", "always")


@contextlib.contextmanager
def quick_folder(otherwise: Path) -> Iterator[Path]:
    """A folder in memory where the system has such: hundreds of fsyncs on a busy disk tell nothing."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def new_call(n: int, destination: int = 1, size: int = 300) -> NewCall:
    body = b'{"id":"%016x","pad":"%s"}' % (n, b"x" * size)
    return NewCall(destination, f"{n % 7:032x}", f"{n:016x}", n, "run" if n % 2 else "", n, body)


def add_calls(store: Store, count: int, *, size: int = 300, project: str = "rag") -> list[int]:
    with store.transaction() as tx:
        destination = tx.add_destination("c" * 16, "team", project)
        first = tx.last_call_id + 1
        return [tx.add_call(new_call(n, destination, size)) for n in range(first, first + count)]


def calls_line(reader: StoreReader) -> Line:
    seen = reader.snapshot()
    return compose(seen.counts, seen.waiting, {}, seen.outbox, {}).lines["calls"]


def limit_pages(store: Store, *, spare: int) -> None:
    """Let the database grow by so many pages and no more, as a full disk would."""
    database = store._writer
    database.run(f"PRAGMA max_page_count={database.number('PRAGMA page_count') + spare}")


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of that size at `folder`; skips where the user may not mount."""
    mount(["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)])
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder cannot be written to inside, not even by root."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    mount(["--bind", str(folder), str(folder)])
    try:
        mount(["-o", "remount,bind,ro", str(folder)])
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(arguments: list[str]) -> None:
    command = ["mount", *arguments]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
