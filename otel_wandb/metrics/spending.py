"""What a row says of tokens and their cost: from spans where they tell, else from metrics, never from both.

The rule: what spans of a service told of a model, today or on the day before, counts from spans, and metrics
of that model (of the same provider, where both tell one) do not. Of every other model, metrics count. They
name no call, so they say nothing of users, endpoints, or the cost of a request. Tokens of metrics that name
no model count only where no span tells of any.

When spans of a model come for the first time, and so late that the row of their interval has counted its
metrics, then what was counted is taken off them: the tokens of each kind, and its share of the cost. What
remains of the spans counts, so sums over rows are what the spans say. Metrics do not know what came out of a
cache, so what remains of the cost may be below zero: such a row corrects the ones before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple, TypeAlias

import msgspec

from otel_wandb.metrics.closed import ClosedInterval
from otel_wandb.metrics.figures import Amounts
from otel_wandb.metrics.from_spans import SpendKey, Tally, read_tally
from otel_wandb.metrics.intervals import DAY_NS
from otel_wandb.metrics.price_names import find_provider
from otel_wandb.metrics.pricing import Price
from otel_wandb.metrics.rates import USD

_MAX_MODELS: Final = 500
_MAX_PROVIDERS: Final = 16
_COUNTS: Final = tuple(name for name in Tally.__struct_fields__ if name != "cost")
_MICRO: Final = USD // 1_000_000

PriceOf: TypeAlias = Callable[[str | None, str | None, Mapping[str, int], int], Price | None]
"""`Prices.price`."""


class TokenSource(NamedTuple):
    """Whose tokens a metric counts: provider and model as it names them, empty where it does not."""

    provider: str
    model: str


class Advance(msgspec.Struct, array_like=True):
    """What was counted from metrics, and no span has made good for yet."""

    provider: str
    end_ns: int
    """The end of the last interval that was counted so."""
    tally: Tally


class Totals(msgspec.Struct, array_like=True):
    """Sums of a UTC day so far; the cost in units, as text."""

    day: int = 0
    cost: str = "0"
    requests: int = 0
    input: int = 0
    output: int = 0


class DaySpending(msgspec.Struct, array_like=True):
    """What is remembered between the rows of a day."""

    told: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Models that spans told of today -> their providers."""
    told_before: dict[str, list[str]] = msgspec.field(default_factory=dict)
    advances: dict[str, list[Advance]] = msgspec.field(default_factory=dict)
    """Models, and what was counted of them from metrics, by provider."""
    totals: Totals = msgspec.field(default_factory=Totals)

    def follow(self) -> DaySpending:
        """The next run, before anything has come."""
        ends_ns = [advance.end_ns for advances in self.advances.values() for advance in advances]
        horizon_ns = max(ends_ns, default=0) - DAY_NS
        recent = {
            model: kept
            for model, advances in self.advances.items()
            if (kept := [advance for advance in advances if advance.end_ns > horizon_ns])
        }
        return DaySpending(told_before=self.told, advances=recent, totals=self.totals)


