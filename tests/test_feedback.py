"""Scores become feedback on the right call, once, whatever comes first, twice or not at all."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from otel_wandb.bridge import open_bridge
from otel_wandb.cli import main
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.ingest.sdk import WeaveSpanExporter
from otel_wandb.ingest.sdk_logs import WeaveLogExporter
from otel_wandb.journal import JournalWriter, Kind
from otel_wandb.status import read_status
from otel_wandb.store import NewFeedback, Store, StoredFeedback, schema
from tests.outbox import PATIENCE_S, PROJECT, House, call, start_delivery_process, wait_until
from tests.peers.weave import WeavePeer
from tests.scored import (
    JUDGE_TRACE,
    TRACE,
    make_chat,
    make_event,
    make_record,
    make_span,
    records,
    result,
    span_id,
    spans,
    write_requests,
)
from tests.services.rag import make_provider

SCORED = "/feedback/batch/create"


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


def replay(tmp_path: Path, *requests: object, directory: str = "data") -> list[tuple[str, str, str]]:
    """(name, call, judge) of all feedback that comes of the requests, each in a file of its own."""
    files = [write_requests(tmp_path / f"{n}.jsonl", request) for n, request in enumerate(requests)]
    out = tmp_path / "feedback.jsonl"
    run("replay", *files, "--no-deliver", "--data-dir", tmp_path / directory)
    run("export", "--feedback", out, "--data-dir", tmp_path / directory)
    assert read_status(DataDir(tmp_path / directory)).ledger.imbalance() == {}
    return sorted(
        (
            str(told["payload"]["name"]),
            str(told["weave_ref"]).rpartition("/")[2].lstrip("0"),
            str(told.get("call_ref", "")).rpartition("/")[2].lstrip("0"),
        )
        for told in map(json.loads, out.read_text().splitlines())
    )


def ledger_of(tmp_path: Path, signal: str) -> tuple[int, int, dict[str, int], int]:
    line = read_status(DataDir(tmp_path / "data")).ledger.lines[signal]
    return line.received, line.delivered, dict(line.dropped), line.waiting


# -- which call ------------------------------------------------------------------------------------------


def test_events_of_a_span_are_about_its_call(tmp_path: Path) -> None:
    chat = make_chat(1, events=[make_event(result("a", 1)), make_event(result("b", 0.5))])
    assert replay(tmp_path, spans(chat, make_chat(2))) == [("a", "1", ""), ("b", "1", "")]
    assert ledger_of(tmp_path, "feedback") == (2, 0, {}, 2)


@pytest.mark.parametrize("first", ["spans", "records"])
def test_records_are_about_the_call_of_their_span(tmp_path: Path, first: str) -> None:
    requests = [spans(make_chat(1), make_chat(2)), records(make_record(result("a", 1), 2))]
    assert replay(tmp_path, *(requests if first == "spans" else reversed(requests))) == [("a", "2", "")]
    assert ledger_of(tmp_path, "log_records") == (1, 1, {}, 0)


@pytest.mark.parametrize("first", ["spans", "records"])
def test_a_response_id_goes_before_the_span_of_the_judge(tmp_path: Path, first: str) -> None:
    requests = [
        spans(make_chat(1, response_id="r1"), make_chat(9, trace=JUDGE_TRACE)),
        records(make_record(result("a", 1, response_id="r1"), 9, trace=JUDGE_TRACE)),
        records(make_record(result("b", 1, response_id="r1"))),
    ]
    found = replay(tmp_path, *(requests if first == "spans" else reversed(requests)))
    assert found == [("a", "1", "9"), ("b", "1", "")]


def test_an_event_in_the_span_of_a_judge_is_about_the_response_that_it_names(tmp_path: Path) -> None:
    judge = make_span(3, {}, name="judge", parent=1, events=[make_event(result("a", 1, response_id="r2"))])
    assert replay(tmp_path, spans(make_chat(1), make_chat(2, response_id="r2", parent=1), judge)) == [
        ("a", "2", "3")
    ]


def test_of_two_spans_of_one_call_the_one_that_spent_is_judged(tmp_path: Path) -> None:
    outer = make_span(
        1, {"gen_ai.operation.name": "chat", "gen_ai.response.id": "r"}, name="chat of the framework"
    )
    inner = make_chat(2, response_id="r", parent=1, spends=True)
    logs = records(make_record(result("a", 1, response_id="r")))
    assert replay(tmp_path, spans(outer, inner), logs) == [("a", "2", "")]


def test_a_response_of_the_same_trace_goes_before_the_same_id_elsewhere(tmp_path: Path) -> None:
    other = make_chat(5, response_id="r", trace=JUDGE_TRACE)
    logs = records(make_record(result("a", 1, response_id="r"), 7))
    assert replay(tmp_path, spans(make_chat(1, response_id="r")), spans(other), logs) == [("a", "1", "7")]


def test_a_response_that_nobody_knows_leaves_the_span_that_is_named(tmp_path: Path) -> None:
    logs = records(
        make_record(result("a", 1, response_id="?"), 1), make_record(result("b", 1, response_id="?"))
    )
    assert replay(tmp_path, spans(make_chat(1)), logs) == [("a", "1", "")]
    assert ledger_of(tmp_path, "log_records") == (2, 1, {"no_call": 1}, 0)


def test_a_span_that_never_came_here_may_be_in_weave(tmp_path: Path) -> None:
    assert replay(tmp_path, records(make_record(result("a", 1), 8))) == [("a", "8", "")]


def test_a_record_that_names_nothing_is_dropped_and_counted(tmp_path: Path) -> None:
    assert replay(tmp_path, records(make_record(result("a", 1)))) == []
    assert ledger_of(tmp_path, "log_records") == (1, 0, {"no_span": 1}, 0)


def test_a_record_without_a_result_is_a_record_like_any_other(tmp_path: Path) -> None:
    assert replay(tmp_path, spans(make_chat(1)), records(make_record(result("a"), 1))) == []
    assert ledger_of(tmp_path, "log_records") == (1, 1, {}, 0)


def test_a_score_of_the_trace_is_about_its_topmost_call(tmp_path: Path) -> None:
    told = {
        "openinference.span.kind": "LLM",
        "trace.evaluations.0.evaluation.name": "whole",
        "trace.evaluations.0.evaluation.score": 1,
        "evaluations.0.evaluation.name": "part",
        "evaluations.0.evaluation.score": 1,
    }
    trace = spans(make_span(1, {}), make_span(2, {}, parent=1), make_span(3, told, parent=2))
    assert replay(tmp_path, trace) == [("part", "3", ""), ("whole", "1", "")]


def test_the_same_score_as_event_and_as_record_is_one(tmp_path: Path) -> None:
    chat = make_chat(1, events=[make_event(result("a", 1, score__label="true"), at_ms=1)])
    record = make_record(result("a", 1, score__label="true"), 1, at_ms=2)
    assert replay(tmp_path, spans(chat), records(record)) == [("a", "1", "")]
    assert ledger_of(tmp_path, "feedback") == (2, 0, {"duplicate": 1}, 1)
    assert ledger_of(tmp_path, "log_records") == (1, 1, {}, 0)


def test_feedback_goes_to_the_project_of_the_call(tmp_path: Path) -> None:
    calls = spans(make_chat(1, response_id="r"), resource={"wandb.project": "service"})
    judge = records(
        make_record(result("a", 1, response_id="r"), 9, trace=JUDGE_TRACE),
        make_record(result("b", 1), 1, at_ms=120_000),
        resource={"wandb.project": "judges"},
    )
    replay(tmp_path, calls, judge)
    out = (tmp_path / "feedback.jsonl").read_text().splitlines()
    assert {json.loads(line)["project_id"] for line in out} == {"service"}


def test_a_late_score_is_found_among_several_projects(tmp_path: Path) -> None:
    replay(tmp_path, spans(make_chat(1), resource={"wandb.project": "service"}))
    replay(tmp_path, records(make_record(result("b", 1), 1), resource={"wandb.project": "judges"}))
    (line,) = (tmp_path / "feedback.jsonl").read_text().splitlines()
    assert json.loads(line)["project_id"] == "service"


def test_the_same_files_give_the_same_feedback(tmp_path: Path) -> None:
    file = write_requests(
        tmp_path / "in.jsonl",
        spans(make_chat(1, response_id="r", events=[make_event(result("a", 1))])),
        records(make_record(result("b", 0.5, response_id="r"), 9, trace=JUDGE_TRACE)),
        records(make_record(result("c", 2), 1)),
    )
    outputs = []
    for directory in ("a", "b", "a"):
        out = tmp_path / "out.jsonl"
        run("replay", file, "--no-deliver", "--feedback", out, "--data-dir", tmp_path / directory)
        outputs.append(out.read_text())
    assert outputs[0] == outputs[1] == outputs[2]
    assert {json.loads(line)["feedback_type"] for line in outputs[0].splitlines()} == {
        f"wandb.runnable.{name}" for name in "abc"
    }


def test_no_secret_gets_into_the_store(tmp_path: Path) -> None:
    secret = "sk-proj-" + "a1B2" * 12
    waiting = make_record(result(f"n {secret}", 1, explanation=f"key {secret}", response_id=secret), 3)
    chat = make_chat(1, response_id=secret, events=[make_event(result("a", 1, explanation=f"key {secret}"))])
    files = [
        write_requests(tmp_path / "spans.jsonl", spans(chat)),
        write_requests(tmp_path / "logs.jsonl", records(waiting)),
    ]
    run("replay", *files, "--no-deliver")
    held = [p for p in (tmp_path / "data").rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
    assert held == []


# -- the bridge, restarted ---------------------------------------------------------------------------------


class Front:
    """A service's journal, and bridges on it one after the other."""

    def __init__(self, tmp_path: Path, *, trace_idle_s: float = 0.2) -> None:
        self.data_dir = DataDir(tmp_path / "data")
        self.data_dir.create()
        self.settings = Settings(mode="offline", trace_idle_s=trace_idle_s, linger_s=0.0)
        self.journal = JournalWriter(self.data_dir.journal, writer_id="front")

    def send(self, request: dict[str, object]) -> None:
        kind = Kind.OTLP_TRACES_JSON if "resourceSpans" in request else Kind.OTLP_LOGS_JSON
        self.journal.append(json.dumps(request).encode(), kind=kind, items=1, config=self.settings.digest)

    def work(self, *, until: int = -1) -> list[StoredFeedback]:
        """All feedback, after a bridge has worked until there is so much (default: once)."""
        bridge = open_bridge(self.data_dir, self.settings, deliver=False)
        try:
            bridge.step()
            if until >= 0:
                wait_until(lambda: bool(bridge.step() or len(self.stored(bridge)) >= until))
            return self.stored(bridge)
        finally:
            bridge.close()

    def stored(self, bridge: object) -> list[StoredFeedback]:
        return list(bridge._store.reader.feedback.all())  # type: ignore[attr-defined]  # there is no other door

    def waiting(self) -> int:
        status = read_status(self.data_dir)
        assert status.ledger.imbalance() == {}
        return status.ledger.lines["log_records"].waiting


