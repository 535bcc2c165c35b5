"""In which unit a key is, told by its name: for the axes of panels, and for the page of keys."""

from __future__ import annotations

from typing import Final

AS_MEASURED: Final = "its own"
"""An instrument under `metrics/` keeps the unit that it measures in."""

_ENDS: Final = (
    ("_ms", "ms"),
    ("_usd", "USD"),
    ("_percent", "%"),
    ("_per_second", "1/s"),
    ("_tokens", "tokens"),
    ("count", "number"),
    ("_requests", "number"),
)
_SECTIONS: Final = {
    "bridge": "number",
    "day": "s",
    "latency": "ms",
    "metrics": AS_MEASURED,
    "tokens": "tokens",
    "week": "s",
}


def unit_of(key: str) -> str:
    """The unit of a key, or of a pattern of the catalogue; empty where its name does not tell."""
    section, _, name = key.partition("/")
    if section == "metrics":
        return "number" if name == "{}_count" else AS_MEASURED
    by_end = next((unit for end, unit in _ENDS if name.endswith(end)), "")
    return by_end or _SECTIONS.get(section, "")
