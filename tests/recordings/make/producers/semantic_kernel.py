"""Semantic Kernel: the messages of a model call are log records whose body is JSON."""

import logging
import os

import stage

REQUIREMENTS = ["semantic-kernel==1.45.0", "OTLP"]
SPANS = {r"^chat": "chat", r"^execute_tool": "tool", r"^invoke_agent": "agent", r"": "step"}
CASES = ["chat", "stream", "tools", "error"]

_DIAGNOSTICS = "SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS"
os.environ.update({_DIAGNOSTICS: "true", f"{_DIAGNOSTICS}_SENSITIVE": "true"})
stage.provide_traces(logs=True)
from opentelemetry.sdk._logs import LoggingHandler  # noqa: E402  # after the provider

_handler = LoggingHandler()
_handler.addFilter(logging.Filter("semantic_kernel"))
logging.getLogger().addHandler(_handler)
logging.getLogger().setLevel(logging.INFO)

from openai import AsyncOpenAI  # noqa: E402
from semantic_kernel.agents import ChatCompletionAgent  # noqa: E402
from semantic_kernel.connectors.ai.open_ai import (  # noqa: E402
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
)
from semantic_kernel.contents import ChatHistory  # noqa: E402
from semantic_kernel.functions import kernel_function  # noqa: E402


class _Weather:
    @kernel_function(name="get_weather", description="The weather in a city now.")
    def get_weather(self, city: str) -> str:
        return stage.get_weather(city)


def _service() -> OpenAIChatCompletion:
    client = AsyncOpenAI(api_key=stage.KEY, base_url=f"{stage.MODEL_URL}/v1", max_retries=0)
    return OpenAIChatCompletion(ai_model_id=stage.MODEL, async_client=client)


def _history(asked: str) -> ChatHistory:
    history = ChatHistory(system_message=stage.SYSTEM)
    history.add_user_message(asked)
    return history


async def chat() -> None:
    options = OpenAIChatPromptExecutionSettings(temperature=0.3, max_tokens=100)
    await _service().get_chat_message_content(_history(stage.CAPITAL), options)


async def stream() -> None:
    options = OpenAIChatPromptExecutionSettings()
    async for _ in _service().get_streaming_chat_message_content(_history(stage.CAPITAL), options):
        pass


async def tools() -> None:
    agent = ChatCompletionAgent(
        service=_service(), name="Geo", instructions=stage.SYSTEM, plugins=[_Weather()]
    )
    stage.note_answered(str(await agent.get_response(messages=stage.note_asked(stage.WEATHER))))


async def error() -> None:
    history = ChatHistory()
    history.add_user_message(stage.TOO_MANY)
    await _service().get_chat_message_content(history, OpenAIChatPromptExecutionSettings())


stage.run()
