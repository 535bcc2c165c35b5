"""Findings and tables, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otel_wandb.statistics import wilson


class Finding(NamedTuple):
    """A goal and what was measured of it."""

    target: str
    what: str
    goal: str
    measured: str
    met: bool | None
    """None: missed, but by no more than chance does at so few repetitions."""

    @property
    def verdict(self) -> str:
        """In a word or two."""
        return {True: "met", False: "MISSED", None: "open: too few repetitions"}[self.met]


@dataclass(frozen=True)
class Table:
    """Rows of text under a head. The first column is of names."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def judge(events: int, total: int, low: float, high: float, *, confidence: float = 0.99) -> bool | None:
    """Whether a share is within a goal; None if it is not, but chance may have done it."""
    if low <= events / total <= high:
        return True
    interval = wilson(events, total, confidence=confidence)
    return None if interval.low <= high and interval.high >= low else False


def share(events: int, total: int) -> str:
    """A share with what 95 % of repetitions would lie in."""
    interval = wilson(events, total)
    return f"{events / total:.3f} ({interval.low:.3f}–{interval.high:.3f})"


def findings_table(findings: Sequence[Finding]) -> Table:
    """All goals, one a row."""
    rows = [[f.target, f.what, f.goal, f.measured, f.verdict] for f in findings]
    return Table("What is promised", ("", "what", "goal", "measured", ""), rows)


def to_text(table: Table) -> str:
    """Aligned columns for a terminal."""
    cells = [table.head, *table.rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([table.title, "", *lines, *([table.note] if table.note else []), ""])


def to_markdown(table: Table) -> str:
    """A section with the table."""
    rows = [
        f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |"
        for row in (table.head, ["---"] * len(table.head), *table.rows)
    ]
    return "\n".join([f"## {table.title}", "", *rows, "", *([table.note, ""] if table.note else [])])