@pytest.fixture
def make_front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    """Makes fronts, whose journals are closed in the end."""
    with ExitStack() as stack:

        def make(**settings: float) -> Front:
            front = Front(tmp_path, **settings)
            stack.callback(front.journal.close)
            return front

        yield make


def test_a_score_waits_over_restarts_until_its_call_comes(make_front: Callable[..., Front]) -> None:
    front = make_front(trace_idle_s=60.0)
    front.send(records(make_record(result("a", 1, response_id="r"), 9, trace=JUDGE_TRACE)))
    front.send(records(make_record(result("b", 1), 1)))
    for _ in range(3):
        assert front.work() == []
        assert front.waiting() == 2
    front.send(spans(make_chat(1, response_id="r")))
    found = front.work(until=2)
    assert {(one.trace_id, one.span_id, one.scored_by) for one in found} == {
        (TRACE, span_id(1), ""),
        (TRACE, span_id(1), span_id(9)),
    }
    assert front.waiting() == 0
    assert front.work() == found
    assert front.waiting() == 0


def test_a_score_that_nobody_claims_is_let_go_once(make_front: Callable[..., Front]) -> None:
    front = make_front()
    front.send(records(make_record(result("a", 1), 1)))
    (one,) = front.work(until=1)
    assert (one.span_id, one.state) == (span_id(1), "waiting")
    assert front.waiting() == 0
    assert front.work() == [one]


