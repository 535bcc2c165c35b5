"""What tokens cost at a moment: prices as whole numbers, so that sums are exact in any order."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

DIGITS: Final = 24
"""Amounts are counted in units of 10^-24 USD: the price of a token is a whole number of them."""

USD: Final[int] = 10**DIGITS
_MILLION: Final = 1_000_000


class Amount(NamedTuple):
    """What usage costs, in units of 1 / `USD`. The total may hold more, such as a fee a request."""

    total: int
    input: int
    output: int


class Rates(NamedTuple):
    """What one token of each kind costs, in units; None where that kind has no price of its own.

    `above` is the number of input tokens that a request must exceed for these rates.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    request: int = 0
    above: int = -1

    def apply(self, usage: Mapping[str, int]) -> Amount | None:
        """The cost of usage in our names; None where a part of it has no price, or contradicts the whole."""
        given, made = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
        if not given and not made:
            if self.output:
                return None  # only a total is told, and the two have different prices
            given = usage.get("total_tokens", 0)
        cost_in = cost_out = 0
        if self.cache_read is not None:
            tokens = usage.get("cache_read_input_tokens", 0)
            given, cost_in = given - tokens, tokens * self.cache_read
        if self.cache_write is not None:
            tokens = usage.get("cache_creation_input_tokens", 0)
            given, cost_in = given - tokens, cost_in + tokens * self.cache_write
        if self.reasoning is not None:
            tokens = usage.get("reasoning_tokens", 0)
            made, cost_out = made - tokens, tokens * self.reasoning
        if given < 0 or made < 0 or (given and self.input is None) or (made and self.output is None):
            return None
        cost_in += given * (self.input or 0)
        cost_out += made * (self.output or 0)
        return Amount(cost_in + cost_out + usage.get("requests", 1) * self.request, cost_in, cost_out)


def to_units(usd: Decimal, *, a: int) -> int:
    """What one of them costs in units, where `a` of them cost so many dollars; rounded beyond `DIGITS`."""
    sign, digits, exponent = usd.as_tuple()
    assert isinstance(exponent, int)  # prices are finite
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    shift = exponent + DIGITS
    whole: int = 10 ** abs(shift)
    return number * whole // a if shift >= 0 else number // (a * whole)


def to_token_units(usd_per_million: Decimal) -> int:
    """What one token costs in units."""
    return to_units(usd_per_million, a=_MILLION)


def to_usd(units: int) -> float:
    """The nearest float in dollars."""
    return units / USD
