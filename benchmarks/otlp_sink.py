"""A small OTLP/HTTP receiver: takes everything, counts the spans, keeps nothing.

`python -m benchmarks.otlp_sink` prints `READY PORT`; `GET /count` tells how many spans came.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from otel_wandb.ingest.otlp import count_items
from otel_wandb.journal import Codec, Kind


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    spans = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            codec = Codec.GZIP if self.headers.get("content-encoding") == "gzip" else Codec.PLAIN
            Receiver.spans += count_items(Kind.OTLP_TRACES, codec, body)
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(str(Receiver.spans).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is that of the base
        """Nothing is logged."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    print(f"READY {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
