"""A RAG service in miniature: traces of four spans (workflow, embeddings, retrieval, chat) by the OTel SDK.

`python -m tests.services.rag --traces N [--rate PER_S] [--record FILE] [--child]`; the exporter is configured
by the environment (`OTEL_WANDB_*`). Every trace id is written to the record once its spans were acknowledged.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import SpanKind, Tracer

from otel_wandb.ingest.sdk import WeaveSpanExporter

DOCUMENTS = [
    {"id": "doc-1", "score": 0.91, "content": "Paris is the capital of France."},
    {"id": "doc-2", "score": 0.44, "content": "Lyon is a city in France."},
]


class RecordingExporter(SpanExporter):
    """Passes spans on, and writes the ids of those that were acknowledged to a file, unbuffered."""

    def __init__(self, inner: SpanExporter, record: Path | None) -> None:
        self._inner = inner
        self._record = record.open("ab", buffering=0) if record else None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS and self._record is not None:
            ids = [f"{s.context.trace_id:032x} {s.context.span_id:016x}\n" for s in spans if s.context]
            self._record.write("".join(ids).encode())
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)

    def shutdown(self) -> None:
        self._inner.shutdown()
        if self._record is not None:
            self._record.close()


def make_trace(tracer: Tracer, question: str = "What is the capital of France?") -> str:
    """One request; the trace id."""
    with tracer.start_as_current_span(
        "invoke_workflow rag",
        attributes={
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": "rag",
            "user.id": "user-7",
            "gen_ai.conversation.id": "session-42",
        },
    ) as root:
        with tracer.start_as_current_span(
            "embeddings text-embedding-3-small",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "text-embedding-3-small",
                "gen_ai.usage.input_tokens": 7,
                "gen_ai.embeddings.dimension.count": 1536,
            },
        ):
            pass
        with tracer.start_as_current_span(
            "retrieval docs",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "retrieval",
                "gen_ai.data_source.id": "docs",
                "gen_ai.retrieval.query.text": question,
                "gen_ai.retrieval.top_k": 2,
                "gen_ai.retrieval.documents": json.dumps(DOCUMENTS),
            },
        ):
            pass
        with tracer.start_as_current_span(
            "chat gpt-4o-mini",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
                "gen_ai.request.temperature": 0.2,
                "gen_ai.request.max_tokens": 100,
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.usage.input_tokens": 142,
                "gen_ai.usage.output_tokens": 21,
                "gen_ai.usage.cache_read.input_tokens": 64,
                "gen_ai.usage.reasoning.output_tokens": 7,
                "gen_ai.input.messages": json.dumps(
                    [
                        {
                            "role": "system",
                            "parts": [{"type": "text", "content": "Answer from the documents."}],
                        },
                        {"role": "user", "parts": [{"type": "text", "content": question}]},
                    ]
                ),
                "gen_ai.output.messages": json.dumps(
                    [
                        {
                            "role": "assistant",
                            "parts": [{"type": "text", "content": "Paris."}],
                            "finish_reason": "stop",
                        },
                    ]
                ),
            },
        ):
            pass
    return f"{root.get_span_context().trace_id:032x}"


def make_provider(exporter: SpanExporter, *, batch: bool = True) -> TracerProvider:
    """A provider of its own; the global one is not touched."""
    provider = TracerProvider(resource=Resource.create({"service.name": "rag", "service.version": "1.2"}))
    processor = (
        BatchSpanProcessor(exporter, schedule_delay_millis=50) if batch else SimpleSpanProcessor(exporter)
    )
    provider.add_span_processor(processor)
    return provider


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--traces", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--record", type=Path)
    parser.add_argument(
        "--fork", action="store_true", help="fork in the middle; the child makes as many traces"
    )
    parser.add_argument("--exit", choices=["shutdown", "hard"], default="shutdown")
    options = parser.parse_args()
    provider = make_provider(RecordingExporter(WeaveSpanExporter(), options.record))
    tracer = provider.get_tracer("tests.rag", "1")
    child = 0
    for number in range(options.traces):
        make_trace(tracer)
        if options.fork and number == options.traces // 2:
            child = os.fork()
        if options.rate:
            time.sleep(1 / options.rate)
    if options.exit == "hard":
        provider.force_flush()
        os._exit(0)
    provider.shutdown()
    if options.fork and child:
        os.waitpid(child, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
