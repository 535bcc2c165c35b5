"""Evidently's verdicts: the test and the threshold that it takes by default, and PSI with its default.

Its report renders each column, at a third of a second or more, so what the report calls is called: the choice
of the test, and the test. For one group of each kind it is checked that a report says the same.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests import get_stattest
from evidently.legacy.core import ColumnType
from evidently.metrics import ValueDrift
from exchange import Alarms, Group, Method, judge_windows, serve


def series(group: Group, values: np.ndarray) -> pd.Series:
    return pd.Series(values) if group.kind == "numeric" else pd.Series(values.astype(int)).astype(str)


def judge(group: Group, name: str | None) -> Alarms:
    kind = ColumnType.Numerical if group.kind == "numeric" else ColumnType.Categorical
    references = [series(group, row) for row in group.reference]

    def differs(stream: int, _: np.ndarray, window: np.ndarray) -> bool:
        reference, current = references[stream], series(group, window)
        return bool(get_stattest(reference, current, kind, name)(reference, current, kind, None).drifted)

    return judge_windows(group, differs)


def by_report(group: Group) -> list[bool]:
    """What a report says of the first window of each stream."""
    names = [f"c{i}" for i in range(min(len(group.reference), 5))]
    frames = [
        pd.DataFrame({name: series(group, rows[i]) for i, name in enumerate(names)})
        for rows in (group.window_of(0), group.reference)
    ]
    columns = {"numerical_columns" if group.kind == "numeric" else "categorical_columns": names}
    current, reference = (Dataset.from_pandas(frame, DataDefinition(**columns)) for frame in frames)
    metrics = [ValueDrift(column=name) for name in names]
    tests = Report(metrics, include_tests=True).run(current, reference).dict()["tests"]
    return [test["status"] == "FAIL" for test in tests]


def check(groups: list[Group]) -> list[str]:
    notes = []
    for kind in ("numeric", "labels", "errors"):
        for group in [g for g in groups if g.kind == kind and g.windows > 1][:1]:
            said = by_report(group)
            called = [0 in stream for stream in judge(group, None)][: len(said)]
            verdict = "the same as" if said == called else f"{said}, not {called} as"
            notes.append(f"A report says of the first window of “{group.name}” {verdict} the test it calls.")
    return notes


serve(
    "evidently",
    {
        "Evidently, defaults": Method(lambda group: judge(group, None)),
        "Evidently, PSI ≥ 0.1": Method(lambda group: judge(group, "psi")),
    },
    check,
)
