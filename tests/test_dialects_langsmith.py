"""LangSmith's OpenTelemetry mode: runs of LangChain, of the OpenAI wrapper, of decorated functions."""

from __future__ import annotations

import pytest

from otel_wandb.records import Attributes, Value
from tests.dialect_spans import CALL, answer, called, read_from
from tests.genai_spans import encode

SCOPE = "langsmith"


def constructed(cls: str, **kwargs: object) -> dict[str, object]:
    """A message as LangChain serialises it."""
    return {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "messages", cls],
        "kwargs": {"type": cls.removesuffix("Message").lower(), **kwargs},
    }


def run(kind: str, given: object = None, made: object = None, **more: Value) -> Attributes:
    told: Attributes = {"langsmith.span.kind": kind}
    if given is not None:
        told["gen_ai.prompt"] = encode(given)
    if made is not None:
        told["gen_ai.completion"] = encode(made)
    return told | {name.replace("__", "."): value for name, value in more.items()}


def test_a_model_run_of_langchain() -> None:
    call = {"name": "get_weather", "args": {"city": "Paris"}, "id": "c1", "type": "tool_call"}
    made = {
        "generations": [
            [
                {
                    "text": "",
                    "generation_info": {"finish_reason": "tool_calls", "logprobs": None},
                    "type": "ChatGeneration",
                    "message": constructed(
                        "AIMessage",
                        content="",
                        tool_calls=[call],
                        response_metadata={
                            "id": "r-1",
                            "model_name": "gpt-4o-mini-2024-07-18",
                            "finish_reason": "tool_calls",
                        },
                        usage_metadata={
                            "input_tokens": 61,
                            "output_tokens": 17,
                            "total_tokens": 78,
                            "input_token_details": {"audio": 0, "cache_read": 32},
                            "output_token_details": {"reasoning": 5},
                        },
                    ),
                }
            ]
        ],
        "llm_output": None,
        "type": "LLMResult",
    }
    given = {
        "messages": [
            [
                constructed("SystemMessage", content="Be brief."),
                constructed("HumanMessage", content="Weather?"),
            ]
        ]
    }
    facts = read_from(
        SCOPE,
        run(
            "llm",
            given,
            made,
            gen_ai__operation__name="chat",
            gen_ai__system="openai",
            langsmith__metadata__ls_provider="openai",
            langsmith__metadata__ls_model_name="gpt-4o-mini",
            langsmith__metadata__ls_temperature=0.2,
            langsmith__metadata__session_id="s",
            langsmith__metadata__user_id="u",
            langsmith__span__tags="a, b",
            langsmith__trace__session_name="default",
        ),
    )
    assert facts == {
        "dialect": "langsmith",
        "kind": "chat",
        "operation": "chat",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "response_id": "r-1",
        "finish_reasons": ["tool_calls"],
        "params": {"temperature": 0.2},
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}],
        "choices": called("tool_calls"),
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
        "metadata": {"project": "default"},
    }


def test_a_model_run_of_the_openai_wrapper() -> None:
    facts = read_from(
        SCOPE,
        run(
            "llm",
            {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}], "temperature": 0.3},
            {
                "id": "r-1",
                "model": "gpt-4o-mini-2024-07-18",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": "So."},
                    }
                ],
            },
            gen_ai__usage__input_tokens=25,
            gen_ai__usage__output_tokens=12,
            gen_ai__usage__input_token_details="{'audio': 0, 'cache_read': 16}",
            gen_ai__usage__output_token_details="{'reasoning': 4}",
        ),
    )
    assert facts["choices"] == answer("So.", "stop")
    assert facts["params"] == {"temperature": 0.3}
    assert facts["usage"] == {
        "input_tokens": 25,
        "output_tokens": 12,
        "cache_read_input_tokens": 16,
        "reasoning_tokens": 4,
    }
    assert "rest" not in facts


def test_an_empty_answer_after_an_error_is_no_answer() -> None:
    made = {"generations": [[{"text": "", "message": constructed("AIMessage", content="")}]]}
    facts = read_from(SCOPE, run("llm", {"messages": [[constructed("HumanMessage", content="Why?")]]}, made))
    assert "choices" not in facts
    assert "output" not in facts


def test_the_kind_of_a_run_beats_the_operation() -> None:
    given = run("retriever", {"query": "How tall?"}, gen_ai__operation__name="embeddings")
    found = {"documents": [{"page_content": "330 metres", "metadata": {"page": 2}, "type": "Document"}]}
    facts = read_from(SCOPE, {**given, "gen_ai.completion": encode(found)})
    assert facts["kind"] == "retrieval"
    assert facts["query"] == "How tall?"
    assert facts["documents"] == [{"content": "330 metres", "metadata": {"page": 2}}]


@pytest.mark.parametrize(
    ("kind", "expected"), [("chain", "workflow"), ("prompt", "other"), ("parser", "other"), ("tool", "tool")]
)
def test_kinds(kind: str, expected: str) -> None:
    assert read_from(SCOPE, run(kind, gen_ai__operation__name="chat"))["kind"] == expected


def test_a_tool_of_langchain() -> None:
    message = constructed("ToolMessage", content="18 degrees", tool_call_id="c1", name="get_weather")
    told = run("tool", {"input": "{'city': 'Paris'}"}, {"output": message})
    facts = read_from(SCOPE, {**told, "langsmith.trace.name": "get_weather"})
    assert (facts["arguments"], facts["result"]) == ({"city": "Paris"}, "18 degrees")
    assert facts["tool"] == {"call_id": "c1", "name": "get_weather"}


def test_nothing_is_made_of_what_is_not_there() -> None:
    facts = read_from(SCOPE, run("chain", {}, {}, gen_ai__system="langchain"))
    assert "input" not in facts
    assert "output" not in facts
    assert "provider" not in facts
    assert read_from(SCOPE, run("chain", {"input": "Why?"}, {"output": "So."}))["output"] == "So."


def test_tool_calls_in_blocks_and_beside_them_are_one() -> None:
    block = {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Paris"}}
    call = {"name": "get_weather", "args": {"city": "Paris"}, "id": "c1"}
    given = {"messages": [[constructed("AIMessage", content=[block], tool_calls=[call])]]}
    facts = read_from(SCOPE, run("llm", given))
    assert facts["messages"] == [{"role": "assistant", "content": None, "tool_calls": [CALL]}]
