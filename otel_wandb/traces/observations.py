"""What a span tells of durations and errors: the values that the metrics of its producer would have recorded.

Which span is measured as what stands in tables: its kind names an instrument of the semantic conventions, and
the attributes of that which have few values. What counts:

- A span of kind SERVER or CONSUMER is a request, unless its parent is one in the same process. So is a root
  of this service with GenAI work below it, as the workflow that it is. Messages of an ASGI exchange, client
  spans of HTTP and everything else are none.
- Of several spans of one model call one counts: the one that counts the tokens; where none tells any, the
  innermost. Spans of other services have their own charts.
- Of workflows inside each other (chains and their steps) the outermost counts; each agent, tool, retrieval
  and database statement does.
- It counts as often as its sampling upstream says (`weights`).
- A span fails where its status says so or an error type is told; a request over HTTP with a status of 500
  and above, too.

The attributes become names of charts, so they hold no path of a single request. Pure, and a few hundred
nanoseconds a span; sources: https://github.com/open-telemetry/semantic-conventions and
https://github.com/open-telemetry/semantic-conventions-genai.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from otel_wandb.conventions.facts import Kind
from otel_wandb.conventions.first_token import first_token_ns
from otel_wandb.metrics.from_spans import Spend, Told
from otel_wandb.metrics.observed import Observation, Source
from otel_wandb.metrics.runs import service_of
from otel_wandb.metrics.sorting import is_route
from otel_wandb.records import (
    FLAG_HAS_IS_REMOTE,
    FLAG_IS_REMOTE,
    SPAN_KIND_CLIENT,
    SPAN_KIND_CONSUMER,
    SPAN_KIND_PRODUCER,
    SPAN_KIND_SERVER,
    STATUS_ERROR,
    Span,
)
from otel_wandb.traces.clean_names import clean_names
from otel_wandb.traces.node import BORDERS, MODEL_KINDS, Node
from otel_wandb.traces.weights import weigh

_MAX_TEXT: Final = 1024
"""A longer text is no name. What is shown of one is cut behind the redaction, which has to see all of it."""
_MAX_WORDS: Final = 3
_SERVER_ERROR: Final = 500
_NO_ID: Final = "0" * 16
_OTHER_ERROR: Final = "_OTHER"  # the conventions' word for an error without a type
_OPERATIONS: Final = frozenset(("chat", "generate_content", "text_completion", "embeddings", "rerank"))
_SEARCHES: Final = frozenset(("retrieval", "search_memory"))
_NO_RUNS: Final = frozenset(("create_agent", "plan"))
_ENTRANCES: Final = frozenset((SPAN_KIND_SERVER, SPAN_KIND_CONSUMER))
_REMOTE: Final = frozenset((*_ENTRANCES, SPAN_KIND_CLIENT, SPAN_KIND_PRODUCER))
_WORK: Final[frozenset[Kind]] = frozenset((*MODEL_KINDS, "agent", "workflow", "tool", "retrieval"))
_RUNS: Final[frozenset[Kind]] = frozenset(("agent", "workflow"))

Values: TypeAlias = tuple[str | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """An instrument of durations in seconds, its attributes, and how their values are found."""

    instrument: str
    attributes: tuple[str, ...]
    read: Callable[[Node], Values]


Rules: TypeAlias = tuple[Rule, ...]
"""What is measured of a span: mostly one thing. Behind a model call stands how long its first piece took."""


def tell(node: Node, spend: Spend | None) -> Told | None:
    """What the node's span tells of charts; None if nothing. To be asked when its call is shaped."""
    observations, warnings = observe(node), node.facts.warnings
    if spend is None and not observations and not warnings:
        return None
    span = node.span
    weight = weigh(span) if span.trace_state else 1
    return Told(span.span_id, span.end_ns, weight, spend, observations, len(warnings) if warnings else 0)


def observe(node: Node) -> tuple[Observation, ...]:
    """What the node's span adds to charts; mostly one duration, or nothing."""
    if node.span.kind in _ENTRANCES:
        rules = _find_entrances(node)
    else:
        find = _FINDERS.get(node.kind)
        rules = () if find is None else find(node)
    if not rules:
        return ()
    measured = _measure(node, rules[0])
    if len(rules) == 1:
        return (measured,)
    if rules[1].read is not _read_call:
        return measured, _measure(node, rules[1])
    first_ns = first_token_ns(node.span, node.facts)
    if first_ns is None:
        return (measured,)
    return measured, Observation(_name_source(rules[1], rules[1].read(node)), first_ns)


