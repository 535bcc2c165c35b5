"""The exporters of the OpenTelemetry SDK: each encodes what it is given and appends it to the journal.

The exporting thread pays for one MessagePack encoding and one write; everything else is the bridge's. An
exporter never raises, and never waits for the network: `force_flush` and `shutdown` wait for the bridge,
within the time that they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_wandb.config import resolve
from otel_wandb.datadir import DataDir
from otel_wandb.front import Front, open_front, release_front
from otel_wandb.ingest.packing import encode_cleaned, encode_spans, span_batch
from otel_wandb.journal import Kind

T = TypeVar("T")


class Outlet:
    """An exporter's hold on the front of its process: encode, append, flush, let go. Never raises."""

    def __init__(self, config_file: str | Path | None, settings: dict[str, object]) -> None:
        resolved = resolve(settings, file=Path(config_file) if config_file else None)
        self._settings = resolved.settings
        self._front: Front | None = open_front(self._settings, DataDir(Path(self._settings.data_dir)))

    def append(
        self,
        kind: Kind,
        items: Sequence[T],
        encode_all: Callable[[Sequence[T]], bytes],
        batch_of: Callable[[T], object],
        count: Callable[[T], int] = lambda _: 1,
    ) -> bool:
        """True once all that can be encoded is in the journal. What cannot be is counted."""
        front = self._front
        if front is None:
            return False
        number = sum(map(count, items))
        try:
            payload = encode_all(items)
        except Exception:  # noqa: BLE001  never into the service: what cannot be encoded as it is, is cleaned
            payload, kept = encode_cleaned(items, batch_of)
            lost = number if kept == 0 else len(items) - kept
            if lost:
                why = "it holds what no encoding has (was it made by the SDK?)"
                front.refuse(kind.signal, lost, reason="unencodable", why=why)
                number -= lost
        return front.append(payload, kind=kind, items=number)

    def flush(self, timeout_s: float) -> bool:
        """True only when all that was acknowledged so far was delivered or, offline, stored."""
        return self._front is None or self._front.flush(timeout_s)

    def close(self) -> None:
        """Wait up to `drain_timeout_s` for the bridge, and say in one line what is left."""
        front, self._front = self._front, None
        if front is not None:
            release_front(front, timeout_s=self._settings.drain_timeout_s)


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
        self._outlet = Outlet(config_file, settings)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """SUCCESS once the spans are in the journal."""
        accepted = self._outlet.append(Kind.SPANS, spans, encode_spans, span_batch)
        return SpanExportResult.SUCCESS if accepted else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """True only when all that was acknowledged so far was delivered or, offline, stored."""
        return self._outlet.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Wait up to `drain_timeout_s` for the bridge, and say in one line what is left."""
        self._outlet.close()
