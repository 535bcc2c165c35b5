"""Sets the clock of the process forward or back by `SHIFT_S`, so that a midnight comes when a test wants it.

The wall clock only, as of a machine whose time is set wrong. It stands on `PYTHONPATH` before the hook of
`otel-wandb run`, which is called from here.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path

_shift_ns = int(os.environ.get("SHIFT_S", "0")) * 1_000_000_000
_time_ns = time.time_ns


def _shifted_ns() -> int:
    return _time_ns() + _shift_ns


def _shifted_s() -> float:
    return _shifted_ns() / 1e9


time.time_ns, time.time = _shifted_ns, _shifted_s

for _directory in sys.path:
    _hook = Path(_directory, "sitecustomize.py")
    if _directory and _hook.is_file() and not _hook.samefile(__file__):
        runpy.run_path(str(_hook))
        break
