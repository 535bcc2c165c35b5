"""Writes what a data directory has kept to files that need neither it nor us: JSON lines, runs of wandb."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from otel_wandb.datadir import DataDir
from otel_wandb.delivery.cargo import encode_call
from otel_wandb.delivery.feedback import encode_feedback
from otel_wandb.delivery.wandb_host import HostError, HostSettings, LoggedRow, RunError, RunHost, read_spec
from otel_wandb.errors import ConfigError
from otel_wandb.store import Store, StoredCall, StoredFeedback, StoredRow, StoredRun, StoreReader

_ROWS_AT_ONCE: Final = 500
_SYNCED: Final = ".synced"
"""What wandb appends to the name of a log that it has uploaded, and skips from then on."""


def export_calls(data_dir: DataDir, path: Path) -> int:
    """Write all stored calls in the order of their storing, each as Weave gets it; how many there are.

    Raises StoreError, OSError. The file is there as a whole or not at all.
    """

    def lines(reader: StoreReader) -> Iterator[bytes]:
        for call in reader.calls():
            yield encode_stored_call(call)

    return write_lines(data_dir, path, lines)


def export_rows(data_dir: DataDir, path: Path) -> int:
    """Write all stored rows, run by run in the order of their steps; how many there are.

    Raises StoreError, OSError. The file is there as a whole or not at all.
    """

    def lines(reader: StoreReader) -> Iterator[bytes]:
        for run in reader.runs():
            yield from encode_rows(reader, run)

    return write_lines(data_dir, path, lines)


def export_feedback(data_dir: DataDir, path: Path) -> int:
    """Write all stored feedback in the order of its storing, as Weave gets it; how much there is.

    Raises StoreError, OSError. The file is there as a whole or not at all.
    """

    def lines(reader: StoreReader) -> Iterator[bytes]:
        yield from map(encode_stored_feedback, reader.feedback.all())

    return write_lines(data_dir, path, lines)


def export_wandb_dir(data_dir: DataDir, directory: Path) -> list[Path]:
    """Write all stored runs as wandb writes offline ones, under `directory/wandb`; where each of them is.

    `wandb leet run` shows them, and `wandb sync` uploads those of which W&B has nothing yet: it would append
    all rows once more to a run that has some, so a run that was delivered in part, or whose last export was
    uploaded, is marked as synced, and `otel-wandb sync` uploads the rest. An earlier export is replaced.
    The files of tables are beside the runs, and the logs name them by their paths: only there `wandb sync` of
    a run uploads its tables whole.

    Raises:
        ConfigError: wandb is not there, or does not write the run.
        StoreError, OSError: the store cannot be read, the directory not be written to.
    """
    target = directory / "wandb"
    target.mkdir(parents=True, exist_ok=True)
    with (
        closing(Store.open_for_reading(data_dir.store)) as reader,
        tempfile.TemporaryDirectory(prefix=".export-", dir=directory) as draft,
    ):
        try:
            kept = HostSettings(online=False, directory=Path(draft), kept=target.resolve())
            with RunHost(kept) as host:
                return [_export_run(host, reader, run, target) for run in reader.runs()]
        except (HostError, RunError) as error:
            raise ConfigError(f"the runs cannot be exported: {error}") from None


def _export_run(host: RunHost, reader: StoreReader, run: StoredRun, target: Path) -> Path:
    name = str(run.id)
    written = host.open(name, read_spec(run)).directory
    rows, known = reader.rows(run.id), False
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        known = known or any(row.state == "delivered" for row in chunk)
        tables = reader.tables.of(run.id, [row.step for row in chunk])
        logged = [
            LoggedRow(row.step, row.timestamp_s, msgspec.Raw(row.values), _raw(tables.get(row.step, {})))
            for row in chunk
        ]
        host.log(name, logged)
    host.finish([name])
    log = f"run-{run.run_id}.wandb"
    earlier = [old for old in target.glob(f"offline-run-*-{run.run_id}") if (old / log).exists()]
    if known or any((old / f"{log}{_SYNCED}").exists() for old in earlier):
        (written / f"{log}{_SYNCED}").touch()
    for old in earlier:
        shutil.rmtree(old)
        shutil.rmtree(target / f".{old.name}-files", ignore_errors=True)
    return written.rename(target / written.name)


def encode_stored_call(call: StoredCall) -> bytes:
    """The call as Weave gets it, as one line of JSON."""
    return encode_call(_project_id(call), call.run, call.step, call.body)


def encode_stored_feedback(feedback: StoredFeedback) -> bytes:
    """The feedback as Weave gets it, but for the digest of the object behind the score; one line of JSON."""
    return encode_feedback(_project_id(feedback), feedback)


def encode_rows(reader: StoreReader, run: StoredRun) -> Iterator[bytes]:
    """The rows of a run by their steps, each with its tables as one line of JSON."""
    rows = reader.rows(run.id)
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        tables = reader.tables.of(run.id, [row.step for row in chunk])
        for row in chunk:
            yield encode_stored_row(row, tables.get(row.step, {}))


def encode_stored_row(row: StoredRow, tables: Mapping[str, bytes]) -> bytes:
    """The row, with its run and step, and its tables if it has any, as one line of JSON."""
    document: dict[str, object] = {
        "project_id": _project_id(row),
        "run_id": row.run_id,
        "step": row.step,
        "timestamp_s": row.timestamp_s,
        "values": msgspec.Raw(row.values),
    }
    if tables:
        document["tables"] = _raw(tables)
    return msgspec.json.encode(document)


def _raw(tables: Mapping[str, bytes]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(body) for name, body in tables.items()}


def _project_id(item: StoredCall | StoredFeedback | StoredRow) -> str:
    return f"{item.entity}/{item.project}" if item.entity else item.project


def write_lines(data_dir: DataDir, path: Path, lines: Callable[[StoreReader], Iterable[bytes]]) -> int:
    """Write what `lines` reads from the store; how many there are. The file is there whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    written = 0
    try:
        with closing(Store.open_for_reading(data_dir.store)) as reader, draft.open("wb") as file:
            for line in lines(reader):
                file.write(line + b"\n")
                written += 1
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return written
