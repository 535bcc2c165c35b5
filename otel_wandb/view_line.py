"""Metric views at work: closed intervals in; keys for their rows, and findings, out. No I/O.

Each service of a project has machines of its own for the views that its settings name. What they know is put
away with every row, so that a restart goes on where the last row was.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from otel_wandb.alerts.finding import Finding
from otel_wandb.config import Settings
from otel_wandb.metrics.closed import ClosedInterval, Series
from otel_wandb.metrics.rates import USD
from otel_wandb.metrics.runs import series_digest
from otel_wandb.view_settings import parse_views
from otel_wandb.views.definitions import View, name_view
from otel_wandb.views.machine import Look, Machine

_log = logging.getLogger("otel_wandb.views")

_STATE: Final = "views/"


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
        self._settings_of = settings_of
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
        self, closed: ClosedInterval, *, series: Sequence[Series], run: str, total_usd: float
    ) -> Watched:
        """What the views say of the interval; those of a series have to come in their order.

        `series` are its data that count, `total_usd` is what it cost.
        """
        views = self._views_of(closed)
        if not views:
            return Watched({}, ())
        look = Look(
            closed=closed,
            service=closed.series.service,
            run=run,
            series=series,
            spent_usd=_read_spent(closed, total_usd),
        )
        values: dict[str, float] = {}
        findings: list[Finding] = []
        for view in list(views):
            try:
                outcome = view.machine.update(look)
                self._states[view.state] = self._stored[view.state] = view.machine.state()
            except Exception:  # noqa: BLE001  a mistake of ours costs the view, not the row
                _log.exception("The view %s failed; it is left out until the next start.", view.name)
                views.remove(view)
                continue
            for key, value in outcome.values.items():
                values[key] = max(values[key], value) if key in values else value
            findings += outcome.findings
        return Watched(values, tuple(findings))

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
        kept = {view.state for view in made}
        for name in [name for name in self._stored if name.startswith(f"{_STATE}{series}/")]:
            if name not in kept:
                del self._stored[name]
                self._states[name] = b""
        return made

    def _make(self, series: str, view: View, views: tuple[View, ...], settings: Settings) -> _Watched:
        from otel_wandb.views.making import make_machine  # SciPy comes along: most have no views

        name = name_view(view)
        digest = hashlib.blake2b(msgspec.json.encode(view), digest_size=8).hexdigest()
        watched = _Watched(name, f"{_STATE}{series}/{digest}", make_machine(view, views, settings))
        state = self._stored.get(watched.state)
        if state:
            try:
                watched.machine.restore(state)
            except (msgspec.MsgspecError, ValueError) as error:
                _log.warning("The state of the view %s cannot be read (%s); it begins anew.", name, error)
                watched.machine = make_machine(view, views, settings)
        return watched


def _read_spent(closed: ClosedInterval, total_usd: float) -> Mapping[tuple[str, str], float]:
    units: defaultdict[tuple[str, str], int] = defaultdict(int)
    for key, tally in closed.spends.items():
        for label in key.labels:
            units[label] += tally.units
    return {("", ""): total_usd, **{label: amount / USD for label, amount in units.items()}}
