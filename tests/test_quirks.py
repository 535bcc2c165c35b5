"""What real instrumentations do that no convention says, and what a reader of their spans must make of it.

One class for each quirk, with the attributes that the named producers really send.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import pytest

from otel_wandb.conventions import read_span
from otel_wandb.ingest.otlp_json import read_logs, read_traces
from otel_wandb.records import Attributes, Event, LogRecord, Resource, Scope, Span, Value
from otel_wandb.traces.calls import shape_trace, shape_tree
from otel_wandb.traces.finished import FinishedTrace, Placed
from otel_wandb.traces.joins import join_calls
from otel_wandb.traces.tree import Tree
from tests.dialect_spans import CALL, event, read_from
from tests.genai_spans import RESOURCE, TRACE_ID, encode, make_log, make_span, text_message
from tests.spends import Works, at, attributes, resource, traces
from tests.spends import chat as wire_chat

TEAM: Final = ("team", "rag")
SPENT: Final = {"input_tokens": 25, "output_tokens": 12, "total_tokens": 37}
ASKED: Final = encode([text_message("user", "Weather?")])
ANSWERED: Final = encode([text_message("assistant", "18 degrees.", finish_reason="stop")])


def place(scope: str, span: Span, *logs: LogRecord) -> Placed:
    return Placed(span, Scope(scope), RESOURCE, "0" * 16, logs)


def calls_from(*placed: Placed, reason: str = "ended") -> dict[int, dict[str, Any]]:
    """The calls of one trace of spans of several scopes, by the number of the span."""
    ordered = tuple(sorted(placed, key=lambda p: (p.span.start_ns, p.span.span_id)))
    trace = FinishedTrace(TRACE_ID, ordered, reason, reason == "ended", {})
    shaped = shape_trace(trace, project_of=lambda _: TEAM)
    decoded = [msgspec.json.decode(call.encode()) for call in shaped.calls]
    return {int(call["id"], 16): call for call in decoded}


def usage_of(call: dict[str, Any]) -> dict[str, int] | None:
    usage = call["summary"].get("usage")
    return next(iter(usage.values())) if usage else None


def counting(calls: dict[int, dict[str, Any]]) -> set[int]:
    """The numbers of the spans that count their tokens."""
    return {number for number, call in calls.items() if usage_of(call) is not None}


def model_call(given: int = 25, made: int = 12, **more: Value) -> Attributes:
    told: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": made,
    }
    return told | {key.replace("__", "."): value for key, value in more.items()}


class TestThreeSpellingsOfOneFactOnOneSpan:
    """Strands tells the tokens under three names."""

    ATTRIBUTES: Final[Attributes] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.prompt_tokens": 25,
        "gen_ai.usage.input_tokens": 25,
        "gen_ai.usage.completion_tokens": 12,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.total_tokens": 37,
        "gen_ai.usage.cache_read.input_tokens": 16,
        "gen_ai.usage.cache_read_input_tokens": 16,
    }

    def test_they_are_read_once_and_never_added(self) -> None:
        facts = read_from("strands.telemetry.tracer", self.ATTRIBUTES)
        assert facts["usage"] == {**SPENT, "cache_read_input_tokens": 16}
        assert "rest" not in facts

    def test_in_whatever_order_they_come(self) -> None:
        turned = dict(reversed(self.ATTRIBUTES.items()))
        facts = read_from("strands.telemetry.tracer", turned)
        assert facts["usage"] == {**SPENT, "cache_read_input_tokens": 16}

    def test_the_more_trusted_one_wins_where_they_differ(self) -> None:
        facts = read_from("strands.telemetry.tracer", self.ATTRIBUTES | {"gen_ai.usage.prompt_tokens": 9})
        assert facts["usage"]["input_tokens"] == 25
        assert facts["rest"] == {"gen_ai.usage.prompt_tokens": 9}


class TestStructuresAsText:
    """Values are JSON, JSON in JSON, Python literals or reprs, wherever they could be structures."""

    @pytest.mark.parametrize(
        ("scope", "attributes", "field", "expected"),
        [
            ("mlflow", {"mlflow.spanType": '"TOOL"'}, "kind", "tool"),
            ("mlflow", {"mlflow.llm.model": '"gpt-4o-mini"'}, "response_model", "gpt-4o-mini"),
            (
                "ai",
                {"ai.operationId": "ai.toolCall", "ai.toolCall.result": '"18 degrees"'},
                "result",
                "18 degrees",
            ),
            (
                "langfuse-sdk",
                {"langfuse.observation.metadata.note": '"{\\"deep\\": true}"'},
                "metadata",
                {"note": {"deep": True}},
            ),
            (
                "langsmith",
                {
                    "langsmith.span.kind": "llm",
                    "gen_ai.usage.input_token_details": "{'audio': 0, 'cache_read': 64}",
                },
                "usage",
                {"cache_read_input_tokens": 64},
            ),
            ("litellm", {"gen_ai.response.finish_reasons": '["stop"]'}, "finish_reasons", ["stop"]),
            ("agent_framework", {"gen_ai.response.finish_reasons": '["stop"]'}, "finish_reasons", ["stop"]),
            (
                "litellm",
                {"litellm.call_id": "1", "llm.is_streaming": "False"},
                "params",
                {"stream": False},
            ),
            (
                "semantic_kernel",
                {"gen_ai.response.finish_reason": "FinishReason.STOP"},
                "finish_reasons",
                None,
            ),
            (
                "litellm",
                {"litellm.call_id": "1", "metadata.tags": "['a', {'b': None}]"},
                "metadata",
                {"tags": ["a", {"b": None}]},
            ),
        ],
    )
    def test_it_is_opened(self, scope: str, attributes: Attributes, field: str, expected: object) -> None:
        facts = read_from(scope, attributes)
        if expected is None:
            calls = calls_from(place(scope, make_span(1, attributes | {"gen_ai.operation.name": "chat"})))
            assert calls[1]["attributes"]["finish_reason"] == "stop"
        else:
            assert facts[field] == expected

    def test_tools_are_strings_of_json_in_an_array(self) -> None:
        """The AI SDK."""
        tool = '{"type":"function","name":"get_weather","parameters":{"type":"object"}}'
        facts = read_from("ai", {"ai.operationId": "ai.generateText.doGenerate", "ai.prompt.tools": [tool]})
        function = {"name": "get_weather", "parameters": {"type": "object"}}
        assert facts["tools"] == [{"type": "function", "function": function}]

    def test_a_repr_in_the_input_value(self) -> None:
        """Haystack under OpenInference."""
        message = (
            "ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[TextContent(text='18 degrees.')],"
            " _name=None, _meta={'model': 'gpt-4o-mini-2024-07-18', 'finish_reason': 'stop',"
            " 'usage': {'prompt_tokens': 25, 'completion_tokens': 12, 'total_tokens': 37}})"
        )
        facts = read_from(
            "openinference.instrumentation.haystack",
            {
                "openinference.span.kind": "LLM",
                "llm.model_name": "gpt-4o-mini",
                "output.value": encode({"replies": [message]}),
                "llm.output_messages.0.message.role": "assistant",
                "llm.output_messages.0.message.content": "18 degrees.",
            },
        )
        assert (facts["response_model"], facts["finish_reasons"]) == ("gpt-4o-mini-2024-07-18", ["stop"])
        assert facts["usage"] == SPENT

    @pytest.mark.parametrize(
        "cut", ['[{"role": "user", "parts": [{"type": "te', "{'role': 'user'", '{"a": 1']
    )
    def test_what_was_cut_off_stays_as_it_came(self, cut: str) -> None:
        facts = read_from("lib", {"gen_ai.operation.name": "chat", "gen_ai.input.messages": cut})
        assert facts["rest"] == {"gen_ai.input.messages": cut}
        assert facts["warnings"] == ["undecodable:gen_ai.input.messages"]

    def test_text_that_only_looks_like_json_is_text(self) -> None:
        facts = read_from(
            "lib", {"openinference.span.kind": "CHAIN", "input.value": "[see below] and {more}"}
        )
        assert facts["input"] == "[see below] and {more}"


class TestSumsOnParents:
    """A parent tells the tokens of the calls below it once more."""

    OUTER: Final[dict[str, tuple[str, Attributes]]] = {
        "the AI SDK 4": (
            "ai",
            {
                "ai.operationId": "ai.generateText",
                "ai.usage.promptTokens": 50,
                "ai.usage.completionTokens": 24,
            },
        ),
        "the AI SDK 6": (
            "ai",
            {
                "ai.operationId": "ai.streamText",
                "ai.usage.inputTokens": 50,
                "ai.usage.outputTokens": 24,
                "ai.usage.totalTokens": 74,
            },
        ),
        "the AI SDK 7": ("gen_ai", {**model_call(50, 24), "gen_ai.operation.name": "invoke_agent"}),
        "Strands": (
            "strands.telemetry.tracer",
            {
                **model_call(50, 24),
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "strands-agents",
                "gen_ai.usage.prompt_tokens": 50,
            },
        ),
        "the Agent Framework": (
            "agent_framework",
            {
                **model_call(50, 24),
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "microsoft.agent_framework",
            },
        ),
        "Pydantic AI": (
            "pydantic-ai",
            {
                "gen_ai.operation.name": "invoke_agent",
                "pydantic_ai.all_messages": ASKED,
                "gen_ai.aggregated_usage.input_tokens": 50,
                "gen_ai.aggregated_usage.output_tokens": 24,
            },
        ),
        "Pydantic AI before": (
            "pydantic-ai",
            {
                "gen_ai.operation.name": "invoke_agent",
                "pydantic_ai.all_messages": ASKED,
                "gen_ai.usage.input_tokens": 50,
                "gen_ai.usage.output_tokens": 24,
            },
        ),
    }

    @pytest.mark.parametrize("producer", OUTER)
    def test_only_the_calls_count(self, producer: str) -> None:
        scope, attributes = self.OUTER[producer]
        calls = calls_from(
            place(scope, make_span(1, attributes, ms=90)),
            place(scope, make_span(2, {}, name="step", parent=1, start_ms=1, ms=80)),
            place("lib", make_span(3, model_call(), parent=2, start_ms=2)),
            place("lib", make_span(4, model_call(), parent=2, start_ms=40)),
        )
        assert counting(calls) == {3, 4}
        reported = calls[1]["attributes"]["reported_usage"]
        assert (reported["input_tokens"], reported["output_tokens"]) == (50, 24)

    def test_children_that_come_first_and_in_other_requests_change_nothing(self) -> None:
        """Batch processors send the children before the root."""
        scope, attributes = self.OUTER["Strands"]
        inner = place("lib", make_span(2, model_call(50, 24), parent=1, start_ms=2))
        outer = place(scope, make_span(1, attributes, ms=90))
        assert counting(calls_from(inner, outer)) == counting(calls_from(outer, inner)) == {2}


class TestOneCallAsSeveralSpans:
    """A framework's span over that of the client below it, which repeats the same tokens."""

    def test_nested_in_llama_index(self) -> None:
        scope = "openinference.instrumentation.llama_index"
        told: Attributes = {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o-mini",
            "llm.token_count.prompt": 25,
            "llm.token_count.completion": 12,
        }
        calls = calls_from(
            place(scope, make_span(1, told, name="OpenAI.predict", ms=30)),
            place(scope, make_span(2, told, name="OpenAI.chat", parent=1, start_ms=1)),
        )
        assert counting(calls) == {2}

    def test_nested_embeddings_in_llama_index(self) -> None:
        scope = "openinference.instrumentation.llama_index"
        told: Attributes = {
            "openinference.span.kind": "EMBEDDING",
            "embedding.model_name": "text-embedding-3-small",
            "llm.token_count.prompt": 7,
        }
        calls = calls_from(
            place(scope, make_span(1, told, name="OpenAIEmbedding.get_query_embedding", ms=30)),
            place(
                scope, make_span(2, told, name="OpenAIEmbedding._get_query_embedding", parent=1, start_ms=1)
            ),
        )
        assert counting(calls) == {2}

    def test_litellms_raw_request(self) -> None:
        usage = "{'completion_tokens': 12, 'prompt_tokens': 25, 'total_tokens': 37}"
        raw: Attributes = {
            "llm.openai.messages": "[{'role': 'user', 'content': 'Weather?'}]",
            "llm.openai.id": "chatcmpl-1",
            "llm.openai.usage": usage,
        }
        outer = model_call(gen_ai__response__id="chatcmpl-1") | {"litellm.call_id": "1"}
        calls = calls_from(
            place("litellm", make_span(1, outer, name="litellm_request", ms=30)),
            place("litellm", make_span(2, raw, name="raw_gen_ai_request", parent=1, start_ms=1)),
        )
        assert counting(calls) == {2}
        assert usage_of(calls[2]) == {**SPENT, "requests": 1}

    def test_the_span_of_anthropics_own_client_inside_any_instrumentation(self) -> None:
        native = model_call(gen_ai__response__id="msg_1", gen_ai__usage__cache_read__input_tokens=16)
        outer: Attributes = {
            "openinference.span.kind": "LLM",
            "llm.model_name": "claude-sonnet-4-5",
            "llm.token_count.prompt": 25,
            "llm.token_count.completion": 12,
            "output.value": '{"id": "msg_1", "type": "message", "role": "assistant", "content": []}',
        }
        calls = calls_from(
            place("openinference.instrumentation.anthropic", make_span(1, outer, ms=30)),
            place("com.anthropic.sdk.python", make_span(2, native, parent=1, start_ms=1)),
        )
        assert counting(calls) == {2}

    def test_the_embeddings_of_the_ai_sdk(self) -> None:
        outer: Attributes = {"ai.operationId": "ai.embed", "ai.model.id": "e", "ai.usage.tokens": 7}
        inner = {**outer, "ai.operationId": "ai.embed.doEmbed"}
        calls = calls_from(
            place("ai", make_span(1, outer, ms=30)), place("ai", make_span(2, inner, parent=1, start_ms=1))
        )
        assert counting(calls) == {2}

    def test_requests_over_http_between_and_below(self) -> None:
        """OpenLIT traces httpx by itself; a vLLM server with the same tokens stands below the request."""
        http: Attributes = {"http.request.method": "POST", "url.full": "http://h/v1/chat/completions"}
        served: Attributes = {
            "gen_ai.response.model": "gpt-4o-mini",
            "gen_ai.usage.prompt_tokens": 25,
            "gen_ai.usage.completion_tokens": 12,
            "gen_ai.latency.time_in_queue": 0.1,
        }
        calls = calls_from(
            place("openlit.instrumentation.openai", make_span(1, model_call(), ms=30)),
            place("opentelemetry.instrumentation.httpx", make_span(2, http, parent=1, start_ms=1, kind=3)),
            place("vllm.tracing", make_span(3, served, name="llm_request", parent=2, start_ms=2, kind=2)),
        )
        assert counting(calls) == {3}
        assert [calls[n]["attributes"]["kind"] for n in (1, 2, 3)] == ["chat", "http", "chat"]

    def test_the_client_in_a_trace_of_its_own(self) -> None:
        """OpenInference's LangChain callback is never the current span, so the client's starts a trace."""
        callback: Attributes = {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o-mini",
            "llm.token_count.prompt": 25,
            "llm.token_count.completion": 12,
            "output.value": encode(
                {"generations": [[{"text": "18", "message": None}]], "llm_output": {"id": "chatcmpl-1"}}
            ),
        }
        client: Attributes = {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o-mini",
            "llm.token_count.prompt": 25,
            "llm.token_count.completion": 12,
            "output.value": encode({"id": "chatcmpl-1", "choices": [{"message": {"content": "18"}}]}),
        }
        trees = [
            Tree(FinishedTrace(TRACE_ID, (place("lib", span),), "ended", complete=True), fold_asgi=True)
            for span in (make_span(1, callback, ms=30), make_span(2, client, start_ms=1))
        ]
        join_calls([node for tree in trees for node in tree.nodes], lambda _: TEAM)
        shaped = [shape_tree(tree, project_of=lambda _: TEAM).calls[0] for tree in trees]
        assert [call.summary.usage is not None for call in shaped] == [False, True]
        assert shaped[0].attributes.same_call_as == {"trace_id": TRACE_ID, "span_id": f"{2:016x}"}


