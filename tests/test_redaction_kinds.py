"""Cards, cookies, connection strings, personal data and base64: what is found, and what stays as it is."""

from __future__ import annotations

import base64
import io
import json
import logging
from typing import Any
from urllib.parse import quote_plus

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.redaction import DEFAULT_PATTERNS, PII_PATTERNS, Redactor, drop, hash_with
from otel_wandb.redaction_log import RedactedFormatter
from otel_wandb.redaction_numbers import is_card
from otel_wandb.traces.clean_names import usual_redactor

USUAL = Redactor()
PERSONAL = Redactor((*DEFAULT_PATTERNS, *PII_PATTERNS))
CARD = "4111111111111111"
KEY = "sk-ant-" + "api03-R2D2c3poR2D2c3po"
PEM = "-----BEGIN PRIVATE " + "KEY-----\nMIIEowIBAAKCAQEA7bq9\n-----END PRIVATE KEY-----"


def clean(value: object, redactor: Redactor = USUAL) -> Any:
    redacted = redactor.redact(msgspec.json.encode(value))
    assert not redacted.withheld
    return msgspec.json.decode(redacted.body)


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("card 4111 1111 1111 1111 ok", "card [redacted:card] ok"),
        ("4111-1111-1111-1111.", "[redacted:card]."),
        (f"a\n{CARD}\nb", "a\n[redacted:card]\nb"),
        (f"é{CARD}", "é[redacted:card]"),
        ("4111 1111 1111 1111 5500 0000 0000 0004", "[redacted:card] [redacted:card]"),
        ("12 4111 1111 1111 1111 5", "12 [redacted:card] 5"),
        ("3782 822463 10005", "[redacted:card]"),
        ("6011111111111117, 3530111333300000", "[redacted:card], [redacted:card]"),
        (f"metadata.{CARD}", "metadata.[redacted:card]"),
        (json.dumps({"card": CARD}), '{"card": "[redacted:card]"}'),
        (json.dumps(f"é{CARD}"), '"\\u00e9[redacted:card]"'),
        (json.dumps({"card": int(CARD)}), '{"card": 9999999999999999}'),
        (int(CARD), 9999999999999999),
        ({"n": int(CARD), "m": [int(CARD), 5]}, {"n": 9999999999999999, "m": [9999999999999999, 5]}),
    ],
)
def test_cards(given: object, expected: object) -> None:
    assert clean(given) == expected
    assert clean([given]) == [expected]
    assert clean(json.dumps({"a": [given]})) == json.dumps({"a": [expected]})


@pytest.mark.parametrize(
    "harmless",
    [
        "4111 1111 1111 1112",
        "1234567812345670",
        f"x{CARD}",
        f"{CARD}x",
        f"{CARD}.5",
        f"0.{CARD}",
        "4111111111111111000000",
        "0000000000000000",
        float(CARD),
        0.4111111111111111,
        1_795_564_800_000_000_000,
        [12_000, 4_000_000],
        "41111111-1111-4111-8111-111111111111",
    ],
)
def test_what_is_no_card_stays(harmless: object) -> None:
    assert clean({"a": harmless}) == {"a": harmless}


def test_an_id_of_a_span_may_look_like_a_card() -> None:
    call = {
        "id": CARD,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "parent_id": CARD,
        "turn_id": CARD,
        "attributes": {"otel_links": [{"span_id": CARD}], "otel": {"order_id": CARD}},
        "inputs": {"id": CARD, "parent_id": f"{CARD} of 2026"},
    }
    assert clean(call) == {
        **call,
        "attributes": {"otel_links": [{"span_id": CARD}], "otel": {"order_id": "[redacted:card]"}},
        "inputs": {"id": "[redacted:card]", "parent_id": "[redacted:card] of 2026"},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/find?q=postgres%3A%2F%2Fapp%3As3cr3t%40db&k=4", "/find?q=[redacted:in_url]&k=4"),
        ("/find?q=ann%40example.org", "/find?q=[redacted:in_url]"),
        ("/find?q=Bearer+abcdefgh.0123456789", "/find?q=Bearer+[redacted:bearer_token]"),
        (f"/find?q={quote_plus(PEM)}#top", "/find?q=[redacted:in_url]#top"),
        ("/find?q=password%3Ds3cr3t%2Fx", "/find?q=[redacted:in_url]"),
        ("caf%C3%A9 at 100%25, 5%off", "caf%C3%A9 at 100%25, 5%off"),
    ],
)
def test_what_a_url_encodes(given: str, expected: str) -> None:
    assert clean({"url.query": given}, PERSONAL) == {"url.query": expected}
    assert clean(json.dumps({"u": [given]}), PERSONAL) == json.dumps({"u": [expected]})


