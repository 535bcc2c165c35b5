"""What the statistics promise, measured: calibration, power, false alarms of streams, delay (T1 to T4)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.drift_binning import BINNINGS, tally
from benchmarks.drift_ours import BUDGETS, sum_up
from benchmarks.drift_report import Finding, Table, judge, share
from benchmarks.drift_streams import (
    CHANGES,
    NOTHING,
    REFERENCE,
    SIZES,
    WINDOW,
    Change,
    Group,
    draw_latencies,
)
from otel_wandb.statistics import DriftDetector, two_sample_strata
from otel_wandb.statistics.distances import Figures
from otel_wandb.statistics.draws import seed_of

RAW: Final = "SciPy KS on raw values"
OURS: Final = "exponential, scale 3"
_LEVEL: Final = 0.05
_CHUNK: Final = 25
_CALIBRATION_DRAWS: Final = 199
"""A test is exact at any number of draws; a twentieth of 200 is whole."""
_BEFORE: Final = 8
_LONGEST: Final = 80
_POWER_SIZE: Final = (5000, 1000)
_POWER_GOALS: Final = {"×1.10": 0.80, "2 % ×10": 0.85}
_DELAY_GOALS: Final = {
    ("×1.10", 1_000): 6,
    ("×1.25", 1_000): 2,
    ("2 % ×10", 1_000): 4,
    ("×1.10", 57_600): 12,
}


class Trial(NamedTuple):
    """Repetitions of one test, as many as one task has."""

    binning: str
    n: int
    m: int
    change: Change
    draws: int
    first: int
    times: int


def reject(trial: Trial) -> int:
    """How often the test says that there is a difference."""
    rejections = 0
    for repetition in range(trial.first, trial.first + trial.times):
        rng = np.random.default_rng(seed_of("trial", trial.n, trial.m, *trial.change, repetition))
        reference, current = draw_latencies(rng, trial.n), draw_latencies(rng, trial.m, trial.change)
        rejections += _p_value(trial, reference, current, repetition) <= _LEVEL
    return rejections


def _p_value(trial: Trial, reference: Figures, current: Figures, seed: int) -> float:
    if trial.binning == RAW:
        return float(stats.ks_2samp(reference, current, method="asymp").pvalue)
    code, order = BINNINGS[trial.binning]
    bags, windows = tally(code, Group("", "", trial.m, reference[np.newaxis], current[np.newaxis]))
    pair = [(bags[""], windows[0])]
    return two_sample_strata(pair, order=order, draws=trial.draws, seed=seed, only_decisive=True).p_value


Cell = tuple[str, int, int, Change, int]
"""A binning, the sizes, a change, and the draws."""


def reject_all(cells: Sequence[Cell], repetitions: int, executor: Executor) -> list[int]:
    """How often each cell says that there is a difference."""
    starts = range(0, repetitions, _CHUNK)
    trials = [Trial(*cell, first, min(_CHUNK, repetitions - first)) for cell in cells for first in starts]
    found = list(executor.map(reject, trials))
    return [sum(found[i : i + len(starts)]) for i in range(0, len(found), len(starts))]


def measure_calibration(repetitions: int, executor: Executor) -> tuple[list[Finding], Table]:
    """T1: how often a window without a change is called different, at a nominal 5 %."""
    names = [*BINNINGS, RAW]
    cells = [(name, n, m, NOTHING, _CALIBRATION_DRAWS) for name in names for n, m in SIZES]
    rejections = reject_all(cells, repetitions, executor)
    by_name = {name: rejections[i * len(SIZES) : (i + 1) * len(SIZES)] for i, name in enumerate(names)}
    findings = [_calibration_finding(name, by_name[name], repetitions) for name in BINNINGS]
    rows = [[name, *(f"{count / repetitions:.3f}" for count in counts)] for name, counts in by_name.items()]
    head = ["n/m", *(f"{n}/{m}" for n, m in SIZES)]
    note = f"{repetitions} repetitions: an exact test is within ±{_spread(repetitions):.3f} of .050 in 95 %."
    return findings, Table("T1: calls without a change, nominal .050", head, rows, note)


def _spread(repetitions: int) -> float:
    return float(1.96 * np.sqrt(0.05 * 0.95 / repetitions))


def _calibration_finding(name: str, counts: Sequence[int], repetitions: int) -> Finding:
    # Six sizes a binning and seven binnings are looked at, so the worst is far out by chance alone.
    verdicts = [judge(count, repetitions, 0.04, 0.06, confidence=0.999) for count in counts]
    met = False if False in verdicts else None if None in verdicts else True
    measured = f"{min(counts) / repetitions:.3f} to {max(counts) / repetitions:.3f}"
    return Finding("T1", f"calibration, {name}", ".04 to .06 for each n/m", measured, met)


def measure_power(repetitions: int, executor: Executor) -> tuple[list[Finding], Table]:
    """T2: how often a change is seen in one window."""
    binnings = (OURS, "32 quantiles and tails", "OTel's default bounds", RAW)
    cells = [(name, *_POWER_SIZE, change, 999) for name in binnings for change in CHANGES.values()]
    counts = reject_all(cells, repetitions, executor)
    by_name = {
        name: dict(zip(CHANGES, counts[i * len(CHANGES) :], strict=False)) for i, name in enumerate(binnings)
    }
    findings = []
    for change, count in by_name[OURS].items():
        if goal := _POWER_GOALS.get(change):
            met = judge(count, repetitions, goal, 1)
            findings.append(
                Finding("T2", f"power, {change}", f"≥ {goal:.2f}", share(count, repetitions), met)
            )
        gap = (by_name[RAW][change] - count) / repetitions
        # Both see the same values, so the difference is less uncertain than either.
        unsure = 2.6 * np.sqrt(0.5 * max(abs(gap), 0.1) / repetitions)
        met = True if gap <= 0.08 else None if gap - unsure <= 0.08 else False
        measured = f"{0.0 - gap:+.3f}"
        findings.append(Finding("T2", f"beside SciPy's KS on raw values, {change}", "≥ −0.08", measured, met))
    rows = [[name, *(f"{n / repetitions:.3f}" for n in of.values())] for name, of in by_name.items()]
    note = f"Reference 5,000, window 1,000, p ≤ .05, {repetitions} repetitions."
    return findings, Table("T2: changes seen in one window", ["", *CHANGES], rows, note)


def watch_null(task: tuple[int, int]) -> list[float]:
    """The p-values of so many windows without a change, as the detector is recommended to be used."""
    stream, windows = task
    rng = np.random.default_rng(seed_of("null", stream))
    values = draw_latencies(rng, (1, windows * WINDOW))
    group = Group("", "", WINDOW, draw_latencies(rng, (1, REFERENCE)), values)
    return _p_values(group, stream, np.inf)


def _p_values(group: Group, seed: int, until: float) -> list[float]:
    bags, windows = tally(BINNINGS[OURS].code, group)
    detector = DriftDetector(bags, windows_to_false_alarm=1e6, seed=seed)
    found = []
    for window in windows:
        found.append(detector.update(window).p_value)
        if detector.evidence >= until:
            break
    return found


def run_long(task: tuple[int, int, int]) -> int:
    """The false alarms of a budget in so many windows of error rates, each acknowledged at once."""
    budget, stream, windows = task
    rng = np.random.default_rng(seed_of("long", budget, stream))

    def draw(size: int) -> list[int]:
        bad = int(rng.binomial(size, 0.02))
        return [size - bad, bad]

    detector = DriftDetector(
        draw(5000), windows_to_false_alarm=budget, order="categories", draws=99, seed=stream
    )
    alarms = 0
    for _ in range(windows):
        if detector.update(draw(WINDOW)).alarm:
            alarms += 1
            detector.reset()
    return alarms


def measure_false_alarms(streams: int, runs: int, executor: Executor) -> list[Finding]:
    """T3: streams of 100 windows with an alarm, and the mean number of windows to a false one."""
    p_values = list(executor.map(watch_null, ((stream, 100) for stream in range(streams))))
    alarming = sum(bool(sum_up(found, 1_000)[1]) for found in p_values)
    smaller = stats.kstest(np.concatenate(p_values), "uniform", alternative="greater")
    findings = [
        Finding(
            "T3",
            "streams of 100 windows with a false alarm, A = 1,000",
            "≤ .10",
            share(alarming, streams),
            judge(alarming, streams, 0, 0.10),
        ),
        Finding(
            "T3",
            f"p-values of these {100 * streams:,} windows: smaller than uniform (KS, one-sided)",
            "p > .001",
            f"p = {smaller.pvalue:.3f}",
            bool(smaller.pvalue > 0.001),
        ),
    ]
    for budget, each in ((1_000, 1_000), (10_000, 4_000)):
        alarms = sum(executor.map(run_long, ((budget, run, each) for run in range(runs))))
        findings.append(_run_length(budget, alarms, runs * each))
    return findings


def _run_length(budget: int, alarms: int, windows: int) -> Finding:
    """With 95 % confidence the mean is at least that, were run lengths exponential; they vary less."""
    least = float(2 * windows / stats.chi2.ppf(0.95, 2 * alarms + 2))
    mean = f"{windows / alarms:,.0f}" if alarms else f"> {windows:,}"
    return Finding(
        "T3",
        f"windows to a false alarm, A = {budget:,}, of {windows:,}",
        f"mean ≥ {budget:,} with 95 % confidence",
        f"mean {mean}, at least {least:,.0f}",
        True if least >= budget else (None if not alarms or windows / alarms >= budget else False),
    )


def watch_change(task: tuple[str, int]) -> list[float]:
    """The p-values of some windows without a change and those after it, until the largest budget alarms."""
    name, stream = task
    rng = np.random.default_rng(seed_of("delay", name, stream))
    early = draw_latencies(rng, (1, _BEFORE * WINDOW))
    late = draw_latencies(rng, (1, _LONGEST * WINDOW), CHANGES[name])
    reference = draw_latencies(rng, (1, REFERENCE))
    group = Group("", "", WINDOW, reference, np.concatenate([early, late], axis=1))
    return _p_values(group, stream, max(BUDGETS))


def measure_delay(streams: int, executor: Executor) -> tuple[list[Finding], Table]:
    """T4: windows from a change to the alarm."""
    tasks = [(name, stream) for name in CHANGES for stream in range(streams)]
    found = list(executor.map(watch_change, tasks))
    findings, rows = [], []
    for i, name in enumerate(CHANGES):
        p_values = found[i * streams : (i + 1) * streams]
        for budget in BUDGETS:
            alarms = [sum_up(values, budget)[1] for values in p_values]
            delays = [d for stream in alarms for d in list(_delays(stream))[:1]]
            early = sum(any(alarm < _BEFORE for alarm in stream) for stream in alarms)
            rows.append([name, f"{budget:,}", *_delay_cells(delays, streams, early)])
            if goal := _DELAY_GOALS.get((name, budget)):
                findings.append(_delay_finding(name, budget, goal, delays, streams))
    head = ["", "A", "found", "median", "90 %", "early"]
    note = (
        f"Windows of {WINDOW}, {_BEFORE} before the change, {streams} streams; sought for {_LONGEST} windows."
    )
    return findings, Table("T4: windows from a change to the alarm", head, rows, note)


def _delays(alarms: Sequence[int]) -> Iterator[int]:
    return (alarm - _BEFORE + 1 for alarm in alarms if alarm >= _BEFORE)


def _delay_cells(delays: Sequence[int], streams: int, early: int) -> list[str]:
    if not delays:
        return ["0 %", "", "", str(early)]
    found = f"{100 * len(delays) / streams:.0f} %"
    return [found, f"{statistics.median(delays):g}", f"{np.quantile(delays, 0.9):.0f}", str(early)]


def _delay_finding(name: str, budget: int, goal: int, delays: Sequence[int], streams: int) -> Finding:
    waited = sorted([*delays, *[_LONGEST] * (streams - len(delays))])
    median = statistics.median(waited)
    late = sum(delay > goal for delay in waited)
    met = True if median <= goal else judge(late, streams, 0, 0.5)
    what = f"median delay, {name}, A = {budget:,}"
    return Finding("T4", what, f"≤ {goal} windows", f"{median:g} (90 %: {np.quantile(waited, 0.9):.0f})", met)
