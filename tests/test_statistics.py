"""Tests, detectors and intervals: what each guarantees, on seeded streams, and the algebra that all keep."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact

from otel_wandb.statistics import (
    Comparison,
    DriftDetector,
    FallDetector,
    Interval,
    TwoSample,
    burn_rate,
    compare_proportions,
    discover,
    mean_sequence,
    newcombe,
    q_values,
    split_reference,
    two_sample,
    two_sample_strata,
    wilson,
)
from otel_wandb.statistics.comparison import ComparisonState
from otel_wandb.statistics.detector import DetectorState
from otel_wandb.statistics.distances import Counts, Pair, likelihood_ratio, total_variation
from otel_wandb.statistics.draws import merge_bins, seed_of
from otel_wandb.statistics.means import FallState

SPREAD = 0.8
COUNTS = st.lists(st.integers(0, 50), min_size=2, max_size=12)


def latencies(rng: np.random.Generator, size: int, factor: float = 1.0, tail: float = 0.0) -> Counts:
    """Counts of so many log-normal latencies in the buckets of an exponential histogram of scale 3."""
    values = rng.lognormal(0, SPREAD, size) * factor
    values[rng.random(size) < tail] *= 10
    return np.bincount(np.clip(np.floor(np.log2(values) * 8).astype(int) + 48, 0, 95), minlength=96)


def share_of_rejections(test: Callable[[int], float], repetitions: int, level: float = 0.05) -> float:
    return sum(test(seed) <= level for seed in range(repetitions)) / repetitions


def band(repetitions: int, level: float = 0.05) -> tuple[float, float]:
    """Where the share of rejections of an exact test is but in one of 10,000 runs of a seed."""
    low, high = binom.interval(0.9999, repetitions, level)
    return float(low) / repetitions, float(high) / repetitions


class TestTwoSample:
    def test_what_it_says(self) -> None:
        found = two_sample([40, 30, 20, 10], [10, 20, 30, 40], seed=1)
        assert found.p_value == 0.001
        assert (found.n, found.m, found.draws) == (100, 100, 999)
        assert found.decisive == ("anderson_darling", "below_p5", "above_p95", "above_p99")
        assert {name: round(d.value, 4) for name, d in found.statistics.items()} == {
            "anderson_darling": 20.0,
            "ks": 0.4,
            "likelihood_ratio": 42.5761,
            "psi": 0.872,
            "jensen_shannon": 0.1064,
            "total_variation": 0.4,
            "wasserstein": 1.0,
            "below_p5": 0.0,
            "above_p95": 0.0,
            "above_p99": 0.0,
        }
        assert found.statistics["psi"].p_value == 0.001
        assert 0.1 < found.statistics["psi"].null_p95 < 0.2  # chi-square of 3 by 0.02

    @pytest.mark.parametrize(("n", "m"), [(1000, 100), (1000, 1000), (5000, 500)])
    def test_without_a_change_it_rejects_as_often_as_it_says(self, n: int, m: int) -> None:
        rng = np.random.default_rng(seed_of("null", n, m))

        def test(seed: int) -> float:
            pair = [(latencies(rng, n), latencies(rng, m))]
            return two_sample_strata(pair, draws=199, seed=seed, only_decisive=True).p_value

        low, high = band(300)
        assert low <= share_of_rejections(test, 300) <= high

    def test_shifts_are_found(self) -> None:
        rng = np.random.default_rng(11)
        found = {
            case: share_of_rejections(
                lambda seed, case=case: (
                    two_sample_strata(  # type: ignore[misc]
                        [(latencies(rng, 5000), latencies(rng, 1000, *case))],
                        seed=seed,
                        draws=499,
                        only_decisive=True,
                    ).p_value
                ),
                60,
            )
            for case in ((1.1, 0.0), (1.0, 0.02), (1.25, 0.0))
        }
        assert found[1.25, 0.0] == 1
        assert found[1.1, 0.0] > 0.65  # .82, as of 1,500 repetitions
        assert found[1.0, 0.02] > 0.7  # .87

    def test_requests_of_an_interval_may_have_a_load_in_common(self) -> None:
        rng = np.random.default_rng(5)

        def bursts(intervals: int) -> Counts:
            loads = np.exp(rng.normal(0, 0.2, intervals))
            return np.stack([latencies(rng, 50, load) for load in loads])

        by_interval, by_request = [], []
        for seed in range(150):
            reference, current = bursts(120), bursts(30)
            by_interval.append(two_sample(reference, current, draws=199, seed=seed).p_value)
            by_request.append(
                two_sample(reference.sum(axis=0), current.sum(axis=0), draws=199, seed=seed).p_value
            )
        low, high = band(150)
        assert low <= np.mean(np.array(by_interval) <= 0.05) <= high
        assert np.mean(np.array(by_request) <= 0.05) > 0.2  # why intervals are permuted

    def test_a_part_of_the_day_is_compared_with_the_same_part(self) -> None:
        rng = np.random.default_rng(6)
        factors = np.exp(np.sin(np.arange(24) / 24 * 2 * np.pi))

        def hours(last: int, each: int) -> list[Counts]:
            return [latencies(rng, each, factors[hour]) for hour in range(last)]

        matched, pooled = [], []
        for seed in range(150):
            reference, current = hours(24, 200), hours(6, 80)
            strata = list(zip(reference, current, strict=False))
            matched.append(two_sample_strata(strata, draws=199, seed=seed, only_decisive=True).p_value)
            pooled.append(two_sample(np.sum(reference, axis=0), np.sum(current, axis=0), draws=99).p_value)
        low, high = band(150)
        assert low <= np.mean(np.array(matched) <= 0.05) <= high
        assert np.mean(np.array(pooled) <= 0.05) == 1

    def test_categories_have_no_order(self) -> None:
        shuffled = [2, 0, 3, 1]
        a, b = np.array([50, 30, 15, 5]), np.array([20, 40, 30, 10])
        one = two_sample(a, b, order="categories", seed=3)
        other = two_sample(a[shuffled], b[shuffled], order="categories", seed=3)
        assert one.decisive == ("likelihood_ratio",)
        assert one.statistics["likelihood_ratio"].value == pytest.approx(
            other.statistics["likelihood_ratio"].value
        )
        assert one.p_value < 0.01
        assert other.p_value < 0.01

    @pytest.mark.parametrize(
        ("reference", "current", "message"),
        [
            ([1, 2], [1, 2, 3], r"reference has the shape \(2,\), current \(3,\); both need the same bins"),
            ([1.5, 2], [1, 2], "reference is to hold whole numbers from 0 on"),
            ([1, 2], [-1, 2], "current is to hold whole numbers from 0 on"),
            ([1, 2], [0, 0], "a side has no counts; there is nothing to compare"),
            ([[[1]]], [1], r"reference has the shape \(1, 1, 1\)"),
            ([], [1], r"reference has the shape \(0,\)"),
        ],
    )
    def test_what_cannot_be_compared(self, reference: object, current: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            two_sample(reference, current)

    def test_positions_have_to_be_of_the_bins(self) -> None:
        with pytest.raises(ValueError, match="there are 3 positions for 2 bins"):
            two_sample([1, 2], [2, 1], positions=[1, 2, 3])

    def test_a_billion_requests(self) -> None:
        found = two_sample([10**9, 10**9], [500, 500], draws=99)
        assert found.p_value > 0.5

    @settings(max_examples=60, deadline=None)
    @given(COUNTS, st.data())
    def test_whatever_the_counts_a_p_value_comes_out(self, reference: list[int], data: st.DataObject) -> None:
        current = data.draw(st.lists(st.integers(0, 50), min_size=len(reference), max_size=len(reference)))
        if not sum(reference) or not sum(current):
            return
        found = two_sample(reference, current, draws=49)
        assert 1 / 50 <= found.p_value <= 1
        for distance in found.statistics.values():
            assert math.isfinite(distance.value)
            assert 1 / 50 <= distance.p_value <= 1
        assert found == two_sample(reference, current, draws=49)

    def test_equal_counts_are_no_change(self) -> None:
        assert two_sample([5, 10, 5], [5, 10, 5]).p_value > 0.9
        assert two_sample([7], [3]).p_value == 1

    @settings(max_examples=30, deadline=None)
    @given(COUNTS, st.integers(1, 64), st.integers(0, 2**32))
    def test_replicas_merged_or_apart_are_the_same(self, counts: list[int], replicas: int, seed: int) -> None:
        whole = np.array(counts) + 1
        rng = np.random.default_rng(seed)
        parts = rng.multinomial(whole, np.ones(replicas) / replicas).T
        assert two_sample(parts.sum(axis=0), whole, draws=19) == two_sample(whole, whole, draws=19)

    def test_many_bins_are_grouped_by_both_sides_together(self) -> None:
        pooled = np.random.default_rng(0).integers(0, 9, 500)
        starts = merge_bins(pooled)
        assert len(starts) <= 64
        assert starts[0] == 0
        groups = np.add.reduceat(pooled, starts) / pooled.sum()
        assert groups.max() < 0.03


class TestDistances:
    @settings(max_examples=60, deadline=None)
    @given(COUNTS)
    def test_the_likelihood_ratio_is_the_textbook_one(self, counts: list[int]) -> None:
        a, b = np.array(counts) + 1, np.array(counts[::-1]) + 2
        pooled = (a + b) / (a + b).sum()
        wanted = 2 * sum((side * np.log(side / side.sum() / pooled)).sum() for side in (a, b))
        assert likelihood_ratio(Pair(a, b)) == pytest.approx(wanted, abs=1e-8)

    def test_total_variation_is_the_part_that_moved(self) -> None:
        assert total_variation(Pair(np.array([10, 0]), np.array([3, 1]))) == 0.25


class TestDriftDetector:
    def test_false_alarms_are_as_rare_as_asked_for(self) -> None:
        rng = np.random.default_rng(21)
        early = 0
        for seed in range(20):
            detector = DriftDetector(latencies(rng, 2000), windows_to_false_alarm=200, draws=99, seed=seed)
            early += any(detector.update(latencies(rng, 200)).alarm for _ in range(20))
        assert early <= 6  # at most 2 on the mean; more than 6 in less than one of 100 seeds

    def test_a_change_is_found(self) -> None:
        rng = np.random.default_rng(22)
        delays = []
        for seed in range(5):
            detector = DriftDetector(latencies(rng, 5000), windows_to_false_alarm=1000, seed=seed)
            for _ in range(8):
                detector.update(latencies(rng, 500))
            verdicts = (detector.update(latencies(rng, 500, 1.25)).alarm for _ in range(20))
            delays.append(1 + next((i for i, alarm in enumerate(verdicts) if alarm), 20))
        assert sorted(delays)[2] <= 3

    def test_p_values_are_uniform(self) -> None:
        rng = np.random.default_rng(23)
        detector = DriftDetector([20, 20, 20], windows_to_false_alarm=1e9, draws=99)
        p_values = [detector.update(rng.multinomial(6, [1 / 3] * 3)).p_value for _ in range(400)]
        for level in (0.05, 0.2, 0.5, 0.8):
            low, high = band(400, level)
            assert low <= np.mean(np.array(p_values) <= level) <= high

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 5), st.integers(0, 100))
    def test_a_restart_changes_nothing(self, kill: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        windows = [latencies(rng, 30) for _ in range(6)]
        straight = DriftDetector(latencies(rng, 100), windows_to_false_alarm=100, draws=19, seed=seed)
        again = DriftDetector([0], windows_to_false_alarm=100, draws=19, seed=seed)
        broken = straight
        verdicts = []
        text = json.dumps(msgspec.to_builtins(straight.state()))
        broken = DriftDetector([0], windows_to_false_alarm=100, draws=19, seed=seed)
        broken.restore(msgspec.json.decode(text, type=DetectorState))
        for i, window in enumerate(windows):
            if i == kill:
                state = msgspec.json.encode(broken.state())
                again.restore(msgspec.json.decode(state, type=DetectorState))
                broken = again
            verdicts.append(broken.update(window, stratum=str(i % 2)))
        assert verdicts == [straight.update(window, stratum=str(i % 2)) for i, window in enumerate(windows)]
        assert broken.state() == straight.state()

    def test_an_acknowledged_change_is_the_new_reference(self) -> None:
        detector = DriftDetector([100, 0], windows_to_false_alarm=50, draws=99)
        while not detector.update([0, 20]).alarm:
            pass
        detector.reset([0, 100])
        assert detector.evidence == 0
        assert detector.state().bags == {"": [0, 100]}

    def test_what_cannot_be(self) -> None:
        with pytest.raises(ValueError, match="windows_to_false_alarm is 1; it has to be more than 1"):
            DriftDetector([1], windows_to_false_alarm=1)
        with pytest.raises(ValueError, match="one axis"):
            DriftDetector({"a": [1], "b": [1, 2]}, windows_to_false_alarm=10)

    def test_evidence_ends_at_a_ceiling_and_falls_from_it(self) -> None:
        class Least(DriftDetector):
            def _test(self, window: Mapping[str, Counts], rng: np.random.Generator) -> float:
                return 0.0  # the smallest p-value that chance can draw

        least = Least([50, 50], windows_to_false_alarm=1000)
        evidence = [least.update([50, 50]).evidence for _ in range(300)]
        assert evidence[-1] == evidence[-2] == pytest.approx(1e300)
        detector = DriftDetector([5000, 5000], windows_to_false_alarm=1000)
        detector.restore(msgspec.structs.replace(detector.state(), evidence=least.state().evidence))
        state = msgspec.json.decode(msgspec.json.encode(detector.state()), type=DetectorState)
        assert state == detector.state()
        detector.restore(state)
        assert detector.update([500, 500]).evidence < 1e300
        fall = FallDetector(0.5, batches_to_false_alarm=100)
        fall.restore(FallState([1e300] * 24, 5))
        assert fall.update({0.0: 10**9})
        assert all(map(math.isfinite, fall.state().evidence))
        pair = Comparison(2, alpha=0.01)
        for _ in range(5):
            pair.update([10**9, 0], [0, 10**9])
        assert math.isfinite(pair.evidence)
        assert msgspec.json.decode(msgspec.json.encode(pair.state()), type=ComparisonState) == pair.state()

    def test_a_reference_that_is_not_stable_says_so(self) -> None:
        rng = np.random.default_rng(24)
        steady = [latencies(rng, 200) for _ in range(20)]
        rising = [latencies(rng, 200, 1.1**i) for i in range(20)]
        assert split_reference(steady, windows_to_false_alarm=1000) is None
        verdict = split_reference(rising, windows_to_false_alarm=1000)
        assert verdict is not None
        assert verdict.alarm
        assert split_reference(steady[:1], windows_to_false_alarm=1000) is None


class TestMeans:
    def test_the_true_mean_is_held_at_all_times(self) -> None:
        rng = np.random.default_rng(31)
        held = 0
        for _ in range(100):
            wins = np.cumsum(rng.random(1000) < 0.85)
            looks = (10, 30, 100, 300, 1000)
            intervals = [
                mean_sequence({1.0: int(wins[n - 1]), 0.0: n - int(wins[n - 1])}, confidence=0.9)
                for n in looks
            ]
            held += all(interval.low <= 0.85 <= interval.high for interval in intervals)
        assert held >= 85

    def test_it_is_narrow_enough_to_be_of_use(self) -> None:
        low, high = mean_sequence({1.0: 850, 0.0: 150})
        assert 0.80 < low < 0.83
        assert 0.87 < high < 0.89
        assert mean_sequence({}) == Interval(0, 1)
        assert mean_sequence({0.5: 1000}).low > 0.49

    @settings(max_examples=40, deadline=None)
    @given(st.dictionaries(st.floats(0, 1), st.integers(0, 500), max_size=8))
    def test_the_observed_mean_is_always_inside(self, counts: dict[float, int]) -> None:
        interval = mean_sequence(counts)
        assert 0 <= interval.low <= interval.high <= 1
        total = sum(counts.values())
        if total:
            mean = sum(value * count for value, count in counts.items()) / total
            assert interval.low - 1e-9 <= mean <= interval.high + 1e-9

    def test_a_fall_is_found_and_chance_is_not(self) -> None:
        rng = np.random.default_rng(32)

        def watch(share: float, batches: int) -> int | None:
            detector = FallDetector(0.8075, batches_to_false_alarm=1000)
            for batch in range(batches):
                wins = int(rng.binomial(100, share))
                if detector.update({1.0: wins, 0.0: 100 - wins}):
                    return batch + 1
            return None

        assert sum(watch(0.8075, 100) is not None for _ in range(40)) <= 8  # at most 4 on the mean
        delays = [watch(0.75, 100) for _ in range(20)]
        assert all(delays)
        assert sorted(delay for delay in delays if delay)[10] <= 12

    def test_the_order_within_a_batch_does_not_matter_and_a_restart_changes_nothing(self) -> None:
        detector, again = (FallDetector(0.9, batches_to_false_alarm=100) for _ in range(2))
        detector.update({1.0: 50, 0.25: 3})
        again.restore(msgspec.json.decode(msgspec.json.encode(detector.state()), type=FallState))
        assert again.update({0.25: 10, 1.0: 5}) == detector.update({1.0: 5, 0.25: 10})
        assert again.evidence == detector.evidence
        detector.reset()
        assert detector.evidence == 0
        assert not detector.update({})

    @pytest.mark.parametrize("counts", [{1.5: 1}, {-0.1: 1}, {0.5: -1}])
    def test_what_cannot_be(self, counts: dict[float, int]) -> None:
        with pytest.raises(ValueError, match=r"have to lie between 0 and 1|less than 0 times"):
            mean_sequence(counts)
        with pytest.raises(ValueError, match="limit is 0; it has to be above 0 and at most 1"):
            FallDetector(0, batches_to_false_alarm=10)


class TestProportions:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 60), st.integers(1, 60))
    def test_the_exact_test_is_fishers(self, a: int, n: int, b: int, m: int) -> None:
        a, b = min(a, n), min(b, m)
        wanted = float(fisher_exact(np.array([[a, n - a], [b, m - b]])).pvalue)
        assert compare_proportions(a, n, b, m) == pytest.approx(wanted, rel=1e-6)

    def test_intervals(self) -> None:
        assert wilson(0, 0) == (0, 1)
        assert tuple(round(x, 4) for x in wilson(5, 100)) == (0.0215, 0.1118)
        assert wilson(0, 10).low == 0
        assert wilson(10, 10).high == 1
        assert tuple(round(x, 4) for x in newcombe(48, 80, 56, 70)) == (0.0524, 0.3339)
        assert compare_proportions(1, 2, 0, 0) == 1

    def test_the_pace_of_a_budget(self) -> None:
        burn = burn_rate(144, 1000, objective=0.99)
        assert burn.rate == pytest.approx(14.4)
        assert burn.p_value < 1e-9
        assert burn_rate(0, 0, objective=0.99) == (0, 1, 0, 0)
        assert burn_rate(1, 100, objective=0.99).p_value == pytest.approx(0.634, abs=1e-3)
        with pytest.raises(ValueError, match="objective is 1; it is the share of good events"):
            burn_rate(0, 1, objective=1)
        with pytest.raises(ValueError, match="3 of 2 is no part of a whole"):
            burn_rate(3, 2, objective=0.5)


class TestComparison:
    def test_versions_that_are_alike_and_ones_that_are_not(self) -> None:
        rng = np.random.default_rng(41)
        stable, worse = np.array([0.7, 0.2, 0.1]), np.array([0.6, 0.25, 0.15])

        def watch(share: np.typing.NDArray[np.float64]) -> int | None:
            comparison = Comparison(3, alpha=0.05)
            for interval in range(60):
                if comparison.update(rng.multinomial(200, stable), rng.multinomial(50, share)):
                    return interval + 1
            return None

        assert sum(watch(stable) is not None for _ in range(40)) <= 6  # at most 2 on the mean
        assert all(watch(worse) for _ in range(10))

    def test_a_restart_changes_nothing(self) -> None:
        comparison, again = Comparison(2), Comparison(2)
        comparison.update([9, 1], [5, 5])
        again.restore(msgspec.json.decode(msgspec.json.encode(comparison.state()), type=ComparisonState))
        comparison.update([90, 10], [50, 50])
        again.update([90, 10], [50, 50])
        assert again.evidence == comparison.evidence > 1

    def test_what_cannot_be(self) -> None:
        with pytest.raises(ValueError, match="alpha is 1; it is the chance of a false alarm"):
            Comparison(2, alpha=1)
        with pytest.raises(ValueError, match=r"the counts have \(1,\) and \(2,\), not \(2,\)"):
            Comparison(2).update([1], [1, 2])


class TestDiscoveries:
    def test_what_stands_together(self) -> None:
        assert discover({"a": 100, "b": 41, "c": 26, "d": 1}, rate=0.05) == {"a", "b"}
        assert discover({"a": 10}) == frozenset()
        assert discover({}) == frozenset()

    def test_the_least_rate_at_which_one_stands(self) -> None:
        assert q_values({}) == {}
        assert q_values({"a": 100.0, "b": 30.0, "c": 0.0, "d": 1.0}) == pytest.approx(
            {"a": 0.04, "b": 4 / 60, "c": 1.0, "d": 1.0}
        )
        assert q_values({"a": 100.0, "b": 80.0}) == pytest.approx({"a": 0.0125, "b": 0.0125})

    @given(st.dictionaries(st.text(max_size=3), st.floats(0, 1e300), max_size=12), st.floats(0.001, 1))
    def test_they_are_what_is_discovered(self, evidence: dict[str, float], rate: float) -> None:
        ordered = sorted(evidence.values(), reverse=True)
        stand = [
            k
            for k in range(1, len(ordered) + 1)
            if ordered[k - 1] and len(ordered) / (k * ordered[k - 1]) <= rate
        ]
        wanted = max(stand, default=0)
        if rate < 1:
            assert len(discover(evidence, rate=rate)) == wanted

    def test_few_of_them_are_chance(self) -> None:
        rng = np.random.default_rng(51)
        false = [
            len(discover(dict(zip("abcdefgh", 0.5 * rng.random(8) ** -0.5, strict=True)))) for _ in range(500)
        ]
        assert np.mean(np.array(false) > 0) <= 0.1


def test_a_seed_is_a_function_of_its_words_alone() -> None:
    assert seed_of("latency", 1_700_000_000) == seed_of("latency", 1_700_000_000) == 11480979261274886999
    assert seed_of("a", "bc") != seed_of("ab", "c")


def test_the_outcome_of_a_test_can_be_stored() -> None:
    found = two_sample([3, 4], [5, 6], draws=9)
    assert msgspec.convert(json.loads(msgspec.json.encode(found)), type=TwoSample) == found
