"""Every point is counted once, in its interval, whatever comes twice, late, in disorder, or dies midway."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.metrics.closed import Level, Summary
from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.intervals import Calendar
from otel_wandb.metrics.streams import StreamLimits
from otel_wandb.records import (
    ExponentialPoint,
    Metric,
    MetricBatch,
    NumberPoint,
    SummaryPoint,
    Value,
)
from tests.metric_samples import (
    EDGES,
    House,
    S,
    at,
    batch,
    counter,
    gauge,
    histogram,
    histograms,
    number,
    values_of,
)

few = settings(max_examples=60, deadline=None)


def run(*batches: MetricBatch, limits: StreamLimits | None = None) -> House:
    house = House(limits or StreamLimits())
    for one in batches:
        house.write(one)
    house.finish()
    assert house.streams.open_points == 0
    return house


class TestIntervals:
    def test_a_point_counts_in_the_interval_that_it_ends_in(self) -> None:
        house = run(batch(counter("n", number(1, 30), number(2, 60, 30), number(4, 61, 60))))
        assert [(c.interval.step, values_of(c)["n"]) for c in house.closed] == [(0, 3), (1, 4)]
        first, second = house.closed
        assert first.interval.end_ns == second.interval.start_ns == at(60)
        assert first.points == 2

    def test_the_watermark_closes_an_interval_when_lateness_has_passed(self) -> None:
        house = House()
        house.write(batch(counter("n", number(1, 30))))
        house.write(batch(counter("n", number(1, 74, 30))))
        assert house.closed == []
        house.write(batch(counter("n", number(1, 75, 74))))
        assert [c.interval.step for c in house.closed] == [0]

    def test_a_late_point_goes_into_the_next_row_and_is_counted(self) -> None:
        house = House()
        for second in (30, 80):
            house.write(batch(counter("n", number(1, second, second - 30))))
        house.write(batch(counter("n", number(8, 59, 58))))
        house.finish()
        assert [(values_of(c)["n"], c.late_points) for c in house.closed] == [(1, 0), (9, 1)]

    def test_the_last_late_point_of_a_day_goes_into_the_first_row_of_the_next(self) -> None:
        house = House()
        house.write(batch(counter("n", number(1, 86_399, 86_300))))
        house.write(batch(counter("n", number(2, 86_500, 86_400))))
        house.write(batch(counter("n", number(4, 86_398, 86_397))))
        house.finish()
        assert [(c.run.date, c.interval.step, values_of(c)["n"]) for c in house.closed] == [
            ("2024-10-04", 1439, 1),
            ("2024-10-05", 0, 4),
            ("2024-10-05", 1, 2),
        ]

    def test_a_day_that_comes_after_a_later_one_has_its_own_rows(self) -> None:
        house = House()
        house.write(batch(counter("n", number(1, 100_000, 99_990))))
        house.write(batch(counter("n", number(1, 100_100, 100_000))))
        house.write(batch(counter("n", number(2, 30))))
        house.finish()
        assert [(c.run.date, c.late_points) for c in house.closed] == [
            ("2024-10-05", 0),
            ("2024-10-04", 0),
            ("2024-10-05", 0),
        ]

    def test_one_wrong_clock_among_many_ends_nothing(self) -> None:
        house = House()
        good = [number(1, 30, worker=str(i)) for i in range(5)]
        house.write(batch(counter("n", *good, number(1, 9_000_000, worker="x"))))
        house.write(batch(counter("n", number(1, 40, 30, worker="1"))))
        assert house.closed == []
        house.finish()
        assert [c.late_points for c in house.closed] == [0, 0]

    @pytest.mark.parametrize(
        ("rotation", "second", "step", "period"),
        [
            ("day", 1, 0, "2024-10-04"),
            ("day", 86_400, 1439, "2024-10-04"),
            ("day", 86_401, 0, "2024-10-05"),
            ("week", 1, 4 * 1440, "2024-09-30"),
            ("week", 3 * 86_400, 7 * 1440 - 1, "2024-09-30"),
            ("week", 3 * 86_400 + 1, 0, "2024-10-07"),
        ],
    )
    def test_steps_are_functions_of_time(self, rotation: Any, second: int, step: int, period: str) -> None:
        limits = StreamLimits(calendar=Calendar(rotation=rotation))
        (closed,) = run(batch(counter("n", number(1, second, second - 1))), limits=limits).closed
        assert (closed.interval.step, closed.run.date) == (step, period)

    def test_an_interval_that_does_not_divide_the_day_ends_with_it(self) -> None:
        calendar = Calendar(interval_ns=7_000 * S)
        interval = calendar.interval_at(at(86_300))
        assert (interval.step, interval.end_ns) == (12, at(86_400))
        assert interval.seconds == 86_400 - 84_000
        assert calendar.interval_at(at(86_400) + 1).step == 0


class TestLive:
    def test_an_idle_interval_closes_on_the_wall_clock(self) -> None:
        house = House(replay=False)
        house.write(batch(counter("n", number(1, 30))), written=30)
        assert house.tick(60 + 15) == []
        assert [values_of(c)["n"] for c in house.tick(60 + 16)] == [1]

    def test_nothing_is_closed_before_all_that_was_written_is_read(self) -> None:
        """Of two workers' segments one is read an hour ahead of the other."""
        house = House(replay=False)
        for second in range(30, 3630, 60):
            house.write(batch(counter("n", number(1, second, second - 60))), written=second)
            house.tick(30)  # the other segment's first frame is from there
        for second in range(30, 3630, 60):
            b = batch(counter("n", number(1, second, second - 60)), instance="b")
            house.write(b, written=second, segment="b-0.seg")
            house.tick(second)
        house.tick(4_000)
        assert [(c.interval.step, values_of(c)["n"], c.late_points) for c in house.closed] == [
            (step, 2, 0) for step in range(60)
        ]

    def test_a_clock_that_is_ahead_does_not_end_what_others_measure(self) -> None:
        house = House(replay=False)
        house.write(batch(counter("n", number(1, 1_000))), written=30)
        house.write(batch(counter("n", number(1, 40)), instance="b"), written=40)
        house.tick(50)
        assert house.closed == []

    def test_a_point_from_far_ahead_is_dropped(self) -> None:
        house = House(replay=False)
        house.write(batch(counter("n", number(1, 3_631))), written=30)
        assert house.counts["dropped future"] == 1


