"""An interval that points still come into, and what it is made into when it closes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.marks import FrameRef
from otel_wandb.metrics.cells import Cell, Key, Memory, Notes
from otel_wandb.metrics.closed import OVERFLOW, ClosedInterval, Share, Value
from otel_wandb.metrics.from_spans import SpanTotals, StoredTotals
from otel_wandb.metrics.grouping import Grouping, derive_series
from otel_wandb.metrics.intervals import Interval
from otel_wandb.metrics.points import Instrument, Stream
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.metrics.versions import VersionedTotals
from otel_wandb.records import Attributes

_MAX_RESOURCES: Final = 64
_NO_MEMORY: Final = Memory()

RecentKeys: TypeAlias = dict[Key, set[bytes]]
"""Start and time of delta points -> the streams that had such a point."""


class Twin(NamedTuple):
    """An instrument that measures what newer ones do: where a process has both, it is `shadowed`.

    Names may end in `*`. The two have to agree in the attributes `same`.
    """

    old: str
    new: tuple[str, ...]
    same: tuple[str, ...] = ()


MeasureOf: TypeAlias = Callable[[str, Attributes], str]
"""What an instrument with these attributes measures, in a word; empty where spans tell nothing like it."""


def measure_nothing(name: str, attributes: Attributes) -> str:
    """What `MeasureOf` is where nobody wants to know."""
    return ""


def matches(name: str, pattern: str) -> bool:
    """Whether the name is the pattern, or begins as the pattern does before its `*`."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


