"""The algebra of histograms is exact, and what they say of quantiles holds against the raw values."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ExponentialHistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from otel_wandb.metrics.explicit import EMPTY_EXPLICIT, ExplicitHistogram
from otel_wandb.metrics.exponential import (
    EMPTY,
    MAX_BUCKETS,
    MAX_SCALE,
    MIN_SCALE,
    ExponentialHistogram,
    bound,
    index_of,
    merge_exponential,
)
from otel_wandb.metrics.histogram import (
    AnyHistogram,
    Histogram,
    InvalidPointError,
    merge_all,
    needs_conversion,
    read_histogram,
    subtract,
)
from otel_wandb.records import ExponentialPoint, HistogramPoint

few = settings(max_examples=50, deadline=None)

EDGES = (0.0, 5.0, 10.0, 25.0, 50.0, 100.0, 1000.0)


def percentile(values: Sequence[float], q: float) -> float:
    """As `numpy.percentile` has it by default: between the two nearest values, in proportion."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * q
    below = math.floor(position)
    weight = position - below
    above = ordered[min(below + 1, len(ordered) - 1)]
    return ordered[below] * (1 - weight) + above * weight if weight else ordered[below]


def exponential(
    values: Sequence[float], scale: int = 3, *, threshold: float = 0.0, extremes: bool = True
) -> ExponentialHistogram:
    """The histogram of the values, bucket by bucket, without the code that is tested."""
    sides: dict[int, dict[int, int]] = {1: {}, -1: {}}
    zero = 0
    for value in values:
        if abs(value) <= threshold:
            zero += 1
            continue
        index = math.ceil(math.log2(abs(value)) * 2**scale) - 1
        side = sides[1 if value > 0 else -1]
        side[index] = side.get(index, 0) + 1
    dense = []
    for sign in (1, -1):
        side = sides[sign]
        low = min(side, default=0)
        dense.append((low, [side.get(i, 0) for i in range(low, max(side, default=-1) + 1)]))
    (positive_offset, positive), (negative_offset, negative) = dense
    return ExponentialHistogram.from_point(
        ExponentialPoint(
            start_ns=1,
            time_ns=2,
            attributes={},
            count=len(values),
            sum=math.fsum(values),
            scale=scale,
            zero_count=zero,
            zero_threshold=threshold,
            positive_offset=positive_offset,
            positive_counts=positive,
            negative_offset=negative_offset,
            negative_counts=negative,
            min=min(values, default=None) if extremes else None,
            max=max(values, default=None) if extremes else None,
        )
    )


def explicit(
    values: Sequence[float], bounds: Sequence[float] = EDGES, *, extremes: bool = True
) -> ExplicitHistogram:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[next((i for i, edge in enumerate(bounds) if value <= edge), len(bounds))] += 1
    return ExplicitHistogram.from_point(
        HistogramPoint(
            start_ns=1,
            time_ns=2,
            attributes={},
            count=len(values),
            sum=math.fsum(values),
            bounds=list(bounds),
            counts=counts,
            min=min(values, default=None) if extremes else None,
            max=max(values, default=None) if extremes else None,
        )
    )


def record(values: Sequence[float]) -> ExponentialHistogram:
    """What the OpenTelemetry SDK makes of the values."""
    reader = InMemoryMetricReader()
    view = View(instrument_type=SdkHistogram, aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    instrument = provider.get_meter("tests").create_histogram("latency")
    for value in values:
        instrument.record(value)
    data = reader.get_metrics_data()
    assert data is not None
    point = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]
    provider.shutdown()
    assert isinstance(point, ExponentialHistogramDataPoint)
    histogram = read_histogram(
        ExponentialPoint(
            start_ns=1,
            time_ns=2,
            attributes={},
            count=point.count,
            sum=point.sum,
            scale=point.scale,
            zero_count=point.zero_count,
            positive_offset=point.positive.offset,
            positive_counts=list(point.positive.bucket_counts),
            negative_offset=point.negative.offset,
            negative_counts=list(point.negative.bucket_counts),
            min=point.min,
            max=point.max,
        )
    )
    assert isinstance(histogram, ExponentialHistogram)
    return histogram


