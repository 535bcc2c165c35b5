"""The panels of dashboards: every chart has its place, and patterns match what they are to match."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from otel_wandb.metrics.catalogue import CHARTS, Chart
from otel_wandb.metrics.keys import KeyBook, make_key
from otel_wandb.metrics.panels import TIME, Panel, Section, Seen, lay_out
from otel_wandb.metrics.patterns import label_prefix, make_pattern, match
from otel_wandb.metrics.units import unit_of

WHOLE = [chart.key for chart in CHARTS if "{}" not in chart.key]
WITHOUT_PANEL = {
    *("latency/{}_p90_ms", "latency/{}_mean_ms", "latency/{}_std_ms", "latency/{}_min_ms"),
    *("latency/{}_max_ms", "latency/{}_count", "latency/{}_histogram"),
    *("tokens/{}_cache_read", "tokens/{}_cache_write", "tokens/{}_reasoning"),
}
VERSION_KEYS = (
    *("latency/{}_p50_ms", "latency/{}_p95_ms", "errors/{}_rate_percent"),
    *("throughput/{}_requests_per_second", "tokens/{}_input", "tokens/{}_output", "cost/{}_usd"),
)
LETTERS = st.text("abtol_", min_size=1, max_size=7)


def panels(*sections: Section) -> dict[str, Panel]:
    return {panel.title: panel for section in sections for panel in section.panels}


def section(title: str, *, seen: Seen | None = None, cost_by: Sequence[str] = ()) -> Section:
    (found,) = [one for one in lay_out(seen, cost_by=cost_by) if one.title == title]
    return found


class TestPatterns:
    @given(names=st.sets(LETTERS, max_size=5), starts=st.sets(LETTERS, max_size=3), name=LETTERS)
    def test_all_but_some_words_and_beginnings(self, names: set[str], starts: set[str], name: str) -> None:
        whole = [f"cost/{word}_usd" for word in sorted(names)]
        pattern = make_pattern("cost/{}_usd", whole, not_begins=starts)
        for taken in {name, *names}:
            key = f"cost/{taken}_usd"
            wanted = taken not in names and not taken.startswith(tuple(starts))
            assert match(pattern, [key]) == ([key] if wanted else [])
            assert (re2.search(pattern, key) is not None) is wanted

    def test_what_belongs_to_no_subject_is_left_out(self) -> None:
        pattern = make_pattern("cost/{}_usd", WHOLE, not_begins=["user_id_"])
        keys = [
            "cost/gpt_4o_usd",
            "cost/other_usd",
            "cost/totally_usd",
            "cost/user_id_usd",
            "cost/total__usd",
        ]
        assert match(pattern, [*keys, *WHOLE, "cost/user_id_7_usd", "cost/gpt_4o", "cost/_usd"]) == keys

    @pytest.mark.parametrize(
        ("attribute", "prefix"), [("user.id", "user_id_"), ("2fa", "_2fa_"), ("Größe", "Groe_")]
    )
    def test_values_of_an_attribute_begin_with_its_name(self, attribute: str, prefix: str) -> None:
        name = KeyBook(0).name("cost", f"by {attribute}", f"{attribute}=x 1")
        assert name is not None
        assert label_prefix(attribute) == prefix
        assert make_key("cost", name, "usd").startswith(f"cost/{prefix}")


class TestLayout:
    def test_every_chart_is_in_a_panel(self) -> None:
        shown = [panel for one in lay_out(cost_by=["user.id"]) for panel in one.panels]
        missing = set()
        for chart in CHARTS:
            key = chart.key.replace("{}", "x")
            if not chart.key.startswith("metrics/") and not any(panel.shows([key]) for panel in shown):
                missing.add(chart.key)
        assert missing == WITHOUT_PANEL

    def test_time_is_the_axis_of_all_panels_but_those_of_days_over_each_other(self) -> None:
        *most, last = lay_out()
        assert {panel.axis for one in most for panel in one.panels} == {TIME}
        assert (last.title, {panel.axis for panel in last.panels}) == (
            "Days over each other",
            {"day/seconds"},
        )
        weekly = lay_out(rotation="week")[-1]
        assert weekly.title == "Weeks over each other"
        assert {panel.axis for panel in weekly.panels} == {"week/seconds"}

    def test_the_sections_are_these_and_the_first_are_open(self) -> None:
        assert [(one.title, one.open) for one in lay_out()] == [
            ("Latency", True),
            ("Errors", True),
            ("Throughput", True),
            ("Requests", True),
            ("Tokens and cost", True),
            ("Versions of the service", False),
            ("Safety", False),
            ("Drift", False),
            ("Quality", False),
            ("Alerts", False),
            ("Bridge", False),
            ("Other keys", False),
            ("Days over each other", False),
        ]

    def test_percentiles_are_one_plot_and_costs_stand_on_each_other(self) -> None:
        found = panels(*lay_out(cost_by=["user.id"]))
        lines = tuple(f"latency/{name}_ms" for name in ("p50", "p90", "p95", "p99"))
        assert found["Percentiles"] == Panel("Percentiles", lines, unit="ms")
        assert found["Cost by user.id"] == Panel(
            "Cost by user.id",
            pattern="^cost/user_id_.+_usd$",
            unit="USD",
            stacked=True,
            selects="cost/user_id_*_usd",
        )
        costs = section("Tokens and cost", cost_by=["user.id"]).panels
        assert {panel.title for panel in costs if panel.stacked} == {
            *("Cost by model", "Cost by user.id"),
            *("Input by model", "Output by model"),
        }

    def test_versions_have_a_section_of_their_own(self) -> None:
        keys = [key.format("version_1_2_0") for key in VERSION_KEYS]
        shown = {one.title for one in lay_out() for panel in one.panels if panel.shows(keys)}
        assert shown == {"Versions of the service"}
        versions = section("Versions of the service").panels
        assert [match(panel.pattern, keys) for panel in versions] == [[key] for key in keys]
        assert not any(panel.shows(["latency/x_p95_ms", "cost/x_usd", "tokens/input"]) for panel in versions)

    def test_a_value_is_in_the_panel_of_its_own_attribute_only(self) -> None:
        found = panels(*lay_out(cost_by=["user", "user.id"]))
        by_title = {title: panel for title, panel in found.items() if title.startswith("Cost by")}
        keys = ["cost/o3_usd", "cost/user_ann_usd", "cost/user_id_7_usd", "cost/user_id_other_usd"]
        assert {title: match(panel.pattern, keys) for title, panel in by_title.items()} == {
            "Cost by model": keys[:1],
            "Cost by user": keys[1:2],
            "Cost by user.id": keys[2:],
        }

    def test_a_chart_that_nobody_placed_has_a_panel_of_its_own(self) -> None:
        extra = (
            Chart("errors/{}_burst_ms", "part", "p50", 1, ""),
            Chart("slo/{}_burn", "part", "p50", 1, ""),
            Chart("weather/rain", "whole", "p50", 1, ""),
        )
        usual, found = panels(*lay_out()), panels(*lay_out(charts=(*CHARTS, *extra)))
        assert [found[title] for title in found if title not in usual] == [
            Panel(
                "errors/*_burst_ms", pattern="^errors/.+_burst_ms$", unit="ms", selects="errors/*_burst_ms"
            ),
            Panel("weather/rain", ("weather/rain",)),
        ]


class TestSeen:
    def test_operations_have_panels_under_their_own_names(self) -> None:
        keys = {f"latency/POST_chat_{name}_ms" for name in ("p50", "p95", "p99", "mean")}
        keys |= {"latency/operation_other_p95_ms", "latency/p95_ms", "errors/total_count"}
        seen = Seen(frozenset(keys), {"POST_chat": "POST /chat"})
        assert section("Latency of each operation", seen=seen).panels == (
            Panel(
                "POST /chat",
                tuple(f"latency/POST_chat_{name}_ms" for name in ("p50", "p95", "p99")),
                unit="ms",
            ),
            Panel("operation_other", ("latency/operation_other_p95_ms",), unit="ms"),
        )

    def test_other_instruments_have_panels_of_what_is_typical_of_them(self) -> None:
        keys = ["queue_p50", "queue_p99", "queue_count", "queue_std", "jobs", "temp", "temp_min", "temp_max"]
        keys += ["sizes_count", "sizes_sum"]
        seen = Seen(frozenset(f"metrics/{key}" for key in keys), {"queue": "queue.time"})
        assert section("Other keys", seen=seen).panels == (
            Panel("jobs", ("metrics/jobs",)),
            Panel("queue.time", ("metrics/queue_p50", "metrics/queue_p99")),
            Panel("sizes", ("metrics/sizes_count", "metrics/sizes_sum")),
            Panel("temp", ("metrics/temp", "metrics/temp_min", "metrics/temp_max")),
        )

    def test_a_section_is_open_where_there_is_something_in_it(self) -> None:
        seen = Seen(frozenset({"latency/p95_ms", "drift/answers_psi", "bridge/late_points"}), {})
        assert {one.title for one in lay_out(seen) if one.open} == {"Latency", "Drift", "Requests"}

    def test_there_is_an_end_to_the_panels(self) -> None:
        keys = {f"latency/op_{n}_p95_ms" for n in range(100)} | {f"metrics/m_{n}" for n in range(100)}
        seen = Seen(frozenset(keys), {})
        assert len(section("Latency of each operation", seen=seen).panels) == 60
        assert len(section("Other keys", seen=seen).panels) == 60


def test_the_unit_of_every_chart_is_known() -> None:
    assert {chart.key for chart in CHARTS if not unit_of(chart.key)} == set()
    assert [unit_of(key) for key in ("latency/x_p95_ms", "latency/histogram", "latency/count")] == [
        "ms",
        "ms",
        "number",
    ]
    assert [unit_of(key) for key in ("cost/daily_input_tokens", "tokens/x_input", "cost/x_usd")] == [
        "tokens",
        "tokens",
        "USD",
    ]
    assert unit_of("metrics/{}_p95") == "its own"
