"""Which W&B run and step a moment of a service belongs to, and what is said of that run.

A run is a service's day (or week) as one bridge saw it, whatever the number of its processes. Its id follows
from these, so that a restart, a replay and a late upload all come to the same run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from otel_wandb.metrics.intervals import SECOND_NS, Calendar
from otel_wandb.records import Attributes, Value

JOB_TYPE: Final = "monitor"
UNKNOWN_SERVICE: Final = "unknown_service"
_MAX_TAG: Final = 64
_MAX_NAME: Final = 128
_MAX_VALUES: Final = 20
_PRIVATE: Final = "process.command"
"""Attributes with this prefix hold the arguments of the process, and so perhaps a secret."""
_TAG_ATTRIBUTES: Final = ("deployment.environment.name", "deployment.environment", "service.version")


class RunSeries(NamedTuple):
    """The runs of a service in a project of a server, of which there is one a day.

    `server` is what tells servers apart (their URL). Which configuration a frame names is not part of it:
    during a deploy there are two of them, and still one run.
    """

    server: str
    entity: str
    project: str
    service: str


def series_digest(series: RunSeries) -> str:
    """Sixteen hex digits that name the series in states."""
    text = "\0".join(series).encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


class RunKey(NamedTuple):
    """One run of a series: that of the day or week which began at `period_ns`."""

    series: RunSeries
    period_ns: int

    @property
    def date(self) -> str:
        """The first day of the run, as in 2026-11-23 (UTC)."""
        return _date(self.period_ns)


@dataclass(frozen=True, slots=True)
class RunDescription:
    """What `wandb.init` is told. Tags and lists of the config grow when a deploy changes them."""

    id: str
    entity: str
    project: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: Mapping[str, Value]


def service_of(resource: Attributes) -> str:
    """The service that a resource names, else `unknown_service`."""
    name = resource.get("service.name")
    return name if isinstance(name, str) and name else UNKNOWN_SERVICE


@lru_cache(maxsize=1024)  # it is asked for each call
def run_id(service: str, bridge_id: str, period_ns: int, calendar: Calendar) -> str:
    """The id of the run in its project: readable, and another one where any of these is another.

    The calendar is part of it, since steps that are counted differently cannot share a run.
    """
    date = _date(period_ns)
    facts = "\0".join((service, bridge_id, date, calendar.rotation, str(calendar.interval_ns)))
    digest = hashlib.blake2b(facts.encode(errors="surrogatepass"), digest_size=6).hexdigest()
    return f"{_slug(service)}-{date.replace('-', '')}-{digest}"


def locate(service: str, bridge_id: str, time_ns: int, calendar: Calendar) -> tuple[str, int]:
    """The id of the run, and the step of the row, whose charts contain what ended at that time."""
    interval = calendar.interval_at(time_ns)
    return run_id(service, bridge_id, interval.period_ns, calendar), interval.step


def describe_run(
    run: RunKey,
    *,
    bridge_id: str,
    calendar: Calendar,
    resources: Iterable[Attributes],
    facts: Mapping[str, Value] | None = None,
) -> RunDescription:
    """All that is said of a run; `resources` are those seen in it, `facts` go into its config as they are.

    Of a resource attribute that differs between processes, the config lists the first values in their order.
    """
    service = run.series.service
    merged = _merge([dict(resource) for resource in resources])
    tags = [value for name in _TAG_ATTRIBUTES for value in merged.get(name, ())]
    config: dict[str, Value] = {
        "resource": {name: values[0] if len(values) == 1 else values for name, values in merged.items()},
        "bridge_id": bridge_id,
        "interval_s": calendar.interval_ns / SECOND_NS,
        "rotation": calendar.rotation,
        "first_day": run.date,
        **(facts or {}),
    }
    return RunDescription(
        id=run_id(service, bridge_id, run.period_ns, calendar),
        entity=run.series.entity,
        project=run.series.project,
        name=f"{service[: _MAX_NAME - 11]}-{run.date}",
        group=service[:_MAX_NAME],
        job_type=JOB_TYPE,
        tags=tuple(dict.fromkeys(str(tag)[:_MAX_TAG] for tag in tags if str(tag))),
        config=config,
    )


def _merge(resources: Sequence[Attributes]) -> dict[str, list[Value]]:
    merged: dict[str, list[Value]] = {}
    for resource in resources:
        for name in sorted(resource):
            if name.startswith(_PRIVATE):
                continue
            values = merged.setdefault(name, [])
            if resource[name] not in values and len(values) < _MAX_VALUES:
                values.append(resource[name])
    return dict(sorted(merged.items()))


def _slug(service: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:32].strip("-") or "service"


def _date(period_ns: int) -> str:
    return datetime.fromtimestamp(period_ns // SECOND_NS, UTC).strftime("%Y-%m-%d")
