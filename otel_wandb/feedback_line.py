"""The third line of the bridge: scores in, feedback on the right call out. No I/O.

A score names its call by the span that it stands in or that its log record belongs to, or by the id of the
response that it judges; the id goes before, since the span may be that of the judge. A score whose call has
been shaped is given out at once. Any other waits for its call, and in the end goes to the span that it names:
another bridge may have delivered that one. What is a number counts in charts, too, as soon as it comes
(`score_charts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec

from otel_wandb.boundary import Boundaries
from otel_wandb.config import Settings
from otel_wandb.conventions.scores import RESULT_EVENT, Score, read_result
from otel_wandb.conversion import CallNote, Converted
from otel_wandb.metrics_line import project_of
from otel_wandb.records import LogBatch, LogRecord, Resource
from otel_wandb.score_charts import ScoreCharts, ScoreNews
from otel_wandb.traces.assembly import Assembly
from otel_wandb.traces.feedback import Cleaned, encode_feedback, feedback_id
from otel_wandb.traces.finished import FinishedTrace
from otel_wandb.traces.joins import hash_id
from otel_wandb.work import ResponsePlace, ShapedFeedback

_SECOND: Final = 1_000_000_000
_HOUR: Final = 3600 * _SECOND
_STATE: Final = "feedback/"
_MAX_RESPONSES: Final = 30_000
_MAX_WAITING: Final = 100_000


class _Waiting(msgspec.Struct, array_like=True, gc=False):
    """A score from a log record that waits for its call, as it is stored meanwhile."""

    uid: str
    body: bytes
    response: int
    trace_id: str
    span_id: str
    config: str
    entity: str
    project: str
    since_ns: int
    frame: str
    """The writer of the segment that it came in: a flush of that one lets it go."""


class _Named(NamedTuple):
    """What a score names, and where it goes if nothing is known of that."""

    score: Score
    trace_id: str
    span_id: str
    config: str
    entity: str
    project: str
    resource: Resource


_Key: TypeAlias = int | tuple[str, str]
ProjectOf: TypeAlias = Callable[[str], tuple[str, str, str]]
"""(config, entity, project) of a span of a trace."""


class FeedbackLine:
    """The scores of one directory. Not thread-safe."""

    def __init__(
        self,
        *,
        assembly: Assembly,
        settings_of: Callable[[str], Settings],
        boundaries: Boundaries,
        is_kept: Callable[[str], bool] = lambda trace_id: True,
    ) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """What became of scores and their log records, since the caller last cleared it."""
        self._assembly = assembly
        self._settings_of = settings_of
        self._boundaries = boundaries
        self._is_kept = is_kept
        self._waiting: dict[str, _Waiting] = {}
        self._named: dict[_Key, dict[str, None]] = {}
        """The ids of what waits, by what is named."""
        self._traces: Counter[str] = Counter()
        """How many wait, by the trace that they name."""
        self._look_again_ns = 0
        self._places: dict[int, ResponsePlace] = {}
        self._ready: list[ShapedFeedback] = []
        self._states: dict[str, bytes] = {}
        self._charts = ScoreCharts()
        self._new_places: list[ResponsePlace] = []

    @property
    def open_records(self) -> int:
        """How many log records wait for the call that they judge."""
        return len(self._waiting)

    def restore(self, states: Iterable[tuple[str, bytes]], places: Iterable[ResponsePlace]) -> None:
        """Take up what an earlier bridge had stored."""
        states = list(states)
        self._charts.restore(states)
        for name, state in states:
            if not name.startswith(_STATE):
                continue
            try:
                self._wait(msgspec.msgpack.decode(state, type=_Waiting))
            except msgspec.MsgspecError:
                self._states[name] = b""
                self.counts["log_records", "dropped", "store_corrupt"] += 1
        for place in places:
            self._keep_place(place)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, stored in the transaction of the feedback; empty ones are to be deleted."""
        states, self._states = list(self._states.items()), {}
        return [*states, *self._charts.take_states()]

    def take_places(self) -> list[ResponsePlace]:
        """Which calls the responses of late belong to, since the last call."""
        places, self._new_places = self._new_places, []
        return places

    def take_ready(self) -> list[ShapedFeedback]:
        """The feedback whose call is known, since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def take_charted(self) -> list[ScoreNews]:
        """What scores tell of charts, since the last call."""
        return self._charts.take_ready()

    def take_logs(
        self, batch: LogBatch, *, config: str, frame: str, now_ns: int, again: bool = False
    ) -> LogBatch:
        """The batch without the scores in it, which are kept here.

        `again`: the frame was counted before a restart, and its scores are stored, given out or waiting.
        """
        rest: list[LogRecord] = []
        entity, project = project_of(batch.resource.attributes, self._settings_of(config))
        for record in batch.records:
            score = _read_record(record) if _is_result(record) else None
            if score is None:
                rest.append(record)
            elif not again:
                named = _Named(
                    score, record.trace_id, record.span_id, config, entity, project, batch.resource
                )
                self._take_record(named, frame.rsplit("-", 1)[0], now_ns)
        return LogBatch(batch.resource, batch.scope, rest) if len(rest) < len(batch.records) else batch

    def add_trace(self, trace: FinishedTrace, converted: Converted, project_of_span: ProjectOf) -> None:
        """Give out the scores of the trace, and those that waited for its calls."""
        named: list[_Key] = []
        for call in sorted(converted.notes, key=_spends):  # of two with one response the spender is last
            if call.response_id:
                response = hash_id(call.response_id)
                place = ResponsePlace(response, trace.trace_id, call.span_id, *project_of_span(call.span_id))
                self._new_places.append(place)
                self._keep_place(place)
                named.append(response)
        if converted.scores:
            self._give_out_of_spans(trace, converted, project_of_span)
        if self._waiting:
            named += [(trace.trace_id, call.span_id) for call in converted.notes]
            for key in named:
                for uid in list(self._named.get(key, ())):
                    waiting = self._waiting[uid]
                    place_of = None if isinstance(key, int) else project_of_span(key[1])
                    self._give_out(waiting, self._place_of(waiting, place_of))

    def is_judged(self, trace_id: str) -> bool:
        """Whether a score that names a span of the trace waits here."""
        return trace_id in self._traces

    def due(self, now_ns: int) -> None:
        """Let go what has waited for long enough."""
        if now_ns < self._look_again_ns:
            return
        self._look_again_ns = now_ns + _SECOND
        for waiting in list(self._waiting.values()):
            settings = self._settings_of(waiting.config)
            is_open = self._assembly.is_open(waiting.trace_id)
            wait_s = settings.trace_max_s if is_open else settings.trace_idle_s
            if now_ns - waiting.since_ns >= wait_s * _SECOND:
                self._let_go(waiting)

    def flush(self, writer_id: str) -> None:
        """Let go what came from this front, without waiting for more."""
        for waiting in list(self._waiting.values()):
            if waiting.frame == writer_id:
                self._let_go(waiting)

    def finish_all(self) -> None:
        """Let everything go: the input has ended."""
        for waiting in list(self._waiting.values()):
            self._let_go(waiting)

    def _take_record(self, named: _Named, writer_id: str, now_ns: int) -> None:
        score = named.score
        response = hash_id(score.response_id) if score.response_id else 0
        if not response and not (named.trace_id and named.span_id):
            self.counts["log_records", "dropped", "no_span"] += 1
            return
        uid = feedback_id(score, named.trace_id, named.span_id)
        if uid in self._waiting:
            self._count_repeat()
            return
        self._charts.add(score, uid, named.resource, named.config, score.time_ns)
        body = encode_feedback(score, uid, self._cleaner(named.config))
        # On replay the clock stands at the newest span, and at zero before the first.
        since_ns = max(now_ns, min(score.time_ns, now_ns + _HOUR) if now_ns else score.time_ns)
        waiting = _Waiting(uid, body, response, *named[1:-1], since_ns, writer_id)
        is_late = not response and self._assembly.has_given_out(named.trace_id, named.span_id)
        place = self._find(response, named.trace_id)
        if place is not None or is_late:
            self._give_out(waiting, place)
            return
        self._wait(waiting)
        self._states[_STATE + uid] = msgspec.msgpack.encode(waiting)
        if len(self._waiting) > _MAX_WAITING:
            self._let_go(next(iter(self._waiting.values())))

    def _give_out_of_spans(
        self, trace: FinishedTrace, converted: Converted, project_of_span: ProjectOf
    ) -> None:
        above: dict[str, str | None] = {earlier: told.parent_id for earlier, told in trace.memory.items()}
        above |= {call.span_id: call.parent_id for call in converted.notes}
        by_id = {placed.span.span_id: placed for placed in trace.spans}
        for span_id, score in converted.scores:
            uid = feedback_id(score, trace.trace_id, span_id)
            config, entity, project = project_of_span(span_id)
            placed = by_id[span_id]
            self._charts.add(score, uid, placed.resource, config, score.time_ns or placed.span.end_ns)
            body = encode_feedback(score, uid, self._cleaner(config))
            place = self._find(hash_id(score.response_id), trace.trace_id) if score.response_id else None
            if place is not None:
                self._put(uid, body, place, scored_by=span_id if place.span_id != span_id else "")
                continue
            about = span_id if score.scope == "span" else _topmost(span_id, above)
            self._put(uid, body, ResponsePlace(0, trace.trace_id, about, config, entity, project))

    def _wait(self, waiting: _Waiting) -> None:
        self._waiting[waiting.uid] = waiting
        self._traces[waiting.trace_id] += 1
        self._named.setdefault(_key_of(waiting), {})[waiting.uid] = None

    def _place_of(self, waiting: _Waiting, of_span: tuple[str, str, str] | None) -> ResponsePlace | None:
        if of_span is None:
            return self._find(waiting.response, waiting.trace_id)
        return ResponsePlace(0, waiting.trace_id, waiting.span_id, *of_span)

    def _let_go(self, waiting: _Waiting) -> None:
        if waiting.trace_id and waiting.span_id:
            self._give_out(waiting, None)
        else:
            self._forget(waiting)
            self.counts["log_records", "dropped", "no_call"] += 1

    def _give_out(self, waiting: _Waiting, place: ResponsePlace | None) -> None:
        """Give out a score of a log record, to the place or to the span that it names itself."""
        self._forget(waiting)
        self.counts["log_records", "delivered", ""] += 1
        w = waiting
        if place is None:
            place = ResponsePlace(0, w.trace_id, w.span_id, w.config, w.entity, w.project)
            self._put(w.uid, w.body, place, sure=False)
        else:
            self._put(w.uid, w.body, place, scored_by=w.span_id if place.span_id != w.span_id else "")

    def _put(
        self, uid: str, body: bytes, place: ResponsePlace, *, scored_by: str = "", sure: bool = True
    ) -> None:
        _, trace_id, span_id, config, entity, project = place
        if not self._is_kept(trace_id):  # it came after its trace was left out
            self.counts["feedback", "received", ""] += 1
            self.counts["feedback", "sampled_out", ""] += 1
            return
        self._ready.append(
            ShapedFeedback(
                config=config,
                entity=entity,
                project=project,
                uid=uid,
                trace_id=trace_id,
                span_id=span_id,
                scored_by=scored_by,
                body=body,
                sure=sure,
            )
        )

    def _forget(self, waiting: _Waiting) -> None:
        if self._waiting.pop(waiting.uid, None) is None:
            return
        self._states[_STATE + waiting.uid] = b""
        self._traces[waiting.trace_id] -= 1
        if not self._traces[waiting.trace_id]:
            del self._traces[waiting.trace_id]
        key = _key_of(waiting)
        del self._named[key][waiting.uid]
        if not self._named[key]:
            del self._named[key]

    def _count_repeat(self) -> None:
        self.counts["log_records", "delivered", ""] += 1
        self.counts["feedback", "received", ""] += 1
        self.counts["feedback", "dropped", "duplicate"] += 1

    def _find(self, response: int, trace_id: str) -> ResponsePlace | None:
        """The call that the response belongs to: one of this trace before any other."""
        if not response:
            return None
        return self._places.get(_in_trace(response, trace_id)) or self._places.get(response)

    def _keep_place(self, place: ResponsePlace) -> None:
        for key in (place.response, _in_trace(place.response, place.trace_id)):
            self._places.pop(key, None)  # to the end of the line
            self._places[key] = place
        while len(self._places) > 2 * _MAX_RESPONSES:
            del self._places[next(iter(self._places))]

    def _cleaner(self, config: str) -> Callable[[bytes], Cleaned]:
        boundary = self._boundaries.of(config)

        def clean(body: bytes) -> Cleaned:
            redacted = boundary.redact_feedback(body)
            if redacted.withheld:
                self.counts["feedback", "withheld", "redactor_failed"] += 1
            return Cleaned(redacted.body, redacted.withheld)

        return clean


def _is_result(record: LogRecord) -> bool:
    return RESULT_EVENT in (record.event_name, record.attributes.get("event.name"))


def _read_record(record: LogRecord) -> Score | None:
    return read_result(record.attributes, record.time_ns or record.observed_ns, record.body)


def _spends(call: CallNote) -> bool:
    return call.spends


def _topmost(span_id: str, above: Mapping[str, str | None]) -> str:
    """The topmost call above the span that is known."""
    for _ in range(len(above)):
        parent_id = above.get(span_id)
        if not parent_id or parent_id not in above:
            break
        span_id = parent_id
    return span_id


def _key_of(waiting: _Waiting) -> _Key:
    return waiting.response or (waiting.trace_id, waiting.span_id)


def _in_trace(response: int, trace_id: str) -> int:
    return response ^ int(trace_id[-15:] or "0", 16) ^ 1
