"""Two spans of one model call count once: one in the other, side by side, in traces of their own."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from otel_wandb.records import Attributes, Resource, Scope, Span
from otel_wandb.traces.calls import shape_trace
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.joins import ModelCall, ModelCalls, join_calls
from otel_wandb.traces.tree import Tree
from tests.genai_spans import RESOURCE, TRACE_ID, calls_of, chat, encode, make_span, make_trace, text_message
from tests.spends import Works, traces
from tests.spends import chat as wire_chat

DETAILS: Attributes = {
    "gen_ai.usage.cache_read.input_tokens": 16,
    "gen_ai.usage.reasoning.output_tokens": 4,
}
FULL = {
    "input_tokens": 25,
    "output_tokens": 12,
    "total_tokens": 37,
    "cache_read_input_tokens": 16,
    "reasoning_tokens": 4,
}
"""What spans with the details of 25 and 12 tokens tell."""


def answered(response_id: str = "chatcmpl-1", given: int = 25, made: int = 12, **more: Any) -> Attributes:
    return chat(given, made, gen_ai__response__id=response_id, **more)


def usage_of(call: Any) -> dict[str, int] | None:
    usage = call["summary"].get("usage")
    return next(iter(usage.values())) if usage else None


def reported_of(call: Any) -> tuple[object, object]:
    return call["attributes"].get("reported_usage"), call["attributes"].get("same_call_as")


class TestInsideEachOther:
    def test_the_inner_one_counts_what_only_the_outer_one_tells(self) -> None:
        calls = calls_of(
            make_trace(make_span(1, answered() | DETAILS), make_span(2, answered(), parent=1, start_ms=1))
        )
        assert usage_of(calls[2]) == FULL | {"requests": 1}
        assert usage_of(calls[1]) is None
        assert reported_of(calls[1]) == (FULL, {"trace_id": TRACE_ID, "span_id": f"{2:016x}"})

    def test_details_of_other_tokens_are_not_taken(self) -> None:
        """The outer one has the reasoning in its output twice, as ADK's has."""
        calls = calls_of(
            make_trace(
                make_span(1, answered(made=16) | DETAILS), make_span(2, answered(), parent=1, start_ms=1)
            )
        )
        assert usage_of(calls[2]) == {
            "input_tokens": 25,
            "output_tokens": 12,
            "total_tokens": 37,
            "requests": 1,
        }

    def test_a_stream_whose_client_knows_only_its_output(self) -> None:
        inner = chat(None, 12, gen_ai__response__id="chatcmpl-1")
        calls = calls_of(make_trace(make_span(1, answered()), make_span(2, inner, parent=1, start_ms=1)))
        assert usage_of(calls[2]) == {
            "input_tokens": 25,
            "output_tokens": 12,
            "total_tokens": 37,
            "requests": 1,
        }

    def test_two_calls_inside_one_span_are_no_details_of_each_other(self) -> None:
        calls = calls_of(
            make_trace(
                make_span(1, chat(50, 24) | DETAILS),
                make_span(2, answered("a"), parent=1, start_ms=1, ms=2),
                make_span(3, answered("b"), parent=1, start_ms=5, ms=2),
            )
        )
        spent = {"input_tokens": 25, "output_tokens": 12, "total_tokens": 37, "requests": 1}
        assert [usage_of(calls[n]) for n in (1, 2, 3)] == [None, spent, spent]
        assert reported_of(calls[1])[1] is None, "it is of several calls"


def beside(one: Attributes, other: Attributes, *, start_ms: int = 2) -> list[dict[str, int] | None]:
    """The usage of two spans side by side: one that takes a second, and another within it or after."""
    calls = calls_of(
        make_trace(
            make_span(1, ms=5000),
            make_span(2, one, parent=1, ms=1000),
            make_span(3, other, parent=1, start_ms=start_ms, ms=5),
        )
    )
    return [usage_of(calls[2]), usage_of(calls[3])]


class TestSideBySide:
    def test_the_one_that_began_last_counts_what_both_tell(self) -> None:
        assert beside(answered() | DETAILS, answered()) == [None, FULL | {"requests": 1}]
        assert beside(answered(), answered() | DETAILS) == [None, FULL | {"requests": 1}]

    @pytest.mark.parametrize(
        "other",
        [
            answered(given=9) | DETAILS,
            answered(made=8) | DETAILS,
            answered(made=16) | DETAILS,
            chat(25, None, gen_ai__response__id="chatcmpl-1"),
        ],
    )
    def test_producers_count_parts_beside_the_whole_or_in_it(self, other: Attributes) -> None:
        assert sum(usage is not None for usage in beside(answered(), other)) == 1

    @pytest.mark.parametrize(
        ("other", "start_ms"),
        [
            (answered("chatcmpl-2"), 2),
            (chat(25, 12), 2),
            (answered(made=13), 2),
            (answered(given=26), 2),
            (answered(), 1001),
        ],
    )
    def test_nothing_weaker_than_id_and_time_and_tokens_joins(self, other: Attributes, start_ms: int) -> None:
        assert None not in beside(answered(), other, start_ms=start_ms)

    def test_an_agent_that_tells_the_response_of_its_only_call(self) -> None:
        agent = answered() | {"gen_ai.operation.name": "invoke_agent"}
        assert beside(agent, answered()) == [
            None,
            {"input_tokens": 25, "output_tokens": 12, "total_tokens": 37, "requests": 1},
        ]


