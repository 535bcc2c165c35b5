"""The streams that detectors are compared on: a reference, windows after it, and where something changed.

Everything is drawn with fixed seeds. Latencies are log-normal with a median of 100 ms and a sigma of 0.8,
where nothing else is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from otel_wandb.statistics.distances import Figures
from otel_wandb.statistics.draws import seed_of

Kind: TypeAlias = Literal["numeric", "labels", "errors"]

MEDIAN_MS: Final = 100.0
SIGMA: Final = 0.8
REFERENCE: Final = 5000
WINDOW: Final = 500
NULL: Final = 60
"""Windows of a stream without a change."""
BEFORE: Final = 10
"""Windows before a change, all of which are null windows."""
AFTER: Final = 30
UNIT_WINDOWS: Final = 20
LABELS: Final = np.array([0.30, 0.22, 0.15, 0.12, 0.09, 0.06, 0.04, 0.02])
"""The parts that models, routes or languages have of the requests."""


class Strata(NamedTuple):
    """What each value of the reference, and each window, is of: the hour, say."""

    of_reference: Sequence[int]
    of_windows: Sequence[int]


@dataclass(frozen=True)
class Group:
    """Streams of one sort. `reference` has a row a stream, `values` too, with all windows in their order.

    `change` is the first window that is not as the reference: 0 if all are not, None if none is.
    So many rows after each other as `bundle` says are columns of the same requests.
    """

    name: str
    what: str
    """In words, for those who read the report."""
    window: int
    reference: Figures
    values: Figures
    change: int | None = None
    kind: Kind = "numeric"
    strata: Strata | None = None
    interval: int = 0
    """So many requests after each other have something in common."""
    bundle: int = 1
    exchangeable: bool = True
    """Whether requests, without a change, could as well have come in any other order."""
    seed: int = 0
    """Of the first stream's draws."""

    @property
    def windows(self) -> int:
        """How many windows a stream has."""
        return int(self.values.shape[1]) // self.window

    def take(self, stream: int) -> Group:
        """The group of that stream alone."""
        return replace(
            self,
            reference=self.reference[stream : stream + 1],
            values=self.values[stream : stream + 1],
            seed=seed_of("drift", self.name, stream) % 2**32,
        )

    @property
    def null_windows(self) -> int:
        """How many windows of all streams are as the reference."""
        return len(self.values) * (self.windows if self.change is None else self.change)


class Change(NamedTuple):
    """What becomes of latencies: all take `factor` times as long, and of a part, `tail`, ten times."""

    factor: float = 1.0
    tail: float = 0.0


CHANGES: Final[Mapping[str, Change]] = {
    "×1.05": Change(1.05),
    "×1.10": Change(1.10),
    "×1.25": Change(1.25),
    "2 % ×10": Change(tail=0.02),
}
NOTHING: Final = Change()


def draw_latencies(
    rng: np.random.Generator, shape: int | tuple[int, ...], change: Change = NOTHING
) -> Figures:
    """Latencies in milliseconds."""
    values = rng.lognormal(np.log(MEDIAN_MS), SIGMA, shape) * change.factor
    if change.tail:
        values[rng.random(shape) < change.tail] *= 10
    return np.asarray(values)


SIZES: Final = ((1000, 100), (1000, 1000), (5000, 100), (5000, 500), (5000, 1000), (20000, 5000))
"""Of references and windows, at which calibration is measured."""


