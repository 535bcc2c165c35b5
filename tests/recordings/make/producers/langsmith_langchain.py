"""LangChain's own tracing to LangSmith, in its OpenTelemetry mode."""

import os

import stage

REQUIREMENTS = ["langchain==1.5.2", "langchain-openai==1.7.4", "numpy", "langsmith[otel]==0.14.17", "OTLP"]
SPANS = {
    r"^ChatOpenAI$": "chat",
    r"^VectorStoreRetriever$": "retrieval",
    r"^get_weather$": "tool",
    r"^(rag|LangGraph|agent)$": "workflow",
    r"": "step",
}
CASES = ["rag", "stream", "tools", "error"]

os.environ.update(
    LANGSMITH_OTEL_ENABLED="true",
    LANGSMITH_OTEL_ONLY="true",
    LANGSMITH_TRACING="true",
    LANGSMITH_ENDPOINT=stage.OTLP_URL,
    LANGSMITH_API_KEY=stage.KEY,
)


def _flush() -> None:
    import langchain_core.tracers.langchain
    from langsmith.run_trees import get_cached_client

    get_cached_client().flush()
    langchain_core.tracers.langchain.wait_for_all_tracers()


stage.at_the_end(_flush)  # before the provider is shut down
stage.provide_traces()
import langchain_cases  # noqa: E402  # reads the environment

stage.run(langchain_cases)
