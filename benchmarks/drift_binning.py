"""Values to counts, as the histograms of a service have them: which bin a value is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from benchmarks.drift_streams import Group
from otel_wandb.statistics.distances import Counts, Figures
from otel_wandb.statistics.two_sample import Order

Code: TypeAlias = Callable[[Figures, Figures], Counts]
"""The bins of the values (second), where the reference (first) may decide on the edges."""

_OTEL_BOUNDS: Final = np.array(
    [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000], float
)
_TAILS: Final = (0.98, 0.99, 0.995)
_OUTERMOST: Final = 1_000_000


class Binning(NamedTuple):
    """How values become counts, and by which test the counts are compared."""

    code: Code
    order: Order = "ordered"


def exponential(scale: int) -> Code:
    """The buckets of an exponential histogram, `base ** i < |value| <= base ** (i + 1)`, of both signs."""

    def code(_: Figures, values: Figures) -> Counts:
        sizes = np.abs(values)
        with np.errstate(divide="ignore"):
            places = np.ceil(np.log2(sizes) * 2.0**scale)
        within = np.where(sizes > 0, np.clip(places, -_OUTERMOST, _OUTERMOST) + _OUTERMOST + 1, 0)
        return np.asarray(np.sign(values) * within, dtype=np.int64)

    return code


def quantiles(number: int, tails: tuple[float, ...] = ()) -> Code:
    """Bins of equal parts of the reference, and edges of their own in its tail."""

    def code(reference: Figures, values: Figures) -> Counts:
        wanted = np.union1d(np.arange(1, number) / number, tails)
        return np.searchsorted(np.unique(np.quantile(reference, wanted)), values)

    return code


def _otel_bounds(_: Figures, values: Figures) -> Counts:
    return np.searchsorted(_OTEL_BOUNDS, values)


def _whole_numbers(_: Figures, values: Figures) -> Counts:
    return np.asarray(np.round(values / 25), dtype=np.int64)


def _labels(_: Figures, values: Figures) -> Counts:
    """Ten labels, some of which are rare, as a function of latencies that are drawn anyway."""
    return np.asarray(np.clip(np.ceil(np.log2(values / 100) * 2) + 4, 0, 9), dtype=np.int64)


def _as_they_are(_: Figures, values: Figures) -> Counts:
    return np.asarray(values, dtype=np.int64)


RECOMMENDED: Final = Binning(exponential(3))
"""What the exporter asks the SDK for, at the scale that drift is measured at."""
CATEGORIES: Final = Binning(_as_they_are, "categories")

BINNINGS: Final[Mapping[str, Binning]] = {
    "OTel's default bounds": Binning(_otel_bounds),
    "exponential, scale 0": Binning(exponential(0)),
    "exponential, scale 3": RECOMMENDED,
    "exponential, scale 6": Binning(exponential(6)),
    "32 quantiles and tails": Binning(quantiles(32, _TAILS)),
    "whole numbers": Binning(_whole_numbers),
    "10 labels": Binning(_labels, "categories"),
}


def tally(code: Code, group: Group) -> tuple[dict[str, Counts], Counts]:
    """Counts of a group's first stream: of the reference, by stratum, and of each window (windows, bins)."""
    reference, values = group.reference[0], group.values[0]
    codes = [code(reference, part) for part in (reference, values)]
    bins, places = np.unique(np.concatenate(codes), return_inverse=True)
    before, after = places[: len(reference)], places[len(reference) :][: group.windows * group.window]
    strata = np.zeros(len(before), dtype=np.int64)
    names = {0: ""}
    if group.strata:
        strata = np.asarray(group.strata.of_reference)
        names = {int(stratum): str(stratum) for stratum in np.unique(strata)}
    bags = {name: np.bincount(before[strata == key], minlength=len(bins)) for key, name in names.items()}
    rows = after + len(bins) * np.repeat(np.arange(group.windows), group.window)
    counts = np.bincount(rows, minlength=group.windows * len(bins)).reshape(group.windows, len(bins))
    return bags, counts
