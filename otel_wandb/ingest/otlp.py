"""OTLP in all its encodings, and what the SDK's front wrote to the journal, into records.

Pure: bytes in, batches out. What cannot be read as a whole raises `InputError`; a span with bad ids is left
out and counted, and the rest of its request kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeVar

from otel_wandb.errors import InputError
from otel_wandb.ingest import otlp_json, otlp_proto, packed
from otel_wandb.ingest.compression import MAX_REQUEST_BYTES, decompress
from otel_wandb.ingest.decoded import Decoded
from otel_wandb.ingest.json_text import count_by_signal
from otel_wandb.journal import Codec, Kind
from otel_wandb.records import LogBatch, MetricBatch, SpanBatch

__all__ = [
    "AnyDecoded",
    "Decoded",
    "count_items",
    "decode",
    "decode_logs",
    "decode_metrics",
    "decode_traces",
]

_Reader = TypeVar("_Reader")

AnyDecoded: TypeAlias = Decoded[SpanBatch] | Decoded[LogBatch] | Decoded[MetricBatch]


def decode_traces(payload: bytes, *, json: bool = False) -> Decoded[SpanBatch]:
    """The spans of an `ExportTraceServiceRequest`; raises `InputError` where the payload is none."""
    return otlp_json.read_traces(payload) if json else otlp_proto.read_traces(payload)


def decode_logs(payload: bytes, *, json: bool = False) -> Decoded[LogBatch]:
    """The log records of an `ExportLogsServiceRequest`; raises `InputError` where the payload is none."""
    return otlp_json.read_logs(payload) if json else otlp_proto.read_logs(payload)


def decode_metrics(payload: bytes, *, json: bool = False) -> Decoded[MetricBatch]:
    """The metrics of an `ExportMetricsServiceRequest`; raises `InputError` where the payload is none."""
    return otlp_json.read_metrics(payload) if json else otlp_proto.read_metrics(payload)


def decode(kind: Kind, codec: Codec, payload: bytes, *, max_bytes: int = MAX_REQUEST_BYTES) -> AnyDecoded:
    """What a journal frame of this kind and codec holds.

    Raises `InputError` where it cannot be read, and where it is larger than `max_bytes` once decompressed.
    """
    return _of(kind, _DECODERS)(decompress(codec, payload, max_bytes=max_bytes))


def count_items(kind: Kind, codec: Codec, payload: bytes, *, max_bytes: int = MAX_REQUEST_BYTES) -> int:
    """How many spans, log records or data points the payload holds, good or bad, at the price of a parse.

    Raises `InputError` where it cannot be read; so what was counted can be decoded later.
    """
    return _of(kind, _COUNTERS)(decompress(codec, payload, max_bytes=max_bytes))


def _of(kind: Kind, readers: Mapping[Kind, _Reader]) -> _Reader:
    try:
        return readers[kind]
    except KeyError:
        raise InputError(f"expected a payload of telemetry, not {kind.name}") from None


_DECODERS: Final[dict[Kind, Callable[[bytes], AnyDecoded]]] = {
    Kind.SPANS: packed.read_spans,
    Kind.LOGS: packed.read_logs,
    Kind.METRICS: packed.read_metrics,
    Kind.OTLP_TRACES: otlp_proto.read_traces,
    Kind.OTLP_LOGS: otlp_proto.read_logs,
    Kind.OTLP_METRICS: otlp_proto.read_metrics,
    Kind.OTLP_TRACES_JSON: otlp_json.read_traces,
    Kind.OTLP_LOGS_JSON: otlp_json.read_logs,
    Kind.OTLP_METRICS_JSON: otlp_json.read_metrics,
}

_COUNTERS: Final[dict[Kind, Callable[[bytes], int]]] = {
    Kind.SPANS: packed.count_spans,
    Kind.LOGS: packed.count_log_records,
    Kind.METRICS: packed.count_points,
    Kind.OTLP_TRACES: otlp_proto.count_spans,
    Kind.OTLP_LOGS: otlp_proto.count_log_records,
    Kind.OTLP_METRICS: otlp_proto.count_points,
    Kind.OTLP_TRACES_JSON: lambda payload: count_by_signal(payload).get("spans", 0),
    Kind.OTLP_LOGS_JSON: lambda payload: count_by_signal(payload).get("log_records", 0),
    Kind.OTLP_METRICS_JSON: lambda payload: count_by_signal(payload).get("metric_points", 0),
}
