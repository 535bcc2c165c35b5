"""The OTLP server's HTTP side over asyncio.

A connection carries one request at a time; what a client sends ahead waits in its own socket. Requests that
are large, or whose append waits for the disk, are answered in one of two threads, all others at once in the
loop. Limits: connections, bytes of a head, of a body and of all bodies together, and the time for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from otel_wandb.ingest.http_answers import Answer, Plan, Site, put_off, refuse
from otel_wandb.ingest.http_request import Budget, RequestReader, Whole
from otel_wandb.ingest.server import Code
from otel_wandb.ingest.tallies import Tally

_log = logging.getLogger("otel_wandb.serve")

_SWEEP_S: Final = 0.25
_LINGER_S: Final = 2.0
_BACKLOG: Final = 512
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one process holds at most, and for how long."""

    max_connections: int = 1000
    max_head_bytes: int = 32 << 10
    max_buffered_bytes: int = 256 << 20
    """All bodies together that are on their way."""
    head_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 75.0


class HttpServer:
    """Serves a site on a listening socket. Belongs to one event loop; `pool` is for what takes long."""

    def __init__(self, site: Site, tally: Tally, limits: HttpLimits, pool: ThreadPoolExecutor) -> None:
        self.site = site
        self.tally = tally
        self.limits = limits
        self.pool = pool
        self.budget = Budget(limits.max_buffered_bytes)
        self.connections: set[_Connection] = set()
        self.stopping = False
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Accept connections from now on."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self),
            sock=listening,
            ssl=tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=self.limits.head_timeout_s if tls else None,
        )
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, timeout_s: float) -> None:
        """Accept no more, answer what is on its way, and close the rest."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
        deadline_s = time.monotonic() + timeout_s
        for connection in list(self.connections):
            connection.close_if_idle()
        while self.connections and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now_s = time.monotonic()
            for connection in list(self.connections):
                connection.check_time(now_s)


class _Connection(asyncio.Protocol):
    """One client: its requests one after the other, each answered before the next is looked at."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._reader = RequestReader(
            server.site,
            server.budget,
            max_head_bytes=server.limits.max_head_bytes,
            send_continue=lambda: self._write(_CONTINUE),
        )
        self._at: tuple[int, str] = (0, "")
        self._deadline_s = time.monotonic() + server.limits.head_timeout_s
        self._busy = False  # a thread makes an answer
        self._full = False  # the client does not read its answers
        self._half_closed = False
        self._lingers = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or say that there are too many."""
        # uvloop's transports are not of asyncio's classes
        self._transport = transport  # type: ignore[assignment]
        server = self._server
        server.connections.add(self)
        server.tally.change_connections(1)
        excess = len(server.connections) - server.limits.max_connections
        if excess > 0 or server.stopping:
            server.tally.count_rejected_connection()
            self._reader.end(put_off("the server has as many connections as it may"))
            if excess > server.limits.max_connections:
                self.abort()
            else:
                self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything; an answer that is still being made goes nowhere."""
        self._transport = None
        self._reader.drop()
        self._server.connections.discard(self)
        self._server.tally.change_connections(-1)

    def data_received(self, data: bytes) -> None:
        """Read and answer."""
        if self._lingers:
            return
        self._reader.feed(data)
        self._work()

    def eof_received(self) -> bool:
        """Whether to stay open: the client may have sent all and wait for its answer."""
        self._half_closed = True
        return self._busy or bool(self._reader.waiting)

    def pause_writing(self) -> None:
        """Do not read from who does not read answers."""
        self._full = True
        self._steer()

    def resume_writing(self) -> None:
        """Read again."""
        self._full = False
        self._work()

    def check_time(self, now_s: float) -> None:
        """Close what took too long."""
        if now_s < self._deadline_s or self._busy:
            return
        stage, plan = self._reader.stage, self._reader.plan
        if self._lingers or self._full or self._reader.ended or stage == "idle":
            self.abort()
        elif isinstance(plan, Plan):  # a sender on a slow line should come again
            why = "the body of the request did not come in time"
            self._reader.end(put_off(why, plan.content_type, plan.kind))
        else:
            self._reader.end(refuse(Code.DEADLINE_EXCEEDED, "the head of the request did not come in time"))
        self._work()

    def close_if_idle(self) -> None:
        """Close unless a request is on its way."""
        if self._reader.stage == "idle" and not self._busy and not self._reader.waiting:
            self._close()

    def abort(self) -> None:
        """Close, whatever is on its way."""
        if self._transport is not None:
            self._transport.abort()

    def _work(self) -> None:
        """Answer what is complete, as long as no thread is at it and the client reads."""
        while not self._busy and not self._full and self._transport is not None:
            whole = self._reader.take()
            if whole is None:
                break
            self._answer(whole)
        self._set_deadline()
        self._steer()

    def _answer(self, whole: Whole) -> None:
        plan, server = whole.plan, self._server
        if isinstance(plan, Answer):
            self._reply(whole, plan, 0.0)
            return
        since_s = time.perf_counter()
        server.tally.change_in_flight("http", 1)
        answer = server.site.finish_quickly(plan, whole.body)
        if answer is not None:
            server.tally.change_in_flight("http", -1)
            self._reply(whole, answer, since_s)
            return
        self._busy = True
        making = asyncio.get_running_loop().run_in_executor(server.pool, server.site.finish, plan, whole.body)
        making.add_done_callback(self._finish(whole, plan, since_s))

    def _finish(self, whole: Whole, plan: Plan, since_s: float) -> Callable[[asyncio.Future[Answer]], None]:
        def finish(made: asyncio.Future[Answer]) -> None:
            self._busy = False
            self._server.tally.change_in_flight("http", -1)
            if made.cancelled() or made.exception() is not None:
                _log.error(
                    "A request could not be answered: %r.", None if made.cancelled() else made.exception()
                )
                answer = put_off("an error of the server; its log says more", plan.content_type, plan.kind)
            else:
                answer = made.result()
            self._reply(whole, answer, since_s)
            self._work()

        return finish

    def _reply(self, whole: Whole, answer: Answer, since_s: float) -> None:
        server = self._server
        server.budget.held_bytes -= whole.held_bytes
        seconds = time.perf_counter() - since_s if since_s else 0.0
        server.tally.count_request("http", answer.kind, answer.receipt, size=len(whole.body), seconds=seconds)
        keep = whole.keep and not server.stopping and not self._half_closed
        self._write(_encode(answer, keep=keep, with_body=whole.method != b"HEAD"))
        if keep:
            return
        if whole.unread and not self._half_closed:
            self._linger()
        else:
            self._close()

    def _linger(self) -> None:
        # Closing now would let the system throw the answer away, since the client is still sending.
        self._lingers = True
        self._deadline_s = time.monotonic() + _LINGER_S
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        self._reader.ended = True
        self._deadline_s = time.monotonic() + _LINGER_S
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _set_deadline(self) -> None:
        at = (self._reader.serial, self._reader.stage)
        if at == self._at or self._reader.ended:
            return
        self._at = at
        limits = self._server.limits
        spans_s = {
            "idle": limits.idle_timeout_s,
            "head": limits.head_timeout_s,
            "body": limits.body_timeout_s,
        }
        self._deadline_s = time.monotonic() + spans_s[self._reader.stage]

    def _steer(self) -> None:
        """Read from the socket only what can be worked on."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        wanted = not (self._busy or self._full or self._reader.waiting) or self._lingers
        if wanted and not transport.is_reading():
            transport.resume_reading()
        elif not wanted and transport.is_reading():
            transport.pause_reading()


_dated: tuple[int, str] = (0, "")


def _encode(answer: Answer, *, keep: bool, with_body: bool) -> bytes:
    status = answer.status
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"date: {_date()}",
        f"content-type: {answer.content_type}",
        f"content-length: {len(answer.body)}",
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    if not keep:
        lines.append("connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head + answer.body if with_body else head


def _date() -> str:
    global _dated  # noqa: PLW0603  made once a second
    now_s = int(time.time())
    if _dated[0] != now_s:
        _dated = (now_s, formatdate(now_s, usegmt=True))
    return _dated[1]
