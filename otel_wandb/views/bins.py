"""How the data of a view become counts in bins: values of histograms, or names."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.exponential import ExponentialHistogram
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.statistics.distances import Counts
from otel_wandb.views.effects import Side, locate_bins
from otel_wandb.views.grid import Edges, count_into, fit_edges
from otel_wandb.views.lattice import choose_edges, place_reference
from otel_wandb.views.reference import Reference
from otel_wandb.views.requests import merge_alike

Histograms: TypeAlias = Sequence[AnyHistogram]
Names: TypeAlias = Mapping[str, int]
Data_contra = TypeVar("Data_contra", contravariant=True)

_FIXED: Final = ("(new names)", "(other names)")
_FEW_EDGES: Final = 4
"""Between the smallest and the largest value, where there were twice as many."""
_FREQUENT: Final = 0.01
_MAX_KINDS: Final = 4
_MAX_NAME: Final = 40


class Change(NamedTuple):
    """The bins are others now: `places` are where the old ones went, of `bins` new ones."""

    places: tuple[int, ...]
    bins: int


class Moments(NamedTuple):
    """How many values, their mean, and the sum of their squared distances from it."""

    size: int
    mean: float
    squares: float

    @property
    def std(self) -> float:
        """The standard deviation of the population."""
        return math.sqrt(max(0.0, self.squares) / self.size)


class UnfitError(Exception):
    """The data have buckets that hardly any edge is between. Never leaves the views."""


class Bins(Protocol[Data_contra]):
    """Bins of a view: chosen by the first data, and later only changed so that no count is in doubt."""

    @property
    def ready(self) -> bool:
        """Whether the bins are chosen; if not, `collect` and `settle`."""
        ...

    @property
    def size(self) -> int:
        """How many bins there are."""
        ...

    def count_requests(self, data: Data_contra) -> int:
        """How many requests the data are of."""
        ...

    def collect(self, data: Data_contra) -> int:
        """Take data to choose the bins by; how many requests they are by now."""
        ...

    def settle(self) -> list[int]:
        """Choose the bins; the counts of all that was collected."""
        ...

    def fit(self, data: Data_contra) -> Change | None:
        """Change the bins to what the data need; None where they fit. Raises `UnfitError`."""
        ...

    def count(self, data: Data_contra) -> list[int]:
        """The counts of data that fit."""
        ...

    def measure(self, data: Data_contra) -> Moments | None:
        """Count, mean and deviations of the values; None of names."""
        ...

    def place(self, reference: Reference) -> dict[str, list[int]]:
        """The counts of a reference, by stratum."""
        ...

    def locate(self, before: Side) -> list[float] | None:
        """Where the bins are on an axis without a unit (`effects.locate_bins`); None of names."""
        ...

    def close(self, reference: Counts) -> Change | None:
        """The reference is complete, and no bins are added from now on; how they change for it."""
        ...

    def reopen(self) -> None:
        """Another reference begins."""
        ...

    def state(self) -> BinsState:
        """What `restore` needs."""
        ...

    def restore(self, state: BinsState) -> None:
        """Go on where the state was taken."""
        ...


class BinsState(msgspec.Struct, omit_defaults=True):
    """What either kind of bins remembers; it encodes as JSON."""

    edges: Edges | None = None
    exponential: list[ExponentialHistogram] = []
    explicit: list[ExplicitHistogram] = []
    names: list[str] = []
    open: bool = True
    overflowed: bool = False
    replaced: bool = False


class OrderedBins:
    """Bins of values, at most `limit`. What lies in which bin is certain: an edge in doubt is given up."""

    def __init__(self, limit: int, reference: Reference | None = None) -> None:
        self.edges: Edges | None = None
        self._limit = limit
        self._reference = reference
        self._collected: list[AnyHistogram] = []

    @property
    def ready(self) -> bool:
        """Whether the edges are chosen."""
        return self.edges is not None

    @property
    def size(self) -> int:
        """How many bins there are."""
        return len(self.edges or ()) + 1

    def count_requests(self, data: Histograms) -> int:
        """How many values."""
        return sum(histogram.count for histogram in data)

    def collect(self, data: Histograms) -> int:
        """Take histograms to choose the edges by; how many values they have by now."""
        merged = merge_alike((*self._collected, *data))
        if len(merged) > _MAX_KINDS:  # each process has bounds of its own; those of a few will do
            merged = merged[:_MAX_KINDS]
        self._collected = [_forget_measures(histogram) for histogram in merged]
        return self.count_requests(self._collected)

    def settle(self) -> list[int]:
        """Choose the edges; the counts of all that was collected."""
        self.edges = choose_edges(self._collected, self._reference, self._limit)
        counts = count_into(self.edges, self._collected)
        self._collected = []
        return counts

    def fit(self, data: Histograms) -> Change | None:
        """Give up the edges that lie in a bucket with values; raises `UnfitError` where few are left."""
        edges = self.edges or ()
        kept = fit_edges(edges, data)
        if len(kept) == len(edges):
            return None
        ends = [end for histogram in data for bucket in histogram.list_buckets() for end in bucket[:2]]
        before, after = (
            bisect_left(some, max(ends)) - bisect_right(some, min(ends)) for some in (edges, kept)
        )
        if after < _FEW_EDGES <= before // 2:
            raise UnfitError
        self.edges = kept
        return Change((*(bisect_left(kept, edge) for edge in edges), len(kept)), len(kept) + 1)

    def count(self, data: Histograms) -> list[int]:
        """How many values lie in each bin."""
        return count_into(self.edges or (), data)

    def measure(self, data: Histograms) -> Moments:
        """Count, mean and deviations of the values, as exactly as the histograms tell."""
        return add_moments(*(Moments(h.count, h.mean, h.count * h.std**2) for h in data if h.count))

    def place(self, reference: Reference) -> dict[str, list[int]]:
        """The counts of a numeric reference, by stratum."""
        return place_reference(reference, self.edges or ())

    def locate(self, before: Side) -> list[float]:
        """Where the bins are on an axis without a unit."""
        return locate_bins(self.edges or (), before)

    def close(self, reference: Counts) -> None:
        """Nothing: edges are chosen once."""

    def reopen(self) -> None:
        """Nothing: the edges remain."""

    def state(self) -> BinsState:
        """What `restore` needs."""
        exponential = [one for one in self._collected if isinstance(one, ExponentialHistogram)]
        explicit = [one for one in self._collected if isinstance(one, ExplicitHistogram)]
        return BinsState(edges=self.edges, exponential=exponential, explicit=explicit)

    def restore(self, state: BinsState) -> None:
        """Go on where the state was taken."""
        self.edges = state.edges
        self._collected = [*state.exponential, *state.explicit]


class NamedBins:
    """Bins of names: the first is of those that the reference did not have, the second of all beyond a limit.

    While the reference is learnt, each name that comes gets a bin. If they are too many, nobody can say later
    which ones are new, so the others are `other` then.
    """

    def __init__(self, limit: int, reference: Reference | None = None) -> None:
        self.names: list[str] = []
        self._room = limit - len(_FIXED)
        self._others: frozenset[str] = frozenset()
        self._open = reference is None
        self._overflowed = self._replaced = False
        if reference is not None:
            totals = map(sum, zip(*reference.counts.values(), strict=True))
            ranked = sorted(zip(totals, map(cut_name, reference.names), strict=True), key=_by_count)
            self.names = list(dict.fromkeys(name for _, name in ranked))[: self._room]
            self._others = frozenset(name for _, name in ranked[self._room :])

    @property
    def ready(self) -> bool:
        """Always."""
        return True

    @property
    def size(self) -> int:
        """How many bins there are."""
        return len(_FIXED) + len(self.names)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin is of."""
        return (*_FIXED, *self.names)

    def count_requests(self, data: Names) -> int:
        """The sum of all counts."""
        return sum(data.values())

    def collect(self, data: Names) -> int:
        """Nothing is to be chosen."""
        return self.count_requests(data)

    def settle(self) -> list[int]:
        """Nothing was collected."""
        return [0] * self.size

    def fit(self, data: Names) -> Change | None:
        """While the reference is learnt, a bin for each name that has none."""
        if not self._open:
            return None
        before = self.size
        known = set(self.names)
        for _, name in sorted(((count, cut_name(name)) for name, count in data.items()), key=_by_count):
            if name not in known and len(self.names) < self._room:
                known.add(name)
                self.names.append(name)
            self._overflowed |= name not in known
        return Change(tuple(range(before)), self.size) if self.size > before else None

    def count(self, data: Names) -> list[int]:
        """The counts of all names."""
        places = {name: i for i, name in enumerate(self.names, len(_FIXED))}
        counts = [0] * self.size
        for name, count in data.items():
            cut = cut_name(name)
            counts[places.get(cut, int(self._overflowed or cut in self._others))] += count
        return counts

    def measure(self, data: Names) -> None:
        """Names have no mean."""

    def place(self, reference: Reference) -> dict[str, list[int]]:
        """The counts of a reference of names, by stratum."""
        return {
            stratum: self.count(dict(zip(reference.names, counts, strict=True)))
            for stratum, counts in reference.counts.items()
        }

    def locate(self, before: Side) -> None:
        """Names have no place."""

    def close(self, reference: Counts) -> Change | None:
        """The reference is complete: what comes first from now on is new.

        Of too many names those that came first were counted, so only the frequent ones among them stay.
        """
        self._open = False
        if not self._overflowed:
            return None
        least = max(1.0, _FREQUENT * float(reference.sum()))
        stay = [i for i, count in enumerate(reference.tolist()) if i < len(_FIXED) or count >= least]
        places = {old: new for new, old in enumerate(stay)}
        change = Change(tuple(places.get(i, 1) for i in range(self.size)), len(stay))
        self.names = [self.names[i - len(_FIXED)] for i in stay[len(_FIXED) :]]
        return change

    def reopen(self) -> None:
        """Another reference begins: what was new is none of it any more."""
        self._open = self._replaced = True
        self._others = frozenset()

    def state(self) -> BinsState:
        """What `restore` needs."""
        return BinsState(
            names=list(self.names), open=self._open, overflowed=self._overflowed, replaced=self._replaced
        )

    def restore(self, state: BinsState) -> None:
        """Go on where the state was taken."""
        self.names = list(state.names)
        self._open, self._overflowed, self._replaced = state.open, state.overflowed, state.replaced
        if state.replaced:
            self._others = frozenset()


def add_moments(*parts: Moments) -> Moments:
    """Those of all values together; raises `ValueError` of none."""
    size = sum(part.size for part in parts)
    if not size:
        raise ValueError("no values have no mean")
    mean = sum(part.mean * (part.size / size) for part in parts)
    squares = sum(part.squares + part.size * (part.mean - mean) ** 2 for part in parts)
    return Moments(size, mean, squares)


def cut_name(name: str) -> str:
    """The name, no longer than is kept; a digest at its end tells long ones apart."""
    if len(name) <= _MAX_NAME:
        return name
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=2).hexdigest()
    return f"{name[: _MAX_NAME - 5]}…{digest}"


def _by_count(ranked: tuple[int, str]) -> tuple[int, str]:
    return -ranked[0], ranked[1]


def _forget_measures(histogram: AnyHistogram) -> AnyHistogram:
    return replace(histogram, total=None, min=None, max=None, tight=False)
