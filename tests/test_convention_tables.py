"""Where each producer keeps each fact: row by row, the keys by which the spans of many are read."""

from __future__ import annotations

from typing import Any, Final

import pytest

from otel_wandb.records import Attributes, Event
from tests.dialect_spans import event, read_from
from tests.genai_spans import encode, text_message

OI: Final = "openinference.instrumentation.x"
LOOP: Final = "opentelemetry.instrumentation.x"
USER: Final = [{"role": "user", "content": "Weather?"}]
ASKED: Final = encode([text_message("user", "Weather?")])
ANSWERED: Final = encode([text_message("assistant", "18.")])
SAID: Final = [{"index": 0, "message": {"role": "assistant", "content": "18."}}]
TOOL: Final = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
TOKENS: Final = {"input_tokens": 25, "output_tokens": 12}
CHAT: Final[Attributes] = {"gen_ai.operation.name": "chat"}
LLM: Final[Attributes] = {"openinference.span.kind": "LLM"}
CALLED: Final = [
    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
]


def value_at(facts: Any, path: str) -> Any:
    for part in path.split("."):
        facts = facts[int(part)] if part.isdigit() else facts.get(part)
        if facts is None:
            return None
    return facts


def rows(told: dict[str, list[tuple[Attributes, str, object]]]) -> list[Any]:
    return [
        pytest.param(scope, attributes, path, value, id=f"{scope}-{next(reversed(attributes))}-{path}")
        for scope, facts in told.items()
        for attributes, path, value in facts
    ]


# -- which key tells the kind ------------------------------------------------------------------------------

OPERATIONS: Final = {
    **dict.fromkeys(("chat", "generate_content", "text_completion"), "chat"),
    "embeddings": "embeddings",
    "retrieval": "retrieval",
    "execute_tool": "tool",
    **dict.fromkeys(("invoke_agent", "create_agent", "plan"), "agent"),
    "invoke_workflow": "workflow",
    "search_memory": "retrieval",
    **dict.fromkeys(
        ("create_memory_store", "create_memory", "update_memory", "upsert_memory", "delete_memory"), "other"
    ),
    "delete_memory_store": "other",
    "rerank": "rerank",
}
KINDS: Final[dict[str, tuple[str, dict[str, str | None]]]] = {
    "opentelemetry.instrumentation.genai": ("gen_ai.operation.name", OPERATIONS),  # type: ignore[dict-item]  # of words
    OI: (
        "openinference.span.kind",
        {
            "LLM": "chat",
            "EMBEDDING": "embeddings",
            "CHAIN": "workflow",
            "RETRIEVER": "retrieval",
            "RERANKER": "rerank",
            "TOOL": "tool",
            "AGENT": "agent",
            "GUARDRAIL": "guardrail",
            "EVALUATOR": "evaluation",
            "PROMPT": "other",
        },
    ),
    LOOP: (
        "traceloop.span.kind",
        {"workflow": "workflow", "task": "workflow", "agent": "agent", "tool": "tool"},
    ),
    "opentelemetry.instrumentation.openai.v1": (
        "llm.request.type",
        {"chat": "chat", "completion": "chat", "embedding": "embeddings", "rerank": "rerank"},
    ),
    "opentelemetry.instrumentation.langchain": (
        "gen_ai.operation.name",
        {"vector_db_retrieve": "retrieval", "execute_tool": "tool", "create_agent": "agent"},
    ),
    "ai": (
        "ai.operationId",
        {
            **dict.fromkeys(
                ("ai.generateText", "ai.streamText", "ai.generateObject", "ai.streamObject"), "agent"
            ),
            **dict.fromkeys(("ai.generateText.doGenerate", "ai.streamText.doStream"), "chat"),
            **dict.fromkeys(("ai.generateObject.doGenerate", "ai.streamObject.doStream"), "chat"),
            **dict.fromkeys(
                ("ai.embed", "ai.embed.doEmbed", "ai.embedMany", "ai.embedMany.doEmbed"), "embeddings"
            ),
            "ai.toolCall": "tool",
        },
    ),
    "gen_ai": (
        "gen_ai.operation.name",
        {
            "chat": "chat",
            "execute_tool": "tool",
            "embeddings": "embeddings",
            "rerank": "rerank",
            "invoke_agent": "agent",
            "agent_step": "workflow",
        },
    ),
    "mlflow": (
        "mlflow.spanType",
        {
            **dict.fromkeys(('"LLM"', '"CHAT_MODEL"'), "chat"),
            '"EMBEDDING"': "embeddings",
            '"RETRIEVER"': "retrieval",
            '"RERANKER"': "rerank",
            '"TOOL"': "tool",
            '"AGENT"': "agent",
            **dict.fromkeys(('"CHAIN"', '"WORKFLOW"', '"TASK"'), "workflow"),
            '"PARSER"': "other",
            '"GUARDRAIL"': "guardrail",
            '"EVALUATOR"': "evaluation",
            '"UNKNOWN"': None,
        },
    ),
    "langsmith": (
        "langsmith.span.kind",
        {
            "llm": "chat",
            "chain": "workflow",
            "tool": "tool",
            "retriever": "retrieval",
            "prompt": "other",
            "parser": "other",
            "embedding": "embeddings",
        },
    ),
    "langfuse-sdk": (
        "langfuse.observation.type",
        {
            "span": None,
            "event": None,
            "generation": "chat",
            "embedding": "embeddings",
            "tool": "tool",
            "retriever": "retrieval",
            "agent": "agent",
            "chain": "workflow",
            "evaluator": "evaluation",
            "guardrail": "guardrail",
        },
    ),
    "openlit.instrumentation.x": (
        "gen_ai.operation.name",
        {
            "chat": "chat",
            "embeddings": "embeddings",
            "retrieval": "retrieval",
            "vectordb": "retrieval",
            "invoke_workflow": "workflow",
        },
    ),
    "strands.telemetry.tracer": (
        "gen_ai.operation.name",
        {
            "chat": "chat",
            "execute_tool": "tool",
            "invoke_agent": "agent",
            "execute_event_loop_cycle": "workflow",
        },
    ),
    "litellm": (
        "llm.request.type",
        {
            **dict.fromkeys(
                ("completion", "acompletion", "text_completion", "responses", "aresponses"), "chat"
            ),
            **dict.fromkeys(("embedding", "aembedding"), "embeddings"),
            **dict.fromkeys(("rerank", "arerank"), "rerank"),
        },
    ),
    "haystack": (
        "haystack.component.type",
        {
            "OpenAIChatGenerator": "chat",
            "OpenAITextEmbedder": "embeddings",
            "InMemoryEmbeddingRetriever": "retrieval",
            "TransformersSimilarityRanker": "rerank",
            "ToolInvoker": "tool",
            "Agent": "agent",
        },
    ),
}


