"""A day of three services in OTLP requests, minute by minute, and the night before, of a fourth.

`gateway` has two instances, which are recycled, sends traces, cumulative metrics and logs. `rag` answers its
requests in the same traces, and tells of them by spans alone. `jobs` has metrics alone, `batch` model calls.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.otlp_samples import Request, attributes

MINUTES: Final = 24 * 60
MINUTE_NS: Final = 60 * 1_000_000_000
HOUR_NS: Final = 60 * MINUTE_NS
SPANS: Final = 5
"""Those of one trace: the gateway's, and four of `rag`."""
EDGES_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ROUTES: Final = ("/chat", "/search", "/summary")
MODELS: Final = ("rag-small", "rag-large")
WORDS: Final = ("pens", "paper", "ink", "desk", "lamp", "chair", "shelf", "glue", "card", "file")
_MS: Final = 1_000_000
NIGHT_MINUTES: Final = 4 * 60
_NIGHT_CALLS: Final = 140
"""A minute: so many that what a bridge remembers of model calls and of texts is full when they end."""
_FIRST_REACH_NS: Final = 10 * MINUTE_NS
_RECYCLED_EVERY: Final = 180
"""How many minutes an instance of the gateway lives."""


@dataclass(frozen=True)
class Asked:
    """One request to the gateway."""

    number: int
    begin_ns: int
    took_ms: int
    route: str
    model: str
    user: str
    failed: bool
    words: str

    @property
    def trace_id(self) -> bytes:
        return (self.number + 1).to_bytes(16)

    def span_id(self, place: int) -> bytes:
        """That of the gateway is at place 0."""
        return (SPANS * self.number + place + 1).to_bytes(8)

    @property
    def end_ns(self) -> int:
        return self.begin_ns + self.took_ms * _MS

    @property
    def minute_end_s(self) -> int:
        """The end of the minute in which it, and all that belongs to it, ended."""
        return (self.end_ns // MINUTE_NS + 1) * 60


@dataclass
class Instance:
    """A process of the gateway, and what it has measured since it began."""

    name: str
    begin_ns: int
    durations: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    told: set[tuple[str, int]] = field(default_factory=set)
    unfounded: list[int] = field(default_factory=list)
    """How many requests were in the first points that came too long after the beginning to be all new."""

    def measure(self, asked: Asked) -> None:
        key = (asked.route, 500 if asked.failed else 200)
        self.durations.setdefault(key, []).append(asked.took_ms / 1000)

    def collect(self, now_ns: int) -> ExportMetricsServiceRequest:
        """What its exporter sends then: all since it began."""
        points = []
        for (route, status), taken in self.durations.items():
            if (route, status) not in self.told and now_ns - self.begin_ns > _FIRST_REACH_NS:
                self.unfounded.append(len(taken))
            self.told.add((route, status))
            counts = [0] * (len(EDGES_S) + 1)
            for one in taken:
                counts[bisect_left(EDGES_S, one)] += 1
            told = {"http.request.method": "POST", "http.route": route, "http.response.status_code": status}
            points.append(
                HistogramDataPoint(
                    start_time_unix_nano=self.begin_ns,
                    time_unix_nano=now_ns,
                    attributes=attributes(told),
                    count=len(taken),
                    sum=math.fsum(taken),
                    explicit_bounds=EDGES_S,
                    bucket_counts=counts,
                )
            )
        histogram = Histogram(data_points=points, aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE)
        metric = Metric(name="http.server.request.duration", unit="s", histogram=histogram)
        return _metrics("gateway", [metric], instance=self.name)


def make_night(begin_ns: int) -> Iterator[tuple[int, list[Request]]]:
    """The end of each minute of the night, and what is sent then: model calls."""
    for minute in range(NIGHT_MINUTES):
        minute_ns = begin_ns + minute * MINUTE_NS
        first = minute * _NIGHT_CALLS
        calls = [_night_call(first + n, minute_ns + n * 100 * _MS) for n in range(_NIGHT_CALLS)]
        yield minute_ns + MINUTE_NS, [_spans("batch", calls)]


NIGHT_SPANS: Final = NIGHT_MINUTES * _NIGHT_CALLS


class Day:
    """What happens from `begin_ns` on, for 24 hours; the same each time.

    The load has one peak, at the end of the second third, so that this and the last third mirror each other.
    """

    def __init__(self, begin_ns: int) -> None:
        self.begin_ns = begin_ns
        self.end_ns = begin_ns + MINUTES * MINUTE_NS
        self.asked: list[Asked] = []
        """All that was asked so far."""
        self.sent: dict[str, int] = {"spans": 0, "log_records": 0, "metric_points": 0}
        """How many items of each signal the requests so far have."""
        self.requests = 0
        """How many requests they were."""
        self.judged = 0
        """How many requests a score was sent of."""
        self._dice = np.random.default_rng(8)
        self._instances = [Instance(f"gateway-{n}", begin_ns) for n in range(2)]
        self._all = list(self._instances)
        self._jobs = 0

    def minutes(self) -> Iterator[tuple[int, list[Request]]]:
        """The end of each minute, and what is sent then."""
        for minute in range(MINUTES):
            begin_ns = self.begin_ns + minute * MINUTE_NS
            asked = self._ask(minute, begin_ns)
            self.asked += asked
            yield begin_ns + MINUTE_NS, list(self._requests(asked, minute, begin_ns + MINUTE_NS))

    def _requests(self, asked: list[Asked], minute: int, now_ns: int) -> Iterator[Request]:
        if asked:
            yield self._count("spans", _spans("gateway", [_gateway_span(one) for one in asked]))
            yield self._count("spans", _spans("rag", [span for one in asked for span in _rag_spans(one)]))
            yield self._count("log_records", _logs([_line(one) for one in asked] + self._judge(asked)))
        for place, instance in enumerate(self._instances):
            for one in asked[place :: len(self._instances)]:
                instance.measure(one)
            if instance.durations:
                yield self._count("metric_points", instance.collect(now_ns - 1))
        if minute % _RECYCLED_EVERY == _RECYCLED_EVERY - 1:
            born = Instance(f"gateway-{len(self._all)}", now_ns)
            self._instances[len(self._all) % 2] = born
            self._all.append(born)
        yield self._count("metric_points", self._work(minute, now_ns - 1))

    def _ask(self, minute: int, begin_ns: int) -> list[Asked]:
        load = 7 + 5 * math.cos(2 * math.pi * (minute / MINUTES - 2 / 3))
        dice, asked = self._dice, list[Asked]()
        for second in sorted(dice.uniform(0, 54, dice.poisson(load))):
            words = dice.choice(WORDS, 4)
            asked.append(
                Asked(
                    number=len(self.asked) + len(asked),
                    begin_ns=begin_ns + int(second * 1e9),
                    took_ms=int(min(5000, 20 + dice.lognormal(6, 0.7))),
                    route=ROUTES[dice.integers(len(ROUTES))],
                    model=MODELS[dice.integers(len(MODELS))],
                    user=f"user-{dice.integers(1_000_000)}",
                    failed=bool(dice.random() < 0.02),
                    words=" ".join(words),
                )
            )
        return asked

    def _judge(self, asked: list[Asked]) -> list[LogRecord]:
        judged = [one for one in asked if one.number % 10 == 0]
        self.judged += len(judged)
        return [_score(one) for one in judged]

    def _work(self, minute: int, now_ns: int) -> ExportMetricsServiceRequest:
        self._jobs += int(self._dice.integers(20))
        times: dict[str, Any] = {"start_time_unix_nano": self.begin_ns, "time_unix_nano": now_ns}
        done = Sum(
            data_points=[NumberDataPoint(**times, as_int=self._jobs)],
            aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE,
            is_monotonic=True,
        )
        waiting = Gauge(data_points=[NumberDataPoint(time_unix_nano=now_ns, as_int=minute % 7)])
        return _metrics(
            "jobs", [Metric(name="jobs.done", sum=done), Metric(name="jobs.waiting", gauge=waiting)]
        )

    @property
    def jobs(self) -> int:
        """How many jobs were done."""
        return self._jobs

    @property
    def measured(self) -> int:
        """How many requests the metrics of the gateway tell of."""
        return len(self.asked) - sum(sum(instance.unfounded) for instance in self._all)

    @property
    def unfounded(self) -> int:
        """How many points of its metrics tell nothing."""
        return sum(len(instance.unfounded) for instance in self._all)

    def _count(self, signal: str, request: Request) -> Request:
        match request:
            case ExportTraceServiceRequest():
                items = sum(len(s.spans) for r in request.resource_spans for s in r.scope_spans)
            case ExportLogsServiceRequest():
                items = sum(len(s.log_records) for r in request.resource_logs for s in r.scope_logs)
            case _:
                told = [m for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics]
                items = sum(len(getattr(m, str(m.WhichOneof("data"))).data_points) for m in told)
        self.sent[signal] += items
        self.requests += 1
        return request


def _resource(service: str, **more: str) -> Resource:
    return Resource(attributes=attributes({"service.name": service, "service.version": "1.4", **more}))


def _spans(service: str, spans: list[Span]) -> ExportTraceServiceRequest:
    scoped = ScopeSpans(scope=InstrumentationScope(name=service, version="1"), spans=spans)
    told = ResourceSpans(resource=_resource(service), scope_spans=[scoped])
    return ExportTraceServiceRequest(resource_spans=[told])


def _metrics(service: str, told: list[Metric], *, instance: str = "only") -> ExportMetricsServiceRequest:
    scoped = ScopeMetrics(scope=InstrumentationScope(name=service), metrics=told)
    resource = _resource(service, **{"service.instance.id": instance})
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=[scoped])]
    )


