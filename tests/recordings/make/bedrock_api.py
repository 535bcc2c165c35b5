"""Bedrock's Converse, plain and as an AWS event stream."""

from __future__ import annotations

import binascii
import json
import re
import struct
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace

from tests.recordings.make.answers import Answer, Asked
from tests.recordings.make.wire import Api, Frames, Json, Question, call_id, split_text, words_of

_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream)$")
_PARAMS = {"temperature": "temperature", "topP": "top_p", "maxTokens": "max_tokens"}


def _messages(body: Json) -> Iterator[Json]:
    if system := words_of(body.get("system")):
        yield {"role": "system", "text": system}
    for message in body["messages"]:
        for part in message["content"]:
            if result := part.get("toolResult"):
                yield {"role": "tool", "text": words_of(result["content"])}
        said: Json = {"role": message["role"]}
        if text := words_of([part for part in message["content"] if "text" in part]):
            said["text"] = text
        if calls := [part["toolUse"] for part in message["content"] if "toolUse" in part]:
            said["tool_calls"] = [{"name": c["name"], "arguments": c["input"]} for c in calls]
        if len(said) > 1:
            yield said


def _read(path: str, body: Json, headers: dict[str, str]) -> Question | None:
    found = _PATH.search(path)
    if not found:
        return None
    messages = list(_messages(body))
    tools = [tool["toolSpec"]["name"] for tool in (body.get("toolConfig") or {}).get("tools", [])]
    config = body.get("inferenceConfig") or {}
    return Question(
        form="converse",
        model=urllib.parse.unquote(found[1]),
        asked=Asked([(m["role"], m.get("text", "")) for m in messages], tools),
        messages=messages,
        params={name: float(config[key]) for key, name in _PARAMS.items() if config.get(key) is not None},
        stream=found[2] == "converse-stream",
    )


def _blocks(answer: Answer, response_id: str) -> list[Json]:
    text: list[Json] = [{"text": answer.text}] if answer.text else []
    return text + [
        {"toolUse": {"toolUseId": call_id(API, response_id, n), "name": c.name, "input": c.arguments}}
        for n, c in enumerate(answer.calls)
    ]


def _usage(answer: Answer) -> Json:
    tokens = answer.tokens
    return {
        "inputTokens": tokens.input,
        "outputTokens": tokens.output,
        "totalTokens": tokens.input + tokens.output,
    }


def _say(question: Question, answer: Answer, response_id: str) -> Json:
    return {
        "output": {"message": {"role": "assistant", "content": _blocks(answer, response_id)}},
        "stopReason": "tool_use" if answer.calls else "end_turn",
        "usage": _usage(answer),
        "metrics": {"latencyMs": 12},
    }


def _stream(question: Question, answer: Answer, response_id: str) -> Frames:
    return Frames("application/vnd.amazon.eventstream", _events(answer, response_id))


def _events(answer: Answer, response_id: str) -> Iterator[bytes]:
    yield _frame("messageStart", {"role": "assistant"})
    for index, block in enumerate(_blocks(answer, response_id)):
        if tool := block.get("toolUse"):
            start = {"toolUse": {"toolUseId": tool["toolUseId"], "name": tool["name"]}}
            yield _frame("contentBlockStart", {"contentBlockIndex": index, "start": start})
            deltas: list[Json] = [{"toolUse": {"input": p}} for p in split_text(json.dumps(tool["input"]))]
        else:
            deltas = [{"text": piece} for piece in split_text(block["text"])]
        for delta in deltas:
            yield _frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
        yield _frame("contentBlockStop", {"contentBlockIndex": index})
    yield _frame("messageStop", {"stopReason": "tool_use" if answer.calls else "end_turn"})
    yield _frame("metadata", {"usage": _usage(answer), "metrics": {"latencyMs": 12}})


def _frame(kind: str, body: Json) -> bytes:
    """One message of `application/vnd.amazon.eventstream`: prelude, headers, payload, checksums."""
    headers = b""
    for name, value in (
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ):
        headers += struct.pack(
            f">B{len(name)}sBH{len(value)}s", len(name), name.encode(), 7, len(value), value.encode()
        )
    payload = json.dumps(body).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", binascii.crc32(message))


def _fail(question: Question, answer: Answer) -> Json:
    kind = "ThrottlingException" if answer.status == 429 else "InternalServerException"
    return {"__type": kind, "message": answer.error}


API = Api(
    "bedrock",
    "tooluse_",
    _read,
    _say,
    _stream,
    _fail,
    tokens_of=lambda tokens: replace(tokens, cached=0, reasoning=0),
)
