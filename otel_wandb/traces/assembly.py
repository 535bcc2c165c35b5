"""Spans in, whole traces out: which spans belong together, and when a trace is finished.

A trace is finished when all its local roots have ended and `linger` has passed (log records come late), when
nothing came for `idle`, or at `max_age`. Parts of a trace that is open for longer than `partial_after` are
given out as they settle. What comes after that is given out as a late part, and what comes twice is dropped:
the ids of recent traces are remembered for an hour of event time.

Pure: the caller brings the clock (wall time live, event time on replay) and the frames that hold each span,
and takes away what is finished. A span that is given out is given out once.
"""

from __future__ import annotations

import heapq
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from otel_wandb.marks import FrameRef, Marks
from otel_wandb.records import (
    FLAG_HAS_IS_REMOTE,
    FLAG_IS_REMOTE,
    SPAN_KIND_CONSUMER,
    SPAN_KIND_SERVER,
    STATUS_ERROR,
    LogBatch,
    LogRecord,
    Span,
    SpanBatch,
)
from otel_wandb.traces.finished import Earlier, FinishedTrace, Placed
from otel_wandb.traces.sampling import REASONS, Decision

_SECOND = 1_000_000_000
_MEMORY_BYTES = 17  # span id, parent id, what became of it
_NO_PARENT = "0" * 16
_FINE, _FAILED, _ORPHAN = 0, 1, 2  # an orphan: log records named this span, which had not come
_LEFT_OUT, _KEPT = 3, 4  # of the trace: the probability, and the number of the reason
_DECISION = struct.Struct(">dB7xB")


@dataclass(frozen=True, slots=True)
class AssemblyLimits:
    """When a trace is finished, and how much may be open at once. Times in nanoseconds."""

    linger_ns: int = 6 * _SECOND
    idle_ns: int = 60 * _SECOND
    max_age_ns: int = 600 * _SECOND
    partial_after_ns: int = 60 * _SECOND
    max_traces: int = 50_000
    max_trace_spans: int = 10_000
    max_bytes: int = 256 << 20
    recent_ns: int = 3600 * _SECOND
    recent_traces: int = 100_000


@dataclass(frozen=True, slots=True)
class _Piece:
    span: Span
    batch: SpanBatch
    config: str
    frame: FrameRef
    at_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class _Note:
    record: LogRecord
    frame: FrameRef


@dataclass(slots=True)
class _OpenTrace:
    trace_id: str
    first_ns: int
    newest_ns: int
    known: dict[str, Earlier]
    orphans: set[str]
    late: bool
    pieces: dict[str, _Piece] = field(default_factory=dict)
    notes: dict[str, list[_Note]] = field(default_factory=dict)
    awaited: set[str] = field(default_factory=set)
    event_ns: int = 0
    scheduled_ns: int = 0


