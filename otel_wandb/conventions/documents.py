"""What a retrieval found, in rank order, as `{"id"?, "content"?, "score"?, "metadata"?}`."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import items
from otel_wandb.conventions.facts import Json

_CONTENT: Final = ("content", "page_content", "text", "document")
_USUAL: Final = frozenset(("id", "content", "score", "metadata"))
_KNOWN: Final = frozenset(("id", "score", "metadata", *_CONTENT))


def read_documents(value: object) -> list[Json] | None:
    """The documents of a list; what else a document says goes to its metadata."""
    listed = items(value)
    return [_document(item) for item in listed if item is not None] or None if listed else None


def _document(item: object) -> Json:
    if not isinstance(item, dict):
        return {"content": item}
    if item.keys() == _USUAL and None not in item.values():
        return item
    document: Json = {}
    if (given := item.get("id")) is not None:
        document["id"] = given
    for name in _CONTENT:
        if (content := item.get(name)) is not None:
            document["content"] = content
            break
    if (score := item.get("score")) is not None:
        document["score"] = score
    metadata = item.get("metadata")
    extras = {k: v for k, v in item.items() if k not in _KNOWN and v is not None}
    if extras:
        metadata = {**metadata, **extras} if isinstance(metadata, dict) else extras | _named(metadata)
    if metadata:
        document["metadata"] = metadata
    return document


def _named(metadata: object) -> Json:
    return {} if metadata is None else {"metadata": metadata}
