"""RAG traces as an instrumented service makes them.

Each is an agent run with one embedding call, one retrieval of five documents and one chat, 14 to 20
attributes a span.
"""

from __future__ import annotations

import msgspec

from otel_wandb.records import Attributes, Resource, Scope, Span, SpanBatch

TRACES_A_BATCH = 128
START_NS = 1_795_434_014_596_048_858
SENTENCES = (
    "The Eiffel Tower is 330 metres tall and was the tallest structure in the world until 1930.",
    "The Louvre is a museum in Paris with some 35,000 objects, from prehistory to the 21st century.",
    "Notre-Dame de Paris is a medieval cathedral on the Île de la Cité, reopened after the fire in 2024.",
    "The Arc de Triomphe honours those who fought and died for France in its revolutionary wars.",
    "Sacré-Cœur stands at the summit of Montmartre, the highest point of the city.",
)
SERVER: Attributes = {"server.address": "api.openai.com", "server.port": 443}
RESOURCE = Resource(
    {
        "service.name": "rag",
        "service.version": "1.4.2",
        "service.instance.id": "bb1b207c-ae8d-46bc-b522-cc15ff4cba33",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": "1.45.2",
    }
)


def text_message(role: str, content: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def usage(given: int, made: int) -> Attributes:
    return {
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": made,
        "gen_ai.usage.cache_read.input_tokens": given // 2,
        "gen_ai.usage.reasoning.output_tokens": made // 3,
    }


def agent_attributes(question: str, answer: str) -> Attributes:
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.agent.name": "rag",
        "gen_ai.agent.id": "agent-1",
        "gen_ai.agent.description": "Answers questions about Paris.",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": encode([text_message("user", question)]),
        "gen_ai.output.messages": encode([text_message("assistant", answer) | {"finish_reason": "stop"}]),
        **usage(1242, 61),
    }


def embeddings_attributes(question: str) -> Attributes:
    return {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "text-embedding-3-small",
        "gen_ai.response.model": "text-embedding-3-small",
        "gen_ai.request.encoding_formats": ["float"],
        "gen_ai.embeddings.dimension.count": 1536,
        "gen_ai.usage.input_tokens": 14,
        "input.value": question,
        "openai.api.base": "https://api.openai.com/v1",
        **SERVER,
    }


def retrieval_attributes(question: str) -> Attributes:
    documents = [
        {"id": f"doc-{i}", "score": 0.9 - i / 10, "content": s, "metadata": {"source": f"{i}.md"}}
        for i, s in enumerate(SENTENCES)
    ]
    return {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.provider.name": "qdrant",
        "gen_ai.data_source.id": "paris",
        "gen_ai.retrieval.top_k": 5,
        "gen_ai.retrieval.query.text": question,
        "gen_ai.retrieval.documents": encode(documents),
        "db.collection.name": "paris",
        "app.index.version": 12,
        "app.index.kind": "hnsw",
        **SERVER,
    }


def chat_attributes(question: str, answer: str, response_id: str) -> Attributes:
    system = "Answer from the context:\n" + "\n".join(SENTENCES)
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 400,
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": response_id,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.input.messages": encode([text_message("system", system), text_message("user", question)]),
        "gen_ai.output.messages": encode([text_message("assistant", answer) | {"finish_reason": "stop"}]),
        "openai.response.service_tier": "default",
        **usage(1242, 61),
        **SERVER,
    }


def rag_spans(number: int) -> list[tuple[str, int, Attributes]]:
    """(name, kind, attributes) of the four spans."""
    question = f"How tall is the Eiffel Tower, and may one climb it at night? ({number})"
    answer = "It is 330 metres tall; the top is open until 22:45, and until 00:45 in summer."
    common: Attributes = {
        "session.id": f"session-{number % 50}",
        "user.id": f"user-{number % 7}",
        "app.route": "/ask",
    }
    return [
        ("invoke_agent rag", 1, agent_attributes(question, answer) | common),
        ("embeddings text-embedding-3-small", 3, embeddings_attributes(question) | common),
        ("retrieval paris", 3, retrieval_attributes(question) | common),
        ("chat gpt-4o-mini", 3, chat_attributes(question, answer, f"chatcmpl-{number:08d}") | common),
    ]


def rag_trace(number: int) -> list[Span]:
    trace_id, root_id = f"{number + 1:032x}", f"{number * 4 + 1:016x}"
    spans = []
    for i, (name, kind, attributes) in enumerate(rag_spans(number)):
        start_ns = START_NS + number * 1_000_000_007 + i * 10_000_000
        span = Span(
            trace_id=trace_id,
            span_id=f"{number * 4 + 1 + i:016x}",
            parent_id=root_id if i else "",
            name=name,
            kind=kind,
            start_ns=start_ns,
            end_ns=start_ns + (500_000_000 if not i else 9_000_000),
            attributes=attributes,
            flags=0x101,
        )
        spans.append(span)
    return spans


def batches(traces: int) -> list[SpanBatch]:
    """The traces as an SDK exports them: many spans of one resource and scope in a request."""
    scope = Scope("opentelemetry.instrumentation.genai.openai", "1.3b0")
    numbers = range(traces)
    groups = [numbers[i : i + TRACES_A_BATCH] for i in range(0, traces, TRACES_A_BATCH)]
    return [SpanBatch(RESOURCE, scope, [span for n in group for span in rag_trace(n)]) for group in groups]