def test_a_key_that_ends_like_an_assignment_says_nothing_of_the_next_member() -> None:
    told = {"app.password=": 0.0001, "b": 4_000_000}
    assert clean(told, Redactor(mark=drop)) == told


def test_a_log_has_no_secret_in_what_an_error_says(caplog: pytest.LogCaptureFixture) -> None:
    lines = RedactedFormatter()
    try:
        float(KEY)
    except ValueError:
        logging.getLogger("otel_wandb.test").exception("It is %s.", KEY)
    (record,) = caplog.records
    line = lines.format(record)
    assert KEY not in line
    assert "ERROR otel_wandb.test: It is [redacted:anthropic_key].\nTraceback" in line
    assert line.endswith("could not convert string to float: '[redacted:anthropic_key]'")


def test_of_a_line_that_cannot_be_redacted_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("otel_wandb.redaction").addHandler(
        handler := logging.StreamHandler(told := io.StringIO())
    )
    handler.setFormatter(lines := RedactedFormatter())
    monkeypatch.setattr(usual_redactor(), "_find", lambda body: 1 / 0)
    record = logging.LogRecord("otel_wandb.test", logging.INFO, "", 1, "It is %s.", (KEY,), None)
    try:
        assert lines.format(record).endswith(" INFO otel_wandb.test: withheld")
    finally:
        logging.getLogger("otel_wandb.redaction").removeHandler(handler)
    assert told.getvalue().endswith("A call could not be redacted; its content is withheld.\n")


@given(st.integers(0, 10**15 - 1))
def test_the_last_digit_of_a_card_finds_any_digit_that_is_wrong(number: int) -> None:
    stem = f"4{number % 10**14:014d}"
    (right,) = (digit for digit in "0123456789" if is_card(stem + digit))
    assert sum(is_card(stem + digit) for digit in "0123456789") == 1
    changed = f"{stem[:5]}{(int(stem[5]) + 1) % 10}{stem[6:]}{right}"
    assert not is_card(changed)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Cookie: sid=abc123; theme=dark\nHost: x", "Cookie: [redacted:cookie]\nHost: x"),
        ("Set-Cookie: sid=abc; Path=/; HttpOnly", "Set-Cookie: [redacted:cookie]"),
        ('cookie: a="q r"; sid=abc', "cookie: [redacted:cookie]"),
        (
            {"http.request.header.cookie": ["a=1; b=2", "c=3"], "x": "y"},
            {"http.request.header.cookie": ["[redacted:cookie]"], "x": "y"},
        ),
        (
            {"http.response.header.set-cookie": 'a="1"; b=2', "x": "y"},
            {"http.response.header.set-cookie": "[redacted:cookie]", "x": "y"},
        ),
        (
            json.dumps({"h": {"set-cookie": ["a=b", "c=d; Path=/"], "Host": "h"}}),
            '{"h": {"set-cookie": ["[redacted:cookie]"], "Host": "h"}}',
        ),
        (str({"Cookie": "sid=abc", "Host": "h"}), "{'Cookie': '[redacted:cookie]', 'Host': 'h'}"),
        ("A cookie: yum. cookies = good", "A cookie: yum. cookies = good"),
    ],
)
def test_cookies(given: object, expected: object) -> None:
    assert clean({"a": given}) == {"a": expected}
    assert clean({"a": [given]}) == {"a": [expected]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "AccountName=x;AccountKey=ab{}(==);EndpointSuffix=core",
            "AccountName=x;AccountKey=[redacted:connection_string];EndpointSuffix=core",
        ),
        (
            "Endpoint=sb://x/;SharedAccessKeyName=Root;SharedAccessKey=abc+/=",
            "Endpoint=sb://x/;SharedAccessKeyName=Root;SharedAccessKey=[redacted:connection_string]",
        ),
        (
            "Server=db;Password=p@{w}(1);Database=x",
            "Server=db;Password=[redacted:connection_string];Database=x",
        ),
        ("Server=db;Pwd=p {w}x", "Server=db;Pwd=[redacted:connection_string]"),
        ("SharedAccessSignature=sr=a&sig=b%3D;x", "SharedAccessSignature=[redacted:connection_string];x"),
    ],
)
def test_connection_strings(given: str, expected: str) -> None:
    assert clean({"a": given}) == {"a": expected}
    assert clean({"a": json.dumps([given])}) == {"a": json.dumps([expected])}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("mail bob.x+y@mail.example.org now", "mail [redacted:email] now"),
        ("\nbob@example.org\n", "\n[redacted:email]\n"),
        ("al@x.org,bob@y.org", "[redacted:email],[redacted:email]"),
        ("+49 171 1234567 or (555) 123-4567", "[redacted:phone] or [redacted:phone]"),
        ("call 030 1234567", "call [redacted:phone]"),
        ("DE89 3704 0044 0532 0130 00 IS MY IBAN", "[redacted:iban] IS MY IBAN"),
        (
            "PAY GB82WEST12345698765432 AND DE89370400440532013000.",
            "PAY [redacted:iban] AND [redacted:iban].",
        ),
        ("from 1.2.3.4:80", "from [redacted:ip]:80"),
        ("http://[2001:db8::1]:80 fe80::a1", "http://[[redacted:ip]]:80 [redacted:ip]"),
        ("::ffff:10.0.0.1", "[redacted:ip]"),
    ],
)
def test_personal_data(given: str, expected: str) -> None:
    assert clean({"a": given}) == {"a": given}
    assert clean({"a": given}, PERSONAL) == {"a": expected}
    assert clean({"a": json.dumps([given])}, PERSONAL) == {"a": json.dumps([expected])}


