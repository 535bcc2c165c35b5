"""The one answer that the model server has for each question: texts, tool calls, tokens and failures.

All tokens of one answer differ from each other, and so do the sums of two of them, so that a number that is
found somewhere says where it comes from.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

SNAPSHOTS = {
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "text-embedding-3-small": "text-embedding-3-small",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "gemini-2.5-flash": "gemini-2.5-flash-001",
}
"""The model that answers for the one that was asked for; all others answer for themselves."""


@dataclass(frozen=True)
class Tokens:
    """`input` holds the cached ones, `output` the reasoning."""

    input: int
    output: int
    cached: int = 0
    cache_creation: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Call:
    """A tool call of an answer."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the model says, or the failure of the request."""

    text: str = ""
    tokens: Tokens = Tokens(0, 0)
    calls: tuple[Call, ...] = ()
    status: int = 200
    error: str = ""


@dataclass(frozen=True)
class Asked:
    """What an API-specific request comes down to: the words of each message, its tools, and the last role."""

    words: list[tuple[str, str]]
    """(role, text) of each message, in order."""

    tools: list[str] = field(default_factory=list)
    shape: dict[str, Any] | None = None
    """The JSON schema that the answer must have."""

    @property
    def all_words(self) -> str:
        return "\n".join(text for _, text in self.words)


CAPITAL = Answer("The capital of Portugal is Lisbon – “Lisboa”.", Tokens(47, 15, cached=32, reasoning=6))
FORECAST = Answer("In Lisbon it is 21 degrees and cloudy.", Tokens(113, 19, cached=64, reasoning=3))
GET_WEATHER = Answer(
    tokens=Tokens(79, 22, cached=16, reasoning=9), calls=(Call("get_weather", {"city": "Lisbon"}),)
)
LAKE = Answer("Lake Baikal is 1642 metres deep.", Tokens(171, 26, cached=128, reasoning=11))
TOO_MANY = Answer(status=429, error="Rate limit reached for gpt-4o-mini in organization org-recordings")
BROKEN = Answer(status=500, error="The server had an error while processing your request")
UNKNOWN = Answer("I do not know.", Tokens(23, 5))

_BY_QUESTION = (
    (r"please fail with 429", TOO_MANY),
    (r"please fail with 500", BROKEN),
    (r"how deep is lake baikal", LAKE),
    (r"capital of portugal", CAPITAL),
)
_WEATHER = r"weather in lisbon"
_RESULT = r"21 degrees"
_EMBEDDING_TOKENS = 7


def answer(asked: Asked) -> Answer:
    """The answer to a request, by its question and by what has been said since."""
    words = asked.all_words.lower()
    if re.search(_WEATHER, words):
        found = _answer_weather(asked, words)
    else:
        found = next((a for pattern, a in _BY_QUESTION if re.search(pattern, words)), UNKNOWN)
    if asked.shape and found.status == 200 and not found.calls:
        return replace(found, text=_shaped(asked.shape, found.text))
    return found


def _answer_weather(asked: Asked, words: str) -> Answer:
    tool = next((name for name in asked.tools if "get_weather" in name), "")
    has_result = _RESULT in words
    if not has_result and tool:
        return replace(GET_WEATHER, calls=(Call(tool, {"city": "Lisbon"}),))
    final = next((name for name in asked.tools if name in ("final_answer", "final_result")), "")
    if final:
        return replace(FORECAST, text="", calls=(Call(final, {"answer": FORECAST.text}),))
    return FORECAST


def _shaped(schema: dict[str, Any], text: str) -> str:
    """The text in the first string property of a schema."""
    names = [n for n, s in schema.get("properties", {}).items() if s.get("type") == "string"]
    return json.dumps(dict.fromkeys(names[:1], text), ensure_ascii=False)


def embed(texts: list[str]) -> tuple[list[list[float]], int]:
    """A vector of eight numbers for each text, nearer the more letters two texts share, and the tokens."""
    vectors = []
    for text in texts:
        counts = [0.0] * 8
        for word in re.findall(r"[a-z]+", text.lower()):
            counts[sum(map(ord, word)) % 8] += 1.0
        norm = sum(c * c for c in counts) ** 0.5 or 1.0
        vectors.append([round(c / norm, 4) for c in counts])
    return vectors, _EMBEDDING_TOKENS * len(texts)
