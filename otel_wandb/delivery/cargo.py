"""What lanes and couriers carry: calls here, feedback in `feedback`. They are queued and sent alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.store import QueuedCall, StoreReader, Transaction


class Item(Protocol):
    """One thing that waits in the store."""

    @property
    def id(self) -> int:
        """What the store calls it."""

    @property
    def weave_id(self) -> str:
        """What Weave calls it."""

    @property
    def body(self) -> bytes:
        """What is sent, as it is stored."""

    @property
    def in_flight_since_s(self) -> float | None:
        """When an attempt began of which nobody wrote down how it ended."""


ItemT = TypeVar("ItemT", bound=Item)


class Place(NamedTuple):
    """Where items go, and under which settings."""

    destination: int
    config: str


Note: TypeAlias = Callable[[Transaction, Place, Sequence[bytes]], None]
"""What else is to be stored with the attempt to send calls; it raises nothing."""


class Cargo(Protocol[ItemT]):
    """How one kind of items is read, sent, read back and settled."""

    @property
    def noun(self) -> str:
        """One of them, in words."""

    @property
    def waits_for_others(self) -> bool:
        """Whether what was not due may become due without being touched."""

    @property
    def may_lack(self) -> bool:
        """Whether a 404 is an answer to the item, once the project is known to exist."""

    def due(
        self, reader: StoreReader, destination: int, limit: int, max_bytes: int, after_id: int
    ) -> Sequence[ItemT]:
        """The oldest beyond `after_id`, up to both bounds, but at least one of them."""

    def begin_attempt(self, tx: Transaction, to: Place, items: Sequence[ItemT], at_s: float) -> None:
        """Mark them as in flight."""

    def release(self, tx: Transaction, ids: Sequence[int]) -> None:
        """Take the mark off: Weave has not taken them."""

    def settle(self, tx: Transaction, ids: Sequence[int]) -> None:
        """They are delivered."""

    def bury(self, tx: Transaction, one: int, status: int, answer: str, reason: str) -> None:
        """Weave will never take this one."""

    def encode(self, client: WeaveClient, key: Secret, project_id: str, items: Sequence[ItemT]) -> bytes:
        """The body of the request that sends them; empty where Weave has them all. Raises DeliveryError."""

    def post(self, client: WeaveClient, key: Secret, entity: str, project: str, body: bytes) -> None:
        """Return when they were taken; raise what else became of them."""

    def read_back(
        self, client: WeaveClient, key: Secret, project_id: str, ids: Sequence[str]
    ) -> frozenset[str]:
        """Those that Weave has. Raises DeliveryError."""


class CallCargo:
    """Calls."""

    noun = "a call"
    waits_for_others = False
    may_lack = False

    def __init__(self, note: Note | None = None) -> None:
        self._note = note

    def due(
        self, reader: StoreReader, destination: int, limit: int, max_bytes: int, after_id: int
    ) -> Sequence[QueuedCall]:
        """The oldest calls of the outbox."""
        return reader.due(destination, limit, max_bytes, after_id=after_id)

    def begin_attempt(self, tx: Transaction, to: Place, items: Sequence[QueuedCall], at_s: float) -> None:
        """Mark them as in flight."""
        tx.begin_attempt([item.id for item in items], at_s)
        if self._note is not None:
            self._note(tx, to, [item.body for item in items])

    def release(self, tx: Transaction, ids: Sequence[int]) -> None:
        """Take the mark off."""
        tx.release(ids)

    def settle(self, tx: Transaction, ids: Sequence[int]) -> None:
        """They are delivered."""
        tx.settle(ids, "delivered")

    def bury(self, tx: Transaction, one: int, status: int, answer: str, reason: str) -> None:
        """Weave will never take this one."""
        tx.bury(one, status, answer, reason)

    def encode(self, client: WeaveClient, key: Secret, project_id: str, items: Sequence[QueuedCall]) -> bytes:
        """The calls as they are stored, with the names of project and run put in front."""
        encoded = (encode_call(project_id, call.run, call.step, call.body) for call in items)
        return b'{"batch":[' + b",".join(encoded) + b"]}"

    def post(self, client: WeaveClient, key: Secret, entity: str, project: str, body: bytes) -> None:
        """Post whole calls."""
        client.post_calls(key, entity, project, body)

    def read_back(
        self, client: WeaveClient, key: Secret, project_id: str, ids: Sequence[str]
    ) -> frozenset[str]:
        """Ask for the calls."""
        return client.read_back(key, project_id, ids)


def encode_call(project_id: str, run: str, step: int | None, body: bytes) -> bytes:
    """The call as it is sent: what is stored, with the names of project and run put in front."""
    named: dict[str, object] = {"project_id": project_id}
    if run:
        named["wb_run_id"] = f"{project_id}/{run}"
        named["wb_run_step"] = step
    return msgspec.json.encode(named)[:-1] + b"," + body[1:]
