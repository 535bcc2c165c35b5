"""Redaction and sampling, in microseconds of CPU a span, on RAG traces: the goal is 12 for both together.

    python -m benchmarks.redaction [--traces N] [--rounds N]

Calls are shaped and encoded beforehand. Redaction is measured as it is by default and with what can be set;
sampling is the decision on the trace of a span, with its facts at hand. The last lines are about growth: the
same hostile text twice as long should take twice as long.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from benchmarks.rag_spans import batches
from otel_wandb.boundary import Boundaries, Boundary
from otel_wandb.config import Settings
from otel_wandb.records import Attributes
from otel_wandb.redaction import Redactor
from otel_wandb.traces.calls import shape_trace
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.sampling import Sampler, TraceFacts

_SPANS_A_TRACE: Final = 4
_ASKED: Final[Mapping[str, Mapping[str, object]]] = {
    "redaction by default": {},
    "and personal data": {"pii": "basic"},
    "and keys": {"pii": "basic", "redact_keys": "user.email,*.ssn"},
    "and a function": {"pii": "basic", "redact_keys": "user.email", "redact_with": "builtins:str"},
    "content as metadata": {"capture_content": "metadata"},
}
_HOSTILE: Final = ("4111 ", "DE89", "a@", "1:2:", 'cookie: a="', "QUJD" * 900 + " ", "password=hunter22 ")


class Measured(NamedTuple):
    """Medians and best times of rounds."""

    label: str
    times_us: Sequence[float]

    def __str__(self) -> str:
        median_us, best_us = statistics.median(self.times_us), min(self.times_us)
        return f"{self.label}: median {median_us:.2f}, best {best_us:.2f} us of CPU"


def boundary(asked: Mapping[str, object]) -> Boundary:
    """The boundary that these settings ask for."""
    told = msgspec.structs.replace(Settings(), **asked)
    return Boundaries(lambda _: told, Redactor()).of("")


def bodies_of(traces: int) -> list[bytes]:
    """The encoded calls of so many traces."""
    bodies = []
    for batch in batches(traces):
        placed = [Placed(span, batch.scope, batch.resource, "0" * 16) for span in batch.spans]
        for i in range(0, len(placed), _SPANS_A_TRACE):
            spans = tuple(placed[i : i + _SPANS_A_TRACE])
            trace = FinishedTrace(spans[0].span.trace_id, spans, "ended", complete=True)
            shaped = shape_trace(trace, project_of=lambda _: ("team", "rag"))
            bodies += [call.encode() for call in shaped.calls]
    return bodies


def measure(label: str, rounds: int, items: int, work: Callable[[], object]) -> Measured:
    """The time of `work` for one of its items, in each round."""
    times_us = []
    for _ in range(rounds):
        begin_s = time.thread_time()
        work()
        times_us.append((time.thread_time() - begin_s) * 1e6 / items)
    return Measured(label, times_us)


def measure_sampling(traces: int, rounds: int) -> Measured:
    """Decisions on traces at three times the budget, shared by the spans of each."""
    facts = [
        TraceFacts(
            f"{i * 0x9E3779B97F4A7C15 % 2**128:032x}",
            f"POST /{i % 20}",
            i % 50 == 0,
            10**7 * (i % 97 + 1),
            i * 10**7,
        )
        for i in range(traces)
    ]

    def decide() -> None:
        sampler = Sampler(2000)
        for one in facts:
            sampler.decide(one)

    return measure("sampling, a span", rounds, traces * _SPANS_A_TRACE, decide)


def measure_names(rounds: int) -> Measured:
    """The attributes of a point that were seen before."""
    names = boundary({})
    told: Attributes = {
        "http.request.method": "POST",
        "http.route": "/chat",
        "http.response.status_code": 200,
        "a": "b",
    }

    def clean() -> None:
        for _ in range(10_000):
            names.clean(told)

    return measure("attributes of a data point", rounds, 10_000, clean)


def measure_growth(rounds: int) -> None:
    """How much longer twice as much hostile text takes."""
    redactor = boundary({"pii": "basic"})
    for text in _HOSTILE:
        halves = [
            msgspec.json.encode({"id": "1", "a": text * (size // len(text))}) for size in (200_000, 400_000)
        ]
        half_us, whole_us = (
            min(measure("", rounds, 1, partial(redactor.redact_call, body)).times_us) for body in halves
        )
        print(f"growth of {text[:12]!r}: {whole_us / half_us:.2f} ({whole_us / 400:.2f} us a KB)")


def redact_all(bodies: Sequence[bytes], asked: Mapping[str, object]) -> Callable[[], None]:
    """What redacts them as it is asked for."""
    redact = boundary(asked).redact_call

    def work() -> None:
        for body in bodies:
            redact(body)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    bodies = bodies_of(args.traces)
    print(f"{len(bodies)} calls of {sum(map(len, bodies)) // len(bodies)} bytes, {args.rounds} rounds")
    for label, asked in _ASKED.items():
        print(measure(label, args.rounds, len(bodies), redact_all(bodies, asked)))
    print(measure_sampling(args.traces * 4, args.rounds))
    print(measure_names(args.rounds))
    measure_growth(3)


if __name__ == "__main__":
    main()
