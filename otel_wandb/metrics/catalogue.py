"""The charts as data: which instruments feed them, under which keys, and what they mean.

Three tables say what telemetry means (`DURATIONS`, `TOKENS`, `LEVELS`, and `TWINS` what is the same under two
names); `CHARTS` says what is shown of it. `charts` only carries them out. What spans tell comes under the
same names (`traces.observations`), so that it is in the same charts.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from otel_wandb.metrics.opened import Twin

Pool: TypeAlias = Literal["request", "operation", "tool", "retrieval", "first_token"]
Measure: TypeAlias = Literal[
    "HTTP requests",
    "RPC requests",
    "messages",
    "requests to models",
    "workflows",
    "agents",
    "model calls",
    "embeddings",
    "tools",
    "retrievals",
    "databases",
    "first tokens",
    "first tokens of servers",
    "scores",
]
"""What metrics and spans both may tell: of each, only one of the two counts (`sources`)."""

TokenKind: TypeAlias = Literal["input", "output", "cache_read", "cache_write", "reasoning"]


class Part(NamedTuple):
    """A part of the name of an operation: the first of these attributes that is there, else `absent`."""

    attributes: tuple[str, ...]
    absent: str = ""
    route: bool = False
    """It is a route, and what is rather a path of a single request counts as absent."""


class Duration(NamedTuple):
    """An instrument that measures how long something took, and with which errors."""

    instrument: str
    pool: Pool
    unit: str
    """Where the instrument does not tell its own."""
    name: tuple[Part, ...]
    measure: Measure
    entry: int | None = None
    """What a request of the service is: of all that came this day, the instrument with the lowest number."""
    operations: tuple[str, ...] = ()
    """The values of `gen_ai.operation.name` that it is for; where there are none, all that are left."""


class Tokens(NamedTuple):
    """An instrument that counts tokens. `kind` is empty where an attribute tells it."""

    instrument: str
    kind: TokenKind | Literal[""] = ""


TEMPLATE_SCOPES: Final = "opentelemetry.instrumentation."
"""Scopes that begin so put the route into `http.target` of their metrics; with others it may be the path."""

_METHOD: Final = Part(("http.request.method", "http.method"), "HTTP")
_ROUTE: Final = Part(("http.route", "http.target"), "unmatched", route=True)
_RPC: Final = (Part(("rpc.service",)), Part(("rpc.method",), "rpc"))
OPERATION: Final = "gen_ai.operation.name"
_OPERATION: Final = Part((OPERATION,))
MODEL: Final = Part(("gen_ai.request.model", "gen_ai.response.model"))
PROVIDER: Final = Part(("gen_ai.provider.name", "gen_ai.system"))
_AGENT: Final = Part(("gen_ai.agent.name",), "agent")
_WORKFLOW: Final = Part(("gen_ai.workflow.name",), "workflow")
_TOOL: Final = Part(("gen_ai.tool.name", "tool_name"), "tool")
_SOURCE: Final = Part(("gen_ai.data_source.id", *PROVIDER.attributes))
_DELIVERY: Final = Part(("messaging.operation.name", "messaging.operation"), "process")
_QUEUE: Final = Part(
    ("messaging.destination.template", "messaging.destination.name", "messaging.destination"), route=True
)
_STATEMENT: Final = Part(("db.operation.name", "db.operation"), "query")
_COLLECTION: Final = Part(
    ("db.collection.name", "db.namespace", "db.name", "db.system.name", "db.system"), "db"
)
_FIRST: Final = Part((), "first_token")

_OPERATIONS: Final[tuple[tuple[Pool, tuple[Part, ...], Measure, int | None, tuple[str, ...]], ...]] = (
    ("operation", (_WORKFLOW,), "workflows", 3, ("invoke_workflow",)),
    ("operation", (_AGENT,), "agents", 4, ("invoke_agent",)),
    ("tool", (_TOOL,), "tools", None, ("execute_tool",)),
    ("retrieval", (_OPERATION, _SOURCE), "retrievals", None, ("retrieval", "search_memory")),
    ("operation", (_OPERATION, MODEL), "embeddings", 5, ("embeddings",)),
    ("operation", (_OPERATION, MODEL), "model calls", 5, ()),
)
"""What `gen_ai.client.operation.duration` measures, by operation; the instruments of most are newer."""

_FIRST_TOKENS: Final[tuple[tuple[str, str, tuple[Part, ...], Measure], ...]] = (
    ("gen_ai.client.inference.time_to_first_chunk", "s", (_OPERATION, MODEL), "first tokens"),
    ("gen_ai.client.operation.time_to_first_chunk", "s", (_OPERATION, MODEL), "first tokens"),
    ("strands.model.time_to_first_token", "ms", (), "first tokens"),
    ("gen_ai.server.time_to_first_token", "s", (_OPERATION, MODEL), "first tokens of servers"),
)

DURATIONS: Final[tuple[Duration, ...]] = (
    Duration("http.server.request.duration", "request", "s", (_METHOD, _ROUTE), "HTTP requests", 0),
    Duration("http.server.duration", "request", "ms", (_METHOD, _ROUTE), "HTTP requests", 0),
    Duration("rpc.server.call.duration", "request", "s", _RPC, "RPC requests", 1),
    Duration("rpc.server.duration", "request", "ms", _RPC, "RPC requests", 1),
    Duration("messaging.process.duration", "request", "s", (_DELIVERY, _QUEUE), "messages", 1),
    Duration(
        "gen_ai.server.request.duration", "operation", "s", (_OPERATION, MODEL), "requests to models", 2
    ),
    Duration("gen_ai.invoke_workflow.duration", "operation", "s", (_WORKFLOW,), "workflows", 3),
    Duration("gen_ai.workflow.duration", "operation", "s", (_WORKFLOW,), "workflows", 3),
    Duration("gen_ai.invoke_agent.duration", "operation", "s", (_AGENT,), "agents", 4),
    Duration("gen_ai.client.inference.duration", "operation", "s", (_OPERATION, MODEL), "model calls", 5),
    *(
        Duration("gen_ai.client.operation.duration", pool, "s", name, measure, entry, operations)
        for pool, name, measure, entry, operations in _OPERATIONS
    ),
    Duration("gen_ai.execute_tool.duration", "tool", "s", (_TOOL,), "tools"),
    Duration("strands.tool.duration", "tool", "s", (_TOOL,), "tools"),
    Duration("db.client.operation.duration", "retrieval", "s", (_STATEMENT, _COLLECTION), "databases"),
    Duration("db.client.query.duration", "retrieval", "s", (_STATEMENT, _COLLECTION), "databases"),
    *(
        Duration(instrument, "first_token", unit, (*name, _FIRST), measure)
        for instrument, unit, name, measure in _FIRST_TOKENS
    ),
)

SCORE: Final = "gen_ai.evaluation.score"
"""The instrument of what evaluations give. It is no convention's."""


