"""Pydantic AI, formats 1 to 6 of its instrumentation: what it adds to OpenTelemetry's GenAI.

https://ai.pydantic.dev/logfire. The agent's span holds the whole history, what went in and what came out, and
since format 2 the sum of the tokens under a name of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_wandb.conventions.decoding import count, items, structure
from otel_wandb.conventions.facts import Facts, Json
from otel_wandb.conventions.messages import finish_reason, read_choices, read_messages
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.records import Span

_SUM: Final = "gen_ai.aggregated_usage."

_ROWS: Final = (
    row("inputs.all_messages", "pydantic_ai.all_messages", decode=items),
    row("inputs.new_message_index", "pydantic_ai.new_message_index", decode=count),
    row("inputs.events", "events", "all_messages_events", decode=items),
    row("output", "final_result", decode=structure),
    row("arguments", "tool_arguments", decode=structure),
    row("result", "tool_response", decode=structure),
    row("model", "gen_ai.request.model", "model_name"),
    row("agent.name", "gen_ai.agent.name", "agent_name"),
    row("usage_sum.input_tokens", f"{_SUM}input_tokens", decode=count),
    row("usage_sum.output_tokens", f"{_SUM}output_tokens", decode=count),
    row(
        "usage_sum.cache_read_input_tokens",
        f"{_SUM}cache_read.input_tokens",
        f"{_SUM}details.cache_read_tokens",
        decode=count,
    ),
    row(
        "usage_sum.cache_creation_input_tokens",
        f"{_SUM}cache_creation.input_tokens",
        f"{_SUM}details.cache_write_tokens",
        decode=count,
    ),
    row("usage_sum.reasoning_tokens", f"{_SUM}details.reasoning_tokens", decode=count),
)


def _settle(facts: Facts, span: Span) -> None:
    inputs = dict(facts.inputs or {})
    history, events = inputs.pop("all_messages", None), inputs.pop("events", None)
    start = inputs.pop("new_message_index", 0)
    facts.inputs = inputs or None
    if facts.kind is None:
        _tell_kind(facts, span, has_history=history is not None)
    if isinstance(events, list):
        history = _read_events(facts, events) or history
    if isinstance(history, list) and facts.messages is None:
        _split_history(facts, history, start if isinstance(start, int) else 0)


def _tell_kind(facts: Facts, span: Span, *, has_history: bool) -> None:
    """Early formats have no operation on the spans of agents and tools."""
    if has_history or span.name == "agent run":
        facts.kind = "agent"
    elif facts.tool and facts.tool.get("name") and facts.arguments is not None:
        facts.kind = "tool"
    elif span.name.startswith("running ") and span.name.endswith((" tool", " tools")):
        facts.kind = "workflow"


def _split_history(facts: Facts, history: Sequence[object], start: int) -> None:
    """The question ends where the first new answer begins."""
    for i, message in enumerate(history):
        if i >= start and isinstance(message, dict) and message.get("role") == "assistant":
            _add_answers(facts, read_choices(list(history[i:])) or [])
            history = history[:i]
            break
    facts.messages = read_messages(list(history))


def _add_answers(facts: Facts, choices: list[Json]) -> None:
    """All that came of the run, in the order it came; where the result is known it is but the way there."""
    if facts.choices is None and facts.output is None:
        facts.choices = choices
    else:
        facts.outputs = {**(facts.outputs or {}), "messages": [choice["message"] for choice in choices]}


def _read_events(facts: Facts, events: Sequence[object]) -> list[object] | None:
    """Format 1: the messages as OpenTelemetry's events of that time, in one attribute."""
    messages: list[object] = []
    answers: list[object] = []
    for event in events:
        if not isinstance(event, dict):
            continue
        name = event.get("event.name")
        known = ("event.name", "message", "gen_ai.message.index", "index", "finish_reason", "gen_ai.system")
        body: Json = {key: value for key, value in event.items() if key not in known}
        if name == "gen_ai.choice" and isinstance(message := event.get("message"), dict):
            reason = finish_reason(event.get("finish_reason"))
            answers.append({**message, "finish_reason": reason} if reason else message)
        else:
            if body.get("role") == "tool" and "id" in body:
                body["tool_call_id"] = body.pop("id")
            messages.append(body)
    if answers:
        facts.choices = facts.choices or read_choices(answers)
        facts.messages = facts.messages or read_messages(messages)
        return None
    return messages or None


DIALECT: Final = Dialect(
    name="pydantic-ai",
    rank=24,
    rows=_ROWS,
    marks=("pydantic_ai.",),
    scopes=("pydantic-ai", "pydantic_ai"),
    settle=_settle,
)
