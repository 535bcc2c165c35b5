"""Who sells a model under which name: providers and model ids as telemetry spells them, as data.

The ids on the right are those of `genai-prices`. A word that is in none of the tables says no more than none.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

PROVIDERS: Final[dict[str, str]] = {
    "openai": "openai",
    "azure": "azure",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "az.ai.openai": "azure",
    "az.ai.inference": "azure",
    "azure_ai": "azure",
    "azure-openai": "azure",
    "azure_openai": "azure",
    "anthropic": "anthropic",
    "aws": "aws",
    "aws.bedrock": "aws",
    "aws_bedrock": "aws",
    "amazon": "aws",
    "amazon-bedrock": "aws",
    "amazon_bedrock": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gcp.gen_ai": "google",
    "gemini": "google",
    "google": "google",
    "google_genai": "google",
    "google-genai": "google",
    "google_vertexai": "google",
    "google-gla": "google",
    "google-vertex": "google",
    "vertex": "google",
    "vertexai": "google",
    "vertex_ai": "google",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "mistral": "mistral",
    "mistralai": "mistral",
    "mistral_ai": "mistral",
    "deepseek": "deepseek",
    "groq": "groq",
    "perplexity": "perplexity",
    "x_ai": "x-ai",
    "x-ai": "x-ai",
    "xai": "x-ai",
    "moonshot": "moonshotai",
    "moonshotai": "moonshotai",
    "moonshot_ai": "moonshotai",
    "voyage": "voyageai",
    "voyageai": "voyageai",
    "fireworks": "fireworks",
    "fireworks_ai": "fireworks",
    "together": "together",
    "togetherai": "together",
    "together_ai": "together",
    "openrouter": "openrouter",
    "cerebras": "cerebras",
    "databricks": "databricks",
    "cloudflare": "cloudflare",
    "github_copilot": "github-copilot",
    "github-copilot": "github-copilot",
    "minimax": "minimax",
    "novita": "novita",
    "zai": "zai",
    "zhipuai": "zhipuai",
}

NOT_SOLD: Final = frozenset(
    {
        "vllm",
        "hosted_vllm",
        "ollama",
        "ollama_chat",
        "llama.cpp",
        "llama_cpp",
        "llamacpp",
        "llamafile",
        "lmstudio",
        "lm_studio",
        "localai",
        "sglang",
        "tgi",
        "text-generation-inference",
        "tensorrt-llm",
        "triton",
        "nvidia_nim",
        "mlx",
        "huggingface",
        "hugging_face",
        "transformers",
        "sentence_transformers",
        "sentence-transformers",
        "fastembed",
        "xinference",
        "infinity",
        "docker_model_runner",
        "local",
        "ibm.watsonx.ai",
        "watsonx",
    }
)
"""Software to serve a model with, and sellers of whom there are no prices: what they serve is not priced."""

CLOSED_VENDORS: Final = ("anthropic", "openai", "google", "x-ai", "cohere", "perplexity", "voyageai")
"""Whose models are sold by name and cannot be downloaded: their ids are enough, whoever made the span."""

_MAKERS: Final = {"claude": "anthropic"}
"""Of a model that several of these sell, the one who made it."""

OPEN_VENDORS: Final = frozenset({"mistral", "deepseek", "moonshotai", "minimax", "zai", "zhipuai"})
"""Whose models can be downloaded, under ids that begin with the vendor."""

_OPEN_WEIGHTS: Final = re.compile(
    r"gpt-oss|gemma|grok-[12](?!\d)|c4ai|\baya\b|command-r|r1-1776|:(?!\d{1,3}$)"
)
"""Models of these vendors that anyone may serve, and ids with a tag, as local servers write them."""

_BEDROCK_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:bedrock:[^:]*:[^:]*:(?:foundation-model|inference-profile)/(.+)"
)
_BEDROCK_ID: Final = re.compile(
    r"(?:(?:us|us-gov|eu|apac|au|ca|jp|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|openai|qwen|writer)\.[a-z0-9][^/]*"
)
_RESOURCE: Final = re.compile(r"(?:.*/)?models/([^/]+)")


@lru_cache(maxsize=1024)
def find_provider(word: str) -> str | None:
    """The provider's id; empty for one that is not priced, None where the word tells nothing.

    Of `openai.chat` (AI SDK) the first part counts.
    """
    word = word.strip().lower()
    for name in (word, word.partition(".")[0]):
        if name in PROVIDERS:
            return PROVIDERS[name]
        if name in NOT_SOLD:
            return ""
    return None


def find_offers(provider: str | None, model: str) -> list[tuple[str, str]]:
    """(provider, model) under which the model may be sold, in the order to try; empty if it is not.

    The rule: the provider that the span names sells it, by the whole id or by what follows on the provider
    in it. `openai` is also what its client says of any server that speaks its language, so there a provider
    in the id (`azure/…`) is believed, and models that OpenAI gives away are not priced. Without a provider,
    the one in the id counts, and ids of the forms that only Bedrock has; else only vendors who keep their
    models to themselves (`CLOSED_VENDORS`, of which the caller wants exactly one). A provider in the id is
    believed if it is one of these or sells what others made: `mistralai/…` may be a download. What a server
    of one's own serves has no price therefore, unless it takes the very name of a model that is sold.
    """
    model = model.strip().lower()
    seller = find_provider(provider) if provider else None
    prefix, slash, rest = model.partition("/")
    named = find_provider(prefix) if slash else None
    if seller == "" or named == "":
        return []
    arn = _BEDROCK_ARN.fullmatch(model)
    if arn is not None:
        return [("aws", arn[1])]
    if seller is None and named is None:
        return _find_vendors(model)
    if seller in (None, "openai") and named not in (None, "openai"):
        told = named in CLOSED_VENDORS or named not in OPEN_VENDORS
        return [] if not told or _is_given_away(named, rest) else _spell(named, rest)
    seller = seller or named
    if seller == "openai" and _is_given_away(seller, model):
        return []
    return [*_spell(seller, model), *(_spell(seller, rest) if named == seller else ())]


def _spell(seller: str | None, model: str) -> list[tuple[str, str]]:
    resource = _RESOURCE.fullmatch(model)
    names = (model,) if resource is None else (model, resource[1])
    return [(seller, name) for name in names if seller]


def _find_vendors(model: str) -> list[tuple[str, str]]:
    if _BEDROCK_ID.fullmatch(model):
        return [("aws", model)]
    resource = _RESOURCE.fullmatch(model)
    if resource is not None:
        model = resource[1]
    makers = [maker for word, maker in _MAKERS.items() if word in model] or CLOSED_VENDORS
    return [(vendor, model) for vendor in makers if model and not _is_given_away(vendor, model)]


def _is_given_away(seller: str | None, model: str) -> bool:
    fine_tuned = model.startswith("ft:")
    return seller in CLOSED_VENDORS and not fine_tuned and bool(_OPEN_WEIGHTS.search(model))
