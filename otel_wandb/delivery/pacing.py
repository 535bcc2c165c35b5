"""When to try again: waits that grow and are spread, and what a server's `Retry-After` asks for."""

from __future__ import annotations

import email.utils
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_LONGEST_RETRY_AFTER_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait after failures, in seconds."""

    first_s: float = 1.0
    most_s: float = 300.0
    refused_s: float = 60.0
    """After the key or the project was refused."""


class Backoff:
    """Waits that double from `first_s` to `most_s`, each between half and all of that, until `reset`.

    The spread keeps many bridges from coming back at the same moment. It has a generator of its own, seeded
    with a name, so that no other random state is touched.
    """

    def __init__(self, pace: Pace, name: str) -> None:
        self._pace = pace
        self._random = random.Random(name)  # noqa: S311  spreads load, protects nothing
        self._failures = 0

    def next_s(self, asked_s: float | None = None) -> float:
        """The wait after one more failure, no shorter than the server asked for."""
        whole_s = min(self._pace.most_s, self._pace.first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(whole_s * self._random.uniform(0.5, 1.0), asked_s or 0.0)

    def reset(self) -> None:
        """Begin again with the shortest wait: something has worked."""
        self._failures = 0


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that `Retry-After` asks for, at most an hour; None without one that can be understood.

    A date is taken relative to the server's own `Date`, since the clocks may differ.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(text)
            now = email.utils.parsedate_to_datetime(headers.get("date", ""))
            wait_s = (until - now).total_seconds()
        except (ValueError, TypeError):
            return None
    return None if math.isnan(wait_s) else min(max(wait_s, 0.0), _LONGEST_RETRY_AFTER_S)
