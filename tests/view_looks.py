"""Intervals as views see them, from raw values, for the tests of views; and how they are run and killed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Final, TypeVar

from otel_wandb.alerts.finding import Finding
from otel_wandb.metrics.closed import ClosedInterval, Family, Level, Series, Value
from otel_wandb.metrics.exponential import ExponentialHistogram
from otel_wandb.metrics.histogram import AnyHistogram, read_histogram
from otel_wandb.metrics.intervals import Calendar
from otel_wandb.metrics.observed import count_values
from otel_wandb.records import Attributes
from otel_wandb.views.machine import Look, Machine, Outcome
from tests.metric_samples import MIDNIGHT_S, RAG, S, at, histogram

M = TypeVar("M", bound=Machine)

START_S: Final = MIDNIGHT_S
"""Seconds of the samples are after 2024-10-04 00:00 UTC."""


def look(
    second: float,
    *series: Series,
    spent_usd: Mapping[tuple[str, str], float] | None = None,
    interval_s: int = 60,
) -> Look:
    """The interval that ends then."""
    interval = Calendar(interval_s * S).interval_at(at(second))
    closed = ClosedInterval(RAG, interval, "0" * 16, series, (), 0)
    return Look(closed, RAG.service, "run", series, spent_usd or {})


def series(name: str, value: Value, *, unit: str = "", **attributes: str) -> Series:
    named = {key.replace("__", "."): text for key, text in attributes.items()}
    return Series(
        "tests", name, unit, _family(value), Attributes(named), repr(sorted(named.items())).encode(), value
    )


def counter(name: str, amount: float, **attributes: str) -> Series:
    return series(name, Fraction(amount), **attributes)


def gauge(name: str, *values: float, **attributes: str) -> Series:
    return series(name, Level(tuple(Fraction(repr(value)) for value in values)), **attributes)


def explicit(values: Sequence[float], bounds: Sequence[float]) -> AnyHistogram:
    return read_histogram(histogram(values, 1, bounds=bounds))


def exponential(values: Iterable[float], scale: int = 3) -> ExponentialHistogram:
    return count_values([float(value) for value in values]).to_histogram().downscale(scale)


def run(machine: Machine, looks: Iterable[Look]) -> list[Outcome]:
    return [machine.update(one) for one in looks]


def run_killed(make: Callable[[], Machine], looks: Sequence[Look], kills: Iterable[int]) -> list[Outcome]:
    """The outcomes where the machine is put away and made anew before these intervals."""
    machine, kills = make(), set(kills)
    outcomes = []
    for i, one in enumerate(looks):
        if i in kills:
            state = machine.state()
            machine = make()
            machine.restore(state)
            assert machine.state() == state
        outcomes.append(machine.update(one))
    return outcomes


def findings(outcomes: Iterable[Outcome]) -> list[tuple[float, str, str]]:
    """When (seconds of the samples), which, and whether it fires."""
    return [(f.time_s - START_S, f.name, f.state) for one in outcomes for f in one.findings]


def texts(outcomes: Iterable[Outcome]) -> list[Finding]:
    return [finding for one in outcomes for finding in one.findings]


def _family(value: Value) -> Family:
    if isinstance(value, Fraction):
        return "counter"
    return "gauge" if isinstance(value, Level) else "histogram"
