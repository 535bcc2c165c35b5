"""Scores between 0 and 1 from whatever tells them, placed so that no bet on their mean gains by the binning.

A bet on a mean (`statistics.means`) is a concave function of each value. So where the sum of the values is
known, it gains least if they lie at the ends of their buckets, as many at upper ends as the sum allows, the
highest buckets first. Where the sum is not known, a bet on a fall gains least at all upper ends, one on a
rise at all lower ends. Values that are 0 and 1 are found exactly where the sum is known or edges lie there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import msgspec

from otel_wandb.metrics.buckets import Bucket
from otel_wandb.metrics.closed import Level, Series, Summary
from otel_wandb.metrics.measures import sum_exactly, to_float
from otel_wandb.views.definitions import Degradation
from otel_wandb.views.machine import Group, select
from otel_wandb.views.requests import (
    Requests,
    count_failed,
    count_slow,
    count_values,
    list_buckets,
    merge_alike,
)

_PAIR: Final = " / "
_CELLS: Final = 64
_NOISE: Final = 1e-9
_SLACK: Final = 1e-6
"""How far a sum may be out of what its buckets allow, a value: sums are floats where they come from."""
_LARGEST: Final = 2**53


@dataclass(slots=True)
class Scores:
    """Scores of an interval, from 0 to 1: how often each came. `total` is their sum as well as it is known.

    A fall is told by `falls`, which are no smaller than the scores, a rise by `rises`. `clipped` lay out of
    the range.
    """

    count: int = 0
    total: float = 0.0
    falls: Counter[float] = field(default_factory=Counter)
    rises: Counter[float] = field(default_factory=Counter)
    clipped: int = 0

    def add(self, other: Scores) -> None:
        """Count the scores of the other, too."""
        self.count += other.count
        self.total += other.total
        self.falls.update(other.falls)
        self.rises.update(other.rises)
        self.clipped += other.clipped


class Cells(msgspec.Struct, array_like=True):
    """Any number of scores, for bounds of their mean: (count, sum) in each of 64 cells, as falls and rises.

    Read back, the scores of a cell are at its two ends with the same sum, so bounds get no narrower by it.
    """

    count: int = 0
    total: float = 0.0
    falls: dict[int, tuple[int, float]] = {}
    rises: dict[int, tuple[int, float]] = {}

    @property
    def mean(self) -> float:
        """The mean as well as it is known; NaN of no scores."""
        return self.total / self.count if self.count else math.nan

    def add(self, scores: Scores) -> None:
        """Take in the scores of an interval."""
        self.count = min(self.count + scores.count, _LARGEST)
        self.total += scores.total
        _put(self.falls, scores.falls)
        _put(self.rises, scores.rises)

    def merge(self, other: Cells) -> None:
        """Take in all that the other holds."""
        self.count = min(self.count + other.count, _LARGEST)
        self.total += other.total
        for mine, theirs in ((self.falls, other.falls), (self.rises, other.rises)):
            for cell, (count, total) in theirs.items():
                known = mine.get(cell, (0, 0.0))
                mine[cell] = min(known[0] + count, _LARGEST), known[1] + total

    def read_falls(self) -> Counter[float]:
        """How often each score came, for an upper bound."""
        return _read(self.falls, up=True)

    def read_rises(self) -> Counter[float]:
        """How often each score came, for a lower bound."""
        return _read(self.rises, up=False)


def read_groups(series: Sequence[Series], view: Degradation) -> dict[Group, tuple[Scores, str]]:
    """The scores of an interval, by group, and for those of a gauge where it stands, exactly; sorted.

    - Two counters, `part / whole`: 1 for each of the whole that is in the part, else 0.
    - `success`: 1 for each request without an error, else 0.
    - `within_p95`: 1 for each request that is as quick as the baseline with its tolerance, else 0.
    - The values of histograms and summaries. Or a gauge: the mean over its processes is one score.
    """
    part, pair, whole = view.metric.partition(_PAIR)
    groups = select(series, whole if pair else part, view.where, view.by)
    parts = select(series, part, view.where, view.by) if pair else {}
    found: dict[Group, tuple[Scores, str]] = {}
    for group, members in groups.items():
        level = None
        if pair:
            scores = score_parts(_count_all(parts.get(group, ())), _count_all(members))
        elif view.score == "success":
            scores = score_requests(count_failed(members))
        elif view.score == "within_p95":
            scores = score_requests(count_slow(members, _find_threshold_s(view)))
        else:
            scores, level = read_scores(members, view.low, view.high), read_level(members)
            if level is not None:
                scores.add(score_level(level, view.low, view.high))
        if scores.count:
            found[group] = scores, "" if level is None else str(level)
    return found


def tell_scores(view: Degradation, count: int, mean: str) -> str:
    """What the mean of so many scores is, in words."""
    if view.score == "success":
        return f"a share of {mean} of {count:,} requests had no error"
    if view.score == "within_p95":
        threshold = f"{_find_threshold_s(view):g} s"
        return f"a share of {mean} of {count:,} requests took no longer than {threshold}"
    return f"the mean of {count:,} scores is {mean}"


def read_scores(series: Iterable[Series], low: float, high: float) -> Scores:
    """The values of histograms and summaries, brought to 0 (`low`) and 1 (`high`).

    Of counters it is not known how often they were counted up, so they have no scores; of gauges see
    `read_level`.
    """
    found = Scores()
    histograms = []
    for one in series:
        if isinstance(one.value, Summary):
            buckets = [Bucket(-math.inf, math.inf, one.value.count)] if one.value.count > 0 else []
            found.add(place(buckets, one.value.total, low, high))
        elif not isinstance(one.value, Fraction | Level):
            histograms.append(one.value)
    for histogram in merge_alike(histograms):
        found.add(place(list_buckets(histogram), histogram.total, low, high))
    return found


def read_level(series: Iterable[Series]) -> Fraction | None:
    """The mean of what gauges stand at in all processes, as one value; None without any."""
    values = [value for one in series if isinstance(one.value, Level) for value in one.value.values]
    return sum_exactly(values) / len(values) if values else None


def score_level(value: Fraction, low: float, high: float) -> Scores:
    """A single score."""
    share = to_float((value - Fraction(low)) / (Fraction(high) - Fraction(low)))
    score = min(max(share, 0.0), 1.0)
    return Scores(1, score, Counter({score: 1}), Counter({score: 1}), int(score != share))


def score_requests(requests: Requests) -> Scores:
    """1 for each good request and 0 for each bad one; the undecided are good for falls, bad for rises."""
    total, bad, undecided = requests.total, requests.bad, requests.undecided
    if not total:
        return Scores()
    falls = +Counter({1.0: total - bad, 0.0: bad})
    rises = +Counter({1.0: total - bad - undecided, 0.0: bad + undecided})
    return Scores(total, total - bad - undecided / 2, falls, rises)


def score_parts(parts: int, wholes: int) -> Scores:
    """1 for each of the whole that is in the part, else 0; what the part has beyond the whole is clipped."""
    scores = score_requests(Requests(wholes, wholes - min(parts, wholes)))
    scores.clipped = max(0, parts - wholes)
    return scores


def place(buckets: Sequence[Bucket], total: Fraction | None, low: float, high: float) -> Scores:
    """The scores of ascending buckets, which are in the unit of the values, as values and counts."""
    scores = Scores()
    inside: list[Bucket] = []
    size = high - low
    for start, end, count in buckets:
        scores.count += count
        outside = 0.0 if end < low else 1.0 if start >= high and end > high else None
        if outside is not None:
            scores.clipped += count
            scores.falls[outside] += count
            scores.rises[outside] += count
        else:
            inside.append(Bucket(max(0.0, (start - low) / size), min(1.0, (end - low) / size), count))
    told = math.nan
    if total is not None and not scores.clipped:
        told = to_float((total - scores.count * Fraction(low)) / Fraction(size))
    spare = _spare(inside, told)
    for counts, upper in ((scores.falls, True), (scores.rises, False)):
        _place_inside(counts, inside, spare, upper=upper)
    if spare is None:
        sums = [
            math.fsum(value * n for value, n in counts.items()) for counts in (scores.falls, scores.rises)
        ]
        told = (sums[0] + sums[1]) / 2
    scores.total = told
    return scores


def _spare(inside: Sequence[Bucket], told: float) -> float | None:
    """What the sum is above that of all lower ends; None if it is not known, or impossible."""
    count = sum(bucket.size for bucket in inside)
    spare = told - math.fsum(bucket.low * bucket.size for bucket in inside)
    room = math.fsum((bucket.high - bucket.low) * bucket.size for bucket in inside)
    return min(max(spare, 0.0), room) if -_SLACK * count <= spare <= room + _SLACK * count else None


def _place_inside(
    counts: Counter[float], inside: Sequence[Bucket], spare: float | None, *, upper: bool
) -> None:
    for low, high, size in reversed(inside):
        above = size if upper else 0
        if spare is not None:
            width = high - low
            wanted = spare / width if width > 0 else 0.0
            whole = math.ceil(wanted - _NOISE) if upper else math.floor(wanted + _NOISE)
            above = min(max(whole, 0), size)
            spare = max(0.0, spare - above * width) if above == size else 0.0
        if above:
            counts[high] += above
        if size - above:
            counts[low] += size - above


def _find_threshold_s(view: Degradation) -> float:
    """The longest duration that is quick; by the digits that were written, so that 0.8 and 5 % are 0.84."""
    return float(Fraction(repr(view.baseline)) * (1 + Fraction(repr(view.tolerance))))


def _sum(counts: Mapping[float, int]) -> float:
    return math.fsum(score * count for score, count in counts.items())


def _count_all(series: Iterable[Series]) -> int:
    return sum(count_values(one.value) for one in series)


def _put(cells: dict[int, tuple[int, float]], counts: Mapping[float, int]) -> None:
    for score, count in sorted(counts.items()):
        cell = min(int(score * _CELLS), _CELLS - 1)
        known = cells.get(cell, (0, 0.0))
        cells[cell] = min(known[0] + count, _LARGEST), known[1] + score * count


def _read(cells: Mapping[int, tuple[int, float]], *, up: bool) -> Counter[float]:
    counts: Counter[float] = Counter()
    for cell, (count, total) in sorted(cells.items()):
        place = total * _CELLS - cell * count
        above = math.ceil(place - _NOISE * count) if up else math.floor(place + _NOISE * count)
        above = min(max(above, 0), count)
        if above:
            counts[(cell + 1) / _CELLS] += above
        if count - above:
            counts[cell / _CELLS] += count - above
    return counts
