"""A sample of requests: what it keeps does not depend on their order, and its weights make sums right."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.tables.sampling import MAX_IMAGE_BYTES, Content, Draw, Item, Sample, draw_numbers, find_level

ROWS = 40


@dataclass(frozen=True)
class Request:
    """What happened, beside what decides on the draw."""

    draw: Draw
    tokens: int = 0
    cost: float = 0.0


def to_item(draw: Draw) -> Item:
    return Item(*draw, 0, b"{}")


def fill(draws: Iterable[Draw], rows: int = ROWS) -> Sample:
    sample = Sample(rows)
    for draw in draws:
        sample.add(draw, to_item)
    return sample


def weights(sample: Sample) -> dict[int, tuple[str, bool, float]]:
    return {item.order: (item.operation, item.failed, weight) for item, weight in sample.weigh()}


DRAWS = st.lists(
    st.builds(
        Draw,
        st.sampled_from(["a", "b", "c", "d", "e"]),
        st.sampled_from([False, False, False, True]),
        st.integers(0, 50),
        st.integers(0, 2**63 - 1),
        st.integers(0, 2**63 - 1),
    ),
    max_size=200,
    unique_by=(lambda draw: draw.order, lambda draw: draw.tie),
)


class TestSample:
    @settings(max_examples=150, deadline=None)
    @given(DRAWS, st.randoms(use_true_random=False), st.integers(1, 60))
    def test_neither_order_nor_parts_change_what_is_kept(
        self, draws: list[Draw], dice: random.Random, size: int
    ) -> None:
        # With 24 rows each of the five operations has a stratum; of more, the first that come have one.
        whole = weights(fill(draws, 24))
        shuffled = dice.sample(draws, len(draws))
        assert weights(fill(shuffled, 24)) == whole
        merged = Sample(24)
        for start in range(0, len(shuffled), size):
            part = fill(shuffled[start : start + size], 24)
            before = {id(item) for item in part.items()}
            kept = merged.merge(part)
            assert {id(item) for item in kept} == before & {id(item) for item in merged.items()}
        assert weights(merged) == whole
        assert len(merged) == len(draws)

    @settings(max_examples=150, deadline=None)
    @given(DRAWS, st.integers(10, 60))
    def test_the_weights_of_a_stratum_are_its_exact_count(self, draws: list[Draw], rows: int) -> None:
        sample = fill(draws, rows)
        told: Counter[tuple[str, bool]] = Counter()
        for item, weight in sample.weigh():
            told[item.operation, item.failed] += weight  # type: ignore[assignment]  # floats are summed
        exact = Counter((draw.operation, draw.failed) for draw in draws)
        if rows >= 40:  # else some operations are beyond the limit
            assert dict(told) == pytest.approx(dict(exact))
        assert sum(told.values()) == pytest.approx(len(draws))
        assert len(sample.items()) <= rows
        assert all(weight >= 1 for _, weight in sample.weigh())

    @settings(max_examples=60, deadline=None)
    @given(DRAWS, st.lists(st.integers(1, 40), min_size=1, max_size=12))
    def test_what_is_stored_in_parts_is_the_same_sample(self, draws: list[Draw], sizes: list[int]) -> None:
        sample, stored, start = Sample(20), [], 0
        for size in sizes:
            for draw in draws[start : start + size]:
                sample.add(draw, to_item)
            start += size
            if (content := sample.take_content()) is not None:
                stored.append(msgspec.msgpack.encode(content))
        restored = Sample(20)
        for state in stored:
            restored.restore(msgspec.msgpack.decode(state, type=Content))
        assert weights(restored) == weights(sample)
        assert restored.counts == sample.counts
        rest = [Draw("a", False, 7, order, order) for order in range(1, 30)]
        for more in (restored, sample):
            for draw in rest:
                more.add(draw, to_item)
        assert weights(restored) == weights(sample)

    def test_the_slowest_and_the_failed_are_always_in_it(self) -> None:
        dice = random.Random(1)
        draws = [make(dice, i).draw for i in range(3000)]
        draws += [Draw("rare", True, 1, i, i) for i in range(5)]
        sample = fill(draws, 200)
        told = weights(sample)
        slowest = sorted(draws, key=lambda draw: -draw.latency_ns)[:20]
        assert all(told[draw.order][2] == 1 for draw in slowest)
        assert all(told[draw.order] == ("rare", True, 1) for draw in draws if draw.operation == "rare")
        assert sum(failed for _, failed, _ in told.values()) >= 40

    def test_few_requests_are_all_kept(self) -> None:
        draws = [make(random.Random(2), i).draw for i in range(ROWS)]
        assert {weight for _, _, weight in weights(fill(draws, 4 * ROWS)).values()} == {1}

    def test_of_too_many_operations_the_rest_is_one(self) -> None:
        dice = random.Random(3)
        draws = [Draw(f"op-{i % 500}", i % 3 == 0, i, *numbers(dice)) for i in range(5000)]
        sample = fill(draws, 200)
        told: Counter[tuple[str, bool]] = Counter()
        for item, weight in sample.weigh():
            told[item.operation, item.failed] += weight  # type: ignore[assignment]
        assert len(told) <= 2 * 33
        assert sum(told.values()) == pytest.approx(5000)
        assert told["op-1", False] == pytest.approx(7)
        assert told["", False] > 2000

    def test_images_have_a_limit_together(self) -> None:
        image = "x" * (MAX_IMAGE_BYTES // 10)
        sample = Sample(200)
        for i in range(100):
            sample.add(Draw("a", False, i, i, i), lambda draw: Item(*draw, 0, b"{}", image))
        shown = [item for item in sample.items() if item.image]
        assert (len(shown), len(sample.items())) == (10, 100)

    @given(st.lists(st.integers(1, 100), min_size=1, max_size=30), st.integers(30, 400))
    def test_the_level_is_the_highest_that_has_room(self, sizes: list[int], room: int) -> None:
        level = find_level(sizes, room)
        assert sum(min(size, level) for size in sizes) <= room
        assert level >= max(sizes) or sum(min(size, level + 1) for size in sizes) > room


def numbers(dice: random.Random) -> tuple[int, int]:
    return draw_numbers(f"{dice.getrandbits(128):032x}", f"{dice.getrandbits(64):016x}")


def make(dice: random.Random, number: int) -> Request:
    """A request as services have them: heavy tails, and what is slow is expensive, and fails more often."""
    operation = dice.choices(["POST /chat", "POST /search", "GET /", "POST /rare"], [70, 20, 9, 1])[0]
    latency_ms = dice.lognormvariate(5, 1.2)
    failed = dice.random() < min(0.5, latency_ms / 5000)
    tokens = 0 if operation == "GET /" else int(latency_ms * dice.paretovariate(2.5))
    draw = Draw(operation, failed, int(latency_ms * 1e6), *numbers(dice))
    return Request(draw, tokens, tokens * dice.uniform(1e-6, 5e-6))


def totals(requests: Sequence[Request], weigh: dict[int, float]) -> dict[str, float]:
    found = dict.fromkeys(("count", "errors", "tokens", "cost", "chat_cost", "error_tokens"), 0.0)
    for one in requests:
        weight = weigh.get(one.draw.order, 0.0)
        found["count"] += weight
        found["errors"] += weight * one.draw.failed
        found["tokens"] += weight * one.tokens
        found["cost"] += weight * one.cost
        found["chat_cost"] += weight * one.cost * (one.draw.operation == "POST /chat")
        found["error_tokens"] += weight * one.tokens * one.draw.failed
    return found


class TestTotals:
    def test_sums_over_tables_are_unbiased(self) -> None:
        """120 hours: the mean error of each estimate is none, by a z-test; without weights it is not."""
        dice = random.Random(20_261_125)
        errors: dict[str, list[float]] = {}
        blind: dict[str, list[float]] = {}
        for _ in range(120):
            requests = [make(dice, i) for i in range(dice.randint(300, 900))]
            tables = split(dice, requests)
            weighed = {item.order: weight for table in tables for item, weight in table.weigh()}
            exact = totals(requests, {one.draw.order: 1.0 for one in requests})
            told = totals(requests, weighed)
            same = len(requests) / len(weighed)
            naive = totals(requests, dict.fromkeys(weighed, same))
            assert told["count"] == pytest.approx(exact["count"])
            assert told["errors"] == pytest.approx(exact["errors"])
            for name in ("tokens", "cost", "chat_cost", "error_tokens"):
                errors.setdefault(name, []).append((told[name] - exact[name]) / exact[name])
                blind.setdefault(name, []).append((naive[name] - exact[name]) / exact[name])
        assert {name: abs(z_of(found)) < 3.5 for name, found in errors.items()} == dict.fromkeys(errors, True)
        assert all(abs(z_of(found)) > 10 for found in blind.values()), "equal weights would be found out"

    def test_each_request_is_as_likely_as_its_weight_says(self) -> None:
        """The same requests under 1,000 draws: how often each is kept, times its weight, is one."""
        dice = random.Random(7)
        requests = [make(dice, i) for i in range(150)]
        seen, squares = [0.0] * len(requests), [0.0] * len(requests)
        for _ in range(1000):
            drawn = [one.draw._replace(order=dice.getrandbits(63), tie=i) for i, one in enumerate(requests)]
            for item, weight in fill(drawn).weigh():
                seen[item.tie] += weight
                squares[item.tie] += weight * weight
        assert sum(seen) == pytest.approx(1000 * len(requests))
        always = [i for i, square in enumerate(squares) if square == 1000]
        assert {seen[i] for i in always} == {1000}
        z = [
            (seen[i] - 1000) / math.sqrt(square - 1000) for i, square in enumerate(squares) if i not in always
        ]
        assert len(z) > 100
        assert max(map(abs, z)) < 4


def split(dice: random.Random, requests: list[Request]) -> list[Sample]:
    """The tables of an hour: each of some intervals, as its rows come, and as tables are asked for."""
    tables, at = [Sample(ROWS)], 0
    while at < len(requests):
        size = dice.randint(1, 200)
        tables[-1].merge(fill(one.draw for one in requests[at : at + size]))
        at += size
        if dice.random() < 0.1:
            tables.append(Sample(ROWS))
    return tables


def z_of(errors: Sequence[float]) -> float:
    mean = sum(errors) / len(errors)
    deviation = math.sqrt(sum((error - mean) ** 2 for error in errors) / (len(errors) - 1))
    return mean / (deviation / math.sqrt(len(errors)))