class Split(NamedTuple):
    """An instrument under `metrics/` that does not mix: it has charts for each value of an attribute."""

    instrument: str
    attribute: str
    kind: str
    """The kind of its subjects."""
    measure: Measure


SPLITS: Final[tuple[Split, ...]] = (Split(SCORE, "gen_ai.evaluation.name", "score", "scores"),)

TOKENS: Final[tuple[Tokens, ...]] = (
    Tokens("gen_ai.client.inference.usage.input_tokens", "input"),
    Tokens("gen_ai.client.inference.usage.output_tokens", "output"),
    Tokens("gen_ai.client.inference.usage.cache_read.input_tokens", "cache_read"),
    Tokens("gen_ai.client.inference.usage.cache_write.input_tokens", "cache_write"),
    Tokens("gen_ai.client.inference.usage.reasoning.output_tokens", "reasoning"),
    Tokens("gen_ai.client.inference.operation.input_tokens", "input"),
    Tokens("gen_ai.client.inference.operation.output_tokens", "output"),
    Tokens("gen_ai.client.inference.tokens"),
    Tokens("gen_ai.client.token.usage"),
    Tokens("strands.event_loop.input.tokens", "input"),
    Tokens("strands.event_loop.output.tokens", "output"),
    Tokens("strands.event_loop.cache_read.input.tokens", "cache_read"),
    Tokens("strands.event_loop.cache_write.input.tokens", "cache_write"),
)

TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  not a password
TOKEN_KINDS: Final[dict[str, TokenKind]] = {
    "input": "input",
    "prompt": "input",
    "output": "output",
    "completion": "output",
    "cache_read": "cache_read",
    "cached": "cache_read",
    "input_cached": "cache_read",
    "cache_write": "cache_write",
    "cache_creation": "cache_write",
    "reasoning": "reasoning",
}

LEVELS: Final = ("http.server.active_requests",)
"""What is being worked on at the end of the interval, summed over the processes."""

