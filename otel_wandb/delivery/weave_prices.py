"""Prices of one's own into Weave, so that its cost columns say what `summary.cost` of the calls says.

Weave multiplies the tokens of a call by the newest price of the model's exact name that was in force when the
call began. So a price is written for each model that one of our own prices (which may be a pattern) has
priced, from the first such call on. Before that Weave is asked: what it has already, from an earlier start or
from another bridge, is left alone. Two bridges that ask at the same moment may write the same price twice,
which changes no cost.

What is to be written is stored with the attempt to send the calls, and goes when it was written. Nothing that
fails here holds up a call: it is counted under `prices`, logged, and tried again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from otel_wandb.conventions.times import iso_time
from otel_wandb.delivery.courier import Closed, Courier
from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.pacing import Backoff, Pace
from otel_wandb.delivery.weave_http import WeaveClient, WeaveCost
from otel_wandb.errors import DeliveryRetryable, StoreError
from otel_wandb.metrics.intervals import DAY_NS, SECOND_NS
from otel_wandb.metrics.pricing import CONFIG_SOURCE, Prices
from otel_wandb.metrics.rates import Rates, to_usd
from otel_wandb.store import Transaction

_log = logging.getLogger("otel_wandb.delivery")

_STATE: Final = "weave_prices/"
_SIGNAL: Final = "prices"
_MAX_MODELS: Final = 1000
_MAX_KNOWN: Final = 10_000
_ALIKE: Final = 1e-9


class Wish(msgspec.Struct, array_like=True, frozen=True):
    """A price that Weave should have for a model, in USD a token, from the beginning of a call on."""

    model: str
    name: str
    """The model or pattern that our own list has for it."""
    from_ns: int
    input: float
    output: float
    cache_read: float
    cache_write: float

    def agrees(self, other: Wish | WeaveCost) -> bool:
        """Whether both cost the same."""
        return all(
            math.isclose(mine, theirs, rel_tol=_ALIKE)
            for mine, theirs in (
                (self.input, other.input),
                (self.output, other.output),
                (self.cache_read, other.cache_read),
                (self.cache_write, other.cache_write),
            )
        )


class _Written(NamedTuple):
    """What is known to be in Weave; a day later it is looked at again, since others may write, too."""

    wish: Wish
    until_ns: int


@dataclass(slots=True)
class _Pause:
    """What follows on a failure, until something works."""

    backoff: Backoff
    until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Errand:
    """Where prices are to be written, and the setting that has them."""

    destination: int
    project_id: str
    prices: str


class _Cost(msgspec.Struct):
    total_usd: float
    source: str
    model: str


class _Summary(msgspec.Struct):
    usage: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    cost: _Cost | None = None


class _Told(msgspec.Struct):
    """What has to be known of a call."""

    started_at: str
    summary: _Summary


class WeavePrices:
    """What is to be written to the projects, by destination. All methods may be called from any thread."""

    def __init__(self, states: Mapping[str, bytes], pace: Pace, seed: str) -> None:
        self._pace, self._seed = pace, seed
        self._lock = threading.Lock()
        self._lists: dict[str, Prices] = {}
        self._wishes = _restore(states)
        self._written: dict[tuple[int, str], _Written] = {}
        self._refused: set[tuple[int, str]] = set()
        self._busy = False
        self._pauses: dict[int, _Pause] = {}
        self.problems: dict[int, str] = {}

    @property
    def busy(self) -> bool:
        """Whether a price is under way."""
        return self._busy

    def state(self) -> dict[str, object]:
        """How many prices are still to be written, and what hinders it, as plain data."""
        return {
            "waiting": sum(len(wishes) for wishes in self._wishes.values()),
            "problem": "; ".join(sorted(set(self.problems.values()))),
        }

    def note(self, tx: Transaction, destination: int, prices: str, bodies: Iterable[bytes]) -> None:
        """Store what the calls ask for. `prices` is the setting by which they were priced. Raises nothing.

        It takes a few microseconds a call, and none without prices of one's own.
        """
        if not prices:
            return
        try:
            with self._lock:
                own = self._own(prices)
                wishes = [wish for body in bodies if (wish := read_wish(own, body)) is not None]
                changed = [self._add(tx, destination, wish) for wish in wishes]
                if any(changed):
                    tx.put_state(*_encode(destination, self._wishes[destination]))
        except Exception:  # noqa: BLE001  a price is never worth a call
            _log.exception("The prices of calls cannot be noted; the calls go on")

    def take(self, destination: int, now_s: float) -> Sequence[Wish]:
        """What is to be written now; hand it to `carry_out`."""
        with self._lock:
            if not self.is_due(destination, now_s):
                return ()
            self._busy = True
            return tuple(self._wishes[destination].values())

    def is_due(self, destination: int, now_s: float) -> bool:
        """Whether something is to be written now; one destination at a time, since calls need threads."""
        pause = self._pauses.get(destination)
        waits = self._busy or (pause is not None and now_s < pause.until_s)
        return bool(self._wishes.get(destination)) and not waits

    def carry_out(
        self, errand: Errand, wishes: Sequence[Wish], client: WeaveClient, key: Secret, courier: Courier
    ) -> None:
        """Write what Weave lacks of it. Raises nothing."""
        destination, project_id = errand.destination, errand.project_id
        try:
            known = client.find_costs(key, project_id, [wish.model for wish in wishes])
            with self._lock:
                missing = choose_missing(wishes, known, self._own(errand.prices))
            if missing:
                client.make_costs(key, project_id, to_costs(missing))
            with courier.transaction() as tx:
                self._settle(tx, destination, wishes, len(missing))
        except Closed:
            pass
        except Exception as error:  # noqa: BLE001  whatever it was: later, and no call waits for it
            self._fail(destination, error)
            text = "%s; prices of your own are not in Weave's costs yet, which is tried again"
            courier.say(f"{destination}/prices", text, error)
            with contextlib.suppress(Closed, StoreError), courier.transaction() as tx:
                tx.add_count(_SIGNAL, "failed", 1)
        finally:
            with self._lock:
                self._busy = False

    def _settle(self, tx: Transaction, destination: int, wishes: Sequence[Wish], made: int) -> None:
        with self._lock:
            left = self._wishes.get(destination, {})
            if len(self._written) > _MAX_KNOWN:
                self._written.clear()  # then Weave is asked once more
            for wish in wishes:
                self._written[destination, wish.model] = _Written(wish, wish.from_ns + DAY_NS)
                if left.get(wish.model) == wish:
                    del left[wish.model]
            if made:
                tx.add_count(_SIGNAL, "written", made)
            tx.put_state(*_encode(destination, left))
            self._pauses.pop(destination, None)
            self.problems.pop(destination, None)

    def _fail(self, destination: int, error: Exception) -> None:
        asked_s = error.retry_after_s if isinstance(error, DeliveryRetryable) else None
        with self._lock:
            pause = self._pauses.get(destination)
            if pause is None:
                name = f"{self._seed}/prices/{destination}"
                pause = self._pauses[destination] = _Pause(Backoff(self._pace, name))
            pause.until_s = time.monotonic() + pause.backoff.next_s(asked_s)
            self.problems[destination] = str(error)

    def _own(self, prices: str) -> Prices:
        own = self._lists.get(prices)
        if own is None:
            own = self._lists[prices] = Prices(prices)
        return own

    def _add(self, tx: Transaction, destination: int, wish: Wish) -> bool:
        """Whether there is something new to be written."""
        wishes = self._wishes.setdefault(destination, {})
        written = self._written.get((destination, wish.model))
        earlier = wishes.get(wish.model) or (written.wish if written is not None else None)
        if earlier is not None and not earlier.agrees(wish):
            why = "another provider has another price for it, and Weave knows one price a model"
            self._refuse(tx, destination, wish, "differs", why)
            return False
        if wish.model in wishes:
            if wish.from_ns >= wishes[wish.model].from_ns:
                return False
        elif written is not None and written.wish.from_ns <= wish.from_ns < written.until_ns:
            return False
        elif len(wishes) >= _MAX_MODELS:
            self._refuse(tx, destination, wish, "too_many", f"{_MAX_MODELS} other models wait for theirs")
            return False
        wishes[wish.model] = wish
        return True

    def _refuse(self, tx: Transaction, destination: int, wish: Wish, reason: str, why: str) -> None:
        if (destination, wish.model) not in self._refused and len(self._refused) < _MAX_KNOWN:
            self._refused.add((destination, wish.model))
            tx.add_count(_SIGNAL, "left_out", 1, reason)
            _log.warning(
                "The price of %s is not written to Weave: %s. Costs in `summary.cost` are right.",
                wish.model,
                why,
            )


def read_wish(own: Prices, body: bytes) -> Wish | None:
    """The price that the call was priced by, if it is our own and Weave's arithmetic comes to the same."""
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # a redactor may have changed anything
    cost, usage = told.summary.cost, told.summary.usage
    if cost is None or cost.source != CONFIG_SOURCE or len(usage) != 1:
        return None
    ((model, tokens),) = usage.items()
    rates = own.find_own(model).get(cost.model)
    if rates is None:
        return None
    started_ns = int(datetime.fromisoformat(told.started_at).timestamp()) * SECOND_NS
    wish = _to_wish(model, cost.model, started_ns, rates)
    is_told = math.isclose(_compute(wish, tokens), cost.total_usd, rel_tol=1e-6, abs_tol=1e-12)
    return wish if is_told else None


