"""A trace goes from a real exporter through journal and bridge into a real Weave server, and back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.ingest.sdk import WeaveSpanExporter
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer
from tests.services.rag import DOCUMENTS, make_provider, make_trace

PROJECT = "team/rag"


@pytest.mark.parametrize("bridge", ["process", "thread"])
def test_a_rag_trace_is_read_back_with_weaves_own_client(
    online: WeavePeer, tmp_path: Path, bridge: str
) -> None:
    exporter = WeaveSpanExporter(bridge=bridge)
    provider = make_provider(exporter)
    trace_id = make_trace(provider.get_tracer("tests.rag", "1"))
    assert provider.force_flush()
    assert exporter.force_flush(20_000)
    with online.client(PROJECT) as client:
        calls = {call._op_name: call for call in client.get_calls()}
        assert set(calls) == {
            "invoke_workflow rag",
            "embeddings text-embedding-3-small",
            "retrieval docs",
            "chat gpt-4o-mini",
        }
        root, chat, retrieval = (
            calls["invoke_workflow rag"],
            calls["chat gpt-4o-mini"],
            calls["retrieval docs"],
        )
        assert {call.trace_id for call in calls.values()} == {trace_id}
        assert root.parent_id is None
        assert {call.parent_id for call in calls.values() if call is not root} == {root.id}
        assert root.thread_id == "session-42"
        assert root.turn_id == root.id
        assert root.inputs["input"] == "What is the capital of France?"
        assert root.output["output"] == "Paris."
        assert root.summary["status_counts"] == {"success": 4, "error": 0}
        assert "usage" not in root.summary
        assert retrieval.inputs == {"query": "What is the capital of France?", "top_k": 2}
        assert [dict(document) for document in retrieval.output["documents"]] == DOCUMENTS
        assert chat.inputs["model"] == "gpt-4o-mini"
        assert [dict(message) for message in chat.inputs["messages"]] == [
            {"role": "system", "content": "Answer from the documents."},
            {"role": "user", "content": "What is the capital of France?"},
        ]
        choice = chat.output["choices"][0]
        assert (choice["finish_reason"], dict(choice["message"])) == (
            "stop",
            {"role": "assistant", "content": "Paris."},
        )
        assert chat.summary["usage"]["gpt-4o-mini-2024-07-18"] == {
            "input_tokens": 142,
            "output_tokens": 21,
            "total_tokens": 163,
            "requests": 1,
            "cache_read_input_tokens": 64,
            "reasoning_tokens": 7,
        }
    provider.shutdown()
    status = read_status(DataDir(tmp_path / "data"))
    assert status.ledger.imbalance() == {}
    spans, made = status.ledger.lines["spans"], status.ledger.lines["calls"]
    assert (spans.received, spans.delivered, spans.waiting) == (4, 4, 0)
    assert (made.received, made.delivered, made.waiting) == (4, 4, 0)
    assert len(online.accepted()) == 4


def test_the_exporter_is_found_by_name(online: WeavePeer, tmp_path: Path) -> None:
    code = (
        "from opentelemetry.sdk._configuration import _initialize_components as initialize;"
        "initialize();"
        "from opentelemetry import trace;"
        "trace.get_tracer('by-name').start_span('hello').end()"
    )
    environment = {
        **os.environ,
        "OTEL_TRACES_EXPORTER": "weave",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    assert [call.project for call in online.accepted()] == [PROJECT]


def test_a_resource_attribute_chooses_the_project(online: WeavePeer, tmp_path: Path) -> None:
    environment = {**os.environ, "OTEL_RESOURCE_ATTRIBUTES": "wandb.entity=other,wandb.project=chosen"}
    subprocess.run([sys.executable, "-m", "tests.services.rag"], env=environment, check=True, timeout=60)
    assert {call.project for call in online.accepted()} == {"other/chosen"}


def test_what_was_not_delivered_is_delivered_by_the_next_start(online: WeavePeer, tmp_path: Path) -> None:
    online.stop()
    environment = {**os.environ, "OTEL_WANDB_DRAIN_TIMEOUT_S": "1"}
    service = subprocess.run(
        [sys.executable, "-m", "tests.services.rag"],
        env=environment,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert "Not everything was delivered within 1 s" in service.stderr
    data_dir = DataDir(tmp_path / "data")
    assert read_status(data_dir).ledger.imbalance() == {}
    os.kill(wait_for(data_dir.read_bridge_info).pid, 9)
    online.start()
    exporter = WeaveSpanExporter()
    make_provider(exporter, batch=False).get_tracer("t").start_span("wake").end()
    assert exporter.force_flush(20_000)
    exporter.shutdown()
    assert len(online.accepted()) == 5


def test_services_with_settings_of_their_own_share_a_directory(online: WeavePeer) -> None:
    exporters = [WeaveSpanExporter(project=f"team/{name}", bridge="thread") for name in ("a", "b")]
    for number, exporter in enumerate(exporters):
        tracer = make_provider(exporter, batch=False).get_tracer("t")
        for _ in range(number + 1):
            tracer.start_span("hello").end()
    for exporter in exporters:
        assert exporter.force_flush(20_000)
        exporter.shutdown()
    assert sorted(call.project for call in online.accepted()) == ["team/a", "team/b", "team/b"]


def test_threads_append_at_once_and_every_span_arrives_once(online: WeavePeer) -> None:
    exporter = WeaveSpanExporter()
    tracer = make_provider(exporter, batch=False).get_tracer("t")

    def work() -> None:
        for _ in range(50):
            tracer.start_span("hello").end()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exporter.force_flush(30_000)
    exporter.shutdown()
    assert len({call.id for call in online.accepted()}) == len(online.accepted()) == 400


def test_a_secret_in_a_span_is_never_stored(online: WeavePeer, tmp_path: Path) -> None:
    secret = "sk-proj-" + "a1B2" * 12
    exporter = WeaveSpanExporter(bridge="thread")
    tracer = make_provider(exporter, batch=False).get_tracer("t")
    with tracer.start_as_current_span("leak", attributes={"input": f"my key is {secret}"}):
        pass
    assert exporter.force_flush(20_000)
    exporter.shutdown()
    with online.client(PROJECT) as client:
        (call,) = client.get_calls()
        assert call.inputs["input"].startswith("my key is ")
        assert secret not in str(call.inputs)
    found = [
        path
        for path in (tmp_path / "data").rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]
    assert [path for path in found if path.parent.name != "journal"] == []
