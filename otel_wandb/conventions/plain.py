"""What any span may say, whoever made it: read last, where no other dialect knew better."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.costs import COST_KEYS, read_cost
from otel_wandb.conventions.decoding import structure
from otel_wandb.conventions.table import Dialect, row

DIALECT: Final = Dialect(
    name="plain",
    rank=100,
    rows=(
        row("input", "input.value", "input", "inputs", decode=structure),
        row("output", "output.value", "output", "outputs", decode=structure),
        row("session_id", "session.id"),
        row("user_id", "user.id", "enduser.id"),
        row("error_type", "error.type"),
        row("provider_cost_usd", *COST_KEYS, decode=read_cost),
    ),
    always=True,
)
