"""The table of settings, its part about the HTTP requests of a service."""

from typing import Annotated, Final, Literal

from otel_wandb.setting import About
from otel_wandb.settings_places import Places

_MIB: Final = 1 << 20
_KIB: Final = 1 << 10

_REQUESTS: Final = "Requests over HTTP"


class Requests(Places, frozen=True, kw_only=True, dict=True):
    """The settings that `Settings` has of requests. They hold where `otel-wandb run` instruments FastAPI."""

    http_bodies: Annotated[
        Literal["none", "request", "response", "both"],
        About(
            _REQUESTS,
            "Which bodies of requests that FastAPI answers become input and output of their calls. Texts, "
            "JSON and forms do; of anything else only type and size are told. Responses go on as they come, "
            "piece by piece. See [instrumentation](instrument.md).",
        ),
    ] = "none"
    http_body_bytes: Annotated[
        int,
        About(
            _REQUESTS,
            "How much of a body is kept; the rest is only counted.",
            at_least=1,
            at_most=4 * _MIB,
        ),
    ] = 16 * _KIB
    http_response_headers: Annotated[
        str,
        About(
            _REQUESTS,
            "Headers that responses get, with commas between them: `traceparent` names the span of the "
            "request, so that a client can say which answer it means; `x-request-id` is that of the request, "
            "else the id of the trace.",
            form="words",
        ),
    ] = ""
