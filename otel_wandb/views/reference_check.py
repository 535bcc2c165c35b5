"""References made, shown, and tested against themselves: what `otel-wandb reference` does, without any I/O.

A reference that is not stable by itself makes alarms of its own. The test says so beforehand, and which
setting would help: a test that allows for bursts, or for the hours of the day or week, is tried in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from otel_wandb.alerts.wording import tell_number, tell_time
from otel_wandb.metrics.histogram import AnyHistogram, merge_all
from otel_wandb.metrics.intervals import SECOND_NS, Interval
from otel_wandb.statistics.detector import DriftDetector
from otel_wandb.statistics.distances import Counts
from otel_wandb.views.bins import OrderedBins
from otel_wandb.views.effects import read_quantile
from otel_wandb.views.reference import Reference
from otel_wandb.views.strata import Strata, cycle_ns, stratum_of
from otel_wandb.views.telling import tell_duration

Remedy: TypeAlias = Literal["", "unit", "hour_of_day", "hour_of_week"]

_BINS: Final = 32
_MIN_WINDOWS: Final = 8
_QUANTILES: Final = (0.05, 0.5, 0.95, 0.99)


class Taken(NamedTuple):
    """What came in an interval of a reference that is to be made or tested."""

    interval: Interval
    histogram: AnyHistogram


class Check(NamedTuple):
    """What a test of a reference found. `remedy` is the setting that helps, if one was found."""

    stable: bool
    remedy: Remedy
    words: tuple[str, ...]


def create_reference(taken: Iterable[Taken], *, strata: Strata = "none", source: str = "") -> Reference:
    """The reference of these intervals, by the strata that they are in.

    Explicit buckets beside exponential ones are converted, which is an estimate inside them.

    Raises:
        ValueError: they have no values, or buckets without an edge in common.
    """
    parts: dict[str, list[AnyHistogram]] = {}
    for interval, histogram in taken:
        parts.setdefault(stratum_of(interval, strata), []).append(histogram)
    merged = {stratum: merge_all(histograms) for stratum, histograms in parts.items()}
    return Reference.from_histograms(merged, source=source or "stored intervals")


def show_reference(reference: Reference) -> list[str]:
    """What a reference is of, in a few lines."""
    lines = [f"{reference.size:,} requests, {reference.source or 'of unknown source'}"]
    if len(reference.counts) > 1:
        sizes = sorted(sum(counts) for counts in reference.counts.values())
        lines.append(f"{len(sizes)} strata of {sizes[0]:,} to {sizes[-1]:,} requests")
    totals = np.array(list(reference.counts.values())).sum(axis=0)
    if reference.names:
        ranked = sorted(zip(totals.tolist(), reference.names, strict=True), key=lambda one: (-one[0], one[1]))
        size = max(1, reference.size)
        lines += [f"{name or '(none)'}: {100 * count / size:.3g} %" for count, name in ranked[:10]]
        return lines
    parts = totals / max(1, int(totals.sum()))
    for quantile in _QUANTILES:
        value = read_quantile(reference.edges, parts, quantile)
        lines.append(f"p{100 * quantile:g}: {tell_number(float(f'{value:.4g}'))}")
    return lines


def check_reference(
    taken: Sequence[Taken],
    *,
    window_s: float = 3600.0,
    window_requests: int = 500,
    windows_to_false_alarm: float = 1000.0,
    seed: int = 0,
    timed: bool = True,
) -> Check:
    """Whether a reference is stable: its first half, and then window after window, must give no alarm.

    The intervals are in their order; `timed` says that their times are those of a clock. A stable one is
    called unstable with a chance of at most half its windows / `windows_to_false_alarm`. Cost: a few
    milliseconds a window.
    """
    windows = _cut(_count(taken), window_s, window_requests)
    if len(windows) < _MIN_WINDOWS:
        words = f"{len(windows)} of {_MIN_WINDOWS} windows of {window_requests:,} requests or more"
        return Check(False, "", (f"Too short to be tested: {words}.",))
    half = len(windows) // 2

    def find_alarm(arrange: Arrange) -> int | None:
        reference = arrange([row for window in windows[:half] for row in window])
        detector = DriftDetector(reference, windows_to_false_alarm=windows_to_false_alarm, seed=seed)
        alarms = (detector.update(arrange(window)).alarm for window in windows[half:])
        return next((half + i for i, alarm in enumerate(alarms) if alarm), None)

    at = find_alarm(_arrange_plain)
    if at is None:
        return Check(True, "", (f"Stable: none of {len(windows) - half} windows is unlike those before it.",))
    when = tell_time(windows[at][-1].interval.end_ns / SECOND_NS)
    place = f"in window {at + 1} of {len(windows)}, though the first {half} are its reference"
    found = f"Not stable by itself: an alarm at {when}, {place}."
    if not timed:
        found = f"Not stable by itself: an alarm {place}."
    length_ns = windows[-1][-1].interval.end_ns - windows[0][0].interval.start_ns
    untried = []
    for remedy, arrange, needs_ns, told in _REMEDIES if timed else _REMEDIES[:1]:
        if length_ns < needs_ns:
            untried.append(f"`{told.setting}` needs {tell_duration(needs_ns / SECOND_NS)} to be tried.")
        elif find_alarm(arrange) is None:
            return Check(False, remedy, (found, f"{told.cause} With `{told.setting}` there is no alarm."))
    last = "It drifts by itself: take a shorter or later range of time, or a longer window."
    return Check(False, "", (found, last, *untried))


class _Row(NamedTuple):
    """An interval, and its counts."""

    interval: Interval
    counts: Counts


class _Words(NamedTuple):
    """A setting, and what it is for."""

    setting: str
    cause: str


Arrange: TypeAlias = Callable[[Sequence[_Row]], dict[str, Counts]]
"""Counts of intervals as a detector takes them."""


def _arrange_plain(rows: Sequence[_Row]) -> dict[str, Counts]:
    return {"": np.sum([row.counts for row in rows], axis=0)}


def _arrange_rows(rows: Sequence[_Row]) -> dict[str, Counts]:
    return {"": np.stack([row.counts for row in rows])}


def _arrange_by(strata: Strata) -> Arrange:
    def arrange(rows: Sequence[_Row]) -> dict[str, Counts]:
        parts: dict[str, Counts] = {}
        for row in rows:
            stratum = stratum_of(row.interval, strata)
            parts[stratum] = parts[stratum] + row.counts if stratum in parts else row.counts
        return dict(sorted(parts.items()))

    return arrange


_REMEDIES: Final[tuple[tuple[Remedy, Arrange, int, _Words], ...]] = (
    (
        "unit",
        _arrange_rows,
        0,
        _Words("unit: interval", "Requests of an interval have something in common, such as a load."),
    ),
    (
        "hour_of_day",
        _arrange_by("hour_of_day"),
        2 * cycle_ns("hour_of_day"),
        _Words("strata: hour_of_day", "Hours of the day differ."),
    ),
    (
        "hour_of_week",
        _arrange_by("hour_of_week"),
        2 * cycle_ns("hour_of_week"),
        _Words("strata: hour_of_week", "Hours of the week differ."),
    ),
)


def _count(taken: Sequence[Taken]) -> list[_Row]:
    """The counts of each interval in bins that fit all of them."""
    bins = OrderedBins(_BINS)
    if not bins.collect([one.histogram for one in taken]):
        return []
    bins.settle()
    for one in taken:
        bins.fit([one.histogram])
    rows = (_Row(one.interval, np.array(bins.count([one.histogram]))) for one in taken)
    return [row for row in rows if row.counts.sum()]


def _cut(rows: Sequence[_Row], window_s: float, window_requests: int) -> list[list[_Row]]:
    """Windows, each as long and as full as it has to be; what is left at the end is none."""
    windows: list[list[_Row]] = []
    current: list[_Row] = []
    for row in rows:
        current.append(row)
        length_ns = row.interval.end_ns - current[0].interval.start_ns
        if length_ns >= window_s * SECOND_NS and sum(int(r.counts.sum()) for r in current) >= window_requests:
            windows.append(current)
            current = []
    return windows
