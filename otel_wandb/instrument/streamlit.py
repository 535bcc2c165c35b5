"""Streamlit: each run of a script is a span, and the session of a browser is its thread.

.. code-block:: python

    StreamlitInstrumentor().instrument()  # or: otel-wandb run -- streamlit run app.py

A run is a span of kind SERVER, in whose context the script works: what set it off (`streamlit.trigger`, and
an event `streamlit.action` for each button, form and chat input), what was typed, and the exception that
ended it. `session.id` is the browser's session. A click on `st.feedback` is feedback on the run before.
Sessions that are open are counted in `streamlit.active_sessions`.

Content is left out where `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says no, and passwords always.
Streamlit is not imported before the application does it. Nothing here raises into the application.
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


class StreamlitInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # untyped module
    """The instrumentor `streamlit`. `instrument` takes `tracer_provider`, `meter_provider`,
    `logger_provider`, and `capture_content`, which goes before the environment.
    """

    _patches: Patches | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """The versions of Streamlit that it knows."""
        return ("streamlit >= 1.40, < 2",)

    def _instrument(self, **kwargs: object) -> None:
        if find_spec("streamlit") is None:
            return  # OpenTelemetry's loader leaves the look at what is installed to us
        from otel_wandb import __version__
        from otel_wandb.instrument.content import captures_content
        from otel_wandb.instrument.feedback import emit_feedback
        from otel_wandb.instrument.streamlit_hooks import Wrappers
        from otel_wandb.instrument.streamlit_runs import SCOPE, Runs

        logs: _logs.LoggerProvider | None = kwargs.get("logger_provider")  # type: ignore[assignment]
        captures = kwargs.get("capture_content")
        runs = Runs(
            trace.get_tracer(SCOPE, __version__, kwargs.get("tracer_provider")),  # type: ignore[arg-type]
            metrics.get_meter(SCOPE, __version__, kwargs.get("meter_provider")),  # type: ignore[arg-type]
            captures=captures_content() if captures is None else bool(captures),
            emit=functools.partial(emit_feedback, scope=SCOPE, logger_provider=logs),
        )
        self._patches = Wrappers(runs).patch()
        self._patches.apply()

    def _uninstrument(self, **kwargs: object) -> None:
        if self._patches is not None:
            self._patches.remove()
