"""What is followed of a group of series: the values of its histograms, or the names in an attribute.

Both read data for a watch, and tell a change in words.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final, Protocol, TypeAlias

import numpy as np

from otel_wandb.metrics.catalogue import MILLISECONDS
from otel_wandb.metrics.closed import Level, Series, Summary
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.metrics.intervals import Interval
from otel_wandb.views.bins import Histograms, NamedBins, Names, OrderedBins
from otel_wandb.views.definitions import Drift
from otel_wandb.views.drift_words import tell_movers, tell_shift
from otel_wandb.views.effects import Shift, Side, group_sides, read_quantile, shift_quantile
from otel_wandb.views.examples import MOST, Example, Examples
from otel_wandb.views.judging import Window
from otel_wandb.views.reference import Reference
from otel_wandb.views.requests import count_values, merge_alike
from otel_wandb.views.watch import Watch, limits_of

Sides: TypeAlias = tuple[Side, Side]
"""A reference, and what is compared with it."""

_TOLD: Final = (0.5, 0.95, 0.99)
_GAINED: Final = (0.5, 0.8, 0.2)
_GATED: Final = (0.95, 0.99)


class Followed(Protocol):
    """A group at work."""

    @property
    def watch(self) -> Watch[Histograms] | Watch[Names]:
        """Its watch."""
        ...

    def take(self, interval: Interval, series: Sequence[Series]) -> Window | None:
        """Take an interval; the window that it closes, if any."""
        ...

    def simplify(self, sides: Sides) -> Sides:
        """The sides in as many bins as their total variation needs."""
        ...

    def exceeds(self, part: float, sides: Sides) -> bool:
        """Whether a value that matters has certainly changed by that part, such as 0.1."""
        ...

    def tell_changes(self, sides: Sides) -> list[str]:
        """What has changed, in words."""
        ...

    def find_examples(self, sides: Sides, examples: Examples, where: Mapping[str, str]) -> list[Example]:
        """Traces that show it, with these attributes."""
        ...


class FollowedValues:
    """The values of histograms."""

    def __init__(self, view: Drift, *, seed: int) -> None:
        self._view = view
        self.watch = Watch[Histograms](view, self._make_bins, seed=seed)

    def take(self, interval: Interval, series: Sequence[Series]) -> Window | None:
        """Take an interval; the window that it closes, if any."""
        return self.watch.take(interval, read_values(series))

    def simplify(self, sides: Sides) -> Sides:
        """The sides in a dozen bins: what moves goes far, and chance makes less of few bins."""
        return group_sides(*sides)

    def exceeds(self, part: float, sides: Sides) -> bool:
        """Whether p95 or p99 has certainly changed by that part, such as 0.1."""
        return any(shift.certain and shift.exceeds(part) for shift in self._shift(sides, _GATED))

    def tell_changes(self, sides: Sides) -> list[str]:
        """How quantiles changed."""
        return [tell_shift(shift) for shift in self._shift(sides, _TOLD)]

    def find_examples(self, sides: Sides, examples: Examples, where: Mapping[str, str]) -> list[Example]:
        """Traces with values of which there are more now."""
        edges, gains = self._bins.edges or (), np.maximum(sides[1].parts - sides[0].parts, 0)
        if not edges or not gains.sum():
            return []
        values = [read_quantile(edges, gains / gains.sum(), quantile) for quantile in _GAINED]

        def accepts(value: float) -> bool:
            return bool(gains[bisect_left(edges, value)])

        return examples.find(self._view.instrument, values, where, accepts)

    def _make_bins(self, given: Reference | None) -> OrderedBins:
        self._bins = OrderedBins(limits_of(self._view).bins, given)
        return self._bins

    def _shift(self, sides: Sides, quantiles: Sequence[float]) -> Iterator[Shift]:
        edges = self._bins.edges
        if edges:
            for quantile in quantiles:
                yield shift_quantile(edges, *sides, quantile)


class FollowedNames:
    """The names in an attribute, by how often they come."""

    def __init__(self, view: Drift, *, seed: int) -> None:
        self._view = view
        self.watch = Watch[Names](view, self._make_bins, seed=seed)

    def take(self, interval: Interval, series: Sequence[Series]) -> Window | None:
        """Take an interval; the window that it closes, if any."""
        return self.watch.take(interval, read_names(series, self._view.category))

    def simplify(self, sides: Sides) -> Sides:
        """The sides: each name is one that requests may have moved to."""
        return sides

    def exceeds(self, part: float, sides: Sides) -> bool:
        """Names have no values."""
        return False

    def tell_changes(self, sides: Sides) -> list[str]:
        """The names whose shares changed most."""
        return tell_movers(self._bins.labels, *sides)

    def find_examples(self, sides: Sides, examples: Examples, where: Mapping[str, str]) -> list[Example]:
        """Traces with the names whose shares have grown most."""
        before, after = (side.parts for side in sides)
        grown = sorted(range(len(before)), key=lambda i: (float(before[i] - after[i]), i))[:MOST]
        found: list[Example] = []
        for label in (self._bins.labels[i] for i in grown if after[i] > before[i]):
            asked = {**where, self._view.category: label}
            found += examples.find(self._view.instrument, [0.0], asked)
        return list({one.trace_id: one for one in found}.values())

    def _make_bins(self, given: Reference | None) -> NamedBins:
        self._bins = NamedBins(limits_of(self._view).bins, given)
        return self._bins


def follow(view: Drift, *, seed: int) -> Followed:
    """What the view asks for."""
    return FollowedValues(view, seed=seed) if view.order == "ordered" else FollowedNames(view, seed=seed)


def read_values(series: Sequence[Series]) -> list[AnyHistogram]:
    """The histograms of the series, merged as far as that loses nothing; of several units of time seconds."""
    told = [(one.unit, one.value) for one in series]
    found = [(unit, value) for unit, value in told if not isinstance(value, Fraction | Level | Summary)]
    units = {unit for unit, _ in found}
    if len(units) == 1 or not units <= MILLISECONDS.keys():
        return merge_alike(value for _, value in found)
    second = Fraction(MILLISECONDS["s"])
    return merge_alike(value.scaled(Fraction(MILLISECONDS[unit]) / second) for unit, value in found)


def read_names(series: Sequence[Series], attribute: str) -> dict[str, int]:
    """How often each value of the attribute came; without it the name is empty."""
    counts: Counter[str] = Counter()
    for one in series:
        counts[str(one.attributes.get(attribute, ""))] += count_values(one.value)
    return {name: count for name, count in sorted(counts.items()) if count}
