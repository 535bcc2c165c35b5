"""What the statistics promise, measured: calibration, power, false alarms of streams, delay (T1 to T4)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
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
_DRAWS: Final = 999
"""As by default. A test is valid at any number, but with few the least p-values of several statistics are
tied, which makes it timid."""
_BEFORE: Final = (8, 40)
"""Windows before the change."""
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
    cells = [(name, n, m, NOTHING, _DRAWS) for name in names for n, m in SIZES]
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
    cells = [(name, *_POWER_SIZE, change, _DRAWS) for name in binnings for change in CHANGES.values()]
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


def watch_change(task: tuple[str, int, int]) -> list[float]:
    """The p-values of some windows without a change and those after it, until the largest budget alarms."""
    name, before, stream = task
    rng = np.random.default_rng(seed_of("delay", name, stream))
    reference = draw_latencies(rng, (1, REFERENCE))
    late = draw_latencies(rng, (1, _LONGEST * WINDOW), CHANGES[name])
    early = draw_latencies(rng, (1, before * WINDOW))
    group = Group("", "", WINDOW, reference, np.concatenate([early, late], axis=1))
    return _p_values(group, stream, max(BUDGETS))


class Delays(NamedTuple):
    """How many windows it took until the alarm, stream by stream; as long as was looked if it took longer."""

    change: str
    before: int
    """Windows without a change, which the detector has learned from as well."""
    budget: int
    windows: list[int]
    early: int
    """Streams with an alarm before the change."""

    def cells(self) -> list[str]:
        """A row of the table."""
        found = sum(delay < _LONGEST for delay in self.windows) / len(self.windows)
        median, late = np.quantile(self.windows, (0.5, 0.9))
        shown = (f"{delay:.3g}" if delay < _LONGEST else f"> {_LONGEST}" for delay in (median, late))
        return [
            self.change,
            str(self.before),
            f"{self.budget:,}",
            f"{100 * found:.0f} %",
            *shown,
            str(self.early),
        ]


def measure_delay(streams: int, executor: Executor) -> tuple[list[Finding], Table]:
    """T4: windows from a change to the alarm."""
    found = [
        delays
        for before in _BEFORE
        for name in CHANGES
        for delays in _delays(name, before, streams, executor)
    ]
    findings = [
        _delay_finding(delays, goal)
        for delays in found
        if (goal := _DELAY_GOALS.get((delays.change, delays.budget)))
    ]
    head = ["", "windows before", "A", "found", "median", "90 %", "early"]
    note = (
        f"Reference {REFERENCE:,}, windows of {WINDOW}, {streams} streams, sought for {_LONGEST} windows. "
        "What came before the change is learned from, and so is what comes after: a small change is found "
        "soon or not at all."
    )
    return findings, Table("T4: windows from a change to the alarm", head, [d.cells() for d in found], note)


def _delays(name: str, before: int, streams: int, executor: Executor) -> list[Delays]:
    p_values = list(executor.map(watch_change, ((name, before, stream) for stream in range(streams))))
    found = []
    for budget in BUDGETS:
        alarms = [sum_up(values, budget)[1] for values in p_values]
        late = [[alarm - before + 1 for alarm in stream if alarm >= before] for stream in alarms]
        windows = [stream[0] if stream else _LONGEST for stream in late]
        early = sum(any(alarm < before for alarm in stream) for stream in alarms)
        found.append(Delays(name, before, budget, windows, early))
    return found


def _delay_finding(delays: Delays, goal: int) -> Finding:
    streams = len(delays.windows)
    median = statistics.median(delays.windows)
    missed = judge(sum(delay > goal for delay in delays.windows), streams, 0, 0.5) is False
    what = f"median delay, {delays.change}, A = {delays.budget:,}, {delays.before} windows before the change"
    return Finding(
        "T4",
        what,
        f"≤ {goal} windows",
        f"{median:g} (90 %: {np.quantile(delays.windows, 0.9):.0f})",
        True if median <= goal else False if missed else None,
    )
