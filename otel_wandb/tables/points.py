"""The points of a row's latency charts, by the operations that they are of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from otel_wandb.metrics.figures import Shown
from otel_wandb.tables.hours import ChartPoint

_KEY: Final = re.compile(r"latency/(?:(\w+)_)?(p50|p95|p99|max)_ms")


def find_points(values: Mapping[str, Shown], legend: Mapping[str, str]) -> list[ChartPoint]:
    """The points in the order of the row; `legend` tells operations whose names in keys are others."""
    found = []
    for key, value in values.items():
        match = _KEY.fullmatch(key)
        if match is not None and isinstance(value, int | float):
            name = match[1]
            found.append(ChartPoint(name and legend.get(name, name), match[2], float(value)))
    return found
