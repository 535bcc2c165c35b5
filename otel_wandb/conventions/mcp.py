"""The Model Context Protocol, by OpenTelemetry's conventions: calls of tools, prompts and resources.

https://github.com/open-telemetry/semantic-conventions-genai, `docs/gen-ai/mcp.md`.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.facts import Kind
from otel_wandb.conventions.table import Dialect, row

_METHODS: Final[dict[str, Kind]] = {"tools/call": "tool", "sampling/createMessage": "chat"}


def _kind(value: object) -> Kind | None:
    return _METHODS.get(value, "other") if isinstance(value, str) and value else None


DIALECT: Final = Dialect(
    name="mcp",
    rank=34,
    rows=(
        row("kind", "mcp.method.name", decode=_kind),
        row("operation", "mcp.method.name"),
        row("inputs.method", "mcp.method.name"),
        row("inputs.resource_uri", "mcp.resource.uri"),
        row("inputs.prompt_name", "gen_ai.prompt.name"),
        row("metadata.mcp_session_id", "mcp.session.id"),
        row("metadata.mcp_protocol_version", "mcp.protocol.version"),
    ),
    marks=("mcp.method.name",),
)
