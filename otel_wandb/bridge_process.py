"""The bridge as a process: `python -m otel_wandb.bridge_process --data-dir DIR --settings DIGEST`.

It leaves the service's session, keeps no file of it open, logs to `bridge.log`, holds the directory's lock,
drains on SIGTERM, and ends by itself when all fronts are gone and all is delivered.
"""

from __future__ import annotations

import argparse
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from otel_wandb.bridge import Bridge, open_bridge
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.errors import BridgeRunning
from otel_wandb.redaction_log import RedactedFormatter

_log = logging.getLogger("otel_wandb.bridge")

_LOCK_TRIES = 10
_LOCK_WAIT_S = 0.1
_LOG_BYTES = 1 << 20
_MAX_FD = 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all is done, or when another bridge was first."""
    parser = argparse.ArgumentParser(prog="otel_wandb.bridge_process", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--settings", required=True, help="digest of the settings document in DIR/config")
    parser.add_argument("--no-deliver", action="store_true", help="convert and store only")
    options = parser.parse_args(arguments)
    data_dir = DataDir(options.data_dir)
    _leave_the_service()
    _log_to(data_dir)
    try:
        document = data_dir.read_config(options.settings)
        settings = Settings.from_json(document) if document is not None else Settings()
        bridge = _open_when_free(data_dir, settings, deliver=not options.no_deliver)
    except BridgeRunning:
        return 0
    except Exception:  # noqa: BLE001  whatever it is, the log has to say it and the front to hear of it
        _log.exception("The bridge cannot start on %s.", data_dir.path)
        return 1
    _run(bridge, settings)
    return 0


def _run(bridge: Bridge, settings: Settings) -> None:
    stopping_s: list[float] = []
    orphan_since_s = time.monotonic()

    def on_term(_signal: int, _frame: object) -> None:
        stopping_s.append(time.monotonic())

    def ends(running: Bridge) -> bool:
        nonlocal orphan_since_s
        now_s = time.monotonic()
        if stopping_s:
            running.hurry()
            return running.is_drained() or now_s - stopping_s[0] > settings.drain_timeout_s
        if running.has_fronts():
            orphan_since_s = now_s
        return running.is_alone() or now_s - orphan_since_s > settings.orphan_s

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service
    _log.info("The bridge (process %d) reads %s.", os.getpid(), bridge.data_dir and bridge.data_dir.path)
    try:
        bridge.run(ends=ends)
    finally:
        bridge.close()
    _log.info("The bridge (process %d) ends.", os.getpid())


def _open_when_free(data_dir: DataDir, settings: Settings, *, deliver: bool) -> Bridge:
    processes = settings.conversion_processes
    # Somebody who looks whether the lock is held holds it for that moment.
    for _ in range(_LOCK_TRIES):
        try:
            return open_bridge(data_dir, settings, deliver=deliver, processes=processes)
        except BridgeRunning:
            time.sleep(_LOCK_WAIT_S)
    return open_bridge(data_dir, settings, deliver=deliver, processes=processes)


def _leave_the_service() -> None:
    os.umask(0o077)
    os.closerange(3, _MAX_FD)
    if os.getpid() != os.getsid(0):
        os.setsid()


def _log_to(data_dir: DataDir) -> None:
    handler = logging.handlers.RotatingFileHandler(
        data_dir.log, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8"
    )
    handler.setFormatter(RedactedFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("otel_wandb").setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
