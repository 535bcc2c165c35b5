"""The states of the streams as bytes: what a restart takes up, with the rows that it goes with.

Three kinds of state: where each run stands, the delta points of its recent intervals (so that repeats are
known), and the last state of each cumulative stream.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, TypeAlias

import msgspec

from otel_wandb.metrics.cells import Memory, State
from otel_wandb.metrics.closed import Level, Summary, Value
from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.exponential import ExponentialHistogram, Side
from otel_wandb.metrics.measures import to_float
from otel_wandb.metrics.opened import RecentKeys
from otel_wandb.metrics.runs import RunSeries, series_digest

PREFIX: Final = "streams/"
_MAX_INT: Final = 2**63 - 1


class Standing(msgspec.Struct, array_like=True):
    """How far the intervals of a run are closed, and how far each segment was read when the last one was."""

    series: RunSeries
    period_ns: int
    closed_ns: int
    positions: dict[str, int]


class _Number(msgspec.Struct, array_like=True, tag="n"):
    value: int | float


class _Quantiles(msgspec.Struct, array_like=True, tag="q"):
    count: int
    total: int | float
    quantiles: tuple[tuple[float, float], ...]


class _Explicit(msgspec.Struct, array_like=True, tag="b"):
    total: int | float | None
    min: float | None
    max: float | None
    bounds: tuple[float, ...]
    counts: tuple[int, ...]


class _Exponential(msgspec.Struct, array_like=True, tag="x"):
    total: int | float | None
    min: float | None
    max: float | None
    scale: int
    zero_count: int
    zero_threshold: float
    positive: Side
    negative: Side


_AnyValue: TypeAlias = _Number | _Quantiles | _Explicit | _Exponential


class _Memory(msgspec.Struct, array_like=True):
    level: str
    epochs: list[tuple[int, int, _AnyValue]]


_encode = msgspec.msgpack.Encoder().encode
_decode_standing = msgspec.msgpack.Decoder(Standing).decode
_decode_keys = msgspec.msgpack.Decoder(list[tuple[int, int, list[bytes]]]).decode
_decode_memory = msgspec.msgpack.Decoder(_Memory).decode


def series_key(series: RunSeries) -> str:
    """The beginning of the names of all states of a service."""
    return PREFIX + series_digest(series)


def encode_standing(standing: Standing) -> bytes:
    """The bytes that `decode_standing` reads."""
    return _encode(standing)


def decode_standing(state: bytes) -> Standing:
    """What was encoded; raises `msgspec.DecodeError`, like the others."""
    return _decode_standing(state)


def encode_keys(keys: RecentKeys) -> bytes:
    """The bytes that `decode_keys` reads."""
    return _encode([(*key, sorted(streams)) for key, streams in sorted(keys.items())])


def decode_keys(state: bytes) -> RecentKeys:
    """What was encoded."""
    return {(start_ns, time_ns): set(streams) for start_ns, time_ns, streams in _decode_keys(state)}


def encode_memory(memory: Memory) -> bytes:
    """The bytes that `decode_memory` reads."""
    epochs = [(start_ns, s.time_ns, _pack(s.value)) for start_ns, s in sorted(memory.epochs.items())]
    return _encode(_Memory(str(memory.level), epochs))


def decode_memory(state: bytes) -> Memory:
    """What was encoded."""
    stored = _decode_memory(state)
    epochs = {start_ns: State(time_ns, _unpack(value)) for start_ns, time_ns, value in stored.epochs}
    return Memory(epochs, Fraction(stored.level))


def _pack(value: Value) -> _AnyValue:
    if isinstance(value, Fraction):
        return _Number(_pack_number(value))
    if isinstance(value, Summary):
        return _Quantiles(value.count, _pack_number(value.total), value.quantiles)
    assert not isinstance(value, Level)  # levels are worked out, not compared
    total = None if value.total is None else _pack_number(value.total)
    if isinstance(value, ExplicitHistogram):
        return _Explicit(total, value.min, value.max, value.bounds, value.counts)
    return _Exponential(
        total,
        value.min,
        value.max,
        value.scale,
        value.zero_count,
        value.zero_threshold,
        value.positive,
        value.negative,
    )


def _pack_number(number: Fraction) -> int | float:
    # It came with a point, and so was one of the two.
    whole = number.denominator == 1 and -_MAX_INT <= number.numerator <= _MAX_INT
    return number.numerator if whole else to_float(number)


def _unpack(value: _AnyValue) -> Value:
    if isinstance(value, _Number):
        return Fraction(value.value)
    if isinstance(value, _Quantiles):
        return Summary(value.count, Fraction(value.total), value.quantiles)
    tight = value.min is not None and value.max is not None
    total = None if value.total is None else Fraction(value.total)
    if isinstance(value, _Explicit):
        count = sum(value.counts)
        return ExplicitHistogram(count, total, value.min, value.max, tight, value.bounds, value.counts)
    return ExponentialHistogram(
        value.zero_count + sum(value.positive.counts) + sum(value.negative.counts),
        total,
        value.min,
        value.max,
        tight,
        value.scale,
        value.zero_count,
        value.zero_threshold,
        value.positive,
        value.negative,
    )