class TestNamesThatLie:
    """The producer's own key for the kind goes before `gen_ai.operation.name`."""

    @pytest.mark.parametrize(
        ("scope", "name", "attributes", "kind"),
        [
            (
                "langsmith",
                "VectorStoreRetriever",
                {"langsmith.span.kind": "retriever", "gen_ai.operation.name": "embeddings"},
                "retrieval",
            ),
            (
                "langsmith",
                "ChatPromptTemplate",
                {"langsmith.span.kind": "prompt", "gen_ai.operation.name": "chat"},
                "other",
            ),
            (
                "opentelemetry.instrumentation.langchain",
                "rag.workflow",
                {"traceloop.span.kind": "workflow", "gen_ai.operation.name": "invoke_agent"},
                "workflow",
            ),
            (
                "opentelemetry.instrumentation.langchain",
                "VectorStoreRetriever.task",
                {"traceloop.span.kind": "task", "gen_ai.operation.name": "vector_db_retrieve"},
                "retrieval",
            ),
            (
                "openinference.instrumentation.llama_index",
                "OpenAI._prepare_chat_with_tools",
                {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini"},
                "other",
            ),
            ("lib", "create_agent Geo", {"gen_ai.operation.name": "create_agent"}, "agent"),
            (
                "mlflow",
                "VectorStoreRetriever",
                {"mlflow.spanType": '"RETRIEVER"', "gen_ai.operation.name": "RETRIEVER"},
                "retrieval",
            ),
            ("mlflow", "VectorStoreRetriever", {"gen_ai.operation.name": "RETRIEVER"}, "retrieval"),
            (
                "litellm",
                "embedding",
                {"litellm.call_id": "1", "gen_ai.operation.name": "embedding"},
                "embeddings",
            ),
        ],
    )
    def test_the_kind(self, scope: str, name: str, attributes: Attributes, kind: str) -> None:
        facts = read_from(scope, attributes, name=name)
        assert facts["kind"] == kind
        assert "warnings" not in facts


class TestPromptsThatAreNotOnTheSpan:
    """Content is in log records, before or after the span, or in events of the span, or nowhere."""

    DETAILS: Final = "gen_ai.client.inference.operation.details"

    def test_nowhere(self) -> None:
        """OpenTelemetry's default: no content, which is neither made up nor warned of."""
        calls = calls_from(place("lib", make_span(1, model_call())))
        assert calls[1]["inputs"] == {"model": "gpt-4o-mini"}
        assert "output" not in calls[1]
        assert "mapping_warnings" not in calls[1]["attributes"]

    @pytest.mark.parametrize("at_ms", [-5, 1, 900])
    def test_in_one_log_record_that_may_be_earlier_or_later(self, at_ms: int) -> None:
        said: Attributes = {
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}],
            "gen_ai.output.messages": [
                {"role": "assistant", "parts": [{"type": "text", "content": "18 degrees."}]}
            ],
        }
        log = make_log(self.DETAILS, None, said, at_ms=at_ms)
        calls = calls_from(place("lib", make_span(1, model_call()), log))
        assert calls[1]["inputs"]["messages"] == [{"role": "user", "content": "Weather?"}]
        assert calls[1]["output"]["choices"][0]["message"]["content"] == "18 degrees."

    @pytest.mark.parametrize("as_text", [False, True])
    def test_in_a_log_record_a_message(self, as_text: bool) -> None:
        """openai-v2 and OpenLLMetry send structures and event names, Semantic Kernel neither: it logs."""

        def log(name: str, body: dict[str, Any], at_ms: int) -> LogRecord:
            if as_text:
                return make_log("", encode(body), {"event.name": name}, at_ms=at_ms)
            return make_log(name, body, {"gen_ai.system": "openai"}, at_ms=at_ms)

        function = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
        call = {"id": "c1", "type": "function", "function": function}
        logs = (
            log("gen_ai.system.message", {"content": "Be brief."}, 1),
            log("gen_ai.user.message", {"content": "Weather?"}, 2),
            log("gen_ai.assistant.message", {"tool_calls": [call]}, 3),
            log("gen_ai.tool.message", {"content": "18 degrees", "id": "c1"}, 4),
            log("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "18."}}, 5),
        )
        facts = read_from("lib", model_call(), logs=logs)
        assert facts["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "18 degrees", "tool_call_id": "c1"},
        ]
        assert facts["choices"][0]["message"] == {"role": "assistant", "content": "18."}
        assert "logs" not in facts

    def test_in_events_of_the_span(self) -> None:
        """Strands."""
        facts = read_from(
            "strands.telemetry.tracer",
            model_call(),
            events=[
                event("gen_ai.user.message", content='[{"text": "Weather?"}]'),
                event("gen_ai.choice", message='[{"text": "18."}]', finish_reason="end_turn"),
            ],
        )
        assert facts["messages"] == [{"role": "user", "content": "Weather?"}]
        assert facts["choices"][0]["message"] == {"role": "assistant", "content": "18."}

    def test_on_the_span_and_in_log_records(self) -> None:
        """The Agent Framework tells everything twice; it is shown once."""
        told = model_call(gen_ai__input__messages=ASKED, gen_ai__output__messages=ANSWERED)
        logs = (
            make_log("gen_ai.user.message", {"content": "Weather?"}, at_ms=1),
            make_log("gen_ai.choice", {"message": {"content": "18 degrees."}}, at_ms=2),
        )
        facts = read_from("agent_framework", told, logs=logs)
        assert facts["messages"] == [{"role": "user", "content": "Weather?"}]
        assert len(facts["choices"]) == 1


class TestSystemPromptsInThreePlaces:
    SYSTEM: Final = {"role": "system", "content": "Be brief."}
    USER: Final = {"role": "user", "content": "Weather?"}

    @pytest.mark.parametrize(
        "attributes",
        [
            {
                "gen_ai.input.messages": encode(
                    [text_message("system", "Be brief."), text_message("user", "Weather?")]
                )
            },
            {
                "gen_ai.input.messages": ASKED,
                "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]',
            },
            {  # OpenLIT
                "gen_ai.input.messages": encode(
                    [text_message("system", "Be brief."), text_message("user", "Weather?")]
                ),
                "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]',
            },
            {"gen_ai.input.messages": ASKED, "gen_ai.system_instructions": "Be brief."},
        ],
    )
    def test_it_heads_the_messages_once(self, attributes: Attributes) -> None:
        calls = calls_from(place("lib", make_span(1, model_call() | attributes)))
        assert calls[1]["inputs"]["messages"] == [self.SYSTEM, self.USER]

    def test_two_instructions_that_are_in_the_messages_too(self) -> None:
        both = [text_message("system", "Be brief."), text_message("system", "Be kind.")]
        told = model_call(
            gen_ai__input__messages=encode([*both, text_message("user", "Weather?")]),
            gen_ai__system_instructions=encode(both),
        )
        calls = calls_from(place("lib", make_span(1, told)))
        assert [m["content"] for m in calls[1]["inputs"]["messages"]] == ["Be brief.", "Be kind.", "Weather?"]

    def test_what_the_agent_development_kit_adds_to_it_stays(self) -> None:
        told = model_call(
            gen_ai__input__messages=ASKED,
            gen_ai__system_instructions=encode(
                [
                    {"type": "text", "content": "Be brief."},
                    {"type": "text", "content": 'You are an agent. Your internal name is "geo".'},
                ]
            ),
        )
        calls = calls_from(place("gcp.vertex.agent", make_span(1, told)))
        head = calls[1]["inputs"]["messages"][0]
        assert head["role"] == "system"
        assert "Be brief." in encode(head["content"])
        assert "internal name" in encode(head["content"])


class TestCachedTokensInOrBesideTheInput:
    @pytest.mark.parametrize(
        ("told", "expected"),
        [
            # OpenAI's way, in which the input holds what was cached
            ({"input_tokens": 25, "cache_read.input_tokens": 16}, (25, 16, None)),
            # Anthropic's own numbers, in the two generations of names
            (
                {"input_tokens": 9, "cache_read.input_tokens": 16, "cache_creation.input_tokens": 10},
                (35, 16, 10),
            ),
            (
                {"input_tokens": 9, "cache_read.input_tokens": 16, "cache_write.input_tokens": 10},
                (35, 16, 10),
            ),
            # an instrumentation that has added them up
            (
                {"input_tokens": 35, "cache_read.input_tokens": 16, "cache_write.input_tokens": 10},
                (35, 16, 10),
            ),
            # Bedrock: beside the input, as the total tells, though they are fewer
            ({"input_tokens": 30, "cache_read_input_tokens": 16, "total_tokens": 58}, (46, 16, None)),
            ({"input_tokens": 30, "cache_read_input_tokens": 16, "total_tokens": 42}, (30, 16, None)),
        ],
    )
    def test_the_input_is_the_whole(
        self, told: dict[str, Value], expected: tuple[int, int, int | None]
    ) -> None:
        attributes = {f"gen_ai.usage.{name}": tokens for name, tokens in told.items()}
        calls = calls_from(place("lib", make_span(1, model_call(0, 12) | attributes)))
        usage = usage_of(calls[1])
        assert usage is not None
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        assert tuple(usage.get(name) for name in names) == expected
        assert usage["total_tokens"] == usage["input_tokens"] + 12

    def test_parts_beside_the_whole_in_langfuse(self) -> None:
        """Its LangChain handler takes cached tokens and reasoning out of the sums."""
        told = {"input": 9, "input_cache_read": 16, "output": 8, "output_reasoning": 4, "total": 37}
        facts = read_from(
            "langfuse-sdk",
            {"langfuse.observation.type": "generation", "langfuse.observation.usage_details": encode(told)},
        )
        assert facts["usage"] == {**SPENT, "cache_read_input_tokens": 16, "reasoning_tokens": 4}


class TestReasoningInOrBesideTheOutput:
    @pytest.mark.parametrize(
        ("told", "output"),
        [
            ({"output_tokens": 12, "reasoning.output_tokens": 4}, 12),
            ({"output_tokens": 8, "reasoning_tokens": 20}, 28),
            ({"input_tokens": 25, "output_tokens": 8, "reasoning_tokens": 4, "total_tokens": 37}, 12),
        ],
    )
    def test_the_output_is_the_whole(self, told: dict[str, Value], output: int) -> None:
        attributes = {f"gen_ai.usage.{name}": tokens for name, tokens in told.items()}
        calls = calls_from(place("lib", make_span(1, model_call() | attributes)))
        assert (usage_of(calls[1]) or {})["output_tokens"] == output

    def test_the_agent_development_kit_adds_it_once_more(self) -> None:
        told = model_call(61, 22, gen_ai__usage__reasoning__output_tokens=5)
        for model, output in (("openai/gpt-4o-mini", 17), ("gemini-2.5-flash", 22)):
            facts = read_from("gcp.vertex.agent", told | {"gen_ai.request.model": model})
            assert facts["usage"]["output_tokens"] == output


class TestStreams:
    def test_without_usage_there_are_no_tokens(self) -> None:
        told: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.output.messages": ANSWERED,
        }
        calls = calls_from(place("lib", make_span(1, told)))
        assert usage_of(calls[1]) is None
        assert calls[1]["attributes"]["mapping_warnings"] == ["usage_missing"]

    def test_the_second_half_comes_as_a_span_beside_the_first(self) -> None:
        """Logfire ends the request early and tells of the answer in a log of no length, without a link."""
        request: Attributes = {
            "request_data": '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Weather?"}]}',
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
        }
        second = {
            **request,
            "logfire.span_type": "log",
            "gen_ai.output.messages": ANSWERED,
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.usage.input_tokens": 25,
            "gen_ai.usage.output_tokens": 12,
        }
        calls = calls_from(
            place("app", make_span(1, ms=90)),
            place("logfire.openai", make_span(2, {**request, "logfire.span_type": "span"}, parent=1, ms=5)),
            place("logfire.openai", make_span(3, second, parent=1, start_ms=30, ms=0)),
        )
        assert counting(calls) == {2}
        assert calls[2]["output"]["choices"][0]["message"]["content"] == "18 degrees."
        assert calls[2]["attributes"]["response_id"] == "chatcmpl-1"

    def test_the_first_token_that_openllmetry_counts_twice(self) -> None:
        """With Anthropic's own span below it, which is right, the right one counts."""
        told = model_call(25, 13, gen_ai__provider__name="anthropic", gen_ai__is_streaming=True)
        native = model_call(gen_ai__response__id="msg_1")
        calls = calls_from(
            place(
                "opentelemetry.instrumentation.anthropic",
                make_span(1, told | {"gen_ai.response.id": "msg_1"}, ms=30),
            ),
            place("com.anthropic.sdk.python", make_span(2, native, start_ms=1)),
        )
        assert [usage_of(calls[2]), counting(calls)] == [{**SPENT, "requests": 1}, {2}]

    def test_a_span_that_ends_before_its_request_begins(self) -> None:
        """LlamaIndex's lazy generators: the client's span is no child in time, and counts all the same."""
        scope = "openinference.instrumentation.llama_index"
        lazy: Attributes = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini"}
        calls = calls_from(
            place(scope, make_span(1, lazy, name="OpenAI.stream_chat", ms=1)),
            place("openinference.instrumentation.openai", make_span(2, model_call(), parent=1, start_ms=20)),
        )
        assert counting(calls) == {2}