magnitudes = st.floats(min_value=1e-9, max_value=1e9)
numbers = st.one_of(magnitudes, magnitudes.map(lambda x: -x), st.just(0.0))
samples = st.lists(numbers, max_size=30)
scales = st.integers(min_value=-4, max_value=4)  # so that nothing spans more than the limit
exponentials = st.builds(exponential, samples, scales)
bounds = st.lists(st.sampled_from([*EDGES, 2.5, 7.5]), unique=True).map(sorted)
explicits = st.builds(explicit, samples, bounds)
algebras = st.one_of(
    st.tuples(exponentials, exponentials, exponentials), st.tuples(explicits, explicits, explicits)
)


class TestAlgebra:
    @few
    @given(algebras)
    def test_merging_is_associative_and_commutative(
        self, parts: tuple[AnyHistogram, AnyHistogram, AnyHistogram]
    ) -> None:
        a, b, c = parts
        left = merge_all([merge_all([a, b]), c])
        assert left == merge_all([a, merge_all([b, c])])
        assert left == merge_all([c, a, b])
        assert left.count == a.count + b.count + c.count

    @few
    @given(st.one_of(exponentials, explicits))
    def test_nothing_is_the_identity(self, histogram: AnyHistogram) -> None:
        assert merge_all([histogram]) == histogram
        if isinstance(histogram, ExponentialHistogram):
            assert histogram.merge(EMPTY) == histogram == EMPTY.merge(histogram)
        else:
            assert histogram.merge(EMPTY_EXPLICIT) == histogram == EMPTY_EXPLICIT.merge(histogram)

    @few
    @given(st.lists(samples, min_size=4, max_size=4), st.lists(scales, min_size=4, max_size=4))
    def test_four_replicas_merge_to_what_one_would_have_bucket_for_bucket(
        self, replicas: list[list[float]], replica_scales: list[int]
    ) -> None:
        # Powers of two and their like lie on an edge, where the logarithms of this test may err.
        assume(all(math.frexp(value)[0] != 0.5 for values in replicas for value in values if value))
        parts = [exponential(v, s) for v, s in zip(replicas, replica_scales, strict=True)]
        coarsest = min((s for v, s in zip(replicas, replica_scales, strict=True) if v), default=0)
        union = exponential([value for values in replicas for value in values], coarsest)
        merged = merge_exponential(parts)
        assert merged.positive == union.positive
        assert merged.negative == union.negative
        assert (merged.zero_count, merged.count) == (union.zero_count, union.count)
        assert (merged.min, merged.max) == (union.min, union.max)

    @few
    @given(samples, samples, scales, scales)
    def test_what_came_later_is_what_is_left(
        self, early: list[float], late: list[float], scale: int, later_scale: int
    ) -> None:
        first, both = exponential(early, scale), exponential(early + late, min(scale, later_scale))
        left = both.subtract(first)
        assert left is not None
        expected = exponential(late, min(scale, later_scale))
        assert (left.positive, left.negative, left.zero_count) == (
            expected.positive,
            expected.negative,
            expected.zero_count,
        )
        if early and late:
            assert first.subtract(both) is None  # counts fell

    @few
    @given(samples, samples)
    def test_explicit_states_subtract_too(self, early: list[float], late: list[float]) -> None:
        left = explicit(early + late).subtract(explicit(early))
        assert left is not None
        assert left.count == len(late)
        if late:
            assert left.counts == explicit(late).counts
        if early and late:
            assert explicit(early).subtract(explicit(early + late)) is None

    @few
    @given(exponentials, st.integers(min_value=0, max_value=6))
    def test_downscaling_once_or_in_steps_is_the_same(
        self, histogram: ExponentialHistogram, steps: int
    ) -> None:
        target = histogram.scale - steps
        by_steps = histogram
        for scale in range(histogram.scale - 1, target - 1, -1):
            by_steps = by_steps.downscale(scale)
        assert by_steps == histogram.downscale(target)
        assert by_steps.count == histogram.count

    @few
    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20), st.randoms())
    def test_sums_do_not_depend_on_the_order(self, values: list[float], rng: random.Random) -> None:
        parts = [explicit([value], ()) for value in values]
        rng.shuffle(parts)
        try:
            expected = math.fsum(values)
        except OverflowError:  # fsum gives up where it overflows in between
            return
        assert merge_all(parts).sum == (expected if values else 0.0)

    @few
    @given(
        st.lists(st.tuples(samples, st.sampled_from([0.0, 1e-3, 1.0, 50.0])), min_size=3, max_size=3), scales
    )
    def test_the_wider_zero_takes_in_what_is_near(
        self, parts: list[tuple[list[float], float]], scale: int
    ) -> None:
        a, b, c = (exponential(values, scale, threshold=threshold) for values, threshold in parts)
        merged = a.merge(b).merge(c)
        assert merged.count == a.count + b.count + c.count
        buckets = merged._buckets()
        assert sum(bucket.size for bucket in buckets) == merged.count
        for one, following in itertools.pairwise(buckets):
            assert one.high <= following.low, "no value is in two buckets"
        for low, high, _ in buckets:
            is_zero = low <= 0.0 <= high
            assert is_zero or min(abs(low), abs(high)) >= merged.zero_threshold
        assert merged == a.merge(b.merge(c)) == c.merge(a).merge(b)

    def test_explicit_histograms_of_other_edges_keep_the_common_ones(self) -> None:
        old, new = explicit([1, 7, 30, 2000], (5, 10, 25, 1000)), explicit([1, 8, 40], (5, 20, 25))
        merged = old.merge(new)
        assert list(merged.bounds) == [5, 25]
        assert list(merged.counts) == [2, 2, 3]
        assert needs_conversion([old, new])
        assert not needs_conversion([old, old, EMPTY_EXPLICIT])

    def test_both_kinds_in_one_chart_are_exact_in_all_but_the_buckets(self) -> None:
        rng = random.Random(3)
        values = [rng.lognormvariate(3, 1) for _ in range(2_000)]
        kinds: list[AnyHistogram] = [
            exponential(values[:1000]),
            explicit(values[1000:], tuple(range(0, 400, 2))),
        ]
        merged = merge_all(kinds)
        assert isinstance(merged, ExponentialHistogram)
        assert needs_conversion(kinds)
        assert merged.count == 2_000
        assert merged.sum == pytest.approx(math.fsum(values), rel=1e-15)
        assert (merged.min, merged.max) == (min(values), max(values))
        for q in (0.5, 0.9, 0.99):
            assert merged.quantile(q) == pytest.approx(percentile(values, q), rel=0.05)

    def test_what_has_no_buckets_is_converted_to_its_mean(self) -> None:
        bare = ExplicitHistogram(4, Fraction(10))
        assert bare.to_exponential().quantile(0.5) == pytest.approx(2.5, rel=0.05)

    def test_a_histogram_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            exponential([1.0]).scale = 3  # type: ignore[misc]  # on purpose

    @few
    @given(explicits)
    def test_conversion_loses_no_value(self, histogram: ExplicitHistogram) -> None:
        converted = histogram.to_exponential()
        assert converted.count == histogram.count
        assert converted.total == histogram.total
        assert (
            converted.zero_count + sum(converted.positive.counts) + sum(converted.negative.counts)
        ) == histogram.count

    def test_a_merge_of_distant_values_stays_bounded(self) -> None:
        near, far = exponential([1e-9] * 3, 20), exponential([1e9] * 4, 20)
        merged = near.merge(far)
        assert len(merged.positive.counts) <= MAX_BUCKETS
        assert merged.count == 7
        assert merged.quantile(0.1) == pytest.approx(1e-9, rel=merged.relative_error)


