"""The demo's own check finds what is missing, what is there twice, and what differs."""

from __future__ import annotations

import json
from collections import Counter

import msgspec

from otel_wandb.demo_check import (
    ModelAnswer,
    Record,
    count_calls,
    find_cost_faults,
    find_faults,
    find_row_faults,
)
from otel_wandb.demo_load import Outcome, Planned, plan_requests
from otel_wandb.demo_views import CallView, Usage, read_call

_CHAT = Planned("POST", "/chat", "", {"question": "why?"}, "ada")
_OUTCOMES = [
    Outcome(_CHAT, 200, 0.1),
    Outcome(_CHAT, 429, 0.1),
    Outcome(Planned("POST", "/chat", "", {"question": ""}, "ada"), 422, 0.1),
    Outcome(Planned("GET", "/search", "q=why", None, "ada"), 200, 0.1),
    Outcome(Planned("GET", "/chat/history", "", None, "ada"), 404, 0.1),
    Outcome(Planned("GET", "/healthz", "", None, "ada"), 200, 0.1),
]
_RECORD = Record(
    (
        ModelAnswer("r-1", 200, 100, 64, 20, 8),
        ModelAnswer("r-2", 429, 0, 0, 0, 0),
        ModelAnswer("r-3", 429, 0, 0, 0, 0),
    )
)


def _call(kind: str, *, output: object = None, summary: object = None, **attributes: object) -> CallView:
    inputs = attributes.pop("inputs", {})
    document = {
        "id": "a",
        "trace_id": "b",
        "op_name": kind,
        "started_at": "2026-11-25T03:07:32Z",
        "ended_at": "2026-11-25T03:07:33Z",
        "attributes": {"kind": kind, **attributes},
        "inputs": inputs,
        "output": output,
        "summary": summary or {},
    }
    return read_call(json.dumps(document).encode())


def _calls() -> list[CallView]:
    calls = [
        _call(
            "http",
            span_kind="server",
            inputs={"method": outcome.planned.method, "path": outcome.planned.path},
            output={"status_code": outcome.status},
        )
        for outcome in _OUTCOMES
    ]
    calls += [_call("retrieval") for _ in range(3)]
    usage = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 64, "reasoning_tokens": 8}
    calls += [_call("chat", response_id="r-1", summary={"usage": {"m": usage}}), _call("chat")]
    calls += [_call("http", span_kind="client", output={"status_code": n}) for n in (200, 429, 429)]
    return calls


def test_what_agrees_has_no_faults() -> None:
    assert find_faults(_calls(), _OUTCOMES, _RECORD) == []
    assert count_calls(_OUTCOMES, _RECORD) == len(_calls())
    assert count_calls(_OUTCOMES, None) == len(_calls()) - 1  # the retry is on no record


def test_every_call_that_is_missing_or_there_twice_is_a_fault() -> None:
    calls = _calls()
    for place, call in enumerate(calls):
        assert find_faults([*calls[:place], *calls[place + 1 :]], _OUTCOMES, _RECORD), call
        assert find_faults([*calls, call], _OUTCOMES, _RECORD), call


def test_faults_say_what_and_how_many() -> None:
    assert find_faults(_calls()[1:], _OUTCOMES, _RECORD) == ["1 requests missing, such as POST /chat 200"]
    fewer = [call for call in _calls() if call.attributes.kind != "retrieval"]
    assert find_faults(fewer, _OUTCOMES, _RECORD) == ["3 calls missing, such as retrieval"]


def test_tokens_that_differ_are_a_fault() -> None:
    answer = msgspec.structs.replace(_RECORD.answers[0], output_tokens=21)
    assert answer.usage == Usage(100, 21, 64, 8)
    assert find_faults(_calls(), _OUTCOMES, Record((answer, *_RECORD.answers[1:])))


def test_a_request_without_an_answer_is_a_fault() -> None:
    lost = Outcome(_CHAT, 0, 60.0, "TimeoutError: timed out")
    (fault, *_) = find_faults(_calls(), [*_OUTCOMES, lost], None)
    assert fault == "POST /chat had no answer: TimeoutError: timed out"


def test_each_request_and_each_token_is_in_one_row() -> None:
    rows: list[dict[str, object]] = [
        {"latency/count": 4, "tokens/input": 60},
        {"tokens/output": 20.0},
        {"latency/count": 2},
    ]
    assert find_row_faults(rows, _OUTCOMES, None) == []
    assert find_row_faults(rows, _OUTCOMES, _RECORD) == [
        "tokens/input of the charts adds up to 60, not to 100"
    ]
    assert find_row_faults([{"latency/count": 7}], _OUTCOMES, None) == [
        "latency/count of the charts adds up to 7, not to 6"
    ]
    assert find_row_faults([], _OUTCOMES, None) == ["latency/count of the charts adds up to 0, not to 6"]


def test_the_plan_is_the_same_for_a_seed_and_has_something_of_everything() -> None:
    plan = plan_requests(300, seed=7)
    assert plan == plan_requests(300, seed=7)
    assert plan != plan_requests(300, seed=8)
    paths = Counter(planned.path for planned in plan)
    assert set(paths) == {"/chat", "/chat/stream", "/search", "/healthz", "/chat/history"}
    assert len({planned.user for planned in plan}) >= 3
    assert {planned.body["model"] for planned in plan if planned.body and "model" in planned.body} == {
        "gpt-4o-mini",
        "gpt-4o",
        "o4-mini",
    }
    assert all("model" not in (planned.body or {}) for planned in plan_requests(50, seed=7, models=()))


def test_the_charts_cost_what_the_calls_do() -> None:
    calls = [_call("chat", summary={"cost": {"total_usd": usd}}) for usd in (0.1, 0.2)] + [_call("http")]
    assert find_cost_faults([{"cost/total_usd": 0.3}, {}], calls) == []
    assert find_cost_faults([{"tokens/input": 5}], []) == []
    assert find_cost_faults([{"cost/total_usd": 0.1}], calls) == [
        "cost/total_usd of the charts adds up to 0.1, not to 0.3 as the calls do"
    ]
