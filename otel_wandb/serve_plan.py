"""What `otel-wandb serve` is to do, checked before anything is opened: addresses, TLS, who may send."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from otel_wandb.config import TOKENS_VARIABLE, Settings
from otel_wandb.errors import ConfigError
from otel_wandb.journal.frames import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 is a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, setting: str) -> Self:
        """The address that `HOST:PORT` names; `ConfigError` where it names none."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ConfigError(
                f"{setting} is {text!r}; it must be HOST:PORT, such as 127.0.0.1:4317 or [::]:4317"
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False

    def with_port(self, port: int) -> Address:
        """The same host, and the port that it came to."""
        return Address(self.host, port)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files that TLS needs, all of them read once to see that they are good."""

    cert: bytes
    key: bytes
    client_ca: bytes
    context: ssl.SSLContext


def check_exposure(address: Address, *, guarded: bool, insecure: bool) -> None:
    """Raise `ConfigError` where everybody on the network could send without a token, and nobody said so."""
    if address.is_local or guarded or insecure:
        return
    raise ConfigError(
        f"{address} can be reached from other machines, and no token is asked for; set serve_tokens_file "
        f"or {TOKENS_VARIABLE}, or say --insecure"
    )


@dataclass(frozen=True, slots=True)
class RequestRoom:
    """How the journal is shared out, so that what is asked to come again finds room once it does.

    What a living worker has in its open segment cannot be removed, though all of it is finished. So each
    worker may have one part of the journal open, and a request may be as large as the part that is left.
    """

    request_bytes: int
    """What is larger as it comes is refused for good: beside the open segments there may never be room."""
    segment_bytes: int
    """When a worker begins its next segment."""

    @classmethod
    def plan(cls, settings: Settings) -> Self:
        """The room under these settings."""
        part_bytes = settings.journal_limit_bytes // (settings.serve_workers + 1)
        most_bytes = part_bytes - SEGMENT_HEADER_BYTES - FRAME_HEADER_BYTES
        return cls(
            request_bytes=min(settings.serve_max_request_bytes, most_bytes),
            segment_bytes=min(settings.segment_bytes, part_bytes),
        )


def read_tls(settings: Settings) -> TlsFiles | None:
    """What the settings say of TLS, None where they say nothing. Raises `ConfigError`."""
    cert, key, client_ca = settings.serve_tls_cert, settings.serve_tls_key, settings.serve_tls_client_ca
    if not cert and not key and not client_ca:
        return None
    if not cert or not key:
        raise ConfigError(
            "TLS needs a certificate and its key: set both serve_tls_cert and serve_tls_key, or nothing of "
            "serve_tls_*"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password="")  # never ask at a terminal
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the certificate {cert} and the key {key} cannot be used: {error}") from None
    if client_ca:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the certificates in {client_ca} cannot be used: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return TlsFiles(
        cert=Path(cert).read_bytes(),
        key=Path(key).read_bytes(),
        client_ca=Path(client_ca).read_bytes() if client_ca else b"",
        context=context,
    )
