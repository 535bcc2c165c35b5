"""Series in which people marked the changes, and how near the alarms are to their marks.

Measured as in G. van den Burg, C. Williams, "An evaluation of change point detection algorithms", 2020:
the start counts as marked and as found; precision is against all that anybody marked, recall the mean over
people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from benchmarks.drift_binning import RECOMMENDED, tally
from benchmarks.drift_real import Arrays
from benchmarks.drift_report import Table
from benchmarks.drift_scores import Method
from benchmarks.drift_streams import Group
from otel_wandb.statistics import DriftDetector

WINDOW: Final = 10
REFERENCE: Final = 40
MARGIN: Final = 20
"""Points, two windows: an alarm comes after what it is of."""
_BUDGET: Final = 100
"""Windows to a false alarm; the series have 6 to 46."""
_SETS: Final = ("Occupancy", "RunLog", "UKCoalEmploy", "AirlinePassengers")


def annotated_groups(river: Arrays) -> list[Group]:
    """A group a series, a stream a variable; the reference are the first points."""
    groups = []
    for name in _SETS if river else ():
        rows = river[f"annotated/{name}/values"]
        what = "a series whose changes people marked"
        groups.append(Group(name, what, WINDOW, rows[:, :REFERENCE], rows[:, REFERENCE:], exchangeable=False))
    return groups


def renewing(groups: Sequence[Group]) -> Method:
    """Ours, where each alarm is answered with "the new reference": the window that gave it."""
    alarms = {group.name: [_renew(group.take(i)) for i in range(len(group.values))] for group in groups}
    return Method(f"ours, A = {_BUDGET}, new reference after an alarm", False, alarms)


def _renew(group: Group) -> list[int]:
    bags, windows = tally(RECOMMENDED.code, group)
    detector = DriftDetector(bags, windows_to_false_alarm=_BUDGET, seed=group.seed)
    alarms = []
    for index, window in enumerate(windows):
        if detector.update(window).alarm:
            alarms.append(index)
            detector.reset(window)
    return alarms


def annotated_table(groups: Sequence[Group], methods: Sequence[Method], river: Arrays) -> Table:
    """F1 of each method on each series, and of finding nothing at all."""
    marks = {group.name: _marks(river, group.name) for group in groups}
    nothing = Method("nobody: no alarm at all", False, {g.name: [[] for _ in g.values] for g in groups})
    rows = []
    for method in (*methods, nothing):
        cells = [
            f"{_f1(_change_points(method.alarms[g.name]), marks[g.name]):.2f}"
            if g.name in method.alarms
            else ""
            for g in groups
        ]
        if any(cells):
            rows.append([method.name, *cells])
    note = (
        f"F1 within {MARGIN} points of a mark; windows of {WINDOW}, the first {REFERENCE} as reference: "
        "such series are neither exchangeable nor what any of these is made for: levels wander all the time."
    )
    return Table("Series that people annotated", ["", *(group.name for group in groups)], rows, note)


def _marks(river: Arrays, name: str) -> dict[str, set[int]]:
    keys = [key for key in river if key.startswith(f"annotated/{name}/") and not key.endswith("/values")]
    return {key: {int(mark) for mark in river[key]} for key in keys}


def _change_points(alarms: Sequence[Sequence[int]]) -> set[int]:
    """The beginnings of windows with an alarm in any variable that the window before had not."""
    windows = {alarm for stream in alarms for alarm in stream}
    return {REFERENCE + WINDOW * window for window in windows if window - 1 not in windows}


def _f1(found: set[int], marks: Mapping[str, set[int]]) -> float:
    predicted = found | {0}
    anybody = {0}.union(*marks.values())
    precision = _matched(anybody, predicted) / len(predicted)
    recall = float(np.mean([_matched(own | {0}, predicted) / len(own | {0}) for own in marks.values()]))
    return 2 * precision * recall / (precision + recall)


def _matched(marks: set[int], predicted: set[int]) -> int:
    """How many of the marks have a prediction of their own near them."""
    free, matched = set(predicted), 0
    for mark in sorted(marks):
        near = [point for point in free if abs(point - mark) <= MARGIN]
        if near:
            free.discard(min(near, key=lambda point: abs(point - mark)))
            matched += 1
    return matched
