"""Our verdicts on the streams, from counts alone, and those of the rules of thumb that SciPy is used for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.drift_binning import CATEGORIES, RECOMMENDED, Binning, tally
from benchmarks.drift_scores import Method
from benchmarks.drift_streams import Group
from otel_wandb.statistics import DriftDetector, split_reference, two_sample_strata
from otel_wandb.statistics.detector import BETS
from otel_wandb.statistics.distances import Counts, Figures

BUDGETS: Final = (1_000, 57_600)
"""Windows to a false alarm: the second is 40 metrics, hourly, half a false alarm a month."""
_LEVEL: Final = 0.05
_BETS: Final = np.array(BETS)


class Watched(NamedTuple):
    """A stream as the detector saw it, with the sums of the first of `BUDGETS`."""

    p_values: list[float]
    evidence: list[float]
    alarms: list[list[int]]
    """For each of `BUDGETS`."""
    unstable: bool
    """Whether the reference, taken apart, already alarms against itself."""
    seconds: float


def ours(groups: Sequence[Group], executor: Executor) -> tuple[list[Method], dict[str, list[Watched]]]:
    """Our verdicts, and what the detector saw of each stream, by group.

    The last method is set up for what the data are like: with strata, or with intervals.
    """
    plain = {group.name: _watch_all(replace(group, strata=None, interval=0), executor) for group in groups}
    fitted = {g.name: _watch_all(g, executor) for g in groups if g.strata or g.interval}
    methods = [_method(f"ours, A = {budget:,}", plain, index) for index, budget in enumerate(BUDGETS)]
    methods.append(_method(f"ours, A = {BUDGETS[0]:,}, with strata or intervals", fitted, 0))
    return methods, plain


def _method(name: str, seen: dict[str, list[Watched]], index: int) -> Method:
    alarms = {group: [stream.alarms[index] for stream in streams] for group, streams in seen.items()}
    return Method(name, False, alarms, sum(stream.seconds for streams in seen.values() for stream in streams))


def _watch_all(group: Group, executor: Executor) -> list[Watched]:
    return list(executor.map(watch, (group.take(stream) for stream in range(len(group.values)))))


def watch(group: Group) -> Watched:
    """What our detector says of the group's one stream."""
    began_s = time.process_time()
    binning = binning_of(group)
    reference, windows, strata = _take_apart(group, binning)
    detector = DriftDetector(reference, windows_to_false_alarm=2, order=binning.order, seed=group.seed)
    verdicts = [detector.update(w, stratum=name) for w, name in zip(windows, strata, strict=True)]
    seconds = time.process_time() - began_s
    p_values = [verdict.p_value for verdict in verdicts]
    # What is summed up here for several budgets has to be what the detector sums up itself.
    assert np.allclose(sum_up(p_values, np.inf)[0], [verdict.evidence for verdict in verdicts])
    return Watched(
        p_values,
        sum_up(p_values, BUDGETS[0])[0],
        [sum_up(p_values, budget)[1] for budget in BUDGETS],
        _is_unstable(group, binning),
        seconds,
    )


def _take_apart(group: Group, binning: Binning) -> tuple[object, Sequence[Counts], Sequence[str]]:
    """The reference, the windows and the stratum of each, as the detector takes them."""
    if group.interval:
        whole = np.concatenate([group.reference, group.values], axis=1)
        _, rows = tally(binning.code, replace(group, values=whole, window=group.interval, strata=None))
        before, size = group.reference.shape[1] // group.interval, group.window // group.interval
        windows = rows[before:].reshape(-1, size, rows.shape[1])
        return rows[:before], list(windows), [""] * len(windows)
    bags, counts = tally(binning.code, group)
    names = map(str, group.strata.of_windows) if group.strata else [""] * len(counts)
    return bags, list(counts), list(names)


def binning_of(group: Group) -> Binning:
    """Counts in the buckets of an exponential histogram, or of the labels."""
    return RECOMMENDED if group.kind == "numeric" else CATEGORIES


