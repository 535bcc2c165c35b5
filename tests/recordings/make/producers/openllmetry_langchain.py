"""OpenLLMetry's instrumentation of LangChain."""

import langchain_cases
import stage

REQUIREMENTS = [
    "langchain==1.5.2",
    "langchain-openai==1.7.4",
    "numpy",
    "opentelemetry-instrumentation-langchain==0.62.4",
    "OTLP",
]
SPANS = {
    r"^(chat |ChatOpenAI\.chat)": "chat",
    r"VectorStoreRetriever|vector_db_retrieve|^retrieve": "retrieval",
    r"get_weather": "tool",
    r"^(rag|LangGraph|agent)\.|^invoke_agent (rag|LangGraph|agent)": "workflow",
    r"": "step",
}
CASES = ["rag", "stream", "tools", "error"]

stage.provide_traces()
from opentelemetry.instrumentation.langchain import LangchainInstrumentor  # noqa: E402  # after the provider

LangchainInstrumentor().instrument()
stage.run(langchain_cases)
