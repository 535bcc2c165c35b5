"""The store against a model of it in memory: any history of transactions, crashes and full disks."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from otel_wandb.errors import StoreFull
from otel_wandb.ledger import compose
from otel_wandb.store import Mark, NewCall, QueuedCall, Store, StoreReader, Transaction

State = Literal["waiting", "delivered", "rejected"]
_SEGMENTS = ("a-00000000.seg", "a-00000001.seg", "b-00000000.seg")
_PROJECTS = ("rag", "chat")


@dataclass
class ModelCall:
    call: NewCall
    state: State = "waiting"
    in_flight_since_s: float | None = None


@dataclass
class Model:
    """What the store should hold."""

    calls: dict[int, ModelCall] = field(default_factory=dict)
    last_call_id: int = 0
    destinations: dict[str, int] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    marks: dict[str, Mark] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    digests: list[tuple[bytes, int]] = field(default_factory=list)
    recent: list[tuple[str, bytes, int]] = field(default_factory=list)
    flushes: dict[bytes, int] = field(default_factory=dict)
    fronts: set[str] = field(default_factory=set)

    def undelivered(self) -> list[int]:
        return [call_id for call_id, call in self.calls.items() if call.state == "waiting"]

    def queued(self, destination: int) -> list[QueuedCall]:
        return [
            QueuedCall(
                i, c.call.trace_id, c.call.span_id, c.call.run, c.call.step, c.call.body, c.in_flight_since_s
            )
            for i, c in self.calls.items()
            if c.state == "waiting" and c.call.destination == destination
        ]


class Crash(Exception):
    """The process is gone."""


def take_step(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    """Do one drawn thing to both."""
    steps = (
        add_calls,
        add_calls,
        begin,
        release,
        settle,
        settle,
        bury,
        count,
        mark,
        remember,
        forget,
        flush,
        fold,
    )
    draw.draw(st.sampled_from(steps))(draw, model, tx)


def add_calls(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    project = draw.draw(st.sampled_from(_PROJECTS))
    destination = tx.add_destination("c", "team", project)
    assert model.destinations.setdefault(project, destination) == destination
    for size in draw.draw(st.lists(st.sampled_from((10, 3000, 40_000)), min_size=1, max_size=6)):
        n = model.last_call_id + 1
        call = NewCall(
            destination, f"{n % 3:032x}", f"{n:016x}", n, "r" * (n % 2), n % 5 or None, b"%d" % n * size
        )
        assert tx.add_call(call) == n
        assert tx.last_call_id == n
        model.calls[n] = ModelCall(call)
        model.last_call_id = n
        model.counts["calls", "received", ""] += 1


def draw_ids(draw: st.DataObject, model: Model) -> list[int]:
    """Some calls that wait, and perhaps one that does not (any more)."""
    waiting = model.undelivered()
    ids = draw.draw(st.lists(st.sampled_from(waiting), unique=True, max_size=8)) if waiting else []
    return [*ids, draw.draw(st.integers(1, model.last_call_id + 2))]


def set_flight(model: Model, ids: list[int], since_s: float | None) -> None:
    for call_id in ids:
        if call_id in model.calls and model.calls[call_id].state == "waiting":
            model.calls[call_id].in_flight_since_s = since_s


def begin(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    ids = draw_ids(draw, model)
    tx.begin_attempt(ids, 1.5)
    set_flight(model, ids, 1.5)


def release(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    ids = draw_ids(draw, model)
    tx.release(ids)
    set_flight(model, ids, None)


def settle(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    ids = draw_ids(draw, model)
    tx.settle(ids, "delivered")
    for call_id in set(ids) & set(model.undelivered()):
        model.calls[call_id].state = "delivered"
        model.counts["calls", "delivered", ""] += 1


def bury(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    call_id = draw_ids(draw, model)[0]
    tx.bury(call_id, 422, "no", "http_422")
    if call_id in model.undelivered():
        model.calls[call_id].state = "rejected"
        model.counts["calls", "rejected", "http_422"] += 1


def count(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    key = (
        draw.draw(st.sampled_from(("spans", "log_records"))),
        "received",
        draw.draw(st.sampled_from(("", "x"))),
    )
    n = draw.draw(st.integers(-3, 1000))
    tx.add_count(key[0], key[1], n, key[2])
    model.counts[key] += n
    tx.set_waiting(key[0], abs(n))
    model.waiting[key[0]] = abs(n)


def mark(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    segment = draw.draw(st.sampled_from(_SEGMENTS))
    if draw.draw(st.booleans()):
        tx.drop_mark(segment)
        model.marks.pop(segment, None)
    else:
        position = Mark(draw.draw(st.integers(0, 1 << 40)), draw.draw(st.integers(0, 1 << 40)))
        tx.set_mark(segment, *position)
        model.marks[segment] = position


def next_event_ns(model: Model) -> int:
    return max([0, *(ns for _, ns in model.digests), *(ns for _, _, ns in model.recent)]) + 1


def remember(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    event_ns = next_event_ns(model)
    memory = draw.draw(st.binary(max_size=40))
    tx.remember("t", memory, event_ns)
    model.recent.append(("t", memory, event_ns))
    tx.add_digests([(memory, event_ns)])
    model.digests.append((memory, event_ns))


def forget(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    before_ns = next_event_ns(model) - draw.draw(st.integers(0, 8))
    keep = draw.draw(st.integers(1, 8))
    tx.drop_digests(before_ns)
    tx.forget_traces(before_ns, keep)
    model.digests = [row for row in model.digests if row[1] >= before_ns]
    model.recent = [row for row in model.recent[-keep:] if row[2] >= before_ns]


def flush(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    token = draw.draw(st.binary(min_size=16, max_size=16))
    tx.add_flush(token, tx.last_call_id)
    model.flushes[token] = model.last_call_id


def fold(draw: st.DataObject, model: Model, tx: Transaction) -> None:
    name = draw.draw(st.sampled_from(("f.counts", "g.counts")))
    tx.fold_front(name, {("spans", "dropped", "journal_full"): 2})
    if name not in model.fronts:
        model.fronts.add(name)
        model.counts["spans", "dropped", "journal_full"] += 2
        model.counts["spans", "received", ""] += 2


def check(reader: StoreReader, model: Model) -> None:
    """Both hold the same."""
    seen = reader.snapshot()
    assert {key: n for key, n in seen.counts.items() if n} == {key: n for key, n in model.counts.items() if n}
    assert seen.marks == model.marks
    assert seen.waiting == model.waiting
    assert seen.folded_fronts == model.fronts
    assert seen.outbox == reader.outbox_size() == len(model.undelivered())
    assert list(reader.digests()) == model.digests
    assert list(reader.recent()) == model.recent
    assert {d.project: d.id for d in reader.destinations()} == model.destinations
    for destination in model.destinations.values():
        assert reader.due(destination, 10_000, 1 << 40) == model.queued(destination)
    stored = [(call.id, call.body, call.state) for call in reader.calls()]
    assert stored == [(i, c.call.body, c.state) for i, c in model.calls.items()]
    buried = [letter.call_id for letter in reader.dead_letters()]
    assert buried == [i for i, c in model.calls.items() if c.state == "rejected"]
    for token, last_id in model.flushes.items():
        assert reader.flush_settled(token) == (not any(i <= last_id for i in model.undelivered()))
    assert compose(seen.counts, {}, {}, seen.outbox, {}).lines["calls"].balanced


class StoreMachine(RuleBasedStateMachine):
    """Histories of one store, whose file moves on to a copy at each crash."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.lives = 0
        self.model = Model()

    @initialize()
    def start(self) -> None:
        self.path = self.folder / "0" / "store.sqlite"
        self.path.parent.mkdir()
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.path)
        assert self.store.recovered is None
        # So small a cache that transactions spill into the WAL before they are committed.
        self.store._writer.run("PRAGMA cache_size=4")

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def copy_files(self) -> Path:
        """What the disk holds at this moment, as a killed process would leave it."""
        self.lives += 1
        target = self.folder / str(self.lives) / "store.sqlite"
        target.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(self.path.with_name(self.path.name + suffix), target.with_name(target.name + suffix))
        return target

    @rule(draw=st.data(), steps=st.integers(1, 8))
    def commit(self, draw: st.DataObject, steps: int) -> None:
        with self.store.transaction() as tx:
            for _ in range(steps):
                take_step(draw, self.model, tx)

    @rule(draw=st.data(), steps=st.integers(1, 8))
    def fail(self, draw: st.DataObject, steps: int) -> None:
        draft = copy.deepcopy(self.model)
        try:
            with self.store.transaction() as tx:
                for _ in range(steps):
                    take_step(draw, draft, tx)
                raise Crash
        except Crash:
            pass

    @rule(draw=st.data(), steps=st.integers(1, 8), statement=st.integers(1, 60))
    def crash(self, draw: st.DataObject, steps: int, statement: int) -> None:
        """Die before the n-th SQL statement of a transaction, its COMMIT included, or just after it."""
        draft = copy.deepcopy(self.model)
        seen = 0
        copied: Path | None = None

        def watch(_sql: str) -> None:
            nonlocal seen, copied
            seen += 1
            if seen == statement:
                copied = self.copy_files()

        connection = self.store._writer._connection
        with self.store.transaction() as tx:
            connection.set_trace_callback(watch)
            for _ in range(steps):
                take_step(draw, draft, tx)
        connection.set_trace_callback(None)
        if copied is None:
            copied = self.copy_files()
            self.model = draft
        self.store.close()
        self.path = copied
        self.open()

    @rule(draw=st.data(), steps=st.integers(1, 8), spare=st.integers(0, 4))
    def fill_disk(self, draw: st.DataObject, steps: int, spare: int) -> None:
        draft = copy.deepcopy(self.model)
        writer = self.store._writer
        writer.run(f"PRAGMA max_page_count={writer.number('PRAGMA page_count') + spare}")
        try:
            with self.store.transaction() as tx:
                for _ in range(steps):
                    take_step(draw, draft, tx)
            self.model = draft
        except StoreFull:
            pass
        writer.run("PRAGMA max_page_count=1073741823")

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @rule(share=st.floats(0, 1))
    def prune(self, share: float) -> None:
        with self.store.transaction() as tx:
            tx.prune(int(self.store.reader.size_bytes() * share))
        left = {call.id for call in self.store.reader.calls()}
        assert left >= set(self.model.undelivered())
        self.model.calls = {i: call for i, call in self.model.calls.items() if i in left}

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        check(self.store.reader, self.model)

    @rule()
    def read_beside(self) -> None:
        reader = Store.open_for_reading(self.path)
        try:
            check(reader, self.model)
        finally:
            reader.close()


StoreMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestStore = StoreMachine.TestCase
