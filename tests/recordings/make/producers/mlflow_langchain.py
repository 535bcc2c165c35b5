"""MLflow's tracing of LangChain."""

import os

import stage

REQUIREMENTS = [
    "langchain==1.5.2",
    "langchain-openai==1.7.4",
    "numpy",
    "langchain-community",
    "mlflow==3.17.2",
    "OTLP",
]
SPANS = {
    r"^ChatOpenAI": "chat",
    r"^VectorStoreRetriever": "retrieval",
    r"^get_weather": "tool",
    r"^(rag|LangGraph|agent)": "workflow",
    r"": "step",
}
CASES = ["rag", "stream", "tools", "error"]

os.environ.update(
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{stage.OTLP_URL}/v1/traces",
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
    OTEL_SERVICE_NAME="recordings",
    MLFLOW_ENABLE_ASYNC_TRACE_LOGGING="false",
)
import mlflow  # noqa: E402  # reads the environment

mlflow.langchain.autolog()


def _flush() -> None:
    from mlflow.tracing import provider

    mlflow.flush_trace_async_logging()
    provider.provider.get().force_flush()


stage.at_the_end(_flush)
import langchain_cases  # noqa: E402  # after the patches

stage.run(langchain_cases)
