"""What finishes what the fronts acknowledged: one for each data directory.

A bridge is a drain (journal to store) and a delivery (store to W&B), which know nothing of each other, and
the life around them: threads, heartbeat, and when to end. It runs as a process (`bridge_process`) or, in
tests and in memory mode, as a thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from otel_wandb import __version__
from otel_wandb.config import Settings
from otel_wandb.conversion_pool import ConversionPool
from otel_wandb.datadir import BridgeInfo, BridgeLock, DataDir
from otel_wandb.delivery.alerts import AlertDelivery
from otel_wandb.delivery.wandb import WandbDelivery
from otel_wandb.delivery.weave import DeliveryProgress, WeaveDelivery
from otel_wandb.dialects import load_dialects
from otel_wandb.drain import Drain, Source
from otel_wandb.errors import StoreError
from otel_wandb.fronts import read_fronts
from otel_wandb.journal import JournalReader
from otel_wandb.ledger import MAPPING_WARNINGS
from otel_wandb.memory import MemoryJournal
from otel_wandb.store import Store
from otel_wandb.stored_settings import StoredSettings
from otel_wandb.view_answers import AnswerBox

_log = logging.getLogger("otel_wandb.bridge")

_POLL_S = 0.1
_HEARTBEAT_S = 1.0
_RETRY_S = 5.0
_ALONE_S = 2.0


class Delivery(Protocol):
    """A way from the store to W&B. All of it may be called from any thread."""

    @property
    def offline(self) -> bool:
        """Whether nothing can be sent for want of a key, or by the user's wish."""
        ...

    def wake(self) -> None:
        """Look at the store now: something was added."""
        ...

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set."""
        ...

    def deliver_due(self, *, deadline_s: float | None) -> DeliveryProgress:
        """Deliver until nothing is left that can be, or the time is up."""
        ...

    def hurry(self) -> None:
        """Send what waits without waiting for more: the end is near."""
        ...

    def sentence(self) -> str:
        """What it is at, and what the user has to do where something hinders it."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


