"""Secrets never pass, ids and times always do, and what comes out is JSON."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.redaction import DEFAULT_PATTERNS, Pattern, Redactor, withhold
from tests.genai_spans import START_NS, chat, encode, make_span, make_trace, shape, text_message

REDACTOR = Redactor()
ENCRYPTED_KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123ABCD\n\n"
    "MIIEowIBAAKCAQEA7bq9abcd\nDEF123+/=\n-----END RSA PRIVATE KEY-----"
)
PRIVATE_KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq9\nabcDEF123+/=\n-----END RSA PRIVATE KEY-----"
)

# Put together here, so that scanners of source code do not take them for lost keys.
SECRETS = {
    "private_key": [
        PRIVATE_KEY,
        PRIVATE_KEY[:60],
        PRIVATE_KEY.replace("RSA ", ""),
        PRIVATE_KEY.replace("\n", " "),
        ENCRYPTED_KEY,
    ],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl0w5N"],
    "aws_access_key": ["AKIA" + "IOSFODNN7EXAMPLE", "ASIA" + "Y34FZKBOKMUTVV7A"],
    "anthropic_key": ["sk-ant-" + "api03-R2D2c3poR2D2c3poR2D2"],
    "openai_key": ["sk-" + "abcdEFGH1234abcdEFGH1234", "sk-proj-" + "abc_DEF-1234abcdEFGH"],
    "wandb_key": ["wandb_v1_" + "9sGkq3ZbP0aYx8Wm4LrT7u", "local-" + "0123456789abcdef" * 2 + "01234567"],
    "github_token": [
        "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
        "github_pat_" + "11ABCDEFG0abcdefghij_x",
    ],
    "gitlab_token": ["glpat-" + "abcdefghij1234567890"],
    "slack_token": ["xoxb-" + "123456789012-abcdefGHIJKL"],
    "google_key": ["AIza" + "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY"],
    "stripe_key": ["sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "whsec_" + "abcdefghijklmnop1234"],
    "vendor_token": ["hf_" + "abcdefghijklmnopqrstuvwxyz1234567890"],
}


def redact(value: object) -> Any:
    redacted = REDACTOR.redact(msgspec.json.encode(value))
    assert not redacted.withheld
    return msgspec.json.decode(redacted.body), redacted.hits


@pytest.mark.parametrize(
    ("name", "secret"), [(name, s) for name, secrets in SECRETS.items() for s in secrets]
)
@pytest.mark.parametrize(
    "around",
    ["{}", "key {} here", "line\n{}\nline", "tab\t{}", 'say "{}"', "é{}", "\x1b{}", "_{}", "({})", "a={},b"],
)
def test_tokens_are_found_wherever_they_stand(name: str, secret: str, around: str) -> None:
    told = around.replace("{}", secret)
    for value in (
        {"a": told},
        {"a": encode({"b": told})},
        {"a": encode({"b": encode([told])})},
        [told, told],
    ):
        redacted, hits = redact(value)
        assert secret not in encode(redacted)
        assert secret.splitlines()[-1] not in encode(redacted)
        assert f"[redacted:{name}]" in encode(redacted)
        assert hits[name] >= 1


def test_what_stands_around_a_secret_stays() -> None:
    redacted, hits = redact({"a": f"before\n{SECRETS['openai_key'][0]} after", "b": "x"})
    assert redacted == {"a": "before\n[redacted:openai_key] after", "b": "x"}
    assert hits == {"openai_key": 1}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("password=hunter22", "password=[redacted:text_assignment]"),
        ("DB_PASSWORD: hunter22;", "DB_PASSWORD: [redacted:text_assignment];"),
        ("api_key = 'abcd1234'", "api_key = '[redacted:text_assignment]'"),
        ('{"api_key": "abcd1234"}', '{"api_key": "[redacted:nested_assignment]"}'),
        ('x-api-key: "abcd1234"', 'x-api-key: "[redacted:text_assignment]"'),
        ("Authorization: Bearer abcdef123456", "Authorization: [redacted:authorization]"),
        ("Bearer abcdefgh12345678", "Bearer [redacted:bearer_token]"),
        ("postgresql://app:s3cret@db:5432/x", "postgresql://app:[redacted:url_password]@db:5432/x"),
        ("redis://:s3cret@cache", "redis://:[redacted:url_password]@cache"),
        ("https://x/y?sig=abcdef%2B123456&z=1", "https://x/y?sig=[redacted:url_signature]&z=1"),
        (
            "https://hooks.slack.com/services/T000/B000/XXXX1234",
            "https://hooks.slack.com/services/[redacted:slack_webhook]",
        ),
    ],
)
def test_assignments_and_urls(given: str, expected: str) -> None:
    assert redact({"a": given})[0] == {"a": expected}


def test_members_named_like_secrets() -> None:
    given = {
        "password": 'hun"ter\\22',
        "OPENAI_API_KEY": "abc def",
        "secretary": "Ann",
        "max_tokens": 5,
        "token": "the",
    }
    assert redact({"inputs": {"arguments": given}})[0]["inputs"]["arguments"] == {
        "password": "[redacted:assignment]",
        "OPENAI_API_KEY": "[redacted:assignment]",
        "secretary": "Ann",
        "max_tokens": 5,
        "token": "the",
    }


@pytest.mark.parametrize(
    "harmless",
    [
        "the bearer of responsibilities",
        "a risk-assessment of the sk-learn package, sk-learn-contrib-extras",
        '{"password": null, "api_key": "string", "secret": {"type": "string"}}',
        "password: string",
        "https://example.org:8080/a@b",
        "contact me@example.org or see https://example.org/?q=token",
        "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 2026-01-01T00:00:00.000000Z",
        "The secret of a good password is length.",
        "data:image/png;base64,AKIAiVBORw0KGgoAAAANSUhEUg==",
    ],
)
def test_what_is_no_secret_stays(harmless: str) -> None:
    assert redact({"a": harmless, "b": [harmless]}) == ({"a": harmless, "b": [harmless]}, {})


def test_a_clean_body_comes_back_as_the_very_same_bytes() -> None:
    body = shape(make_trace(make_span(1, chat(1, 2)))).calls[0].encode()
    assert REDACTOR.redact(body).body is body


def test_redacting_twice_changes_nothing_more() -> None:
    body = msgspec.json.encode(
        {"a": [s for secrets in SECRETS.values() for s in secrets], "b": "password=hunter22"}
    )
    once = REDACTOR.redact(body)
    assert REDACTOR.redact(once.body) == (once.body, {}, False)


def test_secrets_in_every_place_of_a_call() -> None:
    secret = SECRETS["openai_key"][0]
    attributes = chat(
        gen_ai__input__messages=encode([text_message("user", secret)]),
        gen_ai__output__messages=encode([text_message("assistant", secret)]),
        gen_ai__tool__definitions=encode([{"name": "f", "description": secret}]),
        gen_ai__request__model=secret,
        app__key=secret,
        session__id=secret,
    )
    body = (
        shape(make_trace(make_span(1, attributes, name=f"chat {secret}", message=secret, status=2)))
        .calls[0]
        .encode()
    )
    redacted = REDACTOR.redact(body)
    assert body.count(secret.encode()) > 6
    assert secret.encode() not in redacted.body
    assert redacted.hits["openai_key"] == body.count(secret.encode())
    assert msgspec.json.decode(redacted.body)["id"] == f"{1:016x}"


IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)


@settings(max_examples=60, deadline=None)
@given(IDS, st.integers(START_NS, START_NS + 10**18), st.integers(0, 2**53))
def test_ids_times_and_counts_are_never_hit(number: str, start_ns: int, tokens: int) -> None:
    span = msgspec.structs.replace(
        make_span(1, chat(tokens, 1, gen_ai__response__id=f"chatcmpl-{number}")),
        trace_id=number,
        span_id=number[:16],
        parent_id=number[16:],
        start_ns=start_ns,
        end_ns=start_ns + 5,
    )
    body = shape(make_trace(span)).calls[0].encode()
    assert REDACTOR.redact(body) == (body, {}, False)


PIECES = st.sampled_from(
    [s for secrets in SECRETS.values() for s in secrets]
    + [
        "password=",
        '"api_key": "',
        "://u:",
        "@",
        "Bearer ",
        "\\",
        '"',
        "'",
        "\n",
        "\\n",
        "-----BEGIN PRIVATE KEY-----",
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES | st.text(max_size=8), max_size=12), st.integers(0, 3))
def test_whatever_is_redacted_stays_json(pieces: list[str], depth: int) -> None:
    value: object = "".join(pieces)
    for _ in range(depth):
        value = encode({"password": value, "x": [value]})
    body = msgspec.json.encode({"id": "1", "a": value})
    redacted = REDACTOR.redact(body)
    assert not redacted.withheld, "no pattern may cut an escape sequence"
    assert msgspec.json.decode(redacted.body)["id"] == "1"


def test_when_a_pattern_fails_the_content_is_withheld(caplog: pytest.LogCaptureFixture) -> None:
    def fail(value: str) -> bool:
        raise ZeroDivisionError

    redactor = Redactor((*DEFAULT_PATTERNS, Pattern("broken", "Eiffel", fail)))
    attributes = chat(5, 3, gen_ai__input__messages=encode([text_message("user", "The Eiffel Tower?")]))
    body = (
        shape(make_trace(make_span(1, attributes, name="chat Eiffel", message="Eiffel", status=2)))
        .calls[0]
        .encode()
    )
    with caplog.at_level(logging.ERROR, "otel_wandb.redaction"):
        redacted = redactor.redact(body)
    assert redacted.withheld
    assert b"Eiffel" not in redacted.body
    assert "Eiffel" not in caplog.records[0].getMessage()
    note = "withheld: the redaction of this call failed"
    assert msgspec.json.decode(redacted.body) == {
        "id": f"{1:016x}",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "started_at": "2026-01-01T00:00:00.000000Z",
        "ended_at": "2026-01-01T00:00:00.010000Z",
        "op_name": "withheld",
        "attributes": {"kind": "other", "withheld": note},
        "inputs": {"withheld": note},
        "output": note,
        "summary": {
            "status_counts": {"success": 0, "error": 1},
            "usage": {
                "withheld-0": {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8, "requests": 1}
            },
        },
        "exception": encode({"type": "error", "message": note}),
    }


def test_a_pattern_that_breaks_the_json_withholds_too() -> None:
    redacted = Redactor([Pattern("bad", r'"a":"')]).redact(b'{"id":"1","a":"b"}')
    assert redacted.withheld
    assert msgspec.json.decode(redacted.body)["id"] == "1"


def test_withholding_what_is_no_call() -> None:
    assert withhold(b"not json") == b"{}"
    assert withhold(b"[1]") == b"{}"


def test_hostile_input_takes_linear_time() -> None:
    # Each of these is quadratic or worse for a backtracking engine; the test's own time limit is the judge.
    repeated = ("password=hunter22 ", "a://b:c@", '"password":"', SECRETS["openai_key"][0] + " ")
    for hostile in (
        *(text * 20_000 for text in repeated),
        "-----BEGIN PRIVATE KEY-----" * 20_000,
        "password" * 100_000,
        "eyJ" + "a" * 500_000,
        "a://" * 100_000,
        "%41" * 100_000,
        "a" * 500_000 + "%",
        "a%41 " * 100_000,
    ):
        redacted = REDACTOR.redact(msgspec.json.encode({"id": "1", "a": hostile}))
        assert not redacted.withheld