def _measure(node: Node, rule: Rule) -> Observation:
    span = node.span
    duration_ns = span.end_ns - span.start_ns if 0 < span.start_ns <= span.end_ns else 0
    if rule is not _HTTP and span.status_code != STATUS_ERROR and not node.facts.error_type:
        return Observation(_name_source(rule, rule.read(node)), duration_ns)
    return Observation(_name_source(rule, rule.read(node), *_read_error(node, rule)), duration_ns)


def _find_entrances(node: Node) -> Rules:
    parent, attributes = node.parent, node.span.attributes
    if parent is not None and parent.span.kind in _ENTRANCES and _is_neighbour(parent, node):
        return ()
    if "http.request.method" in attributes or "http.method" in attributes:
        return (_HTTP,)
    if node.kind in _SERVED:
        return _SERVED[node.kind]
    rule = _MESSAGE if node.span.kind == SPAN_KIND_CONSUMER else _RPC
    return (rule, *_TOOLS) if node.kind == "tool" else (rule,)


@lru_cache(maxsize=20_000)
def _name_source(rule: Rule, values: Values, name: str = "", error: str = "") -> Source:
    labels = [(key, value) for key, value in zip(rule.attributes, values, strict=True) if value]
    if error:
        labels.append((name, error))
    return Source((rule.instrument, "s", clean_names(labels)))


def _read_error(node: Node, rule: Rule) -> tuple[str, str]:
    """The attribute that tells the error, and its value; empty where there was none."""
    facts, failed = node.facts, node.span.status_code == STATUS_ERROR
    if rule is _HTTP:
        status = (facts.outputs or {}).get("status_code")
        broken = isinstance(status, int) and status >= _SERVER_ERROR
        if not failed and not broken:
            return "", ""
        if broken and not facts.error_type:
            return "http.response.status_code", str(status)
    error = facts.error_type or ""
    if not error and failed:
        error = (facts.fault.type if facts.fault else "") or _OTHER_ERROR
    return ("error.type", error if len(error) <= _MAX_TEXT else _OTHER_ERROR) if error else ("", "")


def _is_call(node: Node) -> bool:
    """Whether it is the span of its model call that counts."""
    if node.usage is not None:
        return True
    if node.repeats or node.facts.continues is not None:
        return False
    return not (node.children and _is_done_below(node)) and not _is_told_above(node)


def _is_done_below(node: Node) -> bool:
    stack = list(node.children)
    while stack:
        below = stack.pop()
        if below.kind == node.kind and _is_neighbour(below, node):
            return True
        if below.kind not in BORDERS:
            stack += below.children
    return False


def _is_told_above(node: Node) -> bool:
    above = node.parent
    while above is not None and above.kind not in BORDERS and _is_neighbour(above, node):
        if above.kind == node.kind and above.usage is not None:
            return True
        above = above.parent
    return False


def _is_outermost(node: Node) -> bool:
    """Whether no run of the service is around it; what is still open above may be one."""
    top = node
    while top.parent is not None and _is_neighbour(top.parent, node):
        top = top.parent
        if top.kind in _RUNS:
            return False
    return top.parent is not None or _begins_here(top.span)


def _is_root_of_work(node: Node) -> bool:
    if node.parent is not None or node.span.kind in _REMOTE or not _begins_here(node.span):
        return False
    stack = list(node.children)
    while stack:
        below = stack.pop()
        if below.kind in _WORK and _is_neighbour(below, node):
            return True
        if below.span.kind not in _ENTRANCES:
            stack += below.children
    return node.has_earlier


def _begins_here(span: Span) -> bool:
    """Whether the span has no parent in its process."""
    if not span.parent_id or span.parent_id == _NO_ID:
        return True
    if span.flags & FLAG_HAS_IS_REMOTE:
        return bool(span.flags & FLAG_IS_REMOTE)
    return span.kind in _ENTRANCES


def _is_neighbour(one: Node, other: Node) -> bool:
    """Whether both are of one service."""
    mine, theirs = one.placed.resource, other.placed.resource
    return mine is theirs or service_of(mine.attributes) == service_of(theirs.attributes)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT else None


def _member(group: Mapping[str, object] | None, name: str) -> str | None:
    return _text(group.get(name)) if group else None


@lru_cache(maxsize=4096)
def _route(path: str) -> str | None:
    return path if 0 < len(path) <= _MAX_TEXT and is_route(path) else None


@lru_cache(maxsize=4096)
def _name(text: str) -> str | None:
    """A name that a programmer gave, and not what a user typed; None where it may be that."""
    words = text.split()
    return text if 0 < len(words) <= _MAX_WORDS and all(is_route(word) for word in words) else None


