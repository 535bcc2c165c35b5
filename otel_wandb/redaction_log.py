"""The log of the bridge without secrets: tracebacks and words of servers may hold what a span told."""

from __future__ import annotations

import logging
import threading
from typing import Final

import msgspec

from otel_wandb.conventions.decoding import encode_text
from otel_wandb.traces.clean_names import usual_redactor

_FORM: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RedactedFormatter(logging.Formatter):
    """Lines in which each secret is replaced; of a record that cannot be redacted nothing is said.

    Thread-safe. Personal data is not looked for, since addresses of servers are what one looks for in a log.
    """

    def __init__(self) -> None:
        super().__init__(_FORM)
        self._here = threading.local()

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its traceback if it has one."""
        if getattr(self._here, "is_busy", False):  # the redactor itself has something to say
            return f"{self.formatTime(record)} {record.levelname} {record.name}: {record.msg}"
        self._here.is_busy = True
        try:
            redacted = usual_redactor().redact(encode_text(super().format(record)).encode())
        finally:
            self._here.is_busy = False
        if redacted.withheld:
            return f"{self.formatTime(record)} {record.levelname} {record.name}: withheld"
        return msgspec.json.decode(redacted.body, type=str)
