"""`otel_wandb.configure(project="team/rag")`: all three signals of this process, in one call."""

from __future__ import annotations

import atexit
import logging
from dataclasses import dataclass
from pathlib import Path

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_wandb.errors import ConfigError
from otel_wandb.ingest.outlet import has_outlet
from otel_wandb.ingest.sdk import WeaveSpanExporter
from otel_wandb.ingest.sdk_logs import WeaveLogExporter
from otel_wandb.ingest.sdk_metrics import WandbMetricExporter
from otel_wandb.journal import Kind

_log = logging.getLogger("otel_wandb.sdk")

# What the API gives where no provider was set; it exports neither class.
_NO_METERS = "_ProxyMeterProvider"
_NO_LOGGERS = "ProxyLoggerProvider"


@dataclass(frozen=True, slots=True)
class Configured:
    """What `configure` has set up; kept only by those who want to flush or shut down early.

    A part is None where an exporter of ours was there before.
    """

    exporter: WeaveSpanExporter
    spans: BatchSpanProcessor | None
    metric_points: PeriodicExportingMetricReader | None
    log_records: BatchLogRecordProcessor | None

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """True only when all that was recorded so far was delivered or, offline, stored.

        Data points of the interval that is still open are in the journal then; their row is made at its end.
        """
        processors = [part for part in (self.spans, self.log_records) if part is not None]
        exported = [part.force_flush(timeout_millis) for part in processors]
        if self.metric_points is not None:
            self.metric_points.collect()
        return all(exported) and self.exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Export what is left, and wait up to `drain_timeout_s` for the bridge."""
        atexit.unregister(self.shutdown)
        for part in (self.log_records, self.metric_points, self.spans or self.exporter):
            if part is not None:
                part.shutdown()


def configure(*, config_file: str | Path | None = None, **settings: object) -> Configured:
    """Send the spans, metrics and log records of this process to W&B, through the global providers.

    A provider that the service has set already is joined; where there is none, the SDK's is set. A signal
    that an exporter of ours takes already, as under `otel-wandb run`, is left as it is, since two would count
    every data point twice. At exit everything is shut down. Arguments are settings (`otel-wandb config show`
    lists them).

    Raises `ConfigError` for a setting that is not right, and for a global provider that cannot be joined.
    """
    taken = {kind for kind in (Kind.SPANS, Kind.METRICS, Kind.LOGS) if has_outlet(kind)}
    for kind in sorted(taken):
        _log.warning(
            "This process exports its %s to W&B already; configure() adds nothing there.", kind.signal
        )
    exporter = WeaveSpanExporter(config_file=config_file, **settings)
    resource = Resource.create()
    spans = metric_points = log_records = None
    if Kind.SPANS not in taken:
        spans = BatchSpanProcessor(exporter)
        _tracer_provider(resource).add_span_processor(spans)
    if Kind.METRICS not in taken:
        metric_points = PeriodicExportingMetricReader(
            WandbMetricExporter(config_file=config_file, **settings)
        )
        _join_meter_provider(resource, metric_points)
    if Kind.LOGS not in taken:
        log_records = BatchLogRecordProcessor(WeaveLogExporter(config_file=config_file, **settings))
        _logger_provider(resource).add_log_record_processor(log_records)
    configured = Configured(exporter, spans, metric_points, log_records)
    atexit.register(configured.shutdown)
    return configured


def _tracer_provider(resource: Resource) -> TracerProvider:
    present = trace.get_tracer_provider()
    if isinstance(present, trace.ProxyTracerProvider):
        trace.set_tracer_provider(TracerProvider(resource=resource, shutdown_on_exit=False))
        present = trace.get_tracer_provider()
    if not isinstance(present, TracerProvider):
        raise _cannot_join("tracer", present)
    return present


def _join_meter_provider(resource: Resource, reader: PeriodicExportingMetricReader) -> None:
    present = metrics.get_meter_provider()
    if isinstance(present, MeterProvider):
        present.add_metric_reader(reader)
    elif type(present).__name__ == _NO_METERS:
        provider = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
        metrics.set_meter_provider(provider)
    else:
        raise _cannot_join("meter", present)


def _logger_provider(resource: Resource) -> LoggerProvider:
    present = _logs.get_logger_provider()
    if type(present).__name__ == _NO_LOGGERS:
        _logs.set_logger_provider(LoggerProvider(resource=resource, shutdown_on_exit=False))
        present = _logs.get_logger_provider()
    if not isinstance(present, LoggerProvider):
        raise _cannot_join("logger", present)
    return present


def _cannot_join(signal: str, present: object) -> ConfigError:
    kind = f"{type(present).__module__}.{type(present).__qualname__}"
    return ConfigError(
        f"the global {signal} provider is a {kind}, which takes no exporters; set one of opentelemetry.sdk"
    )
