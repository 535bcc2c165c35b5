"""A disk that fills up under journal and store: refused, counted, never lost in silence, and well after."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_wandb.datadir import DataDir
from otel_wandb.ingest.sdk import WeaveSpanExporter
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.services.rag import make_provider, make_trace

_SIZE_MIB = 6


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with a few MiB."""
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted by root")
    point = tmp_path / "disk"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m", "tmpfs", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def test_a_full_disk_refuses_and_recovers(small_disk: Path) -> None:
    data_dir = DataDir(small_disk / "data")
    exporter = WeaveSpanExporter(
        data_dir=str(data_dir.path), bridge="thread", journal_disk_share=1.0, segment_bytes=64 << 10
    )
    memory = InMemorySpanExporter()
    tracer = make_provider(memory, batch=False).get_tracer("t")
    acknowledged = refused = 0
    for _ in range(3000):
        memory.clear()
        make_trace(tracer)
        if exporter.export(memory.get_finished_spans()) is SpanExportResult.SUCCESS:
            acknowledged += 4
        else:
            refused += 4
    assert refused > 0
    assert acknowledged > 400
    wait_for(lambda: read_status(data_dir).ledger.lines["spans"].received == 12_000)
    ledger = read_status(data_dir).ledger
    assert ledger.imbalance() == {}
    assert sum(ledger.lines["spans"].dropped.values()) == refused

    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert exporter.export(memory.get_finished_spans()[:0]) is SpanExportResult.SUCCESS
    assert exporter.force_flush(60_000)
    line = read_status(data_dir).ledger.lines["spans"]
    assert (line.delivered, line.waiting) == (acknowledged, 0)
    assert read_status(data_dir).ledger.imbalance() == {}
    exporter.shutdown()
