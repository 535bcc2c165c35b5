"""Strands Agents: content in events of the spans."""

import stage

REQUIREMENTS = ["strands-agents[openai]==1.62.0", "OTLP"]
SPANS = {r"^chat": "chat", r"^execute_tool": "tool", r"^invoke_agent": "agent", r"": "step"}
CASES = ["tools", "error"]

stage.provide_traces()
from strands import Agent, tool  # noqa: E402  # after the provider
from strands.models.openai import OpenAIModel  # noqa: E402


def _agent() -> Agent:
    client = {"api_key": stage.KEY, "base_url": f"{stage.MODEL_URL}/v1", "max_retries": 0}
    model = OpenAIModel(client_args=client, model_id=stage.MODEL, params={"temperature": 0.3})
    return Agent(
        model=model,
        tools=[tool(stage.get_weather)],
        system_prompt=stage.SYSTEM,
        callback_handler=None,
        retry_strategy=None,
    )


def tools() -> None:
    stage.note_answered(str(_agent()(stage.note_asked(stage.WEATHER))).strip())


def error() -> None:
    _agent()(stage.TOO_MANY)


stage.run()