class TestDelta:
    def test_replicas_are_merged(self) -> None:
        house = run(
            *(batch(counter("n", number(3, 50, route="/a")), instance=name) for name in "abcd"),
            *(batch(histograms("h", histogram([0.02, 0.2], 50)), instance=name) for name in "abcd"),
        )
        (closed,) = house.closed
        found = values_of(closed)
        assert found["n{route=/a}"] == 12
        h = found["h"]
        assert isinstance(h, ExplicitHistogram)
        assert (h.count, h.min, h.max) == (8, 0.02, 0.2)
        assert h.sum == pytest.approx(0.88)
        assert {r["service.instance.id"] for r in closed.resources} == set("abcd")

    def test_a_repeat_is_dropped_open_or_closed(self) -> None:
        house = House()
        first = batch(counter("n", number(5, 30)))
        house.write(first)
        house.write(first)
        house.write(batch(counter("n", number(1, 100, 30))))
        house.write(first)
        house.finish()
        assert [values_of(c)["n"] for c in house.closed] == [5, 1]
        assert house.counts["dropped duplicate"] == 2

    def test_another_process_with_the_same_times_is_no_repeat(self) -> None:
        house = run(batch(counter("n", number(5, 30))), batch(counter("n", number(5, 30)), instance="b"))
        assert values_of(house.closed[0])["n"] == 10

    def test_exponential_scales_meet_at_the_coarser(self) -> None:
        def point(scale: int, counts: list[int], second: float) -> Metric:
            data = ExponentialPoint(
                at(0), at(second), {}, sum(counts), 1.0, scale, 0, positive_offset=0, positive_counts=counts
            )
            return replace_temporality(Metric("h", "exponential_histogram", [data], "s"), 1)

        house = run(batch(point(1, [1, 2, 3, 4], 30)), batch(point(0, [10, 20], 40)))
        (series,) = house.closed[0].data
        assert not isinstance(series.value, Fraction | Level | Summary | ExplicitHistogram)
        assert (series.value.scale, series.value.positive) == (0, (0, (13, 27)))

    def test_edges_that_change_keep_the_common_ones_and_say_so(self) -> None:
        house = run(
            batch(histograms("h", histogram([0.3], 30))),
            batch(histograms("h", histogram([0.3, 0.7], 40, 30, bounds=(0.25, 0.6, 1.0)))),
        )
        (closed,) = house.closed
        h = values_of(closed)["h"]
        assert isinstance(h, ExplicitHistogram)
        assert (h.bounds, h.counts) == ((0.25, 1.0), (0, 3, 0))
        assert closed.warnings["buckets_differ"] == 1

    @pytest.mark.parametrize("points", [15, 16, 17, 100])
    def test_many_points_of_a_stream_are_one(self, points: int) -> None:
        each = [
            histogram([0.3], 1 + i / 10, i / 10, bounds=EDGES if i else (0.25, 1.0)) for i in range(points)
        ]
        (closed,) = run(batch(histograms("h", *each)), batch(histograms("h", *each))).closed
        h = values_of(closed)["h"]
        assert isinstance(h, ExplicitHistogram)
        assert (h.bounds, h.counts) == ((0.25, 1.0), (0, points, 0))
        assert closed.warnings["buckets_differ"] == 1
        assert closed.points == points

    def test_an_up_down_counter_stands_where_its_steps_lead(self) -> None:
        house = House()
        for second, step in ((10, 3), (20, -1), (70, 2), (130, -4)):
            house.write(batch(counter("q", number(step, second, second - 10), monotonic=False)))
            if second == 70:
                house.kill()
        house.finish()
        assert [values_of(c)["q"] for c in house.closed] == [Level((Fraction(n),)) for n in (2, 4, 0)]


