"""OpenInference (`openinference.span.kind`, `llm.*`, `retrieval.*`): Arize's conventions for many frameworks.

https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md. `llm.model_name` is the
model that answered where the producer knows it, else the one asked for. `input.value` and `output.value` hold
the framework's own form of it all; they are read for what no other key says, and given up where they only
repeat it.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Final

from otel_wandb.conventions.decoding import count, mapping, parse, strings, structure, text
from otel_wandb.conventions.documents import read_documents
from otel_wandb.conventions.facts import Json, Kind
from otel_wandb.conventions.genai import provider
from otel_wandb.conventions.indexed_messages import (
    members,
    read_completions,
    read_nested_choices,
    read_nested_messages,
    read_prompts,
)
from otel_wandb.conventions.openinference_bodies import settle
from otel_wandb.conventions.scores import Scope, read_annotations
from otel_wandb.conventions.table import Dialect, row, words
from otel_wandb.conventions.tools import read_tools

_KINDS: Final[dict[str, Kind]] = {
    "LLM": "chat",
    "EMBEDDING": "embeddings",
    "CHAIN": "workflow",
    "RETRIEVER": "retrieval",
    "RERANKER": "rerank",
    "TOOL": "tool",
    "AGENT": "agent",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluation",
    "PROMPT": "other",
    "DECISION": "other",
    "UNKNOWN": "other",
}
_PROVIDERS: Final = {"mistralai": "mistral_ai", "xai": "x_ai", "vertexai": "gcp.vertex_ai"}
_NO_PARAMS: Final = frozenset(
    (
        *("model", "model_name", "_type", "messages", "input", "prompt", "tools", "functions"),
        *("instructions", "id", "created_at", "completed_at", "metadata"),  # of a response, given whole
        *("context_window", "num_output", "is_chat_model"),  # what LlamaIndex knows of the model
        *("is_function_calling_model", "system_role"),
    )
)
_PARAM_NAMES: Final = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "max_tokens_to_sample": "max_tokens",
    "maxTokens": "max_tokens",
    "topP": "top_p",
    "stop_sequences": "stop",
    "stopSequences": "stop",
}


def _provider(value: object) -> object | None:
    name = provider(value)
    return _PROVIDERS.get(name, name) if name else None


@lru_cache(maxsize=256)
def _opened(given: str) -> Json:
    return mapping(given) or {}


def _request(value: object) -> Json:
    """The parameters of the request, with the model."""
    return _opened(value) if isinstance(value, str) else mapping(value) or {}


def _params(value: object) -> Json | None:
    told = _request(value)
    given = {_PARAM_NAMES.get(k, k): v for k, v in told.items() if k not in _NO_PARAMS and v is not None}
    return given or None


def _model(value: object) -> str | None:
    told = _request(value)
    if "created_at" in told:
        return None  # the response with the model that answered, not the request (OpenAI Agents)
    return text(told.get("model") or told.get("model_name"))


def _tools(tree: object) -> object | None:
    tools = [item.get("tool", item) if isinstance(item, dict) else item for item in members(tree)]
    return read_tools([t.get("json_schema", t) if isinstance(t, dict) else t for t in tools])


def _documents(tree: object) -> list[Json] | None:
    documents = [item.get("document", item) if isinstance(item, dict) else item for item in members(tree)]
    return read_documents([_with_metadata(document) for document in documents])


def _with_metadata(document: object) -> object:
    if isinstance(document, dict) and isinstance(document.get("metadata"), str):
        return {**document, "metadata": parse(document["metadata"])}
    return document


def _embeddings(tree: object) -> list[Json]:
    told = (item.get("embedding", item) if isinstance(item, dict) else item for item in members(tree))
    return [item if isinstance(item, dict) else {} for item in told]


def _texts(tree: object) -> list[object] | None:
    texts = [embedding.get("text") for embedding in _embeddings(tree)]
    return texts if any(given is not None for given in texts) else None


def _vectors(tree: object) -> list[object]:
    return [embedding["vector"] for embedding in _embeddings(tree) if embedding.get("vector") is not None]


def _vector_count(tree: object) -> int | None:
    return len(_vectors(tree)) or None


def _dimensions(tree: object) -> int | None:
    first = next(iter(_vectors(tree)), None)
    vector = parse(first)
    return len(vector) if isinstance(vector, (list, tuple)) else None


def _nothing(value: object) -> None:
    """What tells nothing that the value which it describes does not."""


def _tokens(part: str) -> str:
    return f"llm.token_count.{part}"


_FEEDBACK: Final[tuple[tuple[str, Scope], ...]] = (
    ("annotations", "span"),
    ("evaluations", "span"),
    ("trace.annotations", "trace"),
    ("trace.evaluations", "trace"),
    ("session.annotations", "session"),
    ("session.evaluations", "session"),
)
"""https://github.com/Arize-ai/openinference/blob/main/spec/annotations.md"""

