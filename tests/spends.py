"""Traces and metrics of a service that spends tokens, and the drain that makes rows of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otel_wandb.config import Settings
from otel_wandb.conversion_line import Pool
from otel_wandb.drain import Drain
from otel_wandb.journal import Codec, Frame, Kind, Segment
from otel_wandb.store import Store
from otel_wandb.store.rows import decode_values

S: Final = 1_000_000_000
MIDNIGHT_S: Final = 1_795_564_800
"""2026-11-25 00:00 UTC; times of the samples are seconds after it."""


def at(second: float) -> str:
    return str(MIDNIGHT_S * S + round(second * S))


def attributes(values: Mapping[str, object]) -> list[dict[str, object]]:
    def wire(value: object) -> dict[str, object]:
        if isinstance(value, bool):
            return {"boolValue": value}
        if isinstance(value, int):
            return {"intValue": str(value)}
        return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}

    return [{"key": name, "value": wire(value)} for name, value in values.items()]


def resource(service: str) -> dict[str, object]:
    return {"attributes": attributes({"service.name": service})}


def chat(
    number: int,
    end: float,
    *,
    given: int = 1000,
    made: int = 100,
    model: str = "gpt-4o-mini",
    provider: str = "openai",
    user: str = "",
    route: str = "/chat",
    seconds: float = 1.0,
    entrance_seconds: float = 0.0,
    more: Mapping[str, object] | None = None,
) -> list[dict[str, Any]]:
    """A request to a service and its model call, which ends at that second, and the request a while later."""
    trace_id = f"{number + 1:032x}"
    root = {
        "traceId": trace_id,
        "spanId": f"{2 * number + 1:016x}",
        "name": f"POST {route}",
        "kind": 2,
        "startTimeUnixNano": at(end - seconds),
        "endTimeUnixNano": at(end + entrance_seconds),
        "attributes": attributes(
            {"http.request.method": "POST", "http.route": route, **({"user.id": user} if user else {})}
        ),
    }
    call = {
        "traceId": trace_id,
        "spanId": f"{2 * number + 2:016x}",
        "parentSpanId": root["spanId"],
        "name": f"chat {model}",
        "kind": 3,
        "startTimeUnixNano": at(end - seconds),
        "endTimeUnixNano": at(end),
        "attributes": attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": model,
                "gen_ai.usage.input_tokens": given,
                "gen_ai.usage.output_tokens": made,
                **(more or {}),
            }
        ),
    }
    return [call, root]


def span(
    number: int,
    name: str = "span",
    told: Mapping[str, object] | None = None,
    *,
    kind: int = 1,
    parent: int = 0,
    trace: int = 1,
    end: float = 30,
    seconds: float = 1.0,
    error: bool = False,
    **more: object,
) -> dict[str, Any]:
    """A span that ends at that second; `more` are members of it as they are."""
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": at(end - seconds),
        "endTimeUnixNano": at(end),
        "attributes": attributes(told or {}),
        "status": {"code": 2} if error else {},
        **more,
    }


def event(name: str, second: float, told: Mapping[str, object] | None = None) -> dict[str, object]:
    """A span event."""
    return {"name": name, "timeUnixNano": at(second), "attributes": attributes(told or {})}


def traces(*spans: list[dict[str, Any]], service: str = "rag") -> dict[str, Any]:
    """A request with spans."""
    flat = [span for group in spans for span in group]
    scope = {"scope": {"name": "tests"}, "spans": flat}
    return {"resourceSpans": [{"resource": resource(service), "scopeSpans": [scope]}]}


def token_metrics(
    end: float,
    *,
    given: int,
    made: int = 0,
    model: str = "gpt-4o-mini",
    provider: str = "openai",
    service: str = "rag",
    start: float | None = None,
) -> dict[str, Any]:
    """A request with the token counters of a model, over the minute before that second."""
    points = [
        {
            "attributes": attributes(
                {
                    "gen_ai.token.type": kind,
                    "gen_ai.request.model": model,
                    "gen_ai.provider.name": provider,
                }
            ),
            "startTimeUnixNano": at(end - 60 if start is None else start),
            "timeUnixNano": at(end),
            "asInt": str(tokens),
        }
        for kind, tokens in (("input", given), ("output", made))
        if tokens
    ]
    total = {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": points}
    metric = {"name": "gen_ai.client.token.usage", "unit": "{token}", "sum": total}
    scope = {"scope": {"name": "tests"}, "metrics": [metric]}
    return {"resourceMetrics": [{"resource": resource(service), "scopeMetrics": [scope]}]}


def duration_metrics(
    end: float,
    *seconds: float,
    instrument: str = "http.server.request.duration",
    told: Mapping[str, object] | None = None,
    start: float | None = None,
    service: str = "rag",
) -> dict[str, Any]:
    """A request with a histogram of durations, over the minute before that second."""
    bounds = [0.1, 1, 10]
    counts = [0] * 4
    for value in seconds:
        counts[sum(value > bound for bound in bounds)] += 1
    point = {
        "attributes": attributes(told or {}),
        "startTimeUnixNano": at(end - 60 if start is None else start),
        "timeUnixNano": at(end),
        "count": str(len(seconds)),
        "sum": sum(seconds),
        "bucketCounts": [str(count) for count in counts],
        "explicitBounds": bounds,
        **({"min": min(seconds), "max": max(seconds)} if seconds else {}),
    }
    metric = {
        "name": instrument,
        "unit": "s",
        "histogram": {"aggregationTemporality": 1, "dataPoints": [point]},
    }
    scope = {"scope": {"name": "meter"}, "metrics": [metric]}
    return {"resourceMetrics": [{"resource": resource(service), "scopeMetrics": [scope]}]}


_KINDS: Final = {
    "resourceSpans": Kind.OTLP_TRACES_JSON,
    "resourceMetrics": Kind.OTLP_METRICS_JSON,
    "resourceLogs": Kind.OTLP_LOGS_JSON,
}


@dataclass
class Works:
    """A journal in memory, a store and a drain, which can be killed between two transactions."""

    settings: Settings = field(default_factory=Settings)
    replay: bool = True
    pool: Pool | None = None

    def __post_init__(self) -> None:
        self.frames: list[Frame] = []
        self.store = Store.open(None)
        self.kill()

    def write(self, request: dict[str, Any]) -> None:
        """Append a request and take it to the store."""
        payload = json.dumps(request).encode()
        begin = self.frames[-1].end if self.frames else 0
        self.frames.append(
            Frame(
                segment="a-00000000.seg",
                offset=begin,
                end=begin + len(payload),
                kind=next(kind for name, kind in _KINDS.items() if name in request),
                codec=Codec.PLAIN,
                items=1,
                config=self.settings.digest,
                written_ns=0,
                payload=payload,
            )
        )
        while self.drain.step():
            pass

    def kill(self) -> None:
        """Forget all but the store, as a SIGKILL does."""
        self.drain = Drain(
            self,
            self.store,
            self.settings,
            settings_of=lambda _: self.settings,
            waits_for_delivery=lambda: False,
            replay=self.replay,
            pool=self.pool,
        )

    def finish(self) -> list[dict[str, Any]]:
        """All rows, by their time."""
        self.drain.finish_input()
        assert self.drain.open_items == 0
        return self.rows()

    def rows(self, service: str = "rag") -> list[dict[str, Any]]:
        """The stored rows of a service, each with its step."""
        reader = self.store.reader
        stored = [
            (row.timestamp_s, {"step": row.step, **decode_values(row.values)})
            for run in reader.runs()
            if run.run_id.startswith(f"{service}-")
            for row in reader.rows(run.id)
        ]
        return [row for _, row in sorted(stored, key=lambda item: item[0])]

    def calls(self) -> list[dict[str, Any]]:
        """The stored calls."""
        reader = self.store.reader
        return [json.loads(reader.call(found.id).body) for found in reader.calls(None)]

    def states(self, part: str) -> list[str]:
        """The names of stored states with this part."""
        return [name for name in self.store.reader.states() if part in name]

    # The journal, as the drain reads it.

    def segments(self) -> list[Segment]:
        end = self.frames[-1].end if self.frames else 0
        return [Segment(name="a-00000000.seg", size=end, alive=True)] if end else []

    def read(self, name: str, offset: int, *, max_bytes: int = 8 << 20) -> Iterator[Frame]:
        return (frame for frame in self.frames if frame.offset >= offset)

    def remove(self, name: str) -> None:
        raise AssertionError("the segment is alive")
