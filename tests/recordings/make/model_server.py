"""A local server of the OpenAI, Anthropic, Gemini and Bedrock APIs that keeps what was asked and answered.

`exchanges` is the truth that recordings are held against: the requests as they came, and the answer in the
words of `answers`, with the times of both. `POST /notes` adds what the producer's own code did (tools it ran,
documents it found, sessions), which no model server can know.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.recordings.make import anthropic_api, bedrock_api, gemini_api, openai_api
from tests.recordings.make.answers import Answer, answer, embed
from tests.recordings.make.wire import Api, Embeddings, Frames, Question

APIS: tuple[Api, ...] = (openai_api.API, anthropic_api.API, gemini_api.API, bedrock_api.API)


@dataclass
class Exchange:
    """One request and its answer."""

    api: str
    question: Question
    start_ns: int
    end_ns: int = 0
    response_id: str = ""
    answer: Answer = field(default_factory=Answer)
    embedding_tokens: int = 0
    embeddings: int = 0


class ModelServer:
    """The server on a loopback port of its own; every start counts its ids anew."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.notes: list[dict[str, Any]] = []
        self.unknown: list[str] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"house": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_address[1]

    def begin(self, api: str, question: Question) -> Exchange:
        """A new exchange, kept in the order of arrival."""
        with self._lock:
            exchange = Exchange(api, question, time.time_ns())
            self.exchanges.append(exchange)
            exchange.response_id = f"{question.id_prefix}rec{len(self.exchanges):05}"
        return exchange


class _Handler(BaseHTTPRequestHandler):
    house: ModelServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(404, {"error": {"message": "not found"}})

    def do_POST(self) -> None:
        body = self._read()
        if self.path == "/notes":
            self.house.notes.append({**json.loads(body), "time_ns": time.time_ns()})
            self._send(200, {})
            return
        for api in self.house_apis():
            question = api.read(self.path, json.loads(body or b"{}"), dict(self.headers))
            if question is not None:
                self._answer(api, question)
                return
        self.house.unknown.append(self.path)
        self._send(404, {"error": {"message": f"no such path: {self.path}"}})

    def house_apis(self) -> tuple[Api, ...]:
        return APIS

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, api: Api, question: Question) -> None:
        exchange = self.house.begin(api.name, question)
        # Long enough that a call can be told from what surrounds it, short enough not to matter.
        time.sleep(0.004)
        if question.embeds:
            vectors, exchange.embedding_tokens = embed(question.embeds)
            exchange.embeddings = len(vectors)
            exchange.end_ns = time.time_ns()
            self._send(200, api.embed(question, Embeddings(vectors, exchange.embedding_tokens)))
            return
        exchange.answer = answer(question.asked)
        exchange.end_ns = time.time_ns()
        if exchange.answer.status != 200:
            self._send(exchange.answer.status, api.fail(question, exchange.answer))
        elif question.stream:
            self._stream(api.stream(question, exchange.answer, exchange.response_id))
            exchange.end_ns = time.time_ns()
        else:
            self._send(200, api.say(question, exchange.answer, exchange.response_id))

    def _send(self, status: int, body: dict[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def _stream(self, frames: Frames) -> None:
        self.send_response(200)
        self.send_header("Content-Type", frames.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for frame in _slowly(frames.frames):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *arguments: object) -> None:
        """Nothing: the exchanges are the log."""


def _slowly(frames: Iterator[bytes]) -> Iterator[bytes]:
    for frame in frames:
        yield frame
        time.sleep(0.001)
