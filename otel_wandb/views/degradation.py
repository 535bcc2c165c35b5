"""Whether a score has fallen below its baseline, with alarms as rare as was asked for.

What a score is, `scores.read_groups` says. The limit is the baseline less the tolerance. With
`baseline_count`, the least that the baseline may really be takes its place: a lower bound that holds at 99 %
confidence for whatever scores have such a mean. For `within_p95`, 95 of 100 are the baseline, and the
tolerance is in the duration.

It fires when the evidence of `statistics.means.FallDetector` is as much as was asked for, and the mean of the
last 30 scores or more is below the limit. Null hypothesis: the mean of each score, given those before it, is
at least the limit. Guarantee: the mean number of intervals with scores to a false alarm is at least
`windows_to_false_alarm`, for each group by itself. Buckets never cause one (`scores`).

It recovers when the same watch for a rise says that the mean is above the limit again (by mistake at most
once in 1,000 intervals with scores, on the mean) and the mean of the last 30 or more says so, too. Or
somebody decides: `keep` (the baseline holds, and the watch begins anew) or `accept` (the scores of the
current stretch are the baseline). What had no scores for 30 days is forgotten.

A stretch, of which bounds are given, begins where an alarm begins or ends, and at a midnight (UTC) when it
has 1,000 scores. None of that looks at the scores to come, so its bounds hold at all times at once.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final, Literal

import msgspec

from otel_wandb.alerts.finding import State
from otel_wandb.alerts.wording import tell_number, tell_time
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.statistics.means import FallDetector, FallState, mean_sequence
from otel_wandb.statistics.proportions import Interval
from otel_wandb.views.answer import Action
from otel_wandb.views.definitions import Degradation, name_view
from otel_wandb.views.evidence import Stream
from otel_wandb.views.examples import LARGEST, SMALLEST
from otel_wandb.views.machine import Group, Look, Outcome, admit, name_attributes
from otel_wandb.views.scores import Cells, Scores, read_groups, tell_scores
from otel_wandb.views.telling import make_finding, name_subject, tell_fired

MIN_SCORES: Final = 30
"""Fewer are no ground to say anything."""

_QUICK: Final = 0.95
_WINDOWS_TO_FALSE_RECOVERY: Final = 1000.0
_BASELINE_CONFIDENCE: Final = 0.98
"""Of both sides, so that the lower one alone fails in one of 100."""
_STRETCH_SCORES: Final = 1000
_DAY_S: Final = 86_400
_FORGET_S: Final = 30 * _DAY_S
_LEAST_LIMIT: Final = 1e-9


class _Base(msgspec.Struct, array_like=True, frozen=True):
    """A baseline, from 0 to 1, and how many scores it was measured with."""

    share: float
    count: int | None


class _Memory(msgspec.Struct):
    """What is known of a group; it encodes as JSON."""

    seen_s: float
    base: _Base
    fall: FallState
    since_s: float
    """Until when the scores were as good as ever, as far as can be told."""
    began_s: float
    """When the stretch began."""
    slump: float = 0.0
    """How much the scores since then are below what they would be halfway to the limit."""
    fallen: Cells = msgspec.field(default_factory=Cells)
    """The scores since then."""
    rise: FallState | None = None
    """While it fires."""
    fired_s: float | None = None
    stretch: Cells = msgspec.field(default_factory=Cells)
    recent: list[Cells] = []
    """The last intervals with 30 scores or more in all."""
    level: str = ""
    """Where the gauge last stood, exactly."""
    decision: Literal["", "kept", "accepted"] = ""
    """What somebody decided since the last interval."""


class _State(msgspec.Struct):
    groups: list[tuple[Group, _Memory]]


class DegradationMachine:
    """A `Degradation` at work: see the module. Not thread-safe.

    `windows_to_false_alarm` is of each group; a window is an interval with scores. Keys, only in rows of
    intervals with scores: `performance/{view}` is their mean, `_degradation` by what part of the baseline the
    last `_evaluations` (30 or more) are below it, `_low` and `_high` bound the mean of the stretch with 95 %
    confidence. Costs some milliseconds a group with scores, most of it for the bounds.
    """

    def __init__(self, definition: Degradation, *, windows_to_false_alarm: float) -> None:
        self._view = definition
        self._name = name_view(definition)
        self._windows = windows_to_false_alarm
        whole = definition.score == "values" and " / " not in definition.metric
        self._low, self._size = (definition.low, definition.high - definition.low) if whole else (0.0, 1.0)
        quick = definition.score == "within_p95"
        baseline = _QUICK if quick else definition.baseline
        share = min(max((baseline - self._low) / self._size, 0.0), 1.0)
        self._base = _Base(share, definition.baseline_count)
        self._tolerance = 0.0 if quick else definition.tolerance
        self._groups: dict[Group, _Memory] = {}
        self._limits: dict[_Base, float] = {}

    def update(self, look: Look) -> Outcome:
        """Take an interval."""
        outcome = Outcome(keys=look.keys)
        found = read_groups(look.series, self._view)
        for group in sorted(admit(self._groups, found)):
            memory = self._groups.get(group)
            if memory is None:
                memory = self._groups[group] = self._begin(look)
            self._settle(memory, group, look, outcome)
            scores, level = found.get(group, (Scores(), ""))
            if level and level == memory.level and 0 < scores.total < 1:
                scores = Scores()  # it is told again; at an end it may as well be another one
            memory.level = level or memory.level
            if scores.count:
                self._take(memory, group, scores, look, outcome)
            elif look.time_s - memory.seen_s > _FORGET_S:
                if memory.fired_s is not None:
                    text = "it had no scores for 30 days, so the alert ends."
                    self._tell(memory, group, "recovered", text, look, outcome)
                del self._groups[group]
        self._count(outcome, len(found.keys() - self._groups.keys()))
        return outcome

    def keep(self, group: Group = ()) -> None:
        """Acknowledge an alarm: the baseline holds, and the watch begins anew with the next interval.

        Raises:
            KeyError: nothing is known of that group.
        """
        self._groups[group].decision = "kept"

    def accept(self, group: Group = ()) -> None:
        """Acknowledge an alarm: the scores of the current stretch are the baseline from the next interval on.

        Raises:
            KeyError: nothing is known of that group.
            ValueError: there are fewer than 30 of these scores, or all are the worst possible.
        """
        memory = self._groups[group]
        stretch = memory.stretch
        if stretch.count < MIN_SCORES:
            raise ValueError(f"a baseline needs {MIN_SCORES} scores; there are {stretch.count} so far")
        if stretch.mean <= 0:
            raise ValueError("all scores are the worst possible; nothing could fall below that")
        memory.base = _Base(stretch.mean, stretch.count)
        memory.decision = "accepted"

    def list_evidence(self) -> list[Stream]:
        """Its streams, as they stand after the last interval."""
        found = []
        for group, memory in sorted(self._groups.items()):
            detector = self._watch_fall(memory.base)
            detector.restore(memory.fall)
            found.append(Stream("performance", group, "q_value", detector.e_value))
        return found

    def list_alarms(self) -> dict[Group, int]:
        """The groups whose alarm is not over, and since when (Unix time in ns)."""
        fired = {group: memory.fired_s for group, memory in sorted(self._groups.items())}
        return {group: round(at_s * SECOND_NS) for group, at_s in fired.items() if at_s is not None}

    def answer(self, action: Action, group: Group, look: Look) -> Outcome:
        """Do as somebody said, before the interval is taken. Raises as `keep` and `accept` do."""
        outcome = Outcome(keys=look.keys)
        (self.keep if action == "keep" else self.accept)(group)
        self._settle(self._groups[group], group, look, outcome)
        return outcome

    def state(self) -> bytes:
        """What `restore` needs."""
        return msgspec.json.encode(_State(list(self._groups.items())))

    def restore(self, state: bytes) -> None:
        """Go on from there; raises `msgspec.MsgspecError` for a state of another shape."""
        self._groups = dict(msgspec.json.decode(state, type=_State).groups)

    def _begin(self, look: Look) -> _Memory:
        start_s = look.closed.interval.start_ns / SECOND_NS
        fall = self._watch_fall(self._base).state()
        return _Memory(look.time_s, self._base, fall, since_s=start_s, began_s=start_s)

    def _take(self, memory: _Memory, group: Group, scores: Scores, look: Look, outcome: Outcome) -> None:
        memory.seen_s = look.time_s
        start_s = look.closed.interval.start_ns / SECOND_NS
        if memory.stretch.count >= _STRETCH_SCORES and start_s // _DAY_S != memory.began_s // _DAY_S:
            memory.stretch, memory.began_s = Cells(), start_s
        memory.stretch.add(scores)
        newest = Cells()
        newest.add(scores)
        memory.recent = _keep_recent([*memory.recent, newest])
        recent = Cells()
        for cells in memory.recent:
            recent.merge(cells)
        self._show(memory, group, scores, recent, outcome)
        if memory.fired_s is None:
            self._watch(memory, group, scores, recent, look, outcome)
        else:
            self._watch_again(memory, group, scores, recent, look, outcome)

    def _show(self, memory: _Memory, group: Group, scores: Scores, recent: Cells, outcome: Outcome) -> None:
        bounds = _bound(memory.stretch)
        shown = {
            "": self._own(scores.total / scores.count),
            "evaluations": float(recent.count),
            "low": self._own(bounds.low),
            "high": self._own(bounds.high),
        }
        baseline = self._own(memory.base.share)
        if recent.count >= MIN_SCORES and baseline:
            shown["degradation"] = (baseline - self._own(recent.mean)) / abs(baseline)
        if scores.clipped:
            shown["clipped"] = float(scores.clipped)
        for field, value in shown.items():
            outcome.values[outcome.keys.key("performance", self._name, group, field)] = value

    def _watch(
        self, memory: _Memory, group: Group, scores: Scores, recent: Cells, look: Look, outcome: Outcome
    ) -> None:
        """Look out for a fall."""
        limit = self._limit(memory.base)
        detector = self._watch_fall(memory.base)
        detector.restore(memory.fall)
        alarm = detector.update(scores.falls)
        memory.fall = detector.state()
        halfway = (memory.base.share + limit) / 2
        memory.slump = max(0.0, memory.slump + halfway * scores.count - scores.total)
        memory.fallen.add(scores)
        if not memory.slump:
            memory.since_s, memory.fallen = look.time_s, Cells()
        if alarm and recent.count >= MIN_SCORES and recent.mean < limit:
            memory.fired_s = look.time_s
            text = self._tell_fall(memory, memory.fallen if memory.fallen.count else recent)
            self._tell(memory, group, "firing", text, look, outcome)
            memory.rise = self._watch_rise(memory.base).state()
            memory.stretch, memory.began_s = Cells(), look.time_s

    def _watch_again(
        self, memory: _Memory, group: Group, scores: Scores, recent: Cells, look: Look, outcome: Outcome
    ) -> None:
        """Look out for the end of an alarm."""
        assert memory.rise is not None
        limit = self._limit(memory.base)
        detector = self._watch_rise(memory.base)
        detector.restore(memory.rise)
        missing: Counter[float] = Counter()
        for score, count in scores.rises.items():
            missing[1 - score] += count
        risen = detector.update(missing)
        memory.rise = detector.state()
        if risen and recent.mean >= limit:
            mean, allowed = (_tell(self._own(share)) for share in (recent.mean, limit))
            text = f"the mean of the last {recent.count:,} scores is {mean}, not below {allowed}."
            self._end(memory, group, text, look, outcome)

    def _settle(self, memory: _Memory, group: Group, look: Look, outcome: Outcome) -> None:
        """Carry out what somebody decided."""
        if not memory.decision:
            return
        baseline = _tell(self._own(memory.base.share))
        text = f"somebody decided that the baseline of {baseline} holds."
        if memory.decision == "accepted":
            text = f"somebody accepted {baseline}, the mean of {memory.base.count:,} scores, as the baseline."
        memory.decision = ""
        self._end(memory, group, text, look, outcome)

    def _end(self, memory: _Memory, group: Group, text: str, look: Look, outcome: Outcome) -> None:
        """Begin the watch anew; say so where an alarm ends by it."""
        if memory.fired_s is not None:
            self._tell(memory, group, "recovered", text, look, outcome)
        memory.fall, memory.rise, memory.fired_s = self._watch_fall(memory.base).state(), None, None
        memory.slump, memory.since_s, memory.fallen = 0.0, look.time_s, Cells()
        memory.stretch, memory.began_s = Cells(), look.time_s

    def _tell(
        self, memory: _Memory, group: Group, state: State, text: str, look: Look, outcome: Outcome
    ) -> None:
        if state == "recovered" and memory.fired_s is not None:
            text = f"{text} {tell_fired(memory.fired_s, look.time_s)}"
        worst = LARGEST if self._view.score == "within_p95" else SMALLEST
        where = name_attributes(self._view, group)
        finding = make_finding(
            look,
            kind="degradation",
            view=self._name,
            group=group,
            title="is below its baseline",
            level="warn",
            text=f"{name_subject(self._name, group)}: {text}",
            state=state,
            examples=look.examples.find(self._view.metric, worst, where) if state == "firing" else (),
        )
        outcome.findings.append(finding)

    def _tell_fall(self, memory: _Memory, fallen: Cells) -> str:
        bounds = _bound(fallen)
        mean, baseline = self._own(fallen.mean), self._own(memory.base.share)
        part = f"{(baseline - mean) / abs(baseline) * 100:.1f} % below" if baseline else "below"
        error = ", as far as that is known" if memory.base.count is not None else ""
        return " ".join(
            (
                f"since about {tell_time(memory.since_s)}",
                f"{tell_scores(self._view, fallen.count, _tell(mean))}",
                f"(with 95 % confidence {_tell(self._own(bounds.low))}",
                f"to {_tell(self._own(bounds.high))}),",
                f"{part} its baseline of {_tell(baseline)};",
                f"{_tell(self._own(self._limit(memory.base)))} would be allowed{error}.",
                f"Without a fall such an alarm comes once in {tell_number(self._windows)} intervals with",
                "scores, or less often, on the mean.",
            )
        )

    def _count(self, outcome: Outcome, unwatched: int) -> None:
        if unwatched:
            key = outcome.keys.key("performance", self._name, (), "unwatched_groups")
            outcome.values[key] = float(unwatched)
        firing = float(any(memory.fired_s is not None for memory in self._groups.values()))
        outcome.values[outcome.keys.key("alerts", self._name, (), "")] = firing
        outcome.values["alerts/degradation_detected"] = firing

    def _own(self, share: float) -> float:
        """In the unit of the scores, what is between 0 and 1."""
        return self._low + share * self._size

    def _limit(self, base: _Base) -> float:
        """The lowest mean that is allowed, from 0 to 1."""
        known = self._limits.get(base)
        if known is None:
            least = base.share
            if base.count is not None:
                # Of all scores between 0 and 1 with this mean, those that are 0 and 1 tell least of it.
                best = math.floor(base.share * base.count)
                counts = {1.0: best, 0.0: base.count - best}
                least = mean_sequence(counts, confidence=_BASELINE_CONFIDENCE).low
            own = self._own(least)
            limit = (own - self._tolerance * abs(own) - self._low) / self._size
            known = self._limits[base] = min(max(limit, _LEAST_LIMIT), 1.0)
        return known

    def _watch_fall(self, base: _Base) -> FallDetector:
        return FallDetector(self._limit(base), batches_to_false_alarm=self._windows)

    def _watch_rise(self, base: _Base) -> FallDetector:
        """A watch for a fall of what is missing to 1."""
        limit = max(1 - self._limit(base), _LEAST_LIMIT)
        return FallDetector(limit, batches_to_false_alarm=_WINDOWS_TO_FALSE_RECOVERY)


def _keep_recent(recent: list[Cells]) -> list[Cells]:
    """The last intervals, as few as have 30 scores."""
    count = sum(cells.count for cells in recent)
    dropped = 0
    while count - recent[dropped].count >= MIN_SCORES:
        count -= recent[dropped].count
        dropped += 1
    return recent[dropped:]


def _tell(score: float) -> str:
    return f"{score:.4g}"


def _bound(cells: Cells) -> Interval:
    falls, rises = cells.read_falls(), cells.read_rises()
    bounds = mean_sequence(falls)
    return bounds if falls == rises else Interval(mean_sequence(rises).low, bounds.high)