_MODEL_NAMES: Final = ("llm.model_name", "embedding.model_name", "reranker.model_name")

_ROWS: Final = (
    row("kind", "openinference.span.kind", decode=words(_KINDS)),
    row("provider", "llm.provider", "llm.system", decode=_provider),
    row("model", "llm.request.model_name"),
    row("model", "llm.invocation_parameters", "embedding.invocation_parameters", decode=_model),
    row("response_model", "llm.response.model_name", *_MODEL_NAMES),
    row("params", "llm.invocation_parameters", "embedding.invocation_parameters", decode=_params),
    row("finish_reasons", "llm.finish_reason", decode=strings),
    row("messages", "llm.input_messages.#", decode=read_nested_messages),
    row("messages", "llm.prompts.#", "llm.prompts", decode=read_prompts),
    row("choices", "llm.output_messages.#", decode=read_nested_choices),
    row("choices", "llm.choices.#", decode=read_completions),
    row("tools", "llm.tools.#", decode=_tools),
    row("usage.input_tokens", _tokens("prompt"), decode=count),
    row("usage.output_tokens", _tokens("completion"), decode=count),
    row("usage.total_tokens", _tokens("total"), decode=count),
    row(
        "usage.cache_read_input_tokens",
        _tokens("prompt_details.cache_read"),
        _tokens("prompt_details.cache_input"),
        decode=count,
    ),
    row("usage.cache_creation_input_tokens", _tokens("prompt_details.cache_write"), decode=count),
    row("usage.audio_input_tokens", _tokens("prompt_details.audio"), decode=count),
    row("usage.reasoning_tokens", _tokens("completion_details.reasoning"), decode=count),
    row("usage.audio_output_tokens", _tokens("completion_details.audio"), decode=count),
    row("texts", "embedding.embeddings.#", decode=_texts),
    row("embedding_count", "embedding.embeddings.#", decode=_vector_count),
    row("dimensions", "embedding.embeddings.#", decode=_dimensions),
    row("query", "reranker.query"),
    row("top_k", "reranker.top_k", decode=count),
    row("documents", "retrieval.documents.#", "reranker.output_documents.#", decode=_documents),
    row("inputs.documents", "reranker.input_documents.#", decode=_documents),
    row("inputs.prompt_template", "llm.prompt_template.template"),
    row("inputs.prompt_variables", "llm.prompt_template.variables", decode=structure),
    row("inputs.prompt_version", "llm.prompt_template.version"),
    row("tool.name", "tool.name", "tool_call.function.name"),
    row("tool.call_id", "tool_call.id", "tool.id"),
    row("tool.description", "tool.description"),
    row("arguments", "tool_call.function.arguments", decode=structure),
    row("agent.name", "agent.name"),
    row("tags", "tag.tags", decode=strings),
    row("metadata", "metadata", decode=mapping),
    row("metadata.mime_type", "input.mime_type", "output.mime_type", decode=_nothing),
    *(
        row(f"scores.{prefix}", f"{prefix}.#", decode=partial(read_annotations, scope))
        for prefix, scope in _FEEDBACK
    ),
)


DIALECT: Final = Dialect(
    name="openinference",
    rank=40,
    rows=_ROWS,
    marks=(
        "openinference.span.kind",
        "llm.input_messages.",
        "llm.output_messages.",
        "llm.model_name",
        "llm.invocation_parameters",
        "llm.token_count.",
        "embedding.embeddings.",
        "retrieval.documents.",
        "reranker.",
        "tag.tags",
        *(f"{prefix}.0.{prefix.rsplit('.', 1)[-1][:-1]}." for prefix, _ in _FEEDBACK),
    ),
    settle=settle,
)