TWINS: Final[tuple[Twin, ...]] = (
    Twin("http.server.duration", ("http.server.request.duration",)),
    Twin("http.server.request.size", ("http.server.request.body.size",)),
    Twin("http.server.response.size", ("http.server.response.body.size",)),
    Twin("http.client.duration", ("http.client.request.duration",)),
    Twin("http.client.request.size", ("http.client.request.body.size",)),
    Twin("http.client.response.size", ("http.client.response.body.size",)),
    Twin("rpc.server.duration", ("rpc.server.call.duration",)),
    Twin("rpc.client.duration", ("rpc.client.call.duration",)),
    Twin("gen_ai.workflow.duration", ("gen_ai.invoke_workflow.duration",)),
    Twin(
        "gen_ai.client.operation.duration",
        ("gen_ai.client.inference.duration",),
        ("gen_ai.operation.name",),
    ),
    Twin(
        "gen_ai.client.operation.time_to_first_chunk",
        ("gen_ai.client.inference.time_to_first_chunk",),
    ),
    Twin(
        "gen_ai.client.token.usage",
        ("gen_ai.client.inference.usage.*", "gen_ai.client.inference.operation.*"),
        ("gen_ai.operation.name",),
    ),
    Twin(
        "gen_ai.client.inference.operation.*",
        ("gen_ai.client.inference.usage.*",),
        ("gen_ai.operation.name",),
    ),
)
"""Of one process and scope, the older name is not counted beside the newer."""

MILLISECONDS: Final[dict[str, str]] = {
    "ns": "0.000001",
    "us": "0.001",
    "µs": "0.001",
    "μs": "0.001",
    "ms": "1",
    "milliseconds": "1",
    "s": "1000",
    "sec": "1000",
    "seconds": "1000",
    "min": "60000",
    "h": "3600000",
}
"""Units of durations, in milliseconds; as text, since they are exact."""

Feed: TypeAlias = Literal[
    "whole",
    "part",
    "attempt",
    "served",
    "error",
    "active",
    "tokens",
    "model",
    "call_tokens",
    "cost",
    "model_cost",
    "label_cost",
    "version",
    "version_tokens",
    "version_cost",
    "counter",
    "updown",
    "gauge",
    "histogram",
    "summary",
    "interval",
]
"""Requests; each operation, those that can fail, those that are requests or do their work; error types; what
is being worked on; tokens, those of each model, those of a call; cost, that of each model and of each value
of an attribute; requests, tokens and cost of each version of the service; all other instruments by their
families; the interval."""

OTHER: Final[dict[str, str]] = {
    "request": "other",
    "operation": "operation_other",
    "tool": "tool_other",
    "retrieval": "retrieval_other",
    "first_token": "first_token_other",
    "error": "error_other",
    "model": "other",
    "score": "gen_ai_evaluation_score_other",
    "version": "version_other",
}
"""What those are called that have no charts of their own; of an attribute's values, `ATTRIBUTE_other`."""


VERSION: Final = "version"
"""The kind of subjects that are versions of the service, and what their names begin with."""

LABEL: Final = "by "
"""What the kinds of subjects begin with that are values of an attribute."""


class Chart(NamedTuple):
    """A key, and the statistic of a feed that is shown under it.

    `{}` in the key stands for the subject: an operation, an error type, a model, an instrument. When a row
    has more keys than it may have, those of the highest `order` are left out first.
    """

    key: str
    feed: Feed
    statistic: str
    order: int
    doc: str


_DURATION_STATISTICS: Final = (
    ("p50", 1, "Half took no longer."),
    ("p95", 1, "95 % took no longer."),
    ("p99", 1, "99 % took no longer."),
    ("p90", 3, "Nine of ten took no longer."),
    ("mean", 3, "The mean duration."),
    ("std", 3, "The standard deviation of the durations, as far as the buckets tell."),
    ("min", 3, "The shortest."),
    ("max", 3, "The longest."),
)
_TOKEN_STATISTICS: Final = (
    ("input", 1, "Input tokens, cached ones included."),
    ("output", 1, "Output tokens, those of reasoning included."),
    ("cache_read", 2, "Input tokens that were read from a cache."),
    ("reasoning", 2, "Output tokens that were reasoning."),
    ("cache_write", 3, "Input tokens that were written to a cache."),
)
_COST_STATISTICS: Final = (
    ("total_usd", "usd", "What all tokens cost, as far as there are prices."),
    ("avg_cost_per_request_usd", "request_usd", "The mean cost of a model call that has a price."),
    ("unpriced_tokens_percent", "unpriced_percent", "Of 100 tokens, those without a price."),
    ("daily_total_usd", "daily_usd", "The cost since midnight (UTC)."),
    ("daily_requests", "daily_requests", "Model calls since midnight, of those that spans tell of."),
    ("daily_input_tokens", "daily_input", "Input tokens since midnight."),
    ("daily_output_tokens", "daily_output", "Output tokens since midnight."),
)
_HISTOGRAM_STATISTICS: Final = (
    ("p50", 2, "Half of the values are no larger."),
    ("p95", 2, "95 % of the values are no larger."),
    ("mean", 2, "Their mean."),
    ("count", 2, "How many values."),
    ("sum", 2, "Their sum."),
    ("p90", 3, "Nine of ten values are no larger."),
    ("p99", 3, "99 % of the values are no larger."),
    ("std", 3, "Their standard deviation, as far as the buckets tell."),
    ("min", 3, "The smallest value."),
    ("max", 3, "The largest value."),
)
_SUMMARY_STATISTICS: Final = (
    ("count", 2, "How many values."),
    ("sum", 2, "Their sum."),
    ("p50", 2, "The median that the busiest process told."),
    ("p90", 3, "The 0.9-quantile that the busiest process told."),
    ("p95", 3, "The 0.95-quantile that the busiest process told."),
    ("p99", 3, "The 0.99-quantile that the busiest process told."),
)

