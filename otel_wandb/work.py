"""The effects of some frames: what the pipeline makes and the bridge writes in one transaction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from otel_wandb.alerts.finding import Finding
from otel_wandb.store import NewAlert, NewCall, NewFeedback, NewRow, NewRun, NewTable, Transaction
from otel_wandb.tables.columns import Table


class ShapedCall(NamedTuple):
    """A call ready for the store: where it goes, and the bytes that will be sent."""

    config: str
    entity: str
    project: str
    trace_id: str
    span_id: str
    started_us: int
    run: str
    step: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ShapedRow:
    """A row ready for the store: its run, what is said of that, and the values as they are stored."""

    config: str
    entity: str
    project: str
    server: str
    run_id: str
    spec: bytes
    step: int
    timestamp_s: float
    values: bytes
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class ShapedFeedback:
    """A score ready for the store: the call that it is about, and what is said, as it is stored."""

    config: str
    entity: str
    project: str
    uid: str
    trace_id: str
    span_id: str
    scored_by: str
    """The span that judged, where it is another one."""
    body: bytes
    sure: bool
    """Whether the project is that of the call, and not only of the one that judged."""


@dataclass(frozen=True, slots=True)
class ShapedAlert:
    """An alert ready for the store: what was found, and the routes that it goes by."""

    config: str
    entity: str
    project: str
    uid: str
    finding: Finding
    routes: tuple[str, ...]


class ResponsePlace(NamedTuple):
    """The call that a response belongs to; of the response's id there is a hash."""

    response: int
    trace_id: str
    span_id: str
    config: str
    entity: str
    project: str


@dataclass(slots=True)
class Work:
    """The effects of some frames, to be written in one transaction."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    digests: list[tuple[bytes, int]] = field(default_factory=list)
    memories: list[tuple[str, bytes, int]] = field(default_factory=list)
    calls: list[ShapedCall] = field(default_factory=list)
    rows: list[ShapedRow] = field(default_factory=list)
    feedback: list[ShapedFeedback] = field(default_factory=list)
    places: list[ResponsePlace] = field(default_factory=list)
    alerts: list[ShapedAlert] = field(default_factory=list)
    states: list[tuple[str, bytes]] = field(default_factory=list)
    flushes: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.counts
            or self.digests
            or self.memories
            or self.calls
            or self.rows
            or self.feedback
            or self.places
            or self.alerts
            or self.states
            or self.flushes
        )


class _HasProject(Protocol):
    """What goes to a project, under the settings that a frame named."""

    @property
    def config(self) -> str: ...

    @property
    def entity(self) -> str: ...

    @property
    def project(self) -> str: ...


class Destinations:
    """The store's numbers of the projects that calls go to, asked for once."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str, str], int] = {}

    def number(self, tx: Transaction, item: _HasProject) -> int:
        """The number of the item's project; a new one is made in the transaction."""
        key = (item.config, item.entity, item.project)
        if key not in self._ids:
            self._ids[key] = tx.add_destination(*key)
        return self._ids[key]


def write_work(tx: Transaction, work: Work, destinations: Destinations) -> None:
    """Write everything but the flushes, which have to come after the calls that they wait for."""
    for (signal, outcome, reason), n in work.counts.items():
        tx.add_count(signal, outcome, n, reason)
    tx.add_digests(work.digests)
    tx.remember_all(work.memories)
    for call in work.calls:
        tx.add_call(
            NewCall(
                destination=destinations.number(tx, call),
                trace_id=call.trace_id,
                span_id=call.span_id,
                started_us=call.started_us,
                run=call.run,
                step=call.step,
                body=call.body,
            )
        )
    for row in work.rows:
        run = tx.add_run(NewRun(destinations.number(tx, row), row.server, row.run_id, row.spec))
        added = tx.add_row(NewRow(run, row.step, row.timestamp_s, row.values))
        for table in row.tables:
            tx.tables.add(NewTable(run, row.step, table.name, table.body), with_row=added)
    tx.feedback.add_responses(
        [
            (place.response, place.trace_id, place.span_id, destinations.number(tx, place))
            for place in work.places
        ]
    )
    for item in work.feedback:
        destination = destinations.number(tx, item)
        if not item.sure:
            destination = tx.find_destination(item.trace_id, item.span_id) or destination
        tx.add_feedback(
            NewFeedback(destination, item.uid, item.trace_id, item.span_id, item.scored_by, item.body)
        )
    for alert in work.alerts:
        found = alert.finding
        tx.alerts.add(
            NewAlert(
                destination=destinations.number(tx, alert),
                uid=alert.uid,
                name=found.name,
                service=found.service,
                state=found.state,
                level=found.level,
                title=found.headline,
                text=found.text,
                run=found.run,
                step=found.step,
                time_s=found.time_s,
            ),
            alert.routes,
        )
    for name, state in work.states:
        tx.put_state(name, state or None)
