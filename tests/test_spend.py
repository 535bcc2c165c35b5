"""What spans spend is in the row of its interval, once, whatever dies midway, and not beside the metrics."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.config import Settings
from otel_wandb.metrics import from_spans
from tests.spends import Works, chat, token_metrics, traces

MINI = (1000 * 0.15 + 100 * 0.6) / 1e6
"""What 1,000 tokens in and 100 out cost with gpt-4o-mini, in USD."""


def costs(row: dict[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("cost/"): value for key, value in row.items() if key.startswith("cost/")}


def spent(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says of spans that spend; what they take is in `test_from_spans`."""
    sections = ("latency/", "throughput/", "errors/")
    return {key: value for key, value in row.items() if not key.startswith(sections)}


def total(rows: list[dict[str, Any]], key: str) -> float:
    return sum(float(row.get(key, 0)) for row in rows)


class TestRows:
    def test_a_service_with_spans_only_has_rows_of_them(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30), chat(1, 60, given=2000, made=0), chat(2, 61)))
        first, second = works.finish()
        assert spent(first) == {
            "step": 0,
            "tokens/input": 3000,
            "tokens/output": 100,
            "tokens/gpt_4o_mini_input": 3000,
            "tokens/gpt_4o_mini_output": 100,
            "tokens/per_request_p95": 2000,
            "cost/total_usd": 0.00051,
            "cost/avg_cost_per_request_usd": 0.000255,
            "cost/unpriced_tokens_percent": 0,
            "cost/daily_total_usd": 0.00051,
            "cost/daily_requests": 2,
            "cost/daily_input_tokens": 3000,
            "cost/daily_output_tokens": 100,
            "cost/gpt_4o_mini_usd": 0.00051,
            "cost/http_route_chat_usd": 0.00051,
            "bridge/late_points": 0,
            "bridge/late_spans": 0,
            "day/seconds": 60,
        }
        assert second["step"] == 1
        assert second["cost/total_usd"] == MINI
        assert second["cost/daily_total_usd"] == 0.00072
        assert second["cost/daily_requests"] == 3

    def test_the_call_tells_its_cost(self) -> None:
        works = Works()
        more = {"gen_ai.usage.cache_read.input_tokens": 400, "operation.cost": 0.5}
        works.write(traces(chat(0, 30, more=more)))
        works.finish()
        call = next(call for call in works.calls() if call["attributes"]["kind"] == "chat")
        assert call["summary"]["cost"] == {
            "total_usd": (600 * 0.15 + 400 * 0.075 + 100 * 0.6) / 1e6,
            "input_usd": (600 * 0.15 + 400 * 0.075) / 1e6,
            "output_usd": 6e-05,
            "source": "genai-prices 0.2.3",
            "date": "2026-11-25",
            "model": "gpt-4o-mini",
            "provider": "openai",
        }
        assert call["attributes"]["provider_cost_usd"] == 0.5
        others = [call for call in works.calls() if call["attributes"]["kind"] != "chat"]
        assert others
        assert not any("cost" in call["summary"] for call in others)

    def test_tokens_without_a_price_are_told_and_cost_nothing(self) -> None:
        works = Works(Settings(prices='{"acme": {"input": 2, "output": 8}}'))
        works.write(traces(chat(0, 30, model="mystery", provider="vllm")))
        works.write(traces(chat(1, 130), chat(2, 130, model="mystery"), chat(3, 130, model="acme")))
        first, second = works.finish()
        assert costs(first) == {
            "unpriced_tokens_percent": 100,
            "daily_requests": 1,
            "daily_input_tokens": 1000,
            "daily_output_tokens": 100,
        }
        assert costs(second) == {
            "total_usd": 0.00301,
            "avg_cost_per_request_usd": 0.001505,
            "unpriced_tokens_percent": 100 / 3,
            "daily_total_usd": 0.00301,
            "daily_requests": 4,
            "daily_input_tokens": 4000,
            "daily_output_tokens": 400,
            "gpt_4o_mini_usd": MINI,
            "acme_usd": 0.0028,
            "http_route_chat_usd": 0.00301,
        }

    def test_the_tokens_of_a_call_are_a_percentile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        groups = [chat(i, 30, given=1000 + 7 * i, made=0) for i in range(100)]
        for limit, p95 in ((2000, 1000 + 7 * 94), (10, 1660)):
            monkeypatch.setattr(from_spans, "MAX_SIZES", limit)
            works = Works()
            for group in groups:
                works.write(traces(group))
                works.kill()
            (row,) = works.finish()
            assert row["tokens/per_request_p95"] == p95

    def test_midnight_begins_the_day_anew(self) -> None:
        works = Works()
        works.write(traces(chat(0, 86_390)))
        works.write(traces(chat(1, 86_410)))
        last, first = works.finish()
        assert (last["step"], first["step"]) == (1439, 0)
        assert last["cost/daily_total_usd"] == first["cost/daily_total_usd"] == MINI
        assert first["cost/daily_requests"] == 1

    def test_a_week_has_days(self) -> None:
        works = Works(Settings(rotate="week"))
        works.write(traces(chat(0, 86_390)))
        works.write(traces(chat(1, 86_410)))
        last, first = works.finish()
        assert first["step"] == last["step"] + 1
        assert first["cost/daily_requests"] == 1

    def test_a_trace_that_ends_late_counts_in_the_next_row_as_late(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30)[:1]))
        for second in (58, 80, 100, 130):
            works.write(traces(chat(second, second)))
        works.write(traces(chat(0, 30, entrance_seconds=101)[1:]))
        works.write(traces(chat(900, 200)))
        rows = works.finish()
        assert [(row["step"], row["cost/daily_requests"], row["bridge/late_spans"]) for row in rows] == [
            (0, 1, 0),
            (1, 4, 1),
            (2, 5, 0),
            (3, 6, 0),
        ]


