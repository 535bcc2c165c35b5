"""The distribution that drift is measured from: counts in buckets, kept with where they are from."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from otel_wandb.metrics.buckets import Bucket, leave_whole
from otel_wandb.metrics.exponential import bound, index_of
from otel_wandb.metrics.histogram import AnyHistogram

SCALE: Final = 7
"""Buckets of samples grow by 0.54 %, so that any coarser exponential scale is exact."""


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts by stratum (one, named by an empty text, where there are no strata).

    Numeric ones have ascending `edges`, and one count more than edges: the first is of all up to the first
    edge, the last of all beyond the last. Categories have `names`, and a count of each.
    """

    counts: Mapping[str, tuple[int, ...]]
    edges: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    source: str = ""
    """Where it is from, in words: a file, an artifact, a range of time."""

    @classmethod
    def from_samples(cls, samples: Iterable[float], *, source: str = "samples") -> Reference:
        """A reference of raw values; those that are not finite are left out.

        Raises:
            ValueError: there are none.
        """
        found = Counter(_bucket(float(value)) for value in samples if math.isfinite(value))
        if not found:
            raise ValueError("a reference needs samples; there are none that are finite")
        return _place({"": [Bucket(low, high, size) for (low, high), size in found.items()]}, source)

    @classmethod
    def from_categories(cls, labels: Iterable[str], *, source: str = "samples") -> Reference:
        """A reference of names.

        Raises:
            ValueError: there are none.
        """
        found = Counter(map(str, labels))
        if not found:
            raise ValueError("a reference needs samples; there are none")
        names = sorted(found)
        return cls({"": tuple(found[name] for name in names)}, names=tuple(names), source=source)

    @classmethod
    def from_histogram(cls, histogram: AnyHistogram, *, source: str = "a histogram") -> Reference:
        """A reference of a histogram's buckets, with their own ends.

        Raises:
            ValueError: it has no values, or one bucket of everything.
        """
        return cls.from_histograms({"": histogram}, source=source)

    @classmethod
    def from_histograms(
        cls, histograms: Mapping[str, AnyHistogram], *, source: str = "histograms"
    ) -> Reference:
        """A reference by stratum, such as the hours of a day (`0` to `23`), or by interval.

        All are brought to the edges that none has values across.

        Raises:
            ValueError: none has values, or the buckets of all of them have no edge in common.
        """
        told = {name: one.list_buckets() for name, one in sorted(histograms.items()) if one.count}
        if not told:
            raise ValueError("a reference needs values; the histogram has none")
        return _place(told, source)

    @property
    def size(self) -> int:
        """How many values it is of."""
        return sum(map(sum, self.counts.values()))

    def to_json(self) -> bytes:
        """The document that `from_json` reads."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, document: bytes | str) -> Reference:
        """What `to_json` wrote.

        Raises:
            ValueError: it is something else, or its counts do not fit.
        """
        return msgspec.json.decode(document, type=cls)

    def __post_init__(self) -> None:
        wanted = len(self.names) if self.names else len(self.edges) + 1
        if any(len(counts) != wanted for counts in self.counts.values()):
            raise ValueError(f"each stratum of a reference needs {wanted} counts, as it has buckets")
        if any(count < 0 for counts in self.counts.values() for count in counts):
            raise ValueError("a count of the reference is below 0")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges of a reference have to ascend")


def _place(buckets: Mapping[str, Sequence[Bucket]], source: str) -> Reference:
    """The buckets of each stratum, counted between the edges that none has values across."""
    everything = [bucket for parts in buckets.values() for bucket in parts]
    ends = {end for low, high, _ in everything for end in (low, high) if math.isfinite(end)}
    # What is one value, such as zero, has no width: nothing else is counted with it.
    ends.update(math.nextafter(low, -math.inf) for low, high, _ in everything if low == high != min(ends))
    edges = leave_whole(sorted(ends), everything)
    if not edges:
        raise ValueError("a reference needs buckets; these have no edge that all of them keep to")
    counts = {name: [0] * (len(edges) + 1) for name in buckets}
    for name, parts in buckets.items():
        for _, high, size in parts:
            counts[name][bisect_left(edges, high)] += size
    return Reference({name: tuple(part) for name, part in counts.items()}, edges=edges, source=source)


def _bucket(value: float) -> tuple[float, float]:
    """The ends of the value's bucket on OpenTelemetry's exponential scale, `low < value <= high`."""
    if value == 0:
        return 0.0, 0.0
    index = index_of(abs(value), SCALE)
    low, high = bound(index, SCALE), bound(index + 1, SCALE)
    return (low, high) if value > 0 else (-high, -low)
