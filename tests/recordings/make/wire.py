"""What the model server and the modules of its APIs tell each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.recordings.make.answers import Answer, Asked, Tokens

Json = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A request in the terms of all APIs, as recordings are held against it."""

    form: str
    """Which of the API's endpoints."""

    model: str
    asked: Asked = field(default_factory=lambda: Asked([]))
    messages: list[Json] = field(default_factory=list)
    """`{"role", "text"?, "tool_calls"?: [{"name", "arguments"}]}`, the system's included."""

    params: dict[str, float] = field(default_factory=dict)
    stream: bool = False
    tells_usage: bool = True
    embeds: list[str] = field(default_factory=list)
    id_prefix: str = ""


class Embeddings(NamedTuple):
    vectors: list[list[float]]
    tokens: int


class Frames(NamedTuple):
    content_type: str
    frames: Iterator[bytes]


def no_embeddings(question: Question, embeddings: Embeddings) -> Json:
    """For APIs without embeddings."""
    raise NotImplementedError(question.form)


class Api(NamedTuple):
    """One API: which requests are its own, and how it says an answer."""

    name: str
    call_id_prefix: str
    """Before the digits of a tool call's id."""

    read: Callable[[str, Json, dict[str, str]], Question | None]
    say: Callable[[Question, Answer, str], Json]
    stream: Callable[[Question, Answer, str], Frames]
    fail: Callable[[Question, Answer], Json]
    embed: Callable[[Question, Embeddings], Json] = no_embeddings
    tokens_of: Callable[[Tokens], Tokens] = lambda tokens: tokens
    """The tokens that it reports, for those of an answer: `input` and `output` whole."""


def words_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(t for t in (words_of(part) for part in content) if t)
    if isinstance(content, dict):
        return words_of(content.get("text") or content.get("content") or "")
    return ""


def call_id(api: Api, response_id: str, number: int) -> str:
    """The id of a tool call of a response."""
    return f"{api.call_id_prefix}{response_id[-5:]}{number}"


def split_text(text: str) -> list[str]:
    """The text in a few pieces, as a stream brings it."""
    size = max(1, -(-len(text) // 4))
    return [text[at : at + size] for at in range(0, len(text), size)]
