"""OpenLLMetry's instrumentation of OpenAI, with the attributes of 2025."""

import openai_cases
import stage

REQUIREMENTS = ["openai==1.82.0", "opentelemetry-instrumentation-openai==0.40.14", "OTLP", "setuptools<81"]
SPANS = {r"^openai\.chat": "chat", r"^openai\.embeddings": "embeddings"}
CASES = ["chat", "stream", "tools", "error", "embeddings"]

stage.provide_traces()
from opentelemetry.instrumentation.openai import OpenAIInstrumentor  # noqa: E402  # after the provider

OpenAIInstrumentor().instrument()
stage.run(openai_cases)