@dataclass(slots=True)
class OpenInterval:
    """The points of a service in one interval, by stream, and what spans told of it."""

    interval: Interval
    cells: dict[bytes, Cell] = field(default_factory=dict)
    frames: set[FrameRef] = field(default_factory=set)
    points: int = 0
    late_points: int = 0
    spans: VersionedTotals = field(default_factory=VersionedTotals)
    measured: set[str] = field(default_factory=set)
    """What its points measure (`sorting.find_measure`)."""
    _refused: int = 0
    _newest: tuple[int, str] = (0, "")
    _resources: dict[bytes, Attributes] = field(default_factory=dict)
    _admitted: defaultdict[Instrument, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    _beyond: defaultdict[Key, set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def place(self, stream: Stream, key: Key, value: Value, *, max_series: int, has_room: bool) -> bool:
        """Keep the point; False where it is there already.

        Beyond `max_series` sets of attributes the instrument's points count for its overflow. Where there is
        no room for another stream, increases still do; a point of any other kind is refused.
        """
        cell = self.cells.get(stream.digest)
        if cell is None and not has_room:
            return self._place_beyond(stream, key, value)
        if cell is None:
            admitted = self._admitted[stream.instrument]
            overflow = stream.attribute_key not in admitted and len(admitted) >= max_series
            if not overflow:
                admitted.add(stream.attribute_key)
            cell = self.cells[stream.digest] = Cell(stream, overflow=overflow)
        return cell.add(key, value)

    def note(self, config: str, resource: bytes, attributes: Attributes, time_ns: int, *, late: bool) -> None:
        """Count a point that was placed, and what it came with."""
        self.points += 1
        self.late_points += late
        self._newest = max(self._newest, (time_ns, config))
        if resource not in self._resources:
            self._resources[resource] = attributes

    def note_spans(self, newest: tuple[int, str], resource: bytes, attributes: Attributes) -> SpanTotals:
        """Note with which settings spans came, the time of one of them, and from which process.

        They are to be counted in what is given back.
        """
        self._newest = max(self._newest, newest)
        totals = self.spans.of(resource, attributes)
        if resource not in self._resources:
            self._resources[resource] = attributes
            totals.add_resource(resource, attributes)
        return totals

    def restore_spans(self, name: str, stored: StoredTotals) -> int:
        """Take up what spans told before a restart; how many they were."""
        self._newest = max(self._newest, stored.config)
        for piece in (stored, *stored.more):
            for digest, attributes in piece.resources:
                self._resources.setdefault(digest, attributes)
        return self.spans.restore(name, stored)

    def take_span_state(self, series: RunSeries, key: str) -> tuple[str, bytes] | None:
        """The state of what spans told since the last call, None if nothing; `key` begins its name."""
        end_ns = self.interval.end_ns
        state = self.spans.take_state(series, end_ns, self._newest)
        if not state:
            return None
        name = f"{key}/spans/{end_ns}-{len(self.spans.names):06}"
        self.spans.names.append(name)
        return name, state

    def recent_keys(self) -> RecentKeys:
        """The delta points in it, by which a repeat is known after it has closed."""
        keys: defaultdict[Key, set[bytes]] = defaultdict(set)
        for digest, cell in self.cells.items():
            if cell.stream.mode == "delta":
                for key in cell.points:
                    keys[key].add(digest)
        for key, digests in self._beyond.items():
            keys[key] |= digests
        return dict(keys)

    def close(
        self,
        series: RunSeries,
        *,
        memory_of: Callable[[bytes], Memory],
        twins: Sequence[Twin],
        first_reach_ns: int,
    ) -> ClosedInterval:
        """What it came to. What is known of the streams that need it is looked up with `memory_of`."""
        notes = Notes()
        notes.dropped["too_many_streams"] += self._refused
        grouping = Grouping(self._resources, self.spans.parts)
        shadows = _find_shadows(self.cells.values(), twins)
        for cell in self.cells.values():
            stream = cell.stream
            memory = memory_of(stream.digest) if cell.needs_memory else _NO_MEMORY
            value = cell.close(memory, first_reach_ns, notes)
            if value is not None:
                grouping.add(stream, value, cell.overflow, stream.digest in shadows)
        told = self.spans.merge()
        whole = Share(grouping.series(notes), derive_series(told.observed), told.cells)
        return ClosedInterval(
            series=series,
            interval=self.interval,
            config=self._newest[1],
            data=whole.data,
            resources=tuple(resource for _, resource in sorted(self._resources.items())[:_MAX_RESOURCES]),
            points=self.points,
            late_points=self.late_points,
            dropped=+notes.dropped,
            warnings=+notes.warnings,
            spends=whole.spends,
            spend_sizes=told.sizes,
            late_spans=told.late,
            mapping_warnings=told.warnings,
            derived=whole.derived,
            spans=told.count,
            measured=frozenset(self.measured),
            versions=self._share(grouping, whole),
        )

    def _share(self, grouping: Grouping, whole: Share) -> dict[str, Share]:
        """What each version had of it."""
        if len(grouping.versions) < 2:
            return dict.fromkeys(grouping.versions, whole)
        shares = {}
        for version in sorted(grouping.versions):
            told = self.spans.parts.get(version)
            derived = derive_series(told.observed) if told else ()
            shares[version] = Share(grouping.series_of(version), derived, told.cells if told else {})
        return shares

    def _place_beyond(self, stream: Stream, key: Key, value: Value) -> bool:
        if stream.mode != "delta" or stream.instrument.family == "updown":
            self._refused += 1
            return True
        if stream.digest in self._beyond[key]:
            return False
        self._beyond[key].add(stream.digest)
        shared = Stream(repr(stream.instrument).encode(), stream.instrument, "delta", OVERFLOW, b"", b"")
        self.cells.setdefault(shared.digest, Cell(shared, overflow=True)).pile(value)
        return True


def _find_shadows(cells: Iterable[Cell], twins: Sequence[Twin]) -> set[bytes]:
    """The streams whose process measured the same also with a newer instrument of the same scope."""
    by_name: defaultdict[str, list[Stream]] = defaultdict(list)
    for cell in cells:
        by_name[cell.stream.instrument.name].append(cell.stream)
    shadows: set[bytes] = set()
    for twin in twins:
        old = [name for name in by_name if matches(name, twin.old)]
        new = [name for name in by_name if any(matches(name, pattern) for pattern in twin.new)]
        if old and new:
            newer = {_twin_key(stream, twin) for name in new for stream in by_name[name]}
            older = [stream for name in old for stream in by_name[name]]
            shadows.update(stream.digest for stream in older if _twin_key(stream, twin) in newer)
    return shadows


def _twin_key(stream: Stream, twin: Twin) -> tuple[bytes, str, tuple[str, ...]]:
    same = tuple(str(stream.attributes.get(name, "")) for name in twin.same)
    return stream.resource, stream.instrument.scope, same
