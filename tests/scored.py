"""OTLP/JSON of calls and of scores on them, for files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

START_NS = 1_795_564_800_000_000_000  # 2026-11-25T00:00:00Z
TRACE = "0af7651916cd43dd8448eb211c80319c"
JUDGE_TRACE = "1af7651916cd43dd8448eb211c80319d"
RESULT = "gen_ai.evaluation.result"

Attributes = Mapping[str, object]


def span_id(number: int) -> str:
    return f"{number:016x}"


def make_chat(
    number: int,
    *,
    response_id: str = "",
    spends: bool = False,
    trace: str = TRACE,
    parent: int = 0,
    **more: object,
) -> dict[str, object]:
    """A chat span. `more` are members of the span itself."""
    attributes: dict[str, object] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
    }
    if spends:
        attributes |= {"gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3}
    if response_id:
        attributes["gen_ai.response.id"] = response_id
    return make_span(number, attributes, name="chat gpt-4o-mini", trace=trace, parent=parent, **more)


def make_span(
    number: int,
    attributes: Attributes,
    *,
    name: str = "span",
    trace: str = TRACE,
    parent: int = 0,
    **more: object,
) -> dict[str, object]:
    return {
        "traceId": trace,
        "spanId": span_id(number),
        "parentSpanId": span_id(parent) if parent else "",
        "name": name,
        "kind": 3,
        "startTimeUnixNano": str(START_NS + number * 1_000_000),
        "endTimeUnixNano": str(START_NS + number * 1_000_000 + 500_000),
        "attributes": encode(attributes),
        **more,
    }


def result(name: str, value: object = None, **more: object) -> dict[str, object]:
    """The attributes of an evaluation's result; of `more`, `response_id` names the call."""
    attributes: dict[str, object] = {"gen_ai.evaluation.name": name}
    if value is not None:
        attributes["gen_ai.evaluation.score.value"] = value
    if "response_id" in more:
        attributes["gen_ai.response.id"] = more.pop("response_id")
    attributes |= {f"gen_ai.evaluation.{key.replace('__', '.')}": told for key, told in more.items()}
    return attributes


def make_event(attributes: Attributes, *, at_ms: int = 0) -> dict[str, object]:
    return {
        "name": RESULT,
        "timeUnixNano": str(START_NS + at_ms * 1_000_000),
        "attributes": encode(attributes),
    }


def make_record(
    attributes: Attributes, number: int = 0, *, trace: str = TRACE, at_ms: int = 0, **more: object
) -> dict[str, object]:
    """A log record, in the context of a span where a number is given."""
    context = {"traceId": trace, "spanId": span_id(number)} if number else {}
    return {
        "timeUnixNano": str(START_NS + at_ms * 1_000_000),
        "eventName": RESULT,
        "attributes": encode(attributes),
        **context,
        **more,
    }


def spans(*given: object, resource: Attributes | None = None) -> dict[str, object]:
    """A request with these spans."""
    scope = {"scope": {"name": "tests"}, "spans": list(given)}
    return {"resourceSpans": [{"resource": _resource(resource), "scopeSpans": [scope]}]}


def records(*given: object, resource: Attributes | None = None) -> dict[str, object]:
    """A request with these log records."""
    scope = {"scope": {"name": "tests"}, "logRecords": list(given)}
    return {"resourceLogs": [{"resource": _resource(resource), "scopeLogs": [scope]}]}


def write_requests(path: Path, *requests: object) -> Path:
    path.write_text("".join(json.dumps(request) + "\n" for request in requests))
    return path


def encode(attributes: Attributes) -> list[dict[str, object]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _resource(attributes: Attributes | None) -> dict[str, object]:
    return {"attributes": encode({"service.name": "rag", **(attributes or {})})}


def _value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if abs(value) < 1e999 else str(value)}
    return {"stringValue": str(value)}
