"""What decoding costs, in CPU microseconds a span, on one request of RAG traces.

    python benchmarks/decode.py

Each figure is the best of many rounds, and the rounds of all decoders alternate, so that a busy machine
disturbs them alike; compare with `FromString`, which only parses.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import msgspec
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_wandb.ingest.otlp import count_items, decode, decode_traces
from otel_wandb.journal import Codec, Kind

TRACES = 64
SPANS = 4 * TRACES
ROUNDS = 60
START_NS = 1_780_000_000_000_000_000
WORDS = [
    "retrieval",
    "generation",
    "passages",
    "of",
    "the",
    "index",
    "that",
    "a",
    "model",
    "cites",
    "in",
    "answers",
]

Attribute = str | bool | int | float | list[str]


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def request_attributes(rng: random.Random) -> dict[str, Attribute]:
    return {
        "http.request.method": "POST",
        "http.route": "/v1/answer",
        "url.path": "/v1/answer",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": 8080,
        "network.protocol.version": "1.1",
        "user_agent.original": "python-httpx/0.28",
        "user.id": f"user-{rng.randrange(500)}",
        "session.id": f"session-{rng.randrange(10**6)}",
        "app.cache_hit": rng.random() < 0.2,
        "app.tags": ["production", "rag"],
    }


def retrieval_attributes(rng: random.Random) -> dict[str, Attribute]:
    documents = [
        {"id": f"doc-{rng.randrange(10**6)}", "score": round(rng.random(), 4), "content": text(rng, 25)}
        for _ in range(3)
    ]
    return {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "docs",
        "gen_ai.retrieval.query.text": text(rng, 20),
        "gen_ai.retrieval.documents": msgspec.json.encode(documents).decode(),
        "gen_ai.request.top_k": 3,
        "db.system.name": "qdrant",
        "db.collection.name": "docs",
        "db.operation.name": "query",
        "server.address": "127.0.0.1",
        "server.port": 6333,
        "db.response.returned_rows": 3,
    }


def chat_attributes(rng: random.Random) -> dict[str, Attribute]:
    question = [{"role": "user", "parts": [{"type": "text", "content": text(rng, 80)}]}]
    answer = [{"role": "assistant", "parts": [{"type": "text", "content": text(rng, 60)}]}]
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": f"chatcmpl-{rng.randrange(10**9)}",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 512,
        "gen_ai.usage.input_tokens": rng.randrange(200, 3000),
        "gen_ai.usage.output_tokens": rng.randrange(20, 600),
        "gen_ai.input.messages": msgspec.json.encode(question).decode(),
        "gen_ai.output.messages": msgspec.json.encode(answer).decode(),
        "server.address": "api.openai.com",
        "server.port": 443,
    }


def any_value(value: Attribute) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))


def build_request() -> ExportTraceServiceRequest:
    rng = random.Random(7)
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name", value=AnyValue(string_value="rag-api"))
    scoped = group.scope_spans.add()
    scoped.scope.name = "rag"
    for _ in range(TRACES):
        trace_id, ids = rng.randbytes(16), [rng.randbytes(8) for _ in range(4)]
        shapes = [
            ("POST /v1/answer", Span.SPAN_KIND_SERVER, b"", request_attributes(rng)),
            ("retrieval docs", Span.SPAN_KIND_CLIENT, ids[0], retrieval_attributes(rng)),
            ("chat gpt-4o-mini", Span.SPAN_KIND_CLIENT, ids[0], chat_attributes(rng)),
            ("guardrail", Span.SPAN_KIND_INTERNAL, ids[0], retrieval_attributes(rng)),
        ]
        for span_id, (name, kind, parent_id, attributes) in zip(ids, shapes, strict=True):
            scoped.spans.add(
                trace_id=trace_id,
                span_id=span_id,
                parent_span_id=parent_id,
                name=name,
                kind=kind,
                start_time_unix_nano=START_NS,
                end_time_unix_nano=START_NS + rng.randrange(10**9),
                attributes=[KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()],
                status=Status(code=Status.STATUS_CODE_OK),
                flags=0x101,
            )
    return request


def to_otlp_json(request: ExportTraceServiceRequest) -> bytes:
    document = MessageToDict(request, use_integers_for_enums=True)
    for sent, span in zip(
        request.resource_spans[0].scope_spans[0].spans,
        document["resourceSpans"][0]["scopeSpans"][0]["spans"],
        strict=True,
    ):
        span["traceId"], span["spanId"] = sent.trace_id.hex(), sent.span_id.hex()
        if sent.parent_span_id:
            span["parentSpanId"] = sent.parent_span_id.hex()
    return msgspec.json.encode(document)


def main() -> None:
    request = build_request()
    protobuf, json = request.SerializeToString(), to_otlp_json(request)
    packed = msgspec.msgpack.encode(decode_traces(protobuf).batches)
    spans = request.resource_spans[0].scope_spans[0].spans
    attributes = sum(len(span.attributes) for span in spans) / SPANS
    print(f"{SPANS} spans, {attributes:.1f} attributes a span, {len(protobuf)} bytes ({len(json)} of JSON)")
    contenders: dict[str, Callable[[], object]] = {
        "google.protobuf FromString alone": lambda: ExportTraceServiceRequest.FromString(protobuf),
        "protobuf to records": lambda: decode_traces(protobuf),
        "JSON to records": lambda: decode_traces(json, json=True),
        "MessagePack of the SDK's front to records": lambda: decode(Kind.SPANS, Codec.PLAIN, packed),
        "count protobuf": lambda: count_items(Kind.OTLP_TRACES, Codec.PLAIN, protobuf),
        "count JSON": lambda: count_items(Kind.OTLP_TRACES_JSON, Codec.PLAIN, json),
    }
    best_s = dict.fromkeys(contenders, float("inf"))
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            started_s = time.process_time()
            run()
            best_s[name] = min(best_s[name], time.process_time() - started_s)
    for name, seconds in best_s.items():
        print(f"{name:42} {seconds / SPANS * 1e6:6.2f} us/span")


if __name__ == "__main__":
    main()
