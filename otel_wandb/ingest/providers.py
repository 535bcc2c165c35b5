"""Providers that give way to the application's own.

OpenTelemetry takes a global provider once. Ours is there from the start of the process, so a service that
sets a provider in its code would be refused. The providers here are the SDK's, set in such a way that the
service may still set its own: then our processors join that one, tracers, loggers and instruments that were
handed out before go over to it, and there is one provider again, the service's.

This is the one place that touches private names of OpenTelemetry: the two globals of each signal in its API,
and the names through which the SDK's configurator makes and sets providers.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import opentelemetry._logs._internal as logs_api
import opentelemetry.metrics._internal as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.sdk import _configuration as sdk_configuration
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.util._once import Once
from opentelemetry.util.types import Attributes

from otel_wandb.ingest.endings import prepare_ends
from otel_wandb.ingest.yielding import Scope, YieldingLogger, YieldingMeter, YieldingTracer

_log = logging.getLogger("otel_wandb.sdk")


class _Yielding(Protocol):
    def yield_to(self, heir: Any) -> bool:
        """Join the provider that the service has set; False if it is none that can be joined."""


class YieldingTracerProvider(TracerProvider):
    """The SDK's, until the service sets its own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._heir: trace_api.TracerProvider | None = None
        self._processors: list[SpanProcessor] = []
        prepare_ends(push=self.force_flush, shutdown=self.shutdown)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Register a processor here and, where the service has set a provider, there."""
        self._processors.append(span_processor)
        super().add_span_processor(span_processor)
        if isinstance(self._heir, TracerProvider):
            self._heir.add_span_processor(span_processor)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace_api.Tracer:
        """A tracer that goes over to the service's provider."""
        scope = Scope(instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        return YieldingTracer(super().get_tracer(*scope), scope, lambda: self._heir)

    def yield_to(self, heir: Any) -> bool:
        """Let the processors join, and the tracers follow. Spans under way end here, and are exported."""
        if hasattr(heir, "add_span_processor"):
            for processor in self._processors:
                heir.add_span_processor(processor)
        elif not isinstance(heir, trace_api.NoOpTracerProvider):
            return False
        self._heir = heir
        return True


class YieldingLoggerProvider(LoggerProvider):
    """The SDK's, until the service sets its own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._heir: logs_api.LoggerProvider | None = None
        self._processors: list[LogRecordProcessor] = []
        prepare_ends(push=self.force_flush, shutdown=self.shutdown)

    def add_log_record_processor(self, log_record_processor: LogRecordProcessor) -> None:
        """Register a processor here and, where the service has set a provider, there."""
        self._processors.append(log_record_processor)
        super().add_log_record_processor(log_record_processor)
        if isinstance(self._heir, LoggerProvider):
            self._heir.add_log_record_processor(log_record_processor)

    def get_logger(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> logs_api.Logger:
        """A logger that goes over to the service's provider."""
        scope = Scope(name, version, schema_url, attributes)
        return YieldingLogger(super().get_logger(*scope), scope, lambda: self._heir)

    def yield_to(self, heir: Any) -> bool:
        """Let the processors join, and the loggers follow."""
        if hasattr(heir, "add_log_record_processor"):
            for processor in self._processors:
                heir.add_log_record_processor(processor)
        elif not isinstance(heir, logs_api.NoOpLoggerProvider):
            return False
        self._heir = heir
        return True


class YieldingMeterProvider(MeterProvider):
    """The SDK's, until the service sets its own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._heir: metrics_api.MeterProvider | None = None
        self._handed_out: dict[object, YieldingMeter] = {}
        self._handing = threading.RLock()
        for reader in self._metric_readers:
            _prepare_ends(reader)

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> metrics_api.Meter:
        """A meter whose instruments go over to the service's provider."""
        scope = Scope(name, version, schema_url, attributes)
        key = (name, version, schema_url, str(sorted((attributes or {}).items())))
        with self._handing:
            if self._heir is not None:
                return self._heir.get_meter(*scope)
            if key not in self._handed_out:
                self._handed_out[key] = YieldingMeter(super().get_meter(*scope), scope)
            return self._handed_out[key]

    def yield_to(self, heir: Any) -> bool:
        """Collect one last time, give the service's provider readers like ours, and move the instruments."""
        if hasattr(heir, "add_metric_reader"):
            self.shutdown()
            _join_meter_provider(heir, _make_readers())
        elif not isinstance(heir, metrics_api.NoOpMeterProvider):
            return False
        with self._handing:
            self._heir = heir
            for meter in self._handed_out.values():
                meter.go_over(heir)
        return True

    def _handle_fork(self) -> None:
        super()._handle_fork()
        self._handing = threading.RLock()
        for meter in self._handed_out.values():
            meter.renew_lock()


def _join_meter_provider(provider: MeterProvider, readers: list[MetricReader]) -> None:
    # What a service exports by itself must not be exported twice: two sums of the same would be added up.
    present = {_exporter_of(reader) for reader in provider._metric_readers} - {None}
    for reader in readers:
        if _exporter_of(reader) in present:
            reader.shutdown()
            continue
        provider.add_metric_reader(reader)
        _prepare_ends(reader)
        atexit.register(reader.shutdown)  # the SDK's provider shuts down the readers of its beginning only


def _exporter_of(reader: MetricReader) -> type | None:
    return type(reader._exporter) if isinstance(reader, PeriodicExportingMetricReader) else None


def _prepare_ends(reader: MetricReader) -> None:
    if isinstance(reader, PeriodicExportingMetricReader):
        prepare_ends(push=reader.collect, shutdown=reader.shutdown)


def _make_readers() -> list[MetricReader]:
    """The readers that the environment asks for, made anew: the SDK lets none be used a second time."""
    names = sdk_configuration._get_exporter_names("metrics")
    _, found, _ = sdk_configuration._import_exporters([], names, [])
    return [
        made() if issubclass(made, MetricReader) else PeriodicExportingMetricReader(made())
        for made in found.values()
    ]


class _Announcing(Once):
    """Says when the service has set a provider."""

    def __init__(self, announce: Callable[[], None]) -> None:
        super().__init__()
        self._announce = announce

    def do_once(self, func: Callable[[], None]) -> bool:
        """Do it if it was not done yet, and say so."""
        done = super().do_once(func)
        if done:
            self._announce()
        return done


class _Signal(NamedTuple):
    """Where a signal has its global provider, and what makes ours."""

    name: str
    api: ModuleType
    yielding: Callable[..., _Yielding]

    @property
    def maker(self) -> str:
        return f"{self.name.capitalize()}Provider"

    @property
    def setter(self) -> str:
        return f"set_{self.name}_provider"

    @property
    def slot(self) -> str:
        return f"_{self.name.upper()}_PROVIDER"

    def find(self) -> Any:
        """The provider that is set, also by OpenTelemetry's own variable for it; None if there is none."""
        getattr(self.api, f"get_{self.name}_provider")()
        return getattr(self.api, self.slot)


_SIGNALS = (
    _Signal("tracer", trace_api, YieldingTracerProvider),
    _Signal("meter", metrics_api, YieldingMeterProvider),
    _Signal("logger", logs_api, YieldingLoggerProvider),
)


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Within it, the SDK's configurator joins the providers that are set, and sets ours where none is."""
    stand_ins: dict[str, Callable[..., object]] = {}
    for signal in _SIGNALS:
        stand_ins[signal.maker] = functools.partial(_make, signal)
        stand_ins[signal.setter] = functools.partial(_set, signal)
    originals = {name: getattr(sdk_configuration, name) for name in stand_ins}
    vars(sdk_configuration).update(stand_ins)
    try:
        yield
    finally:
        vars(sdk_configuration).update(originals)


def _make(signal: _Signal, **arguments: Any) -> object:
    present = signal.find()
    if isinstance(present, TracerProvider | LoggerProvider):
        prepare_ends(push=present.force_flush, shutdown=present.shutdown)
        return present  # the configurator adds its processors to it
    if hasattr(present, "add_metric_reader"):
        _join_meter_provider(present, list(arguments["metric_readers"]))
        return present
    if present is not None:
        _warn(signal, present)
    return signal.yielding(**arguments)


def _set(signal: _Signal, provider: Any) -> None:
    """Set ours in the place of the global provider, without using up the one time that it can be set."""
    if signal.find() is not None:
        return

    def announce() -> None:
        heir = signal.find()
        try:
            if heir is not provider and not provider.yield_to(heir):
                _warn(signal, heir)
        except Exception:  # noqa: BLE001  never into the service, which has set its provider and goes on
            _log.exception(
                "The service's %s provider could not be joined; nothing of it is sent.", signal.name
            )

    setattr(signal.api, signal.slot, provider)
    setattr(signal.api, f"{signal.slot}_SET_ONCE", _Announcing(announce))
    if signal.api is metrics_api:  # instruments that were made before any provider was there
        metrics_api._PROXY_METER_PROVIDER.on_set_meter_provider(provider)


def _warn(signal: _Signal, provider: object) -> None:
    _log.warning(
        "The service has set a %s provider that cannot be joined (%s.%s); nothing of it is sent to W&B.",
        signal.name,
        type(provider).__module__,
        type(provider).__qualname__,
    )
