"""The cases of all producers that instrument LlamaIndex."""

from __future__ import annotations

from typing import Any

import stage


def model() -> Any:
    """LlamaIndex's model of the local server, without retries."""
    from llama_index.llms.openai import OpenAI

    return OpenAI(
        model=stage.MODEL,
        api_base=f"{stage.MODEL_URL}/v1",
        api_key=stage.KEY,
        max_retries=0,
        temperature=0.3,
    )


def rag() -> None:
    """A query engine over three documents in memory."""
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.embeddings.openai import OpenAIEmbedding

    embedding = OpenAIEmbedding(
        model_name=stage.EMBEDDING_MODEL, api_base=f"{stage.MODEL_URL}/v1", api_key=stage.KEY, max_retries=0
    )
    documents = [Document(text=d["content"], id_=d["id"], metadata={}) for d in stage.DOCUMENTS]
    index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
    engine = index.as_query_engine(llm=model(), similarity_top_k=2)
    response = engine.query(stage.note_asked(stage.LAKE))
    found = [{"id": n.node_id, "content": n.text, "score": n.score} for n in response.source_nodes]
    stage.note_found(stage.LAKE, found)
    stage.note_answered(str(response))


def chat() -> None:
    """A system and a user message."""
    from llama_index.core.llms import ChatMessage

    model().chat(
        [ChatMessage(role="system", content=stage.SYSTEM), ChatMessage(role="user", content=stage.CAPITAL)]
    )


def stream() -> None:
    """The same question in pieces."""
    from llama_index.core.llms import ChatMessage

    for _ in model().stream_chat([ChatMessage(role="user", content=stage.CAPITAL)]):
        pass


async def tools() -> None:
    """An agent with a tool."""
    from llama_index.core.agent.workflow import FunctionAgent

    agent = FunctionAgent(tools=[stage.get_weather], llm=model(), system_prompt=stage.SYSTEM, streaming=False)
    stage.note_answered(str(await agent.run(stage.note_asked(stage.WEATHER))))


def error() -> None:
    """A model's failure."""
    from llama_index.core.llms import ChatMessage

    model().chat([ChatMessage(role="user", content=stage.TOO_MANY)])
