"""What usage cost: USD for the tokens of a call, by provider and model, at the call's own time.

Prices of one's own (the setting `prices`) go first, then those that the package `genai-prices` ships:
offline, with the dates from which they hold. Nothing is guessed: a model that no table has, a provider that
only serves what others made, or tokens of a kind without a price have no price, and are counted as unpriced.
Which names mean which provider, and why a server of one's own has no price, is in `price_names`.

Amounts are whole numbers of 10^-24 USD until they are shown, so the sum of many is exact.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from otel_wandb.metrics.intervals import DAY_NS, SECOND_NS
from otel_wandb.metrics.price_names import find_offers, find_provider
from otel_wandb.metrics.rates import Amount, Rates, to_token_units, to_units, to_usd
from otel_wandb.price_list import CustomPrice, read_price_list

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice

CONFIG_SOURCE: Final = "config"
_MAX_KNOWN: Final = 10_000
_MAX_MODEL: Final = 512
_THOUSAND: Final = 1_000
_PLAIN: Final = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "requests",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "reasoning_tokens",
        "text_input_tokens",
        "text_output_tokens",
        "text_cache_read_input_tokens",
    }
)
"""Usage that `Rates` understand; text costs what tokens cost. The rest goes the way of `genai-prices`."""
_NAMES: Final[dict[str, str]] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "audio_input_tokens": "input_audio_tokens",
    "audio_output_tokens": "output_audio_tokens",
    "audio_cache_read_input_tokens": "cache_audio_read_tokens",
    "image_input_tokens": "input_image_tokens",
    "image_output_tokens": "output_image_tokens",
    "image_cache_read_input_tokens": "cache_image_read_tokens",
}
"""Our names of usage, and those of `genai-prices`."""


class Cost(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """`summary.cost` of a call: what it cost, who says so, and of which day the price is (UTC)."""

    total_usd: float
    input_usd: float
    output_usd: float
    source: str
    date: str
    model: str
    provider: str | None = None


class Price(NamedTuple):
    """What usage cost, exactly, and whose price that is: of which provider, model and day."""

    amount: Amount
    source: str
    date: str
    model: str
    provider: str | None

    def to_cost(self) -> Cost:
        """The same in dollars."""
        total, given, made = self.amount
        return Cost(
            to_usd(total), to_usd(given), to_usd(made), self.source, self.date, self.model, self.provider
        )


class _Offer(NamedTuple):
    """Where a price is from, and its rates from the highest threshold down."""

    rates: tuple[Rates, ...]
    source: str
    model: str
    provider: str | None
    shipped: ModelInfo | None = None
    daily: bool = False
    """It depends on the time of day."""


class PriceLists:
    """The prices of all configurations, by the setting `prices`. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[str, Prices] = {}

    def find(self, text: str) -> Prices:
        """The prices that the text sets, with those that are shipped behind them."""
        prices = self._known.get(text)
        if prices is None:
            prices = self._known[text] = Prices(text)
        return prices


