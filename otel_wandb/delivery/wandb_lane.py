"""What is to be done next for one run: a state machine that does nothing itself.

A row of a run waits in the store. It *flies* once it was logged, until it is read back. Rows that do not
arrive in time are sent again, fewer at once each time, after their run was finished and taken up anew: the
client then begins behind the last step that the server has, so that none arrives twice. Times are seconds of
a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from otel_wandb.delivery.pacing import Backoff
from otel_wandb.delivery.wandb_references import NamedReference
from otel_wandb.store import QueuedRow, StoredRun

OF_THE_CONTENT: Final = frozenset({400, 413, 422})
"""How a server, or a proxy before it, refuses what is in an upload, whoever sends it."""
_TRIES: Final = 2
_TABLE_TRIES: Final = 3
_MOST_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in seconds, and how much may be going on at once."""

    transmit_s: float = 15.0
    """How often wandb uploads what was logged; it takes less than a second for its default, which is 15."""
    patience_s: float = 90.0
    """How long a logged row may stay unseen: the client's own retries are up to a minute apart."""
    settle_s: float = 10.0
    """How long a finished run may still show nothing of what was uploaded."""
    look_again_s: float = 2.0
    """The wait after the first look that did not find all; it doubles, up to `transmit_s`."""
    idle_s: float = 600.0
    """A run to which nothing came for so long is finished; another row would open it again."""
    init_timeout_s: float = 20.0
    finish_timeout_s: float = 20.0
    max_open_runs: int = 128
    table_patience_s: float = 300.0
    """How long a row waits for its tables to be uploaded, while W&B answers, before it goes without them."""


