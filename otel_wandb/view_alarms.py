"""Which alarms of views are not over, as the store has it, and how they are answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec

from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.delivery.wandb_host import read_spec
from otel_wandb.errors import ConfigError
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.metrics.runs import RunSeries, series_digest
from otel_wandb.store import Store, StoredRun, StoreReader
from otel_wandb.view_answers import AnswerBox
from otel_wandb.view_line import VIEW_STATES, name_state
from otel_wandb.view_settings import parse_views
from otel_wandb.views.answer import Action, Answer, Answerable, tell_alarm
from otel_wandb.views.definitions import name_view
from otel_wandb.views.machine import Group
from otel_wandb.views.telling import name_subject


class Alarm(NamedTuple):
    """An alarm of a view that is not over."""

    service: str
    view: str
    group: Group
    fired_ns: int
    answer: Answer
    """What keeps its reference."""

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        return f"{tell_alarm(name_subject(self.view, self.group), self.fired_ns)} ({self.service})"


def list_alarms(data_dir: DataDir) -> list[Alarm]:
    """The alarms of views that are not over, as the store has it; imports SciPy. Raises StoreError."""
    if not data_dir.store.exists():
        return []
    with closing(Store.open_for_reading(data_dir.store)) as reader:
        states = reader.states(VIEW_STATES)
        newest = {(run.entity, run.project, read_spec(run).group): run for run in reader.runs()}
        return [alarm for run in newest.values() for alarm in _list_of_run(data_dir, reader, run, states)]


def find_alarms(data_dir: DataDir, view: str, group: Sequence[str], service: str = "") -> list[Alarm]:
    """The alarms that are meant; without a group all of the view.

    Raises ConfigError with what there is, where there is none of them.
    """
    known = list_alarms(data_dir)
    found = [alarm for alarm in known if alarm.view == view and service in ("", alarm.service)]
    found = [alarm for alarm in found if not group or alarm.group == tuple(group)]
    if found:
        return found
    there = "; ".join(alarm.words for alarm in known)
    there = f"alarms are: {there}" if there else "no view has one"
    raise ConfigError(f"{name_subject(view, tuple(group))} has no alarm that could be answered; {there}")


def give_answer(data_dir: DataDir, alarms: Iterable[Alarm], action: Action) -> None:
    """Put the answer to each alarm where the bridge finds it. Raises OSError."""
    box = AnswerBox(data_dir.answers)
    for alarm in alarms:
        box.write(msgspec.structs.replace(alarm.answer, action=action))


def _list_of_run(
    data_dir: DataDir, reader: StoreReader, run: StoredRun, states: Mapping[str, bytes]
) -> Iterator[Alarm]:
    from otel_wandb.views.making import make_machine  # SciPy comes along

    document = data_dir.read_config(run.config)
    settings = Settings.from_json(document) if document else Settings()
    service, views = read_spec(run).group, parse_views(settings.views)
    last_s = max((row.timestamp_s for row in reader.rows(run.id)), default=0.0)
    # The entity of a run is what an empty one in the settings turned out to be.
    for entity in dict.fromkeys((run.entity, settings.entity)):
        series = series_digest(RunSeries(settings.base_url, entity, run.project, service))
        for view in views:
            name, machine = name_state(series, view), make_machine(view, views, settings)
            if name not in states or not isinstance(machine, Answerable):
                continue
            machine.restore(states[name])
            for group, fired_ns in machine.list_alarms().items():
                answer = Answer(series, name, group, "keep", round(last_s * SECOND_NS))
                yield Alarm(service, name_view(view), group, fired_ns, answer)
