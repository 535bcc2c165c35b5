"""Recordings through the package under test, and the calls that they are known to become.

`python -m tests.recordings.conversion` writes the known calls anew; look at what changed before it is kept.
"""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from otel_wandb.datadir import DataDir
from otel_wandb.replay import replay_files, write_calls
from otel_wandb.settings import Settings

DATA: Final = Path(__file__).with_name("data")


@dataclass(frozen=True)
class Recording:
    """One case of one producer."""

    producer: str
    case: str

    def __str__(self) -> str:
        return f"{self.producer}/{self.case}"

    def file(self, what: str) -> Path:
        """`traces.jsonl`, `logs.jsonl` (not all have it), `expected.json` or `calls.jsonl`."""
        return DATA / self.producer / f"{self.case}.{what}"

    @property
    def files(self) -> list[Path]:
        """What there is to be replayed."""
        return [path for path in (self.file("traces.jsonl"), self.file("logs.jsonl")) if path.exists()]


def recordings() -> list[Recording]:
    """All of them, by producer and case."""
    found = sorted(DATA.glob("*/*.expected.json"))
    return [Recording(path.parent.name, path.name.removesuffix(".expected.json")) for path in found]


@functools.cache
def convert(recording: Recording) -> bytes:
    """The calls as JSON lines, as `otel-wandb replay --calls` writes them, but for prices, which change."""
    with tempfile.TemporaryDirectory() as directory:
        data_dir, calls = DataDir(Path(directory) / "data"), Path(directory) / "calls.jsonl"
        data_dir.create()
        replayed = replay_files(recording.files, Settings(mode="offline"), data_dir, deliver=False)
        write_calls(calls, data_dir, replayed.trace_ids)
        return b"".join(_without_cost(line) for line in calls.read_bytes().splitlines())


def _without_cost(line: bytes) -> bytes:
    call = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    summary = msgspec.json.decode(call["summary"], type=dict[str, object])
    summary.pop("cost", None)
    return msgspec.json.encode({**call, "summary": summary}) + b"\n"


if __name__ == "__main__":
    for each in recordings():
        each.file("calls.jsonl").write_bytes(convert(each))
