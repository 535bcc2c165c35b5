"""Posts one body to a webhook: signed, within a deadline for all of it, and to no other place.

What an answer means is told by the exception that is raised: nothing for "taken", `DeliveryPermanent` for
"not like this, ever", `DeliveryRetryable` for everything else. No message and no log record holds the
address, since that may be a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from opentelemetry.instrumentation.utils import suppress_instrumentation

from otel_wandb import __version__
from otel_wandb.alerts.plan import Route
from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.pacing import read_retry_after
from otel_wandb.errors import CredentialError, DeliveryPermanent, DeliveryRetryable

ID_HEADER: Final = "Idempotency-Key"
SIGNATURE_HEADER: Final = "X-Otel-Wandb-Signature"

_AGAIN: Final = frozenset({408, 425, 429})
_ANSWER_BYTES: Final = 200


def sign(secret: Secret, body: bytes) -> str:
    """What `SIGNATURE_HEADER` holds: HMAC-SHA256 of the body, in hex, behind `sha256=`."""
    return f"sha256={hmac.new(secret.reveal().encode(), body, hashlib.sha256).hexdigest()}"


def post(route: Route, body: bytes, *, uid: str, environ: Mapping[str, str]) -> None:
    """Return when the webhook has taken the body; at the latest after the time-out of the route.

    Address and secret are read now. `uid` goes along, the same in each attempt.

    Raises:
        CredentialError: address or secret cannot be read.
        DeliveryPermanent: it was refused, or led elsewhere.
        DeliveryRetryable: it was not taken, or nobody knows.
    """
    url = _address(route, environ)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"otel-wandb/{__version__}",
        ID_HEADER: uid,
    }
    if secret := _secret(route, environ):
        headers[SIGNATURE_HEADER] = sign(secret, body)
    deadline = _Deadline(route.timeout_s)
    try:
        with suppress_instrumentation(), deadline:
            status, answer, retry_after_s = _exchange(url, headers, body, deadline, route.timeout_s)
    except Exception as error:  # noqa: BLE001  whatever a connection that is cut off raises
        late = f"there was no whole answer within {route.timeout_s:g} s"
        why = late if deadline.passed else _name(error)
        raise DeliveryRetryable(f"the webhook {route.name} was not reached: {why}") from None
    if 200 <= status < 300:
        return
    message = f"the webhook {route.name} answered {status}" + (f": {answer}" if answer else "")
    if status in _AGAIN or status >= 500:
        raise DeliveryRetryable(message, retry_after_s=retry_after_s)
    raise DeliveryPermanent(message, status=status, answer=answer)


def _name(error: Exception) -> str:
    """What went wrong; in full where the words are those of the system, and so hold no address."""
    of_the_system = isinstance(error, httpx.NetworkError | httpx.TimeoutException) and str(error)
    return f"{type(error).__name__}: {error}" if of_the_system else type(error).__name__


def _exchange(
    url: str, headers: Mapping[str, str], body: bytes, deadline: _Deadline, timeout_s: float
) -> tuple[int, str, float | None]:
    """Status, the beginning of the answer, and how long it asks to wait.

    A transport, not a client: that one would log the address, and follow redirects if it was told to.
    """
    timeout = httpx.Timeout(timeout_s).as_dict()
    extensions = {"timeout": timeout, "trace": deadline.trace}
    request = httpx.Request("POST", url, headers=headers, content=body, extensions=extensions)
    with httpx.HTTPTransport(proxy=_proxy_for(url)) as transport:
        response = transport.handle_request(request)
        try:
            answer = b""
            for piece in response.iter_raw():
                answer += piece
                if len(answer) >= _ANSWER_BYTES:
                    break
        finally:
            response.close()
    text = answer[:_ANSWER_BYTES].decode(errors="replace").strip()
    return response.status_code, text, read_retry_after(response.headers)


class _Deadline:
    """Cuts the connection off when the time is up, however slowly its other end goes on."""

    def __init__(self, timeout_s: float) -> None:
        self.passed = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(timeout_s, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Note the connection when there is one: what httpcore calls while it works."""
        stream = info.get("return_value")
        if event.endswith(".complete") and hasattr(stream, "get_extra_info"):
            self._sockets.append(stream.get_extra_info("socket"))
            if self.passed:
                self._cut()

    def _cut(self) -> None:
        self.passed = True
        for connection in self._sockets:
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)  # below TLS, whose reader may be waiting
            except OSError:
                continue  # it is closed already


def _address(route: Route, environ: Mapping[str, str]) -> str:
    url = route.url or _read(route, "address", route.url_file, route.url_variable, environ)
    if not url.startswith(("http://", "https://")) or not urlsplit(url).hostname:
        text = f"the address of the webhook {route.name} must begin with http:// or https://"
        raise CredentialError(text)
    return url


def _secret(route: Route, environ: Mapping[str, str]) -> Secret | None:
    if not route.secret_file and not route.secret_variable:
        return None
    return Secret(_read(route, "secret", route.secret_file, route.secret_variable, environ))


def _read(route: Route, what: str, file: str, variable: str, environ: Mapping[str, str]) -> str:
    """What stands in the file, or in the variable."""
    where = f"the {what} of the webhook {route.name}"
    if variable:
        text = environ.get(variable, "").strip()
        if not text:
            raise CredentialError(f"{where} is not there: {variable} is not set where the bridge runs")
        return text
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise CredentialError(f"{where} cannot be read from {file}: {reason}") from None
    if not text:
        raise CredentialError(f"{where} is not there: {file} is empty")
    return text


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for the address."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
