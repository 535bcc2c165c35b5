"""What the assembly hands over: the spans of a finished trace, with all that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from otel_wandb.records import LogRecord, Resource, Scope, Span


class Placed(NamedTuple):
    """A span with its surroundings; `logs` are the records that name it, in the order of their time."""

    span: Span
    scope: Scope
    resource: Resource
    config: str
    logs: tuple[LogRecord, ...] = ()


class Earlier(NamedTuple):
    """What is remembered of a span that was given out before: its parent, and whether it failed."""

    parent_id: str
    error: bool


@dataclass(frozen=True, slots=True)
class FinishedTrace:
    """A trace, or a part of one, that is given out once.

    `reason` is ended, idle, age, subtree, late, flush, full or end. `complete` says that no part was given
    out before and none is expected. `memory` holds the spans given out before, by span id.
    """

    trace_id: str
    spans: tuple[Placed, ...]
    reason: str
    complete: bool
    memory: Mapping[str, Earlier] = field(default_factory=dict)
