"""The exporter of the OpenTelemetry SDK for log records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from otel_wandb.ingest.outlet import Outlet
from otel_wandb.ingest.packing import encode
from otel_wandb.ingest.packing_metrics import log_batch
from otel_wandb.journal import Kind


class WeaveLogExporter(LogRecordExporter):
    """A standard log exporter whose records join the Weave calls of the spans that they name.

    That is how prompts and answers arrive that an instrumentation writes into events. Records that name no
    span are counted as dropped. Arguments and behaviour are those of `WeaveSpanExporter`.
    """

    def __init__(self, *, config_file: str | Path | None = None, **settings: object) -> None:
        self._outlet = Outlet(Kind.LOGS, config_file, settings)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """SUCCESS once the records are in the journal."""
        accepted = self._outlet.append(batch, _encode, log_batch)
        return LogRecordExportResult.SUCCESS if accepted else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """True only when all that was acknowledged so far was delivered or, offline, stored."""
        return self._outlet.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Wait up to `drain_timeout_s` for the bridge, and say in one line what is left."""
        self._outlet.close()


def _encode(batch: Sequence[ReadableLogRecord]) -> bytes:
    return encode([log_batch(record) for record in batch])