class Prices:
    """Prices of one configuration; `text` is the setting `prices`. Not thread-safe.

    The shipped prices are loaded when they are first needed, which takes a quarter of a second.
    """

    def __init__(self, text: str = "") -> None:
        self._custom = _Customs(read_price_list(text))
        self._known: dict[tuple[str | None, str, int], tuple[_Offer, str] | None] = {}
        self._own: dict[str, dict[str, Rates]] = {}

    def price(
        self, provider: str | None, model: str | None, usage: Mapping[str, int], at_ns: int
    ) -> Price | None:
        """The price of the usage (in the names of `summary.usage`) at that time; None where there is none."""
        key = (provider, model or "", at_ns // DAY_NS)
        known = self._known.get(key)
        if known is None and key not in self._known:
            known = self._look_up(key, at_ns)
        if known is None:
            return None
        offer, date = known
        if offer.daily and offer.shipped is not None:
            offer = offer._replace(rates=_read_rates(offer.shipped, at_ns))
        if offer.shipped is not None and not _PLAIN.issuperset(usage):
            amount = _calculate(offer.shipped, usage, at_ns)
        else:
            amount = _apply(offer.rates, usage)
        return None if amount is None else Price(amount, offer.source, date, offer.model, offer.provider)

    def find_own(self, model: str) -> Mapping[str, Rates]:
        """The prices of one's own that calls of the model may have, by their names in the list.

        There are several only where one of them is for a single provider.
        """
        own = self._own.get(model)
        if own is None:
            if len(self._own) >= _MAX_KNOWN:
                self._own.clear()
            own = self._own[model] = self._custom.find_all(model)
        return own

    def _look_up(self, key: tuple[str | None, str, int], at_ns: int) -> tuple[_Offer, str] | None:
        provider, model, _ = key
        offer = self._custom.find(provider, model) or _find_shipped(provider, model, at_ns)
        date = datetime.fromtimestamp(at_ns // SECOND_NS, UTC).strftime("%Y-%m-%d")
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        found = self._known[key] = None if offer is None else (offer, date)
        return found


class _Customs:
    """Prices of one's own: the model by name goes before patterns, and the longest pattern first."""

    def __init__(self, prices: Mapping[str, CustomPrice]) -> None:
        order = sorted(prices, key=lambda name: ("*" in name, -len(name), name))
        self._rows = [(re.compile(fnmatch.translate(name)), name, prices[name]) for name in order]

    def find(self, provider: str | None, model: str) -> _Offer | None:
        """The first that is meant."""
        for pattern, name, price in self._rows:
            if pattern.match(model.lower()) and _is_meant(price.provider, provider):
                return _Offer((_to_rates(price),), CONFIG_SOURCE, name, price.provider or provider)
        return None

    def find_all(self, model: str) -> dict[str, Rates]:
        """Those that may be meant, whatever the provider."""
        found: dict[str, Rates] = {}
        for pattern, name, price in self._rows:
            if pattern.match(model.lower()):
                found[name] = _to_rates(price)
                if not price.provider:
                    break
        return found


def _to_rates(price: CustomPrice) -> Rates:
    return Rates(
        _read_custom(price.input),
        _read_custom(price.output),
        _read_custom(price.cache_read),
        _read_custom(price.cache_write),
    )


def _read_custom(usd: float | None) -> int | None:
    return None if usd is None else to_token_units(Decimal(repr(usd)))


def _is_meant(wanted: str, provider: str | None) -> bool:
    if not wanted or provider is None:
        return not wanted
    return wanted.lower() == provider.lower() or find_provider(wanted) == (find_provider(provider) or "-")


def _apply(rates: tuple[Rates, ...], usage: Mapping[str, int]) -> Amount | None:
    given = usage.get("input_tokens", 0)
    for rate in rates:
        if given > rate.above:
            return rate.apply(usage)
    return None


def _find_shipped(provider: str | None, model: str, at_ns: int) -> _Offer | None:
    if not model or len(model) > _MAX_MODEL:
        return None
    offers = find_offers(provider, model)
    if not offers:
        return None
    from genai_prices import __version__, data_snapshot

    snapshot = data_snapshot.get_snapshot()
    alone = len({seller for seller, _ in offers}) == 1
    found = [
        (seller, info) for seller, name in offers if (info := _find(snapshot, seller, name, alone=alone))
    ]
    if not found or (not alone and len(found) > 1):
        return None
    seller, info = found[0]
    daily = isinstance(info.prices, list) and any(
        hasattr(price.constraint, "start_time") for price in info.prices
    )
    rates = _read_rates(info, at_ns)
    return _Offer(rates, f"genai-prices {__version__}", info.id, seller, info, daily) if rates else None


def _find(snapshot: DataSnapshot, seller: str, model: str, *, alone: bool) -> ModelInfo | None:
    """The model as the seller has it; where several are asked, only if it is the seller's own."""
    for provider in snapshot.providers:
        if provider.id == seller:
            return provider.find_model(model, all_providers=snapshot.providers if alone else None)
    return None


def _read_rates(info: ModelInfo, at_ns: int) -> tuple[Rates, ...]:
    """The rates that hold at that time; none where tokens have no price."""
    prices = info.get_prices(_moment(at_ns))
    stored = {name: price for name, price in prices.__dict__.items() if price is not None}
    if "input_mtok" not in stored and "output_mtok" not in stored:
        return ()
    starts = {tier.start for price in stored.values() for tier in getattr(price, "tiers", ())}
    return tuple(_read_tier(prices, start) for start in sorted({-1, *starts}, reverse=True))


def _read_tier(prices: ModelPrice, above: int) -> Rates:
    def tokens(name: str) -> int | None:
        price = _price_above(prices, name, above)
        return None if price is None else to_token_units(price)

    request = _price_above(prices, "requests_kcount", above)
    return Rates(
        tokens("input_mtok"),
        tokens("output_mtok"),
        tokens("cache_read_mtok"),
        tokens("cache_write_mtok"),
        tokens("output_reasoning_mtok"),
        0 if request is None else to_units(request, a=_THOUSAND),
        above,
    )


def _price_above(prices: ModelPrice, name: str, above: int) -> Decimal | None:
    price = prices.__dict__.get(name)
    if price is None or isinstance(price, Decimal):
        return price
    passed = [tier.price for tier in price.tiers if tier.start <= above]  # ascending
    usd: Decimal = passed[-1] if passed else price.base
    return usd


def _calculate(info: ModelInfo, usage: Mapping[str, int], at_ns: int) -> Amount | None:
    """The price of audio and images, whose parts overlap; None where they cannot be told apart."""
    from genai_prices import Usage

    told = {_NAMES[name]: tokens for name, tokens in usage.items() if name in _NAMES}
    prices = info.get_prices(_moment(at_ns))
    for way in ("input", "output"):
        if usage.get(f"{way}_tokens") and prices.__dict__.get(f"{way}_mtok") is None:
            return None
    try:
        found = prices.calc_price(Usage(**told))
    except ValueError:
        return None
    total, given, made = found["total_price"], found["input_price"], found["output_price"]
    return Amount(to_units(total, a=1), to_units(given, a=1), to_units(made, a=1))


def _moment(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns // SECOND_NS, UTC)
