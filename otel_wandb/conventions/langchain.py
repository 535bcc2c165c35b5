"""What LangChain tells in the metadata of a run, whichever instrumentation carries it."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions.decoding import DecodeError, number, text
from otel_wandb.conventions.facts import Facts, Json
from otel_wandb.conventions.genai import provider

_THREADS: Final = ("thread_id", "conversation_id")
_MODELS: Final = frozenset(("chat", "embeddings"))
FRAMEWORKS: Final = frozenset(("langchain", "langgraph", "llamaindex", "llama_index", "haystack", "crewai"))
"""Names that some instrumentations give as the provider: these make no answers."""


def take_run_metadata(facts: Facts) -> None:
    """Fills who asked, in which conversation and which model, where the span has no better word for it."""
    told = facts.metadata
    if not told:
        return
    facts.session_id = facts.session_id or _word(told, "session_id")
    facts.user_id = facts.user_id or _word(told, "user_id")
    for name in _THREADS:
        facts.conversation_id = facts.conversation_id or _word(told, name)
    if facts.kind in _MODELS:
        _take_model(facts, told)


def _take_model(facts: Facts, told: Json) -> None:
    if facts.provider is None or facts.provider.lower() in FRAMEWORKS:
        facts.provider = provider(_word(told, "ls_provider")) or facts.provider
    facts.model = facts.model or _word(told, "ls_model_name")
    for name in ("temperature", "max_tokens"):
        value = _number(told.get(f"ls_{name}"))
        if value is not None and name not in (facts.params or {}):
            facts.params = {**(facts.params or {}), name: value}


def _word(told: Json, name: str) -> str | None:
    try:
        return text(told.get(name))
    except DecodeError:
        return None


def _number(value: object) -> object | None:
    try:
        return number(value)
    except DecodeError:
        return None
