"""Traces that show what an alarm is about: of those that are kept, the nearest in value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

MOST: Final = 3
"""So many are named."""
LARGEST: Final = (1e300,) * MOST
SMALLEST: Final = (-1e300,) * MOST
"""What to ask for where the largest or smallest values are meant."""


class Example(NamedTuple):
    """A span of a kept trace, which is a call in Weave."""

    trace_id: str
    span_id: str

    def __str__(self) -> str:
        """As it stands in texts; where an alert is sent, its project known, it becomes a link."""
        return f"{self.trace_id}/{self.span_id}"


def accept_all(value: float) -> bool:
    """What `accepts` is where all values are examples."""
    return True


class Examples(Protocol):
    """The traces of an interval."""

    def find(
        self,
        instrument: str,
        values: Sequence[float],
        where: Mapping[str, str] = ...,
        accepts: Callable[[float], bool] = ...,
    ) -> list[Example]:
        """For each value the nearest that an instrument measured, with these attributes; no trace twice.

        Only values that are accepted count.
        """
        ...


class NoExamples:
    """Where no traces are known."""

    def find(
        self,
        instrument: str,
        values: Sequence[float],
        where: Mapping[str, str] = {},
        accepts: Callable[[float], bool] = accept_all,
    ) -> list[Example]:
        """None."""
        return []


def tell_examples(found: Sequence[Example]) -> str:
    """Them as a sentence; empty without any."""
    return f"Examples: {', '.join(map(str, found))}." if found else ""
