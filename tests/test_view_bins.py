"""What views are made of: bins whose counts are certain, pools of counts, and sizes of changes."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.metrics.intervals import Calendar
from otel_wandb.views.bins import Moments, NamedBins, OrderedBins, UnfitError, add_moments, cut_name
from otel_wandb.views.effects import (
    Side,
    group_sides,
    locate_bins,
    match_sides,
    moved_part,
    moved_range,
    read_quantile,
    shift_quantile,
)
from otel_wandb.views.grid import count_into, fit_edges
from otel_wandb.views.lattice import choose_edges, place_reference
from otel_wandb.views.pool import Pool
from otel_wandb.views.reference import Reference
from otel_wandb.views.strata import cycle_ns, stratum_of
from tests.metric_samples import S, at
from tests.test_view_drift import bucket
from tests.view_looks import explicit, exponential

BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0)
VALUES = st.lists(
    st.one_of(st.just(0.0), st.floats(0.001, 1000), st.floats(-1000, -0.001)), min_size=1, max_size=60
)


def settle(bins: OrderedBins, *histograms: AnyHistogram) -> list[int]:
    bins.collect(histograms)
    return bins.settle()


class TestEdges:
    @settings(max_examples=60, deadline=None)
    @example(
        [65.0], [257.0], -1, 0, 40
    )  # beyond the values, edges keep to buckets that are wider than octaves
    @given(VALUES, VALUES, st.integers(-2, 6), st.integers(0, 6), st.sampled_from([12, 20, 40]))
    def test_each_value_is_in_its_bin_for_certain(
        self, first: Sequence[float], later: Sequence[float], scale: int, finer: int, limit: int
    ) -> None:
        bins = OrderedBins(limit)
        counts = settle(bins, exponential(first, scale))
        assert bins.size <= limit
        assert counts == _place(bins.edges or (), exponential(first, scale))
        histogram = exponential(later, scale + finer)
        assert bins.fit([histogram]) is None  # as fine as the first, or finer: no edge is in doubt
        assert sum(bins.count([histogram])) == len(later)

    @settings(max_examples=60, deadline=None)
    @given(VALUES, VALUES, st.integers(0, 5))
    def test_a_change_moves_all_counts(
        self, first: Sequence[float], later: Sequence[float], scale: int
    ) -> None:
        bins = OrderedBins(40)
        before = exponential(first, scale + 3)
        counts = settle(bins, before)
        after = exponential(later, scale)
        try:
            change = bins.fit([after])
        except UnfitError:
            return
        if change is not None:
            moved = Pool.of({"": counts}, len(counts))
            moved.remap(change.places, change.bins)
            counts = moved.totals.tolist()
        # Coarser values tell how they would have been counted, if the first had come as coarse.
        assert counts == _place(bins.edges or (), before)
        assert fit_edges(bins.edges or (), [after]) == bins.edges

    def test_explicit_bounds_are_the_edges(self) -> None:
        bins = OrderedBins(40)
        assert settle(bins, explicit([0.1, 0.7, 3, 20], BOUNDS)) == [1, 1, 0, 1, 0, 1]
        assert bins.edges == BOUNDS

    def test_edges_reach_further_than_the_first_values(self) -> None:
        edges = choose_edges([exponential([1.5, 3.0])], None, 40)
        assert edges[0] <= 0.5
        assert edges[-1] >= 8.0

    def test_the_coarsest_scale_that_tells_values_apart(self) -> None:
        rng = np.random.default_rng(1)
        edges = choose_edges([bucket(rng.uniform(0.9, 1.0, 2000), 12)], None, 40)
        counts = count_into(edges, [bucket(rng.uniform(0.9, 1.0, 2000), 12)])
        assert len(edges) < 40
        assert sum(map(bool, counts)) >= 25

    def test_one_bucket_of_everything_has_no_edges(self) -> None:
        bins = OrderedBins(40)
        assert settle(bins, ExplicitHistogram(5, None, None, None, False, (), (5,))) == [5]
        assert bins.edges == ()

    def test_buckets_that_fit_nowhere(self) -> None:
        bins = OrderedBins(40)
        settle(bins, exponential(np.random.default_rng(2).lognormal(0, 1, 500)))
        edges = bins.edges
        with pytest.raises(UnfitError):
            bins.fit([explicit(np.random.default_rng(3).lognormal(0, 1, 500).tolist(), (0.3, 3.3))])
        assert bins.edges == edges

    def test_smallest_and_largest_value_are_no_edges(self) -> None:
        bins = OrderedBins(40)
        settle(bins, exponential([5.0] * 40, 3))
        assert bins.count([exponential([5.0] * 10, 3)]).index(10) == bins.count(
            [exponential([5.0] * 5 + [5.1] * 5, 3)]
        ).index(10)


def _place(edges: Sequence[float], histogram: AnyHistogram) -> list[int]:
    counts = [0] * (len(edges) + 1)
    for low, high, size in histogram.list_buckets():
        assert low == high or bisect_left(edges, high) == bisect_left(edges, math.nextafter(low, math.inf))
        counts[bisect_left(edges, high)] += size
    return counts


class TestReferences:
    @settings(max_examples=40, deadline=None)
    @given(VALUES, st.integers(0, 7))
    def test_a_coarser_scale_is_exact(self, values: Sequence[float], scale: int) -> None:
        reference = Reference.from_samples(values)
        histogram = exponential(values, scale)
        edges = sorted({end for bucket in histogram.list_buckets() for end in bucket[:2]})
        assert place_reference(reference, tuple(edges))[""] == count_into(tuple(edges), [histogram])

    def test_an_edge_inside_a_bucket_parts_its_values_evenly(self) -> None:
        reference = Reference({"": (1, 100, 100, 1)}, edges=(1.0, 2.0, 4.0))
        assert place_reference(reference, (0.5, math.sqrt(2), 3.0, 9.0))[""] == [0, 51, 108, 43, 0]


class TestNames:
    def test_new_and_other_ones(self) -> None:
        bins = NamedBins(5)
        assert bins.fit({"b": 1, "a": 2}) == ((0, 1), 4)
        assert bins.labels == ("(new names)", "(other names)", "a", "b")
        bins.close(np.array([0, 0, 2, 1]))
        assert bins.fit({"z": 9}) is None
        assert bins.count({"a": 2, "z": 3}) == [3, 0, 2, 0]

    def test_a_given_reference_tells_what_is_other(self) -> None:
        bins = NamedBins(4, Reference.from_categories("aaabbcd"))
        assert bins.labels[2:] == ("a", "b")
        assert bins.count({"a": 1, "c": 2, "z": 3}) == [3, 2, 1, 0]
        bins.reopen()
        bins.close(np.array([0, 0, 1, 1]))
        assert bins.count({"c": 2}) == [2, 0, 0, 0]

    def test_of_too_many_the_frequent_ones_stay(self) -> None:
        bins = NamedBins(6)
        bins.fit({"a": 500, "b": 300, "c": 1, "d": 1, "e": 1})
        change = bins.close(np.array([0, 1, 500, 300, 1, 1]))
        assert change == ((0, 1, 2, 3, 1, 1), 4)
        assert bins.labels[2:] == ("a", "b")
        assert bins.count({"z": 4}) == [0, 4, 0, 0]

    def test_long_ones_are_cut_and_told_apart(self) -> None:
        one, other = cut_name("x" * 60 + "1"), cut_name("x" * 60 + "2")
        assert one != other
        assert len(one) == len(other) == 40
        assert cut_name("short") == "short"


class TestPool:
    @settings(max_examples=60, deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(["", "1", "23"]), st.lists(st.integers(0, 2**62), min_size=3, max_size=3)
        )
    )
    def test_what_was_packed_comes_back(self, parts: dict[str, list[int]]) -> None:
        pool = Pool.of(parts, 3)
        packed = msgspec.json.decode(msgspec.json.encode(pool.pack()), type=type(pool.pack()))
        assert {key: part.tolist() for key, part in Pool.unpack(packed, 3).parts.items()} == parts

    def test_rows_come_back(self) -> None:
        pool = Pool(2, by_row=True)
        for row in ([1, 200], [70_000, 0]):
            pool.add("", row)
        again = Pool.unpack(pool.pack(), 2, by_row=True)
        assert again.parts[""].tolist() == [[1, 200], [70_000, 0]]
        assert (again.rows, again.size, again.totals.tolist()) == (2, 70_201, [70_001, 200])

    def test_thinned_ones_have_as_many_as_they_may(self) -> None:
        rng = np.random.default_rng(5)
        pool = Pool.of({"a": [900, 90, 10], "b": [5, 5, 5]}, 3)
        pool.thin(100, rng)
        assert {key: int(part.sum()) for key, part in pool.parts.items()} == {"a": 100, "b": 15}
        rows = Pool.of({"": [[i, i] for i in range(50)]}, 2, by_row=True)
        rows.thin(8, rng)
        assert rows.rows == 8
        assert rows.parts[""][:, 0].tolist() == sorted(rows.parts[""][:, 0].tolist())


class TestEffects:
    def test_without_a_change_nothing_has_moved(self) -> None:
        rng = np.random.default_rng(6)
        share = np.ones(40) / 40
        parts = []
        for _ in range(100):
            sides = (Side(rng.multinomial(n, share) / n, n) for n in (2000, 300))
            parts.append(moved_part(*group_sides(*sides)))
        assert np.mean(np.array(parts) < 0.05) > 0.8  # the plain total variation is 0.14 on the mean

    def test_what_has_moved_is_in_its_range(self) -> None:
        rng = np.random.default_rng(7)
        a, b = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.3])
        held = 0
        for seed in range(100):
            before, after = (
                Side(rng.multinomial(2000, a) / 2000, 2000),
                Side(rng.multinomial(800, b) / 800, 800),
            )
            low, high = moved_range(before, after, seed=seed)
            assert low <= moved_part(before, after) <= high
            held += low <= 0.1 <= high
        assert held >= 85

    def test_a_quantile_and_the_range_of_its_change(self) -> None:
        rng = np.random.default_rng(8)
        edges = tuple(2 ** (i / 8) for i in range(-40, 41))
        held = 0
        for _ in range(100):
            sides = []
            for size, factor in ((2000, 1.0), (500, 1.2)):
                counts = np.bincount(
                    np.searchsorted(edges, rng.lognormal(0, 0.8, size) * factor), minlength=82
                )
                sides.append(Side(counts / size, size))
            shift = shift_quantile(edges, sides[0], sides[1], 0.95)
            held += shift.interval.low <= 1.2 <= shift.interval.high
            assert shift.is_ratio
        assert held >= 85

    def test_values_that_may_be_zero_change_in_standard_deviations(self) -> None:
        edges = (-1.0, 0.0, 1.0, 2.0)
        before = Side(np.array([0.0, 0.5, 0.5, 0.0, 0.0]), 1000)
        after = Side(np.array([0.0, 0.0, 0.5, 0.5, 0.0]), 1000)
        shift = shift_quantile(edges, before, after, 0.5)
        assert not shift.is_ratio
        assert shift.change == pytest.approx(2.0)  # by 1, of a deviation of 0.5
        assert (shift.certain, shift.exceeds(1.9), shift.exceeds(2.1)) == (True, True, False)

    def test_ratios_exceed_in_both_directions(self) -> None:
        edges = (1.0, 2.0, 4.0)
        before = Side(np.array([0.0, 0.0, 1.0, 0.0]), 10_000)
        after = Side(np.array([0.0, 1.0, 0.0, 0.0]), 10_000)
        shift = shift_quantile(edges, before, after, 0.5)
        assert shift.change == pytest.approx(0.5)
        assert shift.exceeds(0.9)
        assert not shift.exceeds(1.1)

    def test_quantiles_at_the_ends(self) -> None:
        parts = np.array([0.2, 0.3, 0.5])
        assert read_quantile((1.0, 2.0), parts, 0.1) == 1.0
        assert read_quantile((1.0, 2.0), parts, 0.99) == 2.0
        assert read_quantile((1.0, 2.0), parts, 0.35) == pytest.approx(math.sqrt(2))
        assert math.isnan(read_quantile((), np.array([1.0]), 0.5))

    def test_places_have_no_unit(self) -> None:
        before = Side(np.array([0.25, 0.5, 0.25]), 100)
        in_s, in_ms = locate_bins((1.0, 4.0), before), locate_bins((1000.0, 4000.0), before)
        assert np.diff(in_s) == pytest.approx(np.diff(in_ms))
        around = locate_bins((-1.0, 1.0), before), locate_bins((-1000.0, 1000.0), before)
        assert around[0] == pytest.approx(around[1])
        assert locate_bins((), Side(np.array([1.0]), 5)) == [0.0]

    def test_the_reference_has_the_strata_of_the_window(self) -> None:
        reference = Pool.of({"1": [100, 0], "2": [0, 300], "3": [5, 5]}, 2)
        window = Pool.of({"1": [30, 0], "2": [0, 10], "4": [9, 9]}, 2)
        sides = match_sides(reference, window)
        assert sides is not None
        assert sides[0].parts.tolist() == [0.75, 0.25]
        assert sides[1].parts.tolist() == [0.75, 0.25]
        assert sides[1].size == 40
        assert match_sides(reference, Pool.of({"4": [1, 1]}, 2)) is None

    def test_intervals_with_a_load_in_common_are_worth_fewer_requests(self) -> None:
        rng = np.random.default_rng(9)
        alike = [rng.multinomial(100, [0.5, 0.5]).tolist() for _ in range(40)]
        bursts = [rng.multinomial(100, [p, 1 - p]).tolist() for p in rng.choice([0.2, 0.8], 40)]
        for rows, worth in ((alike, 2000), (bursts, 200)):
            pool = Pool.of({"": rows}, 2, by_row=True)
            sides = match_sides(pool, pool)
            assert sides is not None
            assert (sides[0].size > worth) == (rows is alike)

    @given(st.lists(st.lists(st.floats(-100, 100), min_size=1, max_size=9), min_size=1, max_size=5))
    def test_moments_add_up(self, parts: list[list[float]]) -> None:
        told = [Moments(len(p), float(np.mean(p)), float(np.var(p) * len(p))) for p in parts]
        whole = [value for part in parts for value in part]
        found = add_moments(*told)
        assert found.size == len(whole)
        assert found.mean == pytest.approx(np.mean(whole), abs=1e-9)
        assert found.std == pytest.approx(np.std(whole), abs=1e-6)

    def test_no_values_have_no_mean(self) -> None:
        with pytest.raises(ValueError, match="no values have no mean"):
            add_moments()


class TestStrata:
    def test_hours_of_the_day_and_of_the_week(self) -> None:
        interval = Calendar(60 * S).interval_at(at(3 * 3600 + 60))  # a Friday, 03:00 to 03:01
        assert stratum_of(interval, "none") == ""
        assert stratum_of(interval, "hour_of_day") == "3"
        assert stratum_of(interval, "hour_of_week") == str(4 * 24 + 3)
        assert [cycle_ns(strata) // (3600 * S) for strata in ("none", "hour_of_day", "hour_of_week")] == [
            0,
            24,
            168,
        ]
