"""Prices of one's own in Weave, against the real server: written once, and right for every call."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_wandb.delivery.weave import WeaveDelivery
from otel_wandb.delivery.weave_http import WeaveCost
from otel_wandb.delivery.weave_prices import choose_missing, read_wish
from otel_wandb.metrics.pricing import Prices
from otel_wandb.metrics.rates import to_usd
from tests.outbox import PROJECT, House, call, wait_until
from tests.peers.weave import WeavePeer

OWN = {"our-llama*": {"input": 0.5, "output": 1.5, "cache_read": 0.05}}
DEARER = {"our-llama*": {"input": 0.75, "output": 1.5}}
MODEL = "Our-Llama-70B"
USAGE = {"input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200, "requests": 1}
DAY_NS = 86_400_000_000_000
NOON_NS = 1_760_011_200_000_000_000  # 2025-10-09T12:00:00Z
NOON = "2025-10-09T12:00:00.500000Z"


@pytest.fixture
def house(weave_peer: WeavePeer, tmp_path: Path) -> Iterator[House]:
    house = House(weave_peer, tmp_path)
    set_prices(house, OWN)
    yield house
    house.close()


def set_prices(house: House, prices: object) -> None:
    house.configure(prices=json.dumps(prices))


def priced_call(
    number: int,
    house: House,
    *,
    model: str = MODEL,
    started_at: str = NOON,
    usage: dict[str, int] | None = None,
    provider: str | None = None,
) -> bytes:
    """A call with the cost that the house's prices give it."""
    told = {**USAGE, **(usage or {})}
    price = Prices(house.settings.prices).price(provider, model, told, NOON_NS)
    assert price is not None
    cost = {name: getattr(price.to_cost(), name) for name in ("total_usd", "source", "model")}
    summary = {"usage": {model: told}, "cost": cost}
    return call(number, started_at=started_at, ended_at="2025-12-31T00:00:00.000000Z", summary=summary)


def ask(house: House, path: str, **question: object) -> httpx.Response:
    body = {"project_id": PROJECT, **question}
    answer = httpx.post(f"{house.peer.url}/{path}", json=body, auth=("api", house.peer.api_key))
    answer.raise_for_status()
    return answer


def costs_in_weave(house: House) -> list[dict[str, Any]]:
    found = ask(house, "cost/query").json()["results"]
    return sorted(found, key=lambda cost: (cost["llm_id"], cost["effective_date"]))


def cost_columns(house: House) -> dict[str, float]:
    """What Weave says that each call cost, by its id."""
    lines = ask(house, "calls/stream_query", include_costs=True).text.splitlines()
    found = {}
    for told in map(json.loads, lines):
        costs = told["summary"]["weave"].get("costs") or {}
        found[told["id"]] = sum(
            n for c in costs.values() for key, n in c.items() if key.endswith("_total_cost")
        )
    return found


def told_costs(house: House, *ids: str) -> dict[str, float]:
    return {i: json.loads(house.bodies[i])["summary"]["cost"]["total_usd"] for i in ids}


def deliver_until_priced(house: House, delivery: WeaveDelivery) -> None:
    def is_priced() -> bool:
        delivery.deliver_due(deadline_s=0.2)
        return waiting(delivery) == 0

    wait_until(is_priced)


def waiting(delivery: WeaveDelivery) -> object:
    prices = delivery.state()["prices"]
    assert isinstance(prices, dict)
    return prices["waiting"]


def counts(house: House) -> dict[tuple[str, str], int]:
    return {key[1:]: n for key, n in house.store.reader.counts().items() if key[0] == "prices" and n}


def assert_columns_agree(house: House, *ids: str) -> None:
    told = told_costs(house, *ids)
    columns = cost_columns(house)
    assert {i: columns[i] for i in ids} == pytest.approx(told, rel=1e-9)


def test_weaves_own_columns_say_what_the_calls_say(house: House) -> None:
    ids = house.queue(
        priced_call(1, house),
        priced_call(2, house, usage={"cache_read_input_tokens": 600}),
        priced_call(3, house, usage={"cache_read_input_tokens": 300, "cache_creation_input_tokens": 200}),
        priced_call(4, house, usage={"output_tokens": 0, "total_tokens": 1000}),
    )
    house.deliver()
    assert_columns_agree(house, *ids)
    (cost,) = costs_in_weave(house)
    assert cost["llm_id"] == MODEL, "a pattern is written for the models that it has priced, by their names"
    assert cost["effective_date"].startswith("2025-10-09T00:00:00"), "calls of the day come in any order"
    assert counts(house) == {("written", ""): 1}


