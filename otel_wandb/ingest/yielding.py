"""What our providers hand out: tracers, loggers and instruments that follow when the service sets a provider.

An instrumentation asks for its tracer, logger or instruments once, often before the code of the service runs.
What it holds then must not be bound to a provider that the service replaces a second later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from opentelemetry._logs import Logger, LoggerProvider
from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.metrics._internal import instrument as instruments
from opentelemetry.trace import Span, Tracer, TracerProvider
from opentelemetry.util._decorator import _AgnosticContextManager
from opentelemetry.util.types import Attributes


class Scope(NamedTuple):
    """What a tracer, logger or meter is asked for with."""

    name: str
    version: str | None = None
    schema_url: str | None = None
    attributes: Attributes = None


class YieldingTracer(Tracer):
    """A tracer of ours, and one of the heir's as soon as there is an heir."""

    def __init__(self, own: Tracer, scope: Scope, heir: Callable[[], TracerProvider | None]) -> None:
        self._tracer = own
        self._scope = scope
        self._heir = heir
        self._source: TracerProvider | None = None

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        """As the API has it."""
        return self._now().start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> _AgnosticContextManager[Span]:
        """As the API has it."""
        return self._now().start_as_current_span(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._now(), name)  # some wrappers read the SDK's `id_generator` or `resource`

    def _now(self) -> Tracer:
        heir = self._heir()
        if heir is not None and heir is not self._source:
            self._tracer = heir.get_tracer(*self._scope)
            self._source = heir
        return self._tracer


class YieldingLogger(Logger):
    """A logger of ours, and one of the heir's as soon as there is an heir."""

    def __init__(self, own: Logger, scope: Scope, heir: Callable[[], LoggerProvider | None]) -> None:
        super().__init__(*scope)
        self._logger = own
        self._scope = scope
        self._heir = heir
        self._source: LoggerProvider | None = None

    def emit(self, *args: Any, **kwargs: Any) -> None:
        """As the API has it."""
        self._now().emit(*args, **kwargs)

    def enabled(self, **kwargs: Any) -> bool:
        """As the API has it."""
        return self._now().enabled(**kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._now(), name)  # the SDK's handler reads `resource`

    def _now(self) -> Logger:
        heir = self._heir()
        if heir is not None and heir is not self._source:
            self._logger = heir.get_logger(*self._scope)
            self._source = heir
        return self._logger


_Instrument = instruments._ProxyInstrument[Any]

_PROXIES: Final[dict[str, Callable[..., Any]]] = {
    "counter": instruments._ProxyCounter,
    "up_down_counter": instruments._ProxyUpDownCounter,
    "histogram": instruments._ProxyHistogram,
    "gauge": instruments._ProxyGauge,
    "observable_counter": instruments._ProxyObservableCounter,
    "observable_up_down_counter": instruments._ProxyObservableUpDownCounter,
    "observable_gauge": instruments._ProxyObservableGauge,
}
"""The API's own stand-ins, which are there for instruments that are made before their provider."""


class YieldingMeter(Meter):
    """A meter of ours, whose instruments move to another provider's when they are told to."""

    def __init__(self, own: Meter, scope: Scope) -> None:
        super().__init__(scope.name, scope.version, scope.schema_url)
        self._scope = scope
        self._meter = own
        self._made: dict[tuple[str, str, str, str], _Instrument] = {}
        self._lock = threading.Lock()

    def go_over(self, heir: MeterProvider) -> None:
        """Move all instruments; what they have counted so far stays where it was."""
        with self._lock:
            self._meter = heir.get_meter(*self._scope)
            for instrument in self._made.values():
                instrument.on_meter_set(self._meter)

    def renew_lock(self) -> None:
        """After a fork, at which another thread may have held it."""
        self._lock = threading.Lock()

    def create_counter(self, *args: Any, **kwargs: Any) -> Any:
        """As the API has it."""
        return self._make("counter", *args, **kwargs)

    def create_up_down_counter(self, *args: Any, **kwargs: Any) -> Any:
        """As the API has it."""
        return self._make("up_down_counter", *args, **kwargs)

    def create_histogram(self, name: str, unit: str = "", description: str = "", **advisory: Any) -> Any:
        """As the API has it."""
        return self._make("histogram", name, unit, description, **advisory)

    def create_gauge(self, *args: Any, **kwargs: Any) -> Any:
        """As the API has it."""
        return self._make("gauge", *args, **kwargs)

    def create_observable_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> Any:
        """As the API has it."""
        return self._make("observable_counter", name, unit, description, callbacks=callbacks)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> Any:
        """As the API has it."""
        return self._make("observable_up_down_counter", name, unit, description, callbacks=callbacks)

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> Any:
        """As the API has it."""
        return self._make("observable_gauge", name, unit, description, callbacks=callbacks)

    def _make(self, kind: str, name: str, unit: str = "", description: str = "", **more: Any) -> Any:
        """The instrument; asked for again, it is the same one, as with the SDK."""
        key = (kind, name.lower(), unit, description)
        with self._lock:
            if key not in self._made:
                made = _PROXIES[kind](name, unit=unit, description=description, **more)
                made.on_meter_set(self._meter)
                self._made[key] = made
            return self._made[key]
