"""Whatever attributes come, a valid call goes: nothing raises, and no token is counted twice."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.conventions import discover_dialects
from otel_wandb.records import Attributes, Event, LogRecord, Span, Value
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.joins import ModelCalls, join_calls
from otel_wandb.traces.node import Node
from otel_wandb.traces.tree import Tree
from tests.genai_spans import RESOURCE, SCOPE, calls_of, encode, make_span, make_trace, shape

KEYS = sorted(
    {key.rstrip("*#") for dialect in discover_dialects() for row in dialect.rows for key in row.keys}
)
EVENTS = sorted({name for dialect in discover_dialects() for name in (*dialect.moments, *dialect.details)})
OPERATIONS = [
    "chat",
    "embeddings",
    "retrieval",
    "execute_tool",
    "invoke_agent",
    "invoke_workflow",
    "rerank",
    "?",
]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\ud800", "a\udfff", "\x00"])
    | st.integers(0, 500).map("[".__mul__)
    | st.binary(max_size=10)
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        name: SCALARS
        | st.sampled_from(["text", "tool_call", "tool_call_response", "reasoning", "blob", "uri", "file"])
        for name in (
            "type",
            "content",
            "text",
            "id",
            "name",
            "arguments",
            "response",
            "mime_type",
            "uri",
            "file_id",
        )
    },
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": SCALARS | st.sampled_from(["system", "user", "assistant", "tool"]),
            "parts": SCALARS | st.lists(PARTS | SCALARS, max_size=3),
            "content": SCALARS | st.lists(PARTS, max_size=2),
            "tool_calls": SCALARS | st.lists(PARTS | SCALARS, max_size=2),
            "finish_reason": SCALARS,
        },
    )
    | SCALARS,
    max_size=3,
)
STRUCTURES = st.recursive(
    SCALARS | MESSAGES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def as_text(value: object) -> str:
    try:
        return encode(value)
    except (UnicodeError, msgspec.MsgspecError):
        return repr(value)


def cut(pair: tuple[str, int]) -> str:
    return pair[0][: pair[1]]


MANGLED = st.one_of(
    STRUCTURES,
    STRUCTURES.map(as_text),
    STRUCTURES.map(as_text).map(as_text),
    STRUCTURES.map(repr),
    st.tuples(MESSAGES.map(as_text), st.integers(0, 60)).map(cut),
    st.sampled_from(OPERATIONS),
)
NAMES = st.sampled_from(KEYS) | st.builds(
    lambda key, tail: f"{key}{tail}", st.sampled_from(KEYS), st.text("a.0*#", max_size=5)
)
ATTRIBUTES: st.SearchStrategy[Any] = st.dictionaries(NAMES | st.text(max_size=12), MANGLED, max_size=12)
MOMENTS: st.SearchStrategy[Any] = st.sampled_from([*EVENTS, "exception", ""])


@st.composite
def mangled_spans(draw: st.DrawFn) -> Span:
    number = draw(st.integers(1, 6))
    return msgspec.structs.replace(
        make_span(
            number,
            draw(ATTRIBUTES),
            parent=draw(st.integers(0, 7)),
            name=draw(st.text(max_size=200)),
            kind=draw(st.integers(0, 6)),
            events=draw(
                st.lists(st.builds(Event, st.integers(0, 2**64 - 1), MOMENTS, ATTRIBUTES), max_size=2)
            ),
            status=draw(st.integers(0, 2)),
            message=draw(st.text(max_size=5)),
        ),
        start_ns=draw(st.integers(0, 2**64 - 1)),
        end_ns=draw(st.integers(0, 2**64 - 1)),
    )


LOGS = st.lists(
    st.builds(
        LogRecord,
        time_ns=st.integers(0, 2**64 - 1),
        event_name=MOMENTS,
        body=MANGLED,
        attributes=ATTRIBUTES,
    ),
    max_size=2,
)

REQUIRED = {"id", "trace_id", "op_name", "started_at", "ended_at", "attributes", "inputs", "summary"}


def check_call(body: bytes) -> None:
    call = msgspec.json.decode(body)
    assert call.keys() >= REQUIRED
    assert body.startswith(b'{"id":"' + call["id"].encode())
    assert 0 < len(call["op_name"]) <= 128
    assert all(isinstance(call[name], dict) for name in ("attributes", "inputs", "summary"))
    assert call["attributes"]["kind"]
    assert isinstance(call.get("exception", ""), str)
    assert isinstance(call.get("display_name", ""), str)
    assert isinstance(call.get("thread_id", ""), str)
    for tokens in call["summary"].get("usage", {}).values():
        assert all(type(n) is int and 0 <= n < 2**64 for n in tokens.values())
    messages = call["inputs"].get("messages")
    if messages is not None:
        assert all(isinstance(message, dict) and isinstance(message["role"], str) for message in messages)


@settings(max_examples=100, deadline=None)
@given(st.lists(mangled_spans(), min_size=1, max_size=4), LOGS)
def test_any_attributes_make_a_valid_call_and_never_raise(spans: list[Span], logs: list[LogRecord]) -> None:
    shaped = shape(make_trace(*spans, logs=dict.fromkeys(range(1, 7), logs)))
    assert len(shaped.calls) + shaped.folded == len(spans)
    for call in shaped.calls:
        check_call(call.encode())


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=12).map("app.".__add__), SCALARS, max_size=8))
def test_what_nobody_understands_is_kept_as_it_came(attributes: dict[str, Value]) -> None:
    call: Any = calls_of(make_trace(make_span(1, attributes)))[1]
    try:
        expected = msgspec.json.decode(msgspec.json.encode(attributes))
    except UnicodeError:
        return
    assert call["attributes"].get("otel", {}) == expected


@st.composite
def spending_spans(draw: st.DrawFn) -> list[Span]:
    """A tree of calls of any kinds with tokens anywhere, also sums on parents and doubles."""
    spans = []
    for number in range(1, draw(st.integers(1, 7)) + 1):
        attributes: Attributes = {"gen_ai.operation.name": draw(st.sampled_from(OPERATIONS))}
        for name in ("input_tokens", "output_tokens"):
            if draw(st.booleans()):
                attributes[f"gen_ai.usage.{name}"] = draw(st.integers(0, 50))
        if draw(st.booleans()):
            attributes["gen_ai.response.id"] = draw(st.sampled_from(["a", "b"]))
        parent = draw(st.integers(0, number - 1))
        spans.append(make_span(number, attributes, parent=parent, start_ms=draw(st.integers(0, 30))))
    return spans


def leaf_tokens(spans: list[Span]) -> int:
    """What is told by model calls, and by other spans below which nobody tells of tokens."""

    def told(span: Span) -> int:
        return sum(
            n for key, n in span.attributes.items() if key.startswith("gen_ai.usage.") and isinstance(n, int)
        )

    def below(span: Span) -> list[Span]:
        children = [other for other in spans if other.parent_id == span.span_id]
        return children + [deeper for child in children for deeper in below(child)]

    models = ("chat", "embeddings", "rerank")
    return sum(
        told(span)
        for span in spans
        if span.attributes["gen_ai.operation.name"] in models or not any(told(other) for other in below(span))
    )


@settings(max_examples=100, deadline=None)
@given(spending_spans())
def test_a_trace_never_spends_more_than_its_leaf_calls_say(spans: list[Span]) -> None:
    counted = 0
    for call in calls_of(make_trace(*spans)).values():
        summary: Any = call["summary"]
        for tokens in summary.get("usage", {}).values():
            counted += tokens.get("input_tokens", 0) + tokens.get("output_tokens", 0)
            assert tokens["total_tokens"] == tokens.get("input_tokens", 0) + tokens.get("output_tokens", 0)
    assert counted <= leaf_tokens(spans)


TOKENS = ("input_tokens", "output_tokens", "cache_read.input_tokens", "reasoning.output_tokens")


@st.composite
def responses(draw: st.DrawFn) -> list[Span]:
    """Spans side by side that tell of a few responses, in traces of their own or together."""
    spans = []
    for number in range(1, draw(st.integers(1, 8)) + 1):
        tokens = {
            f"gen_ai.usage.{name}": draw(st.integers(1, 3))
            for name in (
                "input_tokens",
                "output_tokens",
                "cache_read.input_tokens",
                "reasoning.output_tokens",
            )
            if draw(st.booleans())
        }
        told: Attributes = {
            "gen_ai.operation.name": draw(st.sampled_from(["chat", "invoke_agent"])),
            "gen_ai.response.id": draw(st.sampled_from(["a", "b", "\ud800"])),
            **tokens,
        }
        span = make_span(number, told, start_ms=draw(st.integers(0, 30)), ms=draw(st.integers(0, 9)))
        spans.append(msgspec.structs.replace(span, trace_id=f"{draw(st.integers(1, 3)):032x}"))
    return spans


@settings(max_examples=100, deadline=None)
@given(responses(), st.sets(st.integers(1, 8)), st.booleans())
def test_no_response_counts_twice_or_not_at_all(spans: list[Span], borders: set[int], restarts: bool) -> None:
    known, states, kept = ModelCalls(), dict[str, bytes](), list[Node]()
    told: dict[str, dict[str, int]] = {}
    for batch in cut_into_batches(spans, borders):
        nodes = [node for tree in batch for node in tree.nodes]
        told |= {node.span.span_id: dict(node.usage) for node in nodes if node.usage}
        join_calls(nodes, lambda placed: ("team", "rag"), known)
        kept += nodes
        states.update(known.take_states())
        if restarts:
            known = ModelCalls()
            known.restore(states.items())
    spenders = {node.span.span_id: node for node in kept if node.usage}
    for node in kept:
        if node.same_call is None:
            assert (node.span.span_id in told) == (node.usage is not None)
            continue
        spender = spenders[node.same_call.span_id]
        assert spender.span.trace_id == node.same_call.trace_id
        assert spender.facts.response_id == node.facts.response_id
        assert spender.span.start_ns <= node.span.end_ns
        assert node.span.start_ns <= spender.span.end_ns
    for span_id, node in spenders.items():
        own = told[span_id]
        assert node.usage is not None
        assert all(node.usage[name] == own[name] for name in own if name != "total_tokens")
        twins = [n for n in kept if n.same_call and n.same_call.span_id == span_id]
        assert set(node.usage) <= {name for n in (node, *twins) for name in told[n.span.span_id]}


def cut_into_batches(spans: list[Span], borders: set[int]) -> list[list[Tree]]:
    """The traces of the spans, given out together but for where there is a border."""
    batches: list[list[Tree]] = [[]]
    for number, trace_id in enumerate(dict.fromkeys(span.trace_id for span in spans)):
        if number in borders:
            batches.append([])
        placed = tuple(Placed(s, SCOPE, RESOURCE, "0" * 16) for s in spans if s.trace_id == trace_id)
        batches[-1].append(Tree(FinishedTrace(trace_id, placed, "ended", complete=True), fold_asgi=True))
    return batches


def test_times_beyond_the_calendar() -> None:
    span = msgspec.structs.replace(make_span(1), start_ns=0, end_ns=2**64 - 1)
    call = calls_of(make_trace(span))[1]
    assert (call["started_at"], call["ended_at"]) == (
        "1970-01-01T00:00:00.000000Z",
        "2554-07-21T23:34:33.709551Z",
    )
