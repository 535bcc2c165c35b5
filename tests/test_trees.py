"""What the spans of a trace add up to: parents, failures, tokens, threads."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from otel_wandb.records import Attributes, Resource, Scope
from otel_wandb.traces.calls import shape_trace
from otel_wandb.traces.finished import Earlier, FinishedTrace, Placed
from tests.genai_spans import (
    TRACE_ID,
    calls_of,
    chat,
    make_span,
    make_trace,
    shape,
)


def usage_of(call: Any) -> dict[str, int] | None:
    usage = call["summary"].get("usage")
    return next(iter(usage.values())) if usage else None


def test_asgi_messages_are_folded_away_and_their_children_go_up() -> None:
    asgi: Attributes = {"asgi.event.type": "http.response.body"}
    spans = [
        make_span(1, {"http.request.method": "GET"}, name="GET /", kind=2),
        make_span(2, asgi, parent=1, name="GET / http send", start_ms=1),
        make_span(3, parent=2, name="render", start_ms=2),
        make_span(4, asgi, parent=1, name="GET / http receive", start_ms=3, status=2),
        make_span(5, parent=1, name="my http send", start_ms=4),
    ]
    shaped = shape(make_trace(*spans))
    assert shaped.folded == 1, "not one that failed, and not one that only has such a name"
    calls = calls_of(make_trace(*spans))
    assert {n: call.get("parent_id") for n, call in calls.items()} == {
        1: None,
        3: f"{1:016x}",
        4: f"{1:016x}",
        5: f"{1:016x}",
    }
    assert calls[1]["summary"]["status_counts"] == {"success": 3, "error": 1}  # type: ignore[index,call-overload]
    assert len(calls_of(make_trace(*spans), fold_asgi=False)) == 5


@pytest.mark.parametrize(
    ("reason", "flags", "kind", "stays"),
    [
        ("ended", 0x100, 1, True),
        ("end", 0x100, 1, False),
        ("end", 0x300, 1, True),
        ("end", 0, 2, True),
        ("end", 0, 3, False),
    ],
)
def test_a_parent_that_is_not_here(reason: str, flags: int, kind: int, stays: bool) -> None:
    call = calls_of(make_trace(make_span(2, parent=1, flags=flags, kind=kind), reason=reason))[2]
    assert call.get("parent_id") == (f"{1:016x}" if stays else None)


def test_a_parent_that_was_given_out_before_stays_at_the_end_too() -> None:
    trace = make_trace(make_span(2, parent=1), reason="end", memory={f"{1:016x}": Earlier("", False)})
    assert calls_of(trace)[2]["parent_id"] == f"{1:016x}"


def test_circles_become_trees() -> None:
    calls = calls_of(make_trace(make_span(1, parent=2), make_span(2, parent=1), make_span(3, parent=3)))
    assert {n: call.get("parent_id") for n, call in calls.items()} == {1: None, 2: f"{1:016x}", 3: None}


def test_a_parent_of_zeros_is_none() -> None:
    span = msgspec.structs.replace(make_span(1), parent_id="0" * 16)
    assert "parent_id" not in calls_of(make_trace(span))[1]


def test_what_was_given_out_before_counts_for_those_above() -> None:
    memory = {
        f"{3:016x}": Earlier(f"{2:016x}", False),
        f"{4:016x}": Earlier(f"{3:016x}", True),
        f"{9:016x}": Earlier(f"{8:016x}", True),
    }
    trace = make_trace(make_span(1), make_span(2, parent=1, start_ms=1), memory=memory)
    counts = {n: call["summary"]["status_counts"] for n, call in calls_of(trace).items()}  # type: ignore[index,call-overload]
    assert counts == {1: {"success": 3, "error": 1}, 2: {"success": 2, "error": 1}}


def test_a_sum_on_an_agent_is_told_and_not_counted() -> None:
    agent: Attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 154}
    trace = make_trace(
        make_span(1, agent),
        make_span(2, chat(61, 17), parent=1, start_ms=1),
        make_span(3, {"gen_ai.operation.name": "execute_tool"}, parent=1, start_ms=2),
        make_span(4, chat(93, 14), parent=3, start_ms=3),
    )
    calls: Any = calls_of(trace)
    assert usage_of(calls[1]) is None
    assert calls[1]["attributes"]["reported_usage"] == {"input_tokens": 154, "total_tokens": 154}
    assert usage_of(calls[2]) == {"input_tokens": 61, "output_tokens": 17, "total_tokens": 78, "requests": 1}
    assert usage_of(calls[4]) == {"input_tokens": 93, "output_tokens": 14, "total_tokens": 107, "requests": 1}


def test_an_agent_whose_model_calls_nobody_saw_counts() -> None:
    agent: Attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 154}
    trace = make_trace(make_span(1, agent), make_span(2, chat(), parent=1))
    assert usage_of(calls_of(trace)[1]) == {"input_tokens": 154, "total_tokens": 154, "requests": 1}


def test_an_agent_of_which_parts_were_given_out_before_does_not_count() -> None:
    agent: Attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 154}
    trace = make_trace(make_span(1, agent), memory={f"{2:016x}": Earlier(f"{1:016x}", False)})
    assert usage_of(calls_of(trace)[1]) is None


@pytest.mark.parametrize(
    ("between", "outer_id", "inner_id", "counted"),
    [
        (None, None, None, [False, True]),
        (None, "a", "a", [False, True]),
        (None, "a", "b", [True, True]),
        ({"http.request.method": "POST"}, None, "a", [False, True]),
        ({"gen_ai.operation.name": "execute_tool"}, None, "a", [True, True]),
    ],
)
def test_of_two_nested_spans_for_one_model_call_the_inner_counts(
    between: Attributes | None, outer_id: str | None, inner_id: str | None, counted: list[bool]
) -> None:
    def told(response_id: str | None) -> Attributes:
        return chat(5, 3) | ({"gen_ai.response.id": response_id} if response_id else {})

    spans = [
        make_span(1, told(outer_id)),
        make_span(3, told(inner_id), parent=2 if between else 1, start_ms=2),
    ]
    if between:
        spans.append(make_span(2, between, parent=1, start_ms=1))
    calls = calls_of(make_trace(*spans))
    assert [usage_of(calls[1]) is not None, usage_of(calls[3]) is not None] == counted


def test_embeddings_below_a_chat_are_another_call() -> None:
    embeddings: Attributes = {"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 9}
    calls = calls_of(make_trace(make_span(1, chat(5, 3)), make_span(2, embeddings, parent=1)))
    assert usage_of(calls[1]) is not None
    assert usage_of(calls[2]) is not None


@pytest.mark.parametrize(
    ("other", "start_ms", "counted"),
    [
        (chat(5, 3, gen_ai__response__id="a"), 2, 1),
        (chat(5, 3, gen_ai__response__id="b"), 2, 2),
        (chat(5, 4, gen_ai__response__id="a"), 2, 2),
        (chat(5, 3, gen_ai__response__id="a"), 20, 2),
    ],
)
def test_of_two_spans_side_by_side_for_one_model_call_one_counts(
    other: Attributes, start_ms: int, counted: int
) -> None:
    first = chat(5, 3, gen_ai__response__id="a")
    trace = make_trace(
        make_span(1, ms=100),
        make_span(2, first, parent=1, start_ms=1),
        make_span(3, other, parent=1, start_ms=start_ms, ms=5),
    )
    calls = calls_of(trace)
    assert sum(usage_of(call) is not None for call in calls.values()) == counted
    assert usage_of(calls[3]) is not None, "the one that began later is the inner one"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"input_tokens": 0, "output_tokens": 0}, None),
        ({"total_tokens": 9}, {"total_tokens": 9, "requests": 1}),
        (
            {"input_tokens": 9, "cache_read.input_tokens": 0},
            {"input_tokens": 9, "total_tokens": 9, "requests": 1},
        ),
        (
            {
                "input_tokens": 9,
                "cache_read.input_tokens": 16,
                "cache_write.input_tokens": 10,
                "output_tokens": 5,
            },
            {
                "input_tokens": 35,
                "output_tokens": 5,
                "total_tokens": 40,
                "requests": 1,
                "cache_read_input_tokens": 16,
                "cache_creation_input_tokens": 10,
            },
        ),
        (
            {"input_tokens": 9, "output_tokens": 5, "reasoning.output_tokens": 7},
            {
                "input_tokens": 9,
                "output_tokens": 12,
                "total_tokens": 21,
                "requests": 1,
                "reasoning_tokens": 7,
            },
        ),
        ({"input_tokens": 2**62, "output_tokens": 2**62}, None),
    ],
)
def test_tokens_as_weave_counts_them(told: dict[str, int], expected: dict[str, int] | None) -> None:
    attributes = chat() | {f"gen_ai.usage.{name}": tokens for name, tokens in told.items()}
    assert usage_of(calls_of(make_trace(make_span(1, attributes)))[1]) == expected


def test_tokens_are_counted_under_the_model_that_answered() -> None:
    given: list[tuple[Attributes, str]] = [
        (chat(1, 1, gen_ai__response__model="m-2"), "m-2"),
        (chat(1, 1), "gpt-4o-mini"),
        ({"gen_ai.usage.input_tokens": 1}, "unknown"),
    ]
    for attributes, model in given:
        call: Any = calls_of(make_trace(make_span(1, attributes)))[1]
        assert list(call["summary"]["usage"]) == [model]


def threads_of(trace: FinishedTrace) -> dict[int, tuple[object, object]]:
    return {n: (call.get("thread_id"), call.get("turn_id")) for n, call in calls_of(trace).items()}


def test_a_trace_is_one_turn_of_its_thread() -> None:
    trace = make_trace(
        make_span(1), make_span(2, {"session.id": "s"}, parent=1, start_ms=1), make_span(3, parent=1)
    )
    assert threads_of(trace) == dict.fromkeys((1, 2, 3), ("s", f"{1:016x}"))
    assert threads_of(make_trace(make_span(1))) == {1: (None, None)}


def test_several_threads_in_one_trace_are_turns_of_their_own() -> None:
    trace = make_trace(
        make_span(1),
        make_span(2, {"session.id": "s"}, parent=1, start_ms=1),
        make_span(3, {"session.id": "t"}, parent=1, start_ms=2),
        make_span(4, parent=3, start_ms=3),
    )
    assert threads_of(trace) == {
        1: (None, None),
        2: ("s", f"{2:016x}"),
        3: ("t", f"{3:016x}"),
        4: ("t", f"{3:016x}"),
    }


def test_the_session_comes_before_a_conversation_that_may_be_invented() -> None:
    call: Any = calls_of(make_trace(make_span(1, chat(gen_ai__conversation__id="c", session__id="s"))))[1]
    assert call["thread_id"] == "s"
    assert call["attributes"]["metadata"] == {"conversation_id": "c"}
    only: Any = calls_of(make_trace(make_span(1, chat(gen_ai__conversation__id="c"))))[1]
    assert (only["thread_id"], only["attributes"]["session_id"]) == ("c", "c")


def test_a_user_may_say_where_a_turn_begins() -> None:
    trace = make_trace(
        make_span(1, {"session.id": "s"}),
        make_span(2, {"wandb.is_turn": True}, parent=1, start_ms=1),
        make_span(3, parent=2, start_ms=2),
    )
    assert threads_of(trace) == {1: ("s", f"{1:016x}"), 2: ("s", f"{2:016x}"), 3: ("s", f"{2:016x}")}


def test_parts_of_a_trace_are_the_same_turn() -> None:
    session: Attributes = {"session.id": "s"}
    open_root = make_trace(make_span(2, session, parent=1), reason="subtree")
    assert threads_of(open_root) == {2: ("s", f"{1:016x}")}
    memory = {f"{2:016x}": Earlier(f"{1:016x}", False), f"{1:016x}": Earlier("", False)}
    late = make_trace(make_span(3, session, parent=2), reason="late", memory=memory)
    assert threads_of(late) == {3: ("s", f"{1:016x}")}


def test_a_turn_stays_within_its_project() -> None:
    placed = [
        Placed(make_span(1, {"session.id": "s"}), Scope(), Resource({"p": "a"}), "c"),
        Placed(make_span(2, {}, parent=1, start_ms=1), Scope(), Resource({"p": "b"}), "c"),
        Placed(make_span(3, {}, parent=2, start_ms=2), Scope(), Resource({"p": "b"}), "c"),
    ]
    trace = FinishedTrace(TRACE_ID, tuple(placed), "ended", complete=True)
    shaped = shape_trace(trace, project_of=lambda p: ("team", str(p.resource.attributes["p"])))
    assert [call.turn_id for call in shaped.calls] == [f"{n:016x}" for n in (1, 2, 2)]
