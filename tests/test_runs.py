"""A moment of a service belongs to one run and step, for everybody and whenever it is asked."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from otel_wandb.metrics.charts import Charts
from otel_wandb.metrics.intervals import DAY_NS, Calendar, Rotation
from otel_wandb.metrics.runs import (
    JOB_TYPE,
    RunKey,
    RunSeries,
    describe_run,
    locate,
    run_id,
    service_of,
)
from otel_wandb.records import Attributes
from tests.metric_samples import MIDNIGHT_S, RAG, House, S, at, batch, counter, number

DAILY = Calendar()
BRIDGE = "b1f7"
RUN = RunKey(RAG, MIDNIGHT_S * S)


def test_the_run_of_a_call_is_that_of_the_row_that_contains_it() -> None:
    house = House()
    for second in (0.5, 59, 60, 61, 86_400, 86_401):
        house.write(batch(counter("n", number(1, second, second - 0.25))))
    rows = {}
    charts = Charts()
    for closed in house.finish():
        row = charts.build_row(closed)
        place = run_id(RAG.service, BRIDGE, row.run.period_ns, DAILY), row.step
        rows[place] = closed.points
    assert sum(rows.values()) == 6
    places = [locate(RAG.service, BRIDGE, at(t), DAILY) for t in (0.5, 59, 60, 61, 86_400, 86_401)]
    assert set(places) == set(rows)
    assert [step for _, step in places] == [0, 0, 0, 1, 1439, 0]
    assert places[-1][0] != places[0][0]


def test_the_id_is_readable_and_stays_what_it_is() -> None:
    assert run_id("rag-api", BRIDGE, MIDNIGHT_S * S, DAILY) == "rag-api-20241004-098430f1e818"


@pytest.mark.parametrize("service", ["rag-api", "Küche/№1", "a" * 300, "", "..", "\ud800", "x\0y"])
def test_an_id_is_one_that_wandb_takes(service: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", run_id(service, BRIDGE, 0, DAILY))


def test_runs_that_must_not_be_mixed_have_different_ids() -> None:
    hour = Calendar(interval_ns=3600 * S)
    ids = {
        run_id("rag-api", BRIDGE, 0, DAILY),
        run_id("rag-api", "b2", 0, DAILY),
        run_id("rag api", BRIDGE, 0, DAILY),
        run_id("rag-api", BRIDGE, DAY_NS, DAILY),
        run_id("rag-api", BRIDGE, 0, Calendar(rotation="week")),
        run_id("rag-api", BRIDGE, 0, hour),
    }
    assert len(ids) == 6


@pytest.mark.parametrize(("rotation", "days"), [("day", 8), ("week", 2)])
def test_rotation(rotation: Rotation, days: int) -> None:
    calendar = Calendar(rotation=rotation)
    ids = [locate("rag-api", BRIDGE, at(86_400 * day + 1), calendar)[0] for day in range(8)]
    assert len(set(ids)) == days


def test_steps_rise_with_time_within_a_run() -> None:
    for calendar in (DAILY, Calendar(rotation="week"), Calendar(interval_ns=7_000 * S)):
        places = [locate("rag-api", BRIDGE, at(t), calendar) for t in range(1, 9 * 86_400, 977)]
        for (earlier, step), (later, next_step) in pairwise(places):
            assert earlier != later or step <= next_step


def test_what_is_said_of_a_run() -> None:
    resources: list[Attributes] = [
        {
            "service.name": "rag-api",
            "service.version": version,
            "service.instance.id": instance,
            "deployment.environment.name": "production",
            "process.command_args": ["serve", "--token=secret"],
        }
        for version, instance in (("1.0", "a"), ("1.0", "b"), ("1.1", "c"))
    ]
    said = describe_run(
        RUN, bridge_id=BRIDGE, calendar=DAILY, resources=resources, facts={"histogram_error": 0.02}
    )
    assert said.id == run_id("rag-api", BRIDGE, RUN.period_ns, DAILY)
    assert (said.entity, said.project, said.group, said.job_type) == ("team", "rag", "rag-api", JOB_TYPE)
    assert said.name == "rag-api-2024-10-04"
    assert said.tags == ("production", "1.0", "1.1")
    assert said.config == {
        "bridge_id": BRIDGE,
        "first_day": "2024-10-04",
        "histogram_error": 0.02,
        "interval_s": 60.0,
        "rotation": "day",
        "resource": {
            "deployment.environment.name": "production",
            "service.instance.id": ["a", "b", "c"],
            "service.name": "rag-api",
            "service.version": ["1.0", "1.1"],
        },
    }
    assert "secret" not in str(said)


def test_many_processes_make_no_endless_config() -> None:
    resources: list[Attributes] = [
        {"service.instance.id": str(i), "service.version": "v" * 100} for i in range(500)
    ]
    said = describe_run(RUN, bridge_id=BRIDGE, calendar=DAILY, resources=resources)
    listed = said.config["resource"]
    assert isinstance(listed, dict)
    assert listed["service.instance.id"] == [str(i) for i in range(20)]
    assert said.tags == ("v" * 64,)


@pytest.mark.parametrize(
    ("attributes", "service"),
    [({"service.name": "rag"}, "rag"), ({}, "unknown_service"), ({"service.name": 3}, "unknown_service")],
)
def test_the_service_of_a_resource(attributes: dict[str, str], service: str) -> None:
    assert service_of({**attributes}) == service


def test_servers_and_projects_have_runs_of_their_own() -> None:
    other = RunSeries(RAG.server, RAG.entity, "elsewhere", RAG.service)
    assert RunKey(other, 0) != RunKey(RAG, 0)
