"""Logfire's instrumentation of OpenAI."""

import openai_cases
import stage

REQUIREMENTS = ["openai==2.54.0", "logfire==5.4.0", "OTLP"]
SPANS = {r"^(Chat Completion|Responses API|streaming response)": "chat", r"^Embedding": "embeddings"}
CASES = ["chat", "stream", "tools", "error", "embeddings", "responses"]

import logfire  # noqa: E402  # the constants first
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402

logfire.configure(
    send_to_logfire=False,
    console=False,
    service_name="recordings",
    additional_span_processors=[SimpleSpanProcessor(OTLPSpanExporter(f"{stage.OTLP_URL}/v1/traces"))],
    metrics=False,
)
logfire.instrument_openai()
stage.at_the_end(logfire.shutdown)
stage.run(openai_cases)