def test_a_response_is_remembered_over_a_restart(make_front: Callable[..., Front]) -> None:
    front = make_front()
    front.send(spans(make_chat(1, response_id="r")))
    front.work()
    wait_until(lambda: read_calls(front) == 1)
    front.send(records(make_record(result("a", 1, response_id="r"))))
    (one,) = front.work(until=1)
    assert one.span_id == span_id(1)


def test_a_waiting_score_that_cannot_be_read_any_more_is_dropped_and_counted(
    make_front: Callable[..., Front], tmp_path: Path
) -> None:
    front = make_front(trace_idle_s=60.0)
    front.send(records(make_record(result("a", 1), 1)))
    front.work()
    store = Store.open(front.data_dir.store)
    ((name, _),) = [state for state in store.reader.states().items() if state[0].startswith("feedback/")]
    with store.transaction() as tx:
        tx.put_state(name, b"oops")
    store.close()
    assert front.work() == []
    assert front.waiting() == 0
    assert ledger_of(tmp_path, "log_records") == (1, 0, {"store_corrupt": 1}, 0)


def test_a_store_of_the_version_before_gets_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        Store.open(tmp_path / "store.sqlite").close()
    store = Store.open(tmp_path / "store.sqlite")
    with store.transaction() as tx:
        tx.add_flush(b"token", 0, 0)
        destination = tx.add_destination("c", "team", "rag")
        assert tx.add_feedback(NewFeedback(destination, "u", "1" * 32, "2" * 16, "", b"{}"))
        assert not tx.add_feedback(NewFeedback(destination, "u", "1" * 32, "2" * 16, "", b"{}"))
    assert store.reader.feedback.waiting() == 1
    assert store.reader.flush_settled(b"token") is True
    store.close()


