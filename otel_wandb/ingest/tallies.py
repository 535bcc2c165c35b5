"""What the processes of a server count of themselves, and how Prometheus reads it.

All processes share one small file that has no name: each counts in a part of its own, and any of them can
answer for all. A process that is started anew goes on in the part of the one before it: counters only grow.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from otel_wandb.ingest.server import Code, Receipt
from otel_wandb.journal import Kind

Protocol: TypeAlias = Literal["http", "grpc"]
Labels: TypeAlias = tuple[tuple[str, str], ...]

_PREFIX: Final = "otel_wandb_serve_"
_PROTOCOLS: Final[tuple[Protocol, ...]] = ("http", "grpc")
_SIGNALS: Final = {"spans": "traces", "log_records": "logs", "metric_points": "metrics"}
_OUTCOMES: Final = {
    Code.OK: "accepted",
    Code.INVALID_ARGUMENT: "malformed",
    Code.RESOURCE_EXHAUSTED: "too_large",
    Code.UNAVAILABLE: "refused",
    Code.UNAUTHENTICATED: "unauthenticated",
    Code.DEADLINE_EXCEEDED: "too_slow",
}
_OTHER: Final = "other"
_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

_METRICS: Final = {
    "requests_total": ("counter", "Requests by what became of them."),
    "items_total": ("counter", "Spans, log records and data points that were acknowledged."),
    "received_bytes_total": ("counter", "Bytes of acknowledged requests, as they came."),
    "rejected_connections_total": ("counter", "Connections that were closed for a limit."),
    "connections": ("gauge", "Open HTTP connections."),
    "requests_in_flight": ("gauge", "Requests of which the body came, and the answer did not go yet."),
    "started_seconds": ("gauge", "When each process began, in Unix time."),
    "answer_seconds": ("histogram", "From the last byte of a request to its answer."),
}
_GAUGES: Final = ("connections", "requests_in_flight", "started_seconds")


def _list_series() -> list[tuple[str, Labels]]:
    series: list[tuple[str, Labels]] = []
    for protocol in _PROTOCOLS:
        by = ("protocol", protocol)
        for signal in _SIGNALS.values():
            outcomes = (*_OUTCOMES.values(), _OTHER)
            series += [
                ("requests_total", (by, ("signal", signal), ("outcome", outcome))) for outcome in outcomes
            ]
            series += [("items_total", (by, ("signal", signal)))]
        series += [("requests_total", (by, ("signal", ""), ("outcome", _OTHER)))]
        series += [("requests_total", (by, ("signal", ""), ("outcome", "unauthenticated")))]
        series += [("received_bytes_total", (by,)), ("requests_in_flight", (by,))]
        bounds = (*map(str, _BOUNDS_S), "+Inf")
        series += [("answer_seconds_bucket", (by, ("le", bound))) for bound in bounds]
        series += [("answer_seconds_sum", (by,))]
    return [*series, ("rejected_connections_total", ()), ("connections", ()), ("started_seconds", ())]


_SERIES: Final = _list_series()
_SLOTS: Final = {series: slot for slot, series in enumerate(_SERIES)}
_PART: Final = struct.Struct(f"={len(_SERIES)}d")


def make_tally_file(parts: int) -> int:
    """The descriptor of a file for so many processes. Its room on the disk is there from the start."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(bytes(_PART.size * parts))
        file.flush()
        return os.dup(file.fileno())


