"""A local stand-in for an OpenAI-compatible model server, so that the example needs no key and no network.

`python standin.py [--port 0] [--seed 7]` prints `READY http://127.0.0.1:PORT/v1` once it listens. It knows
`POST /v1/chat/completions`, plain and streaming, and answers out of the documents in the prompt. Tokens,
latency and failures (429, 500) follow from the seed, the request and the number of the retry, never from the
clock or the order, so that the same questions meet the same fate in every run. `GET /record` tells what it
answered.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SNAPSHOTS = {
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4o": "gpt-4o-2024-08-06",
    "o4-mini": "o4-mini-2025-04-16",
}
REASONING = ("o4-mini",)

_CREATED_S = 1_790_000_000
_TOO_MANY_SHARE = 0.05
_BROKEN_SHARE = 0.04
_RECOVERS_SHARE = 0.35
_SLOW_SHARE = 0.05
_CACHED_BLOCK_TOKENS = 128
_CACHED_FROM_TOKENS = 512


@dataclass(frozen=True)
class Answer:
    """What the stand-in answered to one HTTP request."""

    id: str
    model: str
    status: int
    stream: bool
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    latency_s: float = 0.0
    text: str = ""

    @property
    def usage(self) -> dict[str, Any]:
        """The usage as OpenAI reports it."""
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


def decide(request: dict[str, Any], *, seed: int, retry: int) -> Answer:
    """The one answer that this request has with this seed, at this try."""
    asked, stream = str(request.get("model", "gpt-4o-mini")), bool(request.get("stream"))
    messages = request.get("messages", [])
    question = [message.get("content") for message in messages if message.get("role") == "user"]
    # Not of the documents: what happens shall not change with every word of theirs.
    chance = random.Random(_digest(seed, asked, stream, request.get("user"), question))
    name, fate = f"chatcmpl-{_digest(seed, request)[:24]}{retry}", chance.random()
    model = SNAPSHOTS.get(asked, asked)
    recovers = chance.random() < _RECOVERS_SHARE and retry > 0
    if fate < _TOO_MANY_SHARE + _BROKEN_SHARE and not recovers:
        status = 429 if fate < _TOO_MANY_SHARE else 500
        return Answer(name, model, status, stream, latency_s=chance.uniform(0.01, 0.05))
    prompt = " ".join(str(message.get("content", "")) for message in messages)
    text = _write(prompt, chance)
    input_tokens = _count_tokens(prompt)
    reasoning = chance.randrange(64, 513, 64) if asked in REASONING else 0
    warm = input_tokens >= _CACHED_FROM_TOKENS and chance.random() < 0.6
    latency_s = chance.lognormvariate(-2.0, 0.6) + reasoning / 2_000
    return Answer(
        id=name,
        model=model,
        status=200,
        stream=stream,
        input_tokens=input_tokens,
        cached_tokens=input_tokens // _CACHED_BLOCK_TOKENS * _CACHED_BLOCK_TOKENS if warm else 0,
        output_tokens=_count_tokens(text) + reasoning,
        reasoning_tokens=reasoning,
        latency_s=latency_s + chance.uniform(1.0, 2.5) if chance.random() < _SLOW_SHARE else latency_s,
        text=text,
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _write(prompt: str, chance: random.Random) -> str:
    """A few sentences of the documents that the prompt holds."""
    sentences = re.findall(r"\b[A-Z][^.|`*]{30,250}\.", prompt)
    chosen = chance.sample(sentences, min(len(sentences), chance.randint(1, 3)))
    return " ".join(chosen) or "The documents do not say."


def _count_tokens(text: str) -> int:
    return len(text) // 4 + 1  # the usual rule of thumb; no tokenizer is worth a download here


class ModelServer(ThreadingHTTPServer):
    """Listens on the loopback interface, one thread a connection, and keeps the record."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, seed: int) -> None:
        super().__init__(("127.0.0.1", port), ModelHandler)
        self.seed = seed
        self._answers: list[Answer] = []
        self._lock = threading.Lock()

    def note(self, answer: Answer) -> None:
        """Put an answer on record, before its first byte is sent."""
        with self._lock:
            self._answers.append(answer)

    def record(self) -> list[dict[str, Any]]:
        """What was answered so far."""
        with self._lock:
            return [asdict(answer) for answer in self._answers]


class ModelHandler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: ModelServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Tell the record."""
        if self.path == "/record":
            self._send_json(200, {"answers": self.server.record()})
        else:
            self._send_error(404, "there is no such page")

    def do_POST(self) -> None:
        """Answer a chat completion."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != "/v1/chat/completions":
            self._send_error(404, "this stand-in knows /v1/chat/completions only")
            return
        try:
            request = json.loads(body)
        except ValueError:
            self._send_error(400, "the body is not JSON")
            return
        retry = int(self.headers.get("x-stainless-retry-count", 0))
        answer = decide(request, seed=self.server.seed, retry=retry)
        self.server.note(answer)
        if answer.stream and answer.status == 200:
            with_usage = bool((request.get("stream_options") or {}).get("include_usage"))
            self._send_events(answer, with_usage=with_usage)
            return
        time.sleep(answer.latency_s)
        if answer.status != 200:
            self._send_error(
                answer.status, "too many requests" if answer.status == 429 else "the model is ill"
            )
            return
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        self._send_json(200, {**_head(answer, "chat.completion"), "choices": [choice], "usage": answer.usage})

    def _send_events(self, answer: Answer, *, with_usage: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = list(_chunks(answer, with_usage=with_usage))
        first_s = answer.latency_s * 0.4  # then the rest, spread over the chunks
        for number, event in enumerate(events):
            time.sleep(first_s if number == 0 else (answer.latency_s - first_s) / len(events))
            self._send_chunk(f"data: {json.dumps(event)}\n\n".encode())
        self._send_chunk(b"data: [DONE]\n\n")
        self._send_chunk(b"")

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _send_error(self, status: int, message: str) -> None:
        kind = "rate_limit_exceeded" if status == 429 else "server_error" if status >= 500 else "bad_request"
        error = {"message": message, "type": kind, "param": None, "code": kind}
        self._send_json(status, {"error": error})

    def _send_json(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if status in (429, 500):
            self.send_header("retry-after-ms", "50")  # the client waits this long before it tries again
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name in the base class
        """Say nothing: `/record` tells more."""


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {"id": answer.id, "object": kind, "created": _CREATED_S, "model": answer.model}


def _chunks(answer: Answer, *, with_usage: bool) -> Iterator[dict[str, Any]]:
    head = _head(answer, "chat.completion.chunk")
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in re.findall(r"\S+\s*\S*\s*\S*\s*", answer.text)]
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if with_usage:
        yield {**head, "choices": [], "usage": answer.usage}


def main() -> None:
    """Serve until the process is ended."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0, help="0: any that is free")
    options.add_argument("--seed", type=int, default=7)
    chosen = options.parse_args()
    with ModelServer(chosen.port, chosen.seed) as server:
        print(f"READY http://127.0.0.1:{server.server_port}/v1", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
