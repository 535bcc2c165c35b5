"""OpenInference: indexed attributes put together, and the framework's own values read for what is missing."""

from __future__ import annotations

from typing import Any

import pytest
from inline_snapshot import snapshot

from otel_wandb.records import STATUS_ERROR, Attributes, Event, Value
from tests.genai_spans import START_NS, calls_of, encode, make_span, make_trace, read_facts

IN = "llm.input_messages"
OUT = "llm.output_messages"
CALL = "tool_call.function"


def indexed(prefix: str, inner: str, *items: dict[str, Value]) -> Attributes:
    """`prefix.N.inner.name` for each name of each item."""
    return {f"{prefix}.{i}.{inner}.{name}": v for i, item in enumerate(items) for name, v in item.items()}


def asked(*messages: dict[str, Value]) -> Attributes:
    return indexed(IN, "message", *messages)


def answered(*messages: dict[str, Value]) -> Attributes:
    return indexed(OUT, "message", *messages)


def llm(*parts: Attributes, **more: Value) -> Attributes:
    told: Attributes = {"openinference.span.kind": "LLM"}
    for part in parts:
        told |= part
    return told | {name.replace("__", "."): value for name, value in more.items()}


def tool_call(n: int, call_id: str | None, city: str) -> dict[str, Value]:
    told: dict[str, Value] = {
        f"tool_calls.{n}.{CALL}.name": "get_weather",
        f"tool_calls.{n}.{CALL}.arguments": encode({"city": city}),
    }
    return {f"tool_calls.{n}.tool_call.id": call_id, **told} if call_id else told


def chat_call(call_id: str, city: str) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": "get_weather", "arguments": encode({"city": city})},
    }


QUESTION: dict[str, Value] = {"role": "user", "content": "Why?"}
ANSWER: dict[str, Value] = {"role": "assistant", "content": "So."}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "So."}}


def test_a_chat_with_all_that_a_model_call_can_tell() -> None:
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}], "temperature": 0.2}
    response = {
        "id": "chatcmpl-1",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}
        ],
        "usage": {"prompt_tokens": 25, "completion_tokens": 12, "total_tokens": 37},
    }
    attributes = llm(
        asked({"role": "system", "content": "Be brief."}, QUESTION),
        answered(ANSWER),
        llm__provider="openai",
        llm__system="openai",
        llm__model_name="gpt-4o-mini-2024-07-18",
        llm__invocation_parameters=encode(
            {"model": "gpt-4o-mini", "temperature": 0.2, "max_completion_tokens": 100, "stop": None}
        ),
        llm__token_count__prompt=25,
        llm__token_count__completion=12,
        llm__token_count__total=37,
        llm__token_count__prompt_details__cache_read=16,
        llm__token_count__prompt_details__cache_write=0,
        llm__token_count__prompt_details__audio=0,
        llm__token_count__completion_details__reasoning=4,
        llm__token_count__completion_details__audio=0,
        session__id="session-42",
        user__id="user-7",
        metadata='{"team":"search"}',
        tag__tags=["nightly"],
        input__value=encode(request),
        input__mime_type="application/json",
        output__value=encode(response),
        output__mime_type="application/json",
    )
    assert read_facts(attributes) == snapshot(
        {
            "dialect": "openinference",
            "kind": "chat",
            "model": "gpt-4o-mini",
            "response_model": "gpt-4o-mini-2024-07-18",
            "provider": "openai",
            "params": {"temperature": 0.2, "max_tokens": 100},
            "response_id": "chatcmpl-1",
            "finish_reasons": ["stop"],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Why?"},
            ],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "So."}}],
            "usage": {
                "input_tokens": 25,
                "output_tokens": 12,
                "total_tokens": 37,
                "cache_read_input_tokens": 16,
                "cache_creation_input_tokens": 0,
                "audio_input_tokens": 0,
                "reasoning_tokens": 4,
                "audio_output_tokens": 0,
            },
            "session_id": "session-42",
            "user_id": "user-7",
            "tags": ["nightly"],
            "metadata": {"team": "search"},
        }
    )


