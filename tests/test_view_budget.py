"""Budgets: what is spent, what it will come to, and when somebody is told."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from scipy.stats import binom

from otel_wandb.view_settings import read_views
from otel_wandb.views.budget import MAX_SPENDERS, BudgetMachine
from otel_wandb.views.definitions import MAX_GROUPS, Budget
from otel_wandb.views.machine import Look, Outcome
from otel_wandb.views.periods import Forecast, find_period, forecast
from tests.metric_samples import at
from tests.view_looks import findings, look, run, run_killed, texts

HOUR_S = 3600
DAY_S = 86_400
DAILY = Budget(usd_per_day=24)
MONTHLY = Budget(usd_per_month=310)  # of October 2024: 10 a day
USERS = Budget(usd_per_day=24, by=("user.id",))


def spend(
    second: float, whole: float, users: Mapping[str, float] | None = None, *, interval_s: int = 60
) -> Look:
    spent = {("", ""): whole, **{("user.id", user): usd for user, usd in (users or {}).items()}}
    return look(second, spent_usd=spent, interval_s=interval_s)


def hours(*amounts: float, first: int = 0) -> list[Look]:
    return [spend(HOUR_S * (first + i + 1), usd, interval_s=HOUR_S) for i, usd in enumerate(amounts)]


def pick(outcome: Outcome, view: str = "total") -> Mapping[str, float]:
    start = f"budget/{view}_"
    return {k.removeprefix(start): round(v, 4) for k, v in outcome.values.items() if k.startswith(start)}


class TestRows:
    def test_a_day(self) -> None:
        outcomes = run(BudgetMachine(DAILY), hours(1.0, 1.0, 2.0, 0.0, 1.0, 1.0))
        assert pick(outcomes[0]) == {"spent_usd": 1, "spent_percent": 4.1667, "burn": 1, "forecast_usd": 24}
        assert pick(outcomes[5]) == snapshot(
            {
                "spent_usd": 6.0,
                "spent_percent": 25.0,
                "burn": 1.0,
                "forecast_usd": 24.0,
                "forecast_low_usd": 13.1861,
                "forecast_high_usd": 34.8139,
            }
        )
        assert outcomes[5].values["alerts/total"] == 0

    def test_a_month(self) -> None:
        looks = [spend(DAY_S * (i + 1), usd, interval_s=DAY_S) for i, usd in enumerate([5.0, 5.0, 7.0] * 4)]
        outcomes = run(BudgetMachine(MONTHLY), looks)
        assert pick(outcomes[-1]) == snapshot(
            {
                "spent_usd": 68.0,
                "spent_percent": 21.9355,
                "burn": 0.4533,
                "forecast_usd": 158.6667,
                "forecast_low_usd": 147.8612,
                "forecast_high_usd": 169.4722,
            }
        )

    def test_another_period_begins_at_nothing(self) -> None:
        outcomes = run(BudgetMachine(DAILY), hours(*[0.5] * 26))
        assert [pick(o)["spent_usd"] for o in outcomes[22:]] == [11.5, 12.0, 0.5, 1.0]
        assert pick(outcomes[25])["forecast_usd"] == 12  # from the hours of the day before, too

    def test_a_year_ends_and_february_is_short(self) -> None:
        december = find_period(at(DAY_S * 70), monthly=True)
        assert (december.name, december.size_ns // (DAY_S * 10**9)) == ("2024-12", 31)
        following = find_period(december.end_ns, monthly=True)
        february = find_period(following.end_ns, monthly=True)
        assert (following.name, february.name) == ("2025-01", "2025-02")
        assert february.size_ns // (DAY_S * 10**9) == 28
        day = find_period(at(0), monthly=False)
        assert (day.name, find_period(at(0) - 1, monthly=False).name) == ("2024-10-04", "2024-10-03")

    def test_a_correction_takes_off_and_never_below_nothing(self) -> None:
        outcomes = run(BudgetMachine(DAILY), hours(3.0, -1.0, 0.5, -5.0, 1.0))
        assert [pick(o)["spent_usd"] for o in outcomes] == [3.0, 2.0, 2.5, 0.0, 1.0]
        assert min(pick(o)["forecast_usd"] for o in outcomes) >= 0

    def test_a_correction_of_the_day_before_is_left_out(self) -> None:
        outcomes = run(BudgetMachine(DAILY), hours(3.0, -2.0, 0.5, first=23))
        assert [pick(o)["spent_usd"] for o in outcomes] == [3.0, 0.0, 0.5]

    def test_sums_are_exact(self) -> None:
        looks = [spend(60 * (i + 1), 0.1) for i in range(1000)]
        assert run(BudgetMachine(Budget(usd_per_day=1000)), looks)[-1].values["budget/total_spent_usd"] == 100

    def test_what_is_wanted(self) -> None:
        with pytest.raises(ValueError, match="a budget needs usd_per_day or usd_per_month"):
            BudgetMachine(Budget())
        with pytest.raises(ValueError, match="`where` and `by` have to name the same one"):
            read_views([Budget(usd_per_day=1, by=("user.id",), where={"model": "a"})])
        assert read_views([Budget(usd_per_day=1, by=("user.id",), where={"user.id": "a*"})])


class TestForecasts:
    def test_what_remains_is_as_what_was(self) -> None:
        assert forecast(10.0, [], 4, otherwise=2.0) == Forecast(18.0)
        assert forecast(10.0, [3.0], 4, otherwise=2.0) == Forecast(18.0)
        assert forecast(10.0, [2.0, 2.0], 4, otherwise=0.0) == Forecast(18.0, 18.0, 18.0)
        found = forecast(10.0, [1.0, 2.0, 3.0], 4, otherwise=0.0)
        assert [round(end, 3) for end in found if end is not None] == [18.0, 10.0, 26.921]

    def test_its_interval_holds_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(1)
        held, days = 0, 400
        for _ in range(days):
            amounts = rng.normal(2, 0.5, 24).tolist()
            now = int(rng.integers(3, 23))
            found = forecast(sum(amounts[:now]), amounts[:now], 24 - now, otherwise=0.0)
            assert found.low is not None
            assert found.high is not None
            held += found.low <= sum(amounts) <= found.high
        low, high = binom.interval(0.999, days, 0.9)
        assert low <= held <= high


class TestSteps:
    def test_each_is_told_once_in_a_period(self) -> None:
        outcomes = run(BudgetMachine(DAILY), hours(*[1.0] * 50))
        assert findings(outcomes) == snapshot(
            [
                (43200.0, "budget_50_percent_total", "firing"),
                (72000.0, "budget_80_percent_total", "firing"),
                (86400.0, "budget_100_percent_total", "firing"),
                (90000.0, "budget_100_percent_total", "recovered"),
                (129600.0, "budget_50_percent_total", "firing"),
                (158400.0, "budget_80_percent_total", "firing"),
                (172800.0, "budget_100_percent_total", "firing"),
                (176400.0, "budget_100_percent_total", "recovered"),
            ]
        )
        assert [outcome.values["alerts/total"] for outcome in outcomes[22:26]] == [0, 1, 0, 0]

    def test_what_it_says(self) -> None:
        outcomes = run(BudgetMachine(DAILY), hours(*[1.0, 1.5] * 10, *[0.0] * 4, 1.0))
        told = [f for f in texts(outcomes) if "percent" in f.name]
        assert [(f.name, f.level, f.headline) for f in told] == snapshot(
            [
                ("budget_50_percent_total", "info", "total has spent half of its budget"),
                ("budget_80_percent_total", "warn", "total has spent most of its budget"),
                ("budget_100_percent_total", "error", "total has spent its budget"),
                ("budget_100_percent_total", "error", "Recovered: total has spent its budget"),
            ]
        )
        assert told[0].text == (
            "total: 12.50 of 24.00 USD are spent (52.1 %), after 41.7 % of the day (2024-10-04, UTC)."
            " At its end it will be about 30.00 USD (27.20 to 32.80 with 90 % confidence)."
        )
        assert told[3].text == (
            "total: another day has begun. In that of 2024-10-04, 25.00 of 24.00 USD were spent."
        )

    def test_only_the_highest_of_those_that_are_passed_at_once(self) -> None:
        names = [name for _, name, _ in findings(run(BudgetMachine(DAILY), hours(30.0))) if "percent" in name]
        assert names == ["budget_100_percent_total"]

    def test_a_correction_does_not_make_it_be_told_again(self) -> None:
        outcomes = run(BudgetMachine(DAILY), hours(*[1.0] * 12, -3.0, *[1.0] * 6))
        assert [name for _, name, _ in findings(outcomes)] == ["budget_50_percent_total"]


class TestPaces:
    def test_a_fast_hour_is_told_and_when_it_is_over(self) -> None:
        minutes = [spend(60 * (i + 1), 1 / 60 if not 120 <= i < 180 else 4 / 60) for i in range(300)]
        outcomes = run(BudgetMachine(DAILY), minutes)
        assert findings(outcomes) == snapshot(
            [(9600.0, "budget_pace_1h_total", "firing"), (13860.0, "budget_pace_1h_total", "recovered")]
        )
        told = texts(outcomes)
        assert [(f.title, f.level) for f in told] == snapshot(
            [
                ("total spends much faster than its budget allows", "error"),
                ("total spends much faster than its budget allows", "error"),
            ]
        )
        assert told[0].text == (
            "total: 3.00 USD were spent in the last hour, 3.00 times what 24.00 USD a day allow. At "
            "this pace the budget of 2024-10-04 would be used up at 2024-10-04 09:06 UTC."
        )
        assert told[1].text == (
            "total: 1.45 USD were spent in the last hour, 1.45 times what 24.00 USD a day allow. It "
            "fired at 2024-10-04 02:40 UTC, 71 min before."
        )

    def test_a_busy_hour_of_a_thrifty_day_wakes_nobody(self) -> None:
        thrifty = [0.2] * 20
        assert findings(run(BudgetMachine(DAILY), hours(*thrifty, 4.0, *[0.2] * 3))) == []
        names = [name for _, name, _ in findings(run(BudgetMachine(DAILY), hours(0.2, 0.2, 4.0)))]
        assert names == ["budget_pace_1h_total"]

    def test_a_month_has_days_that_are_too_fast(self) -> None:
        looks = hours(*[10 / 24] * 48, *[13 / 24] * 96)
        assert findings(run(BudgetMachine(MONTHLY), looks)) == snapshot(
            [(230400.0, "budget_pace_1d_total", "firing")]
        )

    def test_steady_spending_within_the_budget_wakes_nobody(self) -> None:
        rng = np.random.default_rng(2)
        names: set[str] = set()
        for _ in range(3):
            amounts = rng.gamma(8, 0.1, 24 * 7).tolist()  # 19 of 24 USD a day
            names.update(name for _, name, _ in findings(run(BudgetMachine(DAILY), hours(*amounts))))
        assert names <= {"budget_50_percent_total", "budget_80_percent_total", "budget_100_percent_total"}


class TestSpenders:
    def test_each_has_the_budget(self) -> None:
        machine = BudgetMachine(USERS)
        users = {"ann": 1.0, "bob": 4.0, "cy": 0.5}
        outcomes = [machine.update(spend(60 * (i + 1), 6, users)) for i in range(6)]
        assert pick(outcomes[-1], "user_id_bob")["spent_percent"] == 100
        assert pick(outcomes[-1], "user_id_cy")["spent_usd"] == 3
        assert pick(outcomes[-1], "user_id")["groups_over_budget"] == 1
        assert [f.title for f in texts(outcomes) if "percent" in f.name] == [
            "user_id (bob) has spent half of its budget",
            "user_id (bob) has spent most of its budget",
            "user_id (bob) has spent its budget",
        ]

    def test_one_attribute_without_by(self) -> None:
        view = Budget(usd_per_day=10, where={"user.id": "a*"}, name="team")
        outcome = BudgetMachine(view).update(spend(60, 9, {"ann": 1.0, "bob": 4.0, "abe": 2.0}))
        assert outcome.values["budget/team_spent_usd"] == 3

    def test_those_that_spend_most_are_watched(self) -> None:
        machine = BudgetMachine(USERS)
        many = {f"u{i:02}": 1 + i / 100 for i in range(MAX_GROUPS + 4)}
        outcome = machine.update(spend(60, 50, many))
        assert "budget/user_id_u23_spent_usd" in outcome.values
        assert "budget/user_id_u03_spent_usd" not in outcome.values
        assert outcome.values["budget/user_id_unwatched_groups"] == 4
        near = machine.update(spend(120, 1, {"u00": 0.2}))  # more than the last, but not by a quarter
        assert "budget/user_id_u00_spent_usd" not in near.values
        far = machine.update(spend(180, 1, {"u00": 0.2}))
        assert far.values["budget/user_id_u00_spent_usd"] == pytest.approx(1.4)
        assert "budget/user_id_u04_spent_usd" not in far.values

    def test_whoever_is_told_of_stays_watched(self) -> None:
        machine = BudgetMachine(USERS)
        assert [f.name for f in machine.update(spend(60, 4, {"slow": 4.0})).findings] == [
            "budget_pace_1h_user_id_slow"
        ]
        crowd = {f"u{i:02}": 9.0 for i in range(MAX_GROUPS + 4)}
        machine.update(spend(120, 200, crowd))
        later = machine.update(spend(7200, 0.0))
        assert ("budget_pace_1h_user_id_slow", "recovered") in [(f.name, f.state) for f in later.findings]

    def test_beyond_all_limits_the_rest_is_known(self) -> None:
        machine = BudgetMachine(USERS)
        many = {f"u{i:03}": 0.01 * (i + 1) for i in range(MAX_SPENDERS + 3)}
        outcome = machine.update(spend(60, 9, many))
        assert outcome.values["budget/user_id_untracked_usd"] == pytest.approx(0.06)
        again = machine.update(spend(120, 9, {"u000": 1.0}))
        assert again.values["budget/user_id_untracked_usd"] == pytest.approx(0.06 + 0.04)

    def test_its_state_is_small(self) -> None:
        rng = np.random.default_rng(3)
        machine = BudgetMachine(MONTHLY)
        for second in range(900, 35 * DAY_S, 900):
            machine.update(spend(second, float(rng.gamma(2, 0.01)), interval_s=900))
        for second in range(35 * DAY_S, 35 * DAY_S + 7200, 60):
            machine.update(spend(second + 60, float(rng.gamma(2, 1e6))))
        assert 1_000 < len(machine.state()) < 16_384


AMOUNTS = st.lists(
    st.tuples(
        st.integers(1, 2000),
        st.dictionaries(st.sampled_from(["ann", "bob", "cy", "dee"]), st.integers(-40, 400), max_size=4),
    ),
    min_size=1,
    max_size=25,
)


class TestAlgebra:
    @settings(max_examples=40, deadline=None)
    @given(AMOUNTS, st.sets(st.integers(0, 24)), st.sampled_from([DAILY, MONTHLY, USERS]))
    def test_a_kill_changes_nothing(
        self, amounts: list[tuple[int, dict[str, int]]], kills: set[int], view: Budget
    ) -> None:
        looks, minute = [], 0
        for gap, spent in amounts:
            minute += gap
            looks.append(spend(60 * minute, sum(spent.values()) / 7, {k: v / 7 for k, v in spent.items()}))
        assert run_killed(lambda: BudgetMachine(view), looks, kills) == run(BudgetMachine(view), looks)

    @settings(max_examples=30, deadline=None)
    @given(AMOUNTS)
    def test_the_order_of_values_does_not_matter(self, amounts: list[tuple[int, dict[str, int]]]) -> None:
        there, back, minute = [], [], 0
        for gap, spent in amounts:
            minute += gap
            there.append(spend(60 * minute, 0, spent))
            back.append(spend(60 * minute, 0, dict(reversed(spent.items()))))
        assert run(BudgetMachine(USERS), there) == run(BudgetMachine(USERS), back)

    @settings(max_examples=30, deadline=None)
    @given(AMOUNTS)
    def test_another_currency_is_the_same(self, amounts: list[tuple[int, dict[str, int]]]) -> None:
        told = []
        for rate in (1, 1000):
            looks, minute = [], 0
            for gap, spent in amounts:
                minute += gap
                looks.append(spend(60 * minute, rate * sum(spent.values()) / 8))
            told.append(findings(run(BudgetMachine(Budget(usd_per_day=24 * rate)), looks)))
        assert told[0] == told[1]

    def test_another_state_is_refused(self) -> None:
        with pytest.raises(msgspec.MsgspecError):
            BudgetMachine(DAILY).restore(b'{"spenders":{"a":"b"}}')
