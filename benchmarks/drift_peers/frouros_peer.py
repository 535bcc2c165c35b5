"""Frouros' verdicts: tests of each window, and detectors that take value after value, with their defaults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from exchange import Alarms, Group, Method, judge_values, judge_windows, serve
from frouros.detectors.concept_drift import CUSUM, DDM, HDDMA
from frouros.detectors.data_drift import AndersonDarlingTest, ChiSquareTest

_LEVEL = 0.05


def test_windows(group: Group) -> Alarms:
    def differs(_: int, reference: np.ndarray, window: np.ndarray) -> bool:
        detector = AndersonDarlingTest() if group.kind == "numeric" else ChiSquareTest()
        detector.fit(X=reference)
        return detector.compare(X=window)[0].p_value < _LEVEL

    return judge_windows(group, differs)


def by(make: Callable[[], object]) -> Callable[[Group], Alarms]:
    def feed() -> Callable[[float], bool]:
        detector = make()

        def take(value: float) -> bool:
            detector.update(value=value)
            drift = detector.drift
            if drift:
                detector.reset()
            return drift

        return take

    return lambda group: judge_values(group, feed)


serve(
    "frouros",
    {
        "Frouros AD or χ², p < .05": Method(test_windows),
        "Frouros CUSUM": Method(by(CUSUM), kinds=("numeric", "errors")),
        "Frouros DDM": Method(by(DDM), kinds=("errors",)),
        "Frouros HDDMA": Method(by(HDDMA), kinds=("errors",)),
    },
)
