"""Feedback to Weave: each score once on its call, though the server takes the same id twice.

It keeps our ids and does not look whether it has them already, so every batch is looked for before it is
sent. A score needs an object of its name, which is published where the project has none.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import msgspec

from otel_wandb.delivery.cargo import Place
from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.store import QueuedFeedback, StoredFeedback, StoreReader, Transaction
from otel_wandb.traces.feedback import TYPE_PREFIX

_DESCRIPTION: Final = "Scores of this name that arrived as OpenTelemetry telemetry."
_MAX_DIGESTS: Final = 10_000


class _Told(msgspec.Struct):
    """What has to be known of a body to send it."""

    feedback_type: str


class FeedbackCargo:
    """Feedback."""

    noun = "a score"
    waits_for_others = True
    may_lack = True

    def __init__(self) -> None:
        self._digests: dict[tuple[str, str, str], str] = {}
        self._lock = threading.Lock()

    def due(
        self, reader: StoreReader, destination: int, limit: int, max_bytes: int, after_id: int
    ) -> Sequence[QueuedFeedback]:
        """The oldest whose calls have left the outbox."""
        return reader.feedback.due(destination, limit, max_bytes, after_id)

    def begin_attempt(self, tx: Transaction, to: Place, items: Sequence[QueuedFeedback], at_s: float) -> None:
        """Mark it as in flight."""
        tx.feedback.begin_attempt([item.id for item in items], at_s)

    def release(self, tx: Transaction, ids: Sequence[int]) -> None:
        """Take the mark off."""
        tx.feedback.release(ids)

    def settle(self, tx: Transaction, ids: Sequence[int]) -> None:
        """It is delivered."""
        tx.feedback.settle(ids)

    def bury(self, tx: Transaction, one: int, status: int, answer: str, reason: str) -> None:
        """Weave will never take this one."""
        tx.feedback.bury(one, status, answer, reason)

    def encode(
        self, client: WeaveClient, key: Secret, project_id: str, items: Sequence[QueuedFeedback]
    ) -> bytes:
        """What Weave does not have yet, with the names of project, call and score put in front."""
        known = client.find_feedback(key, project_id, [item.uid for item in items])
        missing = [item for item in items if item.uid not in known]
        if not missing:
            return b""
        encoded = []
        for item in missing:
            name = msgspec.json.decode(item.body, type=_Told).feedback_type.removeprefix(TYPE_PREFIX)
            digest = self._digest(client, key, project_id, name)
            encoded.append(encode_feedback(project_id, item, f"{name}:{digest}"))
        return b'{"batch":[' + b",".join(encoded) + b"]}"

    def post(self, client: WeaveClient, key: Secret, entity: str, project: str, body: bytes) -> None:
        """Post the feedback, if any is left to be posted."""
        if body:
            client.post_feedback(key, body)

    def read_back(
        self, client: WeaveClient, key: Secret, project_id: str, ids: Sequence[str]
    ) -> frozenset[str]:
        """Ask for the feedback."""
        return client.find_feedback(key, project_id, ids)

    def _digest(self, client: WeaveClient, key: Secret, project_id: str, name: str) -> str:
        """The digest of the object of this name: the one that the project has, or one that is published."""
        where = (client.trace_url, project_id, name)
        with self._lock:  # one of two threads asks, and the other has it then
            if where not in self._digests:
                if len(self._digests) >= _MAX_DIGESTS:
                    self._digests.clear()
                self._digests[where] = client.find_object(key, project_id, name) or client.make_object(
                    key, project_id, name, _scorer(name)
                )
            return self._digests[where]


def encode_feedback(project_id: str, item: QueuedFeedback | StoredFeedback, runnable: str = "") -> bytes:
    """The feedback as it is sent. `runnable` is the name and the digest of the object behind the score."""
    place = f"weave:///{project_id}"
    named = {"project_id": project_id, "weave_ref": f"{place}/call/{item.span_id}"}
    if runnable:
        named["runnable_ref"] = f"{place}/object/{runnable}"
    if item.scored_by:
        named["call_ref"] = f"{place}/call/{item.scored_by}"
    return msgspec.json.encode(named)[:-1] + b"," + item.body[1:]


def _scorer(name: str) -> dict[str, object]:
    return {
        "_type": "Scorer",
        "_class_name": "Scorer",
        "_bases": ["Object", "BaseModel"],
        "name": name,
        "description": _DESCRIPTION,
    }
