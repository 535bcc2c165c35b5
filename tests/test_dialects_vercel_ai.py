"""Vercel's AI SDK, from version 4 to 7."""

from __future__ import annotations

import pytest

from otel_wandb.records import Attributes
from tests.dialect_spans import CALL, answer, called, read_from
from tests.genai_spans import calls_of, encode, make_span, make_trace

ASKED = encode([{"role": "user", "content": [{"type": "text", "text": "Weather?"}]}])


def test_a_call_of_version_6() -> None:
    facts = read_from(
        "ai",
        {
            "operation.name": "ai.generateText.doGenerate weather",
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.telemetry.functionId": "weather",
            "ai.telemetry.metadata.sessionId": "s-1",
            "ai.telemetry.metadata.userId": "u-1",
            "ai.telemetry.metadata.plan": "free",
            "ai.model.provider": "openai.chat",
            "ai.model.id": "gpt-4o-mini",
            "ai.settings.maxRetries": 0,
            "ai.settings.maxOutputTokens": 50,
            "ai.settings.temperature": 0.2,
            "ai.prompt.messages": ASKED,
            "ai.prompt.tools": ['{"type":"function","name":"get_weather","inputSchema":{"type":"object"}}'],
            "ai.prompt.toolChoice": '{"type":"auto"}',
            "gen_ai.system": "openai.chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "ai.response.finishReason": "tool-calls",
            "ai.response.toolCalls": encode(
                [{"toolCallId": "c1", "toolName": "get_weather", "input": '{"city":"Paris"}'}]
            ),
            "ai.response.id": "r-1",
            "ai.response.model": "gpt-4o-mini-2024-07-18",
            "ai.usage.inputTokens": 61,
            "ai.usage.inputTokenDetails.noCacheTokens": 29,
            "ai.usage.inputTokenDetails.cacheReadTokens": 32,
            "ai.usage.outputTokens": 17,
            "ai.usage.outputTokenDetails.reasoningTokens": 5,
            "ai.usage.totalTokens": 78,
            "ai.usage.reasoningTokens": 5,
            "ai.usage.cachedInputTokens": 32,
            "gen_ai.response.finish_reasons": ["tool-calls"],
            "gen_ai.usage.input_tokens": 61,
            "gen_ai.usage.output_tokens": 17,
        },
    )
    assert facts == {
        "dialect": "vercel-ai",
        "kind": "chat",
        "operation": "ai.generateText.doGenerate",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "response_id": "r-1",
        "finish_reasons": ["tool-calls"],
        "params": {"max_tokens": 50, "temperature": 0.2, "tool_choice": {"type": "auto"}},
        "messages": [{"role": "user", "content": "Weather?"}],
        "choices": called(),
        "tools": [
            {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
        ],
        "usage": {
            "input_tokens": 61,
            "output_tokens": 17,
            "total_tokens": 78,
            "cache_read_input_tokens": 32,
            "reasoning_tokens": 5,
        },
        "session_id": "s-1",
        "user_id": "u-1",
        "metadata": {"function_id": "weather", "plan": "free"},
        "rest": {
            "operation.name": "ai.generateText.doGenerate weather",
            "ai.settings.maxRetries": 0,
            "ai.usage.inputTokenDetails.noCacheTokens": 29,
            "gen_ai.response.finish_reasons": ["tool-calls"],
        },
    }


def test_a_call_of_version_4_tells_of_the_cache_in_the_providers_words() -> None:
    facts = read_from(
        "ai",
        {
            "ai.operationId": "ai.streamText.doStream",
            "ai.model.provider": "openai.chat",
            "ai.model.id": "gpt-4o-mini",
            "ai.response.toolCalls": encode(
                [
                    {
                        "toolCallType": "function",
                        "toolCallId": "c1",
                        "toolName": "get_weather",
                        "args": '{"city":"Paris"}',
                    }
                ]
            ),
            "ai.response.providerMetadata": '{"openai":{"reasoningTokens":4,"cachedPromptTokens":16}}',
            "ai.usage.promptTokens": 25,
            "ai.usage.completionTokens": 12,
        },
    )
    assert facts["choices"] == called()
    assert facts["usage"] == {
        "input_tokens": 25,
        "output_tokens": 12,
        "cache_read_input_tokens": 16,
        "reasoning_tokens": 4,
    }
    assert "warnings" not in facts


def test_anthropics_input_is_made_whole_before_version_6() -> None:
    told: Attributes = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.model.provider": "anthropic.messages",
        "ai.response.providerMetadata": encode(
            {"anthropic": {"cacheReadInputTokens": 16, "cacheCreationInputTokens": 10}}
        ),
        "ai.usage.promptTokens": 9,
        "ai.usage.completionTokens": 12,
    }
    facts = read_from("ai", told)
    assert facts["usage"]["input_tokens"] == 35
    assert facts["warnings"] == ["usage_input_without_cache"]
    whole = read_from(
        "ai", {**told, "ai.usage.promptTokens": 35, "ai.usage.inputTokenDetails.noCacheTokens": 9}
    )
    assert whole["usage"]["input_tokens"] == 35, "version 6 counts as OpenTelemetry does"


