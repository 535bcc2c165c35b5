"""The cases of all producers that instrument LangChain."""

from __future__ import annotations

from typing import Any

import stage

CONFIG = {"metadata": {"session_id": stage.SESSION}}


def model(**options: Any) -> Any:
    """LangChain's model of the local server, without retries."""
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model=stage.MODEL,
        base_url=f"{stage.MODEL_URL}/v1",
        api_key=stage.KEY,
        max_retries=0,
        temperature=0.3,
        **options,
    )


def retriever() -> Any:
    """A retriever over the documents, and the function that notes what it finds."""
    from langchain_core.documents import Document
    from langchain_core.vectorstores import InMemoryVectorStore
    from langchain_openai import OpenAIEmbeddings

    store = InMemoryVectorStore(
        OpenAIEmbeddings(
            model=stage.EMBEDDING_MODEL,
            base_url=f"{stage.MODEL_URL}/v1",
            api_key=stage.KEY,
            check_embedding_ctx_length=False,
        )
    )
    store.add_documents(
        [Document(d["content"], id=d["id"], metadata={"source": d["source"]}) for d in stage.DOCUMENTS]
    )
    return store.as_retriever(search_kwargs={"k": 2})


def rag() -> None:
    """A chain of a retriever, a prompt, a model and a parser."""
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableLambda

    search = retriever()

    def find(question: str) -> dict[str, str]:
        found = search.invoke(question)
        documents = [{"id": d.id, "content": d.page_content, **d.metadata} for d in found]
        stage.note_found(question, documents)
        return {"context": "\n".join(d.page_content for d in found), "question": question}

    prompt = ChatPromptTemplate.from_messages(
        [("system", "Answer from the context:\n{context}"), ("human", "{question}")]
    )
    chain = (RunnableLambda(find) | prompt | model() | StrOutputParser()).with_config(run_name="rag")
    stage.note_session(stage.SESSION)
    stage.note_answered(chain.invoke(stage.note_asked(stage.LAKE), CONFIG))


def stream() -> None:
    """A model's answer in pieces."""
    for _ in model(stream_usage=True).stream([("system", stage.SYSTEM), ("human", stage.CAPITAL)]):
        pass


def tools() -> None:
    """An agent that calls a tool."""
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    agent = create_agent(model(), tools=[tool(stage.get_weather)], system_prompt=stage.SYSTEM)
    asked = {"messages": [{"role": "user", "content": stage.note_asked(stage.WEATHER)}]}
    stage.note_answered(agent.invoke(asked)["messages"][-1].content)


def error() -> None:
    """A model's failure."""
    model().invoke([("human", stage.TOO_MANY)])
