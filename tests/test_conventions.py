"""Dialects in, one record out: by priority, without loss, and with warnings instead of guesses."""

from __future__ import annotations

import pkgutil
from typing import Any

import msgspec
import pytest

import otel_wandb.conventions
from otel_wandb.conventions import discover_dialects, read_span
from otel_wandb.conventions.decoding import (
    DecodeError,
    count,
    flag,
    items,
    mapping,
    number,
    parse,
    quoted_text,
    strings,
    text,
)
from otel_wandb.conventions.documents import read_documents
from otel_wandb.conventions.facts import Facts
from otel_wandb.conventions.messages import finish_reason, read_choices, read_messages, read_system
from otel_wandb.conventions.reader import Reader
from otel_wandb.conventions.table import Dialect, row, words
from otel_wandb.conventions.times import iso_time
from otel_wandb.conventions.tools import read_tools
from otel_wandb.records import Attributes, Event, LogRecord, Resource, Scope, Value
from tests.genai_spans import START_NS, chat, encode, make_log, make_span, text_message


def told(facts: Facts) -> dict[str, Any]:
    """The fields that say something."""
    fields = ((name, getattr(facts, name)) for name in facts.__struct_fields__)
    return {
        name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
        for name, value in fields
        if value is not None
    }


def read(attributes: Attributes, *, logs: tuple[LogRecord, ...] = (), **span: Any) -> dict[str, Any]:
    return told(read_span(make_span(1, attributes, **span), Scope("lib"), Resource(), logs))


# ---------------------------------------------------------------- the package


def test_every_module_with_a_table_is_a_dialect() -> None:
    modules = {found.name for found in pkgutil.iter_modules(otel_wandb.conventions.__path__)}
    dialects = discover_dialects()
    assert {"otel-genai", "http", "db", "plain", "wandb"} <= {dialect.name for dialect in dialects}
    assert len({dialect.name for dialect in dialects}) == len(dialects) < len(modules)
    assert len({dialect.rank for dialect in dialects}) == len(dialects), (
        "equal ranks would leave the order to names"
    )


@pytest.mark.parametrize("field", ["modle", "usage.tokens", "model.name", "rest", "dialect"])
def test_a_table_with_an_unknown_field_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=r"no field of Facts|has input_tokens"):
        row(field, "some.key")


# ---------------------------------------------------------------- OTel GenAI


def test_a_chat_of_the_current_generation() -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 25,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.cache_read.input_tokens": 16,
        "gen_ai.usage.reasoning.output_tokens": 4,
        "gen_ai.system_instructions": '[{"type":"text","content":"Be brief."}]',
        "gen_ai.input.messages": encode([text_message("user", "Why?", name=None)]),
        "gen_ai.output.messages": encode([text_message("assistant", "So.", finish_reason="stop", name=None)]),
        "gen_ai.tool.definitions": '[{"type":"function","name":"f","parameters":{"type":"object"}}]',
        "gen_ai.conversation.id": "c-1",
        "server.address": "api.openai.com",
    }
    assert read(attributes) == {
        "dialect": "otel-genai",
        "kind": "chat",
        "operation": "chat",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "params": {"temperature": 0.2, "max_tokens": 100, "seed": 7, "stop": ["END"]},
        "response_model": "gpt-4o-mini-2024-07-18",
        "response_id": "chatcmpl-1",
        "finish_reasons": ["stop"],
        "usage": {
            "input_tokens": 25,
            "output_tokens": 12,
            "cache_read_input_tokens": 16,
            "reasoning_tokens": 4,
        },
        "system": [{"role": "system", "content": "Be brief."}],
        "messages": [{"role": "user", "content": "Why?"}],
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "conversation_id": "c-1",
        "rest": {"server.address": "api.openai.com"},
    }


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("gen_ai.system", "az.ai.openai", "provider", "azure.ai.openai"),
        ("gen_ai.system", "vertex_ai", "provider", "gcp.vertex_ai"),
        ("gen_ai.usage.prompt_tokens", 5, "usage", {"input_tokens": 5}),
        ("gen_ai.usage.completion_tokens", "5", "usage", {"output_tokens": 5}),
        ("gen_ai.usage.cache_read_input_tokens", 5, "usage", {"cache_read_input_tokens": 5}),
        ("gen_ai.usage.cached_tokens", 5, "usage", {"cache_read_input_tokens": 5}),
        ("gen_ai.usage.cache_write.input_tokens", 5, "usage", {"cache_creation_input_tokens": 5}),
        ("gen_ai.usage.cache_creation.input_tokens", 5, "usage", {"cache_creation_input_tokens": 5}),
        ("gen_ai.usage.reasoning_tokens", 5, "usage", {"reasoning_tokens": 5}),
        ("gen_ai.usage.details.reasoning_tokens", 5.0, "usage", {"reasoning_tokens": 5}),
        ("gen_ai.usage.audio.input_tokens", 5, "usage", {"audio_input_tokens": 5}),
        ("gen_ai.response.finish_reasons", '["stop"]', "finish_reasons", ["stop"]),
        ("gen_ai.operation.name", "generate_content", "kind", "chat"),
        ("gen_ai.operation.name", "execute_tool", "kind", "tool"),
        ("gen_ai.operation.name", "invoke_workflow", "kind", "workflow"),
        ("gen_ai.tool.call.arguments", '{"city":"Paris"}', "arguments", {"city": "Paris"}),
        ("gen_ai.tool.call.arguments", {"city": "Paris"}, "arguments", {"city": "Paris"}),
        ("gen_ai.tool.call.result", "18 degrees", "result", "18 degrees"),
        ("gen_ai.retrieval.query.text", "how tall", "query", "how tall"),
    ],
)
def test_spellings_of_one_fact(key: str, value: Value, field: str, expected: object) -> None:
    facts = read({key: value})
    assert facts[field] == expected
    assert "rest" not in facts
    assert "warnings" not in facts