def _read_request(node: Node) -> Values:
    attributes = node.span.attributes
    method = attributes.get("http.request.method") or attributes.get("http.method")
    route = attributes.get("http.route")
    return _text(method), _route(route) if isinstance(route, str) else None


def _read_rpc(node: Node) -> Values:
    attributes = node.span.attributes
    system = attributes.get("rpc.system.name") or attributes.get("rpc.system")
    method = _text(attributes.get("rpc.method"))
    return _text(system), _text(attributes.get("rpc.service")), method or _name(node.span.name)


def _read_message(node: Node) -> Values:
    attributes = node.span.attributes
    queue = next((value for key in _QUEUES if isinstance(value := attributes.get(key), str) and value), "")
    operation = attributes.get("messaging.operation.name") or attributes.get("messaging.operation")
    return _text(attributes.get("messaging.system")), _text(operation), _route(queue)


def _read_call(node: Node) -> Values:
    facts = node.facts
    operation = facts.operation if facts.operation in _OPERATIONS else node.kind
    return operation, _text(facts.provider), _text(facts.model or facts.response_model)


def _read_tool(node: Node) -> Values:
    return (_member(node.facts.tool, "name"),)


def _read_agent(node: Node) -> Values:
    return (_member(node.facts.agent, "name"),)


def _read_workflow(node: Node) -> Values:
    return (_text(node.facts.workflow) or _name(node.span.name),)


def _read_retrieval(node: Node) -> Values:
    facts = node.facts
    operation = facts.operation if facts.operation in _SEARCHES else "retrieval"
    return operation, _text(facts.provider), _member(facts.metadata, "data_source_id")


def _read_statement(node: Node) -> Values:
    told = node.facts.inputs
    return tuple(_member(told, name) for name in ("system", "namespace", "collection", "operation"))


_MODEL: Final = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
_QUEUES: Final = ("messaging.destination.template", "messaging.destination.name", "messaging.destination")

_HTTP: Final = Rule("http.server.request.duration", ("http.request.method", "http.route"), _read_request)
_RPC: Final = Rule("rpc.server.call.duration", ("rpc.system.name", "rpc.service", "rpc.method"), _read_rpc)
_MESSAGE: Final = Rule(
    "messaging.process.duration",
    ("messaging.system", "messaging.operation.name", "messaging.destination.name"),
    _read_message,
)
_CALLS: Final = (
    Rule("gen_ai.client.operation.duration", _MODEL, _read_call),
    Rule("gen_ai.client.operation.time_to_first_chunk", _MODEL, _read_call),
)
_SERVED_CALLS: Final = (
    Rule("gen_ai.server.request.duration", _MODEL, _read_call),
    Rule("gen_ai.server.time_to_first_token", _MODEL, _read_call),
)
_TOOLS: Final = (Rule("gen_ai.execute_tool.duration", ("gen_ai.tool.name",), _read_tool),)
_AGENTS: Final = (Rule("gen_ai.invoke_agent.duration", ("gen_ai.agent.name",), _read_agent),)
_WORKFLOWS: Final = (Rule("gen_ai.invoke_workflow.duration", ("gen_ai.workflow.name",), _read_workflow),)
_RETRIEVALS: Final = (
    Rule(
        "gen_ai.client.operation.duration",
        ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.data_source.id"),
        _read_retrieval,
    ),
)
_STATEMENTS: Final = (
    Rule(
        "db.client.operation.duration",
        ("db.system.name", "db.namespace", "db.collection.name", "db.operation.name"),
        _read_statement,
    ),
)

_SERVED: Final[Mapping[Kind, Rules]] = {
    **dict.fromkeys(MODEL_KINDS, _SERVED_CALLS),
    "agent": _AGENTS,
    "workflow": _WORKFLOWS,
}
"""What a server's span is that is no HTTP: agents and workflows are the same on either side."""

_FINDERS: Final[Mapping[Kind, Callable[[Node], Rules]]] = {
    **dict.fromkeys(MODEL_KINDS, lambda node: _CALLS if _is_call(node) else ()),
    "tool": lambda node: _TOOLS,
    "agent": lambda node: () if node.facts.operation in _NO_RUNS else _AGENTS,
    "workflow": lambda node: _WORKFLOWS if _is_outermost(node) else (),
    "retrieval": lambda node: _STATEMENTS if "system" in (node.facts.inputs or ()) else _RETRIEVALS,
    "db": lambda node: _STATEMENTS,
    "other": lambda node: _WORKFLOWS if _is_root_of_work(node) else (),
}
"""What any other span is, by its kind."""
