"""OTLP requests of RAG traces and histograms for the load generator, encoded before the clock starts.

Every trace id, span id and response id has a mark in it, by which a sender makes fresh ones: `freshen`.
"""

from __future__ import annotations

import base64
import json
import random
import struct
import time

MARK = b"\xfe\xed\xfa\xce"
MARK_HEX = MARK.hex().encode()
SPANS_PER_TRACE = 4
WORDS = (
    "retrieval augmented generation answers a question from passages that a vector index "
    "returned for it so the model can cite the source and the reader can check the claim "
    "latency budget token usage cost per request rerank score chunk overlap embedding"
).split()


def freshen(body: bytes, number: int) -> bytes:
    """The encoded request with ids that no request of another number has."""
    fresh = struct.pack(">I", number & 0xFFFFFFFF)
    return body.replace(MARK, fresh).replace(MARK_HEX, fresh.hex().encode())


def _text(rng: random.Random, n: int) -> str:
    out: list[str] = []
    size = 0
    while size < n:
        w = rng.choice(WORDS)
        out.append(w)
        size += len(w) + 1
    return " ".join(out)[:n]


def _kv(key, val):
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

    if isinstance(val, bool):
        v = AnyValue(bool_value=val)
    elif isinstance(val, int):
        v = AnyValue(int_value=val)
    elif isinstance(val, float):
        v = AnyValue(double_value=val)
    elif isinstance(val, (list, tuple)):
        v = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=str(x)) for x in val]))
    else:
        v = AnyValue(string_value=val)
    return KeyValue(key=key, value=v)


def _resource(i: int):
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    return Resource(
        attributes=[
            _kv("service.name", "rag-api"),
            _kv("service.version", "1.4.2"),
            _kv("service.instance.id", f"inst-{i}"),
            _kv("deployment.environment.name", "load"),
            _kv("telemetry.sdk.language", "python"),
            _kv("telemetry.sdk.name", "opentelemetry"),
            _kv("telemetry.sdk.version", "1.45.2"),
        ]
    )