class Assembly:
    """The open traces. Not thread-safe; every method takes the time that it should be."""

    def __init__(self, limits: AssemblyLimits, marks: Marks) -> None:
        self.limits = limits
        self.dropped: Counter[tuple[str, str]] = Counter()
        """(signal, reason) -> items dropped since the caller last cleared it."""
        self._marks = marks
        self._open: dict[str, _OpenTrace] = {}
        self._recent: dict[str, tuple[bytes, int]] = {}
        self._heap: list[tuple[int, str]] = []
        self._ready: list[FinishedTrace] = []
        self._memories: list[tuple[str, bytes, int]] = []
        self._bytes = 0
        self._spans = 0
        self._notes = 0

    @property
    def open_spans(self) -> int:
        """How many spans wait in open traces."""
        return self._spans

    @property
    def open_logs(self) -> int:
        """How many log records wait in open traces."""
        return self._notes

    @property
    def open_traces(self) -> int:
        """How many traces are open."""
        return len(self._open)

    def is_open(self, trace_id: str) -> bool:
        """Whether something of the trace waits here."""
        return trace_id in self._open

    def has_given_out(self, trace_id: str, span_id: str) -> bool:
        """Whether the span was given out, as far as that is remembered."""
        trace = self._open.get(trace_id)
        if trace is not None:
            return span_id in trace.known
        earlier = self._recent.get(trace_id)
        return earlier is not None and span_id in decode_memory(earlier[0])[0]

    def note_decision(self, trace_id: str, decision: Decision) -> None:
        """Remember what was decided on a trace that was given out, for what comes of it later."""
        memory = encode_decision(decision)
        earlier, event_ns = self._recent.get(trace_id, (b"", 0))
        self._recent[trace_id] = (earlier + memory, event_ns)
        self._memories.append((trace_id, memory, event_ns))

    def decision_of(self, trace_id: str) -> Decision | None:
        """What was decided on the trace, as far as that is remembered."""
        earlier = self._recent.get(trace_id)
        return decode_decision(earlier[0]) if earlier is not None else None

    def restore(self, trace_id: str, memory: bytes, event_ns: int) -> None:
        """Remember a trace of which parts were given out before a restart."""
        earlier, newest_ns = self._recent.get(trace_id, (b"", 0))
        self._recent[trace_id] = (earlier + memory, max(newest_ns, event_ns))

    def add_spans(self, batch: SpanBatch, *, config: str, frame: FrameRef, size: int, now_ns: int) -> None:
        """Place each span in its trace; repeats are dropped. `size` is the bytes of one span, about."""
        for span in batch.spans:
            trace = self._trace(span.trace_id, now_ns)
            if span.span_id in trace.pieces or span.span_id in trace.known:
                self.dropped["spans", "duplicate"] += 1
                self._discard_if_empty(trace)
                continue
            trace.pieces[span.span_id] = _Piece(span, batch, config, frame, now_ns, size)
            self._marks.hold(frame)
            self._spans += 1
            self._bytes += size
            trace.event_ns = max(trace.event_ns, span.end_ns)
            trace.awaited.discard(span.span_id)
            if span.parent_id and not _is_local_root(span):
                self._await(trace, span.parent_id)
            self._touch(trace, now_ns)
            if len(trace.pieces) >= self.limits.max_trace_spans:
                self._give_out(trace, list(trace.pieces), "subtree")
        self._bound()

    def add_logs(self, batch: LogBatch, *, frame: FrameRef, now_ns: int, again: bool = False) -> None:
        """Keep each record for the span that it names; records of no span are dropped.

        `again` says that the frame was counted before a restart: what was dropped then stays dropped.
        """
        for record in batch.records:
            if not record.trace_id or not record.span_id:
                self.dropped["log_records", "no_span"] += 1
                continue
            trace = self._trace(record.trace_id, now_ns)
            if record.span_id in trace.known or (again and record.span_id in trace.orphans):
                self.dropped["log_records", "late"] += 1
                self._discard_if_empty(trace)
                continue
            trace.notes.setdefault(record.span_id, []).append(_Note(record, frame))
            self._marks.hold(frame)
            self._notes += 1
            trace.event_ns = max(trace.event_ns, record.time_ns or record.observed_ns)
            if record.span_id not in trace.pieces:
                self._await(trace, record.span_id)
            self._touch(trace, now_ns)

    def has_due(self, now_ns: int) -> bool:
        """Whether `due` may have something to give out."""
        return bool(self._heap) and self._heap[0][0] <= now_ns

    def due(self, now_ns: int, *, spans: int | None = None) -> list[FinishedTrace]:
        """What is finished by now, in the order in which it fell due; no more once there are `spans`."""
        enough = float("-inf") if spans is None else self._spans - spans
        while self.has_due(now_ns) and self._spans > enough:
            _, trace_id = heapq.heappop(self._heap)
            trace = self._open.get(trace_id)
            if trace is None:
                continue
            due_ns = self._due_ns(trace)
            if due_ns > now_ns:
                self._schedule(trace, due_ns)
            else:
                self._settle(trace, now_ns)
        return self._take_ready()

    def flush(self, writer_id: str) -> list[FinishedTrace]:
        """Finish every trace that holds something of this front, without waiting for more."""
        prefix = writer_id + "-"
        for trace in list(self._open.values()):
            if any(frame[0].startswith(prefix) for frame in _frames(trace)):
                self._finish(trace, "flush")
        return self._take_ready()

    def finish_all(self) -> list[FinishedTrace]:
        """Finish everything: the input has ended."""
        for trace in list(self._open.values()):
            self._finish(trace, "end")
        return self._take_ready()

    def forget(self, newest_event_ns: int) -> None:
        """Forget recent traces older than an hour of event time, and the oldest beyond the limit."""
        horizon = newest_event_ns - self.limits.recent_ns
        excess = len(self._recent) - self.limits.recent_traces
        gone: list[str] = []
        for trace_id, (_, event_ns) in self._recent.items():
            if len(gone) >= excess and event_ns >= horizon:
                break  # in the order of giving out: what follows is younger
            gone.append(trace_id)
        for trace_id in gone:
            del self._recent[trace_id]

    def _trace(self, trace_id: str, now_ns: int) -> _OpenTrace:
        trace = self._open.get(trace_id)
        if trace is None:
            earlier = self._recent.get(trace_id)
            known, orphans = decode_memory(earlier[0]) if earlier else ({}, set())
            trace = _OpenTrace(trace_id, now_ns, now_ns, known, orphans, late=bool(known))
            self._open[trace_id] = trace
        return trace

    def _await(self, trace: _OpenTrace, span_id: str) -> None:
        if span_id not in trace.pieces and span_id not in trace.known:
            trace.awaited.add(span_id)

    def _discard_if_empty(self, trace: _OpenTrace) -> None:
        if not trace.pieces and not trace.notes:
            self._open.pop(trace.trace_id, None)

    def _touch(self, trace: _OpenTrace, now_ns: int) -> None:
        trace.newest_ns = now_ns
        due_ns = self._due_ns(trace)
        if not trace.scheduled_ns or due_ns < trace.scheduled_ns:
            self._schedule(trace, due_ns)

    def _schedule(self, trace: _OpenTrace, due_ns: int) -> None:
        trace.scheduled_ns = due_ns
        heapq.heappush(self._heap, (due_ns, trace.trace_id))

    def _due_ns(self, trace: _OpenTrace) -> int:
        limits = self.limits
        due_ns = trace.newest_ns + (limits.idle_ns if trace.awaited else limits.linger_ns)
        if trace.awaited and trace.pieces:
            oldest_ns = next(iter(trace.pieces.values())).at_ns
            due_ns = min(due_ns, max(trace.first_ns + limits.partial_after_ns, oldest_ns + limits.linger_ns))
        return min(due_ns, trace.first_ns + limits.max_age_ns)

    def _settle(self, trace: _OpenTrace, now_ns: int) -> None:
        limits = self.limits
        if not trace.awaited and now_ns >= trace.newest_ns + limits.linger_ns:
            self._finish(trace, "late" if trace.late else "ended")
        elif now_ns >= trace.newest_ns + limits.idle_ns:
            self._finish(trace, "idle")
        elif now_ns >= trace.first_ns + limits.max_age_ns:
            self._finish(trace, "age")
        else:
            horizon = now_ns - limits.linger_ns
            self._give_out(trace, [i for i, p in trace.pieces.items() if p.at_ns <= horizon], "subtree")
            self._schedule(trace, self._due_ns(trace))

    def _bound(self) -> None:
        while len(self._open) > self.limits.max_traces or self._bytes > self.limits.max_bytes:
            self._finish(next(iter(self._open.values())), "full")

    def _finish(self, trace: _OpenTrace, reason: str) -> None:
        if trace.pieces:
            self._give_out(trace, list(trace.pieces), reason)
        if trace.notes:
            self._drop_orphans(trace)
        del self._open[trace.trace_id]

    def _drop_orphans(self, trace: _OpenTrace) -> None:
        for notes in trace.notes.values():
            self.dropped["log_records", "no_span"] += len(notes)
            self._notes -= len(notes)
            for note in notes:
                self._marks.release(note.frame)
        self._remember(trace, encode_memory({}, orphans=trace.notes))

    def _give_out(self, trace: _OpenTrace, span_ids: list[str], reason: str) -> None:
        memory = dict(trace.known)
        placed = [self._place(trace, trace.pieces.pop(span_id)) for span_id in span_ids]
        placed.sort(key=lambda p: (p.span.start_ns, p.span.span_id))
        complete = not memory and not trace.awaited and not trace.pieces
        self._ready.append(FinishedTrace(trace.trace_id, tuple(placed), reason, complete, memory))
        given = {
            p.span.span_id: Earlier(p.span.parent_id, p.span.status_code == STATUS_ERROR) for p in placed
        }
        trace.known.update(given)
        self._remember(trace, encode_memory(given))

    def _remember(self, trace: _OpenTrace, memory: bytes) -> None:
        earlier, event_ns = self._recent.pop(trace.trace_id, (b"", 0))
        self._recent[trace.trace_id] = (earlier + memory, max(event_ns, trace.event_ns))
        self._memories.append((trace.trace_id, memory, trace.event_ns))

    def take_memories(self) -> list[tuple[str, bytes, int]]:
        """What `restore` needs after a restart: (trace id, memory, event time), since the last call."""
        memories, self._memories = self._memories, []
        return memories

    def _place(self, trace: _OpenTrace, piece: _Piece) -> Placed:
        notes = trace.notes.pop(piece.span.span_id, [])
        self._spans -= 1
        self._bytes -= piece.size
        self._notes -= len(notes)
        self._marks.release(piece.frame)
        for note in notes:
            self._marks.release(note.frame)
        logs = tuple(sorted((n.record for n in notes), key=lambda r: r.time_ns or r.observed_ns))
        return Placed(piece.span, piece.batch.scope, piece.batch.resource, piece.config, logs)

    def _take_ready(self) -> list[FinishedTrace]:
        ready, self._ready = self._ready, []
        return ready


