"""OpenInference's instrumentation of LangChain: a RAG chain, an agent, a stream, a failure."""

import langchain_cases
import stage

REQUIREMENTS = [
    "langchain==1.5.2",
    "langchain-openai==1.7.4",
    "numpy",
    "openinference-instrumentation-langchain==0.1.80",
    "OTLP",
]
SPANS = {
    r"^ChatOpenAI$": "chat",
    r"^VectorStoreRetriever$": "retrieval",
    r"^get_weather$": "tool",
    r"^(rag|LangGraph|agent)$": "workflow",
    r"": "step",
}
CASES = ["rag", "stream", "tools", "error"]

stage.provide_traces()
from openinference.instrumentation.langchain import LangChainInstrumentor  # noqa: E402  # after the provider

LangChainInstrumentor().instrument()
stage.run(langchain_cases)