def choose_missing(wishes: Iterable[Wish], known: Iterable[WeaveCost], own: Prices) -> dict[str, Wish]:
    """Those that Weave lacks, by model, each with the time from which it is to be in force.

    What is in force at the time may be another price of the same list, for another provider: Weave cannot
    tell them apart, so it stays.
    """
    by_model: dict[str, list[WeaveCost]] = {}
    for cost in known:
        by_model.setdefault(cost.model, []).append(cost)
    missing: dict[str, Wish] = {}
    for wish in wishes:
        costs = [cost for cost in by_model.get(wish.model, ()) if cost.from_ns <= wish.from_ns]
        current = max(costs, key=lambda cost: cost.from_ns, default=None)
        if current is None:  # the first one holds for the whole day, as calls come in any order
            missing[wish.model] = msgspec.structs.replace(wish, from_ns=wish.from_ns // DAY_NS * DAY_NS)
        elif not wish.agrees(current):
            others = own.find_own(wish.model).items()
            rivals = (_to_wish(wish.model, name, 0, rates) for name, rates in others if name != wish.name)
            if not any(rival.agrees(current) for rival in rivals):
                missing[wish.model] = wish
    return missing


def to_costs(wishes: Mapping[str, Wish]) -> dict[str, dict[str, object]]:
    """The prices as Weave takes them."""
    return {
        model: {
            "prompt_token_cost": wish.input,
            "completion_token_cost": wish.output,
            "cache_read_input_token_cost": wish.cache_read,
            "cache_creation_input_token_cost": wish.cache_write,
            "effective_date": iso_time(wish.from_ns),
        }
        for model, wish in wishes.items()
    }


def _to_wish(model: str, name: str, from_ns: int, rates: Rates) -> Wish:
    """Cached tokens without a price of their own cost what other input does; for Weave they would be free."""
    given, made = rates.input or 0, rates.output or 0
    read = given if rates.cache_read is None else rates.cache_read
    write = given if rates.cache_write is None else rates.cache_write
    return Wish(model, name, from_ns, to_usd(given), to_usd(made), to_usd(read), to_usd(write))


def _compute(wish: Wish, tokens: Mapping[str, int]) -> float:
    """The cost as Weave computes it."""
    read, write = tokens.get("cache_read_input_tokens", 0), tokens.get("cache_creation_input_tokens", 0)
    given = (tokens.get("input_tokens", 0) - read - write) * wish.input
    made = tokens.get("output_tokens", 0) * wish.output
    return given + made + read * wish.cache_read + write * wish.cache_write


def _encode(destination: int, wishes: Mapping[str, Wish]) -> tuple[str, bytes | None]:
    return f"{_STATE}{destination}", msgspec.msgpack.encode(list(wishes.values())) if wishes else None


def _restore(states: Mapping[str, bytes]) -> dict[int, dict[str, Wish]]:
    found: dict[int, dict[str, Wish]] = {}
    for name, state in states.items():
        if name.startswith(_STATE):
            try:
                wishes = msgspec.msgpack.decode(state, type=list[Wish])
                found[int(name.removeprefix(_STATE))] = {wish.model: wish for wish in wishes}
            except (msgspec.MsgspecError, ValueError) as error:
                _log.warning("The state %s cannot be read (%s); it is left out.", name, error)
    return found
