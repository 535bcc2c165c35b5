"""Weave's own ops beside OpenTelemetry: an op under a span stands below that span's call, in one trace.

.. code-block:: python

    WeaveInstrumentor().instrument(project="team/rag")  # `otel-wandb run` does it by itself

Weave's client takes the trace and the parent of an op from the call that is current for it. Where there is
none, but a span that is recorded, a stand-in with the ids of that span is given to it: under these the span
becomes a call. Only for ops of the same project: in any other, nobody would find a call whose parent is
elsewhere. All else that Weave's client does stays as it is.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

_CLIENT: Final = "weave.trace.weave_client"
_CONTEXT: Final = "weave.trace.context.call_context"
_PARENT_PLACE: Final = 2

if TYPE_CHECKING:
    from otel_wandb.instrument.patching import Patches


class WeaveInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # untyped module
    """The instrumentor `weave`. `instrument` takes `project`, as `entity/project`: where spans become calls.

    Without it nothing is done.
    """

    _patches: Patches | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """The versions of Weave that it knows."""
        return ("weave >= 0.51, < 1",)

    def _instrument(self, **kwargs: object) -> None:
        if find_spec("weave") is None:
            return  # OpenTelemetry's loader leaves the look at what is installed to us
        from otel_wandb.instrument.patching import Patches

        self._patches = Patches(
            (_CLIENT, "WeaveClient.create_call", _Joiner(str(kwargs.get("project") or "")))
        )
        self._patches.apply()

    def _uninstrument(self, **kwargs: object) -> None:
        if self._patches is not None:
            self._patches.remove()


class _Joiner:
    """Stands around `WeaveClient.create_call`."""

    def __init__(self, project: str) -> None:
        self._project = project

    def __call__(
        self,
        wrapped: Callable[..., object],
        client: object,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> object:
        given = args[_PARENT_PLACE] if len(args) > _PARENT_PLACE else kwargs.get("parent")
        if given is None and kwargs.get("use_stack", True):
            with contextlib.suppress(Exception):  # then the op is a trace of its own, as without us
                if (parent := self._make_parent(client)) is not None:
                    args, kwargs = args[:_PARENT_PLACE], {**kwargs, **_name_rest(args), "parent": parent}
        return wrapped(*args, **kwargs)

    def _make_parent(self, client: object) -> object | None:
        """A stand-in for the call of the current span; None where the op is no part of it."""
        span = trace.get_current_span()
        context = span.get_span_context()
        if not (context.is_valid and span.is_recording() and context.trace_flags.sampled):
            return None
        project = f"{getattr(client, 'entity', '')}/{getattr(client, 'project', '')}"
        calls = sys.modules.get(_CONTEXT)
        if project != self._project or calls is None or calls.get_current_call() is not None:
            return None
        stand_in: object = sys.modules[_CLIENT].Call(
            _op_name="",
            project_id=project,
            trace_id=f"{context.trace_id:032x}",
            parent_id=None,
            inputs={},
            id=f"{context.span_id:016x}",
        )
        return stand_in


def _name_rest(args: tuple[object, ...]) -> dict[str, object]:
    """What was given by place behind the parent, by name."""
    return dict(zip(("attributes", "display_name"), args[_PARENT_PLACE + 1 :], strict=False))