class TestStatistics:
    @few
    @given(st.lists(numbers, min_size=1, max_size=60), scales, st.floats(0, 1), st.booleans())
    def test_a_quantile_is_where_the_raw_one_can_be(
        self, values: list[float], scale: int, q: float, extremes: bool
    ) -> None:
        histogram = exponential(values, scale, extremes=extremes)
        low, high = histogram.quantile_range(q)
        raw, slack = percentile(values, q), 1e-9
        assert low - abs(low) * slack <= raw <= high + abs(high) * slack
        assert low - abs(low) * slack <= histogram.quantile(q) <= high + abs(high) * slack

    @few
    @given(st.lists(magnitudes, min_size=1, max_size=60), st.integers(0, 8), st.floats(0, 1))
    def test_the_relative_error_is_bounded_as_stated(self, values: list[float], scale: int, q: float) -> None:
        histogram = exponential(values, scale)
        raw = percentile(values, q)
        assert abs(histogram.quantile(q) - raw) <= raw * (histogram.relative_error + 1e-9)
        assert histogram.relative_error == pytest.approx(2 ** (2**-scale) - 1)

    @few
    @given(st.lists(numbers, min_size=1, max_size=40), bounds, st.floats(0, 1), st.booleans())
    def test_explicit_quantiles_are_inside_their_range(
        self, values: list[float], edges: list[float], q: float, extremes: bool
    ) -> None:
        histogram = explicit(values, edges, extremes=extremes)
        low, high = histogram.quantile_range(q)
        if math.isnan(low):
            assert not edges
            assert not extremes
            return
        assert low - abs(low) * 1e-9 <= percentile(values, q) <= high + abs(high) * 1e-9

    @few
    @given(st.lists(numbers, min_size=1, max_size=40), st.one_of(st.just(exponential), st.just(explicit)))
    def test_the_extremes_and_the_mean_are_exact(self, values: list[float], make: object) -> None:
        histogram = exponential(values) if make is exponential else explicit(values)
        assert histogram.quantile(0) == min(values)
        assert histogram.quantile(1) == max(values)
        assert histogram.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-12, abs=1e-300)
        assert histogram.std >= 0

    @pytest.mark.parametrize("seed", range(3))
    def test_percentiles_and_deviation_of_many_values_are_close(self, seed: int) -> None:
        rng = random.Random(seed)
        values = [rng.lognormvariate(-1.5, 1) for _ in range(5_000)]
        histogram = record(values)
        for q in (0.5, 0.9, 0.95, 0.99):
            assert histogram.quantile(q) == pytest.approx(percentile(values, q), rel=0.012)
        assert histogram.std == pytest.approx(statistics.pstdev(values), rel=0.02)
        assert histogram.share_over(0.5) == pytest.approx(sum(v > 0.5 for v in values) / 5_000, abs=0.005)

    def test_replicas_of_the_sdk_merge_to_its_own_histogram_of_all(self) -> None:
        rng = random.Random(11)
        replicas = [[rng.lognormvariate(-2, 0.8) for _ in range(500)] for _ in range(4)]
        parts = [record(values) for values in replicas]
        union = record([v for values in replicas for v in values])
        merged = merge_all(parts)
        assert isinstance(merged, ExponentialHistogram)
        assert merged.downscale(union.scale).positive == union.positive
        assert (merged.count, merged.min, merged.max) == (union.count, union.min, union.max)

    def test_the_share_over_an_edge_is_exact(self) -> None:
        values = [1, 6, 7, 30, 70, 5000]
        histogram = explicit(values)
        assert histogram.share_over(50) == 2 / 6
        assert histogram.share_over(5) == 5 / 6
        assert histogram.share_over(-1) == 1
        assert histogram.share_over(5000) == 0
        assert exponential([1.5, 3, 6, 12], 0).share_over(4) == 0.5

    def test_equal_values_have_no_deviation(self) -> None:
        assert exponential([0.25] * 9).std == 0
        assert explicit([7.0] * 9).std == 0
        assert exponential([3.0], extremes=False).std == 0

    def test_nothing_has_no_statistics(self) -> None:
        for empty in (EMPTY, EMPTY_EXPLICIT):
            histogram: Histogram = empty
            assert histogram.count == 0
            assert histogram.sum == 0
            assert histogram.min is histogram.max is None
            assert all(map(math.isnan, [histogram.mean, histogram.std, *histogram.quantiles([0.5, 0.9])]))
            assert all(map(math.isnan, [histogram.share_over(1), *histogram.quantile_range(0.5)]))
            assert histogram.to_bins() == ([], [])

    def test_an_open_end_is_closed_by_what_is_known(self) -> None:
        known, unknown = explicit([2000, 4000], (5, 1000)), explicit([2000, 4000], (5, 1000), extremes=False)
        assert known.quantile_range(0.5) == (3000, 3000)
        assert 2000 <= known.quantile(0.3) <= 4000
        assert unknown.quantile(0.5) == 1000  # the last edge: as far as can be told
        assert unknown.quantile_range(0.5) == (1000, math.inf)

    @pytest.mark.parametrize("factor", ["1000", "0.001", "1024"])
    def test_another_unit(self, factor: str) -> None:
        rng = random.Random(5)
        values = [rng.lognormvariate(0, 0.5) for _ in range(1_000)]
        by = Fraction(factor)
        for histogram in (exponential(values, 4), explicit(values, (0.075, 0.5, 1, 2, 3))):
            scaled = histogram.scaled(by)
            assert scaled.count == 1_000
            assert scaled.total == (histogram.total or 0) * by
            assert scaled.quantile(0.5) == pytest.approx(histogram.quantile(0.5) * float(by), rel=0.05)
            assert scaled.scaled(1 / by).count == 1_000
        assert explicit([0.07], (0.075, 0.1)).scaled(Fraction(1000)).bounds == (75.0, 100.0)


