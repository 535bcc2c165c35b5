"""OpenInference's instrumentations of LangChain and of OpenAI's client below it, which knows no parent."""

import langchain_cases
import stage

REQUIREMENTS = [
    "langchain==1.5.2",
    "langchain-openai==1.7.4",
    "numpy",
    "openinference-instrumentation-langchain==0.1.80",
    "openinference-instrumentation-openai==0.1.66",
    "OTLP",
]
SPANS = {
    r"^(ChatOpenAI|ChatCompletion)$": "chat",
    r"^CreateEmb": "embeddings",
    r"^VectorStoreRetriever$": "retrieval",
    r"^get_weather$": "tool",
    r"^(rag|LangGraph|agent)$": "workflow",
    r"": "step",
}
CASES = ["rag", "stream", "tools", "error"]

stage.provide_traces()
from openinference.instrumentation.langchain import LangChainInstrumentor  # noqa: E402  # after the provider
from openinference.instrumentation.openai import OpenAIInstrumentor  # noqa: E402

LangChainInstrumentor().instrument()
OpenAIInstrumentor().instrument()
stage.run(langchain_cases)
