"""OpenInference's instrumentation of LlamaIndex."""

import llama_index_cases
import stage

REQUIREMENTS = [
    "llama-index-core",
    "llama-index-llms-openai",
    "llama-index-embeddings-openai",
    "openinference-instrumentation-llama-index==4.6.1",
    "OTLP",
]
SPANS = {
    r"^OpenAI\.(a|stream_)?chat$|^OpenAI\.predict$": "chat",
    r"^OpenAI\._prepare": "any",
    r"^OpenAIEmbedding": "embeddings",
    r"^VectorIndexRetriever": "retrieval",
    r"^FunctionTool": "tool",
    r"^RetrieverQueryEngine\.query$": "workflow",
    r"^FunctionAgent\.run$": "agent",
    r"": "step",
}
CASES = ["rag", "chat", "stream", "tools", "error"]

stage.provide_traces()
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor  # noqa: E402  # after the provider

LlamaIndexInstrumentor().instrument()
stage.run(llama_index_cases)
