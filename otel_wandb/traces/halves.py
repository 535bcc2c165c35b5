"""Spans that continue another: the second half of a stream, which came after its request had ended.

Some producers end the span of a request when the stream begins, and tell of the answer on a second span
beside it, without a link. The dialect says of that span by which attributes the two agree; the first half
then gets the answer and the tokens, and the second keeps what it says and counts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from otel_wandb.traces.node import Node


def join_halves(seconds: Iterable[Node], nodes: Sequence[Node]) -> None:
    """Gives each first half what its second one tells. Call it before anything is summed up."""
    taken: set[int] = set()
    for second in sorted(seconds, key=lambda node: node.span.start_ns):
        beside = second.parent.children if second.parent is not None else nodes
        firsts = [node for node in beside if id(node) not in taken and _continues(second, node)]
        if firsts:
            first = max(firsts, key=lambda node: node.span.end_ns)
            taken.add(id(first))
            _complete(first, second)


def _continues(second: Node, first: Node) -> bool:
    said, asked = second.span, first.span
    return (
        first.facts.continues is None
        and first.kind == second.kind
        and first.facts.choices is None
        and first.usage is None
        and asked.parent_id == said.parent_id
        and asked.end_ns <= said.start_ns
        and first.placed.scope.name == second.placed.scope.name
        and all(asked.attributes.get(key) == said.attributes.get(key) for key in second.facts.continues or ())
    )


def _complete(first: Node, second: Node) -> None:
    asked, said = first.facts, second.facts
    asked.choices = said.choices
    asked.finish_reasons = said.finish_reasons
    asked.response_id = said.response_id
    asked.response_model = said.response_model or asked.response_model
    asked.provider_cost_usd, said.provider_cost_usd = said.provider_cost_usd, None
    first.usage = dict(second.usage) if second.usage is not None else None
    second.disown(first.place)
