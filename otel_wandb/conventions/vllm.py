"""The vLLM server: one span for a request, with the times of its stages and no prompts.

`vllm/tracing/utils.py`. It repeats the tokens of the client's span, under which it hangs.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import count
from otel_wandb.conventions.facts import Facts
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.records import Span


def _settle(facts: Facts, span: Span) -> None:
    if facts.kind is None and span.name == "llm_request":
        facts.kind = "chat"


DIALECT: Final = Dialect(
    name="vllm",
    rank=33,
    rows=(
        row("params.n", "gen_ai.request.n", decode=count),
        row("metadata.request_id", "gen_ai.request.id"),
    ),
    marks=("gen_ai.latency.time_in_queue", "gen_ai.usage.num_sequences"),
    scopes=("vllm.",),
    settle=_settle,
)
