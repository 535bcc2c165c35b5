"""whylogs' verdicts, from profiles (mergeable sketches) of the reference and of each window."""

from __future__ import annotations

import pandas as pd
import whylogs
from exchange import Alarms, Group, Method, serve
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores


def frame(group: Group, values: object) -> pd.DataFrame:
    rows = values if group.kind == "numeric" else values.astype(int).astype(str)
    return pd.DataFrame({f"c{i}": row for i, row in enumerate(rows)})


def judge(group: Group) -> Alarms:
    reference = whylogs.log(frame(group, group.reference)).view()
    alarms: Alarms = [[] for _ in group.reference]
    for index in range(group.windows):
        current = whylogs.log(frame(group, group.window_of(index))).view()
        scores = calculate_drift_scores(current, reference, with_thresholds=True)
        for stream, found in enumerate(alarms):
            score = scores[f"c{stream}"]
            if score and score["drift_category"] == "DRIFT":
                found.append(index)
    return alarms


serve("whylogs", {"whylogs, p < .05": Method(judge, needs_raw=False)})
