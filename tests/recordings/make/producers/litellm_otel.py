"""LiteLLM's own OpenTelemetry callback."""

import json
import os
import time

import stage

REQUIREMENTS = ["litellm==1.110.2", "OTLP"]
SPANS = {r"^embeddings/": "embeddings", r"": "chat"}
CASES = ["chat", "stream", "tools", "error", "embeddings"]

os.environ["OTEL_EXPORTER"] = "otlp_http"
os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
os.environ["OTEL_ENDPOINT"] = f"{stage.OTLP_URL}/v1/traces"
os.environ["OTEL_SERVICE_NAME"] = "recordings"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402  # reads the environment

litellm.callbacks = ["otel"]
OPTIONS = {"api_base": f"{stage.MODEL_URL}/v1", "api_key": stage.KEY, "num_retries": 0}


def _flush() -> None:
    time.sleep(2)  # its callbacks run in a thread that nothing can wait for
    from opentelemetry import trace

    trace.get_tracer_provider().force_flush()


stage.at_the_end(_flush)


def chat() -> None:
    litellm.completion(
        model=f"openai/{stage.MODEL}",
        messages=[
            {"role": "system", "content": stage.SYSTEM},
            {"role": "user", "content": stage.CAPITAL},
        ],
        temperature=0.3,
        max_tokens=100,
        **OPTIONS,
    )


def stream() -> None:
    chunks = litellm.completion(
        model=f"openai/{stage.MODEL}",
        messages=[{"role": "user", "content": stage.CAPITAL}],
        stream=True,
        stream_options={"include_usage": True},
        **OPTIONS,
    )
    for _ in chunks:
        pass


def tools() -> None:
    messages = [{"role": "user", "content": stage.WEATHER}]
    call = {"model": f"openai/{stage.MODEL}", "tools": [stage.WEATHER_TOOL], **OPTIONS}
    message = litellm.completion(messages=messages, **call).choices[0].message
    (tool,) = message.tool_calls
    result = stage.get_weather(**json.loads(tool.function.arguments))
    messages += [message.model_dump(), {"role": "tool", "tool_call_id": tool.id, "content": result}]
    litellm.completion(messages=messages, **call)


def error() -> None:
    litellm.completion(
        model=f"openai/{stage.MODEL}", messages=[{"role": "user", "content": stage.TOO_MANY}], **OPTIONS
    )


def embeddings() -> None:
    litellm.embedding(
        model=f"openai/{stage.EMBEDDING_MODEL}", input=[d["content"] for d in stage.DOCUMENTS[:2]], **OPTIONS
    )


stage.run()
