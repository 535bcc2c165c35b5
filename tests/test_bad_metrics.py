"""What services should not send and do: each has its stated behaviour in the row, and costs no other key."""

from __future__ import annotations

import string

import pytest

from otel_wandb.metrics.catalogue import MILLISECONDS
from otel_wandb.metrics.charts import MAX_KEYS
from otel_wandb.store.rows import decode_values, encode_values
from tests.metric_samples import batch, counter, gauge, histogram, histograms, number
from tests.test_charts import KEY, chat, close, counted, request, row, rows


class TestUnits:
    @pytest.mark.parametrize("unit", ["By", "{request}", "seconds per request", "1", "S", "\x00", "milli"])
    def test_a_unit_that_is_no_time_is_the_one_that_the_instrument_has_by_its_specification(
        self, unit: str
    ) -> None:
        assert unit not in MILLISECONDS
        found = row(batch(histograms("http.server.request.duration", histogram([0.25], 30), unit=unit)))
        assert found["latency/p50_ms"] == pytest.approx(250, rel=0.5)
        old = histograms("http.server.duration", histogram([250.0], 30, bounds=(100, 300)), unit=unit)
        assert row(batch(old))["latency/p50_ms"] == 250

    def test_a_unit_that_is_a_time_is_believed(self) -> None:
        """Nobody can know better: 250 s may be true."""
        lying = histograms("http.server.duration", histogram([250.0], 30, bounds=(100, 300)), unit="s")
        assert row(batch(lying))["latency/p50_ms"] == 250_000

    def test_two_processes_of_different_units_are_in_one_chart(self) -> None:
        seconds = histograms("gen_ai.execute_tool.duration", histogram([0.25], 30, bounds=(0.2, 0.3)))
        millis = histograms(
            "gen_ai.execute_tool.duration", histogram([250.0], 30, bounds=(200, 300)), unit="ms"
        )
        found = row(batch(seconds), batch(millis, instance="b"))
        assert found["latency/tool_count"] == 2
        assert found["latency/tool_mean_ms"] == 250


class TestNames:
    def test_an_error_type_that_is_called_total_is_not_the_total(self) -> None:
        found = row(
            batch(chat("o3", [0.2], "total"), chat("o3", [0.2] * 2, "request"), chat("o3", [0.2] * 3))
        )
        assert found["errors/total_count"] == 3
        assert found["errors/total__count"] == 1
        assert found["errors/request_count"] == 6
        assert found["errors/request__count"] == 2

    def test_routes_that_differ_in_a_slash_have_a_chart_each(self) -> None:
        found = row(batch(request("POST", "/chat", [0.2]), request("POST", "/chat/", [0.2] * 2)))
        counts = {key: found[key] for key in found if key.startswith("latency/POST") and "count" in key}
        assert sorted(counts.values()) == [1, 2]
        assert found["latency/count"] == 3

    def test_models_of_every_character_have_charts_with_sound_keys(self) -> None:
        models = [*string.printable, "模型", "🚀", "", "gpt/4o:{}[]()!", "total", "x" * 512]
        built = [
            row(batch(*(chat(model, [0.2]) for model in models[start : start + 15])))
            for start in range(0, len(models), 15)
        ]
        for found in built:
            assert all(KEY.fullmatch(key) for key in found)
        told = [found[key] for found in built for key in found if key.endswith("_count") and "chat" in key]
        assert sum(told) == sum(found["latency/count"] for found in built) == len(models)

    def test_subjects_of_512_bytes_that_differ_at_their_ends_are_apart(self) -> None:
        long = ["m" * 511 + end for end in "ab"]
        found = row(batch(*(chat(model, [0.2] * (1 + i)) for i, model in enumerate(long))))
        counts = {key: found[key] for key in found if key.startswith("latency/chat_mm") and "count" in key}
        assert sorted(counts.values()) == [1, 2]
        assert max(map(len, found)) < 100


class TestSizes:
    def test_400_keys_and_no_more_however_many_instruments_there_are(self) -> None:
        many = [gauge(f"gauge.{i}.{'x' * 200}", number(i, 30)) for i in range(800)]
        models = [counter("gen_ai.client.inference.tokens", counted(1, {"m": str(i)})) for i in range(5)]
        (only,) = rows(close(batch(request("GET", "/", [0.2]), *many, *models)))
        assert len(only.values) == MAX_KEYS
        assert only.left_out > 400
        assert only.values["latency/count"] == 1

    def test_no_row_is_large_whatever_is_in_it(self) -> None:
        """As many keys as may be, of histograms with hundreds of buckets; W&B takes lines of up to 10 MB."""
        bounds = [1.01**i for i in range(500)]
        tools = [
            histograms(
                "gen_ai.execute_tool.duration",
                histogram(bounds, 30, bounds=bounds, attributes={"gen_ai.tool.name": f"tool-{i}"}),
            )
            for i in range(200)
        ]
        (only,) = rows(close(batch(*tools)))
        assert only.values["latency/tool_0_count"] == 500
        body = encode_values(only.values)
        assert len(body) < 500_000
        assert dict(decode_values(body)).keys() == only.values.keys()