@pytest.mark.parametrize(
    ("scope", "key", "word", "kind"),
    [(scope, key, word, kind) for scope, (key, words) in KINDS.items() for word, kind in words.items()],
)
def test_the_key_that_tells_the_kind(scope: str, key: str, word: str, kind: str | None) -> None:
    facts = read_from(scope, {key: word})
    assert facts.get("kind") == kind
    assert "warnings" not in facts


@pytest.mark.parametrize(
    ("scope", "name", "kind"),
    [
        ("haystack", "haystack.pipeline.run", "workflow"),
        ("llamaindex.opentelemetry.tracer", "VectorIndexRetriever.retrieve", "retrieval"),
        ("llamaindex.opentelemetry.tracer", "FunctionTool.acall", "tool"),
        ("vllm.tracing", "llm_request", "chat"),
        ("gcp.vertex.agent", "call_llm", "chat"),
    ],
)
def test_the_name_that_tells_the_kind(scope: str, name: str, kind: str) -> None:
    assert read_from(scope, name=name)["kind"] == kind


# -- messages, inputs and outputs --------------------------------------------------------------------------

GEMINI: Final = encode(
    {
        "model": "gemini-2.5-flash",
        "config": {"system_instruction": "Be brief."},
        "contents": [{"role": "user", "parts": [{"text": "Weather?"}]}],
    }
)
CONTENT: Final[dict[str, list[tuple[Attributes, str, object]]]] = {
    "opentelemetry.instrumentation.genai.openai": [
        (
            CHAT | {"gen_ai.input.messages": encode([text_message("user", "Weather?", name=None)])},
            "messages",
            USER,
        ),
        (CHAT | {"gen_ai.output.messages": ANSWERED}, "choices", SAID),
        (
            CHAT | {"gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]'},
            "system.0.content",
            "Be brief.",
        ),
        (
            CHAT | {"gen_ai.tool.definitions": encode([{"type": "function", "name": "f"}])},
            "tools.0.type",
            "function",
        ),
    ],
    OI: [
        (
            LLM
            | {
                "llm.input_messages.0.message.role": "tool",
                "llm.input_messages.0.message.tool_call_id": "c1",
                "llm.input_messages.0.message.name": "f",
                "llm.input_messages.0.message.content": "18",
            },
            "messages",
            [{"role": "tool", "content": "18", "tool_call_id": "c1", "name": "f"}],
        ),
        (
            LLM
            | {
                "llm.input_messages.0.message.role": "user",
                "llm.input_messages.0.message.contents.0.message_content.type": "image",
                "llm.input_messages.0.message.contents.0.message_content.image.image.url": "https://x/y.png",
            },
            "messages.0.content.0.image_url.url",
            "https://x/y.png",
        ),
        (
            LLM
            | {
                "llm.output_messages.0.message.role": "assistant",
                "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c1",
                "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "f",
                "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"a":1}',
            },
            "choices.0.message.tool_calls",
            CALLED,
        ),
        (
            LLM
            | {
                "llm.output_messages.0.message.role": "assistant",
                "llm.output_messages.0.message.contents.0.message_content.type": "text",
                "llm.output_messages.0.message.contents.0.message_content.text": "18.",
            },
            "choices",
            SAID,
        ),
        (LLM | {"llm.prompts.0.prompt.text": "Weather?"}, "messages", USER),
        (LLM | {"llm.choices.0.completion.text": "18."}, "choices", SAID),
        ({"openinference.span.kind": "CHAIN", "input.value": '{"q": 1}'}, "input", {"q": 1}),
        ({"openinference.span.kind": "CHAIN", "output.value": "text"}, "output", "text"),
    ],
    LOOP: [
        (
            {
                "llm.request.type": "chat",
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": '[{"type": "text", "text": "Weather?"}]',
            },
            "messages",
            USER,
        ),
        (
            {
                "gen_ai.prompt.0.role": "tool",
                "gen_ai.prompt.0.content": "18",
                "gen_ai.prompt.0.tool_call_id": "c1",
            },
            "messages",
            [{"role": "tool", "content": "18", "tool_call_id": "c1"}],
        ),
        (
            {
                "gen_ai.completion.0.role": "assistant",
                "gen_ai.completion.0.finish_reason": "tool_calls",
                "gen_ai.completion.0.tool_calls.0.id": "c1",
                "gen_ai.completion.0.tool_calls.0.name": "f",
                "gen_ai.completion.0.tool_calls.0.arguments": '{"a":1}',
            },
            "choices.0",
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": None, "tool_calls": CALLED},
            },
        ),
        (
            {
                "llm.request.type": "chat",
                "llm.request.functions.0.name": "f",
                "llm.request.functions.0.parameters": '{"type": "object"}',
            },
            "tools",
            TOOL,
        ),
        (
            {
                "traceloop.span.kind": "task",
                "traceloop.entity.input": encode(
                    {"inputs": {"q": 1}, "tags": [], "metadata": {}, "kwargs": {}}
                ),
            },
            "input",
            {"q": 1},
        ),
        (
            {
                "traceloop.span.kind": "workflow",
                "traceloop.entity.input": encode({"args": ["q"], "kwargs": {}}),
            },
            "input",
            "q",
        ),
        (
            {"traceloop.span.kind": "task", "gen_ai.task.input": '{"inputs": {"q": 1}}'},
            "input",
            {"inputs": {"q": 1}},
        ),
        (
            {
                "traceloop.span.kind": "task",
                "traceloop.entity.output": encode({"outputs": {"a": 1}, "kwargs": {}}),
            },
            "output",
            {"a": 1},
        ),
        ({"traceloop.span.kind": "task", "gen_ai.task.output": '"text"'}, "output", "text"),
    ],
    "ai": [
        (
            {
                "ai.operationId": "ai.generateText",
                "ai.prompt": encode({"system": "Be brief.", "prompt": "Weather?"}),
            },
            "messages",
            USER,
        ),
        (
            {"ai.operationId": "ai.generateText", "ai.prompt": encode({"messages": USER})},
            "messages",
            USER,
        ),
        (
            {
                "ai.operationId": "ai.generateText.doGenerate",
                "ai.prompt.messages": encode(
                    [{"role": "user", "content": [{"type": "text", "text": "Weather?"}]}]
                ),
            },
            "messages",
            USER,
        ),
        (
            {"ai.operationId": "ai.generateText.doGenerate", "ai.prompt.toolChoice": '{"type":"auto"}'},
            "params.tool_choice",
            {"type": "auto"},
        ),
        (
            {"ai.operationId": "ai.generateText", "ai.response.text": "18."},
            "choices.0.message.content",
            "18.",
        ),
        (
            {
                "ai.operationId": "ai.generateText",
                "ai.response.toolCalls": encode(
                    [{"toolCallType": "function", "toolCallId": "c1", "toolName": "f", "args": '{"a":1}'}]
                ),
            },
            "choices.0.message.tool_calls",
            CALLED,
        ),
        (
            {
                "ai.operationId": "ai.generateText",
                "ai.response.toolCalls": encode([{"toolCallId": "c1", "toolName": "f", "input": {"a": 1}}]),
            },
            "choices.0.message.tool_calls",
            CALLED,
        ),
        (
            {"ai.operationId": "ai.generateObject", "ai.response.object": '{"a":1}'},
            "choices.0.message.content",
            '{"a":1}',
        ),
        ({"ai.operationId": "ai.embed", "ai.value": '"text"'}, "texts", ["text"]),
        ({"ai.operationId": "ai.embed", "ai.embedding": "[0.1,0.2]"}, "dimensions", 2),
    ],
    "pydantic-ai": [
        ({"gen_ai.operation.name": "invoke_agent", "final_result": '{"a":1}'}, "output", {"a": 1}),
        (
            {"gen_ai.operation.name": "invoke_agent", "pydantic_ai.all_messages": ASKED},
            "messages",
            USER,
        ),
        (
            {
                "gen_ai.operation.name": "chat",
                "events": encode(
                    [{"event.name": "gen_ai.user.message", "role": "user", "content": "Weather?"}]
                ),
            },
            "messages",
            USER,
        ),
        (
            {
                "agent_name": "geo",
                "all_messages_events": encode(
                    [{"event.name": "gen_ai.user.message", "role": "user", "content": "Weather?"}]
                ),
            },
            "messages",
            USER,
        ),
    ],
    "logfire.openai": [
        ({"request_data": encode({"model": "gpt-4o-mini", "messages": USER})}, "messages", USER),
        (
            {
                "request_data": encode({"model": "gpt-4o-mini", "messages": USER}),
                "response_data": encode({"message": {"role": "assistant", "content": "18."}}),
            },
            "choices",
            SAID,
        ),
    ],
    "langfuse-sdk": [
        (
            {"langfuse.observation.type": "generation", "langfuse.observation.input": encode(USER)},
            "messages",
            USER,
        ),
        (
            {
                "langfuse.observation.type": "chain",
                "langfuse.observation.input": encode({"args": ["q"], "kwargs": {}}),
            },
            "input",
            "q",
        ),
        ({"langfuse.observation.type": "generation", "langfuse.observation.output": "18."}, "choices", SAID),
    ],
    "langsmith": [
        ({"langsmith.span.kind": "llm", "gen_ai.prompt": encode({"messages": USER})}, "messages", USER),
        (
            {
                "langsmith.span.kind": "llm",
                "gen_ai.prompt": encode(
                    {
                        "messages": [
                            [
                                {
                                    "lc": 1,
                                    "id": ["langchain", "HumanMessage"],
                                    "kwargs": {"content": "Weather?"},
                                }
                            ]
                        ]
                    }
                ),
            },
            "messages",
            USER,
        ),
        (
            {
                "langsmith.span.kind": "llm",
                "gen_ai.completion": encode(
                    {"choices": [{"message": {"role": "assistant", "content": "18."}}]}
                ),
            },
            "choices",
            SAID,
        ),
        ({"langsmith.span.kind": "chain", "gen_ai.completion": encode({"output": "18."})}, "output", "18."),
    ],
    "mlflow": [
        (
            {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.spanInputs": encode({"messages": USER})},
            "messages",
            USER,
        ),
        (
            {
                "mlflow.spanType": '"CHAT_MODEL"',
                "mlflow.spanOutputs": encode(
                    {"choices": [{"message": {"role": "assistant", "content": "18."}}]}
                ),
            },
            "choices",
            SAID,
        ),
    ],
    "litellm": [
        (CHAT | {"litellm.call_id": "1", "gen_ai.input.messages": ASKED}, "messages", USER),
        (CHAT | {"litellm.call_id": "1", "gen_ai.output.messages": ANSWERED}, "choices", SAID),
    ],
    "gcp.vertex.agent": [
        ({"gcp.vertex.agent.llm_request": GEMINI}, "messages", USER),
        ({"gcp.vertex.agent.llm_request": GEMINI}, "system.0.content", "Be brief."),
        (
            {
                "gcp.vertex.agent.llm_response": encode(
                    {"content": {"role": "model", "parts": [{"text": "18."}]}}
                )
            },
            "choices.0.message.content",
            "18.",
        ),
    ],
    "semantic_kernel": [
        (
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.output.messages": encode([{"role": "assistant", "content": "18.", "name": "Geo"}]),
            },
            "choices.0.message.content",
            "18.",
        ),
    ],
    "haystack": [
        ({"haystack.component.type": "X", "haystack.component.input": '{"q": 1}'}, "input", {"q": 1}),
        ({"haystack.component.type": "X", "haystack.component.output": '{"a": 1}'}, "output", {"a": 1}),
        ({"haystack.pipeline.input_data": '{"q": 1}'}, "input", {"q": 1}),
        ({"haystack.pipeline.output_data": '{"a": 1}'}, "output", {"a": 1}),
    ],
    "com.anthropic.sdk.python": [
        (CHAT | {"anthropic.message.stop_reason": "end_turn"}, "finish_reasons", ["end_turn"]),
    ],
}


