"""The sixth line of the bridge: finished traces in, which of them are kept out. No I/O.

A trace is decided on once, when the first of it is given out; what comes of it later shares its fate, after a
restart too. While no budget is set, every trace is kept and nothing is remembered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from otel_wandb.config import Settings
from otel_wandb.conversion import Converted
from otel_wandb.traces.assembly import Assembly
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.sampling import Decision, Sampler, TraceFacts
from otel_wandb.traces.weights import read_probability

_log = logging.getLogger("otel_wandb.sampling")

_STATE: Final = "sampling/"
_EVALUATION: Final = "weave.eval"


class SamplingLine:
    """The sampling of one directory. Not thread-safe."""

    def __init__(self, *, assembly: Assembly, settings_of: Callable[[str], Settings]) -> None:
        self._assembly = assembly
        self._settings_of = settings_of
        self._samplers: dict[int, Sampler] = {}
        self._stored: dict[int, list[tuple[str, bytes]]] = {}

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier bridge had stored; states of others are passed over."""
        for name, state in states:
            if name.startswith(_STATE) and state:
                budget, _, rest = name.removeprefix(_STATE).partition("/")
                self._stored.setdefault(int(budget), []).append((rest, state))

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, stored in the transaction of the calls."""
        return [
            (f"{_STATE}{budget}/{name}", state)
            for budget, sampler in self._samplers.items()
            for name, state in sampler.take_states()
        ]

    def decide(
        self,
        trace: FinishedTrace,
        converted: Converted,
        placed: Mapping[str, Placed],
        *,
        newest_ns: int,
        judged: bool,
    ) -> Decision | None:
        """What becomes of the trace, or of this part of it; None: it is kept, as all are.

        `judged`: a score waits for it.
        """
        known = self._assembly.decision_of(trace.trace_id)
        if known is not None:
            return known
        budget = self._settings_of(trace.spans[0].config).traces_per_minute
        if not budget or trace.memory:  # of a trace that is partly stored the rest is kept
            return None
        facts = _read_facts(trace, converted, placed, newest_ns, judged=judged)
        decision = self._sampler(budget).decide(facts)
        self._assembly.note_decision(trace.trace_id, decision)
        return decision

    def is_kept(self, trace_id: str) -> bool:
        """Whether calls of the trace are stored, as far as that is remembered."""
        known = self._assembly.decision_of(trace_id)
        return known is None or known.kept

    def _sampler(self, budget: int) -> Sampler:
        sampler = self._samplers.get(budget)
        if sampler is None:
            sampler = self._samplers[budget] = Sampler(budget)
            try:
                sampler.restore(self._stored.pop(budget, []))
            except (msgspec.MsgspecError, ValueError) as error:
                _log.warning("The stored state of the sampler cannot be read (%s); it begins anew.", error)
                sampler = self._samplers[budget] = Sampler(budget)
        return sampler


def _is_evaluated(placed: Placed) -> bool:
    return any(name.startswith(_EVALUATION) for name in placed.span.attributes)


def _read_facts(
    trace: FinishedTrace,
    converted: Converted,
    placed: Mapping[str, Placed],
    newest_ns: int,
    *,
    judged: bool,
) -> TraceFacts:
    requests = converted.found.requests
    first = min(requests, key=lambda request: request.start_ns, default=None)
    if first is not None:
        operation, latency_ns, end_ns = first.operation, first.latency_ns, first.end_ns
    else:
        end_ns = max(one.span.end_ns for one in trace.spans)
        operation, latency_ns = "", end_ns - min(one.span.start_ns for one in trace.spans)
    forced = ""
    if any(_is_evaluated(placed[request.where]) for request in requests):
        forced = "evaluation"
    elif converted.scores or judged:
        forced = "feedback"
    return TraceFacts(
        trace.trace_id,
        operation,
        any(note.failed for note in converted.notes),
        latency_ns,
        min(end_ns, newest_ns),
        forced,
        read_probability(trace.spans[0].span),
    )
