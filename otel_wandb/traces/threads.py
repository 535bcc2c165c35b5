"""Threads and turns: a conversation is a thread, and each of its traces one turn.

The call that opens a turn is the topmost one of the thread in the trace; its id is the turn's. A span without
a thread of its own belongs to the one above it, and what stands above all threads of a trace to its only one.
"""

from __future__ import annotations

from collections.abc import Callable

from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.node import Node
from otel_wandb.traces.tree import Tree


def thread_calls(tree: Tree, trace: FinishedTrace, project_of: Callable[[Placed], tuple[str, str]]) -> None:
    """Sets `thread_id` and `turn_id` on the nodes of each conversation."""
    for node in tree.nodes:
        facts = node.facts
        node.thread_id = facts.thread_id or facts.session_id or facts.conversation_id
    told = {node.thread_id for node in tree.nodes} - {None}
    if told:
        _open_turns(tree, trace, project_of, told.pop() if len(told) == 1 else None)


def _open_turns(
    tree: Tree, trace: FinishedTrace, project_of: Callable[[Placed], tuple[str, str]], only: str | None
) -> None:
    turns: dict[tuple[tuple[str, str], str], str] = {}
    for node in tree.descending:
        above = node.parent
        if node.thread_id is None:
            node.thread_id = (above.thread_id if above is not None else None) or only
            if node.thread_id is None:
                continue
        if node.facts.is_turn:
            node.turn_id = node.span.span_id
        elif above is not None and _is_same_conversation(node, above, project_of):
            node.turn_id = above.turn_id
        else:
            opened = node.span.span_id if above is not None else tree.turn_id_of(node, trace)
            node.turn_id = turns.setdefault((project_of(node.placed), node.thread_id), opened)


def _is_same_conversation(node: Node, above: Node, project_of: Callable[[Placed], tuple[str, str]]) -> bool:
    if node.thread_id != above.thread_id:
        return False
    return node.placed.resource is above.placed.resource or project_of(node.placed) == project_of(
        above.placed
    )
