"""Requests and responses of FastAPI, where it is asked for: their bodies, and headers that name the span.

It stands between OpenTelemetry's instrumentation of ASGI and the application, so it is within the span of the
request, and whatever that instrumentation leaves out (`OTEL_PYTHON_EXCLUDED_URLS`) is left out here as well.

.. code-block:: python

    patches = instrument_exchanges(Exchanges(request_bodies=True, headers=("traceparent",)))

before the application is made. Nothing is held back: each piece goes on as it comes, and at most
`body_bytes` of it are kept. Nothing here raises into the application.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

from opentelemetry import trace
from opentelemetry.trace import Span

from otel_wandb.instrument.patching import Patches

Scope = MutableMapping[str, object]
Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

TRACEPARENT: Final = "traceparent"
REQUEST_ID: Final = "x-request-id"
KNOWN_HEADERS: Final = (TRACEPARENT, REQUEST_ID)

_log = logging.getLogger("otel_wandb.instrument.fastapi")
_TEXT: Final = re.compile(
    r"text/.*|application/(.*\+)?(json|xml|yaml)|application/(x-)?(ndjson|jsonl?|jsonlines)"
)
_FORM: Final = "application/x-www-form-urlencoded"
_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_CHARSET: Final = re.compile(
    r"(us-)?ascii|utf-?(8|16|16le|16be|32)|iso-8859-([1-9]|1[013-6])|latin-?1|windows-125[0-8]"
    r"|koi8-[ru]|gbk|gb2312|gb18030|big5|shift-jis|euc-(jp|kr)"
)
_GZIP: Final = 31


@dataclass(frozen=True, slots=True)
class Exchanges:
    """What is asked for. `headers` are of `KNOWN_HEADERS`."""

    request_bodies: bool = False
    response_bodies: bool = False
    body_bytes: int = 16_384
    headers: tuple[str, ...] = ()


def instrument_exchanges(asked: Exchanges) -> Patches:
    """Have all applications that are instrumented from now on tell what is asked; `remove` ends it."""

    def wrap(
        wrapped: Callable[..., object], _: object, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        if args:
            return wrapped(ExchangeTeller(args[0], asked), *args[1:], **kwargs)  # type: ignore[arg-type]  # an app
        return wrapped(**{**kwargs, "app": ExchangeTeller(kwargs["app"], asked)})  # type: ignore[arg-type]

    patches = Patches(("opentelemetry.instrumentation.asgi", "OpenTelemetryMiddleware.__init__", wrap))
    patches.apply()
    return patches


class ExchangeTeller:
    """An ASGI application around another: it tells on the current span what goes through."""

    def __init__(self, app: App, asked: Exchanges) -> None:
        self.app = app
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on, as it is."""
        span = trace.get_current_span()
        if scope.get("type") != "http" or not span.get_span_context().is_valid:
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(self._asked, span, _list_headers(scope))
        try:
            await self.app(scope, exchange.wrap_receive(receive), exchange.wrap_send(send))
        finally:
            exchange.tell()

    def __getattr__(self, name: str) -> object:
        """Whatever others look for in the application."""
        return getattr(self.app, name)


@dataclass(slots=True)
class _Body:
    """What is kept of a body, and how long it was."""

    most: int
    headers: Headers = field(default_factory=list)
    kept: bytearray = field(default_factory=bytearray)
    size: int = 0

    def add(self, piece: object) -> None:
        if isinstance(piece, bytes | bytearray | memoryview):
            self.size += len(piece)
            if len(self.kept) < self.most:
                self.kept += piece[: self.most - len(self.kept)]

    def to_text(self) -> str:
        """The body as an attribute tells it."""
        kind, _, parameters = _header(self.headers, b"content-type").partition(";")
        kind, coding = kind.strip().lower(), _header(self.headers, b"content-encoding").strip().lower()
        if not (_TEXT.fullmatch(kind) or kind in ("", _FORM)) or coding not in ("", "identity", "gzip"):
            return f"[left out: {coding or kind}, {self.size} bytes]"
        content, is_whole = bytes(self.kept), self.size <= len(self.kept)
        if coding == "gzip":
            unpacker = zlib.decompressobj(_GZIP)
            content = unpacker.decompress(content, self.most)
            is_whole = unpacker.eof
        text = content.decode(_charset(parameters), "replace")
        if not kind and "\ufffd" in text:
            return f"[left out: {self.size} bytes of an unknown type]"
        if kind == _FORM and is_whole:
            fields = parse_qs(text, keep_blank_values=True)
            return json.dumps({k: v[0] if len(v) == 1 else v for k, v in fields.items()}, ensure_ascii=False)
        return text if is_whole else f"{text}… [cut, {self.size} bytes]"


