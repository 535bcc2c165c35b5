"""A request that goes through two services is one trace and one tree in a real Weave server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer
from tests.services.launched import PYTHON, end_bridge, free_port, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # real servers

PROJECT = "team/rag"
REQUESTS = 5
COMMAND = (PYTHON, "-m", "uvicorn", "tests.services.web:app", "--log-level", "warning", "--port")
USED = {"fastapi", "httpx"}
INSTRUMENTATIONS = {found.name for found in entry_points(group="opentelemetry_instrumentor")}


@pytest.fixture(params=["one directory", "a directory each"])
def data_dirs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[DataDir, DataDir]]:
    """Where the services keep their data: on one machine, or as on two."""
    names = ("data", "data") if request.param == "one directory" else ("gateway", "answers")
    gateway, answers = (DataDir(tmp_path / name) for name in names)
    yield gateway, answers
    end_bridge(gateway)
    end_bridge(answers)


def environ_of(service: str, data_dir: DataDir, **more: str) -> dict[str, str]:
    named = {"OTEL_SERVICE_NAME": service, "OTEL_WANDB_DIR": str(data_dir.path)}
    named["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = ",".join(INSTRUMENTATIONS - USED)
    return {**os.environ, **named, **more}


def test_a_trace_over_two_services_is_one_tree(
    online: WeavePeer, tmp_path: Path, data_dirs: tuple[DataDir, DataDir]
) -> None:
    ports = (free_port(), free_port())
    backend = environ_of("answers", data_dirs[1])
    gateway = environ_of("gateway", data_dirs[0], BACKEND=f"http://127.0.0.1:{ports[1]}")
    with (
        serving(*COMMAND, str(ports[1]), port=ports[1], log=tmp_path / "answers.log", environ=backend),
        serving(
            *COMMAND, str(ports[0]), port=ports[0], log=tmp_path / "gateway.log", environ=gateway
        ) as client,
    ):
        traces = [client.get(f"/relay/{n}").raise_for_status().json()["trace_id"] for n in range(REQUESTS)]
    assert len(set(traces)) == REQUESTS
    expected = [
        ("GET /relay/{number}", None, "gateway"),
        ("GET", "GET /relay/{number}", "gateway"),
        ("GET /ask/{number}", "GET", "answers"),
        ("think", "GET /ask/{number}", "answers"),
    ]

    def trees() -> dict[str, list[tuple[str, str | None, str]]]:
        with online.client(PROJECT) as weave:
            calls = [call for call in weave.get_calls() if str(call.trace_id) in traces]
        names = {call.id: str(call._op_name) for call in calls}
        found: dict[str, list[tuple[str, str | None, str]]] = {trace: [] for trace in traces}
        for call in sorted(calls, key=lambda call: call.started_at):
            parent = names.get(call.parent_id, "?") if call.parent_id else None
            service = str(call.attributes["resource"]["service.name"])
            found[str(call.trace_id)].append((str(call._op_name), parent, service))
        return found

    wait_for(lambda: sum(map(len, trees().values())) >= len(expected) * REQUESTS, 90)
    assert trees() == dict.fromkeys(traces, expected)
    for data_dir in data_dirs:
        assert read_status(data_dir).ledger.imbalance() == {}