def build_traces(n_traces: int, text_bytes: int, seed: int):
    """One ExportTraceServiceRequest with n_traces RAG traces of 4 spans each."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

    rng = random.Random(seed)
    now = time.time_ns()
    req = ExportTraceServiceRequest()
    rs: ResourceSpans = req.resource_spans.add()
    rs.resource.CopyFrom(_resource(seed))
    ss: ScopeSpans = rs.scope_spans.add()
    ss.scope.name, ss.scope.version = "rag.pipeline", "1.0"
    half = max(16, text_bytes // 2)
    for t in range(n_traces):
        tid = MARK + struct.pack(">QI", rng.getrandbits(64), t)
        sid = [MARK + struct.pack(">I", t * SPANS_PER_TRACE + k) for k in range(SPANS_PER_TRACE)]
        t0 = now - rng.randrange(5, 50) * 1_000_000
        docs = [
            {
                "id": f"doc-{rng.randrange(10**6)}",
                "score": round(rng.random(), 4),
                "content": _text(rng, half // 3),
            }
            for _ in range(3)
        ]
        question = _text(rng, half // 4)
        answer = _text(rng, half // 2)
        tok_in, tok_out = rng.randrange(200, 3000), rng.randrange(20, 600)

        def span(k, parent, name, kind, start, dur, attrs, ok=True):
            s = Span(
                trace_id=tid,
                span_id=sid[k],
                name=name,
                kind=kind,
                start_time_unix_nano=start,
                end_time_unix_nano=start + dur,
                attributes=[_kv(a, b) for a, b in attrs],
                flags=0x101,
            )
            if parent is not None:
                s.parent_span_id = sid[parent]
            s.status.CopyFrom(Status(code=Status.STATUS_CODE_OK if ok else Status.STATUS_CODE_ERROR))
            ss.spans.append(s)
            return s

        span(
            0,
            None,
            "POST /v1/answer",
            Span.SPAN_KIND_SERVER,
            t0,
            40_000_000,
            [
                ("http.request.method", "POST"),
                ("url.path", "/v1/answer"),
                ("url.scheme", "http"),
                ("http.route", "/v1/answer"),
                ("http.response.status_code", 200),
                ("server.address", "127.0.0.1"),
                ("server.port", 8080),
                ("client.address", "127.0.0.1"),
                ("network.protocol.version", "1.1"),
                ("user_agent.original", "otlp-load/1"),
                ("enduser.id", f"user-{rng.randrange(500)}"),
                ("session.id", f"sess-{rng.randrange(10**6)}"),
                ("gen_ai.conversation.id", f"conv-{rng.randrange(10**6)}"),
                ("app.cache_hit", rng.random() < 0.2),
                ("app.tags", ["prod", "rag", "load"]),
            ],
        )
        span(
            1,
            0,
            "retrieval docs-index",
            Span.SPAN_KIND_CLIENT,
            t0 + 1_000_000,
            6_000_000,
            [
                ("gen_ai.operation.name", "retrieval"),
                ("gen_ai.data_source.id", "docs-index"),
                ("gen_ai.retrieval.query.text", question),
                ("gen_ai.request.top_k", 3),
                ("gen_ai.retrieval.documents", json.dumps(docs)),
                ("db.system.name", "qdrant"),
                ("db.collection.name", "docs"),
                ("db.operation.name", "query"),
                ("server.address", "127.0.0.1"),
                ("server.port", 6333),
            ],
        )
        chat = span(
            2,
            0,
            "chat gpt-4o-mini",
            Span.SPAN_KIND_CLIENT,
            t0 + 8_000_000,
            28_000_000,
            [
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.provider.name", "openai"),
                ("gen_ai.request.model", "gpt-4o-mini"),
                ("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
                ("gen_ai.response.id", f"chatcmpl-{MARK.hex()}{rng.getrandbits(64):016x}"),
                ("gen_ai.request.temperature", 0.2),
                ("gen_ai.request.max_tokens", 512),
                ("gen_ai.usage.input_tokens", tok_in),
                ("gen_ai.usage.output_tokens", tok_out),
                ("gen_ai.response.finish_reasons", ["stop"]),
                ("gen_ai.output.type", "text"),
                (
                    "gen_ai.input.messages",
                    json.dumps([{"role": "user", "parts": [{"type": "text", "content": question}]}]),
                ),
                (
                    "gen_ai.output.messages",
                    json.dumps(
                        [
                            {
                                "role": "assistant",
                                "parts": [{"type": "text", "content": answer}],
                                "finish_reason": "stop",
                            }
                        ]
                    ),
                ),
                ("server.address", "127.0.0.1"),
                ("server.port", 443),
            ],
        )
        ev = chat.events.add()
        ev.name, ev.time_unix_nano = "gen_ai.first_token", t0 + 12_000_000
        ev.attributes.append(_kv("gen_ai.server.time_to_first_token", 0.004))
        span(
            3,
            0,
            "response",
            Span.SPAN_KIND_INTERNAL,
            t0 + 37_000_000,
            2_000_000,
            [
                ("app.response.chars", len(answer)),
                ("app.response.citations", 3),
                ("app.response.grounded", True),
                ("app.response.confidence", rng.random()),
                ("app.response.language", "en"),
            ],
        )
    return req


def build_metrics(n_points: int, seed: int):
    """n_points explicit-bucket and n_points exponential histogram points."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    rng = random.Random(seed)
    now = time.time_ns()
    req = ExportMetricsServiceRequest()
    rm = req.resource_metrics.add()
    rm.resource.CopyFrom(_resource(seed))
    sm = rm.scope_metrics.add()
    sm.scope.name = "rag.pipeline"
    bounds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
    m = sm.metrics.add()
    m.name, m.unit = "gen_ai.client.operation.duration", "s"
    m.histogram.aggregation_temporality = 2
    e = sm.metrics.add()
    e.name, e.unit = "gen_ai.client.token.usage", "{token}"
    e.exponential_histogram.aggregation_temporality = 2
    for i in range(n_points):
        attrs = [
            _kv("gen_ai.operation.name", "chat"),
            _kv("gen_ai.request.model", "gpt-4o-mini"),
            _kv("gen_ai.provider.name", "openai"),
            _kv("shard", i),
        ]
        counts = [rng.randrange(0, 40) for _ in range(len(bounds) + 1)]
        p = m.histogram.data_points.add(
            start_time_unix_nano=now - 10**10,
            time_unix_nano=now,
            count=sum(counts),
            sum=float(sum(counts)),
            min=0.001,
            max=90.0,
        )
        p.bucket_counts.extend(counts)
        p.explicit_bounds.extend(bounds)
        p.attributes.extend(attrs)
        pos = [rng.randrange(0, 40) for _ in range(40)]
        x = e.exponential_histogram.data_points.add(
            start_time_unix_nano=now - 10**10,
            time_unix_nano=now,
            count=sum(pos) + 2,
            sum=float(sum(pos)),
            scale=3,
            zero_count=2,
            min=0.0,
            max=3000.0,
        )
        x.positive.offset = 20
        x.positive.bucket_counts.extend(pos)
        x.attributes.extend(attrs)
    return req


def otlp_json(msg) -> bytes:
    """OTLP/JSON: protobuf JSON mapping, lowerCamelCase, enums as ints, ids as hex."""
    from google.protobuf import json_format

    def walk(o):
        if isinstance(o, dict):
            for k, v in o.items():
                if k in ("traceId", "spanId", "parentSpanId") and isinstance(v, str):
                    o[k] = base64.b64decode(v).hex()
                else:
                    walk(v)
        elif isinstance(o, list):
            for v in o:
                walk(v)
        return o

    d = walk(json_format.MessageToDict(msg, use_integers_for_enums=True))
    return json.dumps(d, separators=(",", ":")).encode()


def encode_pool(a) -> tuple[list[bytes], int]:
    """Encoded request bodies, and the items (spans or points) in each."""
    pool = []
    for i in range(a.pool):
        if a.signal == "traces":
            msg, items = build_traces(a.batch_traces, a.text_bytes, i), a.batch_traces * SPANS_PER_TRACE
            marks = a.batch_traces * (SPANS_PER_TRACE * 2 + SPANS_PER_TRACE - 1)
        else:
            msg, items, marks = build_metrics(a.batch_traces, i), a.batch_traces * 2, 0
        if a.protocol == "http-json":
            body, mark = otlp_json(msg), MARK_HEX
            marks += a.batch_traces if marks else 0  # those of responses
        else:
            body, mark = msg.SerializeToString(), MARK
        if a.signal == "traces" and body.count(mark) != marks:
            raise SystemExit("marker clash in the encoded payload; change the seed")
        pool.append(body)
    return pool, items
