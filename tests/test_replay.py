"""`otel-wandb replay`: the same files give the same output; what cannot be read is named and counted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from otel_wandb.cli import main
from otel_wandb.datadir import DataDir
from otel_wandb.status import read_status
from tests import scored
from tests.genai_spans import encode, text_message
from tests.otlp_lines import make_metrics, make_request
from tests.peers.weave import WeavePeer


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def replay(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["replay", *(str(argument) for argument in arguments)])


def test_the_same_file_gives_the_same_calls_in_any_directory(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "traces.jsonl", make_request(2), make_request(3))
    outputs = []
    for directory in ("a", "b", "a"):
        calls = tmp_path / "calls.jsonl"
        result = replay(file, "--no-deliver", "--calls", calls, "--data-dir", tmp_path / directory)
        assert result.exit_code == 0, result.output
        outputs.append(calls.read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]
    calls_ = [json.loads(line) for line in outputs[0].splitlines()]
    assert len(calls_) == 20
    assert calls_ == sorted(calls_, key=lambda call: (call["started_at"], call["trace_id"]))
    assert all(call["project_id"] == "otel-wandb" for call in calls_)
    ledger = read_status(DataDir(tmp_path / "a")).ledger
    assert ledger.imbalance() == {}
    assert ledger.lines["spans"].dropped == {"duplicate": 20}
    assert ledger.lines["calls"].received == 20


def test_rows_are_the_same_in_any_directory_and_alerts_are_empty(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "metrics.jsonl", *(make_metrics(minute) for minute in range(5)))
    alerts, outputs = tmp_path / "alerts.jsonl", []
    for directory in ("a", "b", "a"):
        rows = tmp_path / "rows.jsonl"
        result = replay(
            file, "--no-deliver", "--rows", rows, "--alerts", alerts, "--data-dir", tmp_path / directory
        )
        assert result.exit_code == 0, result.output
        outputs.append(rows.read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]
    written = [json.loads(line) for line in outputs[0].splitlines()]
    assert [row["step"] for row in written] == [0, 1, 2, 3, 4]
    assert [row["values"]["latency/count"] for row in written] == [3] * 5
    assert written[0]["values"]["latency/max_ms"] == 600
    assert written[0]["timestamp_s"] == 1_795_564_860.0
    assert alerts.read_bytes() == b""
    ledger = read_status(DataDir(tmp_path / "b")).ledger
    assert ledger.imbalance() == {}
    assert ledger.lines["metric_points"].delivered == ledger.lines["rows"].waiting == 5


def test_a_point_that_tells_nothing_is_dropped_once(tmp_path: Path) -> None:
    """A counter that is first seen an hour after its start has no baseline; the next point has one."""
    lines: list[Any] = [make_metrics(minute) for minute in (60, 61)]
    for line in lines:
        told = line["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["histogram"]
        told["aggregationTemporality"] = 2
        told["dataPoints"][0]["startTimeUnixNano"] = "1795564800000000000"
    file = write_lines(tmp_path / "metrics.jsonl", *lines)
    assert replay(file, "--no-deliver", "--data-dir", tmp_path / "data").exit_code == 0
    ledger = read_status(DataDir(tmp_path / "data")).ledger
    assert ledger.imbalance() == {}
    assert ledger.lines["metric_points"].dropped == {"no_baseline": 1}
    assert ledger.lines["metric_points"].delivered == 1


def test_replayed_twice_and_delivered_once(all_online: WeavePeer, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "traces.jsonl", make_request(5))
    for _ in range(2):
        result = replay(file)
        assert result.exit_code == 0, result.output
        assert "0 calls wait" in result.output
    assert len(all_online.accepted()) == 20


def test_what_cannot_be_read_is_named_and_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    good, bad_id = make_request(), make_request()
    bad_id["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = "12"  # type: ignore[index]  # JSON
    file = write_lines(tmp_path / "traces.jsonl", good, "not json", '{"resourceSpans": [', bad_id)
    result = replay(file, "--no-deliver")
    assert result.exit_code == 1
    assert f"{file}:2: expected " in result.output
    assert f"{file}:3: expected " in result.output
    line = read_status(DataDir(Path(tmp_path / "data"))).ledger.lines["spans"]
    assert line.balanced
    assert (line.received, line.delivered) == (10, 7)
    assert line.rejected == {"malformed": 2, "invalid_trace_id": 1}


def test_a_truncated_gzip_keeps_what_was_readable(tmp_path: Path) -> None:
    packed = gzip.compress("".join(json.dumps(make_request()) + "\n" for _ in range(200)).encode(), 1)
    file = tmp_path / "traces.jsonl.gz"
    file.write_bytes(packed[: len(packed) * 2 // 3])
    result = replay(file, "--no-deliver")
    assert result.exit_code == 1
    line = read_status(DataDir(tmp_path / "data")).ledger.lines["spans"]
    assert line.balanced
    assert line.delivered > 200


def test_a_file_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    result = replay(tmp_path / "missing.jsonl")
    assert result.exit_code == 1
    assert "missing.jsonl" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("order", [("traces", "logs"), ("logs", "traces")])
def test_log_records_of_another_file_join_their_spans(tmp_path: Path, order: tuple[str, str]) -> None:
    request = make_request()
    span = request["resourceSpans"][0]["scopeSpans"][0]["spans"][-2]  # type: ignore[index]  # JSON
    span["attributes"] = [a for a in span["attributes"] if ".messages" not in a["key"]]
    message = {"role": "user", "parts": [{"type": "text", "content": "Who?"}]}
    record = {
        "timeUnixNano": span["endTimeUnixNano"],
        "traceId": span["traceId"],
        "spanId": span["spanId"],
        "eventName": "gen_ai.client.inference.operation.details",
        "attributes": [{"key": "gen_ai.input.messages", "value": {"stringValue": json.dumps([message])}}],
    }
    files = {
        "traces": write_lines(tmp_path / "traces.jsonl", request),
        "logs": write_lines(
            tmp_path / "logs.jsonl", {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
        ),
    }
    calls = tmp_path / "calls.jsonl"
    result = replay(*(files[name] for name in order), "--no-deliver", "--calls", calls)
    assert result.exit_code == 0, result.output
    chat = json.loads(next(line for line in calls.read_text().splitlines() if "chat gpt" in line))
    assert chat["inputs"]["messages"] == [{"role": "user", "content": "Who?"}]
    assert read_status(DataDir(tmp_path / "data")).ledger.lines["log_records"].delivered == 1


def test_log_records_that_come_before_all_spans_join_theirs(tmp_path: Path) -> None:
    details = "gen_ai.client.inference.operation.details"
    asked = encode([text_message("user", "Who?")])
    numbers = (1, 2)  # two traces, a request each, and the records of both in one request before them
    logs = scored.records(
        *(
            scored.make_record(
                {"gen_ai.input.messages": asked}, n, trace=f"{n:032x}", at_ms=n - 1, eventName=details
            )
            for n in numbers
        )
    )
    spans = [scored.spans(scored.make_chat(n, trace=f"{n:032x}")) for n in numbers]
    files = [write_lines(tmp_path / "logs.jsonl", logs), write_lines(tmp_path / "traces.jsonl", *spans)]
    calls = tmp_path / "calls.jsonl"
    result = replay(*files, "--no-deliver", "--calls", calls)
    assert result.exit_code == 0, result.output
    told = [json.loads(line)["inputs"]["messages"] for line in calls.read_text().splitlines()]
    assert told == [[{"role": "user", "content": "Who?"}]] * 2
