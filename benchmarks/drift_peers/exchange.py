"""What the runner of a peer reads and writes. Imports nothing of ours, nor of the peer.

A runner is started with two names of files: the streams (an .npz, with a .json beside it of what they are)
and the verdicts, which it writes as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Group:
    """Streams of one sort: a row each in `reference` and in `values`, the windows after each other."""

    name: str
    window: int
    kind: str
    """`numeric`, or codes: `labels`, or `errors`, which are 0 or 1."""
    bundle: int
    """So many rows after each other are columns of the same requests."""
    reference: np.ndarray
    values: np.ndarray

    @property
    def windows(self) -> int:
        return self.values.shape[1] // self.window

    def window_of(self, index: int) -> np.ndarray:
        """The values of all streams (streams, window)."""
        return self.values[:, index * self.window : (index + 1) * self.window]


Alarms = list[list[int]]


@dataclass(frozen=True)
class Method:
    """A way to call windows different. `judge` returns, of each stream, the windows that are."""

    judge: Callable[[Group], Alarms]
    needs_raw: bool = True
    kinds: tuple[str, ...] = ("numeric", "labels", "errors")
    bundles_only: bool = False
    """Whether it is made for several columns at once."""


@dataclass
class Report:
    """What is written."""

    peer: str
    methods: dict[str, dict] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_groups(path: Path) -> list[Group]:
    facts = json.loads(path.with_suffix(".json").read_text())
    with np.load(path) as arrays:
        return [
            Group(**fact, reference=arrays[f"{i}/reference"], values=arrays[f"{i}/values"])
            for i, fact in enumerate(facts)
        ]


def serve(
    package: str, methods: dict[str, Method], notes: Callable[[list[Group]], list[str]] | None = None
) -> None:
    """Let all methods judge all groups that they are made for."""
    warnings.simplefilter("ignore")
    groups = read_groups(Path(sys.argv[1]))
    report = Report(f"{package} {version(package)}")
    for name, method in methods.items():
        began_s = time.process_time()
        verdicts = {}
        for group in groups:
            if group.kind in method.kinds and (group.bundle > 1 or not method.bundles_only):
                verdicts[group.name] = [[int(alarm) for alarm in stream] for stream in method.judge(group)]
        seconds = time.process_time() - began_s
        report.methods[name] = {"needs_raw": method.needs_raw, "alarms": verdicts, "seconds": seconds}
    if notes:
        report.notes = notes(groups)
    Path(sys.argv[2]).write_text(json.dumps(vars(report)))


def judge_windows(group: Group, differs: Callable[[int, np.ndarray, np.ndarray], bool]) -> Alarms:
    """By a rule for a stream's number, its reference and a window of it."""
    return [
        [i for i in range(group.windows) if differs(stream, reference, group.window_of(i)[stream])]
        for stream, reference in enumerate(group.reference)
    ]


def judge_values(group: Group, feed: Callable[[], Callable[[float], bool]]) -> Alarms:
    """By a detector that takes value after value: `feed` makes one, which says whether it alarms.

    It has seen the reference before. A window is called different when there was an alarm in it.
    """
    found = []
    for reference, values in zip(group.reference.tolist(), group.values.tolist(), strict=True):
        take = feed()
        for value in reference:
            take(value)
        alarms = {i // group.window for i, value in enumerate(values) if take(value)}
        found.append(sorted(alarm for alarm in alarms if alarm < group.windows))
    return found
