"""Two versions of a service at once: each has charts, and what is in none of them is in the rest, exactly."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest

from otel_wandb.metrics.charts import Charts
from otel_wandb.metrics.closed import ClosedInterval
from otel_wandb.metrics.versions import MAX_VERSIONS, REST, VersionedTotals, version_of
from otel_wandb.records import Attributes, MetricBatch, Resource, Scope
from tests.metric_samples import DAY_S, House, histogram, histograms
from tests.spends import Works, chat, token_metrics, traces

SUMMED = ("tokens/{}_input", "tokens/{}_output", "cost/{}_usd")


def process(version: str | None, *seconds: float, end: float, failed: int = 0) -> MetricBatch:
    """What a process of a version measured in the minute before that second."""
    resource: Attributes = {"service.name": "rag-api", "service.instance.id": f"{version} {end}"}
    if version is not None:
        resource["service.version"] = version
    known: Attributes = {"http.request.method": "POST", "http.route": "/chat"}
    points = [histogram(seconds, end, end - 30, attributes=known)]
    if failed:
        points.append(histogram([0.2] * failed, end, end - 30, attributes={**known, "error.type": "boom"}))
    metric = histograms("http.server.request.duration", *points)
    return MetricBatch(Resource(resource), Scope("tests"), [metric])


def rows(*batches: MetricBatch) -> list[dict[str, Any]]:
    house, charts = House(), Charts()
    for one in batches:
        house.write(one)
    return [dict(charts.build_row(closed).values) for closed in house.finish()]


def of_versions(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if "/version_" in key}


def versions_in(row: dict[str, Any]) -> list[str]:
    return sorted(
        key.removeprefix("latency/").removesuffix("_count")
        for key in of_versions(row)
        if key.startswith("latency/") and key.endswith("_count")
    )


class TestMetrics:
    def test_each_has_what_it_would_have_alone(self) -> None:
        stable, canary = [0.01 * n for n in range(1, 31)], [0.02 * n for n in range(1, 11)]
        (both,) = rows(process("1.2.0", *stable, end=40), process("1.3.0-rc1", *canary, end=41, failed=5))
        (first,), (second,) = (
            rows(process("1.2.0", *stable, end=40)),
            rows(process("1.3.0-rc1", *canary, end=41, failed=5)),
        )
        assert of_versions(first) == of_versions(second) == {}
        assert of_versions(both) == {
            f"{section}/{name}_{field}": alone[f"{section}/{field if section != 'errors' else whole}"]
            for name, alone in (("version_1_2_0", first), ("version_1_3_0_rc1", second))
            for section, field, whole in (
                ("latency", "p50_ms", ""),
                ("latency", "p95_ms", ""),
                ("latency", "count", ""),
                ("throughput", "requests_per_second", ""),
                ("errors", "rate_percent", "total_rate_percent"),
            )
        }
        assert both["errors/version_1_3_0_rc1_rate_percent"] == pytest.approx(100 * 5 / 15)
        assert both["latency/count"] == 45

    def test_from_the_second_one_on_both_have_charts_for_the_rest_of_the_day(self) -> None:
        found = rows(
            process("1", 0.1, end=40),
            process("1", 0.1, end=100),
            process("2", 0.1, 0.1, end=101),
            process("2", 0.1, 0.1, 0.1, end=160),
            process("2", 0.1, end=DAY_S + 40),
        )
        assert [versions_in(row) for row in found] == [
            [],
            ["version_1", "version_2"],
            ["version_1", "version_2"],
            [],
        ]
        assert [row["latency/version_1_count"] for row in found[1:3]] == [1, 0]
        assert [row["latency/version_2_count"] for row in found[1:3]] == [2, 3]
        assert "latency/version_1_p95_ms" not in found[2]

    def test_a_few_have_charts_and_the_others_are_the_rest(self) -> None:
        batches = [process(f"v{n}", *[0.1] * n, end=40) for n in range(1, 8)]
        (row,) = rows(*batches, process(None, 0.1, end=40))
        shown = [f"version_v{n}" for n in (3, 4, 5, 6, 7)]
        assert versions_in(row) == ["version_other", *shown]
        assert row["latency/version_other_count"] == 1 + 2 + 1
        assert sum(row[f"latency/{name}_count"] for name in versions_in(row)) == row["latency/count"] == 29

    def test_one_that_tells_none_is_no_version(self) -> None:
        (row,) = rows(process("1", 0.1, end=40), process(None, 0.1, end=40), process("", 0.1, end=40))
        assert of_versions(row) == {}

    def test_the_order_in_which_they_come_does_not_matter(self) -> None:
        batches = [process(f"v{n}", *[0.1 * n] * n, end=40 + n) for n in range(4)]
        wanted = rows(*batches)
        for order in itertools.permutations(batches):
            assert rows(*order) == wanted

    def test_any_text_is_a_version(self) -> None:
        (row,) = rows(
            process("2024/Ü", 0.1, end=40),
            process("2024.Ü", 0.1, 0.1, end=40),
            process("other", *[0.1] * 3, end=40),
            process("x" * 500, *[0.1] * 4, end=40),
        )
        names = versions_in(row)
        assert len(names) == 4
        assert sorted(row[f"latency/{name}_count"] for name in names) == [1, 2, 3, 4]
        assert row["latency/version_other__count"] == 3
        assert "version_2024_U" in names


def request(version: str, *spans: list[dict[str, Any]]) -> dict[str, Any]:
    message = traces(*spans)
    attributes = message["resourceSpans"][0]["resource"]["attributes"]
    attributes.append({"key": "service.version", "value": {"stringValue": version}})
    return message


def metered(version: str, end: float, given: int, model: str) -> dict[str, Any]:
    message = token_metrics(end, given=given, model=model, start=end - 30)
    attributes = message["resourceMetrics"][0]["resource"]["attributes"]
    attributes.append({"key": "service.version", "value": {"stringValue": version}})
    return message


def parts_of(row: dict[str, Any], pattern: str) -> float:
    begin, end = pattern.split("{}")
    found = [v for key, v in row.items() if key.startswith(f"{begin}version_") and key.endswith(end)]
    return float(sum(found))


def whole_of(row: dict[str, Any], pattern: str) -> float:
    return float(row["cost/total_usd" if pattern.startswith("cost") else pattern.replace("{}_", "")])


class TestSpans:
    def test_tokens_and_cost_of_each(self) -> None:
        works = Works()
        works.write(request("1", chat(0, 30), chat(1, 31)))
        works.write(request("2", chat(2, 32, given=3000, made=10)))
        (row,) = works.finish()
        spent = {key: v for key, v in of_versions(row).items() if key.startswith(("tokens", "cost"))}
        assert spent == {
            "tokens/version_1_input": 2000,
            "tokens/version_1_output": 200,
            "tokens/version_2_input": 3000,
            "tokens/version_2_output": 10,
            "cost/version_1_usd": pytest.approx(0.00042),
            "cost/version_2_usd": pytest.approx(0.000456),
        }
        assert row["tokens/input"] == 5000
        assert row["latency/version_1_count"] + row["latency/version_2_count"] == row["latency/count"] == 3

    @pytest.mark.parametrize("seed", range(4))
    def test_the_versions_and_the_rest_are_the_whole(self, seed: int) -> None:
        rng, works = random.Random(seed), Works()
        for minute in range(4):
            for number in range(rng.randrange(1, 9)):
                version = f"v{rng.randrange(8)}"
                end = 60 * minute + 31 + number / 10
                if rng.random() < 0.3:
                    works.write(metered(version, end, rng.randrange(1, 900), rng.choice(("o3", "gpt-4o"))))
                else:
                    made = chat(
                        100 * minute + number, end, given=rng.randrange(5000), made=rng.randrange(900)
                    )
                    works.write(request(version, made))
        for row in works.finish():
            if of_versions(row):
                for pattern in SUMMED:
                    assert parts_of(row, pattern) == pytest.approx(whole_of(row, pattern)), pattern

    def test_a_kill_between_two_transactions_changes_nothing(self) -> None:
        def run(*, killed: bool) -> list[dict[str, Any]]:
            works = Works()
            for number, version in enumerate(("1", "2", "1", "3", "2")):
                works.write(request(version, chat(number, 30 + 7 * number)))
                if killed:
                    works.kill()
            return works.finish()

        rows = run(killed=True)
        assert rows == run(killed=False)
        assert versions_in(rows[0]) == ["version_1", "version_2", "version_3"]


class TestShares:
    def test_with_one_version_its_share_is_the_whole(self) -> None:
        house = House()
        house.write(process("1", 0.1, end=40))
        (closed,) = house.finish()
        assert {version: share.data for version, share in closed.versions.items()} == {"1": closed.data}

    def test_there_is_an_end_to_the_versions(self) -> None:
        totals = VersionedTotals()
        for number in range(MAX_VERSIONS + 5):
            totals.of(b"%d" % number, {"service.version": f"v{number}"})
        assert set(totals.parts) == {*(f"v{number}" for number in range(MAX_VERSIONS)), REST}
        house = House()
        for number in range(MAX_VERSIONS + 5):
            house.write(process(f"v{number:02}", 0.1, end=40))
        (closed,) = house.finish()
        assert set(closed.versions) == {*(f"v{number:02}" for number in range(MAX_VERSIONS)), REST}
        assert sum(counted(closed)) == MAX_VERSIONS + 5

    def test_the_version_is_told_by_the_resource(self) -> None:
        told: list[Attributes] = [{}, {"service.version": ""}, {"service.version": 7}]
        assert [version_of(one) for one in told] == ["", "", "7"]


def counted(closed: ClosedInterval) -> Iterator[int]:
    for share in closed.versions.values():
        for series in share.data:
            yield int(getattr(series.value, "count", 0))
