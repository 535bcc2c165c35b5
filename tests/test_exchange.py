"""Bodies and headers of FastAPI's requests: only when asked for, cut, never held back, redacted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_wandb.datadir import DataDir
from otel_wandb.instrument.fastapi import Exchanges, ExchangeTeller, instrument_exchanges
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer
from tests.services.exchange import GO, ZIPPED, make_app
from tests.services.launched import PYTHON, end_bridge, free_port, serving

ALL = Exchanges(
    request_bodies=True, response_bodies=True, body_bytes=64, headers=("traceparent", "x-request-id")
)
FOLDED = ["receive", "send"]

Attributes = dict[str, Any]


class Served:
    """A service on a loopback port, instrumented, and what its spans say."""

    def __init__(self, client: httpx.Client, memory: InMemorySpanExporter) -> None:
        self.client, self._memory = client, memory

    def last_span(self, count: int = 1, name: str = "") -> tuple[str, Attributes]:
        """traceparent and attributes of the last request, or of that of so many which has the name."""

        def look() -> list[ReadableSpan] | None:
            found = [span for span in self._memory.get_finished_spans() if span.kind.name == "SERVER"]
            return found if len(found) == count else None

        (span,) = (span for span in wait_for(look) if name in span.name)
        self._memory.clear()
        context = span.context
        assert context is not None
        flags = f"{int(context.trace_flags):02x}"
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags}", dict(span.attributes or {})


@contextmanager
def serve(asked: Exchanges | None, exclude_spans: list[str] | None = FOLDED) -> Iterator[Served]:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    patches = instrument_exchanges(asked) if asked is not None else None
    app = make_app()
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=exclude_spans)  # type: ignore[arg-type]
    app.middleware_stack = app.build_middleware_stack()
    if patches is not None:
        patches.remove()
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{server.config.port}", trust_env=False, timeout=30
        ) as client:
            yield Served(client, memory)
    finally:
        server.should_exit = True
        thread.join()
        FastAPIInstrumentor.uninstrument_app(app)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(ALL) as served:
        yield served


def contents(attributes: Attributes) -> tuple[Any, Any]:
    return attributes.get("input.value"), attributes.get("output.value")


@pytest.mark.parametrize(
    ("send", "told"),
    [
        pytest.param({"json": {"q": "what?"}}, '{"q":"what?"}', id="json"),
        pytest.param(
            {"content": "grüß dich", "headers": {"content-type": "text/plain"}}, "grüß dich", id="text"
        ),
        pytest.param(
            {"content": "grüß".encode("latin-1"), "headers": {"content-type": "text/plain; charset=latin-1"}},
            "grüß",
            id="charset",
        ),
        pytest.param(
            {"content": b"x", "headers": {"content-type": "text/plain; charset=no-such"}},
            "x",
            id="no-charset",
        ),
        pytest.param({"content": b"plain"}, "plain", id="untyped"),
        pytest.param(
            {"content": b"\xff\xfe\x00"}, "[left out: 3 bytes of an unknown type]", id="untyped-binary"
        ),
        pytest.param(
            {"content": b"\x00" * 9, "headers": {"content-type": "application/pdf"}},
            "[left out: application/pdf, 9 bytes]",
            id="binary",
        ),
        pytest.param(
            {"content": b"y" * 65, "headers": {"content-type": "text/plain"}},
            "y" * 64 + "… [cut, 65 bytes]",
            id="cut",
        ),
    ],
)
def test_bodies_are_input_and_output(served: Served, send: dict[str, Any], told: str) -> None:
    answer = served.client.post("/echo", **send)
    assert answer.status_code == 200
    _, attributes = served.last_span()
    assert contents(attributes) == (told, told)
    size = len(answer.content)
    assert (attributes["http.request.body.size"], attributes["http.response.body.size"]) == (size, size)


def test_forms_are_told_by_their_fields(served: Served) -> None:
    served.client.post("/form", data={"user": "ann", "tag": ["a", "b"], "none": ""})
    _, attributes = served.last_span()
    assert json.loads(attributes["input.value"]) == {"user": "ann", "tag": ["a", "b"], "none": ""}


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/zipped", '{"answer": "' + "a" * 52 + f"… [cut, {len(ZIPPED)} bytes]"),
        ("/picture", "[left out: image/png, 4 bytes]"),
        ("/own", "own"),
        ("/broken", "Internal Server Error"),
    ],
)
def test_what_came_out(served: Served, path: str, told: str) -> None:
    served.client.get(path)
    _, attributes = served.last_span()
    assert contents(attributes) == (None, told)


def test_a_stream_is_passed_on_piece_by_piece(served: Served) -> None:
    with served.client.stream("GET", "/stream") as answer:
        pieces = answer.iter_text()
        assert next(pieces) == "data: one\n\n"  # while the service waits
        served.client.post(GO)
        assert "".join(pieces) == "data: two\n\n"
    _, attributes = served.last_span(2, "stream")
    assert attributes["output.value"] == "data: one\n\ndata: two\n\n"


@pytest.mark.parametrize("path", ["/picture", "/broken", "/nowhere"])
def test_the_response_names_the_span_and_the_request(served: Served, path: str) -> None:
    answer = served.client.get(path)
    traceparent, _ = served.last_span()
    assert answer.headers["traceparent"] == traceparent
    assert answer.headers["x-request-id"] == traceparent[3:35]


@pytest.mark.parametrize(("given", "kept"), [("req-1", True), ("a b", False), ("x" * 129, False)])
def test_the_request_s_own_id_comes_back(served: Served, given: str, kept: bool) -> None:
    answer = served.client.get("/picture", headers={"X-Request-ID": given})
    traceparent, _ = served.last_span()
    assert answer.headers["x-request-id"] == (given if kept else traceparent[3:35])


def test_headers_of_the_service_go_before(served: Served) -> None:
    answer = served.client.get("/own")
    served.last_span()
    assert answer.headers.get_list("x-request-id") == ["mine"]


def test_the_span_of_the_request_tells_even_if_each_message_has_its_own() -> None:
    with serve(ALL, exclude_spans=None) as served:
        answer = served.client.post("/echo", json={"q": 1})
        traceparent, attributes = served.last_span()
        assert (answer.headers["traceparent"], attributes["input.value"]) == (traceparent, '{"q":1}')


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (None, (None, None)),
        (Exchanges(), (None, None)),
        (Exchanges(request_bodies=True), ('{"q":1}', None)),
        (Exchanges(response_bodies=True), (None, '{"q":1}')),
    ],
)
def test_only_what_is_asked_for_is_told(asked: Exchanges | None, told: tuple[str | None, str | None]) -> None:
    with serve(asked) as served:
        answer = served.client.post("/echo", json={"q": 1})
        _, attributes = served.last_span()
        assert contents(attributes) == told
        assert not {"traceparent", "x-request-id"} & answer.headers.keys()


async def nothing() -> Any:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize(
    "message", [{}, {"type": "http.response.start", "headers": 7}, {"type": "http.response.body"}]
)
def test_whatever_an_application_sends_goes_on(message: dict[str, Any]) -> None:
    import asyncio

    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Callable[[Any], Any]) -> None:
        await send(message)

    async def send(message: Any) -> None:
        sent.append(message)

    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("request"):
        asyncio.run(ExchangeTeller(app, ALL)({"type": "http", "headers": []}, nothing, send))
    assert sent == [message]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_through_the_bridge(online: WeavePeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HTTP_BODIES": "both",
        "HTTP_RESPONSE_HEADERS": "traceparent, X-Request-Id, x-who-knows",
        "HTTP_BODY_BYTES": "200",
    }.items():
        monkeypatch.setenv(f"OTEL_WANDB_{name}", value)
    key, port = "sk-" + "a1B2" * 12, free_port()
    command = (
        PYTHON,
        "-m",
        "uvicorn",
        "tests.services.exchange:app",
        "--log-level",
        "warning",
        "--port",
        str(port),
    )
    try:
        with serving(*command, port=port, log=tmp_path / "log") as client:
            answer = client.post("/echo", json={"question": "who?", "api_key": key})
        _, trace_id, span_id, _ = answer.headers["traceparent"].split("-")
        assert answer.headers["x-request-id"] == trace_id
        with online.client("team/rag") as weave:
            (call,) = wait_for(lambda: [c for c in weave.get_calls() if c.id == span_id], 60)
            assert call.inputs["input"]["question"] == call.output["output"]["question"] == "who?"
            assert key not in str(call.inputs) + str(call.output) + str(call.attributes)
        assert "http_response_headers names x-who-knows, which is not known" in (tmp_path / "log").read_text()
        assert read_status(DataDir(tmp_path / "data")).ledger.imbalance() == {}
    finally:
        end_bridge(DataDir(tmp_path / "data"))
