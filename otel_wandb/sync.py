"""Uploads what a data directory has kept: once, however often it is called or killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from otel_wandb.bridge import open_bridge
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.delivery.alerts import AlertDelivery
from otel_wandb.delivery.pacing import Pace
from otel_wandb.delivery.wandb import WandbDelivery
from otel_wandb.delivery.wandb_lane import Timing
from otel_wandb.delivery.weave import DeliveryProgress, WeaveDelivery
from otel_wandb.errors import BridgeRunning
from otel_wandb.store import Store

_BUSY = (
    "Given a key it uploads by itself, and `otel-wandb status` tells what waits; without one, call sync when "
    "the service has ended."
)
_ALERTS_S = 10.0
_NOTHING = DeliveryProgress(delivered=0, rejected=0, waiting=0, problem="")


@dataclass(frozen=True, slots=True)
class Synced:
    """What was uploaded, and what is left and why."""

    calls: DeliveryProgress = _NOTHING
    rows: DeliveryProgress = _NOTHING

    @property
    def complete(self) -> bool:
        """Whether nothing waits any more."""
        return not self.calls.left and not self.rows.left

    @property
    def problem(self) -> str:
        """Why something is left, and what to do about it; empty where nothing is."""
        problems = [part.problem for part in (self.calls, self.rows) if part.left]
        return "; ".join(dict.fromkeys(filter(None, problems)))


def sync(
    data_dir: DataDir,
    settings: Settings,
    *,
    environ: Mapping[str, str] = os.environ,
    deadline_s: float | None = None,
    pace: Pace | None = None,
    timing: Timing | None = None,
) -> Synced:
    """Upload what waits in the directory, with the key that is found here, and what the journal holds.

    Where things go is in what was stored; of `settings`, the server and the place of the key go before that.
    That the mode was offline then does not matter: calling this is the wish to be online.

    Raises:
        BridgeRunning: a bridge works on the directory. Given a key it uploads by itself.
        StoreError: the store cannot be used.
    """
    try:
        bridge = open_bridge(data_dir, settings, deliver=False)
    except BridgeRunning as error:
        raise BridgeRunning(f"{error}. {_BUSY}") from None
    try:
        while bridge.step():
            pass
    finally:
        bridge.close()
    with data_dir.lock():
        store = Store.open(data_dir.store, fsync=settings.fsync, quarantine=data_dir.quarantine)
        try:
            return _deliver(store, _settings_of(data_dir, settings), environ, deadline_s, pace, timing)
        finally:
            store.close()


def _deliver(
    store: Store,
    settings_of: Callable[[str], Settings],
    environ: Mapping[str, str],
    deadline_s: float | None,
    pace: Pace | None,
    timing: Timing | None,
) -> Synced:
    deliveries = (
        WeaveDelivery(store, settings_of=settings_of, environ=environ, pace=pace),
        WandbDelivery(store, settings_of=settings_of, environ=environ, pace=pace, timing=timing),
    )
    alerts = AlertDelivery(store, settings_of=settings_of, environ=environ)
    try:
        with ThreadPoolExecutor(len(deliveries)) as pool:  # neither waits for a server that the other misses
            calls, rows = pool.map(lambda delivery: delivery.deliver_due(deadline_s=deadline_s), deliveries)
        alerts.deliver_due(deadline_s=min(_ALERTS_S, deadline_s or _ALERTS_S))  # what is not late by now
    finally:
        for delivery in (*deliveries, alerts):
            delivery.close()
    return Synced(calls, rows)


def _settings_of(data_dir: DataDir, given: Settings) -> Callable[[str], Settings]:
    places = ("base_url", "trace_url", "api_key_file", "proxy")
    wished: dict[str, str] = {name: text for name in places if (text := getattr(given, name))}

    def find(digest: str) -> Settings:
        document = data_dir.read_config(digest) if digest else None
        stored = Settings.from_json(document) if document else given
        return msgspec.structs.replace(stored, mode="online", **wished)

    return find
