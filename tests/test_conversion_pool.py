"""Where traces are converted makes no difference: in the bridge, or in processes beside it that may die."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.config import Settings
from otel_wandb.conversion_pool import ConversionPool, pack_traces, unpack_traces
from otel_wandb.datadir import DataDir
from otel_wandb.journal import JournalWriter, Kind
from otel_wandb.records import Event, Link, LogRecord, Resource, Scope, Span
from otel_wandb.status import read_status
from otel_wandb.traces.finished import Earlier, FinishedTrace, Placed
from tests.deadlines import wait_for
from tests.recordings.conversion import recordings
from tests.recordings.telemetry import read_lines
from tests.spends import Works, chat, span, traces
from tests.test_requests import asks

MANNERS = {
    "plain": Settings(),
    "sampled": Settings(traces_per_minute=20),
    "withheld": Settings(redact_with="tests.test_conversion_pool:refuse", traces_per_minute=20),
    "outlined": Settings(capture_content="metadata", pii="basic", redact_keys="session.*"),
}


def refuse(text: str) -> str:
    """A user's own redaction, which fails at some texts."""
    if "2" in text:
        raise ValueError(text)
    return text


@pytest.fixture(scope="module", params=MANNERS)
def manner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    """A bridge with a pool; the settings are those of `MANNERS`."""
    chosen = MANNERS[request.param]
    data_dir = DataDir(tmp_path_factory.mktemp("pool") / "data")
    data_dir.create()
    pool = ConversionPool(data_dir, chosen, 2)
    yield Works(chosen, pool=pool)
    pool.close()


def everything(works: Works) -> tuple[object, ...]:
    """All that the bridge made of what it read."""
    rows = works.finish()
    reader = works.store.reader
    states = {name: state for name, state in reader.states().items() if not name.startswith("model_calls/")}
    return rows, works.calls(), reader.counts(), states, [one.body for one in reader.feedback.all()]


def same(works: Works, requests: list[dict[str, Any]]) -> tuple[object, ...]:
    """What the pool makes of the requests, which is what the bridge makes of them alone."""
    alone, beside = Works(works.settings), Works(works.settings, pool=works.pool)
    for request in requests:
        alone.write(request)
        beside.write(request)
    made = everything(beside)
    assert made == everything(alone)
    return made


def test_what_real_instrumentations_sent_becomes_the_same(manner: Works) -> None:
    files = [file for recording in recordings() for file in recording.files]
    requests = [request for file in files for request in read_lines(file)]
    _, calls, *_ = same(manner, requests)
    assert isinstance(calls, list)
    assert len(calls) > 20


def test_many_traces_become_the_same(manner: Works) -> None:
    requests = []
    for i in range(300):
        group = chat(i, 60 + i / 4, given=100 + i % 50, user=f"u{i % 3}", more=asks([f"q{i}"], f"a{i}"))
        if i % 50 == 7:
            group[1]["status"] = {"code": 2}
        requests.append(traces(group))
    late = [span(9000 + i, "late", parent=2 * i + 1, trace=i + 1, end=140) for i in range(0, 300, 7)]
    rows, calls, counts, *_ = same(manner, [*requests, traces(late)])
    assert isinstance(rows, list)
    assert sum(row["latency/count"] for row in rows) == 300
    assert isinstance(calls, list)
    assert isinstance(counts, dict)
    assert bool(counts.get(("calls", "withheld", "redactor_failed"))) == bool(manner.settings.redact_with)
    told = [call["attributes"].get("sampling") for call in calls]
    assert all(told) if manner.settings.traces_per_minute else not any(told)


def test_a_model_call_in_two_traces_counts_once_wherever_they_are_converted(manner: Works) -> None:
    """The proxy's span of each call is in a trace of its own: with the client's, or given out later."""

    def told(i: int) -> dict[str, object]:
        return {"gen_ai.response.id": f"r{i}", **asks([f"q{i}"], "the same")}

    clients = [chat(i, 60 + i / 10, more=told(i)) for i in range(40)]
    proxies = [chat(500 + i, 60 + i / 10, seconds=0.5, more=told(i), route="/proxy") for i in range(40)]
    others = [chat(1000 + i, 61 + i / 10, more=asks(["?"], "the same")) for i in range(40)]
    together = traces(
        *[one for pair in zip(clients[:20], proxies[:20], others[:20], strict=True) for one in pair]
    )
    requests = [together, traces(*clients[20:]), traces(chat(2000, 90)), traces(*proxies[20:], *others[20:])]
    rows, *_ = same(manner, requests)
    assert isinstance(rows, list)
    assert sum(row.get("tokens/input", 0) for row in rows) == 81 * 1000


def test_what_cannot_be_sent_is_converted_in_the_bridge(manner: Works) -> None:
    half = json.loads(json.dumps(traces(*[chat(i, 30, more={"note": "\ud800"}) for i in range(10)])))
    _, calls, *_ = same(manner, [half])
    assert isinstance(calls, list)
    assert len(calls) == (6 if manner.settings.traces_per_minute else 20)


