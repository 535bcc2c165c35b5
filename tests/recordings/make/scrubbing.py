"""Makes a raw recording fit to keep: ids renumbered, times moved to a fixed base, this machine left out.

Everything is a function of the order in which the spans were exported, so that a recording made anew differs
only where the producer or its durations do.
"""

from __future__ import annotations

import getpass
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

BASE_NS: Final = 1_795_600_000_000_000_000
"""When every recording begins."""

_OWN_TIMES: Final = ("start_ns", "end_ns", "time_ns")
_ROUND_NS: Final = 1_000
_IDS: Final = {"traceId": 32, "spanId": 16, "parentSpanId": 16}
_TIMES: Final = ("startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "observedTimeUnixNano")
_UUID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_ADDRESS: Final = re.compile(r"\b0x[0-9a-f]{8,16}\b")
_SITE_PACKAGES: Final = re.compile(r"(?:/[\w.@+-]+)+/(?:site-packages|node_modules)(?=/)")
_PYTHON: Final = re.compile(r"(?:/[\w.@+-]+)+/(?=lib/python3)")

# About the process or the machine, and nothing that a conversion should need.
_MACHINE: Final = re.compile(
    r"^(process\.(?!runtime)|host\.|os\.|thread\.|code\.|telemetry\.distro"
    r"|service\.instance\.id$|service\.version$|langsmith\.metadata\.(revision_id|LANGSMITH)|user_agent)"
)
_STAND_IN: Final = {"stringValue": "recorded", "intValue": "1", "boolValue": False, "doubleValue": 1.0}


@dataclass
class Scrubber:
    """One recording's mapping from what was seen to what is kept."""

    ports: dict[int, int]
    """Seen to kept."""

    checkout: Path
    shift_ns: int = 0
    _seen: dict[tuple[str, str], str] = field(default_factory=dict)

    def scrub_requests(self, requests: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """All requests of all signals."""
        starts = [int(v) for v in _values(requests, "startTimeUnixNano") if int(v)]
        starts += [int(v) for v in _values(requests, "timeUnixNano") if int(v)]
        self.shift_ns = BASE_NS - min(starts)
        scrubbed: dict[str, list[Any]] = self.scrub(requests)
        return scrubbed

    def scrub(self, value: Any, key: str = "") -> Any:
        """A JSON value, made fit to keep."""
        if isinstance(value, dict):
            if _MACHINE.search(str(value.get("key", ""))) and isinstance(value.get("value"), dict):
                return {"key": value["key"], "value": {k: _STAND_IN.get(k) for k in value["value"]}}
            return {self.text(name): self.scrub(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.scrub(inner, key) for inner in value]
        if key in _IDS:
            return (
                self._renumber(key.replace("parentSpanId", "spanId"), value, _IDS[key])
                if value.strip("0")
                else ""
            )
        if key in _TIMES:
            return str(self.time(int(value)))
        if key in _OWN_TIMES:
            return self.time(value)
        return self.text(value) if isinstance(value, str) else value

    def time(self, time_ns: int) -> int:
        """A moment of the recording, in whole microseconds; none stays none."""
        return (time_ns + self.shift_ns) // _ROUND_NS * _ROUND_NS if time_ns else 0

    def text(self, text: str) -> str:
        """A text without ids of its own making, addresses, paths, ports and names of this machine."""
        text = _UUID.sub(self._numbered("uuid", lambda n: f"00000000-0000-4000-8000-{n:012x}"), text)
        text = _ADDRESS.sub(self._numbered("address", lambda n: f"0x{n:012x}"), text)
        # Ids of spans that a text mentions, as kept elsewhere.
        text = re.sub(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b", self._mentioned, text)
        text = _PYTHON.sub("/python/", _SITE_PACKAGES.sub("/site-packages", text))
        for path, kept in (
            (self.checkout, "/checkout"),
            (Path(sys.base_prefix), "/python"),
            (Path.home(), "/home"),
        ):
            text = text.replace(str(path), kept)
        for port, kept_port in self.ports.items():
            text = re.sub(rf"\b{port}\b", str(kept_port), text)
        return text.replace(socket.gethostname(), "recorded") if socket.gethostname() else text

    def _mentioned(self, found: re.Match[str]) -> str:
        for kind in ("traceId", "spanId"):
            if kept := self._seen.get((kind, found[0])):
                return kept
        return found[0]

    def _numbered(self, kind: str, make: Callable[[int], str]) -> Callable[[re.Match[str]], str]:
        def number(found: re.Match[str]) -> str:
            known = sum(1 for k, _ in self._seen if k == kind)
            return self._seen.setdefault((kind, found[0]), make(known + 1))

        return number

    def _renumber(self, kind: str, value: str, digits: int) -> str:
        known = sum(1 for k, _ in self._seen if k == kind)
        return self._seen.setdefault((kind, value), f"{known + 1:0{digits}x}")


def _values(value: Any, key: str) -> list[str]:
    if isinstance(value, dict):
        found = [str(v) for k, v in value.items() if k == key]
        return found + [x for v in value.values() for x in _values(v, key)]
    return [x for v in value for x in _values(v, key)] if isinstance(value, list) else []


def find_machine(text: str, checkout: Path) -> list[str]:
    """What of this machine is still in a text: its names and paths."""
    names = [str(checkout), str(Path.home()), socket.gethostname()]
    if len(getpass.getuser()) > 4:
        names.append(getpass.getuser())
    return [name for name in names if len(name) > 4 and name in text]
