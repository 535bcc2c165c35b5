"""The OTLP server's gRPC side, over grpcio's asyncio server.

Every method takes a stream of which one message is read: so the token is looked at before anything of the
body is, and a body has its time. Messages are not decompressed by grpcio: they go to the journal as they
came, and our own limit holds for what is in them. gRPC tells nobody which message was compressed, but a
message of OTLP begins neither as gzip does nor as zlib.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeAlias

import grpc
import grpc.aio

from otel_wandb.ingest.server import Code, Receipt, Receiver, ask_to_retry
from otel_wandb.ingest.status_message import write_response, write_status
from otel_wandb.ingest.tallies import Tally
from otel_wandb.ingest.tokens import Tokens
from otel_wandb.journal import Codec, Kind

_log = logging.getLogger("otel_wandb.serve")

_COLLECTOR: Final = "/opentelemetry.proto.collector."
_KINDS: Final = {
    f"{_COLLECTOR}trace.v1.TraceService/Export": Kind.OTLP_TRACES,
    f"{_COLLECTOR}logs.v1.LogsService/Export": Kind.OTLP_LOGS,
    f"{_COLLECTOR}metrics.v1.MetricsService/Export": Kind.OTLP_METRICS,
}
_HEALTH: Final = "/grpc.health.v1.Health/"
_SERVICES: Final = {b"", *(method[1:].rpartition("/")[0].encode() for method in _KINDS)}
_SERVING, _NOT_SERVING, _UNKNOWN_SERVICE = b"\x08\x01", b"\x08\x02", b"\x08\x03"  # HealthCheckResponse.status
_WATCH_S: Final = 1.0
_MAX_WATCHERS: Final = 100
_MAX_STREAMS: Final = 1000  # of a connection; what is beyond before the client knows of it, it has to repeat

_GZIP: Final = b"\x1f\x8b"
_ZLIB: Final = 0x78
_DETAILS: Final = "grpc-status-details-bin"
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What one process holds at most, and for how long."""

    max_requests: int = 64
    """Requests at once; of all others nothing is read, so that their senders wait."""
    max_metadata_bytes: int = 32 << 10
    body_timeout_s: float = 60.0
    head_timeout_s: float = 10.0
    idle_timeout_s: float = 300.0


