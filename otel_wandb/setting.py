"""One row of the table of settings: what is known of it, and how its value is read and checked."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from otel_wandb.errors import ConfigError
from otel_wandb.price_list import read_price_list, write_price_list

Value: TypeAlias = str | int | float | bool
Kind: TypeAlias = Literal[
    "text", "path", "url", "choice", "flag", "whole", "number", "words", "prices", "alerts", "views"
]

VARIABLE_PREFIX: Final = "OTEL_WANDB_"
_FLAGS: Final = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip


class About(msgspec.Struct, frozen=True):
    """What the table says of a setting beside its name, type and default."""

    section: str
    doc: str
    form: Literal["text", "path", "url", "words", "prices", "alerts", "views"] = "text"
    """`words` are kept with commas between them, the last three as JSON; a file may have a list or a
    mapping, and for `alerts` and `views` the path of a file of its own."""
    variable: str = ""
    """Our own environment variable, where it is not the prefix and the name."""
    standard: tuple[str, ...] = ()
    """Variables of OpenTelemetry or W&B that say the same, in the order that they are asked."""
    meanings: Mapping[str, str] = {}
    """What the values of the standard variables are called here, where that differs."""
    at_least: float = -math.inf
    at_most: float = math.inf


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    name: str
    kind: Kind
    default: Value
    choices: tuple[str, ...]
    about: About

    @property
    def variable(self) -> str:
        """Our own environment variable."""
        return self.about.variable or VARIABLE_PREFIX + self.name.upper()

    @property
    def variables(self) -> tuple[str, ...]:
        """All environment variables that set it, the first one that is set wins."""
        return (self.variable, *self.about.standard)

    @property
    def option(self) -> str:
        """The name as an option of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def unit(self) -> str:
        """The unit of a number, empty for everything else."""
        suffix = self.name.rsplit("_", 1)[-1]
        return {"s": "s", "bytes": "bytes"}.get(suffix, "")

    def read(self, value: object, origin: str, base: Path | None = None) -> Value:
        """The value in its own type, checked.

        Args:
            value: as an argument, the environment or a file gives it.
            origin: where it is from, for the message.
            base: what a relative path is relative to (None: the working directory).

        Raises:
            ConfigError: it is of another type, out of range or not one of the choices.
        """
        text = str(value).strip() if isinstance(value, str | os.PathLike) else None
        if self.kind == "flag":
            flag = value if isinstance(value, bool) else _FLAGS.get((text or "").lower())
            return self._demand(flag, value, origin, "true or false")
        if self.kind in ("whole", "number"):
            return self._read_number(value if text is None else text, origin)
        if self.kind == "prices":
            return self._read_prices(value, origin)
        if self.kind in ("alerts", "views"):
            return self._read_document(value, origin, base)
        if self.kind == "words":
            return self._read_words(value, origin)
        if text is None:
            raise self._error(value, origin, "it must be text; put it in quotes")
        if self.kind == "choice":
            choice = text.lower() if text.lower() in self.choices else None
            return self._demand(choice, value, origin, "one of " + ", ".join(self.choices))
        if self.kind == "url" and text:
            return self._read_url(text, origin)
        if self.kind == "path" and text:
            return self._read_path(text, origin, base)
        return text

    def _read_number(self, value: object, origin: str) -> Value:
        whole = self.kind == "whole"
        wanted = ("a whole number" if whole else "a number") + (f" of {self.unit}" if self.unit else "")
        try:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise ValueError
            number = float(value)
            exact = int(value) if whole and not isinstance(value, float) else number
        except (ValueError, OverflowError):
            raise self._error(value, origin, f"it must be {wanted}") from None
        if not math.isfinite(number) or (whole and number != int(number)):
            raise self._error(value, origin, f"it must be {wanted}")
        limit, word = self.about.at_least, "under"
        if number > self.about.at_most:
            limit, word = self.about.at_most, "over"
        if number != min(max(number, self.about.at_least), self.about.at_most):
            wanted = f"which is {word} its limit of {_plain(limit)} {self.unit}".rstrip()
            raise ConfigError(f"{self.name} is {value}, {wanted}{_from(origin)}")
        return int(exact) if whole else number

    def _read_words(self, value: object, origin: str) -> str:
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise self._error(value, origin, "it must be words with commas between them, or a list of them")
        return ",".join(dict.fromkeys(word.strip() for word in words if word.strip()))

    def _read_prices(self, value: object, origin: str) -> str:
        try:
            return write_price_list(read_price_list(value))
        except ValueError as error:
            wanted = (
                "it must be a mapping such as `my-model: {input: 0.5, output: 1.5}`, USD a million tokens"
            )
            raise ConfigError(f"{self.name} cannot be read{_from(origin)}: {error}; {wanted}") from None

    def _read_document(self, value: object, origin: str, base: Path | None) -> str:
        if value is None or value in ("", {}, []):
            return ""
        try:
            if self.kind == "alerts":
                from otel_wandb.alert_settings import read_alerts  # which most have no need of

                return read_alerts(value, base)
            from otel_wandb.view_settings import read_views

            return read_views(value, base)
        except ValueError as error:
            raise ConfigError(f"{self.name} cannot be read{_from(origin)}: {error}") from None

    def _read_url(self, text: str, origin: str) -> str:
        if "@" in text:  # first, so that no message repeats a password
            raise ConfigError(
                f"{self.name} carries a user name or password{_from(origin)}, which would be written to the "
                "data directory; take it out. The API key is found by itself, and HTTPS_PROXY may hold "
                "what a proxy asks for"
            )
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise self._error(text, origin, "it must be a URL that begins with http:// or https://")
        return text.rstrip("/")

    def _read_path(self, text: str, origin: str, base: Path | None) -> str:
        try:
            return str((base or Path.cwd()) / Path(text).expanduser())
        except (RuntimeError, OSError):
            raise self._error(text, origin, "its ~ cannot be resolved; give an absolute path") from None

    def _demand(self, read: Value | None, value: object, origin: str, wanted: str) -> Value:
        if read is None:
            raise self._error(value, origin, f"it must be {wanted}")
        return read

    def _error(self, value: object, origin: str, wanted: str) -> ConfigError:
        return ConfigError(f"{self.name} is {value!r}{_from(origin)}; {wanted}")


def _from(origin: str) -> str:
    return f" (from {origin})"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)