@dataclass(slots=True)
class Spending:
    """What an interval spent, by model and by values of attributes. A model of None is beyond all limits."""

    whole: Tally = field(default_factory=Tally)
    models: defaultdict[str | None, Tally] = field(default_factory=lambda: defaultdict(Tally))
    labels: defaultdict[str, defaultdict[str, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    """Attribute -> value -> units."""
    request_units: int = 0
    """The cost of what is known call by call."""

    def add(self, model: str | None, tally: Tally) -> None:
        """Count some usage of a model."""
        self.whole.add(tally)
        self.models[model].add(tally)


def settle_spending(
    closed: ClosedInterval, metered: Mapping[TokenSource | None, Amounts], day: DaySpending, price_of: PriceOf
) -> Spending:
    """What counts of the spans and the metrics of an interval; `day` learns of it."""
    spending = Spending()
    for key, whole in closed.spends.items():
        _remember(day.told, key)
        spending.request_units += whole.units
        tally = _take_off_advances(day.advances, key, whole) if key.own_end_ns else whole
        spending.add(key.model, tally)
        for name, value in key.labels:
            spending.labels[name][value] += tally.units
    for source, amounts in sorted(metered.items(), key=lambda item: item[0] or ("", "")):
        if _is_told(source, day, closed.told_later):
            continue
        tally = _price_metered(source, amounts, closed.interval.start_ns, price_of)
        spending.add(source.model if source else None, tally)
        _advance(day.advances, source or TokenSource("", ""), tally, closed.interval.end_ns)
    _add_to_day(day, closed.interval.start_ns // DAY_NS, spending.whole)
    return spending


def spend_share(
    closed: ClosedInterval,
    spends: Mapping[SpendKey, Tally],
    metered: Mapping[TokenSource | None, Amounts],
    day: DaySpending,
    price_of: PriceOf,
) -> Tally:
    """What a part of the interval spent, by what `settle_spending` learnt of the whole of it."""
    spent = Tally()
    for tally in spends.values():
        spent.add(tally)
    for source, amounts in sorted(metered.items(), key=lambda item: item[0] or ("", "")):
        if not _is_told(source, day, closed.told_later):
            spent.add(_price_metered(source, amounts, closed.interval.start_ns, price_of))
    return spent


def token_amounts(tally: Tally) -> Amounts:
    """The tokens by their kinds; of the rarer kinds only those that somebody told of."""
    amounts = {"input": Fraction(tally.input), "output": Fraction(tally.output)}
    rarer = {"cache_read": tally.cache_read, "cache_write": tally.cache_write, "reasoning": tally.reasoning}
    amounts.update((name, Fraction(tokens)) for name, tokens in rarer.items() if tokens)
    return Amounts(amounts)


def size_percentile(sizes: Mapping[int, int], percent: int) -> Amounts:
    """The number of tokens that so many of 100 calls do not exceed; nothing of no calls."""
    rank, passed = -(-sum(sizes.values()) * percent // 100), 0
    for size in sorted(sizes):
        passed += sizes[size]
        if passed >= rank:
            return Amounts({f"p{percent}": Fraction(size)})
    return Amounts()


def cost_amounts(spending: Spending, day: DaySpending) -> Amounts:
    """What is shown of the cost of an interval and the day so far; no cost where nothing has a price."""
    whole, totals = spending.whole, day.totals
    amounts = {
        "daily_requests": Fraction(totals.requests),
        "daily_input": Fraction(totals.input),
        "daily_output": Fraction(totals.output),
    }
    if whole.unpriced_tokens < whole.tokens or not whole.tokens:
        amounts["usd"] = Fraction(whole.units, USD)
    if "usd" in amounts or totals.cost != "0":
        amounts["daily_usd"] = Fraction(int(totals.cost), USD)
    if whole.tokens:
        amounts["unpriced_percent"] = Fraction(100 * whole.unpriced_tokens, whole.tokens)
    if whole.priced_requests:
        amounts["request_usd"] = Fraction(spending.request_units, USD * whole.priced_requests)
    return Amounts(amounts)


def no_price(provider: str | None, model: str | None, usage: Mapping[str, int], at_ns: int) -> None:
    """What `PriceOf` is where there are no prices."""


def to_rank(units: int) -> int:
    """Whole micro-dollars, at least one: what subjects are ranked by."""
    return max(1, units // _MICRO) if units else 0


def dollars(units: int) -> Amounts:
    """An amount of money as figures."""
    return Amounts({"usd": Fraction(units, USD)})


def _remember(told: dict[str, list[str]], key: SpendKey) -> None:
    provider = _provider(key.provider)
    for name in {key.model or "", key.answered}:
        if name and (name in told or len(told) < _MAX_MODELS):
            providers = told.setdefault(name, [])
            if provider not in providers:
                providers.append(provider)


def _advance(known: dict[str, list[Advance]], source: TokenSource, tally: Tally, end_ns: int) -> None:
    if source.model not in known and len(known) >= _MAX_MODELS:
        return
    advances = known.setdefault(source.model, [])
    provider = _provider(source.provider)
    advance = next((known for known in advances if known.provider == provider), None)
    if advance is None:
        if len(advances) >= _MAX_PROVIDERS:
            return
        advance = Advance(provider, 0, Tally())
        advances.append(advance)
    advance.end_ns = end_ns
    advance.tally.add(tally)
    advance.tally.cost = str(advance.tally.cost)


def _take_off_advances(known: Mapping[str, list[Advance]], key: SpendKey, tally: Tally) -> Tally:
    """What remains of the late spans without what metrics counted of their interval."""
    provider = _provider(key.provider)
    for model in dict.fromkeys((key.model or "", key.answered, "")):
        for advance in known.get(model, ()):
            mine = not provider or advance.provider in ("", provider)
            if mine and key.own_end_ns <= advance.end_ns:
                tally = _take_off(advance.tally, tally)
    return tally


def _take_off(advance: Tally, tally: Tally) -> Tally:
    """The tally without what the advance has of it, and the advance without that."""
    had, rest = advance.tokens, Tally(cost=tally.units)
    for name in _COUNTS:
        told, taken = getattr(tally, name), min(getattr(tally, name), getattr(advance, name))
        setattr(rest, name, told - taken)
        setattr(advance, name, getattr(advance, name) - taken)
    share = advance.units * (had - advance.tokens) // had if had else 0
    rest.cost = tally.units - share
    advance.cost = str(advance.units - share)
    return rest


def _is_told(source: TokenSource | None, day: DaySpending, later: Iterable[str]) -> bool:
    """Whether spans tell of the model."""
    if source is None or not source.model:
        return bool(day.told or day.told_before or later)
    if source.model in later:
        return True
    provider = _provider(source.provider)
    for told in (day.told, day.told_before):
        providers = told.get(source.model, ())
        if providers and (not provider or provider in providers or "" in providers):
            return True
    return False


def _provider(word: str) -> str:
    return (find_provider(word) or word.lower()) if word else ""


def _price_metered(source: TokenSource | None, amounts: Amounts, at_ns: int, price_of: PriceOf) -> Tally:
    told = {name: int(amount) for name, amount in amounts.amounts.items()}
    usage = {
        "input_tokens": told.get("input", 0),
        "output_tokens": told.get("output", 0),
        "cache_read_input_tokens": told.get("cache_read", 0),
        "cache_creation_input_tokens": told.get("cache_write", 0),
        "reasoning_tokens": told.get("reasoning", 0),
        "requests": 0,
    }
    price = price_of(source.provider or None, source.model, usage, at_ns) if source else None
    return read_tally(usage, price)


def _add_to_day(day: DaySpending, number: int, whole: Tally) -> None:
    if day.totals.day != number:
        day.totals = Totals(number)
    totals = day.totals
    totals.cost = str(int(totals.cost) + whole.units)
    totals.requests += whole.requests
    totals.input += whole.input
    totals.output += whole.output