class TestFinishReasons:
    @pytest.mark.parametrize(
        ("told", "expected"),
        [
            *((word, "stop") for word in ("stop", "end_turn", "STOP", "completed", "FinishReason.STOP")),
            *(
                (word, "tool_calls")
                for word in ("tool_calls", "tool_call", "tool-calls", "tool_use", "toolUse")
            ),
            *((word, "length") for word in ("length", "max_tokens", "MAX_TOKENS")),
        ],
    )
    def test_one_vocabulary(self, told: str, expected: str) -> None:
        attributes = model_call(gen_ai__response__finish_reasons=[told], gen_ai__output__messages=ANSWERED)
        calls = calls_from(place("lib", make_span(1, attributes)))
        assert calls[1]["attributes"]["finish_reason"] == expected
        assert calls[1]["output"]["choices"][0]["finish_reason"] == expected

    def test_an_empty_one_in_a_message_says_nothing(self) -> None:
        """OpenTelemetry's agent spans of LangChain."""
        told = encode([text_message("assistant", "18 degrees.", finish_reason="")])
        calls = calls_from(place("lib", make_span(1, model_call(gen_ai__output__messages=told))))
        assert "finish_reason" not in calls[1]["attributes"]
        assert "finish_reason" not in calls[1]["output"]["choices"][0]


