"""Which event made what a user sees, so that a like or a flag is about that event and not about itself.

By session and component; of a chat by message, too: its events are known by how many messages there were when
they had ended. Bounded, and thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final, NamedTuple

from opentelemetry.trace import SpanContext

MAX_PLACES: Final = 10_000
MAX_TURNS: Final = 500


class _Turn(NamedTuple):
    """What an event left in a component: how many messages, a digest of the last one, and which event."""

    length: int
    last: int
    span: SpanContext


class Authors:
    """The events that made what components of sessions show."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: OrderedDict[tuple[str, int], list[_Turn]] = OrderedDict()
        self._order = 0
        self._orders: dict[tuple[str, int], int] = {}

    def note(self, session: str, component: int, value: object, span: SpanContext) -> None:
        """The event has put this value into the component."""
        is_chat = isinstance(value, list)
        last = value[-1] if isinstance(value, list) and value else None
        turn = _Turn(len(value) if isinstance(value, list) else 1, hash(repr(last)), span)
        place = (session, component)
        with self._lock:
            turns = self._places.pop(place, []) if is_chat else []
            if not turns or turns[-1][:2] != turn[:2]:  # who shows the same messages has made none of them
                turns = [kept for kept in turns if kept.length < turn.length]
                turns = [*turns[-MAX_TURNS + 1 :], turn]
                self._order += 1
                self._orders[place] = self._order
            self._places.pop(place, None)
            self._places[place] = turns
            while len(self._places) > MAX_PLACES:
                self._orders.pop(self._places.popitem(last=False)[0], None)

    def find(self, session: str, component: int, index: int | None = None) -> SpanContext | None:
        """The event that made the message, or the newest one of the component."""
        with self._lock:
            turns = self._places.get((session, component), ())
            for turn in turns:
                if index is not None and turn.length > index:
                    return turn.span
            return turns[-1].span if turns else None

    def find_newest(self, session: str, components: list[int]) -> SpanContext | None:
        """The event that made one of the components last."""
        with self._lock:
            places = [
                (session, component) for component in components if (session, component) in self._orders
            ]
            newest = max(places, key=self._orders.__getitem__, default=None)
            return self._places[newest][-1].span if newest is not None else None
