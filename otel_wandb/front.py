"""The half that lives in the service: append to the journal, count what is refused, keep a bridge alive.

One `Front` serves all exporters of a process that share a data directory and settings. Nothing here raises
into the caller, waits for the network, or imports more than the standard library and msgspec: the append is
the acknowledgement. A thread of its own looks after the bridge once a second.

After a fork the child forgets the parent's files and opens its own at the first append.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref

from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.errors import JournalError, JournalFull
from otel_wandb.fronts import FrontCounters
from otel_wandb.journal import JournalWriter, Kind, Signal
from otel_wandb.keeper import Keeper, MemoryKeeper, open_keeper
from otel_wandb.memory import MemoryJournal

_log = logging.getLogger("otel_wandb.front")

_HOUSEKEEPING_S = 1.0
_COMPLAIN_EVERY_S = 60.0
_FLUSH_POLL_S = 0.05


class Front:
    """Takes payloads and acknowledges them once they are in the journal. Thread-safe and fork-safe."""

    _journal: JournalWriter | MemoryJournal
    _keeper: Keeper
    _counters: FrontCounters
    _used: bool
    _closed: bool
    _lock: threading.Lock
    _stop: threading.Event
    _thread: threading.Thread | None

    def __init__(self, settings: Settings, data_dir: DataDir) -> None:
        self.users = 0
        self._settings = settings
        self._data_dir = data_dir
        self._digest = settings.digest
        self._complained_s: dict[str, float] = {}
        self._open()
        self._reset()
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    @property
    def durable(self) -> bool:
        """Whether what is acknowledged survives a SIGKILL of this process."""
        return isinstance(self._journal, JournalWriter)

    def append(self, payload: bytes | bytearray, *, kind: Kind, items: int) -> bool:
        """True once the payload is in the journal; False where it was refused: counted, and logged."""
        try:
            self._journal.append(payload, kind=kind, items=items, config=self._digest)
        except JournalFull as error:
            self.refuse(kind.signal, items, reason="journal_full", why=str(error))
            return False
        except (JournalError, OSError) as error:
            self.refuse(kind.signal, items, reason="journal_unusable", why=str(error))
            return False
        if not self._used:
            self._used = True
            self._counters.open()  # in a forked child: the bridge must see that this front lives
        self._start_housekeeping()
        return True

    def refuse(self, signal: Signal | None, items: int, *, reason: str, why: str) -> None:
        """Count items as dropped for the reason, and say so, at most once a minute a reason."""
        if signal is None:
            return
        self._counters.add(signal, "dropped", reason, items)
        now_s = time.monotonic()
        if now_s - self._complained_s.get(reason, -_COMPLAIN_EVERY_S) >= _COMPLAIN_EVERY_S:
            self._complained_s[reason] = now_s
            _log.warning("%d %s were not accepted (%s): %s", items, signal, reason, why)

    def reject(self, signal: Signal, items: int, *, reason: str) -> None:
        """Count items that could not be read at all."""
        self._counters.add(signal, "rejected", reason, items)

    def flush(self, timeout_s: float) -> bool:
        """True when all that this process appended so far was delivered or, offline, stored."""
        if not self._used:
            return True
        token = os.urandom(16)
        deadline_s = time.monotonic() + timeout_s
        try:
            self._journal.append(token, kind=Kind.FLUSH, items=0, config=self._digest)
            while not self._keeper.flush_settled(token):
                if time.monotonic() >= deadline_s:
                    return False
                self._keeper.tend()
                time.sleep(_FLUSH_POLL_S)
        except (JournalError, OSError) as error:
            _log.warning("The flush could not be asked for: %s", error)
            return False
        return True

    def close(self, timeout_s: float) -> None:
        """Wait for the bridge up to the time-out, say in one line what is left, and let the files go."""
        if self._closed:
            return
        self._closed = True
        if not self.flush(timeout_s):
            _log.warning(
                "Not everything was delivered within %g s. %s",
                timeout_s,
                f"The rest waits in {self._data_dir.path}; the bridge goes on, or the next start does."
                if self.durable
                else "It was only in memory and is lost.",
            )
        self._stop.set()
        self._journal.close()
        self._counters.close()
        self._keeper.close()

    def _open(self) -> None:
        writer_id = _new_writer_id()
        unusable = self._prepare_directory()
        if unusable:
            _log.warning(
                "%s: %s. Telemetry is kept in memory only (durable: no) and is lost with this process; "
                "set OTEL_WANDB_DIR to a writable local directory.",
                self._data_dir.path,
                unusable,
            )
            memory = MemoryJournal(writer_id=writer_id)
            self._journal = memory
            self._counters = FrontCounters(None, writer_id=writer_id)
            self._keeper = MemoryKeeper(memory, self._settings)
            return
        settings = self._settings
        self._journal = JournalWriter(
            self._data_dir.journal,
            writer_id=writer_id,
            fsync=settings.fsync,
            fsync_interval_s=settings.fsync_interval_s,
            segment_bytes=settings.segment_bytes,
            limit_bytes=settings.journal_limit_bytes,
            limit_disk_share=settings.journal_disk_share,
        )
        self._counters = FrontCounters(self._data_dir.fronts, writer_id=writer_id)
        self._keeper = open_keeper(self._data_dir, settings)

    def _prepare_directory(self) -> str | None:
        try:
            self._data_dir.create()
            unusable = self._data_dir.writable()
            if not unusable:
                sync = self._settings.fsync != "never"
                self._data_dir.write_config(self._settings.to_json(), self._digest, sync=sync)
        except OSError as error:
            return f"it cannot be used ({error.strerror or error})"
        return unusable

    def _reset(self) -> None:
        self._used = False
        self._closed = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = None

    def _after_fork(self) -> None:
        closed = self._closed
        self._reset()
        self._closed = closed
        writer_id = _new_writer_id()
        self._journal.forget(writer_id)
        self._counters.forget(writer_id)
        self._keeper = self._keeper.for_child()

    def _start_housekeeping(self) -> None:
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._housekeep, name="otel-wandb-front", daemon=True)
                self._thread.start()

    def _housekeep(self) -> None:
        stop = self._stop
        while not stop.is_set():
            try:
                self._keeper.tend()
            except Exception:  # noqa: BLE001  a failing look-after must not end the looking-after
                _log.exception("Looking after the bridge failed; the next try follows.")
            stop.wait(_HOUSEKEEPING_S)


_fronts: dict[tuple[str, str], Front] = {}
_fronts_lock = threading.Lock()


def open_front(settings: Settings, data_dir: DataDir) -> Front:
    """The process's front for this directory and these settings; give it back with `release_front`."""
    key = (str(data_dir.path), settings.digest)
    with _fronts_lock:
        front = _fronts.get(key)
        if front is None:
            front = _fronts[key] = Front(settings, data_dir)
        front.users += 1
        return front


def release_front(front: Front, *, timeout_s: float) -> None:
    """Give the front back; the last user closes it, waiting up to the time-out for the bridge."""
    with _fronts_lock:
        front.users -= 1
        if front.users > 0:
            return
        for key in [key for key, known in _fronts.items() if known is front]:
            del _fronts[key]
    front.close(timeout_s)


def _renew_lock() -> None:
    global _fronts_lock  # noqa: PLW0603  the parent may have held it at the moment of the fork
    _fronts_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _new_writer_id() -> str:
    return f"{os.getpid():x}x{os.urandom(6).hex()}"