def test_of_two_spellings_the_newer_is_read_and_a_different_older_one_is_kept() -> None:
    equal = read(
        {"gen_ai.usage.prompt_tokens": 61, "gen_ai.usage.input_tokens": 61, "gen_ai.usage.cached_tokens": 3}
    )
    assert equal["usage"] == {"input_tokens": 61, "cache_read_input_tokens": 3}
    assert "rest" not in equal
    different = read({"gen_ai.usage.prompt_tokens": 60, "gen_ai.usage.input_tokens": 61})
    assert different["usage"] == {"input_tokens": 61}, "never added up"
    assert different["rest"] == {"gen_ai.usage.prompt_tokens": 60}


def test_an_empty_spelling_does_not_hide_the_other() -> None:
    facts = read({"gen_ai.provider.name": "", "gen_ai.system": "openai"})
    assert facts["provider"] == "openai"
    assert "rest" not in facts


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gen_ai.usage.input_tokens", -1),
        ("gen_ai.usage.input_tokens", True),
        ("gen_ai.usage.input_tokens", "many"),
        ("gen_ai.request.temperature", float("nan")),
        ("gen_ai.request.model", ["a"]),
        ("gen_ai.input.messages", 7),
        ("gen_ai.input.messages", '[{"role":"user","parts":[{"type":"text","content":"cut o'),
        ("gen_ai.retrieval.documents", "none found"),
    ],
)
def test_what_cannot_be_read_stays_as_it_came_and_is_a_warning(key: str, value: Value) -> None:
    facts = read({"gen_ai.operation.name": "chat", key: value, "gen_ai.response.id": "r"})
    assert facts["warnings"] == [f"undecodable:{key}"]
    assert list(facts["rest"]) == [key]
    assert facts["rest"][key] is value
    assert (facts["kind"], facts["response_id"]) == ("chat", "r")


def test_an_unknown_operation_is_told_and_not_guessed() -> None:
    facts = read({"gen_ai.operation.name": "dance"})
    assert facts == {
        "dialect": "otel-genai",
        "operation": "dance",
        "rest": {"gen_ai.operation.name": "dance"},
        "warnings": ["unknown_word:gen_ai.operation.name"],
    }


def test_without_an_operation_the_span_name_tells_it_where_the_convention_says_so() -> None:
    assert read({"gen_ai.request.model": "m"}, name="chat m")["kind"] == "chat"
    assert "kind" not in read({"gen_ai.request.model": "m"}, name="chatting m")
    assert "kind" not in read({"some.key": "m"}, name="chat m")


