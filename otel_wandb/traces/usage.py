"""Tokens as Weave counts them: input includes what was cached, output includes reasoning."""

from __future__ import annotations

from typing import Final

from otel_wandb.conventions import Facts

_MAX_INT: Final = 2**63


def usage_of(facts: Facts) -> dict[str, int] | None:
    """The span's own tokens, or `None` if it tells of none; zero tokens are none."""
    if not facts.usage:
        return None
    usage = dict(facts.usage)
    if len(usage) > 2:
        _include_parts(facts, usage)
    whole = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    total = usage.get("total_tokens", 0)
    if not 0 < max(whole, total) < _MAX_INT:
        return None
    if whole > total:
        usage["total_tokens"] = whole
    usage["requests"] = 1
    return {name: tokens for name, tokens in usage.items() if tokens} if 0 in usage.values() else usage


def _include_parts(facts: Facts, usage: dict[str, int]) -> None:
    """A part larger than the whole: this producer counts it beside the whole, not in it."""
    cached = usage.get("cache_read_input_tokens", 0) + usage.get("cache_creation_input_tokens", 0)
    given = usage.get("input_tokens", 0)
    if cached > given:
        usage["input_tokens"] = given + cached
        facts.warn("usage_input_without_cache")
    reasoning = usage.get("reasoning_tokens", 0)
    made = usage.get("output_tokens", 0)
    if reasoning > made:
        usage["output_tokens"] = made + reasoning
        facts.warn("usage_output_without_reasoning")


def model_of(facts: Facts) -> str:
    """The name that tokens are counted and priced under: the model that answered, else the one asked for."""
    return facts.response_model or facts.model or "unknown"