@dataclass(slots=True)
class RunLane:
    """The way of rows to one run. To be used by one thread at a time."""

    run: StoredRun
    timing: Timing
    backoff: Backoff
    references: Sequence[NamedReference] = ()
    """What its views measure drift from."""
    open: bool = False
    opened_spec: bytes = b""
    next_step: int = 0
    """The first step that the open run takes."""
    flying: dict[int, int] = field(default_factory=dict)
    """Step and id of the rows that were logged and not seen yet."""
    used_at_s: float = 0.0
    retry_at_s: float = 0.0
    opened_at_s: float = 0.0
    problem: str = ""
    gone: str = ""
    """Why the run takes no row any more, as a reason for the ledger; empty while it does."""
    limit_rows: int = _MOST_ROWS
    failures: int = 0
    delivered: int = 0
    rejected: int = 0
    _check_at_s: float = 0.0
    _look_again_s: float = 0.0
    _resend_at_s: float = 0.0
    _passed_at_s: float | None = None
    _stuck: tuple[int, int, float] = (-1, 0, 0.0)
    """The row whose tables cannot be uploaded, how often W&B said so, and since when."""
    _bearer: int = -1
    """The last row with tables that was logged."""
    _held: bool = False
    """Whether another one waits for it to arrive."""
    _torn: dict[int, int] = field(default_factory=dict)
    """How often rows were found without files that they refer to."""

    @property
    def name(self) -> str:
        """What the run is called in the process that wandb lives in."""
        return str(self.run.id)

    @property
    def room(self) -> int:
        """How many more rows may fly."""
        return self.limit_rows - len(self.flying)

    @property
    def suspicious(self) -> bool:
        """Whether its next row alone seems to keep it from uploading anything."""
        return self.failures >= _TRIES and self.limit_rows == 1

    def next_at_s(self, waiting: int) -> float | None:
        """When there is something to do, if so many rows wait in the store; None: never by itself."""
        times = [self._check_at_s] if self.flying else []
        if waiting > len(self.flying) and self.room > 0 and not (self._held and self._bearer in self.flying):
            times.append(0.0)
        if self.open and not times:
            times.append(self.used_at_s + self.timing.idle_s)
        return max(min(times), self.retry_at_s) if times else None

    def must_check(self, now_s: float) -> bool:
        """Whether it is time to look what has arrived."""
        return bool(self.flying) and now_s >= self._check_at_s

    def note_open(self, spec: bytes, next_step: int, now_s: float) -> None:
        """The run is open, and takes rows from that step on."""
        self.open, self.opened_spec, self.next_step = True, spec, next_step
        self.opened_at_s = self.used_at_s = now_s

    def note_closed(self, now_s: float) -> None:
        """The run is finished, or its process is gone: what was not uploaded by now will not be."""
        self.open = False
        self._check_at_s = now_s
        self._look_again_s = min(self.timing.look_again_s, self.timing.settle_s / 4)
        self._resend_at_s = now_s + self.timing.settle_s

    def note_logged(self, rows: Collection[QueuedRow], now_s: float) -> None:
        """The rows were logged."""
        if not self.flying:
            self._resend_at_s = now_s + self.timing.patience_s
        if not self.flying or self._check_at_s > now_s + self.timing.transmit_s:
            self._check_at_s = now_s + self.timing.transmit_s + 0.5
            self._look_again_s = self.timing.look_again_s
        self.flying.update((row.step, row.id) for row in rows)
        self.next_step = max(self.next_step, 1 + max((row.step for row in rows), default=-1))
        self.used_at_s = now_s

    def note_seen(self, steps: Collection[int], now_s: float) -> list[int]:
        """The server has these steps; the ids of the rows that are thereby delivered."""
        seen = [self.flying.pop(step) for step in sorted(self.flying.keys() & steps)]
        if seen:
            self.note_progress(len(seen))
            self._resend_at_s = now_s + (self.timing.patience_s if self.open else self.timing.settle_s)
        self._check_at_s = now_s + self._look_again_s
        self._look_again_s = min(self.timing.transmit_s, 2 * self._look_again_s)
        return seen

    def note_progress(self, delivered: int) -> None:
        """So many rows have arrived: whatever was wrong is over."""
        self.delivered += delivered
        self.failures, self.problem, self.retry_at_s = 0, "", 0.0
        self.limit_rows = min(_MOST_ROWS, 2 * self.limit_rows)
        self.backoff.reset()

    def is_overdue(self, now_s: float, *, died_at_s: float) -> bool:
        """Whether what flies should have arrived; `died_at_s`: when wandb last gave up some upload."""
        died = self.open and died_at_s > self.opened_at_s
        return bool(self.flying) and (died or now_s >= self._resend_at_s)

    def hold_back(self, step: int) -> bool:
        """Whether the row, which has tables, waits until the one before it that had some has arrived.

        A table that was uploaded before a crash, and whose row was not, is thereby the last of its name, of
        which W&B makes no second version when it comes again.
        """
        self._held = self._bearer in self.flying
        if not self._held:
            self._bearer = step
        return self._held

    def unlog(self, step: int) -> None:
        """The row, the last of those that were to be logged, was not."""
        self.flying.pop(step, None)
        self.next_step = min(self.next_step, step)

    def note_stuck(self, step: int, why: str, now_s: float, *, final: bool) -> bool:
        """The tables of the row could not be uploaded; True where it should go without them now."""
        stuck, tries, since_s = self._stuck
        if stuck != step:
            tries, since_s = 0, now_s
        self._stuck = step, tries + final, since_s
        if tries + final >= _TABLE_TRIES or now_s > since_s + self.timing.table_patience_s:
            self._stuck = -1, 0, 0.0
            return True
        self.fail(why, now_s)
        return False

    def note_torn(self, steps: Collection[int]) -> frozenset[int]:
        """Of these rows W&B lacks files; those that stay without, after they were sent so often."""
        for step in steps:
            self._torn[step] = self._torn.get(step, 0) + 1
        return frozenset(step for step in steps if self._torn[step] > _TABLE_TRIES)

    def note_unreachable(self, now_s: float) -> None:
        """Nobody could look: what flies is given its time anew, since wandb cannot get through either."""
        self._resend_at_s = max(self._resend_at_s, now_s + self.timing.patience_s)
        self._check_at_s = max(self._check_at_s, now_s + self.timing.look_again_s)

    def note_lost(self, why: str, status: int | None, now_s: float) -> None:
        """The rows that fly have not arrived, and are to be sent again."""
        self.failures += 1
        if status in OF_THE_CONTENT or self.failures > 1:
            self.limit_rows = max(1, len(self.flying) // 10)
        self.flying.clear()
        self.fail(why, now_s)

    def fail(self, why: str, now_s: float) -> None:
        """Nothing is tried for a while."""
        self.problem = why
        self.retry_at_s = now_s + self.backoff.next_s()

    def may_pass_over(self, now_s: float) -> bool:
        """Whether rows that the server's history has passed have been missing there for long enough."""
        if self._passed_at_s is None:
            self._passed_at_s = now_s
        if now_s < self._passed_at_s + self.timing.settle_s:
            self.retry_at_s = max(self.retry_at_s, now_s + self.timing.look_again_s)
            return False
        self._passed_at_s = None
        return True

    def forget_passed(self) -> None:
        """No row that waits is older than the server's last one."""
        self._passed_at_s = None

    def describe(self, waiting: Mapping[int, int]) -> dict[str, object]:
        """The lane as plain data for `status`."""
        return {
            "run": self.run.run_id,
            "project": self.run.project,
            "open": self.open,
            "waiting": waiting.get(self.run.id, 0),
            "unconfirmed": len(self.flying),
            "delivered": self.delivered,
            "rejected": self.rejected,
            "problem": self.gone or self.problem,
        }
