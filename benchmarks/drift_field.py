"""All methods side by side, as tables: false alarms, changes found, delay, needs, where others win."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from benchmarks.drift_report import Table
from benchmarks.drift_scores import Method, Score, overall, score_all, wins
from benchmarks.drift_streams import AFTER, UNIT_WINDOWS, Group

Scores: TypeAlias = Mapping[str, Mapping[str, Score]]
"""By method and group."""
_LOUD: Final = 100
"""False alarms in 1,000 windows, beyond which a method's finds say nothing."""
_UNITS: Final = ("steady, in s", "steady, in µs")


def field_tables(
    groups: Sequence[Group], methods: Sequence[Method], unstable: Mapping[str, float], own: str
) -> list[Table]:
    """What streams of windows say; `own` is the method of ours that others are compared with."""
    scores = score_all(groups, methods)
    fair = [group for group in groups if group.exchangeable]
    unfair = [group for group in groups if not group.exchangeable]
    null = [group for group in fair if group.change is None]
    changed = [group for group in fair if group.change is not None]
    found = "The share of streams with an alarm after the change, and the median of the windows it took."
    itself = ["our test of the reference by itself", *(_unstable_cell(g, unstable) for g in unfair)]
    traps = (
        "False alarms per 1,000 windows, and changes found. Requests (hours, districts) are not exchangeable "
        "here, which all but the strata take for granted; the last row is the share of references of which "
        "`split_reference` says that they are not stable, before any window is looked at."
    )
    return [
        _summary(fair, methods, scores),
        _table("False alarms per 1,000 windows without a change", null, methods, scores, _false_cell),
        _table("Changes found, and delay in windows", changed, methods, scores, _found_cell, found),
        _wins(fair, scores, own),
        _table("Bursts, cycles, places", unfair, methods, scores, _either_cell, traps, [itself]),
        _units(methods),
        _legend(groups),
    ]


def single_table(groups: Sequence[Group], methods: Sequence[Method]) -> Table:
    """The share of single windows that each method calls different, without and with a change."""
    note = (
        f"Of {len(groups[0].values)} pairs of a reference and one window (n/m), a quarter of them for the "
        "largest; the last columns have a change."
    )
    title = "Single windows called different"
    return _table(title, groups, methods, score_all(groups, methods), _share_cell, note)


def _table(
    title: str,
    groups: Sequence[Group],
    methods: Sequence[Method],
    scores: Scores,
    cell: Callable[[Score], str],
    note: str = "",
    more: Sequence[Sequence[str]] = (),
) -> Table:
    """A row a method, a column a group; without methods that were on none of the groups."""
    rows: list[Sequence[str]] = []
    for method in methods:
        by_group = scores[method.name]
        cells = [cell(by_group[group.name]) if group.name in by_group else "" for group in groups]
        if any(cells):
            rows.append([method.name, *cells])
    return Table(title, ["", *(group.name for group in groups)], [*rows, *more], note)


def _false_cell(score: Score) -> str:
    return "" if score.false_per_1000 is None else f"{score.false_per_1000:.1f}"


def _found_cell(score: Score) -> str:
    if score.found is None:
        return ""
    delay = "" if score.delay is None else f", {score.delay:g}"
    return f"{100 * score.found:.0f} %{delay}"


def _either_cell(score: Score) -> str:
    return " · ".join(filter(None, (_false_cell(score), _found_cell(score))))


def _share_cell(score: Score) -> str:
    share = score.disturbed if score.found is None else score.found
    return "" if share is None else f"{share:.2f}"


def _unstable_cell(group: Group, unstable: Mapping[str, float]) -> str:
    return f"{100 * unstable[group.name]:.0f} %"


def _summary(groups: Sequence[Group], methods: Sequence[Method], scores: Scores) -> Table:
    rows = []
    for method in methods:
        total = overall(groups, scores[method.name])
        if not total.windows:
            continue
        rows.append(
            [
                method.name,
                "yes" if method.needs_raw else "no",
                f"{total.false_per_1000:.1f}",
                f"{100 * total.disturbed:.0f} %",
                f"{100 * total.found:.0f} %",
                f"{100 * total.by_chance:.0f} %",
                f"{1e3 * method.seconds / total.windows:.1f}",
            ]
        )
    head = ["", "raw values", "false / 1,000", "disturbed", "found", "by chance", "ms a window"]
    note = (
        "Means over the groups that a method is made for. Disturbed: streams with a false alarm in any "
        f"window without a change. By chance: as many false alarms find that part in {AFTER} windows."
    )
    return Table("Overall", head, rows, note)


def _wins(groups: Sequence[Group], scores: Scores, own: str) -> Table:
    quiet = {
        name: by_group
        for name, by_group in scores.items()
        if overall(groups, by_group).false_per_1000 <= _LOUD
    }
    rows = [
        [
            win.group,
            _found_cell(win.ours),
            "; ".join(f"{name} ({_found_cell(score)})" for name, score in win.others.items()),
        ]
        for win in wins(groups, quiet, own)
    ]
    note = (
        f"Found more often than by “{own}”, or as often and sooner. What that was bought with stands above: "
        f"false alarms, and what these find by chance. Methods with more than {_LOUD} in 1,000 are left out."
    )
    return Table("Where others win", ["", "ours", "others"], rows, note)


def _units(methods: Sequence[Method]) -> Table:
    rows = []
    for method in methods:
        if any(name not in method.alarms for name in ("steady", *_UNITS)):
            continue
        steady = [{i for i in stream if i < UNIT_WINDOWS} for stream in method.alarms["steady"]]
        changed = [
            sum(len(one ^ set(other)) for one, other in zip(steady, method.alarms[unit], strict=True))
            for unit in _UNITS
        ]
        rows.append([method.name, *map(str, changed), str(len(steady) * UNIT_WINDOWS)])
    head = ["", "in s", "in µs", "of windows"]
    return Table("Verdicts that another unit than ms changes", head, rows)


def _legend(groups: Sequence[Group]) -> Table:
    rows = [
        [
            group.name,
            group.what,
            f"{len(group.values)} × {group.windows}",
            f"{group.reference.shape[1]:,} / {group.window:,}",
            "" if group.change is None else str(group.change + 1),
        ]
        for group in groups
    ]
    head = ["", "what", "streams × windows", "reference / window", "changed from"]
    return Table("The streams", head, rows)
