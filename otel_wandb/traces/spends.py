"""What the calls of a trace spent: usage and price, with the attributes by which cost is charted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_wandb.metrics.from_spans import Spend
from otel_wandb.metrics.observed import Labels
from otel_wandb.metrics.sorting import is_route
from otel_wandb.metrics.spending import PriceOf
from otel_wandb.traces.node import Node
from otel_wandb.traces.usage import model_of

_FACTS: Final[dict[str, str]] = {
    "user.id": "user_id",
    "session.id": "session_id",
    "gen_ai.conversation.id": "conversation_id",
    "gen_ai.agent.name": "agent",
}
"""Attributes that dialects spell differently, and the fact that holds them."""
_ROUTES: Final = frozenset(("http.route",))
_MAX_VALUE: Final = 1024
"""A longer value is no name. What is shown of one is cut behind the redaction, which has to see all of it."""


def read_spend(node: Node, price_of: PriceOf, cost_by: Sequence[str]) -> Spend | None:
    """What the node's call spent itself, None where it spent nothing, or another call counts it.

    The price is that of the time when the call began.
    """
    usage, facts = node.usage, node.facts
    if usage is None:
        return None
    answered = model_of(facts)
    price = price_of(facts.provider, answered, usage, node.span.start_ns)
    model = facts.model or facts.response_model or ""
    labels = _read_labels(node, cost_by) if cost_by else ()
    return Spend(facts.provider, model, answered, usage, price, labels)


def _read_labels(node: Node, cost_by: Sequence[str]) -> Labels:
    found = ((name, _find_value(node, name)) for name in cost_by)
    return tuple((name, value) for name, value in found if value)


def _find_value(node: Node, name: str) -> str:
    """The value on the span, on the nearest one above that has it, or on the resource; else empty."""
    fact = _FACTS.get(name)
    above: Node | None = node
    while above is not None:
        value: object = above.span.attributes.get(name)
        if fact is not None and (told := getattr(above.facts, fact)) is not None:
            value = told.get("name") if isinstance(told, dict) else told
        if value is not None:
            text = _to_text(value)
            if text and (name not in _ROUTES or is_route(text)):
                return text
        above = above.parent
    return _to_text(node.placed.resource.attributes.get(name))


def _to_text(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return text if len(text) <= _MAX_VALUE else ""
