"""OpenLLMetry, as it was and as it is: kinds by its own words, numbered messages, inputs unwrapped."""

from __future__ import annotations

from typing import Any

import pytest
from inline_snapshot import snapshot

from otel_wandb.records import Attributes, Event, Value
from tests.genai_spans import MS, START_NS, calls_of, encode, make_span, make_trace, read_facts, text_message

PROPERTY = "traceloop.association.properties"


def entity(kind: str, given: object = None, told: object = None, **more: Value) -> Attributes:
    attributes: Attributes = {"traceloop.span.kind": kind}
    if given is not None:
        attributes["traceloop.entity.input"] = encode(given)
    if told is not None:
        attributes["traceloop.entity.output"] = encode(told)
    return attributes | {name.replace("__", "."): value for name, value in more.items()}


def handled(**given: object) -> dict[str, object]:
    """An input as LangChain's callback handler wraps it."""
    return {**given, "tags": ["seq:step:1", "nightly"], "metadata": {"a": 1}, "kwargs": {"name": "n"}}


def lc(kind: str, **told: object) -> dict[str, object]:
    path = ["langchain", "schema", "messages", kind]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": told}


def test_a_chat_of_version_0_40() -> None:
    attributes: Attributes = {
        "llm.request.type": "chat",
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.2,
        "llm.frequency_penalty": 0.5,
        "llm.presence_penalty": 0.25,
        "llm.top_k": 40,
        "llm.chat.stop_sequences": ["END"],
        "llm.is_streaming": False,
        "llm.headers": "None",
        "llm.user": "user-7",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Be brief.",
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": encode(
            [
                {"type": "text", "text": "Why?"},
                {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}},
            ]
        ),
        "gen_ai.prompt.2.role": "assistant",
        "gen_ai.prompt.2.tool_calls.0.id": "c1",
        "gen_ai.prompt.2.tool_calls.0.name": "get_weather",
        "gen_ai.prompt.2.tool_calls.0.arguments": '{"city":"Paris"}',
        "gen_ai.prompt.3.role": "tool",
        "gen_ai.prompt.3.tool_call_id": "c1",
        "gen_ai.prompt.3.content": "18 degrees",
        "llm.request.functions.0.name": "get_weather",
        "llm.request.functions.0.description": "Weather.",
        "llm.request.functions.0.parameters": '{"type":"object"}',
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "So.",
        "gen_ai.completion.0.finish_reason": "stop",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.prompt_tokens": 25,
        "gen_ai.usage.completion_tokens": 12,
        "llm.usage.total_tokens": 37,
        "gen_ai.usage.cache_read_input_tokens": 16,
    }
    assert read_facts(attributes) == snapshot(
        {
            "dialect": "openllmetry",
            "kind": "chat",
            "model": "gpt-4o-mini",
            "response_model": "gpt-4o-mini-2024-07-18",
            "provider": "openai",
            "params": {
                "max_tokens": 100,
                "temperature": 0.2,
                "frequency_penalty": 0.5,
                "presence_penalty": 0.25,
                "top_k": 40,
                "stop": ["END"],
                "stream": False,
            },
            "response_id": "chatcmpl-1",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Why?"},
                        {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                        }
                    ],
                },
                {"role": "tool", "content": "18 degrees", "tool_call_id": "c1"},
            ],
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "get_weather",
                        "description": "Weather.",
                        "parameters": {"type": "object"},
                    },
                }
            ],
            "usage": {
                "input_tokens": 25,
                "output_tokens": 12,
                "total_tokens": 37,
                "cache_read_input_tokens": 16,
            },
            "user_id": "user-7",
        }
    )


