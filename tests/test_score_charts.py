"""Scores are in the charts of the service that tells them: by evaluation, as numbers, and each once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb import score_charts
from otel_wandb.cli import main
from otel_wandb.config import Settings
from otel_wandb.conventions.scores import Score
from otel_wandb.conventions.verdicts import score_number
from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from tests.spends import Works, at, attributes, event, resource, span, traces

RESULT = "gen_ai.evaluation.result"
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}

Row = dict[str, Any]


def told(name: str, value: object = None, **more: object) -> dict[str, object]:
    found: dict[str, object] = {"gen_ai.evaluation.name": name}
    if value is not None:
        found["gen_ai.evaluation.score.value"] = value
    return {**found, **{f"gen_ai.evaluation.{key.replace('__', '.')}": text for key, text in more.items()}}


def record(of: int, second: float, result: dict[str, object], *, trace: int = 1) -> dict[str, object]:
    return {
        "timeUnixNano": at(second),
        "eventName": RESULT,
        "attributes": attributes(result),
        "traceId": f"{trace:032x}",
        "spanId": f"{of:016x}",
    }


def logs(*records: dict[str, object], service: str = "rag") -> dict[str, Any]:
    scope = {"scope": {"name": "judge"}, "logRecords": list(records)}
    return {"resourceLogs": [{"resource": resource(service), "scopeLogs": [scope]}]}


def chat(number: int = 1, *, end: float = 30, **more: Any) -> dict[str, Any]:
    return span(number, "chat", CHAT, kind=3, trace=number, end=end, **more)


def scores(found: Row) -> Row:
    start = "metrics/gen_ai_evaluation_score_"
    return {key.removeprefix(start): value for key, value in found.items() if key.startswith(start)}


def means(found: Row) -> Row:
    ends = {name.removesuffix("_mean"): v for name, v in scores(found).items() if name.endswith("_mean")}
    return {
        name: (found[f"metrics/gen_ai_evaluation_score_{name}_count"], mean) for name, mean in ends.items()
    }


def play(*requests: dict[str, Any]) -> Works:
    works = Works()
    for one in requests:
        works.write(one)
    works.finish()
    return works


class TestRows:
    def test_each_evaluation_has_charts_of_its_own(self) -> None:
        events = [event(RESULT, 29, told("Answer Relevance", 0.9)), event(RESULT, 29, told("toxicity", 0))]
        works = play(
            traces([chat(1, events=events)]),
            logs(record(1, 31, told("Answer Relevance", 0.6)), record(1, 32, told("toxic?", "pass"))),
        )
        (found,) = works.rows()
        assert means(found) == {"Answer_Relevance": (2, 0.75), "toxicity": (1, 0), "toxic": (1, 1)}
        assert {key: v for key, v in scores(found).items() if key.startswith("Answer")} == {
            "Answer_Relevance_p50": pytest.approx(0.75, rel=0.003),
            "Answer_Relevance_p90": pytest.approx(0.87, rel=0.003),
            "Answer_Relevance_p95": pytest.approx(0.885, rel=0.003),
            "Answer_Relevance_p99": pytest.approx(0.897, rel=0.003),
            "Answer_Relevance_mean": 0.75,
            "Answer_Relevance_std": pytest.approx(0.15, rel=0.003),
            "Answer_Relevance_min": 0.6,
            "Answer_Relevance_max": 0.9,
            "Answer_Relevance_count": 2,
            "Answer_Relevance_sum": 1.5,
        }

    def test_openinference_and_pydantic_evals_are_counted_at_the_end_of_their_span(self) -> None:
        annotation = {
            "openinference.span.kind": "LLM",
            "annotations.0.annotation.name": "helpful",
            "annotations.0.annotation.score": 0.5,
            "annotations.0.annotation.label": "good",
        }
        case = {
            "assertions": json.dumps({"short": {"value": True}}),
            "scores": json.dumps({"f1": {"value": 0.25}}),
        }
        request = traces([span(2, "case: a", case, trace=2, end=70)])
        request["resourceSpans"][0]["scopeSpans"][0]["scope"] = {"name": "pydantic-evals"}
        first, second = play(traces([span(1, "llm", annotation)]), request).rows()
        assert (means(first), means(second)) == ({"helpful": (1, 0.5)}, {"short": (1, 1), "f1": (1, 0.25)})

    def test_a_score_counts_in_its_own_time_and_service(self) -> None:
        works = play(
            traces([chat(1)]),
            logs(record(1, 130, told("late", 1)), service="judge"),
            logs(record(1, 90, told("named", 0.5), trace=1)),
            traces([chat(2, end=200)]),
        )
        assert [(row["step"], means(row)) for row in works.rows("judge")] == [(2, {"late": (1, 1)})]
        assert [(row["step"], means(row)) for row in works.rows() if means(row)] == [(1, {"named": (1, 0.5)})]

    def test_twenty_evaluations_have_charts_and_the_rest_is_one(self) -> None:
        records = [
            record(1, 31, told(f"e{i}", i % 2, explanation=f"{j}")) for i in range(25) for j in range(25 - i)
        ]
        (found,) = play(traces([chat(1)]), logs(*records)).rows()
        shown = means(found)
        assert shown.pop("other") == (1 + 2 + 3 + 4 + 5, (2 + 4) / 15)
        assert shown == {f"e{i}": (25 - i, i % 2) for i in range(20)}

    def test_names_hold_no_secret(self) -> None:
        secret = "sk-proj-" + "a1B2" * 12
        works = play(traces([chat(1)]), logs(record(1, 31, told(f"n {secret}", 1))))
        assert means(works.rows()[0]) == {"n_redacted_openai_key": (1, 1)}
        assert not [state for state in works.store.reader.states().values() if secret.encode() in state]


class TestNumbers:
    @pytest.mark.parametrize(
        ("score", "number"),
        [
            (Score("a", value=0.25), 0.25),
            (Score("a", value=3), 3.0),
            (Score("a", value=True), 1.0),
            (Score("a", value=False, label="pass"), 0.0),
            (Score("a", label="Pass"), 1.0),
            (Score("a", label="failed "), 0.0),
            (Score("a", value_text="NaN", label="fail"), None),
            (Score("a", label="good"), None),
            (Score("a", explanation="because"), None),
            (Score("a", error_type="Timeout"), None),
        ],
    )
    def test_what_is_one(self, score: Score, number: float | None) -> None:
        assert score_number(score) == number

    def test_a_word_makes_feedback_and_no_chart(self) -> None:
        works = play(traces([chat(1)]), logs(record(1, 31, told("tone", score__label="friendly"))))
        assert len(list(works.store.reader.feedback.all())) == 1
        assert not scores(works.rows()[0])


class TestOnce:
    def test_as_event_and_as_record_and_again(self) -> None:
        result = told("a", 1)
        both = [traces([chat(1, events=[event(RESULT, 29, result)])]), logs(record(1, 31, result))]
        works = play(*both, logs(record(1, 33, result)), traces([chat(2, end=40)]))
        assert means(works.rows()[0]) == {"a": (1, 1)}

    def test_beyond_what_is_remembered_it_may_count_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(score_charts, "_SCORES_A_STATE", 2)
        monkeypatch.setattr(score_charts, "_STATES", 3)
        works = Works()
        works.write(traces([chat(1)]))
        for i, name in enumerate(("a", "b", "a", "c", "d", "a", "e", "f", "g", "g", "a")):
            works.write(logs(record(1, 31 + i, told(name, 1))))
            works.kill()
        assert len(works.states("scored/")) == 3
        (found,) = works.finish()
        assert {name: n for name, (n, _) in means(found).items()} == {**dict.fromkeys("bcdefg", 1), "a": 2}

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["span", "record"]), st.integers(0, 4), st.integers(1, 300)), min_size=1
        ),
        st.data(),
    )
    def test_a_kill_between_any_two_transactions_changes_nothing(
        self, steps: list[tuple[str, int, int]], data: st.DataObject
    ) -> None:
        kills = data.draw(st.sets(st.integers(0, len(steps) - 1)))
        outcomes = []
        for killed in (set[int](), kills):
            works = Works(Settings(linger_s=0))
            for i, (what, name, second) in enumerate(sorted(steps, key=lambda step: step[2])):
                result = told(f"e{name}", i % 3)
                if what == "span":
                    works.write(traces([chat(i + 1, end=second, events=[event(RESULT, second, result)])]))
                else:
                    works.write(logs(record(i + 1, second, result, trace=i + 1)))
                if i in killed:
                    works.kill()
            outcomes.append([(row["step"], scores(row)) for row in works.finish()])
        assert outcomes[0] == outcomes[1]
        assert sum(n for _, row in outcomes[0] for key, n in row.items() if key.endswith("_count")) == len(
            steps
        )

    def test_a_page_that_cannot_be_read_is_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        works = Works()
        works.write(traces([chat(1)]))
        works.write(logs(record(1, 31, told("a", 1))))
        with works.store.transaction() as tx:
            tx.put_state("scored/0", b"\xc1")
        works.kill()
        assert "scored/0 cannot be read" in caplog.text
        assert means(works.finish()[0]) == {"a": (1, 1)}


def test_the_order_of_the_files_does_not_matter_and_the_ledger_balances(tmp_path: Path) -> None:
    calls = [traces([chat(i, end=20 * i, seconds=i / 8)]) for i in range(1, 20)]
    judged = [logs(record(i, 20 * i + 30, told("a", i / 32), trace=i), service="judge") for i in range(1, 20)]
    files = {"traces": calls, "logs": judged}
    for name, lines in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    written = []
    for names in (("traces", "logs"), ("logs", "traces")):
        directory = tmp_path / "-".join(names)
        paths = [str(tmp_path / f"{name}.jsonl") for name in names]
        options = [
            "--no-deliver",
            "--rows",
            str(directory / "rows.jsonl"),
            "--data-dir",
            str(directory / "data"),
        ]
        directory.mkdir()
        done = CliRunner().invoke(main, ["replay", *paths, *options])
        assert done.exit_code == 0, done.output
        written.append((directory / "rows.jsonl").read_bytes())
        assert read_status(DataDir(directory / "data")).ledger.balanced
    assert written[0] == written[1]
    values = [json.loads(line)["values"] for line in written[0].splitlines()]
    assert sum(row.get("metrics/gen_ai_evaluation_score_a_count", 0) for row in values) == 19
    assert sum(row.get("latency/count", 0) for row in values) == 19
