"""A Gradio application with events of every kind, asked by Gradio's client and as its browser asks.

The spans, metrics and log records of each case are printed as JSON. Runs in the environment of the peer
`apps`.
"""

import asyncio
import json
import sys
import threading
import time

import httpx
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_wandb.instrument.gradio import GradioInstrumentor

SCOPES = ("app", "otel_wandb.instrument.gradio", "otel_wandb.instrument.streamlit")
SPANS, LOGS, READER = InMemorySpanExporter(), InMemoryLogRecordExporter(), InMemoryMetricReader()


def set_up() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SPANS))
    trace.set_tracer_provider(provider)
    logs = LoggerProvider()
    logs.add_log_record_processor(SimpleLogRecordProcessor(LOGS))
    _logs.set_logger_provider(logs)
    metrics.set_meter_provider(MeterProvider([READER]))


def make_chat(**more):
    """A chat of messages: those of Gradio 5 are pairs unless one asks."""
    import gradio as gr

    return gr.Chatbot(**more, **({"type": "messages"} if gr.__version__.startswith("5.") else {}))


def make_app():  # noqa: C901  a function for each kind
    import gradio as gr
    from PIL import Image

    tracer = trace.get_tracer("app")

    def greet(name, times):
        with tracer.start_as_current_span("work"):
            return f"hello {name}" * int(times)

    async def greet_async(name):
        with tracer.start_as_current_span("async work"):
            await asyncio.sleep(0)
        return f"hello {name}"

    def count(n):
        for i in range(int(n)):
            with tracer.start_as_current_span(f"piece {i}"):
                pass
            yield f"{'x' * (i + 1)}"

    async def count_async(n):
        for i in range(int(n)):
            await asyncio.sleep(0)
            yield i

    def fail(text):
        raise ValueError(f"no {text}")

    def fail_late(text):
        yield "begun"
        raise gr.Error("late")

    def batched(words, numbers):
        with tracer.start_as_current_span("batch work"):
            return [[f"{word}{number}" for word, number in zip(words, numbers, strict=True)]]

    def turn(image):
        return Image.fromarray(image).rotate(90)

    def respond(message, history):
        history = [*history, {"role": "user", "content": message}]
        yield "", history
        history = [*history, {"role": "assistant", "content": f"you said {message}"}]
        yield "", history

    async def slow(text):
        await asyncio.sleep(60)

    def own_flag(text):
        gr.SimpleCSVLogger.flag(logger, [text], "mine")

    logger = gr.SimpleCSVLogger()
    with gr.Blocks() as demo:
        name, times = gr.Textbox(label="name"), gr.Number(label="times")
        secret, state = gr.Textbox(label="secret", type="password"), gr.State(3)
        answer, image, turned = gr.Textbox(label="answer"), gr.Image(label="image"), gr.Image(label="turned")
        button = gr.Button("Greet")
        button.click(greet, [name, times], answer, api_name="greet")
        gr.Button("a").click(greet_async, name, answer, api_name="greet_async")
        gr.Button("b").click(count, times, answer, api_name="count")
        gr.Button("c").click(count_async, times, answer, api_name="count_async")
        gr.Button("d").click(fail, name, answer, api_name="fail")
        gr.Button("e").click(fail_late, name, answer, api_name="fail_late")
        gr.Button("f").click(batched, [name, times], answer, api_name="batched", batch=True, max_batch_size=4)
        gr.Button("g").click(turn, image, turned, api_name="turn")
        gr.Button("h").click(lambda n, s, t: s, [name, secret, state], answer, api_name="secret")
        gr.Button("i").click(greet_async, name, answer, api_name="direct", queue=False)
        wait = gr.Button("j").click(slow, name, answer, api_name="slow")
        gr.Button("k").click(None, cancels=[wait])
        logger.setup([answer], sys.argv[1] + "/own")
        gr.Button("l").click(own_flag, answer, None, api_name="own_flag")
        chat, box = make_chat(), gr.Textbox(label="message")
        box.submit(respond, [box, chat], [box, chat], api_name="respond")

        def liked(data: gr.LikeData):
            return None

        chat.like(liked, None, None, api_name="liked")
        gr.Interface(
            lambda x: x.upper(),
            gr.Textbox(label="x"),
            gr.Textbox(label="y"),
            api_name="upper",
            flagging_mode="manual",
            flagging_options=[("Wrong", "wrong"), ("Rude", "Rude")],
            flagging_dir=sys.argv[1],
        )
    return demo


