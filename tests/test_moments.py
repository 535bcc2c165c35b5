"""Content that is not on the span: span events and log records, whichever generation."""

from __future__ import annotations

import pytest

from otel_wandb.records import Event, Value
from tests.genai_spans import START_NS, chat, encode, make_log, read_facts, text_message

DETAILS = "gen_ai.client.inference.operation.details"


def test_content_that_is_only_in_a_log_record() -> None:
    log = make_log(
        DETAILS,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.output_tokens": 3,
            "gen_ai.input.messages": [text_message("user", "Why?", name=None)],
            "gen_ai.output.messages": [text_message("assistant", "So.", finish_reason="stop")],
            "app.extra": 1,
        },
    )
    facts = read_facts(chat(1, 2), logs=(log,))
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"][0]["message"] == {"role": "assistant", "content": "So."}
    assert facts["usage"] == {"input_tokens": 1, "output_tokens": 2}, "the span's own word comes first"
    assert facts["rest"] == {"app.extra": 1}
    assert "logs" not in facts


def test_content_that_is_only_in_span_events_one_attribute_each() -> None:
    events = [
        Event(START_NS, DETAILS, {"gen_ai.input.messages": encode([text_message("user", "Why?")])}),
        Event(START_NS, DETAILS, {"gen_ai.output.messages": encode([text_message("assistant", "So.")])}),
    ]
    facts = read_facts(chat(), events=events)
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "So."}}]
    assert "events" not in facts


CALLS: list[Value] = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize("as_json", [False, True])
def test_messages_told_one_by_one_in_log_records(as_json: bool) -> None:
    bodies: list[tuple[str, dict[str, Value]]] = [
        ("gen_ai.system.message", {"content": "Be brief."}),
        ("gen_ai.user.message", {"content": "Why?"}),
        ("gen_ai.assistant.message", {"tool_calls": CALLS}),
        ("gen_ai.tool.message", {"content": "ok", "id": "c1"}),
        (
            "gen_ai.choice",
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}},
        ),
    ]
    logs = tuple(
        make_log("", encode(body), {"event.name": name, "gen_ai.system": "openai"}, at_ms=i)
        if as_json
        else make_log(name, body, {"gen_ai.system": "openai"}, at_ms=i)
        for i, (name, body) in enumerate(bodies)
    )
    facts = read_facts(chat(), logs=logs)
    assert facts["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "content": "ok", "tool_call_id": "c1"},
    ]
    assert facts["choices"] == [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}
    ]
    assert "logs" not in facts


def test_messages_told_one_by_one_in_span_events() -> None:
    events = [
        Event(START_NS, "gen_ai.user.message", {"content": '[{"text": "Why?"}]'}),
        Event(
            START_NS,
            "gen_ai.choice",
            {"message": '[{"text": "So."}]', "finish_reason": "end_turn", "more": 1},
        ),
    ]
    facts = read_facts(chat(), events=events)
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}
    ]
    assert facts["events"] == [
        {"name": "gen_ai.choice", "time": "2026-01-01T00:00:00.000000Z", "attributes": {"more": 1}}
    ]


def test_the_span_says_it_better_than_its_events() -> None:
    log = make_log("gen_ai.user.message", {"content": "other"})
    facts = read_facts(chat(gen_ai__input__messages=encode([text_message("user", "Why?")])), logs=(log,))
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]


def test_other_events_and_log_records_are_kept() -> None:
    facts = read_facts(
        {}, events=[Event(START_NS, "cache.miss", {"key": "k"})], logs=(make_log("", "hello", {"a": 1}),)
    )
    assert facts == {
        "events": [{"name": "cache.miss", "time": "2026-01-01T00:00:00.000000Z", "attributes": {"key": "k"}}],
        "logs": [
            {
                "time": "2026-01-01T00:00:00.001000Z",
                "severity": "INFO",
                "body": "hello",
                "attributes": {"a": 1},
            }
        ],
    }


def test_a_span_with_more_log_records_than_a_call_should_hold() -> None:
    facts = read_facts({}, logs=tuple(make_log("", "x") for _ in range(1100)))
    assert len(facts["logs"]) == 1000
    assert facts["warnings"] == ["too_many_logs"]


def test_a_tool_call_and_its_result_that_are_told_twice() -> None:
    """OpenTelemetry's instrumentation of Bedrock: as a message of the tool, and in blocks of Bedrock's."""
    function: Value = {"name": "get_weather", "arguments": {"city": "Paris"}}
    use: Value = {"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": {"city": "Paris"}}}
    given: Value = [{"text": "18 degrees"}]
    logs = (
        make_log("gen_ai.user.message", {"content": [{"text": "Weather?"}]}, at_ms=1),
        make_log(
            "gen_ai.assistant.message",
            {"content": [use], "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
            at_ms=2,
        ),
        make_log("gen_ai.tool.message", {"id": "c1", "content": given}, at_ms=3),
        make_log(
            "gen_ai.user.message",
            {"content": [{"toolResult": {"toolUseId": "c1", "content": given}}]},
            at_ms=4,
        ),
    )
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
    }
    assert read_facts(chat(), logs=logs)["messages"] == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "18 degrees", "tool_call_id": "c1"},
    ]
