"""The fifth line of the bridge: finished traces in, requests for the tables of rows out. No I/O.

Of a trace that is given out in parts, what the first parts tell waits for the request that they belong to: it
is stored meanwhile, and given up an hour after the last of it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from otel_wandb.boundary import MAX_NAME_CHARS, Boundaries
from otel_wandb.config import Settings
from otel_wandb.metrics.intervals import HOUR_NS
from otel_wandb.metrics.runs import RunSeries, series_digest
from otel_wandb.metrics_line import MetricsLine
from otel_wandb.tables.columns import MAX_CELL_CHARS, cut, make_row, redact_row
from otel_wandb.tables.sampling import Draw, Item
from otel_wandb.traces.finished import Placed
from otel_wandb.traces.request_samples import Found, RequestSample
from otel_wandb.traces.request_texts import BodyOf, RequestText, read_texts

_log = logging.getLogger("otel_wandb.tables")

_STATE: Final = "request_parts/"
_MAX_PARTS: Final = 10_000
_MAX_SCORE_CHARS: Final = 258


class _Part(msgspec.Struct, array_like=True):
    """What is known of a request whose entrance has not come. The cost is text: it may exceed 64 bits."""

    since_ns: int
    tokens_in: int = 0
    tokens_out: int = 0
    units: str | None = None
    confidence: float | None = None
    scores: list[str] = []
    text: RequestText = RequestText()


class RequestLine:
    """The requests of one directory. Not thread-safe."""

    def __init__(
        self, metrics: MetricsLine, *, settings_of: Callable[[str], Settings], boundaries: Boundaries
    ) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """What could not be told of requests, since the caller last cleared it."""
        self._metrics = metrics
        self._settings_of = settings_of
        self._boundaries = boundaries
        self._parts: dict[str, _Part] = {}
        """By trace and series, those that came last at the end."""
        self._states: dict[str, bytes] = {}

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier bridge had stored; states of others are passed over."""
        found = {}
        for name, state in states:
            if not name.startswith(_STATE) or not state:
                continue
            try:
                found[name] = msgspec.msgpack.decode(state, type=_Part)
            except msgspec.DecodeError as error:
                _log.warning("The stored state %s cannot be read (%s); it is left out.", name, error)
                self._states[name] = b""
        self._parts = dict(sorted(found.items(), key=lambda item: (item[1].since_ns, item[0])))

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, stored in the transaction of the calls; empty ones are to be deleted."""
        states, self._states = self._states, {}
        return list(states.items())

    def add_trace(
        self,
        found: Found,
        body_of: BodyOf,
        placed: Mapping[str, Placed],
        *,
        newest_ns: int,
        kept: bool = True,
    ) -> None:
        """Collect the requests of a trace, kept or not; no time is ahead of `newest_ns` by much.

        A mistake of ours costs the rest of the requests of the trace, and is counted.
        """
        if not found.requests and not found.parts:
            return
        try:
            for part in found.parts:
                self._keep_part(part, placed[part.where], body_of, newest_ns, late=found.late)
            for request in found.requests:
                self._add(request, placed[request.where], body_of, newest_ns, kept=kept)
        except Exception:  # noqa: BLE001  the calls are shaped, and the trace is not lost by this
            _log.exception("A trace could not be told of in the table of requests.")
            self.counts["requests", "dropped", "unshapable"] += 1

    def _add(
        self, request: RequestSample, placed: Placed, body_of: BodyOf, newest_ns: int, *, kept: bool
    ) -> None:
        settings = self._settings_of(placed.config)
        if not settings.table_rows:
            return
        boundary = self._boundaries.of(placed.config)
        operation = boundary.clean_text("operation", request.operation) or "unnamed"
        request.operation = operation[:MAX_NAME_CHARS]
        series, interval = self._metrics.place_request(
            placed.resource, config=placed.config, end_ns=request.end_ns, newest_ns=newest_ns
        )
        name = _name_part(request.trace_id, series)
        part = self._parts.pop(name, None)
        if part is not None:
            self._states[name] = b""
            _add_part(request, part)

        def make_item(draw: Draw) -> Item:
            text = read_texts(request, body_of)
            if part is not None:
                text = _join_texts(part.text, text)
            row = make_row(request, text)
            if not kept:
                row.call = ""
            body, withheld = redact_row(row, None if boundary.is_open else boundary.redact)
            self.counts["requests", "withheld", "redactor_failed"] += withheld
            return Item(*draw, request.end_ns, body, text.image, request.weight)

        self._metrics.tables.add(
            request,
            series=series,
            interval=interval,
            rows=settings.table_rows,
            make_item=make_item,
            kept=kept,
        )

    def _keep_part(
        self, part: RequestSample, placed: Placed, body_of: BodyOf, newest_ns: int, *, late: bool
    ) -> None:
        series = self._metrics.series_of(placed.resource, placed.config)
        name = _name_part(part.trace_id, series)
        if not self._settings_of(placed.config).table_rows or (late and name not in self._parts):
            return
        known = self._parts.pop(name, None) or _Part(newest_ns)
        _add_part(part, known)
        text = _join_texts(known.text, _shorten(read_texts(part, body_of)))
        units = None if part.units is None else str(part.units)
        clean = self._boundaries.of(placed.config).clean_text
        scores = [clean("gen_ai.evaluation.name", score)[:_MAX_SCORE_CHARS] for score in part.scores]
        kept = _Part(newest_ns, part.tokens_in, part.tokens_out, units, part.confidence, scores, text)
        self._parts[name] = kept
        self._states[name] = msgspec.msgpack.encode(kept)
        while self._parts:
            oldest = next(iter(self._parts))
            if self._parts[oldest].since_ns >= newest_ns - HOUR_NS and len(self._parts) <= _MAX_PARTS:
                break
            del self._parts[oldest]
            self._states[oldest] = b""
            self.counts["requests", "left_out", "no_entrance"] += 1


def _name_part(trace_id: str, series: RunSeries) -> str:
    return f"{_STATE}{trace_id}/{series_digest(series)}"


def _add_part(request: RequestSample, part: _Part) -> None:
    """Add what came earlier to the request."""
    request.tokens_in += part.tokens_in
    request.tokens_out += part.tokens_out
    if part.units is not None:
        request.units = (request.units or 0) + int(part.units)
    if request.confidence is None:
        request.confidence = part.confidence
    request.scores = [*part.scores, *request.scores]


def _join_texts(earlier: RequestText, later: RequestText) -> RequestText:
    """The first question and the last answer; what the one does not tell, the other does."""
    joined = RequestText(*(mine or its for mine, its in zip(later, earlier, strict=True)))
    first = later if later.image or not earlier.question else earlier
    return joined._replace(question=first.question, image=first.image, image_note=first.image_note)


def _shorten(text: RequestText) -> RequestText:
    """The text as it may wait: not too long, and without the image, of which the note is kept."""
    cells = {name: cut(getattr(text, name), MAX_CELL_CHARS) or "" for name in ("question", "answer", "error")}
    return text._replace(**cells, image="")