class GrpcServer(grpc.GenericRpcHandler):
    """Serves the three services of OTLP and that of health. Belongs to one event loop."""

    def __init__(
        self, receiver: Receiver, tokens: Tokens, tally: Tally, limits: GrpcLimits, pool: ThreadPoolExecutor
    ) -> None:
        self._receiver = receiver
        self._tokens = tokens
        self._tally = tally
        self._limits = limits
        self._pool = pool
        self._turns = asyncio.Semaphore(limits.max_requests)
        self._watchers = 0
        self._stopping = False
        self._handlers = {method: self._make_handler(kind) for method, kind in _KINDS.items()}
        self._handlers[f"{_HEALTH}Check"] = grpc.unary_unary_rpc_method_handler(self._check_health)
        self._handlers[f"{_HEALTH}Watch"] = grpc.unary_stream_rpc_method_handler(self._watch_health)
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """The port that is served from now on. Raises `OSError` where the address cannot be had."""
        logging.getLogger("grpc._cython.cygrpc").setLevel(
            logging.CRITICAL
        )  # a traceback for each broken call
        limits = self._limits
        server = grpc.aio.server(
            handlers=[self],
            options=[
                ("grpc.max_receive_message_length", self._receiver.max_bytes),
                ("grpc.per_message_decompression", 0),
                ("grpc.max_concurrent_streams", _MAX_STREAMS),
                ("grpc.max_metadata_size", limits.max_metadata_bytes),
                ("grpc.absolute_max_metadata_size", 2 * limits.max_metadata_bytes),
                ("grpc.server_handshake_timeout_ms", int(limits.head_timeout_s * 1000)),
                ("grpc.max_connection_idle_ms", int(limits.idle_timeout_s * 1000)),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.so_reuseport", 1),
            ],
        )
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"{address} cannot be listened on: {error}") from None
        await server.start()
        self._server = server
        return int(port)

    async def stop(self, timeout_s: float) -> None:
        """Take no more, and wait for those that are on their way."""
        self._stopping = True
        if self._server is not None:
            await self._server.stop(timeout_s)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        """The handler of a method, None for what is none of ours: grpcio says UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)

    def _make_handler(self, kind: Kind) -> _Handler:
        async def export(_requests: object, context: _Context) -> bytes:
            receipt = await self._take(kind, context)
            if receipt.code is not Code.OK:
                details = ((_DETAILS, write_status(receipt, json=False)),)
                await context.abort(_CODES[receipt.code], receipt.message, details)
            assert kind.signal is not None  # requests have one
            return write_response(receipt, kind.signal, json=False)

        return grpc.stream_unary_rpc_method_handler(export)

    async def _take(self, kind: Kind, context: _Context) -> Receipt:
        """What became of the request of this call; whatever goes wrong is a receipt, too."""
        receipt = self._turn_away(context)
        size = 0
        since_s = time.perf_counter()
        if receipt is None:
            self._tally.change_in_flight("grpc", 1)
            try:
                async with asyncio.timeout(self._limits.body_timeout_s) as patience, self._turns:
                    body: object = await context.read()
                    patience.reschedule(None)
                    since_s = time.perf_counter()
                    if isinstance(body, bytes):
                        size = len(body)
                        receipt = await self._receive(kind, body)
                    else:  # the end of the call
                        receipt = Receipt(Code.INVALID_ARGUMENT, "expected one message")
            except TimeoutError:
                receipt = ask_to_retry("the body of the request did not come in time")
            except Exception:  # noqa: BLE001  a mistake of ours must not cost the sender its data
                _log.exception("A call could not be answered.")
                receipt = ask_to_retry("an error of the server; its log says more")
            finally:
                self._tally.change_in_flight("grpc", -1)
        seconds = time.perf_counter() - since_s
        self._tally.count_request("grpc", kind, receipt, size=size, seconds=seconds)
        return receipt

    def _turn_away(self, context: _Context) -> Receipt | None:
        """The answer to a call of which nothing is to be read."""
        if not self._tokens.check(_authorization(context)):
            why = "expected `authorization: Bearer TOKEN` with a token of this server"
            return Receipt(Code.UNAUTHENTICATED, why)
        return ask_to_retry("the server ends") if self._stopping else None

    async def _receive(self, kind: Kind, body: bytes) -> Receipt:
        codec = _guess_codec(body)
        receipt = self._receiver.receive_quickly(kind, codec, body)
        if receipt is not None:
            return receipt
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._receiver.receive, kind, codec, body)

    def _health(self) -> bytes:
        return _NOT_SERVING if self._stopping or self._receiver.refuses else _SERVING

    async def _check_health(self, request: bytes, context: _Context) -> bytes:
        if _read_service(request) not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return self._health()

    async def _watch_health(self, request: bytes, context: _Context) -> AsyncIterator[bytes]:
        known = _read_service(request) in _SERVICES
        if self._watchers >= _MAX_WATCHERS:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as many watch as may")
        self._watchers += 1
        told = b""
        try:
            while True:
                health = self._health() if known else _UNKNOWN_SERVICE
                if health != told:
                    told = health
                    yield health
                if self._stopping:
                    return
                await asyncio.sleep(_WATCH_S)
        finally:
            self._watchers -= 1


def _authorization(context: _Context) -> bytes:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization":
            return value.encode() if isinstance(value, str) else value
    return b""


def _guess_codec(body: bytes) -> Codec:
    """How the message is compressed. gzip's first bytes are no protobuf, zlib's an unknown field of OTLP."""
    if body[:2] == _GZIP:
        return Codec.GZIP
    if body[:1] and body[0] == _ZLIB and int.from_bytes(body[:2]) % 31 == 0:
        return Codec.DEFLATE
    return Codec.PLAIN


def _read_service(request: bytes) -> bytes:
    """The `service` of a `HealthCheckRequest` (field 1); something unknown where it is none."""
    if not request:
        return b""
    if request[0] != 0x0A or len(request) < 2 or request[1] != len(request) - 2:
        return b"?"
    return request[2:]
