"""Which event made what a user sees, so that a like or a flag is about that event and not about itself.

By session, component, place and content, never by time: an event may end long after its last output has
reached the browser, and after the next event has ended. What an event shows of what it was given, or of what
was there, keeps its makers; the rest it has made. What has been replaced since is remembered as well, as a
like of it may be on its way. Bounded, and thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from opentelemetry.trace import SpanContext

MAX_PLACES: Final = 10_000
MAX_MESSAGES: Final = 100_000
"""Of all places together."""
MAX_REPLACED: Final = 500
"""What is remembered of a place beyond what it shows, the pieces of a stream included."""
MAX_ATOMS: Final = 10_000
"""A value is told from others by that many of its strings and numbers: tables may have millions."""

UNKNOWN: Final = object()
"""The value of a component that the event was not given."""


class _Message(NamedTuple):
    """One of a chat, or the value of any other component."""

    whole: int
    """A digest of role and content."""
    opening: int
    """A digest of the first piece of its content: what a like names."""
    span: SpanContext | None = None
    """Of the event that made it; None if nobody knows."""


@dataclass(slots=True)
class _Place:
    """A component of a session."""

    is_chat: bool = False
    is_pairs: bool = False
    shown: list[_Message] = field(default_factory=list)
    made: OrderedDict[tuple[int, int], SpanContext] = field(default_factory=OrderedDict)
    """By index and opening, the event that was the last to put it there."""
    order: int = 0
    """Rises over all places with each event that makes something."""

    def put(self, messages: Sequence[_Message]) -> None:
        self.shown = list(messages)
        for index, message in enumerate(messages):
            if message.span is not None and self.made.get((index, message.opening)) != message.span:
                self.made[index, message.opening] = message.span
                self.made.move_to_end((index, message.opening))
        while len(self.made) > MAX_REPLACED + len(messages):
            self.made.popitem(last=False)

    def find(self, index: int, opening: int) -> SpanContext | None:
        at = self.shown[index] if 0 <= index < len(self.shown) else None
        if at is not None and at.opening == opening:
            return at.span
        return self.made.get((index, opening), at.span if at is not None else None)

    def has(self, opening: int) -> bool:
        return any(message.opening == opening for message in self.shown) or any(
            made == opening for _, made in self.made
        )

    def __len__(self) -> int:
        return len(self.shown) + len(self.made)


class Authors:
    """The events that made what components of sessions show."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: OrderedDict[tuple[str, int], _Place] = OrderedDict()
        self._order = 0
        self._messages = 0

    def note(
        self,
        session: str,
        component: int,
        value: object,
        span: SpanContext,
        *,
        is_chat: bool = False,
        given: object = UNKNOWN,
    ) -> None:
        """The event shows this value in the component.

        `given` is what the browser showed there when it asked for the event: it may have cleared a chat, or
        taken messages away, without a word to the server. Costs a digest of each message. Nothing is
        remembered where there is no session: they would all be one.
        """
        if not session:
            return
        messages, is_pairs = _read_messages(value, is_chat)
        known = None if given is UNKNOWN or not is_chat else _read_messages(given, is_chat)[0]
        with self._lock:
            place = self._places.pop((session, component), None) or _Place()
            self._messages -= len(place)
            before = place.shown if known is None else _recall(place, known)
            kept = _carry(before, messages) if is_chat else []
            made = [message._replace(span=span) for message in messages[len(kept) :]]
            if made:
                self._order += 1
                place.order = self._order
            place.is_chat, place.is_pairs = is_chat, is_pairs or (place.is_pairs and not messages)
            place.put([*kept, *made])
            self._places[session, component] = place
            self._messages += len(place)
            while len(self._places) > MAX_PLACES or (self._messages > MAX_MESSAGES and len(self._places) > 1):
                self._messages -= len(self._places.popitem(last=False)[1])

    def find(
        self, session: str, component: int, index: object = None, value: object = UNKNOWN
    ) -> SpanContext | None:
        """The event that made the message at the index, or the newest one of the component.

        `value` is what the browser shows at the index; of messages under one bubble, a list. If another event
        has put something else there since, it is still the one that made this.
        """
        with self._lock:
            place = self._places.get((session, component))
            if place is None:
                return None
            at = _place_index(index, place.is_pairs)
            if at is None:
                return next((message.span for message in reversed(place.shown) if message.span), None)
            return place.find(at, _digest(_first(value)))

    def find_shown(self, session: str, values: Iterable[tuple[int, object]]) -> SpanContext | None:
        """The event that made one of the components last, of those that show these values, else of all."""
        with self._lock:
            known = [
                (place, messages)
                for component, value in values
                if (place := self._places.get((session, component))) is not None
                and (messages := _read_messages(value, place.is_chat)[0])
            ]
            alike = [(place, messages) for place, messages in known if place.has(messages[-1].opening)]
            newest = max(alike or known, key=lambda each: each[0].order, default=None)
            if newest is None:
                return None
            place, messages = newest
            return place.find(len(messages) - 1, messages[-1].opening)


