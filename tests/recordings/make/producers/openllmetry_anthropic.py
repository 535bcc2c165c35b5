"""OpenLLMetry's instrumentation of Anthropic's client."""

import anthropic_cases
import stage

REQUIREMENTS = ["anthropic==2.13.0", "opentelemetry-instrumentation-anthropic==0.62.4", "OTLP"]
SPANS = {r"^anthropic\.|^chat ": "chat"}
CASES = ["chat", "stream", "tools", "error"]

stage.provide_traces()
from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor  # noqa: E402  # after the provider

AnthropicInstrumentor().instrument()
stage.run(anthropic_cases)
