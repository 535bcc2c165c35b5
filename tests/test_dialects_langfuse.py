"""Langfuse: one input and one output, whatever the observation is."""

from __future__ import annotations

import pytest

from otel_wandb.records import STATUS_ERROR, Attributes, Value
from tests.dialect_spans import CALL, answer, called, read_from
from tests.genai_spans import encode

SCOPE = "langfuse-sdk"
OPENAI_USAGE = {
    "prompt_tokens": 61,
    "completion_tokens": 17,
    "total_tokens": 78,
    "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 32},
    "completion_tokens_details": {"reasoning_tokens": 5},
}


def observed(kind: str, given: object = None, made: object = None, **more: Value) -> Attributes:
    told: Attributes = {"langfuse.observation.type": kind}
    for name, value in (("input", given), ("output", made)):
        if value is not None:
            told[f"langfuse.observation.{name}"] = value if isinstance(value, str) else encode(value)
    return told | {f"langfuse.observation.{name.replace('__', '.')}": value for name, value in more.items()}


def test_a_generation_of_the_openai_wrapper() -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    facts = read_from(
        SCOPE,
        observed(
            "generation",
            {"tools": [tool], "messages": [{"role": "user", "content": "Weather?"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            model__name="gpt-4o-mini-2024-07-18",
            model__parameters='{"temperature": 1, "max_tokens": "Infinity"}',
            usage_details=encode(OPENAI_USAGE),
        )
        | {
            "session.id": "s",
            "user.id": "u",
            "langfuse.trace.tags": ["a", "b"],
            "langfuse.trace.metadata.plan": '"free"',
        },
    )
    assert facts == {
        "dialect": "langfuse",
        "kind": "chat",
        "response_model": "gpt-4o-mini-2024-07-18",
        "params": {"temperature": 1},
        "messages": [{"role": "user", "content": "Weather?"}],
        "choices": called(),
        "tools": [tool],
        "usage": {
            "input_tokens": 61,
            "output_tokens": 17,
            "total_tokens": 78,
            "cache_read_input_tokens": 32,
            "reasoning_tokens": 5,
        },
        "session_id": "s",
        "user_id": "u",
        "tags": ["a", "b"],
        "metadata": {"plan": "free"},
    }


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (
            {"input": 9, "input_cache_read": 16, "output": 8, "output_reasoning": 4, "total": 37},
            {
                "input_tokens": 25,
                "output_tokens": 12,
                "total_tokens": 37,
                "cache_read_input_tokens": 16,
                "reasoning_tokens": 4,
            },
        ),
        (
            {"input": 25, "input_cached_tokens": 16, "output": 12, "total": 37},
            {"input_tokens": 25, "output_tokens": 12, "total_tokens": 37, "cache_read_input_tokens": 16},
        ),
        ({"input": 18}, {"input_tokens": 18}),
        (
            {"input_tokens": 25, "output_tokens": 12, "input_tokens_details": {"cached_tokens": 16}},
            {"input_tokens": 25, "output_tokens": 12, "cache_read_input_tokens": 16},
        ),
    ],
)
def test_usage_in_the_words_of_the_provider_or_in_parts(
    details: dict[str, object], expected: dict[str, int]
) -> None:
    assert read_from(SCOPE, observed("generation", usage_details=encode(details)))["usage"] == expected


def test_a_generation_of_the_langchain_handler() -> None:
    facts = read_from(
        SCOPE,
        observed(
            "generation",
            [
                {"role": "user", "content": "Weather?"},
                {"role": "tool", "content": {"type": "function", "function": {"name": "get_weather"}}},
            ],
            {"role": "assistant", "content": "", "additional_kwargs": {"tool_calls": [CALL]}},
            model__name="gpt-4o-mini-2024-07-18",
            metadata__ls_provider="openai",
            metadata__ls_model_name="gpt-4o-mini",
            metadata__thread_id="t",
        ),
    )
    assert (facts["model"], facts["response_model"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert facts["provider"] == "openai"
    assert facts["messages"] == [{"role": "user", "content": "Weather?"}]
    assert facts["tools"] == [{"type": "function", "function": {"name": "get_weather"}}]
    assert facts["choices"][0]["message"]["tool_calls"] == [CALL]
    assert facts["conversation_id"] == "t"


def test_a_failed_generation_names_the_model_that_was_asked() -> None:
    facts = read_from(
        SCOPE,
        observed(
            "generation",
            [{"role": "user", "content": "Why?"}],
            model__name="gpt-4o-mini",
            level="ERROR",
            status_message="Rate limit reached",
        ),
        status=STATUS_ERROR,
        message="Rate limit reached",
    )
    assert facts["model"] == "gpt-4o-mini"
    assert "response_model" not in facts
    assert facts["fault"].message == "Rate limit reached"


def test_a_retriever() -> None:
    facts = read_from(
        SCOPE,
        observed(
            "retriever",
            {"args": ["How tall?"], "kwargs": {}},
            [{"id": "doc-1", "content": "330 metres"}, {"page_content": "Louvre", "metadata": {"page": 2}}],
        ),
    )
    assert facts == {
        "dialect": "langfuse",
        "kind": "retrieval",
        "query": "How tall?",
        "documents": [
            {"id": "doc-1", "content": "330 metres"},
            {"content": "Louvre", "metadata": {"page": 2}},
        ],
    }


def test_a_tool_is_named_by_its_span() -> None:
    facts = read_from(
        SCOPE, observed("tool", {"args": [], "kwargs": {"city": "Paris"}}, "18 degrees"), name="get_weather"
    )
    assert facts == {
        "dialect": "langfuse",
        "kind": "tool",
        "tool": {"name": "get_weather"},
        "arguments": {"city": "Paris"},
        "result": "18 degrees",
    }


def test_an_embedding() -> None:
    facts = read_from(SCOPE, observed("embedding", ["a", "b"], model__name="text-embedding-3-small"))
    assert (facts["kind"], facts["texts"]) == ("embeddings", ["a", "b"])


def test_nothing_was_given_to_a_chain_without_arguments() -> None:
    facts = read_from(SCOPE, observed("chain", {"args": [], "kwargs": {}}, "So."))
    assert facts == {"dialect": "langfuse", "kind": "workflow", "output": "So."}


def test_a_plain_span_has_no_kind_of_its_own() -> None:
    assert "kind" not in read_from(SCOPE, observed("span"))
    assert read_from(SCOPE, observed("span") | {"gen_ai.operation.name": "chat"})["kind"] == "chat"


def test_an_unknown_type_is_told() -> None:
    facts = read_from(SCOPE, observed("dance"))
    assert facts["warnings"] == ["unknown_word:langfuse.observation.type"]
    assert facts["rest"] == {"langfuse.observation.type": "dance"}


def test_plain_text_in_and_out_of_a_generation() -> None:
    facts = read_from(SCOPE, observed("generation", "Why?", "So."))
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == answer("So.")
