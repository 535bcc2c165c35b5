"""Clients that others wrote, the server, and the servers of W&B: all data there, once."""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter

from tests.deadlines import wait_for
from tests.otlp_samples import traces
from tests.peers.otlp import collectors, javascript
from tests.peers.wandb import WandbPeer
from tests.peers.weave import WeavePeer
from tests.services.rag import make_provider, make_trace
from tests.serving import PROTOBUF, Server, bridge_of, numbered, requests_of

TRACES = 5
SPANS = 4 * TRACES
QUICK = {
    "OTEL_WANDB_LINGER_S": "0",
    "OTEL_WANDB_INTERVAL_S": "1",
    "OTEL_WANDB_LATENESS_S": "0",
    "OTEL_WANDB_DRAIN_TIMEOUT_S": "0",
}

needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js and npm")
needs_linux = pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info >= (3, 14), reason="there are no binaries for this system"
)


@pytest.fixture
def server(all_online: WeavePeer, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data", environ=QUICK, deliver=True) as server:
        yield server


def arrived_once(peer: WeavePeer, spans: int) -> None:
    """Wait until so many calls were taken, and see that none was taken twice."""
    wait_for(lambda: len(peer.accepted()) >= spans, 60)
    calls = Counter(call.id for call in peer.accepted())
    assert len(calls) == spans
    assert set(calls.values()) == {1}


SPAN_EXPORTERS: dict[str, Callable[[Server], SpanExporter]] = {
    "grpc": lambda server: GrpcSpans(f"http://{server.grpc}", insecure=True),
    "http": lambda server: HttpSpans(f"http://{server.http}/v1/traces"),
    "http gzip": lambda server: HttpSpans(f"http://{server.http}/v1/traces", compression=Compression.Gzip),
    "http deflate": lambda server: HttpSpans(
        f"http://{server.http}/v1/traces", compression=Compression.Deflate
    ),
}
METRIC_EXPORTERS: dict[str, Callable[[Server], MetricExporter]] = {
    "grpc": lambda server: GrpcMetrics(f"http://{server.grpc}", insecure=True),
    "http": lambda server: HttpMetrics(f"http://{server.http}/v1/metrics"),
}


@pytest.mark.parametrize("by", SPAN_EXPORTERS)
def test_spans_of_the_official_exporter_are_calls_in_weave(
    server: Server, all_online: WeavePeer, by: str
) -> None:
    provider = make_provider(SPAN_EXPORTERS[by](server))
    trace_ids = {make_trace(provider.get_tracer("peer")) for _ in range(TRACES)}
    provider.shutdown()
    arrived_once(all_online, SPANS)
    with all_online.client("team/rag") as client:
        assert {str(call.trace_id) for call in client.get_calls()} == trace_ids
    wait_for(lambda: server.line().delivered == SPANS)
    assert server.imbalance() == {}


@contextlib.contextmanager
def closing_exporter(exporter: MetricExporter) -> Iterator[MetricExporter]:
    yield exporter
    exporter.shutdown()


@pytest.mark.slow
def test_metrics_of_the_official_exporters_are_rows_in_w_and_b(server: Server, wandb_peer: WandbPeer) -> None:
    for by, exporter in METRIC_EXPORTERS.items():
        reader = InMemoryMetricReader()  # a periodic one would begin anew in whatever a later test forks
        provider = MeterProvider([reader], resource=Resource({"service.name": by}))
        duration = provider.get_meter("peer").create_histogram("http.server.request.duration", "s")
        for n in range(7):
            duration.record(0.1 * (n + 1), {"http.request.method": "GET", "http.route": "/ask"})
        data = reader.get_metrics_data()
        assert data is not None
        with closing_exporter(exporter(server)) as sending:
            assert sending.export(data) is MetricExportResult.SUCCESS

    def measured() -> Counter[str]:
        counts: Counter[str] = Counter()
        for run, told in wandb_peer.runs().items():
            for row in wandb_peer.history(run):
                counts[told["group"]] += int(row.get("latency/count", 0))
        return counts

    wait_for(lambda: sum(measured().values()) >= 14, 90)
    assert measured() == dict.fromkeys(METRIC_EXPORTERS, 7)
    assert server.imbalance() == {}


def test_answers_that_are_lost_and_sent_again_are_one(server: Server, all_online: WeavePeer) -> None:
    """As a Collector does it that was killed: the same request, twice."""
    body = requests_of(6).SerializeToString()
    with server.client() as client:
        for _ in range(3):
            client.post("/v1/traces", content=body, headers={"content-type": PROTOBUF}).raise_for_status()
    wait_for(lambda: server.line().received == 18)
    arrived_once(all_online, 6)
    assert server.line().dropped == {"duplicate": 12}


@needs_node
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["proto", "json", "grpc"])
def test_javascript(server: Server, all_online: WeavePeer, protocol: str, compression: str) -> None:
    address = server.grpc if protocol == "grpc" else server.http
    options = ("--protocol", protocol, "--endpoint", f"http://{address}", "--compression", compression)
    sent = javascript.send(*options)
    arrived_once(all_online, sent["spans"])
    wait_for(lambda: server.line("metric_points").received == 5)
    wait_for(lambda: server.line("metric_points").waiting == 0, 60)
    assert server.line("metric_points").delivered == 5
    assert server.imbalance() == {}


@needs_linux
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_in_between(server: Server, all_online: WeavePeer, tmp_path: Path, protocol: str) -> None:
    out = f"http://{server.grpc if protocol == 'grpc' else server.http}"
    with collectors.rotel(out, protocol, tmp_path) as (_, http):
        provider = make_provider(HttpSpans(f"http://{http}/v1/traces"))
        for _ in range(TRACES):
            make_trace(provider.get_tracer("peer"))
        provider.shutdown()
        arrived_once(all_online, SPANS)
    assert server.imbalance() == {}


@needs_linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_collector_keeps_what_a_full_journal_refuses(all_online: WeavePeer, tmp_path: Path) -> None:
    """Back pressure end to end: journal, 503, the queue of the Collector, and nothing lost or doubled."""
    file = tmp_path / "otel-wandb.yaml"
    file.write_text("journal_limit_bytes: 2097152\nsegment_bytes: 262144\n")
    with (
        Server(tmp_path / "data", "--config", str(file), environ=QUICK, deliver=True) as server,
        collectors.rotel(f"http://{server.http}", "http", tmp_path) as (_, http),
    ):
        bridge = bridge_of(server.data_dir)
        bridge.suspend()
        with httpx.Client(trust_env=False) as client:
            for n in range(1, 101):
                text = random.Random(n).randbytes(40_000).hex()  # the collector compresses
                body = traces(numbered(n, name=text)).SerializeToString()
                headers = {"content-type": PROTOBUF}
                client.post(f"http://{http}/v1/traces", content=body, headers=headers).raise_for_status()
        with server.client() as client:
            wait_for(lambda: client.get("/readyz").status_code == 503)
        bridge.resume()
        arrived_once(all_online, 100)
        assert server.line().received == 100
        assert server.imbalance() == {}


@needs_linux
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("compression", "encoding"), [("gzip", "proto"), ("zstd", "proto"), ("none", "json")]
)
def test_the_exporter_of_the_official_collector(
    server: Server, tmp_path: Path, compression: str, encoding: str
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"line {n}\n" for n in range(500)))
    out = f"http://{server.http}"
    with collectors.otelcol(out, lines, tmp_path, compression=compression, encoding=encoding):
        wait_for(lambda: server.line("log_records").received >= 500, 60)
    assert server.line("log_records").received == 500
    wait_for(lambda: server.imbalance() == {})
