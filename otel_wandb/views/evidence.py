"""The evidence of all views beside each other: which of their findings stand together, at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol, runtime_checkable

from otel_wandb.views.machine import Group, Machine
from otel_wandb.views.view_keys import ViewKeys

RATE: Final = 0.05
"""At most that part of the discoveries is false, on the mean."""
DISCOVERIES: Final = "drift/discoveries"


class Stream(NamedTuple):
    """What is watched by itself. `e_value` is at most 1 on the mean at any one moment, without a change."""

    section: str
    group: Group
    field: str
    e_value: float


@runtime_checkable
class Evident(Machine, Protocol):
    """A view that has evidence."""

    def list_evidence(self) -> list[Stream]:
        """Its streams, as they stand after the last interval."""
        ...


def list_q_values(told: Iterable[tuple[str, Stream]], keys: ViewKeys) -> Iterator[tuple[str, float]]:
    """`{view}_q_value` of each stream, and how many discoveries there are; nothing without streams.

    A q-value is the least rate of false discoveries at which the stream still stands, by e-BH.
    """
    found = {
        keys.key(stream.section, view, stream.group, stream.field): stream.e_value for view, stream in told
    }
    if not found:
        return
    from otel_wandb.statistics.discoveries import q_values  # SciPy comes along

    rates = q_values(found)
    yield from rates.items()
    yield DISCOVERIES, float(sum(rate <= RATE for rate in rates.values()))
