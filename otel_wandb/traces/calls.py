"""Finished traces to Weave calls: one span, one call, by the contract in `docs/architecture.md`.

Pure: the same trace gives the same calls, byte for byte. Links stand under `attributes.otel_links`, events
and log records that are no content under `attributes.otel_events` and `attributes.otel_logs`, and attributes
that nobody understood under `attributes.otel`, as they came.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from otel_wandb.conventions.decoding import MAX_DEPTH, encode_text, plain
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.messages import finish_reason
from otel_wandb.conventions.times import iso_time
from otel_wandb.records import SPAN_KIND_CONSUMER, SPAN_KIND_SERVER, STATUS_ERROR, Link, Resource, Scope, Span
from otel_wandb.traces.bodies import shape_body
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.threads import thread_calls
from otel_wandb.traces.tree import Node, Tree
from otel_wandb.traces.usage import model_of

_log = logging.getLogger("otel_wandb.traces")

_MAX_NAME_CHARS: Final = 128
_MAX_DISPLAY_CHARS: Final = 1024
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
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_MAX_ENCODED: Final = 256
_ENCODER: Final = msgspec.json.Encoder()


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


class CallSummary(msgspec.Struct, omit_defaults=True, gc=False):
    """`summary` of a call."""

    status_counts: dict[str, int]
    usage: dict[str, dict[str, int]] | None = None


class Call(msgspec.Struct, omit_defaults=True, gc=False):
    """A whole call as it is written to Weave, but for the project and the run, which the store adds."""

    id: str
    trace_id: str
    op_name: str
    started_at: str
    ended_at: str
    attributes: CallAttributes
    inputs: Json
    summary: CallSummary
    parent_id: str | None = None
    display_name: str | None = None
    output: object | None = None
    exception: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None

    def encode(self) -> bytes:
        """JSON that starts with the id; what JSON cannot hold is replaced by the nearest that it can."""
        try:
            body = _ENCODER.encode(self)
        except (UnicodeError, TypeError, RecursionError, OverflowError, ValueError):
            return _ENCODER.encode(plain(self))
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _may_be_deep(body):
            return _ENCODER.encode(plain(self))
        return body


def _may_be_deep(body: bytes) -> bool:
    """False only if no value is nested deeper than servers read; brackets in strings may make it true."""
    brackets = body.translate(None, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")  # the innermost pairs
        if len(fewer) in (0, len(brackets)):
            return bool(fewer)
        brackets = fewer
    return True


@dataclass(frozen=True, slots=True)
class ShapedTrace:
    """The calls in the order of the spans, the number of spans folded away, warnings by `dialect:code`."""

    calls: list[Call]
    folded: int
    warnings: Counter[str]


def shape_trace(
    trace: FinishedTrace, *, project_of: Callable[[Placed], tuple[str, str]], fold_asgi: bool = True
) -> ShapedTrace:
    """The calls of a trace, or of a part of one. Never raises on account of what the spans hold."""
    tree = Tree(trace, fold_asgi=fold_asgi)
    thread_calls(tree, trace, project_of)
    warnings: Counter[str] = Counter()
    calls = []
    for node in tree.nodes:
        calls.append(_shape(node, tree, trace))
        for warning in node.facts.warnings or ():
            warnings[f"{node.facts.dialect or 'none'}:{warning.split(':', 1)[0]}"] += 1
    tree.release()
    return ShapedTrace(calls, len(tree.folded), warnings)


def _shape(node: Node, tree: Tree, trace: FinishedTrace) -> Call:
    span, facts, kind = node.span, node.facts, node.kind
    reasons = facts.finish_reasons
    scope, resource = _encode_surroundings(node.placed)
    attributes = CallAttributes(  # by position: by name it takes five times as long
        kind,
        _WEAVE_KINDS.get(kind),
        facts.operation if facts.operation != kind else None,
        facts.model,
        facts.response_model,
        facts.provider,
        facts.params,
        finish_reason(reasons[0]) if reasons else _reason_of(facts),
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
    if facts.conversation_id and facts.session_id and facts.conversation_id != facts.session_id:
        attributes.metadata = {**(facts.metadata or {}), "conversation_id": facts.conversation_id}
    inputs, output = shape_body(facts, kind)
    parent_id = tree.parent_id_of(node, trace)
    if kind in _DERIVED or (node.parent is None and _is_entrance(node, parent_id)):
        output = _derive(node, attributes, inputs, output)
    return Call(
        span.span_id,
        span.trace_id,
        op_name(span.name),
        iso_time(span.start_ns),
        iso_time(span.end_ns),
        attributes,
        inputs,
        CallSummary(
            {"success": node.fine, "error": node.failed},
            {model_of(facts): node.usage} if node.usage is not None else None,
        ),
        parent_id,
        facts.display_name[:_MAX_DISPLAY_CHARS] if facts.display_name else None,
        output,
        _exception(span, facts) if span.status_code == STATUS_ERROR else None,
        node.thread_id,
        node.turn_id,
    )


_DERIVED: Final = frozenset(("agent", "workflow"))


def _is_entrance(node: Node, parent_id: str | None) -> bool:
    """Whether this is where a request enters: a server's span, or a root that some code put round it all."""
    if node.kind == "http":
        return node.span.kind in (SPAN_KIND_SERVER, SPAN_KIND_CONSUMER)
    return node.kind == "other" and parent_id is None


def _derive(node: Node, attributes: CallAttributes, inputs: Json, output: object) -> object:
    """Gives a run or an entrance that shows no content the question and the answer of the calls below it."""
    derived = []
    if node.question is not None and "input" not in inputs and "messages" not in inputs:
        question = _last_said(node.question.messages or [])
        if question is not None:
            inputs["input"] = question
            derived.append("input")
    told = output if isinstance(output, dict) else {}
    if node.answer is not None and "output" not in told and "choices" not in told:
        message = (node.answer.choices or [{}])[0].get("message")
        output = {**told, "output": message.get("content") if isinstance(message, dict) else None}
        derived.append("output")
    attributes.derived = derived or None
    return output


def _last_said(messages: list[Json]) -> object | None:
    """What the user said last before the first model call: earlier messages are history."""
    for message in reversed(messages):
        if message.get("role") == "user" and message.get("content"):
            return message["content"]
    return None


def _reason_of(facts: Facts) -> str | None:
    if facts.choices:
        reason = facts.choices[0].get("finish_reason")
        return reason if isinstance(reason, str) else None
    return None


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


def _exception(span: Span, facts: Facts) -> str:
    """JSON of what went wrong: the recorded exception, else the status, else the error's type."""
    fault = facts.fault
    kind = (fault.type if fault else "") or facts.error_type or "error"
    message = (fault.message if fault else "") or span.status_message or facts.error_type or kind
    told = {"type": kind, "message": message}
    if fault is not None and fault.traceback:
        told["traceback"] = fault.traceback
    return encode_text(told)


def op_name(name: str) -> str:
    """The span's name as Weave takes it: not empty, at most 128 characters, and never read as a reference."""
    if name.startswith("weave://"):
        name = "span " + name
    if len(name) <= _MAX_NAME_CHARS:
        return name or "unnamed"
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{name[: _MAX_NAME_CHARS - len(digest) - 1]}~{digest}"


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
