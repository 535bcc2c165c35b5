"""One event of a Gradio application as a span, from its queue to its last output.

What is read of Gradio's objects is read here, by name and with a default: they are no public interface.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from otel_wandb.instrument.content import ContentReader
from otel_wandb.instrument.gradio_memory import UNKNOWN, Authors

SCOPE: Final = "otel_wandb.instrument.gradio"
SYSTEM: Final = "gradio"
JOINED: Final = "_otel_joined"
"""The name under which an event of the queue remembers where and when it was asked for."""

_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60)
_SECONDS: Final = 1e-9
_WITHHELD: Final = "[withheld: a password]"

Value = str | bool | int | float


class FeedbackEmitter(Protocol):
    """`emit_feedback`, with the providers that were given."""

    def __call__(
        self,
        name: str,
        *,
        about: SpanContext | None,
        value: float | None,
        label: str | None,
        more: Mapping[str, Value],
    ) -> None:
        """Tell one judgement."""
        ...


@dataclass(slots=True)
class Asked:
    """What a user asked for: the function, what was given to it, by whom, and from where."""

    fn: object
    """Gradio's BlockFunction."""
    inputs: Sequence[object]
    session: str = ""
    user: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    event_data: object = None
    trigger: str = ""
    target: int | None = None
    """The component that set it off."""
    joined: tuple[SpanContext, int] | None = None
    """The span of the request that put it into the queue, and when; None of what was not queued."""


@dataclass(slots=True)
class Run:
    """An event at work."""

    asked: Asked
    span: Span
    began_ns: int
    is_request: bool = True
    """Nothing else tells of its duration as that of a request."""
    outputs: list[object] | None = None
    steps: int = 0
    first_output_ns: int = 0
    ended_ns: int = 0
    """When the function gave its last output; what Gradio does after that is nobody's wait."""
    judged: SpanContext | None = None
    """The event that this one, a like or a flag, is about: found as it began, as later ones are not meant."""
    error: BaseException | None = None
    cancelled: bool = False


