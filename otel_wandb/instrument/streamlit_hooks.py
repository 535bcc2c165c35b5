"""What stands around Streamlit's own functions while it is instrumented."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Final

from opentelemetry import context, trace

from otel_wandb.instrument.patching import Patches
from otel_wandb.instrument.streamlit_runs import SCOPE, Run, Runs, read_touched

_log = logging.getLogger(SCOPE)

_RUN: ContextVar[Run | None] = ContextVar("otel_streamlit_run", default=None)
_HANDLERS: Final = ("handle_user_script_exception", "handle_uncaught_app_exception")
"""What shows the exceptions of fragments, now and in older versions."""
_COUNTED: Final = "_otel_counted"

Arguments = tuple[object, ...]
Named = Mapping[str, object]
Call = Callable[..., object]


class Wrappers:
    """One for each instrumented application."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._session: ContextVar[str] = ContextVar("otel_streamlit_session", default="")

    def patch(self) -> Patches:
        """All of them, at their places."""
        runner = "streamlit.runtime.scriptrunner.script_runner"
        return Patches(
            (runner, "exec_func_with_error_handling", self.run_script),
            (runner, "ScriptRunner._run_script", self.run_session),
            ("streamlit.runtime.scriptrunner.script_cache", "ScriptCache.get_bytecode", self.compile),
            ("streamlit.runtime.state.session_state", "SessionState._call_callbacks", self.take_changes),
            *(("streamlit.runtime.fragment", name, self.note_error) for name in _HANDLERS),
            ("streamlit.delta_generator", "DeltaGenerator._enqueue", self.draw),
            ("streamlit.runtime.app_session", "AppSession.__init__", self.open_session),
            ("streamlit.runtime.app_session", "AppSession.shutdown", self.close_session),
        )

    def run_script(self, wrapped: Call, instance: object, args: Arguments, kwargs: Named) -> object:
        """The script runs once, from its first line to its last."""
        told = args[1] if len(args) > 1 else kwargs.get("ctx")
        opened: list[Run] = []
        with _guarded("the start of a run"):
            opened.append(self._runs.open(args[0] if args else kwargs.get("func"), told))
        if not opened:
            return wrapped(*args, **kwargs)
        run = opened[0]
        within = context.attach(trace.set_span_in_context(run.span, context.Context()))
        here = _RUN.set(run)
        try:
            outcome = wrapped(*args, **kwargs)
            with _guarded("the outcome of a run"):
                _read_outcome(run, outcome)
            return outcome
        except BaseException as error:
            run.error = run.error or error
            raise
        finally:
            _RUN.reset(here)
            context.detach(within)
            with _guarded("the end of a run"):
                self._runs.close(run, told)

    def run_session(self, wrapped: Call, runner: object, args: Arguments, kwargs: Named) -> object:
        """All runs that follow from one request of the browser."""
        here = self._session.set(str(getattr(runner, "_session_id", "")))
        try:
            return wrapped(*args, **kwargs)
        finally:
            self._session.reset(here)

    def compile(self, wrapped: Call, cache: object, args: Arguments, kwargs: Named) -> object:
        """The script is read; an error in it is all that there is of that run."""
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:
            with _guarded("the compiling of a script"):
                path = args[0] if args else kwargs.get("script_path")
                self._runs.fail(str(path), self._session.get(), error)
            raise

    def take_changes(self, wrapped: Call, state: object, args: Arguments, kwargs: Named) -> object:
        """What the browser has changed is known, and the callbacks are about to be called."""
        with _guarded("the changes of widgets"):
            run = _RUN.get()
            if run is not None:
                run.touched.update(read_touched(state))
        return wrapped(*args, **kwargs)

    def note_error(self, wrapped: Call, instance: object, args: Arguments, kwargs: Named) -> object:
        """A fragment has failed: Streamlit shows it, and the run goes on."""
        run = _RUN.get()
        if run is not None and args and isinstance(args[0], BaseException):
            run.error = run.error or args[0]
        return wrapped(*args, **kwargs)

    def draw(self, wrapped: Call, place: object, args: Arguments, kwargs: Named) -> object:
        """The script draws an element."""
        run = _RUN.get()
        if run is not None and run.touched and len(args) > 1:
            with _guarded("the drawing of an element"):
                self._runs.note_element(run, str(args[0]), args[1])
        return wrapped(*args, **kwargs)

    def open_session(self, wrapped: Call, session: object, args: Arguments, kwargs: Named) -> object:
        """A browser has come."""
        made = wrapped(*args, **kwargs)
        with _guarded("the start of a session"):
            setattr(session, _COUNTED, True)
            self._runs.sessions.add(1, context=context.Context())
        return made

    def close_session(self, wrapped: Call, session: object, args: Arguments, kwargs: Named) -> object:
        """A browser has gone; Streamlit may say so more than once."""
        with _guarded("the end of a session"):
            if getattr(session, _COUNTED, False):
                setattr(session, _COUNTED, False)
                self._runs.sessions.add(-1, context=context.Context())
        return wrapped(*args, **kwargs)


def _read_outcome(run: Run, outcome: object) -> None:
    """How a run has ended: (result, without errors, what to run next, stopped early, exception)."""
    if not isinstance(outcome, Sequence):
        return
    told = list(outcome)[1:]
    run.error = run.error or next((value for value in told if isinstance(value, BaseException)), None)
    run.reruns = any(hasattr(value, "widget_states") for value in told)
    run.is_stopped = run.error is None and len(told) > 2 and told[2] is True


@contextlib.contextmanager
def _guarded(what: str) -> Iterator[None]:
    """Whatever goes wrong in telling about a run is logged, and not the application's trouble."""
    try:
        yield
    except Exception:  # noqa: BLE001  that is the point
        _log.warning("The instrumentation failed at %s; that is not told.", what, exc_info=sys.exc_info())
