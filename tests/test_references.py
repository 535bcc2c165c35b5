"""References: made of what there is, kept as JSON, and tested against themselves before they make alarms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest
from inline_snapshot import snapshot

from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.exponential import EMPTY
from otel_wandb.metrics.intervals import Calendar
from otel_wandb.views.reference import Reference
from otel_wandb.views.reference_check import Check, Taken, check_reference, create_reference, show_reference
from tests.metric_samples import S, at
from tests.test_view_drift import bucket, draw
from tests.view_looks import explicit, exponential

BOUNDS = (1.0, 2.0, 5.0)
MINUTES_OF_DAY = 1440


def take(
    seed: int, minutes: int, factor: Callable[[int], float], *, size: int = 40, step: int = 1
) -> Sequence[Taken]:
    """So many minutes (each `step`-th) of requests at the factor of the minute."""
    rng = np.random.default_rng(seed)
    return [
        Taken(Calendar(60 * S).interval_at(at(60 * (i + 1))), bucket(draw(rng, size, factor(i))))
        for i in range(0, minutes, step)
    ]


def loads(seed: int, spread: float) -> Callable[[int], float]:
    factors = np.exp(np.random.default_rng(seed).normal(0, spread, 20_000))
    return lambda i: float(factors[i])


class TestHistograms:
    def test_explicit_buckets_keep_their_edges(self) -> None:
        reference = Reference.from_histogram(explicit([0.5, 1.5, 1.6, 9.0], BOUNDS), source="last week")
        assert reference == Reference({"": (1, 2, 0, 1)}, edges=(1.0, 2.0, 5.0), source="last week")

    def test_exponential_ones_too(self) -> None:
        reference = Reference.from_histogram(exponential([1.5, 3.0, 3.0, 0.0], 0))
        assert reference == Reference({"": (1, 0, 1, 2, 0)}, edges=(0.0, 1.0, 2.0, 4.0), source="a histogram")

    def test_zero_is_counted_with_nothing_else(self) -> None:
        reference = Reference.from_samples([-1.0, 0.0, 0.0, 2.0])
        below_zero = math.nextafter(0.0, -1.0)
        assert below_zero in reference.edges
        at_zero = reference.edges.index(0.0)
        assert reference.counts[""][at_zero] == 2
        assert reference.counts[""][at_zero - 1] == 0

    def test_strata_get_the_edges_that_all_of_them_keep_to(self) -> None:
        reference = Reference.from_histograms({"0": exponential([1.2, 3.0], 2), "1": exponential([1.5], 0)})
        assert reference.edges == (1.0, 2.0, *reference.edges[2:])
        assert {name: sum(counts) for name, counts in reference.counts.items()} == {"0": 2, "1": 1}

    def test_they_come_back_from_json(self) -> None:
        reference = Reference.from_histograms({"0": exponential([1.2, 3.0]), "1": exponential([7.5])})
        assert Reference.from_json(reference.to_json()) == reference

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Reference.from_histogram(EMPTY), "the histogram has none"),
            (
                lambda: Reference.from_histogram(ExplicitHistogram(3, None, None, None, False, (), (3,))),
                "no edge that all of them keep to",
            ),
            (lambda: Reference.from_samples([math.nan]), "none that are finite"),
            (lambda: Reference.from_categories([]), "there are none"),
            (lambda: Reference.from_json('{"counts":{"":[1]},"edges":[1.0]}'), "needs 2 counts"),
            (lambda: Reference.from_json('{"counts":{"":[1,-1]},"edges":[1.0]}'), "below 0"),
            (lambda: Reference.from_json('{"counts":{"":[1,1,1]},"edges":[2.0,1.0]}'), "have to ascend"),
        ],
    )
    def test_what_is_none(self, make: Callable[[], Reference], message: str) -> None:
        with pytest.raises((ValueError, msgspec.ValidationError), match=message):
            make()


class TestShown:
    def test_values(self) -> None:
        reference = create_reference(take(1, MINUTES_OF_DAY, lambda _: 1.0, step=10), strata="hour_of_day")
        assert show_reference(reference) == snapshot(
            [
                "5,760 requests, stored intervals",
                "24 strata of 240 to 240 requests",
                "p5: 0.2676",
                "p50: 0.9868",
                "p95: 3.707",
                "p99: 6.551",
            ]
        )

    def test_names(self) -> None:
        assert show_reference(Reference.from_categories(["a"] * 3 + [""], source="labels.csv")) == snapshot(
            ["4 requests, labels.csv", "a: 75 %", "(none): 25 %"]
        )


class TestAgainstItself:
    def test_a_stable_one(self) -> None:
        check = check_reference(take(2, 600, lambda _: 1.0), window_s=1800)
        assert check == snapshot(
            Check(stable=True, remedy="", words=("Stable: none of 10 windows is unlike those before it.",))
        )

    def test_bursts_ask_for_intervals(self) -> None:
        check = check_reference(take(3, MINUTES_OF_DAY, loads(3, 0.3), size=100), window_s=3600)
        assert (check.stable, check.remedy) == (False, "unit")
        assert check.words == snapshot(
            (
                (
                    "Not stable by itself: an alarm at 2024-10-04 14:00 UTC, in window 14 of 24, though "
                    "the first 12 are its reference."
                ),
                (
                    "Requests of an interval have something in common, such as a load. With `unit: "
                    "interval` there is no alarm."
                ),
            )
        )

    def test_seasons_ask_for_strata(self) -> None:
        def day(i: int) -> float:
            return float(np.exp(0.5 * np.sin(i / MINUTES_OF_DAY * 2 * np.pi)))

        check = check_reference(take(4, 4 * MINUTES_OF_DAY, day, size=200, step=20))
        assert (check.stable, check.remedy) == (False, "hour_of_day")
        assert check.words == snapshot(
            (
                (
                    "Not stable by itself: an alarm at 2024-10-06 03:41 UTC, in window 39 of 72, though "
                    "the first 36 are its reference."
                ),
                "Hours of the day differ. With `strata: hour_of_day` there is no alarm.",
            )
        )

    def test_a_trend_asks_for_another_range(self) -> None:
        check = check_reference(take(5, 600, lambda i: 1.002**i), window_s=1800)
        assert (check.stable, check.remedy) == (False, "")
        assert check.words == snapshot(
            (
                (
                    "Not stable by itself: an alarm at 2024-10-04 06:00 UTC, in window 12 of 20, though "
                    "the first 10 are its reference."
                ),
                "It drifts by itself: take a shorter or later range of time, or a longer window.",
                "`strata: hour_of_day` needs 2 d to be tried.",
                "`strata: hour_of_week` needs 14 d to be tried.",
            )
        )

    def test_one_too_short_to_be_tested(self) -> None:
        assert check_reference(take(6, 100, lambda _: 1.0)) == Check(
            False, "", ("Too short to be tested: 1 of 8 windows of 500 requests or more.",)
        )
        assert not check_reference([]).stable

    def test_chance_is_stable(self) -> None:
        unstable = [
            seed
            for seed in range(10, 26)
            if not check_reference(
                take(seed, 240, lambda _: 1.0), window_s=900, windows_to_false_alarm=100
            ).stable
        ]
        assert len(unstable) <= 5  # at most 1.3 on the mean: 8 windows of each at one in 100
