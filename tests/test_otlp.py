"""Frames of every kind and codec into records: decompression, MessagePack of our own, counting."""

from __future__ import annotations

import gzip
import importlib
import sys
import zlib

import msgspec
import pytest
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

from otel_wandb.errors import InputError
from otel_wandb.ingest.otlp import count_items, decode, decode_logs, decode_metrics, decode_traces
from otel_wandb.journal import Codec, Kind
from otel_wandb.records import (
    Event,
    LogBatch,
    LogRecord,
    Metric,
    MetricBatch,
    NumberPoint,
    Resource,
    Scope,
    Span,
    SpanBatch,
)
from tests.otlp_samples import SPAN_ID, START_NS, TRACE_ID, attributes, logs, metrics, span, to_json, traces

TRACE_HEX, SPAN_HEX = TRACE_ID.hex(), SPAN_ID.hex()

REQUEST = traces(span(attributes=attributes({"text": "words " * 200})), span(span_id=b""))
PROTOBUF = REQUEST.SerializeToString()


def raw_deflate(payload: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(payload) + stream.flush()


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        (Codec.PLAIN, PROTOBUF),
        (Codec.GZIP, gzip.compress(PROTOBUF)),
        (Codec.GZIP, gzip.compress(PROTOBUF[:50]) + gzip.compress(PROTOBUF[50:]) + bytes(7)),
        (Codec.DEFLATE, zlib.compress(PROTOBUF)),
        (Codec.DEFLATE, raw_deflate(PROTOBUF)),
    ],
)
def test_every_codec_gives_the_same_records(codec: Codec, payload: bytes) -> None:
    decoded = decode(Kind.OTLP_TRACES, codec, payload)
    assert decoded == decode_traces(PROTOBUF)
    assert (decoded.items, decoded.rejected) == (2, {"invalid_span_id": 1})
    assert count_items(Kind.OTLP_TRACES, codec, payload) == 2


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.DEFLATE])
def test_compressed_data_that_is_damaged_or_cut_off(codec: Codec) -> None:
    whole = gzip.compress(PROTOBUF) if codec is Codec.GZIP else zlib.compress(PROTOBUF)
    for payload in (b"", whole[:-1], whole[: len(whole) // 2], b"no such data"):
        with pytest.raises(InputError, match=f"expected {codec.name.lower()} data"):
            decode(Kind.OTLP_TRACES, codec, payload)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_what_grows_beyond_the_limit_is_refused(pack: object) -> None:
    assert callable(pack)
    codec = Codec.GZIP if pack is gzip.compress else Codec.DEFLATE
    packed = pack(bytes(1 << 20))
    with pytest.raises(InputError, match="at most 1048575 bytes after decompression"):
        decode(Kind.OTLP_TRACES, codec, packed, max_bytes=(1 << 20) - 1)
    assert decode(Kind.OTLP_TRACES, codec, pack(PROTOBUF), max_bytes=len(PROTOBUF)).items == 2


def test_members_of_a_gzip_file_share_the_limit() -> None:
    twice = gzip.compress(bytes(600)) * 2
    with pytest.raises(InputError, match="at most 1000 bytes"):
        decode(Kind.OTLP_TRACES, Codec.GZIP, twice, max_bytes=1000)


def test_zstd_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match="pip install zstandard"):
        decode(Kind.OTLP_TRACES, Codec.ZSTD, b"\x28\xb5\x2f\xfd")


def test_zstd_with_its_package() -> None:
    pytest.importorskip("zstandard")
    zstandard = importlib.import_module("zstandard")
    pack = zstandard.ZstdCompressor().compress
    frames = pack(PROTOBUF[:50]) + pack(PROTOBUF[50:])
    assert decode(Kind.OTLP_TRACES, Codec.ZSTD, frames) == decode_traces(PROTOBUF)
    for payload in (frames[:-1], b"no such data"):
        with pytest.raises(InputError, match="expected zstd data"):
            decode(Kind.OTLP_TRACES, Codec.ZSTD, payload)
    with pytest.raises(InputError, match="at most 1048576 bytes"):
        decode(Kind.OTLP_TRACES, Codec.ZSTD, pack(bytes(64 << 20)), max_bytes=1 << 20)


def test_all_kinds_are_dispatched() -> None:
    log_request = logs(logs_pb2.LogRecord(time_unix_nano=START_NS), logs_pb2.LogRecord())
    gauge = metrics_pb2.Gauge(data_points=[metrics_pb2.NumberDataPoint(as_int=1)] * 3)
    metric_request = metrics(metrics_pb2.Metric(name="m", gauge=gauge))
    for request, kinds, read, items in (
        (REQUEST, (Kind.OTLP_TRACES, Kind.OTLP_TRACES_JSON), decode_traces, 2),
        (log_request, (Kind.OTLP_LOGS, Kind.OTLP_LOGS_JSON), decode_logs, 2),
        (metric_request, (Kind.OTLP_METRICS, Kind.OTLP_METRICS_JSON), decode_metrics, 3),
    ):
        expected = read(request.SerializeToString())
        assert expected.items == items
        for kind, payload in zip(kinds, (request.SerializeToString(), to_json(request)), strict=True):
            assert decode(kind, Codec.PLAIN, payload) == expected
            assert count_items(kind, Codec.PLAIN, payload) == items
    for call in (decode, count_items):
        with pytest.raises(InputError, match="not FLUSH"):
            call(Kind.FLUSH, Codec.PLAIN, bytes(16))


def packed_span(**members: object) -> Span:
    good = Span(TRACE_HEX, SPAN_HEX, "", "chat", 1, START_NS, START_NS + 1)
    return msgspec.structs.replace(good, **members)


def pack(*spans: Span) -> bytes:
    return msgspec.msgpack.encode([SpanBatch(Resource({"service.name": "s"}), Scope("x"), list(spans))])


def test_the_front_s_own_records_come_back_as_they_were() -> None:
    sent = packed_span(parent_id="00f067aa0ba902b7", attributes={"a": [1, 2.5, None, b"x", {"b": True}]})
    decoded = decode(Kind.SPANS, Codec.PLAIN, pack(sent))
    assert decoded.batches == [SpanBatch(Resource({"service.name": "s"}), Scope("x"), [sent])]
    assert (decoded.items, decoded.rejected) == (1, {})


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"trace_id": ""}, "invalid_trace_id"),
        ({"trace_id": "0" * 32}, "invalid_trace_id"),
        ({"span_id": "0" * 16}, "invalid_span_id"),
        ({"span_id": "xyz"}, "invalid_span_id"),
        ({"start_ns": -1}, "invalid_time"),
        ({"end_ns": 2**63}, "invalid_time"),
        ({"events": [Event(-5, "e")]}, "invalid_time"),
    ],
)
def test_a_bad_span_of_the_front_is_counted_and_the_rest_kept(wrong: dict[str, object], reason: str) -> None:
    payload = pack(packed_span(), packed_span(**wrong))
    decoded = decode(Kind.SPANS, Codec.PLAIN, payload)
    assert (decoded.items, decoded.rejected) == (2, {reason: 1})
    assert decode(Kind.SPANS, Codec.PLAIN, pack(packed_span(**wrong))).batches == []
    assert count_items(Kind.SPANS, Codec.PLAIN, payload) == 2


