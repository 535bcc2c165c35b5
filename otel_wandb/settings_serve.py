"""The table of settings, its part about the server of `otel-wandb serve`."""

from typing import Annotated, Final

from otel_wandb.setting import About
from otel_wandb.settings_http import Requests

_MIB: Final = 1 << 20
_KIB: Final = 1 << 10

_SERVER: Final = "The server"


class Serving(Requests, frozen=True, kw_only=True, dict=True):
    """The settings that `Settings` has of the server. Tokens are none: they are secrets."""

    serve_grpc: Annotated[
        str,
        About(
            _SERVER,
            "Where `otel-wandb serve` takes OTLP over gRPC, as `HOST:PORT`. Port 0: a free one. A host that "
            "is not this machine's own needs tokens, or `--insecure`.",
        ),
    ] = "127.0.0.1:4317"
    serve_http: Annotated[str, About(_SERVER, "The same for OTLP over HTTP, in protobuf and JSON.")] = (
        "127.0.0.1:4318"
    )
    serve_workers: Annotated[
        int,
        About(
            _SERVER,
            "How many processes take requests, on the same ports. There is one bridge behind them.",
            at_least=1,
            at_most=64,
        ),
    ] = 1
    serve_tokens_file: Annotated[
        str,
        About(
            _SERVER,
            "A file with the bearer tokens that senders may use, one a line, read again when it changes. "
            "Those in the variable `OTEL_WANDB_SERVE_TOKENS`, with commas between them, hold as well. "
            "Without any, nobody is asked.",
            form="path",
        ),
    ] = ""
    serve_tls_cert: Annotated[
        str,
        About(
            _SERVER,
            "The certificate of the server with its chain, in PEM, for TLS on both ports. Empty: no TLS.",
            form="path",
        ),
    ] = ""
    serve_tls_key: Annotated[
        str, About(_SERVER, "The key to that certificate, in PEM, without a password.", form="path")
    ] = ""
    serve_tls_client_ca: Annotated[
        str,
        About(
            _SERVER,
            "Certificates, in PEM, by one of which that of a client must be signed. Empty: "
            "clients need none.",
            form="path",
        ),
    ] = ""
    serve_max_request_bytes: Annotated[
        int,
        About(
            _SERVER,
            "How large a request may be, as it comes and once decompressed; larger ones are "
            "refused for good.",
            at_least=_KIB,
            at_most=64 * _MIB,
        ),
    ] = 64 * _MIB
    serve_max_buffered_bytes: Annotated[
        int,
        About(
            _SERVER,
            "What the HTTP bodies that are on their way may take together in one process; beyond that they "
            "are refused for now.",
            at_least=_MIB,
        ),
    ] = 256 * _MIB
    serve_max_connections: Annotated[
        int,
        About(_SERVER, "How many HTTP connections one process keeps.", at_least=1, at_most=100_000),
    ] = 1000
    serve_max_grpc_requests: Annotated[
        int,
        About(
            _SERVER,
            "How many gRPC requests one process reads at once; the others wait for their turn.",
            at_least=1,
            at_most=10_000,
        ),
    ] = 64
    serve_head_timeout_s: Annotated[
        float,
        About(
            _SERVER,
            "How long a TLS handshake, and the head of a request, may take.",
            at_least=0.1,
            at_most=600,
        ),
    ] = 10.0
    serve_body_timeout_s: Annotated[
        float, About(_SERVER, "How long the body of a request may take.", at_least=0.1, at_most=3600)
    ] = 60.0
    serve_idle_timeout_s: Annotated[
        float,
        About(
            _SERVER,
            "How long an HTTP connection without a request is kept.",
            at_least=0.1,
            at_most=86_400,
        ),
    ] = 75.0
    serve_stop_timeout_s: Annotated[
        float,
        About(
            _SERVER,
            "How long, at the end, requests that are on their way are waited for.",
            at_least=0,
            at_most=600,
        ),
    ] = 10.0
