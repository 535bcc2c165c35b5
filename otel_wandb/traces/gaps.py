"""What a model call should tell and does not: warnings, never guesses.

That it has no content is none: most producers tell none unless they are asked to.
"""

from __future__ import annotations

from otel_wandb.records import STATUS_ERROR
from otel_wandb.traces.node import Node


def note_gaps(node: Node) -> None:
    """Warns of what a chat that went well leaves out, unless another span of the same call may tell it."""
    if node.kind != "chat" or node.span.status_code == STATUS_ERROR:
        return
    facts = node.facts
    if node.usage is not None and facts.model is None and facts.response_model is None:
        facts.warn("model_missing")
    parent = node.parent
    if (parent is not None and parent.kind == "chat") or any(child.kind == "chat" for child in node.children):
        return
    told = node.usage or node.reported or facts.usage_sum or node.spends_below
    if not told and (facts.choices is not None or facts.response_id is not None):
        facts.warn("usage_missing")
