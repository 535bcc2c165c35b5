"""Strands Agents, also under Bedrock AgentCore: GenAI keys, and Bedrock's blocks in span events."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import parse
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.records import Span

_OPERATIONS: Final[dict[str, Kind]] = {
    "execute_event_loop_cycle": "workflow",
    "invoke_swarm": "workflow",
    "invoke_graph": "workflow",
}
_FRAMEWORK: Final = "strands-agents"


def _settle(facts: Facts, span: Span) -> None:
    if facts.provider == _FRAMEWORK:  # it names itself where the provider of the model should stand
        facts.provider = None
        facts.keep("gen_ai.provider.name", _FRAMEWORK)
    if facts.kind == "tool":
        _take_tool(facts)


def _take_tool(facts: Facts) -> None:
    """A tool's arguments and result come as a message to the tool, and as its answer."""
    asked = facts.messages[0] if facts.messages else {}
    if facts.arguments is None and asked:
        facts.arguments, facts.messages = _arguments(asked), None
    answered = facts.choices[0].get("message") if facts.choices else None
    if facts.result is None and isinstance(answered, dict):
        facts.result, facts.choices = answered.get("content"), None


def _arguments(message: Json) -> object:
    calls = message.get("tool_calls")
    function = calls[0].get("function") if isinstance(calls, list) and calls else None
    content = message.get("content")
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        content = content[0]  # a structure where others have text of one
    return parse(function.get("arguments") if isinstance(function, dict) else content)


DIALECT: Final = Dialect(
    name="strands",
    rank=23,
    rows=(
        row("kind", "gen_ai.operation.name", decode=lambda value: _OPERATIONS.get(str(value))),
        row("metadata.cycle_id", "event_loop.cycle_id"),
        row("metadata.parent_cycle_id", "event_loop.parent_cycle_id"),
    ),
    marks=("event_loop.cycle_id", "gen_ai.event.start_time"),
    scopes=("strands.",),
    settle=_settle,
)