def test_a_retrieval_of_the_earlier_generation() -> None:
    facts = read(
        {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.request.top_k": 2,
            "gen_ai.retrieval.documents": encode(
                [{"id": "d1", "score": None}, {"id": "d2", "score": 0.5, "content": "x", "page": 3}]
            ),
        }
    )
    assert facts["top_k"] == 2
    assert facts["params"] == {}
    assert facts["documents"] == [
        {"id": "d1"},
        {"id": "d2", "content": "x", "score": 0.5, "metadata": {"page": 3}},
    ]


# ---------------------------------------------------------------- HTTP, databases, fallbacks, W&B


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "http.request.method": "POST",
            "http.route": "/ask",
            "url.path": "/ask",
            "http.response.status_code": 200,
        },
        {"http.method": "POST", "http.route": "/ask", "http.target": "/ask", "http.status_code": 200},
    ],
)
def test_http_by_its_names_of_today_and_before(attributes: Attributes) -> None:
    assert read(attributes) == {
        "dialect": "http",
        "kind": "http",
        "inputs": {"method": "POST", "route": "/ask", "path": "/ask"},
        "outputs": {"status_code": 200},
    }


@pytest.mark.parametrize(
    "attributes",
    [
        {"db.system.name": "postgresql", "db.query.text": "SELECT 1", "db.response.returned_rows": 1},
        {"db.system": "postgresql", "db.statement": "SELECT 1", "db.response.returned_rows": 1},
    ],
)
def test_databases_by_their_names_of_today_and_before(attributes: Attributes) -> None:
    assert read(attributes) == {
        "dialect": "db",
        "kind": "db",
        "inputs": {"system": "postgresql", "query": "SELECT 1"},
        "outputs": {"returned_rows": 1},
    }


def test_plain_keys_are_the_last_resort() -> None:
    facts = read(
        {"input.value": '{"question": "why"}', "output": "so", "session.id": "s", "enduser.id": "u", "x": 1}
    )
    assert facts == {
        "dialect": "plain",
        "input": {"question": "why"},
        "output": "so",
        "session_id": "s",
        "user_id": "u",
        "rest": {"x": 1},
    }
    assert read({"x": 1}) == {"rest": {"x": 1}}


def test_what_the_user_says_by_wandb_keys_comes_first() -> None:
    facts = read(
        {
            "gen_ai.operation.name": "chat",
            "wandb.display_name": "Answer",
            "wandb.thread_id": "t",
            "wandb.is_turn": True,
            "wandb.attributes": {"plan": "free", "a": 1},
            "wandb.attributes.a": 2,
        }
    )
    assert facts == {
        "dialect": "otel-genai",
        "kind": "chat",
        "operation": "chat",
        "display_name": "Answer",
        "thread_id": "t",
        "is_turn": True,
        "metadata": {"plan": "free", "a": 2},
    }


# ---------------------------------------------------------------- the reader, with tables of its own

VENDOR = Dialect(
    name="vendor",
    rank=10,
    rows=(
        row("kind", "vendor.kind", decode=words({"LLM": "chat", "RETRIEVER": "retrieval"})),
        row("messages", "vendor.messages.#", decode=read_messages),
        row("metadata", "vendor.metadata", decode=mapping),
        row("metadata", "vendor.meta.*"),
        row("usage", "vendor.usage", decode=mapping),
        row("output", "vendor.output", decode=parse),
    ),
    marks=("vendor.",),
    scopes=("vendor-",),
)


def reads(attributes: Attributes, *dialects: Dialect, scope: str = "") -> dict[str, Any]:
    reader = Reader([*discover_dialects(), *dialects])
    return told(reader.read(attributes, reader.plan(attributes, scope)))


def test_the_vendor_knows_better_and_the_rest_is_merged() -> None:
    facts = reads(
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.request.model": "m",
            "vendor.kind": "retriever",
            "vendor.output": "[1]",
            "output.value": "[1]",
        },
        VENDOR,
    )
    assert facts == {
        "dialect": "vendor",
        "kind": "retrieval",
        "operation": "embeddings",
        "model": "m",
        "output": [1],
    }


