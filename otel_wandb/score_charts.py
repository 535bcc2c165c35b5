"""Scores as values for charts: each once, however often it is sent. No I/O.

A score is an observation of the instrument `gen_ai.evaluation.score` with the name of the evaluation, in the
charts of the service that tells it, at the time that it tells (or its span's end). Which scores were counted
is remembered of the youngest 32,768, in states that are stored with what they brought: some producers send a
score as an event of a span and as a log record, and some send it again. A score of a span that was sampled
counts once, whatever that span stands for: nobody knows what the others would have scored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from otel_wandb.conventions.scores import Score
from otel_wandb.conventions.verdicts import score_number
from otel_wandb.metrics.catalogue import SCORE
from otel_wandb.metrics.from_spans import Told
from otel_wandb.metrics.observed import Observation, Source
from otel_wandb.records import Resource
from otel_wandb.traces.clean_names import clean_names
from otel_wandb.traces.joins import hash_id

_log = logging.getLogger("otel_wandb.feedback")

_STATE: Final = "scored/"
_SCORES_A_STATE: Final = 256
_STATES: Final = 128


class ScoreNews(NamedTuple):
    """What a score tells of charts, and of which service."""

    told: Told
    resource: Resource
    config: str


class _Page(msgspec.Struct, array_like=True):
    """A state: the hashed ids of some scores, and which of all there ever were the first of them is."""

    first: int
    ids: list[int]


class ScoreCharts:
    """The scores of one directory that count in charts. Not thread-safe."""

    def __init__(self) -> None:
        self._pages: dict[int, _Page] = {0: _Page(0, [])}
        self._known: set[int] = set()
        self._newest = 0
        self._changed: set[int] = set()
        self._ready: list[ScoreNews] = []

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier bridge had stored. What cannot be read is logged and left out."""
        for name, state in states:
            if not name.startswith(_STATE):
                continue
            try:
                page = _decode_page(state)
            except msgspec.MsgspecError as error:
                _log.warning("The state %s cannot be read (%s); it is left out.", name, error)
                continue
            self._pages[_slot(page)] = page
            self._known.update(page.ids)
        self._newest = max(self._pages, key=lambda slot: self._pages[slot].first)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, stored in the transaction of what was counted."""
        changed, self._changed = sorted(self._changed), set()
        return [(f"{_STATE}{slot}", _encode(self._pages[slot])) for slot in changed]

    def take_ready(self) -> list[ScoreNews]:
        """What is to be counted, since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def add(self, score: Score, uid: str, resource: Resource, config: str, time_ns: int) -> None:
        """Count a score under its id in Weave, if it is a number and was not counted before."""
        value = score_number(score)
        if value is None or not self._remember(hash_id(uid)):
            return
        told = Told("", time_ns, observations=(Observation(_name_source(score.name), value),))
        self._ready.append(ScoreNews(told, resource, config))

    def _remember(self, known: int) -> bool:
        if known in self._known:
            return False
        page = self._pages[self._newest]
        if len(page.ids) >= _SCORES_A_STATE:
            page = _Page(page.first + _SCORES_A_STATE, [])
            self._newest = _slot(page)
            forgotten = self._pages.get(self._newest)
            self._known.difference_update(forgotten.ids if forgotten else ())
            self._pages[self._newest] = page
        page.ids.append(known)
        self._known.add(known)
        self._changed.add(self._newest)
        return True


@lru_cache(maxsize=4096)
def _name_source(name: str) -> Source:
    return Source((SCORE, "1", clean_names([("gen_ai.evaluation.name", name)])))


def _slot(page: _Page) -> int:
    return page.first // _SCORES_A_STATE % _STATES


_encode = msgspec.msgpack.Encoder().encode
_decode_page = msgspec.msgpack.Decoder(_Page).decode