def test_a_process_that_dies_costs_nothing(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    pool = ConversionPool(data_dir, Settings(), 1)
    alone, beside = Works(), Works(pool=pool)
    for number in range(4):
        for works in (alone, beside):
            works.write(traces(*[chat(100 * number + i, 60 + 30 * number + i / 10) for i in range(80)]))
        if number % 2:
            for process in psutil.Process().children(recursive=True):
                if "spawn_main" in " ".join(process.cmdline()):
                    process.kill()
    assert everything(beside) == everything(alone)
    pool.close()


def start_bridge(data_dir: DataDir, chosen: Settings) -> subprocess.Popen[bytes]:
    data_dir.write_config(chosen.to_json(), chosen.digest)
    command = [sys.executable, "-m", "otel_wandb.bridge_process", "--no-deliver"]
    return subprocess.Popen([*command, "--data-dir", str(data_dir.path), "--settings", chosen.digest])


def converters_of(bridge: subprocess.Popen[bytes]) -> list[psutil.Process]:
    children = psutil.Process(bridge.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.timeout(120)
def test_processes_end_with_the_bridge_and_a_killed_bridge_loses_nothing(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    chosen = replace_settings(Settings(mode="offline"), conversion_processes=2, linger_s=0.1)
    writer = JournalWriter(data_dir.journal, writer_id="test")

    def write(begin: int) -> None:
        group = traces(*[chat(begin + i, 60 + i / 10) for i in range(200)])
        body = json.dumps(group).encode()
        writer.append(body, kind=Kind.OTLP_TRACES_JSON, items=400, config=chosen.digest)

    write(0)
    bridge = start_bridge(data_dir, chosen)
    wait_for(lambda: len(converters_of(bridge)) == 2, 60)
    write(1000)
    children = converters_of(bridge)
    os.kill(bridge.pid, signal.SIGKILL)
    bridge.wait()
    wait_for(lambda: not any(child.is_running() for child in children), 30)
    bridge = start_bridge(data_dir, chosen)
    write(2000)
    wait_for(lambda: read_status(data_dir).ledger.lines["spans"].delivered == 1200, 60)
    children = converters_of(bridge)
    bridge.terminate()
    assert bridge.wait(30) == 0
    assert not any(child.is_running() for child in children)
    ledger = read_status(data_dir).ledger
    assert ledger.imbalance() == {}
    assert ledger.lines["calls"].received == 1200
    writer.close()


def replace_settings(chosen: Settings, **changes: Any) -> Settings:
    """The settings with some of another value."""
    return Settings(**{**{name: getattr(chosen, name) for name in chosen.__struct_fields__}, **changes})


names = st.text(max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | names
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
attributes = st.dictionaries(names, values, max_size=4)
numbers = st.integers(0, 2**64 - 1)
spans = st.builds(
    Span,
    trace_id=names,
    span_id=names,
    parent_id=names,
    name=names,
    kind=st.integers(0, 9),
    start_ns=numbers,
    end_ns=numbers,
    attributes=attributes,
    events=st.lists(st.builds(Event, time_ns=numbers, name=names, attributes=attributes), max_size=2),
    links=st.lists(st.builds(Link, trace_id=names, span_id=names, attributes=attributes), max_size=2),
    status_code=st.integers(0, 2),
    status_message=names,
    trace_state=names,
    flags=st.integers(0, 2**32 - 1),
)
surroundings = st.tuples(
    st.builds(Scope, name=names, attributes=attributes), st.builds(Resource, attributes=attributes)
)
logs = st.lists(st.builds(LogRecord, time_ns=numbers, body=values, attributes=attributes), max_size=2)


@st.composite
def finished(draw: st.DrawFn) -> list[FinishedTrace]:
    around = draw(st.lists(surroundings, min_size=1, max_size=3))
    placed = st.builds(
        lambda span, pair, config, told: Placed(span, pair[0], pair[1], config, tuple(told)),
        spans,
        st.sampled_from(around),
        names,
        logs,
    )
    memory = st.dictionaries(names, st.builds(Earlier, parent_id=names, error=st.booleans()), max_size=2)
    return draw(
        st.lists(
            st.builds(
                FinishedTrace,
                trace_id=names,
                spans=st.lists(placed, min_size=1, max_size=4).map(tuple),
                reason=names,
                complete=st.booleans(),
                memory=memory,
            ),
            max_size=4,
        )
    )


@settings(max_examples=50, deadline=None)
@given(finished())
def test_traces_come_over_as_they_were(found: list[FinishedTrace]) -> None:
    again = unpack_traces(pack_traces(found))
    assert again == found
    for one, other in zip(found, again, strict=True):
        kept = {
            id(placed.resource): id(copy.resource)
            for placed, copy in zip(one.spans, other.spans, strict=True)
        }
        assert len(set(kept.values())) == len(kept), "what was one resource is one again"


def test_numbers_that_are_none_come_over() -> None:
    odd = Span("t", "s", "", "n", 1, 0, 0, {"a": math.inf, "b": -0.0})
    trace = FinishedTrace("t", (Placed(odd, Scope(), Resource(), "c"),), "ended", complete=True)
    assert repr(unpack_traces(pack_traces([trace]))) == repr([trace])
