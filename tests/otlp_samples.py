"""OTLP requests to decode, and their JSON as OTLP has it: protobuf's own mapping, but ids in hex."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

Request = ExportTraceServiceRequest | ExportLogsServiceRequest | ExportMetricsServiceRequest

TRACE_ID = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
SPAN_ID = bytes.fromhex("b7ad6b7169203331")
PARENT_ID = bytes.fromhex("00f067aa0ba902b7")
START_NS = 1_780_000_000_123_456_789

_ID_NAMES = ("traceId", "spanId", "parentSpanId")


def any_value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=attributes(value)))
    return AnyValue()


def attributes(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def span(**fields: Any) -> Span:
    """A good span, but for what is said."""
    good: dict[str, Any] = {
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "name": "chat",
        "kind": Span.SPAN_KIND_CLIENT,
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + 5_000_000,
    }
    return Span(**(good | fields))


def traces(*spans: Span) -> ExportTraceServiceRequest:
    scoped = ScopeSpans(scope=InstrumentationScope(name="openai", version="1.2"), spans=spans)
    resource = Resource(attributes=attributes({"service.name": "rag"}))
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scoped])])


def logs(*records: LogRecord) -> ExportLogsServiceRequest:
    scoped = ScopeLogs(scope=InstrumentationScope(name="openai"), log_records=records)
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[scoped])])


def metrics(*instruments: Metric) -> ExportMetricsServiceRequest:
    scoped = ScopeMetrics(scope=InstrumentationScope(name="meter"), metrics=instruments)
    return ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(scope_metrics=[scoped])])


def to_document(request: Message) -> dict[str, Any]:
    document: dict[str, Any] = MessageToDict(request)
    _turn_ids_to_hex(document)
    return document


def to_json(request: Message) -> bytes:
    return json.dumps(to_document(request)).encode()


def _turn_ids_to_hex(node: object) -> None:
    if isinstance(node, dict):
        for name in _ID_NAMES:
            if name in node:
                node[name] = base64.b64decode(node[name]).hex()
        for member in node.values():
            _turn_ids_to_hex(member)
    elif isinstance(node, list):
        for item in node:
            _turn_ids_to_hex(item)
