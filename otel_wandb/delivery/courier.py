"""Carries the steps of a lane out: posts and reads back, and writes what became of the calls to the store.

A call is marked in the store before it is sent, and the mark goes when its fate is known. So whatever is
killed in between, the next start finds the mark and reads back before it sends anything twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Final, Generic

from otel_wandb.delivery.cargo import ItemT, Place
from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.lanes import Check, Held, Lane, Limits, Send
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.errors import (
    DeliveryAmbiguous,
    DeliveryError,
    DeliveryPermanent,
    DeliveryRefused,
    DeliveryRetryable,
)
from otel_wandb.store import Store, Transaction

_log = logging.getLogger("otel_wandb.delivery")

TOO_LARGE: Final = 413
NOT_FOUND: Final = 404
_SAY_AGAIN_S: Final = 60.0


class Closed(Exception):  # noqa: N818  not a failure: the sign to leave
    """The store is no longer ours to write to."""


class Courier:
    """Does what lanes say, from any number of threads, until it is closed."""

    def __init__(self, store: Store, lock: threading.Lock) -> None:
        self._store = store
        self._lanes = lock
        self._writing = threading.Lock()
        self._closed = False
        self._said: dict[str, float] = {}

    def close(self) -> None:
        """Let go of the store: what is still under way stays marked there and is read back next time."""
        with self._writing:
            self._closed = True

    def carry_out(
        self, lane: Lane[ItemT], step: Send[ItemT] | Check, client: WeaveClient, key: Secret, limits: Limits
    ) -> None:
        """Do the step, and tell store and lane what came of it. Raises nothing."""
        trip = _Trip(self, lane, client, key, limits)
        try:
            if isinstance(step, Check):
                trip.check(step.held)
            else:
                trip.send(step.calls)
        except Closed:
            pass
        finally:
            with self._lanes:
                lane.end_step(step)

    def say(self, reason: str, text: str, *arguments: object) -> None:
        """Log a warning, unless one was logged for the same reason within the last minute."""
        now_s = time.monotonic()
        if now_s >= self._said.get(reason, now_s):
            self._said[reason] = now_s + _SAY_AGAIN_S
            _log.warning(text, *arguments)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction of the store. Raises Closed where that is over."""
        with self._writing:
            if self._closed:
                raise Closed
            with self._store.transaction() as tx:
                yield tx

    @contextmanager
    def lane(self, lane: Lane[ItemT]) -> Iterator[Lane[ItemT]]:
        """The lane, with its lock held."""
        with self._lanes:
            yield lane


