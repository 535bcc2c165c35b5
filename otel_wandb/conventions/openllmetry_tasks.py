"""Tasks of OpenLLMetry that are more than steps: LlamaIndex's components, which all are tasks by their span.

What they do is told by what went in and came out of them, and only where that is plain also by their class.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import parse, text
from otel_wandb.conventions.facts import Facts
from otel_wandb.conventions.payloads import unwrap_arguments

_QUERIES: Final = ("query_bundle", "str_or_query_bundle", "query", "query_str")


def tell_task(facts: Facts, given: object, name: object) -> None:
    """Gives a task its kind, where it is a retrieval, an embedding or a tool. `name` is the entity's."""
    asked = parse(given)
    owner = name.partition(".")[0] if isinstance(name, str) else ""
    if _found_nodes(facts.output, asked) or (owner.endswith("Retriever") and _asks(asked)):
        facts.kind = "retrieval"
    elif owner.endswith(("Embedding", "Embeddings")) and _is_vector(facts.output):
        facts.kind = "embeddings"
    elif isinstance(facts.output, dict) and {"tool_name", "raw_output"} <= facts.output.keys():
        _take_tool(facts, facts.output)


def _found_nodes(output: object, asked: object) -> bool:
    """A query went in and scored nodes came out."""
    found = output.get("nodes") if isinstance(output, dict) else output
    if not isinstance(found, list) or not found:
        return False
    if isinstance(asked, dict) and (asked.keys() & {"nodes", "documents"}):
        return False  # a postprocessor
    opened = (parse(node) for node in found)
    return all(isinstance(node, dict) and isinstance(node.get("node"), dict) for node in opened)


def _asks(asked: object) -> bool:
    return isinstance(asked, str) or (isinstance(asked, dict) and any(name in asked for name in _QUERIES))


def _is_vector(output: object) -> bool:
    """A vector, or a list of them."""
    first = output[0] if isinstance(output, list) and output else None
    if isinstance(first, list):
        first = first[0] if first else None
    return isinstance(first, float)


def _take_tool(facts: Facts, told: dict[str, object]) -> None:
    """`ToolOutput`: what was called, with what, and what came of it."""
    facts.kind = "tool"
    name = told["tool_name"]
    if isinstance(name, str) and not (facts.tool or {}).get("name"):
        facts.tool = {**(facts.tool or {}), "name": text(name)}
    if "raw_input" in told:
        facts.arguments = facts.arguments or unwrap_arguments(told["raw_input"])
        facts.input = None
    if not told.get("is_error"):
        facts.result, facts.output = told["raw_output"], None
