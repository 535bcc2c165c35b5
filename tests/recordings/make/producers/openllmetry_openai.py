"""OpenLLMetry's instrumentation of OpenAI, newest release."""

import openai_cases
import stage

REQUIREMENTS = ["openai==2.54.0", "opentelemetry-instrumentation-openai==0.62.4", "OTLP"]
SPANS = {r"^openai\.(chat|response)": "chat", r"^openai\.embeddings": "embeddings"}
CASES = ["chat", "stream", "tools", "error", "embeddings", "responses"]

stage.provide_traces()
from opentelemetry.instrumentation.openai import OpenAIInstrumentor  # noqa: E402  # after the provider

OpenAIInstrumentor().instrument()
stage.run(openai_cases)