def test_a_restart_and_another_bridge_write_nothing_again(house: House, tmp_path: Path) -> None:
    house.queue(priced_call(1, house))
    house.deliver()
    house.queue(priced_call(2, house))
    house.deliver()
    house.restart()
    house.queue(priced_call(3, house))
    house.deliver()
    (tmp_path / "other").mkdir()
    other = House(house.peer, tmp_path / "other")
    try:
        set_prices(other, OWN)
        other.queue(priced_call(4, other))
        other.deliver()
        assert counts(other) == {}
    finally:
        other.close()
    assert len(costs_in_weave(house)) == 1
    assert counts(house) == {("written", ""): 1}
    assert len(house.peer.requests("cost/create")) == 1


def test_weave_is_not_asked_again_for_calls_of_the_same_day(house: House) -> None:
    delivery = house.delivery()
    for number in range(1, 4):
        house.queue(priced_call(number, house))
        house.deliver(delivery)
    assert len(house.peer.requests("cost/query")) == 1


def test_a_changed_price_holds_from_the_first_call_that_it_priced(house: House) -> None:
    before = house.queue(priced_call(1, house))
    house.deliver()
    house.restart()
    set_prices(house, DEARER)
    after = house.queue(priced_call(2, house, started_at="2025-10-09T15:00:00.250000Z"))
    house.deliver()
    assert_columns_agree(house, *before, *after)
    first, second = costs_in_weave(house)
    assert second["effective_date"].startswith("2025-10-09T15:00:00")
    assert (first["prompt_token_cost"], second["prompt_token_cost"]) == pytest.approx((0.5e-6, 0.75e-6))
    assert second["cache_read_input_token_cost"] == pytest.approx(0.75e-6), "without its own: as other input"


def test_older_calls_than_the_first_are_priced_as_well(house: House) -> None:
    set_prices(house, {"gpt-4o": {"input": 7.0, "output": 9.0}})
    ids = house.queue(priced_call(2, house, model="gpt-4o", started_at="2025-10-09T12:00:00.000000Z"))
    house.deliver()
    ids += house.queue(priced_call(3, house, model="gpt-4o", started_at="2025-03-01T09:00:00.000000Z"))
    house.deliver()
    assert_columns_agree(house, *ids)
    assert len(costs_in_weave(house)) == 2, "each in force from its day on"


def test_what_the_project_has_already_is_left_alone(house: House) -> None:
    given = {
        "prompt_token_cost": 0.5e-6,
        "completion_token_cost": 1.5e-6,
        "effective_date": "2025-01-01T00:00:00Z",
    }
    cached = {"cache_read_input_token_cost": 0.05e-6, "cache_creation_input_token_cost": 0.5e-6}
    ask(house, "cost/create", costs={MODEL: {**given, **cached}})
    ids = house.queue(priced_call(1, house))
    house.deliver()
    assert len(costs_in_weave(house)) == 1
    assert_columns_agree(house, *ids)


def test_calls_without_a_price_of_ones_own_ask_for_nothing(house: House) -> None:
    cost = {"total_usd": 1.0, "source": "genai-prices 0.1", "model": "gpt-4o"}
    house.queue(call(1, summary={"usage": {"gpt-4o": USAGE}, "cost": cost}), call(2))
    house.deliver()
    assert house.peer.requests("cost/") == []


@pytest.mark.parametrize("fault", ["503:count=1", "500:count=1", "reset:count=1", "200:count=1,body=oops"])
@pytest.mark.parametrize("path", ["cost/query", "cost/create"])
def test_a_fault_costs_no_call_and_writes_nothing_twice(house: House, path: str, fault: str) -> None:
    house.peer.faults(f"{fault},path={path}")
    delivery = house.delivery()
    ids = house.queue(priced_call(1, house))
    house.deliver(delivery)
    house.assert_each_once(*ids)
    assert counts(house)["failed", ""] == 1
    deliver_until_priced(house, delivery)
    assert len(costs_in_weave(house)) == 1
    assert_columns_agree(house, *ids)


