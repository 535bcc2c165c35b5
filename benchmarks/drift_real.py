"""Streams of real data that ships inside packages: as they are, in random order, with a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from benchmarks.drift_streams import AFTER, BEFORE, Group, Kind, Strata
from otel_wandb.statistics.distances import Figures
from otel_wandb.statistics.draws import seed_of

Arrays: TypeAlias = Mapping[str, Figures]

LOAN_CHANGED: Final = ("car_value", "loan_length", "y_pred_proba")
"""Where SciPy's KS of the later 25,000 rows against the reference has a p-value below 1e-200."""
LOAN_STEADY: Final = ("debt_to_income_ratio", "driver_tenure")
"""Where it is above 0.5, as it is of the earlier 25,000 rows of all columns."""
LOAN_LABELS_CHANGED: Final = ("salary_range", "repaid_loan_on_prev_car")
LOAN_LABELS_STEADY: Final = ("size_of_downpayment",)
MIXED: Final = (
    "census/AGEP",
    "census/predicted_probability",
    "car_loan/car_value",
    "car_loan/debt_to_income_ratio",
    "car_loan/driver_tenure",
)
HOUSING: Final = ("MedInc", "HouseAge", "AveRooms", "AveOccup", "Latitude", "Longitude")
_LOANS: Final = 1000
_LOAN_CHANGE: Final = 25
_MIXED_REFERENCE: Final = 5000
_MIXED_WINDOW: Final = 500
_DAYS: Final = 14
"""Even ones of each month, and as many odd ones."""


def real_groups(nannyml: Arrays, river: Arrays) -> list[Group]:
    """All groups but those that people annotated; of the arrays that are there."""
    groups = []
    if nannyml:
        groups += [
            _loans("loans", "loans of 2019, columns that don't change", nannyml, LOAN_STEADY, None),
            _loans("loans moved", "loans of 2019, columns that do", nannyml, LOAN_CHANGED, _LOAN_CHANGE),
            _loans("loan labels", "labels that don't change", nannyml, LOAN_LABELS_STEADY, None, "labels"),
            _loans(
                "loan labels moved", "labels that do", nannyml, LOAN_LABELS_CHANGED, _LOAN_CHANGE, "labels"
            ),
            _itself(nannyml),
            _mixed("mixed", "columns of loans and a census in random order", nannyml, 0),
            _mixed("mixed, 5 %", "the same; then 5 % are drawn from the upper quarter", nannyml, 0.05),
            _mixed("mixed, 10 %", "the same; then 10 %", nannyml, 0.10),
            _housing(nannyml),
        ]
    return [*groups, *(_temperatures(river) if river else ())]


def _loans(
    name: str, what: str, arrays: Arrays, columns: Sequence[str], change: int | None, kind: Kind = "numeric"
) -> Group:
    """The 50,000 rows of 2018 as the reference, and those of 2019 in their order."""
    reference, values = (
        np.stack([arrays[f"car_loan/{column}/{part}"] for column in columns])
        for part in ("reference", "analysis")
    )
    return Group(name, what, _LOANS, reference, values, change, kind)


def _itself(arrays: Arrays) -> Group:
    whole = np.stack([arrays[f"car_loan/{column}/reference"] for column in LOAN_CHANGED + LOAN_STEADY])
    half = whole.shape[1] // 2
    what = "the second half of 2018 against the first"
    return Group("loans of 2018", what, _LOANS, whole[:, :half], whole[:, half:])


def _mixed(name: str, what: str, arrays: Arrays, part: float) -> Group:
    """Columns in random order, so that nothing changes but what is put in: values of the upper quarter."""
    rng = np.random.default_rng(seed_of("drift", name))
    size = _MIXED_REFERENCE + (BEFORE + AFTER) * _MIXED_WINDOW
    rows = []
    for column in MIXED:
        values = rng.permutation(arrays[f"{column}/reference"])[:size]
        if part:
            late = np.arange(size) >= _MIXED_REFERENCE + BEFORE * _MIXED_WINDOW
            upper = np.sort(values)[-size // 4 :]
            values = np.where(late & (rng.random(size) < part), rng.choice(upper, size), values)
        rows.append(values)
    whole = np.stack(rows)
    reference, values = whole[:, :_MIXED_REFERENCE], whole[:, _MIXED_REFERENCE:]
    return Group(name, what, _MIXED_WINDOW, reference, values, BEFORE if part else None)


def _housing(arrays: Arrays) -> Group:
    whole = np.stack([arrays[f"housing/{column}/reference"] for column in HOUSING])
    half = whole.shape[1] // 2
    what = "districts ordered by place, the second half against the first"
    return Group("housing", what, 200, whole[:, :half], whole[:, half:], exchangeable=False)


def _temperatures(arrays: Arrays) -> list[Group]:
    """Even days of each month in Seattle are the reference; a window is a month's odd days."""
    seattle, francisco = (_by_month(arrays, city) for city in ("Seattle", "San Francisco"))
    reference, odd = seattle
    size = min(odd.shape[1], francisco[1].shape[1])
    months = [month for month in range(12) for _ in range(reference.shape[1])]
    strata = Strata(months, list(range(12)))
    groups = []
    for name, what, later, change in (
        ("Seattle", "Seattle's temperatures, a month a window", odd, None),
        ("Seattle moved", "the same; from July on San Francisco's", francisco[1], 6),
    ):
        values = np.concatenate([odd[:6, :size], later[6:, :size]]).reshape(1, -1)
        rows = reference.reshape(1, -1)
        groups.append(Group(name, what, size, rows, values, change, strata=strata, exchangeable=False))
    return groups


def _by_month(arrays: Arrays, city: str) -> tuple[Figures, Figures]:
    """The temperatures of even and of odd days, a row a month."""
    days = arrays[f"temperatures/hours/{city}"].astype("datetime64[h]").astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    day_of_month = (days - months).astype(int) + 1
    parts = []
    for odd in (0, 1):
        wanted = (day_of_month % 2 == odd) & (day_of_month <= 2 * _DAYS)
        chosen = [arrays[f"temperatures/{city}"][wanted & (months == month)] for month in np.unique(months)]
        size = min(map(len, chosen))
        parts.append(np.stack([month[:size] for month in chosen]))
    return parts[0], parts[1]
