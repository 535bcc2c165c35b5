"""What users ask for beyond patterns: keys, functions of their own, how much is captured, hashes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_wandb import keeper
from otel_wandb.boundary import Boundaries, Boundary, read_hash_key
from otel_wandb.config import Settings, resolve
from otel_wandb.errors import ConfigError
from otel_wandb.records import Attributes, Resource
from otel_wandb.redaction import Redactor
from otel_wandb.redaction_rules import Globs
from tests.genai_spans import chat, encode, make_span, make_trace, shape, text_message

USUAL = Redactor()
CARD = "4111111111111111"


def boundary(**values: object) -> Boundary:
    told = msgspec.structs.replace(Settings(), **values)
    return Boundaries(lambda _: told, USUAL).of("")


def body_of() -> bytes:
    told = chat(
        5,
        3,
        gen_ai__input__messages=encode([text_message("user", "My secret is Eiffel")]),
        gen_ai__output__messages=encode([text_message("assistant", "Fine")]),
        app__user__email="bob@example.org",
        app__plan="gold",
    )
    return shape(make_trace(make_span(1, told, status=2, message="Eiffel broke"))).calls[0].encode()


def redact(body: bytes, **values: object) -> Any:
    redacted = boundary(**values).redact_call(body)
    assert not redacted.withheld
    return msgspec.json.decode(redacted.body)


def test_without_settings_a_call_passes_as_the_very_same_bytes() -> None:
    body = body_of()
    assert boundary().redact_call(body).body is body
    assert boundary(redact=False).redact_call(body).body is body
    assert boundary(redact=False).is_open
    assert not boundary(redact=False, pii="basic").is_open


def test_personal_data_goes_when_asked_for_even_where_secrets_stay() -> None:
    body = msgspec.json.encode({"id": "1", "inputs": {"a": "bob@example.org", "password": "hunter22"}})
    assert redact(body, pii="basic", redact=False)["inputs"] == {
        "a": "[redacted:email]",
        "password": "hunter22",
    }


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("email", "attributes.otel.app.user.email", True),
        ("user.email", "attributes.otel.app.user.email", True),
        ("ser.email", "attributes.otel.app.user.email", False),
        ("EMAIL", "email", True),
        ("email", "emails", False),
        ("inputs.*", "inputs.messages.content", True),
        ("*email*", "a.my_emails.b", True),
        ("a?c", "abc", True),
        ("a.c", "abc", False),
        ("a[b]", "a[b]", True),
    ],
)
def test_globs(glob: str, path: str, matches: bool) -> None:
    assert Globs([glob, "nothing"]).match(path) is matches


def test_hostile_globs_take_linear_time() -> None:
    assert not Globs(["*a" * 50 + "b"]).match("a" * 100_000)


def test_keys_are_replaced_wherever_they_stand() -> None:
    body = msgspec.json.encode(
        {
            "id": "1",
            "inputs": {"email": "x", "n": {"Email": 5, "none": None}, "list": [{"email": ["a", "b"]}]},
            "output": json.dumps({"deep": json.dumps({"email": "x", "other": "y"})}),
            "attributes": {"kind": "tool", "otel": {"app.user.email": "x"}},
            "exception": encode({"type": "E", "message": encode({"email": "x"})}),
        }
    )
    mark = "[redacted:key]"
    told = redact(body, redact_keys="email,kind")
    assert told["inputs"] == {"email": mark, "n": {"Email": mark, "none": None}, "list": [{"email": mark}]}
    assert json.loads(json.loads(told["output"])["deep"]) == {"email": mark, "other": "y"}
    assert told["attributes"] == {"kind": "tool", "otel": {"app.user.email": mark}}
    assert json.loads(json.loads(told["exception"])["message"]) == {"email": mark}
    assert boundary(redact_keys="email").redact_call(body).hits == {"key": 6}


def test_what_a_call_has_to_have_stays_in_its_form() -> None:
    told = redact(body_of(), redact_keys="*")
    assert told["inputs"] == {"redacted": "[redacted:key]"}
    assert told["attributes"] == {"redacted": "[redacted:key]"}
    assert json.loads(told["exception"]) == {"type": "error", "message": "[redacted:key]"}
    assert told["id"] == f"{1:016x}"
    assert told["summary"]["usage"]
    assert "Eiffel" not in encode(told)


def test_keys_that_are_dropped_are_gone() -> None:
    told = redact(body_of(), redact_keys="email,messages", redact_mode="drop")
    assert told["attributes"]["otel"] == {"app.plan": "gold"}
    assert "messages" not in told["inputs"]


def test_keys_that_are_hashed_tell_equal_values_apart_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_WANDB_HASH_KEY", "k")
    body = msgspec.json.encode(
        {"id": "1", "inputs": {"a": {"user": "bob"}, "b": [{"user": "bob"}, {"user": "al"}]}}
    )
    told = redact(body, redact_keys="user", redact_mode="hash")["inputs"]
    assert told["a"] == told["b"][0]
    assert told["a"] != told["b"][1]
    assert told["a"]["user"].startswith("[hashed:key:")


def test_only_the_free_attributes_that_are_listed_stay() -> None:
    body = msgspec.json.encode(
        {
            "id": "1",
            "inputs": {"a": 1},
            "attributes": {
                "kind": "other",
                "model": "m",
                "otel": {"app.plan": "gold", "app.user": "bob", "nested": {"plan": 1, "x": 2}},
                "metadata": {"x": 1},
                "resource": {"service.name": "rag", "host.name": "h", "wandb.project": "p", "plan": "b"},
                "otel_events": [{"name": "e", "attributes": {"plan": 1, "x": 2}}, {"name": "f"}],
            },
        }
    )
    assert redact(body, keep_keys="plan")["attributes"] == {
        "kind": "other",
        "model": "m",
        "otel": {"app.plan": "gold", "nested": {"plan": 1}},
        "resource": {"service.name": "rag", "wandb.project": "p", "plan": "b"},
        "otel_events": [{"name": "e", "attributes": {"plan": 1}}, {"name": "f"}],
    }


def test_a_resource_keeps_what_says_whose_it_is() -> None:
    told = Resource({"service.name": "rag", "host.name": "h", "plan": "b", "password": "hunter22", "n": 5})
    assert boundary().clean_resource(told).attributes == {
        **told.attributes,
        "password": "[redacted:assignment]",
    }
    kept = boundary(keep_keys="plan").clean_resource(told)
    assert kept.attributes == {"service.name": "rag", "plan": "b"}
    clean = Resource({"service.name": "rag", "list": ["a", 1.5, True, None]})
    assert boundary().clean_resource(clean) is clean


def test_a_project_that_is_a_secret_is_none() -> None:
    told = Resource({"service.name": "rag", "wandb.project": "sk-ant-abcdefghij0123456789"})
    assert boundary().clean_resource(told).attributes == {"service.name": "rag"}


def test_attributes_of_any_type_are_cleaned() -> None:
    told: Attributes = {
        "a": ["x", CARD],
        "b": int(CARD),
        "c": b"\xff",
        "d": {"password": "hunter22"},
        "e": "\ud800",
    }
    assert boundary().clean(told) == {
        **told,
        "a": ["x", "[redacted:card]"],
        "b": 9999999999999999,
        "d": {"password": "[redacted:assignment]"},
    }
    assert boundary(redact_keys="b", redact_mode="drop").clean({"a": 1, "b": 2}) == {"a": 1}


class TestCapture:
    def test_metadata_is_shape_without_text(self) -> None:
        tool = {
            "type": "function",
            "function": {"name": "look_up", "description": "Looks it up", "parameters": {}},
        }
        asked = {
            "id": "call_1",
            "type": "function",
            "function": {"name": "look_up", "arguments": '{"q": "Eiffel"}'},
        }
        body = msgspec.json.encode(
            {
                "id": "1",
                "inputs": {
                    "model": "gpt-4o",
                    "messages": [
                        {"role": "user", "content": "Eiffel"},
                        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Eiffel"}]},
                        {"role": "tool", "tool_call_id": "call_1", "content": "Eiffel"},
                    ],
                    "tools": [tool],
                    "temperature": 0.5,
                    "arguments": {"role": "user", "type": "text", "name": "Eiffel", "n": 5},
                },
                "output": {
                    "choices": [
                        {"finish_reason": "stop", "message": {"role": "assistant", "tool_calls": [asked]}}
                    ]
                },
                "attributes": {"kind": "chat"},
            }
        )
        told = redact(body, capture_content="metadata")
        assert told["inputs"] == {
            "model": "gpt-4o",
            "messages": [
                {"role": "user", "content": "[6 characters]"},
                {
                    "role": "user",
                    "name": "[3 characters]",
                    "content": [{"type": "text", "text": "[6 characters]"}],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "[6 characters]"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "look_up", "description": "[11 characters]", "parameters": {}},
                }
            ],
            "temperature": 0.5,
            "arguments": {
                "role": "[4 characters]",
                "type": "[4 characters]",
                "name": "[6 characters]",
                "n": 5,
            },
        }
        (choice,) = told["output"]["choices"]
        assert choice == {
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "tool_calls": [
                    {**asked, "function": {"name": "look_up", "arguments": "[15 characters]"}},
                ],
            },
        }

    def test_a_role_that_is_none_is_text(self) -> None:
        body = msgspec.json.encode(
            {"id": "1", "inputs": {"messages": [{"role": "Eiffel", "type": "Eiffel"}]}}
        )
        (message,) = redact(body, capture_content="metadata")["inputs"]["messages"]
        assert message == {"role": "[6 characters]", "type": "[6 characters]"}

    def test_none_is_none_of_it(self) -> None:
        told = redact(body_of(), capture_content="none")
        assert told["inputs"] == {}
        assert "output" not in told
        assert json.loads(told["exception"]) == {"type": "error", "message": "[not captured]"}
        assert "otel" not in told["attributes"]
        assert told["attributes"]["model"]
        assert told["summary"]["usage"]
        assert "Eiffel" not in encode(told)

    @pytest.mark.parametrize(
        ("capture", "told"), [("metadata", "[3 characters]"), ("none", "[not captured]")]
    )
    def test_of_a_score_the_explanation_is_content(self, capture: str, told: str) -> None:
        score = {"name": "n", "creator": None, "payload": {"output": {"score": 1, "explanation": "why"}}}
        redacted = boundary(capture_content=capture).redact_feedback(msgspec.json.encode(score))
        assert msgspec.json.decode(redacted.body)["payload"]["output"] == {"score": 1, "explanation": told}


def test_a_score_keeps_what_weave_asks_for() -> None:
    score = {"name": "n", "creator": "me", "payload": {"output": {"score": 1, "label": "x"}, "name": "n"}}
    redacted = boundary(redact_keys="*").redact_feedback(msgspec.json.encode(score))
    mark = "[redacted:key]"
    assert msgspec.json.decode(redacted.body) == {
        "name": "n",
        "creator": "me",
        "payload": {"output": {"score": mark, "label": mark}, "name": mark},
    }


class TestHashKey:
    def test_it_comes_from_the_file_else_from_the_environment(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_text(" abc \n")
        assert read_hash_key(str(file), {"OTEL_WANDB_HASH_KEY": "x"}) == b"abc"
        assert read_hash_key("", {"OTEL_WANDB_HASH_KEY": "x"}) == b"x"

    def test_it_is_no_setting_and_so_nowhere_in_the_data_directory(self) -> None:
        found = resolve({"redact_mode": "hash"}, {"OTEL_WANDB_HASH_KEY": "hidden-key"})
        assert b"hidden-key" not in found.settings.to_json()

    def test_without_one_the_configuration_is_wrong(self) -> None:
        with pytest.raises(ConfigError, match=r"redact_mode is hash \(from argument\), and there is no key"):
            resolve({"redact_mode": "hash"}, {})

    @pytest.mark.parametrize("file", ["missing", "empty"])
    def test_where_it_cannot_be_read_nothing_passes(
        self, file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "empty").write_text("\n")
        with caplog.at_level(logging.ERROR, "otel_wandb.redaction"):
            broken = boundary(redact_mode="hash", hash_key_file=str(tmp_path / file))
        assert "all content is withheld" in caplog.text
        assert broken.redact_call(body_of()).withheld


@pytest.mark.parametrize("path", ["module", "module:", ":name"])
def test_a_path_that_names_no_function(path: str) -> None:
    with pytest.raises(ConfigError, match=r"names no function; write it as package\.module:function"):
        resolve({"redact_with": path}, {})


def test_configurations_that_ask_for_the_same_share_a_boundary() -> None:
    told = {"a": Settings(), "b": Settings(linger_s=1.0), "c": Settings(pii="basic")}
    boundaries = Boundaries(told.__getitem__, USUAL)
    assert boundaries.of("a") is boundaries.of("b")
    assert boundaries.of("a") is not boundaries.of("c")


def test_the_bridge_is_given_the_key_and_nothing_else_of_opentelemetry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_WANDB_HASH_KEY", "k")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "weave")
    environment = keeper._clean_environment()
    assert environment["OTEL_WANDB_HASH_KEY"] == "k"
    assert "OTEL_TRACES_EXPORTER" not in environment