class TestErrors:
    MESSAGE: Final = "Rate limit reached for requests"

    @pytest.mark.parametrize(
        ("scope", "attributes", "events", "message"),
        [
            ("lib", {"error.type": "RateLimitError"}, [], MESSAGE),
            (
                "openinference.instrumentation.openai",
                {"openinference.span.kind": "LLM"},
                [event("exception", exception__type="RateLimitError", exception__message=MESSAGE)],
                "",
            ),
            (
                "langfuse-sdk",
                {"langfuse.observation.level": "ERROR", "langfuse.observation.status_message": MESSAGE},
                [],
                "",
            ),
            (
                "litellm",
                {
                    "litellm.call_id": "1",
                    "error.message": MESSAGE,
                    "error.code": "429",
                    "error.type": "RateLimitError",
                },
                [],
                "",
            ),
            ("openlit.instrumentation.openai", {"error.type": "rate_limited"}, [], MESSAGE),
        ],
    )
    def test_the_message_is_found_wherever_it_is(
        self, scope: str, attributes: Attributes, events: list[Event], message: str
    ) -> None:
        span = make_span(1, attributes, events=events, status=2, message=message)
        calls = calls_from(place(scope, span))
        assert json.loads(calls[1]["exception"])["message"] == self.MESSAGE
        assert calls[1]["summary"]["status_counts"] == {"success": 0, "error": 1}

    def test_a_failed_run_with_the_status_of_a_good_one(self) -> None:
        """LangSmith records what went wrong, and an update sets the status to OK."""
        failure = event("exception", exception__type="Exception", exception__message=self.MESSAGE)
        calls = calls_from(
            place("langsmith", make_span(1, {"langsmith.span.kind": "llm"}, events=[failure], status=1))
        )
        assert json.loads(calls[1]["exception"]) == {"type": "Exception", "message": self.MESSAGE}
        assert calls[1]["summary"]["status_counts"] == {"success": 0, "error": 1}

    @pytest.mark.parametrize("status", [0, 1])
    def test_an_exception_that_was_handled_is_none(self, status: int) -> None:
        failure = event("exception", exception__type="ValueError", exception__message="no")
        calls = calls_from(place("lib", make_span(1, model_call(), events=[failure], status=status)))
        assert "exception" not in calls[1]
        assert calls[1]["attributes"]["otel_events"][0]["name"] == "exception"

    def test_without_any_word_it_is_still_a_failure(self) -> None:
        calls = calls_from(place("lib", make_span(1, status=2)))
        assert json.loads(calls[1]["exception"]) == {"type": "error", "message": "error"}


