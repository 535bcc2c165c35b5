"""A redactor of the user's: a function of text, called where it can hold up nothing for long.

It runs in a thread of its own. When it does not answer in time, the thread is left to itself, and what was
asked is withheld; after three such times it is not asked again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

LIMIT_S: Final = 1.0
"""How long the texts of one call may take."""
MAX_HANGS: Final = 3

_Told: TypeAlias = list[str] | str
"""The texts, or what went wrong."""


class RedactionError(Exception):
    """A text could not be redacted. The message holds nothing of it."""


class OwnRedactor:
    """Calls a function for texts. Thread-safe; it takes some 20 µs beside the time of the function.

    A function that keeps the interpreter lock (a regular expression of `re` that runs away) holds up all of
    the process: nothing in it can end that.
    """

    def __init__(self, function: Callable[[str], str], *, limit_s: float = LIMIT_S) -> None:
        self._function = function
        self._limit_s = limit_s
        self._hangs = 0
        self._worker: _Worker | None = None
        self._lock = threading.Lock()

    def redact(self, texts: Sequence[str]) -> list[str]:
        """The texts as the function gives them back.

        Raises RedactionError where it raises, gives something else than text, or does not answer in time.
        """
        with self._lock:
            if self._hangs >= MAX_HANGS:
                raise RedactionError(f"the function of `redact_with` did not answer {MAX_HANGS} times")
            worker = self._worker or _Worker(self._function)
            self._worker = worker
            worker.asked.put(texts)
            try:
                told = worker.told.get(timeout=self._limit_s)
            except queue.Empty:
                self._hangs += 1
                self._worker = None
                worker.asked.put(None)
                raise RedactionError(
                    f"the function of `redact_with` did not answer within {self._limit_s:g} s"
                ) from None
        if isinstance(told, str):
            raise RedactionError(told)
        return told


class _Worker:
    """A thread that calls the function."""

    def __init__(self, function: Callable[[str], str]) -> None:
        self.asked: queue.SimpleQueue[Sequence[str] | None] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[_Told] = queue.SimpleQueue()
        self._function = function
        threading.Thread(target=self._run, name="otel-wandb-redactor", daemon=True).start()

    def _run(self) -> None:
        while (texts := self.asked.get()) is not None:
            self.told.put(self._call(texts))

    def _call(self, texts: Sequence[str]) -> _Told:
        try:
            redacted = [self._function(text) for text in texts]
        except BaseException as error:  # noqa: BLE001  whatever it raises, its message may hold the text
            return f"the function of `redact_with` raised {type(error).__name__}"
        strange = {type(text).__name__ for text in redacted if not isinstance(text, str)}
        return f"the function of `redact_with` gave {', '.join(sorted(strange))}" if strange else redacted
