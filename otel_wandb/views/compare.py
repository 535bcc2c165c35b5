"""Comparing versions: whether a new one answers otherwise than the stable one, at any time one looks.

Versions are told apart by `service.version` of the resource, or by an attribute of data points. Each new one
is compared, interval by interval, with what the stable one did in the same interval, so what both have in
common, such as an hour of the day, does not matter, and neither does how the traffic is split
(`statistics.comparison`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from otel_wandb.alerts.finding import State
from otel_wandb.alerts.wording import tell_number
from otel_wandb.metrics.closed import Series
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.statistics.comparison import Comparison, ComparisonState
from otel_wandb.views.bins import BinsState, OrderedBins, UnfitError
from otel_wandb.views.definitions import Compare, name_view
from otel_wandb.views.drift_words import tell_shift
from otel_wandb.views.effects import Side, shift_quantile
from otel_wandb.views.evidence import Stream
from otel_wandb.views.followed import read_values
from otel_wandb.views.grid import Edges, regroup, thin_edges
from otel_wandb.views.machine import Group, Look, Outcome, admit, select
from otel_wandb.views.telling import make_finding, name_subject, tell_evidence, tell_fired

RESOURCE_VERSION: Final = "service.version"
"""The attribute that resources have, and data points mostly not."""

_BINS: Final = 40
_COMPARED_BINS: Final = 12
_CHOOSING_REQUESTS: Final = 500
_MIN_REQUESTS: Final = 30
_MAX_COMPARED: Final = 4
"""New versions that are compared at a time, the last that came."""
_MAX_VERSIONS: Final = 16
_TOLD: Final = (0.5, 0.95, 0.99)


class PairState(msgspec.Struct):
    """A new version beside the stable one, since it came; it encodes as JSON."""

    version: str
    stable: list[int]
    new: list[int]
    comparison: ComparisonState
    differs_ns: int | None = None


class VersionsState(msgspec.Struct):
    """What is remembered of a group; it encodes as JSON."""

    bins: BinsState
    kept: Edges = ()
    """The edges that versions are compared with, some of those of `bins`."""
    totals: dict[str, int] = {}
    stable: str = ""
    pairs: list[PairState] = []


class CompareState(msgspec.Struct, frozen=True):
    """What the machine remembers; it encodes as JSON."""

    groups: list[tuple[Group, VersionsState]]


class CompareMachine:
    """A `Compare` view at work, for one service. Not thread-safe.

    Keys, of each group and new version, in rows with data of it: `drift/{view}_{version}_evidence`,
    `_ratio_p95` (how many times that of the stable version, since the new one came) and `_differs`, which is
    1 once the evidence has reached 1 / `alpha`. The chance that a false alarm ever comes for a version is at
    most `alpha`. Stable is the version that is named, else the one with most requests when a new one comes.

    Versions are compared from the interval on that follows the first 500 requests, by which bins are chosen.
    An interval costs some tenths of a millisecond a version; the state is less than 8 KB a group.
    """

    def __init__(self, definition: Compare) -> None:
        self._view = definition
        self._name = name_view(definition)
        self._groups: dict[Group, _Versions] = {}

    def update(self, look: Look) -> Outcome:
        """Take an interval; those of a service come in their order."""
        outcome = Outcome(keys=look.keys)
        split = self._split(look)
        for group in admit(self._groups, (group for group, versions in split.items() if versions)):
            if group not in self._groups:
                self._groups[group] = _Versions(self._view)
        for group, versions in sorted(self._groups.items()):
            ended = versions.take(split.get(group, {}))
            for pair in ended:
                if pair.differs_ns is not None:
                    text = _tell_ended(name_subject(self._name, group), pair, look.time_s)
                    self._find(look, outcome, (*group, pair.version), text, "recovered")
            for pair in versions.pairs:
                if pair.version in split.get(group, {}):
                    self._tell(look, outcome, group, versions, pair)
        return outcome

    def list_evidence(self) -> list[Stream]:
        """Its streams, as they stand after the last interval."""
        return [
            Stream("drift", (*group, pair.version), "q_value", pair.comparison.evidence)
            for group, versions in sorted(self._groups.items())
            for pair in versions.pairs
        ]

    def state(self) -> bytes:
        """What `restore` needs."""
        return msgspec.json.encode(
            CompareState([(group, versions.state()) for group, versions in sorted(self._groups.items())])
        )

    def restore(self, state: bytes) -> None:
        """Go on from there; raises `msgspec.MsgspecError` for a state of another shape."""
        told = msgspec.json.decode(state, type=CompareState)
        self._groups = {group: _Versions(self._view, one) for group, one in told.groups}

    def _split(self, look: Look) -> dict[Group, dict[str, list[AnyHistogram]]]:
        """The histograms of each group by version, those of no version left out."""
        view, split = self._view, dict[Group, dict[str, list[AnyHistogram]]]()
        for version, series in self._versions_of(look).items():
            for group, parts in select(series, view.instrument, view.where, view.by).items():
                histograms = read_values(parts)
                if histograms:
                    split.setdefault(group, {})[version] = histograms
        return split

    def _versions_of(self, look: Look) -> dict[str, Sequence[Series]]:
        """The data by version: that of the process, or what the attribute of data points says."""
        versions = {version: data for version, data in sorted(look.versions.items()) if version}
        if self._view.attribute == RESOURCE_VERSION and versions:
            return {**versions}
        told: dict[str, list[Series]] = {}
        for one in look.series:
            version = str(one.attributes.get(self._view.attribute, ""))
            if version:
                told.setdefault(version, []).append(one)
        return {version: told[version] for version in sorted(told)}

    def _tell(self, look: Look, outcome: Outcome, group: Group, versions: _Versions, pair: _Pair) -> None:
        subject = (*group, pair.version)
        fields = {"evidence": pair.comparison.evidence, **dict(versions.list_ratios(pair))}
        if pair.comparison.alarm and pair.differs_ns is None:
            pair.differs_ns = look.closed.interval.end_ns
            text = self._tell_alarm(name_subject(self._name, group), versions, pair)
            self._find(look, outcome, subject, text, "firing")
        fields["differs"] = float(pair.differs_ns is not None)
        for field, value in fields.items():
            outcome.values[outcome.keys.key("drift", self._name, subject, field)] = value

    def _tell_alarm(self, subject: str, versions: _Versions, pair: _Pair) -> str:
        changes = "; ".join(versions.tell_shifts(pair))
        evidence = tell_evidence(pair.comparison.evidence)
        alpha = self._view.alpha
        return (
            f"{subject} in {pair.version} ({sum(pair.new):,} requests) is not as in {versions.stable} "
            f"({sum(pair.stable):,} requests in the same time): {changes}. Evidence is {evidence}; of "
            f"versions that answer alike it ever reaches {tell_number(1 / alpha)} with a chance of "
            f"{100 * alpha:g} % at most."
        )

    def _find(self, look: Look, outcome: Outcome, group: Group, text: str, state: State) -> None:
        outcome.findings.append(
            make_finding(
                look,
                kind="compare",
                view=self._name,
                group=group,
                title="differs from the stable version",
                level="warn",
                text=text,
                state=state,
            )
        )


class _Pair:
    """A new version beside the stable one, since it came."""

    def __init__(self, version: str, bins: int, kept: Edges, alpha: float) -> None:
        self.version = version
        self.stable = [0] * bins
        self.new = [0] * bins
        self.comparison = Comparison(len(kept) + 1, alpha=alpha)
        self.differs_ns: int | None = None


class _Versions:
    """The versions of a group."""

    def __init__(self, view: Compare, state: VersionsState | None = None) -> None:
        self._view = view
        self._bins = OrderedBins(_BINS)
        self._kept: Edges = ()
        self._totals: dict[str, int] = {}
        self.stable = view.stable
        self.pairs: list[_Pair] = []
        if state is not None:
            self._restore(state)

    def take(self, versions: Mapping[str, Sequence[AnyHistogram]]) -> list[_Pair]:
        """Take an interval; the comparisons that end with it."""
        pooled = [histogram for histograms in versions.values() for histogram in histograms]
        if not pooled:
            return []
        if not self._bins.ready:
            self._count(versions)
            if self._bins.collect(pooled) >= _CHOOSING_REQUESTS:
                counts = self._bins.settle()
                self._kept = thin_edges(self._bins.edges or (), counts, _COMPARED_BINS - 1)
            return []
        if not self._fit(pooled):
            return []
        ended = self._meet(versions)
        self._count(versions)
        counts_of = {version: self._bins.count(histograms) for version, histograms in versions.items()}
        nothing = [0] * self._bins.size
        for pair in self.pairs:
            self._compare(pair, counts_of.get(self.stable, nothing), counts_of.get(pair.version, nothing))
        return ended

    def list_ratios(self, pair: _Pair) -> Iterator[tuple[str, float]]:
        """By which factor p95 is another, where there are enough requests and values are above zero."""
        if min(sum(pair.stable), sum(pair.new)) >= _MIN_REQUESTS and self._bins.edges:
            shift = shift_quantile(self._bins.edges, _side(pair.stable), _side(pair.new), 0.95)
            if shift.is_ratio:
                yield "ratio_p95", shift.change

    def tell_shifts(self, pair: _Pair) -> list[str]:
        """How quantiles differ, in words."""
        edges = self._bins.edges or ()
        sides = _side(pair.stable), _side(pair.new)
        return [
            tell_shift(shift_quantile(edges, *sides, quantile), of="the stable version") for quantile in _TOLD
        ]

    def state(self) -> VersionsState:
        """What the constructor takes."""
        pairs = [
            PairState(pair.version, pair.stable, pair.new, pair.comparison.state(), pair.differs_ns)
            for pair in self.pairs
        ]
        return VersionsState(self._bins.state(), self._kept, self._totals, self.stable, pairs)

    def _restore(self, state: VersionsState) -> None:
        self._bins.restore(state.bins)
        self._kept, self._totals, self.stable = state.kept, state.totals, state.stable
        for told in state.pairs:
            pair = _Pair(told.version, self._bins.size, self._kept, self._view.alpha)
            pair.stable, pair.new, pair.differs_ns = told.stable, told.new, told.differs_ns
            pair.comparison.restore(told.comparison)
            self.pairs.append(pair)

    def _count(self, versions: Mapping[str, Sequence[AnyHistogram]]) -> None:
        for version, histograms in versions.items():
            size = sum(histogram.count for histogram in histograms)
            self._totals[version] = self._totals.get(version, 0) + size

    def _meet(self, versions: Mapping[str, Sequence[AnyHistogram]]) -> list[_Pair]:
        """Begin to compare the versions that are new; those that end for it."""
        known = {self.stable, *(pair.version for pair in self.pairs)}
        new = [version for version in versions if version not in known]
        ended: list[_Pair] = []
        if new and not self._view.stable:
            # The most requests so far; of equals the last name, which is more often the newer version.
            stable = max(self._totals, key=lambda version: (self._totals[version], version))
            if stable != self.stable:
                self.stable, ended, self.pairs = stable, self.pairs, []
                new = [version for version in versions if version != stable]
        for version in new:
            self.pairs.append(_Pair(version, self._bins.size, self._kept, self._view.alpha))
        while len(self.pairs) > _MAX_COMPARED:
            ended.append(self.pairs.pop(0))
        while len(self._totals) > _MAX_VERSIONS:
            del self._totals[min(self._totals, key=lambda version: (self._totals[version], version))]
        return ended

    def _fit(self, pooled: Sequence[AnyHistogram]) -> bool:
        edges = self._bins.edges or ()
        try:
            change = self._bins.fit(pooled)
        except UnfitError:  # nothing can be said of such an interval
            return False
        if change is None:
            return True
        after = self._bins.edges or ()
        kept = tuple(edge for edge in self._kept if edge in after)
        for pair in self.pairs:
            told = pair.comparison.state()
            told.stable, told.canary = (regroup(c, self._kept, kept) for c in (told.stable, told.canary))
            pair.stable, pair.new = (regroup(c, edges, after) for c in (pair.stable, pair.new))
            pair.comparison = Comparison(len(kept) + 1, alpha=self._view.alpha)
            pair.comparison.restore(told)
        self._kept = kept
        return True

    def _compare(self, pair: _Pair, stable: Sequence[int], new: Sequence[int]) -> None:
        pair.stable = [a + b for a, b in zip(pair.stable, stable, strict=True)]
        pair.new = [a + b for a, b in zip(pair.new, new, strict=True)]
        edges = self._bins.edges or ()
        pair.comparison.update(regroup(stable, edges, self._kept), regroup(new, edges, self._kept))


def _side(counts: Sequence[int]) -> Side:
    array = np.array(counts, dtype=np.float64)
    return Side(array / array.sum(), float(array.sum()))


def _tell_ended(subject: str, pair: _Pair, now_s: float) -> str:
    fired_s = (pair.differs_ns or 0) / SECOND_NS
    fired = tell_fired(fired_s, now_s)
    return f"{subject} in {pair.version} is no longer compared with the stable version. {fired}"
