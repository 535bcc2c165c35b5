"""`opentelemetry-instrument` with us: a distro that knows good defaults, and a configurator that joins.

.. code-block:: text

    OTEL_PYTHON_DISTRO=otel_wandb opentelemetry-instrument uvicorn app:app

which is what `otel-wandb run -- uvicorn app:app` does. All three signals go to us, unless OpenTelemetry's
variables say otherwise: what the user sets is never changed, and `OTEL_TRACES_EXPORTER=weave,otlp` sends
spans to both.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # untyped module
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
from opentelemetry.util._importlib_metadata import EntryPoint, entry_points

from otel_wandb.config import resolve
from otel_wandb.errors import OtelWandbError
from otel_wandb.ingest.endings import watch_sigterm
from otel_wandb.ingest.providers import giving_way

_log = logging.getLogger("otel_wandb.sdk")

NAME: Final = "otel_wandb"
"""What `OTEL_PYTHON_DISTRO` and `OTEL_PYTHON_CONFIGURATOR` call us."""

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
CAPTURE_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
EXCLUDED_URLS: Final = "OTEL_PYTHON_EXCLUDED_URLS"
GENAI_OPT_IN: Final = "gen_ai_latest_experimental"

DEFAULTS: Final = {
    "OTEL_PYTHON_CONFIGURATOR": NAME,
    # The stable names, and of GenAI the newest: those are what the conventions are read by first.
    OPT_IN: f"http,database,{GENAI_OPT_IN}",
    # Milliseconds, instead of 5 seconds: exporting is one append here, and what waits in memory dies with it.
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_BLRP_SCHEDULE_DELAY": "200",
}
"""What is set where the user has set nothing; as for OpenTelemetry, an empty variable is not set."""

_EXPORTERS: Final = {"traces": "weave", "metrics": "wandb", "logs": "weave"}
_SLACK_S: Final = 2.0
_ON_ASGI: Final = frozenset(("asgi", "fastapi", "starlette"))
_SERVER_SPANS: Final = ["receive", "send"]


def set_defaults(environ: MutableMapping[str, str]) -> None:
    """Set what is not set. Questions and answers of models are captured, since they are what Weave shows.

    `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=NO_CONTENT` (or `false`) leaves them out.
    """
    for name, value in DEFAULTS.items():
        if not environ.get(name, "").strip():
            environ[name] = value
    for signal, exporter in _EXPORTERS.items():
        variable = f"OTEL_{signal.upper()}_EXPORTER"
        # Asking for one that is not registered (an installation older than the code) would end everything.
        known = entry_points(group=f"opentelemetry_{signal}_exporter", name=exporter)
        if known and not environ.get(variable, "").strip():
            environ[variable] = exporter
    if not environ.get(EXCLUDED_URLS, "").strip():
        environ[EXCLUDED_URLS] = ",".join(_addresses_of_wandb(environ))
    if not environ.get(CAPTURE_CONTENT, "").strip():
        newest = GENAI_OPT_IN in [part.strip() for part in environ[OPT_IN].split(",")]
        environ[CAPTURE_CONTENT] = (
            "SPAN_ONLY" if newest else "true"
        )  # the older generation knows true and false


class WandbDistro(BaseDistro):  # type: ignore[misc]  # untyped module
    """The distro `otel_wandb`: defaults, and no spans for the single messages of an ASGI request."""

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        """Load one instrumentation."""
        if entry_point.name in _ON_ASGI:
            _instrument_exchanges()
        if entry_point.name == "weave":
            kwargs.setdefault("project", _project_of_settings())
        instrumentor: Any = entry_point.load()
        instrument_app = getattr(instrumentor, "instrument_app", None)
        accepted = inspect.signature(instrument_app).parameters if instrument_app is not None else ()
        if "exclude_spans" in accepted and _folds_server_spans():
            kwargs.setdefault("exclude_spans", _SERVER_SPANS)
        instrumentor().instrument(**kwargs)

    def _configure(self, **kwargs: Any) -> None:
        set_defaults(os.environ)


def find_distro() -> object:
    """The distro if it is asked for by name.

    Without a name OpenTelemetry takes the first distro that is installed, but who has installed us has not
    said that everything is to be sent to W&B. What is no distro is passed over.
    """
    return WandbDistro() if os.environ.get("OTEL_PYTHON_DISTRO") == NAME else None


class WandbConfigurator(_OTelSDKConfigurator):
    """The SDK's configurator, with providers that give way to those of the service."""

    _configured = False

    def _configure(self, **kwargs: Any) -> None:
        if self._configured or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return
        self._configured = True
        if os.environ.get("OTEL_CONFIG_FILE"):  # the file says everything, exporters included
            super()._configure(**kwargs)  # type: ignore[no-untyped-call]  # untyped in the SDK
            return
        try:
            watch_sigterm(patience_s=resolve().settings.drain_timeout_s + _SLACK_S)
            with giving_way():
                super()._configure(**kwargs)  # type: ignore[no-untyped-call]  # untyped in the SDK
        except OtelWandbError as error:
            _log.error("Nothing is sent to W&B: %s", error)


def _addresses_of_wandb(environ: Mapping[str, str]) -> list[str]:
    """Patterns of requests that are no spans: the service's own wandb and weave, and a bridge in a thread."""
    urls = {"https://api.wandb.ai", "https://trace.wandb.ai"}
    with contextlib.suppress(OtelWandbError):
        settings = resolve(environ=environ).settings
        urls |= {settings.base_url, settings.trace_url} - {""}
    return [f"^{re.escape(url)}(/|$)" for url in sorted(urls)]


def _folds_server_spans() -> bool:
    try:
        return resolve().settings.fold_asgi
    except OtelWandbError:  # the configurator has said it
        return True


def _project_of_settings() -> str:
    """Where spans become calls, as `entity/project`; empty where the entity is that of a key."""
    with contextlib.suppress(OtelWandbError):
        settings = resolve().settings
        return f"{settings.entity}/{settings.project}" if settings.entity else ""
    return ""


@functools.cache
def _instrument_exchanges() -> None:
    """Have bodies and headers told, once, where the settings ask for it."""
    try:
        settings = resolve().settings
    except OtelWandbError:  # the configurator has said it
        return
    if settings.http_bodies == "none" and not settings.http_response_headers:
        return
    from otel_wandb.instrument.fastapi import KNOWN_HEADERS, Exchanges, instrument_exchanges

    asked = Exchanges(
        request_bodies=settings.http_bodies in ("request", "both"),
        response_bodies=settings.http_bodies in ("response", "both"),
        body_bytes=settings.http_body_bytes,
        headers=tuple(word.lower() for word in settings.http_response_headers.split(",") if word),
    )
    if unknown := sorted(set(asked.headers) - set(KNOWN_HEADERS)):
        _log.warning(
            "http_response_headers names %s, which is not known; there are %s.",
            ", ".join(unknown),
            " and ".join(KNOWN_HEADERS),
        )
    instrument_exchanges(asked)
