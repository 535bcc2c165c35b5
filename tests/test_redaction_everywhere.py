"""Secrets planted wherever telemetry has text: none of them is in the store, nor in what is handed on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_wandb.config import Settings
from otel_wandb.export import encode_rows, encode_stored_call, encode_stored_feedback
from otel_wandb.redaction import Redactor
from otel_wandb.tables.columns import decode_row, make_row, redact_row
from otel_wandb.traces.request_samples import RequestSample
from otel_wandb.traces.request_texts import RequestText
from otel_wandb.view_settings import read_views
from tests.spends import Works, at, attributes, chat, duration_metrics, event, span, token_metrics, traces

EMAILS = "pii"


class Planted:
    """Distinct secrets, so that one that is found says where it was."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.all: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        name = place.replace(" ", "")
        told = f"{name}.canary@example.org" if self.kind == EMAILS else f"sk-ant-{name}-0123456789"
        self.all[place] = told
        return told


def logs(*records: dict[str, Any], resource: dict[str, object]) -> dict[str, Any]:
    scope = {"scope": {"name": "tests"}, "logRecords": list(records)}
    return {"resourceLogs": [{"resource": {"attributes": attributes(resource)}, "scopeLogs": [scope]}]}


def record(second: float, body: str, told: dict[str, object], **more: object) -> dict[str, Any]:
    return {
        "timeUnixNano": at(second),
        "body": {"stringValue": body},
        "attributes": attributes(told),
        "traceId": f"{1:032x}",
        "spanId": f"{2:016x}",
        **more,
    }


def told_in_spans(plant: Planted) -> dict[str, Any]:
    more = {
        "gen_ai.input.messages": json.dumps(
            [{"role": "user", "parts": [{"type": "text", "content": plant("question")}]}]
        ),
        "gen_ai.output.messages": json.dumps(
            [{"role": "assistant", "parts": [{"type": "text", "content": plant("answer")}]}]
        ),
        "app.note": plant("attribute"),
        "app.json": json.dumps({"deep": json.dumps([plant("nested")])}),
        plant("key"): 1,
        "url.full": f"https://x.org/?q={plant('url')}",
        "http.request.header.x": plant("header"),
        "tenant.id": plant("tenant"),
        "session.id": plant("session"),
        "gen_ai.evaluation.name": plant("unscored"),
    }
    call, root = chat(0, 30, user=plant("user"), model=plant("model"), provider=plant("provider"), more=more)
    call["name"] = f"chat {plant('spanname')}"
    call["events"] = [
        event("exception", 29, {"exception.type": "E", "exception.message": plant("exception")}),
        event(plant("eventname"), 29, {"a": plant("eventattribute")}),
        event("gen_ai.evaluation.result", 29, score(plant, "scored")),
    ]
    call["status"] = {"code": 2, "message": plant("status")}
    call["links"] = [
        {"traceId": f"{7:032x}", "spanId": f"{7:016x}", "attributes": attributes({"a": plant("link")})}
    ]
    call["traceState"] = f"x={plant('tracestate')}"
    tool = span(
        9,
        "run",
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": plant("tool")},
        parent=1,
        trace=1,
        error=True,
    )
    tool["attributes"] += attributes({"error.type": plant("errortype")})
    request = traces([call, tool, root])
    add_resource(request["resourceSpans"][0], plant, "spans")
    return request


def score(plant: Planted, place: str) -> dict[str, object]:
    return {
        "gen_ai.evaluation.name": plant(f"{place} name"),
        "gen_ai.evaluation.score.value": 0.5,
        "gen_ai.evaluation.score.label": plant(f"{place} label"),
        "gen_ai.evaluation.explanation": plant(f"{place} explanation"),
    }


def add_resource(batch: dict[str, Any], plant: Planted, place: str) -> None:
    batch["resource"]["attributes"] += attributes(
        {
            "host.name": plant(f"{place} host"),
            "service.version": plant(f"{place} version"),
            "process.command_line": plant(f"{place} commandline"),
        }
    )