@pytest.mark.parametrize(
    "harmless",
    [
        "2026-01-01T00:00:00.000000Z 12:34:56 +01:00",
        "version 1.2.3.4.5, 127.0.0.1 and ::1, 1.2.3",
        "std::vector a::b dead::beef",
        "@decorator a@b 5@6",
        "GB82WEST12345698765433 AB12CDEFGHIJKLMNOP",
        "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331",
        "41111111-1111-4111-8111-111111111111",
        [1_795_564_800_000_000_000, -5.25, 12_000],
    ],
)
def test_what_is_nobodys_stays(harmless: object) -> None:
    assert clean({"a": harmless}, PERSONAL) == {"a": harmless}


@pytest.mark.parametrize("before", ["", "x ", "\n", "tok", "to", "t", 'say "', "é", "base64:"])
@pytest.mark.parametrize(
    "secret", [f"here is {KEY}, keep it", '{"api_key": "hunter22", "a": "more text here"}']
)
def test_base64_is_looked_into(before: str, secret: str) -> None:
    encoded = in_base64(f"padding {secret} padding")
    for told in (encoded, encoded.rstrip("="), encoded.replace("+", "-").replace("/", "_")):
        cleaned = clean({"a": f"{before}{told}", "b": json.dumps([told])})
        assert "[redacted:base64]" in cleaned["a"]
        assert json.loads(cleaned["b"]) == ["[redacted:base64]"]
        assert told[8:-8] not in encode(cleaned)


def encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


@pytest.mark.parametrize(
    "harmless",
    [
        f"data:text/plain;base64,{in_base64(KEY * 3)}",
        in_base64("x" * 3000 + KEY + "x" * 3000),
        in_base64("nothing to see here, and nothing to hide either"),
        "a" * 64,
        "0123456789abcdef" * 4,
        "/usr/lib/python3/dist-packages/some/where/far/away",
    ],
)
def test_what_base64_does_not_hide(harmless: str) -> None:
    assert clean({"a": harmless}) == {"a": harmless}