def replace_temporality(metric: Metric, temporality: int) -> Metric:
    return Metric(metric.name, metric.kind, metric.points, metric.unit, "", temporality, metric.monotonic)


class TestCumulative:
    def test_what_came_in_between_is_counted(self) -> None:
        points = [number(v, t) for t, v in ((30, 5), (50, 7), (90, 7), (150, 20))]
        house = run(batch(counter("n", *points, cumulative=True)))
        assert [values_of(c)["n"] for c in house.closed] == [7, 0, 13]

    def test_the_order_of_arrival_does_not_matter(self) -> None:
        points = [number(v, t) for t, v in ((30, 5), (40, 6), (50, 7), (55, 9))]
        for order in (points, points[::-1], [points[2], points[0], points[3], points[1]]):
            house = run(*(batch(counter("n", point, cumulative=True)) for point in order))
            assert [values_of(c)["n"] for c in house.closed] == [9]
            assert house.counts["dropped"] == 0

    def test_a_restart_counts_from_its_start(self) -> None:
        points = [number(100, 30), number(110, 90), number(4, 150, 95), number(9, 210, 95)]
        house = run(batch(counter("n", *points, cumulative=True)))
        assert [values_of(c)["n"] for c in house.closed] == [100, 10, 4, 5]

    def test_a_fall_without_a_new_start_is_a_reset(self) -> None:
        points = [number(100, 30), number(7, 90), number(9, 150)]
        house = run(batch(counter("n", *points, cumulative=True)))
        assert [values_of(c)["n"] for c in house.closed] == [100, 7, 2]
        assert house.closed[1].warnings["reset"] == 1

    def test_histograms_are_subtracted_bucket_by_bucket(self) -> None:
        early, late = [0.007, 0.2], [0.007, 0.2, 0.03, 0.3, 0.3]
        house = run(
            batch(histograms("h", histogram(early, 30), histogram(late, 90), cumulative=True)),
            batch(histograms("h", histogram([0.9], 150, 100), cumulative=True)),
        )
        first, second, third = (values_of(c)["h"] for c in house.closed)
        assert isinstance(first, ExplicitHistogram)
        assert isinstance(second, ExplicitHistogram)
        assert isinstance(third, ExplicitHistogram)
        assert first.count == 2
        assert second.counts == (0, 0, 0, 1, 0, 0, 2, 0, 0)
        assert second.sum == pytest.approx(0.63)
        assert (third.count, third.max) == (1, 0.9)

    def test_edges_that_change_mid_stream_lose_no_count(self) -> None:
        house = run(
            batch(histograms("h", histogram([0.2, 0.3], 30), cumulative=True)),
            batch(histograms("h", histogram([0.2, 0.3, 0.7], 90, bounds=(0.25, 0.6, 1.0)), cumulative=True)),
        )
        h = values_of(house.closed[1])["h"]
        assert isinstance(h, ExplicitHistogram)
        assert (h.count, h.bounds, h.counts) == (1, (0.25, 1.0), (0, 1, 0))

    def test_a_gap_counts_where_it_ends(self) -> None:
        house = run(batch(counter("n", number(5, 30), number(50, 3_630), cumulative=True)))
        assert [(c.interval.step, values_of(c)["n"]) for c in house.closed] == [(0, 5), (60, 45)]

    def test_a_service_that_has_counted_for_long_begins_with_its_first_increase(self) -> None:
        points = [number(10_000, t, -100_000) for t in (30, 50)]
        house = run(batch(counter("n", *points, number(10_003, 90, -100_000), cumulative=True)))
        assert [values_of(c)["n"] for c in house.closed] == [0, 3]
        assert house.counts["dropped no_baseline"] == 1

    @pytest.mark.parametrize("start_ns", [0, at(30)])
    def test_a_stream_that_does_not_say_since_when_too(self, start_ns: int) -> None:
        points = [NumberPoint(start_ns, at(t), {}, v) for t, v in ((30, 500), (50, 505))]
        house = run(batch(counter("n", *points, cumulative=True)))
        assert [values_of(c)["n"] for c in house.closed] == [5]

    def test_processes_that_share_an_identity_are_told_apart_by_their_starts(self) -> None:
        one = [number(v, t, 1) for t, v in ((30, 5), (90, 9), (150, 10))]
        two = [number(v, t, 2) for t, v in ((31, 50), (91, 51), (151, 60))]
        house = run(
            *(
                batch(counter("n", point, cumulative=True))
                for pair in zip(one, two, strict=True)
                for point in pair
            )
        )
        assert [values_of(c)["n"] for c in house.closed] == [55, 5, 10]

    def test_a_point_from_before_the_last_is_dropped(self) -> None:
        house = House()
        for second, value in ((30, 5), (110, 9)):
            house.write(batch(counter("n", number(value, second), cumulative=True)))
        house.write(batch(counter("n", number(4, 20), cumulative=True)))
        house.finish()
        assert [values_of(c)["n"] for c in house.closed] == [5, 4]
        assert house.counts["dropped out_of_order"] == 1

    def test_a_summary_counts_and_keeps_its_last_quantiles(self) -> None:
        points = [
            SummaryPoint(at(0), at(t), {}, n, float(n), [(0.5, 0.1 * n), (0.9, math.nan)])
            for t, n in ((30, 4), (90, 6))
        ]
        house = run(batch(Metric("s", "summary", list(points), "s")))
        assert [values_of(c)["s"] for c in house.closed] == [
            Summary(4, Fraction(4), ((0.5, 0.4),)),
            Summary(2, Fraction(2), ((0.5, pytest.approx(0.6)),)),  # type: ignore[arg-type]  # it compares
        ]

    def test_a_level_is_the_last_of_each_process(self) -> None:
        house = run(
            batch(counter("q", number(9, 50), number(4, 30), cumulative=True, monotonic=False)),
            batch(counter("q", number(1, 40), cumulative=True, monotonic=False), instance="b"),
            batch(gauge("g", number(2.5, 20), number(1.5, 10))),
        )
        assert values_of(house.closed[0]) == {
            "q": Level((Fraction(1), Fraction(9))),
            "g": Level((Fraction(2.5),)),
        }


