"""Microsoft's Agent Framework: content on the spans and in log records, sums on the agent."""

import stage

REQUIREMENTS = ["agent-framework-core==1.23.0", "agent-framework-openai==1.17.0", "OTLP"]
SPANS = {r"^chat": "chat", r"^execute_tool": "tool", r"^invoke_agent": "agent", r"": "step"}
CASES = ["tools", "stream"]

stage.provide_traces(logs=True)
from agent_framework import Agent  # noqa: E402  # after the provider
from agent_framework.observability import enable_instrumentation  # noqa: E402
from agent_framework.openai import OpenAIChatCompletionClient  # noqa: E402

enable_instrumentation(enable_sensitive_data=True)


def _agent() -> Agent:
    client = OpenAIChatCompletionClient(
        model=stage.MODEL, api_key=stage.KEY, base_url=f"{stage.MODEL_URL}/v1"
    )
    return Agent(client, instructions=stage.SYSTEM, tools=[stage.get_weather], name="Geo")


async def tools() -> None:
    stage.note_answered((await _agent().run(stage.note_asked(stage.WEATHER))).text)


async def stream() -> None:
    said = [part.text async for part in _agent().run(stage.note_asked(stage.CAPITAL), stream=True)]
    stage.note_answered("".join(said))


stage.run()
