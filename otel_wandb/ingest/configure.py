"""`otel_wandb.configure(project="team/rag")`: all three signals of this process, in one call."""

from __future__ import annotations

import atexit
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
from otel_wandb.ingest.sdk import WeaveSpanExporter
from otel_wandb.ingest.sdk_logs import WeaveLogExporter
from otel_wandb.ingest.sdk_metrics import WandbMetricExporter

# What the API gives where no provider was set; it exports neither class.
_NO_METERS = "_ProxyMeterProvider"
_NO_LOGGERS = "ProxyLoggerProvider"


@dataclass(frozen=True, slots=True)
class Configured:
    """What `configure` has set up; kept only by those who want to flush or shut down early."""

    spans: BatchSpanProcessor
    metric_points: PeriodicExportingMetricReader
    log_records: BatchLogRecordProcessor
    exporter: WeaveSpanExporter

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """True only when all that was recorded so far was delivered or, offline, stored.

        Data points of the interval that is still open are in the journal then; their row is made at its end.
        """
        exported = self.spans.force_flush(timeout_millis) and self.log_records.force_flush(timeout_millis)
        self.metric_points.collect()
        return exported and self.exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Export what is left, and wait up to `drain_timeout_s` for the bridge."""
        atexit.unregister(self.shutdown)
        for part in (self.log_records, self.metric_points, self.spans):
            part.shutdown()


def configure(*, config_file: str | Path | None = None, **settings: object) -> Configured:
    """Send the spans, metrics and log records of this process to W&B, through the global providers.

    A provider that the service has set already is joined; where there is none, the SDK's is set. At exit
    everything is shut down. Arguments are settings (`otel-wandb config show` lists them).

    Raises `ConfigError` for a setting that is not right, and for a global provider that cannot be joined.
    """
    exporter = WeaveSpanExporter(config_file=config_file, **settings)
    configured = Configured(
        spans=BatchSpanProcessor(exporter),
        metric_points=PeriodicExportingMetricReader(WandbMetricExporter(config_file=config_file, **settings)),
        log_records=BatchLogRecordProcessor(WeaveLogExporter(config_file=config_file, **settings)),
        exporter=exporter,
    )
    resource = Resource.create()
    _tracer_provider(resource).add_span_processor(configured.spans)
    _join_meter_provider(resource, configured.metric_points)
    _logger_provider(resource).add_log_record_processor(configured.log_records)
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
