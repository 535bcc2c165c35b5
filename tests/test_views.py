"""Views at work on real rows: keys and alerts come out, once, whatever is killed in between."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from otel_wandb.config import Settings, resolve
from otel_wandb.errors import ConfigError
from otel_wandb.settings import Settings as Table
from otel_wandb.store.alerts import StoredAlert
from otel_wandb.view_settings import cost_labels, parse_views, read_views
from otel_wandb.views import Budget, Drift, Reference, Slo, View
from otel_wandb.views.definitions import name_view
from otel_wandb.views.making import share_budget
from tests.spends import Works, chat, traces

SLO = Slo("http.server.request.duration", objective=0.9, threshold_s=4.0, name="chat")
BUDGET = Budget(usd_per_day=0.0004, by=("user.id",), name="users")


def works_of(*views: View) -> Works:
    return Works(Settings(views=read_views(list(views)), cost_by="http.route"))


def play(works: Works, *, kill_after: int = -1) -> list[dict[str, Any]]:
    """Six minutes of quick answers, then six of slow ones, four a minute."""
    for minute in range(12):
        spans = [
            chat(4 * minute + i, 60 * minute + 10 * i + 9, user=f"u{i % 2}", seconds=1 if minute < 6 else 8)
            for i in range(4)
        ]
        works.write(traces(*spans))
        if minute == kill_after:
            works.kill()
    return works.finish()


def told_by(works: Works) -> list[StoredAlert]:
    """The alerts in the store, in their order."""
    return list(works.store.reader.alerts.all())


def view_keys(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sections = ("slo/", "budget/", "drift/", "alerts/")
    return [{key: value for key, value in row.items() if key.startswith(sections)} for row in rows]


class TestRows:
    def test_an_objective_that_is_missed_is_told_once(self) -> None:
        works = works_of(SLO)
        rows = play(works)
        flags = [row["alerts/chat"] for row in rows]
        assert flags[:6] == [0] * 6
        assert flags[-1] == 1
        assert rows[-1]["slo/chat_burn_rate_1h"] == pytest.approx(5, rel=0.01)
        told = [(alert.name, alert.state) for alert in told_by(works)]
        assert told
        assert len(told) == len(set(told))
        assert {state for _, state in told} == {"firing"}

    def test_money_is_watched_by_what_costs_are_not_charted_by(self) -> None:
        works = works_of(BUDGET)
        rows = play(works)
        assert cost_labels("http.route", works.settings.views) == ("http.route", "user.id")
        assert rows[-1]["budget/users_u0_spent_usd"] == pytest.approx(24 * 0.00021)
        assert rows[-1]["budget/users_u1_spent_percent"] == pytest.approx(24 * 0.00021 / 0.0004 * 100)
        assert any(alert.level == "error" for alert in told_by(works))

    @pytest.mark.parametrize("kill_after", range(12))
    def test_a_kill_changes_nothing(self, kill_after: int) -> None:
        straight, killed = works_of(SLO, BUDGET), works_of(SLO, BUDGET)
        assert view_keys(play(straight)) == view_keys(play(killed, kill_after=kill_after))
        assert told_by(killed) == told_by(straight)

    def test_without_views_there_is_nothing(self) -> None:
        assert not any(view_keys(play(Works())))


class TestEvidence:
    def test_what_stands_together_is_in_the_rows(self) -> None:
        views = [
            Drift(SLO.instrument, name=name, window_s=60, window_requests=4, learn_requests=60, by=by)
            for name, by in (("one", ()), ("two", ("http.route",)))
        ]
        works = works_of(*views)
        for minute in range(60):
            spans = [
                chat(20 * minute + i, 60 * minute + 2 * i + 9, seconds=1 if minute < 30 else 40)
                for i in range(20)
            ]
            works.write(traces(*spans))
        rows = works.finish()
        shown = [row for row in rows if "drift/discoveries" in row]
        assert {"drift/one_q_value", "drift/two_chat_q_value"} <= shown[-1].keys()
        assert {row["drift/discoveries"] for row in shown[:20]} == {0}
        assert shown[-1]["drift/discoveries"] == 2
        assert shown[-1]["drift/one_q_value"] <= 0.05
        assert shown[0]["drift/one_q_value"] == 1


class TestSettings:
    def test_code_yaml_and_json_are_one(self) -> None:
        wanted = read_views([SLO])
        assert parse_views(wanted) == (SLO,)
        assert read_views(wanted) == wanted
        told = (
            "- {view: slo, instrument: http.server.request.duration, objective: 0.9,\n"
            "   threshold_s: 4, name: chat}\n"
        )
        assert read_views(told) == wanted
        assert resolve({"views": [SLO]}, environ={}).settings.views == wanted
        assert resolve(environ={"OTEL_WANDB_VIEWS": wanted}).settings.views == wanted
        assert Table.from_json(Settings(views=wanted).to_json()).views == wanted
        assert read_views([]) == read_views("") == ""

    @pytest.mark.parametrize(
        ("told", "message"),
        [
            ({"a": 1}, "it must be a list of views, such as `- {view: slo, instrument: …}`"),
            ([{"view": "what"}], "view 1: Invalid value 'what' - at `$.view`"),
            ([{"view": "slo", "instrument": "a"}], "view 1: Object missing required field `objective`"),
            (
                [{"view": "slo", "instrument": "a", "objective": 2}],
                "view 1: Expected `float` < 1.0 - at `$.objective`",
            ),
            (
                [{"view": "slo", "instrument": "a", "objective": 0.9, "treshold_s": 1}],
                "view 1: Object contains unknown field `treshold_s`",
            ),
            (
                [Drift("rag.query.length", order="categories")],
                "view 1 (query_length): categories need `category`, the attribute whose values they are",
            ),
            ([Budget()], "view 1 (total): give one of usd_per_day and usd_per_month"),
            ([SLO, SLO], "2 views of the kind Slo are called 'chat'; give each a `name`"),
            ("missing.yaml", "the file /nowhere/missing.yaml cannot be read: No such file or directory"),
        ],
    )
    def test_what_cannot_be(self, told: object, message: str) -> None:
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            read_views(told, Path("/nowhere"))

    def test_the_setting_names_itself(self) -> None:
        with pytest.raises(
            ConfigError, match=r"views cannot be read \(from OTEL_WANDB_VIEWS\): view 1: Expected"
        ):
            resolve(environ={"OTEL_WANDB_VIEWS": "[1]"})

    def test_names(self) -> None:
        assert name_view(Drift("rag.query.length")) == "query_length"
        assert name_view(Budget(usd_per_day=1, by=("user.id",))) == "user_id"


def test_all_views_share_one_budget_of_false_alarms() -> None:
    one, other = Drift("a.b"), Drift("a.c", by=("http.route",))
    alone = share_budget(one, [one], Settings())
    assert alone == 30 * 24 / 0.5
    assert share_budget(one, [one, other], Settings()) == 21 * alone
    assert share_budget(one, [one], Settings(false_alarm_days=60.0)) == 2 * alone


def test_a_reference_is_what_it_was_made_of() -> None:
    reference = Reference.from_samples([1, 2, 2, 0, -3, float("nan")], source="training")
    assert reference.size == 5
    assert Reference.from_json(reference.to_json()) == reference
    with pytest.raises(ValueError, match="a reference needs samples; there are none that are finite"):
        Reference.from_samples([])
    with pytest.raises(ValueError, match="each stratum of a reference needs 2 counts"):
        Reference({"": (1, 2, 3)}, edges=(1.0,))