class Events:
    """Opens and closes the spans of events."""

    def __init__(
        self,
        tracer: Tracer,
        meter: metrics.Meter,
        *,
        captures: bool,
        emit: FeedbackEmitter,
    ) -> None:
        self._tracer = tracer
        self._captures = captures
        self._authors = Authors()
        self._emit = emit
        self._durations = meter.create_histogram(
            "rpc.server.call.duration",
            unit="s",
            description="Duration of events of the application.",
            explicit_bucket_boundaries_advisory=_BOUNDS_S,
        )
        self._waits = meter.create_histogram(
            "gradio.queue.duration",
            unit="s",
            description="How long events waited in the queue.",
            explicit_bucket_boundaries_advisory=_BOUNDS_S,
        )

    def open(self, asked: Asked, *, batch_size: int = 1, beside: SpanContext | None = None) -> Run:
        """Begin the span of an event.

        Of one that was queued it is a child of whatever the caller's headers name, else a root, with a link
        to the request that brought it: that one has ended long before. Of any other it is a child of the span
        that is current. `beside` is the first of the batch, in which the function runs.
        """
        now_ns = time.time_ns()
        links = []
        current = trace.get_current_span().get_span_context()
        if asked.joined is None and current.is_valid:
            parent, kind = context.get_current(), SpanKind.INTERNAL
        else:
            parent, kind = propagate.extract(dict(asked.headers), context.Context()), SpanKind.SERVER
            if asked.joined is not None and asked.joined[0].is_valid:
                links.append(Link(asked.joined[0]))
        if beside is not None:
            links.append(Link(beside))
        name = name_function(asked.fn)
        span = self._tracer.start_span(
            f"gradio {name}",
            parent,
            kind,
            attributes=_describe(asked, name),
            links=links,
            start_time=now_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        run = Run(asked, span, now_ns, kind is SpanKind.SERVER, judged=self._find_judged(asked))
        if batch_size > 1:
            span.set_attribute("gradio.batch.size", batch_size)
        if asked.joined is not None:
            waited_s = max(0, now_ns - asked.joined[1]) * _SECONDS
            span.set_attribute("gradio.queue.duration_s", waited_s)
            self._waits.record(waited_s, {"gradio.api_name": name}, context.Context())
        self._tell_content(span, "input.value", getattr(asked.fn, "inputs", ()), asked.inputs)
        return run

    def take_states(self, run: Run, values: Sequence[object]) -> None:
        """The function is given these values, as they are after States of the server were looked up.

        They are told where States are all that it is given, as in `ChatInterface`: by the names of the
        function's parameters.
        """
        components = list(getattr(run.asked.fn, "inputs", ()))
        if not self._captures or not components or not run.span.is_recording():
            return
        if all(getattr(component, "stateful", False) for component in components):
            named = dict(zip(_list_parameters(run.asked.fn, len(components)), values, strict=False))
            told = next(iter(named.values())) if len(named) == 1 else named
            run.span.set_attribute("input.value", ContentReader(_list_folders()).encode(told))

    def take_output(self, run: Run, values: Sequence[object]) -> None:
        """The function has given values; of a generator it may not be the last time.

        Who made them is remembered now: a browser that has them may answer before the event has ended.
        """
        self._remember(run, values)
        if run.outputs is None:
            run.outputs, run.first_output_ns = list(values), time.time_ns()
            return
        # The end of a generator gives nothing: what was there stays.
        run.outputs = [old if new is None else new for old, new in zip(run.outputs, values, strict=False)]

    def close(self, run: Run) -> None:
        """End the span, remember what it showed, and tell what the user thinks of an earlier one."""
        span, asked = run.span, run.asked
        end_ns = time.time_ns() if run.cancelled or not run.ended_ns else run.ended_ns
        labels: dict[str, Value] = {"rpc.system.name": SYSTEM, "rpc.method": name_function(asked.fn)}
        if run.error is not None:
            labels["error.type"] = _tell_error(span, run.error)
        if run.cancelled:
            span.set_attribute("gradio.cancelled", True)
        if run.steps:
            span.set_attribute("gradio.steps", run.steps)
            first_s = max(0, run.first_output_ns - run.began_ns) * _SECONDS
            span.set_attribute("gradio.time_to_first_output_s", first_s)
        if run.outputs is not None:
            components = list(getattr(asked.fn, "outputs", ()))
            self._tell_content(span, "output.value", components, run.outputs)
        if run.error is None:
            self._judge(run)
        if run.is_request:
            within = trace.set_span_in_context(span, context.Context())
            self._durations.record(max(0, end_ns - run.began_ns) * _SECONDS, labels, within)
        span.end(end_ns)

    def _tell_content(
        self, span: Span, key: str, components: Sequence[object], values: Sequence[object]
    ) -> None:
        if self._captures and span.is_recording():
            told = _name_values(components, values)
            if told is not None:
                span.set_attribute(key, ContentReader(_list_folders()).encode(told))

    def flag(self, run: Run, option: str | None) -> None:
        """The user has flagged what this event was given."""
        asked = run.asked
        about = run.judged if is_flag(asked.fn) else self._find_flagged(asked)
        more: dict[str, Value] = {"user.id": asked.user} if asked.user else {}
        self._emit(
            "flag",
            about=about or run.span.get_span_context(),
            value=None,
            label=option or "flagged",
            more=more,
        )

    def _judge(self, run: Run) -> None:
        asked, call = run.asked, getattr(run.asked.fn, "fn", None)
        if is_flag(asked.fn) and getattr(call, "visual_feedback", True):
            self.flag(run, getattr(call, "value", None))
            return
        told = _read_like(asked)
        if told is None:
            return
        liked, index = told["liked"], _first_index(told.get("index"))
        more: dict[str, Value] = {} if index is None else {"gradio.message.index": index}
        if asked.user:
            more["user.id"] = asked.user
        value, label = (
            (float(liked), "like" if liked else "dislike") if isinstance(liked, bool) else (None, str(liked))
        )
        self._emit(
            "like", about=run.judged or run.span.get_span_context(), value=value, label=label, more=more
        )

    def _find_judged(self, asked: Asked) -> SpanContext | None:
        if is_flag(asked.fn):
            return self._find_flagged(asked)
        told = _read_like(asked)
        if told is None:
            return None
        targets = [target for target, event in getattr(asked.fn, "targets", ()) if event == "like"]
        where = [target for target in targets if target == asked.target] or targets
        found = (
            self._authors.find(asked.session, target, told.get("index"), told.get("value"))
            for target in where
        )
        return next((span for span in found if span is not None), None)

    def _find_flagged(self, asked: Asked) -> SpanContext | None:
        components = [_id_of(component) for component in getattr(asked.fn, "inputs", ())]
        return self._authors.find_shown(asked.session, zip(components, asked.inputs, strict=False))

    def _remember(self, run: Run, values: Sequence[object]) -> None:
        asked, given = run.asked, {}
        if run.outputs is None:  # later ones follow on what this event itself has shown
            inputs = [_id_of(component) for component in getattr(asked.fn, "inputs", ())]
            given = dict(zip(inputs, asked.inputs, strict=False))
        for component, told in zip(getattr(asked.fn, "outputs", ()), values, strict=False):
            is_update = isinstance(told, Mapping) and told.get("__type__") == "update"
            value = told.get("value") if is_update and isinstance(told, Mapping) else told
            if getattr(component, "stateful", False) or value is None:
                continue
            where = _id_of(component)
            self._authors.note(
                asked.session,
                where,
                value,
                run.span.get_span_context(),
                is_chat=any(kind.__name__ == "Chatbot" for kind in type(component).__mro__),
                given=given.get(where, UNKNOWN),
            )


def name_function(fn: object) -> str:
    """The name that clients use; of what is not meant for them the function's own."""
    public, written = getattr(fn, "api_name", None), getattr(getattr(fn, "fn", None), "__qualname__", "")
    own = written.rpartition(".")[2] or getattr(fn, "name", None)
    is_public = getattr(fn, "api_visibility", "public") == "public" and getattr(fn, "show_api", True)
    name = (public or own if is_public else own or public) or "function"
    return str(name).strip("/<>")[:128] or "function"


def tell_trigger(fn: object, blocks: object, trigger_id: object) -> str:
    """What set the event off, such as `button.click Send`; empty where nobody knows."""
    targets = list(getattr(fn, "targets", ()))
    chosen = [target for target in targets if target[0] == trigger_id] or targets
    if len(chosen) != 1:
        return ""
    block_id, event = chosen[0]
    known = getattr(blocks, "blocks", None)
    block = known.get(block_id) if isinstance(known, Mapping) else None
    if block is None:
        return str(event)
    label = getattr(block, "label", None)
    value = getattr(block, "value", None) if type(block).__name__ == "Button" else None
    name = label or (value if isinstance(value, str) else "")
    return f"{type(block).__name__.lower()}.{event} {name}".strip()[:200]


def is_cancel(error: BaseException) -> bool:
    """Whether it says that nobody waits any more, and not that something is wrong."""
    return isinstance(error, asyncio.CancelledError | GeneratorExit)


def _describe(asked: Asked, name: str) -> dict[str, Value]:
    call = getattr(asked.fn, "fn", None)
    told: dict[str, Value] = {
        "rpc.system.name": SYSTEM,
        "rpc.method": name,
        "gradio.api_name": str(getattr(asked.fn, "api_name", None) or name),
        "gradio.queued": asked.joined is not None,
    }
    qualified = getattr(call, "__qualname__", "") or type(call).__name__
    if call is not None:
        told["code.function.name"] = f"{getattr(call, '__module__', '')}.{qualified}".strip(".")
    who = {"session.id": asked.session, "user.id": asked.user, "gradio.trigger": asked.trigger}
    return told | {key: value for key, value in who.items() if value}


def _name_values(components: Sequence[object], values: Sequence[object]) -> object:
    """The values by the labels of their components; one alone as it is. None where there is none."""
    named: dict[str, object] = {}
    for component, value in zip(components, values, strict=False):
        if getattr(component, "stateful", False):
            continue  # its value stays on the server, and may be anything
        label = getattr(component, "label", None) or getattr(component, "elem_id", None)
        name = str(label or type(component).__name__.lower())
        while name in named:
            name += "_"
        named[name] = _WITHHELD if getattr(component, "type", None) == "password" and value else value
    if not named:
        return None
    return next(iter(named.values())) if len(named) == 1 else named


def _list_parameters(fn: object, count: int) -> list[str]:
    try:
        names = list(inspect.signature(getattr(fn, "fn", None)).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"state_{place}" for place in range(len(names), count))][:count]


