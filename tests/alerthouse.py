"""A store with alerts that wait, and a delivery that takes them to their routes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from otel_wandb.alert_settings import read_alerts
from otel_wandb.alerts.finding import Finding, State
from otel_wandb.delivery.alerts import AlertDelivery
from otel_wandb.delivery.pacing import Pace
from otel_wandb.settings import Settings
from otel_wandb.store import NewAlert, NewRow, NewRun, Store, StoredAlert
from otel_wandb.store.rows import encode_run, encode_values
from tests.peers.environments import CHECKOUT
from tests.rowhouse import Described, values_of

PROJECT = "team/rag"
RUN = "rag-20261125"
BEGAN_S = 1_795_564_800.0
QUICK = Pace(first_s=0.02, most_s=0.1)
PATIENCE_S = 30.0


class AlertHouse:
    """A store, and whatever delivers its alerts. `now_s` is the time."""

    def __init__(
        self,
        directory: Path,
        alerts: Mapping[str, object],
        *,
        base_url: str = "http://127.0.0.1:9",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.path = directory / "store.sqlite"
        self.environ = {"HOME": str(directory), "WANDB_DIR": str(directory), **(environ or {})}
        self.settings = Settings(
            base_url=base_url, alerts=read_alerts(alerts, directory), request_timeout_s=5.0
        )
        self.store = Store.open(self.path)
        self.now_s = BEGAN_S
        self.deliveries: list[AlertDelivery] = []

    def configure(self, **changes: object) -> None:
        values = {name: getattr(self.settings, name) for name in Settings.__struct_fields__}
        self.settings = Settings(**{**values, **changes})

    def delivery(self) -> AlertDelivery:
        delivery = AlertDelivery(
            self.store,
            settings_of=lambda _: self.settings,
            environ=self.environ,
            pace=QUICK,
            clock=lambda: self.now_s,
        )
        self.deliveries.append(delivery)
        return delivery

    def deliver(self, deadline_s: float = PATIENCE_S) -> AlertDelivery:
        """Deliver until nothing waits, or nothing can be sent."""
        delivery = self.delivery()
        delivery.deliver_due(deadline_s=deadline_s)
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
        self,
        *routes: str,
        name: str = "slow",
        state: State = "firing",
        step: int = 3,
        time_s: float | None = None,
        title: str = "Answers are slow",
        text: str = "",
    ) -> str:
        """Store an alert with the row that it is of; its id."""
        time_s = self.now_s if time_s is None else time_s
        text = text or f"What {name} says."
        found = Finding(name, title, "error", text, state, "rag", time_s, step, RUN)
        entity, _, project = PROJECT.rpartition("/")
        uid = found.uid(entity, project)
        with self.store.transaction() as tx:
            destination = tx.add_destination("config", entity, project)
            told = (found.name, found.service, found.state, found.level, found.headline, found.text)
            tx.alerts.add(NewAlert(destination, uid, *told, found.run, found.step, found.time_s), routes)
        return uid

    def queue_row(self, step: int) -> None:
        entity, _, project = PROJECT.rpartition("/")
        with self.store.transaction() as tx:
            destination = tx.add_destination("config", entity, project)
            run = tx.add_run(NewRun(destination, self.settings.base_url, RUN, encode_run(Described(RUN))))
            tx.add_row(NewRow(run, step, BEGAN_S + 60.0 * step, encode_values(values_of(step))))

    def fates(self) -> list[dict[str, tuple[str, str]]]:
        """Of each alert, what became of it on each of its routes, and why."""
        return [
            {route: (fate.state, fate.reason) for route, fate in alert.routes.items()}
            for alert in self.alerts()
        ]

    def alerts(self) -> list[StoredAlert]:
        return list(self.store.reader.alerts.all())

    def counts(self) -> dict[tuple[str, str], int]:
        return {
            (outcome, reason): n
            for (signal, outcome, reason), n in self.store.reader.counts().items()
            if signal == "alerts" and n
        }


DELIVERY = """
import os, signal, sys
from pathlib import Path
from otel_wandb.delivery import alerts, webhook
from otel_wandb.delivery.alert_carriers import WandbCarrier, WebhookCarrier
from otel_wandb.settings import Settings
from otel_wandb.store import Store
from otel_wandb.store.alerts import AlertWriter

path, document, now_s, where = sys.argv[1:]

def die_before(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_after(call):
    def run(*arguments, **named):
        call(*arguments, **named)
        die_before()
    return run

if where:
    when, owner, name = where.split(".")
    one = globals()[owner]
    setattr(one, name, die_before if when == "before" else die_after(getattr(one, name)))
settings = Settings.from_json(document.encode())
store = Store.open(Path(path))
delivery = alerts.AlertDelivery(store, settings_of=lambda _: settings, clock=lambda: float(now_s))
delivery.deliver_due(deadline_s=30)
delivery.close()
store.close()
"""


def deliver_in_a_process(house: AlertHouse, die: str = "") -> int:
    """The exit code of a process that delivers; it kills itself `before` or `after` a method is called."""
    house.close()
    command = [sys.executable, "-c", DELIVERY, str(house.path), house.settings.to_json().decode()]
    environ = {**os.environ, **house.environ}
    done = subprocess.run(
        [*command, str(house.now_s), die], env=environ, cwd=CHECKOUT, timeout=60, check=False
    )
    house.store = Store.open(house.path)
    return done.returncode
