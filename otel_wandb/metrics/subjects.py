"""Which operations, models and error types have charts of their own: twenty of a kind, fixed for the day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_SUBJECTS: Final = 20
_MAX_COUNTED: Final = 500


@dataclass(slots=True)
class Subjects:
    """The subjects of one kind.

    Those that were the most frequent of the day before have their charts kept for them; what is left goes to
    the first that come, the most frequent first. All others are `other`, exactly, for the rest of the day.
    """

    chosen: list[str] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)

    def choose(self, counts: Mapping[str, int]) -> None:
        """Take in the counts of an interval."""
        for subject, count in sorted(counts.items(), key=_rank):
            if not count:
                continue
            if subject not in self.chosen and len(self.chosen) < MAX_SUBJECTS:
                self.chosen.append(subject)
            if subject in self.totals or len(self.totals) < _MAX_COUNTED:
                self.totals[subject] = self.totals.get(subject, 0) + count

    def seen(self) -> list[str]:
        """Those with charts of their own that came today, in the order of their charts."""
        return [subject for subject in self.chosen if subject in self.totals]

    def follow(self) -> Subjects:
        """The subjects of the next day, before anything has come."""
        return Subjects([subject for subject, _ in sorted(self.totals.items(), key=_rank)[:MAX_SUBJECTS]])


def _rank(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
