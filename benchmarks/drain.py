"""Journal to store: spans a second through decoding, assembly, conversion, redaction and the store.

`python -m benchmarks.drain [--traces N] [--profile]`; RAG traces of four spans, as the SDK front writes them.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from pathlib import Path

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_wandb.bridge import open_bridge
from otel_wandb.config import resolve
from otel_wandb.datadir import DataDir
from otel_wandb.ingest.packing import encode_spans
from otel_wandb.journal import JournalWriter, Kind
from tests.services.rag import make_provider, make_trace

_BATCH = 512


def fill_journal(data_dir: DataDir, digest: str, traces: int) -> int:
    """Write the traces as an SDK front would; the number of spans."""
    memory = InMemorySpanExporter()
    tracer = make_provider(memory, batch=False).get_tracer("benchmarks", "1")
    writer = JournalWriter(data_dir.journal, writer_id="bench")
    spans = 0
    for number in range(traces):
        make_trace(tracer)
        if (number + 1) % (_BATCH // 4) == 0 or number + 1 == traces:
            batch = memory.get_finished_spans()
            writer.append(encode_spans(batch), kind=Kind.SPANS, items=len(batch), config=digest)
            spans += len(batch)
            memory.clear()
    writer.close()
    return spans


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data_dir = DataDir(Path(directory))
        data_dir.create()
        settings = resolve({"data_dir": directory, "mode": "offline"}).settings
        spans = fill_journal(data_dir, settings.digest, options.traces)
        bridge = open_bridge(data_dir, settings, replay=True, deliver=False)
        profile = cProfile.Profile()
        started_s, cpu_s = time.perf_counter(), time.process_time()
        if options.profile:
            profile.enable()
        bridge.finish_input()
        profile.disable()
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        bridge.close()
    print(f"{spans} spans: {spans / wall_s:,.0f} a second, {spans / cpu_s:,.0f} a second of CPU")
    print(f"{cpu_s / spans * 1e6:.1f} us of CPU a span")
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(35)


if __name__ == "__main__":
    main()
