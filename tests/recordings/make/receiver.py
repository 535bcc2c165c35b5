"""An OTLP/HTTP receiver that keeps requests as OTLP/JSON, as the Collector's file exporter writes them."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Json = dict[str, Any]

_REQUESTS: Final[dict[str, type[Message]]] = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}
_IDS: Final = ("traceId", "spanId", "parentSpanId")


class Receiver:
    """Listens on a loopback port of its own; `requests` are in the order in which they came."""

    def __init__(self) -> None:
        self.requests: dict[str, list[Json]] = {signal: [] for signal in _REQUESTS}
        self.unknown: list[str] = []
        handler = type("Handler", (_Handler,), {"house": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    house: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._read()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        # Langfuse, MLflow and others put paths of their own before the standard end.
        signal = next((name for name in _REQUESTS if self.path.rstrip("/").endswith(f"/v1/{name}")), "")
        if not signal:
            self.house.unknown.append(self.path)
        elif "json" in self.headers.get("Content-Type", ""):
            self.house.requests[signal].append(json.loads(body))
        else:
            self.house.requests[signal].append(_decode(_REQUESTS[signal], body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.house.unknown.append(self.path)
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, *arguments: object) -> None:
        """Nothing: what came is kept."""


def _decode(kind: type[Message], body: bytes) -> Json:
    message = kind()
    message.ParseFromString(body)
    shown: Json = MessageToDict(message, use_integers_for_enums=True)
    _show_ids(shown)
    return shown


def _show_ids(value: Any) -> None:
    """Ids in hex, as OTLP/JSON has them, where protobuf's own JSON has base64."""
    if isinstance(value, list):
        for item in value:
            _show_ids(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in _IDS and isinstance(item, str):
                value[name] = base64.b64decode(item).hex()
            else:
                _show_ids(item)
