"""What the demo draws, to the letter."""

from __future__ import annotations

import json

from otel_wandb.demo import choose_trace
from otel_wandb.demo_views import CallView, Usage, draw_rows, draw_table, draw_talk, draw_tree, read_call

_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_STARTS = "2026-11-25T03:07:32"


def _call(
    name: str,
    call_id: str,
    parent: str | None = None,
    begin_ms: int = 0,
    end_ms: int = 0,
    trace_id: str = _TRACE,
    **more: object,
) -> CallView:
    document = {
        "id": call_id,
        "trace_id": trace_id,
        "op_name": name,
        "started_at": f"{_STARTS}.{begin_ms:03}000Z",
        "ended_at": f"{_STARTS}.{end_ms:03}000Z",
        **({"parent_id": parent} if parent else {}),
        **more,
    }
    return read_call(json.dumps(document).encode())


def _usage(model: str = "gpt-4o-mini-2024-07-18", **counts: int) -> dict[str, object]:
    return {"usage": {model: {"requests": 1, **counts}}, "status_counts": {"success": 1, "error": 0}}


def _chat_trace() -> list[CallView]:
    spent = _usage(
        input_tokens=1204,
        output_tokens=96,
        cache_read_input_tokens=512,
        reasoning_tokens=64,
        total_tokens=1300,
    )
    spent["cost"] = {"total_usd": 0.000199}
    return [
        _call("POST", "d", "c", 30, 890, output={"status_code": 200}),
        _call("chat gpt-4o-mini", "c", "a", 12, 900, summary=spent),
        _call("retrieval documentation", "b", "a", 2, 11, output={"documents": [{"id": "1"}, {"id": "2"}]}),
        _call(
            "POST /chat",
            "a",
            None,
            0,
            905,
            inputs={"input": "What survives\na SIGKILL?"},
            output={"status_code": 200, "output": "All that was acknowledged."},
        ),
    ]


def test_a_trace_is_a_tree_in_the_order_of_its_times() -> None:
    assert (
        draw_tree(_chat_trace())
        == """\
POST /chat                                    +0.000 s    0.905 s  200
├─ retrieval documentation                    +0.002 s    0.009 s  2 documents
└─ chat gpt-4o-mini                           +0.012 s    0.888 s  \
1,204 tokens in (512 cached), 96 out (64 reasoning), $0.000199
   └─ POST                                    +0.030 s    0.860 s  200"""
    )


def test_long_names_are_cut_failures_are_named_and_orphans_are_roots() -> None:
    calls = [
        _call("a name that is longer than the column that names have", "a", "not here", 5, 6, exception="{}"),
        _call("later", "b", "nor this", 7, 9),
    ]
    assert (
        draw_tree(calls)
        == """\
a name that is longer than the column that …  +0.000 s    0.001 s  failed
later                                         +0.002 s    0.002 s"""
    )


def test_nothing_is_drawn_of_no_calls() -> None:
    assert draw_tree([]) == ""
    assert draw_talk([]) == ""


def test_question_and_answer_stand_on_a_line_each() -> None:
    assert draw_talk(_chat_trace()) == (
        "question  What survives a SIGKILL?\nanswer    All that was acknowledged."
    )


def test_a_table_has_its_numbers_to_the_right() -> None:
    assert (
        draw_table([["", "a", "long head"], ["first", "1,000", "2"], ["x", "3", "-"]])
        == """\
           a  long head
first  1,000          2
x          3          -"""
    )


def test_rows_of_charts_are_lines_and_columns_without_values_are_left_out() -> None:
    rows = [
        (
            1_795_576_030.0,
            {"throughput/requests_per_second": 12.34, "latency/p50_ms": 151.4, "tokens/input": 1234567},
        ),
        (1_795_576_040.0, {"latency/p50_ms": 148.0, "cost/total_usd": 0.01234, "latency/other": 1}),
    ]
    assert (
        draw_rows(rows)
        == """\
until (UTC)  req/s  p50 ms  tokens in  cost USD
03:07:10      12.3     151  1,234,567         -
03:07:20         -     148          -    0.0123"""
    )


def test_usage_of_several_models_adds_up() -> None:
    document = {"usage": {"a": {"input_tokens": 3, "output_tokens": 1}, "b": {"input_tokens": 4}}}
    assert _call("chat", "a", summary=document).usage == Usage(input_tokens=7, output_tokens=1)


def test_the_trace_that_is_shown_is_the_slowest_answer_that_did_not_fail() -> None:
    answered = _usage(input_tokens=1, output_tokens=1)
    calls = [
        _call("quick", "a", None, 0, 10, "1" * 32, summary=answered),
        _call("slow", "b", None, 0, 500, "2" * 32, summary=answered),
        _call("failed", "c", None, 0, 900, "3" * 32, summary=answered, exception="{}"),
        _call("no model", "d", None, 0, 950, "4" * 32),
    ]
    assert [call.op_name for call in choose_trace(calls)] == ["slow"]
    assert choose_trace(calls[3:]) == []