def test_trees_and_families_of_keys() -> None:
    facts = reads(
        {
            "vendor.messages.1.content": "So.",
            "vendor.messages.1.role": "assistant",
            "vendor.messages.0.role": "user",
            "vendor.messages.0.content": "Why?",
            "vendor.messages.10.role": "user",
            "vendor.messages.10.content": "Ah.",
            "vendor.meta.plan": "free",
            "vendor.meta.region.zone": "b",
            "vendor.metadata": '{"plan": "paid", "team": "t"}',
            "vendor.usage": "{'input_tokens': 3}",
            "vendor.other": "kept",
        },
        VENDOR,
    )
    assert facts["messages"] == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "Ah."},
    ]
    assert facts["metadata"] == {"plan": "free", "team": "t", "region.zone": "b"}
    assert facts["usage"] == {"input_tokens": 3}
    assert facts["rest"] == {"vendor.other": "kept"}


def test_a_leaf_that_is_also_a_branch_does_no_harm_and_input_is_not_changed() -> None:
    attributes: Attributes = {
        "vendor.messages.0": {"role": "user"},
        "vendor.messages.0.content": "Why?",
        "vendor.messages.": "odd",
    }
    before = msgspec.json.encode(attributes)
    reads(attributes, VENDOR)
    assert msgspec.json.encode(attributes) == before


def test_a_dialect_is_spoken_by_scope_as_well() -> None:
    only_scope = Dialect("quiet", 10, (row("model", "model"),), scopes=("quiet.",))
    assert reads({"model": "m"}, only_scope, scope="quiet.tracer")["model"] == "m"
    assert reads({"model": "m"}, only_scope, scope="other") == {"rest": {"model": "m"}}


def test_a_decoder_that_fails_costs_its_own_fact() -> None:
    def fail(value: object) -> object:
        raise ZeroDivisionError

    broken = Dialect("broken", 5, (row("model", "a", decode=fail), row("params.x", "b", decode=fail)), ("a",))
    facts = reads({"a": 1, "b": 2, "gen_ai.response.id": "r", "gen_ai.request.seed": 3}, broken)
    assert facts["response_id"] == "r"
    assert facts["params"] == {"seed": 3}
    assert facts["rest"] == {"a": 1, "b": 2}
    assert facts["warnings"] == ["undecodable:a", "undecodable:b"]


def test_records_of_the_same_keys_share_nothing() -> None:
    attributes = chat(1, 2, gen_ai__response__finish_reasons=["stop"])
    first = read_span(make_span(1, attributes), Scope(), Resource())
    assert first.usage is not None
    first.usage["input_tokens"] = 99
    second = read_span(make_span(2, dict(attributes)), Scope(), Resource())
    assert second.usage == {"input_tokens": 1, "output_tokens": 2}


def test_many_sets_of_keys_do_not_pile_up() -> None:
    reader = Reader(discover_dialects())
    for i in range(5000):
        attributes: Attributes = {f"app.key.{i}": 1, "gen_ai.response.id": "r"}
        assert reader.read(attributes, reader.plan(attributes, "")).response_id == "r"
    assert len(reader._plans) <= 4096


# ---------------------------------------------------------------- messages