class TestWhatRetrievalsTell:
    def test_ids_without_content_and_scores_that_are_null(self) -> None:
        """OpenTelemetry's own instrumentation of LangChain."""
        told: Attributes = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.provider.name": "InMemoryVectorStore",
            "gen_ai.retrieval.query.text": "How deep?",
            "gen_ai.retrieval.documents": '[{"id": "d2", "score": null}, {"id": "d1", "score": null}]',
            "gen_ai.retrieval.top_k": 2.0,
        }
        calls = calls_from(place("lib", make_span(1, told)))
        assert calls[1]["output"] == {"documents": [{"id": "d2"}, {"id": "d1"}]}
        assert calls[1]["inputs"] == {"query": "How deep?", "top_k": 2}

    def test_content_without_ids(self) -> None:
        """OpenLLMetry's of LangChain."""
        found = {"documents": [{"page_content": "1642 m", "metadata": {"source": "lakes.md"}}]}
        told: Attributes = {
            "traceloop.span.kind": "task",
            "gen_ai.operation.name": "vector_db_retrieve",
            "traceloop.entity.input": encode(
                {"query": "How deep?", "tags": [], "metadata": {}, "kwargs": {}}
            ),
            "traceloop.entity.output": encode(found),
        }
        calls = calls_from(place("opentelemetry.instrumentation.langchain", make_span(1, told)))
        assert calls[1]["inputs"]["query"] == "How deep?"
        assert calls[1]["output"] == {
            "documents": [{"content": "1642 m", "metadata": {"source": "lakes.md"}}]
        }

    def test_the_order_is_the_rank_also_beyond_ten(self) -> None:
        told: Attributes = {"openinference.span.kind": "RETRIEVER", "input.value": "q"}
        for n in (11, 2, 10, 0, 1, 9, 3, 4, 5, 6, 7, 8):
            told[f"retrieval.documents.{n}.document.content"] = f"text {n}"
            told[f"retrieval.documents.{n}.document.score"] = 1.0 - n / 100
        calls = calls_from(place("openinference.instrumentation.haystack", make_span(1, told)))
        assert [d["content"] for d in calls[1]["output"]["documents"]] == [f"text {n}" for n in range(12)]

    def test_a_distance_is_no_score(self) -> None:
        """Chroma: one event a hit."""
        hits = [
            event("db.query.result", db__query__result__id=f"d{n}", db__query__result__distance=n / 10,
                  db__query__result__document=f"text {n}", db__query__result__metadata='{"source": "a"}')
            for n in (1, 2)
        ]  # fmt: skip
        span = make_span(
            1, {"db.system": "chroma", "db.operation": "query"}, name="chroma.query", events=hits
        )
        calls = calls_from(place("opentelemetry.instrumentation.chromadb", span))
        assert calls[1]["attributes"]["kind"] == "retrieval"
        first = calls[1]["output"]["documents"][0]
        assert first == {"id": "d1", "content": "text 1", "metadata": {"source": "a", "distance": 0.1}}