def test_ids_of_the_front_are_normalised() -> None:
    sent = packed_span(trace_id=TRACE_HEX.upper(), parent_id="no id")
    (batch,) = decode(Kind.SPANS, Codec.PLAIN, pack(sent)).batches
    assert batch == SpanBatch(Resource({"service.name": "s"}), Scope("x"), [packed_span()])


def test_logs_and_metrics_of_the_front() -> None:
    records = [LogRecord(START_NS, trace_id="?", span_id=SPAN_HEX), LogRecord(-1)]
    decoded = decode(Kind.LOGS, Codec.PLAIN, msgspec.msgpack.encode([LogBatch(Resource(), Scope(), records)]))
    assert decoded.batches == [LogBatch(Resource(), Scope(), [LogRecord(START_NS, span_id=SPAN_HEX)])]
    assert (decoded.items, decoded.rejected) == (2, {"invalid_time": 1})
    good, bad = NumberPoint(0, START_NS, {}, 1), NumberPoint(0, -1, {}, 1)
    metric_batch = MetricBatch(Resource(), Scope(), [Metric("m", "gauge", [good, bad])])
    payload = msgspec.msgpack.encode([metric_batch])
    measured = decode(Kind.METRICS, Codec.PLAIN, payload)
    assert measured.batches == [MetricBatch(Resource(), Scope(), [Metric("m", "gauge", [good])])]
    assert (measured.items, measured.rejected) == (2, {"invalid_time": 1})
    assert count_items(Kind.METRICS, Codec.PLAIN, payload) == 2


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x90\x90", b"\x91\x01", pack(packed_span())[:-1]])
def test_what_is_no_messagepack_of_records_is_an_error(payload: bytes) -> None:
    with pytest.raises(InputError, match="expected records in MessagePack"):
        decode(Kind.SPANS, Codec.PLAIN, payload)


def test_messagepack_nested_without_end_is_an_error_not_a_crash() -> None:
    start, end = pack(packed_span(attributes={"k": "HERE"})).split(b"\xa4HERE")
    with pytest.raises(InputError):
        decode(Kind.SPANS, Codec.PLAIN, start + b"\x91" * 100_000 + b"\xc0" + end)