class TestLimits:
    def test_the_series_beyond_the_limit_are_one_and_exact(self) -> None:
        points = [number(1, 30, user=f"u{i:03}") for i in range(50)]
        limits = StreamLimits(max_series=10)
        house = run(batch(counter("n", *points)), batch(counter("m", *points[:3])), limits=limits)
        found = {k: v for k, v in values_of(house.closed[0]).items() if k.startswith("n")}
        assert found.pop("n{otel.metric.overflow=True}") == 40
        assert list(found.values()) == [1] * 10

    def test_cumulative_series_beyond_the_limit_are_exact_too(self) -> None:
        def state(second: int, each: int) -> MetricBatch:
            points = [number(each, second, user=f"u{i:03}") for i in range(30)]
            return batch(counter("n", *points, cumulative=True))

        house = run(state(30, 2), state(90, 5), limits=StreamLimits(max_series=10))
        assert [values_of(c)["n{otel.metric.overflow=True}"] for c in house.closed] == [40, 60]

    def test_streams_beyond_the_limit_keep_their_increases(self) -> None:
        limits = StreamLimits(max_streams=5)
        deltas = [number(1, 30, user=str(i)) for i in range(20)]
        first = batch(counter("n", *deltas), counter("c", *deltas, cumulative=True))
        house = run(first, first, limits=limits)
        found = values_of(house.closed[0])
        assert found.pop("n{otel.metric.overflow=True}") == 15
        assert sum(v for v in found.values() if isinstance(v, Fraction)) == 5
        assert house.counts["dropped too_many_streams"] == 40
        assert house.counts["dropped duplicate"] == 20

    def test_the_memory_of_quiet_streams_is_given_up(self) -> None:
        limits = StreamLimits(max_streams=10)
        house = House(limits)
        for minute in range(20):
            one = number(1, 60 * minute + 30, 60 * minute, worker=str(minute))
            house.write(batch(counter("n", one, cumulative=True)))
        house.finish()
        streams = [name for name in house.stored if "/stream/" in name]
        assert len(streams) == 10

    def test_services_beyond_the_limit_are_one(self) -> None:
        house = House(StreamLimits(max_services=3))
        for i in range(6):
            house.write(batch(counter("n", number(1, 30)), service=f"s{i}"))
        house.finish()
        assert [(c.series.service, values_of(c)["n"]) for c in house.closed] == [
            ("other", 3),
            ("s0", 1),
            ("s1", 1),
            ("s2", 1),
        ]

    def test_a_service_that_is_quiet_for_days_makes_room(self) -> None:
        house = House(StreamLimits(max_services=2))
        for day, service in enumerate(["s0", "s1", "s2", "s3"]):
            second = day * 3 * 86_400 + 30
            house.write(batch(counter("n", number(1, second, second - 9)), service=service))
            house.finish()
        assert {c.series.service for c in house.closed} == {"s0", "s1", "s2", "s3"}
        assert len([name for name in house.stored if "/standing/" in name]) == 2


