"""Predictions: what charts show of confidence and labels, and when which alarm is told."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from inline_snapshot import snapshot

from otel_wandb.statistics.concentration import compare_entropy
from otel_wandb.views.definitions import Predictions
from otel_wandb.views.label_keys import MAX_LABELS, LabelKeys
from otel_wandb.views.machine import Look
from otel_wandb.views.predictions import PredictionsMachine
from tests.test_view_drift import pick
from tests.view_looks import exponential, findings, look, run, run_killed, series, texts

NAME = "prediction.confidence"
LABEL = "prediction.label"
VIEW = Predictions(name="sort")
EVEN = {"cat": 0.4, "dog": 0.35, "owl": 0.25}
DAY_S = 86_400


def machine(windows: float = 500.0) -> PredictionsMachine:
    return PredictionsMachine(VIEW, windows_to_false_alarm=windows)


def stream(
    seed: int, *parts: tuple[int, dict[str, float], float], size: int = 600, start_s: int = 0
) -> list[Look]:
    """So many hours with these shares of labels, and that part of confidences below 0.5."""
    rng = np.random.default_rng(seed)
    looks: list[Look] = []
    for shares, low in [(shares, low) for length, shares, low in parts for _ in range(length)]:
        drawn = []
        for label, count in zip(shares, rng.multinomial(size, list(shares.values())), strict=True):
            if count:
                sure = rng.random(count) >= low
                values = np.where(sure, 0.7 + 0.05 * rng.integers(0, 6, count), 0.3)
                drawn.append(series(NAME, exponential(values, 6), **({LABEL: label} if label else {})))
        looks.append(look(start_s + 3600 * (len(looks) + 1), *drawn))
    return looks


class TestRows:
    def test_what_is_in_one(self) -> None:
        values = {
            "cat": [0.9, 0.8, 0.9, 0.95],
            "dog": [0.5, 0.85],
            "": [0.25, 0.9],
        }
        drawn = [
            series(NAME, exponential(found, 10), **({LABEL: label} if label else {}))
            for label, found in values.items()
        ]
        (outcome,) = run(machine(), [look(60, *drawn)])
        assert {key: round(value, 3) for key, value in outcome.values.items()} == snapshot(
            {
                "predictions/sort_confidence_mean": 0.756,
                "predictions/sort_confidence_std": 0.233,
                "predictions/sort_confidence_p25": 0.725,
                "predictions/sort_confidence_median": 0.872,
                "predictions/sort_confidence_p75": 0.903,
                "predictions/sort_low_confidence_rate": 25.0,
                "predictions/sort_unique_count": 2.0,
                "predictions/sort_diversity_ratio": 0.333,
                "predictions/sort_entropy": 0.637,
                "predictions/sort_cat_share": 0.667,
                "predictions/sort_dog_share": 0.333,
            }
        )
        assert outcome.values["predictions/sort_entropy"] == pytest.approx(
            -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
        )

    def test_without_labels_and_without_predictions(self) -> None:
        watched = machine()
        first, second = run(watched, [look(60, series(NAME, exponential([0.4, 0.6]))), look(120)])
        assert sorted(first.values) == snapshot(
            [
                "predictions/sort_confidence_mean",
                "predictions/sort_confidence_median",
                "predictions/sort_confidence_p25",
                "predictions/sort_confidence_p75",
                "predictions/sort_confidence_std",
                "predictions/sort_low_confidence_rate",
            ]
        )
        assert second.values == {}
        assert watched.explain() == {(): "learning: 2 of 5,000 requests"}

    def test_the_labels_of_a_day_stay_and_the_others_are_exact(self) -> None:
        def hour(i: int, counts: dict[str, int]) -> Look:
            drawn = [
                series(NAME, exponential([0.9] * count), **{LABEL: label}) for label, count in counts.items()
            ]
            return look(3600 * (i + 1), *drawn)

        many = {f"l{i:02}": 1 + (i == 24) for i in range(25)}
        outcomes = run(
            machine(), [hour(0, many), hour(1, {"new": 5, "l24": 5}), hour(24, {"new": 5, "l24": 5})]
        )
        shares = [
            {key[17:]: value for key, value in one.values.items() if key.endswith("_share")}
            for one in outcomes
        ]
        assert len(shares[0]) == MAX_LABELS + 1
        assert shares[0]["l24_share"] == pytest.approx(2 / 26)
        assert shares[0]["other_share"] == pytest.approx(5 / 26)
        assert shares[1]["l24_share"] == shares[1]["other_share"] == 0.5
        assert shares[1]["l00_share"] == 0
        # The day after, the most frequent ones of the day before are shown, and what comes has a place.
        assert shares[2]["l24_share"] == 0.5
        assert "new_share" not in shares[1]

    def test_labels_that_look_alike_as_keys(self) -> None:
        keys = LabelKeys()
        names = keys.name_all(0, {"a b": 3, "a-b": 2, "other": 1})
        assert names == snapshot({"a b": "a_b", "a-b": "a_b_8dfa", "other": "other_"})
        assert len(set(names.values())) == 3


class TestAlarms:
    def test_confidence_that_is_low_more_often(self) -> None:
        outcomes = run(machine(), stream(1, (16, EVEN, 0.05), (5, EVEN, 0.15)))
        (finding,) = texts(outcomes)
        assert (finding.name, finding.title, finding.level) == snapshot(
            ("predictions_confidence_sort", "sort is less confident", "warn")
        )
        assert finding.text == snapshot(
            "10.6 % of the predictions of sort have a confidence of 0.5 or less, not 4.8 % as in "
            "the reference: +4.7 to +7 points (p-value of this window alone: 3.6e-35). Since "
            "about 2024-10-04 13:59 UTC (3 windows). Evidence is 54,300; without a change it "
            "reaches 1,000 once in as many windows at most, on the mean."
        )
        assert pick(outcomes, "predictions/sort_low_confidence_detected")[-1] == 1

    def test_confidence_that_is_low_less_often_is_none(self) -> None:
        assert findings(run(machine(), stream(2, (16, EVEN, 0.15), (6, EVEN, 0.02)))) == []

    def test_it_is_over_when_confidence_is_back(self) -> None:
        outcomes = run(machine(), stream(3, (16, EVEN, 0.05), (5, EVEN, 0.2), (14, EVEN, 0.05)))
        assert findings(outcomes) == snapshot(
            [
                (68400.0, "predictions_confidence_sort", "firing"),
                (97200.0, "predictions_confidence_sort", "recovered"),
            ]
        )

    def test_labels_in_other_shares(self) -> None:
        other = {"cat": 0.25, "dog": 0.35, "owl": 0.4}
        (finding,) = texts(run(machine(), stream(4, (16, EVEN, 0.05), (5, other, 0.05))))
        assert (finding.name, finding.title, finding.level) == snapshot(
            ("predictions_labels_sort", "sort predicts other labels", "warn")
        )
        assert finding.text == snapshot(
            "sort predicts labels in other shares than in its reference: owl: 36.5 % instead of "
            "25.6 % (+8.7 to +13 points); cat: 28.4 % instead of 39 % (-13 to -8.4 points); dog: "
            "35.1 % instead of 35.4 % (-2.6 to +2 points). About 10.9 % (9.26 % to 13 %) of the "
            "predictions are others. Since about 2024-10-04 15:59 UTC (2 windows). Evidence is "
            "16,300; without a change it reaches 1,000 once in as many windows at most, on the "
            "mean."
        )

    def test_a_collapse_is_told_once_and_is_over_when_labels_are_even_again(self) -> None:
        collapsed = {"cat": 0.94, "dog": 0.04, "owl": 0.02}
        outcomes = run(machine(), stream(5, (16, EVEN, 0.05), (5, collapsed, 0.05), (4, EVEN, 0.05)))
        assert findings(outcomes) == snapshot(
            [
                (68400.0, "predictions_collapse_sort", "firing"),
                (82800.0, "predictions_collapse_sort", "recovered"),
            ]
        )
        assert [finding.text for finding in texts(outcomes)] == snapshot(
            [
                (
                    "94.4 % of the predictions of sort are 'cat': the entropy of its labels is 0.251 "
                    "nats, it was 1.08 in the reference (p-value of this window alone: 0.001). Since "
                    "about 2024-10-04 15:59 UTC (2 windows). Evidence is 16,500; without a change it "
                    "reaches 1,000 once in as many windows at most, on the mean."
                ),
                (
                    "The variety of labels of sort is as in the reference again. It fired at 2024-10-04 "
                    "19:00 UTC, 4 h before."
                ),
            ]
        )
        assert pick(outcomes, "predictions/sort_collapse_detected")[-1] == 0

    def test_few_different_labels_by_many_predictions_are_none(self) -> None:
        busy = stream(6, (16, EVEN, 0.05)) + stream(6, (6, EVEN, 0.05), size=3000, start_s=16 * 3600)
        outcomes = run(machine(), busy)
        ratios = pick(outcomes, "predictions/sort_diversity_ratio")
        assert ratios[-1] < ratios[0] / 4
        assert findings(outcomes) == []

    def test_chance_is_silent(self) -> None:
        assert findings(run(machine(), stream(7, (50, EVEN, 0.05)))) == []


class TestRestarts:
    def test_they_change_nothing(self) -> None:
        collapsed = {"cat": 0.97, "dog": 0.03}
        looks = stream(8, (14, EVEN, 0.05), (3, EVEN, 0.3), (4, collapsed, 0.3), start_s=DAY_S // 2)
        straight = run(machine(), looks)
        assert {name for _, name, _ in findings(straight)} == snapshot(
            {"predictions_collapse_sort", "predictions_confidence_sort"}
        )
        assert run_killed(machine, looks, range(len(looks))) == straight
        assert run_killed(machine, looks, (9, 15)) == straight

    def test_the_state_of_a_group_is_small(self) -> None:
        watched = machine()
        labels = {f"{'ä' * 60}{i}": 1 / 80 for i in range(80)}
        run(watched, stream(9, (14, labels, 0.05)))
        assert len(watched.state()) < 2 * 16_000

    def test_another_state_is_not_taken(self) -> None:
        with pytest.raises(msgspec.DecodeError):
            machine().restore(b"[")


class TestEntropy:
    def test_the_p_value_is_exact(self) -> None:
        rng = np.random.default_rng(10)
        shares = [0.6, 0.3, 0.1]
        p_values = [
            compare_entropy(
                rng.multinomial(300, shares), rng.multinomial(100, shares), draws=99, seed=i
            ).p_value
            for i in range(400)
        ]
        assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.1

    def test_what_it_says(self) -> None:
        change = compare_entropy([100, 100], [99, 1], seed=1)
        assert change.before == pytest.approx(math.log(2))
        assert change.after < 0.06
        assert change.p_value == 0.001
        assert compare_entropy([99, 1], [100, 100]).p_value == 1

    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [([1, 2], [1], "both need the same bins"), ([0, 0], [1, 2], "a side has no counts")],
    )
    def test_what_cannot_be_compared(self, before: list[int], after: list[int], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            compare_entropy(before, after)
