"""A span in its tree, with what the tree finds out about it."""

from __future__ import annotations

from typing import Final, NamedTuple

from otel_wandb.conventions import Facts
from otel_wandb.conventions.facts import Kind
from otel_wandb.records import STATUS_ERROR
from otel_wandb.traces.finished import Placed
from otel_wandb.traces.usage import usage_of

MODEL_KINDS: Final[frozenset[Kind]] = frozenset(("chat", "embeddings", "rerank"))
"""What spends tokens itself."""

BORDERS: Final[frozenset[Kind]] = frozenset(
    ("tool", "agent", "workflow", "retrieval", "guardrail", "evaluation")
)
"""A model call below one of these is another call than the one above it."""


class Place(NamedTuple):
    """Where a call is."""

    trace_id: str
    span_id: str


class Node:
    """A span in its tree."""

    __slots__ = (
        "answer",
        "answered_ns",
        "asked_ns",
        "carriers",
        "children",
        "facts",
        "failed",
        "fine",
        "has_earlier",
        "kind",
        "parent",
        "placed",
        "question",
        "repeats",
        "reported",
        "same_call",
        "span",
        "spends_below",
        "thread_id",
        "turn_id",
        "usage",
    )

    def __init__(self, placed: Placed, facts: Facts) -> None:
        self.placed = placed
        self.span = span = placed.span
        self.facts = facts
        self.kind: Kind = facts.kind or "other"
        self.parent: Node | None = None
        self.children: list[Node] = []
        self.failed = 1 if span.status_code == STATUS_ERROR or facts.fault is not None else 0
        self.fine = 1 - self.failed
        self.usage = usage_of(facts) if facts.usage else None
        self.reported: dict[str, int] | None = None
        """Tokens that are told here and were spent below."""
        self.same_call: Place | None = None
        """The span of the same model call that counts these tokens."""
        self.repeats = False
        """Another span of this process, which is not above or below, is the same model call and counts."""
        self.spends_below = False
        self.carriers: list[Node] = []
        """Model calls below that count their tokens, with no border between."""
        self.has_earlier = False
        """Something below was given out before."""
        self.question: Facts | None = None
        """What the first model call at or below says, and what the last one does that answered."""
        self.answer: Facts | None = None
        self.asked_ns: int
        self.answered_ns: int
        self.thread_id: str | None
        self.turn_id: str | None = None

    @property
    def place(self) -> Place:
        """Where its call is."""
        return Place(self.span.trace_id, self.span.span_id)

    def disown(self, same_call: Place | None = None) -> None:
        """Leaves the tokens to another call, and only tells of them."""
        if self.usage is not None:
            self.reported = {name: tokens for name, tokens in self.usage.items() if name != "requests"}
            self.usage = None
            self.same_call = same_call
