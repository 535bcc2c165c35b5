"""Edges that views need, by the real SDK: what the service has said itself goes first."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from otel_wandb import WandbMetricExporter
from otel_wandb.datadir import DataDir
from otel_wandb.ingest.aggregations import make_sdk_views
from otel_wandb.metrics.exponential import bound
from otel_wandb.status import read_status
from otel_wandb.store import Store
from otel_wandb.store.rows import decode_values
from otel_wandb.views import Degradation, Drift, Predictions, Reference, Slo
from otel_wandb.views import View as MetricView
from otel_wandb.views.edges import list_edges, thin_reference
from tests.deadlines import wait_for

DURATION = "http.server.request.duration"
SLO = Slo(DURATION, objective=0.99, threshold_s=0.075)
OWN = View(
    instrument_type=Histogram,
    instrument_name=DURATION,
    aggregation=ExplicitBucketHistogramAggregation([1.0, 2.0]),
)


class Kept(WandbMetricExporter):
    """Our exporter, which keeps what it would hand on."""

    def __init__(self, views: Sequence[MetricView]) -> None:
        super().__init__(views=list(views))
        self.data: list[MetricsData] = []

    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: object) -> MetricExportResult:
        self.data.append(metrics_data)
        return MetricExportResult.SUCCESS


def measure(
    views: Sequence[MetricView], own: Sequence[View] = (), *, name: str = DURATION, unit: str = "s"
) -> tuple[Any, Any]:
    """The point of our exporter, and that of another reader of the service."""
    exporter = Kept(views)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    other = InMemoryMetricReader()
    provider = MeterProvider([reader, other], views=own, shutdown_on_exit=False)
    histogram = provider.get_meter("tests").create_histogram(name, unit=unit)
    for value in (0.05, 0.075, 0.08, 2.0):
        histogram.record(value * (1000 if unit == "ms" else 1))
    reader.collect()
    told = other.get_metrics_data()
    assert told is not None
    points = [
        data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]
        for data in (exporter.data[0], told)
    ]
    provider.shutdown()
    return points[0], points[1]


class TestSdk:
    def test_without_a_view_that_needs_edges_they_are_exponential(self) -> None:
        point, _ = measure([Drift(DURATION)])
        assert isinstance(point, ExponentialHistogramDataPoint)
        point, _ = measure([SLO], name="other.duration")
        assert isinstance(point, ExponentialHistogramDataPoint)

    @pytest.mark.parametrize("unit", ["s", "ms"])
    def test_the_edges_arrive_and_no_other_reader_is_touched(self, unit: str) -> None:
        point, other = measure([SLO], unit=unit)
        factor = 1000 if unit == "ms" else 1
        assert isinstance(point, HistogramDataPoint)
        assert 0.075 * factor in point.explicit_bounds
        slow = point.explicit_bounds.index(0.075 * factor)
        assert sum(point.bucket_counts[slow + 1 :]) == 2
        assert len(other.explicit_bounds) == 15  # what the SDK does by itself

    def test_a_view_of_the_service_goes_first(self) -> None:
        point, other = measure([SLO], [OWN])
        assert tuple(point.explicit_bounds) == tuple(other.explicit_bounds) == (1.0, 2.0)

    def test_one_that_only_chooses_attributes_leaves_the_edges(self) -> None:
        point, _ = measure([SLO], [View(instrument_name=DURATION, attribute_keys=set())])
        assert 0.075 in point.explicit_bounds

    def test_views_for_a_provider_of_ones_own(self) -> None:
        _, other = measure([], make_sdk_views([SLO, Drift("x")]))
        assert 0.075 in other.explicit_bounds
        assert make_sdk_views('[{"view": "drift", "instrument": "a"}]') == []
        assert make_sdk_views([Slo("http.*", objective=0.9, threshold_s=1.0)]) == []


class TestEdges:
    def test_thresholds_are_among_those_of_exponential_buckets(self) -> None:
        edges = list_edges([SLO], DURATION, "s")
        assert len(edges) == 17 * 8 + 2
        grid = {bound(i, 3) for i in range(-200, 100)}
        assert set(edges) - grid == {0.075}
        assert list_edges([SLO], DURATION.upper(), "s") == edges
        assert list_edges([Slo("http.*", objective=0.9, threshold_s=0.075)], DURATION, "s") == edges

    def test_several_views_have_all_they_need(self) -> None:
        slow = Degradation(DURATION, baseline=0.5, tolerance=0.2, score="within_p95")
        edges = list_edges([SLO, slow, Drift(DURATION)], DURATION, "s")
        assert {0.075, 0.6} <= set(edges)
        assert list(edges) == sorted(set(edges))

    def test_a_reference_of_samples_needs_none_and_one_of_other_buckets_its_own(self) -> None:
        samples = Reference.from_samples([0.0, -1.0, 0.3, 12.0, 1e9])
        assert list_edges([Drift("a", reference=samples)], "a", "") == ()
        other = Reference({"": (1, 2, 3)}, edges=(0.1, 10.0))
        assert list_edges([Drift("a", reference=other)], "a", "") == (0.1, 10.0)
        names = Reference.from_categories(["x"])
        assert list_edges([Drift("a", order="categories", category="c", reference=names)], "a", "") == ()

    def test_many_are_thinned_at_quantiles(self) -> None:
        edges = tuple(i / 10 for i in range(1, 1001))
        many = Reference({"": (0, *[1] * 500, *[0] * 499, 500)}, edges=edges)
        thin = thin_reference(many)
        assert len(thin) <= 66
        assert set(thin) <= set(edges)
        assert max(b - a for a, b in pairwise(thin) if b <= 50) < 2.1

    def test_confidence(self) -> None:
        assert list_edges([Predictions()], "prediction.confidence", "1") == ()
        edges = list_edges([Predictions(low_confidence=0.55)], "prediction.confidence", "1")
        assert 0.55 in edges
        assert max(edges) == 1.0


SERVICE = """
from opentelemetry import metrics
{prelude}
import otel_wandb
from otel_wandb.views import Slo
{configure}
histogram = metrics.get_meter("t").create_histogram("http.server.request.duration", unit="s")
for value in [0.05] * 9 + [0.076]:
    histogram.record(value)
