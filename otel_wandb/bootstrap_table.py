"""The published instrumentations: what each is for, and which of them do the same.

Names are those of the package registry, in their canonical form; sources are OpenTelemetry's contrib
repositories, OpenInference and OpenLLMetry. Packages that tell of themselves without any (Pydantic AI,
Strands, Google ADK, Haystack's own tracer) are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Brand = Literal["opentelemetry", "openinference", "openllmetry"]
BRANDS: Final[tuple[Brand, ...]] = ("opentelemetry", "openinference", "openllmetry")

_OTEL: Final = "opentelemetry-instrumentation-"
_OPENINFERENCE: Final = "openinference-instrumentation-"


@dataclass(frozen=True, slots=True)
class Offer:
    """A package that instruments a subject."""

    package: str
    brand: Brand


@dataclass(frozen=True, slots=True)
class Subject:
    """What gets instrumented: if one of `libraries` is installed, and none of `unless`.

    Without libraries it is always there. Of the offers the first is chosen.
    """

    name: str
    libraries: tuple[str, ...]
    offers: tuple[Offer, ...]
    unless: tuple[str, ...] = ()


def _contrib(name: str, *libraries: str, package: str = "", unless: tuple[str, ...] = ()) -> Subject:
    offer = Offer(_OTEL + (package or name.lower()), "opentelemetry")
    return Subject(name, libraries or (name.lower(),), (offer,), unless)


def _model(
    name: str, library: str, *, otel: tuple[str, ...] = (), inference: str = "", llmetry: str = ""
) -> Subject:
    offers = [Offer(_OTEL + package, "opentelemetry") for package in otel]
    offers += [Offer(_OPENINFERENCE + inference, "openinference")] if inference else []
    offers += [Offer(_OTEL + llmetry, "openllmetry")] if llmetry else []
    return Subject(name, (library,), tuple(offers))


def _vectors(name: str, *libraries: str) -> Subject:
    return Subject(name, libraries, (Offer(_OTEL + name.lower(), "openllmetry"),))


_MODELS: Final = (
    _model("openai", "openai", otel=("genai-openai", "openai-v2"), inference="openai", llmetry="openai"),
    _model("anthropic", "anthropic", otel=("genai-anthropic",), inference="anthropic", llmetry="anthropic"),
    _model(
        "langchain", "langchain-core", otel=("genai-langchain",), inference="langchain", llmetry="langchain"
    ),
    _model(
        "llama-index",
        "llama-index-core",
        otel=("genai-llama-index",),
        inference="llama-index",
        llmetry="llamaindex",
    ),
    _model(
        "openai-agents",
        "openai-agents",
        otel=("genai-openai-agents",),
        inference="openai-agents",
        llmetry="openai-agents",
    ),
    _model("google-genai", "google-genai", otel=("google-genai",), inference="google-genai"),
    _model("smolagents", "smolagents", otel=("genai-smolagents",), inference="smolagents"),
    _model("mistralai", "mistralai", inference="mistralai", llmetry="mistralai"),
    _model("cohere", "cohere", inference="cohere", llmetry="cohere"),
    _model("groq", "groq", inference="groq", llmetry="groq"),
    _model("ollama", "ollama", inference="ollama", llmetry="ollama"),
    _model("together", "together", inference="together", llmetry="together"),
    _model("crewai", "crewai", inference="crewai", llmetry="crewai"),
    _model("litellm", "litellm", inference="litellm"),
    _model("dspy", "dspy", inference="dspy"),
    _model("agno", "agno", inference="agno"),
    _model("mcp", "mcp", inference="mcp", llmetry="mcp"),
)

_VECTORS: Final = (
    _vectors("Qdrant", "qdrant-client"),
    _vectors("ChromaDB", "chromadb"),
    _vectors("Pinecone", "pinecone", "pinecone-client"),
    _vectors("Weaviate", "weaviate-client"),
    _vectors("Milvus", "pymilvus"),
    _vectors("LanceDB", "lancedb"),
    _vectors("Marqo", "marqo"),
)

_SERVERS: Final = (
    _contrib("FastAPI"),
    _contrib("Starlette", unless=("fastapi",)),
    _contrib("ASGI", "asgiref", unless=("fastapi", "starlette", "django")),
    _contrib("Django"),
    _contrib("Flask"),
    _contrib("Falcon"),
    _contrib("Pyramid"),
    _contrib("Tornado", unless=("streamlit",)),
    _contrib("aiohttp server", "aiohttp", package="aiohttp-server"),
    _contrib("gRPC", "grpcio", package="grpc"),
)

_CLIENTS: Final = (
    _contrib("httpx"),
    _contrib("requests"),
    _contrib("urllib3", unless=("requests",)),
    _contrib("aiohttp client", "aiohttp", package="aiohttp-client"),
    _contrib("botocore", "botocore", "aiobotocore"),
    _contrib("Redis"),
    _contrib("pymongo"),
    _contrib("psycopg"),
    _contrib("psycopg2", "psycopg2", "psycopg2-binary"),
    _contrib("asyncpg"),
    _contrib("aiopg"),
    _contrib("SQLAlchemy"),
    _contrib("PyMySQL"),
    _contrib("mysqlclient"),
    _contrib("mysql", "mysql-connector-python"),
    _contrib("pymemcache"),
    _contrib("cassandra", "cassandra-driver", "scylla-driver"),
)

_QUEUES: Final = (
    _contrib("Celery"),
    _contrib("kafka-python"),
    _contrib("confluent-kafka"),
    _contrib("aiokafka"),
    _contrib("pika"),
    _contrib("aio-pika"),
)

_THREADS: Final = Subject("threads", (), (Offer(_OTEL + "threading", "opentelemetry"),))
"""What is begun in a thread belongs to the trace of who began it."""

SUBJECTS: Final = (*_MODELS, *_VECTORS, *_SERVERS, *_CLIENTS, *_QUEUES, _THREADS)
"""All that is known."""

CONTRIB: Final = frozenset(
    offer.package for subject in (*_SERVERS, *_CLIENTS, *_QUEUES, _THREADS) for offer in subject.offers
)
"""Packages that are released together with `opentelemetry-instrumentation` and fit only its own version."""
