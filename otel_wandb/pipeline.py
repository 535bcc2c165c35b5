"""What becomes of a frame: the bridge's work between the journal and the store, without either of them.

Frames go in, one at a time, with the time that it is; a `Work` comes out, which the bridge writes in one
transaction. No I/O happens here, so the same frames always give the same work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby, islice

from otel_wandb.alert_line import AlertLine
from otel_wandb.boundary import Boundaries
from otel_wandb.call_finishing import tell_sampling
from otel_wandb.config import Settings
from otel_wandb.conventions import BUILT_IN, Reader
from otel_wandb.conversion import Conversion, Converted
from otel_wandb.conversion_line import ConversionLine, Pool
from otel_wandb.errors import InputError
from otel_wandb.feedback_line import FeedbackLine
from otel_wandb.ingest.otlp import Decoded, decode
from otel_wandb.journal import Damage, Frame, Kind
from otel_wandb.ledger import MAPPING_WARNINGS
from otel_wandb.marks import Marks
from otel_wandb.metrics.runs import service_of
from otel_wandb.metrics_line import MetricsLine
from otel_wandb.records import LogBatch, MetricBatch, SpanBatch
from otel_wandb.redaction import Redactor
from otel_wandb.request_line import RequestLine
from otel_wandb.sampling_line import SamplingLine
from otel_wandb.traces.assembly import Assembly, AssemblyLimits
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.sampling import Decision
from otel_wandb.work import ResponsePlace, ShapedCall, Work

_HOUR_NS = 3600 * 1_000_000_000
_DIGEST_BYTES = 16
_MAX_DIGESTS = 1_000_000
_SPANS_AT_ONCE = 8192  # in one transaction


def limits_of(settings: Settings) -> AssemblyLimits:
    """The assembly's limits that the settings ask for."""
    second = 1_000_000_000
    return AssemblyLimits(
        linger_ns=int(settings.linger_s * second),
        idle_ns=int(settings.trace_idle_s * second),
        max_age_ns=int(settings.trace_max_s * second),
        partial_after_ns=int(settings.trace_partial_after_s * second),
        max_traces=settings.max_open_traces,
        max_trace_spans=settings.max_trace_spans,
        max_bytes=settings.max_open_bytes,
    )


