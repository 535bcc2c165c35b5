"""Traces are finished in time, and every span is given out once, whatever the order and the crashes."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.marks import Marks
from otel_wandb.records import (
    FLAG_HAS_IS_REMOTE,
    FLAG_IS_REMOTE,
    SPAN_KIND_INTERNAL,
    SPAN_KIND_SERVER,
    STATUS_ERROR,
    STATUS_UNSET,
    LogBatch,
    LogRecord,
    Resource,
    Scope,
    Span,
    SpanBatch,
)
from otel_wandb.traces.assembly import Assembly, AssemblyLimits, decode_memory, encode_memory
from otel_wandb.traces.finished import Earlier, FinishedTrace

S = 1_000_000_000
TRACE = "0" * 31 + "1"
RESOURCE, SCOPE = Resource({"service.name": "rag"}), Scope("tests")


def span(
    number: int,
    parent: int = 0,
    *,
    trace: str = TRACE,
    flags: int = FLAG_HAS_IS_REMOTE,
    kind: int = SPAN_KIND_INTERNAL,
    status_code: int = STATUS_UNSET,
) -> Span:
    return Span(
        trace_id=trace,
        span_id=f"{number:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=f"span {number}",
        kind=kind,
        start_ns=number,
        end_ns=number + 1,
        flags=flags,
        status_code=status_code,
    )


def note(number: int, *, trace: str = TRACE, time_ns: int = 5) -> LogRecord:
    return LogRecord(time_ns=time_ns, trace_id=trace, span_id=f"{number:016x}", body="note")


class House:
    """An assembly with its marks, fed one frame at a time."""

    def __init__(self, limits: AssemblyLimits | None = None) -> None:
        self.marks = Marks()
        self.assembly = Assembly(limits or AssemblyLimits(), self.marks)
        self.offset = 0

    def spans(self, *spans: Span, at_s: float, segment: str = "a-0.seg") -> None:
        self.assembly.add_spans(
            SpanBatch(RESOURCE, SCOPE, list(spans)),
            config="0" * 16,
            frame=self._frame(segment),
            size=100,
            now_ns=int(at_s * S),
        )

    def logs(self, *records: LogRecord, at_s: float, again: bool = False) -> None:
        frame = self._frame("a-0.seg")
        self.assembly.add_logs(
            LogBatch(RESOURCE, SCOPE, list(records)), frame=frame, now_ns=int(at_s * S), again=again
        )

    def due(self, at_s: float) -> list[FinishedTrace]:
        return self.assembly.due(int(at_s * S))

    def _frame(self, segment: str) -> tuple[str, int]:
        frame = (segment, self.offset)
        self.offset += 10
        self.marks.advance(segment, self.offset)
        return frame


def numbers(traces: list[FinishedTrace]) -> list[list[int]]:
    return [[int(placed.span.span_id, 16) for placed in trace.spans] for trace in traces]


def test_a_trace_is_finished_six_seconds_after_its_root_ended() -> None:
    house = House()
    house.spans(span(2, parent=1), span(3, parent=2), at_s=0)
    house.spans(span(1), at_s=1)
    assert house.due(6.9) == []
    (trace,) = house.due(7)
    assert numbers([trace]) == [[1, 2, 3]]
    assert (trace.reason, trace.complete, trace.memory) == ("ended", True, {})
    assert house.assembly.open_traces == house.assembly.open_spans == 0
    assert house.due(1000) == []


def test_a_trace_whose_root_never_comes_is_finished_when_idle_for_a_minute() -> None:
    house = House()
    house.spans(span(2, parent=1), at_s=0)
    assert house.due(59.9) == []
    (trace,) = house.due(60)
    assert (trace.reason, trace.complete) == ("idle", False)


def test_activity_postpones_the_end() -> None:
    house = House()
    house.spans(span(1), at_s=0)
    house.spans(span(2, parent=1), at_s=5)
    assert house.due(10.9) == []
    assert numbers(house.due(11)) == [[1, 2]]


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (SPAN_KIND_INTERNAL, FLAG_HAS_IS_REMOTE | FLAG_IS_REMOTE),
        (SPAN_KIND_SERVER, 0),
    ],
)
def test_a_remote_parent_is_not_waited_for(kind: int, flags: int) -> None:
    house = House()
    house.spans(span(5, parent=99, kind=kind, flags=flags), at_s=0)
    (trace,) = house.due(6)
    assert (trace.reason, trace.complete) == ("ended", True)


def test_all_local_roots_have_to_end() -> None:
    house = House()
    house.spans(span(5, parent=99, flags=FLAG_HAS_IS_REMOTE | FLAG_IS_REMOTE), span(7, parent=6), at_s=0)
    assert house.due(30) == []
    house.spans(span(6, parent=98, flags=FLAG_HAS_IS_REMOTE | FLAG_IS_REMOTE), at_s=30)
    assert numbers(house.due(36)) == [[5, 6, 7]]


def test_a_long_trace_is_given_out_in_parts_from_a_minute_on() -> None:
    house = House()
    for second in range(0, 120, 10):
        house.spans(span(second + 2, parent=1), at_s=second)
    parts = house.due(66)
    assert numbers(parts) == [[2, 12, 22, 32, 42, 52, 62]]
    assert (parts[0].reason, parts[0].complete) == ("subtree", False)
    house.spans(span(1), at_s=120)
    later = house.due(126)
    assert sorted(n for part in numbers(later) for n in part) == [1, 72, 82, 92, 102, 112]
    assert later[-1].memory["0" * 14 + "0c"] == Earlier("0" * 15 + "1", error=False)


def test_a_trace_is_ended_after_ten_minutes() -> None:
    house = House()
    given: list[FinishedTrace] = []
    for second in range(0, 660, 30):
        house.spans(span(second + 2, parent=1), at_s=second)
        given += house.due(second)
    assert {trace.reason for trace in given} == {"subtree", "age"}
    given += house.due(2000)
    assert sorted(n for part in numbers(given) for n in part) == [second + 2 for second in range(0, 660, 30)]


def test_late_spans_are_given_out_as_a_part_of_their_own() -> None:
    house = House()
    house.spans(span(1, status_code=STATUS_ERROR), at_s=0)
    house.due(6)
    house.spans(span(2, parent=1), at_s=20)
    (late,) = house.due(26)
    assert (late.reason, late.complete) == ("late", False)
    assert late.memory == {"0" * 15 + "1": Earlier("", error=True)}


def test_repeats_are_dropped_and_counted_in_open_and_in_recent_traces() -> None:
    house = House()
    house.spans(span(1), span(1), at_s=0)
    house.spans(span(1), at_s=1)
    house.due(10)
    house.spans(span(1), at_s=11)
    assert house.assembly.dropped == {("spans", "duplicate"): 3}
    assert house.assembly.open_traces == 0
    assert house.due(1000) == []


def test_log_records_join_their_span_whichever_comes_first() -> None:
    house = House()
    house.logs(note(1, time_ns=9), at_s=0)
    house.spans(span(1), at_s=1)
    house.logs(note(1, time_ns=3), at_s=2)
    (trace,) = house.due(8)
    assert [record.time_ns for record in trace.spans[0].logs] == [3, 9]
    assert house.assembly.open_logs == 0


def test_log_records_of_no_span_are_dropped_and_counted() -> None:
    house = House()
    house.logs(LogRecord(time_ns=1, body="no ids"), at_s=0)
    house.logs(note(1), at_s=0)
    house.spans(span(2), at_s=0)
    house.due(60)
    house.logs(note(2), at_s=61)
    assert house.assembly.dropped == {("log_records", "no_span"): 2, ("log_records", "late"): 1}
    assert house.marks.assembled("a-0.seg") == house.marks.counted("a-0.seg")


def test_log_records_dropped_before_a_restart_stay_dropped() -> None:
    house = House()
    house.logs(note(1), at_s=0)
    house.due(60)
    again = House()
    for memory in house.assembly.take_memories():
        again.assembly.restore(*memory)
    again.logs(note(1), at_s=0, again=True)
    assert again.assembly.open_logs == 0
    again.logs(note(1), at_s=1)
    again.spans(span(1), at_s=1)
    assert len(again.due(60)[0].spans[0].logs) == 1


def test_the_oldest_traces_are_finished_when_too_many_are_open() -> None:
    house = House(AssemblyLimits(max_traces=2))
    for number in (1, 2, 3):
        house.spans(span(9, parent=1, trace=f"{number:032x}"), at_s=number)
    (trace,) = house.due(3)
    assert (trace.trace_id, trace.reason) == (f"{1:032x}", "full")


def test_the_oldest_traces_are_finished_when_they_hold_too_many_bytes() -> None:
    house = House(AssemblyLimits(max_bytes=250))
    for number in (1, 2, 3):
        house.spans(span(9, parent=1, trace=f"{number:032x}"), at_s=number)
    assert [trace.trace_id for trace in house.due(3)] == [f"{1:032x}"]


def test_a_trace_with_too_many_spans_is_given_out_in_parts() -> None:
    house = House(AssemblyLimits(max_trace_spans=3))
    house.spans(*(span(number, parent=1) for number in range(2, 9)), at_s=0)
    assert numbers(house.due(0)) == [[2, 3, 4], [5, 6, 7]]


def test_a_flush_finishes_what_holds_something_of_that_front() -> None:
    house = House()
    house.spans(span(2, parent=1), at_s=0, segment="a-0.seg")
    house.spans(span(9, parent=8, trace="f" * 32), at_s=0, segment="b-0.seg")
    (trace,) = house.assembly.flush("a")
    assert (trace.trace_id, trace.reason) == (TRACE, "flush")
    assert house.assembly.open_traces == 1


def test_frames_are_held_until_their_last_span_is_given_out() -> None:
    house = House()
    house.spans(span(2, parent=1), span(9, trace="f" * 32), at_s=0)
    house.spans(span(3, parent=1), at_s=0)
    assert house.marks.assembled("a-0.seg") == 0
    house.due(6)
    assert house.marks.assembled("a-0.seg") == 0
    house.spans(span(1), at_s=6)
    house.due(12)
    assert house.marks.assembled("a-0.seg") == house.marks.counted("a-0.seg") == 30


def test_memory_survives_its_encoding() -> None:
    given = {"0" * 15 + "1": Earlier("", error=True), "f" * 16: Earlier("0" * 15 + "1", error=False)}
    assert decode_memory(encode_memory(given) + encode_memory({}, orphans=["a" * 16])) == (given, {"a" * 16})


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), restart_at=st.integers(0, 40), traces=st.integers(1, 4))
def test_every_span_is_given_out_exactly_once_through_a_restart(
    seed: int, restart_at: int, traces: int
) -> None:
    random_ = random.Random(seed)
    spans = [
        span(n, parent=random_.randint(0, n - 1), trace=f"{random_.randint(1, traces):032x}")
        for n in range(1, 30)
    ]
    frames = [random_.sample(spans, random_.randint(1, 4)) for _ in range(40)]
    limits = AssemblyLimits(max_traces=3, max_trace_spans=6)
    house = House(limits)
    given_out: Counter[str] = Counter()
    memories: list[tuple[str, bytes, int]] = []
    clock_s = 0.0
    positions: list[tuple[int, list[Span], float]] = []

    def collect(finished: list[FinishedTrace]) -> None:
        given_out.update(placed.span.span_id for trace in finished for placed in trace.spans)
        memories.extend(house.assembly.take_memories())

    for index, frame in enumerate(frames):
        if index == restart_at:
            read_from = house.marks.assembled("a-0.seg")
            house = House(limits)
            for memory in memories:
                house.assembly.restore(*memory)
            for offset, old, at_s in positions:
                if offset >= read_from:
                    house.offset = offset
                    house.spans(*old, at_s=at_s)
            house.offset = index * 10
        clock_s += random_.choice([0, 1, 7, 30, 70])
        positions.append((index * 10, frame, clock_s))
        house.spans(*frame, at_s=clock_s)
        collect(house.due(clock_s))
    collect(house.assembly.finish_all())
    sent = {s.span_id for frame in frames for s in frame}
    assert given_out == Counter(sent)
    assert house.assembly.open_spans == house.assembly.open_logs == 0
    assert house.marks.assembled("a-0.seg") == house.marks.counted("a-0.seg")
