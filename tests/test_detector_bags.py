"""What a detector remembers: intervals, strata, and no more than it may, without breaking its promise."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.statistics import DriftDetector
from otel_wandb.statistics.detector import DetectorState
from otel_wandb.statistics.distances import Counts
from tests.test_statistics import band, latencies


def bursts(rng: np.random.Generator, intervals: int, factor: float = 1.0) -> Counts:
    return np.stack([latencies(rng, 30, load) for load in factor * np.exp(rng.normal(0, 0.3, intervals))])


class TestRows:
    def test_p_values_of_intervals_are_uniform_though_only_some_are_remembered(self) -> None:
        rng = np.random.default_rng(1)
        detector = DriftDetector(bursts(rng, 40), windows_to_false_alarm=1e9, draws=99, bag_limit=40)
        p_values = [detector.update(bursts(rng, 10)).p_value for _ in range(200)]
        for level in (0.05, 0.2, 0.5, 0.8):
            low, high = band(200, level)
            assert low <= np.mean(np.array(p_values) <= level) <= high
        assert len(detector.state().rows[""]) == 40

    def test_a_change_is_found(self) -> None:
        rng = np.random.default_rng(2)
        detector = DriftDetector(bursts(rng, 60), windows_to_false_alarm=1000, bag_limit=64)
        for _ in range(5):
            detector.update(bursts(rng, 20))
        alarms = [detector.update(bursts(rng, 20, 1.8)).alarm for _ in range(6)]
        assert alarms[-1]

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 5), st.integers(0, 100))
    def test_a_restart_changes_nothing(self, kill: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        reference, windows = bursts(rng, 12), [bursts(rng, 4) for _ in range(6)]

        def make() -> DriftDetector:
            return DriftDetector(reference, windows_to_false_alarm=100, draws=19, seed=seed, bag_limit=15)

        straight, broken = make(), make()
        verdicts = []
        for i, window in enumerate(windows):
            if i == kill:
                state = msgspec.json.encode(broken.state())
                broken = make()
                broken.restore(msgspec.json.decode(state, type=DetectorState))
            verdicts.append(broken.update(window))
        assert verdicts == [straight.update(window) for window in windows]


class TestBags:
    def test_p_values_are_uniform_though_only_some_requests_are_remembered(self) -> None:
        rng = np.random.default_rng(3)
        detector = DriftDetector([100, 100, 100], windows_to_false_alarm=1e9, draws=99, bag_limit=300)
        p_values = [detector.update(rng.multinomial(60, [1 / 3] * 3)).p_value for _ in range(400)]
        for level in (0.05, 0.2, 0.5, 0.8):
            low, high = band(400, level)
            assert low <= np.mean(np.array(p_values) <= level) <= high
        assert sum(detector.state().bags[""]) == 300

    def test_small_p_values_are_not_more_often_than_they_may_be_where_draws_stop_early(self) -> None:
        rng = np.random.default_rng(4)
        p_values = []
        for seed in range(250):
            reference = rng.multinomial(900, [1 / 3] * 3)
            detector = DriftDetector(reference, windows_to_false_alarm=1e9, draws=499, seed=seed)
            p_values.append(detector.update(rng.multinomial(100, [1 / 3] * 3)).p_value)
        for level in (0.02, 0.05, 0.1, 0.5):
            assert np.mean(np.array(p_values) <= level) <= band(250, level)[1]

    def test_a_window_may_be_of_several_strata(self) -> None:
        rng = np.random.default_rng(5)
        day, night = np.array([0.8, 0.2]), np.array([0.2, 0.8])
        detector = DriftDetector(
            {"day": rng.multinomial(500, day), "night": rng.multinomial(500, night)},
            windows_to_false_alarm=1e9,
            draws=99,
        )
        p_values = [
            detector.update({"day": rng.multinomial(a, day), "night": rng.multinomial(60 - a, night)}).p_value
            for a in rng.integers(0, 61, 200)
        ]
        low, high = band(200, 0.2)
        assert low <= np.mean(np.array(p_values) <= 0.2) <= high
        assert detector.update({"dawn": [5, 5]}).p_value <= 1
        assert detector.state().bags["dawn"] == [5, 5]

    def test_what_cannot_be(self) -> None:
        detector = DriftDetector([1, 2], windows_to_false_alarm=10)
        with pytest.raises(
            ValueError, match=r"one axis \(bins\) or two \(intervals, bins\), the same in each"
        ):
            detector.update({"a": [1, 2], "b": [[1, 2]]})
