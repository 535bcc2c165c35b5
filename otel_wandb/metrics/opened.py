"""An interval that points still come into, and what it is made into when it closes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from otel_wandb.marks import FrameRef
from otel_wandb.metrics.cells import Cell, Key, Memory, Notes
from otel_wandb.metrics.closed import OVERFLOW, ClosedInterval, Series, Value, combine
from otel_wandb.metrics.from_spans import SpanTotals, Spend, StoredTotals
from otel_wandb.metrics.intervals import Interval
from otel_wandb.metrics.points import Instrument, Stream
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.records import Attributes

_MAX_RESOURCES: Final = 64
_OVERFLOW_KEY: Final = b"\xff"
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
    spans: SpanTotals = field(default_factory=SpanTotals)
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

    def add_spend(
        self, spend: Spend, own: Interval, *, config: str, resource: bytes, attributes: Attributes
    ) -> None:
        """Count what a span spent; `own` is the interval that it ended in."""
        late = own.end_ns != self.interval.end_ns
        self.spans.add(spend, own.end_ns if late else 0)
        self._note_span(spend.end_ns, config, resource, attributes)

    def add_warnings(
        self, n: int, end_ns: int, *, config: str, resource: bytes, attributes: Attributes
    ) -> None:
        """Count what the dialects warned of a span."""
        self.spans.add_warnings(n)
        self._note_span(end_ns, config, resource, attributes)

    def restore_spans(self, name: str, stored: StoredTotals) -> None:
        """Take up what spans told before a restart."""
        self.spans.restore(name, stored)
        self._newest = max(self._newest, stored.config)
        for digest, attributes in stored.resources:
            self._resources.setdefault(digest, attributes)

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
        if self._refused:
            notes.dropped["too_many_streams"] += self._refused
        found: defaultdict[_Group, list[Value]] = defaultdict(list)
        labels = {_OVERFLOW_KEY: OVERFLOW}
        shadows = _find_shadows(self.cells.values(), twins)
        for cell in self.cells.values():
            stream = cell.stream
            memory = memory_of(stream.digest) if cell.needs_memory else _NO_MEMORY
            value = cell.close(memory, first_reach_ns, notes)
            if value is not None:
                key = _OVERFLOW_KEY if cell.overflow else stream.attribute_key
                labels.setdefault(key, stream.attributes)
                found[_Group(stream.instrument, key, stream.digest in shadows)].append(value)
        data = []
        for group, values in sorted(found.items()):
            value, lossy = combine(values)
            notes.warnings["buckets_differ"] += lossy
            key = group.attribute_key
            data.append(Series(*group.instrument, labels[key], key, value, group.shadowed))
        return ClosedInterval(
            series=series,
            interval=self.interval,
            config=self._newest[1],
            data=tuple(data),
            resources=tuple(resource for _, resource in sorted(self._resources.items())[:_MAX_RESOURCES]),
            points=self.points,
            late_points=self.late_points,
            dropped=+notes.dropped,
            warnings=+notes.warnings,
            spends=self.spans.cells,
            spend_sizes=self.spans.sizes,
            late_spans=self.spans.late,
            mapping_warnings=self.spans.warnings,
        )

    def _note_span(self, end_ns: int, config: str, resource: bytes, attributes: Attributes) -> None:
        self._newest = max(self._newest, (end_ns, config))
        if resource not in self._resources:
            self._resources[resource] = attributes
            self.spans.add_resource(resource, attributes)

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


class _Group(NamedTuple):
    """What is merged into one series."""

    instrument: Instrument
    attribute_key: bytes
    shadowed: bool


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
