"""Scores out of spans and events: what they say, and nothing else, whatever was put into them."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.conventions import read_span
from otel_wandb.conventions.scores import Score, read_case, read_result, scores_of
from otel_wandb.records import Event, LogRecord, Resource, Scope, Span
from otel_wandb.traces.feedback import Cleaned, encode_feedback, feedback_id, object_name
from tests.scored import RESULT, result

OPENINFERENCE = {"openinference.span.kind": "LLM"}


def scores_in(attributes: Mapping[str, object], *events: Event, scope: str = "tests") -> list[Score]:
    span = Span("1" * 32, "2" * 16, "", "span", 1, 1, 2, dict(attributes), list(events))  # type: ignore[arg-type]
    return list(scores_of(read_span(span, Scope(scope), Resource())))


def payload(score: Score) -> dict[str, object]:
    body = encode_feedback(score, "id", lambda document: Cleaned(document, withheld=False))
    document: dict[str, object] = json.loads(body)
    return document


def test_an_event_of_the_span_is_a_score_and_no_longer_an_unknown_event() -> None:
    attributes = result("relevance", 0.75, score__label="good", explanation="It answers the question.")
    span = Span("1" * 32, "2" * 16, "", "chat", 1, 1, 2, {}, [Event(5, RESULT, attributes)])  # type: ignore[arg-type]
    facts = read_span(span, Scope("tests"), Resource())
    assert list(scores_of(facts)) == [
        Score("relevance", 0.75, label="good", explanation="It answers the question.", time_ns=5)
    ]
    assert facts.events is None


def test_an_event_without_a_result_stays_an_event() -> None:
    span = Span(
        "1" * 32, "2" * 16, "", "chat", 1, 1, 2, {}, [Event(5, RESULT, {"gen_ai.evaluation.name": "x"})]
    )
    facts = read_span(span, Scope("tests"), Resource())
    assert list(scores_of(facts)) == []
    assert facts.events == [
        {
            "name": RESULT,
            "time": "1970-01-01T00:00:00.000000Z",
            "attributes": {"gen_ai.evaluation.name": "x"},
        }
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, {"score": 1}),
        (0.5, {"score": 0.5}),
        (-3.25, {"score": -3.25}),
        (True, {"score": True}),
        (False, {"score": False}),
        ("0.8", {"score": 0.8}),
        ("7", {"score": 7}),
        ("true", {"score": True}),
        ("excellent", {"label": "excellent"}),
        (1e300, {"score": 1e300}),
        (2**53, {"score": 9007199254740992.0}),
        (10**400, {"score": None}),
        (math.nan, {"score": None}),
        (math.inf, {"score": None}),
        (-math.inf, {"score": None}),
        ("NaN", {"score": None}),
        ("1e999", {"score": None}),
        ([1, 2], {"score": None}),
        ({"a": 1}, {"score": None}),
    ],
)
def test_a_value_is_a_number_or_told_as_what_it_is(value: object, expected: dict[str, object]) -> None:
    score = read_result(result("x", value), 0)
    assert score is not None
    assert payload(score)["payload"]["output"] == expected  # type: ignore[index]  # JSON


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        ("NaN", "NaN"),
        ([1, 2], "[1,2]"),
        (10**400, "an integer of 1329 bits"),
    ],
)
def test_what_is_no_number_is_told_beside_the_score(value: object, text: str) -> None:
    score = read_result(result("x", value), 0)
    assert score is not None
    assert payload(score)["payload"]["value_text"] == text  # type: ignore[index]  # JSON


def test_a_word_beside_a_label_is_told_too() -> None:
    score = read_result(result("x", "high", score__label="pass"), 0)
    assert score is not None
    assert (score.value, score.value_text, score.label) == (None, "high", "pass")


def test_the_online_events_of_pydantic_evals() -> None:
    attributes = result(
        "Correctness",
        1.0,
        score__label="pass",
        explanation="looks right",
        target="my_agent",
        evaluator__source='{"name":"LLMJudge","arguments":{"rubric":"be right"}}',
        evaluator__version="2",
    )
    score = read_result(attributes, 1_000_000_000, "evaluation: Correctness=True")
    assert score is not None
    assert payload(score) == {
        "id": "id",
        "feedback_type": "wandb.runnable.Correctness",
        "creator": "LLMJudge",
        "payload": {
            "output": {"score": 1.0, "label": "pass", "explanation": "looks right"},
            "name": "Correctness",
            "evaluator": "LLMJudge",
            "time": "1970-01-01T00:00:01.000000Z",
            "metadata": {
                "evaluator.source": {"name": "LLMJudge", "arguments": {"rubric": "be right"}},
                "evaluator.version": "2",
                "target": "my_agent",
            },
        },
    }


def test_an_evaluation_that_failed_says_why() -> None:
    attributes = {**result("Correctness"), "error.type": "ValueError"}
    score = read_result(attributes, 0, "evaluation: Correctness failed: no answer")
    assert score is not None
    assert payload(score)["payload"] == {
        "output": {"explanation": "evaluation: Correctness failed: no answer", "error": "ValueError"},
        "name": "Correctness",
    }


def test_the_cases_of_pydantic_evals() -> None:
    case = {
        "case_name": "capital",
        "assertions": json.dumps(
            {
                "Equals": {
                    "name": "Equals",
                    "value": True,
                    "reason": None,
                    "source": {"name": "EqualsExpected", "arguments": None},
                }
            }
        ),
        "scores": json.dumps(
            {
                "len": {
                    "name": "len",
                    "value": 0.5,
                    "reason": "short",
                    "source": {"name": "Length", "arguments": [3]},
                }
            }
        ),
        "labels": json.dumps({"tone": {"name": "tone", "value": "friendly"}}),
    }
    assert [
        (s.name, s.value, s.label, s.explanation, s.evaluator)
        for s in scores_in(case, scope="pydantic-evals")
    ] == [
        ("Equals", True, None, None, "EqualsExpected"),
        ("len", 0.5, None, "short", "Length"),
        ("tone", None, "friendly", None, None),
    ]
    assert scores_in(case) == []  # attributes of these names mean something else elsewhere


def test_the_example_of_openinference() -> None:
    attributes: dict[str, object] = {
        **OPENINFERENCE,
        "annotations.0.annotation.name": "hallucination",
        "annotations.0.annotation.score": 1,
        "annotations.0.annotation.label": "hallucinated",
        "annotations.0.annotation.explanation": "The claim is not supported by the retrieved documents.",
        "annotations.0.annotation.annotator_kind": "LLM",
        "annotations.0.annotation.identifier": "judge-v2",
        "annotations.0.annotation.metadata": '{"rubric_version":"2"}',
    }
    (score,) = scores_in(attributes)
    assert payload(score) == {
        "id": "id",
        "feedback_type": "wandb.runnable.hallucination",
        "creator": "judge-v2",
        "payload": {
            "output": {
                "score": 1,
                "label": "hallucinated",
                "explanation": "The claim is not supported by the retrieved documents.",
            },
            "name": "hallucination",
            "kind": "LLM",
            "evaluator": "judge-v2",
            "metadata": {"rubric_version": "2"},
        },
    }


def test_both_terms_of_openinference_are_one_score_where_they_say_the_same() -> None:
    attributes: dict[str, object] = {**OPENINFERENCE}
    for term in ("annotation", "evaluation"):
        attributes |= {
            f"{term}s.0.{term}.name": "correctness",
            f"{term}s.0.{term}.label": "right",
            f"{term}s.1.{term}.name": term,
            f"{term}s.1.{term}.score": 1,
        }
    assert [score.name for score in scores_in(attributes)] == ["correctness", "annotation", "evaluation"]


def test_scores_of_a_trace_and_of_a_session() -> None:
    attributes: dict[str, object] = {
        **OPENINFERENCE,
        "trace.evaluations.0.evaluation.name": "quality",
        "trace.evaluations.0.evaluation.score": 0.9,
        "session.annotations.0.annotation.name": "mood",
        "session.annotations.0.annotation.label": "good",
    }
    assert [(score.name, score.scope) for score in scores_in(attributes)] == [
        ("quality", "trace"),
        ("mood", "session"),
    ]


def test_annotations_are_read_on_any_span_and_leave_nothing_behind() -> None:
    span = Span(
        "1" * 32,
        "2" * 16,
        "",
        "span",
        1,
        1,
        2,
        {"evaluations.0.evaluation.name": "a", "evaluations.0.evaluation.score": 1, "mine": 2},
    )
    facts = read_span(span, Scope("tests"), Resource())
    assert [score.name for score in scores_of(facts)] == ["a"]
    assert (facts.rest, facts.warnings) == ({"mine": 2}, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relevance", "relevance"),
        ("Answer Relevance", "Answer-Relevance"),
        ("rag/faithfulness@v2", "rag-faithfulness-v2"),
        ("a.b_c-d", "a.b_c-d"),
        ("--x--", "x"),
        ("x" * 128, "x" * 128),
    ],
)
def test_names_become_names_of_objects(name: str, expected: str) -> None:
    assert object_name(name) == expected


def test_names_that_lose_much_stay_apart() -> None:
    names = ["", "相关性", "准确性", "x" * 200, "x" * 201, "été", "étè"]
    assert len({object_name(name) for name in names}) == len(names)
    assert all(len(object_name(name)) <= 128 for name in names)


def test_the_id_of_a_score_depends_on_what_it_says_and_about_what() -> None:
    score = Score("a", 1.0, label="x", time_ns=5)
    told = feedback_id(score, "1" * 32, "2" * 16)
    assert uuid.UUID(told).version == 5
    assert told == feedback_id(score._replace(time_ns=9, value=1), "1" * 32, "2" * 16)
    others = [
        feedback_id(score, "1" * 32, "3" * 16),
        feedback_id(score._replace(value=2), "1" * 32, "2" * 16),
        feedback_id(score._replace(value=True), "1" * 32, "2" * 16),
        feedback_id(score._replace(label="y"), "1" * 32, "2" * 16),
        feedback_id(score._replace(explanation="why"), "1" * 32, "2" * 16),
        feedback_id(score._replace(evaluator="me"), "1" * 32, "2" * 16),
        feedback_id(score._replace(metadata={"user": 1}), "1" * 32, "2" * 16),
        feedback_id(score._replace(response_id="r"), "1" * 32, "2" * 16),
    ]
    assert len({told, *others}) == len(others) + 1


def test_the_largest_score_fits_into_what_the_server_takes() -> None:
    attributes = result("😀" * 9000, 1.0, score__label="😀" * 9000, explanation="😀" * 90_000)
    score = read_result({**attributes, **{f"k{n}": "😀" * 1000 for n in range(100)}}, 0)
    assert score is not None
    told = payload(score)["payload"]
    assert len(json.dumps(told)) < 1 << 20
    assert told["output"]["explanation"].endswith("… [cut]")  # type: ignore[index]  # JSON
    assert told["metadata"].keys() == {"cut"}  # type: ignore[index]  # JSON


def test_a_name_with_a_secret_becomes_another_name() -> None:
    score = Score("key sk-proj-abc", 1.0)
    body = encode_feedback(
        score,
        "id",
        lambda document: Cleaned(document.replace(b"sk-proj-abc", b"[redacted:x]"), withheld=False),
    )
    assert json.loads(body) == {
        "id": "id",
        "feedback_type": "wandb.runnable.key-redacted-x",
        "payload": {"output": {"score": 1.0}, "name": "key [redacted:x]"},
    }


def test_what_cannot_be_cleaned_keeps_its_number_only() -> None:
    score = Score("secret", 0.5, label="secret", explanation="secret")
    body = encode_feedback(score, "id", lambda document: Cleaned(document, withheld=True))
    assert json.loads(body) == {
        "id": "id",
        "feedback_type": "wandb.runnable.withheld",
        "payload": {
            "output": {"score": 0.5},
            "name": "withheld",
            "withheld": "withheld: the redaction of this score failed",
        },
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *(f"gen_ai.evaluation.{name}" for name in ("name", "score.value", "score.label", "explanation")),
        *("gen_ai.evaluation.evaluator.source", "gen_ai.evaluation.evaluator.type", "gen_ai.response.id"),
        *("error.type", "event.name", "other"),
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS, VALUES), VALUES)
def test_any_event_is_a_score_that_can_be_sent_or_none(attributes: dict[str, object], body: object) -> None:
    score = read_result(attributes, 1, body)
    if score is not None:
        assert score.tells
        told = payload(score)
        assert len(json.dumps(told["payload"])) < 1 << 20
        assert str(told["feedback_type"]).removeprefix("wandb.runnable.").isascii()
        again = read_result(dict(reversed(attributes.items())), 2, body)
        assert again is not None
        assert feedback_id(again, "t", "s") == feedback_id(score, "t", "s")


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                f"{prefix}.{n}{part}"
                for prefix in ("annotations", "evaluations", "trace.evaluations")
                for n in ("0", "1", "x", "00")
                for part in (
                    "",
                    ".annotation.name",
                    ".evaluation.score",
                    ".evaluation.metadata",
                    ".annotation",
                )
            ]
        ),
        VALUES,
    ),
    VALUES,
)
def test_any_attributes_are_read(attributes: dict[str, object], case: object) -> None:
    for score in scores_in({**OPENINFERENCE, **attributes}):
        payload(score)
    for score in read_case(case) or ():
        payload(score)


def test_a_log_record_is_read_as_an_event_of_the_span() -> None:
    record = LogRecord(7, event_name=RESULT, attributes=result("x", 1), trace_id="1" * 32, span_id="2" * 16)  # type: ignore[arg-type]
    span = Span("1" * 32, "2" * 16, "", "chat", 1, 1, 2)
    facts = read_span(span, Scope("tests"), Resource(), [record])
    assert [score.name for score in scores_of(facts)] == ["x"]