CALL = {"type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(text_message("user", "Hi"), [{"role": "user", "content": "Hi"}], id="text"),
        pytest.param(
            {"role": "user", "content": "Hi"}, [{"role": "user", "content": "Hi"}], id="chat-completions"
        ),
        pytest.param({"role": "ai", "content": "Hi"}, [{"role": "assistant", "content": "Hi"}], id="role"),
        pytest.param("Hi", [{"role": "user", "content": "Hi"}], id="string"),
        pytest.param(
            text_message("user", "Hi", name="bob"),
            [{"role": "user", "content": "Hi", "name": "bob"}],
            id="name",
        ),
        pytest.param(
            {"role": "user", "parts": [{"type": "text", "content": "a"}, {"type": "text", "content": "b"}]},
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            id="texts",
        ),
        pytest.param(
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": "hm"},
                    {"type": "text", "content": "Hi"},
                    {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}},
                ],
            },
            [{"role": "assistant", "content": "Hi", "reasoning": "hm", "tool_calls": [{"id": "c1", **CALL}]}],
            id="reasoning-and-call",
        ),
        pytest.param(
            {
                "role": "assistant",
                "parts": [{"type": "tool_call", "name": "f", "arguments": '{"a":1}', "index": 3}],
            },
            [{"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 3}]}],
            id="call-with-text-arguments-and-extras",
        ),
        pytest.param(
            {
                "role": "user",
                "parts": [
                    {"type": "tool_call_response", "id": "c1", "response": {"t": 18}},
                    {"type": "tool_call_response", "id": "c2", "result": "sunny"},
                    {"type": "text", "content": "And now?"},
                ],
            },
            [
                {"role": "tool", "content": '{"t":18}', "tool_call_id": "c1"},
                {"role": "tool", "content": "sunny", "tool_call_id": "c2"},
                {"role": "user", "content": "And now?"},
            ],
            id="results-in-a-user-message",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [{"id": "c1", **CALL}], "content": None},
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", **CALL}]}],
            id="chat-completions-call",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [{"id": "c1", **CALL}]},
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", **CALL}]}],
            id="call-without-content",
        ),
        pytest.param(
            {"role": "tool", "content": "ok", "tool_call_id": "c1"},
            [{"role": "tool", "content": "ok", "tool_call_id": "c1"}],
            id="chat-completions-result",
        ),
        pytest.param(
            {
                "role": "user",
                "parts": [{"type": "blob", "mime_type": "image/png", "modality": "image", "content": "QUJD"}],
            },
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image_url",
                            "image_url": {"url": "data:image/png;base64,QUJD"},
                            "modality": "image",
                        }
                    ],
                }
            ],
            id="image",
        ),
        pytest.param(
            {"role": "user", "parts": [{"type": "blob", "mime_type": "audio/wav", "content": b"ABC"}]},
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_audio", "input_audio": {"data": "data:audio/wav;base64,QUJD"}}
                    ],
                }
            ],
            id="audio-bytes",
        ),
        pytest.param(
            {"role": "user", "parts": [{"type": "uri", "mime_type": "image/png", "uri": "https://x/y.png"}]},
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image_url",
                            "image_url": {"url": "https://x/y.png"},
                            "mime_type": "image/png",
                        }
                    ],
                }
            ],
            id="uri",
        ),
        pytest.param(
            {"role": "user", "parts": [{"type": "file", "modality": "document", "file_id": "f-1"}]},
            [
                {
                    "role": "user",
                    "content": [{"type": "file", "file": {"file_id": "f-1"}, "modality": "document"}],
                }
            ],
            id="file",
        ),
        pytest.param(
            {
                "role": "assistant",
                "parts": [{"type": "server_tool_call", "id": "s", "server_tool_call": {"q": 1}}],
            },
            [
                {
                    "role": "assistant",
                    "content": [{"type": "server_tool_call", "id": "s", "server_tool_call": {"q": 1}}],
                }
            ],
            id="anything-else",
        ),
        pytest.param(
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}]},
            [{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}]}],
            id="signed-reasoning",
        ),
        pytest.param(
            {
                "role": "user",
                "content": [{"text": "Hi"}, {"toolResult": {"toolUseId": "c1", "content": [{"text": "ok"}]}}],
            },
            [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "ok", "tool_call_id": "c1"}],
            id="bedrock",
        ),
        pytest.param(
            {
                "role": "assistant",
                "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "f", "input": {"a": 1}}],
            },
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", **CALL}]}],
            id="ai-sdk",
        ),
        pytest.param({"role": "user", "parts": []}, [{"role": "user", "content": None}], id="empty"),
    ],
)
def test_messages_become_chat_completions(message: Value, expected: list[dict[str, Value]]) -> None:
    assert read_messages([message]) == expected
    if not isinstance(message, str) and b"ABC" not in str(message).encode():
        assert read_messages(encode([message])) == expected, "as JSON they read the same"


def test_choices_carry_their_reason_and_nothing_else_does() -> None:
    answers = [text_message("assistant", "A", finish_reason="end_turn"), text_message("assistant", "B")]
    expected = [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A"}},
        {"index": 1, "message": {"role": "assistant", "content": "B"}},
    ]
    assert read_choices(answers) == read_choices(encode(answers)) == expected
    assert read_choices("A") == [{"index": 0, "message": {"role": "assistant", "content": "A"}}]
    assert read_choices("[]") is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("tool-calls", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("FinishReason.STOP", "stop"),
        ("max_tokens", "length"),
        ("refusal", "refusal"),
        ("", None),
        (3, None),
    ],
)
def test_finish_reasons(given: object, expected: str | None) -> None:
    assert finish_reason(given) == expected


