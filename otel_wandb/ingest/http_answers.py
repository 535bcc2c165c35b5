"""OTLP over HTTP without any I/O: from the head of a request to a plan, from its body to an answer.

The rules are those of the OTLP specification (1.11): every 4xx and 5xx carries a `google.rpc.Status` in the
encoding of the request, only 503 asks the sender to come again. Beside them there are `/healthz` (the process
answers), `/readyz` (the journal takes requests) and `/metrics`, which needs a token where one is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from otel_wandb.ingest.server import NOTHING, Code, Receipt, Receiver, ask_to_retry
from otel_wandb.ingest.status_message import write_response, write_status
from otel_wandb.ingest.tokens import Tokens
from otel_wandb.journal import Codec, Kind

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"

_KINDS: Final[dict[bytes, dict[str, Kind]]] = {
    b"/v1/traces": {PROTOBUF: Kind.OTLP_TRACES, JSON: Kind.OTLP_TRACES_JSON},
    b"/v1/logs": {PROTOBUF: Kind.OTLP_LOGS, JSON: Kind.OTLP_LOGS_JSON},
    b"/v1/metrics": {PROTOBUF: Kind.OTLP_METRICS, JSON: Kind.OTLP_METRICS_JSON},
}
_CODECS: Final = {
    b"": Codec.PLAIN,
    b"identity": Codec.PLAIN,
    b"gzip": Codec.GZIP,
    b"x-gzip": Codec.GZIP,
    b"deflate": Codec.DEFLATE,
    b"zstd": Codec.ZSTD,
}
_STATUSES: Final = {
    Code.OK: HTTPStatus.OK,
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.DEADLINE_EXCEEDED: HTTPStatus.REQUEST_TIMEOUT,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Code.UNIMPLEMENTED: HTTPStatus.METHOD_NOT_ALLOWED,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request. Names of headers are in lower case; of those that repeat, the last counts."""

    method: bytes
    path: bytes
    headers: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back. `kind` and `receipt` are for those who count."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    kind: Kind | None = None
    receipt: Receipt = NOTHING


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request is, once its body is there: telemetry of a kind, or a page."""

    content_type: str
    kind: Kind | None = None
    codec: Codec = Codec.PLAIN
    page: Callable[[], Answer] | None = None


class Site:
    """All that is served over HTTP. Thread-safe; never raises."""

    def __init__(self, receiver: Receiver, tokens: Tokens, *, show_metrics: Callable[[], str]) -> None:
        self._receiver = receiver
        self._tokens = tokens
        self._show_metrics = show_metrics
        self._pages: dict[bytes, Callable[[], Answer]] = {
            b"/healthz": lambda: _page("ok\n"),
            b"/readyz": self._tell_ready,
            b"/metrics": lambda: _page(self._show_metrics(), _PROMETHEUS),
        }

    @property
    def max_bytes(self) -> int:
        """How large a body may be."""
        return self._receiver.max_bytes

    def begin(self, head: Head) -> Plan | Answer:
        """What to do with the body, or at once the answer to a request that is none of ours."""
        media = head.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        shown = PROTOBUF if media == PROTOBUF.encode() else JSON
        kinds = _KINDS.get(head.path)
        if kinds is None:
            return self._open_page(head, shown)
        if head.method != b"POST":
            return _refuse_method(head.method, "POST", shown)
        kind = kinds.get(media.decode("latin-1"))
        if not self._tokens.check(head.headers.get(b"authorization", b"")):
            return refuse_stranger(shown, kind)
        if kind is None:
            why = f"expected Content-Type {PROTOBUF} or {JSON}, not {_show(media)}"
            return refuse(Code.INVALID_ARGUMENT, why, shown, status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        coding = head.headers.get(b"content-encoding", b"").strip().lower()
        codec = _CODECS.get(coding)
        if codec is None:
            return refuse(
                Code.INVALID_ARGUMENT,
                f"expected Content-Encoding gzip, deflate, zstd or none, not {_show(coding)}",
                shown,
                status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                headers=(("accept-encoding", "gzip, deflate, zstd"),),
            )
        return Plan(shown, kind, codec)

    def finish_quickly(self, plan: Plan, body: bytes) -> Answer | None:
        """The answer, or None where it may take long: then `finish` is to be called."""
        if plan.kind is None:
            return None
        receipt = self._receiver.receive_quickly(plan.kind, plan.codec, body)
        return None if receipt is None else answer(receipt, plan)

    def finish(self, plan: Plan, body: bytes) -> Answer:
        """The answer, however long it takes."""
        if plan.page is not None:
            return plan.page()
        assert plan.kind is not None  # one of the two is there
        return answer(self._receiver.receive(plan.kind, plan.codec, body), plan)

    def refuse_large(self, plan: Plan, size: int | None) -> Answer:
        """The answer to a body that is over the limit."""
        if plan.kind is None:
            return refuse(Code.RESOURCE_EXHAUSTED, "expected no body", plan.content_type)
        return answer(self._receiver.refuse_large(plan.kind, size), plan)

    def _open_page(self, head: Head, shown: str) -> Plan | Answer:
        page = self._pages.get(head.path)
        if page is None:
            why = f"there is nothing at {_show(head.path)}; expected /v1/traces, /v1/metrics or /v1/logs"
            return refuse(Code.NOT_FOUND, why, shown)
        if head.method not in (b"GET", b"HEAD"):
            return _refuse_method(head.method, "GET, HEAD", shown)
        if head.path == b"/metrics" and not self._tokens.check(head.headers.get(b"authorization", b"")):
            return refuse_stranger(shown)
        return Plan(TEXT, page=page)

    def _tell_ready(self) -> Answer:
        if self._receiver.refuses:
            return _page("the journal takes no requests\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
        return _page("ready\n")


def answer(receipt: Receipt, plan: Plan) -> Answer:
    """What a receipt is over HTTP."""
    json = plan.content_type != PROTOBUF
    if receipt.code is not Code.OK or plan.kind is None or plan.kind.signal is None:
        return _refusal(receipt, plan.content_type, kind=plan.kind)
    body = write_response(receipt, plan.kind.signal, json=json)
    return Answer(HTTPStatus.OK, plan.content_type, body, kind=plan.kind, receipt=receipt)


def refuse(
    code: Code,
    why: str,
    content_type: str = JSON,
    *,
    status: HTTPStatus | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """A refusal that is about the request and not about its data."""
    return _refusal(Receipt(code, why), content_type, status=status, headers=headers)


def _refuse_method(method: bytes, allowed: str, content_type: str) -> Answer:
    why = f"expected the method {allowed}, not {_show(method)}"
    return refuse(Code.UNIMPLEMENTED, why, content_type, headers=(("allow", allowed),))


def refuse_stranger(content_type: str, kind: Kind | None = None) -> Answer:
    """The answer to who has no token, or a wrong one."""
    receipt = Receipt(
        Code.UNAUTHENTICATED, "expected the header `Authorization: Bearer TOKEN` with a token of this server"
    )
    return _refusal(receipt, content_type, kind=kind, headers=(("www-authenticate", "Bearer"),))


def put_off(why: str, content_type: str = JSON, kind: Kind | None = None) -> Answer:
    """The answer that asks the sender to come again with the same."""
    return _refusal(ask_to_retry(why), content_type, kind=kind)


def _refusal(
    receipt: Receipt,
    content_type: str,
    *,
    kind: Kind | None = None,
    status: HTTPStatus | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    shown = PROTOBUF if content_type == PROTOBUF else JSON
    if receipt.retry_after_s:
        headers = (*headers, ("retry-after", str(receipt.retry_after_s)))
    body = write_status(receipt, json=shown == JSON)
    return Answer(status or _STATUSES[receipt.code], shown, body, headers, kind, receipt)


def _page(text: str, content_type: str = TEXT, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(status, content_type, text.encode())


def _show(value: bytes) -> str:
    return repr(value[:60].decode("latin-1"))
