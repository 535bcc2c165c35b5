"""W&B's own keys: what a user says about the call itself, before all that an instrumentation says."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import flag, mapping, structure
from otel_wandb.conventions.table import Dialect, row

DIALECT: Final = Dialect(
    name="wandb",
    rank=0,
    rows=(
        row("display_name", "wandb.display_name"),
        row("thread_id", "wandb.thread_id"),
        row("is_turn", "wandb.is_turn", decode=flag),
        row("metadata", "wandb.attributes", decode=mapping),
        row("metadata", "wandb.attributes.*", decode=structure),
    ),
    marks=("wandb.",),
)