@pytest.mark.parametrize(
    "value",
    [
        '[{"type":"text","content":"Be brief."}]',
        [{"type": "text", "content": "Be brief."}],
        ["Be brief."],
        "Be brief.",
        [{"role": "system", "content": "Be brief."}],
    ],
)
def test_system_instructions(value: Value) -> None:
    assert read_system(value) == [{"role": "system", "content": "Be brief."}]


def test_tools_of_any_shape() -> None:
    schema = {"type": "object"}
    given = [
        {"name": "a", "input_schema": schema, "strict": True},
        encode({"type": "function", "name": "b", "description": "B", "inputSchema": schema}),
        {"type": "function", "function": {"name": "c"}},
        {"type": "web_search"},
    ]
    raw = read_tools(given)
    assert raw is not None
    assert msgspec.json.decode(raw) == [
        {"type": "function", "function": {"name": "a", "parameters": schema, "strict": True}},
        {"type": "function", "function": {"name": "b", "description": "B", "parameters": schema}},
        {"type": "function", "function": {"name": "c"}},
        {"type": "web_search"},
    ]
    assert read_tools("[]") is None


def test_documents_of_any_shape() -> None:
    given = [
        {"id": "1", "content": "a", "score": 0.9, "metadata": {"source": "x"}},
        {"page_content": "b", "metadata": {"source": "y"}, "type": "Document"},
        "c",
        None,
    ]
    assert read_documents(encode(given)) == [
        {"id": "1", "content": "a", "score": 0.9, "metadata": {"source": "x"}},
        {"content": "b", "metadata": {"source": "y", "type": "Document"}},
        {"content": "c"},
    ]


# ---------------------------------------------------------------- events and log records

DETAILS = "gen_ai.client.inference.operation.details"


def test_content_that_is_only_in_a_log_record() -> None:
    log = make_log(
        DETAILS,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.output_tokens": 3,
            "gen_ai.input.messages": [text_message("user", "Why?", name=None)],
            "gen_ai.output.messages": [text_message("assistant", "So.", finish_reason="stop")],
            "app.extra": 1,
        },
    )
    facts = read(chat(1, 2), logs=(log,))
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"][0]["message"] == {"role": "assistant", "content": "So."}
    assert facts["usage"] == {"input_tokens": 1, "output_tokens": 2}, "the span's own word comes first"
    assert facts["rest"] == {"app.extra": 1}
    assert "logs" not in facts


def test_content_that_is_only_in_span_events_one_attribute_each() -> None:
    events = [
        Event(START_NS, DETAILS, {"gen_ai.input.messages": encode([text_message("user", "Why?")])}),
        Event(START_NS, DETAILS, {"gen_ai.output.messages": encode([text_message("assistant", "So.")])}),
    ]
    facts = read(chat(), events=events)
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "So."}}]
    assert "events" not in facts


CALLS: list[Value] = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize("as_json", [False, True])
def test_messages_told_one_by_one_in_log_records(as_json: bool) -> None:
    bodies: list[tuple[str, dict[str, Value]]] = [
        ("gen_ai.system.message", {"content": "Be brief."}),
        ("gen_ai.user.message", {"content": "Why?"}),
        ("gen_ai.assistant.message", {"tool_calls": CALLS}),
        ("gen_ai.tool.message", {"content": "ok", "id": "c1"}),
        (
            "gen_ai.choice",
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}},
        ),
    ]
    logs = tuple(
        make_log("", encode(body), {"event.name": name, "gen_ai.system": "openai"}, at_ms=i)
        if as_json
        else make_log(name, body, {"gen_ai.system": "openai"}, at_ms=i)
        for i, (name, body) in enumerate(bodies)
    )
    facts = read(chat(), logs=logs)
    assert facts["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "content": "ok", "tool_call_id": "c1"},
    ]
    assert facts["choices"] == [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}
    ]
    assert "logs" not in facts


