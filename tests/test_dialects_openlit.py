"""OpenLIT and LiteLLM: GenAI with keys of their own."""

from __future__ import annotations

from otel_wandb.records import STATUS_ERROR, Attributes
from tests.dialect_spans import CALL, answer, called, event, read_from
from tests.genai_spans import calls_of, encode, make_span, make_trace, text_message

OPENLIT = "openlit.otel.tracing"


def test_openlits_total_and_the_tool_call_that_it_tells_twice() -> None:
    part = {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": '{"city":"Paris"}'}
    facts = read_from(
        OPENLIT,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.output.messages": encode([{"role": "assistant", "parts": [part]}]),
            "gen_ai.tool.name": "get_weather",
            "gen_ai.tool.call.arguments": '{"city":"Paris"}',
            "gen_ai.usage.input_tokens": 61,
            "gen_ai.usage.output_tokens": 17,
            "gen_ai.client.token.usage": 78,
            "gen_ai.usage.cost": 0,
        },
    )
    assert facts["choices"] == called()
    assert "tool" not in facts
    assert "arguments" not in facts
    assert facts["usage"] == {"input_tokens": 61, "output_tokens": 17, "total_tokens": 78}
    assert "provider_cost_usd" not in facts  # 0 is told where no price is known


def test_openlits_earlier_versions_have_the_content_in_span_events() -> None:
    facts = read_from(
        OPENLIT,
        {"gen_ai.operation.name": "chat"},
        events=[
            event("gen_ai.content.prompt", gen_ai__prompt="Why?"),
            event("gen_ai.content.completion", gen_ai__completion="So."),
        ],
    )
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == answer("So.")


def test_openlits_tool_result_is_the_text_of_a_message() -> None:
    facts = read_from(
        OPENLIT,
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.call.result": "content='18 degrees' name='get_weather' tool_call_id='c1'",
        },
    )
    assert facts["result"] == "18 degrees"


def test_a_vector_store_is_searched_or_written() -> None:
    searched = read_from(OPENLIT, {"gen_ai.operation.name": "vectordb", "db.operation.name": "query"})
    written = read_from(OPENLIT, {"gen_ai.operation.name": "vectordb", "db.operation.name": "add"})
    assert (searched["kind"], written["kind"]) == ("retrieval", "db")


USAGE = {
    "prompt_tokens": 25,
    "completion_tokens": 12,
    "total_tokens": 37,
    "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": None},
}
RAW: Attributes = {
    "llm.openai.messages": "[{'role': 'user', 'content': 'Why?'}]",
    "llm.openai.temperature": 0.3,
    "llm.openai.id": "r-1",
    "llm.openai.model": "gpt-4o-mini-2024-07-18",
    "llm.openai.choices": "[{'finish_reason': 'stop', 'message': {'role': 'assistant', 'content': 'So.'}}]",
    "llm.openai.usage": repr(USAGE),
}


def test_litellms_request() -> None:
    facts = read_from(
        "litellm",
        {
            "gen_ai.request.model": "gpt-4o-mini",
            "llm.request.type": "acompletion",
            "gen_ai.operation.name": "acompletion",
            "gen_ai.system": "openai",
            "llm.is_streaming": "False",
            "llm.headers": "None",
            "llm.request.functions.0.name": "get_weather",
            "llm.request.functions.0.parameters": '{"type": "object"}',
            "gen_ai.input.messages": encode([text_message("user", "Weather?")]),
            "gen_ai.output.messages": encode(
                [{"role": "assistant", "parts": [], "finish_reason": "tool_calls"}]
            ),
            "gen_ai.completion.0.function_call.name": "get_weather",
            "gen_ai.completion.0.function_call.arguments": '{"city":"Paris"}',
            "gen_ai.response.finish_reasons": '["tool_calls"]',
            "gen_ai.usage.input_tokens": 25,
            "gen_ai.usage.output_tokens": 12,
            "metadata.usage_object": repr(USAGE),
            "metadata.user_api_key_alias": "",
            "metadata.requester_metadata": "{'session_id': 's'}",
            "gen_ai.cost.total_cost": 9.75e-06,
        },
    )
    assert facts["kind"] == "chat"
    assert facts["params"] == {"stream": False}
    assert facts["tools"][0]["function"] == {"name": "get_weather", "parameters": {"type": "object"}}
    message = facts["choices"][0]["message"]
    assert message["tool_calls"] == [{key: value for key, value in CALL.items() if key != "id"}]
    assert facts["finish_reasons"] == ["tool_calls"]
    assert facts["usage"] == {
        "input_tokens": 25,
        "output_tokens": 12,
        "total_tokens": 37,
        "cache_read_input_tokens": 16,
    }
    assert facts["session_id"] == "s"
    assert facts["metadata"] == {"requester_metadata": {"session_id": "s"}}
    assert facts["provider_cost_usd"] == 9.75e-06


def test_litellms_raw_call_is_read_from_python_literals() -> None:
    facts = read_from("litellm", RAW, name="raw_gen_ai_request")
    assert facts["kind"] == "chat"
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == answer("So.", "stop")
    assert (facts["response_id"], facts["response_model"]) == ("r-1", "gpt-4o-mini-2024-07-18")
    assert (facts["provider"], facts["params"]) == ("openai", {"temperature": 0.3})
    assert facts["usage"]["cache_read_input_tokens"] == 16


def test_litellms_embedding_in_either_mode() -> None:
    assert read_from("litellm", {"llm.request.type": "aembedding"})["kind"] == "embeddings"
    assert read_from("litellm", {"gen_ai.operation.name": "embedding"})["kind"] == "embeddings"


def test_litellms_error_is_in_attributes() -> None:
    told = {"error.message": "Rate limit", "error.type": "RateLimitError", "litellm.call_id": "1"}
    calls = calls_of(make_trace(make_span(1, {**told}, status=STATUS_ERROR)))
    assert calls[1]["exception"] == '{"type":"RateLimitError","message":"Rate limit"}'