def test_a_chat_of_version_0_62() -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.is_streaming": True,
        "gen_ai.request.max_completion_tokens": 50,
        "gen_ai.request.reasoning_effort": "low",
        "gen_ai.input.messages": encode([text_message("user", "Why?")]),
        "gen_ai.output.messages": encode([text_message("assistant", "So.", finish_reason="stop")]),
        "gen_ai.usage.input_tokens": 25,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.total_tokens": 37,
        "gen_ai.usage.cache_read.input_tokens": 16,
        "gen_ai.usage.reasoning_tokens": 4,
        "traceloop.workflow.name": "qa",
        f"{PROPERTY}.session_id": "session-42",
        f"{PROPERTY}.user_id": "user-7",
        f"{PROPERTY}.chat_id": "c-1",
        f"{PROPERTY}.lc_versions": '{"langchain":"1.0"}',
    }
    assert read_facts(attributes) == {
        "dialect": "openllmetry",
        "kind": "chat",
        "operation": "chat",
        "model": "gpt-4o-mini",
        "provider": "openai",
        "params": {"stream": True, "max_tokens": 50, "reasoning_effort": "low"},
        "messages": [{"role": "user", "content": "Why?"}],
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}
        ],
        "usage": {
            "input_tokens": 25,
            "output_tokens": 12,
            "total_tokens": 37,
            "cache_read_input_tokens": 16,
            "reasoning_tokens": 4,
        },
        "workflow": "qa",
        "session_id": "session-42",
        "user_id": "user-7",
        "metadata": {"chat_id": "c-1", "lc_versions": {"langchain": "1.0"}},
    }


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"traceloop.span.kind": "workflow", "gen_ai.operation.name": "invoke_agent"}, "workflow"),
        ({"traceloop.span.kind": "task", "gen_ai.operation.name": "execute_task"}, "workflow"),
        ({"traceloop.span.kind": "agent"}, "agent"),
        ({"traceloop.span.kind": "tool", "gen_ai.operation.name": "execute_tool"}, "tool"),
        ({"traceloop.span.kind": "task", "gen_ai.operation.name": "vector_db_retrieve"}, "retrieval"),
        ({"traceloop.span.kind": "task", "gen_ai.operation.name": "chat"}, "chat"),
        ({"traceloop.span.kind": "task", "gen_ai.operation.name": "embeddings"}, "embeddings"),
        ({"traceloop.span.kind": "unknown", "gen_ai.operation.name": "invoke_agent"}, "agent"),
        ({"llm.request.type": "completion"}, "chat"),
        ({"llm.request.type": "embedding"}, "embeddings"),
        ({"llm.request.type": "rerank"}, "rerank"),
        ({"llm.request.type": "unknown"}, None),
    ],
)
def test_the_kind_by_the_key_that_knows(attributes: Attributes, kind: str | None) -> None:
    facts = read_facts(attributes)
    assert facts.get("kind") == kind
    assert "warnings" not in facts


def test_a_chain_of_langchain_without_its_wrapping() -> None:
    attributes = entity(
        "workflow",
        handled(inputs="Why?"),
        {"outputs": "So.", "kwargs": {"tags": []}},
        gen_ai__provider__name="langchain",
        gen_ai__operation__name="invoke_agent",
        gen_ai__task__input=encode(handled(inputs="Why?")),
        gen_ai__task__status="success",
        traceloop__entity__path="",
        traceloop__workflow__name="qa",
    )
    assert read_facts(attributes) == {
        "dialect": "openllmetry",
        "kind": "workflow",
        "operation": "invoke_agent",
        "workflow": "qa",
        "input": "Why?",
        "output": "So.",
        "tags": ["nightly"],
        "rest": {"gen_ai.task.status": "success"},
    }


def test_a_retriever_of_langchain() -> None:
    found = [{"page_content": "330 metres.", "metadata": {"source": "a.md"}}, {"page_content": "A museum."}]
    attributes = entity(
        "task",
        handled(query="How tall?"),
        {"documents": found, "count": 2},
        gen_ai__operation__name="vector_db_retrieve",
        gen_ai__provider__name="langchain",
    )
    facts = read_facts(attributes)
    assert (facts["query"], "input" in facts, "output" in facts) == ("How tall?", False, False)
    assert facts["documents"] == [
        {"content": "330 metres.", "metadata": {"source": "a.md"}},
        {"content": "A museum."},
    ]


def test_a_tool_of_langchain() -> None:
    given = handled(input_str="{'city': 'Paris'}", inputs={"city": "Paris"})
    given["kwargs"] = {"color": "green", "tool_call_id": "c1"}
    message = lc("ToolMessage", content="18 degrees", type="tool", tool_call_id="c1", status="success")
    told = {"output": message, "kwargs": {"name": "get_weather"}}
    attributes = entity(
        "tool",
        given,
        told,
        gen_ai__operation__name="execute_tool",
        gen_ai__tool__name="get_weather",
        gen_ai__tool__call__arguments=encode(given),
        gen_ai__tool__call__result=encode(told),
    )
    assert read_facts(attributes) == {
        "dialect": "openllmetry",
        "kind": "tool",
        "operation": "execute_tool",
        "tool": {"call_id": "c1", "name": "get_weather"},
        "arguments": {"city": "Paris"},
        "result": "18 degrees",
        "tags": ["nightly"],
        "rest": {"traceloop.span.kind": "tool"},
    }


