"""Which trace stands behind a point of a chart: of those that are kept, the one whose latency is nearest to
it.

Of the requests of an interval a few hundred are remembered for that: of each operation the slowest, and one
in each sixteenth of an octave of latency, the one with the smallest hash. So what is chosen is at most some 4
% off where there is any request in that sixteenth, and does not depend on the order in which requests came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

MAX_OPERATIONS: Final = 32
"""Operations whose requests are told apart; those of all others only count for all together."""

_STEPS_BITS: Final = 4
_OTHER: Final = ""

IsKept: TypeAlias = Callable[[str], bool]
"""Whether the trace of that id is kept, so that a link to it resolves."""


def keep_all(trace_id: str) -> bool:
    """What `IsKept` is where no trace is sampled out."""
    return True


class Candidate(msgspec.Struct, array_like=True, gc=False):
    """A request that may stand behind a point. `order` is a hash of its ids."""

    operation: str
    latency_ns: int
    order: int
    trace_id: str
    span_id: str


class Nearest:
    """The requests of an interval. Not thread-safe."""

    def __init__(self) -> None:
        self._found: dict[str, dict[int, Candidate]] = {}
        self._slowest: dict[str, Candidate] = {}
        self._fresh: dict[tuple[str, int, int], Candidate] = {}

    def add(self, candidate: Candidate) -> None:
        """Remember the request, if it is the first of its kind, or goes before the one that is."""
        if self._place(candidate):
            key = (candidate.operation, candidate.latency_ns, candidate.order)
            self._fresh[key] = candidate

    def take_fresh(self) -> list[Candidate]:
        """What came since the last call, and is still remembered."""
        held = {id(candidate) for candidate in self._all()}
        fresh = [candidate for candidate in self._fresh.values() if id(candidate) in held]
        self._fresh = {}
        return fresh

    def restore(self, candidates: Iterable[Candidate]) -> None:
        """Take up what was stored, in the order of the storing."""
        for candidate in candidates:
            self._place(candidate)

    def choose(
        self, operation: str | None, latency_ns: float, is_kept: IsKept = keep_all
    ) -> Candidate | None:
        """The request of the operation (None: of any) whose latency is nearest; None if there is none."""
        return min(
            (one for one in self._of(operation) if is_kept(one.trace_id)),
            key=lambda one: (abs(one.latency_ns - latency_ns), one.order),
            default=None,
        )

    def _place(self, candidate: Candidate) -> bool:
        operation = candidate.operation
        if operation not in self._found and len(self._found) >= MAX_OPERATIONS:
            operation = candidate.operation = _OTHER
        found = self._found.setdefault(operation, {})
        bucket, placed = _bucket_of(candidate.latency_ns), False
        known = found.get(bucket)
        if known is None or candidate.order < known.order:
            found[bucket], placed = candidate, True
        slowest = self._slowest.get(operation)
        if slowest is None or (candidate.latency_ns, -candidate.order) > (slowest.latency_ns, -slowest.order):
            self._slowest[operation], placed = candidate, True
        return placed

    def _of(self, operation: str | None) -> Iterator[Candidate]:
        if operation is None:
            yield from self._all()
        elif operation in self._found:
            yield from self._found[operation].values()
            yield self._slowest[operation]

    def _all(self) -> Iterator[Candidate]:
        for found in self._found.values():
            yield from found.values()
        yield from self._slowest.values()


def _bucket_of(latency_ns: int) -> int:
    """The octave and the sixteenth of it, as one number."""
    bits = latency_ns.bit_length()
    if bits <= _STEPS_BITS:
        return latency_ns
    return bits << _STEPS_BITS | (latency_ns >> (bits - _STEPS_BITS - 1)) & ((1 << _STEPS_BITS) - 1)
