"""Databases, by the stable names and by those before them."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import count
from otel_wandb.conventions.facts import Facts
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.records import Span

_SYSTEMS: Final = ("db.system.name", "db.system")


def _settle(facts: Facts, span: Span) -> None:
    if facts.kind is None and facts.inputs and "system" in facts.inputs:
        facts.kind = "db"


DIALECT: Final = Dialect(
    name="db",
    rank=80,
    rows=(
        row("inputs.system", *_SYSTEMS),
        row("inputs.namespace", "db.namespace", "db.name"),
        row("inputs.collection", "db.collection.name"),
        row("inputs.operation", "db.operation.name", "db.operation"),
        row("inputs.query", "db.query.text", "db.statement"),
        row("outputs.returned_rows", "db.response.returned_rows", decode=count),
    ),
    marks=_SYSTEMS,
    settle=_settle,
)