def _logs(records: list[LogRecord]) -> ExportLogsServiceRequest:
    scoped = ScopeLogs(scope=InstrumentationScope(name="gateway"), log_records=records)
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=_resource("gateway"), scope_logs=[scoped])]
    )


def _span(
    asked: Asked,
    place: int,
    parent: int | None,
    name: str,
    part: tuple[float, float],
    told: dict[str, Any],
    **more: Any,
) -> Span:
    """`part` is what it takes of the whole, from where to where."""
    begin_ns, end_ns = (asked.begin_ns + int(asked.took_ms * one) * _MS for one in part)
    return Span(
        trace_id=asked.trace_id,
        span_id=asked.span_id(place),
        parent_span_id=b"" if parent is None else asked.span_id(parent),
        name=name,
        start_time_unix_nano=begin_ns,
        end_time_unix_nano=end_ns,
        attributes=attributes(told),
        **more,
    )


def _gateway_span(asked: Asked) -> Span:
    told = {
        "http.request.method": "POST",
        "http.route": asked.route,
        "http.response.status_code": 500 if asked.failed else 200,
        "user.id": asked.user,
    }
    status = Status(code=Status.STATUS_CODE_ERROR if asked.failed else Status.STATUS_CODE_UNSET)
    return _span(
        asked, 0, None, f"POST {asked.route}", (0, 1), told, kind=Span.SPAN_KIND_SERVER, status=status
    )


