"""Which traces are kept in Weave under a budget, so that sums over those that are kept stay right.

Charts and tables are made of every trace. This is only about what is stored as calls. Of a trace that is
finished, in this order:

* one of an evaluation, or that somebody judged, is kept;
* one with a failure is kept, up to half of the budget of a minute;
* one slower than 99 % of its operation so far, up to a seventh;
* the first of its operation in each octave of latency in a minute, and each new slowest, up to a seventh:
  they are what points of charts link to;
* any other is kept by chance. What is left of the budget goes to the strata of operation and outcome alike,
  as far as they have that many, so that rare ones are seen; an operation that begins to fail gets four times
  the share of one that does not.

Each decision depends on what came before and on the trace itself, and by chance on a hash of the trace id
that nothing else depends on. So each trace has a probability that was fixed before the draw, and a sum over
kept traces, each divided by its probability, estimates the sum over all without bias (Horvitz and Thompson
1952). A threshold on the hash is all that the chance is (as in OpenTelemetry's consistent probability
sampling), so what a bridge keeps at a low rate another one keeps at any higher rate.

The clock is that of the data: the same traces in the same order give the same decisions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

SECOND_NS: Final = 1_000_000_000
MINUTE_S: Final = 60
MAX_OPERATIONS: Final = 500
"""Operations that have strata of their own; all others are one."""

_OTHER: Final = ""
_ERROR_SHARE: Final = 1 / 2
_SLOW_SHARE: Final = 1 / 7
_EXEMPLAR_SHARE: Final = 1 / 7
_LEAST_SHARE: Final = 1 / 10
"""Of the budget, what is kept by chance whatever else was: with a probability of none no sum is right."""

_RATE_S: Final = 10.0
_NO_RATE: Final = 1e-6
_TROUBLE_S: Final = 30.0
_USUAL_S: Final = 900.0
_TROUBLE_TIMES: Final = 2.0
_TROUBLE_LEAST: Final = 0.02
_TROUBLE_WEIGHT: Final = 4.0
_MAX_EXEMPLARS: Final = 20
_SLOW_FROM: Final = 100
"""Traces of an operation before it is known which are slow."""

_SLOW_QUANTILE: Final = 0.99
_HALVE_S: Final = 600
_STEPS_BITS: Final = 4
_HASHES: Final = 1 << 56


REASONS: Final = ("evaluation", "feedback", "error", "slow", "exemplar", "rate")
"""Why traces are kept or left out; stored by their place here, so new ones go to the end."""


class TraceFacts(NamedTuple):
    """What decides on a trace. `forced` is why it is kept in any case, such as `evaluation`, else empty.

    `upstream` is the probability with which it was sampled before it came here.
    """

    trace_id: str
    operation: str
    failed: bool
    latency_ns: int
    end_ns: int
    forced: str = ""
    upstream: float = 1.0


class Decision(NamedTuple):
    """`probability` is that with which such a trace is kept, all in all; `reason` is one of `REASONS`."""

    kept: bool
    probability: float
    reason: str


class _Operation(msgspec.Struct, array_like=True):
    """What is known of an operation. Rates are traces a second: of those without a failure, and with one."""

    rates: list[float] = msgspec.field(default_factory=lambda: [0.0, 0.0])
    counts: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    """Of the second that lasts."""
    failing: float = 0.0
    """The part of late that failed."""
    usually: float = 0.0
    """The part that usually does."""
    latencies: dict[int, float] = msgspec.field(default_factory=dict)
    """How many there were, by step of latency; halved every ten minutes."""
    slow_step: int = -1
    """Above it a trace is slow; -1: that is not known yet."""
    halved_s: int = 0
    seen_s: int = 0
    """Up to when rates are known."""
    minute: int = 0
    octaves: set[int] = msgspec.field(default_factory=set)
    slowest: int = -1
    exemplars: int = 0


class _Clock(msgspec.Struct, array_like=True):
    """What is known of all together."""

    now_s: int = 0
    minute: int = 0
    kept: float = 0.0
    """In the minute, and what was too much in the minutes before."""
    forced: int = 0
    """Those of the second that lasts that were not kept by chance."""
    forced_rate: float = 0.0
    errors: int = 0
    slow: int = 0
    exemplars: int = 0
    level: float = 0.0
    """How many traces a second each stratum may have of those that are kept by chance."""


class Sampler:
    """Decides on traces under a budget of so many a minute. Not thread-safe; a few microseconds a trace."""

    def __init__(self, traces_per_minute: int) -> None:
        self.budget = traces_per_minute
        self._clock = _Clock()
        self._operations: dict[str, _Operation] = {}
        self._touched: set[str] = set()

    def decide(self, facts: TraceFacts) -> Decision:
        """Whether the trace is kept. One that comes out of order counts at the newest time so far."""
        self._advance(facts.end_ns // SECOND_NS)
        name = self._admit(facts.operation)
        operation = self._operations[name]
        self._touched.add(name)
        reason = self._force(facts, operation)
        # Of a burst there may have been more in this second than its rate of late.
        rate = max(operation.rates[facts.failed], operation.counts[facts.failed], 1 / _RATE_S)
        _learn(facts, operation)
        if reason:
            self._clock.kept += 1
            self._clock.forced += 1
            return Decision(True, facts.upstream, reason)
        probability = facts.upstream * min(1.0, self._clock.level * _weigh(operation) / rate)
        kept = draw(facts.trace_id, random_id=facts.upstream < 1) >= (1 - probability) * _HASHES
        self._clock.kept += kept
        return Decision(kept, probability, "rate")

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, of what has changed since the last call: names and states."""
        if not self._touched:
            return []
        touched, self._touched = sorted(self._touched), set()
        encode = msgspec.msgpack.encode
        states = [(f"operation/{_digest(name)}", encode((name, self._operations[name]))) for name in touched]
        return [("clock", encode(self._clock)), *states]

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what `take_states` gave. Raises `msgspec.DecodeError` for what is none."""
        for name, state in states:
            if name == "clock":
                self._clock = msgspec.msgpack.decode(state, type=_Clock)
            else:
                operation, known = msgspec.msgpack.decode(state, type=tuple[str, _Operation])
                self._operations[operation] = known

    def _admit(self, operation: str) -> str:
        if operation in self._operations:
            return operation
        if len(self._operations) >= MAX_OPERATIONS:
            operation = _OTHER
        if operation not in self._operations:
            self._operations[operation] = _Operation(seen_s=self._clock.now_s, halved_s=self._clock.now_s)
        return operation

    def _force(self, facts: TraceFacts, operation: _Operation) -> str:
        """Why the trace is kept without a draw, empty if it is not."""
        clock, budget = self._clock, self.budget
        if facts.forced:
            return facts.forced
        if facts.failed and clock.errors < budget * _ERROR_SHARE:
            clock.errors += 1
            return "error"
        step = step_of(facts.latency_ns)
        so_far = (clock.now_s % MINUTE_S + 1) / MINUTE_S
        is_slow = 0 <= operation.slow_step < step
        if is_slow and clock.slow < budget * _SLOW_SHARE * so_far + 1:
            clock.slow += 1
            return "slow"
        if self._is_exemplar(operation, step) and clock.exemplars < budget * _EXEMPLAR_SHARE:
            clock.exemplars += 1
            return "exemplar"
        return ""

    def _is_exemplar(self, operation: _Operation, step: int) -> bool:
        if operation.minute != self._clock.minute:
            operation.minute, operation.octaves = self._clock.minute, set()
            operation.slowest, operation.exemplars = -1, 0
        octave = step >> _STEPS_BITS
        new = octave not in operation.octaves or step > operation.slowest
        operation.octaves.add(octave)
        operation.slowest = max(operation.slowest, step)
        if not new or operation.exemplars >= _MAX_EXEMPLARS:
            return False
        operation.exemplars += 1
        return True

    def _advance(self, second: int) -> None:
        clock = self._clock
        if second <= clock.now_s:
            return
        passed_s = second - clock.now_s if clock.now_s else 1
        clock.now_s = second
        clock.forced_rate = _blend(clock.forced_rate, clock.forced, passed_s, _RATE_S)
        clock.forced = 0
        minute = second // MINUTE_S
        if minute != clock.minute:
            # What was too much in one minute is saved in the next ones.
            clock.kept = max(0.0, clock.kept - self.budget * (minute - clock.minute)) if clock.minute else 0.0
            clock.minute, clock.errors, clock.slow, clock.exemplars = minute, 0, 0, 0
        for name, operation in self._operations.items():
            if any(operation.counts) or any(rate > _NO_RATE for rate in operation.rates):
                _settle(operation, second)
                self._touched.add(name)
        self._plan()

    def _plan(self) -> None:
        """Share what is left of the budget over the strata."""
        clock, budget = self._clock, self.budget
        left_s = MINUTE_S - clock.now_s % MINUTE_S
        may_be_forced = budget * (_ERROR_SHARE + _SLOW_SHARE + _EXEMPLAR_SHARE)
        may_be_forced -= clock.errors + clock.slow + clock.exemplars
        left = budget - clock.kept - min(clock.forced_rate * left_s, max(0.0, may_be_forced))
        share = max(left / left_s, budget * _LEAST_SHARE / MINUTE_S)
        strata = [
            (max(rate, 1 / _RATE_S), _weigh(operation))
            for operation in self._operations.values()
            for rate in operation.rates
            if rate > _NO_RATE
        ]
        clock.level = find_level(strata, share) if strata else share


def draw(trace_id: str, *, random_id: bool = False) -> int:
    """A number of 56 bits that follows from the trace id alone.

    Ids need not be random, so it is a hash; but where they were drawn by before, it is what that was done by,
    the last 56 bits of the id (W3C Trace Context, level 2).
    """
    if random_id:
        return int(trace_id[-14:] or "0", 16)
    return int.from_bytes(hashlib.blake2b(trace_id.encode(), digest_size=7).digest(), "big")


def step_of(latency_ns: int) -> int:
    """The sixteenth of an octave that a latency falls into; the octave is the step by 16."""
    bits = max(latency_ns, 1).bit_length()
    if bits <= _STEPS_BITS:
        return bits << _STEPS_BITS
    return bits << _STEPS_BITS | (latency_ns >> (bits - _STEPS_BITS - 1)) & ((1 << _STEPS_BITS) - 1)


def find_step(counts: dict[int, float], quantile: float, least: float) -> int:
    """The step in which the quantile lies, -1 where there are fewer than `least` values."""
    total = sum(counts.values())
    if total < least:
        return -1
    above = total * (1 - quantile)
    for step in sorted(counts, reverse=True):
        above -= counts[step]
        if above < 0:
            return step
    return -1


def find_level(strata: Sequence[tuple[float, float]], room: float) -> float:
    """The level such that all strata, each cut at the level times its weight, have room together.

    A stratum is a rate and a weight. Infinite where all have room as they are.
    """
    ordered = sorted(strata, key=lambda stratum: stratum[0] / stratum[1])
    weights = sum(weight for _, weight in ordered)
    for rate, weight in ordered:
        if rate / weight * weights > room:
            return max(0.0, room) / weights
        room -= rate
        weights -= weight
    return math.inf


def _blend(rate: float, count: float, passed_s: int, over_s: float) -> float:
    """The rate when a second with so many ends, and then nothing came for the rest of the time."""
    first = math.exp(-1 / over_s)
    return (rate * first + count * (1 - first)) * math.exp(-(passed_s - 1) / over_s)


def _settle(operation: _Operation, second: int) -> None:
    """Count what came in a second that has ended."""
    passed_s = max(1, second - operation.seen_s)
    fine, failed = operation.counts
    if fine + failed:
        part = failed / (fine + failed)
        operation.failing += (part - operation.failing) * (1 - math.exp(-passed_s / _TROUBLE_S))
        operation.usually += (part - operation.usually) * (1 - math.exp(-passed_s / _USUAL_S))
    operation.rates = [
        _blend(rate, count, passed_s, _RATE_S)
        for rate, count in zip(operation.rates, operation.counts, strict=True)
    ]
    operation.counts, operation.seen_s = [0, 0], second
    if fine + failed:
        operation.slow_step = find_step(operation.latencies, _SLOW_QUANTILE, _SLOW_FROM)
    while second - operation.halved_s >= _HALVE_S and operation.latencies:
        operation.halved_s += _HALVE_S
        halves = {step: count / 2 for step, count in operation.latencies.items()}
        operation.latencies = {step: count for step, count in halves.items() if count >= 0.1}
    if not operation.latencies:
        operation.halved_s = second


def _learn(facts: TraceFacts, operation: _Operation) -> None:
    step = step_of(facts.latency_ns)
    operation.latencies[step] = operation.latencies.get(step, 0) + 1
    operation.counts[facts.failed] += 1


def _weigh(operation: _Operation) -> float:
    trouble = operation.failing > _TROUBLE_TIMES * operation.usually + _TROUBLE_LEAST
    return _TROUBLE_WEIGHT if trouble else 1.0


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).hexdigest()
