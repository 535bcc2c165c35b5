"""MLflow Tracing: everything is JSON once more, or OpenTelemetry's GenAI with gaps."""

from __future__ import annotations

import pytest

from tests.dialect_spans import answer, read_from
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
