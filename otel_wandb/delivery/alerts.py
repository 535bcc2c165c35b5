"""Brings alerts to people: each once on each of its routes, and none that is late.

A route of a project is a lane of its own, in which alerts go out one after the other, so that one that hangs
or refuses holds up neither another one nor a row. The store knows what waits and what was begun: after a kill
an alert is sent again in the same bytes under the same id. How each way is made safe against that repeat is
told by its carrier; a line of the log may be there twice where the kill falls between it and the commit.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from otel_wandb.alerts.plan import DEFAULT_PLAN, LOG, WANDB, Plan, Route
from otel_wandb.alerts.reading import parse_plan
from otel_wandb.delivery.alert_carriers import (
    Carrier,
    NotYet,
    WandbCarrier,
    WebhookCarrier,
    find_link,
    write_log,
)
from otel_wandb.delivery.courier import Closed, Courier
from otel_wandb.delivery.pacing import Backoff, Pace
from otel_wandb.delivery.weave import DeliveryProgress
from otel_wandb.errors import (
    ConfigError,
    CredentialError,
    DeliveryError,
    DeliveryPermanent,
    DeliveryRetryable,
)
from otel_wandb.settings import Settings
from otel_wandb.store import QueuedAlert, Store

_log = logging.getLogger("otel_wandb.delivery")

_PACE: Final = Pace(first_s=1.0, most_s=60.0)
_POLL_S: Final = 1.0
_SHORTEST_S: Final = 0.005
_LEAVE_S: Final = 2.0
_LOOK_AGAIN_S: Final = 2.0

_LaneKey = tuple[str, str, str]
"""Route, settings, project."""


@dataclass(slots=True)
class _Lane:
    """What is known of a route of a project."""

    backoff: Backoff
    retry_at_s: float = 0.0
    problem: str = ""
    thread: threading.Thread | None = None


class _Trip(NamedTuple):
    """An alert with all that is needed to send it."""

    alert: QueuedAlert
    route: Route
    settings: Settings


class AlertDelivery:
    """The way from the store's alerts to people. All methods may be called from any thread.

    `clock` tells the Unix time: whether an alert is late is asked when it would be sent.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings_of: Callable[[str], Settings],
        environ: Mapping[str, str] = os.environ,
        pace: Pace = _PACE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._settings_of = settings_of
        self._environ = environ
        self._pace = pace
        self._clock = clock
        self._lock = threading.Lock()
        self._courier = Courier(store, threading.Lock())
        self._wandb = WandbCarrier(self._courier, environ)
        self._webhook = WebhookCarrier(environ)
        self._plans: dict[str, Plan] = {"": DEFAULT_PLAN}
        self._lanes: dict[_LaneKey, _Lane] = {}
        self._logged: set[int] = set()
        self._wake = threading.Event()
        self._closed = False

    @property
    def offline(self) -> bool:
        """True: whether W&B can be reached is for what waits for W&B to tell. See `waits`."""
        return True

    @property
    def waits(self) -> bool:
        """Whether an alert waits that can be sent, now or when a route works again."""
        return any(not self._is_offline(trip) for trip in self._trips()[0])

    def wake(self) -> None:
        """Look at the alerts now: some were added."""
        self._wake.set()

    def hurry(self) -> None:
        """Look at the alerts now: nothing here waits for more."""
        self.wake()

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set; returns within a fraction of a second then, whatever is under way."""
        while not stop.is_set() and not self._closed:
            try:
                next_at_s, _ = self._start_due()
            except Closed:
                return
            except Exception:  # noqa: BLE001  a store that is busy or broken; the thread must go on
                _log.exception("The delivery of alerts stumbled; it goes on in a second")
                next_at_s = time.monotonic() + 1.0
            self._sleep(next_at_s, time.monotonic() + _POLL_S)

    def deliver_due(self, *, deadline_s: float | None) -> DeliveryProgress:
        """Deliver until nothing is left that can be, trying again meanwhile; then tell.

        None for the deadline: try each once.
        """
        end_s = time.monotonic() + (deadline_s or 0.0)
        before = self._totals()
        while not self._closed:
            next_at_s, busy = self._start_due()
            if not busy and (next_at_s is None or next_at_s > end_s):
                break
            if deadline_s is not None and time.monotonic() >= end_s:
                break
            self._sleep(next_at_s, time.monotonic() + _POLL_S)
        after = self._totals()
        return DeliveryProgress(
            delivered=after[0] - before[0],
            rejected=after[1] - before[1],
            waiting=sum(not self._is_offline(trip) for trip in self._trips()[0]),
            problem="; ".join(self._problems()),
        )

    def sentence(self) -> str:
        """What hinders alerts, in words; empty where nothing does."""
        return "; ".join(self._problems())

    def close(self) -> None:
        """Let go of the store; what is under way is abandoned after two seconds, and sent again next time."""
        self._closed = True
        self._wake.set()
        end_s = time.monotonic() + _LEAVE_S
        threads = [lane.thread for lane in list(self._lanes.values()) if lane.thread is not None]
        for thread in threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        self._courier.close()
        if not any(thread.is_alive() for thread in threads):
            self._wandb.close()

    def _totals(self) -> tuple[int, int]:
        counts = self._store.reader.counts()
        found = [(outcome, n) for (signal, outcome, _), n in counts.items() if signal == "alerts"]
        return (
            sum(n for outcome, n in found if outcome == "delivered"),
            sum(n for outcome, n in found if outcome == "rejected"),
        )

    def _problems(self) -> list[str]:
        problems = {lane.problem for lane in list(self._lanes.values())}
        return sorted(f"alerts wait: {problem}" for problem in problems - {""})

    def _trips(self) -> tuple[list[_Trip], list[int]]:
        """What waits, and what of it has no route any more."""
        trips, gone = [], []
        for alert in self._store.reader.alerts.waiting():
            settings = self._settings_of(alert.config)
            route = self._plan(settings).route(alert.route)
            if route is None:
                gone.append(alert.id)
            else:
                trips.append(_Trip(alert, route, settings))
        return trips, gone

    def _start_due(self) -> tuple[float | None, bool]:
        """Start what is due; when the next thing is, and whether anything is under way."""
        with self._lock:
            # Before the store is asked: what is settled in between is not to be sent once more.
            busy = {key for key, lane in self._lanes.items() if lane.thread is not None}
            trips, gone = self._trips()
            heads: dict[_LaneKey, _Trip] = {}
            late = []
            for trip in trips:
                key = (trip.route.name, trip.alert.config, trip.alert.project)
                if key in busy or key in heads:
                    continue
                if self._clock() - trip.alert.time_s >= self._plan(trip.settings).late_s:
                    late.append(trip.alert.id)
                else:
                    heads[key] = trip
            self._drop(gone, "route_gone")
            self._drop(late, "late")
            for key in self._lanes.keys() - heads.keys() - busy:
                del self._lanes[key]
            times = [at_s for key, trip in heads.items() if (at_s := self._start(self._lane(key), trip))]
            under_way = any(lane.thread is not None for lane in self._lanes.values())
        return min(times, default=None), under_way

    def _start(self, lane: _Lane, trip: _Trip) -> float | None:
        """Start the first alert of a lane if it is due; when it is, if that is by itself."""
        now_s = time.monotonic()
        if self._closed or self._is_offline(trip):
            return None
        if now_s < lane.retry_at_s:
            return lane.retry_at_s
        if trip.alert.state == "recovered":
            fate = self._store.reader.alerts.fate_of_firing(trip.alert)
            if fate == "waiting":  # under the settings before a deploy, in another lane
                return now_s + _POLL_S
            if fate != "delivered":
                self._drop([trip.alert.id], "unannounced")
                return now_s
        if trip.route.name == LOG:
            with self._courier.transaction() as tx:
                tx.alerts.settle([trip.alert.id], "delivered")
                if trip.alert.id not in self._logged:  # else the commit failed, and this is the next try
                    write_log(trip.alert, find_link(trip.alert, trip.settings, self._environ))
                    self._logged.add(trip.alert.id)
            self._logged.discard(trip.alert.id)
            return now_s
        lane.thread = threading.Thread(
            target=self._carry_out, args=(lane, trip), name="otel-wandb-alerts", daemon=True
        )
        lane.thread.start()
        return None

    def _carry_out(self, lane: _Lane, trip: _Trip) -> None:
        try:
            self._send(trip)
            lane.problem, lane.retry_at_s = "", 0.0
            lane.backoff.reset()
        except Closed:
            pass
        except Exception as error:  # noqa: BLE001  a full disk, a mistake of ours: the store knows where we are
            self._fail(lane, trip, error)
        finally:
            lane.thread = None
            self._wake.set()

    def _send(self, trip: _Trip) -> None:
        alert, route, settings = trip
        carrier = self._carrier(route)
        body = carrier.prepare(alert, settings) if alert.body is None else alert.body
        now_s = self._clock()
        again_s = None if alert.first_attempt_s is None else now_s - alert.first_attempt_s
        with self._courier.transaction() as tx:
            tx.alerts.begin_attempt(alert.id, now_s, body)
        try:
            carrier.send(alert, body, route=route, settings=settings, again_s=again_s)
        except DeliveryPermanent as error:
            with self._courier.transaction() as tx:
                tx.alerts.note_problem(alert.id, str(error))
                tx.alerts.settle([alert.id], "rejected", f"http_{error.status}")
            text = "The alert %s does not go out by %s, for good: %s"
            self._courier.say(f"{route.name}/refused", text, alert.name, route.name, error)
            return
        with self._courier.transaction() as tx:
            tx.alerts.settle([alert.id], "delivered")

    def _fail(self, lane: _Lane, trip: _Trip, error: Exception) -> None:
        if isinstance(error, NotYet):
            lane.retry_at_s = time.monotonic() + _LOOK_AGAIN_S
            return
        told = isinstance(error, DeliveryError | CredentialError | ConfigError)
        if not told:
            _log.error("An alert by %s was interrupted", trip.route.name, exc_info=error)
        asked_s = error.retry_after_s if isinstance(error, DeliveryRetryable) else None
        lane.problem = str(error)
        lane.retry_at_s = time.monotonic() + lane.backoff.next_s(asked_s)
        text = "The alert %s waits for its way by %s: %s"
        self._courier.say(f"{trip.route.name}/waits", text, trip.alert.name, trip.route.name, error)
        try:
            with self._courier.transaction() as tx:
                tx.alerts.note_problem(trip.alert.id, str(error))
        except Exception as full:  # noqa: BLE001  the note is not worth more
            _log.debug("The problem could not be noted: %s", full)

    def _carrier(self, route: Route) -> Carrier:
        return self._wandb if route.name == WANDB else self._webhook

    def _is_offline(self, trip: _Trip) -> bool:
        return trip.route.name != LOG and self._carrier(trip.route).offline(trip.settings)

    def _lane(self, key: _LaneKey) -> _Lane:
        if key not in self._lanes:
            self._lanes[key] = _Lane(Backoff(self._pace, f"{self._store.bridge_id}/{'/'.join(key)}"))
        return self._lanes[key]

    def _plan(self, settings: Settings) -> Plan:
        if settings.alerts not in self._plans:
            self._plans[settings.alerts] = parse_plan(settings.alerts)
        return self._plans[settings.alerts]

    def _drop(self, ids: list[int], reason: str) -> None:
        if ids:
            with self._courier.transaction() as tx:
                tx.alerts.settle(ids, "dropped", reason)

    def _sleep(self, *until_s: float | None) -> None:
        wait_s = min(at_s for at_s in until_s if at_s is not None) - time.monotonic()
        if self._wake.wait(max(_SHORTEST_S, wait_s)):
            self._wake.clear()
