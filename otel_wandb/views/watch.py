"""One stream of requests against its reference: from its first interval to an alarm that is over.

A watch goes through three states. First it collects, until it can choose its bins. Then it learns its
reference, unless one was given: for the time of two windows at least, and of all strata. Then it takes window
after window (`judging`), and an alarm fires where there is both evidence of a change, and a change that is
large enough to matter. With strata a window ends where an hour does, so that each has whole hours.

Everything is a function of event time and of counts. What is remembered takes less than 16 KB as JSON:
`limits_of` says how many bins, and how many requests of each stratum, that allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np

from otel_wandb.metrics.intervals import DAY_NS, SECOND_NS, Interval
from otel_wandb.statistics.draws import seed_of
from otel_wandb.views.bins import Bins, BinsState, Change, Moments, UnfitError, add_moments
from otel_wandb.views.definitions import Drift
from otel_wandb.views.judging import Judge, JudgeState, Window
from otel_wandb.views.pool import PackedPool, Pool
from otel_wandb.views.reference import Reference
from otel_wandb.views.strata import HOUR_NS, cycle_ns, stratum_of

Data = TypeVar("Data")
Notice: TypeAlias = Literal["small", "buckets"]
"""`small`: the given reference has less than twice the requests of a window. `buckets`: those of histograms
are others now, so the watch begins anew."""
Turn: TypeAlias = Literal["fires", "recovers", ""]

MIN_REQUESTS: Final = 30
"""Of a window; with fewer there is no verdict."""
_CHOOSING_REQUESTS: Final = 500
"""By so many, at most, the bins are chosen."""
_WINDOW_ROWS: Final = 48
_LEARN_ROWS: Final = 32
_ROWS_OF_WINDOW_S: Final = 30
_CALM_WINDOWS: Final = 3
_CALM_P: Final = 0.05


class Limits(NamedTuple):
    """How many bins there are, and how many requests (or intervals) of a stratum are remembered."""

    bins: int
    bag: int


_LIMITS: Final[Mapping[str, Limits]] = {
    "none": Limits(40, 1_000_000),
    "hour_of_day": Limits(32, 20_000),
    "hour_of_week": Limits(16, 1_500),
}
_ROW_LIMITS: Final = Limits(20, 64)


def limits_of(plan: Drift) -> Limits:
    """How much a watch of that plan remembers."""
    return _ROW_LIMITS if plan.unit == "interval" else _LIMITS[plan.strata]


class WatchState(msgspec.Struct, omit_defaults=True):
    """What a watch remembers; it encodes as JSON."""

    kind: str
    seed: int
    bins: BinsState = msgspec.field(default_factory=BinsState)
    learning: PackedPool = PackedPool()
    window: PackedPool = PackedPool()
    judge: JudgeState | None = None
    learnt: int = 0
    learnt_ns: tuple[int, int] = (0, 0)
    accepted: bool = False
    """Whether a learnt reference stands for the given one."""
    started_ns: int | None = None
    moments: Moments | None = None
    row: list[int] | None = None
    row_unit: int = 0
    hour: int = 0
    """That the last counts are of, since 1970."""
    firing_ns: int | None = None
    calm: int = 0
    unfit: int = 0
    warned: bool = False


class Watch(Generic[Data]):
    """A stream at work. Not thread-safe; `seed` decides all draws.

    `make_bins` gives bins for a reference, or for one that is to be learnt (None). An interval that closes no
    window costs what its histogram has buckets, some tenths of a millisecond; a window two Monte Carlo tests.
    """

    def __init__(
        self, plan: Drift, make_bins: Callable[[Reference | None], Bins[Data]], *, seed: int
    ) -> None:
        self.plan = plan
        self.bins = make_bins(plan.reference)
        self.notices: list[Notice] = []
        """What came to light with the last interval; whoever tells it takes it out."""
        self._make_bins = make_bins
        self._limits = limits_of(plan)
        self._by_row = plan.unit == "interval"
        self._unit_ns = max(1, round(plan.window_s / _ROWS_OF_WINDOW_S * SECOND_NS))
        self._state = self._new_state(seed)
        self._learning, self._window = self._new_pool(), self._new_pool()
        self._judge: Judge | None = None
        if self.bins.ready:
            self._take_given()

    @property
    def firing_ns(self) -> int | None:
        """When the alarm began that is not over; None without."""
        return self._state.firing_ns

    @property
    def e_value(self) -> float | None:
        """The evidence as `DriftDetector.e_value` has it; None before the reference is complete."""
        return self._judge.e_value if self._judge else None

    @property
    def reference(self) -> Pool | None:
        """The counts of the reference; None before it is complete, and no window is tested."""
        return self._judge.reference if self._judge else None

    @property
    def learnt_ns(self) -> tuple[int, int] | None:
        """From when to when the reference was learnt; None of a given one."""
        return self._state.learnt_ns if self._given is None and self._judge else None

    def explain(self) -> str:
        """What the watch is about, in a few words: `window: 18 of 30 requests`."""
        if self._judge is None:
            wanted = self._choosing_requests if self._given else self._wanted
            return f"learning: {self._state.learnt:,} of {wanted:,} requests"
        wanted = max(self.plan.window_requests, MIN_REQUESTS)
        return f"window: {self._window.size:,} of {wanted:,} requests"

    def take(self, interval: Interval, data: Data) -> Window | None:
        """Take an interval; the window that it closes, if any."""
        self._push_row((interval.end_ns - 1) // self._unit_ns)
        window = self._close_hour(interval)
        if self.bins.count_requests(data):
            if self.bins.ready:
                self._add(interval, data)
            else:
                self._collect(interval, data)
        self._push_row(interval.end_ns // self._unit_ns)
        if window is None and (self.plan.strata == "none" or interval.end_ns % HOUR_NS == 0):
            window = self._close(interval.end_ns)
        return window

    def settle(self, window: Window, *, moved: bool, threshold: float) -> Turn:
        """What the window means for the alarm: `moved` says whether the change is large enough to matter.

        It fires once, when there is evidence and a change. It is over after three windows in a row in which
        neither is to be seen, or when it is acknowledged; evidence then begins from zero.
        """
        state = self._state
        if state.firing_ns is None:
            if window.evidence < threshold or not moved:
                return ""
            state.firing_ns, state.calm = window.end_ns, 0
            return "fires"
        calm = not moved and (window.test is None or window.test.p_value > _CALM_P)
        state.calm = state.calm + 1 if calm else 0
        if state.calm < _CALM_WINDOWS:
            return ""
        self.keep()
        return "recovers"

    def keep(self) -> None:
        """Acknowledge an alarm and keep the reference: evidence begins from zero."""
        self._state.firing_ns, self._state.calm = None, 0
        if self._judge:
            self._judge.reset()

    def accept(self) -> None:
        """Acknowledge an alarm and learn another reference, beginning with what came since the change.

        Of names, and where strata or intervals are kept apart, it is learnt from what comes now.
        """
        judge = self._judge
        state = self._new_state(self._state.seed)
        state.accepted = True
        self._state, self._judge = state, None
        self._learning, self._window = self._new_pool(), self._new_pool()
        self.bins.reopen()
        if judge and self.plan.order == "ordered" and judge.shifted.size:
            self._learning = judge.shifted
            state.learnt, state.started_ns = judge.shifted.size, judge.since_ns

    def state(self) -> WatchState:
        """What `restore` needs."""
        return msgspec.structs.replace(
            self._state,
            bins=self.bins.state(),
            learning=self._learning.pack(),
            window=self._window.pack(),
            judge=self._judge.state() if self._judge else None,
        )

    def restore(self, state: WatchState) -> None:
        """Go on where the state was taken; raises `msgspec.ValidationError` for that of another view."""
        if state.kind != self._state.kind:
            raise msgspec.ValidationError(f"the state is of {state.kind!r}, not of {self._state.kind!r}")
        self._state = state
        self.bins.restore(state.bins)
        self._learning, self._window = (
            Pool.unpack(packed, self.bins.size, by_row=self._by_row)
            for packed in (state.learning, state.window)
        )
        self._judge = None
        if state.judge is not None:
            reference = Pool.unpack(state.judge.reference, self.bins.size, by_row=self._by_row)
            self._judge = self._make_judge(reference)
            self._judge.restore(state.judge)

    @property
    def _given(self) -> Reference | None:
        return None if self._state.accepted else self.plan.reference

    def _new_state(self, seed: int) -> WatchState:
        return WatchState(f"{self.plan.order} {self.plan.strata} {self.plan.unit}", seed)

    def _new_pool(self) -> Pool:
        return Pool(self.bins.size, by_row=self._by_row)

    def _collect(self, interval: Interval, data: Data) -> None:
        state = self._state
        self._start(interval, data)
        state.learnt = self.bins.collect(data)
        if state.learnt < self._choosing_requests:
            return
        counts = self.bins.settle()
        state.learnt = 0
        self._learning, self._window = self._new_pool(), self._new_pool()
        self._take_given()
        if self.plan.strata == "none" and not self._by_row:
            self._place(interval, counts)
        else:  # what was collected is of no stratum; it has chosen the bins, and that is all
            state.started_ns = state.moments = None

    def _add(self, interval: Interval, data: Data) -> None:
        try:
            change = self.bins.fit(data)
        except UnfitError:
            self._set_aside(self.bins.count_requests(data))
            return
        self._state.unfit = 0
        if change is not None:
            self._remap(change)
        self._start(interval, data)
        self._place(interval, self.bins.count(data))

    @property
    def _choosing_requests(self) -> int:
        return min(_CHOOSING_REQUESTS, max(self.plan.window_requests, MIN_REQUESTS))

    def _start(self, interval: Interval, data: Data) -> None:
        state = self._state
        if state.started_ns is None:
            state.started_ns = interval.start_ns
        found = self.bins.measure(data)
        if found is not None:
            state.moments = add_moments(state.moments, found) if state.moments else found

    def _place(self, interval: Interval, counts: list[int]) -> None:
        state = self._state
        state.hour = interval.start_ns // HOUR_NS
        if self._judge is None:
            state.learnt += sum(counts)
        if not self._by_row:
            self._pool.add(stratum_of(interval, self.plan.strata), counts)
            return
        row = state.row or [0] * len(counts)
        state.row = [a + b for a, b in zip(row, counts, strict=True)]
        state.row_unit = (interval.end_ns - 1) // self._unit_ns

    @property
    def _pool(self) -> Pool:
        return self._window if self._judge else self._learning

    def _push_row(self, unit: int) -> None:
        """A row is of a thirtieth of a window's time; it is complete where time has come to another."""
        state = self._state
        if state.row is None or state.row_unit == unit:
            return
        self._pool.add("", state.row)
        state.row = None
        if self._judge is None:
            self._learning.thin(self._limits.bag, self._rng("row", unit))

    def _set_aside(self, requests: int) -> None:
        """Data whose buckets fit nowhere: a few are left out; if they go on, the watch begins anew."""
        old = self._state
        old.unfit += requests
        if old.unfit < self._choosing_requests:
            return
        self.bins = self._make_bins(self._given)
        self._state = self._new_state(old.seed)
        self._state.firing_ns, self._state.accepted = old.firing_ns, old.accepted
        self._judge = None
        self._learning, self._window = self._new_pool(), self._new_pool()
        self.notices.append("buckets")

    def _remap(self, change: Change) -> None:
        for pool in (self._learning, self._window):
            pool.remap(change.places, change.bins)
        if self._judge:
            self._judge.remap(change)
        if self._state.row is not None:
            row = [0] * change.bins
            for place, count in zip(change.places, self._state.row, strict=True):
                row[place] += count
            self._state.row = row

    def _take_given(self) -> None:
        """The given reference in the bins; with strata or intervals each entry is one."""
        if self._given is None:
            return
        parts: dict[str, object] = {**self.bins.place(self._given)}
        if self._by_row:
            parts = {"": list(parts.values())}
        elif self.plan.strata == "none":
            parts = {"": np.array(list(parts.values())).sum(axis=0)}
        self._begin_judging(Pool.of(parts, self.bins.size, by_row=self._by_row))

    def _begin_judging(self, reference: Pool) -> None:
        change = self.bins.close(reference.totals)
        if change is not None:
            reference.remap(change.places, change.bins)
        self._window = self._new_pool()
        reference.thin(self._limits.bag, self._rng("reference"))
        self._judge = self._make_judge(reference)

    def _make_judge(self, reference: Pool) -> Judge:
        return Judge(self.plan, reference, seed=self._state.seed, bag_limit=self._limits.bag)

    def _close_hour(self, interval: Interval) -> Window | None:
        """With strata: close what an hour has ended for in whose last interval nothing came."""
        hour = interval.start_ns // HOUR_NS
        if self.plan.strata == "none" or hour <= self._state.hour:
            return None
        return self._close(hour * HOUR_NS)

    def _close(self, end_ns: int) -> Window | None:
        state = self._state
        if state.started_ns is None or not self.bins.ready:
            return None
        start_ns, moments = state.started_ns, state.moments
        length_ns = end_ns - start_ns
        if not (self._is_due(length_ns) if self._judge else self._has_learnt(length_ns)):
            return None
        state.started_ns = state.moments = None
        if self._judge is None:
            state.learnt_ns = (start_ns, end_ns)
            self._begin_judging(self._learning)
            self._learning = self._new_pool()
            return None
        closed, self._window = self._window, self._new_pool()
        window = self._judge.judge(
            closed, start_ns=start_ns, end_ns=end_ns, moments=moments, locate=self.bins.locate
        )
        if self._given and window.test and window.test.n < 2 * window.test.m and not state.warned:
            state.warned = True
            self.notices.append("small")
        return window

    @property
    def _wanted(self) -> int:
        """Requests that a reference is learnt from."""
        return max(self.plan.learn_requests, 2 * max(self.plan.window_requests, MIN_REQUESTS))

    def _has_learnt(self, length_ns: int) -> bool:
        plan = self.plan
        rows = not self._by_row or self._learning.rows >= _LEARN_ROWS
        shortest_ns = max(2 * plan.window_s * SECOND_NS, cycle_ns(plan.strata))
        return self._state.learnt >= self._wanted and rows and length_ns >= shortest_ns

    def _is_due(self, length_ns: int) -> bool:
        """Whether the window is long and full enough, or has as many rows or strata as are kept."""
        size, plan = self._window.size, self.plan
        crowded = self._window.rows >= _WINDOW_ROWS or (plan.strata != "none" and length_ns >= DAY_NS)
        if crowded and size >= MIN_REQUESTS:
            return True
        return size >= max(plan.window_requests, MIN_REQUESTS) and length_ns >= plan.window_s * SECOND_NS

    def _rng(self, *parts: object) -> np.random.Generator:
        return np.random.default_rng(seed_of(self._state.seed, *parts))