def _rag_spans(asked: Asked) -> list[Span]:
    client: dict[str, Any] = {"kind": Span.SPAN_KIND_CLIENT}
    workflow = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "rag",
        "gen_ai.conversation.id": f"session-{asked.user}",
        "user.id": asked.user,
    }
    embeddings = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "rag-vectors",
        "gen_ai.usage.input_tokens": 7,
    }
    documents = [{"id": f"doc-{n}", "score": 1 / (n + 2), "content": asked.words * 8} for n in range(3)]
    retrieval = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "wares",
        "gen_ai.retrieval.query.text": asked.words,
        "gen_ai.retrieval.documents": json.dumps(documents),
    }
    question = [{"role": "user", "parts": [{"type": "text", "content": f"Have you {asked.words}?"}]}]
    answer = [
        {"role": "assistant", "parts": [{"type": "text", "content": asked.words}], "finish_reason": "stop"}
    ]
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": asked.model,
        "gen_ai.response.id": f"answer-{asked.number}",
        "gen_ai.usage.input_tokens": 140 + asked.number % 9,
        "gen_ai.usage.output_tokens": 20 + asked.number % 7,
        "gen_ai.input.messages": json.dumps(question),
        "gen_ai.output.messages": json.dumps(answer),
    }
    return [
        _span(asked, 1, 0, "invoke_workflow rag", (0.1, 0.95), workflow),
        _span(asked, 2, 1, "embeddings rag-vectors", (0.1, 0.2), embeddings, **client),
        _span(asked, 3, 1, "retrieval wares", (0.2, 0.4), retrieval, **client),
        _span(asked, 4, 1, f"chat {asked.model}", (0.4, 0.9), chat, **client),
    ]


def _night_call(number: int, begin_ns: int) -> Span:
    told = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODELS[number % 2],
        "gen_ai.response.id": f"night-{number}",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "user.id": f"night-user-{number}",
    }
    return Span(
        trace_id=(number + (1 << 100)).to_bytes(16),
        span_id=(number + (1 << 60)).to_bytes(8),
        name="chat",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=begin_ns,
        end_time_unix_nano=begin_ns + 2000 * _MS,
        attributes=attributes(told),
    )


def _line(asked: Asked) -> LogRecord:
    return LogRecord(
        time_unix_nano=asked.end_ns,
        severity_text="INFO",
        body=attributes({"body": f"answered {asked.words}"})[0].value,
        trace_id=asked.trace_id,
        span_id=asked.span_id(0),
    )


def _score(asked: Asked) -> LogRecord:
    told = {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": (asked.number % 97) / 97}
    return LogRecord(
        time_unix_nano=asked.end_ns,
        event_name="gen_ai.evaluation.result",
        attributes=attributes(told),
        trace_id=asked.trace_id,
        span_id=asked.span_id(4),
    )