class TestParentsThatAreMissing:
    def test_a_parent_in_another_service_keeps_its_place(self) -> None:
        calls = calls_from(place("lib", make_span(2, model_call(), parent=1, kind=2, flags=0x300)))
        assert calls[2]["parent_id"] == f"{1:016x}"

    def test_a_root_that_was_lost_does_not_hide_its_children(self) -> None:
        """MLflow 3.17 loses the root where user or session are set; the rest comes."""
        calls = calls_from(
            place("mlflow", make_span(2, model_call(), parent=1)),
            place("mlflow", make_span(3, {}, parent=1, start_ms=20)),
            reason="end",
        )
        assert [calls[n].get("parent_id") for n in (2, 3)] == [None, None]

    def test_several_roots_make_several_trees(self) -> None:
        calls = calls_from(
            place("lib", make_span(1, {"gen_ai.operation.name": "retrieval"})),
            place("lib", make_span(2, {"gen_ai.operation.name": "embeddings"}, start_ms=20)),
            place("lib", make_span(3, model_call(), start_ms=40)),
        )
        assert {call.get("parent_id") for call in calls.values()} == {None}
        assert counting(calls) == {3}

    def test_an_agents_span_in_one_of_the_same_name(self) -> None:
        """OpenInference's of OpenAI's agents."""
        scope = "openinference.instrumentation.openai_agents"
        agent: Attributes = {"openinference.span.kind": "AGENT"}
        calls = calls_from(
            place(scope, make_span(1, agent, name="Agent workflow", ms=90)),
            place(scope, make_span(2, agent, name="Agent workflow", parent=1, start_ms=1, ms=80)),
            place(scope, make_span(3, model_call(), parent=2, start_ms=2)),
        )
        assert [calls[n].get("parent_id") for n in (1, 2, 3)] == [None, f"{1:016x}", f"{2:016x}"]


class TestWhatEmbeddingsTell:
    @pytest.mark.parametrize(
        ("scope", "attributes", "inputs", "output"),
        [
            ("lib", {"gen_ai.operation.name": "embeddings"}, None, None),
            (
                "opentelemetry.instrumentation.openai",
                {"gen_ai.operation.name": "embeddings", "gen_ai.input.messages": encode(
                    [text_message("user", "one"), text_message("user", "two")])},
                ["one", "two"],
                None,
            ),
            (
                "openinference.instrumentation.openai",
                {
                    "openinference.span.kind": "EMBEDDING",
                    "embedding.embeddings.0.embedding.text": "one",
                    "embedding.embeddings.0.embedding.vector": [0.1, 0.2, 0.3],
                    "embedding.embeddings.1.embedding.text": "two",
                    "embedding.embeddings.1.embedding.vector": [0.1, 0.2, 0.3],
                },
                ["one", "two"],
                {"count": 2, "dimensions": 3},
            ),
            (
                "ai",
                {
                    "ai.operationId": "ai.embedMany.doEmbed",
                    "ai.values": ['"one"', '"two"'],
                    "ai.embeddings": ["[0.1,0.2,0.3]", "[0.1,0.2,0.3]"],
                },
                ["one", "two"],
                {"count": 2, "dimensions": 3},
            ),
            (
                "mlflow",
                {
                    "mlflow.spanType": '"EMBEDDING"',
                    "mlflow.spanInputs": '{"model": "e", "input": ["one", "two"]}',
                    "mlflow.spanOutputs": encode({"data": [{"embedding": [0.1, 0.2, 0.3]}] * 2}),
                },
                ["one", "two"],
                {"count": 2, "dimensions": 3},
            ),
        ],
    )  # fmt: skip
    def test_texts_stay_and_vectors_are_cut(
        self, scope: str, attributes: Attributes, inputs: object, output: object
    ) -> None:
        (call,) = calls_from(place(scope, make_span(1, attributes))).values()
        assert call["inputs"].get("input") == inputs
        assert call.get("output") == output
        assert "0.2" not in encode(call)


