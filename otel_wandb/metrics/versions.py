"""What spans told of an interval, kept apart by the version of the service: two may run at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from otel_wandb.metrics.from_spans import SpanTotals, SpendKey, StoredTotals, encode_totals
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.records import Attributes

MAX_VERSIONS: Final = 8
"""Versions that are kept apart in an interval; those that come later go where those go that tell none."""

REST: Final = ""

_ATTRIBUTE: Final = "service.version"
_MAX_TEXT: Final = 128


def version_of(resource: Attributes) -> str:
    """The version of the service that a process is of; empty where its resource does not tell."""
    value = resource.get(_ATTRIBUTE)
    return REST if value is None else str(value)[:_MAX_TEXT]


@dataclass(slots=True)
class VersionedTotals:
    """What spans told of an interval so far, by version. With one version it costs what that costs."""

    names: list[str] = field(default_factory=list)
    """Of the states that hold all of it but what is fresh."""
    parts: dict[str, SpanTotals] = field(default_factory=dict)
    _of_process: dict[bytes, SpanTotals] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many spans are in it."""
        return sum(part.count for part in self.parts.values())

    @property
    def cells(self) -> Iterator[SpendKey]:
        """What they spent tokens on."""
        return (key for part in self.parts.values() for key in part.cells)

    def of(self, process: bytes, resource: Attributes) -> SpanTotals:
        """Where the spans of a process count; `process` tells its resource apart from others."""
        part = self._of_process.get(process)
        if part is None:
            part = self._of_process[process] = self._part(version_of(resource))
        return part

    def merge(self) -> SpanTotals:
        """All of it in one; not to be added to any more."""
        if len(self.parts) == 1:
            return next(iter(self.parts.values()))
        whole = SpanTotals()
        for _, part in sorted(self.parts.items()):
            whole.merge(part)
        return whole

    def take_state(self, series: RunSeries, end_ns: int, config: tuple[int, str]) -> bytes:
        """What came since the last call; empty if nothing did."""
        fresh = [
            stored
            for version, part in self.parts.items()
            if (stored := part.take_stored(series, end_ns, config, version)) is not None
        ]
        if not fresh:
            return b""
        first, *more = fresh
        first.more = more
        return encode_totals(first)

    def restore(self, name: str, stored: StoredTotals) -> int:
        """Take up a state, those of an interval in their order; how many spans it has."""
        pieces = [stored, *stored.more]
        for piece in pieces:
            self._part(piece.version).restore(piece)
        self.names.append(name)
        return sum(piece.count for piece in pieces)

    def _part(self, version: str) -> SpanTotals:
        if version not in self.parts and len(self.parts) >= MAX_VERSIONS:
            version = REST
        part = self.parts.get(version)
        if part is None:
            part = self.parts[version] = SpanTotals()
        return part