@pytest.mark.parametrize(("scope", "attributes", "path", "expected"), rows(CONTENT))
def test_content(scope: str, attributes: Attributes, path: str, expected: object) -> None:
    facts = read_from(scope, attributes)
    assert value_at(facts, path) == expected
    assert not facts.get("rest", {}).keys() - {"litellm.call_id"}


RAW: Final[Attributes] = {
    "llm.openai.messages": "[{'role': 'user', 'content': 'Weather?'}]",
    "llm.openai.choices": "[{'message': {'role': 'assistant', 'content': '18.', 'refusal': None}}]",
}


def test_litellms_raw_request_in_python_literals() -> None:
    facts = read_from("litellm", RAW, name="raw_gen_ai_request")
    assert (facts["messages"], facts["choices"]) == (USER, SAID)


EVENTS: Final[dict[str, list[tuple[str, Event, str, object]]]] = {
    "strands.telemetry.tracer": [
        ("chat", event("gen_ai.user.message", content='[{"text": "Weather?"}]'), "messages", USER),
        ("chat", event("gen_ai.choice", message='[{"text": "18."}]'), "choices", SAID),
        ("invoke_agent Geo", event("gen_ai.choice", message="18."), "choices", SAID),
        (
            "chat",
            event("gen_ai.client.inference.operation.details", gen_ai__input__messages=ASKED),
            "messages",
            USER,
        ),
    ],
    "openlit.instrumentation.openai": [
        ("chat", event("gen_ai.content.prompt", gen_ai__prompt="Weather?"), "messages", USER),
        ("chat", event("gen_ai.content.completion", gen_ai__completion="18."), "choices", SAID),
    ],
    "llamaindex.opentelemetry.tracer": [
        (
            "OpenAI.chat",
            event("LLMChatStartEvent", messages=encode([{"role": "user", "blocks": [
                {"block_type": "text", "text": "Weather?"}]}])),
            "messages",
            USER,
        ),
        ("OpenAI.chat", event("LLMChatStartEvent", model_dict__model="gpt-4o-mini"), "model", "gpt-4o-mini"),
        (
            "OpenAI.chat",
            event("LLMChatEndEvent", response__raw__id="chatcmpl-1", response__message__role="assistant"),
            "response_id",
            "chatcmpl-1",
        ),
        ("X.retrieve", event("RetrievalStartEvent", str_or_query_bundle="How deep?"), "query", "How deep?"),
        (
            "X.retrieve",
            event("RetrievalEndEvent", nodes=encode([{"node": {"id_": "n1", "text": "x"}, "score": 0.5}])),
            "documents",
            [{"id": "n1", "content": "x", "score": 0.5}],
        ),
        ("E.get", event("EmbeddingEndEvent", chunks='["one"]', embeddings="[[0.1, 0.2]]"), "texts", ["one"]),
        ("E.get", event("EmbeddingEndEvent", chunks='["one"]', embeddings="[[0.1, 0.2]]"), "dimensions", 2),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "name", "moment", "path", "expected"),
    [(scope, *told) for scope, listed in EVENTS.items() for told in listed],
)
def test_content_in_events(scope: str, name: str, moment: Event, path: str, expected: object) -> None:
    operation: Attributes = {} if "." in name else {"gen_ai.operation.name": name.split(" ", maxsplit=1)[0]}
    assert value_at(read_from(scope, operation, name=name, events=[moment]), path) == expected