def show() -> dict[str, object]:
    def span_of(span) -> dict[str, object]:
        return {
            "name": span.name,
            "kind": span.kind.name,
            "id": span.context.span_id,
            "trace": span.context.trace_id,
            "parent": span.parent and span.parent.span_id,
            "remote": bool(span.parent and span.parent.is_remote),
            "attributes": dict(span.attributes),
            "status": span.status.status_code.name,
            "events": [event.name for event in span.events],
            "links": [link.context.span_id for link in span.links],
            "seconds": (span.end_time - span.start_time) / 1e9,
        }

    # Newer versions of FastAPI tell of their requests by themselves. Spans end in any order: after the last
    # output of an event its queue has more to do, and the browser's next event does not wait for that.
    ours = [span for span in SPANS.get_finished_spans() if span.instrumentation_scope.name in SCOPES]
    spans = [span_of(span) for span in sorted(ours, key=lambda span: span.start_time)]
    logs = [
        {
            "event": r.log_record.event_name,
            "span": r.log_record.span_id,
            "attributes": dict(r.log_record.attributes),
        }
        for r in LOGS.get_finished_logs()
    ]
    data = READER.get_metrics_data()
    points = [
        {"name": m.name, "unit": m.unit, "attributes": dict(p.attributes), "count": p.count}
        for r in (data.resource_metrics if data else ())
        for s in r.scope_metrics
        for m in s.metrics
        for p in m.data.data_points
        if hasattr(p, "count")
    ]
    SPANS.clear()
    LOGS.clear()
    return {"spans": spans, "logs": logs, "points": points}


def settle(count: int) -> dict[str, object]:
    """What was told, once there are so many spans of events."""
    wait_for_spans(count)
    return show()


class Gate:
    """Holds the next event of the queue after its last output, before it has ended."""

    def __init__(self, queue) -> None:
        self.opened = threading.Event()
        self.opened.set()
        self.waits = False
        self.go_on = queue.reset_iterators
        queue.reset_iterators = self.pass_through

    def shut(self) -> None:
        self.opened.clear()
        self.waits = True

    async def pass_through(self, event_id: str) -> None:
        is_first, self.waits = self.waits, False
        if is_first:
            await asyncio.to_thread(self.opened.wait)
        await self.go_on(event_id)


def wait_for_spans(count: int) -> None:
    """Until so many spans of events have ended."""
    for _ in range(600):
        if sum(s.name.startswith("gradio ") for s in SPANS.get_finished_spans()) >= count:
            return
        time.sleep(0.05)


class Browser:
    """Asks as Gradio's page does."""

    def __init__(self, url: str) -> None:
        self.url, self.http, self.session = url, httpx.Client(timeout=60), "session-1"
        self.config = self.http.get(f"{url}/config").json()

    def fire(self, name: str, data: list, **more) -> None:
        if isinstance(name, str):
            fn = next(d for d in self.config["dependencies"] if d["api_name"] == name)
        else:
            fn = self.config["dependencies"][name]
        body = {
            "data": data,
            "fn_index": fn["id"],
            "session_hash": self.session,
            "trigger_id": fn["targets"][0][0],
            **more,
        }
        self.http.post(f"{self.url}/gradio_api/queue/join", json=body).raise_for_status()
        with self.http.stream(
            "GET", f"{self.url}/gradio_api/queue/data", params={"session_hash": self.session}
        ) as lines:
            for line in lines.iter_lines():
                if '"process_completed"' in line:
                    self.last = json.loads(line.removeprefix("data: "))
                if '"close_stream"' in line:
                    return

    def run(self, fn: dict, data: list) -> None:
        body = {"data": data, "fn_index": fn["id"], "session_hash": self.session}
        self.http.post(f"{self.url}/gradio_api/run/predict", json=body).raise_for_status()


