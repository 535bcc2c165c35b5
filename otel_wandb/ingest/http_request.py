"""Requests of HTTP/1.1 out of the bytes of a connection, each part of them within its limit.

llhttp parses (by httptools); what it lets grow without end is bounded here: the head, the body as it came,
and the bytes of all connections together that wait for the rest of a body.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Literal, NamedTuple, TypeAlias

import httptools

from otel_wandb.ingest.http_answers import Answer, Head, Plan, Site, put_off, refuse
from otel_wandb.ingest.server import Code

_log = logging.getLogger("otel_wandb.serve")

Stage: TypeAlias = Literal["idle", "head", "body"]

_FRAMING_FACTOR: Final = 8  # a chunk of one byte has five of framing
_FRAMING_BYTES: Final = 64 << 10


@dataclass(slots=True)
class Budget:
    """What all connections of a process may hold together, and what they hold. For one thread."""

    limit_bytes: int
    held_bytes: int = 0


class Whole(NamedTuple):
    """A request that is complete, or one that was refused on its way and ends the connection."""

    plan: Plan | Answer
    body: bytes = b""
    keep: bool = False
    method: bytes = b""
    held_bytes: int = 0
    """To be given back to the budget when it is answered."""
    unread: bool = False
    """Whether more of it is on its way, which nobody will read."""


@dataclass(slots=True)
class _Incoming:
    """What is known of the request that is on its way."""

    begun: bool = False
    upgrades: bool = False
    """Whether the client offers another protocol, and the parser stops for it."""
    url: bytes = b""
    method: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    plan: Plan | Answer | None = None
    refused: Answer | None = None
    """The answer of one that was refused before it was whole."""
    parts: list[bytes] = field(default_factory=list)
    head_bytes: int = 0
    body_bytes: int = 0
    raw_bytes: int = 0
    held_bytes: int = 0


class RequestReader:
    """The requests of one connection, in order. After a refusal on the way nothing more is read."""

    def __init__(
        self, site: Site, budget: Budget, *, max_head_bytes: int, send_continue: Callable[[], None]
    ) -> None:
        self.ended = False
        self.serial = 0
        """The number of requests that have begun."""
        self._site = site
        self._budget = budget
        self._max_head_bytes = max_head_bytes
        self._send_continue = send_continue
        self._whole: deque[Whole] = deque()
        self._parser = httptools.HttpRequestParser(self)
        self._at = _Incoming()

    @property
    def stage(self) -> Stage:
        """Where the request is that has begun last."""
        if not self._at.begun:
            return "idle"
        return "head" if self._at.plan is None else "body"

    @property
    def waiting(self) -> int:
        """How many requests are complete and not taken."""
        return len(self._whole)

    @property
    def plan(self) -> Plan | Answer | None:
        """What the request is that is on its way, if its head has come."""
        return self._at.plan

    def feed(self, data: bytes) -> None:
        """Read on. What is wrong with the bytes becomes the last request, with its answer."""
        if self.ended:
            return
        self._at.raw_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._at.upgrades:
                self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            _log.error("A request could not be read: %r.", error.__context__)
            self.end(put_off("an error of the server; its log says more"))
        except httptools.HttpParserError as error:
            self.end(refuse(Code.INVALID_ARGUMENT, f"expected a request of HTTP/1.1: {error}"))
        else:
            self._check_size()

    def take(self) -> Whole | None:
        """The next request."""
        return self._whole.popleft() if self._whole else None

    def end(self, answer: Answer) -> None:
        """Let this be the answer to the request that is on its way, and the last one."""
        if not self.ended:
            self._give_back()
            self._whole.append(Whole(answer, method=self._at.method, unread=True))
            self.ended = True

    def drop(self) -> None:
        """The connection is gone: hold nothing any more."""
        self.ended = True
        self._give_back()
        while self._whole:
            self._budget.held_bytes -= self._whole.popleft().held_bytes

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._at = _Incoming(begun=True)
        self.serial += 1

    def on_url(self, url: bytes) -> None:
        """A part of the path."""
        if len(self._at.url) <= self._max_head_bytes:
            self._at.url += url
        self._at.head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after the body, of which only the size counts."""
        self._at.head_bytes += len(name) + len(value) + 4
        if self._at.plan is None and self._at.head_bytes <= self._max_head_bytes:
            self._at.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Decide by the head alone, so that no body is read for nothing."""
        if self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT":
            self._at.upgrades = True
            return
        self._at.method = self._parser.get_method()
        if self._at.head_bytes > self._max_head_bytes:
            self._at.plan = self._at.refused = _refuse_head(self._max_head_bytes)
            return
        self._at.plan = plan = self._site.begin(
            Head(self._at.method, self._at.url.partition(b"?")[0], self._at.headers)
        )
        length = self._at.headers.get(b"content-length", b"")
        expects = self._at.headers.get(b"expect", b"").lower() == b"100-continue"
        if isinstance(plan, Answer):
            self._at.refused = plan if expects else None
        elif length.isdigit() and int(length[:20]) > self._site.max_bytes:
            self._at.refused = self._site.refuse_large(plan, int(length[:20]))
        elif expects and not self._whole:
            self._send_continue()

    def on_body(self, body: bytes) -> None:
        """A part of the body; nothing is kept of one that is refused."""
        plan = self._at.plan
        self._at.body_bytes += len(body)
        if plan is None or self._at.refused is not None:
            return
        if self._at.body_bytes > self._site.max_bytes:
            self._at.refused = plan if isinstance(plan, Answer) else self._site.refuse_large(plan, None)
        elif isinstance(plan, Answer):
            return
        elif self._budget.held_bytes + len(body) > self._budget.limit_bytes:
            self._at.refused = put_off("the server holds as much as it may", plan.content_type, plan.kind)
        else:
            self._at.parts.append(body)
            self._at.held_bytes += len(body)
            self._budget.held_bytes += len(body)
            return
        self._give_back()

    def on_message_complete(self) -> None:
        """The request is whole."""
        plan = self._at.refused or self._at.plan
        if plan is None or self.ended or self._at.upgrades:
            return
        keep = (
            self._at.refused is None
            and bool(self._parser.should_keep_alive())
            and self._at.method != b"CONNECT"  # what follows that is no HTTP
        )
        body = self._at.parts[0] if len(self._at.parts) == 1 else b"".join(self._at.parts)
        self._whole.append(Whole(plan, body, keep, self._at.method, self._at.held_bytes))
        self.ended = not keep
        self._at = _Incoming()

    # What follows.

    def _stay(self, rest: bytes) -> None:
        """Read the request again without its offer of HTTP/2, as clients such as Java's make it."""
        at = self._at
        left_out = (b"upgrade", b"http2-settings", b"connection")
        kept = [(name, value) for name, value in at.headers.items() if name not in left_out]
        if b"close" in at.headers.get(b"connection", b"").lower():
            kept.append((b"connection", b"close"))
        lines = [b"%s %s HTTP/1.1" % (self._parser.get_method(), at.url)]
        lines += [name + b": " + value for name, value in kept]
        self._parser = httptools.HttpRequestParser(self)
        self.serial -= 1  # it is the same
        self.feed(b"\r\n".join([*lines, b"", b""]) + rest)

    def _check_size(self) -> None:
        if not self._at.begun:
            self._at.raw_bytes = 0
        elif self._at.refused is not None:
            self.end(self._at.refused)
        elif self._at.plan is None and self._at.raw_bytes > self._max_head_bytes + _FRAMING_BYTES:
            self.end(_refuse_head(self._max_head_bytes))  # an endless header, in the parser
        elif self._at.head_bytes > self._max_head_bytes:  # or trailers
            self.end(_refuse_head(self._max_head_bytes))
        elif (
            self._at.raw_bytes
            > _FRAMING_FACTOR * (self._at.body_bytes + _FRAMING_BYTES) + self._max_head_bytes
        ):
            self.end(refuse(Code.INVALID_ARGUMENT, "expected more body than framing"))

    def _give_back(self) -> None:
        self._budget.held_bytes -= self._at.held_bytes
        self._at.held_bytes = 0
        self._at.parts = []


def _refuse_head(limit_bytes: int) -> Answer:
    why = f"expected a head of at most {limit_bytes} bytes"
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return refuse(Code.RESOURCE_EXHAUSTED, why, status=status)
