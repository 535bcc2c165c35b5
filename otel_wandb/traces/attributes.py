"""The attributes of a call: what the span is, who made it, and all that has no place in inputs and output."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from otel_wandb.conventions import Facts
from otel_wandb.conventions.decoding import encode_text
from otel_wandb.conventions.facts import Json, Kind
from otel_wandb.conventions.messages import finish_reason
from otel_wandb.records import Link, Resource, Scope, Span
from otel_wandb.traces.finished import Placed
from otel_wandb.traces.node import Node

_SPAN_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_WEAVE_KINDS: Final[dict[Kind, Json]] = {
    "chat": {"kind": "llm"},
    "embeddings": {"kind": "llm"},
    "retrieval": {"kind": "search"},
    "rerank": {"kind": "search"},
    "tool": {"kind": "tool"},
    "agent": {"kind": "agent"},
    "guardrail": {"kind": "guardrail"},
    "evaluation": {"kind": "scorer"},
}
_MAX_ENCODED: Final = 256


class CallAttributes(msgspec.Struct, omit_defaults=True, gc=False):
    """`attributes` of a call."""

    kind: Kind
    weave: Json | None = None
    operation: str | None = None
    model: str | None = None
    response_model: str | None = None
    provider: str | None = None
    params: Json | None = None
    finish_reason: str | None = None
    raw_finish_reason: str | None = None
    """The producer's word, where it is another."""
    response_id: str | None = None
    tool: Json | None = None
    agent: Json | None = None
    workflow: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: list[str] | None = None
    metadata: Json | None = None
    derived: list[str] | None = None
    reported_usage: dict[str, int] | None = None
    """Tokens that the span tells of and that others spent."""
    error_type: str | None = None
    span_kind: str | None = None
    dialect: str | None = None
    mapping_warnings: list[str] | None = None
    scope: msgspec.Raw | None = None
    resource: msgspec.Raw | None = None
    otel: Json | None = None
    otel_events: list[Json] | None = None
    otel_logs: list[Json] | None = None
    otel_links: list[Json] | None = None
    trace_state: str | None = None
    dropped: dict[str, int] | None = None
    """What the producer had already dropped of the span."""
    provider_cost_usd: float | None = None
    """What the producer itself says that it cost; ours is in the summary."""
    same_call_as: Json | None = None
    """The span of the same model call that counts the reported tokens, where it is known."""
    sampling: Json | None = None
    """The probability with which its trace was kept, and why it was; None where all are."""


def shape_attributes(node: Node) -> CallAttributes:
    """The attributes of the node's call."""
    span, facts, kind = node.span, node.facts, node.kind
    reason = finish_reason(given := _reason_of(facts))
    scope, resource = _encode_surroundings(node.placed)
    attributes = CallAttributes(  # by position: by name it takes five times as long
        kind,
        _WEAVE_KINDS.get(kind),
        facts.operation if facts.operation != kind else None,
        facts.model,
        facts.response_model,
        facts.provider,
        facts.params,
        reason,
        given if given != reason else None,
        facts.response_id,
        facts.tool,
        facts.agent,
        facts.workflow,
        facts.session_id or facts.conversation_id,
        facts.user_id,
        facts.tags,
        facts.metadata,
        None,
        node.reported or facts.usage_sum,
        facts.error_type,
        _SPAN_KINDS[span.kind] if 0 < span.kind < len(_SPAN_KINDS) else None,
        facts.dialect,
        facts.warnings,
        scope,
        resource,
        facts.rest,
        facts.events,
        facts.logs,
    )
    if span.trace_state or span.links or span.dropped_attributes or span.dropped_events or span.dropped_links:
        _add_rarities(attributes, span)
    attributes.provider_cost_usd = facts.provider_cost_usd
    if node.same_call is not None or (facts.conversation_id and facts.session_id):
        _add_references(attributes, node)
    return attributes


def _add_references(attributes: CallAttributes, node: Node) -> None:
    facts = node.facts
    if node.same_call is not None:
        attributes.same_call_as = node.same_call._asdict()
    if facts.conversation_id and facts.session_id and facts.conversation_id != facts.session_id:
        attributes.metadata = {**(facts.metadata or {}), "conversation_id": facts.conversation_id}


def _reason_of(facts: Facts) -> str | None:
    if facts.finish_reasons:
        return facts.finish_reasons[0]
    reason = facts.choices[0].get("finish_reason") if facts.choices else None
    return reason if isinstance(reason, str) else None


def _add_rarities(attributes: CallAttributes, span: Span) -> None:
    attributes.trace_state = span.trace_state or None
    dropped = {
        "attributes": span.dropped_attributes,
        "events": span.dropped_events,
        "links": span.dropped_links,
    }
    attributes.dropped = {name: n for name, n in dropped.items() if n} or None
    if span.links:
        attributes.otel_links = [_link(link) for link in span.links]


def _link(link: Link) -> Json:
    told: Json = {"trace_id": link.trace_id, "span_id": link.span_id}
    if link.attributes:
        told["attributes"] = link.attributes
    if link.trace_state:
        told["trace_state"] = link.trace_state
    return told


_Surroundings: TypeAlias = tuple[msgspec.Raw | None, msgspec.Raw | None]

_encoded: dict[tuple[int, int], tuple[_Surroundings, Scope, Resource]] = {}
"""Scopes and resources by identity, encoded once for the spans of a batch; the objects are kept alive."""


def _encode_surroundings(placed: Placed) -> _Surroundings:
    key = id(placed.scope), id(placed.resource)
    known = _encoded.get(key)
    if known is not None:
        return known[0]
    scope, resource = placed.scope, placed.resource
    told = {"name": scope.name, "version": scope.version, "attributes": scope.attributes}
    raw = _raw({name: value for name, value in told.items() if value}), _raw(resource.attributes)
    if len(_encoded) >= _MAX_ENCODED:
        _encoded.clear()
    _encoded[key] = raw, scope, resource
    return raw


def _raw(told: object) -> msgspec.Raw | None:
    return msgspec.Raw(encode_text(told).encode()) if told else None
