"""What goes into the store and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

FsyncMode: TypeAlias = Literal["never", "interval", "always"]
Counts: TypeAlias = dict[tuple[str, str, str], int]
"""The ledger's counters: (signal, outcome, reason) -> how many."""


class Mark(NamedTuple):
    """The two reading positions of a segment of the journal."""

    counted: int
    assembled: int


class NewCall(NamedTuple):
    """A call to be stored. `body` is the JSON object that is sent, without the names of project and run."""

    destination: int
    trace_id: str
    span_id: str
    started_us: int
    run: str
    step: int | None
    body: bytes


class QueuedCall(NamedTuple):
    """A call of the outbox. In flight: an attempt began, and nobody wrote down how it ended."""

    id: int
    trace_id: str
    span_id: str
    run: str
    step: int | None
    body: bytes
    in_flight_since_s: float | None

    @property
    def weave_id(self) -> str:
        """What Weave calls it."""
        return self.span_id


class StoredCall(NamedTuple):
    """A call, and what became of it."""

    id: int
    entity: str
    project: str
    trace_id: str
    span_id: str
    started_us: int
    run: str
    step: int | None
    body: bytes
    state: Literal["waiting", "delivered", "rejected"]


class DeadLetter(NamedTuple):
    """A call that Weave will never take, and what it said."""

    call_id: int
    entity: str
    project: str
    trace_id: str
    span_id: str
    status: int
    answer: str
    reason: str
    body: bytes


class Destination(NamedTuple):
    """Where calls go. `entity` is empty while nobody has found out the default one of the API key."""

    id: int
    config: str
    entity: str
    project: str


class NewRun(NamedTuple):
    """A W&B run. `server` tells servers apart; `spec` is the JSON of what `wandb.init` is told of it."""

    destination: int
    server: str
    run_id: str
    spec: bytes


class StoredRun(NamedTuple):
    """A W&B run, by the settings that named it last. `entity` as in `Destination`."""

    id: int
    destination: int
    config: str
    entity: str
    project: str
    run_id: str
    spec: bytes
    waiting: int
    """How many of its rows are neither delivered nor given up."""


class NewRow(NamedTuple):
    """A row of charts. `values` is a JSON object: see `otel_wandb.store.rows`."""

    run: int
    step: int
    timestamp_s: float
    values: bytes


class QueuedRow(NamedTuple):
    """A row that waits."""

    id: int
    step: int
    timestamp_s: float
    values: bytes


class StoredRow(NamedTuple):
    """A row, and what became of it."""

    entity: str
    project: str
    run_id: str
    step: int
    timestamp_s: float
    values: bytes
    state: Literal["waiting", "delivered", "rejected"]


class RecentTrace(NamedTuple):
    """What was remembered of a trace at one time; several of one trace add up in their order."""

    trace_id: str
    memory: bytes
    event_ns: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the ledger needs, all as of one moment."""

    marks: Mapping[str, Mark]
    counts: Mapping[tuple[str, str, str], int]
    waiting: Mapping[str, int]
    outbox: int
    folded_fronts: frozenset[str]
