"""What stands around Gradio's own functions while it is instrumented."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Final

from opentelemetry import context, trace

from otel_wandb.instrument.gradio_events import (
    JOINED,
    SCOPE,
    Asked,
    Events,
    Run,
    is_cancel,
    is_flag,
    tell_trigger,
)
from otel_wandb.instrument.patching import Patches

_log = logging.getLogger(SCOPE)

_RUN: ContextVar[Run | None] = ContextVar("otel_gradio_run", default=None)
_ITEM: ContextVar[Iterator[Run] | None] = ContextVar("otel_gradio_items", default=None)
_MISS: Final = "CacheMissError"
"""What Gradio raises at a look into its cache: no event has begun."""

_LOGGERS: Final = ("CSVLogger", "SimpleCSVLogger", "ClassicCSVLogger")

Arguments = tuple[object, ...]
Named = Mapping[str, object]
Call = Callable[..., Awaitable[object]]


class Wrappers:
    """One for each instrumented application: they share what is known of sessions."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def patch(self) -> Patches:
        """All of them, at their places."""
        return Patches(
            ("gradio.queueing", "Event.__init__", self.join),
            ("gradio.queueing", "Queue.process_events", self.process_events),
            ("gradio.blocks", "Blocks.process_api", self.process_api),
            ("gradio.blocks", "Blocks.preprocess_data", self.preprocess_data),
            ("gradio.blocks", "Blocks.postprocess_data", self.postprocess_data),
            *(("gradio.flagging", f"{name}.flag", self.flag) for name in _LOGGERS),
        )

    def join(self, wrapped: Callable[..., object], event: object, args: Arguments, kwargs: Named) -> object:
        """An event comes into the queue, within the HTTP request that brings it."""
        made = wrapped(*args, **kwargs)
        with _guarded("gradio.queueing.Event"):
            here = trace.get_current_span().get_span_context()
            setattr(event, JOINED, (here, time.time_ns()))
        return made

    async def process_events(self, wrapped: Call, queue: object, args: Arguments, kwargs: Named) -> object:
        """The queue works on an event, or on a batch of them."""
        runs: list[Run] = []
        alive: list[object] = []
        with _guarded("gradio.queueing.Queue.process_events"):
            given = args[0] if args else kwargs.get("events")
            alive = [event for event in _listed(given) if getattr(event, "alive", True)]
            batched = bool(args[1] if len(args) > 1 else kwargs.get("batch"))
            for event in alive:
                beside = runs[0].span.get_span_context() if runs else None
                asked = _read_event(queue, event)
                runs.append(self._events.open(asked, batch_size=len(alive) if batched else 1, beside=beside))
        if not runs:
            return await wrapped(*args, **kwargs)
        within = context.attach(trace.set_span_in_context(runs[0].span, context.Context()))
        here, items = _RUN.set(runs[0]), _ITEM.set(iter(runs) if batched else None)
        try:
            return await wrapped(*args, **kwargs)
        except BaseException as error:
            runs[0].cancelled = is_cancel(error)
            runs[0].error = runs[0].error or (None if is_cancel(error) else error)
            raise
        finally:
            _RUN.reset(here)
            _ITEM.reset(items)
            context.detach(within)
            self._close(runs, alive)

    async def process_api(self, wrapped: Call, blocks: object, args: Arguments, kwargs: Named) -> object:
        """A function is called: for the event of the queue that is at work, or for nobody else's."""
        fn = args[0] if args else kwargs.get("block_fn")
        run = _RUN.get()
        if run is not None and run.asked.fn is fn:
            return await _step(run, wrapped, args, kwargs)
        opened: list[Run] = []
        with _guarded("gradio.blocks.Blocks.process_api"):
            opened.append(self._events.open(_read_call(blocks, fn, args, kwargs)))
        if not opened:
            return await wrapped(*args, **kwargs)
        direct = opened[0]
        within = context.attach(trace.set_span_in_context(direct.span))
        here, items = _RUN.set(direct), _ITEM.set(None)
        missed = False
        try:
            return await _step(direct, wrapped, args, kwargs)
        except BaseException as error:
            missed = type(error).__name__ == _MISS
            raise
        finally:
            _RUN.reset(here)
            _ITEM.reset(items)
            context.detach(within)
            if not missed:
                self._close([direct], [])

    async def preprocess_data(self, wrapped: Call, blocks: object, args: Arguments, kwargs: Named) -> object:
        """What a function is about to be given, in the form in which it gets it."""
        values = await wrapped(*args, **kwargs)
        with _guarded("gradio.blocks.Blocks.preprocess_data"):
            run, fn = _RUN.get(), args[0] if args else kwargs.get("block_fn")
            if (
                run is not None
                and run.asked.fn is fn
                and _ITEM.get() is None
                and isinstance(values, Sequence)
            ):
                self._events.take_states(run, values)
        return values

    async def postprocess_data(self, wrapped: Call, blocks: object, args: Arguments, kwargs: Named) -> object:
        """What a function has given, in the form in which browsers get it."""
        values = await wrapped(*args, **kwargs)
        with _guarded("gradio.blocks.Blocks.postprocess_data"):
            run, items = _RUN.get(), _ITEM.get()
            fn = args[0] if args else kwargs.get("block_fn")
            if run is not None and run.asked.fn is fn and isinstance(values, Sequence):
                target = next(items, None) if items is not None else run
                if target is not None:
                    self._events.take_output(target, values)
        return values

    def flag(self, wrapped: Callable[..., object], logger: object, args: Arguments, kwargs: Named) -> object:
        """A flag that a function of the application writes down itself."""
        done = wrapped(*args, **kwargs)
        with _guarded("gradio.flagging"):
            run = _RUN.get()
            option = args[1] if len(args) > 1 else kwargs.get("flag_option")
            if run is not None and not is_flag(run.asked.fn):
                self._events.flag(run, option if isinstance(option, str) else None)
        return done

    def _close(self, runs: Sequence[Run], events: Sequence[object]) -> None:
        first = runs[0]
        for place, run in enumerate(runs):
            with _guarded("the end of an event"):
                if run is not first:
                    run.error, run.cancelled = run.error or first.error, run.cancelled or first.cancelled
                    run.ended_ns = first.ended_ns
                if place < len(events) and not getattr(events[place], "alive", True):
                    run.cancelled = True  # the browser has gone
                self._events.close(run)