class TestBins:
    @few
    @given(st.one_of(exponentials, explicits), st.sampled_from([5, 64, 512]))
    def test_counts_and_edges_fit(self, histogram: AnyHistogram, max_bins: int) -> None:
        assume(not isinstance(histogram, ExplicitHistogram) or histogram.bounds or not histogram.count)
        counts, edges = histogram.to_bins(max_bins)
        assert sum(counts) == histogram.count
        assert len(counts) <= max_bins
        if histogram.count:
            assert len(edges) == len(counts) + 1
            assert all(map(math.isfinite, edges))
            assert all(low < high for low, high in itertools.pairwise(edges))

    def test_bins_of_both_signs(self) -> None:
        counts, edges = exponential([-3, -1.5, 0, 1.5, 1.7, 6], 0).to_bins()
        assert edges == [-4, -2, -1, 1, 2, 4, 8]
        assert counts == [1, 1, 1, 2, 0, 1]  # both signs, and around zero one bin

    def test_bins_of_zeros_alone_have_a_width(self) -> None:
        assert exponential([0, 0, 0]).to_bins() == ([3], [-0.5, 0.5])

    def test_fine_buckets_are_merged_to_what_wandb_takes(self) -> None:
        values = [1.001**i for i in range(7_000)]
        counts, edges = exponential(values, 8).to_bins()
        assert 256 < len(counts) <= 512
        assert sum(counts) == 7_000
        assert edges[0] <= 1
        assert edges[-1] >= values[-1]


