"""Answers to alarms of views: files in the data directory, which the bridge reads.

A file is an answer. It takes effect in the first row of its service whose interval ends later than the last
row that was there when it was given. What it did is stored in the transaction of that row, with the answer's
id, and then the file is removed: so a kill at any moment does it neither twice nor not at all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from otel_wandb.views.answer import Answer

_SUFFIX: Final = ".json"


class AnswerBox:
    """The answers of a directory that nothing was done about yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Answer | None] = {}

    def read(self) -> list[Answer]:
        """All that lie there; files that are none are left alone. Costs microseconds where there are none."""
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.suffix == _SUFFIX)
        except OSError:
            return []
        self._known = {name: self._known[name] if name in self._known else self._load(name) for name in names}
        return [answer for answer in self._known.values() if answer is not None]

    def write(self, answer: Answer) -> None:
        """Put an answer there, so that it outlives the machine; the same one twice is one. Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f"{answer.id}{_SUFFIX}"
        draft = path.with_suffix(f".{os.getpid()}")
        fd = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(answer))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def remove(self, answers: Iterable[Answer]) -> None:
        """Take away what was carried out; what cannot be taken away is not carried out again."""
        for answer in answers:
            with contextlib.suppress(OSError):
                (self._folder / f"{answer.id}{_SUFFIX}").unlink()

    def _load(self, name: str) -> Answer | None:
        try:
            return msgspec.json.decode((self._folder / name).read_bytes(), type=Answer)
        except (OSError, msgspec.MsgspecError):
            return None
