"""A span of our own, sent the way that a service's spans go: exporter, journal, bridge, store, Weave."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import format_span_id, format_trace_id

from otel_wandb.datadir import DataDir
from otel_wandb.errors import StoreError
from otel_wandb.ingest.sdk import WeaveSpanExporter
from otel_wandb.store import Store

SERVICE = "otel-wandb-doctor"
_SLICE_MS = 1000


class SentSpan(NamedTuple):
    """A probe that was sent."""

    trace_id: str
    span_id: str
    settled: bool
    """It was delivered or, offline, stored."""
    took_s: float


def send_span(
    arguments: Mapping[str, object],
    file: Path | None,
    data_dir: DataDir,
    *,
    timeout_s: float,
    deliverable: bool,
) -> SentSpan:
    """Send one span with these settings, and wait until it is delivered or, offline, stored.

    Where nothing can be delivered, being stored is all that is waited for. Raises ConfigError.
    """
    begin_s = time.monotonic()
    exporter = WeaveSpanExporter(config_file=file, **{**arguments, "drain_timeout_s": 1})
    # Not `Resource.create`: what the environment says of the service is not true of the probe.
    resource = Resource({"service.name": SERVICE})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("otel_wandb.doctor").start_span(
        "otel-wandb doctor", attributes={"otel_wandb.probe": True}
    )
    span.end()
    context = span.get_span_context()
    sent = SentSpan(format_trace_id(context.trace_id), format_span_id(context.span_id), False, 0.0)
    settled = False
    while not settled and time.monotonic() - begin_s < timeout_s:
        settled = exporter.force_flush(_SLICE_MS)
        if not deliverable and find_in_store(data_dir, sent):
            break
    took_s = time.monotonic() - begin_s
    provider.shutdown()
    return sent._replace(settled=settled, took_s=took_s)


def find_in_store(data_dir: DataDir, sent: SentSpan) -> bool:
    """Whether the bridge has made a call of the probe."""
    try:
        reader = Store.open_for_reading(data_dir.store)
    except StoreError:
        return False
    try:
        return any(call.span_id == sent.span_id for call in reader.calls([sent.trace_id]))
    finally:
        reader.close()
