"""Haystack's components and LlamaIndex's events: content that is nowhere in GenAI's keys."""

from __future__ import annotations

import pytest

from otel_wandb.conventions.decoding import DecodeError
from otel_wandb.conventions.reprs import read_repr
from tests.dialect_spans import CALL, answer, called, event, read_from
from tests.genai_spans import encode

HAYSTACK = "haystack"
META = {
    "model": "gpt-4o-mini-2024-07-18",
    "finish_reason": "stop",
    "usage": {
        "prompt_tokens": 25,
        "completion_tokens": 12,
        "total_tokens": 37,
        "prompt_tokens_details": {"cached_tokens": 16, "cache_write_tokens": None},
    },
}
TOOL_CALL = {"tool_name": "get_weather", "arguments": {"city": "Paris"}, "id": "c1", "extra": None}


def message(role: str, *parts: dict[str, object], **meta: object) -> dict[str, object]:
    return {"role": role, "meta": meta, "name": None, "content": list(parts)}


def test_a_chat_generator() -> None:
    facts = read_from(
        HAYSTACK,
        {
            "haystack.component.name": "llm",
            "haystack.component.type": "OpenAIChatGenerator",
            "haystack.component.input": encode(
                {
                    "messages": [message("user", {"text": "Why?"})],
                    "generation_kwargs": {"temperature": 0.2},
                    "tools": None,
                }
            ),
            "haystack.component.output": encode({"replies": [message("assistant", {"text": "So."}, **META)]}),
        },
        name="haystack.component.run",
    )
    assert facts == {
        "dialect": "haystack",
        "kind": "chat",
        "operation": "OpenAIChatGenerator",
        "response_model": "gpt-4o-mini-2024-07-18",
        "finish_reasons": ["stop"],
        "params": {"temperature": 0.2},
        "messages": [{"role": "user", "content": "Why?"}],
        "choices": answer("So.", "stop"),
        "usage": {
            "input_tokens": 25,
            "output_tokens": 12,
            "total_tokens": 37,
            "cache_read_input_tokens": 16,
        },
        "metadata": {"component": "llm"},
    }


def test_tool_calls_and_their_results() -> None:
    result = {"result": "18 degrees", "origin": TOOL_CALL, "error": False}
    facts = read_from(
        HAYSTACK,
        {
            "haystack.component.type": "OpenAIChatGenerator",
            "haystack.component.input": encode(
                {
                    "messages": [
                        message("assistant", {"tool_call": TOOL_CALL}),
                        message("tool", {"tool_call_result": result}),
                    ]
                }
            ),
            "haystack.component.output": encode(
                {"replies": [message("assistant", {"tool_call": TOOL_CALL})]}
            ),
        },
    )
    assert facts["messages"] == [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "18 degrees", "tool_call_id": "c1"},
    ]
    assert facts["choices"] == called()


def test_the_repr_of_messages_is_read_where_the_tracer_had_no_json() -> None:
    given = (
        "{'messages': [ChatMessage(_role=<ChatRole.USER: 'user'>, _content=[TextContent(text='Weather?')], "
        "_name=None, _meta={}), ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, "
        "_content=[ToolCall(tool_name='get_weather', arguments={'city': 'Paris'}, id='c1', extra=None)], "
        "_name=None, _meta={})], 'tools': [Tool(name='get_weather', description='w', "
        "parameters={'type': 'object'}, function=<function <lambda> at 0x7f8b7117fba0>)]}"
    )
    facts = read_from(HAYSTACK, {"haystack.agent.step.llm.input": given}, name="haystack.agent.step.llm")
    assert facts["messages"] == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    ]
    assert facts["tools"][0]["function"]["name"] == "get_weather"
    cut = read_from(HAYSTACK, {"haystack.agent.step.llm.input": given[:90]}, name="haystack.agent.step.llm")
    assert "messages" not in cut, "nobody said that"
    assert cut["inputs"] == {"request": given[:90]}


def test_a_plain_generator_and_a_retriever_and_an_embedder() -> None:
    generator = read_from(
        HAYSTACK,
        {
            "haystack.component.type": "OpenAIGenerator",
            "haystack.component.input": '{"prompt": "Why?"}',
            "haystack.component.output": encode({"replies": ["So."], "meta": [META]}),
        },
    )
    assert generator["messages"] == [{"role": "user", "content": "Why?"}]
    assert generator["choices"] == answer("So.")
    assert generator["usage"]["input_tokens"] == 25
    retriever = read_from(
        HAYSTACK,
        {
            "haystack.component.type": "InMemoryBM25Retriever",
            "haystack.component.input": encode({"query": "How tall?", "top_k": 2}),
            "haystack.component.output": encode(
                {"documents": [{"id": "d", "content": "330", "score": 0.8, "embedding": None, "page": 1}]}
            ),
        },
    )
    assert (retriever["query"], retriever["top_k"]) == ("How tall?", 2)
    assert retriever["documents"] == [{"id": "d", "content": "330", "score": 0.8, "metadata": {"page": 1}}]
    embedder = read_from(
        HAYSTACK,
        {
            "haystack.component.type": "OpenAITextEmbedder",
            "haystack.component.input": '{"text": "hi"}',
            "haystack.component.output": encode(
                {"embedding": [0.1, 0.2], "meta": {"model": "e", "usage": {"prompt_tokens": 2}}}
            ),
        },
    )
    assert (embedder["texts"], embedder["dimensions"], embedder["usage"]) == (["hi"], 2, {"input_tokens": 2})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("haystack.pipeline.run", "workflow"),
        ("haystack.agent.run", "agent"),
        ("haystack.component.run", "workflow"),
    ],
)
def test_kinds_without_a_class_that_tells(name: str, kind: str) -> None:
    assert read_from(HAYSTACK, {"haystack.component.type": "PromptBuilder"}, name=name)["kind"] == kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f(a=1, b=[None, 'x'])", {"a": 1, "b": [None, "x"]}),
        ("[C(a=<E.B: 'b'>)]", [{"a": "b"}]),
        ("C('only')", "only"),
        ("{'f': <function g at 0x1>}", {"f": None}),
    ],
)
def test_reprs(text: str, expected: object) -> None:
    assert read_repr(text) == expected