class TestAttributes:
    def test_users_have_charts_and_all_others_are_one(self) -> None:
        works = Works(Settings(cost_by="user.id,http.route,service.name"))
        users = [f"user-{i}" for i in range(25)]
        groups = [
            chat(i, 30, given=1_000_000 * (25 - i), made=0, user=user, route="/other" if i else "/chat")
            for i, user in enumerate(users)
        ]
        works.write(traces(*groups, chat(99, 30, given=1_000_000, made=0)))
        (row,) = works.finish()
        shown = {key: value for key, value in costs(row).items() if key.startswith("user_id")}
        assert shown == {
            **{f"user_id_user_{i}_usd": (25 - i) * 150 / 1000 for i in range(20)},
            "user_id_other_usd": 16 * 150 / 1000,  # five users, and the one who is not told
        }
        assert row["cost/http_route_chat_usd"] == 26 * 150 / 1000
        assert row["cost/http_route_other__usd"] == 300 * 150 / 1000
        assert row["cost/service_name_rag_usd"] == row["cost/total_usd"] == 326 * 150 / 1000

    def test_a_path_of_one_request_is_no_route(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30, route="/chat/81b1c0de-51f5-4d9f")))
        (row,) = works.finish()
        assert not [key for key in row if "http_route" in key]

    def test_beyond_the_limit_all_is_still_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(from_spans, "MAX_CELLS", 3)
        works = Works(Settings(cost_by="user.id"))
        for i in range(12):
            works.write(traces(chat(i, 30, user=f"user-{i}", model=f"m{i // 2}", given=10, made=0)))
            works.kill()
        (row,) = works.finish()
        assert row["tokens/input"] == row["cost/daily_input_tokens"] == 120
        assert total([row], "tokens/other_input") == 120 - sum(
            row.get(f"tokens/m{i}_input", 0) for i in range(6)
        )


