"""What may be sent to one project, and when: a state machine that does nothing itself but read the outbox.

A call of the outbox is *waiting*, *claimed* by a request under way, or *held*: its answer was lost, and it is
read back before anything else happens to it. What the server failed on is sent again in tenths, so that the
one call that it cannot stomach ends up alone, where it is tried ever more rarely and keeps nobody waiting.
Times are seconds of a monotonic clock: a jump of the wall clock delays nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, NamedTuple

from otel_wandb.delivery.cargo import Cargo, ItemT
from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.pacing import Backoff, Pace
from otel_wandb.store import Destination, StoreReader

_SMALLEST_LIMIT_BYTES: Final = 64 << 10
_ENVELOPE_BYTES: Final = 512
"""What sending adds to a call at most: the names of project and run."""
_CUT: Final = 10
"""What the server failed on comes again in so many parts."""
_LONE_FAILURES: Final = 3
"""So many single calls that fail, and nothing that works in between, are the fault of the server."""
_HOPELESS: Final = 20
"""So many calls in a row that are refused for their content make one doubt the project's address."""


class Limits(NamedTuple):
    """How much may be sent at once."""

    calls: int
    size_bytes: int
    requests: int
    settle_s: float


class CallName(NamedTuple):
    """What a call is called in the store and in Weave."""

    id: int
    weave_id: str


@dataclass(frozen=True, slots=True)
class Held:
    """Calls of which nobody knows whether Weave has them, until they are read back."""

    calls: tuple[CallName, ...]
    check_at_s: float
    suspicious: bool
    """The server failed on them: if it has none of them, one of them may be the reason."""

    @property
    def lone(self) -> bool:
        """Whether this is one call that was singled out, and says little about the server."""
        return self.suspicious and len(self.calls) == 1


