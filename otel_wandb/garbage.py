"""How often a process that converts looks for garbage: seldom, since what it makes is mostly without circles.

By default Python looks after every 700 new objects, and sooner or later at all that is held, such as open
traces: that is a tenth of the time of a bridge, and finds next to nothing.
"""

from __future__ import annotations

import gc
from typing import Final

_NEW_OBJECTS: Final = 20_000
_YOUNGER: Final = 10


def collect_seldom() -> None:
    """Leave what is loaded out of all collections, and collect the rest seldom. For a process of our own."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNGER, _YOUNGER)
