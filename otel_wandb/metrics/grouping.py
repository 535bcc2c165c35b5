"""The values of an interval merged into series: over all processes, and over those of each version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.metrics.cells import Notes
from otel_wandb.metrics.closed import OVERFLOW, Series, Value, combine
from otel_wandb.metrics.observed import OVERFLOW_LABELS, ObservedTotals
from otel_wandb.metrics.points import Instrument, Stream, encode_attributes
from otel_wandb.metrics.versions import MAX_VERSIONS, REST, version_of
from otel_wandb.records import Attributes

_OVERFLOW_KEY: Final = b"\xff"


class _Group(NamedTuple):
    """What is merged into one series."""

    instrument: Instrument
    attribute_key: bytes
    shadowed: bool


_Found: TypeAlias = defaultdict[_Group, list[Value]]


class Grouping:
    """Values by the series that they go into. Where there is one version, its series are those of all.

    `resources` are those of the processes; `first` the versions that are kept apart in any case.
    """

    def __init__(self, resources: Mapping[bytes, Attributes], first: Iterable[str]) -> None:
        self._version_of = {process: version_of(resource) for process, resource in resources.items()}
        self.versions = list(dict.fromkeys([*first, *sorted(set(self._version_of.values()))]))
        """Those that there are, without those beyond the limit."""
        if len(self.versions) > MAX_VERSIONS:
            self.versions = list(dict.fromkeys([*self.versions[:MAX_VERSIONS], REST]))
        self._found: _Found = defaultdict(list)
        self._by_version: defaultdict[str, _Found] = defaultdict(lambda: defaultdict(list))
        self._labels = {_OVERFLOW_KEY: OVERFLOW}

    def add(self, stream: Stream, value: Value, overflow: bool, shadowed: bool) -> None:
        """Take in what a stream came to."""
        key = _OVERFLOW_KEY if overflow else stream.attribute_key
        self._labels.setdefault(key, stream.attributes)
        group = _Group(stream.instrument, key, shadowed)
        self._found[group].append(value)
        if len(self.versions) > 1:
            version = self._version_of.get(stream.resource, REST)
            self._by_version[version if version in self.versions else REST][group].append(value)

    def series(self, notes: Notes) -> tuple[Series, ...]:
        """Those over all processes, in a fixed order; `notes` learn of buckets that did not fit."""
        data, lossy = self._merge(self._found)
        notes.warnings["buckets_differ"] += lossy
        return data

    def series_of(self, version: str) -> tuple[Series, ...]:
        """Those over the processes of a version, where there are several."""
        return self._merge(self._by_version[version])[0]

    def _merge(self, found: _Found) -> tuple[tuple[Series, ...], int]:
        data, lost = [], 0
        for group, values in sorted(found.items()):
            value, lossy = combine(values)
            lost += lossy
            key = group.attribute_key
            data.append(Series(*group.instrument, self._labels[key], key, value, group.shadowed))
        return tuple(data), lost


def derive_series(observed: ObservedTotals) -> tuple[Series, ...]:
    """What spans told, as the series that metrics would have been."""
    derived = []
    for (name, unit, labels), histogram in observed.histograms().items():
        attributes: Attributes = {**OVERFLOW} if labels == OVERFLOW_LABELS else {**dict(labels)}
        key = encode_attributes(attributes)
        derived.append(Series("", name, unit, "histogram", attributes, key, histogram))
    return tuple(derived)