class _Trip(Generic[ItemT]):
    """One step under way."""

    def __init__(
        self, courier: Courier, lane: Lane[ItemT], client: WeaveClient, key: Secret, limits: Limits
    ) -> None:
        self._courier, self._lane, self._client = courier, lane, client
        self._key, self._limits = key, limits
        self._cargo = lane.cargo
        self._project_was_known = lane.known_project

    def send(self, calls: Sequence[ItemT]) -> None:
        """Post the calls, in ever smaller batches where some of them are refused."""
        left: list[Sequence[ItemT]] = [calls]  # the last one is sent next
        try:
            self._send(left)
        except Closed:
            raise
        except Exception as error:  # noqa: BLE001  a full disk, a bug of ours: reading back tells where we stand
            _log.exception("Sending to %s was interrupted", self._lane.project_id)
            with self._courier.lane(self._lane) as lane:
                now_s = time.monotonic()
                lane.hold(chain.from_iterable(left), now_s + self._limits.settle_s, suspicious=False)
                lane.note_failure(str(error), now_s)

    def check(self, held: Held) -> None:
        """Read the calls back: what Weave has is settled, what it has not is sent again."""
        try:
            self._check(held)
        except Closed:
            raise
        except Exception as error:  # noqa: BLE001  as above; the calls stay held
            if isinstance(error, DeliveryError):
                self._say_failed(error)
            else:
                _log.exception("Reading back from %s was interrupted", self._lane.project_id)
            with self._courier.lane(self._lane) as lane:
                now_s = time.monotonic()
                lane.hold_again(held, now_s + max(self._limits.settle_s, lane.backoff.next_s()))
                lane.problem = str(error)
                if isinstance(error, DeliveryRefused):
                    lane.refuse(str(error), now_s, self._key)

    def _send(self, left: list[Sequence[ItemT]]) -> None:
        try:
            self._prepare()
            with self._courier.transaction() as tx:
                calls = [call for batch in left for call in batch]
                place = Place(self._lane.id, self._lane.config)
                self._cargo.begin_attempt(tx, place, calls, time.time())
            while left:
                self._post(left)
        except DeliveryRetryable as error:
            self._give_back(left)
            self._say_failed(error)
            with self._courier.lane(self._lane) as lane:
                lane.note_failure(str(error), time.monotonic(), asked_s=error.retry_after_s)
        except DeliveryAmbiguous as error:
            lost = left.pop()
            self._say_failed(error)
            with self._courier.lane(self._lane) as lane:
                lane.note_loss(lost, str(error), time.monotonic(), self._limits.settle_s)
            self._give_back(left)
        except DeliveryRefused as error:
            self._give_back(left)
            with self._courier.lane(self._lane) as lane:
                if error.status == NOT_FOUND and self._project_was_known:  # it is gone: make it, and see
                    lane.known_project = False
                    lane.note_failure(str(error), time.monotonic())
                else:
                    lane.refuse(str(error), time.monotonic(), self._key)

    def _check(self, held: Held) -> None:
        self._prepare()
        project_id = self._lane.project_id
        ids = [call.weave_id for call in held.calls]
        found = self._cargo.read_back(self._client, self._key, project_id, ids)
        taken = [call.id for call in held.calls if call.weave_id in found]
        missing = [call.id for call in held.calls if call.weave_id not in found]
        with self._courier.transaction() as tx:
            self._cargo.settle(tx, taken)
            self._cargo.release(tx, missing)
        _log.info("%s has %d of %d items whose answer was lost", project_id, len(taken), len(held.calls))
        with self._courier.lane(self._lane) as lane:
            if taken:
                lane.note_taken(taken)
            lane.note_missing(held, missing, time.monotonic())

    def _prepare(self) -> None:
        """Know the entity, and that the project exists: it is made on first use, as weave does."""
        lane = self._lane
        if lane.known_project:
            return
        if not lane.entity:
            entity = lane.default_entity or self._client.default_entity(self._key)
            if not entity:
                text = "the API key has no default entity; set WANDB_ENTITY, or the project as entity/project"
                raise DeliveryRefused(text, status=0, answer="")
            with self._courier.transaction() as tx:
                tx.set_entity(lane.id, entity)
            lane.entity = entity
        try:
            lane.project = self._client.ensure_project(self._key, lane.entity, lane.project)
        except DeliveryError as error:
            # Where only the trace server can be reached, the project may well exist: posting will tell.
            _log.info("W&B could not be asked for the project %s: %s", lane.project_id, error)
        lane.known_project = True

    def _post(self, left: list[Sequence[ItemT]]) -> None:
        """Send the last batch of those that are left, and take it off where its fate is known."""
        lane, batch = self._lane, left[-1]
        size = 0
        try:
            body = self._cargo.encode(self._client, self._key, lane.project_id, batch)
            size = len(body)
            self._cargo.post(self._client, self._key, lane.entity, lane.project, body)
        except (DeliveryPermanent, DeliveryRefused) as error:
            if isinstance(error, DeliveryRefused) and not self._lacks(error):
                raise
            if len(batch) == 1:
                self._bury(batch[0], error)
            if error.status == TOO_LARGE and len(batch) > 1:
                with self._courier.lane(lane):
                    lane.learn_limit(size)
            middle = len(batch) // 2
            left[-1:] = [batch[middle:], batch[:middle]] if middle else []
        else:
            ids = [call.id for call in batch]
            with self._courier.transaction() as tx:
                self._cargo.settle(tx, ids)
            left.pop()
            with self._courier.lane(lane):
                lane.note_taken(ids)
        if lane.hopeless:
            text = f"Weave refuses every call, at last with: {lane.problem}"
            raise DeliveryRefused(text, status=0, answer="")

    def _lacks(self, error: DeliveryRefused) -> bool:
        """Whether Weave says of what was sent, and not of the project, that there is no such thing."""
        of_the_content = error.status == NOT_FOUND and error.answer.startswith("{")
        return of_the_content and self._cargo.may_lack and not self._project_was_known

    def _bury(self, call: ItemT, error: DeliveryPermanent | DeliveryRefused) -> None:
        reason = "too_large" if error.status == TOO_LARGE else f"http_{error.status}"
        with self._courier.transaction() as tx:
            self._cargo.bury(tx, call.id, error.status, error.answer, reason)
        text = "Weave refuses %s of %s for good, which is kept as a dead letter: %s"
        where = f"{self._lane.id}/{self._cargo.noun}/{reason}"
        self._courier.say(where, text, self._cargo.noun, self._lane.project_id, error)
        with self._courier.lane(self._lane) as lane:
            lane.note_rejected(call.id)
            lane.problem = str(error)

    def _say_failed(self, error: DeliveryError) -> None:
        text = "%s; nothing is lost, %s is tried again"
        self._courier.say(f"{self._lane.id}/failed", text, error, self._lane.project_id)

    def _give_back(self, left: list[Sequence[ItemT]]) -> None:
        ids = [call.id for batch in left for call in batch]
        if ids:
            with self._courier.transaction() as tx:
                self._cargo.release(tx, ids)
            with self._courier.lane(self._lane) as lane:
                lane.note_waiting(ids)