async def _step(run: Run, wrapped: Call, args: Arguments, kwargs: Named) -> object:
    """One call of the function; a generator has many of them."""
    try:
        told = await wrapped(*args, **kwargs)
    except BaseException as error:
        if is_cancel(error):
            run.cancelled = True
        else:
            run.error = error
        raise
    finally:
        run.ended_ns = time.time_ns()
    if isinstance(told, Mapping) and told.get("is_generating"):
        run.steps += 1
    return told


def _read_event(queue: object, event: object) -> Asked:
    """What an event of the queue is about."""
    body, fn, request = (
        getattr(event, "data", None),
        getattr(event, "fn", None),
        getattr(event, "request", None),
    )
    joined = getattr(event, JOINED, None) or (trace.INVALID_SPAN_CONTEXT, time.time_ns())
    return Asked(
        fn=fn,
        inputs=list(getattr(body, "data", None) or ()),
        session=str(getattr(event, "session_hash", None) or ""),
        user=str(getattr(event, "username", None) or ""),
        headers=_read_headers(request),
        event_data=getattr(body, "event_data", None),
        trigger=tell_trigger(fn, getattr(queue, "blocks", None), getattr(body, "trigger_id", None)),
        target=getattr(body, "trigger_id", None),
        joined=joined,
    )


def _read_call(blocks: object, fn: object, args: Arguments, kwargs: Named) -> Asked:
    """What a call past the queue is about."""
    if isinstance(fn, int):
        fn = getattr(blocks, "fns", {})[fn]
    given = args[1] if len(args) > 1 else kwargs.get("inputs")
    request = kwargs.get("request")
    request = request[0] if isinstance(request, list) and request else request
    told = kwargs.get("event_data")
    target = getattr(getattr(told, "target", None), "_id", None)
    return Asked(
        fn=fn,
        inputs=_listed(given),
        session=str(kwargs.get("session_hash") or ""),
        user=str(getattr(request, "username", None) or ""),
        headers=_read_headers(request),
        event_data=getattr(told, "_data", None),
        trigger=tell_trigger(fn, blocks, target),
        target=target,
    )


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, Sequence) else []


def _read_headers(request: object) -> dict[str, str]:
    headers = getattr(request, "headers", None)
    items = getattr(headers, "items", None)
    return {str(key).lower(): str(value) for key, value in items()} if callable(items) else {}


@contextlib.contextmanager
def _guarded(what: str) -> Iterator[None]:
    """Whatever goes wrong in telling about an event is logged, and not the application's trouble."""
    try:
        yield
    except Exception:  # noqa: BLE001  that is the point
        _log.warning(
            "The instrumentation failed at %s; this event is not told.", what, exc_info=sys.exc_info()
        )
