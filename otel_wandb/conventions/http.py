"""HTTP, by the stable names and by those before them."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import count
from otel_wandb.conventions.facts import Facts
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.records import Span

_METHODS: Final = ("http.request.method", "http.method")


def _settle(facts: Facts, span: Span) -> None:
    if facts.kind is None and facts.inputs and "method" in facts.inputs:
        facts.kind = "http"


DIALECT: Final = Dialect(
    name="http",
    rank=70,
    rows=(
        row("inputs.method", *_METHODS),
        row("inputs.route", "http.route"),
        row("inputs.url", "url.full", "http.url"),
        row("inputs.path", "url.path", "http.target"),
        row("inputs.query", "url.query"),
        row("outputs.status_code", "http.response.status_code", "http.status_code", decode=count),
    ),
    marks=_METHODS,
    settle=_settle,
)
