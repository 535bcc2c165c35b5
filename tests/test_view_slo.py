"""Error budgets: what burn rates are, when they alert and recover, and what buckets do not tell."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from otel_wandb.metrics.closed import Level, Series, Summary
from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.histogram import merge_all
from otel_wandb.views.blocks import Blocks, Resolution, Window
from otel_wandb.views.definitions import MAX_GROUPS, Slo
from otel_wandb.views.machine import Look
from otel_wandb.views.requests import Requests, count_failed, count_slow
from otel_wandb.views.slo import SloMachine
from tests.metric_samples import at
from tests.view_looks import counter, explicit, exponential, findings, look, run, run_killed, series, texts

HTTP = "http.server.request.duration"
EDGES = (0.1, 0.5, 1.0, 2.5)
ERRORS = Slo(HTTP, objective=0.99)
LATENCY = Slo(HTTP, objective=0.99, threshold_s=1.0)


def requests(total: int, bad: int) -> tuple[Series, ...]:
    """An interval with so many requests, of which some failed."""
    good, failed = (
        ExplicitHistogram(n, None, 0.2, 0.2, True, EDGES, (0, n, 0, 0, 0)) for n in (total - bad, bad)
    )
    return (series(HTTP, good, unit="s"), series(HTTP, failed, unit="s", error__type="timeout"))


def minutes(*rates: tuple[int, int, int]) -> list[Look]:
    """So many minutes, each with so many requests, of which so many are bad."""
    counts = [(total, bad) for length, total, bad in rates for _ in range(length)]
    return [look(60 * (i + 1), *requests(total, bad)) for i, (total, bad) in enumerate(counts)]


def hour(number: int, bad: int) -> Look:
    return look(3600 * (number + 1), *requests(1000, bad), interval_s=3600)


class TestBurnRates:
    def test_what_is_in_the_row(self) -> None:
        outcomes = run(SloMachine(ERRORS), minutes((59, 100, 0), (1, 100, 60)))
        assert outcomes[-1].values == {
            "slo/request_duration_burn_rate_1h": 1.0,
            "slo/request_duration_burn_rate_6h": 1.0,
            "slo/request_duration_burn_rate_3d": 1.0,
            "slo/request_duration_budget_left_percent": pytest.approx(100 - 100 / 720),
            "slo/request_duration_good_percent": 40.0,
            "alerts/request_duration": 0.0,
        }

    def test_each_window_forgets_what_is_older(self) -> None:
        looks = [
            look(60, *requests(100, 50)),
            *(look(60 + s, *requests(100, 0)) for s in (3540, 3600, 6 * 3600, 4 * 86_400, 31 * 86_400)),
        ]
        rates = [
            tuple(
                round(outcome.values[f"slo/request_duration_burn_rate_{window}"], 1)
                for window in ("1h", "6h", "3d")
            )
            for outcome in run(SloMachine(ERRORS), looks)
        ]
        assert rates == [(50, 50, 50), (25, 25, 25), (0, 16.7, 16.7), (0, 0, 12.5), (0, 0, 0), (0, 0, 0)]

    def test_the_budget_is_of_thirty_days(self) -> None:
        hours = [hour(i, 10 if i < 36 else 0) for i in range(24 * 31)]
        left = [
            outcome.values["slo/request_duration_budget_left_percent"]
            for outcome in run(SloMachine(ERRORS), hours)
        ]
        assert left[35] == 95.0
        assert left[24 * 30 - 1] == 95.0
        assert left[24 * 30 + 23] == pytest.approx(100 - 5 / 3)  # the first day is out of it

    def test_a_budget_that_is_overspent_is_below_zero(self) -> None:
        hours = [hour(i, 20) for i in range(24 * 20)]
        last = run(SloMachine(ERRORS), hours)[-1]
        assert last.values["slo/request_duration_budget_left_percent"] == pytest.approx(100 - 200 * 2 / 3)

    def test_nothing_is_said_where_nothing_comes(self) -> None:
        machine = SloMachine(ERRORS)
        assert machine.update(look(60)).values == {"alerts/request_duration": 0.0}
        machine.update(look(120, *requests(10, 0)))
        later = machine.update(look(2 * 3600))
        assert later.values == {
            "slo/request_duration_burn_rate_6h": 0.0,
            "slo/request_duration_burn_rate_3d": 0.0,
            "slo/request_duration_budget_left_percent": 100.0,
            "alerts/request_duration": 0.0,
        }
        machine.update(look(40 * 86_400))
        assert machine.state() == b'{"groups":[]}'


class TestAlerts:
    def test_a_sudden_outage_is_paged_and_is_over_when_it_is_over(self) -> None:
        outcomes = run(SloMachine(ERRORS), minutes((60, 100, 0), (25, 100, 80), (120, 100, 0)))
        assert findings(outcomes) == snapshot(
            [
                (3720.0, "slo_burn_3d_request_duration", "firing"),
                (3900.0, "slo_burn_6h_request_duration", "firing"),
                (4260.0, "slo_burn_1h_request_duration", "firing"),
                (5700.0, "slo_burn_1h_request_duration", "recovered"),
                (8580.0, "slo_burn_6h_request_duration", "recovered"),
            ]
        )

    def test_what_it_says(self) -> None:
        outcomes = run(SloMachine(ERRORS), minutes((60, 100, 0), (20, 100, 100), (90, 100, 0)))
        told = [finding for finding in texts(outcomes) if "burn_1h" in finding.name]
        assert [(f.headline, f.level) for f in told] == [
            ("request_duration burns its error budget very fast", "error"),
            ("Recovered: request_duration burns its error budget very fast", "error"),
        ]
        assert told[0].text == (
            "request_duration: 900 of 6,000 requests in the last 60 min failed, 15 times what the objective "
            "of 99 % allows; in the last 5 min 100 times. 97.9 % of the budget of 30 days is left, and gone "
            "in 47 h at this rate."
        )
        assert told[1].text == (
            "request_duration: in the last 5 min the budget burned at 0 times what the objective allows, and "
            "for 5 min not at 14.4 times or faster. It fired at 2024-10-04 01:09 UTC, 21 min before."
        )
        assert {(f.service, f.run) for f in told} == {("rag-api", "run")}

    def test_a_rate_that_is_just_reached_counts(self) -> None:
        fast = [f for _, f, _ in findings(run(SloMachine(ERRORS), minutes((1, 1000, 144))))]
        assert "slo_burn_1h_request_duration" in fast
        fast = [f for _, f, _ in findings(run(SloMachine(ERRORS), minutes((1, 10_000, 1439))))]
        assert "slo_burn_1h_request_duration" not in fast

    def test_a_few_bad_requests_are_no_ground(self) -> None:
        assert findings(run(SloMachine(ERRORS), minutes((60, 1, 0), (1, 4, 4)))) == []
        assert findings(run(SloMachine(ERRORS), minutes((60, 1, 0), (1, 5, 5))))

    def test_what_may_well_be_chance_is_no_ground(self) -> None:
        # 8 of 600 are 1.3 times what is allowed, and come by chance in one of four hours
        assert findings(run(SloMachine(ERRORS), minutes((59, 10, 0), (1, 10, 8)))) == []

    def test_it_fires_again_only_after_a_calm_window(self) -> None:
        flicker = minutes((60, 100, 0), *((1, 100, 100 * (i % 3 < 2)) for i in range(60)), (60, 100, 0))
        fast = [
            (when, state)
            for when, name, state in findings(run(SloMachine(ERRORS), flicker))
            if name == "slo_burn_1h_request_duration"
        ]
        assert fast == snapshot([(4380.0, "firing"), (7740.0, "recovered")])

    def test_without_a_change_nobody_is_woken(self) -> None:
        rng = np.random.default_rng(1)
        pages = tickets = 0
        for _ in range(10):  # days in which the objective is just kept
            bad = rng.binomial(250, 0.01, 288).tolist()
            looks = [look(300 * (i + 1), *requests(250, b), interval_s=300) for i, b in enumerate(bad)]
            names = [name for _, name, _ in findings(run(SloMachine(ERRORS), looks))]
            pages += sum("3d" not in name for name in names)
            tickets += "slo_burn_3d_request_duration" in names
        assert pages == 0
        assert tickets <= 3

    @pytest.mark.parametrize("rate", [0.5, 0.2])
    def test_a_burning_service_is_found(self, rate: float) -> None:
        rng = np.random.default_rng(2)
        quiet = [(1, 50, int(b)) for b in rng.binomial(50, 0.001, 360)]
        burning = [(1, 50, int(b)) for b in rng.binomial(50, rate, 120)]
        names = findings(run(SloMachine(ERRORS), minutes(*quiet, *burning)))
        pages = [when / 60 - 360 for when, name, state in names if "3d" not in name and state == "firing"]
        assert 0 < pages[0] <= 25 / rate
        assert all(when > 0 for when in pages)


class TestThresholds:
    def test_an_edge_at_the_threshold_is_exact(self) -> None:
        values = [0.2] * 90 + [1.0] * 5 + [1.1] * 4 + [9.0]
        outcome = SloMachine(LATENCY).update(look(60, series(HTTP, explicit(values, EDGES), unit="s")))
        assert outcome.values["slo/request_duration_good_percent"] == 95.0
        assert outcome.values["slo/request_duration_threshold_gap"] == 0.0
        assert not any(key.endswith(("_high", "_low")) for key in outcome.values)

    def test_what_a_bucket_does_not_tell_is_told_as_bounds(self) -> None:
        view = Slo(HTTP, objective=0.99, threshold_s=1.5, name="slow")
        values = [0.2] * 90 + [1.2] * 4 + [1.7] * 5 + [9.0]
        outcome = SloMachine(view).update(look(60, series(HTTP, explicit(values, EDGES), unit="s")))
        assert outcome.values == {
            "slo/slow_burn_rate_1h": 1.0,
            "slo/slow_burn_rate_1h_high": 10.0,
            "slo/slow_burn_rate_6h": 1.0,
            "slo/slow_burn_rate_6h_high": 10.0,
            "slo/slow_burn_rate_3d": 1.0,
            "slo/slow_burn_rate_3d_high": 10.0,
            "slo/slow_budget_left_percent": pytest.approx(100 - 100 / 43_200),
            "slo/slow_good_percent": 99.0,
            "slo/slow_threshold_gap": 0.09,
            "slo/slow_good_percent_low": 90.0,
            "alerts/slow": 0.0,
        }
        (wish,) = outcome.findings
        assert (wish.name, wish.title, wish.level) == (
            "slo_bucket_edge_slow",
            "slow needs a bucket edge at its threshold",
            "info",
        )
        assert wish.text == (
            "slow: 9 of 100 requests in the last 6 h are in a bucket across the threshold of 1.5 s (from 1 s "
            "to 2.5 s), so nobody knows whether they are good; they count as good. Give the histogram a "
            "bucket edge at 1.5 s."
        )

    def test_the_wish_for_an_edge_ends_when_it_is_there(self) -> None:
        view = Slo(HTTP, objective=0.99, threshold_s=1.5, name="slow")
        values = [0.2] * 8 + [1.2, 1.7]
        looks = [
            look(
                60 * (i + 1),
                series(HTTP, explicit(values, EDGES if i < 10 else (*EDGES[:3], 1.5, 2.5)), unit="s"),
            )
            for i in range(420)
        ]
        assert [f for f in findings(run(SloMachine(view), looks)) if "edge" in f[1]] == snapshot(
            [(180.0, "slo_bucket_edge_slow", "firing"), (21660.0, "slo_bucket_edge_slow", "recovered")]
        )

    @pytest.mark.parametrize(
        ("bounds", "smallest", "largest", "counts", "found"),
        [
            ((1.0,), None, None, (3, 2), (5, 2, 0)),
            ((1.0,), None, 1.0, (5, 0), (5, 0, 0)),
            ((0.5,), None, None, (3, 2), (5, 0, 2)),  # an open end: who knows
            ((0.5,), None, 0.9, (3, 2), (5, 0, 0)),
            ((0.5,), 0.1, 3.0, (3, 2), (5, 0, 2)),
            ((2.0,), None, None, (3, 2), (5, 2, 3)),
            ((2.0,), 1.0, 2.5, (3, 2), (5, 2, 3)),  # the smallest is as quick as may be
            ((2.0,), 1.1, 2.5, (3, 2), (5, 5, 0)),
            ((), None, None, (5,), (5, 0, 5)),
            ((), 0.1, 0.9, (5,), (5, 0, 0)),
            ((), 1.5, 1.5, (5,), (5, 5, 0)),
        ],
    )
    def test_ends(
        self,
        bounds: tuple[float, ...],
        smallest: float | None,
        largest: float | None,
        counts: tuple[int, ...],
        found: tuple[int, int, int],
    ) -> None:
        histogram = ExplicitHistogram(
            sum(counts), None, smallest, largest, smallest is not None and largest is not None, bounds, counts
        )
        assert count_slow([series(HTTP, histogram, unit="s")], 1.0)[:3] == found

    def test_other_streams(self) -> None:
        streams = [
            counter("requests", 7.9),
            counter("requests", 2, error__type="500"),
            counter("requests", 1, http__response__status_code="503"),
            series("requests", Summary(4, Fraction(1), ())),
            series("requests", Level((Fraction(9),))),
        ]
        assert count_failed(streams) == Requests(14, 3, 0)
        assert count_slow(streams, 1.0) == Requests()

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.floats(0.001, 10), min_size=1, max_size=40),
        st.sampled_from([0.1, 0.3, 0.75, 1.0, 2.0]),
        st.integers(-2, 6),
    )
    def test_the_truth_is_within_the_bounds(
        self, values: list[float], threshold_s: float, scale: int
    ) -> None:
        bad = sum(value > threshold_s for value in values)
        for histogram in (exponential(values, scale), explicit(values, EDGES)):
            total, certain, undecided, _ = count_slow([series(HTTP, histogram, unit="s")], threshold_s)
            assert total == len(values)
            assert certain <= bad <= certain + undecided
        if threshold_s in EDGES:
            assert count_slow([series(HTTP, explicit(values, EDGES), unit="s")], threshold_s)[1:3] == (bad, 0)


SAMPLES = st.lists(st.lists(st.integers(1, 3000), max_size=12), min_size=1, max_size=8)


class TestAlgebra:
    @settings(max_examples=40, deadline=None)
    @given(SAMPLES)
    def test_units_do_not_matter(self, intervals: list[list[int]]) -> None:
        def looks(unit: str, factor: float) -> list[Look]:
            edges = [edge * factor for edge in (0.1, 0.5, 1, 2.5)]
            return [
                look(
                    60 * (i + 1), series(HTTP, explicit([ms * factor / 1000 for ms in one], edges), unit=unit)
                )
                for i, one in enumerate(intervals)
            ]

        wanted = run(SloMachine(LATENCY), looks("s", 1))
        assert run(SloMachine(LATENCY), looks("ms", 1000)) == wanted

    @settings(max_examples=40, deadline=None)
    @given(SAMPLES, st.integers(2, 8), st.booleans())
    def test_replicas_merged_or_apart_are_the_same(
        self, intervals: list[list[int]], replicas: int, fine: bool
    ) -> None:
        merged, apart = [], []
        for i, one in enumerate(intervals):
            seconds = [ms / 1000 for ms in one]
            parts = [seconds[r::replicas] for r in range(replicas)]
            shapes = [
                exponential(part, 3 + r % 2) if fine and part else explicit(part, EDGES)
                for r, part in enumerate(parts)
            ]
            apart.append(
                look(60 * (i + 1), *(series(HTTP, h, unit="s", replica=str(r)) for r, h in enumerate(shapes)))
            )
            merged.append(look(60 * (i + 1), series(HTTP, merge_all(shapes), unit="s")))
        view = Slo(HTTP, objective=0.9, threshold_s=1.3)
        assert run(SloMachine(view), apart) == run(SloMachine(view), merged)

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 200)), min_size=1, max_size=30
        ),
        st.sets(st.integers(0, 29)),
    )
    def test_a_kill_changes_nothing(self, counts: list[tuple[int, int, int]], kills: set[int]) -> None:
        looks, second = [], 0
        for total, bad, gap in counts:
            second += 60 * gap
            looks.append(look(second, *requests(total, min(bad, total))))
        view = Slo(HTTP, objective=0.95, by=("error.type",))
        assert run_killed(lambda: SloMachine(view), looks, kills) == run(SloMachine(view), looks)
        assert run_killed(lambda: SloMachine(ERRORS), looks, kills) == run(SloMachine(ERRORS), looks)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(1, 400), st.integers(-5, 50)), max_size=40), st.integers(1, 4))
    def test_blocks_hold_what_lies_in_their_window(self, amounts: list[tuple[int, int]], size: int) -> None:
        blocks, seen, second = Blocks([Resolution(60, 10), Resolution(300, 6)], 1), [], 0
        for gap, amount in amounts:
            second += gap
            blocks.add(at(second), (amount,))
            seen.append((second, amount))
            for number, block_s in ((0, 60), (1, 300)):
                first = (second - 1) // block_s - size
                wanted = sum(a for s, a in seen if (s - 1) // block_s > first)
                assert blocks.sum(Window(number, size, size * block_s), at(second)) == (wanted,)


class TestGroups:
    def test_each_is_watched_by_itself(self) -> None:
        view = Slo(HTTP, objective=0.99, by=("http.route",), where={"http.request.method": "GET"})
        machine = SloMachine(view)
        for i in range(1, 2):
            outcome = machine.update(
                look(
                    60 * i,
                    *(
                        series(
                            HTTP,
                            explicit([0.2] * 100, EDGES),
                            unit="s",
                            http__route=route,
                            http__request__method=method,
                            **({"error__type": "x"} if route == "/chat" else {}),
                        )
                        for route in ("/chat", "/health")
                        for method in ("GET", "PUT")
                    ),
                )
            )
        assert outcome.values["slo/request_duration_chat_burn_rate_1h"] == 100
        assert outcome.values["slo/request_duration_health_burn_rate_1h"] == 0
        assert outcome.values["alerts/request_duration"] == 1
        assert [(f.name, f.title) for f in outcome.findings] == snapshot(
            [
                (
                    "slo_burn_1h_request_duration_chat",
                    "request_duration (/chat) burns its error budget very fast",
                ),
                ("slo_burn_6h_request_duration_chat", "request_duration (/chat) burns its error budget fast"),
                (
                    "slo_burn_3d_request_duration_chat",
                    "request_duration (/chat) burns more than its error budget",
                ),
            ]
        )

    def test_beyond_the_limit_they_are_counted(self) -> None:
        view = Slo(HTTP, objective=0.99, by=("user",))
        machine = SloMachine(view)
        many = [
            series(HTTP, explicit([0.2], EDGES), unit="s", user=f"u{i:03}") for i in range(MAX_GROUPS + 5)
        ]
        outcome = machine.update(look(60, *many))
        assert outcome.values["slo/request_duration_unwatched_groups"] == 5
        assert sum(key.endswith("good_percent") for key in outcome.values) == MAX_GROUPS

    def test_its_state_is_small(self) -> None:
        rng = np.random.default_rng(3)
        machine = SloMachine(LATENCY)
        for second in range(60, 4 * 86_400, 600):
            histogram = explicit(rng.exponential(0.4, 50).tolist(), (0.1, 2.5))
            machine.update(look(second, series(HTTP, histogram, unit="s")))
        big = ExplicitHistogram(3 * 10**17, None, None, None, False, (0.1, 2.5), (10**17,) * 3)
        for second in range(5 * 86_400, 5 * 86_400 + 7200, 60):
            machine.update(look(second, series(HTTP, big, unit="s")))
        assert 4_000 < len(machine.state()) < 16_384

    def test_another_state_is_refused(self) -> None:
        with pytest.raises(msgspec.MsgspecError):
            SloMachine(ERRORS).restore(b'{"groups":[[["a"],{"rows":1}]]}')
        with pytest.raises(msgspec.MsgspecError):
            SloMachine(ERRORS).restore(b"{}")
