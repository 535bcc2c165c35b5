"""Anthropic's messages: cached tokens are not in `input_tokens`, as its servers count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from tests.recordings.make.answers import SNAPSHOTS, Answer, Asked, Tokens
from tests.recordings.make.wire import Api, Frames, Json, Question, call_id, split_text, words_of

CACHE_CREATION_TOKENS = 10
"""Written to the cache with each request, besides what is read from it."""


def _messages(body: Json) -> Iterator[Json]:
    """The messages of a request in the terms of all APIs, tool results as messages of their own."""
    if system := words_of(body.get("system")):
        yield {"role": "system", "text": system}
    for message in body["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "tool_result":
                yield {"role": "tool", "text": words_of(part["content"])}
        said: Json = {"role": message["role"]}
        if text := words_of([part for part in parts if part["type"] == "text"]):
            said["text"] = text
        if calls := [part for part in parts if part["type"] == "tool_use"]:
            said["tool_calls"] = [{"name": c["name"], "arguments": c["input"]} for c in calls]
        if len(said) > 1:
            yield said


def _read(path: str, body: Json, headers: dict[str, str]) -> Question | None:
    if not path.partition("?")[0].endswith("/messages"):
        return None
    messages = list(_messages(body))
    params: dict[str, float] = {
        name: float(body[name]) for name in ("temperature", "top_p", "max_tokens") if name in body
    }
    return Question(
        form="messages",
        model=body["model"],
        asked=Asked(
            [(m["role"], m.get("text", "")) for m in messages], [t["name"] for t in body.get("tools") or []]
        ),
        messages=messages,
        params=params,
        stream=bool(body.get("stream")),
        id_prefix="msg_",
    )


def _count(tokens: Tokens) -> Tokens:
    return replace(
        tokens,
        input=tokens.input + CACHE_CREATION_TOKENS,
        cache_creation=CACHE_CREATION_TOKENS,
        reasoning=0,
    )


def _usage(answer: Answer) -> Json:
    tokens = answer.tokens
    return {
        "input_tokens": tokens.input - tokens.cached,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation_input_tokens": CACHE_CREATION_TOKENS,
        "output_tokens": tokens.output,
        "service_tier": "standard",
    }


def _blocks(answer: Answer, response_id: str) -> list[Json]:
    text: list[Json] = [{"type": "text", "text": answer.text}] if answer.text else []
    return text + [
        {"type": "tool_use", "id": call_id(API, response_id, n), "name": c.name, "input": c.arguments}
        for n, c in enumerate(answer.calls)
    ]


def _say(question: Question, answer: Answer, response_id: str) -> Json:
    return {
        "id": response_id,
        "type": "message",
        "role": "assistant",
        "model": SNAPSHOTS.get(question.model, question.model),
        "content": _blocks(answer, response_id),
        "stop_reason": "tool_use" if answer.calls else "end_turn",
        "stop_sequence": None,
        "usage": _usage(answer),
    }


def _stream(question: Question, answer: Answer, response_id: str) -> Frames:
    return Frames("text/event-stream", _events(_say(question, answer, response_id)))


def _events(whole: Json) -> Iterator[bytes]:
    def event(kind: str, **fields: object) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    opening = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield event("message_start", message=opening)
    for index, block in enumerate(whole["content"]):
        is_text = block["type"] == "text"
        empty = {**block, "text": ""} if is_text else {**block, "input": {}}
        yield event("content_block_start", index=index, content_block=empty)
        for piece in split_text(block["text"] if is_text else json.dumps(block["input"])):
            delta = {"type": "text_delta", "text": piece}
            if not is_text:
                delta = {"type": "input_json_delta", "partial_json": piece}
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=ended, usage={"output_tokens": whole["usage"]["output_tokens"]})
    yield event("message_stop")


def _fail(question: Question, answer: Answer) -> Json:
    kind = "rate_limit_error" if answer.status == 429 else "api_error"
    return {"type": "error", "error": {"type": kind, "message": answer.error}}


API = Api("anthropic", "toolu_", _read, _say, _stream, _fail, tokens_of=_count)