def read_calls(front: Front) -> int:
    front.work()
    return read_status(front.data_dir).ledger.lines["calls"].received


# -- delivery ----------------------------------------------------------------------------------------------


class ScoredHouse(House):
    """A store with calls and feedback that wait."""

    def score(self, *numbers: int, name: str = "quality", size: int = 0, **more: object) -> list[str]:
        """Feedback on the calls of these numbers; its ids."""
        uids = []
        with self.store.transaction() as tx:
            destination = tx.add_destination("config", *PROJECT.split("/"))
            for number in numbers:
                uid = f"00000000-0000-5000-8000-{number:012x}"
                body = {
                    "id": uid,
                    "feedback_type": f"wandb.runnable.{name}",
                    "payload": {"output": {"score": number}, "name": name, "pad": "x" * size},
                    **more,
                }
                item = NewFeedback(
                    destination, uid, "1" * 32, f"{number:016x}", "", json.dumps(body).encode()
                )
                tx.add_feedback(item)
                uids.append(uid)
        return uids

    def read_feedback(self) -> Counter[tuple[str, str]]:
        """(call, id) of all feedback in Weave, as weave's own client reads it, with how often it is there."""
        with self.peer.client(PROJECT) as client:
            return Counter((one.weave_ref.rpartition("/")[2], one.id) for one in client.get_feedback())

    def assert_scored_once(self, *uids: str) -> None:
        found = self.read_feedback()
        assert sorted(uid for _, uid in found) == sorted(uids)
        assert set(found.values()) <= {1}
        assert all(uid[-12:] == call_id[-12:] for call_id, uid in found)
        assert self.store.reader.feedback.waiting() == 0


@pytest.fixture
def house(weave_peer: WeavePeer, tmp_path: Path) -> Iterator[ScoredHouse]:
    house = ScoredHouse(weave_peer, tmp_path)
    yield house
    house.close()


