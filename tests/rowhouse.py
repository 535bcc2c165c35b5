"""A store with rows that wait, and a delivery that takes them to the W&B peer."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from otel_wandb.delivery.pacing import Pace
from otel_wandb.delivery.wandb import WandbDelivery
from otel_wandb.delivery.wandb_lane import Timing
from otel_wandb.settings import Settings
from otel_wandb.store import NewRow, NewRun, NewTable, Store
from otel_wandb.store.rows import Bins, RowValue, encode_run, encode_values
from tests.peers.wandb import WandbPeer

PROJECT = "team/rag"
DAY_S = 1_795_564_800.0
QUICK = Pace(first_s=0.05, most_s=0.5, refused_s=60.0)
BRISK = Timing(
    transmit_s=1.0,
    patience_s=20.0,
    settle_s=2.0,
    look_again_s=0.2,
    idle_s=60.0,
    init_timeout_s=8.0,
    finish_timeout_s=8.0,
)
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Described:
    """What a run says of itself."""

    name: str
    group: str = "rag"
    job_type: str = "monitor"
    tags: tuple[str, ...] = ("prod",)
    config: dict[str, object] = field(default_factory=lambda: {"interval_s": 60})


class RowHouse:
    """A store, and whatever delivers its rows to the peer."""

    def __init__(self, peer: WandbPeer, directory: Path) -> None:
        self.peer = peer
        self.path = directory / "store.sqlite"
        self.environ = {"HOME": str(directory), "WANDB_API_KEY": peer.api_key, "WANDB_DIR": str(directory)}
        self.settings = Settings(base_url=peer.url, request_timeout_s=5.0)
        self.store = Store.open(self.path)
        self.deliveries: list[WandbDelivery] = []

    def configure(self, **changes: object) -> None:
        values = {name: getattr(self.settings, name) for name in Settings.__struct_fields__}
        self.settings = Settings(**{**values, **changes})

    def delivery(self, *, pace: Pace = QUICK, timing: Timing = BRISK) -> WandbDelivery:
        delivery = WandbDelivery(
            self.store,
            settings_of=lambda _: self.settings,
            environ=self.environ,
            pace=pace,
            timing=timing,
        )
        self.deliveries.append(delivery)
        return delivery

    def deliver(self, delivery: WandbDelivery | None = None) -> WandbDelivery:
        delivery = delivery or self.delivery()
        progress = delivery.deliver_due(deadline_s=PATIENCE_S)
        assert progress.waiting == 0, progress
        return delivery

    def queue(
        self,
        steps: Iterable[int],
        *,
        run: str = "run-1",
        project: str = PROJECT,
        described: Described | None = None,
        values: dict[str, RowValue] | None = None,
        tables: Mapping[str, bytes] | None = None,
    ) -> list[int]:
        """Store a row for each step, each with the tables; the steps."""
        steps = list(steps)
        entity, _, name = project.rpartition("/")
        with self.store.transaction() as tx:
            spec = encode_run(described or Described(run))
            destination = tx.add_destination("config", entity, name)
            run_id = tx.add_run(NewRun(destination, self.peer.url, run, spec))
            for step in steps:
                body = encode_values(values or values_of(step))
                added = tx.add_row(NewRow(run_id, step, DAY_S + 60.0 * (step + 1), body))
                for table, stored in (tables or {}).items():
                    tx.tables.add(NewTable(run_id, step, table, stored), with_row=added)
        return steps

    def counts(self, signal: str = "rows") -> dict[tuple[str, str, str], int]:
        return {key: n for key, n in self.store.reader.counts().items() if key[0] == signal and n}

    def assert_each_once(self, steps: Iterable[int], *, run: str = "run-1") -> None:
        """W&B has each of these rows once, in order, with the values and the time that were stored."""
        found = self.peer.history(run)
        assert [row["_step"] for row in found] == list(steps)
        for row in found:
            step = row["_step"]
            assert row["latency/p50_ms"] == values_of(step)["latency/p50_ms"]
            assert row["_timestamp"] == DAY_S + 60.0 * (step + 1)
        assert self.peer.conflicts() == []

    def close(self) -> None:
        for delivery in self.deliveries:
            delivery.close()
        self.deliveries.clear()
        self.store.close()


def main() -> None:
    """Add a row for each number up to the last and deliver them, beginning with what is there already."""
    directory, url, key, last = sys.argv[1:]
    settings = Settings(base_url=url, request_timeout_s=5.0)
    store = Store.open(Path(directory) / "store.sqlite")
    environ = {"HOME": directory, "WANDB_API_KEY": key, "WANDB_DIR": directory}
    delivery = WandbDelivery(store, settings_of=lambda _: settings, environ=environ, pace=QUICK, timing=BRISK)
    threading.Thread(target=delivery.run, args=(threading.Event(),), daemon=True).start()
    with store.transaction() as tx:
        destination = tx.add_destination("config", "team", "rag")
        run_id = tx.add_run(NewRun(destination, url, "run-1", encode_run(Described("run-1"))))
    for step in range(sum(1 for _ in store.reader.rows(run_id)), int(last)):
        with store.transaction() as tx:
            tx.add_row(NewRow(run_id, step, DAY_S + 60.0 * (step + 1), encode_values(values_of(step))))
        delivery.wake()
        time.sleep(0.02)
    while store.reader.waiting_rows():
        time.sleep(0.05)
    delivery.close()
    store.close()


def values_of(step: int) -> dict[str, RowValue]:
    """The values of the row of a step, a histogram among them in every tenth."""
    values: dict[str, RowValue] = {"latency/p50_ms": 1.5 * step, "latency/count": step}
    if step % 10 == 0:
        values["latency/histogram"] = Bins((1, 2), (0.0, 1.0, 5.5))
    return values


if __name__ == "__main__":
    main()
