"""Delivers what the store holds to Weave: every call once, however often the server, the network or we fail.

Each project has its own lane, so a slow or refusing one holds up no other. The loop decides, short-lived
threads carry out; `deliver_due` drives the same lanes from the caller's thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from otel_wandb.delivery.cargo import CallCargo, ItemT, Place
from otel_wandb.delivery.courier import Courier
from otel_wandb.delivery.credentials import WeaveTarget
from otel_wandb.delivery.feedback import FeedbackCargo
from otel_wandb.delivery.lanes import Block, Lane, Limits
from otel_wandb.delivery.pacing import Pace
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.delivery.weave_prices import Errand, WeavePrices
from otel_wandb.errors import ConfigError, CredentialError
from otel_wandb.settings import Settings
from otel_wandb.store import QueuedCall, QueuedFeedback, Store, Transaction

_log = logging.getLogger("otel_wandb.delivery")

AnyLane: TypeAlias = Lane[QueuedCall] | Lane[QueuedFeedback]

_POLL_S: Final = 0.25
_SHORTEST_S: Final = 0.005
_TARGET_AGE_S: Final = 1.0
_STEPS_AT_ONCE: Final = 16
_LEAVE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class DeliveryProgress:
    """What `deliver_due` has done, and what is left."""

    delivered: int
    rejected: int
    waiting: int
    problem: str
    """Why something is left, and what to do about it; empty where nothing hinders."""
    feedback_delivered: int = 0
    """Scores are counted by themselves: they follow the calls that they are about."""
    feedback_rejected: int = 0
    feedback_waiting: int = 0

    @property
    def left(self) -> int:
        """How much waits, of whatever kind."""
        return self.waiting + self.feedback_waiting


@dataclass(frozen=True, slots=True)
class _Found:
    at_s: float
    target: WeaveTarget | None
    problem: str


class WeaveDelivery:
    """The way from the store to Weave. All methods may be called from any thread."""

    def __init__(
        self,
        store: Store,
        *,
        settings_of: Callable[[str], Settings],
        environ: Mapping[str, str] = os.environ,
        pace: Pace | None = None,
        requests_a_project: int = 2,
    ) -> None:
        self._store = store
        self._settings_of = settings_of
        self._environ = environ
        self._pace = pace or Pace()
        self._requests = requests_a_project
        self._lock = threading.Lock()
        self._courier = Courier(store, self._lock)
        self._lanes: dict[int, Lane[QueuedCall]] = {}
        self._feedback_lanes: dict[int, Lane[QueuedFeedback]] = {}
        self._calls, self._feedback = CallCargo(self._note_prices), FeedbackCargo()
        self._prices = WeavePrices(store.reader.states(), self._pace, store.bridge_id)
        self._found: dict[str, _Found] = {}
        self._clients: dict[tuple[object, ...], WeaveClient] = {}
        self._threads: set[threading.Thread] = set()
        self._wake = threading.Event()
        self._closed = False

    @property
    def offline(self) -> bool:
        """Whether nothing can be sent for want of a key, or by the user's wish. Takes no lock.

        Before anything was stored, the settings that `settings_of("")` gives decide.
        """
        now_s = time.monotonic()
        found = [self._find(c, now_s) for c in {lane.config for lane in list(self._lanes.values())} or {""}]
        return all(one.target is not None and one.target.offline != "" for one in found)

    def wake(self) -> None:
        """Look at the outbox now: calls were added."""
        self._wake.set()

    def hurry(self) -> None:
        """Look at the outbox now: nothing here waits for more."""
        self.wake()

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set; returns within a fraction of a second then, whatever is under way."""
        while not stop.is_set() and not self._closed:
            try:
                next_at_s = self._start_steps()
            except Exception:  # noqa: BLE001  a store that is busy or broken; the thread must go on
                _log.exception("Delivery stumbled; it goes on in a second")
                next_at_s = time.monotonic() + 1.0
            self._sleep(next_at_s, time.monotonic() + _POLL_S)

    def deliver_due(self, *, deadline_s: float | None) -> DeliveryProgress:
        """Deliver until nothing is left that can be, waiting out what a server asks for; then tell.

        Returns early where only the user can help (offline, refused) or where the next attempt is due
        after the deadline. None: no deadline.
        """
        end_s = None if deadline_s is None else time.monotonic() + deadline_s
        self._found.clear()  # a key may have been set a moment ago
        before = self._totals()
        while not self._closed:
            next_at_s = self._start_steps()
            now_s = time.monotonic()
            if end_s is not None and now_s >= end_s:
                break
            nothing_due = next_at_s is None or (end_s is not None and next_at_s > end_s)
            if nothing_due and not self._is_busy(now_s):
                break
            self._sleep(next_at_s, now_s + _POLL_S if end_s is None else min(end_s, now_s + _POLL_S))
        done = [after - earlier for after, earlier in zip(self._totals(), before, strict=True)]
        return DeliveryProgress(
            delivered=done[0],
            rejected=done[1],
            waiting=self._store.reader.outbox_size(),
            problem="; ".join(sorted({_problem_of(lane) for lane in self._all_lanes()} - {""})),
            feedback_delivered=done[2],
            feedback_rejected=done[3],
            feedback_waiting=self._store.reader.feedback.waiting(),
        )

    def state(self) -> dict[str, object]:
        """What each project's delivery is at, as plain data for `status`."""
        now_s = time.monotonic()
        with self._lock:
            return {
                "offline": self.offline,
                "destinations": [_describe(lane, now_s) for lane in self._lanes.values()],
                "feedback": [_describe(lane, now_s) for lane in self._feedback_lanes.values()],
                "prices": self._prices.state(),
            }

    def sentence(self) -> str:
        """What the delivery is at, in words, and what the user has to do where something hinders it."""
        lanes = self._all_lanes()
        problems = sorted({f"{lane.project}: {problem}" for lane in lanes if (problem := _problem_of(lane))})
        if problems:
            return "; ".join(problems)
        return "offline" if self.offline else f"delivering to {len(self._lanes)} projects"

    def close(self) -> None:
        """Let go of the store; requests under way are abandoned after two seconds and read back next time."""
        self._closed = True
        self._wake.set()
        end_s = time.monotonic() + _LEAVE_S
        for thread in list(self._threads):
            thread.join(max(0.0, end_s - time.monotonic()))
        self._courier.close()
        if not self._threads:
            self._close_clients()

    def _start_steps(self) -> float | None:
        """Start all that may be done now; the time when something is due by itself."""
        now_s = time.monotonic()
        reader = self._store.reader
        destinations = reader.destinations()
        scored = reader.feedback.waiting_destinations()
        seed = self._store.bridge_id
        with self._lock:
            for destination in destinations:
                if destination.id not in self._lanes:
                    self._lanes[destination.id] = Lane.to(destination, self._calls, self._pace, seed)
                if destination.id in scored and destination.id not in self._feedback_lanes:
                    lane = Lane.to(destination, self._feedback, self._pace, f"{seed}/feedback")
                    self._feedback_lanes[destination.id] = lane
        starts = [self._start(lane, now_s) for lane in list(self._lanes.values())]
        starts += [self._start(lane, now_s) for lane in list(self._feedback_lanes.values())]
        for priced in list(self._lanes.values()):
            self._start_prices(priced, now_s)
        return min((at_s for at_s in starts if at_s is not None), default=None)

    def _start(self, lane: Lane[ItemT], now_s: float) -> float | None:
        """Start what the lane may do now; the time when something is due there by itself."""
        found = self._find(lane.config, now_s)
        with self._lock:
            _set_block(lane, found, now_s)
            if found.target is not None and lane.block is None:
                self._start_lane(lane, found.target, now_s)
            return lane.next_at_s(now_s)

    def _all_lanes(self) -> list[AnyLane]:
        return [*list(self._lanes.values()), *list(self._feedback_lanes.values())]

    def _totals(self) -> tuple[int, int, int, int]:
        calls, feedback = list(self._lanes.values()), list(self._feedback_lanes.values())
        return (
            sum(lane.delivered for lane in calls),
            sum(lane.rejected for lane in calls),
            sum(lane.delivered for lane in feedback),
            sum(lane.rejected for lane in feedback),
        )

    def _start_lane(self, lane: Lane[ItemT], target: WeaveTarget, now_s: float) -> None:
        settings = self._settings_of(lane.config)
        try:
            client = self._client(target, settings.request_timeout_s)
        except (OSError, ValueError) as error:  # a proxy or a certificate file that is none
            lane.refuse(f"connections cannot be set up: {error}", now_s, target.api_key)
            return
        lane.default_entity = target.entity
        limits = Limits(
            calls=settings.max_batch_calls,
            size_bytes=settings.max_batch_bytes,
            requests=self._requests,
            settle_s=settings.settle_s,
        )
        while len(self._threads) < _STEPS_AT_ONCE and not self._closed and target.api_key is not None:
            step = lane.next_step(self._store.reader, now_s, limits)
            if step is None:
                break
            self._start_thread(self._courier.carry_out, lane, step, client, target.api_key, limits)

    def _is_busy(self, now_s: float) -> bool:
        """Whether a step is under way, or a price can be written that was not tried in vain a moment ago."""
        priced = [lane.id for lane in list(self._lanes.values()) if lane.entity and not lane.block]
        return (
            any(lane.busy for lane in self._all_lanes())
            or self._prices.busy
            or any(self._prices.is_due(destination, now_s) for destination in priced)
        )

    def _note_prices(self, tx: Transaction, to: Place, bodies: Sequence[bytes]) -> None:
        self._prices.note(tx, to.destination, self._settings_of(to.config).prices, bodies)

    def _start_prices(self, lane: Lane[QueuedCall], now_s: float) -> None:
        """Write what the project lacks of our own prices; it exists, since calls were sent to it."""
        target = self._find(lane.config, now_s).target
        if target is None or target.api_key is None or lane.block or not lane.entity:
            return
        settings = self._settings_of(lane.config)
        client = self._client(target, settings.request_timeout_s)
        wishes = () if self._closed else self._prices.take(lane.id, now_s)
        if not wishes:
            return
        errand = Errand(lane.id, lane.project_id, settings.prices)
        self._start_thread(self._prices.carry_out, errand, wishes, client, target.api_key, self._courier)

    def _start_thread(self, work: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            try:
                work(*arguments)
            finally:
                self._threads.discard(threading.current_thread())
                self._wake.set()
                if self._closed and not self._threads:
                    self._close_clients()

        thread = threading.Thread(target=run, name="otel-wandb-weave", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _close_clients(self) -> None:
        # Only once no thread reads any more: closing a socket under a reader would let it read another file.
        for client in list(self._clients.values()):
            client.close()

    def _client(self, target: WeaveTarget, timeout_s: float) -> WeaveClient:
        where = (target.base_url, target.trace_url, target.proxy, target.verify_tls, timeout_s)
        if where not in self._clients:
            self._clients[where] = WeaveClient(target, timeout_s=timeout_s)
        return self._clients[where]

    def _find(self, config: str, now_s: float) -> _Found:
        """Where Weave is, looked up anew each second, so that a key may rotate."""
        found = self._found.get(config)
        if found is None or now_s - found.at_s >= _TARGET_AGE_S:
            try:
                found = _Found(now_s, WeaveTarget.find(self._settings_of(config), self._environ), "")
            except (ConfigError, CredentialError, OSError) as error:
                found = _Found(now_s, None, str(error))
            self._found[config] = found
        return found

    def _sleep(self, *until_s: float | None) -> None:
        wait_s = min(at_s for at_s in until_s if at_s is not None) - time.monotonic()
        if self._wake.wait(max(_SHORTEST_S, wait_s)):
            self._wake.clear()


def _set_block(lane: Lane[ItemT], found: _Found, now_s: float) -> None:
    """Bar the lane where nothing can be sent, and open it again where that has changed."""
    before = lane.block
    if found.target is None:
        lane.block = Block("unusable", found.problem)
    elif found.target.offline:
        lane.block = Block("offline", found.target.offline)
    elif before and (
        before.kind != "refused" or now_s >= before.again_at_s or before.key != found.target.api_key
    ):
        lane.block = None
    if lane.block and lane.block != before:
        level = logging.INFO if lane.block.kind == "offline" else logging.WARNING
        _log.log(level, "Nothing is sent to the project %s: %s", lane.project, lane.block.reason)


def _problem_of(lane: AnyLane) -> str:
    return lane.block.reason if lane.block else lane.problem


def _describe(lane: AnyLane, now_s: float) -> dict[str, object]:
    next_at_s = lane.block.again_at_s if lane.block else lane.next_at_s(now_s)
    waiting = "waiting" if lane.problem else "delivering"
    return {
        "entity": lane.entity,
        "project": lane.project,
        "state": lane.block.kind if lane.block else waiting,
        "problem": _problem_of(lane),
        "next_attempt_in_s": round(max(0.0, next_at_s - now_s), 1) if next_at_s else None,
        "delivered": lane.delivered,
        "rejected": lane.rejected,
        "requests": lane.flying,
        "unconfirmed": lane.held_calls,
    }
