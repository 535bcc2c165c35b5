"""Reading of one span of a named instrumentation, for the tests of the dialects."""

from __future__ import annotations

from typing import Any

from otel_wandb.conventions import read_span
from otel_wandb.records import Attributes, Event, LogRecord, Resource, Scope
from tests.genai_spans import START_NS, make_span, told


def read_from(
    scope: str, attributes: Attributes | None = None, *, logs: tuple[LogRecord, ...] = (), **span: Any
) -> dict[str, Any]:
    """The facts that a span of this scope tells, without those that it does not."""
    return told(read_span(make_span(1, attributes, **span), Scope(scope), Resource(), logs))


def event(name: str, **attributes: Any) -> Event:
    """A span event; two underscores in a name stand for a dot."""
    return Event(START_NS, name, {key.replace("__", "."): value for key, value in attributes.items()})


CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
"""A tool call in the chat-completions shape."""


def answer(text: str, reason: str | None = None) -> list[dict[str, Any]]:
    """One choice with a text."""
    choice: dict[str, Any] = {"index": 0}
    if reason:
        choice["finish_reason"] = reason
    return [{**choice, "message": {"role": "assistant", "content": text}}]


def called(reason: str | None = None) -> list[dict[str, Any]]:
    """One choice that calls the tool."""
    choice: dict[str, Any] = {"index": 0}
    if reason:
        choice["finish_reason"] = reason
    return [{**choice, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}]
