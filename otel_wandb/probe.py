"""A span and a metric of our own, sent the way that those of a service go: from exporter to W&B.

They are of a service of their own, so that they are in no chart of another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

from opentelemetry.sdk.metrics.export import (
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import format_span_id, format_trace_id

from otel_wandb.datadir import DataDir
from otel_wandb.errors import StoreError
from otel_wandb.ingest.sdk import WeaveSpanExporter
from otel_wandb.ingest.sdk_metrics import WandbMetricExporter
from otel_wandb.settings import Settings
from otel_wandb.store import Store, StoredRow, StoreReader
from otel_wandb.store.rows import decode_values

T = TypeVar("T")

SERVICE = "otel-wandb-doctor"
KEY = "metrics/otel_wandb_doctor_sent_at"
_INSTRUMENT = "otel_wandb.doctor.sent_at"
_SCOPE = "otel_wandb.doctor"
_SLICE_MS = 1000
_MARGIN_S = 2.0


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
    exporter = WeaveSpanExporter(config_file=file, **{**arguments, "drain_timeout_s": 1, "table_rows": 0})
    # Not `Resource.create`: what the environment says of the service is not true of the probe.
    resource = Resource({"service.name": SERVICE})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer(_SCOPE).start_span("otel-wandb doctor", attributes={"otel_wandb.probe": True})
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
    return bool(
        _ask(data_dir, lambda reader: any(c.span_id == sent.span_id for c in reader.calls([sent.trace_id])))
    )


def send_metric(
    arguments: Mapping[str, object],
    file: Path | None,
    data_dir: DataDir,
    *,
    settings: Settings,
    timeout_s: float,
    deliverable: bool,
) -> tuple[StoredRow | None, float]:
    """Send one point with these settings, and wait until its row is in W&B or, where it cannot be, stored.

    The row if there is one, and the seconds that it took. The point is of an interval that is over, so that
    its row is made at once; of two probes in one interval the second has to wait for the end of the next.
    Raises ConfigError.
    """
    begin_s = time.monotonic()
    exporter = WandbMetricExporter(config_file=file, **{**arguments, "drain_timeout_s": 1})
    sent_at_s = time.time()
    exporter.export(_gauge(sent_at_s, sent_at_s - settings.interval_s - settings.lateness_s - _MARGIN_S))
    row = None
    while time.monotonic() - begin_s < timeout_s:
        settled = exporter.force_flush(_SLICE_MS)
        row = find_row(data_dir, sent_at_s)
        if row is not None and (row.state != "waiting" or not deliverable):
            break
        if settled:
            time.sleep(_SLICE_MS / 1000)  # what was acknowledged is done, but for intervals that are open
    took_s = time.monotonic() - begin_s
    exporter.shutdown()
    return row, took_s


def find_row(data_dir: DataDir, sent_at_s: float) -> StoredRow | None:
    """The row that the bridge has made of the probe."""

    def find(reader: StoreReader) -> StoredRow | None:
        runs = [run for run in reader.runs() if run.run_id.startswith(SERVICE)]
        rows = (row for run in runs for row in reader.rows(run.id))
        return next((row for row in rows if decode_values(row.values).get(KEY) == sent_at_s), None)

    return _ask(data_dir, find)


def _ask(data_dir: DataDir, question: Callable[[StoreReader], T]) -> T | None:
    """The store's answer; None while there is no store."""
    try:
        reader = Store.open_for_reading(data_dir.store)
    except StoreError:
        return None
    with closing(reader):
        return question(reader)


def _gauge(value: float, time_s: float) -> MetricsData:
    point = NumberDataPoint({}, 0, int(time_s * 1e9), value)
    metric = Metric(_INSTRUMENT, "When the probe was sent.", "s", Gauge([point]))
    scope = ScopeMetrics(InstrumentationScope(_SCOPE), [metric], "")
    return MetricsData([ResourceMetrics(Resource({"service.name": SERVICE}), [scope], "")])
