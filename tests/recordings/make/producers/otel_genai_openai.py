"""OpenTelemetry's own instrumentation of OpenAI, content on spans and in log records."""

import os

import openai_cases
import stage

REQUIREMENTS = ["openai==2.54.0", "opentelemetry-instrumentation-genai-openai==1.3b0", "OTLP"]
SPANS = {r"^chat ": "chat", r"^embeddings ": "embeddings"}
CASES = ["chat", "stream", "tools", "error", "embeddings", "responses"]

os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_AND_EVENT"
stage.provide_traces(logs=True)
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor  # noqa: E402  # reads the environment

OpenAIInstrumentor().instrument()
stage.run(openai_cases)
