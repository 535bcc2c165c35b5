"""Canary secrets in all that published instrumentations send: none is where telemetry is kept, sent or told.

The recordings of all of them go through a server, the journal, a bridge, and the peers of Weave and W&B, with
a canary in every text and key of theirs; beside them a live service under `otel-wandb run`.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import httpx
import msgspec
import pytest
import yaml

from otel_wandb.bridge import open_bridge
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.demo_service import find_example, running_service, running_standin
from otel_wandb.export import encode_rows, export_wandb_dir
from otel_wandb.journal import JournalWriter, Kind
from otel_wandb.status import read_status
from otel_wandb.store import Store
from tests.canaries import KINDS, Canaries, Json, Mode, Planter, attribute, move
from tests.deadlines import wait_for
from tests.peers.wandb import WandbPeer
from tests.peers.weave import WeavePeer
from tests.peers.webhook import WebhookPeer
from tests.recordings.conversion import Recording, recordings
from tests.recordings.make.scrubbing import BASE_NS
from tests.serving import Server
from tests.spends import S, Works, attributes, chat, duration_metrics, event, span, token_metrics, traces

WorksOf: TypeAlias = Callable[[Settings], Works]
MODES: Final[tuple[Mode, ...]] = ("content", "everything", "keys")
HOOK_SECRET: Final = "whsec_0123456789abcdefghij"
CONFIG: Final[Json] = {
    "project": "team/rag",
    "pii": "basic",
    "cost_by": ["user.id", "tenant.id"],
    "linger_s": 1,
    "lateness_s": 1,
    "interval_s": 10,
    "drain_timeout_s": 45,
    "log_level": "debug",
    "views": [{"view": "budget", "name": "spent", "usd_per_day": 0.000001, "by": ["user.id"]}],
    "alerts": {
        "rules": {"broken": {"title": "Something broke", "key": "errors/*_count", "above": 0}},
        "routes": {"hook": {"url_file": "hook.url", "secret_variable": "HOOK_SECRET"}},
    },
}


class Sent:
    """The recordings with canaries in them, as the requests that were sent, and what becomes of them."""

    def __init__(self, canaries: Canaries, now_ns: int, chosen: Iterable[Recording]) -> None:
        self.canaries = canaries
        self.requests: list[tuple[str, Json]] = []
        self.kinds: dict[str, str] = {}
        """Of calls by their ids; empty where a canary may have changed it."""
        self.producers: set[str] = set()
        self._shift_ns = now_ns - 60 * S - BASE_NS
        cases = [(recording, mode) for recording in chosen for mode in MODES]
        for number, (recording, mode) in enumerate(cases, 1):
            self._add(recording, mode, number)
        for number, mode in enumerate(MODES):
            self._add_metrics(mode, number, now_ns)

    def _add(self, recording: Recording, mode: Mode, number: int) -> None:
        planter = Planter(self.canaries, mode, f"{recording} {mode}")
        for path in recording.files:
            signal = "traces" if path.name.endswith("traces.jsonl") else "logs"
            for line in path.read_text().splitlines():
                request = move(json.loads(line), number, self._shift_ns)
                self.requests.append((signal, planter.plant(_enrich(request, planter, mode))))
        for line in recording.file("calls.jsonl").read_text().splitlines():
            call = json.loads(line)
            kind = call["attributes"]["kind"] if mode == "content" else ""
            self.kinds[f"{number:08x}{call['id'][8:]}"] = kind
        self.producers.add(recording.producer)

    def _add_metrics(self, mode: Mode, number: int, now_ns: int) -> None:
        planter = Planter(self.canaries, mode, f"metrics {mode}")
        told = {
            "http.request.method": "GET",
            "http.route": "/chat",
            "error.type": "Timeout",
            "user.id": "ann",
        }
        for request in (
            duration_metrics(40, 0.5, 3.0, told=told),
            duration_metrics(40, 0.5, instrument="own.wait", told={"app.tenant": "ann"}),
            token_metrics(40, given=500),
        ):
            (batch,) = request["resourceMetrics"]
            (scope,) = batch["scopeMetrics"]
            for metric in scope["metrics"]:
                metric["description"] = "What it is"
                (kind,) = {"histogram", "sum"} & set(metric)
                for point in metric[kind]["dataPoints"]:
                    exemplar = {
                        "asDouble": 0.5,
                        "timeUnixNano": point["timeUnixNano"],
                        "traceId": f"{number + 1:032x}",
                    }
                    point["exemplars"] = [
                        exemplar
                        | {
                            "spanId": f"{number + 1:016x}",
                            "filteredAttributes": attributes({"app.note": "x"}),
                        }
                    ]
            moved = move(request, 0, now_ns - 60 * S - 1_795_564_800 * S)
            self.requests.append(("metrics", planter.plant(moved)))


def _enrich(request: Json, planter: Planter, mode: Mode) -> Json:
    """The request with what not all instrumentations send."""
    for batch in request.get("resourceSpans", ()):
        batch["resource"]["attributes"] += [
            attribute("app.owner", "ann"),
            attribute("service.version", "1.2"),
        ]
        if mode == "everything":
            batch["resource"]["attributes"] += [attribute("wandb.project", "rag")]
        for scope in batch["scopeSpans"]:
            scope["scope"].setdefault("attributes", []).append(attribute("app.scope", "ann"))
            for number, sent in enumerate(scope["spans"]):
                _enrich_span(sent, planter, mode, number)
    return request


def _enrich_span(span: Json, planter: Planter, mode: Mode, number: int) -> None:
    span["traceState"] = "vendor=ann"
    told = span.setdefault("attributes", [])
    told += [attribute("app.note", "note"), attribute("user.id", "ann")]
    told += [{"key": "app.card", "value": {"intValue": planter.secret("spans.attributes.int", "card")}}]
    if mode == "content":
        told += [
            attribute(f"{key}.{planter.secret('spans.attributes/key')}", "x") for key in ("metadata", "app")
        ]
    span.setdefault("links", []).append(
        {
            "traceId": "7" * 32,
            "spanId": "7" * 16,
            "traceState": "x=y",
            "attributes": attributes({"app.link": "x"}),
        }
    )
    when = span["endTimeUnixNano"]
    score = {
        "gen_ai.evaluation.name": "helpful",
        "gen_ai.evaluation.score.value": 0.25 + number,
        "gen_ai.evaluation.score.label": "poor",
        "gen_ai.evaluation.explanation": "It was no help",
        "app.judge": "ann",
    }
    events = span.setdefault("events", [])
    events.append({"name": "gen_ai.evaluation.result", "timeUnixNano": when, "attributes": attributes(score)})
    events.append({"name": "app.event", "timeUnixNano": when, "attributes": attributes({"app.event": "x"})})
    if mode == "everything" and number % 2:
        fault = {
            "exception.type": "Oops",
            "exception.message": "It broke",
            "exception.stacktrace": "File x, line 1",
        }
        events.append({"name": "exception", "timeUnixNano": when, "attributes": attributes(fault)})
        span["status"] = {"code": 2, "message": "It broke"}


class Scene:
    """The peers, a data directory, and what was sent to it."""

    def __init__(self, directory: Path, weave: WeavePeer, wandb: WandbPeer, hook: WebhookPeer) -> None:
        self.home, self.weave, self.wandb, self.hook = directory, weave, wandb, hook
        self.data_dir = DataDir(directory / "data")
        self.canaries = Canaries()
        self.sent = Sent(self.canaries, time.time_ns(), recordings())
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        (directory / "hook.url").write_text(f"{hook.url}/{self.secret('hook address', 'anthropic')}")
        config = directory / "otel-wandb.yaml"
        config.write_text(yaml.safe_dump(CONFIG))
        self.environ = {
            **os.environ,
            "OTEL_WANDB_CONFIG": str(config),
            "OTEL_WANDB_DIR": str(self.data_dir.path),
            "TMPDIR": str(self.temporary),
            "HOOK_SECRET": HOOK_SECRET,
        }
        del self.environ["OTEL_WANDB_PROJECT"]
        self.live = 0

    def secret(self, place: str, kind: str = "") -> str:
        return self.canaries(f"scene {place}", kind)

    def send(self, server: Server) -> None:
        """All recordings, and what the server does not take."""
        with server.client() as client:
            for signal, request in self.sent.requests:
                client.post(f"/v1/{signal}", json=request).raise_for_status()
            client.post("/v1/traces", json={"resourceSpans": self.secret("not OTLP")})
            client.post("/v1/traces", json={self.secret("not OTLP"): []})
            broken = f'{{"resourceSpans": [{{"x": "{self.secret("no JSON")}'
            headers = {"authorization": self.secret("header", "bearer"), "content-type": "application/json"}
            assert client.post("/v1/traces", content=broken, headers=headers).status_code == 400
            assert client.post(f"/v1/{self.secret('path', 'aws')}", json={}).status_code == 404

    def serve_requests(self) -> None:
        """Have the example service answer: FastAPI, httpx and openai, each with its instrumentation."""
        example, logs = find_example(), self.home / "live"
        with running_standin(example, logs / "model.log") as model:
            environ = self.environ | {
                "OPENAI_BASE_URL": model,
                "OPENAI_API_KEY": self.secret("key", "anthropic"),
            }
            environ |= {
                "OTEL_SERVICE_NAME": "live",
                "NO_PROXY": "127.0.0.1",
                "OTEL_BSP_SCHEDULE_DELAY": "100",
            }
            environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_AND_EVENT"
            environ["OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST"] = ".*"
            with (
                running_service(example, environ, logs / "service.log") as url,
                httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
            ):
                for kind in KINDS:
                    asked = {"question": f"What is a front? {self.secret('question', kind)}"}
                    user = self.secret("x-user", kind).replace("\n", " ")
                    client.post("/chat", json=asked, headers={"x-user": user, "x-more": user})
                    client.get("/search", params={"q": self.secret("query", kind)})
                    self.live += 2

    def has_arrived(self) -> bool:
        """Whether calls, rows, scores, alerts are with the peers."""
        lines = read_status(self.data_dir).ledger.lines
        arrived = all(lines[signal].delivered for signal in ("calls", "rows", "feedback", "alerts"))
        return arrived and len(self.weave.accepted()) >= len(self.sent.kinds) + 3 * self.live

    def look_into_wandb(self) -> dict[str, set[str]]:
        """What is found where wandb writes its runs while they are open."""
        assert [p for p in self.temporary.rglob("run-*/logs/debug.log") if b"[redacted:" in p.read_bytes()]
        assert list(self.temporary.rglob("run-*/files/media/table/requests_*"))
        return self.canaries.find_in_files(self.temporary)

    def check_what_was_made(self) -> None:
        """That there was something to find canaries in."""
        with contextlib.closing(Store.open_for_reading(self.data_dir.store)) as reader:
            calls = {call.span_id: json.loads(call.body) for call in reader.calls()}
            rows = b"\n".join(line for run in reader.runs() for line in encode_rows(reader, run))
            scores = list(reader.feedback.all())
        recorded = {span_id: calls[span_id]["attributes"]["kind"] for span_id in self.sent.kinds}
        assert {span_id: kind or recorded[span_id] for span_id, kind in self.sent.kinds.items()} == recorded
        assert len(self.sent.producers) >= 20
        assert len(self.canaries) > 30_000
        assert len(self.canaries.planted) > 40
        assert {"chat", "retrieval", "http"} <= {
            calls[i]["attributes"]["kind"] for i in calls.keys() - recorded.keys()
        }
        assert b"[redacted:" in rows
        for told in ([score.body for score in scores], [alert.body for alert in self.hook.posted]):
            assert any(b"[redacted:" in body for body in told), told  # which comes first is left to time
        assert any("[redacted:" in alert["text"] for alert in self.wandb.alerts())
        assert any(b"requests" in line and b"[redacted:" in line for line in rows.splitlines())
        assert {artifact["name"].rsplit("-", 1)[-1] for artifact in self.wandb.artifacts()} >= {"requests"}
        ledger = read_status(self.data_dir).ledger
        assert ledger.balanced
        assert {signal: line.waiting for signal, line in ledger.lines.items() if line.waiting} == {}


@pytest.fixture
def scene(all_online: WeavePeer, wandb_peer: WandbPeer, tmp_path: Path) -> Iterator[Scene]:
    with WebhookPeer() as hook:
        yield Scene(tmp_path, all_online, wandb_peer, hook)


@pytest.mark.slow  # two servers, a bridge, a live service, and a thousand calls
@pytest.mark.timeout(300)
def test_no_canary_is_anywhere(scene: Scene) -> None:
    with Server(scene.data_dir.path, environ=scene.environ, deliver=True) as server:
        scene.send(server)
        scene.serve_requests()
        wait_for(scene.has_arrived, 90)
        found = {"wandb's own directories": scene.look_into_wandb()}
    wait_for(lambda: not scene.data_dir.locked(), 90)
    scene.check_what_was_made()
    export_wandb_dir(scene.data_dir, scene.home / "exported")
    find = scene.canaries.find_in_files
    found["the data directory"] = find(scene.data_dir.path)
    found["an export"] = find(scene.home / "exported")
    found["Weave"] = find(scene.weave.directory)
    found["W&B"] = find(scene.wandb.directory)
    bodies = b"\n".join(posted.body for posted in scene.hook.posted)
    found["the webhook"] = {"bodies": scene.canaries.find(bodies)}
    found["the server's log"] = {"stderr": scene.canaries.find(server.log.encode())}
    assert {
        place: leaks for place, files in found.items() if (leaks := {f: p for f, p in files.items() if p})
    } == {}
    assert list(scene.data_dir.journal.iterdir()) == []
    told = b"\n".join(path.read_bytes() for path in scene.data_dir.path.rglob("*") if path.is_file())
    assert [one for one in (HOOK_SECRET, WandbPeer.api_key) if one.encode() in told] == []


def test_no_canary_of_any_producer_is_stored(works_of: WorksOf, tmp_path: Path) -> None:
    first = {recording.producer: recording for recording in reversed(recordings())}
    sent = Sent(Canaries(), 1_795_700_000 * S, first.values())
    works = works_of(Settings(pii="basic", cost_by="user.id,app.tenant", redact_mode="drop"))
    for _, request in sent.requests:
        works.write(request)
    found = sent.canaries.find_in_files(tmp_path)
    works.finish()
    assert (found, sent.canaries.find_in_files(tmp_path)) == ({}, {})
    kinds = {call["id"]: call["attributes"]["kind"] for call in works.calls()}
    assert {span_id: kind or kinds[span_id] for span_id, kind in sent.kinds.items()} == kinds
    assert len(sent.producers) >= 20
    assert not [key for key in works.store.reader.counts() if "withheld" in key]


def test_a_segment_goes_when_its_writer_has_ended(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "data")
    data_dir.create()
    settings = Settings(mode="offline", linger_s=0)
    writer = JournalWriter(data_dir.journal, writer_id="1x0")
    payload = json.dumps(traces(chat(0, 30))).encode()
    writer.append(payload, kind=Kind.OTLP_TRACES_JSON, items=2, config=settings.digest)
    bridge = open_bridge(data_dir, settings, deliver=False)
    while bridge.step() or not read_status(data_dir).ledger.lines["calls"].received:
        pass
    assert len(list(data_dir.journal.iterdir())) == 1
    writer.close()
    bridge.step()
    assert list(data_dir.journal.iterdir()) == []
    bridge.close()


CUTS: Final = (40, 64, 117, 128, 258, 300, 500, 1000, 1024, 4000)
"""Where texts are cut somewhere."""
SHORTER: Final = (0, 5, 7, 9)
"""By so much a text is shorter where something is said behind the cut."""
SEEN: Final = {"aws": 19, "url": 24, "email": 13, "card": 15}
"""How much of a secret may stand before a cut without being one to any pattern."""


def test_nothing_is_cut_before_it_is_redacted(works_of: WorksOf, tmp_path: Path) -> None:
    canaries = Canaries()
    works = works_of(msgspec.structs.replace(Settings(), pii="basic", cost_by="user.id,tenant.id"))
    lengths = [cut - less for cut in CUTS for less in SHORTER] + [50_000 - 7]  # of explanations
    for number, length in enumerate(lengths):
        spans: list[list[Json]] = []
        points: list[Json] = []
        for place, kind in enumerate(SEEN):

            def text(where: str, length: int = length, kind: str = kind) -> str:
                return f"{'x' * (length - SEEN[kind] - 1)} {canaries(f'{where} {length}', kind)}"

            spans.append(_long_spans(len(SEEN) * number + place, text))
            told = {"error.type": text("metric"), "http.request.method": "GET", "tenant": text("own")}
            points.append(duration_metrics(45, 0.5, told=told))
            points.append(duration_metrics(45, 0.5, instrument=text("instrument"), told={"a": text("own")}))
        works.write(traces(*spans))
        works.write({"resourceMetrics": [batch for one in points for batch in one["resourceMetrics"]]})
    found = canaries.find_in_files(tmp_path)
    works.finish()
    assert (found, canaries.find_in_files(tmp_path)) == ({}, {})
    assert len(works.calls()) == 4 * len(SEEN) * len(lengths)


def _long_spans(number: int, text: Callable[[str], str]) -> list[Json]:
    score = {
        "name": text("score"),
        "score.value": 1,
        "score.label": text("label"),
        "explanation": text("why"),
    }
    told = {f"gen_ai.evaluation.{name}": value for name, value in score.items()}
    judged = event("gen_ai.evaluation.result", 29, told | {"gen_ai.evaluation.evaluator.name": text("judge")})
    fault = {"exception.type": text("type"), "exception.message": text("message")}
    asked = [{"role": "user", "parts": [{"type": "text", "content": text("question")}]}]
    more = {
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.conversation.id": text("session"),
        "tenant.id": text("tenant"),
        "logfire.msg": text("display name"),
        text("key"): text("value"),
    }
    user, model, provider = text("user"), text("model"), text("provider")
    call, root = chat(number, 30, user=user, model=model, provider=provider, more=more)
    root["name"], root["events"], root["status"] = text("name"), [event("exception", 29, fault)], {"code": 2}
    root["attributes"] += attributes({"error.type": text("error")})
    call["events"] = [judged]
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": text("tool")}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": text("agent")}
    first = 1000 + 2 * number
    trace, above = number + 1, 2 * number + 1
    used = span(first, text("name"), tool, parent=above, trace=trace)
    return [call, used, span(first + 1, "run", agent, parent=above, trace=trace), root]
