"""The first line of the bridge: finished traces in, converted ones out in the same order. No I/O.

Model calls that are told of in several traces count once, so what is known of them is here. Where a pool
converts beside this process, each trace is converted by itself; the few that may share a model call with
another one are converted once more here, together. So it makes no difference where it is done.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from otel_wandb.conversion import Conversion, Converted
from otel_wandb.traces.finished import FinishedTrace
from otel_wandb.traces.joins import Lookups, ModelCalls, find_contested
from otel_wandb.traces.request_texts import BodyOf

_TRACES_AT_ONCE: Final = 128  # the same wherever it is done: what is joined depends on it
_WORTH_SENDING: Final = 8

Counts: TypeAlias = Counter[tuple[str, str, str]]


class Apart(NamedTuple):
    """A trace that was converted by itself (None: it could not be), with all calls finished."""

    converted: Converted | None
    lookups: Lookups
    """What it would have to know of others."""
    counts: Counts
    """What was withheld of it beside its calls."""
    of_calls: dict[str, Counts]
    """What was withheld or left out of a call, by its span, where anything was."""


Reply: TypeAlias = Callable[[], Sequence[Apart] | None]
"""Waits for what was handed out; None where it has to be done here after all."""


class Pool(Protocol):
    """Converts traces beside this process."""

    def hand_out(self, traces: Sequence[FinishedTrace]) -> Reply | None:
        """Begin to convert; None where that cannot be. It returns at once."""
        ...


class ConversionLine:
    """The conversion of one directory. Not thread-safe."""

    def __init__(self, conversion: Conversion, pool: Pool | None = None) -> None:
        self._conversion = conversion
        self._pool = pool
        self._known = ModelCalls()
        self._waiting: deque[tuple[Sequence[FinishedTrace], Reply | None]] = deque()

    @property
    def counts(self) -> Counts:
        """What was withheld or left out of calls, since the caller last cleared it."""
        return self._conversion.counts

    @property
    def waiting_traces(self) -> int:
        """How many traces were taken in and not given out."""
        return sum(len(traces) for traces, _ in self._waiting)

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier bridge had stored; states of others are passed over."""
        self._known.restore(states)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, stored in the transaction of the calls."""
        return self._known.take_states()

    def add(self, traces: Sequence[FinishedTrace]) -> None:
        """Take in traces that are given out together."""
        for begin in range(0, len(traces), _TRACES_AT_ONCE):
            some = traces[begin : begin + _TRACES_AT_ONCE]
            reply = None
            if self._pool is not None and len(some) >= _WORTH_SENDING:
                reply = self._pool.hand_out(some)
            self._waiting.append((some, reply))

    def take(self) -> Iterator[tuple[FinishedTrace, Converted | None]]:
        """All that was taken in, in its order; None for one that could not be converted."""
        while self._waiting:
            traces, reply = self._waiting.popleft()
            apart = reply() if reply is not None else None
            if apart is None:
                converted = self._conversion.convert(traces, self._known)
            else:
                converted = self._bring_together(traces, apart)
            yield from zip(traces, converted, strict=True)

    def _bring_together(
        self, traces: Sequence[FinishedTrace], apart: Sequence[Apart]
    ) -> list[Converted | None]:
        contested = find_contested([one.lookups for one in apart], self._known)
        again = sorted(contested)
        for number, one in enumerate(apart):
            if number not in contested:
                self._accept(one)
        together = self._conversion.convert([traces[number] for number in again], self._known)
        converted = dict(zip(again, together, strict=True))
        return [converted.get(number, one.converted) for number, one in enumerate(apart)]

    def _accept(self, apart: Apart) -> None:
        self.counts.update(apart.counts)
        for call in apart.lookups.told:
            self._known.add(call)
        if apart.converted is not None and apart.of_calls:
            apart.converted.body_of = _count_when_asked(apart.converted.body_of, apart.of_calls, self.counts)


def _count_when_asked(body_of: BodyOf, of_calls: dict[str, Counts], counts: Counts) -> BodyOf:
    """The bodies, with what was withheld of a call counted when it is first asked for, as it is here."""

    def find(span_id: str) -> bytes | None:
        counts.update(of_calls.pop(span_id, {}))
        return body_of(span_id)

    return find
