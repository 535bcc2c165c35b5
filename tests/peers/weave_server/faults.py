"""Faults on demand: what a bad day of the service looks like to a client."""

from __future__ import annotations

import json
import random
import re
import threading
from typing import Any


class Faults:
    """Fault rules, tried in order; the first that fires wins.

    A rule is a dict (JSON) or 'action:key=val,key=val':
      action       an HTTP status (429, 500, 503, 413, ...), 'reset', 'slow' or 'hang'
      path         regex the path must match (default: every path but /graphql)
      rate         probability 0..1                            (default 1)
      every        fire on every Nth matching request
      skip, count  ignore the first `skip` matches, then fire at most `count` times
      schedule     string over the matching requests, 'x' fires and '.' passes,
                   e.g. 'xx.x'; after its end the rule passes
      phase        'before' (default; request not processed) or 'after'
                   (processed and stored, then the answer is replaced/lost)
      retry_after  value of the Retry-After header (429/503)
      delay        seconds to sleep first ('slow' only sleeps, then processes)
      body         what to answer instead of a JSON reason
      over         only bodies larger than this many bytes
    """

    def __init__(self, seed: int | None) -> None:
        self.rules: list[dict[str, Any]] = []
        self.random = random.Random(seed)
        self.lock = threading.Lock()

    @staticmethod
    def parse(text: str) -> dict[str, Any]:
        text = text.strip()
        if text.startswith("{"):
            return json.loads(text)
        action, _, rest = text.partition(":")
        rule: dict[str, Any] = {"action": action}
        for part in filter(None, rest.split(",")):
            key, _, value = part.partition("=")
            rule[key.strip()] = value
        return rule

    def set(self, rules: list[Any], append: bool = False) -> None:
        ready = []
        for rule in rules:
            rule = self.parse(rule) if isinstance(rule, str) else dict(rule)
            rule["action"] = str(rule["action"])
            for key in ("rate", "delay"):
                if key in rule:
                    rule[key] = float(rule[key])
            for key in ("every", "skip", "count", "over"):
                if key in rule:
                    rule[key] = int(rule[key])
            rule["_path"] = re.compile(rule.get("path", ""))
            rule["_seen"] = rule["_fired"] = 0
            ready.append(rule)
        with self.lock:
            self.rules = (self.rules if append else []) + ready

    def pick(self, path: str, size: int) -> dict[str, Any] | None:
        with self.lock:
            for rule in self.rules:
                if path == "/graphql" and not rule.get("path"):
                    continue
                if not rule["_path"].search(path) or size <= rule.get("over", -1):
                    continue
                n = rule["_seen"]
                rule["_seen"] += 1
                if n < rule.get("skip", 0):
                    continue
                if "count" in rule and rule["_fired"] >= rule["count"]:
                    continue
                if "schedule" in rule:
                    k = n - rule.get("skip", 0)
                    if k >= len(rule["schedule"]) or rule["schedule"][k] != "x":
                        continue
                if "every" in rule and (n + 1) % rule["every"]:
                    continue
                if self.random.random() >= rule.get("rate", 1.0):
                    continue
                rule["_fired"] += 1
                return rule
        return None

    def view(self) -> list[dict[str, Any]]:
        return [
            {
                **{k: v for k, v in r.items() if not k.startswith("_")},
                "seen": r["_seen"],
                "fired": r["_fired"],
            }
            for r in self.rules
        ]