def test_hashes_are_equal_where_values_are() -> None:
    one, other = (Redactor((*DEFAULT_PATTERNS, *PII_PATTERNS), hash_with(key)) for key in (b"one", b"other"))
    first = clean({"a": "bob@x.org al@x.org", "b": json.dumps({"c": ["bob@x.org"]})}, one)
    bob, al = first["a"].split(" ")
    assert bob.startswith("[hashed:email:")
    assert bob != al
    assert json.loads(first["b"]) == {"c": [bob]}
    assert clean({"a": "bob@x.org"}, other)["a"] not in (bob, al)
    assert clean(first, one) == first
    assert clean(int(CARD), one) == 9999999999999999


def test_a_hash_does_not_depend_on_how_a_value_is_escaped() -> None:
    redactor = Redactor(DEFAULT_PATTERNS, hash_with(b"key"))
    told = clean({"password": "höl/lo wörld"}, redactor)["password"]
    plain = redactor.redact(b'{"password":"h\\u00f6l\\/lo w\\u00f6rld"}')
    assert msgspec.json.decode(plain.body)["password"] == told


def test_what_is_dropped_leaves_nothing() -> None:
    redactor = Redactor((*DEFAULT_PATTERNS, *PII_PATTERNS), drop)
    assert clean({"a": "to bob@x.org: hi", "password": "hunter22", "n": int(CARD)}, redactor) == {
        "a": "to : hi",
        "password": "",
        "n": 9999999999999999,
    }


CANARIES = st.sampled_from(
    [
        CARD,
        "5500 0000 0000 0004",
        "bob.canary@example.org",
        "DE89 3704 0044 0532 0130 00",
        "+49 171 1234567",
        "10.20.30.40",
        "2001:db8::c0de",
        KEY,
        "Cookie: sid=canary77",
    ]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
AROUND = st.sampled_from(["", " ", "\n", '"', "é", "(", "\t", "\\", ", ", "\x1b", "\\n "])


def plant(value: object, told: str, draw: st.DataObject) -> object:
    """The value with the text in one place of it, as a text, as a key, or around all of it."""
    match draw.draw(st.sampled_from(["beside", "key", "inside", "nested"])):
        case "beside":
            return [value, told, value]
        case "key":
            return {"a": value, told: 1}
        case "nested":
            return {"a": json.dumps([plant(value, told, draw)], ensure_ascii=draw.draw(st.booleans()))}
        case _:
            return {"a": [plant(value, told, draw)], "b": value}


@settings(max_examples=150, deadline=None)
@given(JSON_VALUES, CANARIES, AROUND, AROUND, st.booleans(), st.data())
def test_a_canary_is_found_wherever_it_is(
    value: object, canary: str, before: str, behind: str, wrapped: bool, data: st.DataObject
) -> None:
    told = f"{before}{canary}{behind}"
    if wrapped:
        told = before + in_base64(f"some text {canary} and some more of it") + " " + behind
    document = {"id": "1", "a": plant(value, told, data)}
    redacted = PERSONAL.redact(msgspec.json.encode(document))
    assert not redacted.withheld
    assert msgspec.json.decode(redacted.body)["id"] == "1"
    hidden = canary.removeprefix("Cookie: ")
    assert hidden.encode() not in redacted.body
    assert in_base64(f"some text {canary} and some more of it").encode() not in redacted.body
    assert PERSONAL.redact(redacted.body).body == redacted.body


HOSTILE = (
    "4111 " * 100_000,
    "4" * 500_000,
    "4-" * 200_000,
    "DE89" * 100_000,
    "DE89 " * 100_000,
    "a@" * 200_000,
    "a." * 200_000 + "@",
    "1.2.3." * 100_000,
    "1:2:" * 100_000,
    "::" * 200_000,
    "+49 " * 100_000,
    "cookie: a=b;" * 40_000,
    'cookie: a="' * 40_000,
    "password=;" * 40_000,
    "A" * 500_000,
    ("QUJD" * 900 + " ") * 100,
    "/" * 300_000,
)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: text[:8])
def test_hostile_input_takes_linear_time(hostile: str) -> None:
    # Each would take hours in quadratic time; the test's own time limit is the judge.
    assert not PERSONAL.redact(msgspec.json.encode({"id": "1", "a": hostile})).withheld
