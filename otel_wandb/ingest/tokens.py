"""Who may send: bearer tokens, out of the environment or a file, compared in constant time.

Of a token only its digest is kept. The file is looked at again when it changes, so that tokens may rotate
without a restart; while it cannot be read, those that were in it last go on to hold.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from otel_wandb.config import TOKENS_VARIABLE
from otel_wandb.errors import ConfigError

_SHORTEST: Final = 16
_LOOK_EVERY_S: Final = 1.0
_SCHEME: Final = b"bearer "

_log = logging.getLogger("otel_wandb.serve")


class Tokens:
    """The tokens that hold now. `check` is for any thread."""

    def __init__(self, environ: Mapping[str, str], file: Path | None) -> None:
        """Read them; raises `ConfigError` for a file that cannot be read, and for a token too short."""
        self._fixed = _digest_all(environ.get(TOKENS_VARIABLE, "").split(","), TOKENS_VARIABLE)
        self._file = file
        self._looked_s = time.monotonic()
        self._stamp: tuple[int, int, int] | None = None
        self._from_file: tuple[bytes, ...] = ()
        if file is not None:
            try:
                self._read(file)
            except OSError as error:
                raise ConfigError(f"the tokens in {file} cannot be read: {error.strerror}") from None
        if file is not None and not self._from_file and not self._fixed:
            raise ConfigError(f"there is no token in {file}; write one on a line of its own")

    def __bool__(self) -> bool:
        """Whether a token is asked for at all."""
        return bool(self._fixed or self._file)

    def check(self, authorization: bytes) -> bool:
        """Whether the value of an `Authorization` header carries one of the tokens, or none is needed."""
        if not self:
            return True
        self._look()
        given = authorization[len(_SCHEME) :].strip()
        is_bearer = authorization[: len(_SCHEME)].lower() == _SCHEME
        digest = _digest(given)
        found = False
        for known in (*self._fixed, *self._from_file):  # all of them, so that the time tells nothing
            found |= hmac.compare_digest(digest, known)
        return found and is_bearer and bool(given)

    def _look(self) -> None:
        now_s = time.monotonic()
        if self._file is None or now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        try:
            self._read(self._file)
        except (OSError, ConfigError) as error:
            _log.warning(
                "The tokens in %s cannot be read again (%s); those of before hold.", self._file, error
            )

    def _read(self, file: Path) -> None:
        status = file.stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        lines = file.read_text("utf-8", "replace").splitlines()
        self._from_file = _digest_all((line for line in lines if not line.startswith("#")), str(file))


def _digest_all(tokens: Iterable[str], origin: str) -> tuple[bytes, ...]:
    found = [token.strip() for token in tokens if token.strip()]
    for number, token in enumerate(found, 1):
        if len(token) < _SHORTEST:
            raise ConfigError(
                f"token {number} in {origin} has {len(token)} characters, which can be guessed; take "
                f"at least {_SHORTEST}, such as from `openssl rand -hex 32`"
            )
    return tuple(_digest(token.encode()) for token in found)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
