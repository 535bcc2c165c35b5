"""Waiting for something that another process or thread does, but not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], timeout_s: float = 30.0) -> T:
    """The first value of `look` that is neither None nor false; TimeoutError if there is none in time."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError(f"{look} gave nothing within {timeout_s:g} s")