def _id_of(component: object) -> int:
    return int(getattr(component, "_id", -1))


def is_flag(fn: object) -> bool:
    """Whether it is the function of one of the flag buttons of an `Interface`."""
    return type(getattr(fn, "fn", None)).__name__ == "FlagMethod"


def _read_like(asked: Asked) -> Mapping[str, object] | None:
    """What the browser tells of a like; None of any other event."""
    told = asked.event_data
    is_like = any(event == "like" for _, event in getattr(asked.fn, "targets", ()))
    return told if is_like and isinstance(told, Mapping) and told.get("liked") is not None else None


def _first_index(index: object) -> int | None:
    """Of a message; of what has rows, the row."""
    first = index[0] if isinstance(index, list | tuple) and index else index
    return first if isinstance(first, int) and not isinstance(first, bool) else None


def _tell_error(span: Span, error: BaseException) -> str:
    kind = _name_type(error)
    span.set_attribute("error.type", kind)
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, str(error)[:1000]))
    return kind


def _name_type(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _list_folders() -> tuple[str, ...]:
    """Where Gradio keeps what users upload and what functions give; it may be set late."""
    return (os.environ.get("GRADIO_TEMP_DIR") or os.path.join(tempfile.gettempdir(), "gradio"),)  # noqa: PTH118
