"""The data of an interval, sorted by what it feeds: durations by operation, tokens by model, and the rest."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

from otel_wandb.metrics.catalogue import (
    DURATIONS,
    LEVELS,
    MILLISECONDS,
    MODEL,
    OPERATION,
    PROVIDER,
    SPLITS,
    TEMPLATE_SCOPES,
    TOKEN_KINDS,
    TOKEN_TYPE,
    TOKENS,
    Duration,
    Part,
    Pool,
    Split,
    Tokens,
)
from otel_wandb.metrics.closed import OVERFLOW, Family, Level, Series, Summary, Value
from otel_wandb.metrics.figures import NO_ERRORS, Amounts, Durations
from otel_wandb.metrics.spending import TokenSource
from otel_wandb.records import Attributes

_DURATIONS: Final[dict[str, dict[str, Duration]]] = {
    known.instrument: {
        operation: duration
        for duration in DURATIONS
        if duration.instrument == known.instrument
        for operation in duration.operations or ("",)
    }
    for known in DURATIONS
}
"""By instrument and operation; an empty one stands for all that are left."""
_SPLITS: Final[dict[str, Split]] = {split.instrument: split for split in SPLITS}
_TOKENS: Final[dict[str, Tokens]] = {tokens.instrument: tokens for tokens in TOKENS}
_SCALES: Final = {unit: Fraction(factor) for unit, factor in MILLISECONDS.items()}
_MAX_NAME: Final = 128
_MAX_KNOWN: Final = 20_000
_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_METHOD_ATTRIBUTES: Final = frozenset({"http.request.method", "http.method"})

# A segment of a route is a placeholder, or a word that a programmer wrote: not an id, not what a user typed.
_SEGMENT: Final = re.compile(r"[{<:*\[(].*|[A-Za-z_][A-Za-z_.~-]*\d{0,2}[A-Za-z_]{0,12}", re.DOTALL)
_MAX_SEGMENT: Final = 40


class Other(NamedTuple):
    """An instrument that no table tells anything of."""

    name: str
    unit: str
    family: Family


@dataclass(slots=True)
class Sorted:
    """What an interval's data feeds. A subject or model of None is what has no attributes: the overflow."""

    durations: defaultdict[tuple[Pool, int | None], defaultdict[str | None, list[Durations]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """By pool and entry number, and by the name of the operation."""
    tokens: defaultdict[TokenSource | None, Amounts] = field(default_factory=lambda: defaultdict(Amounts))
    active: Amounts = field(default_factory=Amounts)
    others: defaultdict[Other, list[Value]] = field(default_factory=lambda: defaultdict(list))
    split: defaultdict[tuple[Other, str], defaultdict[str, list[Value]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """Instruments that have charts by an attribute, and the kind of these: by its values."""


class Names:
    """What operations are called and how they failed, by instrument and attributes: they recur."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, bytes], tuple[str | None, str]] = {}

    def read(self, duration: Duration, series: Series) -> tuple[str | None, str]:
        """`name_operation` and `read_error` of the series."""
        place = (series.scope, series.name, series.key)
        known = self._known.get(place)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = name_operation(duration, series), read_error(series.attributes)
            self._known[place] = known
        return known


def sort_data(data: Sequence[Series], names: Names) -> Sorted:
    """The data without what is shadowed, by what it feeds."""
    found = Sorted()
    for series in data:
        if series.shadowed:
            continue
        duration, tokens = find_duration(series.name, series.attributes), _TOKENS.get(series.name)
        if duration is not None and _add_duration(found, series, duration, names):
            continue
        if tokens is not None and _add_tokens(found, series, tokens):
            continue
        if series.name in LEVELS and isinstance(series.value, Level):
            found.active.add("amount", series.value.total)
            continue
        other = Other(series.name, series.unit, series.family)
        split = _SPLITS.get(series.name)
        if split is None:
            found.others[other].append(series.value)
        else:
            text = _shorten(str(series.attributes.get(split.attribute, "")))
            found.split[other, split.kind][text].append(series.value)
    return found


def find_duration(instrument: str, attributes: Attributes) -> Duration | None:
    """What the instrument with these attributes means for durations, None if nothing."""
    known = _DURATIONS.get(instrument)
    if known is None:
        return None
    operation = attributes.get(OPERATION) if len(known) > 1 else ""
    return known.get(operation if isinstance(operation, str) else "") or known.get("")


def find_measure(instrument: str, attributes: Attributes) -> str:
    """What is measured, if spans could tell it, too; else empty."""
    duration = find_duration(instrument, attributes)
    if duration is not None:
        return duration.measure
    split = _SPLITS.get(instrument)
    return "" if split is None else split.measure


def name_operation(duration: Duration, series: Series) -> str | None:
    """What the operation is called, such as `POST /chat`; None for the overflow."""
    attributes = series.attributes
    if attributes == OVERFLOW:
        return None
    if "http.target" in attributes and not series.scope.startswith(TEMPLATE_SCOPES):
        attributes = {**attributes, "http.target": ""}
    words = [_read_part(part, attributes) for part in duration.name]
    return " ".join(word for word in words if word) or duration.pool


def read_error(attributes: Attributes) -> str:
    """The type of error, `http_500` for a status; empty where there was none."""
    error = attributes.get("error.type")
    if error is None or error == "":
        status = attributes.get("http.response.status_code", attributes.get("http.status_code"))
        error = status if _is_server_error(status) else ""
    text = str(error)
    return f"http_{text}" if text.isdigit() else _shorten(text)


def is_route(path: str) -> bool:
    """Whether it is the route that a path was matched to, rather than the path of a single request."""
    return "?" not in path and all(
        not segment or (len(segment) <= _MAX_SEGMENT and _SEGMENT.fullmatch(segment))
        for segment in path.split("/")
    )


def _add_duration(found: Sorted, series: Series, duration: Duration, names: Names) -> bool:
    value = series.value
    if isinstance(value, Fraction | Level | Summary):
        return False
    unit = series.unit if series.unit in MILLISECONDS else duration.unit
    name, error = names.read(duration, series)
    errors = {error: value.count} if error and value.count else NO_ERRORS
    durations = Durations(value, _SCALES[unit], errors)
    found.durations[duration.pool, duration.entry][name].append(durations)
    return True


def _add_tokens(found: Sorted, series: Series, tokens: Tokens) -> bool:
    value = series.value
    amount = value if isinstance(value, Fraction) else getattr(value, "total", None)
    kind = tokens.kind or TOKEN_KINDS.get(str(series.attributes.get(TOKEN_TYPE, "")), "")
    if not kind or not isinstance(amount, Fraction):
        return False
    attributes = series.attributes
    source = TokenSource(_read_part(PROVIDER, attributes), _read_part(MODEL, attributes))
    found.tokens[None if attributes == OVERFLOW else source].add(kind, amount)
    return True


def _read_part(part: Part, attributes: Attributes) -> str:
    for name in part.attributes:
        value = attributes.get(name)
        if value is None or value == "":
            continue
        text = _shorten(str(value))
        if name in _METHOD_ATTRIBUTES:
            return text if text in _METHODS else part.absent
        if not part.route or is_route(text):
            return text
    return part.absent


def _shorten(text: str) -> str:
    """The text, or what begins like it and is another one for each longer text."""
    if len(text) <= _MAX_NAME:
        return text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{text[: _MAX_NAME - len(digest) - 1]}~{digest}"


def _is_server_error(status: object) -> bool:
    try:
        return 500 <= int(status) <= 599  # type: ignore[call-overload,no-any-return]  # whatever it is
    except (TypeError, ValueError):
        return False