# -- model, provider, parameters ---------------------------------------------------------------------------

MODELS: Final[dict[str, list[tuple[Attributes, str, object]]]] = {
    "opentelemetry.instrumentation.genai": [
        (CHAT | {"gen_ai.request.model": "m"}, "model", "m"),
        (CHAT | {"gen_ai.response.model": "m"}, "response_model", "m"),
        (CHAT | {"gen_ai.provider.name": "anthropic"}, "provider", "anthropic"),
        (CHAT | {"gen_ai.system": "vertex_ai"}, "provider", "gcp.vertex_ai"),
        (CHAT | {"gen_ai.request.temperature": 0.3}, "params.temperature", 0.3),
        (CHAT | {"gen_ai.request.top_p": 0.9}, "params.top_p", 0.9),
        (CHAT | {"gen_ai.request.top_k": 5}, "params.top_k", 5),
        (CHAT | {"gen_ai.request.max_tokens": 100.0}, "params.max_tokens", 100),
        (CHAT | {"gen_ai.request.frequency_penalty": 0.1}, "params.frequency_penalty", 0.1),
        (CHAT | {"gen_ai.request.presence_penalty": 0.1}, "params.presence_penalty", 0.1),
        (CHAT | {"gen_ai.request.seed": "11"}, "params.seed", 11),
        (CHAT | {"gen_ai.request.stop_sequences": ["\n"]}, "params.stop", ["\n"]),
        (CHAT | {"gen_ai.request.choice.count": 2}, "params.n", 2),
        (CHAT | {"gen_ai.request.stream": True}, "params.stream", True),
        (CHAT | {"gen_ai.request.reasoning.level": "high"}, "params.reasoning_level", "high"),
        (CHAT | {"gen_ai.request.previous_response.id": "r1"}, "params.previous_response_id", "r1"),
        (CHAT | {"gen_ai.output.type": "json"}, "params.output_type", "json"),
    ],
    OI: [
        (LLM | {"llm.model_name": "m"}, "model", "m"),
        (LLM | {"llm.request.model_name": "m"}, "model", "m"),
        (LLM | {"llm.response.model_name": "m"}, "response_model", "m"),
        ({"openinference.span.kind": "EMBEDDING", "embedding.model_name": "e"}, "model", "e"),
        ({"openinference.span.kind": "RERANKER", "reranker.model_name": "r"}, "model", "r"),
        (LLM | {"llm.provider": "openai"}, "provider", "openai"),
        (LLM | {"llm.system": "anthropic"}, "provider", "anthropic"),
        (
            LLM | {"llm.invocation_parameters": '{"temperature": 0.3, "model": "m"}'},
            "params",
            {"temperature": 0.3},
        ),
        (LLM | {"llm.invocation_parameters": '{"temperature": 0.3, "model": "m"}'}, "model", "m"),
    ],
    LOOP: [
        ({"llm.request.type": "chat", "gen_ai.system": "Anthropic"}, "provider", "anthropic"),
        ({"llm.request.type": "chat", "llm.top_k": 5}, "params.top_k", 5),
        ({"llm.request.type": "chat", "llm.frequency_penalty": 0.1}, "params.frequency_penalty", 0.1),
        ({"llm.request.type": "chat", "llm.presence_penalty": 0.1}, "params.presence_penalty", 0.1),
        ({"llm.request.type": "chat", "llm.chat.stop_sequences": ["\n"]}, "params.stop", ["\n"]),
        ({"llm.request.type": "chat", "llm.is_streaming": True}, "params.stream", True),
        ({"llm.request.type": "chat", "gen_ai.is_streaming": False}, "params.stream", False),
    ],
    "ai": [
        ({"ai.operationId": "ai.embed", "ai.model.id": "m"}, "model", "m"),
        ({"ai.operationId": "ai.generateText.doGenerate", "ai.response.model": "m"}, "response_model", "m"),
        ({"ai.operationId": "ai.generateText.doGenerate", "ai.response.id": "r"}, "response_id", "r"),
        (
            {"ai.operationId": "ai.generateText.doGenerate", "ai.model.provider": "openai.chat"},
            "provider",
            "openai",
        ),
        ({"ai.operationId": "ai.generateText", "ai.settings.maxTokens": 100}, "params.max_tokens", 100),
        ({"ai.operationId": "ai.generateText", "ai.settings.maxOutputTokens": 100}, "params.max_tokens", 100),
        ({"ai.operationId": "ai.generateText", "ai.settings.temperature": 0.3}, "params.temperature", 0.3),
        ({"ai.operationId": "ai.generateText", "ai.settings.topP": 0.9}, "params.top_p", 0.9),
        ({"ai.operationId": "ai.generateText", "ai.settings.seed": 11}, "params.seed", 11),
        ({"ai.operationId": "ai.generateText", "ai.finishReason": "stop"}, "finish_reasons", ["stop"]),
    ],
    "langfuse-sdk": [
        ({"langfuse.observation.type": "embedding", "langfuse.observation.model.name": "m"}, "model", "m"),
        (
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.model.parameters": '{"temperature": 0.3, "max_tokens": "Infinity"}',
            },
            "params",
            {"temperature": 0.3},
        ),
    ],
    "langsmith": [
        ({"langsmith.span.kind": "llm", "langsmith.metadata.ls_model_name": "m"}, "model", "m"),
        ({"langsmith.span.kind": "llm", "langsmith.metadata.ls_provider": "openai"}, "provider", "openai"),
        (
            {"langsmith.span.kind": "llm", "langsmith.metadata.ls_temperature": "0.3"},
            "params.temperature",
            0.3,
        ),
    ],
    "mlflow": [
        ({"mlflow.spanType": '"LLM"', "mlflow.llm.model": '"m"'}, "response_model", "m"),
        ({"mlflow.spanType": '"LLM"', "model": '"m"'}, "model", "m"),
        ({"mlflow.spanType": '"LLM"', "mlflow.llm.provider": '"openai"'}, "provider", "openai"),
        ({"mlflow.spanType": '"LLM"', "temperature": "0.3"}, "params.temperature", 0.3),
        ({"mlflow.spanType": '"LLM"', "mlflow.spanInputs": '{"seed": 11}'}, "params.seed", 11),
    ],
    "litellm": [
        ({"litellm.provider.model": "openai/gpt-4o-mini"}, "provider", "openai"),
        (CHAT | {"litellm.call_id": "1", "gen_ai.request.model": "m"}, "model", "m"),
    ],
    "azure.ai.inference": [
        (
            CHAT
            | {
                "azure.resource_provider.namespace": "Microsoft.CognitiveServices",
                "gen_ai.system": "az.ai.inference",
            },
            "provider",
            "azure.ai.inference",
        ),
        (CHAT | {"gen_ai.provider.name": "azure.ai.inference"}, "provider", "azure.ai.inference"),
    ],
    "vllm.tracing": [
        ({"gen_ai.usage.num_sequences": 1, "gen_ai.response.model": "m"}, "response_model", "m"),
        ({"gen_ai.usage.num_sequences": 1, "gen_ai.request.n": 2}, "params.n", 2),
        ({"gen_ai.usage.num_sequences": 1, "gen_ai.request.max_tokens": 9}, "params.max_tokens", 9),
        ({"gen_ai.usage.num_sequences": 1, "gen_ai.request.temperature": 0.3}, "params.temperature", 0.3),
        ({"gen_ai.usage.num_sequences": 1, "gen_ai.request.top_p": 0.9}, "params.top_p", 0.9),
        ({"gen_ai.usage.num_sequences": 1, "gen_ai.request.id": "r1"}, "metadata.request_id", "r1"),
        (
            {"gen_ai.usage.num_sequences": 1, "gen_ai.response.finish_reasons": ["stop"]},
            "finish_reasons",
            ["stop"],
        ),
    ],
}


