"""Google ADK, Microsoft's frameworks, Azure AI, vLLM and MCP: small additions to GenAI."""

from __future__ import annotations

import pytest

from otel_wandb.records import Attributes
from tests.dialect_spans import answer, called, event, read_from
from tests.genai_spans import encode

ADK = "gcp.vertex.agent"
CALL_PART = {"function_call": {"id": "c1", "name": "get_weather", "args": {"city": "Paris"}}}


def test_geminis_request_and_answer() -> None:
    request = {
        "model": "gemini-2.5-flash",
        "config": {
            "system_instruction": "Be brief.",
            "temperature": 0.2,
            "tools": [{"function_declarations": [{"name": "get_weather", "parameters": {"type": "OBJECT"}}]}],
        },
        "contents": [
            {"role": "user", "parts": [{"text": "Weather?"}]},
            {"role": "model", "parts": [CALL_PART]},
            {
                "role": "user",
                "parts": [{"function_response": {"id": "c1", "name": "get_weather", "response": {"r": 18}}}],
            },
        ],
    }
    response = {
        "content": {"role": "model", "parts": [{"text": "Thinking.", "thought": True}, {"text": "18."}]},
        "finish_reason": "STOP",
        "usage_metadata": {
            "prompt_token_count": 25,
            "candidates_token_count": 8,
            "thoughts_token_count": 4,
            "total_token_count": 37,
        },
    }
    facts = read_from(
        ADK,
        {
            "gen_ai.system": "gcp.vertex.agent",
            "gen_ai.request.model": "gemini-2.5-flash",
            "gcp.vertex.agent.session_id": "s",
            "gcp.vertex.agent.llm_request": encode(request),
            "gcp.vertex.agent.llm_response": encode(response),
            "gen_ai.usage.input_tokens": 25,
            "gen_ai.usage.output_tokens": 12,
            "gen_ai.usage.reasoning.output_tokens": 4,
        },
        name="call_llm",
    )
    assert facts["kind"] == "chat"
    assert facts["system"] == [{"role": "system", "content": "Be brief."}]
    assert [message["role"] for message in facts["messages"]] == ["user", "assistant", "tool"]
    assert facts["messages"][1]["tool_calls"] == called()[0]["message"]["tool_calls"]
    message = facts["choices"][0]["message"]
    assert (message["content"], message["reasoning"]) == ("18.", "Thinking.")
    assert facts["usage"] == {"input_tokens": 25, "output_tokens": 12, "reasoning_tokens": 4}
    assert facts["conversation_id"] == "s"
    assert "provider" not in facts, "the framework is not the provider of the model"


def test_an_adk_without_content_says_nothing() -> None:
    facts = read_from(ADK, {"gcp.vertex.agent.llm_request": "{}", "gcp.vertex.agent.llm_response": "{}"})
    assert not facts.keys() & {"messages", "choices", "inputs", "outputs", "rest", "warnings"}


@pytest.mark.parametrize(
    ("model", "output_tokens"),
    [("openai/gpt-4o-mini", 17), ("gemini-2.5-flash", 22), ("projects/p/models/gemini", 22)],
)
def test_reasoning_that_adk_adds_twice_behind_litellm(model: str, output_tokens: int) -> None:
    facts = read_from(
        ADK,
        {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.request.model": model,
            "gen_ai.usage.output_tokens": 22,
            "gen_ai.usage.reasoning.output_tokens": 5,
        },
    )
    assert facts["usage"]["output_tokens"] == output_tokens
    assert facts.get("warnings") == (["usage_output_counts_reasoning_twice"] if output_tokens == 17 else None)


def test_a_tool_of_adk() -> None:
    facts = read_from(
        ADK,
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_weather",
            "gen_ai.tool.call.id": "<not specified>",
            "gcp.vertex.agent.tool_call_args": '{"city":"Paris"}',
            "gcp.vertex.agent.tool_response": '{"result":"18 degrees"}',
        },
    )
    assert (facts["arguments"], facts["result"]) == ({"city": "Paris"}, "18 degrees")
    assert facts["tool"] == {"name": "get_weather"}


def test_the_agent_framework_names_itself_as_provider_of_agents() -> None:
    told: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "microsoft.agent_framework",
    }
    facts = read_from("agent_framework", told)
    assert "provider" not in facts
    assert facts["rest"] == {"gen_ai.provider.name": "microsoft.agent_framework"}
    assert read_from("agent_framework", {"workflow.id": "w"}, name="workflow.run")["kind"] == "workflow"


def test_semantic_kernels_agent_has_content_and_no_parts() -> None:
    facts = read_from(
        "semantic_kernel.utils",
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.input.messages": "[]",
            "gen_ai.output.messages": '[{"role":"assistant","content":"So.","name":"w"}]',
        },
    )
    assert facts["choices"][0]["message"] == {"role": "assistant", "content": "So.", "name": "w"}
    assert "messages" not in facts
    assert read_from("semantic_kernel.utils", {"gen_ai.operation.name": "text_completions"})["kind"] == "chat"
    chat = {"gen_ai.operation.name": "chat", "gen_ai.response.finish_reason": "FinishReason.STOP"}
    assert read_from("semantic_kernel.utils", {**chat})["finish_reasons"] == ["FinishReason.STOP"]


def test_azures_events_hold_their_message_in_one_attribute() -> None:
    content = encode({"message": {"content": "So."}, "finish_reason": "stop", "index": 0})
    facts = read_from(
        "azure.ai.inference",
        {"gen_ai.operation.name": "chat", "gen_ai.system": "az.ai.inference"},
        events=[
            event("gen_ai.user.message", gen_ai__event__content='{"role":"user","content":"Why?"}'),
            event("gen_ai.choice", gen_ai__event__content=content),
        ],
    )
    assert facts["provider"] == "azure.ai.inference"
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == answer("So.", "stop")


def test_an_azure_run_is_an_agents() -> None:
    facts = read_from(
        "azure.ai.agents",
        {"gen_ai.operation.name": "process_thread_run", "gen_ai.thread.id": "t", "az.namespace": "x"},
    )
    assert (facts["kind"], facts["conversation_id"]) == ("agent", "t")


def test_the_server_vllm() -> None:
    facts = read_from(
        "vllm.llm_engine",
        {
            "gen_ai.response.model": "m",
            "gen_ai.request.id": "cmpl-1",
            "gen_ai.request.n": 1,
            "gen_ai.usage.prompt_tokens": 25,
            "gen_ai.usage.completion_tokens": 12,
            "gen_ai.usage.cached_tokens": 16,
            "gen_ai.latency.time_in_queue": 0.01,
        },
        name="llm_request",
    )
    assert facts["kind"] == "chat"
    assert facts["usage"] == {"input_tokens": 25, "output_tokens": 12, "cache_read_input_tokens": 16}
    assert facts["rest"] == {"gen_ai.latency.time_in_queue": 0.01}


def test_mcp() -> None:
    facts = read_from(
        "mcp",
        {
            "mcp.method.name": "tools/call",
            "mcp.session.id": "x",
            "gen_ai.tool.name": "get_weather",
            "gen_ai.operation.name": "execute_tool",
        },
    )
    assert (facts["kind"], facts["tool"]) == ("tool", {"name": "get_weather"})
    assert facts["metadata"] == {"mcp_session_id": "x"}
    assert "session_id" not in facts, "a connection is no conversation"
    listed = read_from("mcp", {"mcp.method.name": "tools/list"})
    assert (listed["kind"], listed["inputs"]) == ("other", {"method": "tools/list"})
