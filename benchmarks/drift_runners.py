"""The peers at work, each in its own environment: their data and their verdicts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.drift_real import Arrays
from benchmarks.drift_scores import Method
from tests.peers.environments import python_of

PEERS: Final = ("evidently", "nannyml", "whylogs", "river", "frouros")
_SCRIPTS: Final = Path(__file__).with_name("drift_peers")
_SETTINGS: Final = {
    # None of them shall tell anybody that it is used.
    "DO_NOT_TRACK": "1",
    "NML_DISABLE_USAGE_LOGGING": "1",
    "WHYLOGS_NO_ANALYTICS": "1",
    # The times are of one core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class Said(NamedTuple):
    """What a peer said."""

    peer: str
    """With its version."""
    methods: list[Method]
    notes: list[str]


def load_data(peer: str, directory: Path) -> Arrays:
    """The arrays that a peer ships."""
    path = directory / f"{peer}_data.npz"
    _run(peer, f"{peer}_data.py", path)
    with np.load(path) as arrays:
        return dict(arrays)


def ask(peer: str, groups: Path) -> Said:
    """The verdicts of all methods of a peer on the groups of a file."""
    path = groups.with_name(f"{peer}.json")
    _run(peer, f"{peer}_peer.py", groups, path)
    said: dict[str, Any] = json.loads(path.read_text())
    methods = [Method(name, **facts) for name, facts in said["methods"].items()]
    return Said(said["peer"], methods, said["notes"])


def draw_pictures(traces: Path, directory: Path) -> None:
    """A picture of each stream that is in the file, by the environment that has Matplotlib."""
    _run("frouros", "pictures.py", traces, directory)


def _run(peer: str, script: str, *arguments: Path) -> None:
    command: Sequence[str] = (str(python_of(f"drift-{peer}")), str(_SCRIPTS / script), *map(str, arguments))
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | _SETTINGS,
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
