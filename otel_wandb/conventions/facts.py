"""The canonical record: what a span says, whichever dialect it says it in.

A field is `None` where the span does not tell. The fields in `GROUPS` are dictionaries that are filled
member by member (`usage.input_tokens`, `params.temperature`); a group whose members are fixed lists them.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal[
    "chat",
    "embeddings",
    "retrieval",
    "rerank",
    "tool",
    "agent",
    "workflow",
    "guardrail",
    "evaluation",
    "http",
    "db",
    "other",
]

Json: TypeAlias = dict[str, object]

USAGE_KEYS: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
    "text_input_tokens",
    "text_output_tokens",
    "image_input_tokens",
    "image_output_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "image_cache_read_input_tokens",
    "audio_cache_read_input_tokens",
    "text_cache_read_input_tokens",
)
"""Input includes what was cached, output includes reasoning; the modalities are parts of both."""

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "params": (),
    "usage": USAGE_KEYS,
    "usage_sum": USAGE_KEYS,
    "tool": ("name", "call_id", "type", "description"),
    "agent": ("id", "name", "description", "version"),
    "metadata": (),
    "inputs": (),
    "outputs": (),
    "scores": (),
}
"""The grouped fields with their members; an empty tuple allows any member."""


class Fault(msgspec.Struct, frozen=True):
    """An exception as the span recorded it; what it does not tell is empty."""

    type: str = ""
    message: str = ""
    traceback: str = ""


class Facts(msgspec.Struct, gc=False):
    """What one span says, in one vocabulary."""

    dialect: str | None = None
    kind: Kind | None = None
    operation: str | None = None
    display_name: str | None = None

    model: str | None = None
    response_model: str | None = None
    provider: str | None = None
    params: Json | None = None
    response_id: str | None = None
    finish_reasons: list[str] | None = None

    system: list[Json] | None = None
    """System messages that were told apart from the history."""
    messages: list[Json] | None = None
    """The history in the chat-completions shape."""
    choices: list[Json] | None = None
    """`{"index", "finish_reason"?, "message"}`, one for each answer."""
    tools: msgspec.Raw | None = None
    """The tools on offer, encoded in the chat-completions shape."""

    usage: dict[str, int] | None = None
    counts_starts_twice: bool | None = None
    """The output tokens that a stream begins with are in its sum twice; how many, nobody tells."""
    usage_sum: dict[str, int] | None = None
    """Tokens that the producer itself calls the sum of other spans: never counted."""
    provider_cost_usd: float | None = None
    """What the producer says that it cost."""

    texts: list[object] | None = None
    """What was embedded."""
    embedding_count: int | None = None
    dimensions: int | None = None

    query: str | None = None
    top_k: int | None = None
    documents: list[Json] | None = None

    tool: Json | None = None
    arguments: object | None = None
    result: object | None = None

    agent: Json | None = None
    workflow: str | None = None

    input: object | None = None
    output: object | None = None
    inputs: Json | None = None
    """Named inputs of kinds without a contract of their own (http, db)."""
    outputs: Json | None = None

    thread_id: str | None = None
    session_id: str | None = None
    conversation_id: str | None = None
    user_id: str | None = None
    is_turn: bool | None = None
    tags: list[str] | None = None
    metadata: Json | None = None

    error_type: str | None = None
    fault: Fault | None = None
    """What the span failed of; one that has it failed, whatever its status says."""

    scores: Json | None = None
    """Lists of `conventions.scores.Score`, by where they stood."""

    continues: tuple[str, ...] | None = None
    """The span tells of the answer to another beside it, in which these attributes are the same."""

    rest: Json | None = None
    """Attributes that nobody understood, as they came."""
    events: list[Json] | None = None
    logs: list[Json] | None = None
    warnings: list[str] | None = None
    """`code` or `code:key`; the codes are stable."""

    said_messages: list[Json] | None = None
    """Messages gathered one by one from events and log records: used where the span has no history."""
    said_choices: list[Json] | None = None

    def warn(self, code: str, about: str = "") -> None:
        """Adds a warning; repeats of the same one are kept once."""
        warning = f"{code}:{about}" if about else code
        if self.warnings is None:
            self.warnings = [warning]
        elif warning not in self.warnings:
            self.warnings.append(warning)

    def keep(self, key: str, value: object) -> None:
        """Puts a raw attribute among those that were not understood."""
        if self.rest is None:
            self.rest = {}
        self.rest[key] = value


FIELDS: Final = frozenset(Facts.__struct_fields__) - {
    "dialect",
    "continues",
    "counts_starts_twice",
    "rest",
    "events",
    "logs",
    "warnings",
    "said_messages",
    "said_choices",
    "fault",
}
"""The fields that a row of a dialect may fill."""


def check_field(path: str) -> None:
    """Raises `ValueError` if no such field can be filled, so that a slip in a table shows at import."""
    name, _, member = path.partition(".")
    if name not in FIELDS or (member and name not in GROUPS):
        raise ValueError(f"{path!r} is no field of Facts; the fields are {', '.join(sorted(FIELDS))}")
    allowed = GROUPS.get(name)
    if allowed and member and member not in allowed:
        raise ValueError(f"{path!r}: {name} has {', '.join(allowed)}")