@pytest.mark.parametrize(("scope", "attributes", "path", "expected"), rows(MODELS))
def test_models_providers_and_parameters(
    scope: str, attributes: Attributes, path: str, expected: object
) -> None:
    assert value_at(read_from(scope, attributes, name="llm_request"), path) == expected


# -- usage and cost ----------------------------------------------------------------------------------------

USAGE: Final[dict[str, list[tuple[Attributes, str, object]]]] = {
    "opentelemetry.instrumentation.genai": [
        (CHAT | {"gen_ai.usage.input_tokens": 25}, "usage.input_tokens", 25),
        (CHAT | {"gen_ai.usage.output_tokens": 12}, "usage.output_tokens", 12),
        (CHAT | {"gen_ai.usage.prompt_tokens": 25}, "usage.input_tokens", 25),
        (CHAT | {"gen_ai.usage.completion_tokens": 12}, "usage.output_tokens", 12),
        (CHAT | {"gen_ai.usage.total_tokens": 37}, "usage.total_tokens", 37),
        *(
            (CHAT | {f"gen_ai.usage.{key}": 16}, "usage.cache_read_input_tokens", 16)
            for key in (
                *(
                    "cache_read.input_tokens",
                    "cache_read_input_tokens",
                    "prompt_tokens_details.cached_tokens",
                ),
                *("input_tokens_details.cached_tokens", "cached_tokens", "details.cache_read_tokens"),
            )
        ),
        *(
            (CHAT | {f"gen_ai.usage.{key}": 10}, "usage.cache_creation_input_tokens", 10)
            for key in (
                *("cache_write.input_tokens", "cache_creation.input_tokens", "cache_creation_input_tokens"),
                "cache_write_input_tokens",
            )
        ),
        *(
            (CHAT | {f"gen_ai.usage.{key}": 4}, "usage.reasoning_tokens", 4)
            for key in (
                *("reasoning.output_tokens", "reasoning_tokens", "details.reasoning_tokens"),
                "experimental.reasoning_tokens",
            )
        ),
        (CHAT | {"gen_ai.usage.audio.input_tokens": 3}, "usage.audio_input_tokens", 3),
        (CHAT | {"gen_ai.usage.image.output_tokens": 3}, "usage.image_output_tokens", 3),
        (CHAT | {"gen_ai.usage.text.cache_read.input_tokens": 3}, "usage.text_cache_read_input_tokens", 3),
    ],
    OI: [
        (LLM | {"llm.token_count.prompt": 25}, "usage.input_tokens", 25),
        (LLM | {"llm.token_count.completion": 12}, "usage.output_tokens", 12),
        (LLM | {"llm.token_count.total": 37}, "usage.total_tokens", 37),
        (LLM | {"llm.token_count.prompt_details.cache_read": 16}, "usage.cache_read_input_tokens", 16),
        (LLM | {"llm.token_count.prompt_details.cache_write": 10}, "usage.cache_creation_input_tokens", 10),
        (LLM | {"llm.token_count.prompt_details.audio": 3}, "usage.audio_input_tokens", 3),
        (LLM | {"llm.token_count.completion_details.reasoning": 4}, "usage.reasoning_tokens", 4),
        (LLM | {"llm.token_count.completion_details.audio": 3}, "usage.audio_output_tokens", 3),
        (LLM | {"llm.cost.total": 0.5}, "provider_cost_usd", 0.5),
    ],
    LOOP: [
        ({"llm.request.type": "chat", "gen_ai.usage.prompt_tokens": 25}, "usage.input_tokens", 25),
        ({"llm.request.type": "chat", "llm.usage.total_tokens": 37}, "usage.total_tokens", 37),
        ({"llm.request.type": "chat", "gen_ai.usage.reasoning_tokens": 4}, "usage.reasoning_tokens", 4),
        (
            {"llm.request.type": "chat", "gen_ai.usage.cache_read_input_tokens": 16},
            "usage.cache_read_input_tokens",
            16,
        ),
    ],
    "ai": [
        ({"ai.operationId": "ai.generateText", f"ai.usage.{key}": 7}, f"usage.{name}", 7)
        for key, name in {
            "promptTokens": "input_tokens",
            "completionTokens": "output_tokens",
            "inputTokens": "input_tokens",
            "outputTokens": "output_tokens",
            "totalTokens": "total_tokens",
            "tokens": "input_tokens",
            "cachedInputTokens": "cache_read_input_tokens",
            "reasoningTokens": "reasoning_tokens",
            "inputTokenDetails.cacheReadTokens": "cache_read_input_tokens",
            "inputTokenDetails.cacheWriteTokens": "cache_creation_input_tokens",
            "outputTokenDetails.reasoningTokens": "reasoning_tokens",
        }.items()
    ],
    "pydantic-ai": [
        ({"gen_ai.aggregated_usage.input_tokens": 25, "pydantic_ai.x": "1"}, "usage_sum.input_tokens", 25),
        ({"gen_ai.aggregated_usage.details.reasoning_tokens": 4}, "usage_sum.reasoning_tokens", 4),
        (CHAT | {"operation.cost": 0.5}, "provider_cost_usd", 0.5),
    ],
    "logfire.openai": [
        (
            CHAT
            | {
                "gen_ai.usage.raw": encode(
                    {
                        "prompt_tokens": 25,
                        "completion_tokens": 12,
                        "prompt_tokens_details": {"cached_tokens": 16},
                    }
                )
            },
            "usage",
            {**TOKENS, "cache_read_input_tokens": 16},
        ),
    ],
    "langfuse-sdk": [
        (
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.usage_details": encode(
                    {
                        "prompt_tokens": 25,
                        "completion_tokens": 12,
                        "prompt_tokens_details": {"cached_tokens": 16},
                    }
                ),
            },
            "usage",
            {**TOKENS, "cache_read_input_tokens": 16},
        ),
        (
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.cost_details": '{"total": 0.5}',
            },
            "provider_cost_usd",
            0.5,
        ),
    ],
    "langsmith": [
        (
            {
                "langsmith.span.kind": "llm",
                "gen_ai.usage.output_token_details": "{'reasoning': 4, 'audio': 0}",
            },
            "usage.reasoning_tokens",
            4,
        ),
        ({"langsmith.span.kind": "llm", "gen_ai.usage.total_tokens": 37}, "usage.total_tokens", 37),
    ],
    "mlflow": [
        (
            {
                "mlflow.spanType": '"LLM"',
                "mlflow.chat.tokenUsage": encode(
                    {**TOKENS, "total_tokens": 37, "cache_read_input_tokens": 16}
                ),
            },
            "usage",
            {**TOKENS, "total_tokens": 37, "cache_read_input_tokens": 16},
        ),
        ({"mlflow.spanType": '"LLM"', "mlflow.llm.cost": '{"total_cost": 0.5}'}, "provider_cost_usd", 0.5),
    ],
    "openlit.instrumentation.x": [
        (CHAT | {"gen_ai.client.token.usage": 37}, "usage.total_tokens", 37),
        (CHAT | {"gen_ai.usage.cost": 0.5}, "provider_cost_usd", 0.5),
    ],
    "litellm": [
        (
            CHAT
            | {
                "litellm.call_id": "1",
                "metadata.usage_object": "{'prompt_tokens': 25, 'completion_tokens': 12,"
                " 'prompt_tokens_details': {'cached_tokens': 16}}",
            },
            "usage.cache_read_input_tokens",
            16,
        ),
        (CHAT | {"litellm.call_id": "1", "gen_ai.cost.total_cost": 0.5}, "provider_cost_usd", 0.5),
        (
            CHAT | {"litellm.call_id": "1", "hidden_params": '{"response_cost": 0.5}'},
            "provider_cost_usd",
            0.5,
        ),
    ],
    "vllm.tracing": [
        ({"gen_ai.usage.num_sequences": 1, "gen_ai.usage.prompt_tokens": 25}, "usage.input_tokens", 25),
        ({"gen_ai.usage.num_sequences": 1, "gen_ai.usage.completion_tokens": 12}, "usage.output_tokens", 12),
        (
            {"gen_ai.usage.num_sequences": 1, "gen_ai.usage.cached_tokens": 16},
            "usage.cache_read_input_tokens",
            16,
        ),
    ],
}