@pytest.mark.parametrize("text", ["f(a=1, ...", "a + b", "__import__('os').system('true')", "f(a=b)"])
def test_what_is_no_repr_of_values_is_refused_and_never_run(text: str) -> None:
    with pytest.raises(DecodeError):
        read_repr(text)


LLAMA = "llamaindex.opentelemetry.tracer"
ASKED = encode(
    [
        {
            "role": "user",
            "additional_kwargs": {},
            "blocks": [{"block_type": "text", "text": "Why?"}],
        }
    ]
)


def test_a_chat_of_llama_index() -> None:
    facts = read_from(
        LLAMA,
        name="OpenAI.chat",
        events=[
            event(
                "LLMChatStartEvent",
                messages=ASKED,
                model_dict__model="gpt-4o-mini",
                model_dict__temperature=0.2,
                class_name="LLMChatStartEvent",
            ),
            event(
                "LLMChatEndEvent",
                messages=ASKED,
                response__message__role="assistant",
                response__message__blocks=encode([{"block_type": "text", "text": "So."}]),
                response__raw__id="r-1",
                response__raw__model="gpt-4o-mini-2024-07-18",
                response__raw__choices=encode(
                    [{"finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}]
                ),
                response__raw__usage__prompt_tokens=25,
                response__raw__usage__completion_tokens=12,
                response__raw__usage__total_tokens=37,
                response__raw__usage__prompt_tokens_details__cached_tokens=16,
            ),
        ],
    )
    assert facts == {
        "dialect": "llama-index",
        "kind": "chat",
        "model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "response_id": "r-1",
        "finish_reasons": ["stop"],
        "params": {"temperature": 0.2},
        "messages": [{"role": "user", "content": "Why?"}],
        "choices": answer("So.", "stop"),
        "usage": {
            "input_tokens": 25,
            "output_tokens": 12,
            "total_tokens": 37,
            "cache_read_input_tokens": 16,
        },
    }


def test_an_answer_without_the_raw_response() -> None:
    facts = read_from(
        LLAMA,
        name="Ollama.chat",
        events=[
            event(
                "LLMChatEndEvent",
                response__message__role="assistant",
                response__message__blocks=encode([{"block_type": "text", "text": "So."}]),
            )
        ],
    )
    assert facts["choices"] == answer("So.")
    assert "usage" not in facts


def test_a_retrieval_of_llama_index() -> None:
    node = {"id_": "n-1", "text": "330", "metadata": {"page": 1}, "mimetype": "text/plain", "embedding": None}
    facts = read_from(
        LLAMA,
        name="VectorIndexRetriever.retrieve",
        events=[
            event("RetrievalStartEvent", str_or_query_bundle="How tall?"),
            event(
                "RetrievalEndEvent",
                str_or_query_bundle="How tall?",
                nodes=encode([{"node": node, "score": 0.9}]),
            ),
        ],
    )
    assert (facts["kind"], facts["query"]) == ("retrieval", "How tall?")
    assert facts["documents"] == [{"id": "n-1", "content": "330", "score": 0.9, "metadata": {"page": 1}}]


def test_embeddings_of_llama_index() -> None:
    facts = read_from(
        LLAMA,
        name="OpenAIEmbedding.get_query_embedding",
        events=[
            event("EmbeddingStartEvent", model_dict__model_name="e"),
            event("EmbeddingEndEvent", chunks=["hi"], embeddings="[[0.1, 0.2]]"),
        ],
    )
    assert (facts["kind"], facts["model"], facts["texts"]) == ("embeddings", "e", ["hi"])
    assert (facts["embedding_count"], facts["dimensions"]) == (1, 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("VectorIndexRetriever._retrieve", "retrieval"),
        ("OpenAIEmbedding._get_query_embedding", "embeddings"),
        ("FunctionTool.acall", "tool"),
        ("FunctionAgent.run", "agent"),
        ("RetrieverQueryEngine.query", "workflow"),
    ],
)
def test_kinds_by_the_name_of_class_and_method(name: str, kind: str) -> None:
    assert read_from(LLAMA, name=name)["kind"] == kind


def test_what_calls_no_model_is_no_chat() -> None:
    assert "kind" not in read_from(LLAMA, name="OpenAI._prepare_chat_with_tools")


def test_a_tool_of_llama_index_is_told_by_its_step() -> None:
    summary = "ToolCall(tool_name='get_weather', tool_kwargs={'city': 'Paris'}, tool_id='c1')"
    facts = read_from(LLAMA, {"llamaindex.step.input_summary": summary}, name="FunctionTool.acall")
    assert facts["tool"] == {"name": "get_weather", "call_id": "c1"}
    assert facts["arguments"] == {"city": "Paris"}
    cut = read_from(LLAMA, {"llamaindex.step.input_summary": summary[:60] + "..."}, name="FunctionTool.acall")
    assert "arguments" not in cut