def _recall(place: _Place, given: Sequence[_Message]) -> list[_Message]:
    """What the browser showed, with who made it."""
    kept = _carry(place.shown, given)
    rest = enumerate(given[len(kept) :], len(kept))
    return [*kept, *(at._replace(span=place.made.get((index, at.opening))) for index, at in rest)]


def _carry(before: Sequence[_Message], after: Sequence[_Message]) -> list[_Message]:
    """Those at the head of `after` that were there before, at the same place or moved up by some.

    An application may drop the oldest messages of a chat: then the tail of what was is the head of what is.
    """
    same = 0
    for old, new in zip(before, after, strict=False):
        if old.whole != new.whole:
            break
        same += 1
    wholes = [message.whole for message in before], [message.whole for message in after]
    for dropped in range(1, len(before) - same):
        moved = len(before) - dropped
        if moved <= len(after) and wholes[0][dropped:] == wholes[1][:moved]:
            return list(before[dropped:])
    return list(before[:same])


def _read_messages(value: object, is_chat: bool) -> tuple[list[_Message], bool]:
    """The messages of a chat, and whether they are pairs, as in Gradio 5; of any other value, itself."""
    if is_chat and value is None:
        return [], False
    if not is_chat or not isinstance(value, list | tuple):
        digest = _digest(value)
        return [_Message(digest, digest)], False
    messages, is_pairs = [], False
    for item in value:
        if isinstance(item, list | tuple):
            is_pairs = True
            messages += [_read_message(side, content) for side, content in enumerate(item)]
        elif isinstance(item, Mapping):
            messages.append(_read_message(item.get("role"), item.get("content")))
        else:
            messages.append(_read_message(None, item))
    return messages, is_pairs


def _read_message(role: object, content: object) -> _Message:
    pieces = list(content) if isinstance(content, list) else [content]
    return _Message(hash((role, _digest(pieces))), _digest(_first(pieces)))


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else value


def _place_index(index: object, is_pairs: bool) -> int | None:
    """Where in the list of messages that is; a pair without a side is its answer."""
    told = index if isinstance(index, list | tuple) else [index]
    numbers = [number for number in told if isinstance(number, int) and not isinstance(number, bool)]
    if not numbers or len(numbers) < len(told):
        return None
    if not is_pairs:
        return numbers[0]
    return 2 * numbers[0] + (numbers[1] if len(numbers) > 1 else 1)


def _digest(value: object) -> int:
    """The same for what the server has sent and for what the browser sends back of it."""
    atoms: list[object] = []
    rest: list[object] = [value]
    while rest and len(atoms) < MAX_ATOMS:
        item = rest.pop()
        if isinstance(item, Mapping):
            rest.extend(reversed(_pick_core(item)))
        elif isinstance(item, list | tuple):
            atoms.append(len(item))
            rest.extend(reversed(item))
        else:
            is_plain = item is None or isinstance(item, str | int | float)
            atoms.append(item if is_plain else type(item).__qualname__)
    return hash(tuple(atoms))


def _pick_core(item: Mapping[object, object]) -> list[object]:
    """A file is its path, and a part of a message its value: what else is told of them differs."""
    if item.get("path"):
        return [item["path"]]
    if item.get("file"):
        return [item["file"]]
    if item.get("type") == "text" and "text" in item:
        return [item["text"]]
    if "component" in item:
        return [item.get("value")]
    told = sorted(
        ((str(key), part) for key, part in item.items() if part is not None), key=lambda pair: pair[0]
    )
    return [each for pair in told for each in pair]
