"""Dialects in, one record out: by priority, without loss, and with warnings instead of guesses."""

from __future__ import annotations

import pkgutil

import pytest

import otel_wandb.conventions
from otel_wandb.conventions import discover_dialects
from otel_wandb.conventions.table import row
from otel_wandb.records import Attributes, Value
from tests.genai_spans import encode, read_facts, text_message


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
    assert read_facts(attributes) == {
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
    facts = read_facts({key: value})
    assert facts[field] == expected
    assert "rest" not in facts
    assert "warnings" not in facts


def test_of_two_spellings_the_newer_is_read_and_a_different_older_one_is_kept() -> None:
    equal = read_facts(
        {"gen_ai.usage.prompt_tokens": 61, "gen_ai.usage.input_tokens": 61, "gen_ai.usage.cached_tokens": 3}
    )
    assert equal["usage"] == {"input_tokens": 61, "cache_read_input_tokens": 3}
    assert "rest" not in equal
    different = read_facts({"gen_ai.usage.prompt_tokens": 60, "gen_ai.usage.input_tokens": 61})
    assert different["usage"] == {"input_tokens": 61}, "never added up"
    assert different["rest"] == {"gen_ai.usage.prompt_tokens": 60}


def test_an_empty_spelling_does_not_hide_the_other() -> None:
    facts = read_facts({"gen_ai.provider.name": "", "gen_ai.system": "openai"})
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
    facts = read_facts({"gen_ai.operation.name": "chat", key: value, "gen_ai.response.id": "r"})
    assert facts["warnings"] == [f"undecodable:{key}"]
    assert list(facts["rest"]) == [key]
    assert facts["rest"][key] is value
    assert (facts["kind"], facts["response_id"]) == ("chat", "r")


def test_an_unknown_operation_is_told_and_not_guessed() -> None:
    facts = read_facts({"gen_ai.operation.name": "dance"})
    assert facts == {
        "dialect": "otel-genai",
        "operation": "dance",
        "rest": {"gen_ai.operation.name": "dance"},
        "warnings": ["unknown_word:gen_ai.operation.name"],
    }


def test_without_an_operation_the_span_name_tells_it_where_the_convention_says_so() -> None:
    assert read_facts({"gen_ai.request.model": "m"}, name="chat m")["kind"] == "chat"
    assert "kind" not in read_facts({"gen_ai.request.model": "m"}, name="chatting m")
    assert "kind" not in read_facts({"some.key": "m"}, name="chat m")


def test_a_retrieval_of_the_earlier_generation() -> None:
    facts = read_facts(
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
    assert read_facts(attributes) == {
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
    assert read_facts(attributes) == {
        "dialect": "db",
        "kind": "db",
        "inputs": {"system": "postgresql", "query": "SELECT 1"},
        "outputs": {"returned_rows": 1},
    }


def test_plain_keys_are_the_last_resort() -> None:
    facts = read_facts(
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
    assert read_facts({"x": 1}) == {"rest": {"x": 1}}


def test_what_the_user_says_by_wandb_keys_comes_first() -> None:
    facts = read_facts(
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
