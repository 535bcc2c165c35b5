"""Traces that alarms name: kept ones that show what has changed, after a kill the same, links when sent."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_wandb.config import Settings
from otel_wandb.delivery.alert_carriers import encode_alert, link_examples
from otel_wandb.metrics.exemplars import Exemplars
from otel_wandb.metrics.intervals import Calendar
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.records import Attributes, Exemplar, HistogramPoint, Metric
from otel_wandb.store import QueuedAlert
from otel_wandb.tables.examples import IntervalExamples
from otel_wandb.tables.nearest import Candidate
from otel_wandb.view_settings import read_views
from otel_wandb.views.examples import LARGEST, SMALLEST, Example, NoExamples, tell_examples
from tests.metric_samples import S
from tests.spends import Works, duration_metrics
from tests.test_view_answers import DRIFT
from tests.test_views import SLO, play, told_by, works_of

RAG = RunSeries("https://api.wandb.ai", "team", "rag", "rag")
TRACE = re.compile(r"Examples: ([0-9a-f/, ]+)\.$")


def exemplar(number: int, value: float) -> dict[str, Any]:
    ids = {"traceId": f"{number:032x}", "spanId": f"{number:016x}"}
    return {**ids, "timeUnixNano": "1", "asDouble": value}


def minute(number: int, *, slow: bool) -> dict[str, Any]:
    """A hundred requests and an exemplar of each kind."""
    share = 60 if slow else 20
    document = duration_metrics(60 * (number + 1), *[5.0] * share, *[0.5] * (100 - share))
    (point,) = document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["histogram"]["dataPoints"]
    point["exemplars"] = [exemplar(10 * number + 1, 0.5), exemplar(10 * number + 2, 5.0)]
    return document


class TestAlarms:
    @staticmethod
    def play(kill_after: int = -1) -> str:
        works = Works(Settings(views=read_views([DRIFT])))
        for number in range(20):
            works.write(minute(number, slow=number >= 10))
            if number == kill_after:
                works.kill()
        works.finish()
        (alert,) = told_by(works)
        return alert.text

    def test_drift_names_exemplars_of_its_interval(self) -> None:
        text = self.play()
        found = TRACE.search(text)
        assert found is not None, text
        numbers = [int(one.partition("/")[0], 16) for one in found[1].split(", ")]
        assert {number // 10 for number in numbers} <= set(range(10, 20))
        assert len({number // 10 for number in numbers}) == 1
        assert [number % 10 for number in numbers] == [2]  # the slow one: of the other kind there are fewer

    @pytest.mark.parametrize("kill_after", [10, 13, 14, 15])
    def test_a_kill_changes_nothing(self, kill_after: int) -> None:
        assert self.play(kill_after) == self.play()

    def test_a_service_that_sends_spans_only_has_its_sampled_requests(self) -> None:
        works = works_of(SLO)
        play(works)
        texts = [alert.text for alert in told_by(works) if alert.name.startswith("slo_burn")]
        assert texts
        assert all(TRACE.search(text) for text in texts)
        killed = works_of(SLO)
        play(killed, kill_after=8)
        assert told_by(killed) == told_by(works)


def see(*values: float, trace: int = 0, **attributes: str) -> Metric:
    exemplars = [
        Exemplar(1, value, f"{i + 1 + trace:032x}", f"{i + 1:016x}") for i, value in enumerate(values)
    ]
    point = HistogramPoint(0, 30 * S, Attributes(attributes), len(values), exemplars=exemplars)
    return Metric("a.b", "histogram", [point])


def examples_of(exemplars: Exemplars, **changes: Any) -> IntervalExamples:
    given = {"find_request": lambda _: None, "is_kept": lambda _: True, **changes}
    return IntervalExamples(exemplars.close(RAG, 60 * S), (), given["find_request"], given["is_kept"])


class TestChoice:
    def test_the_nearest_and_none_twice(self) -> None:
        exemplars = Exemplars(Calendar(60 * S))
        exemplars.add([see(1.0, 5.0, 9.0)], RAG)
        examples = examples_of(exemplars)
        assert [int(one.trace_id, 16) for one in examples.find("a.b", [4.0, 4.0, 4.0])] == [2, 1, 3]
        assert [int(one.trace_id, 16) for one in examples.find("a.*", LARGEST)] == [3, 2, 1]
        assert [int(one.trace_id, 16) for one in examples.find("a.*", SMALLEST)] == [1, 2, 3]
        assert examples.find("a", [1.0]) == []

    def test_attributes_and_traces_that_are_not_kept(self) -> None:
        exemplars = Exemplars(Calendar(60 * S))
        exemplars.add([see(1.0, 2.0, model="x"), see(1.0, 2.0, trace=5, model="y")], RAG)
        examples = examples_of(exemplars, is_kept=lambda trace: int(trace, 16) != 6)
        assert [int(one.trace_id, 16) for one in examples.find("a.b", [1.0] * 3, {"model": "y"})] == [7]

    def test_requests_stand_in_where_there_are_no_exemplars(self) -> None:
        def find(latency_ns: float) -> Candidate:
            return Candidate("POST /chat", round(latency_ns), 0, f"{round(latency_ns):032x}", "b" * 16)

        examples = examples_of(Exemplars(Calendar(60 * S)), find_request=find)
        found = examples.find("http.server.request.duration", [2.0, 3.0])
        assert [int(one.trace_id, 16) for one in found] == [2 * S, 3 * S]
        assert examples.find("rag.query.length", [2.0]) == []
        assert examples.find("http.server.request.duration", [2.0], {"http.route": "/a"}) == []

    @given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.randoms(use_true_random=False))
    def test_neither_order_nor_repeats_matter(self, values: list[float], random: Any) -> None:
        parts = [see(value, trace=i) for i, value in enumerate(values)]
        one, other = Exemplars(Calendar(60 * S)), Exemplars(Calendar(60 * S))
        one.add(parts, RAG)
        shuffled = [*parts, *parts[: len(parts) // 2]]
        random.shuffle(shuffled)
        for part in shuffled:
            other.add([part], RAG)
        closed = one.close(RAG, 60 * S)
        assert closed == other.close(RAG, 60 * S)
        assert len(closed["a.b"]) <= 72
        assert one.close(RAG, 60 * S) == {}


ALERT_TEXT = f"It moved. Examples: {'a' * 32}/{'b' * 16}, {'c' * 32}/{'d' * 16}."


class TestLinks:
    ALERT = QueuedAlert(
        id=1,
        route="log",
        destination=1,
        config="",
        entity="team",
        project="my rag",
        uid="a" * 32,
        name="drift_query",
        service="rag",
        state="firing",
        level="warn",
        title="query has drifted",
        text=ALERT_TEXT,
        run="run-1",
        step=1,
        time_s=0.0,
        first_attempt_s=None,
        body=None,
    )

    def test_where_it_is_sent(self) -> None:
        told = json.loads(encode_alert(self.ALERT, "https://wandb.ai/team/my%20rag/runs/run-1"))
        page = "https://wandb.ai/team/my%20rag/r/call/"
        assert told["text"] == f"It moved. Examples: {page}{'b' * 16}, {page}{'d' * 16}."

    def test_where_nobody_knows_whose_project_it_is(self) -> None:
        assert link_examples(ALERT_TEXT, "", self.ALERT) == ALERT_TEXT

    def test_words(self) -> None:
        assert tell_examples([Example("a", "b"), Example("c", "d")]) == "Examples: a/b, c/d."
        assert tell_examples(NoExamples().find("a", [1.0])) == ""