def test_history_with_a_result_and_an_image() -> None:
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And this?"},
                {"type": "file", "mediaType": "image/png", "data": "aGk="},
                {"type": "image", "image": "https://example.com/a.png"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {
                    "type": "tool-call",
                    "toolCallId": "c1",
                    "toolName": "get_weather",
                    "input": {"city": "Paris"},
                }
            ],
        },
        {
            "role": "tool",
            "content": [
                {
                    "type": "tool-result",
                    "toolCallId": "c1",
                    "toolName": "get_weather",
                    "output": {"type": "text", "value": "18 degrees"},
                }
            ],
        },
    ]
    facts = read_from(
        "ai", {"ai.operationId": "ai.generateText.doGenerate", "ai.prompt.messages": encode(messages)}
    )
    assert facts["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                {
                    "type": "image_url",
                    "image_url": {"url": "https://example.com/a.png"},
                    "modality": "image",
                },
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "18 degrees", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize(
    ("told", "field", "expected"),
    [
        ({"ai.response.text": "So."}, "choices", answer("So.")),
        ({"ai.response.object": '{"a":1}'}, "choices", answer('{"a":1}')),
        ({"ai.value": '"one text"'}, "texts", ["one text"]),
        ({"ai.values": ['"a"', '"b"'], "ai.embeddings": ["[0,1]", "[1,0]"]}, "embedding_count", 2),
        ({"ai.values": ['"a"'], "ai.embeddings": ["[0,1,2]"]}, "dimensions", 3),
        ({"ai.embedding": "[0.1,0.2]"}, "dimensions", 2),
        ({"ai.usage.tokens": 18}, "usage", {"input_tokens": 18}),
        ({"ai.toolCall.args": '{"city":"Paris"}'}, "arguments", {"city": "Paris"}),
        ({"ai.toolCall.result": '"18 degrees"'}, "result", "18 degrees"),
        ({"ai.model.provider": "google.generative-ai"}, "provider", "gcp.gemini"),
        ({"ai.model.provider": "amazon-bedrock"}, "provider", "aws.bedrock"),
        ({"ai.model.provider": "azure.chat"}, "provider", "azure.ai.openai"),
    ],
)
def test_single_facts(told: Attributes, field: str, expected: object) -> None:
    facts = read_from("ai", {"ai.operationId": "ai.embedMany.doEmbed", **told})
    assert facts[field] == expected
    assert "rest" not in facts


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("ai.generateText", "agent"),
        ("ai.streamObject", "agent"),
        ("ai.streamObject.doStream", "chat"),
        ("ai.embed", "embeddings"),
        ("ai.rerank.doRerank", "rerank"),
        ("ai.toolCall", "tool"),
    ],
)
def test_kinds(operation: str, kind: str) -> None:
    assert read_from("ai", {"ai.operationId": operation})["kind"] == kind


def test_a_ranking_names_documents_by_their_place() -> None:
    facts = read_from(
        "ai",
        {
            "ai.operationId": "ai.rerank.doRerank",
            "ai.documents": ['"first"', '"second"'],
            "ai.ranking": ['{"index":1,"relevanceScore":0.9}', '{"index":0,"relevanceScore":0.1}'],
        },
    )
    assert facts["documents"] == [{"content": "second", "score": 0.9}, {"content": "first", "score": 0.1}]


def test_a_step_of_version_7_is_no_answer() -> None:
    facts = read_from("gen_ai", {"gen_ai.operation.name": "agent_step"})
    assert facts["kind"] == "workflow"
    assert "warnings" not in facts
    assert read_from("gen_ai", {"gen_ai.operation.name": "invoke_agent"})["kind"] == "agent"


def test_the_outer_span_repeats_what_the_inner_spent() -> None:
    usage: Attributes = {"ai.usage.inputTokens": 25, "ai.usage.outputTokens": 12}
    calls = calls_of(
        make_trace(
            make_span(
                1,
                {
                    "ai.operationId": "ai.generateText",
                    "ai.prompt": '{"system":"Be brief.","prompt":"Why?"}',
                    "ai.response.text": "So.",
                    **usage,
                },
            ),
            make_span(
                2,
                {
                    "ai.operationId": "ai.generateText.doGenerate",
                    "ai.response.model": "m",
                    "ai.response.text": "So.",
                    **usage,
                },
                parent=1,
                start_ms=1,
                ms=5,
            ),
        )
    )
    assert calls[1]["output"] == {"output": "So."}
    assert "usage" not in calls[1]["summary"]  # type: ignore[operator]
    assert calls[2]["summary"]["usage"]["m"]["input_tokens"] == 25  # type: ignore[index,call-overload]
