"""`otel-wandb dashboard`: which dashboards there are to be, in words, and what becomes of them."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final, NamedTuple

import msgspec

from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.delivery.credentials import WeaveTarget
from otel_wandb.delivery.dashboards import Dashboard, make_variables, save_dashboards
from otel_wandb.delivery.wandb_host import RunSpec, read_spec
from otel_wandb.errors import ConfigError
from otel_wandb.metrics.panels import TIME, Section, Seen, lay_out
from otel_wandb.probe import SERVICE as PROBE
from otel_wandb.store import Store, StoredRun, StoreReader
from otel_wandb.view_settings import cost_labels

_RUNS_READ: Final = 2
"""The newest runs of a service tell what it has: what it had longer ago is not drawn any more."""
_OUTCOMES: Final = {"made": "was made", "changed": "was changed", "unchanged": "is as it was"}


class _Place(NamedTuple):
    """What has a dashboard."""

    entity: str
    project: str
    service: str


class _Known(NamedTuple):
    """What the store tells of a service."""

    seen: Seen
    config: str
    rotation: str


def plan_dashboards(
    settings: Settings, data_dir: DataDir, *, services: Sequence[str] = (), title: str = ""
) -> list[Dashboard]:
    """A dashboard for each service that the store knows, or for the services that are named.

    Where the store is empty and none is named, one for all our runs in the project; where the store knows
    nothing of a service, one that waits for it. The same store and settings give the same dashboards.

    Raises:
        ConfigError: a title is given for several of them.
        StoreError: the store cannot be read.
    """
    known = _read_known(data_dir)
    places = sorted(place for place in known if not services or place.service in services)
    found = {place.service for place in places}
    places += [
        _Place(settings.entity, settings.project, service)
        for service in dict.fromkeys(services or ([] if known else [""]))
        if service not in found
    ]
    if title and len(places) > 1:
        raise ConfigError(
            f"{title!r} would be the title of {len(places)} dashboards, of "
            f"{', '.join(place.service for place in places)}; choose one of them with --service"
        )
    return [_plan(place, known.get(place), settings, data_dir, title) for place in places]


def _plan(
    place: _Place, known: _Known | None, settings: Settings, data_dir: DataDir, title: str
) -> Dashboard:
    document = data_dir.read_config(known.config) if known and known.config else None
    own = Settings.from_json(document) if document else settings
    sections = lay_out(
        known.seen if known else None,
        cost_by=cost_labels(own.cost_by, own.views),
        rotation=known.rotation if known else own.rotate,
    )
    default = f"otel-wandb: {place.service}" if place.service else "otel-wandb"
    return Dashboard(place.entity, place.project, place.service, title or default, sections)


def _read_known(data_dir: DataDir) -> dict[_Place, _Known]:
    if not data_dir.store.exists():
        return {}
    with closing(Store.open_for_reading(data_dir.store)) as reader:
        runs: defaultdict[_Place, list[tuple[StoredRun, RunSpec]]] = defaultdict(list)
        for run in reader.runs():
            spec = read_spec(run)
            if spec.group != PROBE:
                runs[_Place(run.entity, run.project, spec.group)].append((run, spec))
        return {place: _read_runs(reader, found) for place, found in runs.items()}


def _read_runs(reader: StoreReader, runs: list[tuple[StoredRun, RunSpec]]) -> _Known:
    newest = sorted(runs, key=lambda item: (str(item[1].config.get("first_day")), item[0].id))[-_RUNS_READ:]
    keys: set[str] = set()
    names: dict[str, str] = {}
    for run, spec in newest:
        for row in reader.rows(run.id):
            keys.update(_keys_of(row.values))
        match spec.config.get("keys"):
            case dict() as legend:
                names.update({str(name): str(text) for name, text in legend.items()})
    run, spec = newest[-1]
    return _Known(Seen(frozenset(keys), names), run.config, str(spec.config.get("rotation", "day")))


_decode_row = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _keys_of(values: bytes) -> Iterable[str]:
    return _decode_row(values)


def encode_plan(dashboards: Iterable[Dashboard]) -> str:
    """What saving them would send, as JSON: a list of what goes with the mutation `UpsertView2`.

    Raises ConfigError where wandb-workspaces is not there.
    """
    return json.dumps([make_variables(dashboard) for dashboard in dashboards], indent=2)


def apply_plan(
    dashboards: Sequence[Dashboard], settings: Settings, environ: Mapping[str, str] = os.environ
) -> list[str]:
    """Save them, with the key that is found here; what became of each, in words.

    That the mode is offline does not matter: calling this is the wish to be online. Raises as
    `save_dashboards` does.
    """
    target = WeaveTarget.find(msgspec.structs.replace(settings, mode="online"), environ)
    saved = save_dashboards(dashboards, target, timeout_s=settings.request_timeout_s, environ=environ)
    return [
        f"{dashboard.shown_title!r} in {done.place} {_OUTCOMES[done.outcome]}: {done.url}"
        for dashboard, done in zip(dashboards, saved, strict=True)
    ]


def render_plan(dashboards: Iterable[Dashboard]) -> str:
    """What the dashboards are, in words."""
    return "\n\n".join("\n".join(_render(dashboard)) for dashboard in dashboards)


def _render(dashboard: Dashboard) -> Iterator[str]:
    place = f"{dashboard.entity}/{dashboard.project}" if dashboard.entity else dashboard.project
    runs = f"the runs of {dashboard.service}" if dashboard.service else "all runs of otel-wandb"
    yield f"The workspace {dashboard.shown_title!r} of the project {place}, over {runs}:"
    for section in dashboard.sections:
        yield ""
        yield f"{section.title}{'' if section.open else ' (closed)'}"
        yield from _render_panels(section)


def _render_panels(section: Section) -> Iterator[str]:
    width = max(len(panel.title) for panel in section.panels)
    for panel in section.panels:
        lines = panel.table or panel.selects or " ".join(panel.keys)
        stacked = ", stacked" if panel.stacked else ""
        axis = "" if panel.axis == TIME else f", over {panel.axis}"
        yield f"  {panel.title:{width}}  {lines}{stacked}{axis}"