def test_tool_calls_and_their_results_in_the_history() -> None:
    attributes = llm(
        asked(
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", **tool_call(0, "c1", "Paris"), **tool_call(1, "c2", "Rome")},
            {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": "18 degrees"},
        ),
        answered({"role": "assistant", **tool_call(0, "c3", "Oslo")}),
        llm__tools__0__tool__json_schema='{"name":"get_weather","input_schema":{"type":"object"}}',
        llm__finish_reason="tool_use",
    )
    assert read_facts(attributes) == {
        "dialect": "openinference",
        "kind": "chat",
        "finish_reasons": ["tool_use"],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [chat_call("c1", "Paris"), chat_call("c2", "Rome")],
            },
            {"role": "tool", "content": "18 degrees", "tool_call_id": "c1", "name": "get_weather"},
        ],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": [chat_call("c3", "Oslo")]},
            }
        ],
        "tools": [
            {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
        ],
    }


def test_contents_of_many_kinds() -> None:
    part = "message_content"
    attributes = llm(
        asked(
            {
                "role": "user",
                f"contents.0.{part}.type": "text",
                f"contents.0.{part}.text": "What is this?",
                f"contents.1.{part}.type": "image",
                f"contents.1.{part}.image.image.url": "https://example.com/a.png",
                f"contents.2.{part}.type": "audio",
                f"contents.2.{part}.audio.audio.url": "https://example.com/a.wav",
                f"contents.2.{part}.audio.audio.mime_type": "audio/wav",
            },
            {
                "role": "assistant",
                "function_call_name": "look",
                "function_call_arguments_json": '{"at":"it"}',
            },
        ),
        answered(
            {
                "role": "assistant",
                f"contents.0.{part}.type": "reasoning",
                f"contents.0.{part}.text": "Hm.",
                f"contents.1.{part}.type": "text",
                f"contents.1.{part}.text": "A cat.",
                "content": "A cat.",
            }
        ),
    )
    facts = read_facts(attributes)
    assert facts["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {
                    "type": "file",
                    "file": {"file_url": "https://example.com/a.wav"},
                    "modality": "audio",
                    "mime_type": "audio/wav",
                },
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": '{"at":"it"}'}}],
        },
    ]
    assert facts["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "A cat.", "reasoning": "Hm."}}
    ]


def test_anthropic_tells_each_tool_call_twice() -> None:
    attributes = llm(
        answered(
            {
                "role": "assistant",
                "contents.0.message_content.type": "text",
                "contents.0.message_content.text": "Let me look.",
                "contents.1.message_content.type": "tool_use",
                "contents.1.tool_call.id": "toolu_1",
                f"contents.1.{CALL}.name": "get_weather",
                f"contents.1.{CALL}.arguments": '{"city":"Paris"}',
                **tool_call(0, "toolu_1", "Paris"),
            }
        ),
        llm__request__model_name="claude-3-5-haiku-latest",
        llm__response__model_name="claude-3-5-haiku-20241022",
        llm__model_name="claude-3-5-haiku-20241022",
        llm__token_count__prompt=35,
        llm__token_count__completion=12,
        llm__token_count__prompt_details__cache_read=16,
        llm__token_count__prompt_details__cache_write=10,
        output__value='{"id":"msg_1","type":"message","role":"assistant","model":"claude-3-5-haiku-20241022",'
        '"content":[{"type":"text","text":"Let me look."}],"stop_reason":"tool_use",'
        '"usage":{"input_tokens":9,"output_tokens":12,"cache_read_input_tokens":16,'
        '"cache_creation_input_tokens":10}}',
    )
    facts = read_facts(attributes)
    assert facts == {
        "dialect": "openinference",
        "kind": "chat",
        "model": "claude-3-5-haiku-latest",
        "response_model": "claude-3-5-haiku-20241022",
        "response_id": "msg_1",
        "finish_reasons": ["tool_use"],
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Let me look.",
                    "tool_calls": [chat_call("toolu_1", "Paris")],
                },
            }
        ],
        "usage": {
            "input_tokens": 35,
            "output_tokens": 12,
            "cache_read_input_tokens": 16,
            "cache_creation_input_tokens": 10,
        },
    }


