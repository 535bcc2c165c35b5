"""Rules of alerts over rows: what fires, what recovers, and what is said then, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_wandb.alerts.engine import AlertRules, Moment
from otel_wandb.alerts.finding import Finding
from otel_wandb.alerts.plan import Limit, Rule
from tests.alert_samples import KEYS, NUMBERS, any_rules, rule

BEGAN_S = 1_795_564_800.0
"""2026-11-25 00:00 UTC."""
INTERVAL_S = 60.0

Values = Mapping[str, float]


def play(
    rules: Rule | Sequence[Rule],
    rows: Iterable[Values],
    *,
    steps: Iterable[int] | None = None,
    kill: bool = False,
) -> tuple[list[Finding], list[dict[str, int]]]:
    """What is found in rows, a minute each, and their flags; with `kill`, each by a process of its own."""
    rules = [rules] if isinstance(rules, Rule) else rules
    engine = AlertRules(rules, interval_s=INTERVAL_S)
    found: list[Finding] = []
    flags = []
    rows = list(rows)
    for step, values in zip(steps or range(len(rows)), rows, strict=True):
        if kill:
            engine = AlertRules(rules, interval_s=INTERVAL_S, state=engine.state)
        verdict = engine.evaluate(values, moment(step))
        found += verdict.findings
        flags.append(dict(verdict.flags))
    return found, flags


def moment(step: int) -> Moment:
    return Moment("rag", "rag-20261125", step, BEGAN_S + INTERVAL_S * (step + 1))


def p95(*values: float | None) -> list[Values]:
    return [{} if value is None else {"latency/p95_ms": value} for value in values]


def told(found: Iterable[Finding]) -> list[tuple[int, str]]:
    return [(finding.step, finding.state) for finding in found]


class TestThresholds:
    def test_one_interval_fires_and_one_recovers(self) -> None:
        found, flags = play(rule("key: latency/p95_ms, above: 2000"), p95(100, 2450, 2001, 2000))
        assert found == [
            Finding(
                name="a",
                title="A",
                level="warn",
                text="latency/p95_ms is 2,450, above 2,000. Since 2026-11-25 00:01 UTC.",
                state="firing",
                service="rag",
                time_s=BEGAN_S + 120,
                step=1,
                run="rag-20261125",
            ),
            Finding(
                name="a",
                title="A",
                level="warn",
                text="latency/p95_ms is 2,000, not above 2,000. "
                "It fired at 2026-11-25 00:02 UTC, 2 min before.",
                state="recovered",
                service="rag",
                time_s=BEGAN_S + 240,
                step=3,
                run="rag-20261125",
            ),
        ]
        assert [finding.headline for finding in found] == ["A", "Recovered: A"]
        assert flags == [{"alerts/a": firing} for firing in (0, 1, 1, 0)]

    def test_below(self) -> None:
        found, _ = play(
            rule("key: performance/accuracy, below: 0.8, recover: 0.9, level: error, title: Answers are bad"),
            [{"performance/accuracy": value} for value in (0.8, 0.7123456, 0.85, 0.9)],
        )
        assert [(f.level, f.title, f.text) for f in found] == [
            (
                "error",
                "Answers are bad",
                "performance/accuracy is 0.712346, below 0.8. Since 2026-11-25 00:01 UTC.",
            ),
            (
                "error",
                "Answers are bad",
                "performance/accuracy is 0.9, not below 0.9. It fired at 2026-11-25 00:02 UTC, 2 min before.",
            ),
        ]

    def test_for_asks_for_intervals_in_a_row_and_within_for_some_of_many(self) -> None:
        rows = p95(9, 1, 9, 9, 1, 9, 9, 9)
        assert told(play(rule("key: latency/p95_ms, above: 5, for: 3"), rows)[0]) == [(7, "firing")]
        some = rule("key: latency/p95_ms, above: 5, for: 3, within: 4")
        found, _ = play(some, rows)
        assert told(found) == [(3, "firing")]
        assert found[0].text == (
            "latency/p95_ms is 9, above 5. In 3 of 4 intervals of 60 s, since 2026-11-25 00:00 UTC."
        )

    def test_recovery_has_a_threshold_and_a_number_of_intervals_of_its_own(self) -> None:
        careful = rule("key: latency/p95_ms, above: 5, recover: 3, recover_for: 2")
        found, flags = play(careful, p95(9, 4, 3, 4, 2, 3, 1))
        assert told(found) == [(0, "firing"), (5, "recovered")]
        assert found[1].text == (
            "latency/p95_ms is 3, not above 3. In 2 intervals of 60 s in a row. "
            "It fired at 2026-11-25 00:01 UTC, 5 min before."
        )
        assert [flag["alerts/a"] for flag in flags] == [1, 1, 1, 1, 1, 0, 0]

    def test_a_rule_that_asks_for_more_intervals_also_recovers_by_as_many(self) -> None:
        patient = rule("key: latency/p95_ms, above: 5, for: 2")
        assert told(play(patient, p95(9, 9, 1, 9, 1, 1))[0]) == [(1, "firing"), (5, "recovered")]

    def test_it_does_not_fire_again_before_its_cool_down_is_over(self) -> None:
        calm = rule("key: latency/p95_ms, above: 5, cooldown_s: 300")
        found, flags = play(calm, p95(9, 1, 9, 9, 1, 9, 1))
        assert told(found) == [(0, "firing"), (1, "recovered"), (5, "firing"), (6, "recovered")]
        assert [flag["alerts/a"] for flag in flags] == [1, 0, 0, 0, 0, 1, 0]

    def test_what_lasts_beyond_the_cool_down_fires_then_with_the_time_that_it_began(self) -> None:
        calm = rule("key: latency/p95_ms, above: 5, cooldown_s: 300")
        found, _ = play(calm, p95(9, 1, 9, 9, 9, 9))
        assert told(found) == [(0, "firing"), (1, "recovered"), (5, "firing")]
        assert found[2].text == "latency/p95_ms is 9, above 5. Since 2026-11-25 00:02 UTC."

    def test_values_that_are_missing_neither_fire_nor_recover_nor_break_a_row(self) -> None:
        patient = rule("key: latency/p95_ms, above: 5, for: 2, recover_for: 2")
        found, flags = play(patient, p95(None, 9, None, 9, None, 1, None, None, 1, None))
        assert told(found) == [(3, "firing"), (8, "recovered")]
        assert [flag["alerts/a"] for flag in flags] == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]

    def test_after_ten_intervals_without_a_value_counting_begins_anew(self) -> None:
        patient = rule("key: latency/p95_ms, above: 5, for: 2")
        assert told(play(patient, p95(9, 9), steps=[0, 10])[0]) == [(10, "firing")]
        assert told(play(patient, p95(9, 9, 9), steps=[0, 11, 12])[0]) == [(12, "firing")]

    def test_what_fires_and_is_not_measured_for_a_day_ends(self) -> None:
        rows = [{"latency/p95_ms": 9.0}, {"latency/p50_ms": 1.0}, {"latency/p50_ms": 1.0}]
        found, flags = play(rule("key: latency/p95_ms, above: 5"), rows, steps=[0, 1440, 1441])
        assert told(found) == [(0, "firing"), (1441, "recovered")]
        assert found[1].text == (
            "latency/p95_ms: not measured for a day, so the alert ends. "
            "It fired at 2026-11-25 00:01 UTC, 24.0 h before."
        )
        assert [flag["alerts/a"] for flag in flags] == [1, 1, 0]


class TestChanges:
    @pytest.mark.parametrize(
        ("limits", "bad", "good"),
        [
            ("rises_by: 2", 12.5, 12),
            ("falls_by: 2", 7, 8),
            ("changes_by: 2", 7.5, 12),
            ("rises_by_percent: 50", 16, 15),
            ("falls_by_percent: 50", 4, 5),
            ("changes_by_percent: 50", 4, 15),
            ("rises_by_percent: 10, rises_by: 4", 15, 14),
            ("rises_by_percent: 40, rises_by: 1", 15, 14),
        ],
    )
    def test_against_the_median_of_the_values_before(self, limits: str, bad: float, good: float) -> None:
        change = rule(f"key: latency/p95_ms, against: 3, {limits}")
        assert told(play(change, p95(10, 100, 1, bad))[0]) == [(3, "firing")]
        assert play(change, p95(10, 100, 1, good))[0] == []

    def test_it_says_how_much_it_is_and_how_much_it_may_be(self) -> None:
        change = rule("key: cost/total_usd, against: 2, rises_by: 1, rises_by_percent: 100")
        found, _ = play(change, [{"cost/total_usd": value} for value in (2, 2, 9, 9, 9, 1)])
        assert [finding.text for finding in found] == [
            "cost/total_usd is 9, 7 (350 %) more than 2, the median of the 2 values before; "
            "1 and 100 % would be allowed. Since 2026-11-25 00:02 UTC.",
            "cost/total_usd is 9, 3.5 (64 %) more than 5.5, the median of the 2 values before. "
            "It fired at 2026-11-25 00:03 UTC, 60 s before.",
        ]

    def test_nothing_is_known_before_there_are_enough_values_nor_in_percent_of_zero(self) -> None:
        change = rule("key: latency/p95_ms, against: 3, rises_by_percent: 10")
        assert play(change, p95(1, 1, None, 99, None))[0] == []
        assert play(change, p95(0, 0, 0, 99))[0] == []
        assert told(play(change, p95(0, 0, 1, 1, 99))[0]) == [(4, "firing")]

    def test_after_ten_intervals_without_a_value_there_is_nothing_to_compare_with(self) -> None:
        change = rule("key: latency/p95_ms, against: 2, rises_by: 1")
        assert told(play(change, p95(1, 1, 9), steps=[0, 1, 11])[0]) == [(11, "firing")]
        assert play(change, p95(1, 1, 9), steps=[0, 1, 12])[0] == []


class TestSeveralConditions:
    ALL = "all: [{key: a/x, above: 5, recover: 3}, {key: a/y, below: 5}]"
    ANY = ALL.replace("all", "any")

    @pytest.mark.parametrize(
        ("x", "y", "fires"),
        [(9, 1, True), (9, 9, False), (1, 1, False), (9, None, False), (None, 1, False), (None, None, False)],
    )
    def test_all(self, x: float | None, y: float | None, fires: bool) -> None:
        assert bool(play(rule(self.ALL), [row(x, y)])[0]) is fires

    @pytest.mark.parametrize(
        ("x", "y", "fires"), [(9, None, True), (None, 1, True), (1, 9, False), (1, None, False), (9, 9, True)]
    )
    def test_any(self, x: float | None, y: float | None, fires: bool) -> None:
        assert bool(play(rule(self.ANY), [row(x, y)])[0]) is fires

    @pytest.mark.parametrize(
        ("x", "y", "recovers"),
        [(9, 9, True), (3, None, True), (4, None, False), (4, 1, False), (None, 5, True)],
    )
    def test_all_recovers_when_one_of_them_has(
        self, x: float | None, y: float | None, recovers: bool
    ) -> None:
        found, _ = play(rule(self.ALL), [row(9, 1), row(x, y)])
        assert (len(found) == 2) is recovers

    @pytest.mark.parametrize(
        ("x", "y", "recovers"),
        [(3, 5, True), (3, None, False), (4, 5, False), (None, 5, False), (9, 5, False)],
    )
    def test_any_recovers_when_all_of_them_have(
        self, x: float | None, y: float | None, recovers: bool
    ) -> None:
        found, _ = play(rule(self.ANY), [row(9, 1), row(x, y)])
        assert (len(found) == 2) is recovers

    def test_accuracy_and_latency_and_errors(self) -> None:
        bad = rule(
            "for: 2, title: Answers are bad and slow, all: [{key: performance/accuracy, below: 0.8}, "
            "{key: latency/p95_ms, above: 2000}, {any: [{key: errors/total_rate_percent, above: 5}, "
            "{key: errors/timeout_count, above: 10}]}]"
        )
        rows = [
            {
                "performance/accuracy": accuracy,
                "latency/p95_ms": latency,
                "errors/total_rate_percent": 7.5,
                "errors/timeout_count": 2,
            }
            for accuracy, latency in ((0.7, 2500), (0.75, 2600), (0.75, 1000), (0.9, 900))
        ]
        found, _ = play(bad, rows)
        assert [(f.step, f.state, f.text) for f in found] == [
            (
                1,
                "firing",
                "performance/accuracy is 0.75, below 0.8 and latency/p95_ms is 2,600, above 2,000 and "
                "errors/total_rate_percent is 7.5, above 5. In 2 intervals of 60 s in a row, "
                "since 2026-11-25 00:00 UTC.",
            ),
            (
                3,
                "recovered",
                "performance/accuracy is 0.9, not below 0.8 and latency/p95_ms is 900, not above 2,000 and "
                "errors/timeout_count is 2, not above 10. In 2 intervals of 60 s in a row. "
                "It fired at 2026-11-25 00:02 UTC, 2 min before.",
            ),
        ]


def row(x: float | None, y: float | None) -> dict[str, float]:
    return {key: value for key, value in (("a/x", x), ("a/y", y)) if value is not None}


class TestWildcards:
    def test_each_key_counts_for_itself_and_all_of_them_are_one_alert(self) -> None:
        slow = rule("key: latency/*_p95_ms, above: 5, for: 2")
        rows: list[Values] = [
            {"latency/a_p95_ms": 9, "latency/b_p95_ms": 1, "latency/p95_ms": 99, "latency/_p95_ms": 99},
            {"latency/a_p95_ms": 1, "latency/b_p95_ms": 9},
            {"latency/a_p95_ms": 6, "latency/b_p95_ms": 8},
            {"latency/a_p95_ms": 7, "latency/b_p95_ms": 1},
            {"latency/a_p95_ms": 1, "latency/b_p95_ms": 1},
            {"latency/a_p95_ms": 1},
        ]
        found, flags = play(slow, rows)
        assert [(f.step, f.state, f.text) for f in found] == [
            (
                2,
                "firing",
                "latency/b_p95_ms is 8, above 5. In 2 intervals of 60 s in a row, "
                "since 2026-11-25 00:01 UTC.",
            ),
            (
                5,
                "recovered",
                "latency/a_p95_ms is 1, not above 5. In 2 intervals of 60 s in a row. "
                "It fired at 2026-11-25 00:03 UTC, 3 min before.",
            ),
        ]
        assert [flag["alerts/a"] for flag in flags] == [0, 0, 1, 1, 1, 0]

    def test_the_worst_are_named_and_the_others_counted(self) -> None:
        values = {f"errors/op{n}_rate_percent": 10.0 + n for n in range(8)}
        (found,), _ = play(rule("key: errors/*_rate_percent, above: 5"), [values])
        assert found.text == (
            "".join(f"errors/op{n}_rate_percent is {10 + n}, above 5. " for n in (7, 6, 5, 4, 3))
            + "3 more are like that. Since 2026-11-25 00:00 UTC."
        )

    def test_conditions_with_wildcards_are_of_the_same_thing(self) -> None:
        both = rule("all: [{key: latency/*_p95_ms, above: 5}, {key: errors/*_rate_percent, above: 5}]")
        of_two = {"latency/a_p95_ms": 9.0, "errors/b_rate_percent": 9.0}
        assert play(both, [of_two])[0] == []
        (found,), _ = play(both, [{**of_two, "errors/a_rate_percent": 7.0}])
        assert found.text == (
            "latency/a_p95_ms is 9, above 5 and errors/a_rate_percent is 7, above 5. "
            "Since 2026-11-25 00:00 UTC."
        )

    def test_a_key_that_vanishes_holds_the_alert_for_a_day(self) -> None:
        slow = rule("key: latency/*_p95_ms, above: 5")
        rows: list[Values] = [{"latency/a_p95_ms": 9}, {"latency/b_p95_ms": 1}, {"latency/b_p95_ms": 1}]
        assert told(play(slow, rows, steps=[0, 1, 1440])[0]) == [(0, "firing")]
        assert told(play(slow, rows, steps=[0, 1, 1441])[0]) == [(0, "firing"), (1441, "recovered")]

    def test_what_is_good_and_past_is_not_kept(self) -> None:
        engine = AlertRules([rule("key: latency/*_p95_ms, above: 5, for: 3")], interval_s=INTERVAL_S)
        for step in range(500):
            engine.evaluate({f"latency/a{step}_p95_ms": 9.0, "latency/b_p95_ms": 1.0}, moment(step))
        assert len(engine.state) < 1000


class TestChangesOfRules:
    def end(self, rules: Sequence[Rule]) -> list[Finding]:
        engine = AlertRules([rule("key: latency/p95_ms, above: 5")], interval_s=INTERVAL_S)
        engine.evaluate({"latency/p95_ms": 9.0}, moment(0))
        engine = AlertRules(rules, interval_s=INTERVAL_S, state=engine.state)
        found = [
            f for step in (1, 2) for f in engine.evaluate({"latency/p95_ms": 9.0}, moment(step)).findings
        ]
        self.state = engine.state
        return found

    def test_one_that_is_taken_out_while_it_fires_says_so(self) -> None:
        (found,) = self.end([])
        assert (found.state, found.title, found.text) == (
            "recovered",
            "A",
            "The rule was taken out while it fired, so the alert ends. "
            "It fired at 2026-11-25 00:01 UTC, 60 s before.",
        )
        assert self.state == b""

    def test_one_that_is_changed_while_it_fires_begins_anew_after_its_cool_down(self) -> None:
        (found,) = self.end([rule("key: latency/p95_ms, above: 6")])
        assert (found.state, found.text) == (
            "recovered",
            "The rule was changed while it fired, so the alert ends. "
            "It fired at 2026-11-25 00:01 UTC, 60 s before.",
        )
        assert told(self.end([rule("key: latency/p95_ms, above: 6, cooldown_s: 0")])) == [
            (1, "recovered"),
            (1, "firing"),
        ]

    def test_one_that_is_only_told_otherwise_goes_on(self) -> None:
        assert (
            self.end([rule("key: latency/p95_ms, above: 5, title: Slow, level: error, cooldown_s: 0")]) == []
        )


# -- whatever the rows are -------------------------------------------------------------------------------

ROWS = st.lists(st.dictionaries(st.sampled_from(KEYS), NUMBERS, max_size=5), max_size=25)
GAPS = st.lists(st.sampled_from((1, 1, 1, 2, 12, 1500)), min_size=25, max_size=25)


@settings(max_examples=150, deadline=None)
@given(any_rules(), ROWS, GAPS)
@example([Rule("a", Limit("latency/p95_ms", "above", 5.0), "a", cooldown_s=0)], p95(9, 1, 9), [1] * 25)
def test_firing_and_recovery_take_turns_and_the_flags_agree(
    rules: list[Rule], rows: list[Values], gaps: list[int]
) -> None:
    steps = [sum(gaps[: n + 1]) for n in range(len(rows))]
    found, flags = play(rules, rows, steps=steps)
    for one in rules:
        own = [finding for finding in found if finding.name == one.name]
        assert [f.state for f in own] == [("firing", "recovered")[n % 2] for n in range(len(own))]
        fired_s = [f.time_s for f in own if f.state == "firing"]
        assert all(later - fired >= one.cooldown_s for fired, later in pairwise(fired_s))
        firing, by_step = 0, {f.step: int(f.state == "firing") for f in own}
        for step, flag in zip(steps, flags, strict=True):
            firing = by_step.get(step, firing)
            assert flag[f"alerts/{one.name}"] == firing


@settings(max_examples=150, deadline=None)
@given(any_rules(), ROWS, GAPS)
def test_a_restart_between_any_two_rows_changes_nothing(
    rules: list[Rule], rows: list[Values], gaps: list[int]
) -> None:
    steps = [sum(gaps[: n + 1]) for n in range(len(rows))]
    assert play(rules, rows, steps=steps, kill=True) == play(rules, rows, steps=steps)


@settings(max_examples=100, deadline=None)
@given(any_rules(), ROWS)
def test_rows_without_any_value_change_nothing_but_the_passing_of_time(
    rules: list[Rule], rows: list[Values]
) -> None:
    doubled = [values for one in rows for values in (one, {"other/key": 1.0})]
    found, _ = play(rules, rows, steps=[2 * n for n in range(len(rows))])
    assert play(rules, doubled, steps=range(len(doubled)))[0] == found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from((0.0, 4.0, 9.0, None)), max_size=30), st.integers(1, 3), st.integers(1, 3))
def test_one_threshold_against_a_count_by_hand(
    values: list[float | None], needed: int, recover_for: int
) -> None:
    one = rule(
        f"key: latency/p95_ms, above: 5, recover: 3, for: {needed}, recover_for: {recover_for}, cooldown_s: 0"
    )
    expected, firing, streak = [], False, 0
    for step, value in enumerate(values):
        if value is None:
            continue
        counts = value <= 3 if firing else value > 5
        streak = streak + 1 if counts else 0
        if streak == (recover_for if firing else needed):
            firing, streak = not firing, 0
            expected.append((step, "firing" if firing else "recovered"))
    if not _has_gap(values):
        assert told(play(one, p95(*values))[0]) == expected


def _has_gap(values: Sequence[float | None]) -> bool:
    known = [n for n, value in enumerate(values) if value is not None]
    return any(later - n > 10 for n, later in pairwise(known))


def test_a_finding_is_named_by_what_it_is_about() -> None:
    found = Finding("a", "A", "warn", "text", "firing", "rag", BEGAN_S, 3, "run")
    told_otherwise = Finding("a", "B", "info", "", "firing", "rag", 0.0, 3, "run")
    assert found.uid("team", "rag") == told_otherwise.uid("team", "rag")
    others = [
        found.uid("team", "x"),
        Finding("b", "A", "warn", "text", "firing", "rag", BEGAN_S, 3, "run").uid("team", "rag"),
        Finding("a", "A", "warn", "text", "recovered", "rag", BEGAN_S, 3, "run").uid("team", "rag"),
        Finding("a", "A", "warn", "text", "firing", "rag", BEGAN_S, 4, "run").uid("team", "rag"),
    ]
    assert len({found.uid("team", "rag"), *others}) == 5