class Bridge:
    """Drain and deliveries of one directory. `step` and `run` belong to one thread; the rest is for any."""

    def __init__(
        self,
        *,
        source: Source,
        store: Store,
        settings: Settings,
        data_dir: DataDir | None = None,
        lock: BridgeLock | None = None,
        replay: bool = False,
        deliver: bool = True,
        pool: ConversionPool | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._store = store
        self._settings = settings
        self._lock = lock
        self._stored_settings = StoredSettings(data_dir, settings)
        self._deliveries: list[Delivery] = []
        self._alerts: AlertDelivery | None = None
        if deliver:
            self._deliveries.append(WeaveDelivery(store, settings_of=self.settings_of))
            self._deliveries.append(WandbDelivery(store, settings_of=self.settings_of))
            self._alerts = AlertDelivery(store, settings_of=self.settings_of)
            self._deliveries.append(self._alerts)  # after the rows: an alert of W&B needs its run
        dialects = load_dialects()
        self._count_broken(dialects.broken)
        self._drain = Drain(
            source,
            store,
            settings,
            settings_of=self.settings_of,
            waits_for_delivery=lambda: not self._offline,
            replay=replay,
            reader=dialects.reader,
            answers=AnswerBox(data_dir.answers) if data_dir and not replay else None,
            pool=pool,
        )
        self._pool = pool
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._delivery_threads: list[threading.Thread] = []
        self._info = BridgeInfo.now(version=__version__)
        self._heartbeat_s = 0.0
        self._read_bytes = 0
        self._rate = 0.0
        self._busy_s = time.monotonic()

    @property
    def running(self) -> bool:
        """Whether the thread that `start` made is alive."""
        return self._thread is not None and self._thread.is_alive()

    def settings_of(self, digest: str) -> Settings:
        """The settings that a frame names; this bridge's own where their document is gone."""
        return self._stored_settings.find(digest)

    def step(self) -> bool:
        """Take one chunk of the journal to the store; False when there was nothing to read, or no room.

        A store that cannot be written to (its disk is full) leaves everything as it was before the chunk.
        """
        try:
            if not self._drain.has_room():
                limit_mib = self._settings.store_limit_bytes >> 20
                _log.warning("The store holds %d MiB that are not delivered; the journal waits.", limit_mib)
                self._stop.wait(_RETRY_S)
                return False
            busy = self._drain.step()
        except StoreError as error:
            _log.warning("The store cannot be written to: %s. Nothing is lost; the next try follows.", error)
            self._stop.wait(_RETRY_S)
            self._drain.restore()
            return False
        if busy:
            for delivery in self._deliveries:
                delivery.wake()
        return busy

    def finish_input(self) -> None:
        """Read what is there, and finish every open trace: nothing more will come (replay)."""
        self._drain.finish_input()

    def backlog_bytes(self) -> int:
        """How much of the journal is not read yet."""
        return self._drain.unread_bytes()

    def locate_run(self, service: str, time_ns: int) -> str:
        """The id of the run whose charts contain what the service measured then."""
        return self._drain.locate_run(service, time_ns)

    def deliver_due(self, deadline_s: float) -> str:
        """Deliver until nothing waits or the time is up; why something still waits, else empty."""
        end_s = time.monotonic() + deadline_s
        problems = []
        for delivery in self._deliveries:
            progress = delivery.deliver_due(deadline_s=max(0.0, end_s - time.monotonic()))
            if progress.left:
                late = f"{progress.left} items still wait after {deadline_s:g} s"
                problems.append(progress.problem or late)
        return "; ".join(problems)

    def flush_settled(self, token: bytes) -> bool:
        """Whether all that was appended before the flush frame was delivered or, offline, stored."""
        return bool(self._store.reader.flush_settled(token))

    def start(self) -> None:
        """Run as a daemon thread of this process."""
        self._thread = threading.Thread(target=self.run, name="otel-wandb-bridge", daemon=True)
        self._thread.start()

    def run(self, *, ends: Callable[[Bridge], bool] = lambda _: False) -> None:
        """Work until `close` is called or `ends` says so; a failure is logged, and the work taken up anew."""
        self._start_delivery()
        while not self._stop.is_set():
            if self.data_dir is not None and not self.data_dir.lock_file.exists():
                break  # the directory was removed, and with it all that there was to do
            try:
                self._beat()
                busy = self.step()
            except Exception:  # noqa: BLE001  whatever it was, the journal still has everything
                _log.exception("The bridge stumbled; it takes up its last position in %g s.", _RETRY_S)
                self._stop.wait(_RETRY_S)
                self._drain.restore()
                continue
            if busy:
                self._busy_s = time.monotonic()
            if ends(self):
                break
            if not busy:
                self._stop.wait(_POLL_S)

    def close(self) -> None:
        """Stop both threads, close the store, release the directory."""
        self._stop.set()
        for thread in (self._thread, *self._delivery_threads):
            if thread is not None and thread is not threading.current_thread():
                thread.join()
        for delivery in self._deliveries:
            delivery.close()
        if self._pool is not None:
            self._pool.close()
        self._store.close()
        if self._lock is not None:
            self._lock.release()

    def hurry(self) -> None:
        """Let the deliveries send what waits without waiting for more."""
        for delivery in self._deliveries:
            delivery.hurry()

    def is_drained(self) -> bool:
        """Whether all of the journal is in the store, and nothing waits for delivery."""
        return not self._drain.unread_bytes() and self.is_delivered()

    def has_fronts(self) -> bool:
        """Whether a process of our version or older still appends here."""
        return self.data_dir is not None and any(
            front.alive and _release(front.version) <= _release(__version__)
            for front in read_fronts(self.data_dir.fronts)
        )

    def is_delivered(self) -> bool:
        """Whether nothing waits for delivery; offline, all that is stored counts as delivered."""
        reader = self._store.reader
        if self._alerts is not None and self._alerts.waits:
            return False
        return self._offline or (
            reader.outbox_empty() and not reader.waiting_rows() and not reader.feedback.waiting()
        )

    def is_alone(self) -> bool:
        """True when no front is left and nothing is open, unread or undelivered: the process may end.

        What waits for the end of an hour is given out first, a few times an hour.
        """
        if time.monotonic() - self._busy_s < _ALONE_S or self.has_fronts():
            return False
        if self._drain.open_items or not self.is_drained():
            return False
        try:
            if not self._drain.finish_rows():
                return True
        except StoreError as error:
            _log.warning("The last tables cannot be stored: %s. They come after the next start.", error)
            self._drain.restore()
            return True
        for delivery in self._deliveries:
            delivery.wake()
        return False

    @property
    def _offline(self) -> bool:
        return all(delivery.offline for delivery in self._deliveries)

    def _beat(self) -> None:
        now_s = time.monotonic()
        if self.data_dir is None or now_s - self._heartbeat_s < _HEARTBEAT_S:
            return
        read_bytes, passed_s = self._drain.read_bytes - self._read_bytes, now_s - self._heartbeat_s
        self._rate = 0.9 * self._rate + 0.1 * read_bytes * 60 / max(_HEARTBEAT_S, passed_s)
        self._heartbeat_s, self._read_bytes = now_s, self._drain.read_bytes
        self._info = self._info.beat(doing=self._doing(), read_bytes_per_min=round(self._rate, 1))
        self.data_dir.write_bridge_info(self._info)
        for front in read_fronts(self.data_dir.fronts):
            if not front.alive:
                with self._store.transaction() as tx:
                    tx.fold_front(front.name, front.counts)
                (self.data_dir.fronts / front.name).unlink(missing_ok=True)

    def _doing(self) -> str:
        doing = [f"{self._drain.open_traces} traces open"]
        doing += [sentence for delivery in self._deliveries if (sentence := delivery.sentence())]
        return "; ".join(dict.fromkeys(doing))

    def _count_broken(self, names: Iterable[str]) -> None:
        for name in names:
            with contextlib.suppress(StoreError), self._store.transaction() as tx:
                tx.add_count(MAPPING_WARNINGS, name, 1, "dialect_not_loaded")

    def _start_delivery(self) -> None:
        if self._delivery_threads:
            return
        for delivery in self._deliveries:
            thread = threading.Thread(
                target=delivery.run, args=(self._stop,), name="otel-wandb-delivery", daemon=True
            )
            self._delivery_threads.append(thread)
            thread.start()


def open_bridge(
    data_dir: DataDir, settings: Settings, *, replay: bool = False, deliver: bool = True, processes: int = 0
) -> Bridge:
    """A bridge that holds the directory's lock; `BridgeRunning` where another one does.

    It converts in so many processes beside its own; replay needs none.
    """
    lock = data_dir.lock()
    try:
        store = Store.open(data_dir.store, fsync=settings.fsync, quarantine=data_dir.quarantine)
        if store.recovered:
            _log.warning("The store was damaged: %s", store.recovered)
        return Bridge(
            source=JournalReader(data_dir.journal, quarantine=data_dir.quarantine),
            store=store,
            settings=settings,
            data_dir=data_dir,
            lock=lock,
            replay=replay,
            deliver=deliver,
            pool=ConversionPool(data_dir, settings, processes) if processes else None,
        )
    except BaseException:
        lock.release()
        raise


def open_memory_bridge(journal: MemoryJournal, settings: Settings) -> Bridge:
    """A bridge over a journal and a store in memory: what it holds dies with the process."""
    return Bridge(source=journal, store=Store.open(None), settings=settings)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
