"""The exporter of the OpenTelemetry SDK for spans: it encodes them and appends them to the journal.

The exporting thread pays for one MessagePack encoding and one write; everything else is the bridge's. An
exporter never raises, and never waits for the network: `force_flush` and `shutdown` wait for the bridge,
within the time that they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_wandb.ingest.outlet import Outlet
from otel_wandb.ingest.packing import encode_spans, span_batch
from otel_wandb.journal import Kind


class WeaveSpanExporter(SpanExporter):
    """A standard `SpanExporter` whose spans become Weave calls.

    `export` answers SUCCESS once the spans are in the journal of the data directory, from where a bridge
    process converts and delivers them; FAILURE where the journal refused them, which is counted in
    `otel-wandb status`. Arguments are settings (`otel-wandb config show` lists them); what is not given comes
    from the environment, from a file, or from the defaults. Without an API key everything stays in the
    local store. Safe to use from several threads and after a fork.

    Raises `ConfigError` from the constructor only.
    """

    def __init__(self, *, config_file: str | Path | None = None, **settings: object) -> None:
        self._outlet = Outlet(Kind.SPANS, config_file, settings)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """SUCCESS once the spans are in the journal."""
        accepted = self._outlet.append(spans, encode_spans, span_batch)
        return SpanExportResult.SUCCESS if accepted else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """True only when all that was acknowledged so far was delivered or, offline, stored."""
        return self._outlet.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Wait up to `drain_timeout_s` for the bridge, and say in one line what is left."""
        self._outlet.close()
