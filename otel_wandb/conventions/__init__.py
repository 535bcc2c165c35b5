"""Dialects in, one canonical record out: `read_span` says what a span tells, whichever convention it follows.

A dialect is a module of this package with a `DIALECT` table; adding one is adding a file, or an entry point
in a package of one's own (`docs/conventions.md`), which the bridge hands over to `make_reader`. All dialects
that a span speaks are read together: each fact is taken from the most trusted key that has it, nothing is
added up and nothing is guessed. What nobody understood stays as it came, and what could not be read is a
warning.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence

from otel_wandb.conventions.facts import Facts
from otel_wandb.conventions.moments import read_moments
from otel_wandb.conventions.reader import Reader
from otel_wandb.conventions.table import Dialect
from otel_wandb.records import LogRecord, Resource, Scope, Span

__all__ = ["BUILT_IN", "Facts", "Reader", "discover_dialects", "make_reader", "read_span"]


def discover_dialects() -> list[Dialect]:
    """The dialects of this package, by listing its modules."""
    modules = (
        importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    )
    return [module.DIALECT for module in modules if hasattr(module, "DIALECT")]


def make_reader(more: Iterable[Dialect] = ()) -> Reader:
    """A reader of the dialects of this package and of `more`."""
    return Reader((*discover_dialects(), *more))


BUILT_IN = make_reader()
"""The reader of the dialects of this package alone."""


def read_span(
    span: Span,
    scope: Scope,
    resource: Resource,
    logs: Sequence[LogRecord] = (),
    reader: Reader = BUILT_IN,
) -> Facts:
    """What the span and the log records that name it say, in the one vocabulary. Never raises."""
    plan = reader.plan(span.attributes, scope.name)
    facts = reader.read(span.attributes, plan)
    if span.events or logs:
        read_moments(reader, facts, span, scope, logs)
    for settle in plan.settles:
        try:
            settle(facts, span)
        except Exception:  # noqa: BLE001  a dialect's mistake is a warning, it does not cost the span
            facts.warn("unsettled")
    return facts
