"""The JSON of a row's values, and of what is said of its run, as the store keeps them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec


class Bins(msgspec.Struct, frozen=True):
    """A histogram as it is drawn: `len(edges) == len(counts) + 1`, and all edges are finite."""

    counts: tuple[int | float, ...]
    edges: tuple[int | float, ...]


class HasBins(Protocol):
    """What can be stored as `Bins`."""

    @property
    def counts(self) -> Sequence[int | float]:
        """How many fell between two edges."""
        ...

    @property
    def edges(self) -> Sequence[float]:
        """The edges, in rising order."""
        ...


RowValue: TypeAlias = int | float | Bins


class DescribesRun(Protocol):
    """What `wandb.init` is told of a run beside its id and its project."""

    @property
    def name(self) -> str:
        """What it is called in the list of runs."""
        ...

    @property
    def group(self) -> str:
        """What its days belong to: the service."""
        ...

    @property
    def job_type(self) -> str:
        """What kind of run it is."""
        ...

    @property
    def tags(self) -> Sequence[str]:
        """Its tags."""
        ...

    @property
    def config(self) -> Mapping[str, object]:
        """Its config."""
        ...


def encode_values(values: Mapping[str, int | float | HasBins]) -> bytes:
    """The JSON of the values of a row: equal values, equal bytes. What is not finite is left out."""
    plain: dict[str, object] = {}
    for key in sorted(values):
        value = values[key]
        if isinstance(value, int | float):
            if math.isfinite(value):
                plain[key] = _plain(value)
        else:
            plain[key] = Bins(tuple(map(_plain, value.counts)), tuple(map(_plain, value.edges)))
    return msgspec.json.encode(plain)


def decode_values(body: bytes) -> dict[str, RowValue]:
    """The values that `encode_values` was given."""
    return msgspec.json.decode(body, type=dict[str, int | float | Bins])


def encode_run(run: DescribesRun) -> bytes:
    """The JSON of what is said of a run, for `NewRun.spec`."""
    spec = {"name": run.name, "group": run.group, "job_type": run.job_type, "tags": list(run.tags)}
    return msgspec.json.encode({**spec, "config": dict(run.config)}, order="deterministic")


def _plain(value: int | float) -> int | float:
    return int(value) if isinstance(value, int) else float(value)  # of a subclass such as NumPy's
