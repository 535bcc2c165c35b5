"""Databases and vector stores, by the stable names and by those before them.

A search of a vector store is a retrieval. Its hits come as span events in rank order (`db.query.result`,
`db.search.result`: OpenLLMetry); the distance that they give is no score, since smaller is nearer. Vectors
are cut.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import count, number, parse, structure
from otel_wandb.conventions.documents import read_documents
from otel_wandb.conventions.facts import Facts, Json
from otel_wandb.conventions.table import Dialect, Moment, row
from otel_wandb.records import Span

_SYSTEMS: Final = ("db.system.name", "db.system")
_SEARCHES: Final = (
    "query",
    "search",
    "similarity_search",
    "query_points",
    "search_groups",
    "hybrid_search",
    "recommend",
    "discover",
    "near_text",
    "near_vector",
)
_QDRANT: Final = ("search", "search_batch", "query", "upsert", "upload_collection", "upload_points", "add")
_MILVUS: Final = ("search", "query", "get", "insert", "upsert", "delete", "create_collection")


def _settle(facts: Facts, span: Span) -> None:
    told = facts.inputs or {}
    if facts.kind is None and "system" in told:
        is_search = facts.top_k is not None or told.get("operation") in _SEARCHES
        facts.kind = "retrieval" if facts.documents is not None or (is_search and _is_vector(told)) else "db"


_VECTOR_STORES: Final = frozenset(
    (
        *("chroma", "chromadb", "pinecone", "qdrant", "milvus", "weaviate", "lancedb", "marqo"),
        *("vespa", "pgvector", "faiss", "turbopuffer", "vald"),
    )
)


def _is_vector(told: Json) -> bool:
    return str(told["system"]).lower() in _VECTOR_STORES


def _hit(moment: Moment) -> Json:
    """The event's names without their prefix; a Milvus row comes without one."""
    told: Json = {}
    for key, value in moment.attributes.items():
        name = key.removeprefix(f"{moment.name}.")
        if name == "vector" or value is None:
            continue
        told["query" if key == "db.search.query.id" else name] = value
    for name in ("metadata", "entity"):
        if isinstance(told.get(name), str):
            told[name] = parse(told[name])
            if told[name] in (None, "None"):
                del told[name]
    if isinstance(distance := told.get("distance"), str):
        told["distance"] = number(distance)  # Milvus
    if isinstance(entity := told.pop("entity", None), dict):
        told = {**entity, **told}
    elif entity is not None:
        told["entity"] = entity
    return told


def _read_hit(moment: Moment, facts: Facts) -> None:
    documents = read_documents([_hit(moment)])
    if documents is not None:
        facts.documents = [*(facts.documents or ()), *documents]


def _read_vector(moment: Moment, facts: Facts) -> None:
    """Of the vector that was searched for only its size is of use to a reader."""
    vector = parse(next((v for k, v in moment.attributes.items() if k.endswith(".vector")), None))
    if isinstance(vector, (list, tuple)):
        facts.dimensions = len(vector)


DIALECT: Final = Dialect(
    name="db",
    rank=80,
    rows=(
        row("inputs.system", *_SYSTEMS),
        row("inputs.namespace", "db.namespace", "db.name", "db.redis.database_index"),
        row(
            "inputs.collection",
            *("db.collection.name", "db.sql.table", "db.mongodb.collection", "db.cassandra.table"),
            *("db.cosmosdb.container", "db.chroma.query.segment._query.collection_id"),
            *(f"db.milvus.{name}.collection_name" for name in _MILVUS),
            *(f"qdrant.{name}.collection_name" for name in _QDRANT),
            "pinecone.query.namespace",
        ),
        row("inputs.operation", "db.operation.name", "db.operation"),
        row("inputs.summary", "db.query.summary"),
        row("inputs.query", "db.query.text", "db.statement"),
        row("query", "db.marqo.search.query"),
        row(
            "top_k",
            *("db.vector.query.top_k", "db.chroma.query.n_results", "pinecone.query.top_k"),
            *("db.milvus.search.limit", "db.milvus.query.limit"),
            decode=count,
        ),
        row(
            "inputs.filter",
            *("db.chroma.query.where", "db.chroma.get.where", "db.chroma.delete.where"),
            *("db.milvus.search.filter", "db.milvus.query.filter", "db.milvus.delete.filter"),
            "pinecone.query.filter",
            decode=structure,
        ),
        row("inputs.filter_document", "db.chroma.query.where_document", decode=structure),
        row("outputs.returned_rows", "db.response.returned_rows", decode=count),
        row("outputs.status_code", "db.response.status_code"),
    ),
    marks=_SYSTEMS,
    moments={
        "db.query.result": _read_hit,
        "db.search.result": _read_hit,
        "db.query.embeddings": _read_vector,
        "db.search.embeddings": _read_vector,
    },
    settle=_settle,
)
