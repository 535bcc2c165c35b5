"""Unix nanoseconds as the text that Weave takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_MAX_SECOND: Final = 253_402_300_799  # the last one of the year 9999
_MAX_SECONDS: Final = 4096


def iso_time(time_ns: int) -> str:
    """ISO 8601 in UTC with microseconds; nanoseconds are cut, not rounded, as the server does."""
    second = time_ns // 1_000_000_000
    whole = _seconds.get(second) or _format(second)
    return f"{whole}.{time_ns // 1000 % 1_000_000:06d}Z"


_seconds: dict[int, str] = {}
"""Seconds as text: spans of the same time share them."""


def _format(second: int) -> str:
    whole = datetime.fromtimestamp(max(0, min(second, _MAX_SECOND)), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if len(_seconds) >= _MAX_SECONDS:
        _seconds.clear()
    _seconds[second] = whole
    return whole
