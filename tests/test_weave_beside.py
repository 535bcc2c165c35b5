"""A service that also uses Weave's own client keeps both, in whatever order they are set up."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer
from tests.services.launched import PATIENT, QUICK, end_bridge, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ALL_OF_THEM = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
ONLY_WEAVE = {ALL_OF_THEM: ",".join(name for name in QUICK[ALL_OF_THEM].split(",") if name != "weave")}

BEGIN = {
    "run": """
    from opentelemetry.instrumentation.auto_instrumentation import initialize
    initialize(swallow_exceptions=False)
    """,
    "configure": """
    import otel_wandb
    from otel_wandb.instrument.weave import WeaveInstrumentor
    otel_wandb.configure(project="team/rag")
    WeaveInstrumentor().instrument(project="team/rag")
    """,
}
OWN = """
    import weave
    weave.init("{project}")
"""
WORK = """
    import weave
    from opentelemetry import trace
    tracer = trace.get_tracer("t")

    @weave.op
    def inner(n):
        return n + 1

    @weave.op
    def outer(n):
        with tracer.start_as_current_span("in between"):
            return inner(n)

    @weave.op
    def alone():
        return "alone"

    with tracer.start_as_current_span("request") as span:
        assert outer(1) == 2
    context = span.get_span_context()
    assert alone() == "alone"
    try:
        with tracer.start_as_current_span("failing"):
            weave.op(lambda: 1 / 0, name="fails")()
    except ZeroDivisionError:
        pass
    client = weave.get_client()
    client.finish()
    print(f"{context.trace_id:032x} {context.span_id:016x}")
"""


@pytest.fixture(autouse=True)
def no_bridge_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_bridge(DataDir(tmp_path / "data"))


def run_parts(*parts: str, **environ: str) -> str:
    code = "".join(textwrap.dedent(part) for part in parts)
    named = {"OTEL_PYTHON_DISTRO": "otel_wandb", "OTEL_PYTHON_CONFIGURATOR": "otel_wandb"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **PATIENT, **ONLY_WEAVE, **named, **environ},
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def calls_by_name(online: WeavePeer, project: str, count: int) -> dict[str, Any]:
    """The calls of the project by the name of their op, once there are so many."""
    with online.client(project) as client:

        def look() -> list[Any] | None:
            calls = list(client.get_calls())
            return calls if len(calls) >= count else None

        calls = wait_for(look, 60)
    names = [str(call._op_name).rpartition("/op/")[2].partition(":")[0] for call in calls]
    assert len(names) == len(set(names)) == count, names
    return dict(zip(names, calls, strict=True))


@pytest.mark.parametrize("way", BEGIN)
@pytest.mark.parametrize("moment", ["after", "before"])
def test_ops_under_a_span_are_in_its_trace(online: WeavePeer, tmp_path: Path, way: str, moment: str) -> None:
    own = OWN.format(project="team/rag")
    parts = [BEGIN[way], own] if moment == "after" else [own, BEGIN[way]]
    trace_id, span_id = run_parts(*parts, WORK).split()
    calls = calls_by_name(online, "team/rag", 7)
    assert set(calls) == {"request", "in between", "failing", "inner", "outer", "alone", "fails"}
    request, outer, inner, alone = (calls[name] for name in ("request", "outer", "inner", "alone"))
    assert (request.id, request.trace_id) == (span_id, trace_id)
    assert (outer.parent_id, outer.trace_id, outer.output) == (span_id, trace_id, 2)
    assert (inner.parent_id, inner.trace_id) == (outer.id, trace_id)
    assert (calls["in between"].parent_id, calls["in between"].trace_id) == (span_id, trace_id)
    assert alone.parent_id is None
    assert alone.trace_id not in {call.trace_id for name, call in calls.items() if name != "alone"}
    assert calls["fails"].parent_id == calls["failing"].id
    assert "ZeroDivisionError" in calls["fails"].exception
    assert read_status(DataDir(tmp_path / "data")).ledger.imbalance() == {}


@pytest.mark.parametrize("moment", ["after", "before"])
def test_ops_of_another_project_stay_traces_of_their_own(online: WeavePeer, moment: str) -> None:
    own = OWN.format(project="team/own")
    run_parts(*([BEGIN["run"], own] if moment == "after" else [own, BEGIN["run"]]), WORK)
    ours, theirs = calls_by_name(online, "team/rag", 3), calls_by_name(online, "team/own", 4)
    assert set(ours) == {"request", "in between", "failing"}
    assert set(theirs) == {"outer", "inner", "alone", "fails"}
    assert [name for name, call in theirs.items() if call.parent_id] == ["inner"]
    assert not {call.trace_id for call in theirs.values()} & {call.trace_id for call in ours.values()}


def test_who_disables_it_has_what_the_client_does_alone(online: WeavePeer) -> None:
    disabled = {ALL_OF_THEM: ONLY_WEAVE[ALL_OF_THEM] + ",weave"}
    run_parts(BEGIN["run"], OWN.format(project="team/rag"), WORK, **disabled)
    calls = calls_by_name(online, "team/rag", 7)
    assert calls["outer"].parent_id is None


def test_a_service_without_weave_does_not_import_it(online: WeavePeer) -> None:
    code = (
        "import sys; from opentelemetry import trace; print('weave' in sys.modules, 'wandb' in sys.modules)"
    )
    done = run(sys.executable, "-c", code, **ONLY_WEAVE)
    assert (done.returncode, done.stdout) == (0, "False False\n"), done.stderr
