"""Scores against their baseline: what counts as one, when a fall is told, and that binning tells none."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from scipy.stats import binom

from otel_wandb.metrics.closed import Level, Series, Summary
from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.histogram import AnyHistogram, merge_all
from otel_wandb.view_settings import read_views
from otel_wandb.views.definitions import MAX_GROUPS, Degradation
from otel_wandb.views.degradation import MIN_SCORES, DegradationMachine
from otel_wandb.views.machine import Look
from otel_wandb.views.requests import list_buckets
from otel_wandb.views.scores import Cells, Scores, place, read_groups, score_level
from tests.view_looks import (
    counter,
    explicit,
    exponential,
    findings,
    gauge,
    look,
    run,
    run_killed,
    series,
    texts,
)

EVAL = "eval.accuracy"
ACCURACY = Degradation(EVAL, baseline=0.85)
HALF = (0.5, 1.0)
EVIDENT = 10_000.0


def machine(view: Degradation = ACCURACY, windows: float = EVIDENT) -> DegradationMachine:
    return DegradationMachine(view, windows_to_false_alarm=windows)


def answers(right: int, wrong: int) -> Series:
    """Evaluations, each 1 or 0, with the sum that tells them apart."""
    smallest, largest = float(not wrong), float(bool(right))
    return series(
        EVAL,
        ExplicitHistogram(right + wrong, Fraction(right), smallest, largest, True, HALF, (wrong, right, 0)),
    )


def evaluations(*parts: tuple[int, int, int]) -> list[Look]:
    """So many intervals, each with so many right and wrong answers."""
    counts = [(right, wrong) for length, right, wrong in parts for _ in range(length)]
    return [look(60 * (i + 1), answers(*one)) for i, one in enumerate(counts)]


class TestRows:
    def test_what_is_in_them(self) -> None:
        first, second = run(machine(), evaluations((1, 15, 5), (1, 16, 4)))
        assert {key: round(value, 4) for key, value in first.values.items()} == snapshot(
            {
                "performance/eval_accuracy": 0.75,
                "performance/eval_accuracy_evaluations": 20.0,
                "performance/eval_accuracy_low": 0.3745,
                "performance/eval_accuracy_high": 0.9585,
                "alerts/eval_accuracy": 0.0,
                "alerts/degradation_detected": 0.0,
            }
        )
        assert {key: round(value, 4) for key, value in second.values.items()} == snapshot(
            {
                "performance/eval_accuracy": 0.8,
                "performance/eval_accuracy_evaluations": 40.0,
                "performance/eval_accuracy_low": 0.5125,
                "performance/eval_accuracy_high": 0.9356,
                "performance/eval_accuracy_degradation": 0.0882,
                "alerts/eval_accuracy": 0.0,
                "alerts/degradation_detected": 0.0,
            }
        )

    def test_nothing_of_an_interval_without_scores(self) -> None:
        watched = machine()
        quiet = {"alerts/eval_accuracy": 0.0, "alerts/degradation_detected": 0.0}
        assert watched.update(look(60)).values == quiet
        watched.update(look(120, answers(9, 1)))
        assert watched.update(look(180, answers(0, 0))).values == quiet

    def test_a_name_a_scale_and_groups(self) -> None:
        view = Degradation("rating", baseline=4.0, low=1, high=5, name="stars", by=("lang",))
        watched = machine(view)
        outcome = watched.update(
            look(60, *(series("rating", explicit([n] * 30, (1, 2, 3, 4, 5)), lang=f"l{n}") for n in (3, 4)))
        )
        assert outcome.values["performance/stars_l3"] == 3
        assert outcome.values["performance/stars_l3_degradation"] == 0.25
        assert outcome.values["performance/stars_l4_degradation"] == 0
        assert (
            1
            < outcome.values["performance/stars_l4_low"]
            < 4
            < outcome.values["performance/stars_l4_high"]
            < 5
        )

    def test_beyond_the_limit_groups_are_counted(self) -> None:
        view = Degradation(EVAL, baseline=0.85, by=("user",))
        many = [gauge(EVAL, 0.8, user=f"u{i:02}") for i in range(MAX_GROUPS + 3)]
        outcome = machine(view).update(look(60, *many))
        assert outcome.values["performance/eval_accuracy_unwatched_groups"] == 3
        assert "performance/eval_accuracy_u19" in outcome.values
        assert "performance/eval_accuracy_u20" not in outcome.values

    def test_bounds_begin_anew_with_the_day(self) -> None:
        looks = [look(86_400 * (1 + i // 24) + 3600 * (i % 24) + 60, answers(85, 15)) for i in range(30)]
        widths = [
            o.values["performance/eval_accuracy_high"] - o.values["performance/eval_accuracy_low"]
            for o in run(machine(), looks)
        ]
        assert widths[:24] == sorted(widths[:24], reverse=True)
        assert widths[24] == pytest.approx(widths[0])
        few = [look(86_400 * (i + 1) + 60, answers(85, 15)) for i in range(12)]
        widths = [o.values["performance/eval_accuracy_high"] for o in run(machine(), few)]
        assert widths[:10] == sorted(widths[:10], reverse=True)
        assert widths[10] > widths[9]  # a thousand are there, and it is another day


class TestAlarms:
    def test_a_fall_is_told_and_its_end(self) -> None:
        outcomes = run(machine(), evaluations((60, 43, 7), (60, 37, 13), (60, 43, 7)))
        assert findings(outcomes) == snapshot(
            [
                (4560.0, "degradation_eval_accuracy", "firing"),
                (8220.0, "degradation_eval_accuracy", "recovered"),
            ]
        )
        flags = [outcome.values["alerts/degradation_detected"] for outcome in outcomes]
        assert flags == [outcome.values["alerts/eval_accuracy"] for outcome in outcomes]
        fell, rose = texts(outcomes)
        assert sum(flags) * 60 == rose.time_s - fell.time_s
        assert (fell.title, fell.level) == ("eval_accuracy is below its baseline", "warn")
        assert fell.text == (
            "eval_accuracy: since about 2024-10-04 01:00 UTC the mean of 800 scores is 0.74 (with 95 "
            "% confidence 0.6852 to 0.7898), 12.9 % below its baseline of 0.85; 0.8075 would be "
            "allowed. Without a fall such an alarm comes once in 10,000 intervals with scores, or "
            "less often, on the mean."
        )
        assert rose.text == (
            "eval_accuracy: the mean of the last 50 scores is 0.86, not below 0.8075. It fired at "
            "2024-10-04 01:16 UTC, 61 min before."
        )

    def test_a_fall_within_the_tolerance_is_none(self) -> None:
        assert findings(run(machine(), evaluations((120, 41, 9)))) == []

    def test_a_few_scores_are_no_ground(self) -> None:
        view = Degradation(EVAL, baseline=0.999, tolerance=0.0)
        assert findings(run(machine(view, 10), evaluations((1, 0, MIN_SCORES - 1)))) == []
        assert findings(run(machine(view, 10), evaluations((1, 0, MIN_SCORES - 1), (1, 0, 1)))) == [
            (120, "degradation_eval_accuracy", "firing")
        ]

    def test_the_error_of_the_baseline_counts(self) -> None:
        fallen = evaluations((80, 37, 13))  # 0.74
        exact, measured, well = (
            findings(run(machine(Degradation(EVAL, baseline=0.85, baseline_count=count)), fallen))
            for count in (None, 150, 1_000_000)
        )
        assert measured == []
        assert exact[0][0] < well[0][0] <= 1.2 * exact[0][0]

    def test_false_alarms_are_as_rare_as_asked_for(self) -> None:
        rng = np.random.default_rng(1)
        windows, streams, asked = 20, 30, 100.0
        false = 0
        for _ in range(streams):  # the mean is the limit: all that is allowed
            rights = rng.binomial(40, 0.8075, windows).tolist()
            looks = [look(60 * (i + 1), answers(right, 40 - right)) for i, right in enumerate(rights)]
            false += bool(findings(run(machine(windows=asked), looks)))
        assert false <= binom.isf(1e-3, streams, windows / asked)

    @pytest.mark.parametrize(("share", "longest"), [(0.72, 25), (0.6, 8)])
    def test_a_fall_is_found(self, share: float, longest: int) -> None:
        rng = np.random.default_rng(2)
        delays = []
        for _ in range(3):
            rights = [*rng.binomial(50, 0.85, 10).tolist(), *rng.binomial(50, share, 2 * longest).tolist()]
            looks = [look(60 * (i + 1), answers(right, 50 - right)) for i, right in enumerate(rights)]
            delays.append(findings(run(machine(), looks))[0][0] / 60 - 10)
        assert min(delays) > 0
        assert sorted(delays)[1] <= longest

    def test_what_is_not_measured_for_a_month_is_forgotten(self) -> None:
        watched = machine()
        run(watched, evaluations((40, 10, 40)))
        assert watched.update(look(29 * 86_400)).values["alerts/eval_accuracy"] == 1
        (ended,) = watched.update(look(31 * 86_400)).findings
        assert ended.state == "recovered"
        assert ended.text.startswith(
            "eval_accuracy: it had no scores for 30 days, so the alert ends. It fired at"
        )
        assert watched.state() == b'{"groups":[]}'


class TestDecisions:
    def fallen(self) -> DegradationMachine:
        watched = machine()
        assert findings(run(watched, evaluations((40, 30, 20)))) == [
            (180, "degradation_eval_accuracy", "firing")
        ]
        return watched

    def test_kept(self) -> None:
        watched = self.fallen()
        watched.keep()
        outcomes = [watched.update(look(60 * (41 + i), answers(30, 20))) for i in range(4)]
        assert findings(outcomes) == [
            (41 * 60, "degradation_eval_accuracy", "recovered"),
            (43 * 60, "degradation_eval_accuracy", "firing"),
        ]
        assert texts(outcomes)[0].text == (
            "eval_accuracy: somebody decided that the baseline of 0.85 holds. It fired at 2024-10-04 "
            "00:03 UTC, 38 min before."
        )

    def test_accepted(self) -> None:
        watched = self.fallen()
        watched.accept()
        outcomes = [watched.update(look(60 * (41 + i), answers(30, 20))) for i in range(40)]
        assert findings(outcomes) == [(41 * 60, "degradation_eval_accuracy", "recovered")]
        assert texts(outcomes)[0].text == (
            "eval_accuracy: somebody accepted 0.6, the mean of 1,850 scores, as the baseline. It "
            "fired at 2024-10-04 00:03 UTC, 38 min before."
        )
        assert outcomes[-1].values["performance/eval_accuracy_degradation"] == 0
        worse = [watched.update(look(60 * (81 + i), answers(20, 30))) for i in range(10)]
        assert [state for _, _, state in findings(worse)] == ["firing"]

    def test_too_early(self) -> None:
        watched = machine()
        with pytest.raises(KeyError):
            watched.keep()
        watched.update(look(60, answers(10, 8)))
        with pytest.raises(ValueError, match="a baseline needs 30 scores; there are 18 so far"):
            watched.accept()
        watched = machine(windows=1e100)
        watched.update(look(60, answers(0, 40)))
        with pytest.raises(ValueError, match="nothing could fall below that"):
            watched.accept()

    def test_a_kill_between_a_decision_and_the_next_interval(self) -> None:
        watched, again = self.fallen(), machine()
        watched.accept()
        again.restore(watched.state())
        one = look(60 * 41, answers(30, 20))
        assert again.update(one) == watched.update(one)


def read(view: Degradation, *members: Series) -> Scores:
    ((scores, _),) = read_groups(members, view).values()
    return scores


class TestScores:
    def test_values_of_zero_and_one_are_exact_in_any_buckets(self) -> None:
        values = [1.0] * 7 + [0.0] * 3
        for histogram in (
            exponential(values, 3),
            exponential(values, -2),
            explicit(values, (0.5, 1)),
            explicit(values, (0.0, 5.0, 10.0)),
            explicit(values, (0.25, 0.75)),
            explicit(values, ()),
        ):
            found = read(ACCURACY, series(EVAL, histogram))
            assert found.falls == found.rises == {1.0: 7, 0.0: 3}
            assert (found.count, found.total, found.clipped) == (10, 7.0, 0)

    def test_without_a_sum_falls_and_rises_are_at_the_ends(self) -> None:
        histogram = ExplicitHistogram(10, None, None, None, False, (0.5, 0.75), (3, 5, 2))
        found = read(ACCURACY, series(EVAL, histogram))
        assert found.falls == {0.5: 3, 0.75: 5, 1.0: 2}
        assert found.rises == {0.0: 3, 0.5: 5, 0.75: 2}
        assert found.total == pytest.approx((7.25 + 4.0) / 2)

    def test_a_sum_that_cannot_be_is_not_believed(self) -> None:
        histogram = ExplicitHistogram(10, Fraction(1), None, None, False, (0.5, 0.75), (0, 10, 0))
        assert read(ACCURACY, series(EVAL, histogram)).falls == {0.75: 10}

    def test_what_is_out_of_range_is_clipped_and_counted(self) -> None:
        found = read(ACCURACY, series(EVAL, explicit([-1.0, 0.5, 3.0, 4.0], (-0.5, 0.25, 0.5, 1.0, 3.5))))
        assert found.clipped == 3
        assert found.falls == {0.0: 1, 0.5: 1, 1.0: 2}
        outcome = machine().update(look(60, gauge(EVAL, 1.25)))
        assert outcome.values["performance/eval_accuracy_clipped"] == 1
        assert outcome.values["performance/eval_accuracy"] == 1

    def test_a_gauge_is_one_score_an_interval_and_no_news_is_none(self) -> None:
        watched = machine()
        counts = []
        for i, value in enumerate((0.8, 0.8, 0.81, 0.8, 1.0, 1.0, 0.8)):
            outcome = watched.update(look(60 * (i + 1), gauge(EVAL, value)))
            counts.append(outcome.values.get("performance/eval_accuracy_evaluations", 0))
        assert counts == [1, 0, 2, 3, 4, 5, 6]
        several = read(ACCURACY, gauge(EVAL, 0.7, 0.8), gauge(EVAL, 0.9, replica="c"))
        assert several == score_level(Fraction("0.8"), 0, 1)

    def test_a_summary_tells_no_more_than_its_sum(self) -> None:
        found = read(ACCURACY, series(EVAL, Summary(10, Fraction(17, 2), ((0.5, 0.85),))))
        assert found.falls == {1.0: 9, 0.0: 1}
        assert found.rises == {1.0: 8, 0.0: 2}

    def test_two_counters(self) -> None:
        view = Degradation("eval.correct / eval.total", baseline=0.9, name="pair")
        found = read(
            view, counter("eval.correct", 7), counter("eval.correct", 1, x="b"), counter("eval.total", 10)
        )
        assert found.falls == found.rises == {1.0: 8, 0.0: 2}
        late = read(view, counter("eval.correct", 12), counter("eval.total", 10))
        assert (late.falls, late.clipped) == ({1.0: 10}, 2)
        assert read_groups([counter("eval.correct", 7)], view) == {}

    def test_requests_without_an_error(self) -> None:
        view = Degradation("http.server.request.duration", baseline=0.99, score="success", tolerance=0.005)
        good, bad = (series(view.metric, explicit([0.1] * n, HALF), unit="s") for n in (90, 10))
        failed = msgspec.structs.replace(bad, attributes={"error.type": "timeout"})
        assert read(view, good, failed).falls == {1.0: 90, 0.0: 10}
        watched = machine(view)
        outcomes = [watched.update(look(60 * (i + 1), good, failed)) for i in range(5)]
        assert texts(outcomes)[0].text == (
            "request_duration: since about 2024-10-04 00:00 UTC a share of 0.9 of 200 requests had no"
            " error (with 95 % confidence 0.8119 to 0.9558), 9.1 % below its baseline of 0.99; 0.985 "
            "would be allowed. Without a fall such an alarm comes once in 10,000 intervals with "
            "scores, or less often, on the mean."
        )

    def test_requests_within_the_p95_of_the_baseline(self) -> None:
        view = Degradation("http.server.duration", baseline=0.8, score="within_p95", baseline_count=5000)
        quick = series(view.metric, explicit([700.0] * 80 + [900.0] * 20, (500, 840, 1000)), unit="ms")
        assert read(view, quick).falls == {1.0: 80, 0.0: 20}
        unsure = series(view.metric, explicit([700.0] * 80 + [900.0] * 20, (500, 800, 1000)), unit="ms")
        assert read(view, unsure).falls == {1.0: 100}
        assert read(view, unsure).rises == {1.0: 80, 0.0: 20}
        watched = machine(view)
        outcomes = [watched.update(look(60, quick)), watched.update(look(120, quick))]
        assert texts(outcomes)[0].text == (
            "server_duration: since about 2024-10-04 00:00 UTC a share of 0.8 of 200 requests took no"
            " longer than 0.84 s (with 95 % confidence 0.6931 to 0.8826), 15.8 % below its baseline "
            "of 0.95; 0.9378 would be allowed, as far as that is known. Without a fall such an alarm "
            "comes once in 10,000 intervals with scores, or less often, on the mean."
        )

    def test_what_tells_no_scores(self) -> None:
        assert read_groups([counter(EVAL, 5)], ACCURACY) == {}
        assert read_groups([series(EVAL, Level(()))], ACCURACY) == {}
        assert read_groups([series(EVAL, Summary(0, Fraction(0), ()))], ACCURACY) == {}


VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
BOUNDS = st.lists(st.floats(0.01, 0.99), max_size=6, unique=True).map(sorted)


def gain(counts: Counter[float], part: float, limit: float) -> float:
    """What a bet on a fall below the limit wins, or with a negative part one on a rise."""
    return sum(count * float(np.log1p(part * (limit - value))) for value, count in counts.items())


class TestPlaces:
    @settings(max_examples=150, deadline=None)
    @given(
        VALUES,
        BOUNDS,
        st.integers(-3, 5) | st.none(),
        st.booleans(),
        st.floats(0.05, 0.95),
        st.floats(0.01, 0.95),
    )
    def test_no_bet_gains_by_the_binning(
        self,
        values: list[float],
        bounds: list[float],
        scale: int | None,
        summed: bool,
        limit: float,
        part: float,
    ) -> None:
        histogram: AnyHistogram = explicit(values, bounds) if scale is None else exponential(values, scale)
        true = Counter(values)
        placed = place(list_buckets(histogram), histogram.total if summed else None, 0.0, 1.0)
        assert sum(placed.falls.values()) == sum(placed.rises.values()) == len(values)
        down, up = part / (1 - limit), -part / limit
        assert gain(placed.falls, down, limit) <= gain(true, down, limit) + 1e-6
        assert gain(placed.rises, up, limit) <= gain(true, up, limit) + 1e-6
        cells = Cells()
        cells.add(placed)
        assert gain(cells.read_falls(), down, limit) <= gain(true, down, limit) + 1e-6
        assert gain(cells.read_rises(), up, limit) <= gain(true, up, limit) + 1e-6

    @settings(max_examples=50, deadline=None)
    @given(st.lists(VALUES, min_size=1, max_size=5))
    def test_cells_forget_little(self, batches: list[list[float]]) -> None:
        cells, merged = Cells(), Cells()
        for batch in batches:
            one, scores = Cells(), Scores()
            for value in batch:
                scores.add(score_level(Fraction(value), 0, 1))
            cells.add(scores)
            one.add(scores)
            merged.merge(one)
        true = [value for batch in batches for value in batch]
        assert cells.count == merged.count == len(true)
        assert cells.mean == pytest.approx(sum(true) / len(true))
        for found in (cells.read_falls(), cells.read_rises(), merged.read_falls()):
            assert sum(found.values()) == len(true)
            total = sum(value * count for value, count in found.items())
            assert total == pytest.approx(sum(true), abs=1 + 1e-9)  # the 64 cells round one score each


INTERVALS = st.lists(st.lists(st.floats(0, 1), max_size=12), min_size=1, max_size=8)


class TestAlgebra:
    @settings(max_examples=12, deadline=None)
    @given(INTERVALS, st.integers(2, 8), st.booleans())
    def test_replicas_merged_or_apart_are_the_same(
        self, intervals: list[list[float]], replicas: int, fine: bool
    ) -> None:
        merged, apart = [], []
        for i, values in enumerate(intervals):
            parts = [values[r::replicas] for r in range(replicas)]
            shapes = [
                exponential(part, 3 + r % 2) if fine and part else explicit(part, (0.2, 0.6, 0.9))
                for r, part in enumerate(parts)
            ]
            apart.append(look(60 * (i + 1), *(series(EVAL, h, replica=str(r)) for r, h in enumerate(shapes))))
            merged.append(look(60 * (i + 1), series(EVAL, merge_all(shapes))))
        assert run(machine(windows=3), apart) == run(machine(windows=3), merged)

    @settings(max_examples=10, deadline=None)
    @given(INTERVALS, st.sets(st.integers(0, 7)))
    def test_a_kill_changes_nothing(self, intervals: list[list[float]], kills: set[int]) -> None:
        looks = [
            look(60 * (i + 1), series(EVAL, explicit(values * 5, (0.2, 0.6))), gauge(EVAL, len(values) / 12))
            for i, values in enumerate(intervals)
        ]
        view = Degradation(EVAL, baseline=0.7, baseline_count=500)
        assert run_killed(lambda: machine(view, 3), looks, kills) == run(machine(view, 3), looks)

    @settings(max_examples=10, deadline=None)
    @given(INTERVALS)
    def test_units_do_not_matter(self, intervals: list[list[float]]) -> None:
        outcomes = []
        for size in (1, 100):
            view = Degradation(EVAL, baseline=0.7 * size, high=size)
            looks = [
                look(
                    60 * (i + 1),
                    series(EVAL, explicit([v * size for v in one * 5], (0.3 * size, 0.7 * size))),
                )
                for i, one in enumerate(intervals)
            ]
            outcomes.append(run(machine(view, 3), looks))
        assert findings(outcomes[0]) == findings(outcomes[1])
        for share, percent in zip(*outcomes, strict=True):
            for key, value in share.values.items():
                same = key.startswith("alerts/") or key.endswith(("_degradation", "_evaluations"))
                assert percent.values[key] == pytest.approx(value if same else 100 * value, abs=1e-6)

    def test_its_state_is_small(self) -> None:
        rng = np.random.default_rng(3)
        watched = machine()
        many = rng.beta(1.1, 1, 5000).tolist()
        watched.update(look(60, series(EVAL, exponential(many, 6))))
        for i in range(40):
            histogram = exponential(rng.beta(1, 1, 1).tolist(), 6)
            watched.update(look(60 * (i + 2), series(EVAL, histogram), gauge(EVAL, 0.1 + i / 90)))
        size = len(watched.state())
        watched.update(
            look(60 * 70, series(EVAL, ExplicitHistogram(2**60, None, 0, 0, True, (0.1,), (2**60, 0))))
        )
        assert 2_000 < size < 16_384
        assert len(watched.state()) < 16_384

    def test_another_state_is_refused(self) -> None:
        with pytest.raises(msgspec.MsgspecError):
            machine().restore(b'{"groups":[[["a"],{}]]}')


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        (Degradation("rating", baseline=4.2, low=1, high=5), ""),
        (Degradation("rating", baseline=4.2), r"the baseline \(4.2\) has to lie between 0 and 1"),
        (
            Degradation("rating", baseline=1.02, low=1, high=5),
            "0.969 would be allowed, and nothing is below 1",
        ),
        (Degradation("http.server.request.duration", baseline=2.5, score="within_p95"), ""),
        (Degradation("http.server.request.duration", baseline=-1, score="within_p95"), "above 0"),
        (Degradation("requests", baseline=1.5, score="success", high=5), "has to lie between 0 and 1"),
    ],
)
def test_what_cannot_be_is_said_before(view: Degradation, problem: str) -> None:
    if not problem:
        assert read_views([view])
        return
    with pytest.raises(ValueError, match=problem):
        read_views([view])
