"""What traces tell of requests, and the tables that rows take along, through journal, bridge and store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.config import Settings
from otel_wandb.request_line import RequestLine
from otel_wandb.tables.columns import MAX_CELL_CHARS, MAX_TABLE_BYTES, RequestRow, encode_requests
from otel_wandb.traces.request_texts import MAX_IMAGE_BYTES
from tests.spends import Works, at, attributes, chat, traces

ALL_STEPS = range(100_000)
MINI = (1000 * 0.15 + 100 * 0.6) / 1e6
HOUR = 3600


def messages(role: str, *parts: object) -> str:
    told = [part if isinstance(part, dict) else {"type": "text", "content": part} for part in parts]
    return json.dumps([{"role": role, "parts": told}])


def asks(question: object, answer: object = "", **more: object) -> dict[str, object]:
    """The attributes of a model call with this content."""
    return {
        "gen_ai.input.messages": messages("user", *(question if isinstance(question, list) else [question])),
        "gen_ai.output.messages": messages("assistant", answer),
        **more,
    }


def span(
    trace: int,
    number: int,
    name: str,
    begin: float,
    end: float,
    values: Mapping[str, object] | None = None,
    *,
    parent: int = 0,
    kind: int = 1,
    error: str = "",
    remote: bool | None = None,
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": at(begin),
        "endTimeUnixNano": at(end),
        "attributes": attributes(values or {}),
    }
    if error:
        told["status"] = {"code": 2, "message": error}
    if remote is not None:
        told["flags"] = 0x100 | (0x200 if remote else 0)
    return told


def tables(
    works: Works, name: str = "requests", service: str = "rag"
) -> list[tuple[int, list[dict[str, Any]]]]:
    """The tables of that name: of each the step of its row, and its rows by column."""
    reader, found = works.store.reader, []
    for run in sorted(reader.runs(), key=lambda run: run.run_id):
        if not run.run_id.startswith(f"{service}-"):
            continue
        for step, named in sorted(reader.tables.of(run.id, ALL_STEPS).items()):
            if name in named:
                table = json.loads(named[name])
                columns = [column for column, _ in table["columns"]]
                found.append((step, [dict(zip(columns, row, strict=True)) for row in table["rows"]]))
    return found


def rows_of(works: Works, name: str = "requests", service: str = "rag") -> list[dict[str, Any]]:
    return [row for _, rows in tables(works, name, service) for row in rows]


class TestRows:
    def test_a_request_is_told_as_a_whole(self) -> None:
        works = Works()
        more = asks("Where is my parcel?", "In Bonn.", **{"prediction.confidence": 0.25})
        works.write(traces(chat(0, 30, user="ann", more=more, entrance_seconds=0.5)))
        works.finish()
        assert rows_of(works) == [
            {
                "time": "2026-11-25T00:00:30.500000Z",
                "operation": "POST /chat",
                "query": "Where is my parcel?",
                "image": None,
                "image_note": None,
                "answer": "In Bonn.",
                "confidence": 0.25,
                "scores": None,
                "tokens_in": 1000,
                "tokens_out": 100,
                "cost_usd": MINI,
                "latency_ms": 1500.0,
                "status": "ok",
                "error": None,
                "weight": 1.0,
                "trace_id": f"{1:032x}",
                "trace": f"{1:016x}",
                "user": "ann",
                "session": None,
            }
        ]

    def test_without_content_the_rest_is_told(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30)))
        works.finish()
        (row,) = rows_of(works)
        assert (row["query"], row["answer"], row["tokens_in"]) == (None, None, 1000)

    def test_an_error_tells_what_went_wrong(self) -> None:
        works = Works()
        root = span(1, 1, "POST /chat", 10, 12, {"http.request.method": "POST"}, kind=2, error="no more room")
        works.write(traces([root]))
        works.finish()
        (row,) = rows_of(works)
        assert (row["operation"], row["status"], row["error"]) == (
            "POST unmatched",
            "error",
            "error: no more room",
        )

    def test_scores_are_told_and_one_of_confidence_is_it(self) -> None:
        works = Works()
        group = chat(0, 30)
        names = ("faithfulness", "answer confidence")
        group[0]["events"] = [
            {
                "timeUnixNano": at(29),
                "name": "gen_ai.evaluation.result",
                "attributes": attributes(
                    {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": 0.5 + i / 4}
                ),
            }
            for i, name in enumerate(names)
        ]
        works.write(traces(group))
        works.finish()
        (row,) = rows_of(works)
        assert (row["confidence"], row["scores"]) == (0.75, "faithfulness: 0.5; answer confidence: 0.75")

    def test_long_texts_are_cut_with_a_note(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30, more=asks("q" * 9000, "a" * 9000))))
        works.finish()
        (row,) = rows_of(works)
        for name in ("query", "answer"):
            assert row[name] == row[name][0] * MAX_CELL_CHARS + "… [cut from 9000 characters]"

    def test_secrets_are_hidden_before_texts_are_cut(self) -> None:
        works = Works()
        secret = "sk-ant-abcdefghij0123456789"
        question = "x" * (MAX_CELL_CHARS - 10) + " " + secret
        works.write(traces(chat(0, 30, user=secret, more=asks(question, f"use {secret}"))))
        works.finish()
        for _, named in sorted(works.store.reader.tables.of(1, ALL_STEPS).items()):
            assert b"sk-ant" not in named["requests"]
        (row,) = rows_of(works)
        assert row["answer"] == "use [redacted:anthropic_key]"
        assert row["user"] == "[redacted:anthropic_key]"

    def test_where_redaction_fails_nothing_is_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        works = Works()
        redactor = works.drain._pipeline._redactor
        monkeypatch.setattr(redactor, "_find", lambda body: [0])
        monkeypatch.setattr(redactor, "_replace", lambda body, found: 1 / 0)
        works.write(traces(chat(0, 30, user="ann", more=asks("private", "private"))))
        works.finish()
        (row,) = rows_of(works)
        assert "private" not in json.dumps(row)
        assert "ann" not in json.dumps(row)
        assert row["query"].startswith("withheld")
        assert (row["tokens_in"], row["trace"]) == (1000, f"{1:016x}")
        assert works.store.reader.counts()["requests", "withheld", "redactor_failed"] == 1

    def test_without_rows_there_are_no_tables(self) -> None:
        works = Works(Settings(table_rows=0))
        works.write(traces(chat(0, 30)))
        works.finish()
        assert tables(works) == tables(works, "slow_requests") == []
        assert works.states("tables/") == []

    def test_a_mistake_of_ours_costs_the_table_and_not_the_calls(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(RequestLine, "_add", lambda *_: 1 / 0)
        works = Works()
        works.write(traces(chat(0, 30)))
        works.finish()
        assert len(works.calls()) == 2
        assert works.store.reader.counts()["requests", "dropped", "unshapable"] == 1


class TestImages:
    @staticmethod
    def shown(*parts: object) -> dict[str, Any]:
        works = Works()
        works.write(traces(chat(0, 30, more=asks(["what is this?", *parts]))))
        works.finish()
        (row,) = rows_of(works)
        assert row["query"] == "what is this?"
        return row

    def test_an_image_is_in_the_table(self) -> None:
        blob = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aGVsbG8gdGhlcmU="}
        row = self.shown(blob, blob)
        assert row["image"] == "data:image/png;base64,aGVsbG8gdGhlcmU="
        assert row["image_note"].startswith("image/png, 11 bytes, ")

    def test_an_address_is_only_noted(self) -> None:
        row = self.shown({"type": "uri", "modality": "image", "uri": "https://example.org/cat.png"})
        assert (row["image"], row["image_note"]) == (None, "https://example.org/cat.png")

    def test_a_large_one_is_only_noted(self) -> None:
        content = "A" * (4 * (MAX_IMAGE_BYTES // 3) + 400)
        blob = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": content}
        row = self.shown(blob)
        assert row["image"] is None
        assert row["image_note"].startswith(f"image/png, {len(content) * 3 // 4} bytes, ")

    def test_tables_have_a_limit(self) -> None:
        rest = (None, None, 1, 1, None, 1.0, "ok", None, "f" * 32, "a" * 16, None, None)
        row = RequestRow("2026-11-25T00:00:30.000000Z", "POST /chat", "ä" * 4000, None, "b" * 4000, *rest)
        small = encode_requests([(row, "data:image/png;base64,AAAA", 1.0)]).body
        assert b"AAAA" in small
        large = encode_requests([(row, "data:image/png;base64," + "A" * 100_000, 1.0)] * 2000).body
        assert len(large) <= MAX_TABLE_BYTES
        assert len(json.loads(large)["rows"]) == 2000
        assert "[cut from 4000 characters]" in large.decode()


class TestEntrances:
    def test_what_is_inside_a_request_is_none(self) -> None:
        works = Works()
        asgi = [
            span(1, 1, "POST /a", 10, 12, {"http.route": "/a", "http.request.method": "POST"}, kind=2),
            span(1, 2, "POST /a", 10, 12, {"http.route": "/a"}, kind=2, parent=1, remote=False),
            span(1, 3, "work", 10, 12, parent=2),
        ]
        works.write(traces(asgi))
        works.finish()
        assert [row["trace"] for row in rows_of(works)] == [f"{1:016x}"]

    def test_each_service_has_its_own_requests(self) -> None:
        works = Works()
        inner = chat(0, 30)
        inner[1]["parentSpanId"] = f"{77:016x}"
        outer = span(
            1, 77, "POST /front", 28, 31, {"http.route": "/front", "http.request.method": "POST"}, kind=2
        )
        request = traces(inner)
        request["resourceSpans"] += traces([outer], service="front")["resourceSpans"]
        works.write(request)
        works.finish()
        assert [(row["operation"], row["tokens_in"]) for row in rows_of(works)] == [("POST /chat", 1000)]
        assert [(row["operation"], row["tokens_in"]) for row in rows_of(works, service="front")] == [
            ("POST /front", 0)
        ]

    def test_a_root_without_a_server_is_a_request(self) -> None:
        works = Works()
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"}
        works.write(traces([span(1, 1, "invoke_agent helper", 10, 12, agent)], chat(5, 30)[:1]))
        works.finish()
        assert [row["operation"] for row in rows_of(works)] == ["helper", "chat gpt-4o-mini"]

    def test_what_is_sampled_upstream_stands_for_more(self) -> None:
        works = Works()
        group = chat(0, 30)
        group[1]["traceState"] = "ot=th:c"
        works.write(traces(group, chat(1, 31)))
        works.finish()
        assert [row["weight"] for row in rows_of(works)] == [4, 1]

    def test_parts_of_a_long_trace_belong_to_its_request(self) -> None:
        works = Works(Settings(trace_partial_after_s=10, linger_s=1))
        root, number = 1, 2
        for second in (1, 30, 60):
            more = asks(f"question {second}", f"answer {second}", **{"prediction.confidence": second / 100})
            call = chat(0, second, more=more)[0]
            works.write(traces([call | {"spanId": f"{number:016x}", "parentSpanId": f"{root:016x}"}]))
            works.kill()
            number += 1
        assert len(works.calls()) == 2, "the first two are given out before the request has ended"
        assert works.states("request_parts/")
        http = {"http.route": "/chat", "http.request.method": "POST"}
        works.write(traces([span(1, root, "POST /chat", 0, 61, http, kind=2)], chat(9, 90)))
        works.finish()
        row = rows_of(works)[0]
        assert (row["tokens_in"], row["tokens_out"], row["cost_usd"]) == (3000, 300, pytest.approx(3 * MINI))
        assert (row["query"], row["answer"], row["confidence"]) == ("question 1", "answer 60", 0.6)
        assert works.states("request_parts/") == []

    def test_parts_whose_request_never_ends_are_given_up(self) -> None:
        works = Works(Settings(trace_partial_after_s=10, linger_s=1, trace_max_s=20))
        for i, hour in enumerate((0, 2)):
            works.write(traces([chat(2 * i, hour * HOUR + 1)[0] | {"parentSpanId": f"{500 + i:016x}"}]))
            works.write(traces(chat(2 * i + 1, hour * HOUR + 100)))
        works.finish()
        assert len(works.states("request_parts/")) == 1
        assert works.store.reader.counts()["requests", "left_out", "no_entrance"] == 1


class TestHours:
    def test_the_row_that_ends_the_hour_takes_the_table_along(self) -> None:
        works = Works()
        for i, second in enumerate((30, 1800, 3590, 3610, 7100)):
            works.write(traces(chat(i, second)))
        works.finish()
        assert [(step, len(rows)) for step, rows in tables(works)] == [(59, 3), (118, 2)]

    def test_an_hour_ends_with_a_row_even_if_nothing_came_then(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30)))
        works.write(traces(chat(1, 9 * HOUR)))
        works.finish()
        assert [(step, len(rows)) for step, rows in tables(works)] == [(59, 1), (539, 1)]
        assert [row["step"] for row in works.rows()] == [0, 59, 539]

    def test_what_comes_late_is_in_the_next_table(self) -> None:
        works = Works(Settings(linger_s=0))
        works.write(traces(chat(0, 3500)))
        works.write(traces(chat(1, 3680)))
        works.write(traces(chat(2, 3550)))
        works.write(traces(chat(3, 7300)))
        works.finish()
        times = [[row["time"][11:19] for row in rows] for _, rows in tables(works)]
        assert times == [["00:58:20"], ["00:59:10", "01:01:20"], ["02:01:40"]]

    @pytest.mark.parametrize("interval_s", [7, 60, 1000, 3600])
    def test_intervals_of_any_length_have_their_hours(self, interval_s: int) -> None:
        works = Works(Settings(interval_s=interval_s))
        seconds = [5, 1200, 3599, 3601, 5000, 7199, 86_399, 86_401]
        for i, second in enumerate(seconds):
            works.write(traces(chat(i, second)))
        works.finish()
        assert sorted(row["time"] for row in rows_of(works)) == [row["time"] for row in rows_of(works)]
        assert len(rows_of(works)) == len(seconds)
        assert 4 <= len(tables(works)) <= 5
        assert works.states("tables/") == []

    def test_a_bridge_that_is_left_alone_gives_out_what_there_is(self) -> None:
        works = Works(Settings(linger_s=0, trace_idle_s=0.1, lateness_s=0, interval_s=1), replay=False)
        works.write(traces(chat(0, 30)))
        works.drain.step()
        assert works.drain.open_items == 0
        works.kill()
        if not tables(works):  # else the hour of the sample has ended
            assert works.drain.finish_rows()
        assert len(rows_of(works)) == 1
        assert not works.drain.finish_rows()

    def test_an_alert_brings_the_table_with_its_row(self) -> None:
        rules = {"rules": {"many_errors": {"key": "errors/total_count", "above": 1}}}
        works = Works(Settings(alerts=json.dumps(rules)))
        for i, (second, failed) in enumerate(
            ((30, 0), (90, 1), (91, 1), (92, 0), (150, 1), (151, 1), (7000, 0))
        ):
            group = chat(i, second)
            if failed:
                group[1]["status"] = {"code": 2}
            works.write(traces(group))
            works.kill()
        works.finish()
        told = [(step, [row["status"] for row in rows]) for step, rows in tables(works)]
        assert told == [
            (1, ["ok", "error", "error", "ok"]),  # the minute that fires
            (59, ["error", "error"]),  # in which it goes on
            (116, ["ok"]),
        ]

    def test_the_points_of_charts_are_linked_to_their_traces(self) -> None:
        works = Works()
        for i in range(100):
            works.write(traces(chat(i, 20 + i / 10, seconds=(i + 1) / 10)))
        (row,) = works.finish()
        points = {
            point["point"]: point for point in rows_of(works, "slow_requests") if not point["operation"]
        }
        assert list(points) == ["p50", "p95", "p99", "max"]
        requests = {request["trace_id"]: request for request in rows_of(works)}
        for name, point in points.items():
            assert point["time"] == "2026-11-25T00:01:00.000000Z"
            assert point["chart_ms"] == row[f"latency/{name}_ms"]
            assert point["latency_ms"] == pytest.approx(point["chart_ms"], rel=0.07)
            assert requests[point["trace_id"]]["latency_ms"] == point["latency_ms"]
            assert requests[point["trace_id"]]["trace"] == point["trace"]
        assert points["max"]["latency_ms"] == 10_000
        own = [point for point in rows_of(works, "slow_requests") if point["operation"]]
        assert {point["operation"] for point in own} == {"POST /chat"}

    def test_sums_over_tables_are_those_of_the_charts(self) -> None:
        works = Works(Settings(table_rows=100))
        groups = [chat(i, 10 + 50 * i, given=i, made=2 * i, route=f"/r{'abc'[i % 3]}") for i in range(90)]
        for i, group in enumerate(groups):
            if i % 10 == 0:
                group[1]["attributes"] += attributes({"http.response.status_code": 503 if i % 20 else 404})
            if i % 25 == 0:
                group[1]["status"] = {"code": 2}
            works.write(traces(group))
        charts = works.finish()
        told = rows_of(works)
        assert {row["weight"] for row in told} == {1}
        for column, key in (("tokens_in", "tokens/input"), ("tokens_out", "tokens/output")):
            assert sum(row[column] for row in told) == sum(row.get(key, 0) for row in charts)
        assert sum(row["cost_usd"] or 0 for row in told) == pytest.approx(
            sum(row.get("cost/total_usd", 0) for row in charts)
        )
        assert len(told) == sum(row.get("latency/count", 0) for row in charts)
        errors = sum(row.get("errors/total_count", 0) for row in charts)
        assert sum(row["status"] == "error" for row in told) == errors == 7

    def test_a_sampled_table_counts_each_operation_exactly(self) -> None:
        works = Works(Settings(table_rows=20))
        for i in range(300):
            works.write(traces(chat(i, 10 + i / 10, route="/rare" if i % 100 == 0 else "/chat")))
        works.finish()
        told = rows_of(works)
        assert len(told) == 20
        counts = {"POST /rare": 3, "POST /chat": 297}
        for operation, count in counts.items():
            assert sum(row["weight"] for row in told if row["operation"] == operation) == pytest.approx(count)


def play(steps: list[tuple[str, int, int]], kills: set[int], linger_s: float) -> tuple[Any, Works]:
    works = Works(Settings(linger_s=linger_s, table_rows=10, trace_partial_after_s=20, cost_by=""))
    for i, (what, second, amount) in enumerate(steps):
        group = chat(i, second, given=amount, seconds=amount / 500, route=f"/{what[0]}", more=asks(f"q{i}"))
        if what == "failed":
            group[1]["status"] = {"code": 2}
        works.write(traces(group[:1] if what == "open" else group))
        if i in kills:
            works.kill()
    rows = works.finish()
    return (rows, tables(works), tables(works, "slow_requests")), works


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["chat", "chat", "chat", "search", "failed", "open"]),
        st.integers(1, 3 * HOUR),
        st.integers(1, 9999),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda step: step[1],
)


class TestRestarts:
    @settings(max_examples=60, deadline=None)
    @given(STEPS, st.booleans(), st.sampled_from([0.0, 6.0]), st.data())
    def test_a_kill_between_any_two_transactions_changes_nothing(
        self, steps: list[tuple[str, int, int]], in_order: bool, linger_s: float, data: st.DataObject
    ) -> None:
        if in_order:
            steps = sorted(steps, key=lambda step: step[1])
        else:  # since when an open trace waits is known again only where the input is in order
            steps = [step for step in steps if step[0] != "open"] or [("chat", 1, 1)]
        kills = data.draw(st.sets(st.integers(0, len(steps) - 1)))
        undisturbed, _ = play(steps, set(), linger_s)
        disturbed, works = play(steps, kills, linger_s)
        assert disturbed == undisturbed
        assert works.states("tables/") == []
        assert works.store.reader.tables.of(1, ALL_STEPS)

    def test_many_requests_of_an_hour_are_the_same_sample_after_any_kill(self) -> None:
        steps = [("chat", 10 + i, 1 + 37 * i % 9999) for i in range(200)]
        undisturbed, _ = play(steps, set(), 0.0)
        disturbed, _ = play(steps, set(range(0, 200, 3)), 0.0)
        assert disturbed == undisturbed
        ((_, rows),) = undisturbed[1]
        assert len(rows) == 10
        assert sum(row["weight"] for row in rows) == pytest.approx(200)
