"""Of what metrics and spans both tell, one counts: the metric wins, within two intervals, for a run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.cli import main
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.metrics.catalogue import DURATIONS, SPLITS
from otel_wandb.metrics.sorting import find_measure
from otel_wandb.metrics.sources import Choice, DaySources
from otel_wandb.status import read_status
from otel_wandb.traces import observations
from tests.spends import Works, duration_metrics, span, traces

HTTP = {"http.request.method": "POST", "http.route": "/chat"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
DAY = 86_400

Row = dict[str, Any]


def request(number: int, end: float, *, seconds: float = 2.0) -> dict[str, Any]:
    """One request to the service that ends at that second, as a span."""
    return traces([span(number, "POST /chat", HTTP, kind=2, trace=number, end=end, seconds=seconds)])


def metric(end: float, *seconds: float, **more: Any) -> dict[str, Any]:
    return duration_metrics(end, *seconds, told=HTTP, **more)


def seen(rows: list[Row], key: str = "latency/count") -> list[tuple[int, int]]:
    return [(found["step"], found[key]) for found in rows if found.get(key)]


def play(*requests: dict[str, Any], settings: Settings | None = None) -> Works:
    works = Works(settings or Settings(linger_s=0))
    for one in requests:
        works.write(one)
    works.finish()
    return works


class TestChoice:
    def test_the_metric_wins_where_there_are_both(self) -> None:
        rows = play(request(1, 30), metric(59, 0.5, 0.5, 0.5)).rows()
        assert seen(rows) == [(0, 3)]
        assert rows[0]["latency/POST_chat_max_ms"] == 500.0

    def test_each_thing_that_is_measured_has_a_choice_of_its_own(self) -> None:
        both = [span(1, "POST /chat", HTTP, kind=2), span(2, "search", TOOL, parent=1)]
        (found,) = play(traces(both), metric(59, 0.5, 0.5)).rows()
        assert found["latency/POST_chat_count"] == 2
        assert found["latency/search_count"] == 1

    def test_a_metric_of_a_model_call_leaves_retrievals_and_embeddings_to_spans(self) -> None:
        told = [
            {"gen_ai.operation.name": op, "gen_ai.request.model": "m"}
            for op in ("chat", "embeddings", "retrieval")
        ]
        spans = traces([span(i, "call", one, kind=3, trace=i) for i, one in enumerate(told, 1)])
        call = duration_metrics(59, 0.5, 0.5, instrument="gen_ai.client.operation.duration", told=told[0])
        (found,) = play(spans, call).rows()
        assert {k: v for k, v in found.items() if k.startswith("latency/") and k.endswith("_count")} == {
            "latency/chat_m_count": 2,
            "latency/embeddings_m_count": 1,
            "latency/retrieval_count": 1,
        }

    def test_a_metric_that_waits_in_a_later_interval_is_known(self) -> None:
        rows = play(request(1, 30), metric(70, 0.5, 0.5), request(2, 90), metric(130, 0.5)).rows()
        assert seen(rows) == [(1, 2), (2, 1)], "what the first one covers of the first interval is in it"

    def test_a_metric_that_comes_within_two_intervals_takes_over_after_it(self) -> None:
        early = [request(1, 30), request(2, 90), metric(100, 0.5, 0.5)]
        assert seen(play(*early, request(3, 150), metric(160, 0.5, 0.5, 0.5)).rows()) == [
            (0, 1),
            (1, 1),
            (2, 3),
        ]
        assert seen(play(*early).rows()) == [(0, 1), (1, 1)], (
            "the last export of a process tells of all again"
        )

    def test_after_two_intervals_the_choice_stays_for_the_run(self) -> None:
        late = [request(1, 30), request(2, 90), request(3, 150), metric(170, 0.5, 0.5), request(4, 210)]
        works = play(*late, metric(DAY + 20, 0.5), request(5, DAY + 30), metric(DAY + 80, 1, 1, 1, 1))
        assert seen(works.rows()) == [(0, 1), (1, 1), (2, 1), (3, 1), (0, 1), (1, 4)]
        others = play(request(1, 30), metric(50, 0.5), metric(110, 0.5), request(2, 150), request(3, 210))
        assert seen(others.rows()) == [(0, 1), (1, 1)], "and a metric that stays away is not made up for"

    def test_the_next_run_waits_for_the_metrics_of_the_last(self) -> None:
        first_day = [request(1, 30), metric(50, 0.5), metric(110, 0.5)]
        with_metrics = [request(2, DAY + 30), request(3, DAY + 90), metric(DAY + 110, 0.5, 0.5)]
        assert seen(play(*first_day, *with_metrics).rows()) == [(0, 1), (1, 1), (1, 2)]
        without = [request(number, DAY + 60 * number - 90) for number in range(2, 6)]
        assert seen(play(*first_day, *without).rows()) == [(0, 1), (1, 1), (1, 1), (2, 1), (3, 1)]

    @pytest.mark.parametrize(("source", "expected"), [("metrics", [(0, 3)]), ("spans", [(0, 1), (1, 1)])])
    def test_a_setting_decides_instead(self, source: Any, expected: list[tuple[int, int]]) -> None:
        chosen = Settings(source=source, linger_s=0)
        assert (
            seen(play(request(1, 30), metric(59, 1, 1, 1), request(2, 90), settings=chosen).rows())
            == expected
        )

    def test_what_was_forced_is_found_out_anew(self) -> None:
        works = Works(Settings(source="spans", linger_s=0))
        for one in (request(1, 30), metric(50, 1, 1), request(2, 90), metric(110, 1, 1), request(3, 150)):
            works.write(one)
        works.settings = Settings(linger_s=0)
        works.kill()
        for one in (request(4, 210), metric(230, 1, 1), request(5, 280), metric(290, 1, 1)):
            works.write(one)
        assert seen(works.finish()) == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2)]

    def test_old_and_new_names_of_both_are_one_chart(self) -> None:
        old = {"http.method": "POST", "http.target": "/chat"}
        spans = traces([span(1, "POST /chat", {**old, **HTTP}, kind=2)])
        older = duration_metrics(59, 0.5, 0.5, instrument="http.server.duration", told=old)
        (found,) = play(spans, metric(59, 0.5, 0.5), older).rows()
        assert found["latency/count"] == 2

    def test_services_choose_by_themselves(self) -> None:
        works = play(request(1, 30), metric(59, 1, 1, service="other"))
        assert seen(works.rows()) == [(0, 1)]
        assert seen(works.rows("other")) == [(0, 2)]

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["span", "metric"]), st.integers(1, 500)),
            min_size=1,
            max_size=8,
            unique_by=lambda step: step[1],
        ),
        st.data(),
    )
    def test_a_kill_changes_no_choice(self, steps: list[tuple[str, int]], data: st.DataObject) -> None:
        kills = data.draw(st.sets(st.integers(0, len(steps) - 1)))
        played = []
        for killed in (set(), kills):
            works = Works(Settings(linger_s=0))
            for i, (what, second) in enumerate(sorted(steps, key=lambda step: step[1])):
                works.write(
                    request(i + 1, second) if what == "span" else metric(second, 1, start=second - 0.5)
                )
                if i in killed:
                    works.kill()
            played.append((works.finish(), sorted(works.states("/sources"))))
        assert played[0] == played[1]


class TestRule:
    """The choice as a function of what came."""

    @pytest.mark.parametrize(
        ("before", "metrics", "expected"),
        [
            ("", "....", "ssss"),
            ("", "m...", "mmmm"),
            ("", ".m..", "ssmm"),
            ("", "m.m.", "mmmm"),
            ("", "..m.", "ssss"),
            ("spans", "..m.", "ssss"),
            ("spans", ".m..", "ssmm"),
            ("spans", "m...", "smmm"),
            ("metrics", "....", "msss"),
            ("metrics", ".m..", "mmmm"),
            ("metrics", "m...", "mmmm"),
            ("metrics", "..m.", "msss"),
        ],
    )
    def test_rows_of_a_run(self, before: Any, metrics: str, expected: str) -> None:
        from otel_wandb.metrics.sources import choose

        known = Choice(before) if before else None
        told = ""
        for mark in metrics:
            known = choose(known, "auto", metric=mark == "m")
            told += known.source[0]
        assert told == expected

    def test_the_next_run_begins_with_the_choice(self) -> None:
        day = DaySources({"tools": Choice("metrics", 2, seen=True)})
        assert day.follow().chosen == {"tools": Choice("metrics")}

    def test_whatever_spans_tell_is_measured_by_a_metric_too(self) -> None:
        known = [value if isinstance(value, tuple) else (value,) for value in vars(observations).values()]
        rules = [rule for rules in known for rule in rules if isinstance(rule, observations.Rule)]
        assert len(rules) == 12
        for rule in rules:
            assert find_measure(rule.instrument, {}), rule.instrument
        measures = {duration.measure for duration in DURATIONS} | {split.measure for split in SPLITS}
        assert find_measure("some.counter", {}) == ""
        assert "" not in measures


def test_status_says_from_where_each_service_counts(tmp_path: Any) -> None:
    lines = [
        traces([span(1, "POST /chat", HTTP, kind=2), span(2, "search", TOOL, parent=1)]),
        metric(59, 0.5),
        traces([span(3, "POST /chat", HTTP, kind=2, trace=3)], service="gateway"),
    ]
    file = tmp_path / "all.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = CliRunner().invoke(
        main, ["replay", str(file), "--no-deliver", "--data-dir", str(tmp_path / "data")]
    )
    assert done.exit_code == 0, done.output
    status = read_status(DataDir(tmp_path / "data"))
    told = [line for line in status.render().splitlines() if line.startswith("counts from")]
    assert told == [
        "counts from  spans for HTTP requests (gateway, run of 2026-11-25)",
        "counts from  metrics for HTTP requests; spans for tools (rag, run of 2026-11-25)",
    ]
    assert json.loads(status.to_json())["sources"] == [
        {
            "service": service,
            "project": "otel-wandb",
            "run": "2026-11-25",
            "counts_from": sources,
        }
        for service, sources in (
            ("gateway", {"HTTP requests": "spans"}),
            ("rag", {"HTTP requests": "metrics", "tools": "spans"}),
        )
    ]