def test_text_completions() -> None:
    attributes = llm(
        {"llm.prompts.0.prompt.text": "Capital of France?", "llm.choices.0.completion.text": " Paris."}
    )
    facts = read_facts(attributes)
    assert facts["messages"] == [{"role": "user", "content": "Capital of France?"}]
    assert facts["choices"] == [{"index": 0, "message": {"role": "assistant", "content": " Paris."}}]
    older = read_facts(llm({"llm.prompts": ["Capital of France?"]}))
    assert older["messages"] == facts["messages"]


@pytest.mark.parametrize(
    ("told", "model", "response_model"),
    [
        pytest.param({"llm.model_name": "m"}, "m", None, id="one name: the one asked for"),
        pytest.param(
            {"llm.model_name": "m-1", "llm.invocation_parameters": '{"model":"m"}'}, "m", "m-1", id="two"
        ),
        pytest.param(
            {"llm.model_name": "m", "llm.invocation_parameters": '{"model_name":"m"}'},
            "m",
            None,
            id="a repeat of the request",
        ),
        pytest.param(
            {"llm.model_name": "m-1", "output.value": '{"model":"m-1","choices":[]}'},
            None,
            "m-1",
            id="only the answer names it",
        ),
        pytest.param(
            {
                "llm.model_name": "m-1",
                "llm.invocation_parameters": '{"model":"m-1","created_at":1.0}',
                "output.value": '{"model":"m-1","object":"response","output":[]}',
            },
            None,
            "m-1",
            id="a whole response as parameters",
        ),
        pytest.param(
            {"llm.model_name": "m", "metadata": '{"ls_model_name":"asked"}'}, "asked", "m", id="LangChain"
        ),
    ],
)
def test_which_model_was_asked_and_which_one_answered(
    told: Attributes, model: str | None, response_model: str | None
) -> None:
    facts = read_facts(llm(told))
    assert (facts.get("model"), facts.get("response_model")) == (model, response_model)


@pytest.mark.parametrize(
    ("said", "provider"),
    [("openai", "openai"), ("mistralai", "mistral_ai"), ("xai", "x_ai"), ("azure", "azure")],
)
def test_providers_in_the_spelling_of_opentelemetry(said: str, provider: str) -> None:
    assert read_facts(llm(llm__provider=said, llm__system="openai"))["provider"] == provider


def test_langchain_tells_id_and_reason_only_in_its_result() -> None:
    message = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "messages", "AIMessage"],
        "kwargs": {
            "content": "So.",
            "response_metadata": {"id": "chatcmpl-7", "model_name": "m-1", "finish_reason": "stop"},
            "usage_metadata": {
                "input_tokens": 25,
                "output_tokens": 12,
                "total_tokens": 37,
                "output_token_details": {"reasoning": 4},
            },
        },
    }
    result = {"generations": [[{"text": "So.", "message": message}]], "llm_output": None, "run": None}
    attributes = llm(
        asked(QUESTION),
        answered(ANSWER),
        llm__model_name="m-1",
        llm__invocation_parameters='{"model":"m","_type":"openai-chat","temperature":0.2}',
        llm__token_count__prompt=25,
        llm__token_count__completion=12,
        input__value='{"messages":[[{"lc":1,"type":"constructor","kwargs":{"content":"Why?","type":"human"}}]]}',
        output__value=encode(result),
        metadata='{"session_id":"s","thread_id":"t","user_id":"u","ls_provider":"openai"}',
        session__id="s",
    )
    assert read_facts(attributes) == {
        "dialect": "openinference",
        "kind": "chat",
        "model": "m",
        "response_model": "m-1",
        "provider": "openai",
        "params": {"temperature": 0.2},
        "response_id": "chatcmpl-7",
        "finish_reasons": ["stop"],
        "messages": [{"role": "user", "content": "Why?"}],
        "choices": [CHOICE],
        "usage": {"input_tokens": 25, "output_tokens": 12, "total_tokens": 37, "reasoning_tokens": 4},
        "session_id": "s",
        "conversation_id": "t",
        "user_id": "u",
        "metadata": {"session_id": "s", "thread_id": "t", "user_id": "u", "ls_provider": "openai"},
    }


