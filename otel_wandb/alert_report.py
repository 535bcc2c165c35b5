"""What `otel-wandb alerts` tells: the alerts that were, and what rules would have found in stored rows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import msgspec

from otel_wandb.alerts.conditions import Pattern
from otel_wandb.alerts.engine import AlertRules, Moment
from otel_wandb.alerts.finding import Finding
from otel_wandb.alerts.plan import Plan
from otel_wandb.alerts.wording import tell_time
from otel_wandb.datadir import DataDir
from otel_wandb.errors import ConfigError
from otel_wandb.store import Store, StoredAlert, StoredRow, StoreReader
from otel_wandb.store.rows import decode_values


@dataclass(frozen=True, slots=True)
class Trial:
    """What rules find in stored rows. `unseen` are their keys that no row has, each with the nearest one."""

    rows: int
    findings: tuple[Finding, ...]
    unseen: Mapping[str, tuple[tuple[str, str], ...]]

    def render(self) -> str:
        """The same for a person."""
        lines = [line for found in self.findings for line in _headline(found.headline, found)]
        for name, keys in self.unseen.items():
            for key, near in keys:
                lines.append(f"{name}: no row has {key}" + (f"; did you mean {near}?" if near else ""))
        fired = sum(found.state == "firing" for found in self.findings)
        alerts = f"{fired} alert{'' if fired == 1 else 's'}"
        lines.append(f"{alerts} in {self.rows} rows; nothing was sent or stored.")
        return "\n".join(lines)


def list_alerts(data_dir: DataDir, *, last: int | None = None) -> list[StoredAlert]:
    """All alerts of the directory, or the youngest, in the order of their storing. Raises StoreError."""
    if not data_dir.store.exists():
        return []
    with closing(Store.open_for_reading(data_dir.store)) as reader:
        return list(reader.alerts.all()) if last is None else reader.alerts.last(last)


def encode_alerts(alerts: Sequence[StoredAlert]) -> str:
    """The alerts as one JSON document, with what became of each on its routes."""
    return msgspec.json.format(
        msgspec.json.encode([plain_alert(alert) for alert in alerts]), indent=2
    ).decode()


def encode_stored_alert(alert: StoredAlert) -> bytes:
    """The alert as one line of JSON, without what became of it: the same on each replay."""
    plain = plain_alert(alert)
    del plain["routes"]
    return msgspec.json.encode(plain)


def render_alerts(alerts: Sequence[StoredAlert]) -> str:
    """The alerts for a person: the youngest at the end, and below them what fires now."""
    if not alerts:
        return "No alert has fired."
    lines = []
    for alert in alerts:
        lines += _headline(alert.title, alert)
        fates = [
            f"{route} {fate.state}"
            + (f" ({fate.reason or fate.problem})" if fate.reason or fate.problem else "")
            for route, fate in alert.routes.items()
        ]
        lines.append(f"    {', '.join(fates) or 'no route'}")
    firing = [f"{alert.name} of {alert.service}" for alert in firing_now(alerts)]
    return "\n".join([*lines, f"Firing now: {', '.join(firing) or 'nothing'}."])


def firing_now(alerts: Sequence[StoredAlert]) -> list[StoredAlert]:
    """Those of the alerts that have fired, and not recovered since."""
    latest = {(alert.project, alert.service, alert.name): alert for alert in alerts}
    return [alert for alert in latest.values() if alert.state == "firing"]


def try_rules(data_dir: DataDir, plan: Plan) -> Trial:
    """What the rules of the plan would have found in the stored rows of every service, by their times.

    Raises ConfigError where there are no rules, StoreError where there is no store.
    """
    if not plan.rules:
        raise ConfigError("there are no rules to try; set `alerts` (docs/alerts.md)")
    findings: list[Finding] = []
    keys: set[str] = set()
    count = 0
    with closing(Store.open_for_reading(data_dir.store)) as reader:
        for service, interval_s, rows in _services(reader):
            rules = AlertRules(plan.rules, interval_s=interval_s)
            for row in rows:
                values = decode_values(row.values)
                numbers = {
                    key: float(value) for key, value in values.items() if isinstance(value, int | float)
                }
                moment = Moment(service, row.run_id, row.step, row.timestamp_s)
                findings += rules.evaluate(numbers, moment).findings
                keys.update(numbers)
                count += 1
    findings.sort(key=lambda found: (found.time_s, found.service, found.name))
    return Trial(count, tuple(findings), _unseen(plan, keys))


def plain_alert(alert: StoredAlert) -> dict[str, object]:
    """The alert as plain data for a JSON document."""
    return {
        "project_id": f"{alert.entity}/{alert.project}" if alert.entity else alert.project,
        "run_id": alert.run,
        "step": alert.step,
        "time_s": alert.time_s,
        "service": alert.service,
        "id": alert.uid,
        "name": alert.name,
        "state": alert.state,
        "level": alert.level,
        "title": alert.title,
        "text": alert.text,
        "routes": {route: fate._asdict() for route, fate in alert.routes.items()},
    }


def tell_alert(alert: StoredAlert) -> str:
    """The alert in one line, without its text."""
    return f"{tell_time(alert.time_s)}  {alert.level} {alert.state}: {alert.title} ({alert.service})"


class _Described(msgspec.Struct):
    group: str = ""
    config: dict[str, object] = {}


def _services(reader: StoreReader) -> Iterator[tuple[str, float, list[StoredRow]]]:
    """Each service of a project with its interval and its rows, by their times."""
    rows: dict[tuple[str, str, float], list[StoredRow]] = {}
    for run in reader.runs():
        said = msgspec.json.decode(run.spec, type=_Described)
        interval_s = said.config.get("interval_s")
        key = (run.project, said.group, float(interval_s) if isinstance(interval_s, int | float) else 60.0)
        rows.setdefault(key, []).extend(reader.rows(run.id))
    for (_, service, interval_s), own in sorted(rows.items()):
        yield service, interval_s, sorted(own, key=lambda row: row.timestamp_s)


def _unseen(plan: Plan, keys: set[str]) -> dict[str, tuple[tuple[str, str], ...]]:
    unseen: dict[str, tuple[tuple[str, str], ...]] = {}
    for rule in plan.rules:
        missing = []
        for limit in rule.limits:
            pattern = Pattern(limit.key)
            if not any(pattern.bind(key) if pattern.wild else key == limit.key for key in keys):
                near = difflib.get_close_matches(limit.key, sorted(keys), n=1)
                missing.append((limit.key, near[0] if near else ""))
        if missing:
            unseen[rule.name] = tuple(dict.fromkeys(missing))
    return unseen


def _headline(title: str, item: Finding | StoredAlert) -> list[str]:
    when = f"{tell_time(item.time_s)}  {item.level:5}  {item.state:9}"
    return [f"{when}  {item.service}  {title}", f"    {item.text}"]
