"""Records to encoded calls beside Weave's own conversion of the same spans, in microseconds of CPU a span.

    python -m benchmarks.conversion [--traces N] [--rounds N] [--alone]

Rounds of the two take turns. Ours decodes the records afresh for each, so that nothing is measured twice on
the same strings; Weave's is `Span.from_proto` and `to_call` of the wheel that is pinned for it, in an
environment of its own (built once), from the same spans as OTLP protobuf that is parsed already. `--alone`
leaves it out.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from benchmarks.rag_spans import batches
from otel_wandb.records import Attributes, SpanBatch
from otel_wandb.redaction import Redactor
from otel_wandb.traces.calls import Call, shape_calls
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.joins import join_calls
from otel_wandb.traces.tree import Tree
from tests.peers.environments import python_of

_SPANS_A_TRACE = 4


def finished(batch: SpanBatch) -> list[FinishedTrace]:
    """What the assembly makes of a batch of whole traces."""
    placed = [Placed(span, batch.scope, batch.resource, "0" * 16) for span in batch.spans]
    return [
        FinishedTrace(placed[i].span.trace_id, tuple(placed[i : i + 4]), "ended", complete=True)
        for i in range(0, len(placed), _SPANS_A_TRACE)
    ]


def project_of(placed: Placed) -> tuple[str, str]:
    return ("team", "rag")


def convert(trace: FinishedTrace) -> list[Call]:
    """The calls of a trace: what Weave makes of it, too, without what charts and tables are told."""
    tree = Tree(trace, fold_asgi=True)
    join_calls(tree.nodes, project_of)
    calls, _ = shape_calls(tree, project_of=project_of)
    tree.release()
    return calls


class Ours:
    """Our conversion, with or without redaction, once for each call."""

    def __init__(self, traces: list[SpanBatch]) -> None:
        self.bytes_a_call = 0
        self._encoded = msgspec.msgpack.encode(traces)
        self._decode = msgspec.msgpack.Decoder(list[SpanBatch]).decode
        self._redactor = Redactor()

    def measure_us(self, *, redact: bool) -> float:
        traces = [trace for batch in self._decode(self._encoded) for trace in finished(batch)]
        begin = time.thread_time()
        bodies = [call.encode() for trace in traces for call in convert(trace)]
        if redact:
            bodies = [self._redactor.redact(body).body for body in bodies]
        elapsed_s = time.thread_time() - begin
        self.bytes_a_call = sum(map(len, bodies)) // len(bodies)
        return elapsed_s * 1e6 / len(bodies)


@contextlib.contextmanager
def weave_peer(traces: list[SpanBatch]) -> Iterator[tuple[str, Callable[[], float]]]:
    """The wheel's version, and what measures a round of its conversion."""
    script = Path(__file__).with_name("conversion_peer.py")
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(_otlp(traces))
        file.flush()
        command = (str(python_of("weave-conversion")), str(script), file.name)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            told, asked = process.stdout, process.stdin

            def measure_us() -> float:
                asked.write("\n")
                asked.flush()
                return float(told.readline())

            yield told.readline().strip(), measure_us
            asked.close()


def _otlp(traces: list[SpanBatch]) -> bytes:
    request = ExportTraceServiceRequest()
    for batch in traces:
        resource_spans = request.resource_spans.add()
        resource_spans.resource.attributes.extend(_pairs(batch.resource.attributes))
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.name, scope_spans.scope.version = batch.scope.name, batch.scope.version
        for span in batch.spans:
            scope_spans.spans.add(
                trace_id=bytes.fromhex(span.trace_id),
                span_id=bytes.fromhex(span.span_id),
                parent_span_id=bytes.fromhex(span.parent_id),
                name=span.name,
                kind=span.kind,
                start_time_unix_nano=span.start_ns,
                end_time_unix_nano=span.end_ns,
                attributes=_pairs(span.attributes),
                flags=span.flags,
            )
    return request.SerializeToString()


def _pairs(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
        case _:
            return AnyValue(string_value=str(value))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--alone", action="store_true")
    args = parser.parse_args()
    traces = batches(args.traces)
    ours = Ours(traces)
    measured: dict[str, list[float]] = {"conversion": [], "conversion and redaction": []}
    with weave_peer(traces) if not args.alone else contextlib.nullcontext(None) as peer:
        if peer:
            measured[f"weave {peer[0]}"] = []
        for _ in range(args.rounds):
            measured["conversion"].append(ours.measure_us(redact=False))
            measured["conversion and redaction"].append(ours.measure_us(redact=True))
            if peer:
                measured[f"weave {peer[0]}"].append(peer[1]())
    print(f"{args.traces * _SPANS_A_TRACE} spans, {ours.bytes_a_call} bytes a call, {args.rounds} rounds")
    whole_us = statistics.median(list(measured.values())[-1])
    for label, times_us in measured.items():
        median_us = statistics.median(times_us)
        share = f", {median_us / whole_us:.3f} of Weave's" if peer else ""
        print(f"{label}: median {median_us:.1f}, best {min(times_us):.1f} us of CPU a span{share}")


if __name__ == "__main__":
    main()