def test_a_tool_of_langchain_that_was_given_only_a_string() -> None:
    given = handled(input_str="{'city': 'Paris'}", inputs=None)
    assert read_facts(entity("tool", given))["arguments"] == {"city": "Paris"}


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"args": [], "kwargs": {"city": "Paris"}}, {"city": "Paris"}),
        ({"args": ["Paris"], "kwargs": {}}, "Paris"),
        ({"args": ["Paris"], "kwargs": {"unit": "C"}}, {"args": ["Paris"], "kwargs": {"unit": "C"}}),
    ],
)
def test_decorators(given: object, arguments: object) -> None:
    attributes = entity("tool", given, "18 degrees", traceloop__entity__name="get_weather")
    facts = read_facts(attributes)
    assert (facts["arguments"], facts["result"]) == (arguments, "18 degrees")
    assert facts["tool"] == {"name": "get_weather"}
    run = read_facts(entity("workflow", given, {"answer": "So."}))
    assert (run["input"], run["output"]) == (arguments, {"answer": "So."})


def test_an_agent_by_decorator_has_a_name() -> None:
    assert read_facts(entity("agent", traceloop__entity__name="planner"))["agent"] == {"name": "planner"}


def test_a_retriever_of_llama_index_is_told_by_its_nodes() -> None:
    nodes = [
        {"node": {"id_": "n1", "text": "330 metres.", "metadata": {"source": "a.md"}}, "score": 0.5},
        {"node": {"id_": "n2", "text": "A museum."}, "score": 0.25},
    ]
    facts = read_facts(entity("task", {"str_or_query_bundle": "How tall?"}, nodes))
    assert (facts["kind"], facts["query"]) == ("retrieval", "How tall?")
    assert facts["documents"] == [
        {"id": "n1", "content": "330 metres.", "score": 0.5, "metadata": {"source": "a.md"}},
        {"id": "n2", "content": "A museum.", "score": 0.25},
    ]
    postprocessor = read_facts(entity("task", {"nodes": nodes, "query_str": "How tall?"}, nodes))
    assert postprocessor["kind"] == "workflow"


def test_a_model_call_of_llama_index_is_a_task_with_messages() -> None:
    attributes = entity(
        "task",
        {"messages": [{"role": "user", "content": "Why?"}]},
        {"message": {"role": "assistant"}},
        gen_ai__operation__name="chat",
        gen_ai__request__model="m",
        gen_ai__input__messages=encode([text_message("user", "Why?")]),
        gen_ai__output__messages=encode([text_message("assistant", "So.")]),
        gen_ai__usage__input_tokens=25,
    )
    facts = read_facts(attributes)
    assert (facts["kind"], facts["messages"]) == ("chat", [{"role": "user", "content": "Why?"}])
    assert "input" not in facts
    assert "output" not in facts


@pytest.mark.parametrize(
    "attributes",
    [
        {"llm.request.type": "embedding", "gen_ai.prompt.0.content": "one", "gen_ai.prompt.1.content": "two"},
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.is_streaming": False,
            "gen_ai.input.messages": encode([text_message("user", "one"), text_message("user", "two")]),
        },
    ],
)
def test_embedded_texts_come_as_messages(attributes: Attributes) -> None:
    call: Any = calls_of(make_trace(make_span(1, attributes)))[1]
    assert call["attributes"]["kind"] == "embeddings"
    assert call["inputs"]["input"] == ["one", "two"]


