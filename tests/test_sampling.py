"""Sampling keeps a budget, keeps what matters, and leaves sums over what it kept right."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.config import Settings
from otel_wandb.traces.assembly import decode_decision, decode_memory, encode_decision, encode_memory
from otel_wandb.traces.finished import Earlier
from otel_wandb.traces.sampling import (
    REASONS,
    Decision,
    Sampler,
    TraceFacts,
    draw,
    find_level,
    find_step,
    step_of,
)
from tests.spends import Works, at, attributes, chat, resource, span, traces
from tests.test_requests import asks, rows_of

BEGIN_S = 1_800_000_000
"""At the beginning of a minute."""
OPERATIONS = ("POST /chat", "GET /search", "GET /", "POST /rare")


@dataclass(frozen=True)
class Request:
    """What happened."""

    facts: TraceFacts
    tokens: float
    cost: float


def simulate(seed: int, minutes: float, a_second: float, incident: range = range(0)) -> Iterator[Request]:
    """Requests of four operations; in the minutes of the incident there are more, and a third of one fail."""
    dice, now_s = random.Random(seed), float(BEGIN_S)
    while now_s < BEGIN_S + 60 * minutes:
        bad = int(now_s - BEGIN_S) // 60 in incident
        now_s += dice.expovariate(a_second * (3 if bad else 1))
        operation = dice.choices(OPERATIONS, [60, 30, 9.9, 0.1])[0]
        failed = dice.random() < (0.33 if bad and operation == "POST /chat" else 0.005)
        latency_ms = dice.lognormvariate(5, 1) * (4 if bad else 1)
        tokens = 0.0 if operation == "GET /" else latency_ms * dice.uniform(1, 3)
        trace_id = f"{dice.getrandbits(128):032x}"
        facts = TraceFacts(trace_id, operation, failed, int(latency_ms * 1e6), int(now_s * 1e9))
        yield Request(facts, tokens, tokens * dice.uniform(1e-6, 5e-6))


def totals(request: Request) -> dict[str, float]:
    """What sums are made of."""
    failed = float(request.facts.failed)
    return {
        "count": 1.0,
        "errors": failed,
        "tokens": request.tokens,
        "cost": request.cost,
        "tokens of failed": request.tokens * failed,
        "searches": float(request.facts.operation == "GET /search"),
    }


class TestBudget:
    def test_with_room_for_all_all_are_kept(self) -> None:
        sampler = Sampler(1000)
        decisions = [sampler.decide(one.facts) for one in simulate(1, 10, 5)]
        assert {(one.kept, one.probability) for one in decisions} == {(True, 1.0)}

    def test_an_incident_does_not_break_it_and_errors_are_kept_up_to_their_limit(self) -> None:
        sampler, budget = Sampler(240), 240
        kept: Counter[int] = Counter()
        failed: Counter[int] = Counter()
        kept_failed: Counter[int] = Counter()
        for one in simulate(2, 12, 40, range(5, 8)):
            minute = int(one.facts.end_ns / 60e9 - BEGIN_S / 60)
            decision = sampler.decide(one.facts)
            kept[minute] += decision.kept
            failed[minute] += one.facts.failed
            kept_failed[minute] += decision.kept and one.facts.failed
        assert max(kept.values()) <= budget * 1.05
        assert sum(kept.values()) == pytest.approx(12 * budget, rel=0.05)
        assert all(kept_failed[minute] >= min(failed[minute], budget // 2) for minute in failed)
        assert max(failed.values()) > 10 * budget / 2

    def test_a_burst_out_of_nothing_is_paid_back(self) -> None:
        sampler = Sampler(60)
        burst = [sampler.decide(made(i, BEGIN_S)).kept for i in range(5000)]
        later = [sampler.decide(made(5000 + i, BEGIN_S + i / 10)).kept for i in range(18_000)]
        assert sum(burst) < 5 * 60
        assert sum(burst) + sum(later) == pytest.approx(30 * 60, rel=0.1)

    def test_a_rare_operation_is_seen_among_frequent_ones(self) -> None:
        sampler = Sampler(120)
        kept: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        for one in simulate(3, 30, 25):
            seen[one.facts.operation] += 1
            kept[one.facts.operation] += sampler.decide(one.facts).kept
        assert kept["POST /rare"] > 0.9 * seen["POST /rare"] > 20
        assert kept["POST /chat"] < seen["POST /chat"] / 10

    def test_more_is_kept_of_an_operation_that_begins_to_fail(self) -> None:
        sampler = Sampler(120)
        parts: dict[bool, list[float]] = {True: [], False: []}
        dice = random.Random(4)
        for i in range(48_000):
            second = i / 40
            failing = second > 900
            name = OPERATIONS[i % 2]
            failed = failing and not i % 2 and dice.random() < 0.3
            decision = sampler.decide(made(i, BEGIN_S + second, operation=name, failed=failed))
            if second > 930 and decision.reason == "rate" and not failed:
                parts[name == OPERATIONS[0]].append(decision.probability)
        troubled, sound = (sum(parts[key]) / len(parts[key]) for key in (True, False))
        assert troubled > 1.5 * sound


def made(number: int, second: float, *, operation: str = "GET /", failed: bool = False) -> TraceFacts:
    """A request that takes as long as all others."""
    return TraceFacts(f"{number:032x}", operation, failed, 100_000_000, int(second * 1e9))


class TestReasons:
    def test_what_is_judged_or_evaluated_is_kept_however_much_there_is(self) -> None:
        sampler = Sampler(1)
        for number in range(100):
            facts = made(number, BEGIN_S)._replace(forced="feedback")
            assert sampler.decide(facts) == Decision(True, 1.0, "feedback")

    def test_the_slowest_percent_of_its_own_operation_is_kept(self) -> None:
        sampler, dice = Sampler(600), random.Random(5)
        reasons: Counter[str] = Counter()
        for i in range(30_000):
            latency_ns = int(1e8 * dice.uniform(1, 1.05))
            slow = i > 10_000 and i % 300 == 0
            facts = made(i, BEGIN_S + i / 100)._replace(latency_ns=latency_ns * (3 if slow else 1))
            decision = sampler.decide(facts)
            if slow:
                reasons[decision.reason] += 1
        assert reasons["slow"] + reasons["exemplar"] == reasons.total() > 50

    def test_each_octave_of_latency_has_a_kept_trace_in_each_minute(self) -> None:
        sampler = Sampler(300)
        seen: set[tuple[str, int, int]] = set()
        kept: set[tuple[str, int, int]] = set()
        for one in simulate(6, 8, 40):
            facts = one.facts
            key = (facts.operation, facts.end_ns // 60_000_000_000, step_of(facts.latency_ns) >> 4)
            seen.add(key)
            if sampler.decide(facts).kept:
                kept.add(key)
        assert len(seen - kept) <= len(seen) / 100


def estimate(runs: int, budget: int, minutes: int, a_second: float) -> dict[str, list[tuple[float, float]]]:
    """Of each sum the errors of its estimates: as parts of it, and as numbers of standard deviations."""
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(runs):
        sampler, middle = Sampler(budget), minutes // 2
        exact, told, variance = dict[str, float](), dict[str, float](), dict[str, float]()
        for one in simulate(seed, minutes, a_second, range(middle, middle + 1)):
            decision = sampler.decide(one.facts)
            for name, value in totals(one).items():
                weighed = value / decision.probability if decision.kept else 0
                exact[name] = exact.get(name, 0) + value
                told[name] = told.get(name, 0) + weighed
                variance[name] = variance.get(name, 0) + (1 - decision.probability) * weighed**2
        for name, truth in exact.items():
            off = told[name] - truth
            deviation = off / math.sqrt(variance[name]) if off else 0.0
            found.setdefault(name, []).append((off / truth, deviation))
    return found


def assert_unbiased(found: dict[str, list[tuple[float, float]]]) -> None:
    for name, errors in found.items():
        values = [error for error, _ in errors]
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values) / (len(values) - 1))
        assert abs(mean) <= 3.5 * spread, name


class TestSums:
    def test_sums_over_what_is_kept_have_no_bias(self) -> None:
        assert_unbiased(estimate(30, 60, 4, 15))

    @pytest.mark.slow
    @pytest.mark.timeout(400)
    def test_of_a_fiftieth_sums_are_right_and_so_are_their_intervals(self) -> None:
        found = estimate(30, 400, 4, 240)
        assert_unbiased(found)
        for name, errors in found.items():
            hits = sum(abs(deviation) <= 1.96 for _, deviation in errors)
            assert hits >= 25, name  # of 28.5 that are expected, the 1st percentile

    @pytest.mark.slow
    @pytest.mark.timeout(400)
    def test_a_million_requests_with_an_incident(self) -> None:
        budget, sampler = 1200, Sampler(1200)
        kept: Counter[int] = Counter()
        failed: Counter[int] = Counter()
        kept_failed: Counter[int] = Counter()
        octaves: set[tuple[str, int, int]] = set()
        linked: set[tuple[str, int, int]] = set()
        for one in islice(simulate(9, 60, 220, range(25, 30)), 1_000_000):
            facts, minute = one.facts, int(one.facts.end_ns / 60e9 - BEGIN_S / 60)
            is_kept = sampler.decide(facts).kept
            kept[minute] += is_kept
            failed[minute] += facts.failed
            kept_failed[minute] += is_kept and facts.failed
            octave = (facts.operation, minute, step_of(facts.latency_ns) >> 4)
            octaves.add(octave)
            if is_kept:
                linked.add(octave)
        assert sum(failed.values()) > 30_000
        wanted = sum(min(n, budget // 2) for n in failed.values())
        assert sum(min(n, budget // 2) for n in kept_failed.values()) >= 0.999 * wanted
        assert max(kept.values()) <= 1.05 * budget
        assert sum(kept.values()) == pytest.approx(budget * len(kept), rel=0.05)
        assert len(octaves - linked) <= 0.002 * len(octaves)


class TestStates:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 2**32), st.sets(st.integers(0, 600), max_size=5))
    def test_a_bridge_that_is_killed_decides_as_one_that_was_not(self, seed: int, kills: set[int]) -> None:
        requests = list(simulate(seed, 1.5, 7))
        whole = Sampler(40)
        expected = [whole.decide(one.facts) for one in requests]
        stored: dict[str, bytes] = {}
        sampler, found = Sampler(40), []
        for number, one in enumerate(requests):
            if number in kills:
                sampler = Sampler(40)
                sampler.restore(stored.items())
            found.append(sampler.decide(one.facts))
            stored.update(sampler.take_states())
        assert found == expected

    def test_beyond_the_limit_all_other_operations_are_one(self) -> None:
        sampler = Sampler(100)
        for number in range(3000):
            sampler.decide(made(number, BEGIN_S + number / 10, operation=f"op-{number}"))
        assert len(sampler.take_states()) == 1 + 501

    @settings(deadline=None)
    @given(st.floats(0, 1), st.sampled_from(REASONS), st.booleans())
    def test_a_decision_is_in_the_memory_of_its_trace(self, p: float, reason: str, kept: bool) -> None:
        decision = Decision(kept, p, reason)
        span = {"00000000000000ff": Earlier("", error=True)}
        memory = encode_memory(span) + encode_decision(decision) + encode_memory({}, ["00000000000000aa"])
        assert decode_decision(memory) == decision
        assert decode_memory(memory) == (span, {"00000000000000aa"})
        assert decode_decision(encode_memory(span)) is None


class TestParts:
    def test_bridges_of_different_rates_keep_the_same_traces_as_far_as_they_can(self) -> None:
        small, large = Sampler(60), Sampler(600)
        kept: dict[bool, set[str]] = {True: set(), False: set()}
        for one in simulate(7, 4, 60):
            for sampler in (small, large):
                decision = sampler.decide(one.facts)
                if decision.kept and decision.reason == "rate":
                    kept[sampler is small].add(one.facts.trace_id)
        assert len(kept[True] - kept[False]) < 0.2 * len(kept[True])  # which the other kept for a reason

    def test_what_was_sampled_before_is_drawn_by_the_same_number(self) -> None:
        dice = random.Random(8)
        sampler, kept, weight = Sampler(60), 0, 0.0
        for i in range(60_000):
            trace_id = f"{dice.getrandbits(128):032x}"
            if draw(trace_id, random_id=True) < 0.75 * 2**56:
                continue  # the producer kept a quarter
            decision = sampler.decide(made(0, BEGIN_S + i / 50)._replace(trace_id=trace_id, upstream=0.25))
            kept += decision.kept
            weight += decision.kept / decision.probability
        assert kept == pytest.approx(1200, rel=0.1)
        assert weight == pytest.approx(60_000, rel=0.15)

    @given(
        st.lists(st.tuples(st.floats(1e-3, 1e3), st.sampled_from([1.0, 4.0])), min_size=1, max_size=20),
        st.floats(0, 1e4),
    )
    def test_the_level_fills_the_room_or_has_room_for_all(
        self, strata: list[tuple[float, float]], room: float
    ) -> None:
        level = find_level(strata, room)
        filled = sum(min(rate, level * weight) for rate, weight in strata)
        assert filled == pytest.approx(min(room, sum(rate for rate, _ in strata)), rel=1e-6, abs=1e-9)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.integers(1, 10**13), min_size=100, max_size=150))
    def test_the_step_of_a_quantile_is_that_of_a_value_there(self, values: list[int]) -> None:
        steps = [step_of(value) for value in values]
        found = find_step(dict[int, float](Counter(steps)), 0.99, 100)
        assert sum(step > found for step in steps) <= len(steps) * 0.01 + 1e-9
        assert sum(step >= found for step in steps) > len(steps) * 0.01 - 1e-9


class TestBridge:
    """Through journal, pipeline and store."""

    REQUESTS = 600

    def works(self, budget: int = 20) -> Works:
        works, waiting = Works(Settings(traces_per_minute=budget)), []
        for i in range(self.REQUESTS):
            group = chat(i, 60 + i / 4, given=100 + i % 50, user=f"u{i % 3}", more=asks([f"q{i}"], f"a{i}"))
            if i % 100 == 7:
                group[1]["status"] = {"code": 2}
            waiting.append(group)
            if i % 10 == 9:
                works.write(traces(*waiting))
                waiting = []
        return works

    def test_charts_and_tables_are_of_all_and_calls_of_some(self) -> None:
        works = self.works()
        rows = works.finish()
        assert sum(row["latency/count"] for row in rows) == self.REQUESTS
        assert sum(row["tokens/input"] for row in rows) == sum(100 + i % 50 for i in range(self.REQUESTS))
        calls = works.calls()
        assert 40 < len(calls) / 2 < 80  # two and a half minutes
        failed = [call for call in calls if call["attributes"]["sampling"]["reason"] == "error"]
        assert len({call["trace_id"] for call in failed}) == 6
        kept = {call["trace_id"]: call["attributes"]["sampling"] for call in calls}
        assert sum(1 / told["probability"] for told in kept.values()) == pytest.approx(self.REQUESTS, rel=0.4)
        counts = {key: n for key, n in works.store.reader.counts().items() if key[0] == "spans" and n}
        assert counts == {
            ("spans", "received", ""): 2 * self.REQUESTS,
            ("spans", "delivered", ""): len(calls),
            ("spans", "sampled_out", ""): 2 * self.REQUESTS - len(calls),
        }
        table = rows_of(works)
        assert sum(row["weight"] for row in table) == pytest.approx(self.REQUESTS)
        assert {bool(row["trace"]) for row in table} == {True, False}
        assert all((row["trace_id"] in kept) == bool(row["trace"]) for row in table)
        assert all(row["answer"].startswith("a") for row in table)

    def test_a_killed_bridge_decides_the_same(self) -> None:
        whole, killed = Works(Settings(traces_per_minute=5)), Works(Settings(traces_per_minute=5))
        for i in range(300):
            for works in (whole, killed):
                works.write(traces(chat(i, 60 + i / 5, more=asks([f"q{i}"], f"a{i}"))))
            if i % 23 == 0:
                killed.kill()
        assert whole.finish() == killed.finish()
        assert whole.calls() == killed.calls()
        assert 6 <= len(whole.calls()) <= 40

    def test_what_comes_late_of_a_trace_shares_its_fate(self) -> None:
        works = Works(Settings(traces_per_minute=5))
        for i in range(200):
            works.write(traces(chat(i, 60 + i / 5)))
        works.write(traces(chat(900, 130)))
        works.kill()
        for i in range(200):
            late = span(5000 + i, "late", parent=2 * i + 1, trace=i + 1, end=61 + i / 5)
            works.write(traces([late]))
        works.finish()
        found: dict[str, set[str]] = {}
        for call in works.calls():
            found.setdefault(call["trace_id"], set()).add(call["op_name"])
        assert {len(names) for names in found.values()} <= {2, 3}
        assert sum("late" in names for names in found.values()) == len(found) - ("0" * 29 + "385" in found)

    def test_a_score_keeps_its_trace_and_one_that_comes_too_late_is_counted(self) -> None:
        works = Works(Settings(traces_per_minute=1))
        for i in range(60):
            works.write(traces(chat(i, 60 + i / 10)))
            if i % 10 == 5:
                works.write(result(2 * i + 2, 60 + i / 10, trace=i + 1))
        works.write(traces(chat(900, 130)))
        judged = {f"{i + 1:032x}" for i in range(5, 60, 10)}
        assert judged <= {call["trace_id"] for call in works.calls()}
        kept = {call["trace_id"] for call in works.calls()}
        left_out = next(i for i in range(60) if f"{i + 1:032x}" not in kept)
        works.write(result(2 * left_out + 2, 131, trace=left_out + 1))
        rows = works.finish()
        assert sum(row.get("metrics/gen_ai_evaluation_score_relevance_count", 0) for row in rows) == 7
        counts = works.store.reader.counts()
        assert counts["feedback", "sampled_out", ""] == 1
        assert counts["feedback", "received", ""] == 7

    def test_without_a_budget_nothing_is_decided_or_told(self) -> None:
        works = self.works(0)
        works.finish()
        assert len(works.calls()) == 2 * self.REQUESTS
        assert not any("sampling" in call["attributes"] for call in works.calls())
        assert works.states("sampling/") == []


def result(span_id: int, second: float, *, trace: int) -> dict[str, Any]:
    """A request with a log record that judges a span."""
    told = {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.5}
    record = {
        "timeUnixNano": at(second),
        "eventName": "gen_ai.evaluation.result",
        "attributes": attributes(told),
        "traceId": f"{trace:032x}",
        "spanId": f"{span_id:016x}",
    }
    scope = {"scope": {"name": "tests"}, "logRecords": [record]}
    return {"resourceLogs": [{"resource": resource("rag"), "scopeLogs": [scope]}]}
