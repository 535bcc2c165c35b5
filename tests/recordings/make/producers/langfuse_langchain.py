"""Langfuse's callback handler for LangChain."""

import os
import sys

import stage

REQUIREMENTS = ["langchain==1.5.2", "langchain-openai==1.7.4", "numpy", "langfuse==5.0.4", "OTLP"]
SPANS = {
    r"^ChatOpenAI$": "chat",
    r"^VectorStoreRetriever$": "retrieval",
    r"^get_weather$": "tool",
    r"^(rag|LangGraph|agent)$": "workflow",
    r"": "step",
}
CASES = ["rag", "stream", "tools", "error"]

os.environ.update(
    LANGFUSE_PUBLIC_KEY="pk-lf-recordings",
    LANGFUSE_SECRET_KEY="sk-lf-recordings",
    LANGFUSE_HOST=stage.OTLP_URL,
    LANGFUSE_BASE_URL=stage.OTLP_URL,
)
import langchain_cases  # noqa: E402  # reads the environment
from langfuse import Langfuse  # noqa: E402
from langfuse.langchain import CallbackHandler  # noqa: E402

_client: list[Langfuse] = []
stage.at_the_end(lambda: _client[0].flush())  # before the provider is shut down
_client.append(Langfuse(tracer_provider=stage.provide_traces()))
HANDLER = CallbackHandler()
langchain_cases.CONFIG["callbacks"] = [HANDLER]
_model = langchain_cases.model
if sys.argv[1] in ("stream", "error"):
    langchain_cases.model = lambda **options: _model(callbacks=[HANDLER], **options)


def tools() -> None:
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    agent = create_agent(_model(), tools=[tool(stage.get_weather)], system_prompt=stage.SYSTEM)
    asked = {"messages": [{"role": "user", "content": stage.note_asked(stage.WEATHER)}]}
    stage.note_answered(agent.invoke(asked, {"callbacks": [HANDLER]})["messages"][-1].content)


stage.run(langchain_cases)
