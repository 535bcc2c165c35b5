"""What all producers' scripts share. It runs in each producer's own environment: standard library only,
and OpenTelemetry's SDK where a script asks for it.

A script defines functions, one a case, and ends with `run()`; the process does one case. What the
model server cannot see, the script notes: `note_asked`, `note_answered`, and the tool and the search below.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import sys
import urllib.request
from collections.abc import Callable
from types import ModuleType
from typing import Any

MODEL_PORT = int(os.environ.get("RECORDINGS_MODEL_PORT", "0"))
OTLP_PORT = int(os.environ.get("RECORDINGS_OTLP_PORT", "0"))
MODEL_URL = f"http://127.0.0.1:{MODEL_PORT}"
OTLP_URL = f"http://127.0.0.1:{OTLP_PORT}"
KEY = "recordings-key"

MODEL = "gpt-4o-mini"
CLAUDE = "claude-sonnet-4-5"
GEMINI = "gemini-2.5-flash"
EMBEDDING_MODEL = "text-embedding-3-small"

SYSTEM = "You are a terse geographer."
CAPITAL = "What is the capital of Portugal?"
WEATHER = "What is the weather in Lisbon?"
LAKE = "How deep is Lake Baikal?"
TOO_MANY = "Please fail with 429."
BROKEN = "Please fail with 500."
SESSION = "session-77"
USER = "user-5"

DOCUMENTS = [
    {"id": "baikal", "content": "Lake Baikal in Siberia is 1642 metres deep.", "source": "lakes.md"},
    {"id": "tanganyika", "content": "Lake Tanganyika is 1470 metres deep.", "source": "lakes.md"},
    {"id": "tagus", "content": "The Tagus reaches the Atlantic at Lisbon.", "source": "rivers.md"},
]

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def note(kind: str, **facts: Any) -> None:
    """Tell the server's record what this process did or knows."""
    body = json.dumps({"kind": kind, **facts}).encode()
    # Not with a library that may be instrumented.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(urllib.request.Request(f"{MODEL_URL}/notes", body, method="POST"), timeout=10).read()


def note_asked(text: str) -> str:
    """The input of the whole, for the spans that are agents or workflows."""
    note("asked", text=text)
    return text


def note_answered(text: str) -> str:
    """The output of the whole."""
    note("answered", text=text)
    return text


def note_session(session_id: str = "", user_id: str = "") -> None:
    """The session and the user that the instrumentation was told of."""
    note("session", session_id=session_id, user_id=user_id)


def get_weather(city: str) -> str:
    """The weather in a city now."""
    result = f"21 degrees, cloudy in {city}"
    note("tool", name="get_weather", arguments={"city": city}, result=result)
    return result


def find_documents(query: str, k: int = 2) -> list[dict[str, str]]:
    """The k documents that share the most words with the query."""
    words = set(re.findall(r"[a-z]+", query.lower()))
    ranked = sorted(DOCUMENTS, key=lambda d: -len(words & set(re.findall(r"[a-z]+", d["content"].lower()))))
    note_found(query, ranked[:k])
    return ranked[:k]


def note_found(query: str, documents: list[dict[str, Any]]) -> None:
    """Documents that a search found, in rank order: `content`, and `id`, `score`, `source` where known."""
    note("found", query=query, documents=documents)


def context_of(documents: list[dict[str, str]]) -> str:
    """The system prompt of a RAG call."""
    return "Answer from the context:\n" + "\n".join(d["content"] for d in documents)


def resource_attributes() -> dict[str, str]:
    """Of every producer's provider that lets them be chosen."""
    return {"service.name": "recordings"}


def provide_traces(*, logs: bool = False) -> Any:
    """A global tracer provider that exports to the receiver; `logs` for a logger provider beside it."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create(resource_attributes()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{OTLP_URL}/v1/traces")))
    trace.set_tracer_provider(provider)
    _at_the_end.append(provider.shutdown)
    if logs:
        _provide_logs(Resource.create(resource_attributes()))
    return provider


def _provide_logs(resource: Any) -> None:
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{OTLP_URL}/v1/logs")))
    set_logger_provider(provider)
    _at_the_end.append(provider.shutdown)


_at_the_end: list[Callable[[], Any]] = []


def at_the_end(do: Callable[[], Any]) -> None:
    """Have `do` called after the case, to flush what is left."""
    _at_the_end.append(do)


def run(cases: ModuleType | None = None) -> None:
    """Do the case that the command line names, of the script or of this module, and flush what is left.

    The case `error` may fail, and any other must not.
    """
    name = sys.argv[1]
    case = getattr(sys.modules["__main__"], name, None) or getattr(cases, name)
    try:
        done = case()
        if inspect.iscoroutine(done):
            asyncio.run(done)
    except Exception as error:
        if name != "error":
            raise
        print(f"failed as it should: {type(error).__name__}")
    finally:
        for do in _at_the_end:
            do()
