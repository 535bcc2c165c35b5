"""LangSmith's OpenTelemetry mode: a run's inputs and outputs as JSON, under OpenTelemetry's earliest names.

`langsmith/_internal/otel/_otel_exporter.py`. Its `gen_ai.operation.name` is wrong for retrievers and prompts,
and a failed run may have the status of a good one: an update that tells of no error sets it anew.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import flag, number, strings, structure, text
from otel_wandb.conventions.facts import Facts, Kind
from otel_wandb.conventions.genai import provider
from otel_wandb.conventions.moments import fault_of
from otel_wandb.conventions.payloads import open_payloads
from otel_wandb.conventions.table import Dialect, row, words
from otel_wandb.conventions.wire_usage import part_of
from otel_wandb.records import Span

_RUN_TYPES: Final[dict[str, Kind]] = {
    "llm": "chat",
    "chain": "workflow",
    "tool": "tool",
    "retriever": "retrieval",
    "embedding": "embeddings",
    "prompt": "other",
    "parser": "other",
}
_METADATA: Final = "langsmith.metadata."


def _tags(value: object) -> list[str] | None:
    """All tags in one string, "a, b"."""
    if isinstance(value, str) and value[:1] != "[":
        return [tag for tag in value.split(", ") if tag] or None
    return strings(value)


def _provider(value: object) -> str | None:
    """The provider of the model; `langchain` stands where it is not known."""
    return None if value == "langchain" else provider(value)


_ROWS: Final = (
    row("kind", "langsmith.span.kind", decode=words(_RUN_TYPES)),
    row("input", "gen_ai.prompt", decode=structure),
    row("output", "gen_ai.completion", decode=structure),
    row("model", f"{_METADATA}ls_model_name", "gen_ai.request.model"),
    row("provider", f"{_METADATA}ls_provider", "gen_ai.system", decode=_provider),
    row("params.temperature", f"{_METADATA}ls_temperature", decode=number),
    row("params.max_tokens", f"{_METADATA}ls_max_tokens", decode=number),
    row("params.stop", f"{_METADATA}ls_stop", decode=strings),
    row("params.stream", "langsmith.request.streaming", decode=flag),
    *(
        row(f"usage.{part}", f"gen_ai.usage.{way}_token_details", decode=part_of(part))
        for way, part in (
            ("input", "cache_read_input_tokens"),
            ("input", "cache_creation_input_tokens"),
            ("input", "audio_input_tokens"),
            ("output", "reasoning_tokens"),
            ("output", "audio_output_tokens"),
        )
    ),
    row("thread_id", f"{_METADATA}thread_id"),
    row("session_id", f"{_METADATA}session_id", f"{_METADATA}conversation_id"),
    row("user_id", f"{_METADATA}user_id"),
    row("tags", "langsmith.span.tags", decode=_tags),
    row("metadata.project", "langsmith.trace.session_name"),
    row("metadata", f"{_METADATA}*", decode=structure),
)


_RUNS: Final[frozenset[Kind]] = frozenset(("workflow", "other"))


def _said(value: object) -> object | None:
    """`{}` stands where there was nothing, or nothing yet."""
    return None if value == {} else value


def _unwrap(value: object, name: str) -> object:
    """A value that is no object is sent in one."""
    return value[name] if isinstance(value, dict) and value.keys() == {name} else value


def _settle(facts: Facts, span: Span) -> None:
    if facts.provider == "langchain":
        facts.provider = None
    facts.input, facts.output = _said(facts.input), _said(facts.output)
    _take_fault(facts)
    open_payloads(facts)
    if facts.kind in _RUNS:
        facts.input, facts.output = _unwrap(facts.input, "input"), _unwrap(facts.output, "output")
    if facts.kind == "tool" and not (facts.tool or {}).get("name"):
        facts.tool = {
            **(facts.tool or {}),
            "name": text(span.attributes.get("langsmith.trace.name")) or span.name,
        }


def _take_fault(facts: Facts) -> None:
    """What the run failed of, whose exception is recorded only for that."""
    told = [event for event in facts.events or () if event.get("name") == "exception"]
    if facts.fault is None and told:
        facts.fault = fault_of(told[-1].get("attributes"))
        facts.events = [event for event in facts.events or () if event is not told[-1]] or None


DIALECT: Final = Dialect(
    name="langsmith", rank=25, rows=_ROWS, marks=("langsmith.",), scopes=("langsmith",), settle=_settle
)
