"""Databases by old and new names, and vector stores whose hits come as span events."""

from __future__ import annotations

import pytest

from otel_wandb.records import Attributes, Event, Value
from tests.genai_spans import START_NS, read_facts


def hit(name: str, attributes: Attributes) -> Event:
    return Event(START_NS, name, attributes)


def result(**told: Value) -> Event:
    return hit("db.query.result", {f"db.query.result.{name}": value for name, value in told.items()})


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "db.system.name": "postgresql",
            "db.namespace": "shop",
            "db.collection.name": "orders",
            "db.operation.name": "SELECT",
            "db.query.text": "SELECT 1",
            "db.response.returned_rows": 1,
        },
        {
            "db.system": "postgresql",
            "db.name": "shop",
            "db.sql.table": "orders",
            "db.operation": "SELECT",
            "db.statement": "SELECT 1",
            "db.response.returned_rows": 1,
        },
    ],
)
def test_a_query_by_new_and_old_names(attributes: Attributes) -> None:
    assert read_facts(attributes) == {
        "dialect": "db",
        "kind": "db",
        "inputs": {
            "system": "postgresql",
            "namespace": "shop",
            "collection": "orders",
            "operation": "SELECT",
            "query": "SELECT 1",
        },
        "outputs": {"returned_rows": 1},
    }


def test_a_query_of_chroma_is_a_retrieval() -> None:
    attributes: Attributes = {
        "db.system": "chroma",
        "db.operation": "query",
        "db.chroma.query.embeddings_count": 1,
        "db.chroma.query.n_results": 2,
        "db.chroma.query.where": "{'lang': 'en'}",
    }
    events = [
        hit("db.query.embeddings", {"db.query.embeddings.vector": "[0.1, 0.2, 0.3]"}),
        result(id="d1", distance=0.1, metadata='{"source":"a.md"}', document="330 metres."),
        result(id="d2", distance=0.4, document="A museum."),
    ]
    assert read_facts(attributes, events=events) == {
        "dialect": "db",
        "kind": "retrieval",
        "dimensions": 3,
        "top_k": 2,
        "documents": [
            {"id": "d1", "content": "330 metres.", "metadata": {"source": "a.md", "distance": 0.1}},
            {"id": "d2", "content": "A museum.", "metadata": {"distance": 0.4}},
        ],
        "inputs": {"system": "chroma", "operation": "query", "filter": {"lang": "en"}},
        "rest": {"db.chroma.query.embeddings_count": 1},
    }


def test_other_operations_of_a_vector_store_are_database_calls() -> None:
    facts = read_facts({"db.system": "chroma", "db.operation": "add", "db.chroma.add.ids_count": 3})
    assert facts["kind"] == "db"
    assert facts["rest"] == {"db.chroma.add.ids_count": 3}


def test_matches_of_pinecone_have_a_score_and_lose_their_vector() -> None:
    attributes: Attributes = {
        "db.system": "Pinecone",
        "pinecone.query.top_k": 1,
        "pinecone.query.namespace": "docs",
        "pinecone.query.filter": '{"lang":"en"}',
    }
    events = [result(id="d1", score=0.9, metadata="{'source': 'a.md'}", vector=[0.1, 0.2])]
    facts = read_facts(attributes, events=events)
    assert facts["documents"] == [{"id": "d1", "score": 0.9, "metadata": {"source": "a.md"}}]
    assert (facts["kind"], facts["top_k"]) == ("retrieval", 1)
    assert facts["inputs"] == {"system": "Pinecone", "collection": "docs", "filter": {"lang": "en"}}


def test_hits_of_milvus_hold_their_fields_in_an_entity() -> None:
    attributes: Attributes = {
        "db.system": "milvus",
        "db.operation": "search",
        "db.milvus.search.collection_name": "docs",
        "db.milvus.search.limit": 1,
        "db.milvus.search.filter": "lang == 'en'",
    }
    entity: Attributes = {
        "db.search.query.id": 0,
        "db.search.result.id": 7,
        "db.search.result.distance": "0.25",
        "db.search.result.entity": "{'text': '330 metres.', 'source': 'a.md'}",
    }
    facts = read_facts(attributes, events=[hit("db.search.result", entity)])
    assert facts["documents"] == [
        {
            "id": 7,
            "content": "330 metres.",
            "metadata": {"source": "a.md", "query": 0, "distance": 0.25},
        }
    ]
    assert (facts["kind"], facts["top_k"]) == ("retrieval", 1)
    rows = read_facts(attributes, events=[hit("db.query.result", {"id": 7, "text": "330 metres."})])
    assert rows["documents"] == [{"id": 7, "content": "330 metres."}]


@pytest.mark.parametrize(
    ("system", "top_k", "kind"), [("Qdrant", 2, "retrieval"), ("Qdrant", None, "db"), ("redis", 2, "db")]
)
def test_a_search_that_does_not_tell_what_it_found(system: str, top_k: int | None, kind: str) -> None:
    attributes: Attributes = {"db.system": system, "qdrant.search.collection_name": "docs"}
    if top_k:
        attributes["db.vector.query.top_k"] = top_k
    facts = read_facts(attributes)
    assert facts["kind"] == kind
    assert facts["inputs"] == {"system": system, "collection": "docs"}


def test_hits_on_a_span_of_another_dialect() -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.retrieval.query.text": "How tall?",
    }
    facts = read_facts(attributes, events=[result(id="d1", document="330 metres.")])
    assert (facts["query"], facts["documents"]) == ("How tall?", [{"id": "d1", "content": "330 metres."}])
