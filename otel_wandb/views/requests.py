"""Good and bad requests of an interval: those that failed, or took longer than a threshold.

A bucket that lies across the threshold holds requests of both kinds, and nothing is guessed of them: they are
counted as `undecided`. Histograms of several processes are merged before they are asked, so that it does not
matter whether they came merged.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import Final, NamedTuple

from otel_wandb.metrics.buckets import Bucket
from otel_wandb.metrics.catalogue import MILLISECONDS
from otel_wandb.metrics.closed import Level, Series, Summary, Value
from otel_wandb.metrics.explicit import ExplicitHistogram, merge_explicit
from otel_wandb.metrics.exponential import ExponentialHistogram, merge_exponential
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.metrics.measures import to_float
from otel_wandb.metrics.sorting import find_duration, read_error

_SECOND_MS: Final = 1000


class Requests(NamedTuple):
    """How many there were, and of these the ones that are bad for certain, and the ones that may be.

    `across` are the ends, in seconds, of the widest bucket with undecided ones.
    """

    total: int = 0
    bad: int = 0
    undecided: int = 0
    across: tuple[float, float] | None = None


def count_failed(series: Iterable[Series]) -> Requests:
    """Requests, and those among them with an `error.type` or a status of 500 and above."""
    total = bad = 0
    for one in series:
        count = count_values(one.value)
        total += count
        bad += count if read_error(one.attributes) else 0
    return Requests(total, bad)


def count_slow(series: Iterable[Series], threshold_s: float) -> Requests:
    """Requests of which durations are known as histograms, and those that took longer than the threshold.

    Units are those of the series; seconds where they tell none.
    """
    by_factor: defaultdict[Fraction, list[AnyHistogram]] = defaultdict(list)
    for one in series:
        if not isinstance(one.value, Fraction | Level | Summary):
            by_factor[_seconds_in(one)].append(one.value)
    found = Requests()
    for factor, histograms in sorted(by_factor.items()):
        # By the digits that were written: 0.075 s are 75 ms, and nothing else.
        threshold = to_float(Fraction(repr(threshold_s)) / factor)
        for histogram in merge_alike(histograms):
            found = _add_slow(found, histogram, threshold, float(factor))
    return found


def count_values(value: Value) -> int:
    """How many values there are, or by how much a counter rose; none of a level."""
    if isinstance(value, Fraction):
        return max(0, math.floor(value))
    return 0 if isinstance(value, Level) else value.count


def merge_alike(histograms: Iterable[AnyHistogram]) -> list[AnyHistogram]:
    """The histograms merged as far as no edge is lost: all exponential ones, and those of the same bounds."""
    exponential: list[ExponentialHistogram] = []
    explicit: defaultdict[tuple[float, ...], list[ExplicitHistogram]] = defaultdict(list)
    for histogram in histograms:
        if not histogram.count:
            continue
        if isinstance(histogram, ExponentialHistogram):
            exponential.append(histogram)
        else:
            explicit[histogram.bounds].append(histogram)
    merged: list[AnyHistogram] = [merge_exponential(exponential)] if exponential else []
    return merged + [merge_explicit(parts) for _, parts in sorted(explicit.items())]


def list_buckets(histogram: AnyHistogram) -> list[Bucket]:
    """The buckets with values, ascending; ends that nothing is known of are infinite."""
    if not histogram.count:
        return []
    buckets = list(histogram.spread().buckets)
    if isinstance(histogram, ExplicitHistogram):
        if math.isnan(buckets[0].low):
            return [Bucket(-math.inf, math.inf, histogram.count)]
        if histogram.counts[0] and histogram.min is None:
            buckets[0] = buckets[0]._replace(low=-math.inf)
        if histogram.counts[-1] and histogram.max is None:
            buckets[-1] = buckets[-1]._replace(high=math.inf)
    return buckets


def _add_slow(found: Requests, histogram: AnyHistogram, threshold: float, factor: float) -> Requests:
    bad = undecided = 0
    across = found.across
    for low, high, size in list_buckets(histogram):
        if high <= threshold:
            continue
        # The first bucket begins with the smallest value, which itself is in it.
        if low > threshold or (low == threshold and low != histogram.min):
            bad += size
            continue
        undecided += size
        ends = max(low, 0.0) * factor, high * factor
        if across is None or ends[1] - ends[0] > across[1] - across[0]:
            across = ends
    return Requests(found.total + histogram.count, found.bad + bad, found.undecided + undecided, across)


def _seconds_in(series: Series) -> Fraction:
    """How many seconds the unit of the series has."""
    unit = series.unit
    if unit not in MILLISECONDS:
        duration = find_duration(series.name, series.attributes)
        unit = "s" if duration is None else duration.unit
    return Fraction(MILLISECONDS[unit]) / _SECOND_MS
