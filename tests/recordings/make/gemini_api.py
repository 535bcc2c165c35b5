"""Gemini's generateContent: thoughts are not in `candidatesTokenCount`, as its servers count."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.recordings.make.answers import SNAPSHOTS, Answer, Asked
from tests.recordings.make.wire import Api, Frames, Json, Question, split_text, words_of

_PATH = re.compile(r"/models/([^:/]+):(generateContent|streamGenerateContent)")
_ROLES = {"model": "assistant"}
_PARAMS = {"temperature": "temperature", "topP": "top_p", "maxOutputTokens": "max_tokens", "seed": "seed"}


def _messages(body: Json) -> Iterator[Json]:
    if system := body.get("systemInstruction"):
        yield {"role": "system", "text": words_of(system["parts"])}
    for content in body["contents"]:
        parts, role = content["parts"], content.get("role") or "user"
        for part in parts:
            if result := part.get("functionResponse"):
                response = result["response"]
                text = response.get("result") if isinstance(response.get("result"), str) else None
                yield {"role": "tool", "text": text or json.dumps(response)}
        said: Json = {"role": _ROLES.get(role, role)}
        if text := words_of(parts):
            said["text"] = text
        if calls := [part["functionCall"] for part in parts if "functionCall" in part]:
            said["tool_calls"] = [{"name": c["name"], "arguments": c["args"]} for c in calls]
        if len(said) > 1:
            yield said


def _read(path: str, body: Json, headers: dict[str, str]) -> Question | None:
    found = _PATH.search(path)
    if not found:
        return None
    messages = list(_messages(body))
    tools = [f["name"] for t in body.get("tools") or [] for f in t.get("functionDeclarations") or []]
    config = body.get("generationConfig") or {}
    return Question(
        form="generateContent",
        model=found[1],
        asked=Asked([(m["role"], m.get("text", "")) for m in messages], tools),
        messages=messages,
        params={name: float(config[key]) for key, name in _PARAMS.items() if config.get(key) is not None},
        stream=found[2] == "streamGenerateContent",
        id_prefix="gemini-",
    )


def _chunk(question: Question, answer: Answer, response_id: str, parts: list[Json], *, ends: bool) -> Json:
    tokens = answer.tokens
    candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
    body: Json = {
        "candidates": [candidate],
        "modelVersion": SNAPSHOTS.get(question.model, question.model),
        "responseId": response_id,
    }
    if ends:
        candidate["finishReason"] = "STOP"
        body["usageMetadata"] = {
            "promptTokenCount": tokens.input,
            "cachedContentTokenCount": tokens.cached,
            "candidatesTokenCount": tokens.output - tokens.reasoning,
            "thoughtsTokenCount": tokens.reasoning,
            "totalTokenCount": tokens.input + tokens.output,
        }
    return body


def _calls(answer: Answer) -> list[Json]:
    return [{"functionCall": {"name": call.name, "args": call.arguments}} for call in answer.calls]


def _say(question: Question, answer: Answer, response_id: str) -> Json:
    parts = ([{"text": answer.text}] if answer.text else []) + _calls(answer)
    return _chunk(question, answer, response_id, parts, ends=True)


def _stream(question: Question, answer: Answer, response_id: str) -> Frames:
    def frames() -> Iterator[bytes]:
        pieces = [[{"text": piece}] for piece in split_text(answer.text)] or [_calls(answer)]
        for number, parts in enumerate(pieces):
            chunk = _chunk(question, answer, response_id, parts, ends=number == len(pieces) - 1)
            yield b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n"

    return Frames("text/event-stream", frames())


def _fail(question: Question, answer: Answer) -> Json:
    status = "RESOURCE_EXHAUSTED" if answer.status == 429 else "INTERNAL"
    return {"error": {"code": answer.status, "message": answer.error, "status": status}}


API = Api("gemini", "", _read, _say, _stream, _fail)
