"""OpenInference's instrumentation of Anthropic's client."""

import anthropic_cases
import stage

REQUIREMENTS = ["anthropic==2.13.0", "openinference-instrumentation-anthropic==3.1.0", "OTLP"]
SPANS = {r"^(anthropic\.)?messages\.create$": "chat"}
CASES = ["chat", "stream", "tools", "error"]

stage.provide_traces()
from openinference.instrumentation.anthropic import AnthropicInstrumentor  # noqa: E402  # after the provider

AnthropicInstrumentor().instrument()
stage.run(anthropic_cases)
