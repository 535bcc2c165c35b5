"""What else is promised, measured: units, merges, bursts, seasons, replays, cost (T5 to T10)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

import msgspec
import numpy as np
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)

from benchmarks.drift_binning import RECOMMENDED, exponential, quantiles, tally
from benchmarks.drift_ours import sum_up
from benchmarks.drift_report import Finding, judge, share
from benchmarks.drift_streams import CHANGES, REFERENCE, WINDOW, Group, draw_latencies
from otel_wandb.ingest.packed import read_metrics
from otel_wandb.ingest.packing_metrics import metric_batch, metric_batches
from otel_wandb.metrics.exponential import EMPTY, ExponentialHistogram, merge_exponential
from otel_wandb.records import ExponentialPoint
from otel_wandb.statistics import DriftDetector, two_sample, two_sample_strata
from otel_wandb.statistics.detector import DetectorState
from otel_wandb.statistics.distances import Counts, Figures
from otel_wandb.statistics.draws import seed_of

_LEVEL: Final = 0.05
_SCALE: Final = 3
_EXPONENTIAL: Final = ExponentialBucketHistogramAggregation(160)
_EDGES: Final = ExplicitBucketHistogramAggregation([10 * 1.12**i for i in range(62)])
"""As many as a view asks for."""
_REQUESTS: Final = 2_000
_UNITS: Final = {"ms": 1.0, "s": 1e-3, "µs": 1e3}
_REPLICAS: Final = (1, 2, 4, 8, 16, 32, 64)


def watch_units(task: tuple[str, int]) -> list[list[float]]:
    """The p-values of a stream in each unit, with edges at quantiles or of the exponential scale."""
    edges, stream = task
    code = quantiles(32) if edges == "quantiles" else exponential(_SCALE)
    rng = np.random.default_rng(seed_of("units", stream))
    reference = draw_latencies(rng, (1, REFERENCE))
    values = np.concatenate(
        [draw_latencies(rng, (1, 5 * WINDOW)), draw_latencies(rng, (1, 10 * WINDOW), CHANGES["×1.10"])],
        axis=1,
    )
    found = []
    for factor in _UNITS.values():
        bags, windows = tally(code, Group("", "", WINDOW, reference * factor, values * factor))
        detector = DriftDetector(bags, windows_to_false_alarm=1_000, seed=stream)
        found.append([detector.update(window).p_value for window in windows])
    return found


def measure_units(streams: int, executor: Executor) -> list[Finding]:
    """T5: the same values in milliseconds, seconds and microseconds."""
    findings = []
    for edges, what in (
        ("quantiles", "edges at quantiles of the reference: p-values"),
        ("exponential", "recorded anew, in other exponential buckets: alarms of windows"),
    ):
        found = list(executor.map(watch_units, ((edges, stream) for stream in range(streams))))
        pairs = [
            (mine, other)
            for units in found
            for unit in units[1:]
            for mine, other in zip(*(_said(edges, each) for each in (units[0], unit)), strict=True)
        ]
        same = sum(mine == other for mine, other in pairs)
        findings.append(
            Finding(
                "T5", f"ms, s, µs; {what}", "identical", f"{same:,} of {len(pairs):,}", same == len(pairs)
            )
        )
    return findings


def _said(edges: str, p_values: Sequence[float]) -> Sequence[float]:
    """What is compared: the p-values, or from which window on there is evidence enough for an alarm."""
    if edges == "quantiles":
        return p_values
    alarms = sum_up(p_values, 1_000)[1]
    return [float(bool(alarms) and i >= alarms[0]) for i in range(len(p_values))]


def record(values: Figures) -> ExponentialHistogram:
    """What the SDK makes of values, and the bridge of what the SDK hands over."""
    kinds: dict[type, Aggregation] = {Histogram: _EXPONENTIAL}
    reader = InMemoryMetricReader(preferred_aggregation=kinds)
    provider = MeterProvider([reader])
    instrument = provider.get_meter("benchmark").create_histogram("latency")
    for value in values.tolist():
        instrument.record(value)
    data = reader.get_metrics_data()
    provider.shutdown()
    if data is None:
        return EMPTY
    batches = read_metrics(msgspec.msgpack.encode([metric_batch(part) for part in metric_batches(data)]))
    (point,) = batches.batches[0].metrics[0].points
    assert isinstance(point, ExponentialPoint)
    return ExponentialHistogram.from_point(point)


def measure_merges() -> list[Finding]:
    """T6: one process or 64, whose histograms come from the SDK and are merged."""
    rng = np.random.default_rng(seed_of("merges"))
    reference, current = draw_latencies(rng, REFERENCE), draw_latencies(rng, WINDOW, CHANGES["×1.05"])
    p_values = []
    for replicas in _REPLICAS:
        sides = [
            merge_exponential([record(part) for part in np.array_split(rng.permutation(side), replicas)])
            for side in (reference, current)
        ]
        p_values.append(two_sample(*_in_one_grid(sides)).p_value)
    goal, what = "one p-value", f"{', '.join(map(str, _REPLICAS))} replicas, merged"
    measured = ", ".join(sorted({f"{p_value:.3f}" for p_value in p_values}))
    return [Finding("T6", what, goal, f"p = {measured}", len(set(p_values)) == 1)]


def _in_one_grid(sides: Sequence[ExponentialHistogram]) -> list[Counts]:
    coarse = [side.downscale(_SCALE).positive for side in sides]
    first, last = min(side.offset for side in coarse), max(side.end for side in coarse)
    counts = np.zeros((len(sides), last - first), dtype=np.int64)
    for row, side in zip(counts, coarse, strict=True):
        row[side.offset - first : side.end - first] = side.counts
    return list(counts)


def test_bursts(task: tuple[float, float, int]) -> tuple[bool, bool]:
    """Whether 30 intervals differ from 120, with intervals permuted, and with requests permuted."""
    sigma, factor, repetition = task
    rng = np.random.default_rng(seed_of("bursts", sigma, factor, repetition))
    loads = np.exp(rng.normal(0, sigma, 150))
    values = draw_latencies(rng, (150, 50)) * loads[:, np.newaxis]
    values[120:] *= factor
    _, intervals = tally(RECOMMENDED.code, Group("", "", 50, values[:1], values.reshape(1, -1)))
    before, after = intervals[:120], intervals[120:]
    by_interval = two_sample_strata([(before, after)], draws=199, seed=repetition, only_decisive=True)
    pair = [(before.sum(axis=0), after.sum(axis=0))]
    by_request = two_sample_strata(pair, draws=199, seed=repetition, only_decisive=True)
    return by_interval.p_value <= _LEVEL, by_request.p_value <= _LEVEL


def measure_bursts(repetitions: int, executor: Executor) -> list[Finding]:
    """T7: requests of an interval that have a load in common."""
    findings = []
    for sigma, factor in ((0.0, 1.0), (0.1, 1.0), (0.2, 1.0), (0.2, 1.25)):
        found = list(
            executor.map(test_bursts, ((sigma, factor, i) for i in range(repetitions)), chunksize=10)
        )
        intervals, requests = (sum(column) for column in zip(*found, strict=True))
        measured = f"{share(intervals, repetitions)}; by request {requests / repetitions:.2f}"
        if factor == 1:
            what, goal = f"bursts of sd {sigma}, no change: calls, intervals permuted", "≤ .08"
            met = judge(intervals, repetitions, 0, 0.08)
        else:
            what, goal, met = f"bursts of sd {sigma}, ×{factor}: seen", "(no goal)", True
        findings.append(Finding("T7", what, goal, measured, met))
    return findings


def test_season(repetition: int) -> tuple[bool, bool]:
    """Whether six hours differ from a week with a daily cycle, hour by hour, and all together."""
    rng = np.random.default_rng(seed_of("season", repetition))
    factors = np.exp(np.sin(np.arange(24) / 24 * 2 * np.pi))
    sizes = np.array([200] * 24 + [80] * 6)
    hours = np.concatenate([np.arange(24), np.arange(6)])
    values = draw_latencies(rng, int(sizes.sum())) * np.repeat(factors[hours], sizes)
    codes = RECOMMENDED.code(values, values)
    codes = codes - codes.min()
    counts = [np.bincount(part, minlength=codes.max() + 1) for part in np.split(codes, sizes.cumsum()[:-1])]
    before, after = counts[:24], counts[24:]
    strata = list(zip(before, after, strict=False))
    pooled = [(np.sum(before, axis=0), np.sum(after, axis=0))]
    matched, together = (
        two_sample_strata(pairs, draws=199, seed=repetition, only_decisive=True).p_value <= _LEVEL
        for pairs in (strata, pooled)
    )
    return matched, together


def measure_season(repetitions: int, executor: Executor) -> list[Finding]:
    """T8: a window that is a part of the day."""
    found = list(executor.map(test_season, range(repetitions), chunksize=10))
    matched, together = (sum(column) for column in zip(*found, strict=True))
    measured = f"{share(matched, repetitions)}; without strata {together / repetitions:.2f}"
    what = "daily cycle, six hours, no change: calls, in strata"
    return [Finding("T8", what, "≤ .06", measured, judge(matched, repetitions, 0, 0.06))]


def measure_replay() -> list[Finding]:
    """T9: the verdicts again, by a detector that is stopped and restored from JSON after each window."""
    rng = np.random.default_rng(seed_of("replay"))
    values = draw_latencies(rng, (1, 30 * WINDOW), CHANGES["×1.05"])
    bags, windows = tally(
        RECOMMENDED.code, Group("", "", WINDOW, draw_latencies(rng, (1, REFERENCE)), values)
    )
    straight = DriftDetector(bags, windows_to_false_alarm=1_000, seed=7)
    document = msgspec.json.encode(straight.state())
    verdicts, again = [], []
    for window in windows:
        verdicts.append(straight.update(window))
        restored = DriftDetector([0], windows_to_false_alarm=1_000, seed=7)
        restored.restore(msgspec.json.decode(document, type=DetectorState))
        again.append(restored.update(window))
        document = msgspec.json.encode(restored.state())
    same = msgspec.json.encode(verdicts) == msgspec.json.encode(again)
    what = f"{len(windows)} windows again, restored from JSON after each"
    return [Finding("T9", what, "the same bytes", "the same" if same else "others", same)]


def measure_cost() -> list[Finding]:
    """T10: of a window, of a request, and of what is kept."""
    rng = np.random.default_rng(seed_of("cost"))
    bags, windows = tally(
        RECOMMENDED.code,
        Group("", "", WINDOW, draw_latencies(rng, (1, REFERENCE)), draw_latencies(rng, (1, 10 * WINDOW))),
    )
    detector = DriftDetector(bags, windows_to_false_alarm=1_000)
    alarm_ms, shown_ms = (
        seconds * 1e3
        for seconds in least_s(
            lambda: [detector.update(window) for window in windows], lambda: two_sample(bags[""], windows[0])
        )
    )
    alarm_ms /= len(windows)
    tellers = [_teller(aggregation) for aggregation in (None, _EDGES, _EXPONENTIAL)]
    default_us, edges_us, exponential_us = (s / _REQUESTS * 1e6 for s in least_s(*tellers))
    state = len(msgspec.json.encode(detector.state()))
    weekly = DriftDetector({str(hour): bags[""] for hour in range(168)}, windows_to_false_alarm=1_000)
    hours = len(msgspec.json.encode(weekly.state()))
    bins = len(windows[0])
    return [
        Finding(
            "T10",
            f"the detector, a window of {bins} bins, without a change",
            "< 10 ms",
            f"{alarm_ms:.1f} ms",
            alarm_ms < 10,
        ),
        Finding("T10", "all distances with their bands", "< 10 ms", f"{shown_ms:.1f} ms", shown_ms < 10),
        *(
            Finding(
                "T10",
                f"in the request: {what} beside OTel's default",
                "< 2 µs more",
                f"{each_us - default_us:+.1f} µs (of {default_us:.1f})",
                each_us - default_us < 2,
            )
            for what, each_us in (("62 edges", edges_us), ("an exponential histogram", exponential_us))
        ),
        Finding("T10", "state of a series", "< 16 KB", f"{state / 1024:.1f} KB", state < 16 * 1024),
        Finding(
            "T10", "state, 168 hours of the week", "< 16 KB", f"{hours / 1024:.1f} KB", hours < 16 * 1024
        ),
    ]


def least_s(*tasks: Callable[[], object], rounds: int = 30) -> list[float]:
    """Seconds of this thread's CPU for each, in the least disturbed of rounds in which they take turns."""
    best_s = [float("inf")] * len(tasks)
    for _ in range(rounds):
        for i, task in enumerate(tasks):
            began_s = time.thread_time()
            task()
            best_s[i] = min(best_s[i], time.thread_time() - began_s)
    return best_s


def _teller(aggregation: Aggregation | None) -> Callable[[], None]:
    """What records so many latencies, each of a request."""
    kinds: dict[type, Aggregation] = {Histogram: aggregation} if aggregation else {}
    provider = MeterProvider([InMemoryMetricReader(preferred_aggregation=kinds)])
    instrument = provider.get_meter("benchmark").create_histogram("latency")
    values = draw_latencies(np.random.default_rng(1), _REQUESTS).tolist()
    labels = {"http.route": "/chat", "http.request.method": "POST"}

    def tell() -> None:
        for value in values:
            instrument.record(value, labels)

    return tell
