"""A RAG service in miniature, for the benchmarks: one request, and three steps below it.

`BENCHMARK_TELEMETRY` says who watches it: `none`; `otel`, OpenTelemetry without an exporter; `otlp`, with
the official exporter over HTTP; `outside`, whoever has instrumented the process from outside; `weave`,
`@weave.op` on the handler and the steps. What is recorded is the same: question, documents and answer.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI

TELEMETRY: Final = os.environ.get("BENCHMARK_TELEMETRY", "none")
SPANS_A_REQUEST: Final = 4

_MODEL: Final = "gpt-4o-mini"
_MODEL_S: Final = 0.002
_TOPICS: Final = ("tower", "museum", "cathedral", "river", "bridge", "garden", "station", "market")
PASSAGES: Final = [
    f"The {topic} number {n} of the city is open to visitors from {8 + n % 4} in the morning on, "
    f"and a guided walk through it takes about {20 + n} minutes in summer."
    for n in range(6)
    for topic in _TOPICS
]

Step = Callable[..., Awaitable[Any]]
"""One step of a request."""


async def retrieve(question: str) -> list[dict[str, object]]:
    words = set(question.lower().split())
    scored = sorted(
        ((len(words & set(text.lower().split())), number) for number, text in enumerate(PASSAGES)),
        reverse=True,
    )
    return [{"id": f"doc-{n}", "score": score / 10, "content": PASSAGES[n]} for score, n in scored[:3]]


async def generate(question: str, documents: list[dict[str, object]]) -> str:
    await asyncio.sleep(_MODEL_S)
    return f"About {question!r}: {documents[0]['content']}"


async def respond(answer: str) -> str:
    return answer.strip().rstrip(".") + "."


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _describe_retrieval(documents: Any, question: str) -> dict[str, str | int]:
    return {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.retrieval.query.text": question,
        "gen_ai.retrieval.documents": json.dumps(documents),
        "gen_ai.request.top_k": 3,
    }


def _describe_generation(
    answer: Any, question: str, documents: list[dict[str, object]]
) -> dict[str, str | int]:
    system = "Answer from: " + " ".join(str(document["content"]) for document in documents)
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": _MODEL,
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": system}]),
        "gen_ai.input.messages": _message("user", question),
        "gen_ai.output.messages": _message("assistant", answer),
        "gen_ai.usage.input_tokens": len(system) // 4,
        "gen_ai.usage.output_tokens": len(answer) // 4,
    }


def _describe_response(answer: Any, text: str) -> dict[str, str | int]:
    return {"output.value": answer}


def _observed_by_spans(steps: dict[str, tuple[Step, Callable[..., dict[str, str | int]]]]) -> list[Step]:
    from opentelemetry import trace

    tracer = trace.get_tracer("benchmarks.service")

    def observed(name: str, step: Step, describe: Callable[..., dict[str, str | int]]) -> Step:
        async def run(*arguments: Any) -> Any:
            with tracer.start_as_current_span(name) as span:
                result = await step(*arguments)
                span.set_attributes(describe(result, *arguments))
                return result

        return run

    return [observed(name, step, describe) for name, (step, describe) in steps.items()]


def _set_up_opentelemetry(app: FastAPI) -> None:
    """What a service does that sets OpenTelemetry up in its code, with the defaults of its SDK."""
    from opentelemetry import metrics, trace
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    provider, readers = TracerProvider(), []
    if TELEMETRY == "otlp":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider(metric_readers=readers))
    # `otel-wandb run` leaves these two out by default.
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])


def make_app() -> FastAPI:
    app = FastAPI()
    steps: list[Step] = [retrieve, generate, respond]
    if TELEMETRY in ("otel", "otlp"):
        _set_up_opentelemetry(app)
    if TELEMETRY in ("otel", "otlp", "outside"):
        steps = _observed_by_spans(
            {
                "retrieval docs": (retrieve, _describe_retrieval),
                f"chat {_MODEL}": (generate, _describe_generation),
                "response": (respond, _describe_response),
            }
        )
    if TELEMETRY == "weave":
        import weave

        weave.init(os.environ["BENCHMARK_PROJECT"])
        steps = [weave.op(step) for step in steps]
    first, second, third = steps

    # A model of pydantic in its place would cost `@weave.op` another 8 ms of CPU on Python 3.11.
    async def chat(question: Annotated[str, Body(embed=True)]) -> dict[str, object]:
        documents = await first(question)
        answer = await third(await second(question, documents))
        return {"answer": answer, "sources": [document["id"] for document in documents], **_trace()}

    app.post("/chat")(weave.op(chat) if TELEMETRY == "weave" else chat)
    return app


def _trace() -> dict[str, object]:
    """The trace of the request, for those who wait for it elsewhere."""
    if TELEMETRY != "outside":
        return {"trace_id": ""}
    from opentelemetry import trace

    return {"trace_id": f"{trace.get_current_span().get_span_context().trace_id:032x}"}


app = make_app()
