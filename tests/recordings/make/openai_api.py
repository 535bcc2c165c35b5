"""OpenAI's chat completions, responses and embeddings, and Azure's spelling of their paths."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

from tests.recordings.make.answers import SNAPSHOTS, Answer, Asked
from tests.recordings.make.wire import Api, Embeddings, Frames, Json, Question, call_id, split_text, words_of

_CREATED_S = 1_790_000_000
_PARAMS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "seed": "seed",
}


def _read(path: str, body: Json, headers: dict[str, str]) -> Question | None:
    path = path.partition("?")[0]
    model = str(body.get("model") or "gpt-4o-mini")
    params = {name: float(body[key]) for key, name in _PARAMS.items() if body.get(key) is not None}
    if path.endswith("/embeddings"):
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        form = f"embeddings-{body.get('encoding_format') or 'float'}"
        return Question(form, model, embeds=[t if isinstance(t, str) else _untoken(t) for t in texts])
    if path.endswith("/chat/completions"):
        tools = [tool["function"]["name"] for tool in body.get("tools") or [] if "function" in tool]
        schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
        messages = [_message(message) for message in body["messages"]]
        return Question(
            form="chat",
            model=model,
            asked=_asked(messages, tools, schema),
            messages=messages,
            params=params,
            stream=bool(body.get("stream")),
            tells_usage=not body.get("stream")
            or bool((body.get("stream_options") or {}).get("include_usage")),
            id_prefix="chatcmpl-",
        )
    if path.endswith("/responses"):
        tools = [tool["name"] for tool in body.get("tools") or [] if "name" in tool]
        messages = list(_items(body))
        return Question(
            form="responses",
            model=model,
            asked=_asked(messages, tools, None),
            messages=messages,
            params=params,
            stream=bool(body.get("stream")),
            id_prefix="resp_",
        )
    return None


def _untoken(tokens: Any) -> str:
    return " ".join(map(str, tokens))


def _asked(messages: list[Json], tools: list[str], schema: Json | None) -> Asked:
    return Asked([(m["role"], m.get("text", "")) for m in messages], tools, schema)


def _message(message: Json) -> Json:
    said: Json = {"role": message["role"]}
    if text := words_of(message.get("content")):
        said["text"] = text
    if calls := message.get("tool_calls"):
        said["tool_calls"] = [
            {"name": c["function"]["name"], "arguments": json.loads(c["function"]["arguments"])}
            for c in calls
        ]
    return said


def _items(body: Json) -> Iterator[Json]:
    if body.get("instructions"):
        yield {"role": "system", "text": body["instructions"]}
    items = body["input"]
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        if item.get("type") == "function_call":
            arguments = json.loads(item["arguments"])
            yield {"role": "assistant", "tool_calls": [{"name": item["name"], "arguments": arguments}]}
        elif item.get("type") == "function_call_output":
            yield {"role": "tool", "text": words_of(item["output"])}
        elif "role" in item:
            yield {"role": item["role"], "text": words_of(item["content"])}


def _usage(answer: Answer) -> Json:
    tokens = answer.tokens
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "audio_tokens": 0},
    }


def _calls(answer: Answer, response_id: str) -> list[Json]:
    return [
        {
            "id": call_id(API, response_id, number),
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for number, call in enumerate(answer.calls)
    ]


def _head(question: Question, response_id: str, kind: str) -> Json:
    model = SNAPSHOTS.get(question.model, question.model)
    return {
        "id": response_id,
        "object": kind,
        "created": _CREATED_S,
        "model": model,
        "system_fingerprint": "fp_recordings",
    }


def _say(question: Question, answer: Answer, response_id: str) -> Json:
    if question.form == "responses":
        return _response(question, answer, response_id)
    message: Json = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.calls:
        message["tool_calls"] = _calls(answer, response_id)
    choice = {"index": 0, "finish_reason": "tool_calls" if answer.calls else "stop", "message": message}
    return {
        **_head(question, response_id, "chat.completion"),
        "choices": [{**choice, "logprobs": None}],
        "usage": _usage(answer),
        "service_tier": "default",
    }


def _stream(question: Question, answer: Answer, response_id: str) -> Frames:
    events = _response_events if question.form == "responses" else _chunks
    return Frames("text/event-stream", events(question, answer, response_id))


def _chunks(question: Question, answer: Answer, response_id: str) -> Iterator[bytes]:
    head = _head(question, response_id, "chat.completion.chunk")

    def chunk(delta: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return b"data: " + json.dumps({**head, "choices": [choice], "usage": None}).encode() + b"\n\n"

    yield chunk({"role": "assistant", "content": "" if answer.text else None})
    for piece in split_text(answer.text):
        yield chunk({"content": piece})
    for number, call in enumerate(_calls(answer, response_id)):
        arguments = call["function"]["arguments"]
        opening = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
        yield chunk({"tool_calls": [{"index": number, **opening}]})
        for piece in split_text(arguments):
            yield chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if answer.calls else "stop")
    if question.tells_usage:
        last = {**head, "choices": [], "usage": _usage(answer)}
        yield b"data: " + json.dumps(last).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def _outputs(answer: Answer, response_id: str) -> list[Json]:
    number = response_id[-5:]
    calls = [
        {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
            "status": "completed",
        }
        for call in _calls(answer, response_id)
    ]
    if not answer.text:
        return calls
    content = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
    said = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed"}
    return [{**said, "content": [content]}, *calls]


def _response(question: Question, answer: Answer, response_id: str) -> Json:
    tokens = answer.tokens
    return {
        "id": response_id,
        "object": "response",
        "created_at": _CREATED_S,
        "model": SNAPSHOTS.get(question.model, question.model),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "output": _outputs(answer, response_id),
        "parallel_tool_calls": True,
        "temperature": question.params.get("temperature", 1.0),
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output,
        },
    }


def _response_events(question: Question, answer: Answer, response_id: str) -> Iterator[bytes]:
    whole = _response(question, answer, response_id)
    number = 0

    def event(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        body = {"type": kind, "sequence_number": number, **fields}
        return f"event: {kind}\ndata: {json.dumps(body)}\n\n".encode()

    yield event("response.created", response={**whole, "status": "in_progress", "output": [], "usage": None})
    for index, item in enumerate(whole["output"]):
        empty = {**item, "content": []} if item["type"] == "message" else {**item, "arguments": ""}
        yield event("response.output_item.added", output_index=index, item={**empty, "status": "in_progress"})
        if item["type"] == "message":
            where = {"output_index": index, "content_index": 0, "item_id": item["id"]}
            for piece in split_text(answer.text):
                yield event("response.output_text.delta", delta=piece, logprobs=[], **where)
            yield event("response.output_text.done", text=answer.text, logprobs=[], **where)
        else:
            where = {"output_index": index, "item_id": item["id"]}
            yield event("response.function_call_arguments.done", arguments=item["arguments"], **where)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=whole)


def _fail(question: Question, answer: Answer) -> Json:
    kind = "rate_limit_exceeded" if answer.status == 429 else "server_error"
    return {"error": {"message": answer.error, "type": kind, "param": None, "code": kind}}


def _embed(question: Question, embeddings: Embeddings) -> Json:
    def encode(vector: list[float]) -> Any:
        if question.form == "embeddings-base64":
            return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        return vector

    data = [
        {"object": "embedding", "index": number, "embedding": encode(vector)}
        for number, vector in enumerate(embeddings.vectors)
    ]
    usage = {"prompt_tokens": embeddings.tokens, "total_tokens": embeddings.tokens}
    return {"object": "list", "data": data, "model": question.model, "usage": usage}


API = Api("openai", "call_", _read, _say, _stream, _fail, _embed)
