"""The exporter of the OpenTelemetry SDK for metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.view import Aggregation

from otel_wandb.ingest.aggregations import ByInstrument
from otel_wandb.ingest.outlet import Outlet
from otel_wandb.ingest.packing import encode
from otel_wandb.ingest.packing_metrics import count_points, metric_batch, metric_batches
from otel_wandb.journal import Kind

_TEMPORALITY: Final[dict[type, AggregationTemporality]] = {
    Counter: AggregationTemporality.DELTA,
    Histogram: AggregationTemporality.DELTA,
    ObservableCounter: AggregationTemporality.DELTA,
    # What goes up and down is asked for as it stands.
    UpDownCounter: AggregationTemporality.CUMULATIVE,
    ObservableUpDownCounter: AggregationTemporality.CUMULATIVE,
    ObservableGauge: AggregationTemporality.CUMULATIVE,
}


class WandbMetricExporter(MetricExporter):
    """A standard `MetricExporter` whose data points become rows of W&B charts.

    It asks for delta temporality and for base-2 exponential histograms, which merge exactly over processes
    and give percentiles within a stated bound; where metric views need other edges (`views`), for those of
    these instruments. A `View` of the provider that names an aggregation goes first. Arguments and behaviour
    are those of `WeaveSpanExporter`.
    """

    def __init__(self, *, config_file: str | Path | None = None, **settings: object) -> None:
        self._outlet = Outlet(Kind.METRICS, config_file, settings)
        aggregation: dict[type, Aggregation] = {Histogram: ByInstrument(self._outlet.settings.views)}
        super().__init__(preferred_temporality=dict(_TEMPORALITY), preferred_aggregation=aggregation)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,
        **_: object,
    ) -> MetricExportResult:
        """SUCCESS once the data points are in the journal."""
        parts = metric_batches(metrics_data)
        accepted = self._outlet.append(parts, _encode, metric_batch, count_points)
        return MetricExportResult.SUCCESS if accepted else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """True only when all that was acknowledged so far was delivered or, offline, stored."""
        return self._outlet.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: object) -> None:
        """Wait up to `drain_timeout_s` for the bridge, and say in one line what is left."""
        self._outlet.close()


def _encode(parts: Sequence[tuple[ResourceMetrics, ScopeMetrics]]) -> bytes:
    return encode([metric_batch(part) for part in parts])
