"""From the journal to the store: how much of a backlog is held at once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from otel_wandb.bridge import open_bridge
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.journal import JournalWriter, Kind
from otel_wandb.status import read_status
from tests.spends import chat, traces

REQUESTS = 40
SPANS = 2


def test_of_a_backlog_only_so_much_lingers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    bodies = [json.dumps(traces(chat(number, 60 + number))).encode() for number in range(REQUESTS)]
    monkeypatch.setattr("otel_wandb.drain._LINGERING_BYTES", 5 * max(map(len, bodies)))
    writer = JournalWriter(data_dir.journal, writer_id="test")
    settings = Settings(mode="offline", linger_s=0.05)
    for body in bodies:
        writer.append(body, kind=Kind.OTLP_TRACES_JSON, items=SPANS, config=settings.digest)
    writer.close()
    bridge = open_bridge(data_dir, settings, deliver=False)
    held, unread = 0, 0
    for _ in range(1000):
        bridge.step()
        lines = read_status(data_dir).ledger.lines
        held = max(held, bridge._drain.open_traces)  # there is no other door
        unread += bridge.backlog_bytes() > 0
        if lines["calls"].received == REQUESTS * SPANS:
            break
        time.sleep(0.01)
    bridge.close()
    assert lines["calls"].received == REQUESTS * SPANS
    assert 0 < held <= 10, "what was read last, and what has lingered since"
    assert unread > REQUESTS / 10, "it was not read at once"
