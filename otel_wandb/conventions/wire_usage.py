"""Token counts in one object, in the words of model APIs and frameworks, to the canonical usage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from otel_wandb.conventions.decoding import Decode, DecodeError, count, parse
from otel_wandb.conventions.facts import Json

_INPUT: Final = ("prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "prompt_token_count")
_OUTPUT: Final = ("completion_tokens", "output_tokens", "completionTokens", "outputTokens")
_Names: TypeAlias = Mapping[str, tuple[str, ...]]

_NAMES: Final[_Names] = {
    "input_tokens": (
        *_INPUT,
        "promptTokenCount",
        "inputTokenCount",
        "input_token_count",
    ),
    "output_tokens": (
        *_OUTPUT,
        "candidates_token_count",
        "candidatesTokenCount",
        "outputTokenCount",
        "generated_token_count",
    ),
    "total_tokens": ("total_tokens", "totalTokens", "total_token_count", "totalTokenCount"),
    "cache_read_input_tokens": (
        "cache_read_input_tokens",
        "cacheReadInputTokens",
        "cachedInputTokens",
        "cached_content_token_count",
        "cachedContentTokenCount",
    ),
    "cache_creation_input_tokens": (
        "cache_creation_input_tokens",
        "cache_write_input_tokens",
        "cacheWriteInputTokens",
    ),
    "reasoning_tokens": (
        "reasoning_tokens",
        "reasoningTokens",
        "thoughts_token_count",
        "thoughtsTokenCount",
    ),
}
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_INPUT_PARTS: Final[_Names] = {
    "cache_read_input_tokens": ("cached_tokens", "cache_read", "cacheReadTokens"),
    "cache_creation_input_tokens": ("cache_creation", "cache_creation_tokens", "cache_write_tokens"),
    "audio_input_tokens": ("audio_tokens", "audio"),
    "image_input_tokens": ("image_tokens", "image"),
}
_OUTPUT_PARTS: Final[_Names] = {
    "reasoning_tokens": ("reasoning_tokens", "reasoning"),
    "audio_output_tokens": ("audio_tokens", "audio"),
    "image_output_tokens": ("image_tokens", "image"),
}


def read_usage(value: object) -> Json | None:
    """The counts of a usage object, also as a literal; an input that leaves the cache out is put right.

    Anthropic's API counts cached tokens beside the input, at the top of the object and without a total; all
    others that name them there give a total that includes them.
    """
    told = parse(value)
    if told is None:
        return None
    if not isinstance(told, dict):
        raise DecodeError
    usage = _pick(told, _NAMES)
    has_total = "total_tokens" in usage
    if not has_total and "input_tokens" in told and not _details(told, _INPUT_DETAILS):
        given = usage.get("input_tokens", 0)
        cached = (usage.get(f"cache_{way}_input_tokens", 0) for way in ("read", "creation"))
        usage["input_tokens"] = given + sum(cached)
    for given_parts, wanted in ((_INPUT_DETAILS, _INPUT_PARTS), (_OUTPUT_DETAILS, _OUTPUT_PARTS)):
        usage = {**_pick(_details(told, given_parts), wanted), **usage}
    return dict(usage) or None


def part_of(name: str) -> Decode:
    """A decoder of one count, `name`, from an object of the parts of the input, or of the output."""
    wanted = {name: {**_INPUT_PARTS, **_OUTPUT_PARTS}[name]}

    def decode(value: object) -> int | None:
        told = parse(value)
        if told is not None and not isinstance(told, dict):
            raise DecodeError
        return _pick(told or {}, wanted).get(name)

    return decode


def read_disjoint_usage(told: Json) -> Json:
    """Counts by `input`, `input_*`, `output`, `output_*` and `total`, where parts may be beside the whole.

    They are, where the total is the sum of all; where no total tells, they are by the convention.
    """
    parts = {name: n for name in told if (n := _count(told[name])) is not None}
    given, made = parts.get("input", 0), parts.get("output", 0)
    of_input, of_output = (_parts_of(parts, way) for way in ("input_", "output_"))
    if parts.get("total") in (None, given + made + sum(of_input.values()) + sum(of_output.values())):
        given, made = given + sum(of_input.values()), made + sum(of_output.values())
    usage = {"input_tokens": given, "output_tokens": made, "total_tokens": parts.get("total", 0)}
    usage |= _pick(of_input, _INPUT_PARTS) | _pick(of_output, _OUTPUT_PARTS)
    return {name: n for name, n in usage.items() if n}


def _parts_of(parts: dict[str, int], way: str) -> dict[str, int]:
    return {
        name.removeprefix(way): n
        for name, n in parts.items()
        if name.startswith(way) and "priority" not in name
    }


def _details(told: Json, names: Iterable[str]) -> Json:
    for name in names:
        inner = told.get(name)
        if isinstance(inner, dict):
            return inner
    return {}


def _pick(told: Mapping[str, object], wanted: _Names) -> dict[str, int]:
    usage: dict[str, int] = {}
    for name, spellings in wanted.items():
        for spelling in spellings:
            n = _count(told.get(spelling))
            if n:
                usage[name] = n
                break
    return usage


def _count(value: object) -> int | None:
    try:
        return None if isinstance(value, bool) else count(value)
    except DecodeError:
        return None
