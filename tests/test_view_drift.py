"""Drift of values and of names: windows, alarms and what they say, and what must not change them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from numpy.typing import NDArray
from scipy.stats import binom

from otel_wandb.metrics.closed import Level
from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.exponential import ExponentialHistogram, Side
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.view_settings import read_views
from otel_wandb.views.definitions import MAX_GROUPS, Drift
from otel_wandb.views.drift import DriftMachine
from otel_wandb.views.machine import Look, Outcome
from otel_wandb.views.reference import Reference
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

NAME = "rag.query.duration"
QUICK = Drift(instrument=NAME, name="query", window_s=60, window_requests=200, learn_requests=1000)
MODEL = "gen_ai.request.model"
MODELS = Drift(
    instrument="gen_ai.calls",
    name="models",
    order="categories",
    category=MODEL,
    window_s=60,
    window_requests=200,
    learn_requests=1000,
)
BOUNDS = tuple(round(0.05 * 1.3**i, 6) for i in range(24))
STATE_LIMIT = 16_000
SOME = st.lists(st.floats(-50, 50).map(lambda value: round(value, 1)), min_size=1, max_size=60)
EXPONENTIAL = st.builds(exponential, SOME, st.integers(-3, 6))
EXPLICIT = st.builds(
    explicit, SOME, st.sets(st.integers(-60, 60), max_size=8).map(lambda edges: sorted(map(float, edges)))
)


def machine(view: Drift = QUICK, windows: float = 1000.0) -> DriftMachine:
    return DriftMachine(view, windows_to_false_alarm=windows)


def bucket(values: NDArray[np.float64], scale: int = 3) -> ExponentialHistogram:
    """The histogram of positive values, quickly."""
    places = np.ceil(np.log2(values) * 2**scale).astype(int) - 1
    side = Side(int(places.min()), tuple(np.bincount(places - places.min()).tolist()))
    total = Fraction(float(values.sum()))
    return ExponentialHistogram(
        len(values), total, float(values.min()), float(values.max()), True, scale, 0, 0.0, side
    )


def draw(rng: np.random.Generator, size: int, factor: float = 1.0) -> NDArray[np.float64]:
    return np.asarray(rng.lognormal(0, 0.8, size) * factor)


def minutes(histograms: Sequence[AnyHistogram], **attributes: str) -> list[Look]:
    return [look(60 * (i + 1), series(NAME, one, unit="s", **attributes)) for i, one in enumerate(histograms)]


def stream(seed: int, *parts: tuple[int, float], size: int = 250) -> list[Look]:
    """So many minutes at each factor; the reference is learnt in the first four."""
    rng = np.random.default_rng(seed)
    factors = [factor for length, factor in parts for _ in range(length)]
    return minutes([bucket(draw(rng, size, factor)) for factor in factors])


def calls(seed: int, *parts: tuple[int, dict[str, float]], size: int = 250) -> list[Look]:
    """So many minutes of calls of models with these shares."""
    rng = np.random.default_rng(seed)
    looks: list[Look] = []
    for shares in [shares for length, shares in parts for _ in range(length)]:
        counts = rng.multinomial(size, list(shares.values()))
        drawn = [
            counter("gen_ai.calls", int(count), **({MODEL: model} if model else {}))
            for model, count in zip(shares, counts, strict=True)
        ]
        looks.append(look(60 * (len(looks) + 1), *drawn))
    return looks


def pick(outcomes: Sequence[Outcome], key: str) -> list[float]:
    return [one.values[key] for one in outcomes if key in one.values]


def band(repetitions: int, level: float = 0.05) -> tuple[float, float]:
    """Where the share of rejections of an exact test is but in one of 10,000 runs of a seed."""
    low, high = binom.interval(0.9999, repetitions, level)
    return float(low) / repetitions, float(high) / repetitions


class TestWindows:
    def test_what_is_in_the_row_of_one(self) -> None:
        outcomes = run(machine(), stream(1, (6, 1.0)))
        assert [len(one.values) for one in outcomes] == [0, 0, 0, 1, 11, 11]
        assert outcomes[3].values == {"drift/query_drift_detected": 0.0}
        assert {key: round(value, 4) for key, value in outcomes[4].values.items()} == snapshot(
            {
                "drift/query_evidence": 0.4327,
                "drift/query_mean": 1.3342,
                "drift/query_std": 1.2243,
                "drift/query_p_value": 0.8667,
                "drift/query_ks_statistic": 0.02,
                "drift/query_psi": 0.0803,
                "drift/query_wasserstein": 0.0359,
                "drift/query_total_variation": 0.107,
                "drift/query_psi_null_p95": 0.2132,
                "drift/query_effect": 0.0,
                "drift/query_drift_detected": 0.0,
            }
        )

    def test_it_is_as_long_and_as_full_as_it_has_to_be(self) -> None:
        view = Drift(instrument=NAME, window_s=600, window_requests=120, learn_requests=30)
        rng = np.random.default_rng(2)

        def closed(per_minute: int, length: int) -> list[int]:
            outcomes = run(machine(view), minutes([bucket(draw(rng, per_minute)) for _ in range(length)]))
            return [i + 1 for i, one in enumerate(outcomes) if "drift/query_duration_evidence" in one.values]

        assert closed(50, 60) == [30, 40, 50, 60]  # ten minutes each, after twenty to learn from
        assert closed(6, 100) == [60, 80, 100]  # 120 requests each, after 240

    def test_a_reference_is_learnt_and_the_rest_said_on_demand(self) -> None:
        view = Drift(instrument=NAME, name="query", window_s=60, window_requests=5, learn_requests=50)
        rng = np.random.default_rng(3)
        watched = machine(view)
        said = []
        for one in minutes([bucket(draw(rng, 18)) for _ in range(7)]):
            watched.update(one)
            said.append(watched.explain()[()])
        assert said == [
            "learning: 18 of 60 requests",
            "learning: 36 of 60 requests",
            "learning: 54 of 60 requests",
            "window: 0 of 30 requests",
            "window: 18 of 30 requests",
            "window: 0 of 30 requests",
            "window: 18 of 30 requests",
        ]

    def test_time_goes_on_without_requests(self) -> None:
        view = Drift(instrument=NAME, name="query", window_s=300, window_requests=200, learn_requests=400)
        rng = np.random.default_rng(4)
        watched = machine(view)
        run(watched, minutes([bucket(draw(rng, 100)) for _ in range(10)]))
        full = [look(60 * m, series(NAME, bucket(draw(rng, 150)))) for m in (11, 12)]
        assert not pick(run(watched, full), "drift/query_evidence")
        assert not pick(run(watched, [look(60 * m) for m in (13, 14)]), "drift/query_evidence")
        assert pick([watched.update(look(900))], "drift/query_evidence")

    def test_groups_are_watched_by_themselves_up_to_a_limit(self) -> None:
        view = Drift(
            instrument=NAME, name="query", by=("lang",), window_s=60, window_requests=50, learn_requests=50
        )
        histogram = bucket(draw(np.random.default_rng(5), 100))
        watched = machine(view)
        parts = [series(NAME, histogram, lang=f"l{i:02}") for i in range(MAX_GROUPS + 3)]
        outcomes = run(watched, [look(60 * (i + 1), *parts) for i in range(4)])
        assert len(watched.explain()) == MAX_GROUPS
        detected = [key for key in outcomes[-1].values if key.endswith("_drift_detected")]
        assert detected[:2] == ["drift/query_l00_drift_detected", "drift/query_l01_drift_detected"]
        assert len(detected) == MAX_GROUPS

    def test_what_is_no_histogram_has_no_values(self) -> None:
        watched = machine()
        outcome = watched.update(look(60, gauge(NAME, 1.0), counter(NAME, 5)))
        assert (outcome.values, outcome.findings, watched.explain()) == ({}, [], {})


class TestAlarms:
    def test_what_one_says(self) -> None:
        outcomes = run(machine(), stream(11, (12, 1.0), (5, 1.5)))
        (finding,) = texts(outcomes)
        assert (finding.title, finding.level, finding.state) == ("query has drifted", "warn", "firing")
        assert finding.text == snapshot(
            "query is no longer as in its reference (1,000 requests, learnt from 2024-10-04 00:00 "
            "UTC to 2024-10-04 00:04 UTC): p50 is 1.41, 1.35 times (1.22 to 1.55) the 1.04 of the "
            "reference; p95 is 5.19, 1.4 times (1.18 to 1.84) the 3.7 of the reference; p99 is 10.4, "
            "1.59 times (1.1 to 2.53) the 6.54 of the reference. About 18.5 % (11.4 % to 23.1 %) of "
            "requests lie elsewhere, since about 2024-10-04 00:12 UTC (2 windows). Evidence is "
            "8,110; without a change it reaches 1,000 once in as many windows at most, on the mean."
        )

    def test_it_fires_once_and_is_over_when_the_stream_is_as_it_was(self) -> None:
        outcomes = run(machine(), stream(12, (12, 1.0), (10, 1.5), (8, 1.0)))
        assert findings(outcomes) == snapshot(
            [(840.0, "drift_query", "firing"), (1500.0, "drift_query", "recovered")]
        )
        assert pick(outcomes, "drift/query_drift_detected") == [0.0] * 10 + [1.0] * 11 + [0.0] * 6
        assert texts(outcomes)[-1].text == snapshot(
            "The last windows of query are as its reference again; evidence begins anew. It fired at "
            "2024-10-04 00:14 UTC, 11 min before."
        )

    def test_kept_references_alarm_again_and_accepted_ones_do_not(self) -> None:
        looks = stream(13, (12, 1.0), (20, 1.5))
        kept, accepted = machine(), machine()
        for watched in (kept, accepted):
            assert [name for _, name, _ in findings(run(watched, looks[:16]))] == ["drift_query"]
        kept.keep()
        accepted.accept()
        assert kept.update(looks[16]).values["drift/query_drift_detected"] == 0
        assert [name for _, name, _ in findings(run(kept, looks[17:]))] == ["drift_query"]
        outcomes = run(accepted, looks[16:])
        assert findings(outcomes) == []
        assert pick(outcomes, "drift/query_p_value")
        with pytest.raises(KeyError):
            kept.keep(("unknown",))

    def test_evidence_beyond_all_doubt_is_a_number_in_rows_and_words(self) -> None:
        looks = stream(13, (12, 1.0), (20, 1.5))
        watched = machine(windows=1e299)
        run(watched, looks[:20])
        state = msgspec.json.decode(watched.state())
        state["groups"][0][1]["judge"]["evidence"] = [1e300] * 7
        watched.restore(msgspec.json.encode(state))
        outcomes = run(watched, looks[20:])
        assert pick(outcomes, "drift/query_evidence")[0] == pytest.approx(1e300)
        assert "Evidence is more than 1,000,000,000,000; " in texts(outcomes)[0].text
        again = machine(windows=1e299)
        again.restore(watched.state())
        assert again.state() == watched.state()

    def test_an_accepted_reference_begins_with_what_came_since_the_change(self) -> None:
        watched = machine()
        run(watched, stream(13, (12, 1.0), (4, 1.5)))
        watched.accept()
        assert watched.explain() == {(): "learning: 1,000 of 1,000 requests"}

    def test_a_change_that_does_not_matter_is_none(self) -> None:
        looks = stream(14, (4, 1.0), (12, 1.03), size=20_000)
        silent, strict = (
            run(machine(msgspec.structs.replace(QUICK, min_effect=e)), looks) for e in (0.05, 0)
        )
        assert findings(silent) == []
        assert [name for _, name, _ in findings(strict)] == ["drift_query"]
        assert pick(silent, "drift/query_evidence")[-1] > 1000

    def test_a_tail_alone_is_a_change(self) -> None:
        rng = np.random.default_rng(15)
        looks = []
        for i in range(25):
            values = draw(rng, 500)
            values[rng.random(500) < (0.03 if i >= 10 else 0.0)] *= 10
            looks.append(look(60 * (i + 1), series(NAME, bucket(values))))
        assert [name for _, name, _ in findings(run(machine(), looks))] == ["drift_query"]

    def test_chance_is_silent(self) -> None:
        early = sum(
            bool(findings(run(machine(windows=50), stream(seed, (14, 1.0))))) for seed in range(20, 32)
        )
        assert early <= 6  # at most 2.4 on the mean

    def test_the_pinned_p_value_is_that_of_an_exact_test(self) -> None:
        p_values = [
            value
            for seed in range(40, 70)
            for value in pick(run(machine(), stream(seed, (6, 1.0))), "drift/query_p_value")
        ]
        low, high = band(len(p_values))
        assert low <= np.mean(np.array(p_values) <= 0.05) <= high


class TestOneStreamIsOneStream:
    @pytest.mark.parametrize("factor", [1000, 1_000_000])
    def test_units_do_not_matter(self, factor: int) -> None:
        rng = np.random.default_rng(51)
        values = [draw(rng, 250, 1.0 if i < 12 else 1.4) for i in range(18)]
        in_s = run(machine(), minutes([explicit(v.tolist(), BOUNDS) for v in values]))
        scaled = [explicit(v.tolist(), BOUNDS).scaled(Fraction(factor)) for v in values]
        smaller = run(machine(), minutes(scaled))
        assert findings(in_s) == findings(smaller) != []
        for one, other in zip(in_s, smaller, strict=True):
            for key, value in one.values.items():
                if key.endswith(("_mean", "_std")):
                    assert other.values[key] == pytest.approx(value * factor)
                elif key.endswith("_wasserstein"):
                    assert other.values[key] == pytest.approx(value)
                else:
                    assert other.values[key] == value

    def test_exponential_buckets_of_another_unit_give_the_same_verdicts(self) -> None:
        rng = np.random.default_rng(52)
        values = [draw(rng, 250, 1.0 if i < 12 else 1.4) for i in range(18)]
        alarms = {
            factor: findings(run(machine(), minutes([bucket(v * factor) for v in values])))
            for factor in (1.0, 1e3, 1e6)
        }
        assert alarms[1.0] == alarms[1e3] == alarms[1e6] != []

    @settings(max_examples=8, deadline=None)
    @given(st.integers(1, 64), st.booleans(), st.integers(0, 1000))
    def test_replicas_merged_or_apart_are_the_same(self, replicas: int, scaled: bool, seed: int) -> None:
        def make(values: NDArray[np.float64]) -> AnyHistogram:
            return exponential(values) if scaled else explicit(values.tolist(), BOUNDS)

        rng = np.random.default_rng(seed)
        whole, apart = [], []
        for i in range(7):
            values = (
                np.round(draw(rng, 250, 1.0 if i < 5 else 2.0) * 1024) + 1
            ) / 1024  # their sums are exact
            parts = [part for part in np.array_split(values, replicas) if len(part)]
            whole.append(look(60 * (i + 1), series(NAME, make(values))))
            apart.append(
                look(60 * (i + 1), *(series(NAME, make(p), host=str(k)) for k, p in enumerate(parts)))
            )
        one, other = machine(), machine()
        assert run(one, whole) == run(other, apart)
        assert one.state() == other.state()

    @pytest.mark.parametrize("kind", ["plain", "given", "day", "rows"])
    def test_a_restart_changes_nothing(self, kind: str) -> None:
        rng = np.random.default_rng(53)
        reference = {
            "plain": None,
            "given": Reference.from_samples(draw(rng, 2000)),
            "day": Reference.from_histograms({str(h): bucket(draw(rng, 500)) for h in range(24)}),
            "rows": Reference.from_histograms({str(h): bucket(draw(rng, 100)) for h in range(40)}),
        }[kind]
        view = msgspec.structs.replace(
            QUICK,
            reference=reference,
            strata="hour_of_day" if kind == "day" else "none",
            unit="interval" if kind == "rows" else "request",
        )
        step = 30 if kind == "day" else 1
        looks = [
            look(60 * (step * i + 1), series(NAME, bucket(draw(rng, 250, 1.0 if i < 8 else 1.5))))
            for i in range(14)
        ]
        straight = run(machine(view), looks)
        assert pick(straight, "drift/query_evidence")
        assert run_killed(lambda: machine(view), looks, range(14)) == straight

        @settings(max_examples=3, deadline=None)
        @given(st.sets(st.integers(0, 13), max_size=4))
        def check(kills: set[int]) -> None:
            assert run_killed(lambda: machine(view), looks, kills) == straight

        check()

    def test_a_restart_changes_nothing_of_names(self) -> None:
        looks = calls(54, (9, {"a": 0.7, "b": 0.3}), (5, {"a": 0.4, "b": 0.3, "c": 0.3}))
        straight = run(machine(MODELS), looks)
        assert run_killed(lambda: machine(MODELS), looks, range(14)) == straight
        assert run_killed(lambda: machine(MODELS), looks, (5, 10)) == straight
        assert findings(straight)

    @settings(max_examples=15, deadline=None)
    @given(
        st.lists(st.lists(st.one_of(EXPONENTIAL, EXPLICIT), max_size=3), min_size=4, max_size=12),
        st.sampled_from(["request", "interval"]),
        st.integers(0, 12),
    )
    def test_whatever_comes_is_taken(self, intervals: list[list[AnyHistogram]], unit: str, kill: int) -> None:
        view = msgspec.structs.replace(QUICK, window_requests=30, learn_requests=60, window_s=120, unit=unit)
        looks = [
            look(60 * (i + 1), *(series(NAME, one, host=str(k)) for k, one in enumerate(histograms)))
            for i, histograms in enumerate(intervals)
        ]
        straight = run(machine(view), looks)
        assert run_killed(lambda: machine(view), looks, {kill}) == straight
        for outcome in straight:
            assert all(np.isfinite(value) for value in outcome.values.values())

    def test_another_view_does_not_take_the_state(self) -> None:
        watched = machine()
        run(watched, stream(55, (5, 1.0)))
        with pytest.raises(
            msgspec.ValidationError, match="of 'ordered none request', not of 'categories none"
        ):
            machine(MODELS).restore(watched.state())
        with pytest.raises(msgspec.DecodeError):
            machine().restore(b"{")
        spoilt = watched.state().replace(b'"names":[""]', b'"names":["",""]', 1)
        with pytest.raises(msgspec.ValidationError, match="counts of 2 strata"):
            machine().restore(spoilt)


class TestReferences:
    def test_a_given_one_is_exact_with_exponential_buckets(self) -> None:
        rng = np.random.default_rng(61)
        samples = draw(rng, 4000)
        view = msgspec.structs.replace(QUICK, reference=Reference.from_samples(samples, source="training"))
        watched = machine(view)
        outcomes = run(watched, minutes([bucket(draw(rng, 250, 1.5)) for _ in range(4)]))
        assert max(pick(outcomes, "drift/query_p_value")) < 0.02
        (finding,) = texts(outcomes)
        assert "(4,000 requests, training)" in finding.text

    def test_buckets_of_which_it_has_no_edge_are_placed_within_its_own(self) -> None:
        rng = np.random.default_rng(62)
        view = msgspec.structs.replace(QUICK, reference=Reference.from_samples(draw(rng, 20_000)))
        outcomes = run(machine(view), minutes([explicit(list(draw(rng, 250)), BOUNDS) for _ in range(20)]))
        p_values = np.array(pick(outcomes, "drift/query_p_value"))
        assert findings(outcomes) == []
        assert 0.2 < np.median(p_values) < 0.8

    def test_one_of_explicit_buckets(self) -> None:
        rng = np.random.default_rng(63)
        reference = Reference.from_histogram(explicit(list(draw(rng, 2000)), BOUNDS))
        view = msgspec.structs.replace(QUICK, reference=reference)
        outcomes = run(machine(view), minutes([explicit(list(draw(rng, 250)), BOUNDS) for _ in range(3)]))
        assert len(pick(outcomes, "drift/query_p_value")) == 3

    def test_a_small_one_is_told_once(self) -> None:
        rng = np.random.default_rng(64)
        view = msgspec.structs.replace(QUICK, reference=Reference.from_samples(draw(rng, 400)))
        outcomes = run(machine(view), minutes([bucket(draw(rng, 250)) for _ in range(4)]))
        (finding,) = texts(outcomes)
        assert (finding.level, finding.title) == ("info", "query has a small reference")
        assert finding.text == snapshot(
            "The reference of query has 400 requests, a window 250. False alarms stay as rare as "
            "they should be, but small changes are found late: take a reference of at least twice a "
            "window."
        )

    def test_strata_are_compared_with_the_same_hours(self) -> None:
        rng = np.random.default_rng(65)

        def hour(i: int) -> float:
            return float(np.exp(np.sin(i / 24 * 2 * np.pi)))

        reference = Reference.from_histograms({str(h): bucket(draw(rng, 1000, hour(h))) for h in range(24)})
        looks = [
            look(60 * (60 * h + m + 1), series(NAME, bucket(draw(rng, 50, hour(h)))))
            for h in range(18)
            for m in range(0, 60, 10)
        ]
        by_hour = msgspec.structs.replace(QUICK, reference=reference, strata="hour_of_day")
        matched = run(machine(by_hour), looks)
        assert findings(matched) == []
        assert len(pick(matched, "drift/query_p_value")) == 16
        assert np.mean(np.array(pick(matched, "drift/query_p_value")) <= 0.05) <= 0.3
        pooled = run(machine(msgspec.structs.replace(QUICK, reference=reference)), looks)
        assert [name for _, name, _ in findings(pooled)][:1] == ["drift_query"]

    def test_intervals_may_have_a_load_in_common(self) -> None:
        rng = np.random.default_rng(66)
        looks = minutes([bucket(draw(rng, 60, float(np.exp(rng.normal(0, 0.3))))) for _ in range(400)])
        view = msgspec.structs.replace(QUICK, window_s=600)
        by_request = run(machine(view), looks)
        by_interval = run(machine(msgspec.structs.replace(view, unit="interval")), looks)
        assert [name for _, name, _ in findings(by_request)][:1] == ["drift_query"]
        assert findings(by_interval) == []
        assert len(pick(by_interval, "drift/query_p_value")) > 20

    def test_intervals_show_a_change_all_the_same(self) -> None:
        rng = np.random.default_rng(67)
        factors = [float(np.exp(rng.normal(0, 0.2))) * (1.0 if i < 100 else 1.8) for i in range(200)]
        looks = minutes([bucket(draw(rng, 60, factor)) for factor in factors])
        view = msgspec.structs.replace(QUICK, window_s=600, unit="interval")
        assert [name for _, name, _ in findings(run(machine(view), looks))] == ["drift_query"]


class TestBuckets:
    def test_coarser_ones_make_all_counts_coarser(self) -> None:
        rng = np.random.default_rng(71)
        scales = [5] * 8 + [3] * 4 + [2] * 4
        outcomes = run(machine(), minutes([bucket(draw(rng, 250), scale) for scale in scales]))
        assert len(pick(outcomes, "drift/query_p_value")) == 12
        assert findings(outcomes) == []

    def test_other_ones_begin_anew_and_are_told(self) -> None:
        rng = np.random.default_rng(72)
        histograms: list[AnyHistogram] = [bucket(draw(rng, 250)) for _ in range(8)]
        histograms += [explicit(list(draw(rng, 250)), BOUNDS) for _ in range(10)]
        outcomes = run(machine(), minutes(histograms))
        (finding,) = texts(outcomes)
        assert (finding.level, finding.title) == ("info", "query has other buckets now")
        assert finding.text == snapshot(
            "The histograms of query have other buckets than before, which share almost no edges "
            "with them. As counts are never guessed, its windows begin anew."
        )
        assert [i for i, one in enumerate(outcomes) if "drift/query_p_value" in one.values] == snapshot(
            [4, 5, 6, 7, 13, 14, 15, 16, 17]
        )

    def test_a_few_others_are_left_out(self) -> None:
        rng = np.random.default_rng(73)
        histograms: list[AnyHistogram] = [bucket(draw(rng, 250)) for _ in range(12)]
        histograms[6] = ExplicitHistogram(50, None, None, None, False, (0.3,), (20, 30))
        outcomes = run(machine(), minutes(histograms))
        assert findings(outcomes) == []
        assert "drift/query_p_value" not in outcomes[6].values
        assert len(pick(outcomes, "drift/query_p_value")) == 7

    @pytest.mark.parametrize("value", [5.0, 0.0, -2.5])
    def test_values_that_are_all_one(self, value: float) -> None:
        outcomes = run(machine(), minutes([exponential([value] * 250) for _ in range(8)]))
        assert pick(outcomes, "drift/query_p_value") == [1.0] * 4
        assert findings(outcomes) == []

    def test_whole_numbers_stay_in_their_bins_whatever_else_came(self) -> None:
        rng = np.random.default_rng(74)
        histograms = []
        for _ in range(16):
            values = rng.choice([4, 5, 6], 250, p=[0.498, 0.498, 0.004])
            histograms.append(exponential(values, 20))
        assert {histogram.max for histogram in histograms} == {5, 6}
        outcomes = run(machine(), minutes(histograms))
        assert findings(outcomes) == []

    def test_negative_values_and_zero(self) -> None:
        rng = np.random.default_rng(75)
        looks = minutes(
            [exponential(np.round(rng.normal(0.0 if i < 10 else 1.0, 1, 250), 1)) for i in range(16)]
        )
        outcomes = run(machine(), looks)
        (finding,) = texts(outcomes)
        assert finding.text == snapshot(
            "query is no longer as in its reference (1,000 requests, learnt from 2024-10-04 00:00 "
            "UTC to 2024-10-04 00:04 UTC): p50 is 0.917, 0.946 (0.821 to 1.09) standard deviations "
            "from the -0.0521 of the reference; p95 is 2.89, 1.69 times (1.44 to 1.99) the 1.71 of "
            "the reference; p99 is 3.88, 1.69 times (1.17 to 3.52) the 2.3 of the reference. About "
            "38.5 % (31.9 % to 42.4 %) of requests lie elsewhere, since about 2024-10-04 00:10 UTC "
            "(2 windows). Evidence is 16,400; without a change it reaches 1,000 once in as many "
            "windows at most, on the mean."
        )


class TestNames:
    def test_what_an_alarm_says(self) -> None:
        outcomes = run(
            machine(MODELS), calls(81, (10, {"a": 0.7, "b": 0.3}), (6, {"a": 0.5, "b": 0.3, "c": 0.2}))
        )
        (finding,) = texts(outcomes)
        assert finding.text == snapshot(
            "models is no longer as in its reference (1,000 requests, learnt from 2024-10-04 00:00 "
            "UTC to 2024-10-04 00:04 UTC): (new names): 22 % instead of 0 % (+19 to +26 points); a: 48.8 % "
            "instead of 67.1 % (-24 to -13 points); b: 29.2 % instead of 32.9 % (-8.5 to +1.3 "
            "points). About 21.8 % (17.8 % to 25.1 %) of requests lie elsewhere, since about "
            "2024-10-04 00:10 UTC (2 windows). Evidence is 7,780; without a change it reaches 1,000 "
            "once in as many windows at most, on the mean."
        )
        assert sorted(outcomes[-1].values) == snapshot(
            [
                "drift/models_drift_detected",
                "drift/models_effect",
                "drift/models_evidence",
                "drift/models_p_value",
                "drift/models_psi",
                "drift/models_psi_null_p95",
                "drift/models_total_variation",
            ]
        )

    def test_errors_are_a_name_and_their_absence_another(self) -> None:
        view = msgspec.structs.replace(MODELS, category="error.type", name="errors")
        rng = np.random.default_rng(82)
        looks = []
        for i in range(24):
            bad = int(rng.binomial(250, 0.01 if i < 12 else 0.08))
            looks.append(
                look(
                    60 * (i + 1),
                    counter("gen_ai.calls", 250 - bad),
                    counter("gen_ai.calls", bad, error__type="timeout"),
                )
            )
        (finding,) = texts(run(machine(view), looks))
        assert finding.text == snapshot(
            "errors is no longer as in its reference (1,000 requests, learnt from 2024-10-04 00:00 "
            "UTC to 2024-10-04 00:04 UTC): timeout: 7.2 % instead of 1.9 % (+3.4 to +7.5 points); "
            "(none): 92.8 % instead of 98.1 % (-7.5 to -3.4 points). About 5.24 % (3.32 % to 7.29 %) "
            "of requests lie elsewhere, since about 2024-10-04 00:12 UTC (3 windows). Evidence is "
            "26,800; without a change it reaches 1,000 once in as many windows at most, on the mean."
        )

    def test_names_of_a_reference_beyond_the_limit_are_other_and_not_new(self) -> None:
        names = [f"n{i:03}" for i in range(100)]
        reference = Reference.from_categories([name for name in names for _ in range(20)])
        view = msgspec.structs.replace(MODELS, reference=reference)
        looks = calls(83, (12, dict.fromkeys(names, 0.01)))
        assert findings(run(machine(view), looks)) == []

    def test_too_many_names_to_know_which_are_new(self) -> None:
        rng = np.random.default_rng(84)
        looks = []
        for i in range(14):
            drawn = [counter("gen_ai.calls", 5, **{MODEL: f"u{rng.integers(10_000)}"}) for _ in range(50)]
            looks.append(look(60 * (i + 1), *drawn))
        watched = machine(MODELS)
        assert findings(run(watched, looks)) == []
        assert len(watched.state()) < STATE_LIMIT

    def test_levels_are_not_counted(self) -> None:
        assert run(machine(MODELS), [look(60, series("gen_ai.calls", Level((Fraction(5),))))])[0].values == {}

    def test_an_accepted_change_makes_new_names_known(self) -> None:
        watched = machine(MODELS)
        looks = calls(85, (10, {"a": 1.0}), (16, {"a": 0.5, "c": 0.5}))
        assert findings(run(watched, looks[:13]))
        watched.accept()
        assert findings(run(watched, looks[13:])) == []


class TestBounds:
    @pytest.mark.parametrize(
        ("changes", "step", "length", "size"),
        [
            ({}, 1, 40, 30_000),
            ({"strata": "hour_of_day"}, 60, 60, 30_000),
            ({"strata": "hour_of_week"}, 60, 24 * 9, 30_000),
            ({"strata": "hour_of_week", "window_s": 7 * 86_400}, 60, 24 * 9, 30_000),
            ({"unit": "interval"}, 1, 140, 400_000),
        ],
        ids=["plain", "day", "week", "a week long", "intervals"],
    )
    def test_the_state_of_a_group_is_small(
        self, changes: dict[str, object], step: int, length: int, size: int
    ) -> None:
        view = msgspec.structs.replace(QUICK, window_requests=10**9, **changes)
        rng = np.random.default_rng(91)
        histograms = [bucket(draw(rng, size), 5) for _ in range(5)]
        watched = machine(view)
        largest = 0
        for i in range(length):
            watched.update(look(60 * (step * i + 1), series(NAME, histograms[i % 5])))
            largest = max(largest, len(watched.state()))
        assert 500 < largest < STATE_LIMIT


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"order": "categories"}, "categories need `category`"),
            ({"unit": "interval", "strata": "hour_of_day"}, "cannot be had together"),
            ({"reference": {"counts": {"": [1]}, "names": ["a"]}}, "a reference of names is for"),
            ({"reference": {"counts": {"": [1, 2]}, "edges": [1.0]}, "unit": "interval"}, "of each interval"),
            (
                {"reference": {"counts": {"": [1, 2]}, "edges": [1.0]}, "strata": "hour_of_day"},
                "of each stratum",
            ),
        ],
    )
    def test_what_cannot_be(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_views([{"view": "drift", "instrument": "x", **changes}])
