"""What real instrumentations sent, held against what was really asked and answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.delivery.weave import WeaveDelivery
from otel_wandb.replay import replay_files
from otel_wandb.settings import Settings
from otel_wandb.store import Store
from tests.peers.weave import WeavePeer
from tests.recordings.conversion import Recording, convert, recordings
from tests.recordings.scoring import Score, score
from tests.recordings.telemetry import read_lines, read_spans

ALL = recordings()

NOT_TOLD = {
    "openlit_openai/tools": ["missing: 0000000000000004 'chat gpt-4o-mini' input_messages"],
}
"""What a producer leaves out itself: OpenLIT, of the history, the message that calls the tools."""


def score_of(recording: Recording, calls: bytes) -> Score:
    spans = read_spans(*(read_lines(recording.file(f"{signal}.jsonl")) for signal in ("traces", "logs")))
    expected = json.loads(recording.file("expected.json").read_text())
    return score(expected, [json.loads(line) for line in calls.splitlines()], spans)


@pytest.mark.parametrize("recording", ALL, ids=str)
def test_every_fact_of_a_recording_is_found_and_none_is_invented(recording: Recording) -> None:
    scored = score_of(recording, convert(recording))
    missed = [f"{miss.verdict}: {miss.span} {miss.fact}" for miss in scored.misses]
    assert missed == NOT_TOLD.get(str(recording), []), [str(miss) for miss in scored.misses]
    assert scored.right > 0


@pytest.mark.parametrize("recording", ALL, ids=str)
def test_a_recording_becomes_the_known_calls(recording: Recording) -> None:
    known = recording.file("calls.jsonl").read_bytes()
    assert convert(recording).splitlines() == known.splitlines()


def test_there_are_recordings_of_at_least_twelve_producers() -> None:
    assert len({recording.producer for recording in ALL}) >= 12


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_recording_reads_in_weave_as_it_was_converted(weave_peer: WeavePeer, tmp_path: Path) -> None:
    for recording in ALL:
        project = str(recording).replace("/", "-").replace("_", "-")
        settings = Settings(base_url=weave_peer.url, trace_url=weave_peer.url, entity="team", project=project)
        deliver(recording, DataDir(tmp_path / project), settings, weave_peer)
        with weave_peer.client(f"team/{project}") as client:
            read = {call.id: call for call in client.get_calls()}
        for line in convert(recording).splitlines():
            wanted = json.loads(line)
            call = read.pop(wanted["id"])
            assert (call.trace_id, call.parent_id) == (wanted["trace_id"], wanted.get("parent_id"))
            assert call.attributes["kind"] == wanted["attributes"]["kind"]
            assert (call.summary or {}).get("usage", {}) == wanted["summary"].get("usage", {})
        assert read == {}, recording


def deliver(recording: Recording, data_dir: DataDir, settings: Settings, peer: WeavePeer) -> None:
    data_dir.create()
    replay_files(recording.files, settings, data_dir, deliver=False)
    store = Store.open(data_dir.store)
    environ = {"WANDB_API_KEY": peer.api_key}
    delivery = WeaveDelivery(store, settings_of=lambda _: settings, environ=environ)
    try:
        progress = delivery.deliver_due(deadline_s=30.0)
        assert (progress.waiting, progress.rejected) == (0, 0), progress
    finally:
        delivery.close()
        store.close()
