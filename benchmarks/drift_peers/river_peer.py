"""river's verdicts: detectors that take value after value, all with their defaults."""

from __future__ import annotations

import time
from collections.abc import Callable

from exchange import Alarms, Group, Method, judge_values, serve
from river import drift

_SOME = 1_500
ERRORS = ("errors",)
NUMBERS = ("numeric", "errors")


def by(make: Callable[[], object]) -> Callable[[Group], Alarms]:
    def feed() -> Callable[[float], bool]:
        detector = make()

        def take(value: float) -> bool:
            detector.update(value)
            return detector.drift_detected

        return take

    return lambda group: judge_values(group, feed)


def say_kswin(groups: list[Group]) -> list[str]:
    """What KSWIN does with some values without a change, and how long it takes: too long for all."""
    (group,) = (group for group in groups if group.name == "steady")
    detector = drift.KSWIN(seed=0)
    began_s, alarms = time.process_time(), 0
    values = group.values[0][:_SOME].tolist()
    for value in values:
        detector.update(value)
        alarms += detector.drift_detected
    each_ms = (time.process_time() - began_s) / len(values) * 1e3
    return [
        f"KSWIN is left out: it took {each_ms:.1f} ms a value; "
        f"{alarms} false alarms in {len(values):,} values without a change."
    ]


serve(
    "river",
    {
        "river ADWIN": Method(by(drift.ADWIN), kinds=NUMBERS),
        "river PageHinkley": Method(by(drift.PageHinkley), kinds=NUMBERS),
        "river DDM": Method(by(drift.binary.DDM), kinds=ERRORS),
        "river HDDMA": Method(by(drift.binary.HDDMA), kinds=ERRORS),
    },
    say_kswin,
)
