"""Versions side by side: evidence one may look at any time, which is stable, and when a comparison ends."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from otel_wandb.config import Settings
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.view_settings import read_views
from otel_wandb.views.compare import CompareMachine
from otel_wandb.views.definitions import Compare
from otel_wandb.views.machine import Look
from tests.spends import Works, attributes, chat, duration_metrics, traces
from tests.test_view_drift import BOUNDS, bucket, draw, pick
from tests.test_views import told_by
from tests.view_looks import explicit, findings, look, run, run_killed, series, texts

NAME = "http.server.request.duration"
VIEW = Compare(instrument=NAME, attribute="app.version", name="duration")


def machine(view: Compare = VIEW) -> CompareMachine:
    return CompareMachine(view)


def minute(i: int, versions: dict[str, AnyHistogram]) -> Look:
    return look(60 * (i + 1), *(series(NAME, one, unit="s", app__version=v) for v, one in versions.items()))


def stream(seed: int, *parts: tuple[int, dict[str, tuple[int, float]]]) -> list[Look]:
    """So many minutes in which each version has so many requests, at a factor."""
    rng = np.random.default_rng(seed)
    return [
        minute(i, {v: bucket(draw(rng, size, factor)) for v, (size, factor) in versions.items()})
        for i, versions in enumerate(versions for length, versions in parts for _ in range(length))
    ]


BOTH = {"1.0": (200, 1.0), "1.1": (50, 1.0)}


class TestRows:
    def test_what_is_in_them(self) -> None:
        outcomes = run(machine(), stream(1, (4, {"1.0": (200, 1.0)}), (2, BOTH)))
        assert [len(one.values) for one in outcomes] == [0, 0, 0, 0, 3, 3]
        assert {key: round(value, 3) for key, value in outcomes[-1].values.items()} == snapshot(
            {
                "drift/duration_1_1_evidence": 0.021,
                "drift/duration_1_1_ratio_p95": 1.139,
                "drift/duration_1_1_differs": 0.0,
            }
        )

    def test_a_version_without_requests_has_no_keys(self) -> None:
        outcomes = run(machine(), stream(2, (4, BOTH), (1, {"1.0": (200, 1.0)}), (1, BOTH)))
        assert [bool(one.values) for one in outcomes] == [False, False, True, True, False, True]

    def test_what_has_no_version_is_not_compared(self) -> None:
        rng = np.random.default_rng(3)
        looks = [look(60 * (i + 1), series(NAME, bucket(draw(rng, 300)))) for i in range(4)]
        assert [one.values for one in run(machine(), looks)] == [{}] * 4


class TestAlarms:
    def test_what_one_says(self) -> None:
        slower = {"1.0": (200, 1.0), "1.1": (50, 1.4)}
        outcomes = run(machine(), stream(4, (4, {"1.0": (200, 1.0)}), (25, slower)))
        (finding,) = texts(outcomes)
        assert (finding.name, finding.title, finding.level, finding.state) == snapshot(
            ("compare_duration_1_1", "duration (1.1) differs from the stable version", "warn", "firing")
        )
        assert finding.text == snapshot(
            "duration in 1.1 (250 requests) is not as in 1.0 (1,000 requests in the same time): "
            "p50 is 1.35, 1.35 times (1.13 to 1.55) the 1 of the stable version; p95 is 5.44, "
            "1.44 times (1.23 to 1.82) the 3.78 of the stable version; p99 is 8.98, 1.59 times "
            "(0.966 to 2.85) the 5.66 of the stable version. Evidence is 1,110; of versions that "
            "answer alike it ever reaches 100 with a chance of 1 % at most."
        )
        differs = pick(outcomes, "drift/duration_1_1_differs")
        assert differs == sorted(differs)
        assert 1.2 < pick(outcomes, "drift/duration_1_1_ratio_p95")[-1] < 1.7

    def test_versions_that_are_alike_are_silent(self) -> None:
        alarms = [
            seed
            for seed in range(20)
            if findings(run(machine(msgspec.structs.replace(VIEW, alpha=0.1)), stream(seed, (25, BOTH))))
        ]
        assert len(alarms) <= 6  # at most 2 on the mean, however often one looks

    def test_what_both_have_in_common_does_not_matter(self) -> None:
        rng = np.random.default_rng(5)
        looks = []
        for i in range(40):
            load = float(np.exp(rng.normal(0, 0.3)))
            sizes = {"1.0": 200, "1.1": int(rng.integers(1, 200))}
            looks.append(minute(i, {v: bucket(draw(rng, size, load)) for v, size in sizes.items()}))
        assert findings(run(machine(), looks)) == []

    def test_the_busiest_one_is_stable_when_a_new_one_comes(self) -> None:
        first = {"1.0": (300, 1.0)}
        worse = {"1.0": (100, 1.0), "1.1": (250, 2.0)}
        third = {"1.1": (200, 2.0), "1.2": (100, 2.0)}
        outcomes = run(machine(), stream(6, (3, first), (12, worse), (8, third)))
        assert findings(outcomes) == snapshot(
            [(300.0, "compare_duration_1_1", "firing"), (960.0, "compare_duration_1_1", "recovered")]
        )
        assert texts(outcomes)[-1].text == snapshot(
            "duration in 1.1 is no longer compared with the stable version. It fired at "
            "2024-10-04 00:05 UTC, 11 min before."
        )
        assert sorted(outcomes[-1].values) == snapshot(
            ["drift/duration_1_2_differs", "drift/duration_1_2_evidence", "drift/duration_1_2_ratio_p95"]
        )

    def test_a_version_may_be_named_as_stable(self) -> None:
        outcomes = run(machine(msgspec.structs.replace(VIEW, stable="1.1")), stream(7, (5, BOTH)))
        assert sorted(outcomes[-1].values) == snapshot(
            ["drift/duration_1_0_differs", "drift/duration_1_0_evidence", "drift/duration_1_0_ratio_p95"]
        )

    def test_no_more_than_four_are_compared_at_a_time(self) -> None:
        versions = {"1.0": (300, 1.0), **{f"2.{i}": (20, 1.0) for i in range(6)}}
        outcomes = run(machine(), stream(8, (2, {"1.0": (300, 1.0)}), (3, versions)))
        assert len(outcomes[-1].values) <= 12
        assert pick(outcomes, "drift/duration_2_5_evidence")


class TestOneStreamIsOneStream:
    @settings(max_examples=6, deadline=None)
    @given(st.integers(1, 64), st.integers(0, 100))
    def test_replicas_merged_or_apart_are_the_same(self, replicas: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        whole, apart = [], []
        for i in range(8):
            merged, parts = [], []
            for version, factor in (("1.0", 1.0), ("1.1", 1.5)):
                values = draw(rng, 150, factor)
                merged.append(series(NAME, bucket(values), app__version=version))
                for k, part in enumerate(np.array_split(values, replicas)):
                    parts.append(series(NAME, bucket(part), app__version=version, host=str(k)))
            whole.append(look(60 * (i + 1), *merged))
            apart.append(look(60 * (i + 1), *parts))
        one, other = machine(), machine()
        assert [o.values for o in run(one, whole)] == [o.values for o in run(other, apart)]
        assert one.state() == other.state()

    @settings(max_examples=8, deadline=None)
    @given(st.sets(st.integers(0, 16), max_size=5))
    def test_a_restart_changes_nothing(self, kills: set[int]) -> None:
        slower = {"1.0": (200, 1.0), "1.1": (100, 1.5)}
        third = {"1.1": (500, 1.5), "1.2": (100, 1.0)}
        looks = stream(9, (4, {"1.0": (200, 1.0)}), (8, slower), (5, third))
        straight = run(machine(), looks)
        assert run_killed(machine, looks, kills) == straight
        assert findings(straight)

    def test_units_do_not_matter(self) -> None:
        rng = np.random.default_rng(10)
        values = [(draw(rng, 200), draw(rng, 100, 1.4)) for _ in range(12)]

        def told(factor: int) -> list[dict[str, float]]:
            looks = [
                minute(
                    i,
                    {
                        version: explicit(one.tolist(), BOUNDS).scaled(factor)  # type: ignore[arg-type]
                        for version, one in zip(("1.0", "1.1"), pair, strict=True)
                    },
                )
                for i, pair in enumerate(values)
            ]
            return [one.values for one in run(machine(), looks)]

        in_s = told(1)
        for other in (told(1000), told(1_000_000)):
            for a, b in zip(in_s, other, strict=True):
                assert a == pytest.approx(b)
        assert in_s[-1]["drift/duration_1_1_differs"] == 1

    def test_coarser_buckets_make_all_counts_coarser(self) -> None:
        rng = np.random.default_rng(11)
        looks = [
            minute(i, {v: bucket(draw(rng, size), scale) for v, size in (("1.0", 300), ("1.1", 100))})
            for i, scale in enumerate([5] * 4 + [2] * 4 + [0] * 4)
        ]
        outcomes = run(machine(), looks)
        assert len(pick(outcomes, "drift/duration_1_1_evidence")) >= 8
        assert findings(outcomes) == []

    def test_the_state_of_a_group_is_small(self) -> None:
        versions = {"1.0": (3000, 1.0), **{f"{i}" * 40: (300, 1.0) for i in range(2, 9)}}
        watched = machine()
        run(watched, stream(12, (12, versions)))
        assert len(watched.state()) < 8_000
        with pytest.raises(msgspec.DecodeError):
            machine().restore(b"?")


class TestServiceVersion:
    """Versions as resources tell them, through the whole line."""

    CANARY = Compare(instrument=NAME, name="duration")

    @staticmethod
    def write(works: Works, minute: int, version: str, *seconds: float) -> None:
        document = duration_metrics(60 * (minute + 1), *seconds)
        (of_resource,) = document["resourceMetrics"]
        of_resource["resource"]["attributes"] += attributes(
            {"service.version": version, "service.instance.id": version}
        )
        works.write(document)

    def play(self, kill_after: int = -1) -> tuple[list[dict[str, object]], list[tuple[str, str, str]]]:
        works = Works(Settings(views=read_views([self.CANARY])))
        for i in range(30):
            self.write(works, i, "1.0", *[0.5] * 80, *[5.0] * 20)
            if i >= 8:
                self.write(works, i, "1.1", *[0.5] * 10, *[5.0] * 10)
            if i == kill_after:
                works.kill()
        rows = works.finish()
        return rows, [(alert.name, alert.state, alert.text) for alert in told_by(works)]

    def test_a_canary_is_compared_with_what_is_stable(self) -> None:
        rows, told = self.play()
        assert not any("drift/duration_1_1_evidence" in row for row in rows[:8])
        assert all("drift/duration_1_1_evidence" in row for row in rows[8:])
        assert rows[-1]["drift/duration_1_1_differs"] == 1
        ((name, state, text),) = told
        assert (name, state) == ("compare_duration_1_1", "firing")
        assert "in 1.1 (" in text
        assert "is not as in 1.0 (" in text

    @pytest.mark.parametrize("kill_after", [3, 8, 20])
    def test_a_kill_changes_nothing(self, kill_after: int) -> None:
        assert self.play(kill_after) == self.play()

    def test_spans_tell_it_too(self) -> None:
        works = Works(Settings(views=read_views([self.CANARY])))
        for i in range(90):
            for version, number in (("1.0", 2 * i), ("1.1", 2 * i + 1)):
                seconds = 0.5 if version == "1.0" or i < 30 else 8.0
                spans = [
                    chat(20 * number + k, 60 * i + 5 * k + 9, seconds=seconds)
                    for k in range(8 if version == "1.0" else 5)
                ]
                document = traces(*spans)
                (of_resource,) = document["resourceSpans"]
                of_resource["resource"]["attributes"] += attributes({"service.version": version})
                works.write(document)
        rows = works.finish()
        assert any(row.get("drift/duration_1_1_differs") == 1 for row in rows)