class TestTwins:
    def request(self, new: bool, second: int, values: Sequence[float] = (0.02, 0.2)) -> Metric:
        if new:
            return histograms("http.server.request.duration", histogram(values, second))
        return histograms("http.server.duration", histogram([v * 1000 for v in values], second), unit="ms")

    def test_of_one_process_the_older_name_is_shadowed(self) -> None:
        house = run(
            batch(self.request(True, 30), self.request(False, 30)),
            batch(self.request(False, 30), instance="b"),
            batch(self.request(False, 30), scope="elsewhere"),
        )
        found = {(s.name, s.scope, s.shadowed): s.value for s in house.closed[0].data}
        assert {key: v.count for key, v in found.items() if isinstance(v, ExplicitHistogram)} == {
            ("http.server.request.duration", "tests", False): 2,
            ("http.server.duration", "tests", True): 2,
            ("http.server.duration", "tests", False): 2,
            ("http.server.duration", "elsewhere", False): 2,
        }

    def test_other_operations_of_the_older_name_are_not(self) -> None:
        def operation(name: str, what: str) -> Metric:
            return histograms(name, histogram([0.1], 30, attributes={"gen_ai.operation.name": what}))

        house = run(
            batch(
                operation("gen_ai.client.inference.duration", "chat"),
                operation("gen_ai.client.operation.duration", "chat"),
                operation("gen_ai.client.operation.duration", "embeddings"),
            )
        )
        assert [
            (s.name[14:], s.attributes["gen_ai.operation.name"], s.shadowed) for s in house.closed[0].data
        ] == [
            ("inference.duration", "chat", False),
            ("operation.duration", "chat", True),
            ("operation.duration", "embeddings", False),
        ]


def misfit() -> Metric:
    point = histogram([0.3], 30)
    return histograms("h", type(point)(point.start_ns, point.time_ns, {}, 1, 0.3, point.bounds, [1]))


