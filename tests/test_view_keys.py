"""Names of views and groups in rows: what comes second to a name gets another one, also after a restart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_wandb.config import Settings
from otel_wandb.view_settings import read_views
from otel_wandb.views import Drift, Slo
from otel_wandb.views.slo import SloMachine
from otel_wandb.views.view_keys import ViewKeys
from tests.spends import Works, duration_metrics
from tests.test_views import told_by
from tests.view_looks import explicit, findings, look, series

SLO = Slo("http.server.request.duration", objective=0.9, name="chat", by=("http.route",))
ALIKE = ("/a/b", "/a-b")


class TestNames:
    def test_the_first_keeps_its_name(self) -> None:
        keys = ViewKeys()
        assert keys.key("drift", "q", ("/a/b",), "psi") == "drift/q_a_b_psi"
        assert keys.key("drift", "q", ("/a-b",), "psi") == "drift/q_a_b_4389_psi"
        assert keys.key("drift", "q", ("/a/b",), "p_value") == "drift/q_a_b_p_value"
        assert keys.key("slo", "q", ("/a-b",), "psi") == "slo/q_a_b_psi"

    def test_views_and_groups_are_told_apart(self) -> None:
        keys = ViewKeys()
        names = {
            keys.key("drift", view, group, "psi")
            for view, group in [("q_a", ("b",)), ("q", ("a", "b")), ("q", ("a_b",)), ("q_a_b", ())]
        }
        assert len(names) == 4

    def test_a_name_with_a_field_is_not_another_name(self) -> None:
        keys = ViewKeys()
        assert keys.key("performance", "acc", (), "degradation") == "performance/acc_degradation"
        assert keys.key("performance", "acc", ("degradation",), "") != "performance/acc_degradation"

    @given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=30, unique=True))
    def test_no_two_are_the_same_and_a_restart_changes_nothing(self, groups: list[tuple[str, str]]) -> None:
        keys = ViewKeys()
        names = {group: keys.key("drift", "q", group, "psi") for group in groups}
        assert len(set(names.values())) == len(groups)
        restored = ViewKeys(keys.entries)
        assert {group: restored.key("drift", "q", group, "psi") for group in reversed(groups)} == names
        assert not restored.changed

    def test_a_full_book_needs_no_memory(self) -> None:
        keys = ViewKeys(("drift", f"q\0{i}", "") for i in range(2000))
        first = keys.key("drift", "q", ("new",), "psi")
        assert first == ViewKeys(keys.entries).key("drift", "q", ("new",), "psi") != "drift/q_new_psi"
        assert len(keys.entries) == 2000


def test_alerts_of_groups_alike_have_names_of_their_own() -> None:
    machine = SloMachine(SLO)
    outcome = machine.update(
        look(
            60,
            *(
                series(SLO.instrument, explicit([0.5] * 100, [1.0]), http__route=route, error__type="500")
                for route in ALIKE
            ),
        )
    )
    names = [name for _, name, _ in findings([outcome])]
    assert len(names) == len(set(names)) == 4
    rates = [key for key in outcome.values if key.endswith("burn_rate_1h")]
    assert len(rates) == 2


def test_two_groups_do_not_share_a_chart_whatever_is_killed() -> None:
    views = read_views([SLO, Drift(SLO.instrument, name="chat", by=("http.route",))])

    def play(kill_after: int) -> tuple[list[dict[str, object]], list[object]]:
        works = Works(Settings(views=views))
        for minute in range(4):
            for route in ALIKE[: minute + 1][::-1]:
                failed = {"error.type": "500"} if route == ALIKE[1] else {}
                told = {"http.route": route, **failed}
                works.write(duration_metrics(60 * (minute + 1), *[0.5] * 20, told=told))
            if minute == kill_after:
                works.kill()
        rows = works.finish()
        return rows, [(alert.name, alert.state) for alert in told_by(works)]

    rows, told = play(-1)
    assert rows[0]["slo/chat_a_b_good_percent"] == 100
    suffixed = next(
        key for key in rows[-1] if key.startswith("slo/chat_a_b_") and key.endswith("_good_percent")
    )
    assert {rows[-1][key] for key in rows[-1] if key.endswith("_good_percent")} == {0, 100}
    assert (rows[-1]["slo/chat_a_b_good_percent"], suffixed != "slo/chat_a_b_good_percent") == (100, True)
    assert told
    for kill_after in range(4):
        assert play(kill_after) == (rows, told)
