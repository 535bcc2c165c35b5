"""The cases of all producers that instrument OpenAI's own client."""

from __future__ import annotations

import json
from typing import Any

import stage


def client(**options: Any) -> Any:
    """OpenAI's client of the local server, without retries."""
    import openai

    return openai.OpenAI(base_url=f"{stage.MODEL_URL}/v1", api_key=stage.KEY, max_retries=0, **options)


def chat() -> None:
    """A system and a user message, with parameters."""
    client().chat.completions.create(
        model=stage.MODEL,
        messages=[
            {"role": "system", "content": stage.SYSTEM},
            {"role": "user", "content": stage.CAPITAL},
        ],
        temperature=0.3,
        max_tokens=100,
        top_p=0.9,
        seed=11,
    )


def stream() -> None:
    """The same question, answered in pieces, with usage at the end."""
    chunks = client().chat.completions.create(
        model=stage.MODEL,
        messages=[{"role": "user", "content": stage.CAPITAL}],
        stream=True,
        stream_options={"include_usage": True},
    )
    for _ in chunks:
        pass


def tools() -> None:
    """Two calls of the model with one of a tool between them."""
    model, messages = client(), [{"role": "user", "content": stage.WEATHER}]
    first = model.chat.completions.create(model=stage.MODEL, messages=messages, tools=[stage.WEATHER_TOOL])
    message = first.choices[0].message
    (call,) = message.tool_calls
    result = stage.get_weather(**json.loads(call.function.arguments))
    messages += [
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": result},
    ]
    model.chat.completions.create(model=stage.MODEL, messages=messages, tools=[stage.WEATHER_TOOL])


def error() -> None:
    """A call that is refused."""
    client().chat.completions.create(
        model=stage.MODEL, messages=[{"role": "user", "content": stage.TOO_MANY}]
    )


def embeddings() -> None:
    """Two texts at once."""
    client().embeddings.create(
        model=stage.EMBEDDING_MODEL,
        input=[d["content"] for d in stage.DOCUMENTS[:2]],
        encoding_format="float",
    )


def responses() -> None:
    """The newer API of the same question."""
    client().responses.create(
        model=stage.MODEL, instructions=stage.SYSTEM, input=stage.CAPITAL, temperature=0.3
    )
