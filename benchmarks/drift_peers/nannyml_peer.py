"""NannyML's verdicts: univariate drift, and the reconstruction error of several columns, both by default.

Its thresholds are three standard deviations above the mean of the reference's own chunks.
"""

from __future__ import annotations

import nannyml
import numpy as np
import pandas as pd
from exchange import Alarms, Group, Method, serve


def frame(group: Group, values: np.ndarray) -> pd.DataFrame:
    rows = values if group.kind == "numeric" else values.astype(int).astype(str)
    return pd.DataFrame({f"c{i}": row for i, row in enumerate(rows)})


def univariate(group: Group) -> Alarms:
    reference = frame(group, group.reference)
    names = list(reference.columns)
    calculator = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=group.window).fit(reference)
    whole = group.values[:, : group.windows * group.window]
    found = calculator.calculate(frame(group, whole)).filter(period="analysis").to_df()
    return [list(np.flatnonzero(found[(name, "jensen_shannon", "alert")])) for name in names]


def reconstruction(group: Group) -> Alarms:
    reference, whole = (
        frame(group, rows) for rows in (group.reference, group.values[:, : group.windows * group.window])
    )
    alarms = []
    for first in range(0, len(group.reference), group.bundle):
        names = [f"c{i}" for i in range(first, first + group.bundle)]
        calculator = nannyml.DataReconstructionDriftCalculator(column_names=names, chunk_size=group.window)
        found = calculator.fit(reference).calculate(whole).filter(period="analysis").to_df()
        alarms += [list(np.flatnonzero(found[("reconstruction_error", "alert")]))] * group.bundle
    return alarms


serve(
    "nannyml",
    {
        "NannyML, univariate": Method(univariate),
        "NannyML, reconstruction": Method(reconstruction, kinds=("numeric",), bundles_only=True),
    },
)
