"""MLflow Tracing: everything is JSON once more, or OpenTelemetry's GenAI with gaps."""

from __future__ import annotations

import pytest

from otel_wandb.records import Attributes, Event
from tests.dialect_spans import answer, event, read_from
from tests.genai_spans import encode

SCOPE = "mlflow.tracing.fluent"


def test_a_chat_model() -> None:
    facts = read_from(
        "mlflow.openai.autolog",
        {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.spanInputs": encode(
                {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 50}
            ),
            "mlflow.spanOutputs": encode(
                {
                    "id": "r-1",
                    "model": "gpt-4o-mini-2024-07-18",
                    "object": "chat.completion",
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "stop",
                            "message": {"role": "assistant", "content": "So."},
                        }
                    ],
                    "usage": {"prompt_tokens": 25, "completion_tokens": 12, "total_tokens": 37},
                }
            ),
            "mlflow.llm.model": '"gpt-4o-mini-2024-07-18"',
            "model": '"gpt-4o-mini"',
            "temperature": "0.2",
            "mlflow.chat.tokenUsage": encode(
                {
                    "input_tokens": 25,
                    "output_tokens": 12,
                    "total_tokens": 37,
                    "cache_read_input_tokens": 16,
                }
            ),
            "user.id": '"u"',
            "mlflow.traceTag.team": "rag",
        },
    )
    assert facts["kind"] == "chat"
    assert (facts["model"], facts["response_model"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == answer("So.", "stop")
    assert facts["response_id"] == "r-1"
    assert facts["params"] == {"temperature": 0.2, "max_tokens": 50}
    assert facts["usage"] == {
        "input_tokens": 25,
        "output_tokens": 12,
        "total_tokens": 37,
        "cache_read_input_tokens": 16,
    }
    assert (facts["user_id"], facts["metadata"]) == ("u", {"team": "rag"})


def test_a_retriever() -> None:
    facts = read_from(
        SCOPE,
        {
            "mlflow.spanType": '"RETRIEVER"',
            "mlflow.spanInputs": encode({"query": "How tall?", "k": 2}),
            "mlflow.spanOutputs": encode([{"page_content": "330", "metadata": {"p": 1}, "id": "doc-1"}]),
        },
    )
    assert (facts["query"], facts["top_k"]) == ("How tall?", 2)
    assert facts["documents"] == [{"id": "doc-1", "content": "330", "metadata": {"p": 1}}]


def test_an_embedding_without_its_vectors() -> None:
    facts = read_from(
        SCOPE,
        {
            "mlflow.spanType": '"EMBEDDING"',
            "mlflow.spanInputs": encode({"model": "e", "input": ["a", "b"]}),
            "mlflow.spanOutputs": encode(
                {
                    "data": [{"embedding": [0.1, 0.2]}, {"embedding": [0.3, 0.4]}],
                    "model": "e",
                    "usage": {"prompt_tokens": 18, "total_tokens": 18},
                }
            ),
        },
    )
    assert facts["texts"] == ["a", "b"]
    assert (facts["embedding_count"], facts["dimensions"]) == (2, 2)
    assert facts["usage"] == {"input_tokens": 18, "total_tokens": 18}
    assert "output" not in facts


def test_the_genai_mode_puts_the_answering_model_into_the_request() -> None:
    facts = read_from(
        "mlflow.openai.autolog",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini-2024-07-18",
            "model": '"gpt-4o-mini"',
        },
    )
    assert (facts["model"], facts["response_model"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")


@pytest.mark.parametrize(
    ("operation", "kind"), [("RETRIEVER", "retrieval"), ("CHAIN", "workflow"), ("RERANKER", "rerank")]
)
def test_span_types_pass_as_operations(operation: str, kind: str) -> None:
    facts = read_from(SCOPE, {"gen_ai.operation.name": operation})
    assert facts["kind"] == kind
    assert "warnings" not in facts


def test_a_type_of_the_users_own_is_no_kind() -> None:
    assert "kind" not in read_from(SCOPE, {"mlflow.spanType": '"UNKNOWN"'})
    assert "kind" not in read_from(SCOPE, {"mlflow.spanType": '"MINE"'})


LANGCHAIN: Attributes = {
    "mlflow.spanType": '"CHAT_MODEL"',
    "mlflow.message.format": '"langchain"',
    "mlflow.llm.model": '"gpt-4o-mini"',
    "mlflow.llm.provider": '"openai"',
    "invocation_params": encode(
        {
            "model": "gpt-4o-mini",
            "model_name": "gpt-4o-mini",
            "stream": False,
            "temperature": 0.3,
            "_type": "openai-chat",
            "stop": None,
            "user": "u",
        }
    ),
    "metadata": encode({"session_id": "session-42", "ls_provider": "openai", "team": "rag"}),
    "mlflow.chat.tokenUsage": encode({"input_tokens": 25, "output_tokens": 12, "total_tokens": 37}),
}


def test_langchain_under_mlflow_names_the_model_that_was_asked() -> None:
    facts = read_from("mlflow.tracing.provider", LANGCHAIN)
    assert facts["model"] == "gpt-4o-mini"
    assert "response_model" not in facts
    assert facts["params"] == {"temperature": 0.3, "stream": False}
    assert facts["inputs"] == {"user": "u"}
    assert (facts["session_id"], facts["provider"]) == ("session-42", "openai")


def test_langchain_under_mlflow_in_the_genai_mode() -> None:
    told = {name: value for name, value in LANGCHAIN.items() if not name.startswith("mlflow.")}
    told |= {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}
    facts = read_from("mlflow.tracing.provider", told)
    assert (facts["kind"], facts["model"], facts["session_id"]) == ("chat", "gpt-4o-mini", "session-42")
    assert "response_model" not in facts


def token(content: str, **told: object) -> Event:
    message = {"lc": 1, "id": ["langchain", "AIMessageChunk"], "kwargs": {"content": content, **told}}
    chunk = {"lc": 1, "id": ["langchain", "ChatGenerationChunk"], "kwargs": {"message": message}}
    return event("new_token", token=content, chunk=encode(chunk))


def test_the_last_chunks_of_a_stream_of_langchain() -> None:
    details = {"cache_read": 16}, {"reasoning": 4}
    usage = {"input_tokens": 25, "output_tokens": 12, "input_token_details": details[0]}
    events = [
        token("So"),
        token("", response_metadata={"model_name": "gpt-4o-mini-2024-07-18", "finish_reason": "stop"}),
        token("", usage_metadata={**usage, "output_token_details": details[1]}),
        token(""),
    ]
    facts = read_from("mlflow.tracing.provider", LANGCHAIN, events=events)
    assert (facts["response_model"], facts["finish_reasons"]) == ("gpt-4o-mini-2024-07-18", ["stop"])
    assert facts["usage"] == {
        "input_tokens": 25,
        "output_tokens": 12,
        "total_tokens": 37,
        "cache_read_input_tokens": 16,
        "reasoning_tokens": 4,
    }


def test_the_last_chunks_of_a_stream_of_openai() -> None:
    chunks: list[dict[str, object]] = [
        {"model": "gpt-4o-mini-2024-07-18", "choices": [{"finish_reason": "stop"}], "usage": None},
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 25,
                "completion_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 16},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
        },
    ]
    events = [
        event(f"mlflow.chunk.item.{n}", mlflow__chunk__value=encode(chunk)) for n, chunk in enumerate(chunks)
    ]
    told: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 25}
    facts = read_from("mlflow.tracing.provider", told, events=events)
    assert (facts["response_model"], facts["finish_reasons"]) == ("gpt-4o-mini-2024-07-18", ["stop"])
    assert facts["usage"]["cache_read_input_tokens"] == 16
    assert facts["usage"]["reasoning_tokens"] == 4


@pytest.mark.parametrize(
    "value", ["", "{", "[]", '{"choices": "x", "usage": "y"}', '{"kwargs": {"message": 1}}']
)
def test_chunks_that_say_nothing(value: str) -> None:
    events = [event("mlflow.chunk.item.0", mlflow__chunk__value=value), event("new_token", chunk=value)]
    facts = read_from("mlflow.tracing.provider", {"gen_ai.operation.name": "chat"}, events=events)
    assert not facts.keys() & {"usage", "response_model", "finish_reasons", "warnings"}


@pytest.mark.parametrize(
    ("made", "answered"),
    [
        (
            {"model": "claude-sonnet-4-5-20250929", "role": "assistant", "content": []},
            "claude-sonnet-4-5-20250929",
        ),
        ({"model": "claude-sonnet-4-5", "role": "assistant", "content": []}, "claude-sonnet-4-5"),
        ("<anthropic.Stream object at 0x7f0000000000>", None),
    ],
)
def test_anthropic_under_mlflow_names_the_model_that_was_asked(made: object, answered: str | None) -> None:
    facts = read_from(
        "mlflow.tracing.provider",
        {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.spanInputs": encode({"model": "claude-sonnet-4-5", "messages": []}),
            "mlflow.llm.model": '"claude-sonnet-4-5"',
            "mlflow.spanOutputs": encode(made),
        },
    )
    assert (facts["model"], facts.get("response_model")) == ("claude-sonnet-4-5", answered)