def test_a_score_is_read_back_on_its_call_by_weaves_own_client(all_online: WeavePeer, tmp_path: Path) -> None:
    chat = make_chat(
        1,
        response_id="r",
        events=[make_event(result("Answer Relevance", 0.9, score__label="good", explanation="on topic"))],
    )
    files = [
        write_requests(tmp_path / "spans.jsonl", spans(chat, make_chat(2, parent=1))),
        write_requests(
            tmp_path / "logs.jsonl",
            records(
                make_record(
                    result("toxicity", 0.0, evaluator__name="guard", response_id="r"), 9, trace=JUDGE_TRACE
                )
            ),
        ),
    ]
    for _ in range(2):
        run("replay", *files)
    run("replay", *files, "--data-dir", tmp_path / "another")
    with all_online.client(PROJECT) as client:
        calls = {found.id: found for found in client.get_calls()}
        assert len(calls[span_id(2)].feedback) == 0
        found = {one.feedback_type: one for one in calls[span_id(1)].feedback}
        assert len(calls[span_id(1)].feedback) == 2
    relevance, toxicity = found["wandb.runnable.Answer-Relevance"], found["wandb.runnable.toxicity"]
    assert relevance.payload == {
        "output": {"score": 0.9, "label": "good", "explanation": "on topic"},
        "name": "Answer Relevance",
        "time": "2026-11-25T00:00:00.000000Z",
    }
    assert relevance.call_ref is None
    assert (toxicity.creator, toxicity.call_ref) == ("guard", f"weave:///{PROJECT}/call/{span_id(9)}")
    assert str(toxicity.runnable_ref).startswith(f"weave:///{PROJECT}/object/toxicity:")
    assert ledger_of(tmp_path, "feedback") == (2, 2, {}, 0)


