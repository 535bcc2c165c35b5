"""One W&B server with one key: the process that its runs live in, and what is done with them in one round."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from otel_wandb.delivery.credentials import Secret, WeaveTarget
from otel_wandb.delivery.lanes import Block
from otel_wandb.delivery.pacing import Backoff, Pace
from otel_wandb.delivery.wandb_api import Place, WandbApi
from otel_wandb.delivery.wandb_host import HostError, HostSettings, Logged, RunError, RunHost, read_spec
from otel_wandb.delivery.wandb_lane import OF_THE_CONTENT, RunLane, Timing
from otel_wandb.delivery.wandb_references import NamedReference
from otel_wandb.delivery.wandb_tables import pack_rows, split_rows
from otel_wandb.errors import DeliveryError, DeliveryRefused, StoreError
from otel_wandb.store import QueuedRow, Store, StoredRun

_log = logging.getLogger("otel_wandb.delivery")

_DELETED: Final = "previously created and deleted"
_ROUND_BYTES: Final = 8 << 20
_LARGEST_ROW_BYTES: Final = 9 << 20
"""wandb drops a row of more than 9.9 MiB, and only says so on stderr."""
_FINISHED_AT_ONCE: Final = 8
_TELLING_S: Final = 12.0
"""wandb asks its service every 5 seconds what went wrong."""
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_SAY_AGAIN_S: Final = 60.0


class Account:
    """Delivers the rows of its runs. `work` and `close` are for one thread at a time."""

    def __init__(
        self, store: Store, target: WeaveTarget, *, pace: Pace, timing: Timing, timeout_s: float
    ) -> None:
        assert target.api_key is not None
        self.target = target
        self.key: Secret = target.api_key
        self.block: Block | None = None
        self.problem = ""
        self.stopping = False
        """Set from outside: a round ends as soon as it can."""
        self.lanes: dict[int, RunLane] = {}
        self._store = store
        self._pace = pace
        self._timing = timing
        self._api = WandbApi(target, timeout_s=timeout_s)
        self._host: RunHost | None = None
        self._backoff = Backoff(pace, f"{store.bridge_id}/{target.base_url}")
        self._retry_at_s = 0.0
        self._said: dict[str, float] = {}

    def next_at_s(self, waiting: Mapping[int, int], *, hurry: bool) -> float | None:
        """When `work` has something to do, by how many rows wait for each run; None: never by itself."""
        if self.block is not None:
            return self.block.again_at_s
        times = []
        for lane in self.lanes.values():
            own = waiting.get(lane.run.id, 0)
            idle = lane.open and not lane.flying and not own
            at_s = 0.0 if hurry and idle else lane.next_at_s(own)
            if at_s is not None:
                times.append(at_s)
        return max(self._retry_at_s, min(times)) if times else None

    def admit(self, run: StoredRun, references: Sequence[NamedReference] = ()) -> None:
        """Be responsible for a run, which uses these references, or hear what has changed about it."""
        lane = self.lanes.get(run.id)
        if lane is None:
            backoff = Backoff(self._pace, f"{self._store.bridge_id}/{run.run_id}")
            self.lanes[run.id] = RunLane(run, self._timing, backoff, used_at_s=time.monotonic())
        else:
            lane.run = run
        self.lanes[run.id].references = references

    def work(self, waiting: Mapping[int, int], *, hurry: bool) -> None:
        """One round: look what has arrived, log what waits, finish what is idle.

        `hurry`: finish each run as soon as all is logged, which uploads it at once.
        """
        self.block = None
        if self._host is not None and not self._host.alive:
            self._close_host()
        try:
            for lane in sorted(self.lanes.values(), key=lambda lane: lane.used_at_s):
                if self.stopping:
                    return
                self._serve(lane, waiting.get(lane.run.id, 0), hurry=hurry)
            self._finish_idle(waiting, hurry=hurry)
            if not any(lane.open or lane.flying or waiting.get(key) for key, lane in self.lanes.items()):
                self._close_host()
        except HostError as error:
            self._lose_host(str(error))
        except DeliveryRefused as error:
            self._refuse(error)
        except DeliveryError as error:
            self.pause(str(error))
        else:
            self._backoff.reset()
            self.problem = ""
        for run_id in [key for key, lane in self.lanes.items() if _is_done(lane, waiting.get(key, 0))]:
            del self.lanes[run_id]

    def close(self) -> None:
        """Finish all open runs, as far as that can be done in time, look once more, let the process go."""
        with suppress(HostError, DeliveryError, StoreError):
            self._finish([lane for lane in self.lanes.values() if lane.open])
            for lane in self.lanes.values():
                if lane.flying:
                    seen = self._api.steps(self.key, self._place(lane), min(lane.flying), max(lane.flying))
                    self._settle(lane, lane.note_seen(seen, time.monotonic()), "delivered")
        self._close_host()
        self._api.close()

    def interrupt(self) -> None:
        """What `work` or `close` waits for in another thread ends now; what was not uploaded still waits."""
        if (host := self._host) is not None:
            host.interrupt()

    def _serve(self, lane: RunLane, waiting: int, *, hurry: bool) -> None:
        now_s = time.monotonic()
        if now_s < lane.retry_at_s:
            return
        try:
            if lane.must_check(now_s):
                self._check(lane)
            if waiting > len(lane.flying) and lane.room > 0 and now_s >= lane.retry_at_s:
                self._send(lane)
            if hurry and lane.open and lane.flying:
                self._finish([lane])
                self._check(lane)
        except RunError as error:
            self._fail_run(lane, str(error))
        except DeliveryRefused as error:
            if error.status in (_UNAUTHORIZED, _FORBIDDEN):
                raise
            lane.fail(str(error), now_s)
            self._say(lane.name, "%s; the rows of the run %s wait", error, lane.run.run_id)
        except DeliveryError:
            lane.note_unreachable(now_s)
            raise

    def _check(self, lane: RunLane) -> None:
        """Look which of the rows that fly have arrived, and act on those that are overdue."""
        seen = self._api.steps(self.key, self._place(lane), min(lane.flying), max(lane.flying))
        self._settle(lane, lane.note_seen(seen, time.monotonic()), "delivered")
        died_at_s = self._host.died_at_s if self._host else 0.0
        if not lane.is_overdue(time.monotonic(), died_at_s=died_at_s):
            return
        if lane.open:  # what is still on its way comes now, and then it is known that nothing else comes
            self._finish([lane])
            return
        status = self._host.died_of if self._host else None
        why = f"the upload to the run {lane.run.run_id} has ended" + (
            f" with HTTP {status}" if status else ""
        )
        self._say(lane.name, "%s; its %d last rows are sent again", why, len(lane.flying))
        lane.note_lost(why, status, time.monotonic())

    def _send(self, lane: RunLane) -> None:
        """Log the next rows that wait."""
        flying = frozenset(lane.flying.values())
        due = self._store.reader.due_rows(lane.run.id, lane.limit_rows + len(flying), _ROUND_BYTES)
        rows = [row for row in due if row.id not in flying][: lane.room]
        if lane.gone:
            self._settle(lane, [row.id for row in rows], "rejected", lane.gone)
            return
        large = [row.id for row in rows if len(row.values) > _LARGEST_ROW_BYTES]
        self._settle(lane, large, "rejected", "too_large")
        rows = [row for row in rows if row.id not in large]
        alone = lane.suspicious
        if not lane.open:
            rows = self._take_up(lane, rows)
        if rows:
            self._log(lane, rows)
        if rows and alone:
            self._judge(lane, rows[0])

    def _take_up(self, lane: RunLane, rows: list[QueuedRow]) -> list[QueuedRow]:
        """Open the run where the server has left off; the rows that are still to be logged.

        Some may be there: logged before a restart, or uploaded by hand from an exported directory.
        """
        if not rows:
            return rows
        place = self._place(lane)
        last = self._api.last_step(self.key, place)
        if last is not None and rows[0].step <= last:
            there, torn = self._api.arrived(self.key, place, rows[0].step, min(last, rows[-1].step))
            if lost := lane.note_torn(torn):
                self._give_up_tables(lane, [row for row in rows if row.step in lost], "file_missing")
                there, torn = there | lost, torn - lost
            if found := [row.id for row in rows if row.step in there]:
                self._settle(lane, found, "delivered")
                lane.note_progress(len(found))
            passed = [row.id for row in rows if row.step <= last and row.step not in there | torn]
            rows = [row for row in rows if row.step > last or row.step in torn]
            if passed and lane.may_pass_over(time.monotonic()):
                # The history only grows at its end, so there is no way to bring them in any more.
                self._settle(lane, passed, "rejected", "step_passed")
        else:
            lane.forget_passed()
        if rows:
            self._open(lane)
        return rows

    def _open(self, lane: RunLane) -> None:
        if lane.suspicious or (self._host and lane.name in self._host.spoiled):
            self._finish([other for other in self.lanes.values() if other.open])
            self._close_host()
        host = self._ensure_host()
        if len(host.open_runs) >= self._timing.max_open_runs:
            open_lanes = sorted(
                (other for other in self.lanes.values() if other.open),
                key=lambda other: (bool(other.flying), other.used_at_s),
            )
            self._finish(open_lanes[:_FINISHED_AT_ONCE])
        self._place(lane)
        opened = host.open(lane.name, read_spec(lane.run), lane.references)
        lane.note_open(lane.run.spec, opened.starting_step, time.monotonic())

    def _log(self, lane: RunLane, rows: Sequence[QueuedRow]) -> None:
        host = self._ensure_host()
        if lane.run.spec != lane.opened_spec:
            host.describe(lane.name, read_spec(lane.run))
            lane.opened_spec = lane.run.spec
        tables = self._store.reader.tables.of(lane.run.id, [row.step for row in rows], waiting=True)
        for piece in split_rows(rows, tables):
            held = piece[-1].step in tables and lane.hold_back(piece[-1].step)
            piece = piece[:-1] if held else piece  # noqa: PLW2901  the others need not wait
            packed = pack_rows(
                piece, tables, next_step=lane.next_step, target=self.target, place=self._place(lane)
            )
            # A row behind the run's next step is not taken; it flies all the same: it may be there already.
            lane.note_logged(piece, time.monotonic())
            logged = host.log(lane.name, packed) if packed else Logged()
            self._note_logged(lane, piece, logged)
            if held or logged.stuck or self.stopping:
                break

    def _note_logged(self, lane: RunLane, rows: Sequence[QueuedRow], logged: Logged) -> None:
        if stuck := logged.stuck:
            lane.unlog(stuck.step)
        for step, why in logged.refused.items():
            self._settle(lane, [lane.flying.pop(step)], "rejected", "malformed")
            _log.warning("wandb does not take the row %d of the run %s: %s", step, lane.run.run_id, why)
        for step, why in logged.spoiled.items():
            self._give_up_tables(lane, [row for row in rows if row.step == step], "malformed", why)
        if stuck:
            self._api.last_step(self.key, self._place(lane))  # raises where W&B itself cannot be reached
            if lane.note_stuck(stuck.step, stuck.why, time.monotonic(), final=stuck.final):
                left = [row for row in rows if row.step == stuck.step]
                self._give_up_tables(lane, left, "not_uploaded", stuck.why)

    def _give_up_tables(self, lane: RunLane, rows: Sequence[QueuedRow], reason: str, why: str = "") -> None:
        with self._store.transaction() as tx:
            tx.tables.settle_of([row.id for row in rows], "rejected", reason)
        text = "Tables of the run %s can never be delivered (%s: %s); they stay in the local store"
        self._say(f"{lane.name}/tables/{reason}", text, lane.run.run_id, reason, why)

    def _judge(self, lane: RunLane, row: QueuedRow) -> None:
        """Watch the upload of a row that is under suspicion, alone, and reject it if that proves it.

        While a run is open wandb tells of what its upload died, though not when it is finished at once.
        """
        host, until_s = self._host, time.monotonic() + self._timing.transmit_s + _TELLING_S
        while lane.flying and host is not None and host.died_of is None and time.monotonic() < until_s:
            if self.stopping:
                return
            time.sleep(min(1.0, self._timing.look_again_s))
            seen = self._api.steps(self.key, self._place(lane), row.step, row.step)
            self._settle(lane, lane.note_seen(seen, time.monotonic()), "delivered")
        if lane.flying and host is not None and host.died_of in OF_THE_CONTENT:
            lane.flying.clear()
            self._settle(lane, [row.id], "rejected", f"http_{host.died_of}")
            self._finish([lane])
            lane.note_progress(0)

    def _finish(self, lanes: Iterable[RunLane]) -> None:
        lanes = list(lanes)
        if lanes and self._host is not None:
            self._host.finish(lane.name for lane in lanes)
        for lane in lanes:
            lane.note_closed(time.monotonic())

    def _finish_idle(self, waiting: Mapping[int, int], *, hurry: bool) -> None:
        """Finish the runs that nothing comes to any more: after a while, or when the next day has begun."""
        now_s = time.monotonic()
        newest: dict[tuple[str, str, str], int] = {}
        for lane in self.lanes.values():
            series = _series_of(lane.run)
            newest[series] = max(newest.get(series, 0), lane.run.id)

        def is_over(lane: RunLane) -> bool:
            replaced = newest[_series_of(lane.run)] > lane.run.id
            return hurry or replaced or now_s > lane.used_at_s + self._timing.idle_s

        idle = [lane for lane in self.lanes.values() if lane.open and not lane.flying]
        self._finish(lane for lane in idle if not waiting.get(lane.run.id) and is_over(lane))

    def _settle(self, lane: RunLane, row_ids: Collection[int], outcome: str, reason: str = "") -> None:
        if not row_ids:
            return
        with self._store.transaction() as tx:
            tx.settle_rows(row_ids, outcome, reason)
        if outcome == "rejected":
            lane.rejected += len(row_ids)
            text = "%d rows of the run %s can never be delivered (%s); they stay in the local store"
            self._say(f"{lane.name}/{reason}", text, len(row_ids), lane.run.run_id, reason)

    def _place(self, lane: RunLane) -> Place:
        run = lane.run
        if not run.entity:
            entity = self.target.entity or self._api.default_entity(self.key)
            if not entity:
                text = "the API key has no default entity; set WANDB_ENTITY, or the project as entity/project"
                raise DeliveryRefused(text, status=0, answer="")
            with self._store.transaction() as tx:
                tx.set_entity(run.destination, entity)
            lane.run = run = run._replace(entity=entity)
        return Place(run.entity, run.project, run.run_id)

    def _ensure_host(self) -> RunHost:
        if self._host is None:
            target, timing = self.target, self._timing
            self._host = RunHost(
                HostSettings(
                    base_url=target.base_url,
                    api_key=self.key,
                    proxy=target.proxy,
                    verify_tls=target.verify_tls,
                    transmit_s=timing.transmit_s,
                    init_timeout_s=timing.init_timeout_s,
                    finish_timeout_s=timing.finish_timeout_s,
                )
            )
        return self._host

    def _close_host(self) -> None:
        host, self._host = self._host, None
        if host is not None:
            host.kill()
        for lane in self.lanes.values():
            if lane.open:
                lane.note_closed(time.monotonic())

    def _fail_run(self, lane: RunLane, why: str) -> None:
        if _DELETED in why:
            lane.gone = "run_deleted"
            self._say(lane.name, "The run %s was deleted in W&B: %s", lane.run.run_id, why)
            return
        self._say(lane.name, "wandb does not open the run %s: %s; its rows wait", lane.run.run_id, why)
        lane.fail(why, time.monotonic())

    def _lose_host(self, why: str) -> None:
        self._close_host()
        self.pause(why)

    def pause(self, why: str) -> None:
        """Nothing is tried for a while."""
        self.problem = why
        self._retry_at_s = time.monotonic() + self._backoff.next_s()
        self._say("account", "%s; nothing is lost, it is tried again", why)

    def _refuse(self, error: DeliveryRefused) -> None:
        self.block = Block("refused", str(error), time.monotonic() + self._pace.refused_s, self.key)
        self._say("account", "Rows are not sent to %s: %s", self.target.base_url, error)

    def _say(self, reason: str, text: str, *arguments: object) -> None:
        now_s = time.monotonic()
        if now_s >= self._said.get(reason, now_s):
            self._said[reason] = now_s + _SAY_AGAIN_S
            _log.warning(text, *arguments)


def _is_done(lane: RunLane, waiting: int) -> bool:
    return not (lane.open or lane.flying or waiting or lane.gone)


def _series_of(run: StoredRun) -> tuple[str, str, str]:
    spec = read_spec(run)
    return (spec.entity, spec.project, spec.group)
