"""Pydantic Logfire: names that are templates, and the model calls of its own instrumentations."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.answers import take_answer, take_usage
from otel_wandb.conventions.decoding import mapping, strings
from otel_wandb.conventions.facts import Facts
from otel_wandb.conventions.payloads import take_request
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.records import Span

_ROWS: Final = (
    row("display_name", "logfire.msg"),
    row("tags", "logfire.tags", decode=strings),
    row("inputs.request_data", "request_data", decode=mapping),
    row("outputs.response_data", "response_data", decode=mapping),
    row("outputs.raw_usage", "gen_ai.usage.raw", decode=mapping),
)


_REQUEST: Final = ("request_data", "gen_ai.input.messages")


def _settle(facts: Facts, span: Span) -> None:
    if span.attributes.get("logfire.span_type") == "log" and any(key in span.attributes for key in _REQUEST):
        facts.continues = _REQUEST
    if facts.display_name == span.name:
        facts.display_name = None
    inputs, outputs = dict(facts.inputs or {}), dict(facts.outputs or {})
    request, response = inputs.pop("request_data", None), outputs.pop("response_data", None)
    usage = outputs.pop("raw_usage", None)
    if isinstance(request, dict) and (facts.kind is None or facts.kind == "chat"):
        rest = take_request(facts, request)
        if facts.kind is None and facts.messages is not None and facts.model is not None:
            facts.kind = "chat"
        inputs |= rest if isinstance(rest, dict) else {}
    elif isinstance(request, dict):
        rest = {key: value for key, value in request.items() if key != "model" or value != facts.model}
        given = rest.pop("input", None)
        if facts.kind == "embeddings" and given is not None:
            facts.texts = facts.texts or (given if isinstance(given, list) else [given])
        inputs |= rest
    if isinstance(response, dict) and not _take_response(facts, dict(response)):
        outputs["response_data"] = response
    if usage is not None:
        take_usage(facts, usage)
    facts.inputs, facts.outputs = inputs or None, outputs or None


def _take_response(facts: Facts, response: dict[str, object]) -> bool:
    """The answer, or the text of a stream's chunks put together."""
    if "combined_chunk_content" in response:
        response["message"] = response["combined_chunk_content"]
    return take_answer(facts, response)


DIALECT: Final = Dialect(
    name="logfire", rank=45, rows=_ROWS, marks=("logfire.",), scopes=("logfire",), settle=_settle
)
