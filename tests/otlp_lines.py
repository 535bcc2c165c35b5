"""OTLP/JSON requests for files, as the Collector writes them."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.services.rag import make_provider, make_trace


def make_request(traces: int = 1) -> dict[str, object]:
    """OTLP/JSON with hex ids of some RAG traces."""
    memory = InMemorySpanExporter()
    tracer = make_provider(memory, batch=False).get_tracer("t", "1")
    for _ in range(traces):
        make_trace(tracer)
    message = encode_spans(memory.get_finished_spans())
    request: dict[str, object] = MessageToDict(message)
    for number, span in enumerate(message.resource_spans[0].scope_spans[0].spans):
        shown = request["resourceSpans"][0]["scopeSpans"][0]["spans"][number]  # type: ignore[index]  # JSON
        shown["traceId"], shown["spanId"] = span.trace_id.hex(), span.span_id.hex()
        if span.parent_span_id:
            shown["parentSpanId"] = span.parent_span_id.hex()
    return request


def make_metrics(minute: int, service: str = "rag") -> dict[str, object]:
    """OTLP/JSON of one delta histogram of a minute."""
    start_ns = 1_795_564_800_000_000_000 + minute * 60_000_000_000
    point = {
        "attributes": [{"key": "http.route", "value": {"stringValue": "/chat"}}],
        "startTimeUnixNano": str(start_ns),
        "timeUnixNano": str(start_ns + 59_000_000_000),
        "count": "3",
        "sum": 0.6,
        "explicitBounds": [0.1, 0.5],
        "bucketCounts": ["1", "1", "1"],
        "min": 0.05,
        "max": 0.6,
    }
    metric = {
        "name": "http.server.request.duration",
        "unit": "s",
        "histogram": {"aggregationTemporality": 1, "dataPoints": [point]},
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}