def grow(
    number: int,
    attributes: Attributes,
    *,
    start_ms: int = 0,
    ms: int = 10,
    resource: Resource = RESOURCE,
    scope: str = "",
) -> Tree:
    """A trace of one span, whose id is also that of the trace."""
    span = msgspec.structs.replace(
        make_span(number, attributes, start_ms=start_ms, ms=ms), trace_id=f"{number:032x}"
    )
    placed = (Placed(span, Scope(scope), resource, "0" * 16),)
    return Tree(FinishedTrace(span.trace_id, placed, "ended", complete=True), fold_asgi=True)


def project_of(placed: Placed) -> tuple[str, str]:
    return "team", str(placed.resource.attributes.get("wandb.project", "rag"))


def join(known: ModelCalls, *batches: list[Tree]) -> list[int]:
    """The numbers of the spans that count, with the batches given out one after the other."""
    counted = []
    for batch in batches:
        nodes = [node for tree in batch for node in tree.nodes]
        join_calls(nodes, project_of, known)
        counted += [int(node.span.span_id, 16) for node in nodes if node.usage is not None]
    return counted


class TestTracesOfTheirOwn:
    def test_of_two_given_out_together_the_inner_one_counts(self) -> None:
        outer, inner = grow(1, answered() | DETAILS), grow(2, answered(), start_ms=1, ms=8)
        assert join(ModelCalls(), [outer, inner]) == [2]
        assert inner.nodes[0].usage == FULL | {"requests": 1}
        assert outer.nodes[0].same_call == (f"{2:032x}", f"{2:016x}")

    def test_of_two_given_out_one_after_the_other_the_first_counts(self) -> None:
        known = ModelCalls()
        outer = grow(2, answered() | DETAILS)
        assert join(known, [grow(1, answered(), start_ms=1)], [outer], [grow(3, answered())]) == [1]
        assert outer.nodes[0].reported == FULL
        assert outer.nodes[0].same_call == (f"{1:032x}", f"{1:016x}")

    def test_clocks_of_two_machines_may_be_seconds_apart(self) -> None:
        proxy = Resource({"service.name": "litellm"})
        late: Any = {"start_ms": 4000}
        assert join(ModelCalls(), [grow(1, answered())], [grow(2, answered(), resource=proxy, **late)]) == [1]
        assert join(ModelCalls(), [grow(1, answered())], [grow(2, answered(), **late)]) == [1, 2]
        late = {"start_ms": 6000}
        assert join(ModelCalls(), [grow(1, answered())], [grow(2, answered(), resource=proxy, **late)]) == [
            1,
            2,
        ]

    def test_each_project_has_its_own_sum(self) -> None:
        platform = Resource({"wandb.project": "platform"})
        assert join(ModelCalls(), [grow(1, answered())], [grow(2, answered(), resource=platform)]) == [1, 2]

    def test_a_server_that_gives_all_responses_one_id(self) -> None:
        known, calls = ModelCalls(), [grow(n, answered("fixed"), start_ms=20 * n) for n in range(1, 40)]
        assert join(known, *([call] for call in calls)) == list(range(1, 40))
        assert join(known, [grow(99, answered("fixed"), start_ms=20 * 39 + 1)]) == []

    def test_what_is_remembered_survives_a_restart_and_is_bounded(self) -> None:
        known, states = ModelCalls(), dict[str, bytes]()
        many = 64 * 512 + 64
        for number in range(1, many + 1):
            known.add(_remembered(number))
            states.update(known.take_states())
        assert known.take_states() == []
        assert len(states) == 512
        again = ModelCalls()
        again.restore([*states.items(), ("charts/x", b"?"), ("model_calls/9x", b"?")])
        for memory in (known, again):
            assert memory.find(_remembered(64, span=1)) is None, "the oldest are forgotten"
            assert memory.find(_remembered(65, span=1)) == _remembered(65)
            assert memory.find(_remembered(many, span=1)) == _remembered(many)
        again.add(_remembered(0))
        assert [name for name, _ in again.take_states()] == ["model_calls/1"]


