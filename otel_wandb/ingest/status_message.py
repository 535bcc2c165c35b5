"""Bodies of answers: the export responses of OTLP, and `google.rpc.Status`, in protobuf and JSON.

`google.rpc.Status` and the two messages that go into it are written by hand: four fields do not earn a
dependency (googleapis, google/rpc/status.proto and error_details.proto).
"""

from __future__ import annotations

from typing import Final

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_wandb.ingest.server import Code, Receipt
from otel_wandb.journal import Signal

_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_JSON_NAMES: Final[dict[Signal, str]] = {
    "spans": "rejectedSpans",
    "log_records": "rejectedLogRecords",
    "metric_points": "rejectedDataPoints",
}


def write_response(receipt: Receipt, signal: Signal, *, json: bool) -> bytes:
    """The export response: empty where all was taken, else with what was rejected and why."""
    if not receipt.rejected:
        return b"{}" if json else b""
    if json:
        partial = {_JSON_NAMES[signal]: str(receipt.rejected), "errorMessage": receipt.message}
        return msgspec.json.encode({"partialSuccess": partial})
    n, why = receipt.rejected, receipt.message
    match signal:
        case "spans":
            traces = ExportTracePartialSuccess(rejected_spans=n, error_message=why)
            return ExportTraceServiceResponse(partial_success=traces).SerializeToString()
        case "log_records":
            logs = ExportLogsPartialSuccess(rejected_log_records=n, error_message=why)
            return ExportLogsServiceResponse(partial_success=logs).SerializeToString()
        case "metric_points":
            metrics = ExportMetricsPartialSuccess(rejected_data_points=n, error_message=why)
            return ExportMetricsServiceResponse(partial_success=metrics).SerializeToString()


def write_status(receipt: Receipt, *, json: bool) -> bytes:
    """`google.rpc.Status` with the code, the reason, and when to come again."""
    return _write_json(receipt) if json else _write_protobuf(receipt)


def _write_json(receipt: Receipt) -> bytes:
    status: dict[str, object] = {"code": int(receipt.code), "message": receipt.message}
    if receipt.retry_after_s:
        status["details"] = [{"@type": _RETRY_INFO, "retryDelay": f"{receipt.retry_after_s}s"}]
    elif receipt.code is Code.INVALID_ARGUMENT:
        violation = {"field": "body", "description": receipt.message}
        status["details"] = [{"@type": _BAD_REQUEST, "fieldViolations": [violation]}]
    return msgspec.json.encode(status)


def _write_protobuf(receipt: Receipt) -> bytes:
    status = _varint(1, receipt.code) + _text(2, receipt.message)
    if receipt.retry_after_s:
        status += _detail(_RETRY_INFO, _bytes(1, _varint(1, receipt.retry_after_s)))
    elif receipt.code is Code.INVALID_ARGUMENT:
        status += _detail(_BAD_REQUEST, _bytes(1, _text(1, "body") + _text(2, receipt.message)))
    return status


def _detail(type_url: str, message: bytes) -> bytes:
    return _bytes(3, _text(1, type_url) + _bytes(2, message))


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode("utf-8", "replace"))


def _bytes(number: int, value: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(value)) + value


def _varint(number: int, value: int) -> bytes:
    return _number(number << 3) + _number(value)


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
