"""Tables by the hour, or when they are asked for; and which traces stand behind the points of charts."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.metrics.intervals import Calendar, Interval
from otel_wandb.metrics.runs import RunSeries
from otel_wandb.tables.columns import Table, encode_row, make_row
from otel_wandb.tables.hours import ChartPoint, Tables
from otel_wandb.tables.nearest import Candidate, Nearest
from otel_wandb.tables.points import find_points
from otel_wandb.tables.sampling import Draw, Item
from otel_wandb.traces.request_samples import RequestSample
from otel_wandb.traces.request_texts import RequestText
from tests.spends import MIDNIGHT_S, S

SERIES = RunSeries("", "team", "rag", "rag")
CALENDAR = Calendar()


def minute(number: int) -> Interval:
    return CALENDAR.interval_at((MIDNIGHT_S + 60 * number + 1) * S)


def request(number: int, second: float, *, latency_ms: int = 100, failed: bool = False) -> RequestSample:
    end_ns = int((MIDNIGHT_S + second) * S)
    return RequestSample(
        f"{number:032x}",
        f"{number:016x}",
        f"{number:016x}",
        "POST /chat",
        failed,
        end_ns - latency_ms * 1_000_000,
        end_ns,
    )


class House:
    """Tables, and a store of their states."""

    def __init__(self, rows: int = 10) -> None:
        self.rows = rows
        self.tables = Tables()
        self.states: dict[str, bytes] = {}

    def add(self, one: RequestSample, number: int) -> None:
        def make(draw: Draw) -> Item:
            return Item(*draw, one.end_ns, encode_row(make_row(one, RequestText(f"question {one.span_id}"))))

        self.tables.add(one, series=SERIES, interval=minute(number), rows=self.rows, make_item=make)

    def close(self, number: int, *points: ChartPoint, last: bool = False) -> dict[str, list[dict[str, Any]]]:
        return read(self.tables.close(SERIES, minute(number), points, last=last))

    def commit(self, *, kill: bool = False) -> list[int]:
        """Store the states; and begin anew with them. The hours for which rows are wanted, as minutes."""
        for name, state in self.tables.take_states():
            if state:
                self.states[name] = state
            else:
                self.states.pop(name, None)
        if not kill:
            return []
        self.tables = Tables()
        wanted = self.tables.restore(self.states.items())
        return [int((end_ns // S - MIDNIGHT_S) // 60) - 1 for _, end_ns in wanted]


def read(tables: list[Table]) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for table in tables:
        told = json.loads(table.body)
        names = [name for name, _ in told["columns"]]
        found[table.name] = [dict(zip(names, row, strict=True)) for row in told["rows"]]
    return found


class TestFlush:
    def test_a_table_that_is_asked_for_comes_with_the_next_row(self) -> None:
        house = House()
        house.tables.flush(SERIES)  # there is nothing yet
        house.add(request(1, 30), 0)
        assert house.close(0) == {}
        house.add(request(2, 90), 1)
        house.tables.flush(SERIES)
        assert [row["trace"][-1] for row in house.close(1)["requests"]] == ["1", "2"]
        house.add(request(3, 150), 2)
        assert house.close(2) == {}
        assert [row["trace"][-1] for row in house.close(59)["requests"]] == ["3"]
        house.commit()
        assert house.states == {}

    def test_what_is_in_later_intervals_waits(self) -> None:
        house = House()
        house.add(request(1, 30), 0)
        house.add(request(2, 90), 1)
        house.tables.flush(SERIES)
        assert [row["trace"][-1] for row in house.close(0)["requests"]] == ["1"]

    def test_an_hour_gives_only_a_few_tables(self) -> None:
        house, given = House(), 0
        for number in range(60):
            house.add(request(number, 60 * number + 1), number)
            house.tables.flush(SERIES)
            given += bool(house.close(number))
        assert given == 5
        house.add(request(99, 3601), 60)
        house.tables.flush(SERIES)
        assert house.close(60)

    def test_after_a_flush_the_hour_still_ends_with_a_row(self) -> None:
        house = House()
        house.add(request(1, 30), 0)
        house.tables.flush(SERIES)
        house.close(0)
        assert house.commit(kill=True) == [0], "a row is wanted for the hour of that minute"
        assert house.close(59) == {}
        house.commit()
        assert house.states == {}


COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 60), st.integers(0, 5)),
        st.tuples(st.just("row"), st.just(0), st.just(0)),
        st.tuples(st.just("flush"), st.just(0), st.just(0)),
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class TestEnds:
    def test_a_process_that_ends_gives_out_what_there_is_a_few_times_an_hour(self) -> None:
        house, given = House(), []
        assert not house.tables.end_early()
        for number in range(8):
            house.add(request(number, 60 * number + 1), number)
            if house.tables.end_early():
                given.append(len(house.close(number, last=True)["requests"]))
                assert not house.tables.end_early(), "nothing is left"
            house.commit(kill=True)
        assert given == [1, 1, 1, 1]
        assert len(house.close(59)["requests"]) == 4
        house.add(request(9, 3601), 60)
        assert house.tables.end_early(), "the next hour has begun"


class TestRestarts:
    @settings(max_examples=150, deadline=None)
    @given(COMMANDS, st.data())
    def test_kills_change_no_table(self, commands: list[tuple[str, int, int]], data: st.DataObject) -> None:
        kills = data.draw(st.lists(st.booleans(), min_size=len(commands), max_size=len(commands)))
        assert play(commands, kills) == play(commands, [False] * len(commands))


def play(commands: list[tuple[str, int, int]], kills: list[bool]) -> list[object]:
    """The tables of some minutes, and the states at the end. A row is stored at once, as are its tables."""
    house, number, minutes, found = House(), 0, 0, list[object]()
    for (what, amount, failed), kill in zip(commands, kills, strict=True):
        if what == "add":
            for _ in range(amount):
                number += 1
                one = request(number, 60 * minutes + 5, latency_ms=(number * 37) % 1000, failed=failed == 0)
                house.add(one, minutes + failed % 2)
            house.commit(kill=kill)
        elif what == "row":
            found.append(house.close(minutes, ChartPoint(None, "p95", 500.0)))
            minutes += 7
            house.commit(kill=kill)
        elif what == "flush":  # an alert is found when a row is made: both are one transaction
            house.tables.flush(SERIES)
            found.append(house.close(minutes))
            minutes += 1
            house.commit(kill=kill)
        else:
            house.commit(kill=kill)
    found.append(house.close(minutes + 1, last=True))
    house.commit()
    return [*found, house.states]


class TestNearest:
    @given(st.lists(st.integers(1, 10**11), min_size=1, max_size=300), st.floats(0.001, 10**5))
    def test_the_nearest_is_found(self, latencies: list[int], value_ms: float) -> None:
        nearest = Nearest()
        for order, latency_ns in enumerate(latencies):
            nearest.add(Candidate("a", latency_ns, order, f"{order:032x}", f"{order:016x}"))
        chosen = nearest.choose(None, value_ms * 1e6)
        assert chosen == nearest.choose("a", value_ms * 1e6)
        assert chosen is not None
        best = min(latencies, key=lambda latency_ns: abs(latency_ns - value_ms * 1e6))
        assert abs(chosen.latency_ns - value_ms * 1e6) <= abs(best - value_ms * 1e6) + best / 15
        slowest = nearest.choose(None, 1e12)
        assert slowest is not None
        assert slowest.latency_ns == max(latencies)

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 10**9)), max_size=80), st.randoms())
    def test_the_order_does_not_matter(self, requests: list[tuple[str, int]], dice: Any) -> None:
        candidates = [
            Candidate(name, latency_ns, order, f"{order:032x}", "")
            for order, (name, latency_ns) in enumerate(requests)
        ]
        asked = [(name, 10.0**power) for name in (None, "a", "b", "c") for power in range(11)]
        first, second, third = Nearest(), Nearest(), Nearest()
        for one in candidates:
            first.add(one)
        for i, one in enumerate(dice.sample(candidates, len(candidates))):
            second.add(one)
            if i % 7 == 0:
                third.restore(second.take_fresh())
        third.restore(second.take_fresh())
        chosen = [first.choose(*one) for one in asked]
        assert chosen == [second.choose(*one) for one in asked] == [third.choose(*one) for one in asked]

    def test_only_kept_traces_are_linked(self) -> None:
        nearest = Nearest()
        for order, latency_ns in enumerate((100, 200, 400)):
            nearest.add(Candidate("a", latency_ns, order, f"trace-{order}", ""))
        chosen = nearest.choose(None, 199, lambda trace_id: trace_id != "trace-1")
        assert chosen is not None
        assert chosen.trace_id == "trace-0"
        assert nearest.choose(None, 199, lambda trace_id: False) is None
        assert nearest.choose("b", 199) is None

    def test_points_are_read_off_a_row(self) -> None:
        values = {
            "latency/p50_ms": 5.0,
            "latency/mean_ms": 6.0,
            "latency/POST_chat_max_ms": 7,
            "latency/POST_chat_count": 3,
            "latency/other_p95_ms": 8.0,
            "errors/total_count": 1,
        }
        assert find_points(values, {"POST_chat": "POST /chat"}) == [
            ChartPoint(None, "p50", 5.0),
            ChartPoint("POST /chat", "max", 7.0),
            ChartPoint("other", "p95", 8.0),
        ]

    def test_points_of_an_hour_are_limited_and_the_slowest_operations_go_first(self) -> None:
        house = House()
        for number in range(60):
            house.add(request(number, 60 * number + 1), number)
        points = [ChartPoint(None, name, 1.0) for name in ("p50", "p95", "p99", "max")]
        for i in range(20):
            points += [ChartPoint(f"op-{i}", name, float(i)) for name in ("p50", "p95", "p99", "max")]
        points.append(ChartPoint("POST /chat", "p50", 3.0))
        for number in range(59):
            house.close(number, *points)
        told = house.close(59, *points)["slow_requests"]
        assert len(told) == 60 * 5, "only of what has requests there is a trace"
        assert [row["operation"] for row in told[:5]] == [None, None, None, None, "POST /chat"]