def main() -> None:
    set_up()
    instrumentor = GradioInstrumentor()
    instrumentor.instrument()
    assert "gradio" not in sys.modules
    from gradio_client import Client, handle_file

    app = make_app()
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    url, gate = url.rstrip("/"), Gate(app._queue)
    client = Client(url, verbose=False)
    show()
    told: dict[str, object] = {}
    told["greet"] = (client.predict("ann", 2, api_name="/greet"), settle(1))
    told["greet_async"] = (client.predict("bob", api_name="/greet_async"), settle(1))
    job = client.submit(3, api_name="/count")
    job.result()
    told["count"] = (job.outputs(), settle(1))
    job = client.submit(2, api_name="/count_async")
    job.result()
    told["count_async"] = (job.outputs(), settle(1))
    for name in ("fail", "fail_late"):
        try:
            client.predict("way", api_name=f"/{name}")
            raise AssertionError
        except Exception as error:  # noqa: BLE001  of whatever class the client makes it
            told[name] = (type(error).__name__, settle(1))
    jobs = [client.submit(word, 1, api_name="/batched") for word in ("a", "b", "c")]
    told["batched"] = ([job.result() for job in jobs], settle(3))
    told["turn"] = (None, (client.predict(handle_file(sys.argv[2]), api_name="/turn"), settle(1))[1])
    told["secret"] = (client.predict("n", "hunter2", api_name="/secret"), settle(1))
    told["direct"] = (client.predict("cid", api_name="/direct"), settle(1))
    browser = Browser(url)
    browser.http.headers["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    gate.shut()
    browser.fire("respond", ["hi", []])
    browser.fire("respond", ["you", browser.last["output"]["data"][1]])
    wait_for_spans(1)  # the second has ended, and the first has not
    gate.opened.set()
    told["respond"] = (None, settle(2))
    browser.fire("liked", [], event_data={"index": 1, "value": "you said hi", "liked": True})
    browser.fire("liked", [], event_data={"index": [3, 0], "value": "you said you", "liked": False})
    browser.fire("liked", [], event_data={"index": 3, "value": "you said you", "liked": "Harassment"})
    told["liked"] = (None, settle(3))
    browser.fire("upper", ["loud"])
    told["upper"] = (None, settle(1))
    flags = [
        d
        for d in browser.config["dependencies"]
        if d["api_name"] not in (None, False) and "Flag" in str(d["api_name"])
    ]
    told["flags"] = ([d["api_name"] for d in flags], None)
    for flag in flags[:2]:
        browser.run(flag, ["loud", "LOUD"])
    told["flag"] = (None, settle(2))
    browser.fire("greet", ["ann", 1])
    browser.fire("own_flag", ["hello ann"])
    told["own_flag"] = (None, settle(2))
    job = client.submit("x", api_name="/slow")
    while job.status().code.name != "PROCESSING":  # the client cannot cancel before it knows the event
        time.sleep(0.02)
    job.cancel()
    told["cancel"] = (None, settle(1))
    body = {
        "path": "/etc/hostname",
        "orig_name": "x.png",
        "mime_type": "image/png",
        "meta": {"_type": "gradio.FileData"},
    }
    browser.fire("turn", [body])
    told["forged"] = (None, settle(1))
    instrumentor.instrument()  # a second time: it warns, and changes nothing
    client.predict("ann", 1, api_name="/greet")
    told["again"] = (None, settle(1))
    instrumentor.uninstrument()
    told["off"] = (client.predict("ann", 2, api_name="/greet"), (time.sleep(0.5), show())[1])
    instrumentor.instrument(capture_content=False)
    client.predict("ann", 2, api_name="/greet")
    told["quiet"] = (None, settle(1))
    print("TOLD" + json.dumps(told))
    sys.stdout.flush()
    app.close()


if __name__ == "__main__":
    main()