@dataclass(frozen=True, slots=True)
class Send(Generic[ItemT]):
    """A step: post these calls."""

    calls: tuple[ItemT, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A step: read these calls back."""

    held: Held


@dataclass(frozen=True, slots=True)
class Block:
    """Why nothing is tried for now: something that only time or the user can change."""

    kind: Literal["offline", "unusable", "refused"]
    reason: str
    again_at_s: float = 0.0
    key: Secret | None = None


@dataclass(slots=True)
class _Suspect:
    group: int
    """It may travel with at most so many calls, itself included."""
    failures: int = 0
    not_before_s: float = 0.0


@dataclass(slots=True)
class Lane(Generic[ItemT]):
    """The way to one project for calls or for feedback. Its methods are called under one lock."""

    cargo: Cargo[ItemT]
    id: int
    config: str
    entity: str
    project: str
    pace: Pace
    backoff: Backoff
    block: Block | None = None
    default_entity: str = ""
    known_project: bool = False
    delivered: int = 0
    rejected: int = 0
    problem: str = ""
    flying: int = 0
    limit_bytes: int = 1 << 62
    _checking: bool = False
    _cursor: int = 0
    _resume_at_s: float = 0.0
    _failures: int = 0
    _failed_alone: set[int] = field(default_factory=set)
    _rejected_in_a_row: int = 0
    _claimed: set[int] = field(default_factory=set)
    _held: list[Held] = field(default_factory=list)
    _suspects: dict[int, _Suspect] = field(default_factory=dict)

    @classmethod
    def to(cls, destination: Destination, cargo: Cargo[ItemT], pace: Pace, seed: str) -> Lane[ItemT]:
        """The lane of a destination; `seed` makes its waits its own."""
        return cls(
            cargo=cargo,
            id=destination.id,
            config=destination.config,
            entity=destination.entity,
            project=destination.project,
            pace=pace,
            backoff=Backoff(pace, f"{seed}/{destination.id}"),
        )

    @property
    def project_id(self) -> str:
        """What Weave calls the project."""
        return f"{self.entity}/{self.project}" if self.entity else self.project

    @property
    def held_calls(self) -> int:
        """How many calls wait to be read back."""
        return sum(len(held.calls) for held in self._held)

    @property
    def hopeless(self) -> bool:
        """Whether nothing but refusals ever came, and so many that it can hardly be the calls."""
        return not self.delivered and self._rejected_in_a_row >= _HOPELESS

    @property
    def busy(self) -> bool:
        """Whether a step is under way."""
        return self._checking or self.flying > 0

    def next_step(self, reader: StoreReader, now_s: float, limits: Limits) -> Send[ItemT] | Check | None:
        """What is to be done now; the caller does it and reports the outcome, then `end_step`."""
        if self.block is not None:
            return None
        if self.cargo.waits_for_others:
            self._cursor = 0
        if not self._checking:
            for held in self._held:
                if held.check_at_s <= now_s:
                    self._held.remove(held)
                    self._checking = True
                    return Check(held)
        sends_at_s = self._sends_at_s()
        if sends_at_s is None or sends_at_s > now_s:
            return None
        if self.flying >= (limits.requests if self.known_project else 1):
            return None
        calls = self._take(reader, now_s, limits)
        if not calls:
            return None
        self._claimed.update(call.id for call in calls)
        self.flying += 1
        return Send(calls)

    def next_at_s(self, now_s: float) -> float | None:
        """When something is to be done again by itself; None where it takes new calls, or the user."""
        if self.block is not None:
            return None
        times = [] if self._checking else [held.check_at_s for held in self._held]
        sends_at_s = self._sends_at_s()
        if sends_at_s is not None and not self.flying:
            later = [suspect.not_before_s for suspect in self._suspects.values() if suspect.not_before_s]
            times += [max(sends_at_s, min(later))] if later else []
            times += [sends_at_s] if sends_at_s > now_s else []
        return min(times, default=None)

    def end_step(self, step: Send[ItemT] | Check) -> None:
        """The step is over, and its outcome reported."""
        if isinstance(step, Check):
            self._checking = False
        else:
            self.flying -= 1

    def note_taken(self, ids: Collection[int]) -> None:
        """Weave has these calls."""
        self.delivered += len(ids)
        self._forget(ids)
        self._succeed()

    def note_rejected(self, call_id: int) -> None:
        """Weave will never take this call; the server works."""
        rejected_in_a_row = self._rejected_in_a_row + 1
        self._forget((call_id,))
        self._succeed()
        self.rejected += 1
        self._rejected_in_a_row = rejected_in_a_row

    def note_waiting(self, ids: Collection[int]) -> None:
        """Weave does not have these calls: they are sent again."""
        self._claimed.difference_update(ids)
        if ids:
            self._cursor = min(self._cursor, min(ids) - 1)

    def note_failure(self, problem: str, now_s: float, *, asked_s: float | None = None) -> None:
        """The server failed, or asks for patience: wait before the next request."""
        self.problem = problem
        self._failures += 1
        self._resume_at_s = now_s + self.backoff.next_s(asked_s)

    def note_loss(self, calls: Sequence[ItemT], problem: str, now_s: float, settle_s: float) -> None:
        """The answer was lost: hold the calls, and wait, unless one single call may be the reason."""
        self.hold(calls, now_s + settle_s, suspicious=True)
        if len(calls) == 1:
            self._failed_alone.add(calls[0].id)
        if len(calls) > 1 or len(self._failed_alone) >= _LONE_FAILURES:
            self.note_failure(problem, now_s)
        self.problem = problem

    def hold(self, calls: Iterable[ItemT], check_at_s: float, *, suspicious: bool) -> None:
        """Nobody knows whether Weave has these calls: read them back then."""
        names = tuple(CallName(call.id, call.weave_id) for call in calls)
        if names:
            self._claimed.update(name.id for name in names)
            self._held.append(Held(names, check_at_s, suspicious))

    def hold_again(self, held: Held, check_at_s: float) -> None:
        """Reading back has failed: try again then."""
        self._held.append(Held(held.calls, check_at_s, held.suspicious))

    def note_missing(self, held: Held, ids: Sequence[int], now_s: float) -> None:
        """Of the calls that were held, Weave does not have these."""
        self.note_waiting(ids)
        if not held.suspicious or len(ids) < len(held.calls):
            return
        group = max(1, len(ids) // _CUT)
        for call_id in ids:
            suspect = self._suspects.setdefault(call_id, _Suspect(group))
            suspect.group = group
            if held.lone:
                suspect.failures += 1
                wait_s = min(self.pace.most_s, self.pace.first_s * 2.0 ** min(suspect.failures, 30))
                suspect.not_before_s = now_s + wait_s

    def refuse(self, reason: str, now_s: float, key: Secret | None) -> None:
        """Try nothing for a while, unless the key changes."""
        self.problem = reason
        self.known_project = False
        self._rejected_in_a_row = 0
        self.block = Block("refused", reason, now_s + self.pace.refused_s, key)

    def learn_limit(self, refused_bytes: int) -> None:
        """A request of this size was too large: make smaller ones."""
        self.limit_bytes = max(_SMALLEST_LIMIT_BYTES, min(self.limit_bytes, refused_bytes // 2))

    def _sends_at_s(self) -> float | None:
        """When the next request may go out; None where another one must be over first.

        While the server fails, one request at a time finds out whether it still does.
        """
        unclear = self.flying or any(not held.lone for held in self._held)
        return None if self._failures and unclear else self._resume_at_s

    def _take(self, reader: StoreReader, now_s: float, limits: Limits) -> tuple[ItemT, ...]:
        self._revisit_suspects(now_s)
        most_bytes = min(limits.size_bytes, self.limit_bytes)
        picked: list[ItemT] = []
        while not picked:
            page = self.cargo.due(reader, self.id, limits.calls, most_bytes, self._cursor)
            if not page:
                break
            unsure = [c for c in page if c.in_flight_since_s is not None and c.id not in self._claimed]
            self.hold(unsure, now_s + limits.settle_s, suspicious=False)  # from before a restart
            self._pick(page, picked, now_s, limits.calls, most_bytes)
        return tuple(picked)

    def _pick(self, page: Sequence[ItemT], picked: list[ItemT], now_s: float, most: int, room: int) -> None:
        for call in page:
            suspect = self._suspects.get(call.id)
            if call.id not in self._claimed and not (suspect and suspect.not_before_s > now_s):
                most = min(most, suspect.group) if suspect else most
                room -= len(call.body) + _ENVELOPE_BYTES
                if picked and (len(picked) >= most or room < 0):
                    return
                picked.append(call)
            self._cursor = call.id

    def _revisit_suspects(self, now_s: float) -> None:
        for call_id, suspect in self._suspects.items():
            if 0.0 < suspect.not_before_s <= now_s:
                suspect.not_before_s = 0.0
                self._cursor = min(self._cursor, call_id - 1)

    def _forget(self, ids: Collection[int]) -> None:
        self._claimed.difference_update(ids)
        for call_id in ids:
            self._suspects.pop(call_id, None)

    def _succeed(self) -> None:
        if self._failures:  # it was the server after all: nobody is a suspect
            self._revisit_suspects(float("inf"))
        self._failures = self._rejected_in_a_row = 0
        self._failed_alone.clear()
        self._resume_at_s = 0.0
        self.problem = ""
        self.backoff.reset()