class TestBadPoints:
    @pytest.mark.parametrize(
        "fields",
        [
            {"bounds": [1.0, 2.0], "counts": [1, 2]},
            {"bounds": [2.0, 1.0], "counts": [1, 2, 3]},
            {"bounds": [1.0, 1.0], "counts": [1, 2, 3]},
            {"bounds": [math.nan], "counts": [1, 2]},
            {"bounds": [-math.inf, 1.0], "counts": [1, 2, 3]},
            {"bounds": [1.0], "counts": [-1, 2]},
            {"bounds": [1.0], "counts": [2**64, 2]},
            {"bounds": [1.0], "counts": []},
        ],
    )
    def test_buckets_that_cannot_be(self, fields: dict[str, list[float]]) -> None:
        point = HistogramPoint(start_ns=1, time_ns=2, attributes={}, count=3, **fields)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(InvalidPointError, match="invalid_buckets"):
            read_histogram(point)

    @pytest.mark.parametrize(
        "fields",
        [
            {"scale": MIN_SCALE - 1},
            {"positive_counts": [-1]},
            {"zero_count": -1},
            {"zero_threshold": math.nan},
            {"zero_threshold": -1.0},
            {"positive_offset": 2**40},
        ],
    )
    def test_exponents_that_cannot_be(self, fields: dict[str, int]) -> None:
        facts = {"scale": 0, "zero_count": 0, "positive_counts": [1], **fields}
        point = ExponentialPoint(start_ns=1, time_ns=2, attributes={}, count=1, sum=1.0, **facts)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(InvalidPointError, match="invalid_buckets"):
            read_histogram(point)

    def test_where_the_count_is_not_that_of_the_buckets_these_hold(self) -> None:
        point = HistogramPoint(
            start_ns=1, time_ns=2, attributes={}, count=9, sum=3.0, bounds=[1.0], counts=[1, 2]
        )
        assert read_histogram(point).count == 3

    def test_a_point_without_buckets_keeps_its_sum_and_extremes(self) -> None:
        point = HistogramPoint(start_ns=1, time_ns=2, attributes={}, count=4, sum=10.0, min=1.0, max=4.0)
        histogram = read_histogram(point)
        assert (histogram.count, histogram.sum, histogram.mean) == (4, 10.0, 2.5)
        assert 1 <= histogram.quantile(0.5) <= 4
        bare = read_histogram(HistogramPoint(start_ns=1, time_ns=2, attributes={}, count=4, sum=10.0))
        assert bare.mean == 2.5
        assert math.isnan(bare.quantile(0.5))  # nobody can tell

    def test_an_end_that_is_written_down_is_open_all_the_same(self) -> None:
        point = HistogramPoint(
            start_ns=1, time_ns=2, attributes={}, count=6, bounds=[1.0, math.inf], counts=[1, 5, 0]
        )
        histogram = read_histogram(point)
        assert isinstance(histogram, ExplicitHistogram)
        assert (histogram.bounds, histogram.counts) == ((1.0,), (1, 5))

    @pytest.mark.parametrize(("low", "high"), [(math.inf, -math.inf), (math.nan, 1.0), (5.0, 1.0)])
    def test_extremes_that_say_nothing_are_not_known(self, low: float, high: float) -> None:
        point = HistogramPoint(
            start_ns=1, time_ns=2, attributes={}, count=1, sum=math.nan, bounds=[2.0], counts=[1, 0],
            min=low, max=high,
        )  # fmt: skip
        histogram = read_histogram(point)
        assert histogram.sum is None
        assert histogram.min is None
        assert 0 <= histogram.mean <= 2  # as the buckets have it

    @pytest.mark.parametrize("scale", [MIN_SCALE, -1, 0, 10, MAX_SCALE, MAX_SCALE + 1])
    @pytest.mark.parametrize("value", [5e-324, 1e-300, 1.0, 1e300, 1.7976931348623157e308])
    def test_values_and_scales_at_their_limits(self, scale: int, value: float) -> None:
        index = index_of(value, min(scale, MAX_SCALE))
        point = ExponentialPoint(
            start_ns=1,
            time_ns=2,
            attributes={},
            count=2,
            sum=value,
            scale=scale,
            zero_count=0,
            positive_offset=index << max(0, scale - MAX_SCALE),
            positive_counts=[2],
            min=value,
            max=value,
        )
        histogram = read_histogram(point)
        assert isinstance(histogram, ExponentialHistogram)
        assert MIN_SCALE <= histogram.scale <= MAX_SCALE
        assert histogram.quantile(0.5) == value
        assert math.isfinite(histogram.std)
        _, edges = histogram.to_bins()
        assert all(map(math.isfinite, edges))
        merged = histogram.merge(exponential([1.5, -2.5]))
        assert merged.count == 4
        assert merged.quantile(1) >= value

    @few
    @given(st.floats(min_value=5e-324, max_value=1.7976931348623157e308), st.integers(MIN_SCALE, MAX_SCALE))
    def test_every_value_is_in_its_bucket(self, value: float, scale: int) -> None:
        index = index_of(value, scale)
        assert bound(index, scale) < value <= bound(index + 1, scale)

    def test_kinds_do_not_subtract_from_each_other(self) -> None:
        assert subtract(exponential([1.0, 2.0]), explicit([1.0])) is None
        assert subtract(explicit([1.0, 2.0]), exponential([1.0])) is None

    def test_edges_that_change_mid_stream_subtract_at_the_common_ones(self) -> None:
        early, late = explicit([1, 7], (5, 10)), explicit([1, 7, 8, 30], (5, 10, 20))
        left = late.subtract(early)
        assert left is not None
        assert (left.bounds, left.counts) == ((5, 10), (0, 1, 1))