class Pipeline:
    """Frames in, work out. Not thread-safe.

    `settings_of` gives the settings that a frame names by digest; `replay` makes the newest event time the
    clock, so that the outcome depends on the input alone. `reader` knows the dialects. Where there is a
    `pool`, it converts traces beside this process.
    """

    def __init__(
        self,
        *,
        marks: Marks,
        settings: Settings,
        settings_of: Callable[[str], Settings],
        bridge_id: str,
        replay: bool = False,
        reader: Reader = BUILT_IN,
        pool: Pool | None = None,
    ) -> None:
        self.assembly = Assembly(limits_of(settings), marks)
        self._sampling = SamplingLine(assembly=self.assembly, settings_of=settings_of)
        self._redactor = Redactor()
        self._boundaries = boundaries = Boundaries(settings_of, self._redactor)
        self.alerts = AlertLine(
            settings_of=settings_of, boundaries=boundaries, interval_s=settings.interval_s
        )
        self.metrics = MetricsLine(
            marks=marks,
            settings=settings,
            settings_of=settings_of,
            bridge_id="replay" if replay else bridge_id,
            replay=replay,
            alerts=self.alerts,
            boundaries=boundaries,
            is_kept=self._sampling.is_kept,
        )
        self._conversion = Conversion(
            settings_of=settings_of,
            boundaries=boundaries,
            price_lists=self.metrics.price_lists,
            reader=reader,
        )
        self.traces = ConversionLine(self._conversion, pool)
        self._requests = RequestLine(self.metrics, settings_of=settings_of, boundaries=boundaries)
        self.newest_event_ns = 0
        self._read_event_ns = 0
        self._marks = marks
        self._replay = replay
        self._works_ahead = pool is not None and not replay
        self._digests: dict[bytes, int] = {}
        self.feedback = FeedbackLine(
            assembly=self.assembly,
            settings_of=settings_of,
            boundaries=boundaries,
            is_kept=self._sampling.is_kept,
        )
        self._work = Work()

    def restore(
        self,
        digests: Iterable[tuple[bytes, int]],
        memories: Iterable[tuple[str, bytes, int]],
        states: Iterable[tuple[str, bytes]],
        places: Iterable[ResponsePlace] = (),
    ) -> None:
        """Take up what an earlier bridge had stored."""
        states = list(states)
        self._digests.update(digests)
        self.metrics.restore(states)
        self.alerts.restore(states)
        self.feedback.restore(states, places)
        self.traces.restore(states)
        self._requests.restore(states)
        self._sampling.restore(states)
        for trace_id, memory, event_ns in memories:
            self.assembly.restore(trace_id, memory, event_ns)
            self.newest_event_ns = max(self.newest_event_ns, event_ns)

    def take_frame(self, frame: Frame, now_ns: int) -> None:
        """Count the frame's items and place its spans and log records.

        A frame at or before `counted` is read again after a restart: it is placed, not counted.
        """
        again = frame.end <= self._marks.counted(frame.segment)
        self._marks.advance(frame.segment, frame.end)
        if frame.kind is Kind.FLUSH:
            if not again:
                writer_id = frame.segment.rsplit("-", 1)[0]
                self._shape(self.assembly.flush(writer_id))
                self.feedback.flush(writer_id)
                self._work.flushes.append(frame.payload)
            return
        signal = frame.kind.signal
        assert signal is not None  # every kind but FLUSH carries one
        if not again:
            self._work.counts[signal, "received", ""] += frame.items
            if self._is_repeat(frame):
                self._work.counts[signal, "dropped", "duplicate"] += frame.items
                return
        try:
            decoded = decode(frame.kind, frame.codec, frame.payload)
        except InputError:
            if not again:
                self._work.counts[signal, "rejected", "undecodable"] += frame.items
            return
        if not again:
            self._count_decoded(signal, frame.items, decoded)
        if self._replay and not again:  # frame by frame, so that it does not matter how much is read at once
            self._shape(self.assembly.due(self.newest_event_ns))
            self.feedback.due(self.newest_event_ns)
            self._collect_dropped(again=False)
        self._place(frame, decoded, now_ns, again=again)
        self._collect_dropped(again=again)

    def take_damage(self, damage: Damage) -> None:
        """Count what a damaged stretch of the journal held, as far as its header tells."""
        if damage.end > self._marks.counted(damage.segment):
            signal = damage.kind.signal if damage.kind else None
            if damage.reason == "corrupt" and signal:
                self._work.counts[signal, "received", ""] += damage.items or 0
                self._work.counts[signal, "dropped", "journal_corrupt"] += damage.items or 0
            self._work.counts["journal", "dropped", damage.reason] += 1
        self._marks.advance(damage.segment, damage.end)

    def hand_out(self, now_ns: int) -> None:
        """Let a pool begin with the traces that are finished by now, while this process stores and reads.

        What becomes of them is in the work after the next `tick`, which begins with no others then. Nothing
        happens where there is no pool, nor on replay, where what is finished depends on what was read alone.
        """
        if self._works_ahead:
            self.traces.add(self.assembly.due(now_ns, spans=_SPANS_AT_ONCE))

    def has_due(self, now_ns: int) -> bool:
        """Whether traces are finished that the last `tick` left, since there were too many."""
        return not self._replay and self.assembly.has_due(now_ns)

    def tick(self, now_ns: int, read_until_ns: int) -> None:
        """Shape the traces and rows that are finished by now (on replay: by the newest event time).

        Of a backlog some thousand spans at a time, but for replay.
        `read_until_ns` says up to when all that was written has been read.
        """
        now_ns, spans = (self.newest_event_ns, None) if self._replay else (now_ns, _SPANS_AT_ONCE)
        self._shape([] if self._works_ahead else self.assembly.due(now_ns, spans=spans))
        self.feedback.due(now_ns)
        self._collect_dropped(again=False)
        self._work.rows += self.metrics.due(read_until_ns)

    def finish(self) -> None:
        """Shape all that is open: the input has ended."""
        self._shape(self.assembly.finish_all())
        self.feedback.finish_all()
        self._collect_dropped(again=False)
        self._work.rows += self.metrics.finish_all()

    def finish_rows(self) -> None:
        """Make the rows of what waits for one, such as the tables of an hour: nothing more is expected."""
        self._work.rows += self.metrics.finish_all()

    def take_work(self) -> Work:
        """The effects since the last call."""
        work, self._work = self._work, Work()
        work.memories = self.assembly.take_memories()
        work.states = [
            *self.metrics.take_states(),
            *self.alerts.take_states(),
            *self.feedback.take_states(),
            *self.traces.take_states(),
            *self._requests.take_states(),
            *self._sampling.take_states(),
        ]
        work.feedback, work.places = self.feedback.take_ready(), self.feedback.take_places()
        work.alerts = self.alerts.take_ready()
        for line in (self.metrics, self.feedback, self.alerts, self._requests, self.traces):
            work.counts.update(line.counts)
            line.counts.clear()
        work.counts.update(self._boundaries.take_counts())
        self._forget()
        return work

    def _is_repeat(self, frame: Frame) -> bool:
        digest = hashlib.blake2b(
            frame.payload, digest_size=_DIGEST_BYTES, key=frame.kind.name.encode()
        ).digest()
        if digest in self._digests:
            return True
        self._digests[digest] = self.newest_event_ns
        self._work.digests.append((digest, self.newest_event_ns))
        return False

    def _forget(self) -> None:
        horizon = self.newest_event_ns - _HOUR_NS
        excess = len(self._digests) - _MAX_DIGESTS
        for digest, event_ns in list(islice(self._digests.items(), 10_000)):
            if event_ns >= horizon and excess <= 0:
                break
            del self._digests[digest]
            excess -= 1
        self.assembly.forget(self.newest_event_ns)

    def _count_decoded(
        self, signal: str, items: int, decoded: Decoded[SpanBatch] | Decoded[LogBatch] | Decoded[MetricBatch]
    ) -> None:
        # The front counted by a quick look; what the decoder found is what balances.
        self._work.counts[signal, "received", ""] += decoded.items - items
        for reason, n in decoded.rejected.items():
            self._work.counts[signal, "rejected", reason] += n

    def _place(
        self,
        frame: Frame,
        decoded: Decoded[SpanBatch] | Decoded[LogBatch] | Decoded[MetricBatch],
        now_ns: int,
        *,
        again: bool,
    ) -> None:
        ref = (frame.segment, frame.offset)
        size = len(frame.payload) // max(1, decoded.items)
        boundary = self._boundaries.of(frame.config)
        for batch in map(boundary.clean_batch, decoded.batches):
            if isinstance(batch, SpanBatch):
                event_ns = self._advance_clock([span.end_ns for span in batch.spans], now_ns)
                if self._replay:
                    self.metrics.see_spans(
                        event_ns, resource=batch.resource, config=frame.config, frame=ref, again=again
                    )
                now_ns = self._clock(now_ns, again=again)
                self.assembly.add_spans(batch, config=frame.config, frame=ref, size=size, now_ns=now_ns)
            elif isinstance(batch, LogBatch):
                if self._replay:  # they may be older than all spans, which are then not late
                    self._advance_clock([r.time_ns or r.observed_ns for r in batch.records], now_ns)
                now_ns = self._clock(now_ns, again=again)
                rest = self.feedback.take_logs(
                    batch, config=frame.config, frame=frame.segment, now_ns=now_ns, again=again
                )
                self._measure_scores(now_ns)
                self.assembly.add_logs(rest, frame=ref, now_ns=now_ns, again=again)
            else:
                if self._replay:
                    self._advance_clock([p.time_ns for m in batch.metrics for p in m.points], now_ns)
                self.metrics.add(
                    batch, config=frame.config, frame=ref, written_ns=frame.written_ns, again=again
                )

    def _advance_clock(self, times_ns: list[int], now_ns: int) -> int:
        """The time of a batch: the median, and live at most an hour ahead, since one wrong year ends none."""
        event_ns = sorted(times_ns)[len(times_ns) // 2] if times_ns else 0
        if not self._replay:
            event_ns = min(event_ns, now_ns + _HOUR_NS)
        self.newest_event_ns = max(self.newest_event_ns, event_ns)
        self._read_event_ns = max(self._read_event_ns, event_ns)
        return event_ns

    def _clock(self, now_ns: int, *, again: bool) -> int:
        if not self._replay:
            return now_ns
        # What is read again was placed before the newest time that is known from the store.
        return self._read_event_ns if again else self.newest_event_ns

    def _collect_dropped(self, *, again: bool) -> None:
        if not again:
            for (signal, reason), n in self.assembly.dropped.items():
                self._work.counts[signal, "dropped", reason] += n
        self.assembly.dropped.clear()

    def _shape(self, traces: list[FinishedTrace]) -> None:
        self.traces.add(traces)
        for trace, converted in self.traces.take():
            if converted is None:
                self._give_up(trace)
            else:
                self._take_converted(trace, converted)

    def _take_converted(self, trace: FinishedTrace, converted: Converted) -> None:
        counts = self._work.counts
        by_id = {placed.span.span_id: placed for placed in trace.spans}
        decision = self._sampling.decide(
            trace,
            converted,
            by_id,
            newest_ns=self.newest_event_ns,
            judged=self.feedback.is_judged(trace.trace_id),
        )
        kept = decision is None or decision.kept
        outcome = "delivered" if kept else "sampled_out"
        counts["spans", outcome, ""] += len(trace.spans) - converted.folded
        counts["spans", "dropped", "folded"] += converted.folded
        counts["log_records", outcome, ""] += sum(len(p.logs) for p in trace.spans)
        for (dialect, code), n in converted.warnings.items():
            counts[MAPPING_WARNINGS, dialect, code] += n
        if kept:
            self._keep_calls(converted, by_id, decision)
        self._measure(converted, by_id)
        self._requests.add_trace(
            converted.found, converted.body_of, by_id, newest_ns=self.newest_event_ns, kept=kept
        )
        self.feedback.add_trace(trace, converted, lambda span_id: self._place_of(by_id[span_id]))
        self._measure_scores(self.newest_event_ns)

    def _keep_calls(
        self, converted: Converted, by_id: Mapping[str, Placed], decision: Decision | None
    ) -> None:
        known: Placed | None = None  # mostly all spans of a trace are of one process
        for note in converted.notes:
            placed = by_id[note.span_id]
            if known is None or placed.resource is not known.resource or placed.config != known.config:
                known, where = placed, self._place_of(placed)
                service = service_of(placed.resource.attributes)
            body = converted.body_of(note.span_id) or b"{}"
            if decision is not None:
                body = tell_sampling(body, decision)
            span = placed.span
            run, step = self.metrics.locate(service, span.end_ns)
            started_us = span.start_ns // 1000
            self._work.calls.append(
                ShapedCall(*where, span.trace_id, note.span_id, started_us, run, step, body)
            )

    def _measure(self, converted: Converted, by_id: Mapping[str, Placed]) -> None:
        # Neighbours are mostly of one process, and each group looks up once whose they are.
        for _, told in groupby(converted.told, lambda one: id(by_id[one.span_id].resource)):
            group = list(told)
            placed = by_id[group[0].span_id]
            self.metrics.add_spans(
                group, resource=placed.resource, config=placed.config, newest_ns=self.newest_event_ns
            )

    def _measure_scores(self, now_ns: int) -> None:
        for told, resource, config in self.feedback.take_charted():
            # They may be the first to tell the time; on replay there is no other clock.
            newest_ns = max(self.newest_event_ns, told.end_ns if self._replay else now_ns)
            cleaned = self._boundaries.of(config).clean_told(told)
            self.metrics.add_spans([cleaned], resource=resource, config=config, newest_ns=newest_ns)

    def _give_up(self, trace: FinishedTrace) -> None:
        counts = self._work.counts
        counts["spans", "dropped", "unshapable"] += len(trace.spans)
        counts["log_records", "dropped", "unshapable"] += sum(len(p.logs) for p in trace.spans)

    def _place_of(self, placed: Placed) -> tuple[str, str, str]:
        return (placed.config, *self._conversion.project_of(placed))
