"""A RAG service in FastAPI with the telemetry its authors would write: plain OpenTelemetry, nothing of W&B.

It notes what each request was, took and spent, for tests to compare with what charts say.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AnyValue
from starlette.types import Receive, Scope, Send

MODELS = ("shop-small", "shop-large")

service = FastAPI()
_tracer = trace.get_tracer("shop")
_meter = metrics.get_meter("shop")
_served = _meter.create_counter("shop.answers")
_open = _meter.create_up_down_counter("shop.carts")
_stock = _meter.create_gauge("shop.stock", unit="1")
_words = _meter.create_histogram("shop.answer.words", unit="{word}")
_first = _meter.create_histogram("gen_ai.client.operation.time_to_first_chunk", unit="s")


@dataclass
class Note:
    """What a request really was; the times are those that its spans have."""

    user: str
    version: str
    trace_id: str = ""
    status: int = 200
    end_ns: int = 0
    took_ms: float = 0.0
    spans_ms: dict[str, float] = field(default_factory=dict)
    input: int = 0
    cached: int = 0
    reasoning: int = 0
    output: int = 0
    model: str = ""


def _took_ms(span: trace.Span) -> float:
    """How long a span lasted that has ended."""
    assert isinstance(span, ReadableSpan)
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e6


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _retrieve(note: Note, question: str, work_ms: int) -> None:
    attributes = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "wares",
        "gen_ai.retrieval.query.text": question,
    }
    with _tracer.start_as_current_span(
        "retrieval wares", kind=SpanKind.CLIENT, attributes=attributes
    ) as span:
        time.sleep(work_ms / 4000)
    note.spans_ms["retrieval"] = _took_ms(span)


def _look_up(note: Note, fails: bool) -> None:
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "stock"}
    span = _tracer.start_span("execute_tool stock", attributes=attributes)
    try:
        with trace.use_span(span, end_on_exit=True):
            if fails:
                raise TimeoutError("the warehouse does not answer")
    finally:
        note.spans_ms["tool"] = _took_ms(span)


def _generate(note: Note, question: str, work_ms: int) -> str:
    answer = f"{question}? We have {work_ms} of them."
    attributes: dict[str, AnyValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "shop",
        "gen_ai.request.model": note.model,
        "gen_ai.response.model": note.model,
        "gen_ai.usage.input_tokens": note.input,
        "gen_ai.usage.cache_read.input_tokens": note.cached,
        "gen_ai.usage.output_tokens": note.output,
        "gen_ai.usage.reasoning.output_tokens": note.reasoning,
        "gen_ai.input.messages": _message("user", question),
        "gen_ai.output.messages": _message("assistant", answer),
    }
    name = f"chat {note.model}"
    with _tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes) as span:
        time.sleep(work_ms / 1000)
        _first.record(work_ms / 2000, {"gen_ai.operation.name": "chat", "gen_ai.request.model": note.model})
        span.add_event(
            "gen_ai.evaluation.result",
            {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 1 - work_ms / 1000},
        )
    note.spans_ms["chat"] = _took_ms(span)
    return answer


@service.post("/chat")
def chat(request: Request, user: str, question: str, work_ms: int, fails: bool = False) -> dict[str, str]:
    span = trace.get_current_span()
    span.set_attribute("user.id", user)
    note = Note(user, os.environ["VERSION"], f"{span.get_span_context().trace_id:032x}")
    request.state.note, request.state.span = note, span
    _retrieve(note, question, work_ms)
    try:
        _look_up(note, fails)
    except TimeoutError as error:
        note.status = 503
        raise HTTPException(503, "no stock") from error
    note.model = MODELS[work_ms % 2]
    note.input, note.cached, note.output, note.reasoning = 100 + work_ms, 10 + work_ms, 2 * work_ms, work_ms
    answer = _generate(note, question, work_ms)
    _served.add(1)
    _open.add(1)
    _open.add(-1)
    _stock.set(work_ms)
    _words.record(len(answer.split()))
    return {"answer": answer}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The service, watched from outside of all that instruments it."""
    state = scope.setdefault("state", {})
    await service(scope, receive, send)
    if "note" in state:
        note, span = state["note"], state["span"]
        note.took_ms, note.end_ns = _took_ms(span), span.end_time
        with Path(os.environ["NOTES"]).open("a") as notes:
            notes.write(json.dumps(asdict(note)) + "\n")
