"""Gradio: each event of an application is a span, and likes and flags are feedback on the event they mean.

.. code-block:: python

    GradioInstrumentor().instrument()  # or `otel-wandb run -- python app.py`, which finds it by itself

An event that goes through the queue is a span of kind SERVER, with what it was given and what it gave, how
long it waited (`gradio.queue.duration_s`), what set it off, and the error it ended with; the function runs in
its context. A generator is one span to its last output (`gradio.steps`). Of a batch each event has a span;
the function runs in that of the first. An event that goes past the queue is a child of the span of its HTTP
request, if there is one. The browser's session is `session.id`.

Content is left out where `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says no, and passwords always.
Gradio is not imported before the application does it. Nothing here raises into the application.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from importlib.util import find_spec
from typing import TYPE_CHECKING

from opentelemetry import _logs, metrics, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from otel_wandb.instrument.patching import Patches


class GradioInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # untyped module
    """The instrumentor `gradio`. `instrument` takes `tracer_provider`, `meter_provider`, `logger_provider`,
    and `capture_content`, which goes before the environment.
    """

    _patches: Patches | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """The versions of Gradio that it knows."""
        return ("gradio >= 5.0, < 7",)

    def _instrument(self, **kwargs: object) -> None:
        if find_spec("gradio") is None:
            return  # OpenTelemetry's loader leaves the look at what is installed to us
        from otel_wandb import __version__
        from otel_wandb.instrument.content import captures_content
        from otel_wandb.instrument.feedback import emit_feedback
        from otel_wandb.instrument.gradio_events import SCOPE, Events
        from otel_wandb.instrument.gradio_hooks import Wrappers

        logs: _logs.LoggerProvider | None = kwargs.get("logger_provider")  # type: ignore[assignment]
        captures = kwargs.get("capture_content")

        emit = functools.partial(emit_feedback, scope=SCOPE, logger_provider=logs)
        events = Events(
            trace.get_tracer(SCOPE, __version__, kwargs.get("tracer_provider")),  # type: ignore[arg-type]
            metrics.get_meter(SCOPE, __version__, kwargs.get("meter_provider")),  # type: ignore[arg-type]
            captures=captures_content() if captures is None else bool(captures),
            emit=emit,
        )
        self._patches = Wrappers(events).patch()
        self._patches.apply()

    def _uninstrument(self, **kwargs: object) -> None:
        if self._patches is not None:
            self._patches.remove()