def told_in_logs(plant: Planted) -> dict[str, Any]:
    return logs(
        record(29, plant("logbody"), {"a": plant("logattribute")}),
        record(29, "", score(plant, "logged"), eventName="gen_ai.evaluation.result"),
        record(29, "", score(plant, "waiting"), eventName="gen_ai.evaluation.result", traceId=f"{5:032x}"),
        resource={"service.name": "rag", "host.name": plant("logs host")},
    )


def told_in_metrics(plant: Planted) -> Iterator[dict[str, Any]]:
    told = {
        "http.request.method": "GET",
        "http.route": f"/{plant('route')}",
        "tenant": plant("metric attribute"),
    }
    yield duration_metrics(45, 0.5, 3.0, told=told)
    yield duration_metrics(45, 0.5, instrument=plant("instrument"), told={"a": plant("own attribute")})
    yield token_metrics(45, given=5, model=plant("metric model"))


WATCHED = [
    {"view": "slo", "instrument": "http.server.request.duration", "objective": 0.9, "by": ["http.route"]},
    {"view": "budget", "usd_per_day": 24, "by": ["tenant.id"]},
    {"view": "drift", "instrument": "http.server.request.duration", "by": ["http.route"]},
]


def settings_with(**values: object) -> Settings:
    told = {"cost_by": "user.id,tenant.id", "views": read_views(WATCHED), **values}
    return msgspec.structs.replace(Settings(), **told)