class TestSpellingsOfProviders:
    @pytest.mark.parametrize(
        ("scope", "attributes", "provider"),
        [
            ("lib", {"gen_ai.system": "openai"}, "openai"),
            ("lib", {"gen_ai.system": "OpenAI"}, "openai"),
            (
                "opentelemetry.instrumentation.openai",
                {"gen_ai.system": "OpenAI", "llm.request.type": "chat"},
                "openai",
            ),
            (
                "ai",
                {"gen_ai.system": "openai.chat", "ai.operationId": "ai.generateText.doGenerate"},
                "openai",
            ),
            ("lib", {"gen_ai.system": "az.ai.openai"}, "azure.ai.openai"),
            ("strands.telemetry.tracer", {"gen_ai.provider.name": "strands-agents"}, None),
            ("langsmith", {"gen_ai.system": "langchain", "langsmith.span.kind": "chain"}, None),
            ("agent_framework", {"gen_ai.provider.name": "microsoft.agent_framework"}, None),
            ("litellm", {"litellm.call_id": "1", "litellm.provider.model": "openai/gpt-4o-mini"}, "openai"),
        ],
    )
    def test_a_provider_is_who_answers(
        self, scope: str, attributes: Attributes, provider: str | None
    ) -> None:
        assert read_from(scope, attributes).get("provider") == provider

    def test_a_provider_before_the_model_stays_there(self) -> None:
        facts = read_from("gcp.vertex.agent", model_call(gen_ai__request__model="openai/gpt-4o-mini"))
        assert facts["model"] == "openai/gpt-4o-mini"


class TestEmptyValues:
    def test_litellms_forty_empty_strings_are_none(self) -> None:
        told = model_call() | {
            "litellm.call_id": "1",
            "metadata.user_api_key_hash": "",
            "metadata.requester_ip_address": "",
            "metadata.applied_guardrails": "[]",
            "llm.headers": "None",
            "llm.user": "None",
        }
        facts = read_from("litellm", told)
        assert not facts.get("metadata")
        assert "user_id" not in facts

    def test_zero_stands_for_unknown(self) -> None:
        """OpenLIT's cost, OpenLLMetry's cached tokens of embeddings."""
        told = model_call() | {
            "gen_ai.usage.cost": 0,
            "gen_ai.usage.cache_read.input_tokens": 0,
            "gen_ai.client.token.usage": 37,
        }
        calls = calls_from(place("openlit.instrumentation.openai", make_span(1, told)))
        assert usage_of(calls[1]) == {**SPENT, "requests": 1}
        assert "provider_cost_usd" not in calls[1]["attributes"]

    def test_no_tokens_at_all_are_no_usage(self) -> None:
        assert counting(calls_from(place("lib", make_span(1, model_call(0, 0))))) == set()


class TestSessions:
    def test_a_conversation_that_was_made_up_comes_last(self) -> None:
        """Pydantic AI makes one up for each run."""
        told = model_call(gen_ai__conversation__id="0199d1b4-aaaa", session__id="session-42")
        calls = calls_from(place("pydantic-ai", make_span(1, told)))
        assert calls[1]["thread_id"] == calls[1]["attributes"]["session_id"] == "session-42"

    def test_langsmiths_session_name_is_its_project(self) -> None:
        facts = read_from(
            "langsmith",
            {
                "langsmith.span.kind": "llm",
                "langsmith.trace.session_name": "default",
                "langsmith.metadata.session_id": "session-42",
            },
        )
        assert facts["session_id"] == "session-42"
        assert facts["metadata"] == {"project": "default"}


class TestOtlpAsJson:
    """64-bit numbers as strings, ids in hex or, where somebody took protobuf's own JSON, in base64."""

    def span(self, **members: object) -> Span:
        told = {
            "traceId": TRACE_ID,
            "spanId": f"{2:016x}",
            "name": "chat gpt-4o-mini",
            "kind": 3,
            "startTimeUnixNano": "1767225600000000000",
            "endTimeUnixNano": "1767225600100000000",
            "attributes": [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "25"}}],
            "status": {},
            **members,
        }
        request = {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "lib"}, "spans": [told]}]}]}
        return read_traces(json.dumps(request).encode()).batches[0].spans[0]

    def test_numbers_as_strings_are_numbers(self) -> None:
        facts = read_span(self.span(), Scope("lib"), Resource())
        assert facts.usage == {"input_tokens": 25}

    @pytest.mark.parametrize(
        "parent", [{}, {"parentSpanId": ""}, {"parentSpanId": "0" * 16}, {"parentSpanId": None}]
    )
    def test_a_root_however_it_says_so(self, parent: dict[str, object]) -> None:
        (call,) = calls_from(place("lib", self.span(**parent))).values()
        assert "parent_id" not in call

    @pytest.mark.parametrize(
        ("kind", "status"), [(3, {"code": 2}), ("SPAN_KIND_CLIENT", {"code": "STATUS_CODE_ERROR"})]
    )
    def test_enumerators_by_number_or_name(self, kind: object, status: object) -> None:
        span = self.span(kind=kind, status=status)
        assert (span.kind, span.status_code) == (3, 2)

    def test_an_id_in_base64(self) -> None:
        assert self.span(spanId="AAAAAAAAAAI=").span_id == f"{2:016x}"


class TestNamesWithBraces:
    def test_logfires_names_are_templates(self) -> None:
        told: Attributes = {
            "logfire.msg_template": "Chat Completion with {request_data[model]!r}",
            "logfire.msg": "Chat Completion with 'gpt-4o-mini'",
            "logfire.json_schema": '{"type": "object"}',
        }
        span = make_span(1, told, name="Chat Completion with {request_data[model]!r}")
        (call,) = calls_from(place("logfire.openai", span)).values()
        assert call["display_name"] == "Chat Completion with 'gpt-4o-mini'"
        assert call["op_name"] == "Chat Completion with {request_data[model]!r}"

    def test_its_book_keeping_on_parents_is_no_usage(self) -> None:
        sums = encode({"gen_ai.client.token.usage": {"details": [], "total": 37}})
        calls = calls_from(
            place("logfire", make_span(1, {"logfire.metrics": sums, "logfire.span_type": "span"}, ms=50)),
            place("logfire.openai", make_span(2, model_call(), parent=1, start_ms=1)),
        )
        assert counting(calls) == {2}
        assert "reported_usage" not in calls[1]["attributes"]


