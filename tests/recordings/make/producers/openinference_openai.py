"""OpenInference's instrumentation of OpenAI."""

import openai_cases
import stage

REQUIREMENTS = ["openai==2.54.0", "openinference-instrumentation-openai==0.1.66", "OTLP"]
SPANS = {r"^(ChatCompletion|Response)$": "chat", r"^CreateEmbeddings": "embeddings"}
CASES = ["chat", "stream", "tools", "error", "embeddings", "responses"]

stage.provide_traces()
from openinference.instrumentation.openai import OpenAIInstrumentor  # noqa: E402  # after the provider

OpenAIInstrumentor().instrument()
stage.run(openai_cases)
