"""Alerts in the store: what fired and recovered, and on each route what became of it.

An alert is stored with its row, in one transaction, and stays. On each of its routes it waits until it is
delivered, or dropped for a reason. What a route sends is kept from the first attempt on, so that a repeat
after a restart is the same again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from otel_wandb.store.database import Database, Row
from otel_wandb.store.feedback import Ask, Count

Fate: TypeAlias = Literal["waiting", "delivered", "rejected", "dropped"]

_PAGE: Final = 500
_MOST_WAITING: Final = 1000

_ADD: Final = (
    "INSERT INTO alerts (destination, uid, name, service, state, level, title, text, run, step, time_s)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO NOTHING"
)
_SEND: Final = (
    "INSERT INTO alert_routes (alert, route, state) SELECT id, ?, 'waiting' FROM alerts WHERE uid = ?"
)
_BEGIN: Final = (
    "UPDATE alert_routes SET first_attempt_s = ?, body = ?"
    " WHERE id = ? AND state = 'waiting' AND first_attempt_s IS NULL"
)
_SETTLE: Final = (
    "UPDATE alert_routes SET state = ?, reason = ?, body = NULL WHERE id = ? AND state = 'waiting'"
)
_WAITING: Final = (
    "SELECT r.id, r.route, a.destination, d.config, d.entity, d.project, a.uid, a.name, a.service, a.state,"
    " a.level, a.title, a.text, a.run, a.step, a.time_s, r.first_attempt_s, r.body"
    " FROM alert_routes r JOIN alerts a ON a.id = r.alert JOIN destinations d ON d.id = a.destination"
    " WHERE r.state = 'waiting' ORDER BY r.id LIMIT ?"
)
_ALERTS: Final = (
    "SELECT a.id, d.entity, d.project, a.uid, a.name, a.service, a.state, a.level, a.title, a.text, a.run,"
    " a.step, a.time_s FROM alerts a JOIN destinations d ON d.id = a.destination"
)
_ROUTES: Final = (
    "SELECT alert, route, state, reason, problem FROM alert_routes WHERE alert BETWEEN ? AND ? ORDER BY id"
)
# What a recovery is the end of: the youngest alert of its name and service before it that fired.
_FIRED: Final = (
    "SELECT r.state FROM alert_routes r JOIN alerts a ON a.id = r.alert JOIN destinations d"
    " ON d.id = a.destination WHERE r.route = ? AND r.id < ? AND d.project = ? AND a.service = ?"
    " AND a.name = ? AND a.state = 'firing' ORDER BY r.id DESC LIMIT 1"
)
_SETTLED: Final = (
    "SELECT id FROM alerts a WHERE NOT EXISTS"
    " (SELECT 1 FROM alert_routes r WHERE r.alert = a.id AND r.state = 'waiting') ORDER BY id LIMIT 1000"
)


class NewAlert(NamedTuple):
    """An alert to be stored. `uid` names it: the same from the same row."""

    destination: int
    uid: str
    name: str
    service: str
    state: str
    level: str
    title: str
    text: str
    run: str
    step: int
    time_s: float


class QueuedAlert(NamedTuple):
    """An alert that waits on a route. `entity` is empty while nobody knows what it stands for.

    `first_attempt_s`: when it was sent first, if it was; `body` is what is sent then, and again.
    """

    id: int
    route: str
    destination: int
    config: str
    entity: str
    project: str
    uid: str
    name: str
    service: str
    state: str
    level: str
    title: str
    text: str
    run: str
    step: int
    time_s: float
    first_attempt_s: float | None
    body: bytes | None


class AlertRoute(NamedTuple):
    """What became of an alert on a route; `problem` is what hindered it last."""

    state: Fate
    reason: str
    problem: str


class StoredAlert(NamedTuple):
    """An alert, and what became of it."""

    id: int
    entity: str
    project: str
    uid: str
    name: str
    service: str
    state: str
    level: str
    title: str
    text: str
    run: str
    step: int
    time_s: float
    routes: Mapping[str, AlertRoute]


class AlertWriter:
    """What a transaction may write about alerts. In the ledger, an alert counts once on each route."""

    def __init__(self, database: Database, count: Count) -> None:
        self._database = database
        self._count = count

    def add(self, alert: NewAlert, routes: Collection[str]) -> bool:
        """Store the alert, which then waits on these routes; False if it is there already."""
        if not self._database.run(_ADD, alert):
            return False
        self._database.run_many(_SEND, ((route, alert.uid) for route in routes))
        self._count("alerts", "received", len(routes))
        return True

    def begin_attempt(self, one: int, at_s: float, body: bytes) -> None:
        """Note that the first attempt begins now, and what is sent; a later one changes nothing."""
        self._database.run(_BEGIN, (at_s, body, one))

    def note_problem(self, one: int, problem: str) -> None:
        """Note what hindered an attempt."""
        self._database.run("UPDATE alert_routes SET problem = ? WHERE id = ?", (problem, one))

    def settle(self, ids: Collection[int], outcome: Fate, reason: str = "") -> None:
        """They are delivered, or never will be for the reason; what does not wait changes nothing."""
        settled = self._database.run_many(_SETTLE, ((outcome, reason, one) for one in ids))
        self._count("alerts", outcome, max(0, settled), reason)

    def prune(self) -> int:
        """Remove a thousand of the oldest that wait nowhere; how many there were."""
        found = self._database.rows(_SETTLED)
        self._database.run_many("DELETE FROM alert_routes WHERE alert = ?", found)
        self._database.run_many("DELETE FROM alerts WHERE id = ?", found)
        return len(found)


class AlertReader:
    """What the store holds of alerts."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def waiting(self) -> list[QueuedAlert]:
        """The oldest thousand that wait, in the order of their storing, once for each route."""
        return [QueuedAlert(*row) for row in self._rows(_WAITING, (_MOST_WAITING,))]

    def fate_of_firing(self, recovery: QueuedAlert) -> Fate | None:
        """What became, on the same route, of the alert that this is the recovery of; None: nobody knows."""
        place = (recovery.route, recovery.id, recovery.project, recovery.service, recovery.name)
        rows = self._rows(_FIRED, place)
        return rows[0][0] if rows else None

    def all(self) -> Iterator[StoredAlert]:
        """All alerts in the order of their storing."""
        last_id = 0
        while page := self._page(f"{_ALERTS} WHERE a.id > ? ORDER BY a.id LIMIT ?", (last_id, _PAGE)):
            yield from page
            last_id = page[-1].id

    def last(self, count: int) -> list[StoredAlert]:
        """The youngest alerts, the youngest of them at the end."""
        return self._page(f"{_ALERTS} ORDER BY a.id DESC LIMIT ?", (count,))[::-1]

    def _page(self, sql: str, parameters: tuple[object, ...]) -> list[StoredAlert]:
        rows = self._rows(sql, parameters)
        if not rows:
            return []
        routes: dict[int, dict[str, AlertRoute]] = {}
        ids = [row[0] for row in rows]
        for alert, route, *fate in self._rows(_ROUTES, (min(ids), max(ids))):
            routes.setdefault(alert, {})[route] = AlertRoute(*fate)
        return [StoredAlert._make((*row, routes.get(row[0], {}))) for row in rows]

    def _rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        return self._ask(lambda database: database.rows(sql, parameters))


def count_waiting_alerts(database: Database) -> int:
    """How many alerts wait, once for each route."""
    return database.number("SELECT count(*) FROM alert_routes WHERE state = 'waiting'")
