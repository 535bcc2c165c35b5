"""OpenLIT: OpenTelemetry's GenAI, with operations, a total and a cost of its own.

`openlit/semcov/__init__.py`. Earlier versions put prompt and completion into span events.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import count, flag, structure
from otel_wandb.conventions.facts import Facts, Kind
from otel_wandb.conventions.langchain import FRAMEWORKS
from otel_wandb.conventions.messages import read_choices, read_messages
from otel_wandb.conventions.moments import keep_moment
from otel_wandb.conventions.reprs import read_message_content
from otel_wandb.conventions.table import Dialect, Moment, row
from otel_wandb.records import Span

_OPERATIONS: Final[dict[str, Kind]] = {
    "vectordb": "retrieval",
    "retrieve": "retrieval",
    "embedding": "embeddings",
    "framework": "workflow",
    "execute_task": "workflow",
    "model_request": "workflow",
    "user_prompt_processing": "workflow",
    "tool_coordination": "workflow",
    "graph_execution": "workflow",
    "agent": "agent",
    "task": "workflow",
    "tools": "tool",
    "image": "other",
    "audio": "other",
}
_WRITES: Final = ("add", "create", "delete", "insert", "update", "upsert")


def _kind(value: object) -> Kind | None:
    """The operations that OpenTelemetry does not know."""
    return _OPERATIONS.get(value) if isinstance(value, str) else None


def _read_prompt(moment: Moment, facts: Facts) -> None:
    messages = read_messages(moment.attributes.get("gen_ai.prompt"))
    if messages is None:
        keep_moment(facts, moment)
    else:
        facts.said_messages = [*(facts.said_messages or []), *messages]


def _read_completion(moment: Moment, facts: Facts) -> None:
    choices = read_choices(moment.attributes.get("gen_ai.completion"))
    if choices is None:
        keep_moment(facts, moment)
        return
    said = facts.said_choices or []
    facts.said_choices = said + [{**choice, "index": len(said) + i} for i, choice in enumerate(choices)]


def _calls_tools(facts: Facts) -> bool:
    messages = (choice.get("message") for choice in facts.choices or ())
    return any(isinstance(message, dict) and "tool_calls" in message for message in messages)


def _settle(facts: Facts, span: Span) -> None:
    if facts.provider in FRAMEWORKS:
        facts.keep("gen_ai.provider.name", facts.provider)
        facts.provider = None
    if facts.kind == "chat" and _calls_tools(facts):
        facts.tool = facts.arguments = None  # the call that the model asked for, told once more
    if isinstance(facts.result, str) and (content := read_message_content(facts.result)) is not None:
        facts.result = content
    operation = str(span.attributes.get("db.operation.name") or span.attributes.get("db.operation") or "")
    if facts.operation == "vectordb" and operation.lower().startswith(_WRITES):
        facts.kind = "db"  # only what asks the store for something is a retrieval


DIALECT: Final = Dialect(
    name="openlit",
    rank=27,
    rows=(
        row("kind", "gen_ai.operation.name", decode=_kind),
        row("usage.total_tokens", "gen_ai.usage.total_tokens", "gen_ai.client.token.usage", decode=count),
        row("params.stream", "gen_ai.request.stream", "gen_ai.request.is_stream", decode=flag),
        row("query", "gen_ai.retrieval.query.text", "gen_ai.retrieval.query"),
        row("input", "gen_ai.workflow.input", "gen_ai.framework.pipeline.input_data", decode=structure),
        row("output", "gen_ai.workflow.output", "gen_ai.framework.pipeline.output_data", decode=structure),
        row("arguments", "gen_ai.tool.input", decode=structure),
        row("result", "gen_ai.tool.output", decode=structure),
        row("user_id", "gen_ai.request.user"),
        row("metadata.environment", "gen_ai.environment"),
        row("metadata.application_name", "gen_ai.application_name"),
    ),
    marks=("gen_ai.sdk.version", "gen_ai.application_name", "gen_ai.client.token.usage"),
    scopes=("openlit",),
    moments={"gen_ai.content.prompt": _read_prompt, "gen_ai.content.completion": _read_completion},
    settle=_settle,
)
