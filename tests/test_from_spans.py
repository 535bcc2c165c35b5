"""A service that only sends traces has the charts of its latency, throughput and errors, each thing once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.config import Settings
from otel_wandb.metrics import observed
from tests.spends import Works, at, event, span, traces

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
REMOTE, LOCAL = 0x300, 0x100
HTTP = {"http.request.method": "POST", "http.route": "/chat"}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
}
USAGE = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}

Row = dict[str, Any]


def row(*requests: Mapping[str, Any], settings: Settings | None = None) -> Row:
    works = Works(settings or Settings())
    for request in requests:
        works.write(dict(request))
    (only,) = works.finish()
    return only


def counts(found: Row) -> dict[str, int]:
    """How often each operation was measured."""
    ends = ("latency/", "_count")
    return {
        key.removeprefix(ends[0]).removesuffix(ends[1]): value
        for key, value in found.items()
        if key.startswith(ends[0]) and key.endswith(ends[1])
    }


def section(found: Row, name: str) -> Row:
    return {key.removeprefix(f"{name}/"): v for key, v in found.items() if key.startswith(f"{name}/")}


def all_ms(value: float) -> Row:
    """The statistics of a single duration."""
    measured = dict.fromkeys(("p50", "p90", "p95", "p99", "mean", "min", "max"), value)
    return {f"{name}_ms": ms for name, ms in {**measured, "std": 0.0}.items()}


class TestRows:
    def test_a_request_with_all_that_it_does(self) -> None:
        docs = {"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": "docs"}
        query = {"db.system.name": "chroma", "db.operation.name": "query", "db.collection.name": "docs"}
        first = {"gen_ai.response.time_to_first_chunk": 0.75}
        failed = {**TOOL, "error.type": "TimeoutError"}
        found = row(
            traces(
                [
                    span(1, "POST /chat", {**HTTP, "http.response.status_code": 200}, kind=SERVER, seconds=4),
                    span(2, "retrieve docs", docs, kind=CLIENT, parent=1, end=27, seconds=0.5),
                    span(3, "chroma.query", query, kind=CLIENT, parent=2, end=27, seconds=0.25),
                    span(4, "chat", {**CHAT, **USAGE, **first}, kind=CLIENT, parent=1, end=29, seconds=2),
                    span(5, "search", failed, parent=1, end=29.5, seconds=0.5, error=True),
                    span(6, "GET", {"http.request.method": "GET"}, kind=CLIENT, parent=5, end=29.5),
                ]
            )
        )
        latency = {k: v for k, v in section(found, "latency").items() if not k.endswith("histogram")}
        parts = {
            "POST_chat": 4000.0,
            "retrieval_docs": 500.0,
            "query_docs": 250.0,
            "chat_gpt_4o": 2000.0,
            "chat_gpt_4o_first_token": 750.0,
            "search": 500.0,
        }
        assert latency == {
            **all_ms(4000.0),
            "count": 1,
            **{f"{name}_{key}": v for name, ms in parts.items() for key, v in all_ms(ms).items()},
            **{f"{name}_count": 1 for name in parts},
        }
        assert section(found, "throughput") == dict.fromkeys(
            ("requests_per_second", "POST_chat_requests_per_second", "chat_gpt_4o_requests_per_second"),
            1 / 60,
        )
        assert section(found, "errors") == {
            "total_count": 0,
            "request_count": 1,
            "total_rate_percent": 0.0,
            "POST_chat_rate_percent": 0.0,
            "retrieval_docs_rate_percent": 0.0,
            "query_docs_rate_percent": 0.0,
            "chat_gpt_4o_rate_percent": 0.0,
            "search_rate_percent": 100.0,
            "TimeoutError_count": 1,
            "TimeoutError_rate_percent": 100.0,
        }
        assert not section(found, "metrics")

    @pytest.mark.parametrize("spread", [0.5, 1.15])
    def test_percentiles_are_those_of_the_durations(self, spread: float) -> None:
        rng = np.random.default_rng(1)
        seconds = np.clip(rng.lognormal(-1, spread, 3000), 0.004, 4.0)  # at most three decades
        spans = [
            span(i, "POST /chat", HTTP, kind=SERVER, trace=i, seconds=float(s))
            for i, s in enumerate(seconds, 1)
        ]
        found = row(traces(spans))
        for quantile in (50, 90, 95, 99):
            exact = np.percentile(seconds, quantile) * 1000
            assert found[f"latency/p{quantile}_ms"] == pytest.approx(exact, rel=0.012)
        assert found["latency/count"] == 3000
        assert found["latency/mean_ms"] == pytest.approx(seconds.mean() * 1000)
        assert found["latency/max_ms"] == pytest.approx(seconds.max() * 1000)

    def test_errors_by_type_as_metrics_have_them(self) -> None:
        exception = event("exception", 30, {"exception.type": "ValueError", "exception.message": "no"})
        told: list[tuple[dict[str, object], dict[str, Any]]] = [
            ({"http.response.status_code": 500}, {}),
            ({"http.status_code": 503}, {"error": True}),
            ({"http.response.status_code": 500, "error.type": "500"}, {"error": True}),
            ({"http.response.status_code": 404}, {}),
            ({"http.response.status_code": 200, "error.type": "404"}, {}),
            ({"http.response.status_code": 200}, {"error": True, "events": [exception]}),
            ({}, {"error": True}),
        ]
        spans = [
            span(i, "POST /chat", {**HTTP, **more}, kind=SERVER, trace=i, **how)
            for i, (more, how) in enumerate(told, 1)
        ]
        found = section(row(traces(spans)), "errors")
        assert (found["request_count"], found["total_count"]) == (7, 5)
        assert {key: value for key, value in found.items() if key.endswith("_count")} == {
            "request_count": 7,
            "total_count": 5,
            "http_500_count": 2,
            "http_503_count": 1,
            "ValueError_count": 1,
            "OTHER_count": 1,
        }

    def test_old_and_new_http_names_are_one_request(self) -> None:
        old = {"http.method": "GET", "http.route": "/items/{id}", "http.target": "/items/7"}
        new = {"http.request.method": "GET", "http.route": "/items/{id}", "url.path": "/items/8"}
        spans = [
            span(1, "GET /items/{id}", old, kind=SERVER, trace=1),
            span(2, "GET /items/{id}", new, kind=SERVER, trace=2),
            span(3, "GET /items/{id}", {**old, **new}, kind=SERVER, trace=3),
            span(4, "GET", {"http.method": "GET", "http.target": "/wp-login"}, kind=SERVER, trace=4),
        ]
        found = row(traces(spans))
        assert counts(found) == {"GET_items_id": 3, "GET_unmatched": 1}
        assert found["latency/count"] == 4

    def test_a_span_without_a_sound_start_counts_and_takes_no_time(self) -> None:
        broken = [
            span(i, "POST /chat", HTTP, kind=SERVER, trace=i, startTimeUnixNano=start)
            for i, start in enumerate((at(31), "0"), 1)
        ]
        found = row(traces(broken))
        assert (found["latency/count"], found["latency/max_ms"]) == (2, 0.0)

    def test_a_late_span_counts_once_in_the_next_row(self) -> None:
        works = Works()
        works.write(traces([span(1, "POST /chat", HTTP, kind=SERVER, trace=1, end=30)]))
        works.write(traces([span(2, "POST /chat", HTTP, kind=SERVER, trace=2, end=100)]))
        works.write(traces([span(3, "POST /chat", HTTP, kind=SERVER, trace=3, end=40)]))
        works.write(traces([span(4, "POST /chat", HTTP, kind=SERVER, trace=4, end=110)]))
        rows = works.finish()
        assert [(r["step"], r["latency/count"], r["bridge/late_spans"]) for r in rows] == [
            (0, 1, 0),
            (1, 3, 1),
        ]


class TestRequests:
    """What a request of the service is."""

    @pytest.mark.parametrize(
        ("kind", "name", "told", "expected"),
        [
            (
                SERVER,
                "pkg.Svc/Get",
                {"rpc.system": "grpc", "rpc.service": "pkg.Svc", "rpc.method": "Get"},
                "pkg_Svc_Get",
            ),
            (SERVER, "handle", {}, "handle"),
            (SERVER, "how are you today my friend", {}, "rpc"),
            (
                CONSUMER,
                "orders process",
                {"messaging.system": "kafka", "messaging.destination.name": "orders"},
                "process_orders",
            ),
            (CONSUMER, "run/tasks.add", {}, "process"),
            (
                SERVER,
                "llm_request",
                {**USAGE, "gen_ai.response.model": "qwen", "gen_ai.latency.time_in_queue": 0.1},
                "chat_qwen",
            ),
            (SERVER, "invoke_agent planner", AGENT, "planner"),
            (1, "planner", AGENT, "planner"),
            (CLIENT, "invoke_agent planner", AGENT, "planner"),
            (
                1,
                "invoke_workflow triage",
                {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "triage"},
                "triage",
            ),
            (1, "RetrievalQA", {"openinference.span.kind": "CHAIN"}, "RetrievalQA"),
            (CLIENT, "chat gpt-4o", CHAT, "chat_gpt_4o"),
            (CLIENT, "embeddings", {**CHAT, "gen_ai.operation.name": "embeddings"}, "embeddings_gpt_4o"),
        ],
        ids=lambda value: value if isinstance(value, str) else None,
    )
    def test_of_every_kind_of_service(
        self, kind: int, name: str, told: dict[str, object], expected: str
    ) -> None:
        found = row(traces([span(1, name, told, kind=kind)]))
        assert counts(found) == {expected: 1}
        assert found["errors/request_count"] == found["latency/count"] == 1

    @pytest.mark.parametrize(
        ("kind", "told"),
        [
            (CLIENT, {"http.request.method": "GET"}),
            (PRODUCER, {"messaging.system": "kafka"}),
            (1, {}),
            (1, {"gen_ai.operation.name": "create_agent"}),
            (1, {"gen_ai.operation.name": "plan", "gen_ai.agent.name": "planner"}),
        ],
    )
    def test_all_else_is_none(self, kind: int, told: dict[str, object]) -> None:
        works = Works()
        works.write(traces([span(1, "something", told, kind=kind)]))
        assert not [
            key
            for found in works.finish()
            for key in found
            if "bridge" not in key and "/" in key and not key.startswith("day")
        ]

    def test_the_messages_of_an_asgi_exchange_never_count(self) -> None:
        sent = {"asgi.event.type": "http.response.start", "http.status_code": 200}
        spans = [
            span(1, "POST /chat", HTTP, kind=SERVER),
            span(2, "POST /chat http send", sent, parent=1),
            span(3, "POST /chat http receive", {"asgi.event.type": "http.request"}, parent=1),
        ]
        for fold in (True, False):
            assert counts(row(traces(spans), settings=Settings(fold_asgi=fold))) == {"POST_chat": 1}

    def test_a_server_span_in_another_of_the_process_is_no_second_request(self) -> None:
        outer, inner = (
            span(1, "POST /chat", HTTP, kind=SERVER),
            span(2, "POST /chat", HTTP, kind=SERVER, parent=1),
        )
        assert counts(row(traces([outer, inner]))) == {"POST_chat": 1}
        works = Works()
        works.write(traces([outer], service="gateway"))
        works.write(traces([inner]))
        works.finish()
        assert [counts(found) for found in (*works.rows(), *works.rows("gateway"))] == [{"POST_chat": 1}] * 2

    def test_a_root_is_a_request_where_there_is_work_below_it(self) -> None:
        works = Works()
        works.write(
            traces([span(1, "answer question", trace=1), span(2, "chat", CHAT, kind=CLIENT, parent=1)])
        )
        works.write(
            traces(
                [
                    span(3, "tick", trace=3),
                    span(4, "GET", {"http.method": "GET"}, kind=CLIENT, parent=3, trace=3),
                ]
            )
        )
        works.write(traces([span(5, "load", trace=5)], service="load"))
        works.write(
            traces(
                [
                    span(6, "POST /chat", HTTP, kind=SERVER, parent=5, trace=5),
                    span(7, "chat", CHAT, parent=6, trace=5),
                ]
            )
        )
        (found,) = works.finish()
        assert counts(found) == {"answer_question": 1, "chat_gpt_4o": 2, "POST_chat": 1}
        assert found["latency/count"] == 1, "a request is what came in over HTTP, in a service that has such"
        assert [counts(other) for other in works.rows("load")] == [{}]

    @pytest.mark.parametrize(
        ("flags", "expected"),
        [(REMOTE, {"answer": 1, "search": 1}), (LOCAL, {"search": 1}), (0, {"search": 1})],
    )
    def test_a_remote_parent_makes_a_root_and_an_unknown_one_none(
        self, flags: int, expected: dict[str, int]
    ) -> None:
        found = row(traces([span(1, "answer", parent=99, flags=flags), span(2, "search", TOOL, parent=1)]))
        assert counts(found) == expected

    def test_of_chains_in_chains_the_outermost_is_the_workflow(self) -> None:
        chain = {"openinference.span.kind": "CHAIN"}
        spans = [
            span(1, "RetrievalQA", chain),
            span(2, "StuffDocuments", chain, parent=1),
            span(3, "step", {}, parent=2),
            span(4, "LLMChain", chain, parent=3),
            span(5, "agent", AGENT, parent=1),
            span(6, "LLMChain", chain, parent=5),
            span(7, "sub-agent", {**AGENT, "gen_ai.agent.name": "critic"}, parent=5),
        ]
        found = row(traces(spans))
        assert counts(found) == {"RetrievalQA": 1, "planner": 1, "critic": 1}
        assert found["errors/request_count"] == 1

    def test_a_tool_that_a_server_runs_is_a_request_and_a_tool(self) -> None:
        mcp = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "search", "rpc.method": "tools/call"}
        found = row(traces([span(1, "tools/call search", mcp, kind=SERVER)]))
        assert counts(found) == {"tools_call": 1, "search": 1}
        assert found["latency/count"] == 1

    def test_names_hold_no_secret(self) -> None:
        secret = "sk-proj-" + "a1B2" * 12
        works = Works()
        works.write(
            traces(
                [
                    span(1, "tool", {**TOOL, "gen_ai.tool.name": secret}),
                    span(2, "t", {**TOOL, "error.type": secret}, parent=1),
                ]
            )
        )
        (found,) = works.finish()
        assert counts(found) == {"redacted_openai_key": 1, "search": 1}
        assert not [state for state in works.store.reader.states().values() if secret.encode() in state]


class TestModelCalls:
    """Of several spans of one model call one counts."""

    @pytest.mark.parametrize(("outer", "inner"), [({}, USAGE), (USAGE, USAGE), (USAGE, {}), ({}, {})])
    def test_inside_each_other(self, outer: dict[str, object], inner: dict[str, object]) -> None:
        spans = [
            span(1, "ChatOpenAI", {**CHAT, **outer}, seconds=3),
            span(2, "wrapper", {}, parent=1, seconds=2.5),
            span(3, "chat gpt-4o", {**CHAT, **inner}, kind=CLIENT, parent=2, seconds=2),
        ]
        found = row(traces(spans))
        assert counts(found) == {"chat_gpt_4o": 1}
        assert found["latency/chat_gpt_4o_max_ms"] == (3000.0 if outer and not inner else 2000.0)

    def test_a_parent_of_several_is_their_sum(self) -> None:
        calls = [span(i, "chat", {**CHAT, **USAGE}, kind=CLIENT, parent=1, end=20 + i) for i in (2, 3)]
        total = {"gen_ai.usage.input_tokens": 2000, "gen_ai.usage.output_tokens": 200}
        assert counts(row(traces([span(1, "retrying", {**CHAT, **total}, seconds=9), *calls]))) == {
            "chat_gpt_4o": 2
        }

    def test_a_call_below_a_tool_is_another_one(self) -> None:
        spans = [
            span(1, "chat", {**CHAT, **USAGE}),
            span(2, "search", TOOL, parent=1),
            span(3, "chat", CHAT, parent=2),
        ]
        assert counts(row(traces(spans))) == {"chat_gpt_4o": 2, "search": 1}

    def test_side_by_side_and_in_two_traces(self) -> None:
        told = {**CHAT, **USAGE, "gen_ai.response.id": "r-1"}
        works = Works()
        works.write(
            traces([span(1, "chain", AGENT), span(2, "a", told, parent=1), span(3, "b", told, parent=1)])
        )
        works.write(traces([span(9, "callback", told, trace=9)]))
        works.write(traces([span(10, "proxy", told, trace=10)], service="proxy"))
        (found,) = works.finish()
        assert counts(found) == {"planner": 1, "chat_gpt_4o": 1}
        assert [counts(other) for other in works.rows("proxy")] == [{"chat_gpt_4o": 1}]

    def test_a_server_in_the_same_trace_has_its_own_chart(self) -> None:
        server = {"gen_ai.usage.prompt_tokens": 1000, "gen_ai.usage.completion_tokens": 100}
        waited = {"gen_ai.latency.time_in_queue": 0.125, "gen_ai.latency.time_to_first_token": 0.25}
        vllm = {**server, **waited, "gen_ai.response.model": "gpt-4o"}
        works = Works()
        works.write(traces([span(1, "chat", {**CHAT, **USAGE}, kind=CLIENT, seconds=2)]))
        works.write(traces([span(2, "llm_request", vllm, kind=SERVER, parent=1)], service="vllm"))
        (found,) = works.finish()
        (served,) = works.rows("vllm")
        assert counts(found) == {"chat_gpt_4o": 1}
        assert found["latency/max_ms"] == 2000.0
        assert counts(served) == {"chat_gpt_4o": 1, "chat_gpt_4o_first_token": 1}
        assert served["latency/chat_gpt_4o_first_token_max_ms"] == 250.0

    def test_the_second_half_of_a_stream_is_no_call(self) -> None:
        asked = {**CHAT, "request_data": '{"model":"gpt-4o","stream":true,"messages":[]}'}
        said = {
            **asked,
            **USAGE,
            "logfire.span_type": "log",
            "response_data": '{"combined_chunk_content":"x"}',
        }
        halves = [
            span(1, "Chat Completion", {**asked, "logfire.span_type": "span"}, end=30, seconds=0.5),
            span(2, "streaming response", said, end=32, seconds=1.5),
        ]
        for spans, ms in ((halves, 500.0), (halves[1:], 1500.0)):
            found = row(
                traces([span(9, "chain", AGENT), *({**one, "parentSpanId": f"{9:016x}"} for one in spans)])
            )
            assert counts(found) == {"planner": 1, "chat_gpt_4o": 1}
            assert found["latency/chat_gpt_4o_max_ms"] == ms


class TestFirstTokens:
    @pytest.mark.parametrize(
        ("told", "more"),
        [
            ({"gen_ai.response.time_to_first_chunk": 0.5}, {}),
            ({"gen_ai.client.operation.time_to_first_chunk": "0.5"}, {}),
            ({"gen_ai.server.time_to_first_token": 0.5}, {}),
            ({"ai.response.msToFirstChunk": 500}, {}),
            ({"langfuse.observation.completion_start_time": '"2026-11-25T00:00:29.500Z"'}, {}),
            (
                {},
                {
                    "events": [
                        event("llm.content.completion.chunk", 29.9),
                        event("llm.content.completion.chunk", 29.5),
                    ]
                },
            ),
            ({}, {"events": [event("First Token Stream Event", 29.5)]}),
        ],
    )
    def test_every_producer_is_understood(self, told: dict[str, object], more: dict[str, Any]) -> None:
        found = row(traces([span(1, "chat", {**CHAT, **told}, kind=CLIENT, **more)]))
        assert found["latency/chat_gpt_4o_first_token_max_ms"] == 500.0

    def test_strands_tells_milliseconds(self) -> None:
        request = traces([span(1, "chat", {**CHAT, "gen_ai.server.time_to_first_token": 500}, kind=CLIENT)])
        request["resourceSpans"][0]["scopeSpans"][0]["scope"] = {"name": "strands.telemetry.tracer"}
        assert row(request)["latency/chat_gpt_4o_first_token_max_ms"] == 500.0

    @pytest.mark.parametrize(
        "told",
        [
            {"gen_ai.response.time_to_first_chunk": 500},
            {"gen_ai.response.time_to_first_chunk": -1.0},
            {"gen_ai.response.time_to_first_chunk": "soon"},
            {"langfuse.observation.completion_start_time": "2026-11-25"},
            {"langfuse.observation.completion_start_time": "soon"},
        ],
    )
    def test_what_cannot_be_is_not_believed(self, told: dict[str, object]) -> None:
        found = row(traces([span(1, "chat", {**CHAT, **told}, kind=CLIENT)]))
        assert counts(found) == {"chat_gpt_4o": 1}


class TestLimits:
    def test_what_is_beyond_the_limit_is_the_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(observed, "MAX_SERIES", 3)
        works = Works()
        for i in range(1, 9):
            named = {**TOOL, "gen_ai.tool.name": f"t{i}"}
            works.write(traces([span(10 * i + j, "t", named, trace=10 * i + j) for j in range(i)]))
            works.kill()
        (found,) = works.finish()
        assert counts(found) == {"t1": 1, "t2": 2, "t3": 3, "tool_other": 4 + 5 + 6 + 7 + 8}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["request", "chat", "tool", "failed", "open"]),
        st.integers(1, 400),
        st.integers(1, 9_999),
        st.sampled_from(["", "ot=th:8", "ot=th:c"]),
    ),
    min_size=1,
    max_size=10,
    unique_by=lambda step: step[1],
)


def play(steps: list[tuple[str, int, int, str]], kills: set[int]) -> tuple[list[Row], Works]:
    works = Works(Settings(linger_s=0))
    for i, (what, second, ms, state) in enumerate(steps):
        attributes: dict[str, Mapping[str, object]] = {"chat": {**CHAT, **USAGE}, "tool": TOOL}
        told = attributes.get(what, HTTP)
        kind = {"chat": CLIENT, "tool": 1}.get(what, SERVER)
        more: dict[str, Any] = {"parent": 999, "flags": LOCAL} if what == "open" else {}
        one = span(
            i + 1,
            what,
            told,
            kind=kind,
            trace=i + 1,
            end=second,
            seconds=ms / 1000,
            error=what == "failed",
            traceState=state,
            **more,
        )
        works.write(traces([one]))
        if i in kills:
            works.kill()
    return works.finish(), works


class TestRestarts:
    @settings(max_examples=30, deadline=None)
    @given(STEPS, st.data())
    def test_a_kill_between_any_two_transactions_changes_nothing(
        self, steps: list[tuple[str, int, int, str]], data: st.DataObject
    ) -> None:
        steps = sorted(steps, key=lambda step: step[1])
        kills = data.draw(st.sets(st.integers(0, len(steps) - 1)))
        undisturbed, _ = play(steps, set())
        disturbed, works = play(steps, kills)
        assert disturbed == undisturbed
        assert works.states("/spans/") == []

    @settings(max_examples=25, deadline=None)
    @given(STEPS)
    def test_every_span_counts_once_and_as_often_as_it_stands_for(
        self, steps: list[tuple[str, int, int, str]]
    ) -> None:
        rows, _ = play(steps, set())
        weights = {"": 1, "ot=th:8": 2, "ot=th:c": 4}
        for key, kinds in (
            ("latency/POST_chat_count", ("request", "failed", "open")),
            ("latency/chat_gpt_4o_count", ("chat",)),
            ("latency/search_count", ("tool",)),
            ("errors/OTHER_count", ("failed",)),
        ):
            assert sum(found.get(key, 0) for found in rows) == sum(
                weights[state] for what, _, _, state in steps if what in kinds
            )
        assert sum(found.get("tokens/input", 0) for found in rows) == 1000 * sum(
            weights[state] for what, _, _, state in steps if what == "chat"
        )