def all_that_is_stored(works: Works, folder: Path) -> bytes:
    with sqlite3.connect(folder / "store.sqlite") as connection:
        connection.text_factory = bytes
        names = [
            row[0].decode() for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        rows = [repr(list(connection.execute(f'SELECT * FROM "{name}"'))).encode() for name in names]
    assert len(names) > 5
    files = [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]
    return b"\n".join((*rows, *files))


def all_that_is_handed_on(works: Works) -> bytes:
    reader = works.store.reader
    told = [encode_stored_call(call) for call in reader.calls()]
    told += [line for run in reader.runs() for line in encode_rows(reader, run)]
    told += map(encode_stored_feedback, reader.feedback.all())
    return b"\n".join(told)


@pytest.mark.parametrize("kind", ["secret", EMAILS])
@pytest.mark.parametrize("mode", ["mask", "hash", "drop"])
def test_no_canary_is_stored_or_handed_on(
    kind: str, mode: str, works_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_WANDB_HASH_KEY", "hash-key-canary")
    plant = Planted(kind)
    works = works_of(settings_with(redact_mode=mode, pii="basic" if kind == EMAILS else "none"))
    works.write(told_in_spans(plant))
    works.write(told_in_logs(plant))
    for request in told_in_metrics(plant):
        request["resourceMetrics"][0]["resource"]["attributes"] += attributes(
            {"host.name": plant("metrics host")}
        )
        works.write(request)
    while_open = all_that_is_stored(works, tmp_path)
    works.finish()
    stored = all_that_is_stored(works, tmp_path)
    handed = all_that_is_handed_on(works)
    assert len(plant.all) > 35
    for told in (while_open, stored, handed):
        assert [place for place, secret in plant.all.items() if secret.encode() in told] == []
        assert b"hash-key-canary" not in told
    assert (b"canary" if kind == EMAILS else b"0123456789") not in handed
    assert len(works.calls()) == 3
    assert len(handed.splitlines()) >= 6
    assert not [key for key in works.store.reader.counts() if "withheld" in key]


def test_streams_that_differ_in_what_is_redacted_are_added_up(works_of: Any) -> None:
    works = works_of(settings_with(pii="basic"))
    for name in ("ann", "bob"):
        works.write(duration_metrics(45, 0.5, told={"http.route": "/chat", "enduser.id": f"{name}@x.org"}))
        works.write(duration_metrics(45, 0.5, instrument="own.wait", told={"who": f"{name}@x.org"}))
    works.finish()
    (row,) = works.rows()
    assert (row["latency/count"], row["metrics/own_wait_count"]) == (2, 2)
    assert works.store.reader.counts()["metric_points", "delivered", ""] == 4


def test_processes_that_differ_in_what_is_redacted_are_two(works_of: Any) -> None:
    works = works_of(settings_with(pii="basic"))
    for address in ("10.0.0.1", "10.0.0.2"):
        request = duration_metrics(45, 0.5)
        request["resourceMetrics"][0]["resource"]["attributes"] += attributes({"host.ip": address})
        works.write(request)
    works.finish()
    (row,) = works.rows()
    assert row["latency/count"] == 2


def test_the_id_of_a_call_in_a_table_stays_whatever_it_looks_like() -> None:
    card = "4111111111111111"
    text = RequestText(question=f"my card is {card}")
    row = make_row(RequestSample("a" * 32, card, card, operation="POST /chat"), text)
    body, withheld = redact_row(row, Redactor().redact)
    told = decode_row(body)
    assert (told.call, told.query, withheld) == (card, "my card is [redacted:card]", False)


def test_keys_are_redacted_before_they_are_taken_apart(works_of: Any, tmp_path: Path) -> None:
    works = works_of(settings_with(pii="basic"))
    message = "llm.input_messages.0.message"
    more = {f"{message}.content": "hello", f"{message}.role": "user", f"{message}.ann@example.org": "x"}
    call, root = chat(0, 30, more=more)
    call["events"] = [event("note", 29, {"by.ann@example.org": 1})]
    request = traces([call, root])
    request["resourceSpans"][0]["resource"]["attributes"] += attributes({"process.ann@example.org": 1})
    works.write(request)
    works.finish()
    stored = all_that_is_stored(works, tmp_path)
    assert [part for part in (b"ann", b"example") if part in stored] == []
    (told,) = [told["attributes"] for told in works.calls() if told["id"] == call["spanId"]]
    assert told["resource"] == {"service.name": "rag", "[redacted:email]": 1}
    assert told["otel_events"][0]["attributes"] == {"[redacted:email]": 1}


def test_what_is_withheld_is_counted(works_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_privacy.py").write_text("def clean(text): raise ValueError(text)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plant = Planted("secret")
    works = works_of(settings_with(redact_with="failing_privacy:clean", pii="basic"))
    works.write(told_in_spans(plant))
    works.write(told_in_logs(plant))
    for request in told_in_metrics(plant):
        works.write(request)
    works.finish()
    (tmp_path / "failing_privacy.py").unlink()
    stored = all_that_is_stored(works, tmp_path)
    assert [place for place, secret in plant.all.items() if secret.encode() in stored] == []
    counts = works.store.reader.counts()
    assert counts["calls", "withheld", "redactor_failed"] == 3
    assert counts["feedback", "withheld", "redactor_failed"] == 3
    assert counts["attributes", "withheld", "redactor_failed"] > 10
    assert {call["op_name"] for call in works.calls()} == {"withheld"}
    assert works.rows()  # of the service, by its name


@pytest.mark.parametrize("capture", ["metadata", "none"])
def test_content_that_is_not_captured_is_nowhere(capture: str, works_of: Any, tmp_path: Path) -> None:
    plant = Planted("plain")
    plant.kind = EMAILS  # any text
    works = works_of(settings_with(capture_content=capture))
    works.write(told_in_spans(plant))
    works.write(told_in_logs(plant))
    works.finish()
    stored = all_that_is_stored(works, tmp_path)
    content = ["question", "answer", "scored explanation", "logged explanation", "waiting explanation"]
    if capture == "none":
        content += [
            "exception",
            "attribute",
            "nested",
            "eventname",
            "eventattribute",
            "logbody",
            "logattribute",
        ]
    assert [place for place in content if plant.all[place].encode() in stored] == []