class _Exchange:
    """One request and its response."""

    def __init__(self, asked: Exchanges, span: Span, headers: Headers) -> None:
        self._asked = asked
        self._span = span
        self._request = _Body(asked.body_bytes, headers)
        self._response = _Body(asked.body_bytes)
        self._told = False

    def wrap_receive(self, receive: Receive) -> Receive:
        """The same, looked at where it is asked for."""
        if not self._asked.request_bodies:
            return receive

        async def look() -> Message:
            message = await receive()
            if message.get("type") == "http.request":
                self._request.add(message.get("body"))
            return message

        return look

    def wrap_send(self, send: Send) -> Send:
        """The same, with headers and looked at where it is asked for."""

        async def pass_on(message: Message) -> None:
            try:
                self._see(message)
            except Exception:  # noqa: BLE001  the response goes on, whatever is wrong in here
                _log.warning("A response could not be looked at.", exc_info=sys.exc_info())
            await send(message)

        return pass_on

    def tell(self) -> None:
        """Put what was kept on the span, once: it ends with the last piece of the response."""
        if self._told or not self._span.is_recording():
            return
        self._told = True
        try:
            if self._asked.request_bodies and self._request.size:
                self._span.set_attribute("input.value", self._request.to_text())
                self._span.set_attribute("http.request.body.size", self._request.size)
            if self._asked.response_bodies and self._response.size:
                self._span.set_attribute("output.value", self._response.to_text())
                self._span.set_attribute("http.response.body.size", self._response.size)
        except Exception:  # noqa: BLE001  as above
            _log.warning("The bodies of a request could not be told.", exc_info=sys.exc_info())

    def _see(self, message: Message) -> None:
        if message.get("type") == "http.response.start":
            if self._asked.headers:
                message["headers"] = [*_list_headers(message), *self._make_headers(message)]
            self._response.headers = _list_headers(message)
        elif message.get("type") == "http.response.body":
            if self._asked.response_bodies:
                self._response.add(message.get("body"))
            if not message.get("more_body"):
                self.tell()

    def _make_headers(self, message: Message) -> Iterable[tuple[bytes, bytes]]:
        """What is asked for and not there; the application's own go before."""
        present = {name.lower() for name, _ in _list_headers(message)}
        context = self._span.get_span_context()
        given = _header(self._request.headers, REQUEST_ID.encode()).encode("latin-1", "replace")
        trace_id, span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        values = {
            TRACEPARENT: f"00-{trace_id}-{span_id}-{int(context.trace_flags):02x}".encode(),
            REQUEST_ID: given if _ID.fullmatch(given) else trace_id.encode(),
        }
        for name in self._asked.headers:
            if name in values and name.encode() not in present:
                yield name.encode(), values[name]


def _list_headers(place: Mapping[str, object]) -> Headers:
    headers = place.get("headers")
    return [(bytes(name), bytes(value)) for name, value in headers] if isinstance(headers, Iterable) else []


def _header(headers: Headers, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")


def _charset(parameters: str) -> str:
    """The encoding that is declared, if it is one of texts that everybody knows; else UTF-8."""
    found = re.search(r"charset=\"?([a-z0-9_-]{1,40})", parameters, re.IGNORECASE)
    name = found[1].lower().replace("_", "-") if found else ""
    return name if _CHARSET.fullmatch(name) else "utf-8"
