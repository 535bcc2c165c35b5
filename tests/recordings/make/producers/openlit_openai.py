"""OpenLIT's instrumentation of OpenAI."""

import openai_cases
import stage

REQUIREMENTS = ["openai==2.54.0", "openlit==1.45.0"]
SPANS = {r"^chat ": "chat", r"^embeddings ": "embeddings", r"^(GET|POST)": "http"}
CASES = ["chat", "stream", "tools", "error", "embeddings"]

import openlit  # noqa: E402  # the constants first

openlit.init(otlp_endpoint=stage.OTLP_URL, application_name="recordings", disable_metrics=True)


def _flush() -> None:
    from opentelemetry import trace

    trace.get_tracer_provider().force_flush()


stage.at_the_end(_flush)
stage.run(openai_cases)