class Tally:
    """The counters of one process. For one thread, which is that of the event loop."""

    def __init__(self, fd: int, part: int) -> None:
        """Count in `part` of the file `fd`, which stays the caller's."""
        self._shared = mmap.mmap(fd, 0)
        self._all = memoryview(self._shared).cast("d")
        self._mine = self._all[part * len(_SERIES) : (part + 1) * len(_SERIES)]
        for name, labels in _SERIES:
            if name in _GAUGES:
                self._mine[_SLOTS[name, labels]] = 0.0
        self._mine[_SLOTS["started_seconds", ()]] = time.time()

    def count_request(
        self, protocol: Protocol, kind: Kind | None, receipt: Receipt, *, size: int = 0, seconds: float = 0.0
    ) -> None:
        """Count one answered request; `kind` is None where it was none of telemetry."""
        by = ("protocol", protocol)
        signal = _SIGNALS[kind.signal] if kind is not None and kind.signal else ""
        outcome = _OUTCOMES.get(receipt.code, _OTHER)
        slot = _SLOTS.get(("requests_total", (by, ("signal", signal), ("outcome", outcome))))
        if slot is None:
            slot = _SLOTS["requests_total", (by, ("signal", signal), ("outcome", _OTHER))]
        self._mine[slot] += 1
        if receipt.code is not Code.OK or not signal:
            return
        self._mine[_SLOTS["items_total", (by, ("signal", signal))]] += receipt.items
        self._mine[_SLOTS["received_bytes_total", (by,)]] += size
        at = _SLOTS["answer_seconds_bucket", (by, ("le", str(_BOUNDS_S[0])))]
        self._mine[at + bisect_left(_BOUNDS_S, seconds)] += 1
        self._mine[_SLOTS["answer_seconds_sum", (by,)]] += seconds

    def change_in_flight(self, protocol: Protocol, by: int) -> None:
        """Note that a request came whole, or that its answer went."""
        self._mine[_SLOTS["requests_in_flight", (("protocol", protocol),)]] += by

    def change_connections(self, by: int) -> None:
        """Note an HTTP connection that opened or closed."""
        self._mine[_SLOTS["connections", ()]] += by

    def count_rejected_connection(self) -> None:
        """Note a connection that was closed for a limit."""
        self._mine[_SLOTS["rejected_connections_total", ()]] += 1

    def render(self, more: Iterable[str] = ()) -> str:
        """All counters of all processes, in the text format of Prometheus (version 0.0.4)."""
        width = len(_SERIES)
        parts = [self._all[at : at + width] for at in range(0, len(self._all), width)]
        lines: list[str] = []
        for metric, (kind, doc) in _METRICS.items():
            lines += [f"# HELP {_PREFIX}{metric} {doc}", f"# TYPE {_PREFIX}{metric} {kind}"]
            for slot, (name, labels) in enumerate(_SERIES):
                if name == metric and metric != "started_seconds":
                    lines.append(_line(name, labels, sum(part[slot] for part in parts)))
            if metric == "started_seconds":
                slot = _SLOTS[metric, ()]
                lines += [_line(metric, (("worker", str(n)),), part[slot]) for n, part in enumerate(parts, 1)]
            elif kind == "histogram":
                lines += _render_histogram(metric, parts)
        return "\n".join([*lines, *more, ""])

    def close(self) -> None:
        """Let go of the file."""
        self._mine.release()
        self._all.release()
        self._shared.close()


def _render_histogram(metric: str, parts: list[memoryview[float]]) -> list[str]:
    lines = []
    for protocol in _PROTOCOLS:
        by = ("protocol", protocol)
        count = 0.0
        for bound in (*map(str, _BOUNDS_S), "+Inf"):
            labels: Labels = (by, ("le", bound))
            slot = _SLOTS[f"{metric}_bucket", labels]
            count += sum(part[slot] for part in parts)
            lines.append(_line(f"{metric}_bucket", labels, count))
        total = sum(part[_SLOTS[f"{metric}_sum", (by,)]] for part in parts)
        lines += [_line(f"{metric}_sum", (by,), total), _line(f"{metric}_count", (by,), count)]
    return lines


def _line(name: str, labels: Labels, value: float) -> str:
    named = ",".join(f'{key}="{text}"' for key, text in labels)
    shown = f"{int(value)}" if value == int(value) else f"{value:.6f}"
    return f"{_PREFIX}{name}{{{named}}} {shown}" if named else f"{_PREFIX}{name} {shown}"
