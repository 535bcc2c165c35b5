"""What spans tell of an interval, as metrics would: durations and errors, tokens and cost, scores, warnings.

A trace is shaped once, and its frames are gone by the time its row is made. So what its spans told is kept as
states: one for each transaction that brought something, stored with the calls that it is of, and removed with
the row that it goes into. After a restart the states are merged in their order, and nothing is told twice.

A span counts in the interval in which it ended; where that is closed, in the next one that is open, as late.
It counts as often as its weight says, where others like it were not sampled. Scores come in the same way,
from the log records that tell them, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import msgspec

from otel_wandb.metrics.observed import Labels, Observation, ObservedTotals, Part, StreamKey
from otel_wandb.metrics.pricing import Price
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.records import Attributes

MAX_CELLS: Final = 2_000
"""Different spends in an interval. Beyond, their attributes are given up, at twice as many their models."""

MAX_SIZES: Final = 2_000
"""Different numbers of tokens of a call. Beyond, they are kept to three digits, half a percent off."""


class Spend(NamedTuple):
    """What one call spent. `model` is the name in charts, `answered` the one that it is priced under.

    `labels` are the attributes by which cost is charted, in the order of the setting.
    """

    provider: str | None
    model: str
    answered: str
    usage: Mapping[str, int]
    price: Price | None
    labels: Labels = ()


class Told(msgspec.Struct, gc=False):
    """What one span tells, or what tells of it; `weight` is the number of spans that it stands for."""

    span_id: str
    end_ns: int
    weight: int = 1
    spend: Spend | None = None
    observations: tuple[Observation, ...] = ()
    warnings: int = 0


class SpendKey(NamedTuple):
    """What is summed up. `own_end_ns` is the end of the interval of what came late, else 0.

    A model of None is what is beyond the limit of different spends.
    """

    own_end_ns: int
    provider: str
    model: str | None
    answered: str
    labels: Labels


class Tally(msgspec.Struct, array_like=True):
    """Sums over calls. The cost is in units of `rates.USD`, as text when stored: it may exceed 64 bits."""

    requests: int = 0
    tokens: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    priced_requests: int = 0
    unpriced_tokens: int = 0
    cost: int | str = 0

    @property
    def size(self) -> int:
        """The tokens; where only parts of them were told, as some metrics do, those."""
        return self.tokens or self.cache_read + self.cache_write + self.reasoning

    @property
    def units(self) -> int:
        """The cost as a number."""
        return int(self.cost)

    def add(self, more: Tally) -> None:
        """Add the sums of the other."""
        self.requests += more.requests
        self.tokens += more.tokens
        self.input += more.input
        self.output += more.output
        self.cache_read += more.cache_read
        self.cache_write += more.cache_write
        self.reasoning += more.reasoning
        self.priced_requests += more.priced_requests
        self.unpriced_tokens += more.unpriced_tokens
        self.cost = self.units + more.units

    def subtract(self, less: Tally) -> None:
        """Take the sums of the other off."""
        for name in self.__struct_fields__:
            setattr(self, name, int(getattr(self, name)) - int(getattr(less, name)))

    def multiply(self, weight: int) -> None:
        """Count everything so many times."""
        for name in self.__struct_fields__:
            setattr(self, name, int(getattr(self, name)) * weight)


class _Stored(msgspec.Struct, array_like=True):
    """What a transaction brought for an interval."""

    series: RunSeries
    end_ns: int
    config: tuple[int, str]
    late: int
    resources: list[tuple[bytes, Attributes]]
    cells: list[tuple[SpendKey, Tally]]
    sizes: dict[int, int]
    warnings: int = 0
    count: int = 0
    observed: list[tuple[StreamKey, Part]] = []
    version: str = ""
    """Of the service, that its processes are of."""
    more: list[_Stored] = []
    """What came of other versions."""


class Clock(msgspec.Struct, array_like=True):
    """How far the spans of a service had come."""

    series: RunSeries
    newest_ns: int


@dataclass(slots=True)
class _Fresh:
    """What came since the last state was taken."""

    cells: dict[SpendKey, Tally] = field(default_factory=dict)
    sizes: Counter[int] = field(default_factory=Counter)
    late: int = 0
    warnings: int = 0
    count: int = 0
    resources: dict[bytes, Attributes] = field(default_factory=dict)


@dataclass(slots=True)
class SpanTotals:
    """What spans told of an interval so far."""

    cells: dict[SpendKey, Tally] = field(default_factory=dict)
    sizes: Counter[int] = field(default_factory=Counter)
    """How many calls spent so many tokens."""
    observed: ObservedTotals = field(default_factory=ObservedTotals)
    late: int = 0
    """Spans among them that ended in an earlier interval."""
    warnings: int = 0
    """What the dialects warned of."""
    count: int = 0
    """How many spans are in it."""
    _fresh: _Fresh = field(default_factory=_Fresh)

    def add(self, told: Told, own_end_ns: int) -> None:
        """Count what a span told; `own_end_ns` is 0 where it is in its own interval."""
        fresh = self._fresh
        self.count += 1
        fresh.count += 1
        if own_end_ns:
            self.late += 1
            fresh.late += 1
        if told.warnings:
            self.warnings += told.warnings
            fresh.warnings += told.warnings
        for observation in told.observations:
            self.observed.add(observation, told.weight)
        if told.spend is not None:
            self._add_spend(told.spend, told.weight, own_end_ns)

    def add_resource(self, digest: bytes, attributes: Attributes) -> None:
        """Note a process that is in it now."""
        self._fresh.resources[digest] = attributes

    def take_stored(
        self, series: RunSeries, end_ns: int, config: tuple[int, str], version: str
    ) -> StoredTotals | None:
        """What came since the last call, to be stored; None if nothing did."""
        fresh = self._fresh
        if not fresh.count:
            return None
        for tally in fresh.cells.values():
            tally.cost = str(tally.cost)
        stored = _Stored(
            series,
            end_ns,
            config,
            fresh.late,
            list(fresh.resources.items()),
            list(fresh.cells.items()),
            dict(fresh.sizes),
            fresh.warnings,
            fresh.count,
            self.observed.take_fresh(),
            version,
        )
        self._fresh = _Fresh()
        return stored

    def merge(self, more: SpanTotals) -> None:
        """Count all of the other, too, which gives nothing more to be stored."""
        for key, tally in more.cells.items():
            _add(self.cells, key, tally)
        self.sizes.update(more.sizes)
        self.observed.merge(more.observed)
        self.late += more.late
        self.warnings += more.warnings
        self.count += more.count

    def restore(self, stored: StoredTotals) -> None:
        """Take up a state; those of an interval in the order in which they were made."""
        for key, tally in stored.cells:
            _add(self.cells, key, tally)
        self.sizes.update(stored.sizes)
        self.observed.restore(stored.observed)
        self.late += stored.late
        self.warnings += stored.warnings
        self.count += stored.count

    def _add_spend(self, spend: Spend, weight: int, own_end_ns: int) -> None:
        key = self._admit(
            SpendKey(own_end_ns, spend.provider or "", spend.model, spend.answered, spend.labels)
        )
        tally = read_tally(spend.usage, spend.price)
        size = tally.tokens
        if weight != 1:
            tally.multiply(weight)
        _add(self.cells, key, tally)
        _add(self._fresh.cells, key, tally)
        if size not in self.sizes and len(self.sizes) >= MAX_SIZES:
            size = int(float(f"{size:.3g}"))
        self.sizes[size] += weight
        self._fresh.sizes[size] += weight

    def _admit(self, key: SpendKey) -> SpendKey:
        if key in self.cells or len(self.cells) < MAX_CELLS:
            return key
        key = key._replace(labels=())
        if key in self.cells or len(self.cells) < 2 * MAX_CELLS:
            return key
        return SpendKey(0, "", None, "", ())


StoredTotals: TypeAlias = _Stored

_encode = msgspec.msgpack.Encoder().encode
encode_clock = encode_totals = _encode
decode_clock = msgspec.msgpack.Decoder(Clock).decode
decode_totals = msgspec.msgpack.Decoder(_Stored).decode
"""What `encode_totals` encoded; raises `msgspec.DecodeError`."""


def read_tally(usage: Mapping[str, int], price: Price | None) -> Tally:
    """What the usage adds to sums."""
    given, made = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    requests, tokens = usage.get("requests", 0), max(given + made, usage.get("total_tokens", 0))
    if price is not None and not given and not made:
        given = tokens  # only a total, of a model that does not answer: see `Rates.apply`
    return Tally(
        requests,
        tokens,
        given,
        made,
        usage.get("cache_read_input_tokens", 0),
        usage.get("cache_creation_input_tokens", 0),
        usage.get("reasoning_tokens", 0),
        requests if price is not None else 0,
        0 if price is not None else tokens,
        price.amount.total if price is not None else 0,
    )


def _add(cells: dict[SpendKey, Tally], key: SpendKey, tally: Tally) -> None:
    known = cells.get(key)
    if known is None:
        cells[key] = known = Tally()
    known.add(tally)
