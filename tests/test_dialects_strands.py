"""Strands Agents: Bedrock's blocks in span events, or OpenTelemetry's newest events."""

from __future__ import annotations

from tests.dialect_spans import CALL, answer, called, event, read_from
from tests.genai_spans import encode

SCOPE = "strands.telemetry.tracer"
ASKED = event("gen_ai.user.message", content='[{"text": "Weather?"}]')
CALLED = encode([{"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": {"city": "Paris"}}}])
RESULT = encode(
    [{"toolResult": {"toolUseId": "c1", "status": "success", "content": [{"text": "18 degrees"}]}}]
)


def test_a_call_with_both_spellings_of_the_usage() -> None:
    facts = read_from(
        SCOPE,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "strands-agents",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.prompt_tokens": 93,
            "gen_ai.usage.input_tokens": 93,
            "gen_ai.usage.completion_tokens": 14,
            "gen_ai.usage.output_tokens": 14,
            "gen_ai.usage.total_tokens": 107,
            "gen_ai.usage.cache_read.input_tokens": 48,
            "gen_ai.usage.cache_read_input_tokens": 48,
        },
        events=[
            event("gen_ai.system.message", content='[{"text": "Be brief."}]'),
            ASKED,
            event("gen_ai.assistant.message", content=CALLED),
            event("gen_ai.tool.message", content=RESULT),
            event("gen_ai.choice", message='[{"text": "18 degrees."}]', finish_reason="end_turn"),
        ],
    )
    assert facts == {
        "dialect": "strands",
        "kind": "chat",
        "operation": "chat",
        "model": "gpt-4o-mini",
        "usage": {
            "input_tokens": 93,
            "output_tokens": 14,
            "total_tokens": 107,
            "cache_read_input_tokens": 48,
        },
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "18 degrees", "tool_call_id": "c1", "status": "success"},
        ],
        "choices": answer("18 degrees.", "stop"),
        "said_messages": facts["messages"],
        "said_choices": facts["choices"],
        "rest": {"gen_ai.provider.name": "strands-agents"},
    }, "the framework is not the provider of the model"


def test_an_answer_that_calls_a_tool() -> None:
    facts = read_from(
        SCOPE,
        {"gen_ai.operation.name": "chat"},
        events=[event("gen_ai.choice", message=CALLED, finish_reason="tool_use")],
    )
    assert facts["choices"] == called("tool_calls")


def test_a_tool_is_asked_and_answers_in_events() -> None:
    facts = read_from(
        SCOPE,
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"},
        events=[
            event("gen_ai.tool.message", role="tool", content='{"city": "Paris"}', id="c1"),
            event("gen_ai.choice", message='[{"text": "18 degrees"}]', id="c1"),
        ],
    )
    assert (facts["arguments"], facts["result"]) == ({"city": "Paris"}, "18 degrees")
    assert "messages" not in facts
    assert "choices" not in facts


def test_a_tool_in_the_newest_convention() -> None:
    details = "gen_ai.client.inference.operation.details"
    given = [
        {"role": "tool", "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}}]}
    ]
    made = [{"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "ok"}]}]
    facts = read_from(
        SCOPE,
        {"gen_ai.operation.name": "execute_tool", "gen_ai.provider.name": "strands-agents"},
        events=[
            event(details, gen_ai__input__messages=encode(given)),
            event(details, gen_ai__output__messages=encode(made)),
        ],
    )
    assert (facts["arguments"], facts["result"]) == ({"a": 1}, "ok")


def test_a_cycle_is_a_step_of_the_agent() -> None:
    facts = read_from(
        SCOPE,
        {"gen_ai.operation.name": "execute_event_loop_cycle", "event_loop.cycle_id": "1"},
        events=[ASKED],
    )
    assert facts["kind"] == "workflow"
    assert facts["metadata"] == {"cycle_id": "1"}
    assert "warnings" not in facts
