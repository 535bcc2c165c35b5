"""Google's Agent Development Kit, against Gemini's API."""

import os
from typing import Any

import stage

REQUIREMENTS = ["google-adk==2.13.0", "litellm==1.110.2", "OTLP"]
SPANS = {
    r"^(call_llm|generate_content|chat)": "chat",
    r"^execute_tool": "tool",
    r"^(invoke_agent|invocation|agent_run)": "agent",
    r"": "step",
}
CASES = ["tools", "stream"]

stage.provide_traces(logs=True)
os.environ.update(
    GOOGLE_API_KEY=stage.KEY,
    GOOGLE_GEMINI_BASE_URL=stage.MODEL_URL,
    ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS="true",
)
from google.adk.agents import LlmAgent  # noqa: E402  # after the provider
from google.adk.agents.run_config import RunConfig, StreamingMode  # noqa: E402
from google.adk.runners import InMemoryRunner  # noqa: E402
from google.genai import types  # noqa: E402


async def _ask(text: str, **options: Any) -> str:
    agent = LlmAgent(name="geo", model=stage.GEMINI, instruction=stage.SYSTEM, tools=[stage.get_weather])
    runner = InMemoryRunner(agent=agent, app_name="recordings")
    session = await runner.session_service.create_session(app_name="recordings", user_id=stage.USER)
    stage.note_session(session.id)
    message = types.Content(role="user", parts=[types.Part(text=text)])
    events = runner.run_async(user_id=stage.USER, session_id=session.id, new_message=message, **options)
    finals = [event.content async for event in events if event.is_final_response() and event.content]
    return "".join(part.text or "" for part in finals[-1].parts)


async def tools() -> None:
    stage.note_answered(await _ask(stage.note_asked(stage.WEATHER)))


async def stream() -> None:
    options = {"run_config": RunConfig(streaming_mode=StreamingMode.SSE)}
    stage.note_answered(await _ask(stage.note_asked(stage.CAPITAL), **options))


stage.run()
