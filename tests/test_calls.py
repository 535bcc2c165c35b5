"""The wire: what a finished trace becomes, exactly."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from inline_snapshot import snapshot

from otel_wandb.records import Attributes, Event, Link, Resource, Value
from otel_wandb.traces.calls import op_name
from otel_wandb.traces.finished import FinishedTrace
from tests.genai_spans import (
    START_NS,
    calls_of,
    chat,
    encode,
    make_log,
    make_span,
    make_trace,
    shape,
    text_message,
)

QUESTION = encode([text_message("user", "How tall is the Eiffel Tower?")])
ANSWER = encode([text_message("assistant", "330 metres.", finish_reason="stop")])


def asked(given: int | None = None, made: int | None = None, **more: Value) -> Attributes:
    return chat(given, made, **more) | {"gen_ai.input.messages": QUESTION, "gen_ai.output.messages": ANSWER}


def usage_of(call: Any) -> dict[str, int] | None:
    usage = call["summary"].get("usage")
    return next(iter(usage.values())) if usage else None


def rag_trace() -> FinishedTrace:
    server: Attributes = {
        "http.request.method": "POST",
        "http.route": "/ask",
        "url.path": "/ask",
        "http.response.status_code": 200,
        "session.id": "session-42",
        "user.id": "user-7",
    }
    embeddings: Attributes = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": "text-embedding-3-small",
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.embeddings.dimension.count": 3,
        "input.value": "How tall is the Eiffel Tower?",
    }
    retrieval: Attributes = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "paris",
        "gen_ai.retrieval.top_k": 2,
        "gen_ai.retrieval.query.text": "How tall is the Eiffel Tower?",
        "gen_ai.retrieval.documents": '[{"id":"doc-1","score":0.9,"content":"330 metres."},'
        '{"id":"doc-2","score":0.5}]',
    }
    answer = asked(
        given=142,
        made=21,
        gen_ai__usage__cache_read__input_tokens=64,
        gen_ai__response__model="gpt-4o-mini-2024-07-18",
        gen_ai__response__id="chatcmpl-1",
        gen_ai__request__temperature=0.2,
        gen_ai__provider__name="openai",
        server__port=443,
    )
    return make_trace(
        make_span(1, server, name="POST /ask", kind=2, ms=100),
        make_span(2, embeddings, parent=1, name="embeddings text-embedding-3-small", kind=3, start_ms=10),
        make_span(3, retrieval, parent=1, name="retrieval paris", kind=3, start_ms=20),
        make_span(4, answer, parent=1, name="chat gpt-4o-mini", kind=3, start_ms=30, ms=50),
    )


def test_a_rag_trace() -> None:
    assert calls_of(rag_trace()) == snapshot(
        {
            1: {
                "id": "0000000000000001",
                "trace_id": "0af7651916cd43dd8448eb211c80319c",
                "op_name": "POST /ask",
                "started_at": "2026-01-01T00:00:00.000000Z",
                "ended_at": "2026-01-01T00:00:00.100000Z",
                "attributes": {
                    "kind": "http",
                    "session_id": "session-42",
                    "user_id": "user-7",
                    "derived": ["input", "output"],
                    "span_kind": "server",
                    "dialect": "http",
                    "scope": {"name": "opentelemetry.instrumentation.genai.openai", "version": "1.3b0"},
                    "resource": {"service.name": "rag"},
                },
                "inputs": {
                    "method": "POST",
                    "route": "/ask",
                    "path": "/ask",
                    "input": "How tall is the Eiffel Tower?",
                },
                "summary": {"status_counts": {"success": 4, "error": 0}},
                "output": {"status_code": 200, "output": "330 metres."},
                "thread_id": "session-42",
                "turn_id": "0000000000000001",
            },
            2: {
                "id": "0000000000000002",
                "trace_id": "0af7651916cd43dd8448eb211c80319c",
                "op_name": "embeddings text-embedding-3-small",
                "started_at": "2026-01-01T00:00:00.010000Z",
                "ended_at": "2026-01-01T00:00:00.020000Z",
                "attributes": {
                    "kind": "embeddings",
                    "weave": {"kind": "llm"},
                    "model": "text-embedding-3-small",
                    "span_kind": "client",
                    "dialect": "otel-genai",
                    "scope": {"name": "opentelemetry.instrumentation.genai.openai", "version": "1.3b0"},
                    "resource": {"service.name": "rag"},
                },
                "inputs": {"model": "text-embedding-3-small", "input": ["How tall is the Eiffel Tower?"]},
                "summary": {
                    "status_counts": {"success": 1, "error": 0},
                    "usage": {
                        "text-embedding-3-small": {"input_tokens": 9, "total_tokens": 9, "requests": 1}
                    },
                },
                "parent_id": "0000000000000001",
                "output": {"count": 1, "dimensions": 3},
                "thread_id": "session-42",
                "turn_id": "0000000000000001",
            },
            3: {
                "id": "0000000000000003",
                "trace_id": "0af7651916cd43dd8448eb211c80319c",
                "op_name": "retrieval paris",
                "started_at": "2026-01-01T00:00:00.020000Z",
                "ended_at": "2026-01-01T00:00:00.030000Z",
                "attributes": {
                    "kind": "retrieval",
                    "weave": {"kind": "search"},
                    "metadata": {"data_source_id": "paris"},
                    "span_kind": "client",
                    "dialect": "otel-genai",
                    "scope": {"name": "opentelemetry.instrumentation.genai.openai", "version": "1.3b0"},
                    "resource": {"service.name": "rag"},
                },
                "inputs": {"query": "How tall is the Eiffel Tower?", "top_k": 2},
                "summary": {"status_counts": {"success": 1, "error": 0}},
                "parent_id": "0000000000000001",
                "output": {
                    "documents": [
                        {"id": "doc-1", "content": "330 metres.", "score": 0.9},
                        {"id": "doc-2", "score": 0.5},
                    ]
                },
                "thread_id": "session-42",
                "turn_id": "0000000000000001",
            },
            4: {
                "id": "0000000000000004",
                "trace_id": "0af7651916cd43dd8448eb211c80319c",
                "op_name": "chat gpt-4o-mini",
                "started_at": "2026-01-01T00:00:00.030000Z",
                "ended_at": "2026-01-01T00:00:00.080000Z",
                "attributes": {
                    "kind": "chat",
                    "weave": {"kind": "llm"},
                    "model": "gpt-4o-mini",
                    "response_model": "gpt-4o-mini-2024-07-18",
                    "provider": "openai",
                    "params": {"temperature": 0.2},
                    "finish_reason": "stop",
                    "response_id": "chatcmpl-1",
                    "span_kind": "client",
                    "dialect": "otel-genai",
                    "scope": {"name": "opentelemetry.instrumentation.genai.openai", "version": "1.3b0"},
                    "resource": {"service.name": "rag"},
                    "otel": {"server.port": 443},
                },
                "inputs": {
                    "model": "gpt-4o-mini",
                    "messages": [{"role": "user", "content": "How tall is the Eiffel Tower?"}],
                    "temperature": 0.2,
                },
                "summary": {
                    "status_counts": {"success": 1, "error": 0},
                    "usage": {
                        "gpt-4o-mini-2024-07-18": {
                            "input_tokens": 142,
                            "output_tokens": 21,
                            "cache_read_input_tokens": 64,
                            "total_tokens": 163,
                            "requests": 1,
                        }
                    },
                },
                "parent_id": "0000000000000001",
                "output": {
                    "id": "chatcmpl-1",
                    "model": "gpt-4o-mini-2024-07-18",
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "stop",
                            "message": {"role": "assistant", "content": "330 metres."},
                        }
                    ],
                },
                "thread_id": "session-42",
                "turn_id": "0000000000000001",
            },
        }
    )


def test_the_body_starts_with_the_id_and_is_the_same_each_time() -> None:
    bodies = [call.encode() for call in shape(rag_trace()).calls]
    assert [body[:25] for body in bodies] == [f'{{"id":"{n:016x}",'.encode() for n in (1, 2, 3, 4)]
    assert bodies == [call.encode() for call in shape(rag_trace()).calls]


def test_a_tool_and_an_agent() -> None:
    tool: Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.call.id": "call-1",
        "gen_ai.tool.call.arguments": '{"city": "Paris"}',
        "gen_ai.tool.call.result": "18 degrees",
    }
    agent: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "weather",
        "gen_ai.input.messages": QUESTION,
        "gen_ai.output.messages": ANSWER,
    }
    trace = make_trace(
        make_span(1, agent, name="invoke_agent weather"),
        make_span(2, tool, parent=1, name="execute_tool get_weather", start_ms=1),
    )
    calls = calls_of(trace)
    assert calls[1]["inputs"] == {"input": "How tall is the Eiffel Tower?"}
    assert calls[1]["output"] == {"output": "330 metres."}
    assert calls[1]["attributes"] == snapshot(
        {
            "kind": "agent",
            "weave": {"kind": "agent"},
            "operation": "invoke_agent",
            "finish_reason": "stop",
            "agent": {"name": "weather"},
            "span_kind": "internal",
            "dialect": "otel-genai",
            "scope": {"name": "opentelemetry.instrumentation.genai.openai", "version": "1.3b0"},
            "resource": {"service.name": "rag"},
        }
    )
    assert calls[2]["inputs"] == {"arguments": {"city": "Paris"}}
    assert calls[2]["output"] == {"result": "18 degrees"}
    assert calls[2]["attributes"] == snapshot(
        {
            "kind": "tool",
            "weave": {"kind": "tool"},
            "operation": "execute_tool",
            "tool": {"name": "get_weather", "call_id": "call-1"},
            "span_kind": "internal",
            "dialect": "otel-genai",
            "scope": {"name": "opentelemetry.instrumentation.genai.openai", "version": "1.3b0"},
            "resource": {"service.name": "rag"},
        }
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chat", "chat"),
        ("", "unnamed"),
        ("x" * 128, "x" * 128),
        ("weave:///a/b/op/c:d", "span weave:///a/b/op/c:d"),
    ],
)
def test_op_names(name: str, expected: str) -> None:
    assert op_name(name) == expected


def test_long_names_are_cut_and_stay_apart() -> None:
    one, other = op_name("x" * 200 + "1"), op_name("x" * 200 + "2")
    assert (len(one), len(other)) == (128, 128)
    assert one != other
    assert one == op_name("x" * 200 + "1")
    assert len(op_name("\ud800" * 200)) == 128


@pytest.mark.parametrize(
    ("operation", "kind", "weave"),
    [
        ("chat", "chat", {"kind": "llm"}),
        ("retrieval", "retrieval", {"kind": "search"}),
        ("execute_tool", "tool", {"kind": "tool"}),
        ("invoke_agent", "agent", {"kind": "agent"}),
        ("invoke_workflow", "workflow", None),
        ("create_memory", "other", None),
    ],
)
def test_kinds(operation: str, kind: str, weave: dict[str, str] | None) -> None:
    call: Any = calls_of(make_trace(make_span(1, {"gen_ai.operation.name": operation})))[1]
    assert call["attributes"]["kind"] == kind
    assert call["attributes"].get("weave") == weave
    assert call["attributes"].get("operation") == (None if operation == kind else operation)


def test_plain_inputs_and_outputs_take_the_shape_of_the_kind() -> None:
    plain: Attributes = {"input.value": "in", "output.value": "out"}
    bodies = {}
    for number, operation in enumerate(
        ("chat", "execute_tool", "retrieval", "embeddings", "invoke_agent"), 1
    ):
        calls = calls_of(make_trace(make_span(number, plain | {"gen_ai.operation.name": operation})))
        bodies[operation] = calls[number]["inputs"], calls[number]["output"]
    assert bodies == {
        "chat": (
            {"messages": [{"role": "user", "content": "in"}]},
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "out"}}]},
        ),
        "execute_tool": ({"arguments": "in"}, {"result": "out"}),
        "retrieval": ({"query": "in"}, {"output": "out"}),
        "embeddings": ({"input": ["in"]}, {"output": "out"}),
        "invoke_agent": ({"input": "in"}, {"output": "out"}),
    }


def test_content_that_the_kind_has_no_place_for_is_not_lost() -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.input.messages": QUESTION,
        "gen_ai.output.messages": ANSWER,
        "gen_ai.tool.call.result": {"a": 1},
    }
    call: Any = calls_of(make_trace(make_span(1, attributes)))[1]
    assert call["inputs"]["messages"][0]["content"] == "How tall is the Eiffel Tower?"
    assert call["output"]["choices"][0]["message"]["content"] == "330 metres."
    assert call["output"]["result"] == {"a": 1}


def test_a_finish_reason_is_told_in_one_vocabulary_and_in_the_producers_word() -> None:
    attributes = chat(gen_ai__response__finish_reasons=["end_turn"], gen_ai__output__messages=ANSWER)
    call: Any = calls_of(make_trace(make_span(1, attributes)))[1]
    assert call["output"]["choices"][0]["finish_reason"] == "stop"
    assert call["attributes"]["finish_reason"] == "stop"
    assert call["attributes"]["raw_finish_reason"] == "end_turn"


def test_system_instructions_come_once() -> None:
    system = '[{"type":"text","content":"Be brief."}]'
    history = encode([text_message("system", "Be brief."), text_message("user", "Why?")])
    expected = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    for messages in (history, encode([text_message("user", "Why?")])):
        attributes = chat(gen_ai__system_instructions=system, gen_ai__input__messages=messages)
        call: Any = calls_of(make_trace(make_span(1, attributes)))[1]
        assert call["inputs"]["messages"] == expected


def test_what_has_no_field_of_its_own_is_kept_beside() -> None:
    span = make_span(
        1,
        {"app.key": float("nan"), "app.bytes": b"ABC"},
        events=[Event(START_NS, "cache.miss", {"k": 1})],
        links=[Link("1" * 32, "2" * 16, {"why": "follows"})],
    )
    span = msgspec.structs.replace(span, trace_state="ot=th:8", dropped_events=3)
    attributes: Any = calls_of(make_trace(span, logs={1: [make_log("", "hello")]}))[1]["attributes"]
    assert attributes == {
        "kind": "other",
        "span_kind": "internal",
        "scope": {"name": "opentelemetry.instrumentation.genai.openai", "version": "1.3b0"},
        "resource": {"service.name": "rag"},
        "otel": {"app.key": None, "app.bytes": "QUJD"},
        "otel_events": [
            {"name": "cache.miss", "time": "2026-01-01T00:00:00.000000Z", "attributes": {"k": 1}}
        ],
        "otel_logs": [{"time": "2026-01-01T00:00:00.001000Z", "severity": "INFO", "body": "hello"}],
        "otel_links": [{"trace_id": "1" * 32, "span_id": "2" * 16, "attributes": {"why": "follows"}}],
        "trace_state": "ot=th:8",
        "dropped": {"events": 3},
    }


@pytest.mark.parametrize("value", ["\ud800", {"a": "\udfff"}])
def test_what_json_cannot_hold_is_replaced(value: Value) -> None:
    given: list[Attributes] = [{"app": value}, {"input": value}]
    for attributes in given:
        call: Any = calls_of(make_trace(make_span(1, attributes), resource=Resource({"r": "\ud800"})))[1]
        assert call["attributes"]["resource"] == {"r": "?"}
        assert "?" in encode([call["attributes"].get("otel"), call["inputs"]])


def test_nesting_without_end_still_makes_a_call() -> None:
    deep: Value = "end"
    for _ in range(1000):
        deep = [deep]
    given: list[Attributes] = [
        {"app": [[deep]] * 2},
        {"input": "[" * 900 + "]" * 900},
        {"input": "[[]," * 300 + "0" + "]" * 300},
    ]
    for attributes in given:
        body = shape(make_trace(make_span(1, attributes))).calls[0].encode()
        assert b"[nested too deeply]" in body
        assert msgspec.json.decode(body)["id"] == f"{1:016x}"


def test_many_brackets_are_not_depth() -> None:
    attributes: Attributes = {"input": [{"a": [i]} for i in range(300)], "output": "if (x[0) { ]]] " * 100}
    call: Any = calls_of(make_trace(make_span(1, attributes)))[1]
    assert call["inputs"] == {"input": attributes["input"]}
    assert call["output"] == {"output": attributes["output"]}


@pytest.mark.parametrize(
    ("events", "message", "attributes", "expected"),
    [
        (
            [
                Event(
                    1,
                    "exception",
                    {"exception.type": "E", "exception.message": "no", "exception.stacktrace": "at x"},
                )
            ],
            "status",
            {"error.type": "T"},
            {"type": "E", "message": "no", "traceback": "at x"},
        ),
        ([Event(1, "exception", {"exception.type": "E"})], "status", {}, {"type": "E", "message": "status"}),
        ([], "status", {"error.type": "T"}, {"type": "T", "message": "status"}),
        ([], "", {"error.type": "T"}, {"type": "T", "message": "T"}),
        ([], "", {}, {"type": "error", "message": "error"}),
    ],
)
def test_a_failed_span_says_what_went_wrong(
    events: list[Event], message: str, attributes: Attributes, expected: dict[str, str]
) -> None:
    call: Any = calls_of(make_trace(make_span(1, attributes, events=events, message=message, status=2)))[1]
    assert msgspec.json.decode(call["exception"]) == expected
    assert "otel_events" not in call["attributes"]


def test_the_last_exception_is_the_one_and_others_are_events() -> None:
    events = [Event(1, "exception", {"exception.message": text}) for text in ("first", "last")]
    failed: Any = calls_of(make_trace(make_span(1, events=events, status=2)))[1]
    assert msgspec.json.decode(failed["exception"])["message"] == "last"
    assert [e["attributes"]["exception.message"] for e in failed["attributes"]["otel_events"]] == ["first"]
    handled: Any = calls_of(make_trace(make_span(1, events=events)))[1]
    assert "exception" not in handled
    assert len(handled["attributes"]["otel_events"]) == 2


def test_status_counts_are_of_the_span_and_all_below() -> None:
    trace = make_trace(
        make_span(1),
        make_span(2, parent=1, start_ms=1),
        make_span(3, parent=2, start_ms=2, status=2),
        make_span(4, parent=2, start_ms=3),
    )
    counts = {n: call["summary"]["status_counts"] for n, call in calls_of(trace).items()}  # type: ignore[index,call-overload]
    assert counts == {
        1: {"success": 3, "error": 1},
        2: {"success": 2, "error": 1},
        3: {"success": 0, "error": 1},
        4: {"success": 1, "error": 0},
    }


def test_a_root_without_content_gets_the_question_and_the_last_answer() -> None:
    history = [text_message("user", "Hello"), text_message("assistant", "Hi"), text_message("user", "Why?")]
    first = chat(gen_ai__input__messages=encode(history))
    second = chat(gen_ai__output__messages=ANSWER, gen_ai__input__messages=QUESTION)
    for root in (
        make_span(1, {"http.request.method": "POST"}, kind=2),
        make_span(1, {}),
        make_span(1, {"gen_ai.operation.name": "invoke_agent"}),
    ):
        spans = [root, make_span(2, first, parent=1, start_ms=1), make_span(3, second, parent=1, start_ms=20)]
        call: Any = calls_of(make_trace(*spans))[1]
        assert call["inputs"]["input"] == "Why?"
        assert call["output"]["output"] == "330 metres."
        assert call["attributes"]["derived"] == ["input", "output"]


def test_content_of_its_own_is_not_replaced() -> None:
    root: Attributes = {"gen_ai.operation.name": "invoke_agent", "input.value": "mine"}
    calls: Any = calls_of(make_trace(make_span(1, root), make_span(2, asked(), parent=1)))
    assert calls[1]["inputs"] == {"input": "mine"}
    assert calls[1]["output"] == {"output": "330 metres."}
    assert calls[1]["attributes"]["derived"] == ["output"]
    assert "derived" not in calls[2]["attributes"]


def test_only_roots_and_runs_are_given_content() -> None:
    spans = [
        make_span(1),
        make_span(2, {"http.request.method": "POST"}, parent=1, kind=3),
        make_span(3, asked(), parent=2),
    ]
    calls: Any = calls_of(make_trace(*spans))
    assert calls[2]["inputs"] == {"method": "POST"}
    assert "output" not in calls[2]


def test_warnings_are_data() -> None:
    trace = make_trace(
        make_span(1, chat(-1)), make_span(2, chat(-1)), make_span(3, {"gen_ai.operation.name": "dance"})
    )
    shaped = shape(trace)
    assert shaped.warnings == {("otel-genai", "undecodable"): 2, ("otel-genai", "unknown_word"): 1}
    assert shaped.calls[0].attributes.mapping_warnings == ["undecodable:gen_ai.usage.input_tokens"]
