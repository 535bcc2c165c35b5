"""One run of a Streamlit script as a span: what set it off, what was typed, how it ended.

What is read of Streamlit's objects is read here, by name and with a default: they are no public interface.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Final

from opentelemetry import context, metrics, trace
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from otel_wandb.instrument.content import ContentReader

SCOPE: Final = "otel_wandb.instrument.streamlit"
SYSTEM: Final = "streamlit"

_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60)
_SECONDS: Final = 1e-9
_MAX_SESSIONS: Final = 10_000
_PASSWORD: Final = 1
_BUTTONS: Final = frozenset(("button", "download_button", "menu_button", "link_button"))
_THUMBS: Final = {0: "down", 1: "up"}

Value = str | bool | int | float
Emit = Callable[..., None]


@dataclass(slots=True)
class Widget:
    """A widget that was touched, as the script draws it; without a kind where it does not any more."""

    value: object
    kind: str = ""
    label: str = ""
    key: str = ""
    form: str = ""
    variant: object = None
    """What Streamlit calls the type of the element, such as a password."""

    @property
    def name(self) -> str:
        """What a user or the programmer calls it."""
        return self.label or self.key or self.kind or "widget"


@dataclass(slots=True)
class Run:
    """A script at work."""

    span: Span
    session: str
    script: str
    began_ns: int
    is_first: bool
    fragments: int = 0
    is_timer: bool = False
    touched: dict[str, Widget] = field(default_factory=dict)
    error: BaseException | None = None
    is_stopped: bool = False
    reruns: bool = False


class Runs:
    """Opens and closes the spans of runs."""

    def __init__(self, tracer: Tracer, meter: metrics.Meter, *, captures: bool, emit: Emit) -> None:
        self._tracer = tracer
        self._captures = captures
        self._emit = emit
        self._lock = threading.Lock()
        self._authors: OrderedDict[str, SpanContext | None] = OrderedDict()
        """Of each session the run that made what is shown."""
        self._durations = meter.create_histogram(
            "rpc.server.call.duration",
            unit="s",
            description="Duration of runs of the script.",
            explicit_bucket_boundaries_advisory=_BOUNDS_S,
        )
        self.sessions: Final = meter.create_up_down_counter(
            "streamlit.active_sessions", unit="{session}", description="Sessions that are open."
        )

    def open(self, script: object, told: object) -> Run:
        """Begin a run: the function that Streamlit runs, and its context."""
        given = getattr(script, "__defaults__", None) or ()
        code = next((value for value in given if isinstance(value, CodeType)), None)
        rerun = next((value for value in given if hasattr(value, "widget_states")), None)
        path = code.co_filename if code is not None else str(getattr(told, "main_script_path", ""))
        session, name = str(getattr(told, "session_id", "")), Path(path).stem or "script"
        now_ns = time.time_ns()
        attributes: dict[str, Value] = {
            "rpc.system.name": SYSTEM,
            "rpc.method": name,
            "session.id": session,
            "code.file.path": path,
        }
        span = self._tracer.start_span(
            f"streamlit {name}",
            context.Context(),
            SpanKind.SERVER,
            attributes=attributes,
            start_time=now_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        fragments = len(getattr(rerun, "fragment_id_queue", None) or ())
        timer = bool(getattr(rerun, "is_auto_rerun", False))
        return Run(span, session, name, now_ns, self._is_new(session), fragments, timer)

    def note_element(self, run: Run, kind: str, proto: object) -> None:
        """The script draws an element: if it is a touched widget, it is known now what it is called."""
        widget = run.touched.get(getattr(proto, "id", ""))
        if widget is not None:
            is_submit = bool(getattr(proto, "is_form_submitter", False))
            widget.kind = "form" if is_submit else kind
            widget.label = str(getattr(proto, "label", "") or "")[:200]
            widget.form = str(getattr(proto, "form_id", "") or "")[:200]
            widget.variant = getattr(proto, "type", None)

    def close(self, run: Run, told: object) -> None:
        """End the span."""
        span, end_ns = run.span, time.time_ns()
        labels: dict[str, Value] = {"rpc.system.name": SYSTEM, "rpc.method": run.script}
        trigger = tell_trigger(run)
        span.set_attribute("streamlit.trigger", trigger)
        if (page := _read_page(told)) and page != run.script:
            span.set_attribute("streamlit.page", page)
        if run.fragments:
            span.set_attribute("streamlit.fragments", run.fragments)
        for name, flag in (("streamlit.stopped", run.is_stopped), ("streamlit.reruns", run.reruns)):
            if flag:
                span.set_attribute(name, True)
        for widget in run.touched.values():
            if is_action(widget):
                action: dict[str, Value] = {"streamlit.widget": widget.name, "streamlit.kind": widget.kind}
                span.add_event(
                    "streamlit.action", action | ({"streamlit.form": widget.form} if widget.form else {})
                )
        self._tell_inputs(run)
        if run.error is not None:
            labels["error.type"] = tell_error(span, run.error)
        judged = [widget for widget in run.touched.values() if widget.kind == "feedback"]
        for widget in judged:
            self._judge(run, widget)
        span.end(end_ns)
        if not judged:
            self._remember(run.session, span.get_span_context())
        within = trace.set_span_in_context(span, context.Context())
        self._durations.record((end_ns - run.began_ns) * _SECONDS, labels, within)

    def fail(self, path: str, session: str, error: BaseException) -> None:
        """A script that could not be compiled: nothing of it has run."""
        name = Path(path).stem or "script"
        attributes: dict[str, Value] = {
            "rpc.system.name": SYSTEM,
            "rpc.method": name,
            "session.id": session,
            "code.file.path": path,
            "streamlit.trigger": "compile",
        }
        span = self._tracer.start_span(
            f"streamlit {name}", context.Context(), SpanKind.SERVER, attributes=attributes
        )
        tell_error(span, error)
        span.end()

    def _tell_inputs(self, run: Run) -> None:
        """What was typed and chosen; of a widget that is not drawn nobody knows whether it is a password."""
        if not self._captures or not run.span.is_recording():
            return
        told: dict[str, object] = {}
        for widget in run.touched.values():
            if not widget.kind or widget.kind in _BUTTONS or widget.kind in ("form", "feedback"):
                continue
            is_secret = widget.kind == "text_input" and widget.variant == _PASSWORD
            told[widget.name] = "[withheld: a password]" if is_secret else _read_value(widget.value)
        if told:
            value = next(iter(told.values())) if len(told) == 1 else told
            run.span.set_attribute("input.value", ContentReader().encode(value))

    def _judge(self, run: Run, widget: Widget) -> None:
        """A click on `st.feedback` is about the run that made what is shown."""
        if isinstance(widget.value, bool) or not isinstance(widget.value, int):
            return  # it was taken back
        thumbs = not widget.variant
        value = widget.value if thumbs else widget.value + 1
        label = _THUMBS.get(value) if thumbs else f"{value} of 5"
        about = self._authors.get(run.session) or run.span.get_span_context()
        self._emit(widget.key or "feedback", about=about, value=float(value), label=label)

    def _is_new(self, session: str) -> bool:
        with self._lock:
            if session in self._authors:
                return False
            self._authors[session] = None
            while len(self._authors) > _MAX_SESSIONS:
                self._authors.popitem(last=False)
            return True

    def _remember(self, session: str, span: SpanContext) -> None:
        with self._lock:
            self._authors[session] = span
            self._authors.move_to_end(session)


def is_action(widget: Widget) -> bool:
    """Whether it is something that one presses or sends."""
    return widget.kind in _BUTTONS or widget.kind in ("form", "chat_input")


def tell_trigger(run: Run) -> str:
    """What set the run off, such as `button Send`; `rerun` where it was the script itself."""
    widgets = sorted(run.touched.values(), key=lambda widget: not is_action(widget))
    if widgets:
        kind, name = widgets[0].kind or "widget", widgets[0].name
        return kind if name == kind else f"{kind} {name}"
    if run.is_timer:
        return "timer"
    return "start" if run.is_first else "rerun"


def tell_error(span: Span, error: BaseException) -> str:
    """Record it; its type is returned."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    span.set_attribute("error.type", name)
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, str(error)[:1000]))
    return name


def read_touched(state: object) -> dict[str, Widget]:
    """The widgets whose values the browser has changed, by their ids."""
    has_changed = getattr(state, "_widget_changed")  # noqa: B009  it may be missing
    values = getattr(state, "_new_widget_state")  # noqa: B009
    found = {}
    for widget_id in list(values):
        if has_changed(widget_id):
            key = str(widget_id).split("-", 2)[-1]
            found[str(widget_id)] = Widget(values.get(widget_id), key="" if key == "None" else key[:200])
    return found


def _read_value(value: object) -> object:
    """A value of a widget; of files their names."""
    if isinstance(value, list | tuple):
        return [_read_value(item) for item in value]
    if hasattr(value, "getvalue") and hasattr(value, "name"):
        return {"file": str(value.name), "size": getattr(value, "size", None)}
    return value


def _read_page(told: object) -> str:
    pages = getattr(getattr(told, "pages_manager", None), "get_pages", None)
    known = pages() if callable(pages) else None
    page = known.get(getattr(told, "page_script_hash", "")) if isinstance(known, Mapping) else None
    return str(page.get("page_name") or page.get("url_pathname") or "") if isinstance(page, Mapping) else ""
