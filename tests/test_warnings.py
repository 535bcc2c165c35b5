"""Warnings are data: every code is in one table, on the call, in the sums, and in the chart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from otel_wandb.conventions import BUILT_IN
from otel_wandb.conventions.warnings import WARNINGS, code_of_warning
from otel_wandb.records import Attributes, Event
from tests.genai_spans import START_NS, calls_of, chat, encode, make_span, make_trace, text_message
from tests.spends import Works, traces
from tests.spends import chat as wire_chat

ROOT = Path(__file__).parents[1]
TOLD = re.compile(r'(?:\bwarn|DecodeError)\(\s*"([a-z_]+)"|"(too_many_[a-z]+)"')


def codes_in_the_source() -> set[str]:
    files = [*(ROOT / "otel_wandb/conventions").glob("*.py"), *(ROOT / "otel_wandb/traces").glob("*.py")]
    found = (TOLD.findall(file.read_text()) for file in files)
    return {one or other for pairs in found for one, other in pairs}


def test_every_code_is_in_the_table_and_in_the_docs() -> None:
    assert codes_in_the_source() | {"undecodable", "dialect_not_loaded"} == set(WARNINGS)
    docs = (ROOT / "docs/conventions.md").read_text()
    assert re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", docs, re.MULTILINE) == list(WARNINGS.items())


def test_every_dialect_is_in_the_docs() -> None:
    docs = (ROOT / "docs/conventions.md").read_text()
    told = re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", docs, re.MULTILINE)
    assert told == [(str(dialect.rank), dialect.name) for dialect in BUILT_IN.dialects]


@pytest.mark.parametrize(
    ("warning", "code"),
    [
        ("undecodable:gen_ai.usage.input_tokens", "undecodable"),
        ("acme_is_odd", "acme_is_odd"),
        ("Acme: says 'x'", "other"),
        ("a" * 65, "other"),
        ("", "other"),
    ],
)
def test_codes_of_others_are_taken_as_far_as_they_are_codes(warning: str, code: str) -> None:
    assert code_of_warning(warning) == code


ANSWER: Attributes = {"gen_ai.output.messages": encode([text_message("assistant", "Paris.")])}


def warnings_of(*spans: Any) -> list[list[str] | None]:
    calls: Any = calls_of(make_trace(*spans))
    return [calls[n]["attributes"].get("mapping_warnings") for n in sorted(calls)]


@pytest.mark.parametrize(
    ("attributes", "more", "expected"),
    [
        (chat() | ANSWER, {}, ["usage_missing"]),
        (chat(gen_ai__response__id="a"), {}, ["usage_missing"]),
        (chat(3, 4) | ANSWER, {}, None),
        (chat() | ANSWER, {"status": 2}, None),
        (chat(), {}, None),
        ({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3}, {}, ["model_missing"]),
    ],
)
def test_what_a_model_call_should_tell(
    attributes: Attributes, more: dict[str, Any], expected: list[str] | None
) -> None:
    assert warnings_of(make_span(1, attributes, **more)) == [expected]


def test_what_another_span_of_the_same_call_tells_is_not_missed() -> None:
    outer, inner = make_span(1, chat(3, 4) | ANSWER), make_span(2, chat() | ANSWER, parent=1, start_ms=1)
    assert warnings_of(outer, inner) == [None, None]
    outer, inner = make_span(1, chat() | ANSWER), make_span(2, chat(3, 4) | ANSWER, parent=1, start_ms=1)
    assert warnings_of(outer, inner) == [None, None]


def test_an_event_that_cannot_be_read_is_a_warning_and_is_kept() -> None:
    event = Event(START_NS, "gen_ai.choice", {"message": "[{", "finish_reason": "stop", "index": 0})
    call: Any = calls_of(make_trace(make_span(1, chat(3, 4), events=[event])))[1]
    assert call["output"]["choices"][0]["message"]["content"] == "[{", "it may be what was said"


def test_sums_and_chart_go_on_after_a_restart() -> None:
    works = Works()
    odd = {"gen_ai.request.seed": "x", "gen_ai.request.top_p": "y"}
    for number, more in enumerate(({}, odd, odd)):
        works.write(traces(wire_chat(number, 10.0 + number, more=more)))
    works.write(traces(wire_chat(3, 55.0, more=odd)))  # by now the first three are given out
    assert len(works.states("/spans/")) > 0
    works.kill()
    works.write(traces(wire_chat(4, 70.0)))
    rows = works.finish()
    assert [row.get("bridge/mapping_warnings") for row in rows] == [6, None]
    counts = works.store.reader.snapshot().counts
    assert {key: n for key, n in counts.items() if key[0] == "mapping_warnings"} == {
        ("mapping_warnings", "otel-genai", "undecodable"): 6
    }


def test_a_service_of_which_spans_only_warn_has_a_row() -> None:
    works = Works()
    [call, _] = wire_chat(0, 10.0, more={"gen_ai.request.seed": "x"})
    call["attributes"] = [a for a in call["attributes"] if "usage" not in a["key"]]
    works.write(traces([call]))
    works.kill()
    [row] = works.finish()
    assert row["bridge/mapping_warnings"] == 1
    assert "tokens/input" not in row