def _remembered(number: int, *, span: int = 0) -> ModelCall:
    tokens = {"input_tokens": 25, "output_tokens": 12}
    return ModelCall(number, 7, 7, 0, 10, tokens, f"{number:032x}", f"{span:016x}")


def said(content: str = "Paris.", **more: Any) -> Attributes:
    """A call that tells its answer and no id of a response."""
    message = text_message("assistant", content)
    return chat(25, 12, gen_ai__output__messages=encode([message]), **more)


def called_tool(arguments: object) -> Attributes:
    call = {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": arguments}
    return chat(25, 12, gen_ai__output__messages=encode([{"role": "assistant", "parts": [call]}]))


class TestWithoutAnIdByTheAnswer:
    """LangChain's streams have no id of the response, and the client's span is in a trace of its own."""

    CLIENT: Final[dict[str, Any]] = {"start_ms": 1, "ms": 8, "scope": "client"}

    def client(self, number: int = 2, attributes: Attributes | None = None, **more: Any) -> Tree:
        told = said(gen_ai__response__id="chatcmpl-1") if attributes is None else attributes
        return grow(number, told, **{**self.CLIENT, **more})

    def test_of_two_given_out_together_the_inner_one_counts(self) -> None:
        outer, inner = grow(1, said() | DETAILS), self.client()
        assert join(ModelCalls(), [outer, inner]) == [2]
        assert inner.nodes[0].usage == FULL | {"requests": 1}
        assert outer.nodes[0].same_call == (f"{2:032x}", f"{2:016x}")

    def test_of_two_given_out_one_after_the_other_the_first_counts(self) -> None:
        assert join(ModelCalls(), [self.client()], [grow(1, said())]) == [2]
        assert join(ModelCalls(), [grow(1, said())], [self.client()]) == [1]

    def test_beside_each_other_in_one_trace(self) -> None:
        inner = Placed(
            make_span(3, said(gen_ai__response__id="a"), parent=1, start_ms=2), Scope("c"), RESOURCE, ""
        )
        outer = Placed(make_span(2, said(), parent=1, start_ms=1, ms=50), Scope("f"), RESOURCE, "")
        root = Placed(make_span(1, ms=99), Scope("f"), RESOURCE, "")
        shaped = shape_trace(
            FinishedTrace(TRACE_ID, (root, outer, inner), "ended", complete=True), project_of=project_of
        )
        assert [call.summary.usage is not None for call in shaped.calls] == [False, False, True]

    def test_an_answer_that_only_calls_tools(self) -> None:
        inner = self.client(
            attributes=called_tool('{"city": "Paris"}') | {"gen_ai.response.id": "chatcmpl-1"}
        )
        assert join(ModelCalls(), [grow(1, called_tool({"city": "Paris"})), inner]) == [2]

    def test_the_same_question_many_times_at_once(self) -> None:
        frameworks = [grow(n, said(), start_ms=n, ms=100) for n in range(1, 6)]
        ids = [said(gen_ai__response__id=f"chatcmpl-{n}") for n in range(5)]
        clients = [self.client(11 + n, told, start_ms=20 + n) for n, told in enumerate(ids)]
        assert join(ModelCalls(), [*frameworks, *clients]) == [11, 12, 13, 14, 15]

    @pytest.mark.parametrize(
        ("attributes", "more"),
        [
            (said("Rome.", gen_ai__response__id="chatcmpl-1"), {}),
            (answered(), {}),
            (said(gen_ai__response__id="chatcmpl-1") | {"gen_ai.usage.output_tokens": 13}, {}),
            (None, {"scope": "framework"}),
            (None, {"ms": 80}),
            (None, {"resource": Resource({"service.name": "proxy"})}),
        ],
    )
    def test_nothing_weaker_joins(self, attributes: Attributes | None, more: dict[str, Any]) -> None:
        outer = grow(1, said(), ms=50, scope="framework")
        assert len(join(ModelCalls(), [outer, self.client(2, attributes, **more)])) == 2

    def test_two_that_tell_other_ids_are_two(self) -> None:
        outer = grow(1, said(gen_ai__response__id="chatcmpl-2"), ms=50, scope="framework")
        assert join(ModelCalls(), [outer, self.client()]) == [1, 2]


class TestInTheBridge:
    def write(self, works: Works, number: int, end: float, seconds: float, **more: Any) -> None:
        details = {"gen_ai.response.id": "chatcmpl-1", **more}
        works.write(traces(wire_chat(number, end, given=25, made=12, seconds=seconds, more=details)))

    def test_a_restart_between_the_two_changes_nothing(self) -> None:
        outcomes = []
        for kills in (False, True):
            works = Works()
            self.write(works, 1, 10.0, 1.0)
            works.write(traces(wire_chat(2, 100.0)))  # brings the time by which the first is given out
            assert len(works.calls()) == 2
            if kills:
                works.kill()
            self.write(works, 3, 10.5, 2.0)
            rows = works.finish()
            outcomes.append((works.calls(), [(row["tokens/input"], row["tokens/output"]) for row in rows]))
        assert outcomes[0] == outcomes[1]
        calls, tokens = outcomes[0]
        assert tokens == [(25, 12), (1000, 100)]
        told = {call["id"]: reported_of(call) for call in calls if call["op_name"].startswith("chat")}
        spent = {"input_tokens": 25, "output_tokens": 12, "total_tokens": 37}
        assert told == {
            f"{4:016x}": (None, None),
            f"{6:016x}": (None, None),
            f"{8:016x}": (spent, {"trace_id": f"{2:032x}", "span_id": f"{4:016x}"}),
        }


def halves(*spans: Span) -> dict[int, Any]:
    scope = Scope("logfire.openai")
    placed = tuple(Placed(span, scope, RESOURCE, "0" * 16) for span in spans)
    shaped = shape_trace(FinishedTrace(TRACE_ID, placed, "ended", complete=True), project_of=project_of)
    return {int(call.id, 16): msgspec.json.decode(call.encode()) for call in shaped.calls}


REQUEST: Attributes = {
    "request_data": '{"model":"gpt-4o-mini","stream":true}',
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.input.messages": encode([text_message("user", "hi")]),
}
ANSWER: Attributes = {
    **REQUEST,
    "logfire.span_type": "log",
    "gen_ai.output.messages": (
        '[{"role":"assistant","parts":[{"type":"text","content":"Paris."}],"finish_reason":"stop"}]'
    ),
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.usage.input_tokens": 25,
    "gen_ai.usage.output_tokens": 12,
    "operation.cost": 0.5,
}
ASKED: Attributes = {
    **REQUEST,
    "logfire.span_type": "span",
    "gen_ai.response.model": "gpt-4o-mini",  # Logfire's guess until there is a response
}


class TestStreamingHalves:
    def test_the_request_gets_what_the_log_span_tells(self) -> None:
        calls = halves(
            make_span(1, name="root", ms=100),
            make_span(2, ASKED, parent=1, start_ms=1, ms=5),
            make_span(3, ANSWER, parent=1, start_ms=30, ms=0),
        )
        first, second = calls[2], calls[3]
        message = {"role": "assistant", "content": "Paris."}
        assert (
            first["output"]
            == second["output"]
            == {
                "id": "chatcmpl-1",
                "model": "gpt-4o-mini-2024-07-18",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            }
        )
        spent = {"input_tokens": 25, "output_tokens": 12, "total_tokens": 37}
        assert first["summary"]["usage"] == {"gpt-4o-mini-2024-07-18": spent | {"requests": 1}}
        assert first["attributes"]["provider_cost_usd"] == 0.5
        assert "usage" not in second["summary"]
        assert "provider_cost_usd" not in second["attributes"]
        assert reported_of(second) == (spent, {"trace_id": TRACE_ID, "span_id": f"{2:016x}"})
        assert calls[1]["output"] == {"output": "Paris."}

    def test_each_stream_has_its_own_request(self) -> None:
        spans = []
        for n in (0, 1):
            spans += [
                make_span(2 + 2 * n, ASKED, parent=1, start_ms=1 + 50 * n, ms=5),
                make_span(3 + 2 * n, ANSWER, parent=1, start_ms=30 + 50 * n, ms=0),
            ]
        calls = halves(make_span(1, ms=200), *spans)
        assert [usage_of(calls[n]) is not None for n in (2, 3, 4, 5)] == [True, False, True, False]
        assert reported_of(calls[5])[1] == {"trace_id": TRACE_ID, "span_id": f"{4:016x}"}

    @pytest.mark.parametrize(
        ("asked", "parent", "start_ms"),
        [
            (ASKED | {"request_data": '{"model":"other"}'}, 1, 1),
            (ASKED, 0, 1),
            (ASKED, 1, 28),
            (ASKED | {"gen_ai.usage.input_tokens": 3}, 1, 1),
            (None, 1, 1),
        ],
    )
    def test_a_half_without_its_other_counts_itself(
        self, asked: Attributes | None, parent: int, start_ms: int
    ) -> None:
        spans = [make_span(1, ms=100), make_span(3, ANSWER, parent=1, start_ms=30, ms=0)]
        if asked is not None:
            spans.append(make_span(2, asked, parent=parent, start_ms=start_ms, ms=5))
        calls = halves(*spans)
        assert usage_of(calls[3]) == {
            "input_tokens": 25,
            "output_tokens": 12,
            "total_tokens": 37,
            "requests": 1,
        }
