"""A webhook on loopback that answers as it is told, and keeps what it was sent."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Posted:
    """A request, and what it was answered with."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    answer: str


@dataclass
class WebhookPeer:
    """Answers the next requests as `answers` say, and 200 afterwards.

    A status (`503`, or `429 2` with a `Retry-After`), `reset` (nothing was taken), `taken` (it was, and the
    answer is lost), `hang`, or `drip`: an answer whose header never ends.
    """

    answers: list[str] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)

    def __enter__(self) -> Self:
        peer = self
        self.leaving = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = peer.answers.pop(0) if peer.answers else "200"
                peer.posted.append(Posted(self.path, dict(self.headers), body, answer))
                peer._ways.get(answer, peer._answer)(self, answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base class has it
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leaving.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def taken(self) -> list[Posted]:
        """What it has taken, repeats included."""
        return [posted for posted in self.posted if posted.answer in ("200", "taken")]

    @property
    def _ways(self) -> dict[str, Callable[[BaseHTTPRequestHandler, str], None]]:
        return {"reset": self._reset, "taken": self._reset, "hang": self._hang, "drip": self._drip}

    def _answer(self, request: BaseHTTPRequestHandler, answer: str) -> None:
        status, _, retry_after = answer.partition(" ")
        request.send_response(int(status))
        if retry_after:
            request.send_header("Retry-After", retry_after)
        if status == "302":
            request.send_header("Location", self.url + "/elsewhere")
        words = b"" if status == "200" else b"so it is"
        request.send_header("Content-Length", str(len(words)))
        request.end_headers()
        request.wfile.write(words)

    def _reset(self, request: BaseHTTPRequestHandler, answer: str) -> None:
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        request.close_connection = True
        request.connection.close()

    def _hang(self, request: BaseHTTPRequestHandler, answer: str) -> None:
        self.leaving.wait(_PATIENCE_S)
        request.close_connection = True

    def _drip(self, request: BaseHTTPRequestHandler, answer: str) -> None:
        request.close_connection = True
        end_s = time.monotonic() + _PATIENCE_S
        try:
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
            while time.monotonic() < end_s and not self.leaving.wait(0.02):
                request.wfile.write(b"x")
        except OSError:
            return