class TestMetrics:
    """Tokens come from spans wherever spans carry usage, from metrics only without."""

    def test_metrics_count_where_no_span_tells(self) -> None:
        works = Works()
        works.write(token_metrics(59, given=1000, made=100))
        (row,) = works.finish()
        assert costs(row) == {
            "total_usd": MINI,
            "unpriced_tokens_percent": 0,
            "daily_total_usd": MINI,
            "daily_requests": 0,
            "daily_input_tokens": 1000,
            "daily_output_tokens": 100,
            "gpt_4o_mini_usd": MINI,
        }

    def test_spans_go_before_metrics_of_the_same_model(self) -> None:
        works = Works(Settings(table_rows=0))  # else the hour ends with a row
        works.write(traces(chat(0, 30)))
        works.write(token_metrics(59, given=1000, made=100))
        works.write(token_metrics(119, given=777))
        works.write(token_metrics(86_459, given=778))
        rows = works.finish()
        assert [row["step"] for row in rows] == [0, 1, 0]
        assert total(rows, "tokens/input") == 1000

    def test_a_model_or_a_provider_without_spans_counts_from_metrics(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30)))
        works.write(token_metrics(58, given=10, model="o3"))
        works.write(token_metrics(59, given=5, provider="az.ai.openai"))
        works.write(token_metrics(59, given=3, provider="", start=58))
        works.write(token_metrics(59, given=2, provider="", model=""))
        (row,) = works.finish()
        assert row["tokens/gpt_4o_mini_input"] == 1005
        assert row["tokens/o3_input"] == 10
        assert row["tokens/input"] == 1015

    def test_the_answering_model_is_known_by_its_name_too(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30, more={"gen_ai.response.model": "gpt-4o-mini-2024-07-18"})))
        works.write(token_metrics(59, given=1000, model="gpt-4o-mini-2024-07-18"))
        (row,) = works.finish()
        assert row["tokens/input"] == row["tokens/gpt_4o_mini_input"] == 1000

    def test_an_interval_that_counted_metrics_does_not_count_its_late_spans(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30)[:1]))
        works.write(token_metrics(59, given=1000, made=100))
        works.write(token_metrics(89, given=1, model="o3", start=59))
        works.write(traces(chat(0, 30, entrance_seconds=65)[1:]))
        works.write(traces(chat(1, 119)))
        works.write(token_metrics(119, given=1000, made=100, start=59))
        rows = works.finish()
        assert [(row["step"], row.get("tokens/gpt_4o_mini_input")) for row in rows] == [(0, 1000), (1, 1000)]
        assert rows[-1]["cost/daily_input_tokens"] == 2001

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(1, 59), st.integers(1, 5000), st.integers(0, 500)), min_size=1),
        st.integers(1, 59),
        st.booleans(),
    )
    def test_late_spans_make_sums_theirs_whatever_metrics_had_counted(
        self, calls: list[tuple[int, int, int]], export: int, cached: bool
    ) -> None:
        works = Works()
        given, made = (sum(call[i] for call in calls if call[0] <= export) for i in (1, 2))
        works.write(token_metrics(export, given=given, made=made))
        works.write(token_metrics(89, given=1, model="o3", start=59))
        spans = []
        for i, (end, prompt, answer) in enumerate(calls):
            more = {"gen_ai.usage.cache_read.input_tokens": prompt // 2} if cached else {}
            spans.append(chat(i, end, given=prompt, made=answer, entrance_seconds=70 - end, more=more))
        works.write(traces(*spans, chat(len(calls), 130, given=0, made=1)))
        rows = works.finish()
        assert total(rows, "tokens/gpt_4o_mini_input") == sum(call[1] for call in calls)
        assert total(rows, "tokens/gpt_4o_mini_output") == 1 + sum(call[2] for call in calls)
        assert total(rows, "tokens/cache_read") == sum(call[1] // 2 for call in calls if cached)
        saved = sum(call[1] // 2 for call in calls if cached) * 0.075
        spent = sum(call[1] * 0.15 + call[2] * 0.6 for call in calls) + 0.6 - saved
        assert total(rows, "cost/gpt_4o_mini_usd") * 1e6 == pytest.approx(spent)
        assert total(rows, "cost/http_route_chat_usd") <= total(rows, "cost/gpt_4o_mini_usd") + 1e-12
        assert rows[-1]["cost/daily_requests"] == len(calls) + 1

    def test_spans_that_wait_in_a_later_interval_are_known(self) -> None:
        works = Works()
        works.write(token_metrics(59, given=1000))
        works.write(traces(chat(0, 62)))
        works.write(traces(chat(1, 70, model="o3")))
        works.write(traces(chat(2, 80)))
        rows = works.finish()
        assert [row.get("tokens/gpt_4o_mini_input") for row in rows] == [None, 2000]


def play(
    steps: list[tuple[str, int, int]], kills: set[int], linger_s: float = 6
) -> tuple[list[dict[str, Any]], Works]:
    works = Works(Settings(cost_by="user.id", linger_s=linger_s))
    for i, (what, second, amount) in enumerate(steps):
        if what == "spans":
            works.write(traces(chat(i, second, given=amount, user=f"u{amount % 3}")))
        elif what == "open":
            works.write(traces(chat(i, second, given=amount)[:1]))
        else:
            works.write(token_metrics(second, given=amount, model=what, start=second - 0.5))
        if i in kills:
            works.kill()
    return works.finish(), works


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["spans", "spans", "spans", "open", "gpt-4o-mini", "o3"]),
        st.integers(1, 400),
        st.integers(1, 9999),
    ),
    min_size=1,
    max_size=12,
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
            steps = [step for step in steps if step[0] != "open"] or [("spans", 1, 1)]
        kills = data.draw(st.sets(st.integers(0, len(steps) - 1)))
        undisturbed, _ = play(steps, set(), linger_s)
        disturbed, works = play(steps, kills, linger_s)
        assert disturbed == undisturbed
        assert works.states("/spans/") == []

    @settings(max_examples=40, deadline=None)
    @given(STEPS)
    def test_every_span_is_counted_once(self, steps: list[tuple[str, int, int]]) -> None:
        spans = [step for step in steps if step[0] in ("spans", "open")]
        rows, _ = play(spans, set())
        assert total(rows, "tokens/input") == sum(amount for _, _, amount in spans)
        assert total(rows, "tokens/output") == 100 * len(spans)

    def test_how_far_spans_had_come_is_known_after_a_restart(self) -> None:
        steps = [("spans", 30, 1), ("spans", 100, 2), ("spans", 20, 4), ("spans", 110, 8)]
        rows, _ = play(steps, {1}, linger_s=0)
        assert [(row["tokens/input"], row["bridge/late_spans"]) for row in rows] == [(1, 0), (14, 2)]

    def test_what_was_spent_waits_in_the_store(self) -> None:
        works = Works()
        works.write(traces(chat(0, 30)))
        works.write(traces(chat(1, 40)))
        assert len(works.states("/spans/")) == 1, "the first trace is finished, and in the store"
        works.kill()
        assert works.drain.open_items == 3, "two spans that tell of charts, and one open trace"
        works.write(traces(chat(2, 90)))
        assert works.states("/spans/") == []
        assert [row["tokens/input"] for row in works.rows()] == [2000]

    def test_live_an_interval_of_spans_closes_on_the_wall_clock(self) -> None:
        brisk = Settings(linger_s=0, trace_idle_s=0.1, lateness_s=0, interval_s=1, table_rows=0)
        works = Works(brisk, replay=False)
        works.write(traces(chat(0, 30)))
        works.drain.step()
        assert works.drain.open_items == 0
        assert [row["cost/total_usd"] for row in works.rows()] == [MINI]