def encode_memory(given: dict[str, Earlier], orphans: Iterable[str] = ()) -> bytes:
    """Seventeen bytes a span: its id, its parent's, and what became of it."""
    entries = [
        bytes.fromhex(span_id + (e.parent_id or _NO_PARENT)) + bytes((_FAILED if e.error else _FINE,))
        for span_id, e in given.items()
    ]
    entries += [bytes.fromhex(span_id + _NO_PARENT) + bytes((_ORPHAN,)) for span_id in orphans]
    return b"".join(entries)


def decode_memory(memory: bytes) -> tuple[dict[str, Earlier], set[str]]:
    """What `encode_memory` was given, over any number of calls."""
    known: dict[str, Earlier] = {}
    orphans: set[str] = set()
    for at in range(0, len(memory) - _MEMORY_BYTES + 1, _MEMORY_BYTES):
        span_id, parent = memory[at : at + 8].hex(), memory[at + 8 : at + 16].hex()
        if memory[at + 16] == _ORPHAN:
            orphans.add(span_id)
        elif memory[at + 16] < _ORPHAN:
            known[span_id] = Earlier("" if parent == _NO_PARENT else parent, memory[at + 16] == _FAILED)
    return known, orphans


def encode_decision(decision: Decision) -> bytes:
    """The decision as an entry of the memory of its trace."""
    reason = REASONS.index(decision.reason)
    return _DECISION.pack(decision.probability, reason, _KEPT if decision.kept else _LEFT_OUT)


def decode_decision(memory: bytes) -> Decision | None:
    """The decision in a memory, None if there is none."""
    for at in range(0, len(memory) - _MEMORY_BYTES + 1, _MEMORY_BYTES):
        if memory[at + 16] >= _LEFT_OUT:
            probability, reason, kept = _DECISION.unpack_from(memory, at)
            return Decision(kept == _KEPT, probability, REASONS[reason])
    return None


def _is_local_root(span: Span) -> bool:
    if span.flags & FLAG_HAS_IS_REMOTE:
        return bool(span.flags & FLAG_IS_REMOTE)
    # Older producers do not say; a server's parent is in the process that called it.
    return span.kind in (SPAN_KIND_SERVER, SPAN_KIND_CONSUMER)


def _frames(trace: _OpenTrace) -> Iterator[FrameRef]:
    for piece in trace.pieces.values():
        yield piece.frame
    for notes in trace.notes.values():
        for note in notes:
            yield note.frame
