"""Prices of one's own, as the setting `prices` has them: read, checked, and written as one text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

_PRICES: Final = ("input", "output", "cache_read", "cache_write")


class CustomPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a model costs, in USD for a million tokens.

    Cached tokens that have no price of their own cost what other input does. A `provider` restricts the
    price to calls that name it, in whichever spelling.
    """

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    provider: str = ""


def read_price_list(value: object) -> dict[str, CustomPrice]:
    """The prices by model or glob; `value` is a mapping, or JSON text of one. Raises `ValueError`."""
    if isinstance(value, str):
        value = msgspec.json.decode(value) if value.strip() else {}
    if not isinstance(value, Mapping):
        raise ValueError("expected a mapping of models")
    prices: dict[str, CustomPrice] = {}
    for model, told in value.items():
        name = str(model).strip().lower()
        try:
            price = msgspec.convert(told, CustomPrice)
        except msgspec.ValidationError as error:
            raise ValueError(f"{name}: {error}") from None
        given = [amount for part in _PRICES if (amount := getattr(price, part)) is not None]
        if not name or not given:
            raise ValueError(
                f"{name or 'a model without a name'}: expected at least one of {', '.join(_PRICES)}"
            )
        if not all(math.isfinite(amount) and amount >= 0 for amount in given):
            raise ValueError(f"{name}: expected prices of 0 or more")
        prices[name] = price
    return prices


def write_price_list(prices: Mapping[str, CustomPrice]) -> str:
    """The text that `read_price_list` reads: the same prices, the same text; empty where there are none."""
    return msgspec.json.encode(prices, order="sorted").decode() if prices else ""
