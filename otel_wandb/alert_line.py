"""The fourth line of the bridge: rows of charts in, alerts out. No I/O.

Each service of a project has its rules; what they know is put away with every row. Views hand their findings
to the same place by `take`.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final, TypeGuard

import msgspec

from otel_wandb.alerts.engine import AlertRules, Moment
from otel_wandb.alerts.finding import Finding
from otel_wandb.alerts.plan import DEFAULT_PLAN, Plan
from otel_wandb.alerts.reading import parse_plan
from otel_wandb.boundary import Boundaries
from otel_wandb.config import Settings
from otel_wandb.metrics.charts import MAX_KEYS, Shown
from otel_wandb.metrics.runs import RunSeries, series_digest
from otel_wandb.work import ShapedAlert

_log = logging.getLogger("otel_wandb.alerts")

_STATE: Final = "alert_rules/"
_WITHHELD: Final = "withheld: the redaction of this alert failed"


class _Said(msgspec.Struct):
    """What of an alert is text, and so may hold a secret."""

    title: str
    text: str


class AlertLine:
    """The alerts of one directory. Not thread-safe."""

    def __init__(
        self, *, settings_of: Callable[[str], Settings], boundaries: Boundaries, interval_s: float
    ) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """What became of alerts, since the caller last cleared it."""
        self.on_firing: Callable[[RunSeries], None] = lambda series: None
        """Hears of each series of which an alert begins to fire."""
        self._settings_of = settings_of
        self._boundaries = boundaries
        self._interval_s = interval_s
        self._plans: dict[str, Plan] = {"": DEFAULT_PLAN}
        self._stored: dict[str, bytes] = {}
        self._rules: dict[str, tuple[str, AlertRules]] = {}
        """By series: the text of the plan that they were made for, and the rules."""
        self._ready: list[ShapedAlert] = []
        self._states: dict[str, bytes] = {}

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier bridge had stored; states of others are passed over."""
        self._stored.update((name, state) for name, state in states if name.startswith(_STATE) and state)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, stored in the transaction of the rows; empty ones are to be deleted."""
        states, self._states = self._states, {}
        return list(states.items())

    def take_ready(self) -> list[ShapedAlert]:
        """The alerts since the last call, to be stored in the transaction of their rows."""
        ready, self._ready = self._ready, []
        return ready

    def mark(
        self, values: Mapping[str, Shown], moment: Moment, *, series: RunSeries, config: str
    ) -> dict[str, Shown]:
        """The values of the row, and `alerts/NAME` for each rule: 1 where it fires, else 0.

        Of a row with too many keys, the last ones make room. Rows of a series have to come in their order.
        `config` names the settings with the rules.
        """
        settings = self._settings_of(config)
        name = _STATE + series_digest(series)
        rules = self._rules_of(name, settings)
        if rules is None:
            return dict(values)
        numbers = {key: float(value) for key, value in values.items() if _is_number(value)}
        verdict = rules.evaluate(numbers, moment)
        self._keep(name, rules)
        self.take(verdict.findings, series=series, config=config)
        return dict(islice(values.items(), MAX_KEYS - len(verdict.flags))) | dict(verdict.flags)

    def take(self, findings: Iterable[Finding], *, series: RunSeries, config: str) -> None:
        """Make alerts of findings about a series, from whatever found them."""
        plan = self._plan(self._settings_of(config))
        for finding in findings:
            told = self._redact(finding, config)
            if finding.state == "firing":
                self.on_firing(series)
            self._ready.append(
                ShapedAlert(
                    config=config,
                    entity=series.entity,
                    project=series.project,
                    uid=finding.uid(series.server, series.entity, series.project),
                    finding=told,
                    routes=plan.routes_for(finding.name, finding.level),
                )
            )

    def _rules_of(self, name: str, settings: Settings) -> AlertRules | None:
        """The rules of a series as they are set now; None where there are none, and none have been."""
        known = self._rules.get(name)
        if known is not None and known[0] == settings.alerts:
            return known[1]
        plan = self._plan(settings)
        state = known[1].state if known else self._stored.get(name, b"")
        if not plan.rules and not state:
            return None
        try:
            rules = AlertRules(plan.rules, interval_s=self._interval_s, state=state)
        except msgspec.DecodeError as error:
            _log.warning("The stored state %s cannot be read (%s); the alerts begin anew.", name, error)
            rules = AlertRules(plan.rules, interval_s=self._interval_s)
        self._rules[name] = (settings.alerts, rules)
        return rules

    def _keep(self, name: str, rules: AlertRules) -> None:
        state = rules.state
        if state != self._stored.get(name, b""):
            self._stored[name] = self._states[name] = state

    def _plan(self, settings: Settings) -> Plan:
        plan = self._plans.get(settings.alerts)
        if plan is None:
            plan = self._plans[settings.alerts] = parse_plan(settings.alerts)
        return plan

    def _redact(self, finding: Finding, config: str) -> Finding:
        """The finding without what looks like a secret; doubtful text is withheld."""
        boundary = self._boundaries.of(config)
        if boundary.is_open:
            return finding
        redacted = boundary.redact(msgspec.json.encode(_Said(finding.title, finding.text)))
        if redacted.withheld:
            self.counts["alerts", "withheld", "redactor_failed"] += 1
            return replace(finding, title=finding.name, text=_WITHHELD)
        said = msgspec.json.decode(redacted.body, type=_Said)
        return replace(finding, title=said.title, text=said.text)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and math.isfinite(value)
