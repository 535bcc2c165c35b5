"""Tokens as Weave counts them: input includes what was cached, output includes reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from otel_wandb.conventions import Facts

_MAX_INT: Final = 2**63
_WHOLES: Final = {
    "input_tokens": ("cache_read_input_tokens", "cache_creation_input_tokens"),
    "output_tokens": ("reasoning_tokens",),
}
"""The tokens that are summed, with the parts that some producers count beside them."""


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
    """Makes input and output whole, where the producer counts parts of them beside them.

    That is certain where a part is larger than its whole, or where the total is the sum of all.
    """
    cached = usage.get("cache_read_input_tokens", 0) + usage.get("cache_creation_input_tokens", 0)
    reasoning = usage.get("reasoning_tokens", 0)
    given, made = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    beside = usage.get("total_tokens", 0) - given - made
    clear = cached != reasoning
    if cached > given or (cached and (beside == cached + reasoning or (clear and beside == cached))):
        usage["input_tokens"] = given + cached
        facts.warn("usage_input_without_cache")
    if reasoning > made or (reasoning and (beside == cached + reasoning or (clear and beside == reasoning))):
        usage["output_tokens"] = made + reasoning
        facts.warn("usage_output_without_reasoning")


def complete_usage(usage: dict[str, int], told: Mapping[str, int]) -> None:
    """Adds to the usage what another span tells of the same tokens in more detail."""
    if any(usage.get(name, told.get(name)) != told.get(name, usage.get(name)) for name in _WHOLES):
        return
    for name, tokens in told.items():
        usage.setdefault(name, tokens)
    whole = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    usage["total_tokens"] = max(whole, usage.get("total_tokens", 0))


def agree(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether both may tell of the same tokens, though one may count a part beside the whole, not in it."""
    for whole, parts in _WHOLES.items():
        gap = abs(one.get(whole, 0) - other.get(whole, 0))
        if gap and whole in one and whole in other and not (_may_differ(gap, parts, one, other)):
            return False
    return True


def _may_differ(gap: int, parts: tuple[str, ...], *told: Mapping[str, int]) -> bool:
    return any(
        gap in (*(usage.get(part, 0) for part in parts), sum(usage.get(part, 0) for part in parts))
        for usage in told
    )


def model_of(facts: Facts) -> str:
    """The name that tokens are counted and priced under: the model that answered, else the one asked for."""
    return facts.response_model or facts.model or "unknown"