CHARTS: Final[tuple[Chart, ...]] = (
    *(Chart(f"latency/{name}_ms", "whole", name, 0, doc) for name, _, doc in _DURATION_STATISTICS),
    Chart("latency/count", "whole", "count", 0, "Requests that were measured."),
    Chart("latency/histogram", "whole", "bins", 0, "All durations in ms, every tenth row."),
    Chart("throughput/requests_per_second", "whole", "per_second", 0, "Requests that ended, a second."),
    Chart("throughput/active_requests", "active", "amount", 0, "Requests being worked on, in all processes."),
    Chart("errors/total_count", "whole", "errors", 0, "Requests that failed."),
    Chart("errors/request_count", "whole", "count", 0, "Requests, failed or not."),
    Chart("errors/total_rate_percent", "whole", "error_rate", 0, "Failed of 100 requests."),
    *(Chart(f"tokens/{name}", "tokens", name, 0, doc) for name, _, doc in _TOKEN_STATISTICS),
    Chart("tokens/per_request_p95", "call_tokens", "p95", 0, "95 % of the model calls took no more tokens."),
    *(Chart(f"cost/{key}", "cost", name, 0, doc) for key, name, doc in _COST_STATISTICS),
    Chart(
        "bridge/late_spans",
        "interval",
        "late_spans",
        0,
        "Spans too late for their own row, of those that tell something of charts.",
    ),
    Chart("bridge/late_points", "interval", "late_points", 0, "Data points too late for their own row."),
    Chart(
        "bridge/mapping_warnings", "interval", "mapping_warnings", 0, "What the dialects warned of its spans."
    ),
    *(
        Chart(f"latency/{{}}_{name}_ms", "part", name, order, doc)
        for name, order, doc in _DURATION_STATISTICS
    ),
    Chart("latency/{}_count", "part", "count", 1, "How often the operation was measured."),
    Chart("latency/{}_histogram", "part", "bins", 1, "Its durations in ms, every tenth row."),
    Chart("throughput/{}_requests_per_second", "served", "per_second", 1, "How often it ended, a second."),
    Chart("errors/{}_rate_percent", "attempt", "error_rate", 1, "Failed of 100 of the operation."),
    Chart("errors/{}_count", "error", "count", 1, "How often this error type occurred."),
    Chart("errors/{}_rate_percent", "error", "rate", 1, "How often of 100, where it occurred most."),
    *(Chart(f"tokens/{{}}_{name}", "model", name, order, doc) for name, order, doc in _TOKEN_STATISTICS),
    Chart("cost/{}_usd", "model_cost", "usd", 1, "What the model cost."),
    Chart(
        "cost/{}_usd", "label_cost", "usd", 1, "What calls with this value of an attribute cost (`cost_by`)."
    ),
    *(
        Chart(f"latency/{{}}_{name}_ms", "version", name, order, doc)
        for name, order, doc in _DURATION_STATISTICS[:2]
    ),
    Chart("latency/{}_count", "version", "count", 1, "Requests to the version of the service."),
    Chart("throughput/{}_requests_per_second", "version", "per_second", 1, "How many ended, a second."),
    Chart("errors/{}_rate_percent", "version", "error_rate", 1, "Failed of 100 of its requests."),
    *(
        Chart(f"tokens/{{}}_{name}", "version_tokens", name, order, doc)
        for name, order, doc in _TOKEN_STATISTICS[:2]
    ),
    Chart("cost/{}_usd", "version_cost", "usd", 1, "What the version cost."),
    Chart("metrics/{}", "counter", "amount", 2, "What the counter rose by in the interval."),
    Chart("metrics/{}", "updown", "amount", 2, "Where it stands, summed over attributes and processes."),
    Chart("metrics/{}", "gauge", "mean", 2, "The mean of the last values of attributes and processes."),
    Chart("metrics/{}_min", "gauge", "min", 3, "The smallest of these, where there are several."),
    Chart("metrics/{}_max", "gauge", "max", 3, "The largest of these, where there are several."),
    *(Chart(f"metrics/{{}}_{name}", "histogram", name, o, doc) for name, o, doc in _HISTOGRAM_STATISTICS),
    *(Chart(f"metrics/{{}}_{name}", "summary", name, o, doc) for name, o, doc in _SUMMARY_STATISTICS),
)
"""All keys. An instrument under `metrics/` keeps its own unit."""
