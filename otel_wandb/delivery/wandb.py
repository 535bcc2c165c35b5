"""Delivers the rows that the store holds to W&B runs: each row once, however often anything is killed.

What confirms a row: nothing that the client says. `log` and `finish` return as if all were well, and its
states stay empty, when an upload has died for good (measured with wandb 0.31; only a line on stderr tells).
So a row counts as delivered when its step was read back from the history of its run by GraphQL, and until
then it is sent again: a client that takes up a run begins behind the last step that the server has, and rows
are always logged in the order of their steps, so what it sends twice are the same lines in the same places.

wandb lives in a child process of the bridge (`wandb_host`), one for each server and key: there it can be
thrown away whenever it hangs, has lost an upload, or holds the id of a run that failed to open.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from otel_wandb.delivery.credentials import Secret, WeaveTarget
from otel_wandb.delivery.pacing import Pace
from otel_wandb.delivery.wandb_account import Account
from otel_wandb.delivery.wandb_lane import Timing
from otel_wandb.delivery.wandb_references import list_references
from otel_wandb.delivery.weave import DeliveryProgress
from otel_wandb.errors import ConfigError, CredentialError
from otel_wandb.settings import Settings
from otel_wandb.store import Store, StoredRun

_log = logging.getLogger("otel_wandb.delivery")

_POLL_S: Final = 1.0
_SHORTEST_S: Final = 0.005
_TARGET_AGE_S: Final = 1.0
_LEAVE_S: Final = 5.0

_AccountKey = tuple[str, str, bool, Secret]


@dataclass(frozen=True, slots=True)
class _Found:
    at_s: float
    target: WeaveTarget | None
    problem: str


class WandbDelivery:
    """The way from the store's rows to W&B. All methods may be called from any thread."""

    def __init__(
        self,
        store: Store,
        *,
        settings_of: Callable[[str], Settings],
        environ: Mapping[str, str] = os.environ,
        pace: Pace | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._store = store
        self._settings_of = settings_of
        self._environ = environ
        self._pace = pace or Pace()
        self._timing = timing or Timing()
        self._lock = threading.Lock()
        self._found: dict[str, _Found] = {}
        self._accounts: dict[_AccountKey, Account] = {}
        self._retiring: set[Account] = set()
        self._threads: dict[Account, threading.Thread] = {}
        self._unusable: dict[str, str] = {}
        self._waiting: dict[int, int] = {}
        self._wake = threading.Event()
        self._closed = self._hurry = False
        self._offline_reason = ""

    @property
    def offline(self) -> bool:
        """Whether no row can be sent for want of a key, or by the user's wish."""
        now_s = time.monotonic()
        configs = {run.config for run in self._store.reader.waiting_runs()} or {""}
        found = [self._find(config, now_s) for config in configs]
        return all(one.target is not None and one.target.offline != "" for one in found)

    def hurry(self) -> None:
        """From now on finish each run as soon as all is logged, which uploads it at once: the end is near."""
        self._hurry = True
        self._wake.set()

    def wake(self) -> None:
        """Look at the rows now: some were added."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set; returns within a fraction of a second then, whatever is under way."""
        while not stop.is_set() and not self._closed:
            try:
                next_at_s, _ = self._start_rounds(hurry=self._hurry)
            except Exception:  # noqa: BLE001  a store that is busy or broken; the thread must go on
                _log.exception("The delivery of rows stumbled; it goes on in a second")
                next_at_s = time.monotonic() + 1.0
            self._sleep(next_at_s, time.monotonic() + _POLL_S)

    def deliver_due(self, *, deadline_s: float | None) -> DeliveryProgress:
        """Deliver until nothing is left that can be; then tell. Runs are finished, so that it goes fast.

        Returns early where only the user can help (offline, refused) or where the next attempt is due after
        the deadline. None: no deadline.
        """
        end_s = None if deadline_s is None else time.monotonic() + deadline_s
        self._found.clear()  # a key may have been set a moment ago
        before = self._totals()
        while not self._closed:
            next_at_s, busy = self._start_rounds(hurry=True)
            now_s = time.monotonic()
            if end_s is not None and now_s >= end_s:
                break
            nothing_due = next_at_s is None or (end_s is not None and next_at_s > end_s)
            if nothing_due and not busy:
                break
            self._sleep(next_at_s, now_s + _POLL_S if end_s is None else min(end_s, now_s + _POLL_S))
        after = self._totals()
        return DeliveryProgress(
            delivered=after[0] - before[0],
            rejected=after[1] - before[1],
            waiting=self._store.reader.waiting_rows(),
            problem="; ".join(self._problems()) or self._offline_reason,
        )

    def state(self) -> dict[str, object]:
        """What the delivery of rows is at, as plain data for `status`."""
        waiting = self._waiting
        lanes = [lane for account in list(self._accounts.values()) for lane in list(account.lanes.values())]
        return {
            "offline": self.offline,
            "problems": self._problems(),
            "runs": [lane.describe(waiting) for lane in lanes],
        }

    def sentence(self) -> str:
        """What the delivery is at, in words, and what the user has to do where something hinders it."""
        if problems := self._problems():
            return "; ".join(problems)
        accounts = list(self._accounts.values())
        open_runs = sum(lane.open for account in accounts for lane in list(account.lanes.values()))
        return "rows stay here" if self.offline else f"{open_runs} W&B runs open"

    def close(self, *, deadline_s: float = _LEAVE_S) -> None:
        """Finish the open runs as far as the time allows, and let go of the store.

        What was not read back by then still waits, and is looked for at the next start.
        """
        self._closed = True
        self._wake.set()
        with self._lock:
            accounts = [*self._accounts.values(), *self._retiring]
            self._accounts.clear()
        timers = [threading.Timer(deadline_s, account.interrupt) for account in accounts]
        for account, timer in zip(accounts, timers, strict=True):
            account.stopping = True
            timer.start()
        for thread in list(self._threads.values()):
            thread.join()
        for account in accounts:
            account.close()
        for timer in timers:
            timer.cancel()
            timer.join()

    def _totals(self) -> tuple[int, int]:
        totals = Counter[str]()
        for (signal, outcome, _), n in self._store.reader.counts().items():
            if signal == "rows":
                totals[outcome] += n
        return totals["delivered"], totals["rejected"]

    def _start_rounds(self, *, hurry: bool) -> tuple[float | None, bool]:
        """Start what is due; when the next thing is, and whether anything was under way or was started."""
        now_s = time.monotonic()
        runs = self._store.reader.waiting_runs()
        times: list[float] = []
        with self._lock:
            busy = bool(self._threads)
            self._waiting = {run.id: run.waiting for run in runs}
            busy = self._retire(now_s) or busy  # what a closing account holds is assigned in the next round
            self._assign(runs, now_s)
            for account in self._accounts.values():
                at_s = account.next_at_s(self._waiting, hurry=hurry)
                if account in self._threads or self._closed or at_s is None:
                    continue
                if at_s > now_s:
                    times.append(at_s)
                    continue
                self._start(account, partial(account.work, self._waiting, hurry=hurry))
                busy = True
        return min(times, default=None), busy

    def _assign(self, runs: Iterable[StoredRun], now_s: float) -> None:
        """Give each run to the account that its settings lead to now."""
        self._unusable, self._offline_reason = {}, ""
        held = {run_id for account in self._retiring for run_id in account.lanes}
        for run in runs:
            found = self._find(run.config, now_s)
            if found.target is None:
                self._unusable[run.project] = found.problem
            elif found.target.offline:
                self._offline_reason = found.target.offline
            elif (key := _key_of(found.target)) is not None and run.id not in held:
                account = self._ensure_account(key, found.target, run)
                if account is not None and account not in self._threads:
                    references = list_references(self._settings_of(run.config).views)
                    account.admit(run, references)

    def _ensure_account(self, key: _AccountKey, target: WeaveTarget, run: StoredRun) -> Account | None:
        account = self._accounts.get(key)
        if account is None:
            timeout_s = self._settings_of(run.config).request_timeout_s
            try:
                account = Account(
                    self._store, target, pace=self._pace, timing=self._timing, timeout_s=timeout_s
                )
            except (OSError, ValueError) as error:  # a proxy or a certificate file that is none
                self._unusable[run.project] = f"connections cannot be set up: {error}"
                return None
            self._accounts[key] = account
        return account

    def _retire(self, now_s: float) -> bool:
        """Close the accounts that no settings lead to any more, since a key has changed, or the mode.

        True: some were.
        """
        retired = False
        for key, account in list(self._accounts.items()):
            configs = {lane.run.config for lane in list(account.lanes.values())}
            found = [self._find(config, now_s).target for config in configs]
            if account in self._threads or any(target and _key_of(target) == key for target in found):
                continue
            if configs:
                del self._accounts[key]
                self._retiring.add(account)
                self._start(account, account.close)
                retired = True
        return retired

    def _start(self, account: Account, work: Callable[[], None]) -> None:
        thread = threading.Thread(
            target=self._carry_out, args=(account, work), name="otel-wandb-rows", daemon=True
        )
        self._threads[account] = thread
        thread.start()

    def _carry_out(self, account: Account, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  a full disk, a mistake of ours: reading back tells all
            _log.exception("The delivery of rows was interrupted")
            account.pause(str(error))
        finally:
            self._retiring.discard(account)
            self._threads.pop(account, None)
            self._wake.set()

    def _find(self, config: str, now_s: float) -> _Found:
        """Where W&B is, looked up anew each second, so that a key may rotate."""
        found = self._found.get(config)
        if found is None or now_s - found.at_s >= _TARGET_AGE_S:
            try:
                found = _Found(now_s, WeaveTarget.find(self._settings_of(config), self._environ), "")
            except (ConfigError, CredentialError, OSError) as error:
                found = _Found(now_s, None, str(error))
            self._found[config] = found
        return found

    def _problems(self) -> list[str]:
        problems = {f"{project}: {problem}" for project, problem in dict(self._unusable).items()}
        for account in list(self._accounts.values()):
            lanes = list(account.lanes.values())
            problems.add(account.block.reason if account.block else account.problem)
            problems.update(lane.problem for lane in lanes)
            problems.update(f"run {lane.run.run_id}: {lane.gone}" for lane in lanes if lane.gone)
        return sorted(problems - {""})

    def _sleep(self, *until_s: float | None) -> None:
        wait_s = min(at_s for at_s in until_s if at_s is not None) - time.monotonic()
        if self._wake.wait(max(_SHORTEST_S, wait_s)):
            self._wake.clear()


def _key_of(target: WeaveTarget) -> _AccountKey | None:
    if target.offline or target.api_key is None:
        return None
    return (target.base_url, target.proxy, target.verify_tls, target.api_key)
