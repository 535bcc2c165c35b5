"""Journal to store: reads chunks, puts them through the pipeline, and commits the outcome with the positions.

Nothing is kept that a restart could not take up: the positions are in the store, in the transaction of their
effects, and what was only in memory comes again from the journal.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from otel_wandb.config import Settings
from otel_wandb.conventions import BUILT_IN, Reader
from otel_wandb.conversion_line import Pool
from otel_wandb.journal import Damage, Frame, Segment
from otel_wandb.marks import Marks
from otel_wandb.pipeline import Pipeline
from otel_wandb.store import Store
from otel_wandb.view_answers import AnswerBox
from otel_wandb.work import Destinations, ResponsePlace, Work, write_work

_log = logging.getLogger("otel_wandb.bridge")

_CHUNK_BYTES = 8 << 20
_LINGERING_BYTES = 64 << 20
_LINGERING_S = 6.0  # who lets traces linger for longer has the memory for it
_TIDY_S = 60.0
_HOUR_NS = 3600 * 1_000_000_000
_RECENT_TRACES = 100_000


class Source(Protocol):
    """Where frames are read from: the journal on disk, or one in memory."""

    def segments(self) -> list[Segment]:
        """What can be read, in a fixed order."""
        ...

    def read(self, name: str, offset: int, *, max_bytes: int = ...) -> Iterator[Frame | Damage]:
        """The frames of a segment from an offset on."""
        ...

    def remove(self, name: str) -> None:
        """Let a finished segment go."""
        ...


class Drain:
    """Takes the journal to the store, a chunk at a time. Belongs to one thread.

    `waits_for_delivery` tells, when a flush is read, whether it has to wait until its calls are delivered
    (else, offline, being stored is enough). `answers` are those to alarms of views. A `pool` converts traces
    while this thread reads and stores.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        settings: Settings,
        *,
        settings_of: Callable[[str], Settings],
        waits_for_delivery: Callable[[], bool],
        replay: bool = False,
        reader: Reader = BUILT_IN,
        answers: AnswerBox | None = None,
        pool: Pool | None = None,
    ) -> None:
        self.read_bytes = 0
        """How much was read since the start."""
        self._source = source
        self._store = store
        self._settings = settings
        self._settings_of = settings_of
        self._waits_for_delivery = waits_for_delivery
        self._replay = replay
        self._reader = reader
        self._answers = answers
        self._pool = pool
        self._lately: deque[tuple[float, int]] = deque()
        """When how much was read, as long as traces linger."""
        self._tidied_s = time.monotonic()
        # The wall clock as it was, plus what has passed since: jumps of the system's clock end no trace.
        self._clock_offset_ns = time.time_ns() - time.monotonic_ns()
        self.restore()

    @property
    def open_traces(self) -> int:
        """How many traces are not finished."""
        return self._pipeline.assembly.open_traces + self._pipeline.traces.waiting_traces

    @property
    def open_items(self) -> int:
        """How much is held in open traces and open intervals, and how many scores wait for their call."""
        metrics, feedback = self._pipeline.metrics, self._pipeline.feedback
        return self.open_traces + metrics.open_points + metrics.open_spans + feedback.open_records

    def locate_run(self, service: str, time_ns: int) -> str:
        """The id of the run whose charts contain what the service measured then."""
        return self._pipeline.metrics.locate(service, time_ns)[0]

    def step(self) -> bool:
        """Take one chunk of the journal to the store; False when there was nothing to do.

        Raises StoreError where the store cannot be written to; `restore` then takes up the last position.
        """
        read_any = self._read_chunk()
        views = self._pipeline.metrics.views
        if self._answers is not None:
            views.ask(self._answers.read())
        self._pipeline.tick(self._now_ns(), self._read_until_ns())
        self._commit(self._pipeline.take_work())
        if self._answers is not None:  # what they did is stored by now
            self._answers.remove(views.list_answered())
        return read_any or self._pipeline.has_due(self._now_ns())

    def finish_input(self) -> None:
        """Read what is there, and finish every open trace: nothing more will come."""
        while self.step():
            pass
        self._pipeline.finish()
        self._commit(self._pipeline.take_work())

    def finish_rows(self) -> bool:
        """Make the rows of what waits for one, such as the tables of an hour; whether there was any.

        To be called when nothing is open, and nothing more is expected. Raises StoreError.
        """
        if not self._pipeline.metrics.tables.end_early():
            return False
        self._pipeline.finish_rows()
        self._commit(self._pipeline.take_work())
        return True

    def has_room(self) -> bool:
        """Whether the store may grow; delivered calls are pruned for it, undelivered ones never."""
        limit = self._settings.store_limit_bytes
        if self._store.reader.size_bytes() < limit:
            return True
        with self._store.transaction() as tx:
            tx.prune(int(limit * 0.9))
        return self._store.reader.size_bytes() < limit

    def unread_bytes(self) -> int:
        """How much of the journal is not read yet."""
        return sum(
            max(0, segment.size - self._positions.get(segment.name, 0))
            for segment in self._source.segments()
            if segment.name not in self._foreign
        )

    def restore(self) -> None:
        """Take up the stored positions, and read again what was open."""
        self._marks = Marks()
        self._pipeline = Pipeline(
            marks=self._marks,
            settings=self._settings,
            settings_of=self._settings_of,
            bridge_id=self._store.bridge_id,
            replay=self._replay,
            reader=self._reader,
            pool=self._pool,
        )
        self._destinations = Destinations()
        self._positions: dict[str, int] = {}
        self._written_ns: dict[str, int] = {}
        self._foreign: set[str] = set()
        reader = self._store.reader
        memories = ((recent.trace_id, recent.memory, recent.event_ns) for recent in reader.recent())
        places = (ResponsePlace(*place) for place in reader.feedback.responses())
        self._pipeline.restore(reader.digests(), memories, reader.states().items(), places)
        present = {segment.name for segment in self._source.segments()}
        gone = []
        for name, mark in reader.marks().items():
            if name not in present:
                gone.append(name)
                continue
            self._marks.restore(name, mark.counted)
            self._positions[name] = mark.assembled
            self._read_again(name, mark.counted)
        if gone:
            with self._store.transaction() as tx:
                for name in gone:
                    tx.drop_mark(name)

    def _read_again(self, name: str, counted: int) -> None:
        while self._positions[name] < counted:
            before = self._positions[name]
            for item in self._source.read(name, before, max_bytes=_CHUNK_BYTES):
                if item.end > counted:
                    break
                self._take(item)
            if self._positions[name] == before:
                break

    def _read_until_ns(self) -> int:
        """Up to when all that was written has been read: now, or what the segment furthest behind is at."""
        behind = [
            self._written_ns.get(segment.name, 0)
            for segment in self._source.segments()
            if self._positions.get(segment.name, 0) < segment.size and segment.name not in self._foreign
        ]
        return min(behind, default=self._now_ns())

    def _read_chunk(self) -> bool:
        room = min(_CHUNK_BYTES, self._find_room())
        given = room
        if not room:
            return False
        for segment in self._source.segments():
            position = self._positions.setdefault(segment.name, 0)
            if segment.name in self._foreign or (position >= segment.size and segment.alive):
                continue
            for item in self._source.read(segment.name, position, max_bytes=room):
                self._take(item)
                room -= item.end - item.offset
            if room <= 0:
                break
        if room < given and not self._replay:
            self._lately.append((time.monotonic(), given - room))
        self.read_bytes += given - room
        return room < given

    def _find_room(self) -> int:
        """How much may be read now. What was read lingers: of a backlog only so much is in memory at once."""
        if self._replay:
            return _CHUNK_BYTES
        horizon_s = time.monotonic() - min(self._settings.linger_s, _LINGERING_S)
        while self._lately and self._lately[0][0] < horizon_s:
            self._lately.popleft()
        return max(0, _LINGERING_BYTES - sum(read for _, read in self._lately))

    def _take(self, item: Frame | Damage) -> None:
        if isinstance(item, Frame):
            self._pipeline.take_frame(item, self._now_ns())
            self._written_ns[item.segment] = item.written_ns
        elif item.reason == "foreign":
            self._foreign.add(item.segment)  # a newer front's file: a newer bridge will read it
            return
        else:
            _log.warning(
                "Segment %s is damaged at %d (%s); reading goes on at %d.",
                item.segment,
                item.offset,
                item.reason,
                item.end,
            )
            self._pipeline.take_damage(item)
        self._positions[item.segment] = item.end

    def _commit(self, work: Work) -> None:
        changes = self._marks.take_changes()
        waiting = self._count_waiting()
        self._pipeline.hand_out(self._now_ns())  # from here on it is no longer what is in `work`
        if work or changes:
            with self._store.transaction() as tx:
                write_work(tx, work, self._destinations)
                for token in work.flushes:
                    ids = (tx.last_call_id, tx.feedback.last_id()) if self._waits_for_delivery() else (0, 0)
                    tx.add_flush(token, *ids)
                for name, counted, assembled in changes:
                    tx.set_mark(name, counted, assembled)
                for signal, n in waiting.items():
                    tx.set_waiting(signal, n)
        self._remove_finished()  # a writer may have ended since, which changes nothing else
        self._tidy()

    def _count_waiting(self) -> dict[str, int]:
        assembly = self._pipeline.assembly
        return {
            "spans": assembly.open_spans,
            "log_records": assembly.open_logs + self._pipeline.feedback.open_records,
            "metric_points": self._pipeline.metrics.open_points,
        }

    def _remove_finished(self) -> None:
        finished = [
            segment.name
            for segment in self._source.segments()
            if not segment.alive and self._marks.assembled(segment.name) >= segment.size > 0
        ]
        if not finished:
            return
        if self._settings.fsync != "never":
            self._store.sync()  # what the segment held must be on the disk before the segment is not
        for name in finished:
            self._source.remove(name)
            self._marks.drop(name)
            self._positions.pop(name, None)
            self._written_ns.pop(name, None)
        with self._store.transaction() as tx:
            for name in finished:
                tx.drop_mark(name)

    def _tidy(self) -> None:
        now_s = time.monotonic()
        if now_s - self._tidied_s < _TIDY_S:
            return
        self._tidied_s = now_s
        horizon_ns = self._pipeline.newest_event_ns - _HOUR_NS
        with self._store.transaction() as tx:
            tx.drop_digests(horizon_ns)
            tx.forget_traces(horizon_ns, keep=_RECENT_TRACES)
            tx.feedback.forget_responses()

    def _now_ns(self) -> int:
        return time.monotonic_ns() + self._clock_offset_ns
