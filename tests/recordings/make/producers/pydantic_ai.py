"""Pydantic AI's own instrumentation."""

import stage

REQUIREMENTS = ["pydantic-ai-slim[openai]==2.68.0", "OTLP"]
SPANS = {
    r"^chat ": "chat",
    r"^(invoke_agent|agent run)": "agent",
    r"^(execute_tool|running tool)": "tool",
    r"^running \d+ tools?": "step",
}
CASES = ["chat", "stream", "tools", "error"]

stage.provide_traces(logs=True)
from pydantic_ai import Agent  # noqa: E402  # after the provider
from pydantic_ai.models.openai import OpenAIChatModel  # noqa: E402
from pydantic_ai.providers.openai import OpenAIProvider  # noqa: E402

import openai  # noqa: E402

Agent.instrument_all()
_client = openai.AsyncOpenAI(base_url=f"{stage.MODEL_URL}/v1", api_key=stage.KEY, max_retries=0)
MODEL = OpenAIChatModel(stage.MODEL, provider=OpenAIProvider(openai_client=_client))
AGENT = Agent(MODEL, system_prompt=stage.SYSTEM, name="geographer", model_settings={"temperature": 0.3})


def chat() -> None:
    stage.note_answered(AGENT.run_sync(stage.note_asked(stage.CAPITAL)).output)


async def stream() -> None:
    async with AGENT.run_stream(stage.note_asked(stage.CAPITAL)) as result:
        stage.note_answered(await result.get_output())


def tools() -> None:
    agent = Agent(MODEL, name="geographer", tools=[stage.get_weather])
    stage.note_answered(agent.run_sync(stage.note_asked(stage.WEATHER)).output)


def error() -> None:
    AGENT.run_sync(stage.note_asked(stage.TOO_MANY))


stage.run()
