"""Pydantic AI in its formats, and Logfire around and beside it."""

from __future__ import annotations

from otel_wandb.records import Attributes
from tests.dialect_spans import CALL, answer, called, read_from
from tests.genai_spans import encode, text_message

SCOPE = "pydantic-ai"
HISTORY = [
    text_message("user", "Weather?"),
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": '{"city":"Paris"}'}],
    },
    {
        "role": "user",
        "parts": [{"type": "tool_call_response", "id": "c1", "name": "get_weather", "result": "18 degrees"}],
    },
    text_message("assistant", "18 degrees.", finish_reason="stop"),
]


def test_the_agents_history_is_split_into_question_and_answers() -> None:
    facts = read_from(
        SCOPE,
        {
            "model_name": "gpt-4o-mini",
            "agent_name": "weather",
            "gen_ai.agent.name": "weather",
            "gen_ai.operation.name": "invoke_agent",
            "final_result": "18 degrees.",
            "pydantic_ai.all_messages": encode(HISTORY),
            "gen_ai.aggregated_usage.input_tokens": 154,
            "gen_ai.aggregated_usage.output_tokens": 31,
            "gen_ai.aggregated_usage.cache_read.input_tokens": 80,
            "gen_ai.aggregated_usage.details.cache_read_tokens": 80,
            "gen_ai.aggregated_usage.details.reasoning_tokens": 11,
        },
    )
    assert facts["messages"] == [{"role": "user", "content": "Weather?"}]
    assert facts["output"] == "18 degrees."
    said = [message["role"] for message in facts["outputs"]["messages"]]
    assert said == ["assistant", "tool", "assistant"]
    assert "choices" not in facts, "a tool call on the way is not how the run ended"
    assert (facts["model"], facts["agent"]) == ("gpt-4o-mini", {"name": "weather"})
    assert "usage" not in facts
    assert facts["usage_sum"] == {
        "input_tokens": 154,
        "output_tokens": 31,
        "cache_read_input_tokens": 80,
        "reasoning_tokens": 11,
    }
    assert "rest" not in facts


def test_what_was_said_in_earlier_runs_belongs_to_the_question() -> None:
    later = [*HISTORY, text_message("user", "And now?"), text_message("assistant", "19.")]
    facts = read_from(
        SCOPE,
        {"pydantic_ai.all_messages": encode(later), "pydantic_ai.new_message_index": len(HISTORY)},
        name="agent run",
    )
    assert facts["kind"] == "agent"
    assert [message["role"] for message in facts["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert facts["choices"] == answer("19.")


def test_format_1_has_the_messages_as_events_in_an_attribute() -> None:
    events = [
        {
            "event.name": "gen_ai.user.message",
            "role": "user",
            "content": "Weather?",
            "gen_ai.message.index": 0,
        },
        {"event.name": "gen_ai.assistant.message", "role": "assistant", "tool_calls": [CALL]},
        {"event.name": "gen_ai.tool.message", "role": "tool", "content": "18 degrees", "id": "c1"},
        {
            "event.name": "gen_ai.choice",
            "index": 0,
            "message": {"role": "assistant", "tool_calls": [CALL]},
        },
    ]
    facts = read_from(SCOPE, {"gen_ai.operation.name": "chat", "events": encode(events)})
    assert facts["messages"] == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "18 degrees", "tool_call_id": "c1"},
    ]
    assert facts["choices"] == called()


def test_the_tools_of_format_2() -> None:
    facts = read_from(
        SCOPE,
        {
            "gen_ai.tool.name": "get_weather",
            "gen_ai.tool.call.id": "c1",
            "tool_arguments": '{"city":"Paris"}',
            "tool_response": "18 degrees",
            "logfire.msg": "running tool: get_weather",
        },
        name="running tool",
    )
    assert (facts["kind"], facts["arguments"], facts["result"]) == ("tool", {"city": "Paris"}, "18 degrees")
    assert facts["display_name"] == "running tool: get_weather"
    assert read_from(SCOPE, {"logfire.msg": "running 2 tools"}, name="running 2 tools") == {
        "dialect": "pydantic-ai",
        "kind": "workflow",
    }


def test_cache_statistics_stay_as_they_came_beside_the_cost() -> None:
    told: Attributes = {"operation.cost": 1.7e-05, "pydantic_ai.cache.hit_ratio": 0.5}
    facts = read_from(SCOPE, {"gen_ai.operation.name": "chat", **told})
    assert facts["rest"] == {"pydantic_ai.cache.hit_ratio": 0.5}
    assert facts["provider_cost_usd"] == 1.7e-05


REQUEST = encode({"messages": [{"role": "user", "content": "Why?"}], "model": "gpt-4o-mini", "stream": True})


def test_a_model_call_of_logfire() -> None:
    facts = read_from(
        "logfire.openai",
        {
            "logfire.span_type": "span",
            "logfire.msg_template": "Chat Completion with {request_data[model]!r}",
            "logfire.msg": "Chat Completion with 'gpt-4o-mini'",
            "logfire.tags": ["LLM"],
            "gen_ai.request.model": "gpt-4o-mini",
            "request_data": REQUEST,
            "response_data": encode({"message": {"role": "assistant", "content": "So."}, "usage": {}}),
            "gen_ai.usage.input_tokens": 25,
            "gen_ai.usage.output_tokens": 12,
            "gen_ai.usage.raw": encode(
                {
                    "prompt_tokens": 25,
                    "completion_tokens": 12,
                    "total_tokens": 37,
                    "prompt_tokens_details": {"cached_tokens": 16},
                }
            ),
        },
        name="Chat Completion with {request_data[model]!r}",
    )
    assert facts["kind"] == "chat"
    assert facts["display_name"] == "Chat Completion with 'gpt-4o-mini'"
    assert facts["tags"] == ["LLM"]
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == answer("So.")
    assert facts["params"] == {"stream": True}
    assert facts["usage"] == {
        "input_tokens": 25,
        "output_tokens": 12,
        "total_tokens": 37,
        "cache_read_input_tokens": 16,
    }


def test_the_second_span_of_a_stream_has_the_answer() -> None:
    facts = read_from(
        "logfire.openai",
        {
            "logfire.span_type": "log",
            "logfire.msg": "streaming response from 'gpt-4o-mini' took 0.02s",
            "gen_ai.request.model": "gpt-4o-mini",
            "request_data": REQUEST,
            "response_data": encode({"combined_chunk_content": "So.", "chunk_count": 2}),
        },
        name="streaming response from {request_data[model]!r} took {duration:.2f}s",
    )
    assert facts["choices"] == answer("So.")
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]


def test_a_usage_that_tells_of_other_tokens_is_not_mixed_in() -> None:
    facts = read_from(
        "logfire",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.input_tokens": 25,
            "gen_ai.usage.raw": encode({"prompt_tokens": 24, "completion_tokens": 12, "total_tokens": 36}),
        },
    )
    assert facts["usage"] == {"input_tokens": 25}