def sum_up(p_values: Sequence[float], budget: float) -> tuple[list[float], list[int]]:
    """The evidence after each window, and the windows of the alarms, each acknowledged at once."""
    sums = np.zeros(len(_BETS))
    evidence, alarms = [], []
    for index, p_value in enumerate(p_values):
        sums = (sums + 1) * _BETS * max(p_value, 1e-12) ** (_BETS - 1)
        evidence.append(float(sums.mean()))
        if evidence[-1] >= budget:
            alarms.append(index)
            sums = np.zeros(len(_BETS))
    return evidence, alarms


def _is_unstable(group: Group, binning: Binning) -> bool:
    if group.windows < 2:
        return False
    itself = replace(group, values=group.reference, strata=None)
    _, windows = tally(binning.code, itself)
    return split_reference(list(windows), windows_to_false_alarm=BUDGETS[0], seed=group.seed) is not None


def window_tests(groups: Sequence[Group], executor: Executor) -> list[Method]:
    """Our test of each window by itself, and the rules that need no package but SciPy."""
    rules = {
        "ours, a window by itself, p ≤ .05": (_by_counts, False),
        "SciPy KS or χ², p < .05": (_by_scipy, True),
        "PSI ≥ 0.1, deciles": (_by_psi, True),
    }
    methods = []
    for name, (rule, raw) in rules.items():
        found = {
            group.name: list(executor.map(rule, (group.take(i) for i in range(len(group.values)))))
            for group in groups
        }
        alarms = {group: [list(stream) for stream, _ in streams] for group, streams in found.items()}
        seconds = sum(took for streams in found.values() for _, took in streams)
        methods.append(Method(name, raw, alarms, seconds))
    return methods


def _by_counts(group: Group) -> tuple[list[int], float]:
    began_s = time.process_time()
    binning = binning_of(group)
    bags, windows = tally(binning.code, replace(group, strata=None))
    p_values = [
        two_sample_strata(
            [(bags[""], window)],
            order=binning.order,
            seed=group.seed + index,
            only_decisive=True,
        ).p_value
        for index, window in enumerate(windows)
    ]
    alarms = [index for index, p_value in enumerate(p_values) if p_value <= _LEVEL]
    return alarms, time.process_time() - began_s


def _by_scipy(group: Group) -> tuple[list[int], float]:
    began_s = time.process_time()
    if group.kind == "numeric":
        windows = group.values[0][: group.windows * group.window].reshape(group.windows, group.window)
        p_values = [float(stats.ks_2samp(group.reference[0], w, method="asymp").pvalue) for w in windows]
    else:
        bags, counts = tally(CATEGORIES.code, replace(group, strata=None))
        p_values = [_chi_square(bags[""], window) for window in counts]
    return [i for i, p_value in enumerate(p_values) if p_value < _LEVEL], time.process_time() - began_s


def _chi_square(reference: Counts, window: Counts) -> float:
    both = np.stack([reference, window])
    both = both[:, both.sum(axis=0) > 0]
    return float(stats.chi2_contingency(both, correction=False).pvalue) if both.shape[1] > 1 else 1.0


def _by_psi(group: Group) -> tuple[list[int], float]:
    began_s = time.process_time()
    code = CATEGORIES.code
    if group.kind == "numeric":
        edges = np.unique(np.quantile(group.reference[0], np.arange(1, 10) / 10))

        def code(_: Figures, values: Figures) -> Counts:
            return np.searchsorted(edges, values)

    bags, windows = tally(code, replace(group, strata=None))
    q = np.maximum(bags[""] / bags[""].sum(), 1e-4)
    p = np.maximum(windows / group.window, 1e-4)
    found = ((p - q) * np.log(p / q)).sum(axis=1)
    return [int(index) for index in np.flatnonzero(found >= 0.1)], time.process_time() - began_s


def self_tests(seen: dict[str, list[Watched]]) -> dict[str, float]:
    """By group, the part of the streams whose reference alarms against itself already."""
    return {name: sum(stream.unstable for stream in streams) / len(streams) for name, streams in seen.items()}
