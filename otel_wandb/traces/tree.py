"""The shape of a trace: who is whose parent, what a subtree adds up to, which span spent the tokens.

Built in one walk over the spans, and safe on any input: a span that is its own ancestor becomes a root.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from otel_wandb.conventions import BUILT_IN, Reader, read_span
from otel_wandb.records import (
    FLAG_HAS_IS_REMOTE,
    FLAG_IS_REMOTE,
    SPAN_KIND_CONSUMER,
    SPAN_KIND_INTERNAL,
    SPAN_KIND_SERVER,
    STATUS_ERROR,
    Span,
)
from otel_wandb.traces.finished import Earlier, FinishedTrace
from otel_wandb.traces.halves import join_halves
from otel_wandb.traces.node import BORDERS, MODEL_KINDS, Node
from otel_wandb.traces.usage import complete_usage

_NO_ID: Final = "0" * 16
_NOISE: Final = (" http send", " http receive")


class Tree:
    """The nodes in the order of their spans, and parents before children in `descending`."""

    def __init__(self, trace: FinishedTrace, *, fold_asgi: bool, reader: Reader = BUILT_IN) -> None:
        self.trace = trace
        self.folded: dict[str, str] = {}
        self.nodes: list[Node] = []
        self._by_id: dict[str, Node] = {}
        for placed in trace.spans:
            span = placed.span
            if fold_asgi and not placed.logs and is_asgi_noise(span):
                self.folded[span.span_id] = span.parent_id
                continue
            node = Node(placed, read_span(span, placed.scope, placed.resource, placed.logs, reader))
            self.nodes.append(node)
            self._by_id.setdefault(span.span_id, node)
        self._link()
        halves = [node for node in self.nodes if node.facts.continues is not None]
        if halves:
            join_halves(halves, self.nodes)
        self.descending = _descend(self.nodes)
        if trace.memory:
            self._add_earlier(trace.memory)
        _roll_up(self.descending)

    def release(self) -> None:
        """Unties the nodes, so that they go with the last reference and not when the collector finds them."""
        for node in self.nodes:
            node.parent = None

    def parent_id_of(self, node: Node, trace: FinishedTrace) -> str | None:
        """The parent as Weave shall see it.

        A parent that is not here may be in another process or may still be open, so its id stays. Only when
        the input has ended, and the parent must have been in this process, is the span a root.
        """
        if node.parent is not None:
            return node.parent.span.span_id
        parent_id = self._unfolded(node.span.parent_id)
        if not parent_id or parent_id == _NO_ID or parent_id in self._by_id:
            return None  # in the last case it is in a circle, of which this is the first
        lost = trace.reason == "end" and parent_id not in trace.memory and is_local_parent(node.span)
        return None if lost else parent_id

    def turn_id_of(self, node: Node, trace: FinishedTrace) -> str:
        """The id of the topmost call above the node that is known, in this part of the trace or before."""
        top_id, parent_id = node.span.span_id, self._unfolded(node.span.parent_id)
        for _ in trace.memory:
            if parent_id not in trace.memory:
                break
            top_id, parent_id = parent_id, trace.memory[parent_id].parent_id
        is_open = trace.reason == "subtree" and parent_id and is_local_parent(node.span)
        return parent_id if is_open else top_id

    def _link(self) -> None:
        for node in self.nodes:
            parent_id = node.span.parent_id
            if parent_id:
                if self.folded:
                    parent_id = self._unfolded(parent_id)
                node.parent = parent = self._by_id.get(parent_id)
                if parent is not None:
                    parent.children.append(node)

    def _unfolded(self, parent_id: str) -> str:
        for _ in self.folded:
            if parent_id not in self.folded:
                break
            parent_id = self.folded[parent_id]
        return parent_id

    def _add_earlier(self, memory: Mapping[str, Earlier]) -> None:
        above: dict[str, Node | None] = {}
        for span_id, earlier in memory.items():
            path: list[str] = []
            step = span_id
            while step in memory and step not in above and len(path) <= len(memory):
                path.append(step)
                step = memory[step].parent_id
            node = above.get(step) if step in above else self._by_id.get(self._unfolded(step))
            above.update(dict.fromkeys(path, node))
            if node is not None:
                node.has_earlier = True
                if earlier.error:
                    node.failed += 1
                else:
                    node.fine += 1


def is_asgi_noise(span: Span) -> bool:
    """Whether this is one message of an ASGI exchange, which says nothing that the request does not."""
    return (
        span.kind == SPAN_KIND_INTERNAL
        and span.name.endswith(_NOISE)
        and span.status_code != STATUS_ERROR
        and "asgi.event.type" in span.attributes
        and not (span.events or span.links)
    )


def is_local_parent(span: Span) -> bool:
    """Whether the parent, if there is one, was in the same process."""
    if span.flags & FLAG_HAS_IS_REMOTE:
        return not span.flags & FLAG_IS_REMOTE
    return span.kind not in (SPAN_KIND_SERVER, SPAN_KIND_CONSUMER)


def _descend(nodes: list[Node]) -> list[Node]:
    order: list[Node] = []
    stack = [node for node in nodes if node.parent is None]
    stack.reverse()
    _walk(stack, order)
    if len(order) < len(nodes):
        seen = {id(node) for node in order}
        for node in nodes:
            if id(node) not in seen:  # only circles are left: the first of each becomes a root
                if node.parent is not None:
                    node.parent.children.remove(node)
                    node.parent = None
                before = len(order)
                _walk([node], order)
                seen.update(id(found) for found in order[before:])
    return order


def _walk(stack: list[Node], order: list[Node]) -> None:
    while stack:
        node = stack.pop()
        order.append(node)
        if node.children:
            stack.extend(reversed(node.children))


def _roll_up(descending: list[Node]) -> None:
    for node in reversed(descending):
        _settle_usage(node)
        if node.kind == "chat":
            _ask_and_answer(node)
        parent = node.parent
        if parent is None:
            continue
        parent.fine += node.fine
        parent.failed += node.failed
        if node.usage is not None or node.spends_below:
            parent.spends_below = True
            if node.usage is not None and node.kind in MODEL_KINDS:
                parent.carriers.append(node)
            if node.carriers and node.kind not in BORDERS:
                parent.carriers.extend(node.carriers)
        if node.question is not None and (parent.question is None or node.asked_ns <= parent.asked_ns):
            parent.question, parent.asked_ns = node.question, node.asked_ns
        if node.answer is not None and (parent.answer is None or node.answered_ns > parent.answered_ns):
            parent.answer, parent.answered_ns = node.answer, node.answered_ns


def _settle_usage(node: Node) -> None:
    """Takes the tokens from a span that only repeats what others below it spent."""
    if node.usage is None:
        return
    if node.kind in MODEL_KINDS:
        inner = [carrier for carrier in node.carriers if _is_same_call(node, carrier)]
        if len(inner) == 1 and inner[0].usage is not None:
            complete_usage(inner[0].usage, node.usage)
            node.disown(inner[0].place)
        elif inner:
            node.disown()
    elif node.spends_below or node.has_earlier:
        node.disown()


def _is_same_call(outer: Node, inner: Node) -> bool:
    ids = outer.facts.response_id, inner.facts.response_id
    return outer.kind == inner.kind and (None in ids or ids[0] == ids[1])


def _ask_and_answer(node: Node) -> None:
    facts, start_ns, end_ns = node.facts, node.span.start_ns, node.span.end_ns
    if facts.messages and (node.question is None or start_ns <= node.asked_ns):
        node.question, node.asked_ns = facts, start_ns
    if facts.choices and (node.answer is None or end_ns > node.answered_ns):
        message = facts.choices[0].get("message")
        if isinstance(message, dict) and message.get("content"):
            node.answer, node.answered_ns = facts, end_ns