def test_items_of_the_responses_api_are_one_answer() -> None:
    response = {"id": "resp_1", "object": "response", "model": "m-1", "output": [{"type": "reasoning"}]}
    said = {"contents.0.message_content.type": "reasoning", "contents.0.message_content.text": "Hm."}
    attributes = llm(
        answered(
            {"role": "assistant", **said},
            {"role": "assistant", "content": "Let me look."},
            {"role": "assistant", **tool_call(0, "c1", "Paris")},
        ),
        output__value=encode(response),
    )
    facts = read_facts(attributes)
    assert facts["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Let me look.",
                "reasoning": "Hm.",
                "tool_calls": [chat_call("c1", "Paris")],
            },
        }
    ]
    assert (facts["response_id"], facts["response_model"]) == ("resp_1", "m-1")


def test_several_answers_stay_several() -> None:
    facts = read_facts(llm(answered(ANSWER, {"role": "assistant", "content": "Or so."})))
    assert [choice["message"]["content"] for choice in facts["choices"]] == ["So.", "Or so."]


def test_haystack_tells_model_and_reason_in_a_repr() -> None:
    reply = (
        "ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[ToolCall(tool_name='get_weather', "
        "arguments={'city': 'Paris'}, id='call_1', extra=None)], _name=None, _meta={'model': 'm-1', "
        "'index': 0, 'finish_reason': 'tool_calls', 'usage': {'completion_tokens': 17, 'prompt_tokens': 61, "
        "'total_tokens': 78, 'prompt_tokens_details': {'cached_tokens': 32, 'cache_write_tokens': None}}})"
    )
    attributes = llm(
        asked(QUESTION),
        answered({"role": "assistant", **tool_call(0, None, "Paris")}),
        llm__model_name="m-1",
        llm__token_count__prompt=61,
        llm__token_count__completion=17,
        input__value=encode({"messages": ["ChatMessage(_role=<ChatRole.USER: 'user'>)"], "tools": None}),
        output__value=encode({"replies": [reply]}),
    )
    facts = read_facts(attributes)
    assert facts == {
        "dialect": "openinference",
        "kind": "chat",
        "response_model": "m-1",
        "finish_reasons": ["tool_calls"],
        "messages": [{"role": "user", "content": "Why?"}],
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [chat_call("call_1", "Paris")],
                },
            }
        ],
        "usage": {
            "input_tokens": 61,
            "output_tokens": 17,
            "total_tokens": 78,
            "cache_read_input_tokens": 32,
        },
    }


