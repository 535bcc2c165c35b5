"""Single values become the histogram that a meter would have kept, in whatever parts they come."""

from __future__ import annotations

import random
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.metrics import observed
from otel_wandb.metrics.exponential import MAX_BUCKETS, ExponentialHistogram, index_of
from otel_wandb.metrics.observed import (
    OVERFLOW_LABELS,
    SCALE,
    Observation,
    ObservedTotals,
    Part,
    Source,
    StreamKey,
    count_values,
)
from otel_wandb.records import Span
from otel_wandb.traces.weights import MAX_WEIGHT, weigh

DURATIONS = st.integers(0, 10**15)
SCORES = st.floats(-1e12, 1e12, allow_nan=False)
TOOL: StreamKey = ("gen_ai.execute_tool.duration", "s", (("gen_ai.tool.name", "search"),))


def histogram(*parts: Part) -> ExponentialHistogram:
    totals = ObservedTotals()
    totals.restore((TOOL, part) for part in parts)
    return totals.histograms()[TOOL]


def stored(part: Part) -> Part:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(part), type=Part)


class TestValues:
    @given(st.lists(DURATIONS, min_size=1), st.integers(1, 5))
    def test_durations_are_in_their_buckets(self, values: list[int], weight: int) -> None:
        found = histogram(count_values(values, weight))
        assert found.count == weight * len(values)
        assert found.total == Fraction(weight * sum(values), 10**9)
        assert (found.min, found.max) == (min(values) / 1e9, max(values) / 1e9)
        assert found.zero_count == weight * values.count(0)
        ranks = sorted(values)
        for q in (0.0, 0.5, 1.0):
            low, high = found.quantile_range(q)
            place = q * (found.count - 1)
            assert low <= ranks[int(place) // weight] / 1e9 <= high or place % 1

    @given(st.lists(st.integers(1, 10**18), min_size=1))
    def test_the_logarithm_finds_the_very_bucket(self, values: list[int]) -> None:
        part = count_values(values)
        wanted: dict[int, int] = {}
        for value in values:
            index = index_of(value / 1e9, SCALE)
            wanted[index] = wanted.get(index, 0) + 1
        assert part.positive == wanted

    @pytest.mark.parametrize("power", range(-8, 9))
    def test_a_value_on_an_edge_belongs_to_the_bucket_below(self, power: int) -> None:
        nanoseconds = Fraction(2) ** power * 10**9
        if nanoseconds.denominator == 1:
            assert list(count_values([int(nanoseconds)]).positive) == [(power << SCALE) - 1]

    def test_decimal_scores_add_up_as_they_are_written(self) -> None:
        found = histogram(count_values([0.1, 0.2, -0.3, 0.0]))
        assert (found.total, found.zero_count, found.min, found.max) == (Fraction(0), 1, -0.3, 0.2)
        assert histogram(count_values([0.1, 0.2])).mean == 0.15

    def test_values_that_span_much_are_kept_more_coarsely(self) -> None:
        found = histogram(count_values([1, 10**6, 10**13]))
        assert len(found.positive.counts) <= MAX_BUCKETS
        assert found.scale < SCALE
        assert found.count == 3
        assert histogram(count_values([10**8, 2 * 10**8])).scale == SCALE


class TestParts:
    @settings(deadline=None)
    @given(st.lists(st.one_of(DURATIONS, SCORES), min_size=1, max_size=30), st.randoms(use_true_random=False))
    def test_any_order_and_grouping_gives_the_same(
        self, values: list[int | float], dice: random.Random
    ) -> None:
        whole = histogram(count_values(values))
        shuffled = dice.sample(values, len(values))
        cuts = sorted(dice.sample(range(1, len(values)), min(3, len(values) - 1)))
        groups = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]
        assert histogram(*(stored(count_values(group)) for group in groups)) == whole

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 5), DURATIONS, st.integers(1, 3)), min_size=1, max_size=30),
        st.sets(st.integers(0, 30)),
    )
    def test_a_restart_after_any_value_changes_nothing(
        self, steps: list[tuple[int, int, int]], kills: set[int]
    ) -> None:
        before = observed.MAX_SERIES
        observed.MAX_SERIES = 3  # type: ignore[misc]  # Hypothesis has no fixtures that are made anew
        try:
            outcomes = []
            for killed in (set[int](), kills):
                totals, kept = ObservedTotals(), list[tuple[StreamKey, Part]]()
                for i, (name, value, weight) in enumerate(steps):
                    totals.add(Observation(Source(("x", "s", (("a", f"{name}"),))), value), weight)
                    if i in killed:
                        kept += [(stream, stored(part)) for stream, part in totals.take_fresh()]
                        totals = ObservedTotals()
                        totals.restore(kept)
                outcomes.append(totals.histograms())
            assert outcomes[0] == outcomes[1]
            assert len(outcomes[0]) <= 4
            assert sum(h.count for h in outcomes[0].values()) == sum(weight for _, _, weight in steps)
            if len({name for name, _, _ in steps}) > 3:
                assert ("x", "s", OVERFLOW_LABELS) in outcomes[0]
        finally:
            observed.MAX_SERIES = before  # type: ignore[misc]

    def test_a_stored_part_holds_what_came_since(self) -> None:
        totals = ObservedTotals()
        for _ in range(10_000):
            totals.add(Observation(Source(TOOL), 123_456_789))
        totals.take_fresh()
        totals.add(Observation(Source(TOOL), 987_654_321))
        ((stream, part),) = totals.take_fresh()
        assert (stream, part.count, part.total) == (TOOL, 1, "987654321")
        assert totals.take_fresh() == []
        assert totals.histograms()[TOOL].count == 10_001


def make_span(number: int, state: str) -> Span:
    return Span("0af7651916cd43dd8448eb211c80319c", f"{number:016x}", "", "s", 1, 0, 1, trace_state=state)


class TestWeights:
    @pytest.mark.parametrize(
        ("state", "weight"),
        [
            ("", 1),
            ("ot=th:0", 1),
            ("ot=th:8", 2),
            ("ot=th:c", 4),
            ("ot=th:fff", 4096),
            ("ot=rv:6e6d1a75832a2f;th:c", 4),
            ("vendor=1,ot=th:8;rv:6e6d1a75832a2f,other=th:c", 2),
            (" ot=th:8 , x=y", 2),
            ("ot=th:ffffffffffffff", MAX_WEIGHT),
            ("ot=th:fffffff", MAX_WEIGHT),
            ("ot=th:", 1),
            ("ot=th:xyz", 1),
            ("ot=th:fffffffffffffff", 1),
            ("ot=p:8;r:62", 1),
            ("not=th:8", 1),
            ("x=ot=th:8", 1),
        ],
    )
    def test_of_thresholds(self, state: str, weight: int) -> None:
        assert weigh(make_span(1, state)) == weight

    def test_a_weight_that_is_no_whole_number_has_no_bias(self) -> None:
        state = "ot=th:b3333333333333"  # 30 % are kept
        weights = [weigh(make_span(i, state)) for i in range(1, 30_001)]
        assert set(weights) == {3, 4}
        assert sum(weights) / len(weights) == pytest.approx(1 / 0.3, abs=0.01)
        assert weights == [weigh(make_span(i, state)) for i in range(1, 30_001)]