@pytest.mark.parametrize("bridge", ["process", "thread"])
def test_a_score_that_comes_when_its_call_is_long_delivered(online: WeavePeer, bridge: str) -> None:
    spans_out, logs_out = WeaveSpanExporter(bridge=bridge), WeaveLogExporter(bridge=bridge)
    with (
        make_provider(spans_out, batch=False)
        .get_tracer("t")
        .start_as_current_span("chat", attributes={"gen_ai.response.id": "r1"}) as span
    ):
        context = span.get_span_context()
    assert spans_out.force_flush(20_000)
    assert len(online.accepted()) == 1
    provider = LoggerProvider(Resource({"service.name": "judge"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(logs_out))
    logger = provider.get_logger("judge")
    for attributes, of in ((result("late", 0.5), context), (result("named", 1.0, response_id="r1"), None)):
        logger.emit(
            LogRecord(
                event_name="gen_ai.evaluation.result",
                attributes=attributes,  # type: ignore[arg-type]  # plain values
                context=set_span_in_context(NonRecordingSpan(of)) if of else Context(),
            )
        )
    assert logs_out.force_flush(20_000)
    with online.client(PROJECT) as client:
        (found,) = client.get_calls()
        assert {one.feedback_type: one.payload["output"] for one in found.feedback} == {
            "wandb.runnable.late": {"score": 0.5},
            "wandb.runnable.named": {"score": 1.0},
        }
    provider.shutdown()
    spans_out.shutdown()


def test_feedback_comes_after_its_call_and_not_after_others(house: ScoredHouse) -> None:
    house.configure(settle_s=0.05)
    house.peer.faults("500:over=60000,path=calls/complete")
    house.queue(call(1), call(2, size=60_000), call(3))
    first, held, third = house.score(1, 2, 3)
    (elsewhere,) = house.score(99)
    progress = house.delivery().deliver_due(deadline_s=3.0)
    assert (progress.waiting, progress.feedback_waiting) == (1, 1)
    assert sorted(uid for _, uid in house.read_feedback()) == sorted([first, third, elsewhere])
    house.peer.faults()
    house.deliver()
    house.assert_scored_once(first, held, third, elsewhere)


def test_feedback_waits_for_its_call(house: ScoredHouse) -> None:
    house.peer.faults("503:path=calls/complete")
    house.queue(call(1))
    uids = house.score(1)
    assert house.delivery().deliver_due(deadline_s=0.5).feedback_waiting == 1
    assert house.peer.requests("/feedback/") == []
    house.peer.faults()
    house.deliver()
    house.assert_scored_once(*uids)


@pytest.mark.parametrize(
    "fault",
    [
        "503:count=2",
        "429:count=1,retry_after=1",
        "500:count=2",
        "reset:count=2",
        "hang:delay=30,count=1",
        "500:phase=after,count=1",
        "504:phase=after,count=1",
        "reset:phase=after,count=1",
        "hang:phase=after,delay=30,count=1",
        "200:phase=after,body=oops,count=1",
    ],
)
def test_a_fault_costs_nothing_and_doubles_nothing(house: ScoredHouse, fault: str) -> None:
    house.configure(request_timeout_s=1.0)
    house.peer.faults(f"{fault},path={SCORED}")
    house.queue(call(1), call(2))
    uids = house.score(1, 2)
    house.deliver()
    assert house.peer.fired()[0] > 0
    house.assert_scored_once(*uids)


@pytest.mark.parametrize("path", ["/feedback/query", "/objs/query", "/obj/create"])
@pytest.mark.parametrize("fault", ["503:count=2", "500:count=1", "reset:count=2", "200:count=1,body=oops"])
def test_the_questions_before_it_may_fail_too(house: ScoredHouse, path: str, fault: str) -> None:
    house.peer.faults(f"{fault},path={path}")
    uids = house.score(1, 2)
    house.deliver()
    assert house.peer.fired()[0] > 0
    house.assert_scored_once(*uids)


def test_many_scores_go_in_batches(house: ScoredHouse) -> None:
    house.configure(max_batch_calls=40)
    house.queue(*(call(number) for number in range(1, 101)))
    uids = house.score(*range(1, 101))
    house.deliver()
    house.assert_scored_once(*uids)
    assert 3 <= len(house.peer.requests(SCORED)) <= 6
    assert len(house.peer.requests("/obj/create")) == 1


def test_what_another_bridge_has_sent_is_not_sent_again(house: ScoredHouse, tmp_path: Path) -> None:
    uids = house.score(1, 2)
    house.deliver()
    (tmp_path / "other").mkdir()
    other = ScoredHouse(house.peer, tmp_path / "other")
    assert other.score(1, 2) == uids
    other.deliver()
    other.assert_scored_once(*uids)
    other.close()
    assert len(house.peer.requests(SCORED)) == 1


def test_an_object_of_the_project_is_used_and_not_replaced(house: ScoredHouse) -> None:
    with house.peer.client(PROJECT) as client:
        ref = client._save_object({"mine": 1}, "quality")
    house.score(1)
    house.deliver()
    with house.peer.client(PROJECT) as client:
        (one,) = client.get_feedback()
    assert one.runnable_ref == ref.uri
    assert len(house.peer.requests("/obj/create")) == 1


def test_one_bad_score_is_a_dead_letter_and_the_rest_arrives(house: ScoredHouse) -> None:
    uids = house.score(*range(1, 8))
    (bad,) = house.score(50, queue_id="no such queue")
    house.deliver()
    house.assert_scored_once(*uids)
    (letter,) = house.store.reader.feedback.dead_letters()
    assert (letter.uid, letter.state, letter.status, letter.reason) == (bad, "rejected", 400, "http_400")
    assert "no such queue" in letter.answer
    line = house.store.reader.counts()
    assert (line["feedback", "delivered", ""], line["feedback", "rejected", "http_400"]) == (7, 1)


def test_a_payload_that_is_too_large_is_a_dead_letter(house: ScoredHouse) -> None:
    (good,) = house.score(1)
    (bad,) = house.score(2, size=1 << 20)
    house.deliver()
    house.assert_scored_once(good)
    (letter,) = house.store.reader.feedback.dead_letters()
    assert (letter.uid, letter.status, letter.reason) == (bad, 400, "http_400")
    assert "too large" in letter.answer


def test_a_404_is_doubted_once_and_then_believed(house: ScoredHouse) -> None:
    (first,) = house.score(1)
    delivery = house.deliver()
    (second,) = house.score(2)
    house.peer.faults(f"404:path={SCORED},count=2")
    house.deliver(delivery)
    assert house.peer.fired() == [2]
    (letter,) = house.store.reader.feedback.dead_letters()
    assert (letter.uid, letter.status, letter.reason) == (second, 404, "http_404")
    house.assert_scored_once(first)


def test_what_waits_for_a_call_that_is_refused_is_given_up_with_it(house: ScoredHouse) -> None:
    house.queue(call(1), call(2, summary={"usage": {"model": {"input_tokens": "many"}}}))
    good, bad = house.score(1, 2)
    house.deliver()
    house.assert_scored_once(good)
    (letter,) = house.store.reader.feedback.dead_letters()
    assert (letter.uid, letter.reason) == (bad, "call_rejected")


def test_a_wrong_key_holds_feedback_until_it_is_changed(house: ScoredHouse) -> None:
    uids = house.score(1)
    house.environ["WANDB_API_KEY"] = "wrong"
    delivery = house.delivery()
    progress = delivery.deliver_due(deadline_s=PATIENCE_S)
    assert (progress.feedback_waiting, progress.feedback_rejected) == (1, 0)
    assert "401" in progress.problem
    house.environ["WANDB_API_KEY"] = house.peer.api_key
    house.deliver(delivery)
    house.assert_scored_once(*uids)


@pytest.mark.parametrize("where", ["begin_attempt", "settle"])
def test_a_kill_between_the_call_and_its_score_loses_and_doubles_nothing(
    house: ScoredHouse, where: str
) -> None:
    ids = house.queue(call(1), call(2))
    uids = house.score(1, 2)
    process = start_delivery_process(house, f"FeedbackWriter.{where}")
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert {accepted.id for accepted in house.peer.accepted()} == set(ids)
    assert len(house.read_feedback()) == (2 if where == "settle" else 0)
    house.restart()
    house.deliver()
    house.assert_each_once(*ids)
    house.assert_scored_once(*uids)


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_kill_while_the_answer_is_awaited_doubles_nothing(house: ScoredHouse, phase: str) -> None:
    uids = house.score(1, 2)
    house.peer.faults(f"hang:phase={phase},delay=60,path={SCORED}")
    process = start_delivery_process(house)
    wait_until(lambda: house.peer.fired() == [1])
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    house.peer.faults()
    house.restart()
    house.deliver()
    house.assert_scored_once(*uids)


# -- offline, and the command line -------------------------------------------------------------------------


def test_offline_scores_are_kept_and_sync_uploads_them(
    all_online: WeavePeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_WANDB_MODE", "offline")
    chat = make_chat(1, events=[make_event(result("a", 1))])
    run("replay", write_requests(tmp_path / "spans.jsonl", spans(chat)))
    assert all_online.requests() == []
    status = run("status")
    assert "feedback" in status.output
    assert ledger_of(tmp_path, "feedback") == (1, 0, {}, 1)
    monkeypatch.delenv("OTEL_WANDB_MODE")
    assert "1 calls, 1 scores and" in run("sync").output
    with all_online.client(PROJECT) as client:
        (found,) = client.get_calls()
        (one,) = found.feedback
    assert one.payload["output"] == {"score": 1}
    assert ledger_of(tmp_path, "feedback") == (1, 1, {}, 0)
    assert "0 calls and 0 rows were uploaded." in run("sync").output


def test_status_tells_of_scores_that_weave_refused(house: ScoredHouse, tmp_path: Path) -> None:
    house.score(1, queue_id="no such queue")
    house.deliver()
    house.close()
    (tmp_path / "data").mkdir()
    house.path.rename(tmp_path / "data" / "store.sqlite")
    told = run("status", "--data-dir", tmp_path / "data").output
    assert "dead letters 1 scores that W&B refused for good" in told
    assert "feedback rejected: 1 http_400" in told


def test_a_flush_waits_for_the_scores_too(house: ScoredHouse) -> None:
    house.queue(call(1))
    house.score(1)
    with house.store.transaction() as tx:
        tx.add_flush(b"token", tx.last_call_id, tx.feedback.last_id())
    house.peer.faults(f"503:path={SCORED}")
    house.delivery().deliver_due(deadline_s=0.5)
    assert house.store.reader.outbox_size() == 0
    assert house.store.reader.flush_settled(b"token") is False
    house.peer.faults()
    house.deliver()
    assert house.store.reader.flush_settled(b"token") is True
