"""Metric views at work: closed intervals in; keys for their rows, and findings, out. No I/O.

Each service of a project has machines of its own for the views that its settings name. What they know is put
away with every row, so that a restart goes on where the last row was.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

import msgspec

from otel_wandb.alerts.finding import Finding
from otel_wandb.config import Settings
from otel_wandb.metrics.closed import ClosedInterval, Series
from otel_wandb.metrics.rates import USD
from otel_wandb.metrics.runs import series_digest
from otel_wandb.view_settings import parse_views
from otel_wandb.views.answer import Answer, Answerable
from otel_wandb.views.definitions import View, name_view
from otel_wandb.views.evidence import Evident, Stream, list_q_values
from otel_wandb.views.examples import Examples, NoExamples
from otel_wandb.views.machine import Look, Machine, Outcome
from otel_wandb.views.view_keys import Entry, ViewKeys

_log = logging.getLogger("otel_wandb.views")

_STATE: Final = "views/"
VIEW_STATES: Final = f"{_STATE}*"
"""What the names of the states of views look like."""
_ANSWERED: Final = f"{_STATE}answered/"
_KEYS: Final = "keys"


@dataclass(slots=True)
class _Watched:
    """A view of a service."""

    name: str
    state: str
    machine: Machine


@dataclass(frozen=True, slots=True)
class Watched:
    """What the views add to the row of an interval."""

    values: Mapping[str, float]
    findings: tuple[Finding, ...]


class ViewLine:
    """The views of one directory. Not thread-safe. A view that fails is logged, and gives nothing more."""

    def __init__(self, *, settings_of: Callable[[str], Settings]) -> None:
        self.on_look: Callable[[Look], None] = lambda look: None
        """Hears of each interval, also where there are no views."""
        self._settings_of = settings_of
        self._keys: dict[str, ViewKeys] = {}
        self._asked: tuple[Answer, ...] = ()
        self._stored: dict[str, bytes] = {}
        self._watched: dict[str, tuple[str, list[_Watched]]] = {}
        """By series: the settings that they were made for, and the views."""
        self._states: dict[str, bytes] = {}

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier bridge had stored; states of others are passed over."""
        self._stored.update((name, state) for name, state in states if name.startswith(_STATE) and state)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, stored in the transaction of the rows; empty ones are to be deleted."""
        states, self._states = self._states, {}
        return list(states.items())

    def watch(
        self,
        closed: ClosedInterval,
        *,
        series: Sequence[Series],
        run: str,
        total_usd: float,
        versions: Mapping[str, Sequence[Series]] | None = None,
        examples: Examples | None = None,
    ) -> Watched:
        """What the views say of the interval; those of a series have to come in their order.

        `series` are its data that count, `versions` the same by version of the service, `total_usd` is what
        it cost, and `examples` knows its traces.
        """
        views = self._views_of(closed)
        name = series_digest(closed.series)
        look = Look(
            closed=closed,
            service=closed.series.service,
            run=run,
            series=series,
            versions=versions or {},
            spent_usd=_read_spent(closed, total_usd) if views else {},
            keys=self._keys_of(name),
            examples=examples or NoExamples(),
        )
        self.on_look(look)
        values: dict[str, float] = {}
        findings: list[Finding] = []
        evidence: list[tuple[str, Stream]] = []
        for view in list(views):
            try:
                findings += self._answer(view, name, look)
                outcome = view.machine.update(look)
                self._states[view.state] = self._stored[view.state] = view.machine.state()
                evidence += _list_evidence(view)
            except Exception:  # noqa: BLE001  a mistake of ours costs the view, not the row
                _log.exception("The view %s failed; it is left out until the next start.", view.name)
                views.remove(view)
                continue
            for key, value in outcome.values.items():
                values[key] = max(values[key], value) if key in values else value
            findings += outcome.findings
        values.update(list_q_values(evidence, look.keys))
        self._forget_answers(name, {view.state for view in views}, look)
        self._keep_keys(name, look.keys)
        return Watched(values, tuple(findings))

    def ask(self, answers: Iterable[Answer]) -> None:
        """Carry these answers out in the next interval of their series, and forget those that are gone."""
        self._asked = tuple(sorted(answers, key=lambda answer: answer.order))
        known = {f"{_ANSWERED}{answer.id}" for answer in self._asked}
        for state in [name for name in self._stored if name.startswith(_ANSWERED) and name not in known]:
            del self._stored[state]
            self._states[state] = b""

    def list_answered(self) -> list[Answer]:
        """Those of the answers that were carried out."""
        return [answer for answer in self._asked if f"{_ANSWERED}{answer.id}" in self._stored]

    def _answer(self, view: _Watched, series: str, look: Look) -> list[Finding]:
        """Do what somebody said to the alarms of the view, each once."""
        findings: list[Finding] = []
        for answer in self._asked:
            done = f"{_ANSWERED}{answer.id}"
            if (answer.series, answer.state) != (series, view.state) or done in self._stored:
                continue
            if answer.after_ns >= look.closed.interval.end_ns or not isinstance(view.machine, Answerable):
                continue
            outcome = Outcome()
            try:
                outcome = view.machine.answer(answer.action, answer.group, look)
            except (KeyError, ValueError) as error:
                _log.warning("An answer to the view %s cannot be carried out: %s.", view.name, error)
            self._stored[done] = self._states[done] = b"1"
            findings += outcome.findings
        return findings

    def _forget_answers(self, series: str, states: Set[str], look: Look) -> None:
        """Those to views that are not there any more are done."""
        for answer in self._asked:
            done = f"{_ANSWERED}{answer.id}"
            lost = answer.series == series and answer.state not in states and done not in self._stored
            if lost and answer.after_ns < look.closed.interval.end_ns:
                _log.warning("An answer is of a view that is not there any more; it is dropped.")
                self._stored[done] = self._states[done] = b"1"

    def _keys_of(self, series: str) -> ViewKeys:
        known = self._keys.get(series)
        if known is None:
            stored = self._stored.get(f"{_STATE}{series}/{_KEYS}", b"[]")
            known = self._keys[series] = ViewKeys(msgspec.json.decode(stored, type=list[Entry]))
        return known

    def _keep_keys(self, series: str, keys: ViewKeys) -> None:
        if keys.changed:
            keys.changed = False
            self._states[f"{_STATE}{series}/{_KEYS}"] = msgspec.json.encode(keys.entries)

    def _views_of(self, closed: ClosedInterval) -> list[_Watched]:
        settings = self._settings_of(closed.config)
        series = series_digest(closed.series)
        made_for = f"{settings.views}\0{settings.false_alarm_days:g}\0{settings.interval_s:g}"
        known = self._watched.get(series)
        if known is None or known[0] != made_for:
            known = self._watched[series] = (made_for, self._make_all(series, settings))
        return known[1]

    def _make_all(self, series: str, settings: Settings) -> list[_Watched]:
        views = parse_views(settings.views)
        made = [self._make(series, view, views, settings) for view in views]
        kept = {*(view.state for view in made), f"{_STATE}{series}/{_KEYS}"}
        for name in [name for name in self._stored if name.startswith(f"{_STATE}{series}/")]:
            if name not in kept:
                del self._stored[name]
                self._states[name] = b""
        return made

    def _make(self, series: str, view: View, views: tuple[View, ...], settings: Settings) -> _Watched:
        from otel_wandb.views.making import make_machine  # SciPy comes along: most have no views

        name = name_view(view)
        watched = _Watched(name, name_state(series, view), make_machine(view, views, settings))
        state = self._stored.get(watched.state)
        if state:
            try:
                watched.machine.restore(state)
            except (msgspec.MsgspecError, ValueError) as error:
                _log.warning("The state of the view %s cannot be read (%s); it begins anew.", name, error)
                watched.machine = make_machine(view, views, settings)
        return watched


def _list_evidence(view: _Watched) -> list[tuple[str, Stream]]:
    streams = view.machine.list_evidence() if isinstance(view.machine, Evident) else []
    return [(view.name, stream) for stream in streams]


def name_state(series: str, view: View) -> str:
    """The name under which the store has what the view of a series knows."""
    digest = hashlib.blake2b(msgspec.json.encode(view), digest_size=8).hexdigest()
    return f"{_STATE}{series}/{digest}"


def _read_spent(closed: ClosedInterval, total_usd: float) -> Mapping[tuple[str, str], float]:
    units: defaultdict[tuple[str, str], int] = defaultdict(int)
    for key, tally in closed.spends.items():
        for label in key.labels:
            units[label] += tally.units
    return {("", ""): total_usd, **{label: amount / USD for label, amount in units.items()}}
