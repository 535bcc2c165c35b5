"""Builders of records for the tests of conventions and calls: fixed ids and times, nothing random."""

from __future__ import annotations

from typing import Any

import msgspec

from otel_wandb.conventions import read_span
from otel_wandb.conventions.facts import Facts
from otel_wandb.records import Attributes, Event, Link, LogRecord, Resource, Scope, Span, Value
from otel_wandb.traces.calls import ShapedTrace, shape_trace
from otel_wandb.traces.finished import Earlier, FinishedTrace, Placed

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
MS = 1_000_000
SCOPE = Scope("opentelemetry.instrumentation.genai.openai", "1.3b0")
RESOURCE = Resource({"service.name": "rag"})


def make_span(
    number: int,
    attributes: Attributes | None = None,
    *,
    parent: int = 0,
    name: str = "span",
    kind: int = 1,
    start_ms: int = 0,
    ms: int = 10,
    events: list[Event] | None = None,
    links: list[Link] | None = None,
    status: int = 0,
    message: str = "",
    flags: int = 0x100,
) -> Span:
    return Span(
        trace_id=TRACE_ID,
        span_id=f"{number:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=name,
        kind=kind,
        start_ns=START_NS + start_ms * MS,
        end_ns=START_NS + (start_ms + ms) * MS,
        attributes=attributes or {},
        events=events or [],
        links=links or [],
        status_code=status,
        status_message=message,
        flags=flags,
    )


def make_log(
    name: str, body: Value = None, attributes: Attributes | None = None, *, at_ms: int = 1
) -> LogRecord:
    return LogRecord(
        time_ns=START_NS + at_ms * MS,
        event_name=name,
        body=body,
        attributes=attributes or {},
        severity_text="INFO",
    )


def make_trace(
    *spans: Span,
    logs: dict[int, list[LogRecord]] | None = None,
    reason: str = "ended",
    memory: dict[str, Earlier] | None = None,
    resource: Resource = RESOURCE,
) -> FinishedTrace:
    notes = logs or {}
    placed = [
        Placed(span, SCOPE, resource, "0" * 16, tuple(notes.get(int(span.span_id, 16), ()))) for span in spans
    ]
    placed.sort(key=lambda p: (p.span.start_ns, p.span.span_id))
    return FinishedTrace(TRACE_ID, tuple(placed), reason, reason == "ended", memory or {})


def shape(trace: FinishedTrace, *, fold_asgi: bool = True) -> ShapedTrace:
    return shape_trace(trace, project_of=lambda placed: ("team", "rag"), fold_asgi=fold_asgi)


def calls_of(trace: FinishedTrace, *, fold_asgi: bool = True) -> dict[int, dict[str, Value]]:
    """The encoded calls, decoded again, by the number of their span."""
    decoded = [msgspec.json.decode(call.encode()) for call in shape(trace, fold_asgi=fold_asgi).calls]
    return {int(call["id"], 16): call for call in decoded}


def encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def text_message(role: str, content: str, **more: Value) -> dict[str, Value]:
    return {"role": role, "parts": [{"type": "text", "content": content}], **more}


def chat(given: int | None = None, made: int | None = None, **attributes: Value) -> Attributes:
    """Attributes of a model call; dots are written as two underscores."""
    told: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}
    if given is not None:
        told["gen_ai.usage.input_tokens"] = given
    if made is not None:
        told["gen_ai.usage.output_tokens"] = made
    return told | {name.replace("__", "."): value for name, value in attributes.items()}


def told(facts: Facts) -> dict[str, Any]:
    """The fields that say something."""
    fields = ((name, getattr(facts, name)) for name in facts.__struct_fields__)
    return {
        name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
        for name, value in fields
        if value is not None
    }


def read_facts(attributes: Attributes, *, logs: tuple[LogRecord, ...] = (), **span: Any) -> dict[str, Any]:
    return told(read_span(make_span(1, attributes, **span), Scope("lib"), Resource(), logs))
