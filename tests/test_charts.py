"""A closed interval becomes exactly this row, under keys that stay what they are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.metrics.catalogue import CHARTS, DURATIONS, MILLISECONDS, OPERATION, TOKENS, TWINS
from otel_wandb.metrics.charts import MAX_KEYS, Bins, Charts, Row
from otel_wandb.metrics.closed import ClosedInterval
from otel_wandb.metrics.keys import RESERVED, KeyBook, make_identifier, make_key
from otel_wandb.metrics.sorting import is_route
from otel_wandb.records import Attributes, Metric, MetricBatch, NumberPoint, SummaryPoint, Value
from tests.metric_samples import (
    RAG,
    House,
    at,
    batch,
    counter,
    gauge,
    histogram,
    histograms,
    number,
)

IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
FASTAPI = "opentelemetry.instrumentation.fastapi"
KEY = re.compile(rf"{IDENTIFIER.pattern}/{IDENTIFIER.pattern}")


def close(*batches: MetricBatch) -> list[ClosedInterval]:
    house = House()
    for one in batches:
        house.write(one)
    return house.finish()


def rows(closed: Iterable[ClosedInterval], *, kill: bool = False) -> list[Row]:
    """The rows; with `kill`, by a process of its own each."""
    built, charts, stored = [], Charts(), dict[str, bytes]()
    for interval in closed:
        if kill:
            charts = Charts()
            charts.restore(stored.items())
        built.append(charts.build_row(interval))
        stored.update(charts.take_states())
    return built


def row(*batches: MetricBatch) -> dict[str, Any]:
    (only,) = rows(close(*batches))
    return dict(only.values)


def request(
    method: str,
    route: str | None,
    values: Sequence[float],
    status: int = 200,
    second: float = 30,
    start: float = 0,
) -> Metric:
    """What the FastAPI instrumentation measures, by its newer names."""
    attributes: Attributes = {"http.request.method": method, "http.response.status_code": status}
    if route is not None:
        attributes["http.route"] = route
    if status >= 500:
        attributes["error.type"] = str(status)
    return histograms("http.server.request.duration", histogram(values, second, start, attributes=attributes))


def old_request(method: str, target: str, values_ms: Sequence[float], status: int = 200) -> Metric:
    attributes: Attributes = {"http.method": method, "http.target": target, "http.status_code": status}
    edges = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000)
    point = histogram(values_ms, 30, bounds=edges, attributes=attributes)
    return histograms("http.server.duration", point, unit="ms")


def chat(model: str, values: Sequence[float], error: str = "", second: float = 30) -> Metric:
    attributes: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model}
    if error:
        attributes["error.type"] = error
    start = second - 20
    return histograms(
        "gen_ai.client.operation.duration", histogram(values, second, start, attributes=attributes)
    )


def tokens(model: str, kind: str, values: Sequence[float], second: float = 30) -> Metric:
    attributes: Attributes = {"gen_ai.request.model": model, "gen_ai.token.type": kind}
    point = histogram(values, second, second - 20, bounds=(1, 4, 16, 64, 256), attributes=attributes)
    return histograms("gen_ai.client.token.usage", point, unit="{token}")


def counted(value: float, attributes: Mapping[str, Value]) -> NumberPoint:
    return NumberPoint(at(0), at(30), dict(attributes), value)


def active(requests: int) -> Metric:
    return counter("http.server.active_requests", number(requests, 30), cumulative=True, monotonic=False)


class TestRows:
    def test_a_web_service_of_two_processes(self) -> None:
        found = row(
            batch(
                request("POST", "/chat", [0.25, 0.25, 0.5]),
                request("POST", "/chat", [1.0], 500),
                active(3),
            ),
            batch(request("GET", "/items/{item_id}", [0.0625, 0.0625]), active(2), instance="b"),
        )
        assert found == {
            "latency/p50_ms": pytest.approx(162.28051258002813),
            "latency/p90_ms": pytest.approx(676.776695296637),
            "latency/p95_ms": pytest.approx(838.3883476483185),
            "latency/p99_ms": pytest.approx(967.6776695296638),
            "latency/mean_ms": pytest.approx(2125 / 6),
            "latency/std_ms": pytest.approx(324.6470819289504),
            "latency/min_ms": 62.5,
            "latency/max_ms": 1000.0,
            "latency/count": 6,
            "latency/histogram": Bins([2, 2, 1, 1], [50.0, 100.0, 250.0, 500.0, 1000.0]),
            "throughput/requests_per_second": 0.1,
            "throughput/active_requests": 5,
            "errors/total_count": 1,
            "errors/request_count": 6,
            "errors/total_rate_percent": 100 / 6,
            "bridge/late_points": 0,
            "latency/POST_chat_p50_ms": pytest.approx(301.7766952966369),
            "latency/POST_chat_p90_ms": pytest.approx(806.0660171779822),
            "latency/POST_chat_p95_ms": pytest.approx(903.0330085889908),
            "latency/POST_chat_p99_ms": pytest.approx(980.606601717798),
            "latency/POST_chat_mean_ms": 500.0,
            "latency/POST_chat_std_ms": pytest.approx(300.3254552638698),
            "latency/POST_chat_min_ms": 250.0,
            "latency/POST_chat_max_ms": 1000.0,
            "latency/POST_chat_count": 4,
            "latency/POST_chat_histogram": Bins([2, 1, 1], [100.0, 250.0, 500.0, 1000.0]),
            "latency/GET_items_item_id_p50_ms": 62.5,
            "latency/GET_items_item_id_p90_ms": 62.5,
            "latency/GET_items_item_id_p95_ms": 62.5,
            "latency/GET_items_item_id_p99_ms": 62.5,
            "latency/GET_items_item_id_mean_ms": 62.5,
            "latency/GET_items_item_id_std_ms": 0.0,
            "latency/GET_items_item_id_min_ms": 62.5,
            "latency/GET_items_item_id_max_ms": 62.5,
            "latency/GET_items_item_id_count": 2,
            "latency/GET_items_item_id_histogram": Bins([2], [50.0, 100.0]),
            "throughput/POST_chat_requests_per_second": 4 / 60,
            "throughput/GET_items_item_id_requests_per_second": 2 / 60,
            "errors/POST_chat_rate_percent": 25.0,
            "errors/GET_items_item_id_rate_percent": 0.0,
            "errors/http_500_count": 1,
            "errors/http_500_rate_percent": 100 / 6,
        }

    def test_what_a_row_says_of_itself(self) -> None:
        (only,) = rows(close(batch(request("POST", "/chat", [0.25], second=130, start=100))))
        assert (only.run.series, only.run.date, only.step) == (RAG, "2024-10-04", 2)
        assert only.timestamp_s == at(180) / 1e9
        assert only.relative_error == 0.0  # one value, known from the extremes
        assert only.left_out == 0
        assert only.resources[0]["service.name"] == "rag-api"
        assert msgspec.json.decode(msgspec.json.encode(only.values))["latency/histogram"] == {
            "counts": [1],
            "edges": [100.0, 250.0],
        }

    def test_the_bound_of_errors_is_that_of_all_rows_of_the_run(self) -> None:
        minutes = [
            batch(request("GET", "/", [0.2], second=30)),
            batch(request("GET", "/", [0.2, 0.07], second=90, start=60)),
            batch(active(1), gauge("other", number(1, 150))),
            batch(request("GET", "/", [0.2], second=210, start=180)),
            batch(request("GET", "/", [0.2], second=86_430, start=86_400)),
        ]
        for kill in (False, True):
            found = [one.relative_error for one in rows(close(*minutes), kill=kill)]
            assert found == [0.0, pytest.approx(found[1]), found[1], found[1], 0.0]
            assert found[1]

    def test_a_client_of_models(self) -> None:
        found = row(
            batch(
                chat("gpt-4o", [0.25, 0.25]),
                chat("gpt-4o", [0.5], "openai.RateLimitError"),
                tokens("gpt-4o", "input", [100, 20]),
                tokens("gpt-4o", "output", [7, 8]),
                tokens("openai/o3", "output", [5]),
                tokens("openai/o3", "reasoning", [4]),
            )
        )
        assert {key: value for key, value in found.items() if not key.startswith("latency")} == {
            "throughput/requests_per_second": 3 / 60,
            "throughput/chat_gpt_4o_requests_per_second": 3 / 60,
            "errors/total_count": 1,
            "errors/request_count": 3,
            "errors/total_rate_percent": 100 / 3,
            "errors/chat_gpt_4o_rate_percent": 100 / 3,
            "errors/openai_RateLimitError_count": 1,
            "errors/openai_RateLimitError_rate_percent": 100 / 3,
            "tokens/input": 120,
            "tokens/output": 20,
            "tokens/reasoning": 4,
            "tokens/gpt_4o_input": 120,
            "tokens/gpt_4o_output": 15,
            "tokens/openai_o3_input": 0,
            "tokens/openai_o3_output": 5,
            "tokens/openai_o3_reasoning": 4,
            "cost/unpriced_tokens_percent": 100,
            "cost/daily_requests": 0,
            "cost/daily_input_tokens": 120,
            "cost/daily_output_tokens": 20,
            "bridge/late_points": 0,
        }
        assert found["latency/chat_gpt_4o_count"] == found["latency/count"] == 3

    def test_all_other_instruments(self) -> None:
        summary = SummaryPoint(at(0), at(30), {}, 4, 2.0, [(0.5, 0.25), (0.99, 1.0)])
        found = row(
            batch(
                counter("rag.queries", number(3, 30, tenant="a"), number(4, 30, tenant="b")),
                counter("rag.queue", number(5, 30), cumulative=True, monotonic=False),
                gauge("process.cpu.utilization", number(0.5, 30)),
                gauge("temperature", number(20, 30, room="a"), number(10, 30, room="b")),
                histograms("rag.query.length", histogram([2, 6], 30, bounds=(1, 4, 8)), unit="1"),
                Metric("scrape", "summary", [summary], "s"),
            )
        )
        assert found == {
            "bridge/late_points": 0,
            "metrics/rag_queries": 7,
            "metrics/rag_queue": 5,
            "metrics/process_cpu_utilization": 0.5,
            "metrics/temperature": 15,
            "metrics/temperature_min": 10,
            "metrics/temperature_max": 20,
            "metrics/rag_query_length_p50": 4.0,
            "metrics/rag_query_length_p90": pytest.approx(5.6),
            "metrics/rag_query_length_p95": pytest.approx(5.8),
            "metrics/rag_query_length_p99": pytest.approx(5.96),
            "metrics/rag_query_length_mean": 4.0,
            "metrics/rag_query_length_std": 2.0,
            "metrics/rag_query_length_min": 2.0,
            "metrics/rag_query_length_max": 6.0,
            "metrics/rag_query_length_count": 2,
            "metrics/rag_query_length_sum": 8.0,
            "metrics/scrape_p50": 0.25,
            "metrics/scrape_p99": 1.0,
            "metrics/scrape_count": 4,
            "metrics/scrape_sum": 2,
        }

    def test_a_request_is_what_stands_highest_in_the_service_and_stays_it(self) -> None:
        """Of HTTP requests, workflows and model calls; a minute without requests is no minute of calls."""
        minutes = [
            batch(chat("gpt-4o", [0.25])),
            batch(
                chat("gpt-4o", [0.25], second=90), request("POST", "/chat", [0.5] * 3, second=90, start=60)
            ),
            batch(chat("gpt-4o", [0.25], second=150)),
        ]
        counts = [r.values["latency/count"] for r in rows(close(*minutes))]
        assert counts == [1, 3, 0]
        assert "latency/p50_ms" not in rows(close(*minutes))[2].values

    def test_old_and_new_http_names_are_one_chart(self) -> None:
        both = batch(
            request("GET", "/docs", [0.02, 0.2]),
            old_request("GET", "/docs", [20, 200]),
            scope=FASTAPI,
        )
        old = batch(old_request("GET", "/docs", [30]), instance="b", scope=FASTAPI)
        found = row(both, old)
        assert found["latency/count"] == found["latency/GET_docs_count"] == 3
        assert found["latency/mean_ms"] == pytest.approx(250 / 3)
        assert found["latency/max_ms"] == 200.0
        assert not [key for key in found if key.startswith("metrics/")]

    @pytest.mark.parametrize("unit", sorted(MILLISECONDS))
    def test_durations_of_any_unit_are_shown_in_milliseconds(self, unit: str) -> None:
        point = histogram([2.0, 2.0], 30, bounds=(1, 3), attributes={"gen_ai.tool.name": "search"})
        found = row(batch(histograms("gen_ai.execute_tool.duration", point, unit=unit)))
        assert found["latency/search_p50_ms"] == float(MILLISECONDS[unit]) * 2

    def test_the_newer_token_counters_win_over_the_older_histogram(self) -> None:
        model: Attributes = {"gen_ai.request.model": "o3", "gen_ai.operation.name": "chat"}
        older = histogram([100.0], 30, attributes={**model, "gen_ai.token.type": "input"})
        found = row(
            batch(
                histograms("gen_ai.client.token.usage", older),
                counter("gen_ai.client.inference.usage.input_tokens", counted(100, model)),
                counter("gen_ai.client.inference.usage.cache_read.input_tokens", counted(60, model)),
            )
        )
        assert found["tokens/input"] == found["tokens/o3_input"] == 100
        assert found["tokens/cache_read"] == 60

    def test_an_error_that_passes_through_several_is_counted_where_it_occurred_most(self) -> None:
        found = row(
            batch(
                chat("gpt-4o", [0.25] * 3, "RateLimitError"),
                chat("gpt-4o", [0.25]),
                histograms(
                    "gen_ai.invoke_agent.duration",
                    histogram([0.5], 30, attributes={"error.type": "RateLimitError"}),
                ),
            )
        )
        assert found["errors/RateLimitError_count"] == 3
        assert found["errors/RateLimitError_rate_percent"] == 75
        assert found["errors/total_count"] == 1  # of the agent's one invocation

    def test_the_histogram_is_in_every_tenth_row(self) -> None:
        minutes = [batch(request("GET", "/", [0.2], second=60 * m + 30, start=60 * m)) for m in range(23)]
        with_bins = [i for i, r in enumerate(rows(close(*minutes))) if "latency/histogram" in r.values]
        assert with_bins == [0, 10, 20]

    def test_additive_charts_of_a_known_subject_are_zero_without_it(self) -> None:
        minutes = [
            batch(request("POST", "/chat", [0.2], 500), tokens("o3", "input", [5])),
            batch(request("GET", "/docs", [0.2], second=90, start=60)),
        ]
        _, second = rows(close(*minutes))
        for key in (
            "throughput/POST_chat_requests_per_second",
            "latency/POST_chat_count",
            "errors/http_500_count",
            "errors/http_500_rate_percent",
            "tokens/input",
            "tokens/o3_input",
        ):
            assert second.values[key] == 0
        assert "latency/POST_chat_p50_ms" not in second.values

    def test_what_is_no_number_is_left_out(self) -> None:
        bare = histogram([0.2], 30)
        bare = type(bare)(bare.start_ns, bare.time_ns, {}, 3, 0.6)  # no buckets, no extremes
        found = row(batch(histograms("h", bare), histograms("big", histogram([1e308], 30)), scope="x"))
        assert "metrics/h_p50" not in found
        assert (found["metrics/h_count"], found["metrics/h_mean"]) == (3, pytest.approx(0.2))
        assert all(isinstance(v, Bins) or math.isfinite(v) for v in found.values())


class TestSubjects:
    def routes(self, count: int, minute: int = 0, first: int = 0) -> MetricBatch:
        return batch(
            *(
                request("GET", f"/{chr(97 + i // 26)}{chr(97 + i % 26)}", [0.2] * (i + 1),
                        second=60 * minute + 30, start=60 * minute)
                for i in range(first, count)
            )
        )  # fmt: skip

    def counts(self, one: Row) -> dict[str, Any]:
        pattern = re.compile(r"latency/(.+)_count")
        found = ((pattern.fullmatch(key), value) for key, value in one.values.items())
        return {match[1]: value for match, value in found if match}

    def test_the_twenty_most_frequent_have_charts_and_the_rest_is_one(self) -> None:
        (only,) = rows(close(self.routes(30)))
        counts = self.counts(only)
        assert counts.pop("other") == sum(range(1, 11))
        assert sorted(counts.values()) == list(range(11, 31))
        assert only.values["latency/count"] == sum(range(1, 31))

    def test_they_are_fixed_for_the_day(self) -> None:
        first, second = rows(close(self.routes(20), self.routes(40, minute=1)))
        assert self.counts(second).keys() == {*self.counts(first), "other"}
        assert self.counts(second)["other"] == sum(range(21, 41))

    def test_the_next_day_begins_with_the_most_frequent_of_the_last(self) -> None:
        day = 86_400
        rare = batch(request("GET", "/zz", [0.2], second=day + 30, start=day))
        yesterday = [self.routes(20), self.routes(40, minute=1, first=20)]
        built = rows(close(*yesterday, rare, self.routes(40, minute=1442)))
        assert self.counts(built[-2]) == {"other": 1}  # its place is kept for others
        assert self.counts(built[-1]).pop("other") == sum(range(1, 21))
        assert len(self.counts(built[-1])) == 21

    def test_the_overflow_of_a_stream_is_in_the_rest(self) -> None:
        overflow = histogram([0.2] * 7, 30, attributes={"otel.metric.overflow": True})
        found = row(batch(request("GET", "/", [0.2]), histograms("http.server.request.duration", overflow)))
        assert (found["latency/other_count"], found["latency/count"]) == (7, 8)

    def test_a_row_has_at_most_400_keys_and_says_how_many_are_left_out(self) -> None:
        many = [gauge(f"g{i}", number(i, 30)) for i in range(500)]
        (only,) = rows(close(batch(request("GET", "/", [0.2]), *many)))
        assert len(only.values) == MAX_KEYS
        assert (
            len(only.values) + only.left_out == 500 + 14 + 1 + 12
        )  # gauges, requests, late points, the operation
        assert "latency/p50_ms" in only.values

    def test_the_rows_of_a_bridge_that_dies_between_them_are_the_same(self) -> None:
        minutes = [self.routes(25, minute=m, first=m % 3) for m in range(12)]
        minutes += [batch(request("GET", "/a/a", [0.1], second=86_430, start=86_400))]
        minutes += [self.routes(25, minute=1442)]
        closed = close(*minutes)
        assert rows(closed, kill=True) == rows(closed)

    def test_states_that_cannot_be_read_are_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        charts = Charts()
        charts.restore([("charts/00/day", b"\xc1"), ("charts/00/names", b"\x01"), ("streams/x", b"")])
        assert len(caplog.records) == 2

    def test_a_legend_tells_what_keys_stand_for(self) -> None:
        charts = Charts()
        (closed,) = close(batch(request("POST", "/v1/{tenant}/chat", [0.2]), chat("gpt-4o", [0.1])))
        charts.build_row(closed)
        assert charts.legend(RAG) == {
            "POST_v1_tenant_chat": "POST /v1/{tenant}/chat",
            "chat_gpt_4o": "chat gpt-4o",
        }


class TestOperations:
    @pytest.mark.parametrize(
        ("route", "key"),
        [
            ("/chat", "GET_chat"),
            ("/items/{item_id}", "GET_items_item_id"),
            ("/items/<int:id>/edit", "GET_items_int_id_edit"),
            ("/users/:id", "GET_users_id"),
            ("/v1/chat/completions", "GET_v1_chat_completions"),
            ("/", "GET"),
            (None, "GET_unmatched"),
            ("/items/4711", "GET_unmatched"),
            ("/users/0b9dd3c2-4b52-4a0e-9d1e-d5a1c0a1a5d1", "GET_unmatched"),
            ("/search?q=my+secret", "GET_unmatched"),
            ("/mail/jane.doe@example.org", "GET_unmatched"),
            ("/wp-admin/" + "x" * 80, "GET_unmatched"),
        ],
    )
    def test_a_raw_path_is_never_in_a_key(self, route: str | None, key: str) -> None:
        found = row(batch(request("GET", route, [0.2])))
        assert f"latency/{key}_count" in found

    def test_a_target_is_a_route_only_where_that_is_known(self) -> None:
        known = "opentelemetry.instrumentation.asgi"
        assert "latency/GET_jane_count" in row(batch(old_request("GET", "/jane", [3]), scope=known))
        assert "latency/GET_unmatched_count" in row(batch(old_request("GET", "/jane", [3]), scope="other"))

    def test_a_made_up_method_is_none(self) -> None:
        assert "latency/HTTP_chat_count" in row(batch(request("BREW", "/chat", [0.2])))

    @pytest.mark.parametrize("duration", DURATIONS, ids=lambda duration: duration.instrument)
    def test_every_duration_has_charts_whatever_attributes_it_has(self, duration: Any) -> None:
        bare = row(batch(histograms(duration.instrument, histogram([0.2], 30), unit=duration.unit)))
        named: Attributes = {name: "some" for part in duration.name for name in part.attributes}
        if duration.operations:
            named[OPERATION] = duration.operations[0]
        full = row(batch(histograms(duration.instrument, histogram([0.2], 30, attributes=named))))
        for found in (bare, full):
            assert [key for key in found if key.endswith("_p50_ms")]
            assert not [key for key in found if key.startswith("metrics/")]
        assert not named or [key for key in full if "some" in key]

    @pytest.mark.parametrize("one", TOKENS, ids=lambda one: one.instrument)
    def test_every_token_instrument_is_counted(self, one: Any) -> None:
        attributes = {"gen_ai.token.type": "input"} if not one.kind else {}
        found = row(batch(counter(one.instrument, counted(5, attributes))))
        assert found[f"tokens/{one.kind or 'input'}"] == 5


class TestKeys:
    @settings(deadline=None)
    @given(st.text(), st.text(), st.sampled_from(["p50_ms", "count", "9"]))
    def test_every_key_is_two_identifiers(self, section: str, subject: str, field: str) -> None:
        assert KEY.fullmatch(make_key(section, subject, field))
        assert make_identifier(make_identifier(subject)) == make_identifier(subject)

    @pytest.mark.parametrize(
        ("parts", "key"),
        [
            (("latency", "POST /chat", "p50_ms"), "latency/POST_chat_p50_ms"),
            (("latency", "chat gpt-4o", "p95_ms"), "latency/chat_gpt_4o_p95_ms"),
            (("errors", "total", "count"), "errors/total__count"),
            (("errors", "other", "count"), "errors/other__count"),
            (("tokens", "4o-mini", "input"), "tokens/_4o_mini_input"),
            (("metrics", "http.server.duration"), "metrics/http_server_duration"),
            (("2xx", "a"), "_2xx/a"),
        ],
    )
    def test_examples(self, parts: tuple[str, ...], key: str) -> None:
        assert make_key(*parts) == key

    def test_letters_of_other_alphabets_are_not_lost_without_a_trace(self) -> None:
        one, two = make_identifier("模型"), make_identifier("模式")
        assert one != two
        assert IDENTIFIER.fullmatch(one)
        assert make_identifier("Café Ünï") == "Cafe_Uni"
        assert len(make_identifier("a" * 500)) == 64
        assert make_identifier("a" * 500) != make_identifier("a" * 501)

    def test_what_comes_second_to_a_name_has_a_suffix_and_keeps_it(self) -> None:
        book = KeyBook(1)
        assert book.name("latency", "request", "POST /chat") == "POST_chat"
        second = book.name("latency", "request", "POST /chat/")
        assert second is not None
        assert re.fullmatch(r"POST_chat_[0-9a-f]{4}", second)
        assert book.name("errors", "error", "POST chat") == "POST_chat"  # another section
        later = book.follow(2)
        assert later.name("latency", "request", "POST /chat/") == second
        assert later.name("latency", "request", "POST chat") not in {"POST_chat", second}
        assert book.follow(2).follow(3).name("latency", "request", "POST chat") == "POST_chat"

    def test_two_kinds_in_one_section_do_not_share_a_name(self) -> None:
        book = KeyBook(1)
        assert book.name("errors", "request", "timeout") == "timeout"
        assert book.name("errors", "error", "timeout") != "timeout"

    def test_an_instrument_that_looks_like_the_statistic_of_another(self) -> None:
        found = row(
            batch(
                gauge("queue.size", number(1, 30, q="a"), number(3, 30, q="b")),
                gauge("queue.size.max", number(100, 30)),
            )
        )
        values = sorted(v for k, v in found.items() if k.startswith("metrics/"))
        assert values == [1, 2, 3, 100]

    def test_a_full_book_names_nothing_new(self) -> None:
        book = KeyBook(1)
        names = {book.name("metrics", "gauge", f"g{i}") for i in range(5_000)}
        assert len(names) == 4_001
        assert None in names


class TestCatalogue:
    def test_every_chart_is_documented_and_its_key_well_formed(self) -> None:
        for chart in CHARTS:
            assert chart.doc.endswith(".")
            assert KEY.fullmatch(chart.key.replace("{}", "x"))

    def test_no_key_is_there_twice(self) -> None:
        whole = [chart.key for chart in CHARTS if "{}" not in chart.key]
        assert len(set(whole)) == len(whole)

    def test_a_subject_cannot_take_a_name_of_ours(self) -> None:
        own = {chart.key for chart in CHARTS if "{}" not in chart.key}
        ends = [chart.key.partition("{}_") for chart in CHARTS if "{}_" in chart.key]
        for section, _, end in ends:
            for key in own:
                if key.startswith(section) and key.endswith(f"_{end}"):
                    word = key.removeprefix(section).removesuffix(f"_{end}")
                    assert word in RESERVED

    def test_twins_are_never_newer_than_themselves(self) -> None:
        for twin in TWINS:
            assert twin.old not in twin.new

    @pytest.mark.parametrize("path", ["/a/{b}", "/a-b/c_d", "/v2", "/api/v1beta/x"])
    def test_routes(self, path: str) -> None:
        assert is_route(path)
