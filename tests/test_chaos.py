"""SIGKILLs of service and bridge at random moments under load: nothing missing, nothing accepted twice.

`CHAOS_KILLS` (50) and `CHAOS_SEED` (1) change the run. Slow: see `make test-slow`.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.ingest.sdk import WeaveSpanExporter
from otel_wandb.status import read_status
from tests.peers.weave import WeavePeer
from tests.services.rag import make_provider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("CHAOS_KILLS", "50"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
FAULTS = {
    "answers lost after the store": ("reset:phase=after,rate=0.3,path=calls/complete",),
    "connections reset before": ("reset:rate=0.3,path=calls/complete",),
    "server errors": ("500:rate=0.2,path=calls/complete", "503:rate=0.2,retry_after=1,path=calls/complete"),
    "rate limited": ("429:rate=0.5,retry_after=1,path=calls/complete",),
    "slow": ("slow:delay=1,rate=0.5,path=calls/complete",),
}


class Chaos:
    """A service under load, its bridge, and the one who kills them."""

    def __init__(self, peer: WeavePeer, directory: Path, *, fsync: str) -> None:
        self.peer = peer
        self.record = directory / "acknowledged.txt"
        self.data_dir = DataDir(directory / "data")
        self.environment = {
            **os.environ,
            **peer.environment,
            "OTEL_WANDB_DIR": str(self.data_dir.path),
            "OTEL_WANDB_PROJECT": "team/chaos",
            "OTEL_WANDB_FSYNC": fsync,
            "OTEL_WANDB_LINGER_S": "0.2",
            "OTEL_WANDB_TRACE_IDLE_S": "2",
            "OTEL_WANDB_TRACE_PARTIAL_AFTER_S": "2",
            "OTEL_WANDB_SETTLE_S": "2",
            "OTEL_WANDB_SEGMENT_BYTES": str(256 << 10),
        }

    def start_service(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.services.rag", "--traces", "1000000", "--rate", "150"]
        return subprocess.Popen([*command, "--record", str(self.record)], env=self.environment)

    def kill_bridge(self) -> None:
        info = self.data_dir.read_bridge_info()
        if info is not None and self.data_dir.locked():
            with contextlib.suppress(ProcessLookupError):
                os.kill(info.pid, signal.SIGKILL)

    def run(self, kills: int, dice: random.Random) -> None:
        service = self.start_service()
        try:
            for _ in range(kills):
                time.sleep(dice.uniform(0.05, 1.2))
                victim = dice.choice(["service", "bridge", "both"])
                if victim != "service":
                    self.kill_bridge()
                if victim != "bridge":
                    service.kill()
                    service.wait()
                    service = self.start_service()
                assert read_status(self.data_dir).ledger.imbalance() == {}
        finally:
            service.kill()
            service.wait()

    def drain(self, timeout_s: float) -> None:
        """Let a last front see everything delivered."""
        for name, value in self.environment.items():
            os.environ[name] = value
        exporter = WeaveSpanExporter()
        provider = make_provider(exporter, batch=False)
        provider.get_tracer("last").start_span("last").end()
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            exporter.force_flush(10_000)
            ledger = read_status(self.data_dir).ledger
            if not any(line.waiting for line in ledger.lines.values()):
                break
            time.sleep(0.5)
        exporter.shutdown()

    def check(self) -> None:
        accepted = Counter(call.id for call in self.peer.accepted())
        acknowledged = {line.split()[1] for line in self.record.read_text().splitlines() if len(line) == 49}
        assert len(acknowledged) > 100
        assert not acknowledged - set(accepted), "acknowledged, and never delivered"
        assert [call_id for call_id, n in accepted.items() if n > 1] == []
        status = read_status(self.data_dir)
        assert status.ledger.imbalance() == {}
        spans, calls = status.ledger.lines["spans"], status.ledger.lines["calls"]
        assert (spans.waiting, spans.dropped, spans.rejected) == (0, {}, {})
        assert calls.delivered == calls.received == len(accepted)


@pytest.mark.parametrize("fsync", ["never", "interval", "always"])
def test_kills_lose_nothing_and_double_nothing(
    weave_peer: WeavePeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    chaos = Chaos(weave_peer, tmp_path, fsync=fsync)
    chaos.run(KILLS, random.Random(SEED))
    chaos.drain(90)
    chaos.check()


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_faults_of_the_server_lose_nothing_and_double_nothing(
    weave_peer: WeavePeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    chaos = Chaos(weave_peer, tmp_path, fsync="never")
    weave_peer.faults(*faults)
    chaos.run(5, random.Random(SEED))
    weave_peer.faults()
    chaos.drain(90)
    chaos.check()
