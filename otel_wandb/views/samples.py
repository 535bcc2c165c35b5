"""Samples out of files: NumPy arrays, CSV, JSON, and tables of W&B. No I/O: the content comes as bytes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Final, TypeAlias

import msgspec
import numpy as np

from otel_wandb.errors import InputError

Cell: TypeAlias = "float | str | None"

_TABLE: Final = ("columns", "data")


def read_cells(name: str, content: bytes, *, column: str = "") -> list[Cell]:
    """The values of a file in their order, by the ending of its name: npy, csv, tsv, txt, json or jsonl.

    Of several columns `column` has to name one. JSON is a list of values or of objects, an object of lists,
    or a table of W&B. Raises InputError: a sentence.
    """
    suffix = PurePath(name).suffix.lower().removeprefix(".")
    read = _READERS.get(suffix)
    if read is None:
        raise InputError(f"{name}: expected a name that ends in {', '.join(_READERS)}, not in {suffix!r}")
    try:
        return read(content, column)
    except (ValueError, TypeError, KeyError, msgspec.MsgspecError, csv.Error) as error:
        raise InputError(f"{name}: {error}") from None


def to_numbers(cells: Iterable[Cell]) -> list[float]:
    """The numbers among them, those that are written as text included; what is empty is left out.

    Raises InputError: there is something else.
    """
    numbers = []
    for cell in cells:
        if cell is None or cell == "":
            continue
        try:
            numbers.append(float(cell))
        except ValueError:
            raise InputError(f"expected numbers, found {cell!r}; --categories takes names") from None
    return [number for number in numbers if math.isfinite(number)]


def to_names(cells: Iterable[Cell]) -> list[str]:
    """All of them as names; whole numbers without a point."""
    return ["" if cell is None else f"{cell:g}" if isinstance(cell, float) else cell for cell in cells]


def _read_npy(content: bytes, column: str) -> list[Cell]:
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if column:
        array = array[column]
    return [value if isinstance(value, str) else float(value) for value in array.ravel().tolist()]


def _read_text(content: bytes, column: str, *, delimiter: str) -> list[Cell]:
    rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig")), delimiter=delimiter) if row]
    if not rows:
        return []
    head = rows[0]
    if column or not any(map(_is_number, head)):
        at = _choose(head, column)
        return [row[at] if at < len(row) else None for row in rows[1:]]
    if len(head) > 1:
        raise ValueError(f"it has {len(head)} columns without names; expected one, or a first line of names")
    return [row[0] for row in rows]


def _read_json(content: bytes, column: str) -> list[Cell]:
    return _read_document(msgspec.json.decode(content), column)


def _read_lines(content: bytes, column: str) -> list[Cell]:
    return _read_document(
        [msgspec.json.decode(line) for line in content.splitlines() if line.strip()], column
    )


def _read_document(told: object, column: str) -> list[Cell]:
    if isinstance(told, Mapping) and all(name in told for name in _TABLE):
        at = _choose([str(name) for name in told["columns"]], column)
        return [_read_cell(row[at]) for row in told["data"]]
    if isinstance(told, Mapping):
        return _read_document(told[_name(list(told), column)], "")
    if not isinstance(told, Sequence) or isinstance(told, str):
        raise ValueError("expected a list of values, or an object of lists")
    if told and isinstance(told[0], Mapping):
        name = _name([str(key) for key in told[0]], column)
        return [_read_cell(row.get(name)) for row in told]
    return [_read_cell(value) for value in told]


def _read_cell(value: object) -> Cell:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"expected numbers or texts, found {str(value)[:40]}")


def _name(names: Sequence[str], column: str) -> str:
    return names[_choose(names, column)]


def _choose(names: Sequence[str], column: str) -> int:
    if column in names:
        return list(names).index(column)
    if len(names) == 1 and not column:
        return 0
    known = ", ".join(names[:20])
    raise ValueError(
        f"there is no column {column!r}; it has {known}" if column else f"choose a column of {known}"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_READERS: Final[Mapping[str, Callable[[bytes, str], list[Cell]]]] = {
    "npy": _read_npy,
    "csv": lambda content, column: _read_text(content, column, delimiter=","),
    "tsv": lambda content, column: _read_text(content, column, delimiter="\t"),
    "txt": lambda content, column: _read_text(content, column, delimiter="\t"),
    "json": _read_json,
    "jsonl": _read_lines,
}
