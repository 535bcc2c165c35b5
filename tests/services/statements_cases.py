"""`log_prediction` and `record_feedback` over providers in memory; what each tells is printed as JSON."""

from __future__ import annotations

import json
import sys

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_wandb import log_prediction, record_feedback


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def main() -> None:
    log_prediction("cat", 0.5)  # before there is anything
    record_feedback(True)
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # untyped in the SDK
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    tracer = trace.get_tracer("t")
    with tracer.start_as_current_span("no logs"):
        record_feedback(0.5, name="early", explanation="so so")
    with tracer.start_as_current_span("one") as one:
        log_prediction("cat", confidence=0.75, attributes={"model": "m1"})
    with tracer.start_as_current_span("many"):
        log_prediction(True, 1)
        log_prediction("a long answer, of which there is another each time " * 3, 0.25, label="answer")
        log_prediction("dog", float("nan"))
        log_prediction(7)
        log_prediction({"box": [1, 2]}, 0.5)
        log_prediction(Unprintable(), 0.5)
        log_prediction("cat", "very")  # type: ignore[arg-type]  # what users do
    logger_provider = LoggerProvider()
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    _logs.set_logger_provider(logger_provider)
    context = one.get_span_context()
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
    with tracer.start_as_current_span("judge") as judge:
        record_feedback(True, name="helpful", about=traceparent, user_id="u1")
        record_feedback(4, name="stars", about=context, label="good", explanation="it was", evaluator="llm")
        record_feedback("bad", attributes={"model": "m1"})
        record_feedback(0, response_id="resp-1")
        record_feedback()
        record_feedback(1, about="not a traceparent")
        record_feedback(object())  # type: ignore[arg-type]
    data = reader.get_metrics_data()
    assert data is not None
    points = [
        [metric.name, metric.unit, dict(point.attributes or {}), point.count, point.sum]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if isinstance(point, HistogramDataPoint)
    ]
    told = {
        "spans": {
            s.name: [dict(s.attributes or {}), [[e.name, dict(e.attributes or {})] for e in s.events]]
            for s in spans.get_finished_spans()
        },
        "logs": [
            [r.log_record.event_name, r.log_record.span_id, dict(r.log_record.attributes or {})]
            for r in logs.get_finished_logs()
        ],
        "points": points,
        "ids": [context.span_id, judge.get_span_context().span_id],
        "imported": sorted({name.partition(".")[0] for name in sys.modules}),
        "rooms": sorted({n.split(".")[1] for n in sys.modules if n.startswith("otel_wandb.")}),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
