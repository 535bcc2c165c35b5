"""What an interval of metrics costs, and how far percentiles of histograms are off.

    python -m benchmarks.metrics

Cost: one service with 1,000 histogram series, of one process and of four, of both kinds and temporalities, in
CPU milliseconds to place an interval's points, to close it and to build its row (the best of some intervals);
the same of what 30,000 spans tell of 1,000 operations. Memory over 10,000 intervals.
Error: against the percentiles of the raw values, for heavy-tailed latencies in the OpenTelemetry SDK's
exponential histogram, with its 160 buckets and with 320; the mean and the worst over all tails and seeds.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import psutil
from msgspec.structs import replace
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ExponentialHistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from otel_wandb.marks import Marks
from otel_wandb.metrics.catalogue import TWINS
from otel_wandb.metrics.charts import Charts
from otel_wandb.metrics.from_spans import Told
from otel_wandb.metrics.histogram import AnyHistogram, read_histogram
from otel_wandb.metrics.observed import Observation, Source
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.metrics.streams import StreamLimits, Streams
from otel_wandb.records import (
    TEMPORALITY_CUMULATIVE,
    TEMPORALITY_DELTA,
    Attributes,
    ExponentialPoint,
    HistogramPoint,
    Metric,
    MetricBatch,
    Point,
    Resource,
    Scope,
)

SERIES = 1_000
ROUTES = 100
INTERVALS = 8
BEGIN_NS = 1_780_000_020_000_000_000
MINUTE_NS = 60_000_000_000
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
RAG = RunSeries("", "team", "rag", "rag-api")

Tail = Callable[[random.Random], float]
TAILS: dict[str, Tail] = {
    "log-normal, sigma 1": lambda rng: rng.lognormvariate(-1.5, 1),
    "log-normal, sigma 1.5": lambda rng: rng.lognormvariate(-1.5, 1.5),
    "Pareto, alpha 1.2": lambda rng: 0.05 * rng.paretovariate(1.2),
    "Pareto, alpha 2": lambda rng: 0.05 * rng.paretovariate(2),
    "2 % ten times as slow": lambda rng: rng.lognormvariate(-2, 0.5) * (10 if rng.random() < 0.02 else 1),
}


def attributes(index: int) -> Attributes:
    return {
        "http.request.method": "GET",
        "http.route": f"/v1/{'abcdefghij'[index % 10]}{'abcdefghij'[index // 10 % 10]}/{{id}}",
        "http.response.status_code": 200 + index // ROUTES,
        "url.scheme": "http",
    }


def interval(minute: int, instance: int, *, exponential: bool, cumulative: bool) -> MetricBatch:
    rng = random.Random(instance)
    end_ns = BEGIN_NS + minute * MINUTE_NS + 30_000_000_000
    start_ns = BEGIN_NS - MINUTE_NS if cumulative else end_ns - MINUTE_NS
    times = minute + 1 if cumulative else 1
    points: list[Point] = []
    for index in range(SERIES):
        size = 160 if exponential else len(BOUNDS) + 1
        counts = [rng.randrange(1, 20) * times for _ in range(size)]
        facts = (start_ns, end_ns, attributes(index), sum(counts), rng.random() * times)
        if exponential:
            points.append(ExponentialPoint(*facts, 3, 0, 0.0, -90 - index % 7, counts, 0, [], 0.001, 9.0))
        else:
            points.append(HistogramPoint(*facts, BOUNDS, counts, 0.001, 9.0))
    kind = "exponential_histogram" if exponential else "histogram"
    temporality = TEMPORALITY_CUMULATIVE if cumulative else TEMPORALITY_DELTA
    metric = Metric("http.server.request.duration", kind, points, "s", "", temporality)
    resource = Resource({"service.name": "rag-api", "service.instance.id": str(instance)})
    return MetricBatch(resource, Scope("asgi"), [metric])


def measure_cost(processes: int, *, exponential: bool, cumulative: bool) -> tuple[float, float, float]:
    """Milliseconds to place the points of an interval, to close it, and to build its row."""
    streams, charts = Streams(StreamLimits(), Marks(), twins=TWINS), Charts()
    placing, closing, building = [], [], []
    for minute in range(INTERVALS):
        batches = [
            interval(minute, instance, exponential=exponential, cumulative=cumulative)
            for instance in range(processes)
        ]
        begin_s = time.process_time()
        for number, batch in enumerate(batches):
            frame = ("a-0.seg", 100 * minute + number)
            streams.add(batch, series=RAG, config="", frame=frame, written_ns=BEGIN_NS + 10**15)
        placed_s = time.process_time()
        (closed,) = streams.due(BEGIN_NS + (minute + 2) * MINUTE_NS)
        streams.take_states()
        closed_s = time.process_time()
        row = charts.build_row(closed)
        charts.take_states()
        built_s = time.process_time()
        if "latency/histogram" not in row.values:  # nine of ten rows
            placing.append(placed_s - begin_s)
            closing.append(closed_s - placed_s)
            building.append(built_s - closed_s)
    return min(placing) * 1e3, min(closing) * 1e3, min(building) * 1e3


def measure_derived() -> tuple[float, float, float]:
    """The same of what spans tell: milliseconds to place 30,000 of them, to close, and to build the row."""
    streams, charts = Streams(StreamLimits(), Marks(), twins=TWINS), Charts()
    sources = [
        Source(("gen_ai.execute_tool.duration", "s", (("gen_ai.tool.name", f"tool_{index:03d}"),)))
        for index in range(SERIES)
    ]
    resource, rng = Resource({"service.name": "rag-api"}), random.Random(1)
    placing, closing, building = [], [], []
    for minute in range(INTERVALS):
        end_ns = BEGIN_NS + minute * MINUTE_NS + 30_000_000_000
        told = [
            Told("", end_ns, observations=(Observation(source, int(1e6 * rng.lognormvariate(3, 1))),))
            for source in sources
            for _ in range(30)
        ]
        begin_s = time.process_time()
        streams.add_spans(told, series=RAG, config="", resource=resource, newest_ns=end_ns)
        placed_s = time.process_time()
        (closed,) = streams.due(BEGIN_NS + (minute + 2) * MINUTE_NS)
        streams.take_states()
        closed_s = time.process_time()
        row = charts.build_row(closed)
        charts.take_states()
        built_s = time.process_time()
        if "latency/tool_000_histogram" not in row.values:
            placing.append(placed_s - begin_s)
            closing.append(closed_s - placed_s)
            building.append(built_s - closed_s)
    return min(placing) * 1e3, min(closing) * 1e3, min(building) * 1e3


def measure_memory() -> Iterator[tuple[int, float]]:
    """MiB that the process holds after so many intervals of eight series and a span; all are seven days."""
    streams, charts, process = Streams(StreamLimits(), Marks(), twins=TWINS), Charts(), psutil.Process()
    batch = interval(0, 0, exponential=True, cumulative=False)
    metric, first = batch.metrics[0], batch.metrics[0].points[:8]
    resource, source = batch.resource, Source(("gen_ai.execute_tool.duration", "s", ()))
    for minute in range(10_001):
        end_ns = BEGIN_NS + minute * MINUTE_NS + 30_000_000_000
        points = [replace(point, start_ns=end_ns - MINUTE_NS, time_ns=end_ns) for point in first]
        metrics = [replace(metric, points=points)]
        streams.add(
            MetricBatch(resource, batch.scope, metrics),
            series=RAG,
            config="",
            frame=("a-0.seg", minute),
            written_ns=BEGIN_NS + 10**15,
        )
        told = [Told(f"{minute:016x}", end_ns, observations=(Observation(source, 10**8 + minute),))]
        streams.add_spans(told, series=RAG, config="", resource=resource, newest_ns=end_ns)
        for closed in streams.due(BEGIN_NS + minute * MINUTE_NS):
            charts.build_row(closed)
        streams.take_states()
        charts.take_states()
        if minute in (100, 1_000, 2_000, 5_000, 10_000):
            yield minute, process.memory_info().rss / (1 << 20)


def record(values: Sequence[float], buckets: int) -> AnyHistogram:
    """What the SDK makes of the values."""
    reader = InMemoryMetricReader()
    aggregation = ExponentialBucketHistogramAggregation(max_size=buckets)
    view = View(instrument_type=SdkHistogram, aggregation=aggregation)
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    instrument = provider.get_meter("benchmark").create_histogram("latency")
    for value in values:
        instrument.record(value)
    data = reader.get_metrics_data()
    assert data is not None
    point = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]
    provider.shutdown()
    assert isinstance(point, ExponentialHistogramDataPoint)
    positive, negative = point.positive, point.negative
    return read_histogram(
        ExponentialPoint(
            1, 2, {}, point.count, point.sum, point.scale, point.zero_count, 0.0,
            positive.offset, list(positive.bucket_counts), negative.offset, list(negative.bucket_counts),
            point.min, point.max,
        )
    )  # fmt: skip


def percentile(ordered: Sequence[float], q: float) -> float:
    """As `numpy.percentile` has it by default."""
    position = (len(ordered) - 1) * q
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def measure_errors(count: int, buckets: int, seeds: int) -> Iterator[tuple[float, list[float]]]:
    """For each quantile the relative errors over all tails and seeds; the stated bound always holds."""
    quantiles = (0.5, 0.9, 0.95, 0.99)
    errors: dict[float, list[float]] = {q: [] for q in quantiles}
    for tail in TAILS.values():
        for seed in range(seeds):
            rng = random.Random(seed)
            values = sorted(tail(rng) for _ in range(count))
            histogram = record(values, buckets)
            for q in quantiles:
                truth = percentile(values, q)
                error = abs(histogram.quantile(q) - truth) / truth
                assert error <= histogram.relative_error
                errors[q].append(error)
    yield from errors.items()


def main() -> None:
    print(f"{SERIES} histogram series of {ROUTES} routes, CPU ms an interval: place, close, row, together")
    for exponential in (True, False):
        for cumulative in (False, True):
            for processes in (1, 4):
                place, close, row = measure_cost(processes, exponential=exponential, cumulative=cumulative)
                kind = "exponential" if exponential else "explicit"
                name = f"{kind}, {'cumulative' if cumulative else 'delta'}, {processes} process(es)"
                print(f"  {name:40} {place:6.1f} {close:6.1f} {row:6.1f} {place + close + row:6.1f}")
    place, close, row = measure_derived()
    print(f"  {'of 30,000 spans':40} {place:6.1f} {close:6.1f} {row:6.1f} {place + close + row:6.1f}")
    for intervals, mib in measure_memory():
        print(f"  memory after {intervals:6} intervals of 8 series: {mib:.1f} MiB")
    print("error of percentiles against the raw values, percent: mean (worst)")
    for count, seeds in ((1_000, 12), (10_000, 6)):
        for buckets in (160, 320):
            figures = "  ".join(
                f"p{q * 100:g} {statistics.mean(e) * 100:.2f} ({max(e) * 100:.2f})"
                for q, e in measure_errors(count, buckets, seeds)
            )
            print(f"  {count:6} values, {buckets} buckets: {figures}")


if __name__ == "__main__":
    main()