def tokens_of(*exports: dict[str, Any]) -> dict[str, float]:
    """What the rows of these exports sum up to, by kind of token."""
    works = Works()
    for export in exports:
        works.write(export)
    sums: dict[str, float] = {}
    for row in works.finish():
        for name in ("input", "output", "reasoning"):
            if told := row.get(f"tokens/{name}"):
                sums[name] = sums.get(name, 0) + told
    return sums


def export_of(
    second: float,
    shape: str,
    *points: dict[str, Any],
    temporality: int,
    start: float = 0.0,
    name: str = "gen_ai.client.token.usage",
) -> dict[str, Any]:
    """An export of token counts: `shape` is `histogram`, `exponentialHistogram` or `sum`."""
    timed = [{"startTimeUnixNano": at(start), "timeUnixNano": at(second), **point} for point in points]
    told: dict[str, Any] = {"aggregationTemporality": temporality, "dataPoints": timed}
    if shape == "sum":
        told["isMonotonic"] = True
    metric = {"name": name, "unit": "{token}", shape: told}
    scope = {"scope": {"name": "lib"}, "metrics": [metric]}
    return {"resourceMetrics": [{"resource": resource("rag"), "scopeMetrics": [scope]}]}


def histogram_of(tokens: int, count: int, kind: str = "input") -> dict[str, Any]:
    """Calls that took so many tokens together."""
    told = {
        "gen_ai.token.type": kind,
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.provider.name": "openai",
    }
    return {
        "attributes": attributes(told),
        "count": str(count),
        "sum": float(tokens),
        "explicitBounds": [1.0, 1e6],
        "bucketCounts": ["0", str(count), "0"],
    }


class TestMetricsOfModelCalls:
    DELTA: Final = 1
    CUMULATIVE: Final = 2

    def test_a_histogram_counts_by_its_sum(self) -> None:
        export = export_of(30, "histogram", histogram_of(75, 3), temporality=self.DELTA)
        assert tokens_of(export) == {"input": 75}

    def test_a_cumulative_export_repeats_what_did_not_change(self) -> None:
        exports = [
            export_of(second, "histogram", histogram_of(tokens, calls), temporality=self.CUMULATIVE)
            for second, tokens, calls in ((30, 25, 1), (90, 25, 1), (150, 75, 3), (210, 75, 3), (211, 75, 3))
        ]
        assert tokens_of(*exports) == {"input": 75}

    def test_a_delta_export_has_only_what_is_new(self) -> None:
        exports = [
            export_of(second, "histogram", histogram_of(25, 1), temporality=self.DELTA, start=second - 30)
            for second in (30, 90, 150)
        ]
        assert tokens_of(*exports) == {"input": 75}

    def test_the_export_at_the_shutdown_repeats_the_flush_before_it(self) -> None:
        export = export_of(30, "histogram", histogram_of(25, 1), temporality=self.DELTA)
        assert tokens_of(export, export) == {"input": 25}

    def test_exponential_histograms(self) -> None:
        point = histogram_of(75, 3)
        del point["explicitBounds"], point["bucketCounts"]
        point |= {"scale": 0, "zeroCount": "0", "positive": {"offset": 4, "bucketCounts": ["3"]}}
        export = export_of(30, "exponentialHistogram", point, temporality=self.DELTA)
        assert tokens_of(export) == {"input": 75}

    def test_reasoning_is_a_part_of_the_output(self) -> None:
        """OpenLIT has a type of token for it."""
        points = (histogram_of(12, 1, "output"), histogram_of(4, 1, "reasoning"))
        export = export_of(30, "histogram", *points, temporality=self.DELTA)
        assert tokens_of(export) == {"output": 12, "reasoning": 4}

    def test_tokens_of_spans_and_of_metrics_are_the_same_tokens(self) -> None:
        spans = traces(wire_chat(1, 20.0, given=25, made=12))
        points = (histogram_of(25, 1), histogram_of(12, 1, "output"))
        metrics = export_of(30, "histogram", *points, temporality=self.DELTA)
        assert tokens_of(spans, metrics) == tokens_of(metrics, spans) == {"input": 25, "output": 12}

    def test_a_sum_that_is_too_high_does_not_matter_beside_spans(self) -> None:
        """The Agent Development Kit counts reasoning twice in its metrics, too."""
        spans = traces(wire_chat(1, 20.0, given=154, made=31))
        metrics = export_of(30, "histogram", histogram_of(42, 2, "output"), temporality=self.DELTA)
        assert tokens_of(spans, metrics) == {"input": 154, "output": 31}


class TestSurroundings:
    def test_several_scopes_and_what_a_resource_holds(self) -> None:
        request = {
            "resourceSpans": [
                {
                    "resource": {
                        "attributes": [
                            {"key": "service.name", "value": {"stringValue": "rag"}},
                            {
                                "key": "process.command_args",
                                "value": {"arrayValue": {"values": [{"stringValue": "python"}]}},
                            },
                        ]
                    },
                    "scopeSpans": [
                        {"scope": {"name": name}, "spans": [self._span(number)]}
                        for number, name in enumerate(("one", "two"), 1)
                    ],
                }
            ]
        }
        groups = read_traces(json.dumps(request).encode()).batches
        assert [group.scope.name for group in groups] == ["one", "two"]
        assert groups[0].resource.attributes == {"service.name": "rag", "process.command_args": ["python"]}

    def test_log_records_of_several_scopes_find_their_span(self) -> None:
        record = {"timeUnixNano": "1767225600000000000", "traceId": TRACE_ID, "spanId": f"{1:016x}"}
        request = {
            "resourceLogs": [
                {"scopeLogs": [{"scope": {"name": name}, "logRecords": [record]} for name in ("one", "two")]}
            ]
        }
        groups = read_logs(json.dumps(request).encode()).batches
        assert [(g.scope.name, g.records[0].span_id) for g in groups] == [
            ("one", f"{1:016x}"),
            ("two", f"{1:016x}"),
        ]

    def _span(self, number: int) -> dict[str, object]:
        return {
            "traceId": TRACE_ID,
            "spanId": f"{number:016x}",
            "name": "s",
            "startTimeUnixNano": "1767225600000000000",
            "endTimeUnixNano": "1767225600100000000",
        }
