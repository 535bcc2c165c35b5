"""The balance of what was received and what became of it, for each signal.

``received = delivered + sampled_out + rejected + dropped + waiting`` holds for every line of a sound ledger.
Each of the six comes from a counting of its own; in particular `waiting` is what really lies in open traces,
in the outbox and unread in the journal, not what is missing to the sum. So a line can fail to balance, and
then something was lost, or counted twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SIGNALS: Final = ("spans", "log_records", "metric_points", "calls", "feedback", "rows", "tables", "alerts")
MAPPING_WARNINGS: Final = "mapping_warnings"
"""Not a signal: counted under it, by dialect and code, is what the dialects warned of."""

_OUTCOMES: Final = ("received", "delivered", "sampled_out", "rejected", "dropped")
_REFUSALS: Final = ("rejected", "dropped")
_COLUMNS: Final = ("", "received", "delivered", "sampled out", "rejected", "dropped", "waiting", "")

Counts = Mapping[tuple[str, str, str], int]
"""(signal, outcome, reason) -> how many."""


@dataclass(frozen=True, slots=True)
class Line:
    """What became of all that was received of one signal. Rejected and dropped are kept by reason."""

    received: int = 0
    delivered: int = 0
    sampled_out: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0

    @property
    def excess(self) -> int:
        """How many were received and are nowhere (negative: are somewhere, and were never received)."""
        settled = self.delivered + self.sampled_out + sum(self.rejected.values()) + sum(self.dropped.values())
        return self.received - settled - self.waiting

    @property
    def balanced(self) -> bool:
        """Whether everything that was received is accounted for, once."""
        return self.excess == 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """A line for each of `SIGNALS`, and beside them what is counted but is no part of the balance."""

    lines: Mapping[str, Line]
    beside: Counts = field(default_factory=dict)
    mapping_warnings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By dialect, then code (`conventions.warnings`)."""

    @property
    def balanced(self) -> bool:
        """Whether every line is."""
        return not self.imbalance()

    def imbalance(self) -> dict[str, int]:
        """The excess of each line that does not balance; empty for a sound ledger."""
        return {signal: line.excess for signal, line in self.lines.items() if not line.balanced}

    def to_json(self) -> dict[str, object]:
        """The ledger as plain data for a JSON document, always in the same order."""
        document: dict[str, object] = {signal: _line_to_json(line) for signal, line in self.lines.items()}
        document["beside"] = [
            {"signal": signal, "outcome": outcome, "reason": reason, "n": n}
            for (signal, outcome, reason), n in sorted(self.beside.items())
        ]
        document[MAPPING_WARNINGS] = {name: dict(codes) for name, codes in self.mapping_warnings.items()}
        return document


def compose(
    counts: Counts,
    waiting: Mapping[str, int],
    unread: Mapping[str, int],
    outbox: int,
    fronts: Counts,
) -> Ledger:
    """The ledger of a data directory.

    Args:
        counts: what the bridge has counted.
        waiting: items that it holds in open traces.
        unread: items in the journal that it has not counted yet: received, and waiting.
        outbox: calls that wait for delivery.
        fronts: what living fronts have refused: received, and rejected or dropped.
    """
    total = Counter(dict(counts))
    total.update(as_received(fronts))
    held = Counter(dict(waiting))
    held["calls"] += outbox
    for signal, n in unread.items():
        total[signal, "received", ""] += n
        held[signal] += n
    lines = {signal: _compose_line(signal, total, held[signal]) for signal in SIGNALS}
    beside = {key: n for key, n in total.items() if n and (key[0] not in SIGNALS or key[1] not in _OUTCOMES)}
    warnings: dict[str, dict[str, int]] = {}
    for key in sorted(key for key in beside if key[0] == MAPPING_WARNINGS):
        warnings.setdefault(key[1], {})[key[2]] = beside.pop(key)
    return Ledger(lines, beside, warnings)


def as_received(refused: Counts) -> dict[tuple[str, str, str], int]:
    """The counts of a front with what it refused counted as received, too, whether it had done so or not."""
    counts = Counter({key: n for key, n in refused.items() if key[1] != "received"})
    for (signal, outcome, _), n in list(counts.items()):
        if outcome in _REFUSALS:
            counts[signal, "received", ""] += n
    return dict(counts)


def render(ledger: Ledger) -> str:
    """The ledger as a table for a terminal, the reasons below it, and a warning where it does not balance."""
    rows = [_COLUMNS, *(_row(signal, line) for signal, line in ledger.lines.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    text = [_align(row, widths) for row in rows]
    for signal, line in ledger.lines.items():
        for outcome, reasons in (("rejected", line.rejected), ("dropped", line.dropped)):
            text += [f"{signal} {outcome}: {n:,} {reason or 'unnamed'}" for reason, n in reasons.items()]
    text += [
        f"beside the balance: {n:,} {signal} {outcome}{f' ({reason})' if reason else ''}"
        for (signal, outcome, reason), n in sorted(ledger.beside.items())
    ]
    text += [
        f"mapping warnings: {n:,} {code} ({dialect})"
        for dialect, codes in ledger.mapping_warnings.items()
        for code, n in codes.items()
    ]
    return "\n".join(text)


def _compose_line(signal: str, counts: Counter[tuple[str, str, str]], waiting: int) -> Line:
    of: dict[str, Counter[str]] = {outcome: Counter() for outcome in _OUTCOMES}
    for (counted, outcome, reason), n in counts.items():
        if counted == signal and outcome in of:
            of[outcome][reason] += n
    return Line(
        received=of["received"].total(),
        delivered=of["delivered"].total(),
        sampled_out=of["sampled_out"].total(),
        rejected={reason: n for reason, n in sorted(of["rejected"].items()) if n},
        dropped={reason: n for reason, n in sorted(of["dropped"].items()) if n},
        waiting=waiting,
    )


def _line_to_json(line: Line) -> dict[str, object]:
    return {
        "received": line.received,
        "delivered": line.delivered,
        "sampled_out": line.sampled_out,
        "rejected": dict(line.rejected),
        "dropped": dict(line.dropped),
        "waiting": line.waiting,
        "balanced": line.balanced,
    }


def _row(signal: str, line: Line) -> tuple[str, ...]:
    numbers = (
        line.received,
        line.delivered,
        line.sampled_out,
        sum(line.rejected.values()),
        sum(line.dropped.values()),
        line.waiting,
    )
    verdict = "" if line.balanced else f"does not balance: {line.excess:+,}"
    return (signal, *(f"{n:,}" for n in numbers), verdict)


def _align(row: tuple[str, ...], widths: list[int]) -> str:
    first, *numbers, verdict = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *numbers, verdict.strip()]).rstrip()
