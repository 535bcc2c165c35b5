"""The setting `alerts` as it is given: a mapping, its JSON or YAML, or a file that holds one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from otel_wandb.alerts.plan import write_plan
from otel_wandb.alerts.reading import read_plan


def read_alerts(value: object, base: Path | None = None) -> str:
    """The one text for what is given, empty for what is the default.

    A text of one line that does not begin with a brace is the path of a YAML file. Relative paths are
    relative to `base` (None: the working directory), in a file to that file. Raises ValueError: a sentence.
    """
    if not isinstance(value, str | Path):
        return _write(value, base)
    text = str(value).strip()
    if text.startswith("{") or "\n" in text:
        return _write(_parse(text), base)
    if not text:
        return ""
    file = _locate(text, base)
    try:
        return _write(_parse(file.read_text(encoding="utf-8")), file.parent)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ValueError(f"the file {file} cannot be read: {reason}") from None
    except ValueError as error:
        raise ValueError(f"in {file}: {error}") from None


def _write(told: object, base: Path | None) -> str:
    if not isinstance(told, Mapping):
        raise ValueError("it must be a mapping of rules, routes and late_s, or the path of a file with one")
    return write_plan(read_plan(told, lambda path: str(_locate(path, base))))


def _parse(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        import yaml

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"it is neither JSON nor YAML: {' '.join(str(error).split())}") from None


def _locate(path: str, base: Path | None) -> Path:
    try:
        return (base or Path.cwd()) / Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"the ~ of {path} cannot be resolved; give an absolute path") from None
