"""Faults on demand: what a bad day of the service looks like to a client."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, field

_NUMBERS = {"count", "skip", "every", "over", "retry_after"}
_FRACTIONS = {"rate", "delay"}
_TEXTS = {"path", "op", "phase", "body"}


@dataclass
class Rule:
    """One fault rule, `action:key=value,key=value`.

    action       an HTTP status (429, 500, 413, ...), `reset`, `slow` or `hang`
    path, op     regular expressions that the path and the GraphQL operation must match
    rate         probability 0..1 (default 1)
    every        fire on every Nth matching request
    skip, count  pass the first `skip` matches, then fire at most `count` times
    phase        `before` (default: nothing is done) or `after` (done, then the answer is replaced or lost)
    over         only bodies larger than this many bytes
    retry_after  the value of the `Retry-After` header
    delay        seconds to sleep first (`slow` only sleeps, and then does its work; `hang` answers nothing)
    body         what to answer instead of a JSON reason; the last key of a rule, since it may hold commas
    """

    text: str
    action: str
    path: str = ""
    op: str = ""
    phase: str = "before"
    body: str = ""
    rate: float = 1.0
    delay: float = 0.0
    every: int = 1
    skip: int = 0
    count: int = -1
    over: int = -1
    retry_after: int = -1
    seen: int = 0
    fired: int = 0

    @classmethod
    def parse(cls, text: str) -> Rule:
        action, _, rest = text.partition(":")
        options, _, body = rest.partition("body=")
        rule = cls(text, action, body=body)
        for part in filter(None, (piece.strip() for piece in options.split(","))):
            key, _, value = part.partition("=")
            if key in _NUMBERS:
                setattr(rule, key, int(value))
            elif key in _FRACTIONS:
                setattr(rule, key, float(value))
            elif key in _TEXTS:
                setattr(rule, key, value)
            else:
                raise ValueError(f"unknown key {key!r} in the fault rule {text!r}")
        return rule

    def matches(self, path: str, op: str, size: int) -> bool:
        named = re.search(self.path, path) and (not self.op or re.search(self.op, op))
        return bool(named) and size > self.over


@dataclass
class Faults:
    """Fault rules, tried in order; the first that fires wins. Any thread may ask."""

    rules: list[Rule] = field(default_factory=list)
    dice: random.Random = field(default_factory=random.Random)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, texts: list[str]) -> None:
        rules = [Rule.parse(text) for text in texts]
        with self.lock:
            self.rules = rules

    def pick(self, path: str, op: str, size: int) -> Rule | None:
        with self.lock:
            found = (rule for rule in self.rules if rule.matches(path, op, size) and self._fires(rule))
            return next(found, None)

    def view(self) -> list[dict[str, object]]:
        with self.lock:
            return [{"rule": rule.text, "seen": rule.seen, "fired": rule.fired} for rule in self.rules]

    def _fires(self, rule: Rule) -> bool:
        rule.seen += 1
        late = rule.seen > rule.skip and (rule.count < 0 or rule.fired < rule.count)
        fires = late and rule.seen % rule.every == 0 and self.dice.random() < rule.rate
        rule.fired += fires
        return fires