def test_llama_index_nests_calls_of_which_one_has_only_a_template() -> None:
    outer = llm(
        llm__model_name="m",
        llm__invocation_parameters='{"context_window":128000,"is_chat_model":true,"model_name":"m"}',
        input__value=encode({"prompt": "SelectorPromptTemplate(metadata={})", "prompt_args": {}}),
        output__value="So.",
    )
    inner = llm(
        asked(QUESTION),
        answered(ANSWER),
        llm__model_name="m",
        llm__invocation_parameters='{"context_window":128000,"is_chat_model":true,"model_name":"m"}',
        llm__token_count__prompt=25,
        llm__token_count__completion=12,
        input__value=encode({"messages": ["ChatMessage(role=<MessageRole.USER: 'user'>)"], "kwargs": {}}),
        output__value="assistant: So.",
    )
    prepared = llm(
        llm__model_name="m",
        input__value=encode({"chat_history": ["ChatMessage()"]}),
        output__value=encode({"messages": ["ChatMessage()"]}),
    )
    calls: Any = calls_of(
        make_trace(
            make_span(1, {"openinference.span.kind": "CHAIN"}, name="RetrieverQueryEngine.query", ms=100),
            make_span(2, prepared, parent=1, name="OpenAI._prepare_chat_with_tools", start_ms=5),
            make_span(3, outer, parent=1, name="OpenAI.predict", start_ms=20, ms=50),
            make_span(4, inner, parent=3, name="OpenAI.chat", start_ms=30),
        )
    )
    assert [calls[n]["attributes"]["kind"] for n in (1, 2, 3, 4)] == ["workflow", "other", "chat", "chat"]
    assert calls[1]["inputs"] == {"input": "Why?"}, "the template is not what the user said"
    assert calls[1]["output"] == {"output": "So."}
    assert "messages" not in calls[3]["inputs"]
    assert calls[4]["inputs"] == {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
    assert calls[4]["output"] == {"choices": [CHOICE]}
    assert [n for n in calls if "usage" in calls[n]["summary"]] == [4]


def test_embeddings_keep_texts_and_cut_vectors() -> None:
    item = "embedding.embeddings"
    attributes: Attributes = {
        "openinference.span.kind": "EMBEDDING",
        "embedding.model_name": "e-1",
        "embedding.invocation_parameters": '{"model":"e","encoding_format":"base64"}',
        f"{item}.0.embedding.text": "one",
        f"{item}.0.embedding.vector": [0.1, 0.2, 0.3],
        f"{item}.1.embedding.text": "two",
        f"{item}.1.embedding.vector": [0.4, 0.5, 0.6],
        "llm.token_count.prompt": 9,
        "llm.token_count.total": 9,
        "input.value": '{"input":["one","two"],"model":"e"}',
        "output.value": '{"data":[{"embedding":[0.1,0.2,0.3]},{"embedding":[0.4,0.5,0.6]}],"model":"e-1"}',
    }
    assert read_facts(attributes) == {
        "dialect": "openinference",
        "kind": "embeddings",
        "model": "e",
        "response_model": "e-1",
        "params": {"encoding_format": "base64"},
        "usage": {"input_tokens": 9, "total_tokens": 9},
        "texts": ["one", "two"],
        "embedding_count": 2,
        "dimensions": 3,
    }


@pytest.mark.parametrize("given", ["one", '{"query":"one"}', '{"text":"one"}', '{"texts":["one"]}'])
def test_embedded_texts_from_the_input(given: str) -> None:
    attributes: Attributes = {
        "openinference.span.kind": "EMBEDDING",
        "embedding.model_name": "e",
        "input.value": given,
    }
    facts = read_facts(attributes)
    assert (facts["texts"], facts["model"]) == (["one"], "e")
    assert "response_model" not in facts


def test_haystack_counts_embedded_tokens_in_the_output() -> None:
    attributes: Attributes = {
        "openinference.span.kind": "EMBEDDING",
        "embedding.model_name": "e",
        "embedding.embeddings.0.embedding.text": "one",
        "embedding.embeddings.0.embedding.vector": [0.1, 0.2],
        "output.value": '{"embedding":"<2-dimensional vector>",'
        '"meta":{"model":"e","usage":{"prompt_tokens":9,"total_tokens":9}}}',
    }
    facts = read_facts(attributes)
    assert facts["usage"] == {"input_tokens": 9, "total_tokens": 9}
    assert (facts["model"], facts["response_model"], facts["dimensions"]) == ("e", "e", 2)


def retrieved(**more: Value) -> Attributes:
    documents = indexed(
        "retrieval.documents",
        "document",
        {"content": "330 metres.", "metadata": '{"source":"a.md"}'},
        {"content": "A museum.", "metadata": '{"source":"b.md"}'},
    )
    told = {name.replace("__", "."): value for name, value in more.items()}
    return {"openinference.span.kind": "RETRIEVER", **documents, **told}


def test_langchain_documents_have_their_ids_only_in_the_output() -> None:
    found = [
        {"id": "d1", "page_content": "330 metres.", "metadata": {"source": "a.md"}, "type": "Document"},
        {"id": "d2", "page_content": "A museum.", "metadata": {"source": "b.md"}, "type": "Document"},
    ]
    facts = read_facts(retrieved(input__value="How tall?", output__value=encode({"documents": found})))
    assert facts == {
        "dialect": "openinference",
        "kind": "retrieval",
        "query": "How tall?",
        "documents": [
            {"id": "d1", "content": "330 metres.", "metadata": {"source": "a.md"}},
            {"id": "d2", "content": "A museum.", "metadata": {"source": "b.md"}},
        ],
    }


def test_ids_of_other_documents_are_not_taken() -> None:
    other = [{"id": "d1", "page_content": "Else."}, {"id": "d2", "page_content": "A museum."}]
    facts = read_facts(retrieved(output__value=encode({"documents": other})))
    assert [document.get("id") for document in facts["documents"]] == [None, "d2"]


def test_ids_and_scores_beside_the_content() -> None:
    documents = indexed("retrieval.documents", "document", {"content": "A.", "id": "n1", "score": 0.5})
    query = encode({"query": "How tall?", "filters": None, "top_k": 2, "scale_score": None})
    facts = read_facts({"openinference.span.kind": "RETRIEVER", **documents, "input.value": query})
    assert facts == {
        "dialect": "openinference",
        "kind": "retrieval",
        "query": "How tall?",
        "top_k": 2,
        "documents": [{"id": "n1", "content": "A.", "score": 0.5}],
    }


def test_nodes_of_llama_index_that_are_only_reprs() -> None:
    found = [
        "<NodeWithScore(node=TextNode(id_=n1), score=0.5)>",
        "<NodeWithScore(node=TextNode(id_=n2), score=None)>",
    ]
    attributes: Attributes = {
        "openinference.span.kind": "RETRIEVER",
        "input.value": '{"query_bundle":{"query_str":"How tall?","image_path":null}}',
        "output.value": encode(found),
    }
    assert read_facts(attributes) == {
        "dialect": "openinference",
        "kind": "retrieval",
        "query": "How tall?",
        "documents": [{"id": "n1", "score": 0.5}, {"id": "n2"}],
    }


def test_a_reranker() -> None:
    attributes: Attributes = {
        "openinference.span.kind": "RERANKER",
        "reranker.query": "How tall?",
        "reranker.model_name": "r",
        "reranker.top_k": 1,
        **indexed("reranker.input_documents", "document", {"content": "A."}, {"content": "B.", "id": "b"}),
        **indexed("reranker.output_documents", "document", {"content": "B.", "id": "b", "score": 0.9}),
        "input.value": '{"nodes":[]}',
        "output.value": '["…"]',
    }
    assert read_facts(attributes) == {
        "dialect": "openinference",
        "kind": "rerank",
        "model": "r",
        "query": "How tall?",
        "top_k": 1,
        "documents": [{"id": "b", "content": "B.", "score": 0.9}],
        "inputs": {"documents": [{"content": "A."}, {"id": "b", "content": "B."}]},
    }


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ("Paris", "Paris"),
        ("{'city': 'Paris'}", {"city": "Paris"}),
        ('{"city":"Paris"}', {"city": "Paris"}),
        ('{"kwargs":{"city":"Paris"}}', {"city": "Paris"}),
        ('{"args":[],"kwargs":{"city":"Paris"}}', {"city": "Paris"}),
    ],
)
@pytest.mark.parametrize(
    ("told", "result"),
    [
        ("18 degrees", "18 degrees"),
        ('{"celsius":18}', {"celsius": 18}),
        (
            '{"type":"tool","data":{"content":"18 degrees","type":"tool","name":"get_weather"}}',
            "18 degrees",
        ),
        (
            '{"blocks":[],"tool_name":"get_weather","raw_output":"18 degrees","is_error":false}',
            "18 degrees",
        ),
    ],
)
def test_tools(given: str, arguments: object, told: str, result: object) -> None:
    attributes: Attributes = {
        "openinference.span.kind": "TOOL",
        "tool.name": "get_weather",
        "tool.description": "Weather.",
        "tool.parameters": '{"type":"object"}',
        "input.value": given,
        "output.value": told,
    }
    assert read_facts(attributes) == {
        "dialect": "openinference",
        "kind": "tool",
        "tool": {"name": "get_weather", "description": "Weather."},
        "arguments": arguments,
        "result": result,
        "rest": {"tool.parameters": '{"type":"object"}'},
    }


