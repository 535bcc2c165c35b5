"""A clock that goes faster than the real one, for the test and for the processes of the server that it runs.

What goes faster in a worker and a bridge is the wall clock, with `time.monotonic_ns`, by which the drain
tells the time. `time.monotonic` is as fast only for the modules that measure by it how old data is: timeouts
of sockets, waits and pauses between tries have to do with this machine and its peers, and stay as they are.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

PROCESSES: Final = {"otel_wandb.serve_worker", "otel_wandb.bridge_process"}
MODULES: Final = {"otel_wandb.drain", "otel_wandb.journal.writer"}

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_HOOK: Final = "from tests.services.fast_clock import speed_up\n\nspeed_up()\n"
_real_ns, _real_monotonic_s = time.time_ns, time.monotonic


@dataclass(frozen=True)
class FastClock:
    """When the real clock shows `since_ns` it shows `from_ns`, and it goes `rate` times as fast."""

    since_ns: int
    from_ns: int
    rate: int

    @classmethod
    def begin(cls, from_ns: int, rate: int) -> Self:
        """One that shows that time now."""
        return cls(_real_ns(), from_ns, rate)

    @classmethod
    def read(cls, text: str) -> Self:
        """The clock of which `environ` tells."""
        return cls(*map(int, text.split()))

    def environ(self, directory: Path) -> dict[str, str]:
        """The variables with which a worker and a bridge go by it; the directory is for a file of ours."""
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(_HOOK)
        return {
            "PYTHONPATH": os.pathsep.join((str(directory), str(_CHECKOUT))),
            "FAST_CLOCK": f"{self.since_ns} {self.from_ns} {self.rate}",
        }

    def now_ns(self) -> int:
        """What it shows."""
        return self.from_ns + (_real_ns() - self.since_ns) * self.rate

    def sleep_until(self, until_ns: int) -> None:
        """Return when it shows that time, at once where it has."""
        time.sleep(max(0, until_ns - self.now_ns()) / self.rate / 1e9)


def speed_up() -> None:
    """Let this process go by the clock that its environment tells of, if it is one of `PROCESSES`."""
    if not PROCESSES & set(sys.orig_argv):
        return
    clock, begin_s = FastClock.read(os.environ["FAST_CLOCK"]), _real_monotonic_s()

    def monotonic() -> float:
        now_s = _real_monotonic_s()
        ages = sys._getframe(1).f_globals.get("__name__") in MODULES
        return begin_s + (now_s - begin_s) * clock.rate if ages else now_s

    time.time_ns = time.monotonic_ns = clock.now_ns
    time.time, time.monotonic = lambda: clock.now_ns() / 1e9, monotonic