@pytest.mark.parametrize(("scope", "attributes", "path", "expected"), rows(USAGE))
def test_usage_and_cost(scope: str, attributes: Attributes, path: str, expected: object) -> None:
    assert value_at(read_from(scope, attributes), path) == expected


# -- documents ---------------------------------------------------------------------------------------------

LAKE: Final = {"page_content": "1642 m", "metadata": {"source": "lakes.md"}}
FOUND: Final = {"content": "1642 m", "metadata": {"source": "lakes.md"}}
DOCUMENTS: Final[dict[str, list[tuple[Attributes, str, object]]]] = {
    OI: [
        (
            {
                "openinference.span.kind": "RETRIEVER",
                "input.value": "How deep?",
                "retrieval.documents.0.document.id": "d1",
                "retrieval.documents.0.document.score": 0.5,
                "retrieval.documents.0.document.metadata": '{"source": "lakes.md"}',
                "retrieval.documents.0.document.content": "1642 m",
            },
            "documents",
            [{**FOUND, "id": "d1", "score": 0.5}],
        ),
        ({"openinference.span.kind": "RETRIEVER", "input.value": "How deep?"}, "query", "How deep?"),
        ({"openinference.span.kind": "RERANKER", "reranker.query": "How deep?"}, "query", "How deep?"),
        ({"openinference.span.kind": "RERANKER", "reranker.top_k": 2}, "top_k", 2),
        (
            {"openinference.span.kind": "RERANKER", "reranker.output_documents.0.document.content": "1642 m"},
            "documents",
            [{"content": "1642 m"}],
        ),
        (
            {"openinference.span.kind": "RERANKER", "reranker.input_documents.0.document.content": "1642 m"},
            "inputs.documents",
            [{"content": "1642 m"}],
        ),
    ],
    "opentelemetry.instrumentation.genai.langchain": [
        (
            {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": "How deep?"},
            "query",
            "How deep?",
        ),
        (
            {
                "gen_ai.operation.name": "retrieval",
                "gen_ai.retrieval.documents": '[{"id": "d1", "score": 0.5}]',
            },
            "documents",
            [{"id": "d1", "score": 0.5}],
        ),
        ({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.top_k": 2.0}, "top_k", 2),
        ({"gen_ai.operation.name": "retrieval", "gen_ai.request.top_k": 2.0}, "top_k", 2),
    ],
    LOOP: [
        (
            {
                "gen_ai.operation.name": "vector_db_retrieve",
                "traceloop.entity.input": encode(
                    {"query": "How deep?", "tags": [], "metadata": {}, "kwargs": {}}
                ),
            },
            "query",
            "How deep?",
        ),
        (
            {
                "gen_ai.operation.name": "vector_db_retrieve",
                "traceloop.entity.output": encode({"documents": [LAKE]}),
            },
            "documents",
            [FOUND],
        ),
        (
            {
                "traceloop.span.kind": "task",
                "traceloop.entity.output": encode(
                    {"nodes": [{"node": {"id_": "n1", "text": "1642 m"}, "score": 0.5}]}
                ),
            },
            "documents",
            [{"id": "n1", "content": "1642 m", "score": 0.5}],
        ),
    ],
    "langfuse-sdk": [
        (
            {"langfuse.observation.type": "retriever", "langfuse.observation.input": "How deep?"},
            "query",
            "How deep?",
        ),
        (
            {"langfuse.observation.type": "retriever", "langfuse.observation.output": encode([LAKE])},
            "documents",
            [FOUND],
        ),
    ],
    "langsmith": [
        (
            {"langsmith.span.kind": "retriever", "gen_ai.prompt": '{"query": "How deep?"}'},
            "query",
            "How deep?",
        ),
        (
            {"langsmith.span.kind": "retriever", "gen_ai.completion": encode({"documents": [LAKE]})},
            "documents",
            [FOUND],
        ),
        (
            {
                "langsmith.span.kind": "retriever",
                "gen_ai.completion": encode({"output": [{**LAKE, "type": "Document"}]}),
            },
            "documents",
            [FOUND],
        ),
    ],
    "mlflow": [
        ({"mlflow.spanType": '"RETRIEVER"', "mlflow.spanInputs": '"How deep?"'}, "query", "How deep?"),
        (
            {"mlflow.spanType": '"RETRIEVER"', "mlflow.spanOutputs": encode([{**LAKE, "id": "d1"}])},
            "documents",
            [{**FOUND, "id": "d1"}],
        ),
    ],
    "haystack": [
        (
            {"haystack.component.type": "XRetriever", "haystack.component.input": '{"query": "How deep?"}'},
            "query",
            "How deep?",
        ),
        (
            {
                "haystack.component.type": "XRetriever",
                "haystack.component.output": encode(
                    {"documents": [{"id": "d1", "content": "1642 m", "score": 0.5}]}
                ),
            },
            "documents",
            [{"id": "d1", "content": "1642 m", "score": 0.5}],
        ),
    ],
    "opentelemetry.instrumentation.chromadb": [
        ({"db.system": "chroma", "db.operation": "query", "db.chroma.query.n_results": 2}, "top_k", 2),
        ({"db.system": "pinecone", "db.operation": "query", "db.vector.query.top_k": 2}, "top_k", 2),
    ],
}


@pytest.mark.parametrize(("scope", "attributes", "path", "expected"), rows(DOCUMENTS))
def test_documents(scope: str, attributes: Attributes, path: str, expected: object) -> None:
    assert value_at(read_from(scope, attributes), path) == expected


# -- tools, sessions, scores -------------------------------------------------------------------------------

EXECUTED: Final[Attributes] = {"gen_ai.operation.name": "execute_tool"}
PROPERTY: Final = "traceloop.association.properties"
ABOUT: Final[dict[str, list[tuple[Attributes, str, object]]]] = {
    "opentelemetry.instrumentation.genai": [
        (EXECUTED | {"gen_ai.tool.name": "f"}, "tool.name", "f"),
        (EXECUTED | {"gen_ai.tool.call.id": "c1"}, "tool.call_id", "c1"),
        (EXECUTED | {"gen_ai.tool.description": "d"}, "tool.description", "d"),
        (EXECUTED | {"gen_ai.tool.type": "function"}, "tool.type", "function"),
        (EXECUTED | {"gen_ai.tool.call.arguments": '{"a": 1}'}, "arguments", {"a": 1}),
        (EXECUTED | {"gen_ai.tool.call.result": '"18"'}, "result", "18"),
        (CHAT | {"gen_ai.conversation.id": "c"}, "conversation_id", "c"),
        (CHAT | {"session.id": "s"}, "session_id", "s"),
        (CHAT | {"user.id": "u"}, "user_id", "u"),
        (CHAT | {"enduser.id": "u"}, "user_id", "u"),
        (CHAT | {"gen_ai.agent.name": "geo"}, "agent.name", "geo"),
    ],
    OI: [
        ({"openinference.span.kind": "TOOL", "tool.name": "f"}, "tool.name", "f"),
        ({"openinference.span.kind": "TOOL", "tool.id": "c1"}, "tool.call_id", "c1"),
        ({"openinference.span.kind": "TOOL", "tool.description": "d"}, "tool.description", "d"),
        ({"openinference.span.kind": "TOOL", "input.value": '{"a": 1}'}, "arguments", {"a": 1}),
        ({"openinference.span.kind": "TOOL", "output.value": "18"}, "result", "18"),
        (LLM | {"session.id": "s"}, "session_id", "s"),
        (LLM | {"user.id": "u"}, "user_id", "u"),
        (LLM | {"metadata": '{"a": 1}'}, "metadata", {"a": 1}),
        (LLM | {"tag.tags": ["a", "b"]}, "tags", ["a", "b"]),
    ],
    LOOP: [
        ({"traceloop.span.kind": "task", f"{PROPERTY}.session_id": "s"}, "session_id", "s"),
        ({"traceloop.span.kind": "task", f"{PROPERTY}.user_id": "u"}, "user_id", "u"),
        ({"traceloop.span.kind": "task", f"{PROPERTY}.thread_id": "t"}, "conversation_id", "t"),
        ({"traceloop.span.kind": "task", f"{PROPERTY}.tier": "gold"}, "metadata.tier", "gold"),
        ({"traceloop.span.kind": "tool", "traceloop.entity.name": "f"}, "tool.name", "f"),
    ],
    "langfuse-sdk": [
        ({"langfuse.observation.type": "span", "session.id": "s"}, "session_id", "s"),
        ({"langfuse.observation.type": "span", "langfuse.session.id": "s"}, "session_id", "s"),
        ({"langfuse.observation.type": "span", "user.id": "u"}, "user_id", "u"),
        ({"langfuse.observation.type": "span", "langfuse.trace.tags": ["a"]}, "tags", ["a"]),
        ({"langfuse.observation.type": "span", "langfuse.trace.metadata.a": "1"}, "metadata.a", "1"),
        ({"langfuse.observation.type": "span", "langfuse.observation.metadata.a": "x"}, "metadata.a", "x"),
        (
            {"langfuse.observation.type": "span", "langfuse.environment": "prod"},
            "metadata.environment",
            "prod",
        ),
        ({"langfuse.observation.type": "span", "langfuse.release": "1"}, "metadata.release", "1"),
        ({"langfuse.observation.type": "span", "langfuse.version": "2"}, "metadata.version", "2"),
    ],
    "langsmith": [
        ({"langsmith.span.kind": "chain", "langsmith.metadata.session_id": "s"}, "session_id", "s"),
        ({"langsmith.span.kind": "chain", "langsmith.metadata.thread_id": "t"}, "thread_id", "t"),
        ({"langsmith.span.kind": "chain", "langsmith.metadata.conversation_id": "c"}, "session_id", "c"),
        ({"langsmith.span.kind": "chain", "langsmith.metadata.user_id": "u"}, "user_id", "u"),
        ({"langsmith.span.kind": "chain", "langsmith.span.tags": "a, b"}, "tags", ["a", "b"]),
    ],
    "ai": [
        ({"ai.operationId": "ai.generateText", "ai.telemetry.metadata.sessionId": "s"}, "session_id", "s"),
        ({"ai.operationId": "ai.generateText", "ai.telemetry.metadata.userId": "u"}, "user_id", "u"),
        (
            {"ai.operationId": "ai.generateText", "ai.telemetry.metadata.tier": "gold"},
            "metadata.tier",
            "gold",
        ),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.name": "f"}, "tool.name", "f"),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.id": "c1"}, "tool.call_id", "c1"),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.args": '{"a":1}'}, "arguments", {"a": 1}),
    ],
    "mlflow": [
        ({"mlflow.spanType": '"LLM"', "mlflow.trace.session": '"s"'}, "session_id", "s"),
        ({"mlflow.spanType": '"LLM"', "mlflow.trace.user": '"u"'}, "user_id", "u"),
        ({"mlflow.spanType": '"TOOL"', "mlflow.spanInputs": '{"a": 1}'}, "arguments", {"a": 1}),
    ],
    "litellm": [
        (CHAT | {"litellm.call_id": "1", "llm.user": "u"}, "user_id", "u"),
        (CHAT | {"litellm.call_id": "1", "metadata.user_api_key_end_user_id": "u"}, "user_id", "u"),
        (
            CHAT | {"litellm.call_id": "1", "metadata.requester_metadata": '{"session_id": "s"}'},
            "session_id",
            "s",
        ),
    ],
    "gcp.vertex.agent": [
        ({"gcp.vertex.agent.session_id": "s"}, "conversation_id", "s"),
        (EXECUTED | {"gcp.vertex.agent.tool_call_args": '{"a": 1}'}, "arguments", {"a": 1}),
        (EXECUTED | {"gcp.vertex.agent.tool_response": '{"result": "18"}'}, "result", "18"),
    ],
    "pydantic-ai": [
        (EXECUTED | {"gen_ai.tool.name": "f", "tool_arguments": '{"a": 1}'}, "arguments", {"a": 1}),
        (EXECUTED | {"gen_ai.tool.name": "f", "tool_response": "18"}, "result", "18"),
    ],
    "semantic_kernel": [(EXECUTED | {"gen_ai.tool.name": "Weather-f"}, "tool.name", "Weather-f")],
    "strands.telemetry.tracer": [(CHAT | {"session.id": "s", "user.id": "u"}, "user_id", "u")],
    "any": [
        ({"wandb.thread_id": "t"}, "thread_id", "t"),
        ({"wandb.is_turn": True}, "is_turn", True),
        ({"wandb.attributes": '{"a": 1}'}, "metadata", {"a": 1}),
        ({"wandb.display_name": "shown"}, "display_name", "shown"),
    ],
}


@pytest.mark.parametrize(("scope", "attributes", "path", "expected"), rows(ABOUT))
def test_tools_and_sessions(scope: str, attributes: Attributes, path: str, expected: object) -> None:
    assert value_at(read_from(scope, attributes), path) == expected


@pytest.mark.parametrize(
    ("prefix", "item"),
    [
        ("annotations", "annotation"),
        ("evaluations", "evaluation"),
        ("trace.evaluations", "evaluation"),
        ("session.evaluations", "evaluation"),
    ],
)
def test_scores_of_openinference(prefix: str, item: str) -> None:
    told: Attributes = {
        "openinference.span.kind": "LLM",
        f"{prefix}.0.{item}.name": "faithful",
        f"{prefix}.0.{item}.score": 0.9,
        f"{prefix}.0.{item}.label": "yes",
        f"{prefix}.0.{item}.explanation": "as told",
        f"{prefix}.0.{item}.annotator_kind": "HUMAN",
        f"{prefix}.0.{item}.identifier": "jo",
        f"{prefix}.0.{item}.metadata": '{"run": 1}',
    }
    ((score,),) = read_from(OI, told)["scores"].values()
    assert (score.name, score.value, score.label, score.explanation) == ("faithful", 0.9, "yes", "as told")
    assert (score.kind, score.evaluator, score.metadata) == ("HUMAN", "jo", {"run": 1})


@pytest.mark.parametrize("scope", ["pydantic-evals", "openlit", "lib"])
def test_scores_as_events(scope: str) -> None:
    result = event(
        "gen_ai.evaluation.result",
        gen_ai__evaluation__name="faithful",
        gen_ai__evaluation__score__value=0.9,
        gen_ai__evaluation__score__label="pass",
        gen_ai__evaluation__explanation="as told",
    )
    ((score,),) = read_from(scope, events=[result])["scores"].values()
    assert (score.name, score.value, score.label, score.explanation) == ("faithful", 0.9, "pass", "as told")


def test_the_stages_of_a_vllm_server_stay_as_they_came() -> None:
    told: Attributes = {f"gen_ai.latency.{name}": 0.1 for name in (
        "time_in_queue", "time_to_first_token", "e2e", "time_in_scheduler", "time_in_model_forward",
        "time_in_model_execute", "time_in_model_prefill", "time_in_model_decode", "time_in_model_inference",
    )}  # fmt: skip
    facts = read_from("vllm.tracing", {**told, "gen_ai.usage.num_sequences": 1}, name="llm_request")
    assert facts["rest"] == {**told, "gen_ai.usage.num_sequences": 1}
