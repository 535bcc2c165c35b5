"""Finished traces to calls as they are stored, and to what the lines of the bridge are told of them. No I/O.

Nothing here depends on what else was converted, but for prices and boundaries that are made once for each
configuration. So it can be done in this process or beside it (`conversion_line.py`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otel_wandb.boundary import Boundaries
from otel_wandb.call_finishing import CallFinisher
from otel_wandb.config import Settings
from otel_wandb.conventions import BUILT_IN, Reader
from otel_wandb.conventions.scores import Score
from otel_wandb.metrics.from_spans import Told
from otel_wandb.metrics.pricing import PriceLists
from otel_wandb.metrics_line import project_of
from otel_wandb.traces.calls import Call, shape_tree
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.joins import Lookups, ModelCalls, join_calls
from otel_wandb.traces.request_samples import Found
from otel_wandb.traces.request_texts import BodyOf
from otel_wandb.traces.tree import Tree
from otel_wandb.view_settings import cost_labels

_log = logging.getLogger("otel_wandb.pipeline")


class CallNote(NamedTuple):
    """What is to be known of a call besides its body."""

    span_id: str
    parent_id: str | None
    response_id: str | None
    spends: bool
    """It counts tokens."""
    failed: bool


@dataclass(slots=True)
class Converted:
    """A trace as calls, and what it tells. `body_of` finishes a call when it is first asked for.

    `warnings` are by dialect and code; `scores` are what spans tell of calls, each with the id of the span
    that tells it; `told` is what the spans tell of charts, and `found` the requests.
    """

    notes: list[CallNote]
    folded: int
    warnings: Counter[tuple[str, str]]
    scores: list[tuple[str, Score]]
    told: list[Told]
    found: Found
    body_of: BodyOf


class Conversion:
    """Converts the traces of one directory. Not thread-safe."""

    def __init__(
        self,
        *,
        settings_of: Callable[[str], Settings],
        boundaries: Boundaries,
        price_lists: PriceLists,
        reader: Reader = BUILT_IN,
    ) -> None:
        self._settings_of = settings_of
        self._boundaries = boundaries
        self._reader = reader
        self._finisher = CallFinisher(settings_of=settings_of, boundaries=boundaries)
        self._price_lists = price_lists

    @property
    def counts(self) -> Counter[tuple[str, str, str]]:
        """What was withheld or left out of calls, since the caller last cleared it."""
        return self._finisher.counts

    def convert(self, traces: Sequence[FinishedTrace], known: ModelCalls) -> list[Converted | None]:
        """The traces, given out together; None for one that could not be converted, which is logged.

        `known` are the model calls of before, to which those of these traces are added.
        """
        trees = [self._grow(trace) for trace in traces]
        nodes = [node for tree in trees if tree is not None for node in tree.nodes]
        join_calls(nodes, self.project_of, known)
        return [None if tree is None else self._convert(tree) for tree in trees]

    def convert_apart(self, trace: FinishedTrace) -> tuple[Converted | None, Lookups]:
        """The trace by itself, and what of other traces it would have to know."""
        lookups = Lookups()
        tree = self._grow(trace)
        if tree is None:
            return None, lookups
        join_calls(tree.nodes, self.project_of, lookups)
        return self._convert(tree), lookups

    def project_of(self, placed: Placed) -> tuple[str, str]:
        """Entity and project of a span."""
        return project_of(placed.resource.attributes, self._settings_of(placed.config))

    def _grow(self, trace: FinishedTrace) -> Tree | None:
        try:
            fold_asgi = self._settings_of(trace.spans[0].config).fold_asgi
            return Tree(trace, fold_asgi=fold_asgi, reader=self._reader)
        except Exception:  # noqa: BLE001  a mistake of ours costs one trace, not the bridge
            _log_lost(trace)
            return None

    def _convert(self, tree: Tree) -> Converted | None:
        trace = tree.trace
        config = trace.spans[0].config
        settings = self._settings_of(config)
        try:
            shaped = shape_tree(
                tree,
                project_of=self.project_of,
                price_of=self._price_lists.find(settings.prices).price,
                cost_by=cost_labels(settings.cost_by, settings.views),
                clean=self._boundaries.of(config).clean_told,
            )
        except Exception:  # noqa: BLE001  as above
            _log_lost(trace)
            return None
        bodies = _Bodies(shaped.calls, trace, self._finisher)
        notes = [_note(call) for call in shaped.calls]
        return Converted(
            notes, shaped.folded, shaped.warnings, shaped.scores, shaped.told, shaped.found, bodies.get
        )


class _Bodies:
    """The finished calls of a trace, each made when it is first asked for."""

    def __init__(self, calls: list[Call], trace: FinishedTrace, finisher: CallFinisher) -> None:
        self._calls = {call.id: call for call in calls}
        self._trace = trace
        self._configs: dict[str, str] = {}
        self._finisher = finisher
        self._finished: dict[str, bytes] = {}

    def get(self, span_id: str) -> bytes | None:
        """The body of the call, None where there is none of the span."""
        body = self._finished.get(span_id)
        if body is None and (call := self._calls.get(span_id)) is not None:
            if not self._configs:
                self._configs = {placed.span.span_id: placed.config for placed in self._trace.spans}
            body = self._finished[span_id] = self._finisher.finish(call, self._configs[span_id])
        return body


def _note(call: Call) -> CallNote:
    return CallNote(
        call.id,
        call.parent_id,
        call.attributes.response_id,
        call.summary.usage is not None,
        call.exception is not None,
    )


def _log_lost(trace: FinishedTrace) -> None:
    _log.exception("Trace %s could not be shaped into calls; it is dropped.", trace.trace_id)