def test_a_lost_answer_writes_nothing_twice(house: House) -> None:
    house.peer.faults("reset:phase=after,count=1,path=cost/create")
    delivery = house.delivery()
    house.queue(priced_call(1, house))
    house.deliver(delivery)
    deliver_until_priced(house, delivery)
    assert len(costs_in_weave(house)) == 1
    assert len(house.peer.requests("cost/create")) == 1


def test_a_server_without_costs_keeps_no_call_waiting(house: House) -> None:
    house.peer.faults("404:path=cost/")
    delivery = house.delivery()
    for number in range(1, 6):
        ids = house.queue(priced_call(number, house))
        house.deliver(delivery)
        assert ids[0] in {accepted.id for accepted in house.peer.accepted()}
    prices = delivery.state()["prices"]
    assert isinstance(prices, dict)
    assert prices["waiting"] == 1
    assert "404" in prices["problem"]


def test_what_could_not_be_written_is_written_after_a_restart(house: House) -> None:
    house.peer.faults("503:path=cost/")
    ids = house.queue(priced_call(1, house))
    house.deliver()
    house.peer.faults()
    assert costs_in_weave(house) == []
    house.restart()
    deliver_until_priced(house, house.delivery())
    assert_columns_agree(house, *ids)


def test_offline_nothing_is_asked(house: House) -> None:
    house.configure(mode="offline")
    house.queue(priced_call(1, house))
    house.delivery().deliver_due(deadline_s=0.5)
    assert house.peer.requests("cost/") == []


def test_prices_of_several_providers_cannot_be_told_apart_by_weave(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    here = {"our-llama*": {"input": 1.0, "output": 1.0, "provider": "azure"}}
    there = {"our-*": {"input": 2.0, "output": 2.0, "provider": "groq"}}
    set_prices(house, {**here, **there})
    with caplog.at_level(logging.WARNING):
        house.queue(priced_call(1, house, provider="azure"), priced_call(2, house, provider="groq"))
        house.deliver()
    assert [cost["prompt_token_cost"] for cost in costs_in_weave(house)] == pytest.approx([1e-6])
    assert "one price a model" in caplog.text
    house.restart()
    house.queue(priced_call(3, house, provider="groq"))
    house.deliver()
    assert len(costs_in_weave(house)) == 1, "and it does not change back and forth"
    assert counts(house) == {("written", ""): 1, ("left_out", "differs"): 1}


def test_a_cost_that_weave_would_not_compute_asks_for_no_price(house: House) -> None:
    own = Prices(house.settings.prices)
    body = json.loads(priced_call(1, house))
    assert read_wish(own, json.dumps(body).encode()) is not None
    body["summary"]["cost"]["total_usd"] *= 1.01
    assert read_wish(own, json.dumps(body).encode()) is None
    assert read_wish(own, b'{"summary": "[redacted]"}') is None


def test_a_price_comes_into_force_where_there_was_another() -> None:
    own = Prices(json.dumps(OWN))
    rates = own.find_own(MODEL)["our-llama*"]
    wish = read_wish(own, json.dumps(_body(to_usd(1000 * (rates.input or 0)))).encode())
    assert wish is not None
    same = WeaveCost(MODEL, NOON_NS - DAY_NS, wish.input, wish.output, wish.cache_read, wish.cache_write)
    other = same._replace(input=9.0)
    assert choose_missing([wish], [same], own) == {}
    assert choose_missing([wish], [same, other._replace(from_ns=NOON_NS - 1)], own)[MODEL].from_ns == NOON_NS
    assert choose_missing([wish], [same, other._replace(from_ns=NOON_NS + 1)], own) == {}
    assert (
        choose_missing([wish], [other._replace(model="another")], own)[MODEL].from_ns == NOON_NS - DAY_NS / 2
    )


def _body(total_usd: float) -> dict[str, object]:
    cost = {"total_usd": total_usd, "source": "config", "model": "our-llama*"}
    return {"started_at": NOON, "summary": {"usage": {MODEL: {"input_tokens": 1000}}, "cost": cost}}


def test_prices_that_calls_may_have_by_their_names() -> None:
    own = Prices(
        json.dumps(
            {
                "gpt-4o": {"input": 1.0, "provider": "azure"},
                "gpt-*": {"input": 2.0},
                "*": {"input": 3.0},
            }
        )
    )
    assert list(own.find_own("GPT-4o")) == ["gpt-4o", "gpt-*"], "what comes after them is for no call of it"
    assert list(own.find_own("gpt-5")) == ["gpt-*"]
    assert list(own.find_own("llama")) == ["*"]