def test_messages_told_one_by_one_in_span_events() -> None:
    events = [
        Event(START_NS, "gen_ai.user.message", {"content": '[{"text": "Why?"}]'}),
        Event(
            START_NS,
            "gen_ai.choice",
            {"message": '[{"text": "So."}]', "finish_reason": "end_turn", "more": 1},
        ),
    ]
    facts = read(chat(), events=events)
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]
    assert facts["choices"] == [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}
    ]
    assert facts["events"] == [
        {"name": "gen_ai.choice", "time": "2026-01-01T00:00:00.000000Z", "attributes": {"more": 1}}
    ]


def test_the_span_says_it_better_than_its_events() -> None:
    log = make_log("gen_ai.user.message", {"content": "other"})
    facts = read(chat(gen_ai__input__messages=encode([text_message("user", "Why?")])), logs=(log,))
    assert facts["messages"] == [{"role": "user", "content": "Why?"}]


def test_other_events_and_log_records_are_kept() -> None:
    facts = read(
        {}, events=[Event(START_NS, "cache.miss", {"key": "k"})], logs=(make_log("", "hello", {"a": 1}),)
    )
    assert facts == {
        "events": [{"name": "cache.miss", "time": "2026-01-01T00:00:00.000000Z", "attributes": {"key": "k"}}],
        "logs": [
            {
                "time": "2026-01-01T00:00:00.001000Z",
                "severity": "INFO",
                "body": "hello",
                "attributes": {"a": 1},
            }
        ],
    }


def test_a_span_with_more_log_records_than_a_call_should_hold() -> None:
    facts = read({}, logs=tuple(make_log("", "x") for _ in range(1100)))
    assert len(facts["logs"]) == 1000
    assert facts["warnings"] == ["too_many_logs"]


# ---------------------------------------------------------------- decoders


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ('"\\"18 degrees\\""', "18 degrees"),
        ("{'a': None, 'b': (1, 2)}", {"a": None, "b": [1, 2]}),
        ('[NaN, "x"]', [None, "x"]),
        ("plain", "plain"),
        ('{"cut": "o', '{"cut": "o'),
        ("", None),
        ("[INST] do [/INST]", "[INST] do [/INST]"),
        (5, 5),
    ],
)
def test_strings_are_opened_leniently(value: object, expected: object) -> None:
    opened = parse(value)
    assert msgspec.json.decode(msgspec.json.encode(opened)) == expected


def test_nesting_without_end_is_left_alone() -> None:
    for deep in ("[" * 100_000, "{'a':" * 5000, '"' + "\\" * 9 + '"'):
        assert parse(deep) == deep


@pytest.mark.parametrize(
    ("decode", "value", "expected"),
    [
        (text, 5, "5"),
        (text, "", None),
        (count, "7", 7),
        (count, 7.0, 7),
        (count, "", None),
        (number, "0.5", 0.5),
        (number, "3", 3),
        (flag, "False", False),
        (strings, "a", ["a"]),
        (strings, '["a", 1]', ["a", "1"]),
        (quoted_text, '"openai"', "openai"),
        (items, (1, 2), [1, 2]),
        (items, "", None),
    ],
)
def test_decoders(decode: Any, value: object, expected: object) -> None:
    assert decode(value) == expected


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (text, {}),
        (count, 1.5),
        (count, 2**63),
        (number, float("inf")),
        (number, True),
        (flag, 1),
        (items, 5),
        (mapping, []),
    ],
)
def test_decoders_refuse_what_is_something_else(decode: Any, value: object) -> None:
    with pytest.raises(DecodeError):
        decode(value)


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_767_225_600_123_456_999, "2026-01-01T00:00:00.123456Z"),
        (2**64 - 1, "2554-07-21T23:34:33.709551Z"),
    ],
)
def test_times_are_cut_to_microseconds(time_ns: int, expected: str) -> None:
    assert iso_time(time_ns) == expected


def test_a_span_is_only_read() -> None:
    attributes = chat(1, 2, gen_ai__input__messages=[text_message("user", "Why?")], other={"a": [1]})
    span = make_span(1, attributes, events=[Event(START_NS, "e", {"x": 1})])
    before = msgspec.msgpack.encode(span)
    read_span(span, Scope(), Resource(), (make_log("gen_ai.choice", {"message": {"content": "x"}}),))
    assert msgspec.msgpack.encode(span) == before
