"""Azure AI Inference and Agents: the messages as JSON in one attribute of a span event, and runs of agents.

https://github.com/open-telemetry/semantic-conventions, `docs/gen-ai/azure-ai-inference.md`.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import parse
from otel_wandb.conventions.facts import Facts, Kind
from otel_wandb.conventions.genai import DIALECT as GENAI
from otel_wandb.conventions.genai import provider
from otel_wandb.conventions.table import Dialect, Moment, ReadMoment, row

_CONTENT: Final = "gen_ai.event.content"
_OPERATIONS: Final[dict[str, Kind]] = {
    "start_thread_run": "agent",
    "process_thread_run": "agent",
    "submit_tool_outputs": "other",
    "create_thread": "other",
    "create_message": "other",
    "list_messages": "other",
    "list_run_steps": "other",
    "get_thread_run": "other",
}


def _opened(read: ReadMoment) -> ReadMoment:
    """Reads the one attribute as if its members were the event's."""

    def read_opened(moment: Moment, facts: Facts) -> None:
        told = parse(moment.attributes.get(_CONTENT))
        if isinstance(told, dict):
            rest = {key: value for key, value in moment.attributes.items() if key != _CONTENT}
            moment = moment._replace(attributes={**rest, **told})
        read(moment, facts)

    return read_opened


DIALECT: Final = Dialect(
    name="azure-ai",
    rank=35,
    rows=(
        row("kind", "gen_ai.operation.name", decode=lambda value: _OPERATIONS.get(str(value))),
        row("provider", "gen_ai.provider.name", "gen_ai.system", decode=provider),
        row("conversation_id", "gen_ai.thread.id", "gen_ai.conversation.id"),
        row("metadata.run_id", "gen_ai.thread.run.id"),
        row("metadata.message_id", "gen_ai.message.id"),
    ),
    marks=("azure.resource_provider.namespace", "az.namespace", "gen_ai.thread.id"),
    scopes=("azure.ai.",),
    moments={name: _opened(read) for name, read in GENAI.moments.items()},
)
