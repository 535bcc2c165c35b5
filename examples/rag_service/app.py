"""A small RAG service: it answers questions about otel-wandb from otel-wandb's own documentation.

There is no line about W&B in it. FastAPI, the HTTP client and the OpenAI client are instrumented from outside
by published OpenTelemetry packages; only the retriever, which nobody else knows, opens a span of its own.

    otel-wandb run -- uvicorn app:app
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import bm25s
import openai
from fastapi import FastAPI, Header, HTTPException, Query
from fastapi.responses import StreamingResponse
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, Field

ROOT = Path(__file__).resolve().parents[2]
MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
INSTRUCTIONS = "Answer in one or two sentences, from these documents only."

tracer = trace.get_tracer("rag_service.retriever")
model_client = openai.AsyncOpenAI(max_retries=1, timeout=30.0)
app = FastAPI(title="rag-service")


class Retriever:
    """Ranks the sections of the documentation by BM25.

    By bm25s: maintained, and NumPy is all it needs; rank-bm25 had its last release in 2022.
    """

    def __init__(self, root: Path) -> None:
        paths = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
        self._sections = [section for path in paths for section in _split(path.name, path.read_text("utf-8"))]
        self._index = bm25s.BM25()
        self._index.index([_words(section["content"]) for section in self._sections], show_progress=False)

    def search(self, query: str, top_k: int) -> list[dict[str, Any]]:
        """The best sections, best first: id, score and content of each."""
        with tracer.start_as_current_span(
            "retrieval documentation",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "retrieval",
                "gen_ai.data_source.id": "documentation",
                "gen_ai.retrieval.query.text": query,
                "gen_ai.retrieval.top_k": top_k,
            },
        ) as span:
            found = self._rank(query, top_k)
            span.set_attribute("gen_ai.retrieval.documents", json.dumps(found))
            return found

    def _rank(self, query: str, top_k: int) -> list[dict[str, Any]]:
        top_k = min(top_k, len(self._sections))
        places, scores = self._index.retrieve([_words(query)], k=top_k, show_progress=False)
        ranked = zip(places[0], scores[0], strict=True)
        return [
            {**self._sections[place], "score": round(float(score), 3)} for place, score in ranked if score
        ]


def _split(name: str, text: str) -> list[dict[str, Any]]:
    sections = re.split(r"(?m)^#+ ", text)
    titled = [(section.partition("\n")[0], " ".join(section.split())) for section in sections]
    return [{"id": f"{name}#{title}", "content": content[:1_500]} for title, content in titled if content]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


class Question(BaseModel):
    """What a user asks."""

    question: str = Field(min_length=1, max_length=2_000)
    model: str = MODEL
    top_k: int = Field(default=4, ge=1, le=20)


class Reply(BaseModel):
    """What the user gets, with the sections that it rests on."""

    answer: str
    sources: list[str]


retriever = Retriever(ROOT)


@app.get("/healthz")
async def healthz() -> dict[str, bool]:
    """Tell that the service lives."""
    return {"ok": True}


@app.get("/search")
async def search(
    q: Annotated[str, Query(min_length=1)], k: Annotated[int, Query(ge=1, le=20)] = 4
) -> list[dict[str, Any]]:
    """Return the sections that fit a query, without a model."""
    return retriever.search(q, k)


@app.post("/chat")
async def chat(asked: Question, x_user: Annotated[str, Header()] = "anonymous") -> Reply:
    """Answer a question in one piece."""
    found, messages = _prepare(asked, x_user)
    completion = await _ask_model(model=asked.model, messages=messages, user=x_user)
    answer = completion.choices[0].message.content or ""
    return Reply(answer=answer, sources=[document["id"] for document in found])


@app.post("/chat/stream")
async def chat_stream(asked: Question, x_user: Annotated[str, Header()] = "anonymous") -> StreamingResponse:
    """Answer a question as it is being written."""
    _, messages = _prepare(asked, x_user)
    events = await _ask_model(
        model=asked.model,
        messages=messages,
        user=x_user,
        stream=True,
        stream_options={"include_usage": True},
    )

    async def pieces() -> AsyncIterator[str]:
        async for event in events:
            if event.choices and event.choices[0].delta.content:
                yield event.choices[0].delta.content

    return StreamingResponse(pieces(), media_type="text/plain")


def _prepare(asked: Question, user: str) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    trace.get_current_span().set_attribute("user.id", user)
    found = retriever.search(asked.question, asked.top_k)
    documents = "\n\n".join(document["content"] for document in found)
    return found, [
        {"role": "system", "content": f"{INSTRUCTIONS}\n\n{documents}"},
        {"role": "user", "content": asked.question},
    ]


async def _ask_model(**request: Any) -> Any:  # the overloads of `create` cannot be passed on
    """Return what the model answers; its failures become those of a gateway."""
    try:
        return await model_client.chat.completions.create(**request)
    except openai.RateLimitError as error:
        raise HTTPException(429, "the model has too much to do", headers={"Retry-After": "1"}) from error
    except openai.APIError as error:
        raise HTTPException(502, f"the model failed: {error}") from error
