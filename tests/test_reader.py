"""The shared reader: any table over any keys, and decoders that take what producers really send."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

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
from otel_wandb.conventions.messages import read_messages
from otel_wandb.conventions.reader import Reader
from otel_wandb.conventions.table import Dialect, row, words
from otel_wandb.conventions.times import iso_time
from otel_wandb.records import Attributes, Event, Resource, Scope
from tests.genai_spans import START_NS, chat, make_log, make_span, text_message, told

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