"""
CONFIGURE = (
    'otel_wandb.configure(views=[Slo("http.server.request.duration", objective=0.9, threshold_s=0.075)])'
)
OWN_PROVIDER = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
aggregation = ExplicitBucketHistogramAggregation([0.01, 1.0])
view = View(instrument_name="http.server.request.duration", aggregation=aggregation)
metrics.set_meter_provider(MeterProvider(views=[view]))
"""
VIEWS = (
    '[{"view": "slo", "instrument": "http.server.request.duration", "objective": 0.9, "threshold_s": 0.075}]'
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "gap"), [("configure", 0.0), ("the service's own view", 1.0), ("otel-wandb run", 0.0)]
)
def test_it_is_so_in_the_rows(way: str, gap: float) -> None:
    own = way == "the service's own view"
    run = way == "otel-wandb run"
    code = SERVICE.format(prelude=OWN_PROVIDER if own else "", configure="" if run else CONFIGURE)
    done = subprocess.run(
        [sys.executable, *(["-m", "otel_wandb.cli", "run", "--", sys.executable] if run else []), "-c", code],
        env={**os.environ, "OTEL_WANDB_INTERVAL_S": "1", **({"OTEL_WANDB_VIEWS": VIEWS} if run else {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    data_dir = DataDir(Path(os.environ["OTEL_WANDB_DIR"]))
    wait_for(lambda: data_dir.store.exists() and read_status(data_dir).ledger.lines["rows"].received > 0)
    reader = Store.open_for_reading(data_dir.store)
    values = [decode_values(row.values) for found in reader.runs() for row in reader.rows(found.id)]
    reader.close()
    (row,) = [row for row in values if "slo/request_duration_threshold_gap" in row]
    assert row["slo/request_duration_threshold_gap"] == gap
    assert own or row["slo/request_duration_good_percent"] == 90
