"""Microsoft's Agent Framework and Semantic Kernel: what they add to OpenTelemetry's GenAI."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.facts import Facts, Kind
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.records import Span

_FRAMEWORKS: Final = frozenset(("microsoft.agent_framework", "microsoft.agents", "semantic_kernel"))
_OPERATIONS: Final[dict[str, Kind]] = {
    "text_completions": "chat",
    "chat.completions": "chat",
    "text.completions": "chat",
}
_NAMES: Final[dict[str, Kind]] = {
    "workflow.run": "workflow",
    "workflow.build": "other",
    "executor.process": "workflow",
    "edge_group.process": "other",
    "message.send": "other",
    "AutoFunctionInvocationLoop": "workflow",
}


def _settle(facts: Facts, span: Span) -> None:
    if facts.provider in _FRAMEWORKS:  # the framework, on the span of an agent
        facts.keep("gen_ai.provider.name", facts.provider)
        facts.provider = None
    if facts.kind is None:
        facts.kind = _NAMES.get(span.name.split(" ", 1)[0])


DIALECT: Final = Dialect(
    name="microsoft",
    rank=32,
    rows=(
        row("kind", "gen_ai.operation.name", decode=lambda value: _OPERATIONS.get(str(value))),
        row("workflow", "workflow.name", "workflow.id"),
        row("metadata.executor_id", "executor.id"),
        row("metadata.executor_type", "executor.type"),
    ),
    marks=("workflow.id", "executor.id", "workflow_builder.name", "sk.available_functions"),
    scopes=("agent_framework", "semantic_kernel"),
    settle=_settle,
)