def test_a_tool_message_tells_the_id_of_its_call() -> None:
    told = {"type": "tool", "data": {"content": "18 degrees", "type": "tool", "tool_call_id": "c1"}}
    attributes: Attributes = {"openinference.span.kind": "TOOL", "output.value": encode(told)}
    assert read_facts(attributes)["tool"] == {"call_id": "c1"}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("CHAIN", "workflow"),
        ("AGENT", "agent"),
        ("GUARDRAIL", "guardrail"),
        ("EVALUATOR", "evaluation"),
        ("PROMPT", "other"),
        ("UNKNOWN", "other"),
    ],
)
def test_runs_of_any_kind_have_an_input_and_an_output(said: str, kind: str) -> None:
    attributes: Attributes = {
        "openinference.span.kind": said,
        "input.value": '{"messages":[{"role":"user","content":"Why?"}]}',
        "output.value": "So.",
        f"{IN}.0.message.role": "user",
    }
    assert read_facts(attributes) == {
        "dialect": "openinference",
        "kind": kind,
        "input": {"messages": [{"role": "user", "content": "Why?"}]},
        "output": "So.",
    }


def test_a_prompt_with_its_template() -> None:
    attributes: Attributes = {
        "openinference.span.kind": "PROMPT",
        "llm.prompt_template.template": "Answer: {q}",
        "llm.prompt_template.variables": '{"q":"Why?"}',
        "llm.prompt_template.version": "v2",
    }
    assert read_facts(attributes)["inputs"] == {
        "prompt_template": "Answer: {q}",
        "prompt_variables": {"q": "Why?"},
        "prompt_version": "v2",
    }