class TestBadPoints:
    @pytest.mark.parametrize(
        ("metric", "reason"),
        [
            (counter("n", number(math.nan, 30)), "not_finite"),
            (counter("n", number(math.inf, 30)), "not_finite"),
            (gauge("n", number(-math.inf, 30)), "not_finite"),
            (counter("n", number(-1, 30)), "invalid_value"),
            (counter("n", NumberPoint(at(0), at(30), {}, 0.0, [], 1)), "no_value"),
            (counter("n", NumberPoint(0, 0, {}, 1)), "no_time"),
            (Metric("n", "sum", [number(1, 30)], "1", "", 0, True), "no_temporality"),
            (Metric("s", "summary", [SummaryPoint(at(0), at(9), {}, 1, math.nan)], "s"), "invalid_value"),
            (misfit(), "invalid_buckets"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_cannot_be_is_dropped_with_its_reason(self, metric: Metric, reason: str) -> None:
        house = run(batch(counter("fine", number(1, 30)), metric))
        assert house.counts[f"dropped {reason}"] == 1
        assert house.counts["dropped"] == 1
        assert values_of(house.closed[0]) == {"fine": 1}

    def test_a_metric_without_data_is_nothing(self) -> None:
        house = run(batch(Metric("n", "", []), Metric("m", "sum", [], "1", "", 0)))
        assert house.closed == []

    @pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, 2**63, -(2**63)])
    def test_huge_and_negative_values_are_added_exactly(self, value: float) -> None:
        step, h = counter("q", number(value, 30), monotonic=False), histograms("h", histogram([value], 30))
        house = run(*(batch(step, h, instance=name) for name in "abc"))
        found = values_of(house.closed[0])
        assert found["q"] == Level((Fraction(value),) * 3)
        merged = found["h"]
        assert isinstance(merged, ExplicitHistogram)
        assert (merged.count, merged.mean, merged.min) == (3, value, value)
        assert merged.total == 3 * Fraction(value)

    def test_attributes_of_any_kind_tell_streams_apart(self) -> None:
        values: list[Value] = [1, 1.0, True, "1", [1], [True], None, {"y": 1}, b"1"]
        points = [NumberPoint(at(0), at(30), {"x": value}, 1) for value in values]
        (closed,) = run(batch(counter("n", *points))).closed
        assert len(closed.data) == 9

    def test_states_that_cannot_be_read_are_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        house = House()
        for minute in range(3):
            second = 60 * minute + 30
            house.write(batch(counter("n", number(minute, second), cumulative=True)))
        for name in house.stored:
            house.stored[name] = b"\xc1" + house.stored[name]
        house.stored["streams/nonsense"] = b"\x90"
        with caplog.at_level(logging.WARNING, "otel_wandb.metrics"):
            house.streams.restore(house.stored.items())
        assert len(caplog.records) == len(house.stored)
        house.write(batch(counter("n", number(1, 300, 250))))


@st.composite
def frames(draw: st.DrawFn) -> list[tuple[str, list[MetricBatch]]]:
    """Frames of three processes of two services over two segments: in order, late, repeated, reset."""
    written: list[tuple[str, list[MetricBatch]]] = []
    state = dict.fromkeys("abc", (0.0, 0))  # of each process: when it started, what it has counted
    taken: set[tuple[str, float]] = set()
    second = 0.0
    for _ in range(draw(st.integers(3, 25))):
        second += draw(st.sampled_from([0, 5, 20, 40, 130]))
        name = draw(st.sampled_from("abc"))
        when = max(1.0, second - draw(st.sampled_from([0, 0, 0, 10, 30, 100])))
        started, count = state[name]
        if draw(st.integers(0, 9)) == 0 and second > started + 10:
            started, count = second - 1, 0
        when = max(when, started + 1)
        if (name, when) in taken:
            continue  # no process measures twice at one time
        taken.add((name, when))
        count += draw(st.integers(0, 5))
        state[name] = (started, count)
        value = draw(st.sampled_from([0.004, 0.02, 0.3, 2.0]))
        metrics = [
            counter("total", number(count, when, started), cumulative=True),
            counter("delta", number(draw(st.integers(0, 9)), when, max(0.0, when - 1), kind="x")),
            histograms("h", histogram([value] * draw(st.integers(0, 3)), when, max(0.0, when - 1))),
            counter("q", number(draw(st.integers(-3, 3)), when, max(0.0, when - 2)), monotonic=False),
            gauge("g", number(value, when)),
        ]
        one = batch(*metrics, instance=name, service="rag-api" if name != "c" else "other-api")
        # A process has its own segment, but now and then a Collector sends for it.
        segment = draw(st.sampled_from([f"{name}-0.seg", f"{name}-0.seg", "collector-0.seg"]))
        written.append((segment, [one]))
        if draw(st.integers(0, 7)) == 0:
            written.append(draw(st.sampled_from(written)))
    return written


def work_off(written: list[tuple[str, list[MetricBatch]]], kills: set[int]) -> House:
    house = House()
    for index, (segment, batches) in enumerate(written):
        if index in kills:
            house.kill()
        house.write(*batches, segment=segment)
    house.finish()
    return house


class TestCrashes:
    @few
    @given(frames(), st.sets(st.integers(0, 30), min_size=1, max_size=6))
    def test_a_restart_between_any_two_frames_changes_nothing(
        self, written: list[tuple[str, list[MetricBatch]]], kills: set[int]
    ) -> None:
        straight, killed = work_off(written, set()), work_off(written, kills)
        assert killed.rows == straight.rows
        assert killed.counts == straight.counts
        assert killed.streams.open_points == 0

    @few
    @given(frames(), st.integers(0, 25))
    def test_a_restart_in_a_live_service_loses_and_doubles_nothing(
        self, written: list[tuple[str, list[MetricBatch]]], kill: int
    ) -> None:
        house = House(replay=False)
        for index, (segment, batches) in enumerate(written):
            if index == kill:
                house.kill()
            house.write(*batches, segment=segment, written=10.0 * index)
            house.tick(10.0 * index)
        house.tick(10_000)
        assert house.streams.open_points == 0
        assert house.rows is not None
        assert house.counts["received"] == house.counts["delivered"] + house.counts["dropped"]
        total = sum(int(v) for c in house.closed for k, v in values_of(c).items() if k.startswith("delta"))  # type: ignore[call-overload]  # a fraction
        assert total == sum(
            {
                (b.resource.attributes["service.instance.id"], p.start_ns, p.time_ns): p.value
                for _, batches in reversed(written)
                for b in batches
                for m in b.metrics
                if m.name == "delta"
                for p in m.points
                if isinstance(p, NumberPoint)
            }.values()
        )

    @few
    @given(
        st.lists(
            st.tuples(st.sampled_from("abcd"), st.floats(1, 300), st.lists(st.floats(0.001, 5), max_size=4)),
            max_size=20,
            unique_by=lambda item: (item[0], round(item[1] * S)),
        ),
        st.randoms(),
    )
    def test_replicas_together_or_apart_give_the_same_rows(
        self, measured: list[tuple[str, float, list[float]]], rng: Any
    ) -> None:
        limits = replace(StreamLimits(), lateness_ns=400 * S)
        batches = [
            batch(
                histograms("h", histogram(values, second, 0.5)),
                counter("n", number(len(values), second, 0.5)),
                gauge("g", number(second, second)),
                instance=name,
            )
            for name, second, values in measured
        ]
        apart = run(*batches, limits=limits)
        rng.shuffle(batches)
        together = House(limits)
        together.write(*batches)
        together.finish()
        assert together.rows == apart.rows
        assert sum(c.points for c in apart.closed) == 3 * len(measured)

    def test_states_stay_small_and_old_ones_go(self) -> None:
        house = House()
        for minute in range(200):
            second = 60 * minute + 30
            house.write(batch(counter("n", number(1, second, second - 60))), segment=f"a-{minute}.seg")
            if minute > 1:
                house.marks.drop(f"a-{minute - 2}.seg")
        standing = next(state for name, state in house.stored.items() if "/standing/" in name)
        assert len(standing) < 200
        assert len([name for name in house.stored if "/recent/" in name]) == 64

    def test_segments_are_held_until_their_intervals_are_closed(self) -> None:
        house = House()
        house.write(batch(counter("n", number(1, 30))))
        house.write(batch(counter("n", number(1, 70, 60))))
        assert house.marks.assembled("a-0.seg") == 0
        house.write(batch(counter("n", number(1, 80, 70))))
        assert house.marks.assembled("a-0.seg") == 10
        house.finish()
        assert house.marks.assembled("a-0.seg") == house.marks.counted("a-0.seg") == 30
