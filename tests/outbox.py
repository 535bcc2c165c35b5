"""A store with calls that wait, and a delivery that takes them to the Weave peer."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from otel_wandb.delivery.pacing import Pace
from otel_wandb.delivery.weave import WeaveDelivery
from otel_wandb.settings import Settings
from otel_wandb.store import NewCall, Store
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer

PROJECT = "team/rag"
QUICK = Pace(first_s=0.05, most_s=0.5, refused_s=60.0)
PATIENCE_S = 40.0


class House:
    """A store, and whatever delivers from it to the peer."""

    def __init__(self, peer: WeavePeer, directory: Path, *, in_memory: bool = False) -> None:
        self.peer = peer
        self.path = directory / "store.sqlite"
        self.environ = {"HOME": str(directory), "WANDB_API_KEY": peer.api_key, "WANDB_DIR": str(directory)}
        self.settings = Settings(
            base_url=peer.url, trace_url=peer.url, settle_s=0.3, request_timeout_s=5.0, max_batch_calls=1000
        )
        self.store = Store.open(None if in_memory else self.path)
        self.deliveries: list[WeaveDelivery] = []
        self.bodies: dict[str, bytes] = {}

    def configure(self, **changes: object) -> None:
        values = {name: getattr(self.settings, name) for name in Settings.__struct_fields__}
        self.settings = Settings(**{**values, **changes})

    def delivery(self, pace: Pace = QUICK) -> WeaveDelivery:
        delivery = WeaveDelivery(
            self.store, settings_of=lambda _: self.settings, environ=self.environ, pace=pace
        )
        self.deliveries.append(delivery)
        return delivery

    def deliver(self, delivery: WeaveDelivery | None = None) -> WeaveDelivery:
        delivery = delivery or self.delivery()
        progress = delivery.deliver_due(deadline_s=PATIENCE_S)
        assert progress.waiting == 0, progress
        return delivery

    def restart(self) -> None:
        """A new process, as far as store and delivery can tell."""
        self.close()
        self.store = Store.open(self.path)

    def close(self) -> None:
        for delivery in self.deliveries:
            delivery.close()
        self.deliveries.clear()
        self.store.close()

    def queue(
        self, *bodies: bytes, project: str = PROJECT, run: str = "", step: int | None = None
    ) -> list[str]:
        entity, _, name = project.rpartition("/")
        ids = [str(json.loads(body)["id"]) for body in bodies]
        self.bodies.update(zip(ids, bodies, strict=True))
        with self.store.transaction() as tx:
            destination = tx.add_destination("config", entity, name)
            for call_id, body in zip(ids, bodies, strict=True):
                tx.add_call(
                    NewCall(
                        destination=destination,
                        trace_id="1" * 32,
                        span_id=call_id,
                        started_us=1_760_000_000_000_000,
                        run=run,
                        step=step,
                        body=body,
                    )
                )
        return ids

    def counts(self) -> dict[tuple[str, str, str], int]:
        return {key: n for key, n in self.store.reader.counts().items() if key[0] == "calls" and n}

    def assert_each_once(self, *ids: str, project: str = PROJECT) -> None:
        """Weave took each of these calls once and nothing else, in the very bytes that were stored."""
        wanted = {(project, i, digest_of(wire_of(self.bodies[i], project))): 1 for i in ids}
        assert Counter(tuple(accepted) for accepted in self.peer.accepted()) == wanted
        assert self.store.reader.outbox_size() == 0


def call(number: int, *, size: int = 0, **changes: object) -> bytes:
    fields = {
        "id": f"{number:016x}",
        "trace_id": "1" * 32,
        "op_name": "chat",
        "started_at": "2025-10-09T08:53:20.000000Z",
        "ended_at": "2025-10-09T08:53:21.000000Z",
        "attributes": {},
        "inputs": {"text": "x" * size},
        "summary": {},
    }
    return json.dumps({**fields, **changes}, separators=(",", ":")).encode()


def calls(count: int, *, first: int = 1, size: int = 0) -> list[bytes]:
    return [call(number, size=size) for number in range(first, first + count)]


def bad_call(number: int) -> bytes:
    """A call that Weave refuses, and the whole batch with it."""
    return call(number, summary={"usage": {"model": {"input_tokens": "many"}}})


def wait_until(condition: Callable[[], bool]) -> None:
    wait_for(condition, PATIENCE_S)


DELIVERY = """
import os, signal, sys
from pathlib import Path
from otel_wandb.delivery.weave import WeaveDelivery
from otel_wandb.settings import Settings
from otel_wandb.store import Store, Transaction
from otel_wandb.store.feedback import FeedbackWriter

path, url, where = sys.argv[1:]
if where:
    owner, _, name = where.partition(".")
    setattr(globals()[owner], name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
store = Store.open(Path(path))
settings = Settings(base_url=url, trace_url=url, settle_s=0.3)
WeaveDelivery(store, settings_of=lambda _: settings).deliver_due(deadline_s=60)
"""


def start_delivery_process(house: House, die_in: str = "") -> subprocess.Popen[bytes]:
    """A process that delivers, and that is killed where it calls `die_in`, a method of the store."""
    house.close()
    command = [sys.executable, "-c", DELIVERY, str(house.path), house.peer.url, die_in]
    return subprocess.Popen(command, env={**os.environ, **house.environ})


def wire_of(body: bytes, project: str) -> bytes:
    """What is sent for a call that belongs to no run."""
    return f'{{"project_id":"{project}",'.encode() + body[1:]


def digest_of(sent: bytes) -> str:
    """As the peer's record has it."""
    return hashlib.blake2b(sent, digest_size=16).hexdigest()