def test_the_sum_on_a_crew_counts_only_where_no_model_call_is_told() -> None:
    crew: Attributes = {
        "openinference.span.kind": "CHAIN",
        "llm.token_count.prompt": 154,
        "llm.token_count.completion": 31,
        "llm.token_count.total": 185,
    }
    agent: Attributes = {"openinference.span.kind": "AGENT", "graph.node.id": "Weather reporter"}
    model = llm(asked(QUESTION), llm__token_count__prompt=154, llm__token_count__completion=31)
    alone: Any = calls_of(make_trace(make_span(1, crew), make_span(2, agent, parent=1)))
    assert alone[1]["summary"]["usage"]["unknown"]["input_tokens"] == 154
    both: Any = calls_of(
        make_trace(make_span(1, crew), make_span(2, agent, parent=1), make_span(3, model, parent=2))
    )
    assert [n for n in both if "usage" in both[n]["summary"]] == [3]
    assert both[1]["attributes"]["reported_usage"] == {
        "input_tokens": 154,
        "output_tokens": 31,
        "total_tokens": 185,
    }


def test_an_error_with_its_exception() -> None:
    exception = Event(
        START_NS,
        "exception",
        {"exception.type": "openai.RateLimitError", "exception.message": "Rate limit reached"},
    )
    span = make_span(1, llm(asked(QUESTION)), events=[exception], status=STATUS_ERROR, message="Error 429")
    call = calls_of(make_trace(span))[1]
    assert call["exception"] == '{"type":"openai.RateLimitError","message":"Rate limit reached"}'


def test_what_is_unknown_stays_as_it_came_and_the_cost_is_known() -> None:
    more: Attributes = {"graph.node.id": "n", "llm.something.new": [1]}
    facts = read_facts(llm(more | {"llm.cost.total": 0.5}))
    assert facts["rest"] == more
    assert facts["provider_cost_usd"] == 0.5


@pytest.mark.parametrize(
    ("key", "value", "warning"),
    [
        ("openinference.span.kind", "ROBOT", "unknown_word:openinference.span.kind"),
        ("llm.token_count.prompt", "many", "undecodable:llm.token_count.prompt"),
        ("metadata", "[1", "undecodable:metadata"),
    ],
)
def test_what_cannot_be_read_is_a_warning(key: str, value: str, warning: str) -> None:
    facts = read_facts({"llm.model_name": "m", key: value})
    assert facts["warnings"] == [warning]
    assert facts["rest"][key] == value
