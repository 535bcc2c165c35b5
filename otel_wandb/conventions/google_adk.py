"""Google's Agent Development Kit: GenAI keys, and Gemini's requests and answers (`gcp.vertex.agent.*`).

`google/adk/telemetry/tracing.py`. Content that is not captured is `{}`.
"""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.answers import take_answer, take_usage
from otel_wandb.conventions.decoding import mapping
from otel_wandb.conventions.facts import Facts, Json, Kind
from otel_wandb.conventions.messages import read_messages, read_system
from otel_wandb.conventions.payloads import set_params
from otel_wandb.conventions.table import Dialect, row
from otel_wandb.conventions.tools import read_tools
from otel_wandb.records import Span

_FRAMEWORK: Final = "gcp.vertex.agent"
_UNSAID: Final = "<not specified>"
_NAMES: Final[dict[str, Kind]] = {
    "call_llm": "chat",
    "invocation": "workflow",
    "agent_run": "agent",
    "execute_tool": "tool",
    "send_data": "other",
}
_PATHS: Final = frozenset(("projects", "models", "publishers", "endpoints", "tunedmodels", "locations"))

_ROWS: Final = (
    row("inputs.llm_request", "gcp.vertex.agent.llm_request", decode=mapping),
    row("outputs.llm_response", "gcp.vertex.agent.llm_response", decode=mapping),
    row("arguments", "gcp.vertex.agent.tool_call_args", decode=mapping),
    row("result", "gcp.vertex.agent.tool_response", decode=mapping),
    row("conversation_id", "gen_ai.conversation.id", "gcp.vertex.agent.session_id"),
    row("metadata.invocation_id", "gcp.vertex.agent.invocation_id"),
    row("metadata.event_id", "gcp.vertex.agent.event_id"),
)


def _settle(facts: Facts, span: Span) -> None:
    if facts.provider == _FRAMEWORK:
        facts.provider = None
        facts.keep("gen_ai.system", _FRAMEWORK)
    if facts.kind is None and facts.operation is None:
        facts.kind = _NAMES.get(span.name.split(" ", 1)[0])
    inputs, outputs = dict(facts.inputs or {}), dict(facts.outputs or {})
    request, response = inputs.pop("llm_request", None), outputs.pop("llm_response", None)
    if isinstance(request, dict):
        _take_request(facts, request)
    if isinstance(response, dict):
        _take_response(facts, response)
    facts.inputs, facts.outputs = inputs or None, outputs or None
    if facts.kind == "tool":
        _settle_tool(facts)
    _separate_reasoning(facts)


def _take_request(facts: Facts, request: Json) -> None:
    facts.model = facts.model or str(request.get("model") or "") or None
    contents = request.get("contents")
    if facts.messages is None and isinstance(contents, list):
        facts.messages = read_messages([_plain_content(content) for content in contents])
    config = request.get("config")
    if not isinstance(config, dict):
        return
    system = config.get("system_instruction")
    if facts.system is None and system:
        facts.system = read_system(system.get("parts", system) if isinstance(system, dict) else system)
    set_params(facts, config, "temperature", "top_p", "top_k", "max_output_tokens", "seed")
    tools = config.get("tools")
    declared = [
        tool
        for group in (tools if isinstance(tools, list) else ())
        if isinstance(group, dict)
        for tool in group.get("function_declarations") or group.get("functionDeclarations") or ()
    ]
    if declared and facts.tools is None:
        facts.tools = read_tools(declared)


def _take_response(facts: Facts, response: Json) -> None:
    content, reason = response.get("content"), response.get("finish_reason", response.get("finishReason"))
    usage = response.get("usage_metadata", response.get("usageMetadata"))
    if isinstance(content, dict):
        candidate = {"content": _plain_content(content), "finish_reason": reason}
        take_answer(facts, {"candidates": [candidate], "model_version": response.get("model_version")})
    if isinstance(usage, dict) and facts.usage is None:
        take_usage(facts, usage)


def _plain_content(content: object) -> object:
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
        return content
    return {**content, "parts": [_plain_part(part) for part in content["parts"]]}


def _plain_part(part: object) -> object:
    """Gemini's parts, in either spelling, in the words of the shared reader."""
    if not isinstance(part, dict):
        return part
    for name, kind in (("function_call", "tool_call"), ("function_response", "tool_call_response")):
        told = part.get(name, part.get(_camel(name)))
        if isinstance(told, dict):
            return {"type": kind, **told}
    if part.get("thought") is True and isinstance(part.get("text"), str):
        return {"type": "reasoning", "content": part["text"]}
    blob = part.get("inline_data", part.get("inlineData"))
    if isinstance(blob, dict):
        mime_type = blob.get("mime_type", blob.get("mimeType"))
        return {"type": "blob", "mime_type": mime_type, "content": blob.get("data")}
    return part


def _camel(name: str) -> str:
    first, second = name.split("_")
    return first + second.capitalize()


def _settle_tool(facts: Facts) -> None:
    if (facts.tool or {}).get("call_id") == _UNSAID:
        facts.tool = {name: value for name, value in (facts.tool or {}).items() if name != "call_id"}
    if isinstance(facts.result, dict) and facts.result.keys() == {"result"}:
        given = facts.result["result"]  # what is no object is wrapped in one
        facts.result = None if given == _UNSAID else given


def _separate_reasoning(facts: Facts) -> None:
    """Takes the reasoning out of the output once, where ADK added it to a count that had it already.

    ADK adds the two for all models. Gemini counts them apart; LiteLLM, which stands before any model whose
    name has a provider in front, gives an output that includes reasoning.
    """
    if facts.kind != "chat" or not facts.usage or not facts.model:
        return
    prefix, is_split, _ = facts.model.partition("/")
    made, reasoning = facts.usage.get("output_tokens", 0), facts.usage.get("reasoning_tokens", 0)
    if is_split and prefix.lower() not in _PATHS and made >= 2 * reasoning > 0:
        facts.usage = {**facts.usage, "output_tokens": made - reasoning}
        facts.usage.pop("total_tokens", None)
        facts.warn("usage_output_counts_reasoning_twice")


DIALECT: Final = Dialect(
    name="google-adk",
    rank=31,
    rows=_ROWS,
    marks=("gcp.vertex.agent.",),
    scopes=("gcp.vertex.agent", "google_adk", "google.adk"),
    settle=_settle,
)
