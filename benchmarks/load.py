"""A load client that costs little: HTTP/1.1 on kept connections, a fixed number of requests at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import NamedTuple


class Answered(NamedTuple):
    """One request that was answered."""

    began_s: float
    """Of the monotonic clock, as is the end."""
    ended_s: float
    body: bytes


class Load(NamedTuple):
    """What a time of load gave."""

    answers: list[Answered]
    wall_s: float
    client_cpu_s: float

    @property
    def requests_per_second(self) -> float:
        return len(self.answers) / self.wall_s

    def latency_ms(self, quantile: float) -> float:
        times_s = sorted(answer.ended_s - answer.began_s for answer in self.answers)
        return times_s[min(len(times_s) - 1, int(len(times_s) * quantile))] * 1000


class LoadError(RuntimeError):
    """The service did not answer as it should."""


class _Connection(asyncio.Protocol):
    """Sends the next request when the last one is answered, as long as there is one."""

    def __init__(
        self, next_request: Callable[[], bytes | None], answers: list[Answered], *, keep: bool
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next_request = next_request
        self._answers = answers
        self._keep = keep
        self._buffer = b""
        self._began_s = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(head.decode(errors="replace"))
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._answers.append(Answered(self._began_s, time.monotonic(), body if self._keep else b""))
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._fail(f"the connection was lost ({exc})")

    def _send(self) -> None:
        request = self._next_request()
        if self._transport is None or request is None:
            if self._transport is not None:
                self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self._began_s = time.monotonic()
        self._transport.write(request)

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(LoadError(why))
        if self._transport is not None:
            self._transport.abort()


def make_request(path: str, document: object) -> bytes:
    """The bytes of a POST."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def put_load(port: int, request: bytes, *, concurrency: int, seconds: float) -> Load:
    """As many requests as the service answers in that time."""
    end_s = time.monotonic() + seconds
    return asyncio.run(
        _put_load(port, lambda: request if time.monotonic() < end_s else None, concurrency, keep=False)
    )


async def _put_load(
    port: int, next_request: Callable[[], bytes | None], concurrency: int, *, keep: bool
) -> Load:
    answers: list[Answered] = []
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Connection(next_request, answers, keep=keep), "127.0.0.1", port)
        for _ in range(concurrency)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    return Load(answers, time.monotonic() - began_s, time.process_time() - began_cpu_s)
