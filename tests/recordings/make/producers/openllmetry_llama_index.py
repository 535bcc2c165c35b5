"""OpenLLMetry's instrumentation of LlamaIndex, without one of the client below it."""

import llama_index_cases
import stage

REQUIREMENTS = [
    "llama-index-core",
    "llama-index-llms-openai",
    "llama-index-embeddings-openai",
    "opentelemetry-instrumentation-llamaindex==0.62.4",
    "OTLP",
]
SPANS = {
    r"Embedding": "embeddings",
    r"Retriever\.": "retrieval",
    r"Tool": "tool",
    r"^RetrieverQueryEngine": "workflow",
    r"": "any",
}
CASES = ["rag", "tools"]

stage.provide_traces()
from opentelemetry.instrumentation.llamaindex import LlamaIndexInstrumentor  # noqa: E402  # after the provider

LlamaIndexInstrumentor().instrument()
stage.run(llama_index_cases)