def single_windows(count: int) -> list[Group]:
    """So many pairs of a reference and one window, of each size without and of one size with a change."""
    groups = []
    for n, m in SIZES:
        # Pairs of 25,000 values take most of the time, and say as much when there are fewer.
        some = count if n * m < 10**8 else max(count // 4, 1)
        groups.append(_latencies(f"{n}/{m}", "one window without a change", some, (n, m, 0, 1)))
    for name, change in CHANGES.items():
        groups.append(_latencies(f"5000/1000 {name}", "one window", count, (5000, 1000, 0, 1), change))
    return groups


def synthetic_groups(streams: int) -> list[Group]:
    """So many streams of each sort."""
    sizes = (REFERENCE, WINDOW, BEFORE, AFTER)
    return [
        *_steady(streams),
        *(
            _latencies(name, "latencies, from window 11 on", streams, sizes, CHANGES[name])
            for name in CHANGES
        ),
        _creeping(streams),
        *_errors_and_labels(streams),
        _dependence(max(streams // 3, 1)),
        _bursts(streams),
        _daily_cycle(streams),
    ]


def _latencies(
    name: str, what: str, streams: int, sizes: tuple[int, int, int, int], change: Change | None = None
) -> Group:
    """Of the sizes of the reference and a window, and the numbers of windows before and after a change."""
    n, window, before, after = sizes
    rng = np.random.default_rng(seed_of("drift", name))
    reference = draw_latencies(rng, (streams, n))
    early = draw_latencies(rng, (streams, before * window))
    late = draw_latencies(rng, (streams, after * window), change or NOTHING)
    values = np.concatenate([early, late], axis=1)
    return Group(name, what, window, reference, values, None if change is None else before)


def _steady(streams: int) -> Iterator[Group]:
    steady = _latencies("steady", "latencies in ms, no change", streams, (REFERENCE, WINDOW, NULL, 0))
    yield steady
    for unit, factor in (("s", 1e-3), ("µs", 1e3)):
        some = steady.values[:, : UNIT_WINDOWS * WINDOW] * factor
        what = f"the same values in {unit}, the first {UNIT_WINDOWS} windows"
        yield Group(f"steady, in {unit}", what, WINDOW, steady.reference * factor, some)
    yield _latencies(
        "small windows", "windows of 100, a reference of 1,000, no change", streams, (1000, 100, NULL, 0)
    )


def _creeping(streams: int) -> Group:
    rng = np.random.default_rng(seed_of("drift", "creeping"))
    pace = 1.005 ** np.maximum(np.arange(BEFORE + AFTER) - BEFORE + 1, 0)
    values = draw_latencies(rng, (streams, (BEFORE + AFTER) * WINDOW)) * np.repeat(pace, WINDOW)
    what = "half a percent slower with each window, from window 11 on"
    return Group("creeping", what, WINDOW, draw_latencies(rng, (streams, REFERENCE)), values, BEFORE)


def _bursts(streams: int) -> Group:
    rng = np.random.default_rng(seed_of("drift", "bursts"))

    def draw(count: int) -> Figures:
        loads = np.exp(rng.normal(0, 0.2, (streams, count // 50)))
        return np.asarray(draw_latencies(rng, (streams, count)) * np.repeat(loads, 50, axis=1))

    what = "no change, but each 50 requests have a load in common, of a sigma of 0.2"
    return Group("bursts", what, WINDOW, draw(6000), draw(NULL * WINDOW), interval=50, exchangeable=False)


def _daily_cycle(streams: int) -> Group:
    rng = np.random.default_rng(seed_of("drift", "daily cycle"))
    factors = np.exp(np.sin(np.arange(24) / 24 * 2 * np.pi))
    each, days = 200, 2
    of_reference, of_windows = np.tile(np.repeat(np.arange(24), 30), 7), np.tile(np.arange(24), days)
    reference = draw_latencies(rng, (streams, len(of_reference))) * factors[of_reference]
    values = draw_latencies(rng, (streams, days * 24 * each)) * np.repeat(factors[of_windows], each)
    strata = Strata([int(hour) for hour in of_reference], [int(hour) for hour in of_windows])
    what = "no change, but a cycle; a window is an hour, the reference a week"
    return Group("daily cycle", what, each, reference, values, strata=strata, exchangeable=False)


def _errors_and_labels(streams: int) -> Iterator[Group]:
    moved = LABELS + np.array([-0.05, 0, 0, 0, 0.05, 0, 0, 0])
    kinds: tuple[tuple[Kind, str, str, Figures, Figures], ...] = (
        ("errors", "errors", "errors 2→4 %", np.array([0.98, 0.02]), np.array([0.96, 0.04])),
        ("labels", "labels", "labels moved", LABELS, moved),
    )
    for kind, steady, changed, before, after in kinds:
        rng = np.random.default_rng(seed_of("drift", kind))

        def draw(parts: Figures, windows: int, rng: np.random.Generator = rng) -> Figures:
            return rng.choice(len(parts), size=(streams, windows * WINDOW), p=parts).astype(float)

        said = "2 % of requests fail" if kind == "errors" else "eight labels of 2 to 30 %"
        reference = REFERENCE // WINDOW
        yield Group(
            steady, f"{said}, no change", WINDOW, draw(before, reference), draw(before, NULL), kind=kind
        )
        values = np.concatenate([draw(before, BEFORE), draw(after, AFTER)], axis=1)
        then = "4 %" if kind == "errors" else "5 points from one to another"
        yield Group(changed, f"{said}; then {then}", WINDOW, draw(before, reference), values, BEFORE, kind)


def _dependence(streams: int) -> Group:
    rng = np.random.default_rng(seed_of("drift", "dependence"))
    size = REFERENCE + (BEFORE + AFTER) * WINDOW
    one, other, third = rng.normal(size=(3, streams, size))
    late = np.arange(size) >= REFERENCE + BEFORE * WINDOW
    other = np.where(late, other, 0.8 * one + 0.6 * other)
    values = np.exp(np.stack([one, other, third], axis=1).reshape(3 * streams, -1) * SIGMA)
    what = "three columns, each distributed as ever; then two of them no longer go together"
    return Group("dependence", what, WINDOW, values[:, :REFERENCE], values[:, REFERENCE:], BEFORE, bundle=3)


def save_groups(path: Path, groups: Sequence[Group]) -> None:
    """A file of the arrays, and one of what they are, for the peers, who are told nothing of the change."""
    arrays = {
        f"{i}/{part}": getattr(g, part) for i, g in enumerate(groups) for part in ("reference", "values")
    }
    np.savez(path, **arrays)
    facts = [{"name": g.name, "window": g.window, "kind": g.kind, "bundle": g.bundle} for g in groups]
    path.with_suffix(".json").write_text(json.dumps(facts))
