"""The ends of a process that `atexit` does not see: SIGTERM, and children that `multiprocessing` forks.

The SDK hands its queues to the exporters once more at the end, by `atexit`. A process that SIGTERM ends never
gets there, and that is how most services are stopped: uvicorn, too, sends itself the signal again once it has
shut down. A forked child of `multiprocessing` ends by `os._exit`.

At SIGTERM all is done that `atexit` would do, waiting for the delivery included. A child only hands over,
which costs milliseconds: its parent may wait for it, and delivers.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

_log = logging.getLogger("otel_wandb.sdk")

_pushes: list[Callable[[], object]] = []
_shutdowns: list[Callable[[], object]] = []


def prepare_ends(*, push: Callable[[], object], shutdown: Callable[[], object]) -> None:
    """Call `shutdown` when SIGTERM ends this process, and `push` at the end of what it forks from now on."""
    if not _pushes:
        os.register_at_fork(after_in_child=_watch_child)
    _pushes.append(push)
    _shutdowns.append(shutdown)


def watch_sigterm(*, patience_s: float) -> None:
    """Let SIGTERM end this process only after the shutdowns, or after the patience, unless it is handled."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return  # the service knows what it does

    def end(number: int, _frame: object) -> None:
        # In a thread, since the code that the signal has interrupted may hold a lock of the SDK.
        thread = threading.Thread(target=_call, args=(_shutdowns,), name="otel-wandb-end", daemon=True)
        thread.start()
        thread.join(patience_s)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)


def _watch_child() -> None:
    util = sys.modules.get("multiprocessing.util")  # not imported: then nobody forks by it
    if util is not None:
        # In two steps: the child first forgets the finalizers of its parent, then calls what is told here.
        util.register_after_fork(_call, lambda _: util.Finalize(None, _call, (_pushes,), exitpriority=0))


def _call(actions: list[Callable[[], object]]) -> None:
    for action in actions:
        try:
            action()
        except Exception:  # noqa: BLE001  never into the service
            _log.exception("What was queued at the end of this process could not be exported.")
