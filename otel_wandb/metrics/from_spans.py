"""What spans tell of an interval, as metrics would: so far, what they spent, and what was warned of.

A trace is shaped once, and its frames are gone by the time its row is made. So what its spans told is kept as
states: one for each transaction that brought something, stored with the calls that it is of, and removed with
the row that it goes into. After a restart the states are merged in their order, and nothing is told twice.

A span counts in the interval in which it ended; where that is closed, in the next one that is open, as late.
Other streams derived from spans are to be further fields of `SpanTotals` and of its stored form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import msgspec

from otel_wandb.metrics.pricing import Price
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.records import Attributes

MAX_CELLS: Final = 2_000
"""Different spends in an interval. Beyond, their attributes are given up, at twice as many their models."""

MAX_SIZES: Final = 2_000
"""Different numbers of tokens of a call. Beyond, they are kept to three digits, half a percent off."""

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values of the attributes by which cost is charted, in the order of the setting."""


class Spend(NamedTuple):
    """What one call spent. `model` is the name in charts, `answered` the one that it is priced under."""

    span_id: str
    end_ns: int
    provider: str | None
    model: str
    answered: str
    usage: Mapping[str, int]
    price: Price | None
    labels: Labels = ()


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


class Clock(msgspec.Struct, array_like=True):
    """How far the spans of a service had come."""

    series: RunSeries
    newest_ns: int


@dataclass(slots=True)
class SpanTotals:
    """What spans told of an interval so far."""

    cells: dict[SpendKey, Tally] = field(default_factory=dict)
    sizes: Counter[int] = field(default_factory=Counter)
    """How many calls spent so many tokens."""
    late: int = 0
    """Spans among them that ended in an earlier interval."""
    warnings: int = 0
    """What the dialects warned of."""
    names: list[str] = field(default_factory=list)
    """Of the states that hold all of it but what is fresh."""
    count: int = 0
    """How many spans are in it."""
    _fresh: dict[SpendKey, Tally] = field(default_factory=dict)
    _fresh_sizes: Counter[int] = field(default_factory=Counter)
    _fresh_late: int = 0
    _fresh_warnings: int = 0
    _fresh_resources: dict[bytes, Attributes] = field(default_factory=dict)

    def add(self, spend: Spend, own_end_ns: int) -> None:
        """Count a span; `own_end_ns` is 0 where it is in its own interval."""
        key = self._admit(
            SpendKey(own_end_ns, spend.provider or "", spend.model, spend.answered, spend.labels)
        )
        tally = read_tally(spend.usage, spend.price)
        _add(self.cells, key, tally)
        _add(self._fresh, key, tally)
        size = tally.tokens
        if size not in self.sizes and len(self.sizes) >= MAX_SIZES:
            size = int(float(f"{size:.3g}"))
        self.sizes[size] += 1
        self._fresh_sizes[size] += 1
        self.late += own_end_ns > 0
        self._fresh_late += own_end_ns > 0
        self.count += 1

    def add_warnings(self, n: int) -> None:
        """Count what the dialects warned of a span."""
        self.warnings += n
        self._fresh_warnings += n
        self.count += 1

    def add_resource(self, digest: bytes, attributes: Attributes) -> None:
        """Note a process that is in it now."""
        self._fresh_resources[digest] = attributes

    def take_state(self, series: RunSeries, end_ns: int, config: tuple[int, str]) -> bytes:
        """What came since the last call; empty if nothing did."""
        if not self._fresh and not self._fresh_warnings:
            return b""
        for tally in self._fresh.values():
            tally.cost = str(tally.cost)
        resources = list(self._fresh_resources.items())
        cells = list(self._fresh.items())
        sizes = dict(self._fresh_sizes)
        late, warnings = self._fresh_late, self._fresh_warnings
        state = _encode(_Stored(series, end_ns, config, late, resources, cells, sizes, warnings))
        self._fresh, self._fresh_resources, self._fresh_sizes = {}, {}, Counter()
        self._fresh_late = self._fresh_warnings = 0
        return state

    def restore(self, name: str, stored: StoredTotals) -> None:
        """Take up a state; those of an interval in the order in which they were made."""
        for key, tally in stored.cells:
            _add(self.cells, key, tally)
            self.count += tally.requests
        self.sizes.update(stored.sizes)
        self.late += stored.late
        self.warnings += stored.warnings
        self.count += stored.warnings > 0
        self.names.append(name)

    def _admit(self, key: SpendKey) -> SpendKey:
        if key in self.cells or len(self.cells) < MAX_CELLS:
            return key
        key = key._replace(labels=())
        if key in self.cells or len(self.cells) < 2 * MAX_CELLS:
            return key
        return SpendKey(0, "", None, "", ())


StoredTotals: TypeAlias = _Stored

_encode = msgspec.msgpack.Encoder().encode
encode_clock = _encode
decode_clock = msgspec.msgpack.Decoder(Clock).decode
decode_totals = msgspec.msgpack.Decoder(_Stored).decode
"""What `take_state` encoded; raises `msgspec.DecodeError`."""


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