def test_text_completions() -> None:
    attributes: Attributes = {
        "llm.request.type": "completion",
        "gen_ai.prompt.0.user": "Capital of France?",
        "gen_ai.completion.0.content": " Paris.",
        "gen_ai.completion.0.finish_reason": "length",
    }
    facts = read_facts(attributes)
    assert facts["messages"] == [{"role": "user", "content": "Capital of France?"}]
    assert facts["choices"] == [
        {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": " Paris."}}
    ]


def test_langchain_0_40_encodes_no_content_and_names_unknown_models() -> None:
    attributes: Attributes = {
        "llm.request.type": "chat",
        "gen_ai.system": "Langchain",
        "gen_ai.request.model": "unknown",
        "gen_ai.response.model": "unknown",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": '""',
        "gen_ai.completion.0.tool_calls.0.name": "get_weather",
        "gen_ai.completion.0.tool_calls.0.arguments": "{}",
        f"{PROPERTY}.ls_provider": "anthropic",
        f"{PROPERTY}.ls_model_name": "claude",
    }
    facts = read_facts(attributes)
    assert facts["choices"][0]["message"]["content"] is None
    assert (facts["model"], facts["provider"]) == ("claude", "anthropic")
    assert "response_model" not in facts


@pytest.mark.parametrize(
    ("said", "provider"),
    [
        ("OpenAI", "openai"),
        ("Anthropic", "anthropic"),
        ("AWS", "aws.bedrock"),
        ("Google", "gcp.gen_ai"),
        ("langgraph", None),
        ("Langchain", None),
    ],
)
def test_providers_of_old_spellings_and_frameworks_that_are_none(said: str, provider: str | None) -> None:
    assert read_facts({"gen_ai.system": said, "llm.request.type": "chat"}).get("provider") == provider


def test_between_numbered_prompts_other_names_are_passed_over() -> None:
    attributes: Attributes = {
        "llm.request.type": "chat",
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "Why?",
        "gen_ai.prompt.10.content": "Because?",
        "gen_ai.prompt.prompt_filter_results": "[]",
    }
    assert read_facts(attributes)["messages"] == [
        {"role": "user", "content": "Why?"},
        {"role": "user", "content": "Because?"},
    ]


def test_a_user_who_writes_json_is_quoted() -> None:
    attributes: Attributes = {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": '[{"type":"cat"}]'}
    assert read_facts(attributes)["messages"] == [{"role": "user", "content": '[{"type":"cat"}]'}]


def test_of_the_chunks_of_a_stream_the_first_is_kept() -> None:
    chunks = [Event(START_NS + n * MS, "llm.content.completion.chunk") for n in range(3)]
    facts = read_facts({"llm.request.type": "chat"}, events=chunks)
    assert facts["events"] == [
        {"name": "llm.content.completion.chunk", "time": "2026-01-01T00:00:00.000000Z"}
    ]


def test_a_rag_chain_reads_as_one_trace() -> None:
    found = {"documents": [{"page_content": "330 metres."}], "count": 1}
    model: Attributes = {
        "llm.request.type": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "How tall?",
        "gen_ai.completion.0.content": "330 metres.",
        "gen_ai.usage.prompt_tokens": 142,
        "gen_ai.usage.completion_tokens": 21,
    }
    calls: Any = calls_of(
        make_trace(
            make_span(
                1, entity("workflow", handled(inputs="How tall?"), {"outputs": "330 metres.", "kwargs": {}})
            ),
            make_span(
                2,
                entity(
                    "task", handled(query="How tall?"), found, gen_ai__operation__name="vector_db_retrieve"
                ),
                parent=1,
            ),
            make_span(3, model, parent=1, start_ms=5),
        )
    )
    assert {n: call["attributes"]["kind"] for n, call in calls.items()} == {
        1: "workflow",
        2: "retrieval",
        3: "chat",
    }
    assert calls[1]["inputs"] == {"input": "How tall?"}
    assert calls[1]["output"] == {"output": "330 metres."}
    assert calls[2]["output"] == {"documents": [{"content": "330 metres."}]}
    assert [n for n in calls if "usage" in calls[n]["summary"]] == [3]


def test_llama_index_has_its_nodes_as_text_and_its_query_in_a_bundle() -> None:
    nodes = [encode({"node": {"id_": "n1", "text": "330 metres.", "metadata": {}}, "score": 0.5})]
    facts = read_facts(entity("task", {"query_bundle": {"query_str": "How tall?"}}, nodes))
    assert (facts["kind"], facts["query"]) == ("retrieval", "How tall?")
    assert facts["documents"] == [{"id": "n1", "content": "330 metres.", "score": 0.5}]


@pytest.mark.parametrize(
    ("given", "texts", "made", "count"),
    [
        ({"query": "How tall?"}, ["How tall?"], [0.5, 0.25], 1),
        ({"texts": ["one", "two"]}, ["one", "two"], [[0.5, 0.25], [0.25, 0.5]], 2),
    ],
)
def test_llama_index_embeds_in_tasks_without_an_operation(
    given: object, texts: list[str], made: object, count: int
) -> None:
    told = entity("task", given, made) | {"traceloop.entity.name": "OpenAIEmbedding.task"}
    facts = read_facts(told)
    assert (facts["kind"], facts["texts"]) == ("embeddings", texts)
    assert (facts["embedding_count"], facts["dimensions"]) == (count, 2)
    assert "output" not in facts
    assert read_facts(entity("task", given, made))["kind"] == "workflow", "vectors alone tell nothing"


@pytest.mark.parametrize("is_error", [False, True])
def test_llama_index_calls_tools_in_tasks(is_error: bool) -> None:
    made = {
        "blocks": [{"block_type": "text", "text": "18 degrees"}],
        "tool_name": "get_weather",
        "raw_input": {"args": [], "kwargs": {"city": "Paris"}},
        "raw_output": "18 degrees",
        "is_error": is_error,
    }
    facts = read_facts(entity("task", {"kwargs": {"city": "Paris"}}, made))
    assert (facts["kind"], facts["tool"]) == ("tool", {"name": "get_weather"})
    assert facts["arguments"] == {"city": "Paris"}
    assert facts["result"] == (made if is_error else "18 degrees")
    assert not facts.keys() & {"input", "output"}
