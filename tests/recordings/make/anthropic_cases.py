"""The cases of all producers that instrument Anthropic's own client."""

from __future__ import annotations

from typing import Any

import stage

_TOOL = {
    "name": "get_weather",
    "description": "The weather in a city now.",
    "input_schema": stage.WEATHER_TOOL["function"]["parameters"],  # type: ignore[index]  # a table of data
}


def client() -> Any:
    """Anthropic's client of the local server, without retries."""
    import anthropic

    return anthropic.Anthropic(base_url=stage.MODEL_URL, api_key=stage.KEY, max_retries=0)


def chat() -> None:
    """A system and a user message, with parameters."""
    client().messages.create(
        model=stage.CLAUDE,
        system=stage.SYSTEM,
        messages=[{"role": "user", "content": stage.CAPITAL}],
        max_tokens=100,
    )


def stream() -> None:
    """The same question, answered in events."""
    events = client().messages.create(
        model=stage.CLAUDE,
        messages=[{"role": "user", "content": stage.CAPITAL}],
        max_tokens=100,
        stream=True,
    )
    for _ in events:
        pass


def tools() -> None:
    """Two calls of the model with one of a tool between them."""
    model, messages = client(), [{"role": "user", "content": stage.WEATHER}]
    options = {"model": stage.CLAUDE, "max_tokens": 100, "tools": [_TOOL]}
    first = model.messages.create(messages=messages, **options)
    (call,) = [block for block in first.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": stage.get_weather(**call.input)}
    messages += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    model.messages.create(messages=messages, **options)


def error() -> None:
    """A call that is refused."""
    client().messages.create(
        model=stage.CLAUDE, messages=[{"role": "user", "content": stage.TOO_MANY}], max_tokens=100
    )
