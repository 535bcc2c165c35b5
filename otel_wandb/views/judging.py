"""A complete reference, and what windows come to against it: each by itself, and all of them together.

A window is tested twice. Against the reference alone, which says how far away it is (`two_sample`). And
against the reference with all windows before it, from which evidence grows that keeps its promise about false
alarms (`DriftDetector`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
import numpy as np

from otel_wandb.statistics.detector import BETS, DetectorState, DriftDetector
from otel_wandb.statistics.draws import seed_of
from otel_wandb.statistics.two_sample import TwoSample, two_sample_strata
from otel_wandb.views.bins import Change, Moments
from otel_wandb.views.definitions import Drift
from otel_wandb.views.effects import Side, match_sides
from otel_wandb.views.pool import PackedPool, Pool

Locate: TypeAlias = Callable[[Side], "list[float] | None"]
"""Where the bins are on an axis without a unit."""

_DRAWS: Final = 999
_SHOWN_DRAWS: Final = 299


@dataclass(frozen=True, slots=True)
class Window:
    """What a window came to. `evidence` is against "nothing changed since the reference".

    `test` and `sides` (reference, window) are None where the reference has no requests of the same strata.
    `shifted` are the sides since evidence began to rise: at `since_ns`, `since_windows` windows ago.
    """

    start_ns: int
    end_ns: int
    size: int
    test: TwoSample | None
    evidence: float
    moments: Moments | None
    sides: tuple[Side, Side] | None
    shifted: tuple[Side, Side] | None
    since_ns: int
    since_windows: int


class JudgeState(msgspec.Struct, frozen=True):
    """What a judge remembers; it encodes as JSON."""

    reference: PackedPool
    bag: PackedPool
    evidence: list[float]
    windows: int
    rise: float
    since_ns: int
    since_windows: int
    shifted: PackedPool


class Judge:
    """The reference, and the evidence of all windows against it. `bag_limit` is as in `DriftDetector`."""

    def __init__(self, plan: Drift, reference: Pool, *, seed: int, bag_limit: int) -> None:
        self.reference = reference
        self._plan = plan
        self._seed = seed
        self._detector = DriftDetector(
            reference.parts,
            windows_to_false_alarm=2.0,  # it is not asked for alarms, but for its evidence
            order=plan.order,
            draws=_DRAWS,
            seed=seed,
            bag_limit=bag_limit,
        )
        self._rise = 0.0
        self._since_ns = self._since_windows = 0
        self._shifted = Pool(reference.bins)
        self._state: JudgeState | None = None

    @property
    def since_ns(self) -> int:
        """When the first window began since which evidence rose; 0 where it does not."""
        return self._since_ns

    @property
    def e_value(self) -> float:
        """The evidence as `DriftDetector.e_value` has it."""
        return self._detector.e_value

    @property
    def shifted(self) -> Pool:
        """The counts since then; empty where strata or intervals are kept apart."""
        return self._shifted

    def judge(
        self, window: Pool, *, start_ns: int, end_ns: int, moments: Moments | None, locate: Locate
    ) -> Window:
        """Take a window; what it came to."""
        self._state = None
        sides = match_sides(self.reference, window)
        test = None if sides is None else self._test(window, locate(sides[0]), start_ns)
        verdict = self._detector.update(window.parts)
        self._follow_rise(verdict.p_value, window, start_ns)
        shifted = match_sides(self.reference, self._shifted) if self._shifted.size else sides
        return Window(
            start_ns=start_ns,
            end_ns=end_ns,
            size=window.size,
            test=test,
            evidence=verdict.evidence,
            moments=moments,
            sides=sides,
            shifted=shifted,
            since_ns=self._since_ns or start_ns,
            since_windows=max(1, self._since_windows),
        )

    def reset(self) -> None:
        """Begin anew with the reference alone."""
        self._forget_rise()
        self._detector.reset(self.reference.parts)

    def remap(self, change: Change) -> None:
        """Go on with other bins."""
        bag, told = self._read_bag()
        for pool in (self.reference, self._shifted, bag):
            pool.remap(change.places, change.bins)
        self._write_bag(bag, told.evidence, told.windows)
        self._state = None

    def state(self) -> JudgeState:
        """What `restore` needs."""
        if self._state is None:
            bag, told = self._read_bag()
            self._state = JudgeState(
                self.reference.pack(),
                bag.pack(),
                told.evidence,
                told.windows,
                self._rise,
                self._since_ns,
                self._since_windows,
                self._shifted.pack(),
            )
        return self._state

    def restore(self, state: JudgeState) -> None:
        """Go on where the state was taken, of a judge of the same plan and reference."""
        self._write_bag(self._unpack(state.bag), state.evidence, state.windows)
        self._rise, self._since_ns = state.rise, state.since_ns
        self._since_windows = state.since_windows
        self._shifted = Pool.unpack(state.shifted, self.reference.bins)
        self._state = None

    def _unpack(self, packed: PackedPool) -> Pool:
        return Pool.unpack(packed, self.reference.bins, by_row=self.reference.by_row)

    def _read_bag(self) -> tuple[Pool, DetectorState]:
        told = self._detector.state()
        return Pool.of({**told.bags, **told.rows}, self.reference.bins, by_row=self.reference.by_row), told

    def _write_bag(self, bag: Pool, evidence: list[float], windows: int) -> None:
        parts = {key: part.tolist() for key, part in bag.parts.items()}
        bags, rows = ({}, parts) if bag.by_row else (parts, {})
        self._detector.restore(DetectorState(bags, evidence, windows, rows))

    def _test(self, window: Pool, positions: list[float] | None, start_ns: int) -> TwoSample:
        reference = self.reference.parts
        return two_sample_strata(
            [(reference[key], part) for key, part in window.parts.items() if key in reference],
            order=self._plan.order,
            positions=positions,
            draws=_SHOWN_DRAWS,
            seed=seed_of(self._seed, start_ns),
        )

    def _follow_rise(self, p_value: float, window: Pool, start_ns: int) -> None:
        """When evidence began to rise: where its sum of logarithms was last at zero (E. Page, 1954)."""
        bets = np.array(BETS)
        gain = math.log(float((bets * max(p_value, 1e-12) ** (bets - 1)).mean()))
        if self._rise + gain <= 0:
            self._forget_rise()
            return
        if self._rise <= 0:
            self._since_ns = start_ns
        self._rise += gain
        self._since_windows += 1
        if self._plan.strata == "none" and not window.by_row:
            self._shifted.add("", window.totals)

    def _forget_rise(self) -> None:
        self._rise, self._since_ns, self._since_windows = 0.0, 0, 0
        self._shifted = Pool(self.reference.bins)
        self._state = None
